"""When details may be compacted: how old they must be, and whether the clock can be believed.

Compacting cannot be undone, and the wall clock is the only measure of age. So
a clock that leaps ahead is not believed at once: a machine whose clock shows
the wrong year for some minutes after it was switched on must not lose its
history by it. A clock set back makes everything younger, which is safe.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from defence.days import DAY

LEAP: Final = 3600.0  # seconds by which the wall clock may outrun the steady one unnoticed
AWAY: Final = 2 * 86_400.0  # seconds a guard may be down before its clock is doubted at the start
STEADY_FOR: Final = 600.0  # seconds for which a doubted clock must run on as it should


def horizon(now: float, days: float) -> float:
    """Return the moment before which details are compacted: a UTC midnight.

    Whole days only, so that a day's summary is complete, and every record is
    kept for at least `days`. Epoch seconds; never below 0.
    """
    return max(0.0, math.floor((now - days * DAY) / DAY) * float(DAY))


@dataclass(frozen=True, slots=True)
class ClockWatch:
    """The two clocks as last seen; `doubted_at` is the steady one when they last disagreed."""

    wall: float
    monotonic: float
    doubted_at: float | None = None

    @property
    def wait(self) -> float:
        """Seconds until the clock is believed; 0 if it is."""
        if self.doubted_at is None:
            return 0.0
        return max(0.0, self.doubted_at + STEADY_FOR - self.monotonic)


def first_look(wall: float, monotonic: float, last: float | None) -> ClockWatch:
    """Return the watch at a start; `last` is when the clock was believed last, if ever."""
    doubted = last is None or wall - last > AWAY
    return ClockWatch(wall, monotonic, monotonic if doubted else None)


def next_look(watch: ClockWatch, wall: float, monotonic: float) -> ClockWatch:
    """Return the watch at a later look."""
    gained = (wall - watch.wall) - (monotonic - watch.monotonic)
    return ClockWatch(wall, monotonic, monotonic if gained > LEAP else watch.doubted_at)
