"""Registry: the only writer of trades, intents, outcomes and history.

Registrations are committed in groups: what waits in the mailbox becomes one
transaction, and every asker is answered after it. All messages are idempotent
by their ids, so one that returns to the mailbox after a crash changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from actors.actor import Context, GuardActor
from actors.book import Book, Draft, worth_writing
from actors.events import Kind
from actors.mailbox import Letter
from actors.messages import (
    BackUp,
    Evaluated,
    Execute,
    GetTrade,
    Journalled,
    ListActions,
    ListTrades,
    Observe,
    Observed,
    Raise,
    RecordFlattened,
    RecordOutcome,
    Register,
    Release,
    ResolveIntent,
    TickSoon,
    Would,
)
from actors.names import ALERT, CONNECTOR, MONITOR
from defence.alerts import Notice, Severity
from defence.errors import DtmsError, Fault, NotFound, StoreFull
from defence.orders import Action, Intent, Outcome, OutcomeKind, PendingIntent
from defence.outcomes import after_outcome, predates
from defence.plans import ReconcileRules
from defence.reconcile import plan as plan_for
from defence.registration import admit, find_position, release
from defence.trade import Registration, Standing, TradeRecord
from storage.trades import Batch, TradeStore


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings:
    """The store, the rules, and where backups go."""

    store: TradeStore
    rules: ReconcileRules
    backup_to: Callable[[], Path]


class Registry(GuardActor):
    """Owns the trade store."""

    batch_limit: ClassVar[int] = 512

    def __init__(self, context: Context, settings: RegistrySettings) -> None:
        super().__init__(context)
        self._store = settings.store
        self._rules = settings.rules
        self._backup_to = settings.backup_to
        self._book = Book({}, {})
        self._newest_look = float("-inf")

    def on_start(self) -> None:
        """Load the book from the store."""
        trades, pending = self._store.load()
        self._book = Book(trades, pending)
        self._publish_book()

    def receive(self, message: object) -> object:
        """See `actors.messages`, the registry."""
        answer = self._run([message])[0]
        if isinstance(answer, DtmsError):
            raise answer
        return answer

    def receive_batch(self, letters: Sequence[Letter]) -> list[object]:
        """Handle what waits in one transaction."""
        return self._run([letter.message for letter in letters])

    # -- one transaction

    def _run(self, messages: Iterable[object]) -> list[object]:
        draft = Draft(self._book)
        answers: list[object] = []
        for message in messages:
            try:
                answers.append(self._handle(message, draft))
            except DtmsError as error:
                if isinstance(error, Fault):
                    raise
                answers.append(error)
        if draft.batches:
            try:
                self._commit(draft)
            except StoreFull as full:
                self._tell_full(full)
                return [full for _ in answers]
        else:
            self._book = draft.book
        for effect in draft.effects:
            effect()
        return answers

    def _commit(self, draft: Draft) -> None:
        self.context.points.reach("registry.before_commit")
        # The lease makes sure that a fenced Registry which wakes up here does
        # not write behind its successor's back; `critical` tells the
        # supervisor not to replace one that is stuck inside.
        with self.critical(), self.context.lease.hold():
            self.context.points.reach("registry.in_commit")
            self._store.commit(*draft.batches)
        self.context.points.reach("registry.after_commit")
        before, self._book = self._book, draft.book
        if before.size != self._book.size:
            self._publish_book()

    def _publish_book(self) -> None:
        self.emit(
            Kind.BOOK,
            active=len(self._book.active),
            observed=sum(t.standing is Standing.OBSERVED for t in self._book.active),
            in_doubt=len(self._book.pending),
        )

    def _tell_full(self, full: StoreFull) -> None:
        notice = Notice(
            key="store_full",
            severity=Severity.CRITICAL,
            title="The store is full",
            text=f"{full}. Nothing new is accepted; what was acknowledged is safe.",
        )
        self.tell(ALERT, Raise(notice))

    def _handle(self, message: object, draft: Draft) -> object:
        match message:
            case Register():
                return self._register(message, draft)
            case Observe():
                return self._observe(message, draft)
            case Evaluated():
                return self._evaluated(message, draft)
            case RecordOutcome():
                self._outcome(message.outcome, draft)
            case Release():
                return self._release(message, draft)
            case ListTrades():
                return tuple(draft.book.active)
            case GetTrade():
                return self._find(message.ticket, draft.book)
            case ListActions():
                return tuple(self._store.actions(message.limit, message.ticket))
            case Would():
                self._would(message.intents, draft)
            case RecordFlattened():
                self._flattened(message, draft)
            case ResolveIntent():
                return self._resolve(message, draft)
            case BackUp():
                return self._back_up()
            case _:
                return super().receive(message)
        return None

    # -- registration

    def _register(self, message: Register, draft: Draft) -> Registration:
        try:
            identifier = find_position(message.trade, message.snapshot).identifier
        except NotFound:
            # The caller who created it may ask again after it was closed.
            known = self._by_ticket(message.trade.ticket, draft.book)
            if known is not None and known.created_by == message.id:
                return Registration(created=True, trade=known)
            raise
        existing = draft.book.trades.get(identifier) or self._store.find_archived(identifier)
        admission = admit(
            message.trade,
            snapshot=message.snapshot,
            existing=existing,
            message_id=message.id,
            now=self.clock.wall(),
        )
        registration = admission.registration
        if admission.changed:
            actions = () if admission.action is None else (admission.action,)
            draft.put(Batch(trades=(registration.trade,), actions=actions))
        if registration.created and admission.changed:
            trade = registration.trade
            draft.then(
                lambda: self.emit(
                    Kind.REGISTERED,
                    ticket=trade.ticket,
                    symbol=trade.symbol,
                    by=trade.managed_by or "host",
                )
            )
        return registration

    def _release(self, message: Release, draft: Draft) -> TradeRecord:
        record = self._by_ticket(message.ticket, draft.book)
        if record is None or not (record.active or record.standing is Standing.RELEASED):
            raise NotFound(
                "no trade with this ticket is guarded",
                field="ticket",
                value=message.ticket,
                remedy="see the list of trades",
            )
        released = release(record, now=self.clock.wall(), by=message.by)
        if released.action is not None:
            draft.put(Batch(trades=(released.trade,), actions=(released.action,)))
            draft.then(
                lambda: self.emit(Kind.RELEASED, ticket=released.trade.ticket, by=message.by)
            )
        return released.trade

    def _find(self, ticket: int, book: Book) -> TradeRecord:
        record = self._by_ticket(ticket, book)
        if record is None:
            raise NotFound("no such trade", field="ticket", value=ticket)
        return record

    def _by_ticket(self, ticket: int, book: Book) -> TradeRecord | None:
        return book.by_ticket(ticket) or self._store.find_archived(ticket)

    # -- comparing with the broker

    def _observe(self, message: Observe, draft: Draft) -> Observed:
        snapshot, book = message.snapshot, draft.book
        at = getattr(snapshot, "asked_at", None)
        stale = at is not None and at < self._newest_look
        unknown = "an older look at the broker than the newest" if stale else None
        plan = None
        if not stale:
            plan = plan_for(
                trades=book.trades,
                pending=book.pending,
                snapshot=snapshot,
                histories=message.histories,
                now=self.clock.wall(),
                rules=self._rules,
                plan_id=self.context.runtime.new_id(),
            )
            unknown = plan.unknown
            if at is not None:
                self._newest_look = at
        if plan is not None and not plan.empty:
            draft.put(
                Batch(archived=plan.archived),
                Batch(
                    trades=plan.trades,
                    intents=plan.pending,
                    outcomes=plan.outcomes,
                    actions=plan.actions,
                ),
            )
            self._after_plan(plan.actions, plan.notices, plan.outcomes, draft)
        changed = 0 if plan is None else len(plan.trades) + len(plan.archived) + len(plan.outcomes)
        return Observed(
            trades=tuple(draft.book.active),
            frozen=draft.book.frozen,
            needs_history=frozenset() if plan is None else plan.needs_history,
            waiting=frozenset() if plan is None else plan.waiting,
            changes=changed,
            unknown=unknown,
        )

    def _after_plan(
        self,
        actions: Sequence[Action],
        notices: Sequence[Notice],
        outcomes: Sequence[Outcome],
        draft: Draft,
    ) -> None:
        for action in actions:
            if action.intent is None:
                draft.then(
                    lambda a=action: self.emit(  # type: ignore[misc]  # mypy cannot infer a lambda's default
                        Kind.TRADE_CHANGED,
                        what=a.kind,
                        ticket=a.ticket,
                        symbol=a.symbol,
                        detail=a.detail,
                    )
                )
        for notice in notices:
            draft.then(lambda n=notice: self.tell(ALERT, Raise(n)))  # type: ignore[misc]  # as above
        intents = {action.id: action.intent for action in actions}
        for outcome in outcomes:
            intent = intents.get(outcome.intent_id)
            draft.then(lambda o=outcome, i=intent: self._emit_outcome(o, i))  # type: ignore[misc]  # as above

    # -- the journal

    def _evaluated(self, message: Evaluated, draft: Draft) -> Journalled:
        """Take a cycle's results over, and journal the orders that may be sent."""
        written: list[TradeRecord] = []
        results: dict[int, TradeRecord] = {}
        for record in message.records:
            stored = draft.book.trades.get(record.identifier)
            if stored is None or stored.revision != message.bases.get(record.identifier):
                continue  # it changed meanwhile; the next cycle sees it as it is
            results[record.identifier] = record
            if worth_writing(stored, record):
                written.append(record)
        allowed = [i for i in message.intents if self._may_send(i, message, draft)]
        if results:
            draft.remember(results.values())
        if written or allowed:
            draft.put(
                Batch(trades=written, intents=[PendingIntent(intent=intent) for intent in allowed])
            )
        for intent in allowed:
            draft.then(lambda i=intent: self._send(i))  # type: ignore[misc]  # as above
        return Journalled(tuple(intent.id for intent in allowed))

    def _may_send(self, intent: Intent, message: Evaluated, draft: Draft) -> bool:
        """One order per decision, none in doubt, none from an old look (DESIGN, Fencing)."""
        stored = draft.book.trades.get(intent.identifier)
        if stored is None or stored.standing is not Standing.GUARDED:
            return False
        if stored.revision != message.bases.get(intent.identifier):
            return False
        if intent.identifier in draft.book.frozen:
            return False
        if predates(stored, intent.snapshot_at, self.clock.wall()):
            return False
        return intent.id not in draft.book.pending and self._store.action(intent.id) is None

    def _send(self, intent: Intent) -> None:
        self.emit(
            Kind.INTENT,
            id=intent.id,
            ticket=intent.ticket,
            symbol=intent.symbol,
            what=intent.kind.value,
            step=None if intent.step is None else intent.step.value,
            volume=intent.volume,
            stop_loss=intent.stop_loss,
            stop_before=intent.stop_before,
            reason=intent.reason,
        )
        self.context.points.reach("registry.before_execute")
        self.tell(CONNECTOR, Execute(intent))

    def _outcome(self, outcome: Outcome, draft: Draft) -> None:
        doubt = draft.book.pending.get(outcome.intent_id)
        if doubt is None:
            return  # told before, or resolved by reconciliation
        intent = doubt.intent
        record = draft.book.trades.get(intent.identifier)
        changed: list[TradeRecord] = []
        if record is not None:
            changed.append(
                after_outcome(record, intent, outcome, self.clock.wall(), self._rules.policy)
            )
        draft.put(Batch(trades=changed, outcomes=(outcome,)))
        draft.then(lambda: self._emit_outcome(outcome, intent))
        if outcome.kind in (OutcomeKind.DONE, OutcomeKind.PARTIAL):
            draft.then(lambda: self.tell(MONITOR, TickSoon(), merge="soon"))

    def _emit_outcome(self, outcome: Outcome, intent: Intent | None = None) -> None:
        self.emit(
            Kind.OUTCOME,
            id=outcome.intent_id,
            ticket=None if intent is None else intent.ticket,
            symbol=None if intent is None else intent.symbol,
            outcome=outcome.kind.value,
            retcode=outcome.retcode,
            detail=outcome.detail,
            price=outcome.price,
            volume=outcome.volume,
            by=outcome.resolved_by,
        )

    def _resolve(self, message: ResolveIntent, draft: Draft) -> dict[str, object]:
        if message.intent_id not in draft.book.pending:
            raise NotFound(
                "no intent with this id is in doubt",
                field="intent",
                value=message.intent_id,
                remedy="see the actions that have no outcome, or an unknown one",
            )
        kind = OutcomeKind.DONE if message.done else OutcomeKind.NOT_DONE
        outcome = Outcome(
            intent_id=message.intent_id,
            kind=kind,
            at=self.clock.wall(),
            detail=f"said by {message.by}",
            resolved_by="ops",
        )
        self._outcome(outcome, draft)
        return {"intent": message.intent_id, "outcome": kind.value}

    def _would(self, intents: Sequence[Intent], draft: Draft) -> None:
        now = self.clock.wall()
        for intent in intents:
            action = Action(
                id=f"would:{intent.identifier}:{intent.step}",
                at=now,
                identifier=intent.identifier,
                ticket=intent.ticket,
                symbol=intent.symbol,
                kind=f"would_{intent.kind.value}",
                detail=intent.reason,
                intent=intent,
            )
            if self._store.action(action.id) is None:
                draft.put(Batch(actions=(action,)))
                draft.then(
                    lambda i=intent: self.emit(  # type: ignore[misc]  # as above
                        Kind.WOULD,
                        ticket=i.ticket,
                        symbol=i.symbol,
                        what=i.kind.value,
                        volume=i.volume,
                        stop_loss=i.stop_loss,
                        stop_before=i.stop_before,
                        reason=i.reason,
                    )
                )

    def _flattened(self, message: RecordFlattened, draft: Draft) -> None:
        for intent, outcome in message.pairs:
            if self._store.action(intent.id) is not None:
                continue
            action = Action(
                id=intent.id,
                at=intent.decided_at,
                identifier=intent.identifier,
                ticket=intent.ticket,
                symbol=intent.symbol,
                kind=intent.kind.value,
                detail=intent.reason,
                intent=intent,
                outcome=outcome,
            )
            record = draft.book.trades.get(intent.identifier)
            changed: list[TradeRecord] = []
            if record is not None:
                changed.append(
                    after_outcome(record, intent, outcome, self.clock.wall(), self._rules.policy)
                )
            draft.put(Batch(trades=changed, actions=(action,)))
            draft.then(lambda i=intent, o=outcome: self._emit_outcome(o, i))  # type: ignore[misc]  # as above

    def _back_up(self) -> dict[str, object]:
        target = self._backup_to()
        self._store.backup(target)
        self.emit(Kind.BACKUP, path=str(target))
        return {"backup": str(target), "trades": len(self._book.trades)}
