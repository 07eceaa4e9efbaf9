"""A child's slot: what outlives its incarnations."""

from __future__ import annotations

from enum import StrEnum

from actors.actor import Vitals
from actors.incarnation import Incarnation
from actors.life import ExitReport
from actors.mailbox import Mailbox
from actors.runtime import Timer
from supervisors.budget import RestartBudget
from supervisors.spec import ChildSpec
from terminals.lease import Lease


class ChildState(StrEnum):
    """Where a child is in its life."""

    PENDING = "pending"
    STARTING = "starting"
    READY = "ready"
    BACKOFF = "backoff"
    ESCALATED = "escalated"
    STOPPING = "stopping"
    STOPPED = "stopped"


class ChildSlot:
    """Spec, mailbox, budget, and the incarnation of the moment. The root owns it."""

    def __init__(self, spec: ChildSpec, mailbox: Mailbox) -> None:
        self.spec = spec
        self.name = spec.name
        self.mailbox = mailbox
        self.budget = RestartBudget(spec.max_restarts, spec.period)
        self.state = ChildState.PENDING
        self.number = 0
        self.incarnation: Incarnation | None = None
        self.live = False  # an incarnation was begun whose end has not been reported
        self.vitals: Vitals | None = None
        self.lease: Lease | None = None
        self.was_ready = False  # some incarnation became ready
        self.ending: ExitReport | None = None  # fenced; it waits for its spec's `release`
        self.releases = 0  # how often that was called for it
        self.found_dead = 0  # the incarnation that an earlier look found ended, unreported
        self.manual = False  # the stop under way is part of a restart by ops
        self.epoch = 0  # moves on with every new plan for this child; old timers are void
        self.judge_from = 0.0  # hangs and silence are measured from here at the earliest
        self.timer: Timer | None = None
        self.shown_in_window = 0  # charges, as last told to the stream
        self.failures: list[str] = []  # since it last escalated or was reset

    def busy_for(self, now: float) -> float:
        """Return how long the child has handled one message, 0 if it is not."""
        since = None if self.vitals is None else self.vitals.busy_since
        return 0.0 if since is None else now - max(since, self.judge_from)

    def quiet_for(self, now: float) -> float:
        """Return how long the child has made no progress, 0 if none is to be expected."""
        if self.vitals is None or self.vitals.excused is not None:
            return 0.0
        return now - max(self.vitals.progress_at, self.judge_from)

    def cancel_timer(self) -> None:
        """Void the timer of the present plan."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
