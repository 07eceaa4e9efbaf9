"""Monitor: the cycle. A snapshot, the book compared with it, a decision for each trade.

It never waits: each part of a cycle begins with an answer to the one before.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import ClassVar

from actors.actor import Context, GuardActor
from actors.events import Kind
from actors.life import Answer
from actors.messages import (
    Evaluated,
    Journalled,
    Observe,
    Observed,
    Overdue,
    Raise,
    Reconcile,
    SetControl,
    TakeSnapshot,
    Tick,
    TickSoon,
    Would,
)
from actors.names import ALERT, CONNECTOR, RECOVERY, REGISTRY
from actors.runtime import Timer
from defence.alerts import Notice, Severity
from defence.broker import Position, Snapshot, Unknown
from defence.orders import Intent
from defence.outcomes import predates
from defence.pace import next_interval
from defence.permission import why_cannot_act
from defence.policy import decide, intent_of
from defence.rules import Rules
from defence.trade import TradeRecord

ARMED = "armed"
OBSERVE = "observe"
OLDEST_LOOK = 15.0  # seconds; a snapshot that took longer to get here decides nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class MonitorSettings:
    """The cycle's interval and the time an answer may take, in seconds; the policy's rules.

    An answer that is overdue parks the Monitor; after `give_up_after` more it
    begins anew: whatever became of the answer, monitoring goes on.
    """

    interval: float = 30.0
    overdue_after: float = 10.0
    give_up_after: float = 60.0
    rules: Rules = field(default_factory=Rules)


class Monitor(GuardActor):
    """Owns the cycle, and nothing that must survive it."""

    ready_on_start: ClassVar[bool] = False

    def __init__(self, context: Context, settings: MonitorSettings) -> None:
        super().__init__(context)
        self._settings = settings
        self._control = SetControl(mode=OBSERVE, paused=False)
        self._cycle = 0
        self._waits_for: str | None = None  # id of the request under way
        self._snapshot: Snapshot | None = None
        self._began = 0.0
        self._timer: Timer | None = None
        self._overdue_timer: Timer | None = None
        self._before: dict[int, float | None] = {}
        self._results: dict[int, float | None] = {}
        self._skipped: Counter[str] = Counter()
        self._evaluated = 0
        self._told_cannot_act: str | None = None

    def on_start(self) -> None:
        """Begin the first cycle; ready once it is done."""
        self.tell(self.context.name, TickSoon(), merge="soon")

    def receive(self, message: object) -> object:
        """See `actors.messages`, the monitor."""
        match message:
            case Tick() | TickSoon():
                if self._waits_for is None:
                    self._begin()
            case Overdue():
                self._overdue(message)
            case SetControl():
                return self._set_control(message)
            case _:
                return super().receive(message)
        return None

    def on_answer(self, answer: Answer) -> None:
        """Go on with the cycle; answers to what is no longer asked are ignored."""
        if answer.request_id != self._waits_for:
            return
        self._waits_for = None
        value = answer.value
        if answer.error is not None:
            self._end_unknown(f"{answer.child}: {answer.error}")
        elif isinstance(value, Unknown):
            self._end_unknown(value.reason)
        elif isinstance(value, Snapshot):
            self._got_snapshot(value)
        elif isinstance(value, Observed):
            self._got_book(value)
        elif isinstance(value, Journalled):
            self._end(len(value.intents))

    # -- the cycle

    def _begin(self) -> None:
        self._cycle += 1
        self._began = self.clock.monotonic()
        self._skipped.clear()
        self._evaluated = 0
        overdue, give_up = self._settings.overdue_after, self._settings.give_up_after
        self._waits_for = self.request(CONNECTOR, TakeSnapshot(), within=overdue + give_up)
        self._plan_overdue(overdue, Overdue(self._cycle))

    def _got_snapshot(self, snapshot: Snapshot) -> None:
        if self._too_old(snapshot):
            # The host slept, or its clock jumped: this look says nothing of now.
            self._end_unknown("the look at the broker is too old")
            return
        self._snapshot = snapshot
        if self._control.paused:
            # The look keeps health honest; nothing is evaluated.
            self._rest()
            self.ready()
            self._schedule(self._settings.interval)
            return
        self._waits_for = self.request(REGISTRY, Observe(snapshot))

    def _got_book(self, observed: Observed) -> None:
        snapshot = self._snapshot
        if observed.unknown is not None or snapshot is None or self._too_old(snapshot):
            self._end_unknown(observed.unknown or "the look at the broker is too old")
            return
        self._rest()
        if observed.needs_history:
            self.tell(RECOVERY, Reconcile("the cycle found a difference"), merge="reconcile")
        cannot_act = self._cannot_act(snapshot)
        positions = {position.identifier: position for position in snapshot.open_positions()}
        records: list[TradeRecord] = []
        intents: list[Intent] = []
        results: dict[int, float | None] = {}
        for trade in observed.trades:
            position = positions.get(trade.identifier)
            skip = self._cannot_evaluate(trade, position, observed, snapshot)
            if skip is not None or position is None:
                self._skipped[skip or "not at the broker"] += 1
                results[trade.identifier] = trade.result_r
                continue
            record, intent = self._evaluate(trade, position, snapshot)
            results[trade.identifier] = record.result_r
            if record is not trade:
                records.append(record)
            if intent is not None:
                intents.append(intent)
        self._before, self._results = self._results, results
        self._journal(observed, records, intents, cannot_act)

    def _cannot_evaluate(
        self,
        trade: TradeRecord,
        position: Position | None,
        observed: Observed,
        snapshot: Snapshot,
    ) -> str | None:
        if position is None:
            return "not at the broker"
        if trade.identifier in observed.frozen:
            return "an order is in doubt"
        if predates(trade, snapshot.asked_at, self.clock.wall()):
            return "the look is older than the last order"
        return None

    def _evaluate(
        self, trade: TradeRecord, position: Position, snapshot: Snapshot
    ) -> tuple[TradeRecord, Intent | None]:
        now = self.clock.wall()
        verdict = decide(
            trade,
            position,
            snapshot.quotes.get(trade.symbol),
            snapshot.symbols.get(trade.symbol),
            now,
            self._settings.rules,
        )
        if verdict.skipped is not None:
            self._skipped[verdict.skipped] += 1
        self._evaluated += 1
        record = verdict.record
        if verdict.decision is None:
            return record, None
        intent = intent_of(
            verdict.decision,
            record,
            position,
            intent_id=self.context.runtime.new_id(),
            now=now,
            snapshot_at=snapshot.asked_at,
            decided_by=self.context.incarnation,
        )
        return record, intent

    def _journal(
        self,
        observed: Observed,
        records: list[TradeRecord],
        intents: list[Intent],
        cannot_act: str | None,
    ) -> None:
        control = self._control
        probing = self._snapshot is not None and self._snapshot.probing
        able = cannot_act is None or probing
        armed = control.mode == ARMED and not control.paused and able
        if intents and not armed and not control.paused:
            self.tell(REGISTRY, Would(tuple(intents)))
        bases = {trade.identifier: trade.revision for trade in observed.trades}
        sent = tuple(intents) if armed else ()
        if not records and not sent:
            self._end(0)
            return
        evaluated = Evaluated(tuple(records), bases, sent)
        self._waits_for = self.request(REGISTRY, evaluated)

    def _rest(self) -> None:
        """Be parked while paused, and not otherwise."""
        self.park(f"paused by {self._control.by}" if self._control.paused else None)

    def _end(self, intents: int) -> None:
        self._rest()
        self.progress()
        self.emit(
            Kind.CYCLE,
            cycle=self._cycle,
            trades=len(self._results),
            evaluated=self._evaluated,
            skipped=dict(self._skipped),
            intents=intents,
            took=round(self.clock.monotonic() - self._began, 4),
        )
        self.ready()
        self._schedule(next_interval(self._settings.interval, self._before, self._results))

    def _end_unknown(self, reason: str) -> None:
        """End a cycle that could not see. Not this child's fault: it parks and tries again."""
        self.park(reason)
        self._schedule(min(self._settings.interval, 2.0))

    def _overdue(self, message: Overdue) -> None:
        if message.cycle != self._cycle or self._waits_for is None:
            return
        if message.given_up:
            self._waits_for = None
            self._end_unknown("an answer never came")
            return
        # The one that owes the answer is judged by the supervisor, not we.
        self.park("an answer is overdue")
        self._plan_overdue(self._settings.give_up_after, Overdue(self._cycle, given_up=True))

    def _plan_overdue(self, delay: float, message: Overdue) -> None:
        if self._overdue_timer is not None:
            self._overdue_timer.cancel()
        self._overdue_timer = self.later(delay, message)

    def _schedule(self, delay: float) -> None:
        for timer in (self._timer, self._overdue_timer):
            if timer is not None:
                timer.cancel()
        if self.context.points.passes("monitor.schedule"):
            self._timer = self.later(delay, Tick(), merge="tick")

    # -- what surrounds it

    def _too_old(self, snapshot: Snapshot) -> bool:
        return not -1.0 <= self.clock.wall() - snapshot.asked_at <= OLDEST_LOOK

    def _cannot_act(self, snapshot: Snapshot) -> str | None:
        reason = why_cannot_act(snapshot.account, snapshot.terminal) or snapshot.refusal
        told, notice = self._told_cannot_act, None
        if reason is not None and reason != told and self._control.mode == ARMED:
            self._told_cannot_act = reason
            notice = Notice(
                key="cannot_act",
                severity=Severity.CRITICAL,
                title="The guard is armed but cannot act",
                text=f"{reason}. Trades are watched, no order is sent.",
            )
        elif reason is None and told is not None:
            self._told_cannot_act = None
            notice = Notice(
                key="can_act",
                severity=Severity.INFO,
                title="The guard can act again",
                text=f"Before: {told}.",
                ends="cannot_act",
            )
        if notice is not None:
            self.tell(ALERT, Raise(notice))
        return reason

    def _set_control(self, message: SetControl) -> object:
        before, self._control = self._control, message
        if before.paused or message.paused:
            self._rest()
        self.emit(
            Kind.CONTROL,
            mode=message.mode,
            paused=message.paused,
            by=message.by,
            why=message.why,
        )
        if self._waits_for is None and self._cycle:
            self.tell(self.context.name, TickSoon(), merge="soon")
        return {"mode": message.mode, "paused": message.paused}
