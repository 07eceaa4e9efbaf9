"""The Registry's journal: every order before it is sent, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from actors.actor import GuardActor
from actors.book import Draft, worth_writing
from actors.events import Kind
from actors.mailbox import Lane
from actors.messages import (
    Evaluated,
    Execute,
    FlattenJournalled,
    Held,
    Journalled,
    Journey,
    RecordFlattened,
    ResolveIntent,
    TickSoon,
)
from actors.names import CONNECTOR, MONITOR
from defence.errors import Conflict, NotFound
from defence.intents import blocks, overtaken_by
from defence.orders import LATEST, Action, Intent, Outcome, OutcomeKind, PendingIntent, action_of
from defence.outcomes import after_outcome, predates
from defence.plans import ReconcileRules
from defence.trade import Standing, TradeRecord
from storage.trades import Batch, TradeStore

STILL_FRESH = 15.0  # seconds; an older decision is not told late (the Monitor's oldest look)


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
        again = [i for i in message.intents if self._untold(i, message, draft)]
        allowed = [i for i in message.intents if self._may_send(i, message, draft)]
        message.journey.drafted.update(intent.id for intent in allowed)
        if results:
            draft.remember(results.values())
        if written or allowed:
            draft.put(
                Batch(trades=written, intents=[PendingIntent(intent=intent) for intent in allowed])
            )
        for intent in (*again, *allowed):
            draft.then(partial(self._send, intent, message.journey))
        return Journalled(tuple(intent.id for intent in (*again, *allowed)))

    def _untold(self, intent: Intent, message: Evaluated, draft: Draft) -> bool:
        """Whether a forerunner made this durable and died before it told the connector.

        It is sure that nobody told: an order is told by `_send` alone, on
        behalf of the one message that brought it, and the message knows. An
        old decision is left to reconciliation all the same.
        """
        if intent.id not in draft.book.pending or not message.journey.untold(intent.id):
            return False
        return 0 <= self._owner.clock.wall() - intent.decided_at <= STILL_FRESH

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

    def _send(self, intent: Intent, journey: Journey) -> None:
        self._owner.context.points.reach("registry.before_execute")
        # Under the lease: one that was replaced while it hung here tells nobody.
        with self._owner.context.lease.hold():
            if journey.tell(intent.id):
                self._announce(intent)
                self._owner.tell(CONNECTOR, Execute(intent))

    def _announce(self, intent: Intent) -> None:
        """Add an intent to the stream of events."""
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
        self._overtake(intent, outcome, draft)
        if outcome.kind in (OutcomeKind.DONE, OutcomeKind.PARTIAL):
            draft.then(lambda: self._owner.tell(MONITOR, TickSoon(), merge="soon"))

    def _overtake(self, intent: Intent, outcome: Outcome, draft: Draft) -> None:
        """Settle the closes in doubt for which this outcome leaves nothing to do."""
        for doubt in tuple(draft.book.pending.values()):
            late = overtaken_by(doubt.intent, intent, outcome)
            if late is not None:
                self.outcome(late, draft)

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
        waits = self._may_be_on_its_way(draft.book.pending[message.intent_id].intent)
        if waits > 0:
            raise Conflict(
                "the order may still be on its way",
                field="intent",
                value=message.intent_id,
                remedy=f"try again in {waits:.0f} s: after that it is not sent any more",
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

    def _may_be_on_its_way(self, intent: Intent) -> float:
        """Return for how many seconds yet; 0 once its sending was told, or it is too old for it."""
        if self._store.action(intent.id) is not None:
            return 0.0
        age = self._owner.clock.wall() - intent.decided_at
        return max(0.0, min(LATEST, LATEST - age))

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

    # -- flatten

    def flattened(self, message: RecordFlattened, draft: Draft) -> None:
        """Take the orders of a flatten, and what became of them.

        They are durable when `FlattenJournalled` says so. A message whose
        handler died comes again: it changes nothing then, and is answered anew.
        """
        for intent, outcome in message.pairs:
            if outcome is not None:
                self._after_the_fact(intent, outcome, draft)
        asked = [intent for intent, outcome in message.pairs if outcome is None]
        if not asked:
            return
        held = tuple(one for one in (self._held(i, message, draft) for i in asked) if one)
        back = {one.intent.id for one in held}
        new = [i for i in asked if i.id not in back and i.id not in draft.book.pending]
        if new:
            message.journey.drafted.update(intent.id for intent in new)
            draft.put(Batch(intents=[PendingIntent(intent=intent) for intent in new]))
        for intent in new:
            draft.then(partial(self._announce, intent))
        told = FlattenJournalled(message.id, held)
        draft.then(lambda: self._owner.tell(CONNECTOR, told, lane=Lane.CONTROL))

    def _held(self, intent: Intent, message: RecordFlattened, draft: Draft) -> Held | None:
        """Return why an order of a flatten must not go out, None if it may."""
        doubt = draft.book.pending.get(intent.id)
        if doubt is not None:
            if intent.id in message.journey.drafted:
                return None  # this very plan made it durable, then whoever was told died
            return Held(intent, None, "this command has sent it before; it is in doubt")
        before = self._store.action(intent.id)
        if before is not None:
            return Held(intent, before.outcome, "this command has sent it before")
        for other in draft.book.pending.values():
            if blocks(other.intent, intent, hedging=message.hedging):
                what = f"{other.intent.kind.value} {other.intent.id}"
                return Held(intent, None, f"{what} is in doubt: try again, or use the terminal")
        return None

    def _after_the_fact(self, intent: Intent, outcome: Outcome, draft: Draft) -> None:
        """Write what became of an order of a flatten, whether it was journalled before or not."""
        if intent.id in draft.book.pending:
            self.outcome(outcome, draft)
            return
        if self._store.action(intent.id) is not None:
            return  # told before
        if outcome.kind is OutcomeKind.UNKNOWN:
            # In doubt like any other: the ticket is frozen until it is resolved.
            draft.put(Batch(intents=(PendingIntent(intent=intent),), outcomes=(outcome,)))
            draft.then(partial(self.tell, outcome, intent))
            return
        action = action_of(intent, outcome)
        record = draft.book.trades.get(intent.identifier)
        changed: list[TradeRecord] = []
        if record is not None:
            now = self._owner.clock.wall()
            changed.append(after_outcome(record, intent, outcome, now, self._rules.policy))
        draft.put(Batch(trades=changed, actions=(action,)))
        draft.then(partial(self.tell, outcome, intent))
        self._overtake(intent, outcome, draft)
