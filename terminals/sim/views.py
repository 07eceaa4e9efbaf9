"""How the simulated broker's book looks through the module's functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from terminals import constants as mt5
from terminals.masks import in_group
from terminals.sim.broker import Broker
from terminals.sim.market import Price
from terminals.sim.rates import Day, day_of
from terminals.sim.symbols import SymbolSpec
from terminals.sim.working import LONG_TYPES
from terminals.sim.zone import BrokerZone
from terminals.structs import AccountInfo, SymbolInfo, TerminalInfo, Tick, TradeOrder, changed

BUILD: Final = 5000
VERSION: Final = (500, BUILD, "25 Apr 2025")
PING_US: Final = 42_000  # microseconds
# Every way an order may live (GTC, day, time, day and time), and every kind of order.
_EXPIRATIONS: Final = 15
_ORDERS: Final = 127
NO_DAY: Final = Day(0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0, 0.0, 0.0)  # no quote yet


def account_struct(broker: Broker) -> AccountInfo:
    """Return the account with its numbers at the present prices."""
    account, money = broker.book.account, broker.money()
    return AccountInfo(
        login=account.login,
        trade_mode=mt5.ACCOUNT_TRADE_MODE_DEMO,
        leverage=account.leverage,
        limit_orders=account.limit_orders,
        margin_so_mode=mt5.ACCOUNT_STOPOUT_MODE_PERCENT,
        trade_allowed=account.trade_allowed,
        trade_expert=account.trade_expert,
        margin_mode=account.margin_mode,
        currency_digits=2,
        fifo_close=account.fifo_close,
        balance=account.balance,
        profit=money.profit,
        equity=money.equity,
        margin=money.margin,
        margin_free=money.margin_free,
        margin_level=money.margin_level,
        margin_so_call=account.margin_call_level,
        margin_so_so=account.stop_out_level,
        name=account.name,
        server=account.server,
        currency=account.currency,
        company=account.company,
    )


def terminal_struct(connected: bool, autotrading: bool) -> TerminalInfo:
    """Return the terminal's switches, and places as a terminal under Windows has them.

    The places lead nowhere: no program of this machine is meant.
    """
    return TerminalInfo(
        connected=connected,
        trade_allowed=autotrading,
        build=BUILD,
        maxbars=100_000,
        ping_last=PING_US if connected else 0,
        company="Simulated Broker",
        name="Simulated Terminal",
        language="English",
        path="C:\\Program Files\\Simulated Terminal",
        data_path="C:\\Program Files\\Simulated Terminal",
        commondata_path="C:\\Users\\Public\\Simulated Terminal\\Common",
    )


def tick_struct(broker: Broker, symbol: str, price: Price, zone: BrokerZone) -> Tick:
    """Return a symbol's quote, in wall time, with the newest trade of an exchange."""
    wall = zone.to_wall_msc(price.time_msc)
    last, volume = _last_trade(broker, broker.market.specs[symbol])
    return Tick(
        time=wall // 1000,
        bid=price.bid,
        ask=price.ask,
        last=last,
        volume=round(volume),
        time_msc=wall,
        flags=mt5.TICK_FLAG_BID | mt5.TICK_FLAG_ASK,
        volume_real=volume,
    )


def working_order(broker: Broker, order: TradeOrder) -> TradeOrder:
    """Return a working order with the present price of its side."""
    price = broker.price(order.symbol)
    if price is None:
        return order
    current = price.ask if order.type in LONG_TYPES else price.bid
    return changed(order, price_current=current)


def symbol_struct(broker: Broker, symbol: str, zone: BrokerZone) -> SymbolInfo:
    """Return all facts of a symbol, its quote and its day.

    A symbol without a quote yet has no prices. What only options, bonds and
    exchanges with auctions have stays 0.
    """
    spec = broker.market.specs[symbol]
    price = broker.price(symbol) or Price(0, 0.0, 0.0)
    day = day_of(broker.market, symbol, broker.at_msc, zone) or NO_DAY
    shown = symbol in broker.selected
    tick = spec.point * spec.contract_size
    profit_rate = broker.rate(spec)
    last, volume = _last_trade(broker, spec)
    return SymbolInfo(
        select=shown,
        visible=shown,
        chart_mode=mt5.SYMBOL_CHART_MODE_BID,  # an exchange's symbols too
        time=zone.to_wall_msc(price.time_msc) // 1000 if price.time_msc else 0,
        digits=spec.digits,
        spread=round((price.ask - price.bid) / spec.point),
        spread_float=True,
        ticks_bookdepth=spec.book_levels,
        trade_calc_mode=spec.calc_mode,
        trade_mode=spec.trade_mode,
        trade_stops_level=spec.stops_level,
        trade_freeze_level=spec.freeze_level,
        trade_exemode=spec.execution,
        swap_mode=spec.swap_mode,
        swap_rollover3days=spec.swap_rollover3days,
        margin_hedged_use_leg=True,
        expiration_mode=_EXPIRATIONS,
        filling_mode=spec.filling_mode,
        order_mode=_ORDERS if broker.book.account.hedging else _ORDERS & ~64,
        order_gtc_mode=mt5.SYMBOL_ORDERS_GTC,
        bid=price.bid,
        bidhigh=max(day.bid_high, price.bid),
        bidlow=min(day.bid_low or price.bid, price.bid),
        ask=price.ask,
        askhigh=max(day.ask_high, price.ask),
        asklow=min(day.ask_low or price.ask, price.ask),
        last=last,
        lasthigh=day.last_high,
        lastlow=day.last_low,
        volume=round(volume),
        volume_real=volume,
        point=spec.point,
        trade_tick_value=tick * profit_rate,
        trade_tick_value_profit=tick * profit_rate,
        trade_tick_value_loss=tick * profit_rate,
        trade_tick_size=spec.point,
        trade_contract_size=spec.contract_size,
        volume_min=spec.volume_min,
        volume_max=spec.volume_max,
        volume_step=spec.volume_step,
        volume_limit=spec.volume_limit,
        swap_long=spec.swap_long,
        swap_short=spec.swap_short,
        margin_initial=spec.margin_initial,
        margin_maintenance=spec.margin_initial,
        session_volume=day.volume,
        session_open=day.open,
        session_close=day.before,
        margin_hedged=spec.contract_size,
        price_change=round((price.bid / day.before - 1.0) * 100.0, 4) if day.before else 0.0,
        currency_base=spec.base,
        currency_profit=spec.profit,
        currency_margin=spec.base,
        description=spec.description,
        name=spec.name,
        path=f"Simulated\\{spec.name}",
    )


def _last_trade(broker: Broker, spec: SymbolSpec) -> tuple[float, float]:
    """Return price and volume of the newest trade; 0 where there is no exchange."""
    if not spec.exchange:
        return 0.0, 0.0
    price = broker.market.price(spec.name, broker.at_msc)
    return (0.0, 0.0) if price is None else (price.last, price.volume)


def chosen(symbol: str, ticket: int, named: Mapping[str, Any]) -> bool:
    """Whether a row passes the one filter that there is, if any."""
    if "ticket" in named:
        return bool(ticket == named["ticket"])
    if "symbol" in named:
        return bool(symbol == named["symbol"])
    return "group" not in named or in_group(symbol, named["group"])
