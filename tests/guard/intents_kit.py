"""A terminal that keeps count of every order, loses answers, and looks into the store meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from guard_kit import GuardKit
from test_guard_acting import let_pass, price

from actors.events import Kind
from actors.mailbox import Lane
from actors.messages import Evaluated, Journalled
from actors.points import Points
from actors.simulated import SimulatedRuntime
from defence.broker import Direction
from defence.orders import Intent, IntentKind, Outcome, OutcomeKind, PendingIntent
from supervisors import Guard, Trade
from terminals.constants import TRADE_ACTION_REMOVE, TRADE_ACTION_SLTP
from terminals.protocol import Permit, Request
from terminals.sim.generated import GeneratedMarket
from terminals.sim.terminal import SimulatedTerminal
from terminals.structs import OrderSendResult

LOST = (-10002, "IPC recv failed")
ENTRY, STOP, NEW_STOP = 1.1000, 1.0900, 1.0950


class Fate(StrEnum):
    """What happens to an order on its way."""

    ANSWERED = "answered"
    EXECUTED_ANSWER_LOST = "executed, answer lost"
    NOT_EXECUTED_ANSWER_LOST = "not executed, answer lost"
    EXECUTED_LATER = "answer lost, executed 20 s later"
    PART_ANSWER_LOST = "executed in part, answer lost"


@dataclass
class Sent:
    """One order that the broker's side was handed, and what was durable at that moment."""

    request: dict[str, Any]
    durable: dict[str, PendingIntent]
    executed: float | None = None  # lots, 0 for what has no volume; None: it was not

    @property
    def intent(self) -> Intent | None:
        """The durable intent that this order is of."""
        for doubt in self.durable.values():
            if _fits(doubt.intent, self.request):
                return doubt.intent
        return None


def _fits(intent: Intent, request: dict[str, Any]) -> bool:
    if request["action"] == TRADE_ACTION_REMOVE:
        return intent.kind is IntentKind.DELETE_ORDER and intent.ticket == request["order"]
    if intent.ticket != request.get("position"):
        return False
    if request["action"] == TRADE_ACTION_SLTP:
        return intent.kind is IntentKind.MOVE_STOP and intent.stop_loss == request["sl"]
    closes = intent.kind in (IntentKind.CLOSE, IntentKind.CLOSE_PART)
    return closes and request["comment"] == f"dtms {intent.id[:20]}"


class Recorder(SimulatedTerminal):
    """A simulated terminal with a script of fates, one an order."""

    def __init__(self, runtime: SimulatedRuntime, **options: Any) -> None:
        super().__init__(
            market=GeneratedMarket(seed=1, start=1_700_000_000.0),
            now=runtime.clock.wall,
            speed=0.0,
            step=0.001,
            demo=False,
            hang=runtime.hang,
            **options,
        )
        self.runtime = runtime
        self.look: Callable[[], dict[str, PendingIntent]] = dict
        self.sent: list[Sent] = []
        self.fates: list[Fate] = []
        self.comment: Callable[[str], str] = str
        self.after_send: Callable[[], None] = lambda: None
        self._late: list[tuple[Sent, dict[str, Any]]] = []

    def send_under(self, permit: Permit, request: Request) -> OrderSendResult | None:
        """Note the order once its permit is granted, then do with it what the script says."""
        fate = self.fates.pop(0) if self.fates else Fate.ANSWERED
        asked = dict(request)
        changed: dict[str, Any] = dict(asked)
        if "comment" in changed:
            changed["comment"] = self.comment(str(changed["comment"]))
        if fate is Fate.PART_ANSWER_LOST and "volume" in changed:
            changed["volume"] = round(float(changed["volume"]) / 2, 2)
        with self._noting(permit, asked) as sent:
            self.after_send()
            if fate in (Fate.NOT_EXECUTED_ANSWER_LOST, Fate.EXECUTED_LATER):
                if fate is Fate.EXECUTED_LATER:
                    self._late.append((sent, changed))
                    self.deliver_late(20.0)
                result = None
            else:
                result = self._do(sent, changed)
        if fate is Fate.ANSWERED:
            return result
        self._error = LOST
        return None

    def deliver_late(self, after: float) -> None:
        """Have the broker get to what is still on its way; it is no part of our process."""

        def deliver() -> None:
            waiting, self._late = self._late, []
            for sent, request in waiting:
                self._do(sent, request)

        self.runtime.call_later(after, deliver)

    def _do(self, sent: Sent, request: dict[str, Any]) -> OrderSendResult | None:
        result = super().order_send(request)
        if result is not None and result.retcode == 10009:
            sent.executed = result.volume if "volume" in request else 0.0
        return result

    @contextmanager
    def _noting(self, permit: Permit, request: dict[str, Any]) -> Iterator[Sent]:
        with permit:
            sent = Sent(request, self.look())
            self.sent.append(sent)
            yield sent


