"""What the tests of the terminals share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from terminals import GeneratedMarket, RecordedMarket, Series, SimulatedTerminal, spec_for
from terminals import constants as mt5

START = 1_700_000_000.0


class Clock:
    """A time that moves only when told."""

    def __init__(self, at: float = START) -> None:
        self.at = at

    def __call__(self) -> float:
        return self.at


def recorded(
    rows: Mapping[str, Sequence[tuple[float, float, float]]], **spec_changes: Any
) -> RecordedMarket:
    """A market of ticks given as (seconds from START, bid, ask)."""
    series = {}
    for symbol, ticks in rows.items():
        times = np.array([round((START + at) * 1000) for at, _, _ in ticks], dtype=np.int64)
        series[symbol] = Series(
            symbol=symbol,
            spec=replace(spec_for(symbol), **spec_changes),
            time_msc=times,
            bid=np.array([bid for _, bid, _ in ticks]),
            ask=np.array([ask for _, _, ask in ticks]),
        )
    return RecordedMarket(series)


def generated(**options: Any) -> SimulatedTerminal:
    """A connected terminal on generated prices, with its clock as `clock`."""
    clock = options.pop("now", None) or Clock()
    market = options.pop("market", None) or GeneratedMarket(7, START)
    terminal = SimulatedTerminal(market=market, now=clock, **options)
    assert terminal.initialize()
    return terminal


def playing(
    rows: Mapping[str, Sequence[tuple[float, float, float]]], **options: Any
) -> tuple[SimulatedTerminal, Clock]:
    """A connected terminal on given ticks, and the clock that moves it."""
    clock = Clock()
    specs = options.pop("specs", {})
    return generated(market=recorded(rows, **specs), now=clock, **options), clock


def order(**fields: Any) -> dict[str, Any]:
    """A market order to buy 0.10 EURUSD, changed by keywords; None leaves a field out."""
    base: dict[str, Any] = {
        "action": mt5.TRADE_ACTION_DEAL,
        "symbol": "EURUSD",
        "volume": 0.1,
        "type": mt5.ORDER_TYPE_BUY,
        "type_filling": mt5.ORDER_FILLING_FOK,
    }
    return {key: value for key, value in {**base, **fields}.items() if value is not None}


def stops(ticket: int, sl: float = 0.0, tp: float = 0.0, symbol: str = "EURUSD") -> dict[str, Any]:
    """A request to set both levels."""
    action = mt5.TRADE_ACTION_SLTP
    return {"action": action, "position": ticket, "symbol": symbol, "sl": sl, "tp": tp}


def books_balance(terminal: SimulatedTerminal) -> None:
    """Assert that the money is the sum of the deals, and the numbers fit each other."""
    account = terminal.account_info()
    deals = terminal.history_deals_get(0, 4e9)
    positions = terminal.positions_get()
    assert account is not None
    assert deals is not None
    assert positions is not None
    booked = sum(one.profit + one.commission + one.swap + one.fee for one in deals)
    assert abs(account.balance - booked) < 0.005
    floating = sum(one.profit + one.swap for one in positions)
    assert abs(account.profit - floating) < 0.005
    assert abs(account.equity - account.balance - floating) < 0.005
    assert abs(account.margin_free - (account.equity - account.margin)) < 0.005
