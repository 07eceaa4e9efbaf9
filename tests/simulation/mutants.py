"""Planted faults: what the simulation must find, and with which invariant.

Each breaks one promise of DESIGN in a way that a tired programmer could. The
list is the proof that the invariants look: `test_simulation_mutants.py` plants
them one by one and expects a seed that finds each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

from actors.connector import MT5Connector
from actors.journal import Journal
from actors.mailbox import Mailbox
from actors.monitor import Monitor
from actors.names import MONITOR
from actors.recovery import Recovery
from actors.registry import Registry
from actors.sending import Sending
from defence import policy
from defence.orders import OutcomeKind
from storage.ledger import LedgerStore
from storage.trades import TradeStore
from supervisors.budget import RestartBudget
from supervisors.ends import Ends
from supervisors.slot import ChildSlot
from supervisors.starting import Starting
from supervisors.stopping import Stopping
from supervisors.watchdog import Watchdog
from terminals import lease, reading
from tests.simulation.invariants import (
    ACKNOWLEDGED,
    ALERTED,
    BALANCE,
    FENCED,
    IN_ORDER,
    LIVENESS,
    ONE_EXIT,
    ONE_ORDER,
    ONE_OUTCOME,
    ONE_START,
    ONE_TICKET,
    READY,
    RESTARTS,
    RETRIED,
    STOPS,
    TIMERS,
    UNKNOWN,
)

Patch = tuple[object, str, Callable[[Any], Any]]  # whose, which, what it becomes


@dataclass(frozen=True, slots=True)
class Mutant:
    """A fault, and the invariant that should notice it first."""

    why: str
    patches: tuple[Patch, ...]
    invariants: tuple[str, ...]


def _off_by_one(_: Any) -> Any:
    return lambda self, now: self.in_window(now) <= self.max_restarts


def _short_window(_: Any) -> Any:
    def in_window(self: RestartBudget, now: float) -> int:
        self.charges = [at for at in self.charges if now < at + self.period / 2]
        return len(self.charges)

    return in_window


def _nothing(value: object = None) -> Callable[[Any], Any]:
    return lambda _original: lambda *_args, **_options: value


def _forgets_on_close(_: Any) -> Any:
    """A letter that was in hand at a fence is not put back."""

    def return_in_hand(self: Mailbox) -> None:
        self._in_hand.clear()

    return return_in_hand


def _settles_for_anybody(_: Any) -> Any:
    """A fenced incarnation settles its letter too: the counts say it ended twice."""

    def settle(self: Mailbox, letter: Any, _incarnation: int, *, value: object = None,
               error: Any = None, end: Any = None) -> bool:  # fmt: skip
        from actors.letters import End, answer

        with self._lock:
            self._in_hand.pop(id(letter), None)
            self._count(end or (End.FAILED if error else End.HANDLED))
        try:
            answer(letter, value, error)
        except Exception:  # noqa: BLE001 - it was answered before: that is the fault
            return True
        return True

    return settle


def _checked_by_the_sender(_: Any) -> Any:
    """The lease is looked at when the order is begun, not at the moment of its effect."""

    def enter(self: lease.Permit) -> None:
        for check in self._checks:
            check()

    return enter


def _never_attempted(original: Any) -> Any:
    """After a death in mid-order the successor sends it again."""

    def execute(self: Sending, intent: Any) -> None:
        if self._owner.letter is not None:
            self._owner.letter.attempted = False
        original(self, intent)

    return execute


def _none_is_empty(_: Any) -> Any:
    def rows_of(_terminal: Any, _what: str, call: Any) -> Any:
        return tuple(call() or ())

    return rows_of


def _widened(original: Any) -> Any:
    def tightened(record: Any, position: Any, market: Any) -> Any:
        stop = original(record, position, market)
        present = position.stop_loss
        if isinstance(stop, float) and present is not None:
            return round(present - position.direction.sign * 0.001, 5)
        return stop

    return tightened


def _ready_too_early(original: Any) -> Any:
    def on_start(self: Any) -> None:
        original(self)
        self.ready()

    return on_start


def _acknowledged_early(original: Any) -> Any:
    """The asker is answered although the commit failed or never came."""

    def transact(self: Registry, messages: Any, refusal: Any = None) -> Any:
        store: Any = self._store
        store.commit, kept = (lambda *_batches: None), store.commit
        try:
            return original(self, messages, refusal)
        finally:
            store.commit = kept

    return transact


def _told_twice(original: Any) -> Any:
    """An outcome that comes again is taken again."""

    def outcome(self: Journal, outcome: Any, draft: Any) -> None:
        known = outcome.intent_id in draft.book.pending
        original(self, outcome, draft)
        if not known and outcome.kind is not OutcomeKind.UNKNOWN:
            draft.then(lambda: self.tell(outcome))

    return outcome


def _any_intent_is_new(original: Any) -> Any:
    """The steps of a trade are forgotten with each outcome: the decision is made again."""

    def after_outcome(record: Any, intent: Any, outcome: Any, now: float, rules: Any) -> Any:
        changed = original(record, intent, outcome, now, rules)
        return replace(changed, steps=record.steps)

    return after_outcome


def _reports_twice(original: Any) -> Any:
    """Every end is reported twice."""

    def report(self: Starting, message: Any) -> None:
        original(self, message)
        original(self, message)

    return report


def _stale_reports_count(original: Any) -> Any:
    """An exit report counts for whoever lives now."""

    def exited(self: Ends, report: Any) -> None:
        original(self, replace(report, incarnation=self._roster.slots[report.child].number))

    return exited


def _in_start_order(original: Any) -> Any:
    def shut_down(self: Stopping, by: str, *, brief: bool = False) -> None:
        order, self._roster.order = self._roster.order, self._roster.order[::-1]
        try:
            original(self, by, brief=brief)
        finally:
            self._roster.order = order

    return shut_down


def _never_busy(_: Any) -> Any:
    return lambda self, now: 0.0


def _never_again(_: Any) -> Any:
    """A cycle that could not see plans no further one."""

    def end_unknown(self: Monitor, reason: str) -> None:
        self.park(reason)

    return end_unknown


def _waits_for_ever(_: Any) -> Any:
    def overdue(self: Monitor, message: Any) -> None:
        if self._waits_for is not None:
            self.park("an answer is overdue")

    return overdue


def _never_reconnects(_: Any) -> Any:
    return lambda self: None


def _piles_up(original: Any) -> Any:
    def schedule(self: Monitor, delay: float) -> None:
        for n in range(40):
            self.later(1e6 + n, "nothing")
        original(self, delay)

    return schedule


def _cannot_be_stuck(_: Any) -> Any:
    return lambda self: None


def _frees_late(_: Any) -> Any:
    """The next restart is planned for when the newest charge leaves the window, and again that."""
    return lambda self, now: now if self.allows(now) else self.charges[-1] + 2 * self.period


def _same_number(original: Any) -> Any:
    """A restarted Monitor takes its forerunner's number."""

    def spawn(self: Starting, slot: ChildSlot) -> None:
        if slot.name == MONITOR and slot.number:
            slot.number -= 1
        original(self, slot)

    return spawn


