"""The Registry's retention: old history becomes sums by day, a little at a time.

A step is one short transaction; between two of them the Registry handles what
has come in, so no registration waits for more than a step. When nothing more
is old enough, it looks again in an hour.
"""

from __future__ import annotations

from typing import Final

from actors.actor import GuardActor
from actors.messages import Compact
from actors.runtime import Timer
from defence.errors import DtmsError, Fault
from defence.retention import ClockWatch, first_look, horizon, next_look
from storage.compaction import Resume
from storage.trades import TradeStore

FIRST: Final = 5.0  # seconds after a start: what makes the guard ready comes first
EVERY: Final = 3600.0  # seconds between two passes
PAUSE: Final = 0.05  # seconds between two steps, at least
SHARE: Final = 4.0  # a pause is so many times as long as the step before it


class Retention:
    """Plans and takes the steps. `days` is how long details are kept; 0 is for ever."""

    def __init__(self, owner: GuardActor, store: TradeStore, days: float) -> None:
        self._owner = owner
        self._store = store
        self._days = days
        self._watch: ClockWatch | None = None
        self._resume: Resume | None = None
        self._timer: Timer | None = None
        self._done = [0, 0]  # trades and actions compacted in this pass

    def begin(self) -> None:
        """Plan the first step of an incarnation."""
        if self._days > 0:
            self._plan(FIRST)

    def step(self) -> None:
        """Take a step, if the clock can be believed, and plan the next."""
        if self._days <= 0:
            return
        clock = self._owner.clock
        wall, began = clock.wall(), clock.monotonic()
        if self._watch is None:
            self._watch = first_look(wall, began, self._store.compacted_at())
        else:
            self._watch = next_look(self._watch, wall, began)
        if self._watch.wait > 0:
            self._plan(self._watch.wait)
            return
        try:
            over = self._compact(wall)
        except DtmsError as error:
            if isinstance(error, Fault):
                raise
            # No room, or a record that cannot be read: details stay, and stay readable.
            self._owner.context.log.error("old history could not be compacted: {}", error)
            self._resume = None
            over = True
        self._plan(EVERY if over else max(PAUSE, SHARE * (clock.monotonic() - began)))

    def _compact(self, wall: float) -> bool:
        """Take one step; return whether the pass is over."""
        owner = self._owner
        owner.context.points.reach("registry.before_compact")
        with owner.critical(), owner.context.lease.hold():
            step = self._store.compact(horizon(wall, self._days), self._resume)
            if step.resume is None:
                self._store.note_compacted(wall)
        owner.context.points.reach("registry.after_compact")
        self._resume = step.resume
        self._done[0] += step.trades
        self._done[1] += step.actions
        if step.resume is not None:
            return False
        if any(self._done):
            owner.context.log.info(
                "compacted {} trades and {} actions older than {:g} days",
                *self._done,
                self._days,
            )
        self._done = [0, 0]
        return True

    def _plan(self, delay: float) -> None:
        """Have one next step planned, whatever timers a forerunner left."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._owner.later(delay, Compact(), merge="compact")
