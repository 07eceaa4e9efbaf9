"""Time is passed in: nothing below the command line reads a clock of its own."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Two clocks: `wall` may jump and is what is stored, `monotonic` never goes back."""

    def wall(self) -> float:
        """Return seconds since the epoch, UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds since an arbitrary moment."""
        ...


class SystemClock:
    """The machine's clocks. Asked twice for each message: no call of our own in between."""

    wall = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)


class VirtualClock:
    """A clock that moves only when it is told to; for the simulated runtime."""

    def __init__(self, wall: float = 1_700_000_000.0) -> None:
        self._monotonic = 0.0
        self._offset = wall

    def wall(self) -> float:
        """Return virtual seconds since the epoch."""
        return self._monotonic + self._offset

    def monotonic(self) -> float:
        """Return virtual seconds since the clock was made."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let `seconds` pass on both clocks."""
        if seconds < 0:
            raise ValueError("time does not run backwards; use jump_wall for a clock change")
        self._monotonic += seconds

    def jump_wall(self, seconds: float) -> None:
        """Change the wall clock alone, as a clock correction does."""
        self._offset += seconds
