"""The books: what the broker did, and what is on the disk, judged at each order and commit."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from actors.clock import VirtualClock
from actors.messages import Execute
from actors.names import CONNECTOR, MONITOR
from defence.orders import Intent, OutcomeKind
from defence.trade import Standing
from storage.fields import action_from, pending_from, trade_from
from storage.keys import number_key
from storage.layout import (
    ACTION_IDS,
    ACTIONS,
    HISTORY_IDS,
    INTENTS,
    TRADES,
)
from terminals.sim.terminal import SimulatedTerminal
from tests.simulation.disk import Disk, MemoryView
from tests.simulation.door import OrderWitness
from tests.simulation.invariants import (
    ACKNOWLEDGED,
    FENCED,
    LIVENESS,
    ONE_ORDER,
    ONE_OUTCOME,
    ONE_TICKET,
    STOPS,
    UNKNOWN,
)
from tests.simulation.lives import Life, Violated


class Books(OrderWitness):
    """Sees orders take effect, and trades come and go."""

    def __init__(self, clock: VirtualClock, disk: Disk, terminal: SimulatedTerminal) -> None:
        self.violation: Violated | None = None
        self.acknowledged: dict[int, float] = {}  # identifier -> when
        self.created: defaultdict[int, set[str]] = defaultdict(set)
        self.released: Counter[int] = Counter()
        self._clock = clock
        self._disk = disk
        self._terminal = terminal
        self._life: Life | None = None
        self._executed: Counter[str] = Counter()
        self._steps: Counter[tuple[int, str]] = Counter()
        self._before: dict[int, tuple[float, float]] = {}
        self._kept: set[bytes] = set()

    # -- orders

    def before_order(self, request: Any) -> None:
        """The permit is held: whoever sends must be the one who may."""
        life = self._life
        assert life is not None, "an order without a process"
        assert life.process.alive, "the world lets the dead act"
        one = life.process.runtime.running
        slot = life.process.slots[CONNECTOR]
        if one is None or one.name != CONNECTOR or one.number != slot.number or not slot.live:
            who = "nobody" if one is None else f"{one.name}#{one.number}"
            self._guarded(lambda: self._fail(FENCED, f"{who} sends; now #{slot.number}"))
        intent = self._intent(life)
        monitor = life.process.slots[MONITOR]
        if intent is not None and (intent.decided_by != monitor.number or not monitor.live):
            self._guarded(
                lambda: self._fail(
                    FENCED,
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
                    self._fail(STOPS, f"{identifier}: {stop} to {now.sl}")
        if intent is None or not done:
            return
        self._executed[intent.id] += 1
        if self._executed[intent.id] > 1:
            self._fail(ONE_ORDER, f"{intent.id} was carried out again")
        if intent.step is not None:
            key = (intent.identifier, intent.step.value)
            self._steps[key] += 1
            if self._steps[key] > 1 + self.released[intent.identifier]:
                self._fail(ONE_ORDER, f"step {key} was carried out again")

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
            self._fail(UNKNOWN, f"{identifier} is open")
        tickets = Counter(trade.ticket for trade in self._trades() if trade.active)
        twice = [ticket for ticket, n in tickets.items() if n > 1]
        if twice:
            self._fail(ONE_TICKET, f"{twice} are guarded twice")
        self._nothing_is_lost()

    def acknowledge(self, identifier: int, request: str, created: bool) -> None:
        """Somebody was told that the trade is under guard."""
        self.acknowledged[identifier] = self._clock.monotonic()
        self._nothing_is_lost()
        if created:
            self.created[identifier].add(request)
            if len(self.created[identifier]) > 1 + self.released[identifier]:
                self._fail(ONE_TICKET, f"{identifier} was created twice")

    def _nothing_is_lost(self) -> None:
        view = MemoryView(self._disk.stores.get("trades", {}))
        for identifier in self.acknowledged:
            key = number_key(identifier, field="")
            if not view.has(TRADES, key) and view.newest_key(HISTORY_IDS, key) is None:
                self._fail(ACKNOWLEDGED, f"{identifier} is not on the disk")

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
                self._fail(ONE_OUTCOME, f"in doubt: {late[0]}")
        for intent_id, n in self._executed.items():
            if n and not view.has(ACTION_IDS, intent_id.encode()) and not pending:
                self._fail(ONE_OUTCOME, f"{intent_id} has none")
        actions = [action_from(fields) for _, fields in view.items(ACTIONS)]
        for action in actions:
            unknown = action.outcome is not None and action.outcome.kind is OutcomeKind.UNKNOWN
            if settled and unknown and all(one.id != action.id for one in pending):
                self._fail(ONE_OUTCOME, f"{action.id} stays unknown")
        if settled:
            self._everybody_is_guarded()

    def _everybody_is_guarded(self) -> None:
        known = {t.identifier: t for t in self._trades()}
        there = {p.identifier: p for p in self._positions()}
        for identifier in there:
            if identifier not in known:
                self._fail(LIVENESS, f"position {identifier} is not in the book")
        for identifier, trade in known.items():
            if trade.standing is Standing.GUARDED and identifier not in there:
                self._fail(LIVENESS, f"trade {identifier} is guarded, its position is gone")

    # -- saying so

    def _guarded(self, look: Any) -> None:
        """Keep a violation for the next turn: the one who publishes must not die of it."""
        try:
            look()
        except Violated as violation:
            self.violation = self.violation or violation

    def _fail(self, invariant: str, what: str) -> None:
        raise Violated(invariant, f"{what} (at {self._clock.monotonic():.1f} s)")