MUTANTS: dict[str, Mutant] = {
    "window-off-by-one": Mutant(
        "one restart too many is allowed",
        ((RestartBudget, "allows", _off_by_one),), (RESTARTS,),
    ),
    "window-too-short": Mutant(
        "charges leave the window after half its length",
        ((RestartBudget, "in_window", _short_window),), (RESTARTS,),
    ),
    "charge-forgotten": Mutant(
        "a restart is not charged in memory",
        ((RestartBudget, "charge", _nothing()),), (RESTARTS,),
    ),
    "ledger-not-written": Mutant(
        "charges do not outlive the process",
        ((LedgerStore, "add", _nothing()),), (RESTARTS,),
    ),
    "escalation-not-told": Mutant(
        "nobody is told that a child is down",
        (("supervisors.house.House", "escalated", _nothing()),), (ALERTED,),
    ),
    "acknowledged-before-commit": Mutant(
        "askers are answered though nothing was written",
        ((Registry, "_transact", _acknowledged_early),), (ACKNOWLEDGED,),
    ),
    "created-twice": Mutant(
        "what is registered already is registered anew",
        (("actors.registry", "admit", lambda original: lambda trade, **options: original(
            trade, **{**options, "existing": None})),), (ONE_TICKET, LIVENESS),
    ),
    "letter-lost-at-fence": Mutant(
        "what was in hand at a death is gone",
        ((Mailbox, "_return_in_hand", _forgets_on_close),), (BALANCE,),
    ),
    "fenced-settles": Mutant(
        "a fenced incarnation settles its letter",
        ((Mailbox, "settle", _settles_for_anybody),), (BALANCE, ONE_OUTCOME, ONE_ORDER),
    ),
    "fencing-removed": Mutant(
        "leases are never revoked",
        ((lease.Lease, "revoke", _nothing(value=True)),), (FENCED,),
    ),
    "lease-checked-by-sender": Mutant(
        "the lease is not checked at the moment of the order",
        ((lease.Permit, "__enter__", _checked_by_the_sender),
         (lease.Permit, "__exit__", _nothing())), (FENCED,),
    ),
    "sent-again-after-death": Mutant(
        "an order in whose sending somebody died is sent again",
        ((Sending, "execute", _never_attempted),), (ONE_ORDER, ONE_OUTCOME),
    ),
    "decided-again": Mutant(
        "a step that was done is forgotten and decided again",
        (("actors.journal", "after_outcome", _any_intent_is_new),), (ONE_ORDER,),
    ),
    "outcome-told-twice": Mutant(
        "an outcome that comes again is told again",
        ((Journal, "outcome", _told_twice),), (ONE_OUTCOME,),
    ),
    "stop-widened": Mutant(
        "a stop is moved away from the price, and the last look lets it pass",
        ((policy, "tightened_stop", _widened), ("defence.stops", "tightened_stop", _widened),
         ("terminals.lastlook", "_against_stop", _nothing())), (STOPS,),
    ),
    "none-reads-as-empty": Mutant(
        "None from the terminal counts as no positions",
        ((reading, "rows_of", _none_is_empty),), (UNKNOWN,),
    ),
    "ready-before-reconciled": Mutant(
        "recovery and monitor call themselves ready at once",
        ((Recovery, "on_start", _ready_too_early), (Monitor, "on_start", _ready_too_early)),
        (READY,),
    ),
    "stopped-in-start-order": Mutant(
        "children are stopped in the order of their start",
        ((Stopping, "shut_down", _in_start_order),), (IN_ORDER,),
    ),
    "two-reports": Mutant(
        "one death is reported twice, and stale reports count",
        ((Starting, "_report", _reports_twice), (Ends, "exited", _stale_reports_count)),
        (ONE_EXIT, RESTARTS, LIVENESS),
    ),
    "number-taken-again": Mutant(
        "a restarted child has its forerunner's number",
        ((Starting, "spawn", _same_number),), (ONE_START,),
    ),
    "tried-again-too-late": Mutant(
        "an escalated child waits for two periods",
        ((RestartBudget, "frees_at", _frees_late),), (RETRIED,),
    ),
    "hang-not-noticed": Mutant(
        "a hung child is never fenced",
        ((ChildSlot, "busy_for", _never_busy),), (LIVENESS,),
    ),
    "stuck-root-not-noticed": Mutant(
        "nobody watches the root",
        ((Watchdog, "check", _cannot_be_stuck),), (LIVENESS, IN_ORDER),
    ),
    "monitor-gives-up": Mutant(
        "after an unknown read there is no further cycle",
        ((Monitor, "_end_unknown", _never_again),), (LIVENESS,),
    ),
    "answer-awaited-for-ever": Mutant(
        "an answer that never comes stops the cycle for good",
        ((Monitor, "_overdue", _waits_for_ever),), (LIVENESS,),
    ),
    "never-reconnects": Mutant(
        "a connector that lost its terminal does not connect again",
        ((MT5Connector, "_reconnect_if_gone", _never_reconnects),), (LIVENESS,),
    ),
    "not-durable": Mutant(
        "a commit is forgotten when the process dies",
        ((TradeStore, "commit", _nothing()),), (ACKNOWLEDGED, LIVENESS),
    ),
    "timers-pile-up": Mutant(
        "each cycle leaves timers behind",
        ((Monitor, "_schedule", _piles_up),), (TIMERS,),
    ),
}  # fmt: skip


@contextmanager
def planted(name: str | None) -> Iterator[None]:
    """Plant a fault while the block runs; None plants nothing."""
    if name is None:
        yield
        return
    undo = []
    for owner, attribute, change in MUTANTS[name].patches:
        target = _found(owner) if isinstance(owner, str) else owner
        # What a class defines itself, not what it inherits: so a method stays one.
        patch = mock.patch.object(target, attribute, change(getattr(target, attribute)))
        patch.start()
        undo.append(patch)
    try:
        yield
    finally:
        for patch in reversed(undo):
            patch.stop()


def _found(path: str) -> object:
    """Return the module or the class that a path names."""
    import importlib

    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        module, _, name = path.rpartition(".")
        return getattr(importlib.import_module(module), name)
