"""Recovery: reconciliation at start, after a reconnect and on a schedule.

The rules are `defence.reconcile`; the Registry applies them. What is left to
this actor is to fetch what they need: a look at the broker, then the history
of those positions that cannot be explained without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from actors.actor import Context, GuardActor
from actors.events import Kind
from actors.life import Answer
from actors.messages import (
    LookUpHistory,
    Observe,
    Observed,
    Overdue,
    Raise,
    Reconcile,
    TakeSnapshot,
)
from actors.names import ALERT, CONNECTOR, REGISTRY
from actors.runtime import Timer
from defence.alerts import Notice, Severity
from defence.broker import Snapshot, Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoverySettings:
    """Times in seconds. After `attempts` rounds that leave something open, people are told."""

    every: float = 300.0
    again_after: float = 31.0  # a little more than the shortest wait between two known reads
    retry_first: float = 0.5
    retry_limit: float = 10.0
    gap: float = 1.0  # at least this long between two reconciliations
    overdue_after: float = 20.0
    give_up_after: float = 60.0  # later still: the answer is no longer waited for
    attempts: int = 20


class Recovery(GuardActor):
    """Owns the reconciliation under way, if any."""

    ready_on_start: ClassVar[bool] = False

    def __init__(self, context: Context, settings: RecoverySettings) -> None:
        super().__init__(context)
        self._settings = settings
        self._reason: str | None = None  # of the one under way
        self._round = 0
        self._again: str | None = None
        self._waits_for: str | None = None
        self._overdue_timer: Timer | None = None
        self._next: Timer | None = None
        self._snapshot: Snapshot | None = None
        self._with_history = False
        self._failures = 0
        self._left_open = 0
        self._changes = 0
        self._last_end = float("-inf")

    def on_start(self) -> None:
        """Reconcile; ready once that is done."""
        self.tell(self.context.name, Reconcile("start"), merge="reconcile")

    def receive(self, message: object) -> object:
        """See `actors.messages`, recovery."""
        match message:
            case Reconcile():
                self._ask(message.reason)
                return {"reconciling": True}
            case Overdue():
                self._overdue(message)
            case _:
                return super().receive(message)
        return None

    def on_answer(self, answer: Answer) -> None:
        """Go on with the reconciliation under way."""
        if answer.request_id != self._waits_for:
            return
        self._waits_for = None
        value = answer.value
        if answer.error is not None:
            self._failed(f"{answer.child}: {answer.error}")
        elif isinstance(value, Unknown):
            self._failed(value.reason)
        elif isinstance(value, Snapshot):
            self._snapshot = value
            self._waits_for = self.request(REGISTRY, Observe(value))
        elif isinstance(value, Observed):
            self._observed(value)
        elif isinstance(value, dict) and self._snapshot is not None:
            self._with_history = True
            self._waits_for = self.request(REGISTRY, Observe(self._snapshot, value))

    def _ask(self, reason: str) -> None:
        if self._reason is not None:
            if self._waits_for is not None:
                self._again = reason
            else:
                self._begin(self._reason)  # a retry that was due
            return
        wait = self._last_end + self._settings.gap - self.clock.monotonic()
        if wait > 0:
            self.later(wait, Reconcile(reason), merge="reconcile")
            return
        self._changes = 0
        self._begin(reason)

    def _begin(self, reason: str) -> None:
        self._reason = reason
        self._round += 1
        self._with_history = False
        overdue, give_up = self._settings.overdue_after, self._settings.give_up_after
        self._waits_for = self.request(CONNECTOR, TakeSnapshot(), within=overdue + give_up)
        self._plan_overdue(overdue, Overdue(self._round))

    def _overdue(self, message: Overdue) -> None:
        if message.cycle != self._round or self._waits_for is None:
            return
        if message.given_up:
            self._waits_for = None
            self._failed("an answer never came")
            return
        self.park("an answer is overdue")
        self._plan_overdue(self._settings.give_up_after, Overdue(self._round, given_up=True))

    def _plan_overdue(self, delay: float, message: Overdue) -> None:
        if self._overdue_timer is not None:
            self._overdue_timer.cancel()
        self._overdue_timer = self.later(delay, message)

    def _observed(self, observed: Observed) -> None:
        if observed.unknown is not None:
            self._failed(observed.unknown)
            return
        self._changes += observed.changes
        if observed.needs_history and not self._with_history:
            wanted = tuple(sorted(observed.needs_history))
            self._waits_for = self.request(CONNECTOR, LookUpHistory(wanted))
            return
        self._finish(observed)

    def _finish(self, observed: Observed) -> None:
        reason, self._reason = self._reason, None
        self._failures = 0
        self._last_end = self.clock.monotonic()
        left_open = observed.waiting | observed.needs_history
        self.emit(Kind.RECONCILED, reason=reason, changes=self._changes, left_open=len(left_open))
        self.park(None)
        self.ready()
        self._left_open = self._left_open + 1 if left_open else 0
        if self._left_open == self._settings.attempts:
            self._tell_left_open(left_open)
        if self._again is not None:
            again, self._again = self._again, None
            self.tell(self.context.name, Reconcile(again), merge="reconcile")
        elif left_open:
            self._schedule(self._settings.again_after, "a further read")
        else:
            self._schedule(self._settings.every, "schedule")

    def _schedule(self, delay: float, reason: str) -> None:
        """Have one next reconciliation planned, not one for each that was asked for."""
        for timer in (self._next, self._overdue_timer):
            if timer is not None:
                timer.cancel()
        self._next = self.later(delay, Reconcile(reason), merge="reconcile")

    def _failed(self, why: str) -> None:
        """Nothing changed; try again, with growing delays. The terminal's outage is not ours."""
        self.park(why)
        self._failures += 1
        settings = self._settings
        delay = min(settings.retry_limit, settings.retry_first * 2 ** min(self._failures - 1, 20))
        self._schedule(delay, "retry")

    def _tell_left_open(self, left_open: frozenset[int]) -> None:
        listed = ", ".join(str(identifier) for identifier in sorted(left_open)[:10])
        notice = Notice(
            key="left_open",
            severity=Severity.CRITICAL,
            title="Reconciliation does not come to an end",
            text=f"{len(left_open)} positions stay unexplained after "
            f"{self._settings.attempts} rounds: {listed}. Look at them in the terminal.",
        )
        self.tell(ALERT, Raise(notice))
