"""The invariants: what must hold after every step, whatever went wrong.

The witness knows everything: the broker's books, the disk, who runs. It
judges by them and by the stream of events, never by what the guard believes.
The first violation ends the run.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from actors.clock import VirtualClock
from actors.events import Event, Kind
from actors.names import MONITOR, START_ORDER
from defence.orders import OutcomeKind
from storage.fields import alert_from
from storage.layout import (
    ALERTS,
)
from supervisors.children import VITAL
from supervisors.slot import ChildState
from terminals.sim.terminal import SimulatedTerminal
from tests.simulation.books import Books
from tests.simulation.disk import Disk, MemoryView
from tests.simulation.invariants import (
    ALERTED,
    BALANCE,
    IN_ORDER,
    LIVENESS,
    ONE_EXIT,
    ONE_OUTCOME,
    ONE_START,
    READY,
    RESTARTS,
    RETRIED,
    TIMERS,
)
from tests.simulation.lives import Charge, Life

if TYPE_CHECKING:
    from tests.simulation.process import Process

LIMIT = 3  # restarts of the Monitor
PERIOD = 3600.0
LATE_WRITES = 400.0  # seconds until what a full store did not take is written at last
ALERT_WITHIN = 60.0
SOON = 60.0  # seconds in which a restart by ops has begun, or is none
MANY_TIMERS = 300
ENDED = (OutcomeKind.DONE, OutcomeKind.PARTIAL, OutcomeKind.NOT_DONE, OutcomeKind.NOT_SENT)


class Witness(Books):
    """Sees everything, and says what is wrong."""

    def __init__(self, clock: VirtualClock, disk: Disk, terminal: SimulatedTerminal) -> None:
        super().__init__(clock, disk, terminal)
        self._charges: list[Charge] = []
        self._full_since_charge = False
        self._full_until = 0.0
        self._outcomes: Counter[str] = Counter()
        self._turn = 0

    # -- the lives of processes

    def begins(self, process: Process) -> None:
        """A process starts: its window is what the ledger tells it."""
        now, wall = self._clock.monotonic(), self._clock.wall()
        for one in self._charges:
            one.at = now - max(0.0, wall - one.wall)  # one dated in the future counts as now
        self._charges = [one for one in self._charges if one.durable]
        self._life = Life(process)
        process.guard.events.listen(lambda event: self._guarded(lambda: self._event(event)))
        process.runtime.watch = self.turn

    def ends_in_order(self) -> None:
        """A process was stopped: in the reverse of its start, with nothing left."""
        life = self._life
        if life is None or life.process.guard.events.newest == 0:
            return
        wanted = [name for name in reversed(START_ORDER) if name in life.stopped]
        if life.stopped != wanted or len(wanted) != len(START_ORDER):
            self._fail(IN_ORDER, f"stopped {life.stopped}")
        for name, slot in life.process.slots.items():
            counts = slot.mailbox.counts()
            if counts.waiting or counts.in_hand or slot.live:
                self._fail(IN_ORDER, f"{name} has {counts}")
        if self._disk.locked:
            self._fail(IN_ORDER, "the lock is still held")

    # -- after every turn

    def turn(self) -> None:
        """Look at what just ran; raises the first `Violated`."""
        if self.violation is not None:
            raise self.violation
        life = self._life
        if life is None:
            return
        self._turn += 1
        runtime, slots = life.process.runtime, life.process.slots
        one = runtime.running
        if one is not None and one.name in slots:
            counts = slots[one.name].mailbox.counts()
            if not counts.balanced:
                self._fail(BALANCE, f"{one.name}: {counts}")
        if self._turn % 64 == 0:
            self._now_and_then(life)
        if self.violation is not None:
            raise self.violation

    def _now_and_then(self, life: Life) -> None:
        for name, slot in life.process.slots.items():
            if not slot.mailbox.counts().balanced:
                self._fail(BALANCE, f"{name}: {slot.mailbox.counts()}")
        timers = len(life.process.runtime._heap)
        if timers > MANY_TIMERS:
            self._fail(TIMERS, f"{timers} wait")
        self._alerted(life)
        self._ready_means_ready(life)

    def _ready_means_ready(self, life: Life) -> None:
        guard, slots = life.process.guard, life.process.slots
        if guard.over or not guard.health().ready:
            return
        name = READY
        if not (life.reconciled and (life.cycles or life.paused)):
            self._fail(name, f"reconciled {life.reconciled}, cycles {life.cycles}")
        for child in VITAL:
            if slots[child].state is ChildState.ESCALATED:
                self._fail(name, f"{child} is escalated")

    def _alerted(self, life: Life) -> None:
        """An escalation is told, unless the process died or the alert actor is down."""
        now = self._clock.monotonic()
        alert = life.process.slots.get("alert")
        if alert is None or alert.state is not ChildState.READY or life.process.guard.over:
            life.escalated = {name: (now, n) for name, (_, n) in life.escalated.items()}
            return
        for child, (since, before) in list(life.escalated.items()):
            if now - since > ALERT_WITHIN:
                del life.escalated[child]
                if self._notices(child) <= before and now > self._full_until:
                    self._fail(ALERTED, f"no alert for {child}")

    def _notices(self, child: str) -> int:
        """Return how often people were told in the outbox that a child is down."""
        view = MemoryView(self._disk.stores.get("outbox", {}))
        alerts = (alert_from(fields) for _, fields in view.items(ALERTS))
        return sum(one.count for one in alerts if one.key == f"escalated:{child}")

    # -- events

    def _event(self, event: Event) -> None:
        life = self._life
        if life is None or not life.process.alive:
            return
        who = (event.child, event.incarnation)
        match event.kind:
            case Kind.STARTED:
                life.starts[who] += 1
                if life.starts[who] > 1:
                    self._fail(ONE_START, f"{who} started again")
                self._started(life, event)
            case Kind.EXITED:
                life.ends[who] += 1
                if life.ends[who] > 1:
                    self._fail(ONE_EXIT, f"{who} ended twice")
                one = life.process.lives.get(who)
                if one is not None and not one.done and who not in life.fenced:
                    self._fail(ONE_EXIT, f"{who} lives, and is called dead")
            case Kind.FENCED:
                life.fenced.add(who)
            case Kind.BUDGET_RESET:
                child = str(event.child)
                if child == MONITOR:
                    self._charges.clear()
                if life.process.slots[child].state is ChildState.ESCALATED:
                    self.ops_restart(child)
            case Kind.ESCALATED:
                child = str(event.child)
                life.escalated[child] = (self._clock.monotonic(), self._notices(child))
                self._retry_is_planned(event)
            case Kind.RECONCILED:
                life.reconciled = True
            case Kind.CONTROL:
                life.paused = life.paused or bool(event.facts["paused"])
            case Kind.CYCLE:
                life.cycles += 1
            case Kind.GUARD_READY:
                self._said_ready(life)
            case Kind.OUTCOME:
                self._outcome(event)
            case Kind.STAGE if event.facts.get("what") == "stopped":
                life.stopped.append(str(event.facts["stage"]))

    def _started(self, life: Life, event: Event) -> None:
        if event.child != MONITOR or event.incarnation == 1:
            return
        if self._asked_for(life, MONITOR):
            return
        now = self._clock.monotonic()
        self._charges = [one for one in self._charges if now < one.at + PERIOD]
        if len(self._charges) >= LIMIT:
            ages = [round(now - one.at, 3) for one in self._charges]
            self._fail(RESTARTS, f"one more after {ages}")
        durable = not (self._disk.full or self._full_since_charge)
        self._full_since_charge = self._disk.full
        self._charges.append(Charge(now, self._clock.wall(), durable))

    def ops_restart(self, child: str) -> None:
        """Ops have a child started: that is no automatic restart, if it comes soon."""
        if self._life is not None:
            self._life.manual.append((child, self._clock.monotonic() + SOON))

    def _asked_for(self, life: Life, child: str) -> bool:
        """Whether a start that ops asked for is to come; it is this one then."""
        now = self._clock.monotonic()
        life.manual = [one for one in life.manual if one[1] >= now]
        found = next((one for one in life.manual if one[0] == child), None)
        if found is not None:
            life.manual.remove(found)
        return found is not None

    def disk_was_full(self, seconds: float) -> None:
        """For so long a charge may not have been written, and for a while more no alert."""
        self._full_since_charge = True
        self._full_until = self._clock.monotonic() + seconds + LATE_WRITES

    def _retry_is_planned(self, event: Event) -> None:
        retry = event.facts.get("retry_in")
        if isinstance(retry, float) and not 0 <= retry <= PERIOD + 1.0:
            self._fail(RETRIED, f"{event.line()}")

    def _said_ready(self, life: Life) -> None:
        name = READY
        if not (life.reconciled and (life.cycles or life.paused)):
            self._fail(name, f"reconciled {life.reconciled}, cycles {life.cycles}")
        down = [n for n, slot in life.process.slots.items() if not slot.was_ready]
        if down:
            self._fail(name, f"{down} have not been ready")

    def _outcome(self, event: Event) -> None:
        if event.facts["outcome"] not in ENDED:
            return
        intent = str(event.facts["id"])
        self._outcomes[intent] += 1
        if self._outcomes[intent] > 1:
            self._fail(ONE_OUTCOME, f"{intent} has another: {event.line()}")

    def not_ready(self, why: str) -> None:
        """The guard did not come back although nothing goes wrong any more."""
        self._fail(LIVENESS, why)
