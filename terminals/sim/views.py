"""How the simulated broker's book looks through the module's functions."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

from terminals import constants as mt5
from terminals.sim.broker import Broker
from terminals.sim.market import Price
from terminals.sim.request import BadArgumentError
from terminals.structs import AccountInfo, SymbolInfo, TerminalInfo, Tick

BUILD: Final = 5000


def account_struct(broker: Broker) -> AccountInfo:
    """Return the account with its numbers at the present prices."""
    account, money = broker.book.account, broker.money()
    return AccountInfo(
        login=account.login,
        trade_mode=mt5.ACCOUNT_TRADE_MODE_DEMO,
        leverage=account.leverage,
        limit_orders=200,
        margin_so_mode=mt5.ACCOUNT_STOPOUT_MODE_PERCENT,
        trade_allowed=account.trade_allowed,
        trade_expert=account.trade_expert,
        margin_mode=account.margin_mode,
        currency_digits=2,
        balance=account.balance,
        profit=money.profit,
        equity=money.equity,
        margin=money.margin,
        margin_free=money.margin_free,
        margin_level=money.margin_level,
        margin_so_call=100.0,
        margin_so_so=account.stop_out_level,
        name=account.name,
        server=account.server,
        currency=account.currency,
        company=account.company,
    )


def terminal_struct(connected: bool, autotrading: bool) -> TerminalInfo:
    """Return the terminal's switches."""
    return TerminalInfo(
        connected=connected,
        trade_allowed=autotrading,
        build=BUILD,
        maxbars=100_000,
        company="Simulated Broker",
        name="Simulated Terminal",
        language="English",
    )


def tick_struct(price: Price) -> Tick:
    """Return a quote."""
    return Tick(
        time=price.time_msc // 1000,
        bid=price.bid,
        ask=price.ask,
        time_msc=price.time_msc,
        flags=mt5.TICK_FLAG_BID | mt5.TICK_FLAG_ASK,
    )


def symbol_struct(broker: Broker, symbol: str) -> SymbolInfo:
    """Return a symbol's facts and quote; day's highs and lows are not kept and read 0."""
    spec = broker.market.specs[symbol]
    price = broker.price(symbol) or Price(0, 0.0, 0.0)
    shown = symbol in broker.selected
    tick_value = spec.point * spec.contract_size * broker.rate(spec)
    return SymbolInfo(
        select=shown,
        visible=shown,
        chart_mode=mt5.SYMBOL_CHART_MODE_BID,
        time=price.time_msc // 1000,
        digits=spec.digits,
        spread=round((price.ask - price.bid) / spec.point),
        spread_float=True,
        trade_calc_mode=spec.calc_mode,
        trade_mode=spec.trade_mode,
        trade_stops_level=spec.stops_level,
        trade_freeze_level=spec.freeze_level,
        trade_exemode=mt5.SYMBOL_TRADE_EXECUTION_MARKET,
        margin_hedged_use_leg=True,
        expiration_mode=1,
        filling_mode=spec.filling_mode,
        order_mode=127,
        bid=price.bid,
        ask=price.ask,
        point=spec.point,
        trade_tick_value=tick_value,
        trade_tick_value_profit=tick_value,
        trade_tick_value_loss=tick_value,
        trade_tick_size=spec.point,
        trade_contract_size=spec.contract_size,
        volume_min=spec.volume_min,
        volume_max=spec.volume_max,
        volume_step=spec.volume_step,
        currency_base=spec.base,
        currency_profit=spec.profit,
        currency_margin=spec.base,
        description=spec.description,
        name=spec.name,
        path=f"Simulated\\{spec.name}",
    )


def filters_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the known filters, types checked; raise BadArgumentError. Others mean nothing."""
    kinds = {"symbol": str, "group": str, "ticket": int}
    named = {key: given[key] for key in kinds if key in given}
    for key, value in named.items():
        if type(value) is not kinds[key]:
            raise BadArgumentError(key)
    return named


def whole(key: str, value: Any) -> int:
    """Return a plain int; raise BadArgumentError for anything else."""
    if type(value) is not int:
        raise BadArgumentError(key)
    return value


def chosen(symbol: str, ticket: int, named: Mapping[str, Any]) -> bool:
    """Whether a row passes the filters; a symbol or a group makes the ticket mean nothing."""
    if "symbol" in named:
        return bool(symbol == named["symbol"])
    if "group" in named:
        return _in_group(symbol, named["group"])
    return "ticket" not in named or ticket == named["ticket"]


def _in_group(symbol: str, group: str) -> bool:
    """Apply masks from left to right; one with `!` takes out: `*,!*JPY`."""
    inside = False
    for mask in (part.strip() for part in group.split(",")):
        if mask.startswith("!"):
            inside = inside and not fnmatchcase(symbol, mask[1:])
        else:
            inside = inside or fnmatchcase(symbol, mask)
    return inside


def moment(key: str, value: Any) -> float:
    """Return a date argument as epoch seconds; raise BadArgumentError for another type.

    A naive datetime is taken in this machine's zone, as the package does.
    """
    if isinstance(value, dt.datetime):
        return value.timestamp()
    if type(value) in (int, float):
        return float(value)
    raise BadArgumentError(key)


def done_between(time_msc: int, since: float, until: float) -> bool:
    """Whether a time lies between two moments, both included, to the second."""
    return since <= time_msc // 1000 <= until
