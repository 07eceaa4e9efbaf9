"""The invariants: what must hold after every step, whatever went wrong.

The witness knows everything: the broker's books, the disk, who runs. It
judges by them and by the stream of events, never by what the guard believes.
The first violation ends the run.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from actors.clock import VirtualClock
from actors.events import Event, Kind
from actors.messages import Execute
from actors.names import CONNECTOR, MONITOR, START_ORDER
from defence.orders import Intent, OutcomeKind
from defence.trade import Standing
from storage.fields import action_from, alert_from, pending_from, trade_from
from storage.keys import number_key
from storage.layout import (
    ACTION_IDS,
    ACTIONS,
    ALERTS,
    HISTORY_IDS,
    INTENTS,
    TRADES,
)
from supervisors.children import VITAL
from supervisors.slot import ChildState
from terminals.simulated import SimulatedTerminal
from tests.simulation.disk import Disk, MemoryView
from tests.simulation.door import OrderWitness

if TYPE_CHECKING:
    from tests.simulation.process import Process

LIMIT = 3  # restarts of the Monitor
PERIOD = 3600.0
ALERT_WITHIN = 60.0
MANY_TIMERS = 300
ENDED = (OutcomeKind.DONE, OutcomeKind.PARTIAL, OutcomeKind.NOT_DONE, OutcomeKind.NOT_SENT)


class Violated(Exception):  # noqa: N818 - named by what happened
    """An invariant does not hold."""

    def __init__(self, invariant: str, what: str) -> None:
        super().__init__(f"{invariant}: {what}")
        self.invariant = invariant


@dataclass(slots=True)
class Charge:
    """An automatic restart of the Monitor."""

    at: float  # of the process's monotonic clock
    wall: float
    durable: bool


@dataclass(slots=True)
class Life:
    """What the witness keeps of the process that runs."""

    process: Process
    reconciled: bool = False
    paused: bool = False  # then no cycle is to be expected
    cycles: int = 0
    manual: set[str] = field(default_factory=set)  # children whose next start ops asked for
    escalated: dict[str, tuple[float, int]] = field(default_factory=dict)  # since, notices before
    said_ready: bool = False
    stopped: list[str] = field(default_factory=list)
    fenced: set[tuple[str | None, int | None]] = field(default_factory=set)
    starts: Counter[tuple[str | None, int | None]] = field(default_factory=Counter)
    ends: Counter[tuple[str | None, int | None]] = field(default_factory=Counter)


class Witness(OrderWitness):
    """Sees everything, and says what is wrong."""

    def __init__(self, clock: VirtualClock, disk: Disk, terminal: SimulatedTerminal) -> None:
        self.violation: Violated | None = None
        self.acknowledged: dict[int, float] = {}  # identifier -> when
        self.created: defaultdict[int, set[str]] = defaultdict(set)
        self.released: Counter[int] = Counter()
        self.lied: set[int] = set()  # positions that were replaced under their identifier
        self._clock = clock
        self._disk = disk
        self._terminal = terminal
        self._life: Life | None = None
        self._charges: list[Charge] = []
        self._full_since_charge = False
        self._full_lately = False
        self._outcomes: Counter[str] = Counter()
        self._executed: Counter[str] = Counter()
        self._steps: Counter[tuple[int, str]] = Counter()
        self._before: dict[int, tuple[float, float]] = {}
        self._kept: set[bytes] = set()
        self._turn = 0
        self._newest = -1

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
            self._fail("stop ends everything in order", f"stopped {life.stopped}")
        for name, slot in life.process.slots.items():
            counts = slot.mailbox.counts()
            if counts.waiting or counts.in_hand or slot.live:
                self._fail("stop ends everything in order", f"{name} has {counts}")
        if self._disk.locked:
            self._fail("stop ends everything in order", "the lock is still held")

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
                self._fail("mailbox counts balance", f"{one.name}: {counts}")
        if self._turn % 64 == 0:
            self._now_and_then(life)
        if self.violation is not None:
            raise self.violation

    def _now_and_then(self, life: Life) -> None:
        for name, slot in life.process.slots.items():
            if not slot.mailbox.counts().balanced:
                self._fail("mailbox counts balance", f"{name}: {slot.mailbox.counts()}")
        timers = len(life.process.runtime._heap)
        if timers > MANY_TIMERS:
            self._fail("timers do not pile up", f"{timers} wait")
        self._alerted(life)
        self._ready_means_ready(life)

    def _ready_means_ready(self, life: Life) -> None:
        guard, slots = life.process.guard, life.process.slots
        if guard.over or not guard.health().ready:
            return
        name = "ready is only said when reconciled and monitored"
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
                if self._notices(child) <= before and not self._full_lately:
                    self._fail("the 4th failure is escalated and alerted", f"no alert for {child}")

    def _notices(self, child: str) -> int:
        """Return how often people were told in the outbox that a child is down."""
        view = MemoryView(self._disk.stores.get("outbox", {}))
        alerts = (alert_from(fields) for _, fields in view.items(ALERTS))
        return sum(one.count for one in alerts if one.key == f"escalated:{child}")

    # -- events

    def _guarded(self, look: Any) -> None:
        """Keep a violation for the next turn: the one who publishes must not die of it."""
        try:
            look()
        except Violated as violation:
            self.violation = self.violation or violation

    def _event(self, event: Event) -> None:
        life = self._life
        if life is None or not life.process.alive:
            return
        who = (event.child, event.incarnation)
        match event.kind:
            case Kind.STARTED:
                life.starts[who] += 1
                if life.starts[who] > 1:
                    self._fail("one life, one start", f"{who} started again")
                self._started(life, event)
            case Kind.EXITED:
                life.ends[who] += 1
                if life.ends[who] > 1:
                    self._fail("one life, one exit report", f"{who} ended twice")
                one = life.process.lives.get(who)
                if one is not None and not one.done and who not in life.fenced:
                    self._fail("one life, one exit report", f"{who} lives, and is called dead")
            case Kind.FENCED:
                life.fenced.add(who)
            case Kind.BUDGET_RESET if event.child == MONITOR:
                self._charges.clear()
                life.manual.add(MONITOR)
            case Kind.BUDGET_RESET:
                life.manual.add(str(event.child))
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
        if MONITOR in life.manual:
            life.manual.discard(MONITOR)
            return
        now = self._clock.monotonic()
        self._charges = [one for one in self._charges if now < one.at + PERIOD]
        if len(self._charges) >= LIMIT:
            ages = [round(now - one.at, 3) for one in self._charges]
            self._fail("at most 3 automatic restarts in any hour", f"one more after {ages}")
        durable = not (self._disk.full or self._full_since_charge)
        self._full_since_charge = self._disk.full
        self._charges.append(Charge(now, self._clock.wall(), durable))

    def disk_was_full(self) -> None:
        """A charge of that time may not have been written, nor an alert."""
        self._full_since_charge = self._full_lately = True

    def _retry_is_planned(self, event: Event) -> None:
        retry = event.facts.get("retry_in")
        if isinstance(retry, float) and not 0 <= retry <= PERIOD + 1.0:
            self._fail("an escalated child is tried again in time", f"{event.line()}")

    def _said_ready(self, life: Life) -> None:
        life.said_ready = True
        name = "ready is only said when reconciled and monitored"
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
            self._fail(
                "exactly one outcome for each order", f"{intent} has another: {event.line()}"
            )

    # -- orders

    def before_order(self, request: Any) -> None:
        """The permit is held: whoever sends must be the one who may."""
        life = self._life
        if life is None or not life.process.alive:
            self._guarded(lambda: self._fail("a dead process sends no order", str(request)))
            return
        one = life.process.runtime.running
        slot = life.process.slots[CONNECTOR]
        if one is None or one.name != CONNECTOR or one.number != slot.number or not slot.live:
            who = "nobody" if one is None else f"{one.name}#{one.number}"
            self._guarded(
                lambda: self._fail(
                    "a fenced incarnation sends no order", f"{who} sends; now #{slot.number}"
                )
            )
        intent = self._intent(life)
        monitor = life.process.slots[MONITOR]
        if intent is not None and (intent.decided_by != monitor.number or not monitor.live):
            self._guarded(
                lambda: self._fail(
                    "a fenced incarnation sends no order",
                    f"decided by monitor #{intent.decided_by}; now #{monitor.number}",
                )
            )
        book = self._terminal._broker.book.positions.values()
        self._before = {one.identifier: (one.sl, one.volume) for one in book}

    def after_order(self, request: Any) -> None:
        """The broker has done what it does."""
        self._guarded(lambda: self._after_order(request))

    def _after_order(self, request: Any) -> None:
        positions = {p.identifier: p for p in self._terminal._broker.book.positions.values()}
        life = self._life
        intent = None if life is None else self._intent(life)
        done = False
        for identifier, (stop, volume) in self._before.items():
            now = positions.get(identifier)
            if now is None or now.volume < volume:
                done = True
                continue
            if now.sl != stop:
                done = True
                wider = stop != 0.0 and (now.sl == 0.0 or (now.sl - stop) * now.sign < 0)
                if wider:
                    self._fail("no stop is ever widened", f"{identifier}: {stop} to {now.sl}")
        if intent is None or not done:
            return
        self._executed[intent.id] += 1
        if self._executed[intent.id] > 1:
            self._fail("at most one order per decision", f"{intent.id} was carried out again")
        if intent.step is not None:
            key = (intent.identifier, intent.step.value)
            self._steps[key] += 1
            if self._steps[key] > 1 + self.released[intent.identifier]:
                self._fail("at most one order per decision", f"step {key} was carried out again")

    @staticmethod
    def _intent(life: Life) -> Intent | None:
        one = life.process.runtime.running
        letter = None if one is None else one.actor.letter
        message = None if letter is None else letter.message
        return message.intent if isinstance(message, Execute) else None

    # -- the disk

    def committed(self, store: str, when: str) -> None:
        """A commit has come through."""
        if store == "trades" and when == "after":
            self._guarded(self._look_at_trades)

    def _look_at_trades(self) -> None:
        table = self._disk.stores["trades"].get(TRADES)
        keys = set() if table is None else set(table.keys)
        gone, self._kept = self._kept - keys, keys
        there = {number_key(p.identifier, field="") for p in self._positions()}
        for key in gone & there:
            identifier = int.from_bytes(key, "big")
            if identifier not in self.lied:
                self._fail("nothing is removed on an unknown read", f"{identifier} is open")
        tickets = Counter(trade.ticket for trade in self._trades() if trade.active)
        twice = [ticket for ticket, n in tickets.items() if n > 1]
        if twice:
            self._fail("each ticket once", f"{twice} are guarded twice")
        self._nothing_is_lost()

    def acknowledge(self, identifier: int, request: str, created: bool) -> None:
        """Somebody was told that the trade is under guard."""
        self.acknowledged[identifier] = self._clock.monotonic()
        self._nothing_is_lost()
        if created:
            self.created[identifier].add(request)
            if len(self.created[identifier]) > 1 + self.released[identifier]:
                self._fail("each ticket once", f"{identifier} was created twice")

    def _nothing_is_lost(self) -> None:
        view = MemoryView(self._disk.stores.get("trades", {}))
        for identifier in self.acknowledged:
            key = number_key(identifier, field="")
            if not view.has(TRADES, key) and view.newest_key(HISTORY_IDS, key) is None:
                self._fail("what was acknowledged is there", f"{identifier} is not on the disk")

    def _trades(self) -> Iterator[Any]:
        view = MemoryView(self._disk.stores.get("trades", {}))
        return (trade_from(fields) for _, fields in view.items(TRADES))

    def _positions(self) -> Iterator[Any]:
        return iter(self._terminal._broker.book.positions.values())

    # -- at the end

    def at_the_end(self, *, settled: bool) -> None:
        """Look once more at everything; `settled`: nothing went wrong for a while."""
        self._nothing_is_lost()
        view = MemoryView(self._disk.stores.get("trades", {}))
        pending = [pending_from(fields).intent for _, fields in view.items(INTENTS)]
        if settled and pending:
            late = [one for one in pending if self._clock.wall() - one.decided_at > 300.0]
            if late:
                self._fail("exactly one outcome for each order", f"in doubt: {late[0]}")
        for intent_id, n in self._executed.items():
            if n and not view.has(ACTION_IDS, intent_id.encode()) and not pending:
                self._fail("exactly one outcome for each order", f"{intent_id} has none")
        actions = [action_from(fields) for _, fields in view.items(ACTIONS)]
        for action in actions:
            unknown = action.outcome is not None and action.outcome.kind is OutcomeKind.UNKNOWN
            if settled and unknown and all(one.id != action.id for one in pending):
                self._fail("exactly one outcome for each order", f"{action.id} stays unknown")
        if settled:
            self._everybody_is_guarded()

    def _everybody_is_guarded(self) -> None:
        known = {t.identifier: t for t in self._trades()}
        there = {p.identifier: p for p in self._positions()}
        for identifier in there:
            if identifier not in known:
                self._fail("liveness", f"position {identifier} is not in the book")
        for identifier, trade in known.items():
            if trade.standing is Standing.GUARDED and identifier not in there:
                self._fail("liveness", f"trade {identifier} is guarded, its position is gone")

    def not_ready(self, why: str) -> None:
        """The guard did not come back although nothing goes wrong any more."""
        self._fail("liveness", why)

    def _fail(self, invariant: str, what: str) -> None:
        raise Violated(invariant, f"{what} (at {self._clock.monotonic():.1f} s)")

    @property
    def life(self) -> Life | None:
        """What is kept of the process that runs."""
        return self._life
