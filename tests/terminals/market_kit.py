"""What the tests of the market share."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np

from terminals.sim.market import RecordedMarket, Ticks
from terminals.sim.prices import Series
from terminals.sim.symbols import spec_for

START = 1_700_000_000.0  # Tuesday, 2023-11-14 22:13:20 UTC
START_MS = 1_700_000_000_000
HOUR = 3_600_000
DAY = 24 * HOUR
MONDAY = 1_699_833_600_000  # 2023-11-13 00:00 UTC
SATURDAY = MONDAY + 5 * DAY + 12 * HOUR


def utc(text: str) -> int:
    """Milliseconds of a time in UTC, as `2024-03-10 07:00`."""
    moment = dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)
    return round(moment.timestamp()) * 1000


def told(msc: int) -> dt.datetime:
    """The date and time that an epoch number shows."""
    return dt.datetime.fromtimestamp(0, dt.UTC).replace(tzinfo=None) + dt.timedelta(
        milliseconds=msc
    )


def quotes(rows: Sequence[tuple[int, float, float]], symbol: str = "EURUSD") -> RecordedMarket:
    """A market of ticks given as (milliseconds, bid, ask)."""
    series = Series(
        symbol=symbol,
        spec=spec_for(symbol),
        time_msc=np.array([at for at, _, _ in rows], dtype=np.int64),
        bid=np.array([bid for _, bid, _ in rows]),
        ask=np.array([ask for _, _, ask in rows]),
    )
    return RecordedMarket({symbol: series})


def same(one: Ticks, other: Ticks) -> bool:
    """Whether two spans hold the same ticks, trades included."""
    mine, theirs = one.trades, other.trades
    if (mine is None) != (theirs is None):
        return False
    pairs = list(zip(one[:3], other[:3], strict=True))
    if mine is not None and theirs is not None:
        pairs += list(zip(mine, theirs, strict=True))
    return all(np.array_equal(a, b) for a, b in pairs)
