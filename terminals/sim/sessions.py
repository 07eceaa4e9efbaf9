"""When a symbol trades: spans of the broker's week.

A week is a tuple of half-open spans in minutes since Monday 00:00 of the
broker's wall time, in order and apart; None is always (docs/broker.md).
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from defence.errors import Invalid

Week: TypeAlias = tuple[tuple[int, int], ...]

MINUTE_MS: Final = 60_000
DAY_MINUTES: Final = 24 * 60
WEEK_MINUTES: Final = 7 * DAY_MINUTES
WEEK_MS: Final = WEEK_MINUTES * MINUTE_MS
MONDAY_MS: Final = 4 * DAY_MINUTES * MINUTE_MS  # the epoch was a Thursday


def five_days(opens: int = 0, closes: int = DAY_MINUTES, *, friday: int | None = None) -> Week:
    """Return a week from Monday to Friday, each day from one minute to another.

    On Friday it ends at `friday`, if given. Days that touch become one span.
    """
    spans: list[tuple[int, int]] = []
    for day in range(5):
        begin = day * DAY_MINUTES + opens
        end = day * DAY_MINUTES + (friday if day == 4 and friday is not None else closes)
        if spans and spans[-1][1] == begin:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((begin, end))
    return tuple(spans)


class Opening(NamedTuple):
    """When trading opens, and for how long it was closed before; milliseconds."""

    wall_msc: int
    closed_ms: int


class Hours:
    """A week to be asked about; always open without one. Times are wall milliseconds."""

    def __init__(self, week: Week | None) -> None:
        """Raise Invalid for spans that are empty, overlap, or leave the week."""
        if week is not None:
            _check(week)
        self.always = week is None
        spans = week or ()
        self._edges = [edge * MINUTE_MS for span in spans for edge in span]
        self._edge_array = np.array(self._edges, dtype=np.int64)

    def is_open(self, wall_msc: int) -> bool:
        """Whether trading is open at a time."""
        if self.always:
            return True
        return bisect_right(self._edges, (wall_msc - MONDAY_MS) % WEEK_MS) % 2 == 1

    def mask(self, wall_msc: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Say of each time whether trading is open."""
        if self.always:
            return np.ones(len(wall_msc), dtype=np.bool_)
        within = (wall_msc - MONDAY_MS) % WEEK_MS
        inside: npt.NDArray[np.bool_] = (
            np.searchsorted(self._edge_array, within, side="right") % 2 == 1
        )
        return inside

    def whole(self, since_msc: int, until_msc: int) -> bool | None:
        """Say whether the span [since, until) is all open or all closed; None if it is mixed."""
        if self.always:
            return True
        within = (since_msc - MONDAY_MS) % WEEK_MS
        index = bisect_right(self._edges, within)
        edge = self._edges[index] if index < len(self._edges) else WEEK_MS + self._edges[0]
        return None if within + (until_msc - since_msc) > edge else index % 2 == 1

    def openings(self, since_msc: int, until_msc: int) -> list[Opening]:
        """Return the openings in [since, until) that follow a time of being closed."""
        found: list[Opening] = []
        if self.always:
            return found
        week = (since_msc - MONDAY_MS) // WEEK_MS * WEEK_MS + MONDAY_MS
        while week < until_msc:
            before = self._edges[-1] - WEEK_MS
            for opens, closes in zip(self._edges[::2], self._edges[1::2], strict=True):
                if opens > before and since_msc <= week + opens < until_msc:
                    found.append(Opening(week + opens, opens - before))
                before = closes
            week += WEEK_MS
        return found


def _check(week: Week) -> None:
    edges = [edge for span in week for edge in span]
    apart = all(one <= other for one, other in pairwise(edges))
    if (
        not edges
        or not apart
        or any(begin >= end for begin, end in week)
        or not 0 <= edges[0] <= edges[-1] <= WEEK_MINUTES
    ):
        raise Invalid(
            f"{week!r} is no week",
            field="week",
            value=week,
            remedy="spans of minutes from Monday 00:00, in order, apart, within 0 to 10,080",
        )
