"""The bars that a market keeps, as a broker's history holds them.

Ticks become bars of a minute and bars of a quarter of an hour, each quarter
once it is over; bars of all longer periods are put together from these, and
only the newest quarter is looked up tick by tick.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from terminals.sim.quotes import Cursor, Ticks

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
Rows: TypeAlias = npt.NDArray[np.void]

MINUTE_MS: Final = 60_000
QUARTER_MS: Final = 15 * MINUTE_MS
QUOTE_FLAGS: Final = 2 | 4  # TICK_FLAG_BID, TICK_FLAG_ASK
NO_ROWS: Final = np.zeros(0, dtype=RATES)


def rows_of_ticks(ticks: Ticks, opened: npt.NDArray[np.int64], point: float) -> Rows:
    """Return one row for each run of equal `opened`, which becomes its time."""
    if not len(opened):
        return NO_ROWS.copy()
    firsts, lasts = _runs(opened)
    out = np.zeros(len(firsts), dtype=RATES)
    out["time"] = opened[firsts]
    out["open"] = ticks.bid[firsts]
    out["close"] = ticks.bid[lasts]
    out["high"] = np.maximum.reduceat(ticks.bid, firsts)
    out["low"] = np.minimum.reduceat(ticks.bid, firsts)
    out["tick_volume"] = lasts - firsts + 1
    out["spread"] = np.round((ticks.ask[lasts] - ticks.bid[lasts]) / point)
    if ticks.trades is not None:
        traded = np.where(ticks.trades.made, ticks.trades.volume, 0.0)
        out["real_volume"] = np.add.reduceat(traded, firsts)
    return out


def rows_of_rows(rows: Rows, opened: npt.NDArray[np.int64]) -> Rows:
    """Put rows together: one for each run of equal `opened`, which becomes its time."""
    if not len(rows):
        return NO_ROWS.copy()
    firsts, lasts = _runs(opened)
    out = np.zeros(len(firsts), dtype=RATES)
    out["time"] = opened[firsts]
    out["open"] = rows["open"][firsts]
    out["close"] = rows["close"][lasts]
    out["high"] = np.maximum.reduceat(rows["high"], firsts)
    out["low"] = np.minimum.reduceat(rows["low"], firsts)
    out["spread"] = rows["spread"][lasts]
    for name in ("tick_volume", "real_volume"):
        out[name] = np.add.reduceat(rows[name], firsts)
    return out


def _runs(opened: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the first and the last place of each run of equal values."""
    firsts = np.flatnonzero(np.diff(opened, prepend=opened[:1] - 1))
    return firsts, np.append(firsts[1:], len(opened)) - 1


class History:
    """The bars of one symbol, in UTC milliseconds, from ticks that are over."""

    def __init__(self, point: float, *, minutes_ms: int | None = None) -> None:
        """Remember nothing yet; minutes for at least so long, None for ever."""
        self._point = point
        self._minutes_ms = minutes_ms
        self._minutes = NO_ROWS
        self._quarters = NO_ROWS
        self._covered = -1  # ticks before this moment are in the bars

    def begin(self, minutes: Rows, quarters: Rows) -> None:
        """Start with bars from before the first tick."""
        self._minutes = minutes
        own = rows_of_rows(minutes, minutes["time"] // QUARTER_MS * QUARTER_MS)
        self._quarters = np.concatenate((quarters, own))

    def follow(self, cursor: Cursor, upto_msc: int) -> None:
        """Take in the quarters that are over by a moment."""
        until = upto_msc // QUARTER_MS * QUARTER_MS
        if until <= self._covered:
            return
        self._absorb(cursor.data.cut(cursor.count(self._covered - 1), cursor.count(until - 1)))
        self._covered = until

    def let_go(self, ticks: Ticks) -> None:
        """Take in ticks that nobody will see again; those that are in already are passed over."""
        if not len(ticks.time_msc):
            return
        known = int(ticks.time_msc.searchsorted(self._covered))
        self._absorb(ticks.cut(known, len(ticks.time_msc)))
        self._covered = max(self._covered, ticks.time_msc.item(-1) + 1)

    def rows(self, since: int, until: int, *, quarters: bool) -> tuple[Rows, int]:
        """Return the bars that begin at `since` or later, and from when on ticks are wanted.

        That is `until`, or where the bars end; both moments are on the grid of
        the bars' length, or the bar around them is left to the ticks.
        """
        kept = self._quarters if quarters else self._minutes
        length = QUARTER_MS if quarters else MINUTE_MS
        end = max(since, min(self._covered, (until + 1) // length * length))
        low, high = kept["time"].searchsorted((since, end))
        return kept[low:high], end

    def _absorb(self, ticks: Ticks) -> None:
        if not len(ticks.time_msc):
            return
        new = rows_of_ticks(ticks, ticks.time_msc // MINUTE_MS * MINUTE_MS, self._point)
        own = rows_of_rows(new, new["time"] // QUARTER_MS * QUARTER_MS)
        self._quarters = np.concatenate((self._quarters, own))
        minutes = np.concatenate((self._minutes, new))
        if self._minutes_ms is not None:
            old = int(minutes["time"].searchsorted(minutes["time"][-1] - self._minutes_ms))
            if old > len(minutes) // 2:
                minutes = minutes[old:].copy()
        self._minutes = minutes