@dataclass
class Scene:
    """A guard with one guarded BUY of 0.2 lots, its recorder, and its points."""

    kit: GuardKit
    terminal: Recorder
    points: Points
    guard: Guard
    ticket: int
    orders: list[int] = field(default_factory=list)

    @property
    def store(self) -> Any:
        """The trade store of the guard of the moment."""
        return self.guard._house.premises.stores.trades

    def watch(self) -> None:
        """Let the recorder look into this guard's store at each order."""
        self.terminal.look = lambda: dict(self.store.load()[1])

    def die(self, **settings: Any) -> Guard:
        """End the process as a power switch does, and start the next one on what is left."""
        runtime = self.terminal.runtime
        runtime.close()  # no actor runs any more, no timer comes
        self.terminal.deliver_late(20.0)
        self.guard._house.premises.give_back()
        self.kit.guards.remove(self.guard)
        points = Points()
        self.points = points
        self.guard = self.kit.make(
            runtime=runtime, terminal=self.terminal, points=points, adoption="ignore", **settings
        )
        self.watch()
        return self.guard.start()

    def flatten(self, message_id: str | None = None, timeout: float = 120.0) -> dict[str, Any]:
        """Close everything."""
        answer = self.guard.admin("flatten", confirm=self.login, timeout=timeout)
        assert isinstance(answer, dict)
        return answer

    @property
    def login(self) -> int:
        """The account's login."""
        info = self.terminal.account_info()
        assert info is not None
        return info.login

    def place(self) -> int:
        """Put a buy limit far under the market into the book, as a person would."""
        request = {
            "action": 5,
            "symbol": "EURUSD",
            "volume": 0.1,
            "type": 2,
            "price": 1.05,
            "type_time": 0,
            "type_filling": 2,
        }
        result = SimulatedTerminal.order_send(self.terminal, request)
        assert result is not None
        assert result.retcode == 10009, result
        self.orders.append(result.order)
        return result.order

    def intent(self, kind: IntentKind, intent_id: str = "intent-1") -> Intent:
        """Return an order on the guarded trade, as the Monitor would decide it now."""
        record = self.guard.trade(self.ticket)
        now = self.guard._runtime.clock.wall()
        volume = {IntentKind.CLOSE: record.volume, IntentKind.CLOSE_PART: 0.1}.get(kind, 0.0)
        return Intent(
            id=intent_id,
            identifier=record.identifier,
            ticket=self.ticket,
            symbol="EURUSD",
            direction=Direction.BUY,
            kind=kind,
            step=None,
            volume=volume,
            volume_before=record.volume,
            stop_loss=NEW_STOP if kind is IntentKind.MOVE_STOP else record.stop_loss,
            take_profit=record.take_profit,
            stop_before=record.stop_loss,
            price_seen=ENTRY,
            reason="a test",
            magic=0,
            decided_at=now,
            snapshot_at=now,
            decided_by=self.guard._house._slots[-1].number,  # type: ignore[attr-defined]
        )

    def evaluated(self, intent: Intent) -> Evaluated:
        """Return a cycle's result with this order, as the Monitor tells it."""
        record = self.guard.trade(self.ticket)
        return Evaluated((), {record.identifier: record.revision}, (intent,))

    def decide(self, intent: Intent) -> None:
        """Tell the registry a cycle's result with this order, and let what follows happen."""
        message = self.evaluated(intent)
        self.guard._house.address("registry").tell(message, lane=Lane.REPLY)
        let_pass(self.kit, 0.01)

    def may_send(self, intent: Intent) -> bool:
        """Whether the journal would take another order for the trade now."""
        answer: Journalled = self.guard._house.ask("registry", self.evaluated(intent), 5.0)
        return answer.intents != ()

    def pending(self) -> dict[str, PendingIntent]:
        """What the store holds without an outcome."""
        return dict(self.store.load()[1])

    def outcome(self, intent_id: str) -> Outcome | None:
        """What the store says of an intent, None while it has nothing final."""
        action = self.store.action(intent_id)
        found: Outcome | None = None if action is None else action.outcome
        return None if found is None or found.kind is OutcomeKind.UNKNOWN else found

    def settle(self, seconds: float = 400.0) -> None:
        """Let reconciliation do its work."""
        let_pass(self.kit, seconds)
        assert self.pending() == {}

    def of(self, intent_id: str) -> list[Sent]:
        """The orders that reached the broker's side for an intent."""
        return [one for one in self.terminal.sent if one.intent and one.intent.id == intent_id]

    def agrees(self, intent_id: str, target: float) -> None:
        """Hold the intent's outcome against the broker's own books; `target` in lots."""
        final = [
            event
            for event in self.guard.events.since()
            if event.kind is Kind.OUTCOME
            and event.facts["id"] == intent_id
            and event.facts["outcome"] != "unknown"
        ]
        assert len(final) <= 1, "more than one outcome"
        sends = self.of(intent_id)
        assert len(sends) <= 1, "sent more than once"
        done = [one.executed for one in sends if one.executed is not None]
        outcome = self.outcome(intent_id)
        assert outcome is not None, "no outcome"
        if not done:
            assert outcome.kind in (OutcomeKind.NOT_DONE, OutcomeKind.NOT_SENT), outcome
        elif target and done[0] < target - 1e-9:
            assert outcome.kind is OutcomeKind.PARTIAL, outcome
            assert outcome.volume == done[0]
        else:
            assert outcome.kind is OutcomeKind.DONE, outcome

    def all_were_durable(self) -> None:
        """Every order had its intent in the store when the broker's side was handed it."""
        assert all(one.intent is not None for one in self.terminal.sent)


