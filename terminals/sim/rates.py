"""Bars out of ticks, as `copy_rates_from_pos` returns them."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from terminals import constants as mt5
from terminals.sim.market import Ticks

RATES: Final = np.dtype(
    [
        ("time", "<i8"),
        ("open", "<f8"),
        ("high", "<f8"),
        ("low", "<f8"),
        ("close", "<f8"),
        ("tick_volume", "<u8"),
        ("spread", "<i4"),
        ("real_volume", "<u8"),
    ]
)
MINUTE_MS: Final = 60_000
DAY_MS: Final = 86_400_000
_WEEK_SHIFT: Final = 4 * DAY_MS  # the epoch was a Thursday, bars of a week begin on Sunday
TIMEFRAMES: Final = frozenset(
    value for name, value in vars(mt5).items() if name.startswith("TIMEFRAME_")
)


def bars(
    ticks: Ticks, timeframe: int, start_pos: int, count: int, point: float
) -> npt.NDArray[np.void]:
    """Return `count` bars of the bid, oldest first, leaving out the newest `start_pos`.

    `timeframe` is one of TIMEFRAMES. Fewer bars come if there are fewer.
    """
    opened = _opens(ticks.time_msc, timeframe)
    firsts = np.flatnonzero(np.diff(opened, prepend=opened[:1] - 1))
    lasts = np.append(firsts[1:], len(opened))
    stop = max(0, len(firsts) - start_pos)
    chosen = slice(max(0, stop - count), stop)
    firsts, lasts = firsts[chosen], lasts[chosen]
    out = np.zeros(len(firsts), dtype=RATES)
    if not len(firsts):
        return out
    base, end = int(firsts[0]), int(lasts[-1])
    bid, edges = ticks.bid[base:end], firsts - base
    out["time"] = opened[firsts] // 1000
    out["open"] = ticks.bid[firsts]
    out["close"] = ticks.bid[lasts - 1]
    out["high"] = np.maximum.reduceat(bid, edges)
    out["low"] = np.minimum.reduceat(bid, edges)
    out["tick_volume"] = lasts - firsts
    out["spread"] = np.round((ticks.ask[lasts - 1] - ticks.bid[lasts - 1]) / point)
    return out


def _opens(time_msc: npt.NDArray[np.int64], timeframe: int) -> npt.NDArray[np.int64]:
    """Return for each tick the time at which its bar opened, in milliseconds."""
    if timeframe == mt5.TIMEFRAME_MN1:
        months = time_msc.astype("datetime64[ms]").astype("datetime64[M]")
        return months.astype("datetime64[ms]").astype(np.int64)
    if timeframe == mt5.TIMEFRAME_W1:
        return (time_msc + _WEEK_SHIFT) // (7 * DAY_MS) * (7 * DAY_MS) - _WEEK_SHIFT
    hours = timeframe & 0x4000
    length = (timeframe & 0x3FFF) * (60 * MINUTE_MS if hours else MINUTE_MS)
    return time_msc // length * length
