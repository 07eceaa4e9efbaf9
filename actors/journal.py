"""The Registry's journal: every order before it is sent, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from actors.actor import GuardActor
from actors.book import Draft, worth_writing
from actors.events import Kind
from actors.messages import (
    Evaluated,
    Execute,
    Journalled,
    RecordFlattened,
    ResolveIntent,
    TickSoon,
)
from actors.names import CONNECTOR, MONITOR
from defence.errors import NotFound
from defence.orders import Action, Intent, Outcome, OutcomeKind, PendingIntent
from defence.outcomes import after_outcome, predates
from defence.plans import ReconcileRules
from defence.trade import Standing, TradeRecord
from storage.trades import Batch, TradeStore


class Journal:
    """Drafts what the Registry commits, and sends the order after the commit."""

    def __init__(self, owner: GuardActor, store: TradeStore, rules: ReconcileRules) -> None:
        self._owner = owner
        self._store = store
        self._rules = rules

    def evaluated(self, message: Evaluated, draft: Draft) -> Journalled:
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
            draft.then(partial(self._send, intent))
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
        if predates(stored, intent.snapshot_at, self._owner.clock.wall()):
            return False
        return intent.id not in draft.book.pending and self._store.action(intent.id) is None

    def _send(self, intent: Intent) -> None:
        self._owner.emit(
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
        self._owner.context.points.reach("registry.before_execute")
        self._owner.tell(CONNECTOR, Execute(intent))

    def outcome(self, outcome: Outcome, draft: Draft) -> None:
        """Take what became of an order; told twice, it changes nothing the second time."""
        doubt = draft.book.pending.get(outcome.intent_id)
        if doubt is None:
            return  # told before, or resolved by reconciliation
        intent = doubt.intent
        record = draft.book.trades.get(intent.identifier)
        changed: list[TradeRecord] = []
        if record is not None:
            changed.append(
                after_outcome(record, intent, outcome, self._owner.clock.wall(), self._rules.policy)
            )
        draft.put(Batch(trades=changed, outcomes=(outcome,)))
        draft.then(partial(self.tell, outcome, intent))
        if outcome.kind in (OutcomeKind.DONE, OutcomeKind.PARTIAL):
            draft.then(lambda: self._owner.tell(MONITOR, TickSoon(), merge="soon"))

    def tell(self, outcome: Outcome, intent: Intent | None = None) -> None:
        """Add an outcome to the stream of events."""
        self._owner.emit(
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

    def resolve(self, message: ResolveIntent, draft: Draft) -> dict[str, object]:
        """Take ops' word for an order in doubt; raises `NotFound` for any other."""
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
            at=self._owner.clock.wall(),
            detail=f"said by {message.by}",
            resolved_by="ops",
        )
        self.outcome(outcome, draft)
        return {"intent": message.intent_id, "outcome": kind.value}

    def would(self, intents: Sequence[Intent], draft: Draft) -> None:
        """Write what would have been sent, once a trade and step."""
        now = self._owner.clock.wall()
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
                draft.then(partial(self._tell_would, intent))

    def _tell_would(self, intent: Intent) -> None:
        self._owner.emit(
            Kind.WOULD,
            ticket=intent.ticket,
            symbol=intent.symbol,
            what=intent.kind.value,
            volume=intent.volume,
            stop_loss=intent.stop_loss,
            stop_before=intent.stop_before,
            reason=intent.reason,
        )

    def flattened(self, message: RecordFlattened, draft: Draft) -> None:
        """Write what ops closed around the journal."""
        for intent, outcome in message.pairs:
            if self._store.action(intent.id) is not None:
                continue
            if outcome.kind is OutcomeKind.UNKNOWN:
                # In doubt like any other: the ticket is frozen until it is resolved.
                doubt = PendingIntent(intent=intent)
                draft.put(Batch(intents=(doubt,), outcomes=(outcome,)))
                draft.then(partial(self.tell, outcome, intent))
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
                now = self._owner.clock.wall()
                changed.append(after_outcome(record, intent, outcome, now, self._rules.policy))
            draft.put(Batch(trades=changed, actions=(action,)))
            draft.then(partial(self.tell, outcome, intent))