def scene(sim: GuardKit, *, seed: int = 0, netting: bool = False, **settings: Any) -> Scene:
    """Return a guard with one BUY of EURUSD at 1.1000, stop at 1.0900, nothing to be done."""
    runtime = SimulatedRuntime(seed)
    terminal = Recorder(runtime)
    if netting:
        terminal._broker.book.account.margin_mode = 0
    points = Points()
    settings.setdefault("adoption", "ignore")
    guard = sim.start(runtime=runtime, terminal=terminal, points=points, **settings)
    price(sim, ENTRY - 0.0001)
    ticket = terminal.open_position("EURUSD", "BUY", 0.2, sl=STOP)
    guard.register(Trade(ticket=ticket))
    let_pass(sim, 31.0)
    made = Scene(sim, terminal, points, guard, ticket)
    made.watch()
    return made


def kill_nth(points: Points, point: str, nth: int) -> None:
    """Kill whoever comes to `point` as the nth one."""
    left = [nth]

    def count() -> None:
        left[0] -= 1
        if left[0] == 0:
            points.disarm(point)
            points.kill_at(point)
            points.reach(point)

    points.arm(point, count, times=1_000_000)


__all__ = ["ENTRY", "NEW_STOP", "STOP", "Fate", "Recorder", "Scene", "kill_nth", "replace", "scene"]
