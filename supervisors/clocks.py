"""Did the host sleep, or its clock jump? Then nobody may be judged for being late."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pause:
    """How late a look came, and how far the wall clock moved against the monotonic one."""

    late: float
    jump: float

    @property
    def seconds(self) -> float:
        """The size of it."""
        return max(self.late, abs(self.jump))


class ClockWatch:
    """Looks at two clocks at least every `every` seconds; `tolerance` is no pause yet."""

    def __init__(self, every: float, tolerance: float) -> None:
        self._every = every
        self._tolerance = tolerance
        self._last = 0.0
        self._offset = 0.0

    def begin(self, monotonic: float, wall: float) -> None:
        """Measure from here."""
        self._last, self._offset = monotonic, wall - monotonic

    def look(self, monotonic: float, wall: float) -> Pause | None:
        """Return the pause since the last look, None if there was none."""
        pause = Pause(
            late=monotonic - self._last - self._every, jump=wall - monotonic - self._offset
        )
        self.begin(monotonic, wall)
        return pause if max(pause.late, abs(pause.jump)) > self._tolerance else None
