"""How market time runs beside the caller's time."""

from __future__ import annotations

import math
from collections.abc import Callable

from defence.errors import Invalid


class MarketClock:
    """Market time: `begin + (now - now_at_begin) * speed`, in milliseconds.

    With `speed` 0, as fast as possible, only `step_on` moves it, by `step`
    seconds a call. `advance` moves it at any speed. If the caller's time goes
    back, so does this; the broker does not follow.
    """

    def __init__(self, now: Callable[[], float], *, speed: float, step: float) -> None:
        """Take `now` in seconds. Raises Invalid unless speed >= 0 and step > 0."""
        if not (math.isfinite(speed) and speed >= 0.0):
            raise Invalid(
                f"{speed} is no speed", field="speed", value=speed, remedy="give 0 or more"
            )
        if not (math.isfinite(step) and step > 0.0):
            raise Invalid(
                f"{step} is no step", field="step", value=step, remedy="give seconds above 0"
            )
        self._now = now
        self.speed = speed
        self.step = step
        self._begin_msc = 0
        self._began = now()
        self._added_msc = 0.0

    def begin(self, at_msc: int) -> None:
        """Set market time, from which it runs on now."""
        self._begin_msc = at_msc
        self._began = self._now()
        self._added_msc = 0.0

    def advance(self, seconds: float) -> None:
        """Move market time on. Raises Invalid for going back."""
        if not (math.isfinite(seconds) and seconds >= 0.0):
            raise Invalid(
                f"time cannot move by {seconds} s",
                field="seconds",
                value=seconds,
                remedy="give 0 or more",
            )
        self._added_msc += seconds * 1000.0

    def step_on(self) -> None:
        """Take one step, if time runs as fast as possible; else nothing."""
        if self.speed == 0.0:
            self._added_msc += self.step * 1000.0

    @property
    def msc(self) -> int:
        """Market time now, in milliseconds."""
        run = (self._now() - self._began) * self.speed * 1000.0
        return self._begin_msc + int(run + self._added_msc)
