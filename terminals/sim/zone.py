"""The broker's wall clock: UTC in, wall time out, and back.

Most brokers set their servers so that a day ends when New York closes (17:00
there): GMT+2, and GMT+3 while New York has daylight saving, so that a week has
five whole days. That is wall time = New York's time + 7 hours, and needs no
table of zones: daylight saving runs from 02:00 on the second Sunday of March
to 02:00 on the first Sunday of November (Energy Policy Act of 2005, from 2007
on), before that from the first Sunday of April (1987 to 2006; the last one
before) to the last Sunday of October. The two exceptional years 1974 and 1975
are not kept.

Wall time is written as an epoch number, as the MetaTrader5 package does it: as
if the wall showed UTC.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from collections.abc import Iterator
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from defence.errors import Invalid
from terminals.sim.conditions import NEW_YORK_CLOSE, UTC

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
FIRST_YEAR: Final = 1970
LAST_YEAR: Final = 2099  # after it the last offset goes on
_PROBE_MS: Final = 7 * DAY_MS  # no zone changes twice within a week


class BrokerZone:
    """The zone of a broker's server. Safe for threads; times are milliseconds.

    An hour that exists twice (clocks going back) is read as its first pass; a
    time that does not exist (clocks going forward) is read as the moment of the
    change. So both directions never go back when their argument goes on.
    """

    def __init__(self, name: str) -> None:
        """Take "UTC", "New York close" or an IANA name; raise Invalid for anything else."""
        self.name = name
        changes: Iterator[tuple[int, int]]
        if name == UTC:
            changes, first = iter(()), 0
        elif name == NEW_YORK_CLOSE:
            changes, first = _new_york_changes(), 2 * HOUR_MS
        else:
            zone = _iana(name)
            changes, first = _iana_changes(zone), _offset(zone, _year_msc(FIRST_YEAR))
        found = list(changes)
        # Offset number n holds from change n-1 to change n, in UTC; `_walls` are the changes as
        # the wall shows them just before.
        self._at = [at for at, _ in found]
        self._offsets = [first, *(offset for _, offset in found)]
        self._walls = [at + before for at, before in zip(self._at, self._offsets, strict=False)]
        self._at_array = np.array(self._at, dtype=np.int64)
        self._offset_array = np.array(self._offsets, dtype=np.int64)
        # The span that was asked for last, and its offset: most questions are about the present.
        self._span = (0, 0, 0)

    def __repr__(self) -> str:
        """Name the zone."""
        return f"BrokerZone({self.name!r})"

    def to_wall_msc(self, utc_msc: int) -> int:
        """Return what the wall shows at a moment."""
        since, until, offset = self._span
        if since <= utc_msc < until:
            return utc_msc + offset
        index = bisect_right(self._at, utc_msc)
        offset = self._offsets[index]
        since = self._at[index - 1] if index else -_FAR
        until = self._at[index] if index < len(self._at) else _FAR
        self._span = (since, until, offset)
        return utc_msc + offset

    def to_utc_msc(self, wall_msc: int) -> int:
        """Return the (first) moment at which the wall shows this."""
        index = bisect_right(self._walls, wall_msc)
        utc = wall_msc - self._offsets[index]
        return max(utc, self._at[index - 1]) if index else utc

    def to_wall_array(self, utc_msc: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return what the wall shows at each moment, in a new array."""
        if not len(utc_msc):
            return utc_msc.copy()
        low, high = int(utc_msc.min()), int(utc_msc.max())
        first = bisect_right(self._at, low)
        if first == len(self._at) or high < self._at[first]:
            shifted: npt.NDArray[np.int64] = utc_msc + self._offsets[first]
            return shifted
        numbers = np.searchsorted(self._at_array, utc_msc, side="right")
        each: npt.NDArray[np.int64] = utc_msc + self._offset_array[numbers]
        return each

    def midnight(self, utc_msc: int) -> int:
        """Return the newest moment, this one at most, at which the wall turned to 00:00."""
        day = self.to_wall_msc(utc_msc) // DAY_MS + 1  # set back over midnight, it turned before
        while (found := self.to_utc_msc(day * DAY_MS)) > utc_msc:
            day -= 1
        return found

    def next_midnight(self, utc_msc: int) -> int:
        """Return the next moment, after this one, at which the wall turns to 00:00.

        Where clocks are set back over midnight, the day turned at the first pass.
        """
        wall = self.to_wall_msc(utc_msc)
        day = wall // DAY_MS + 1
        while (found := self.to_utc_msc(day * DAY_MS)) <= utc_msc:
            day += 1
        return found


_FAR: Final = 1 << 62


def _new_york_changes() -> Iterator[tuple[int, int]]:
    """Yield (moment in UTC, offset from then on) of the wall that runs 7 hours before New York."""
    for year in range(FIRST_YEAR, LAST_YEAR + 1):
        if year >= 2007:
            begin, end = _sunday(year, 3, 2), _sunday(year, 11, 1)
        else:
            begin = _sunday(year, 4, 1) if year >= 1987 else _last_sunday(year, 4)
            end = _last_sunday(year, 10)
        yield begin + 7 * HOUR_MS, 3 * HOUR_MS  # 02:00 of GMT-5
        yield end + 6 * HOUR_MS, 2 * HOUR_MS  # 02:00 of GMT-4


def _sunday(year: int, month: int, nth: int) -> int:
    """Return 00:00 UTC of the nth Sunday of a month."""
    first = dt.date(year, month, 1)
    return _day_msc(first + dt.timedelta(days=(6 - first.weekday()) % 7 + 7 * (nth - 1)))


def _last_sunday(year: int, month: int) -> int:
    last = dt.date(year, month + 1, 1) - dt.timedelta(days=1)
    return _day_msc(last - dt.timedelta(days=(last.weekday() + 1) % 7))


def _day_msc(day: dt.date) -> int:
    return (day - dt.date(1970, 1, 1)).days * DAY_MS


def _year_msc(year: int) -> int:
    return _day_msc(dt.date(year, 1, 1))


def _iana(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:  # unknown, no name at all, a folder
        raise Invalid(
            f"this machine knows no time zone {name!r}",
            field="zone",
            value=name,
            remedy=f"{UTC}, {NEW_YORK_CLOSE!r} or an IANA name such as Europe/Athens; "
            "where the system has no zones (Windows), install the package tzdata",
        ) from error


def _offset(zone: ZoneInfo, utc_msc: int) -> int:
    moment = dt.datetime.fromtimestamp(utc_msc // 1000, zone)
    return round((moment.utcoffset() or dt.timedelta()).total_seconds()) * 1000


def _iana_changes(zone: ZoneInfo) -> Iterator[tuple[int, int]]:
    """Yield the changes of a zone, found by looking once a week and then closer."""
    low, before = _year_msc(FIRST_YEAR), _offset(zone, _year_msc(FIRST_YEAR))
    end = _year_msc(LAST_YEAR + 1)
    while low < end:
        high = low + _PROBE_MS
        after = _offset(zone, high)
        if after != before:
            since, until = low // 1000, high // 1000
            while until - since > 1:
                middle = (since + until) // 2
                if _offset(zone, middle * 1000) == before:
                    since = middle
                else:
                    until = middle
            yield until * 1000, after
        low, before = high, after
