"""Registry: the only writer of trades, intents, outcomes and history.

Registrations are committed in groups: what waits in the mailbox becomes one
transaction, and every asker is answered after it. All messages are idempotent
by their ids, so one that returns to the mailbox after a crash changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

from actors.actor import Context, GuardActor
from actors.book import Book, Draft
from actors.events import Kind
from actors.journal import Journal
from actors.mailbox import Letter
from actors.messages import (
    Compact,
    Evaluated,
    FindActions,
    FindDays,
    FindHistory,
    GetTrade,
    ListTrades,
    Observe,
    Observed,
    Raise,
    RecordFlattened,
    RecordOutcome,
    Register,
    RegisterMany,
    Release,
    ResolveIntent,
    Would,
    WriteAgain,
)
from actors.names import ALERT
from actors.retention import Retention
from actors.room import CANNOT_WRITE, Owed, Room, trades_trouble
from actors.trouble import Trouble
from defence.errors import (
    Damaged,
    DtmsError,
    Fault,
    NotFound,
    StoreLost,
)
from defence.orders import Action
from defence.plans import Plan, ReconcileRules
from defence.reconcile import plan as plan_for
from defence.registration import admit, find_position, release
from defence.trade import Registration, Standing, TradeRecord
from storage.trades import Batch, TradeStore


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings:
    """The store and the rules; `history_days` is how long details are kept, 0 for ever."""

    store: TradeStore
    rules: ReconcileRules
    history_days: float = 90.0
    # these two outlive an incarnation, as the store does
    trouble: Trouble = field(default_factory=trades_trouble)
    owed: list[object] = field(default_factory=list)  # facts that the store did not take yet


class Registry(GuardActor):
    """Owns the trade store."""

    batch_limit: ClassVar[int] = 512

    def __init__(self, context: Context, settings: RegistrySettings) -> None:
        super().__init__(context)
        self._store = settings.store
        self._rules = settings.rules
        self._journal = Journal(self, settings.store, settings.rules)
        self._room = Room(self, settings.store, settings.trouble)
        self._owed = Owed(self, settings.owed, self._run_one)
        self._retention = Retention(self, settings.store, settings.history_days)
        self._book = Book({}, {})
        self._newest_look = float("-inf")
        self._kept_look = float("-inf")  # the same, once all that it found is written

    def on_start(self) -> None:
        """Load the book from the store."""
        trades, pending = self._store.load()
        self._book = Book(trades, pending)
        self._publish_book()
        self._retention.begin()
        self._room.plan()
        self._owed.plan()

    def receive(self, message: object) -> object:
        """See `actors.messages`, the registry."""
        if isinstance(message, WriteAgain):
            if self._room.try_again():
                self._owed.write()
            return None
        answer = self._run_one(message)
        if isinstance(answer, DtmsError):
            self._owed.keep(message, answer)
            raise answer
        return answer

    def receive_batch(self, letters: Sequence[Letter]) -> list[object]:
        """Handle what waits in one transaction."""
        return self._run([letter.message for letter in letters])

    # -- one transaction

    def _run(self, messages: Sequence[object]) -> list[object]:
        """Handle them in one transaction; one by one if the store does not take that."""
        if len(messages) > 1:
            try:
                return self._transact(messages)
            except CANNOT_WRITE:
                pass  # what only reads needs no room, and some may fit alone
        answers: list[object] = []
        refusal: DtmsError | None = None
        for message in messages:
            try:
                answers.extend(self._transact([message], refusal))
            except CANNOT_WRITE as error:
                answers.append(self._refused(message, error))
                refusal = error
        return answers

    def _refused(self, message: object, error: DtmsError) -> object:
        """Answer for what the store did not take."""
        if isinstance(message, RegisterMany):
            return tuple(self._run(message.items))
        self._room.refused(error)
        return error

    def _run_one(self, message: object) -> object:
        try:
            return self._run([message])[0]
        except Fault:
            raise
        except DtmsError as error:
            return error

    def _transact(
        self, messages: Sequence[object], refusal: DtmsError | None = None
    ) -> list[object]:
        """Handle messages in one transaction. After a `refusal` nothing more is written."""
        draft = Draft(self._book)
        answers: list[object] = []
        for message in messages:
            try:
                answers.append(self._handle(message, draft))
            except DtmsError as error:
                if isinstance(error, Fault):
                    raise
                if isinstance(error, Damaged):
                    self._room.damaged(error)
                answers.append(error)
        if draft.batches:
            if refusal is not None:
                raise refusal
            try:
                self._commit(draft)
            except StoreLost as lost:
                self._room.lost(lost)
                return [lost for _ in answers]
            except Damaged as damage:
                self._room.damaged(damage, writing=True)
                return [damage for _ in answers]
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
            active=self._book.watched,
            observed=self._book.observed,
            in_doubt=len(self._book.pending),
        )

    def _handle(self, message: object, draft: Draft) -> object:
        match message:
            case Register():
                return self._register(message, draft)
            case RegisterMany():
                return tuple(self._one_of(item, draft) for item in message.items)
            case Observe():
                return self._observe(message, draft)
            case Evaluated():
                return self._journal.evaluated(message, draft)
            case RecordOutcome():
                self._journal.outcome(message.outcome, draft)
            case Release():
                return self._release(message, draft)
            case ListTrades():
                return tuple(draft.book.active)
            case GetTrade():
                return self._find(message.ticket, draft.book)
            case FindActions():
                return self._store.find_actions(message.query)
            case FindHistory():
                return self._store.find_history(message.query)
            case FindDays():
                return self._store.find_days(message.query)
            case Compact():
                self._retention.step()
            case Would():
                self._journal.would(message.intents, draft)
            case RecordFlattened():
                self._journal.flattened(message, draft)
            case ResolveIntent():
                return self._journal.resolve(message, draft)
            case _:
                return super().receive(message)
        return None

    # -- registration

    def _one_of(self, message: Register, draft: Draft) -> Registration | DtmsError:
        """Register one of several: its refusal is its own, the others are none the worse."""
        try:
            return self._register(message, draft)
        except DtmsError as error:
            if isinstance(error, Fault):
                raise
            return error

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
        return book.by_ticket(ticket) or self._store.find_archived_ticket(ticket)

    # -- comparing with the broker

    def _observe(self, message: Observe, draft: Draft) -> Observed:
        self._room.look()
        snapshot, book = message.snapshot, draft.book
        at = getattr(snapshot, "asked_at", None)
        if self._newest_look > self.clock.wall() + 1.0:
            self._newest_look = float("-inf")  # the clock was set back
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
                known_before=self._kept_look,
            )
            unknown = plan.unknown
            if at is not None:
                self._newest_look = at
                # What it found may not get written: then no later look goes on from an
                # older one either, as if this one had not been.
                self._kept_look = float("-inf")
                draft.then(partial(self._keep_look, at))
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
            self._after_plan(plan, draft)
        changed = 0 if plan is None else len(plan.trades) + len(plan.archived) + len(plan.outcomes)
        return Observed(
            trades=tuple(draft.book.active),
            frozen=draft.book.frozen,
            needs_history=frozenset() if plan is None else plan.needs_history,
            waiting=frozenset() if plan is None else plan.waiting,
            changes=changed,
            unknown=unknown,
        )

    def _keep_look(self, at: float) -> None:
        self._kept_look = at

    def _after_plan(self, plan: Plan, draft: Draft) -> None:
        for action in plan.actions:
            if action.intent is None:
                draft.then(partial(self._tell_change, action))
        for notice in plan.notices:
            # Before the commit: after a death in between, the next look finds
            # nothing to tell. Told twice, it is one alert with a count of two.
            self.tell(ALERT, Raise(notice))
        intents = {action.id: action.intent for action in plan.actions}
        for outcome in plan.outcomes:
            draft.then(partial(self._journal.tell, outcome, intents.get(outcome.intent_id)))

    def _tell_change(self, action: Action) -> None:
        self.emit(
            Kind.TRADE_CHANGED,
            what=action.kind,
            ticket=action.ticket,
            symbol=action.symbol,
            detail=action.detail,
        )
