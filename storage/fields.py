"""The field mappings between our data types and msgpack maps, written out.

Written out because `dataclasses.asdict` costs 54 times as much (LMDB.md), and
because a stored name must not change when somebody renames an attribute.

Reading ignores fields it does not know (a newer minor schema wrote them) and
gives missing ones their default; `storage.reading` says what is refused.
"""

from __future__ import annotations

from defence.alerts import Alert, Severity
from defence.broker import Direction
from defence.days import DaySummary
from defence.orders import Action, Intent, IntentKind, Outcome, OutcomeKind, PendingIntent
from defence.trade import Standing, Step, TradeRecord, TradeState
from storage.reading import (
    flag,
    inner,
    items,
    member,
    member_or_none,
    number,
    number_or_none,
    refuse,
    text,
    text_or_none,
    whole,
    whole_or_none,
)
from storage.records import Fields


def trade_fields(record: TradeRecord) -> Fields:
    """Return what is stored of a trade."""
    return {
        "identifier": record.identifier,
        "ticket": record.ticket,
        "symbol": record.symbol,
        "direction": record.direction.value,
        "volume": record.volume,
        "entry_price": record.entry_price,
        "stop_loss": record.stop_loss,
        "take_profit": record.take_profit,
        "magic": record.magic,
        "managed_by": record.managed_by,
        "standing": record.standing.value,
        "state": record.state.value,
        "registered_at": record.registered_at,
        "updated_at": record.updated_at,
        "created_by": record.created_by,
        "initial_volume": record.initial_volume,
        "initial_stop": record.initial_stop,
        "result_r": record.result_r,
        "peak_r": record.peak_r,
        "steps": [step.value for step in record.steps],
        "attempts": record.attempts,
        "retry_at": record.retry_at,
        "last_outcome_at": record.last_outcome_at,
        "missing_since": record.missing_since,
        "hold_until": record.hold_until,
        "contradictions": list(record.contradictions),
        "closed_volume": record.closed_volume,
        "closed_at": record.closed_at,
        "close_reason": record.close_reason,
        "close_price": record.close_price,
        "close_profit": record.close_profit,
        "risk_alerted": record.risk_alerted,
        "revision": record.revision,
        "attempt_step": None if record.attempt_step is None else record.attempt_step.value,
        "initial_stop_fixed": record.initial_stop_fixed,
        "commission_per_lot": record.commission_per_lot,
    }


def trade_from(fields: Fields) -> TradeRecord:
    """Return the trade that was stored; FolderRefused if another version wrote it."""
    return TradeRecord(
        identifier=whole(fields, "identifier"),
        ticket=whole(fields, "ticket"),
        symbol=text(fields, "symbol"),
        direction=member(Direction, fields.get("direction"), "direction"),
        volume=number(fields, "volume"),
        entry_price=number(fields, "entry_price"),
        stop_loss=number_or_none(fields, "stop_loss"),
        take_profit=number_or_none(fields, "take_profit"),
        magic=whole(fields, "magic"),
        managed_by=text(fields, "managed_by"),
        standing=member(Standing, fields.get("standing"), "standing"),
        state=member(TradeState, fields.get("state"), "state"),
        registered_at=number(fields, "registered_at"),
        updated_at=number(fields, "updated_at"),
        created_by=text(fields, "created_by"),
        initial_volume=number(fields, "initial_volume"),
        initial_stop=number_or_none(fields, "initial_stop"),
        result_r=number_or_none(fields, "result_r"),
        peak_r=number_or_none(fields, "peak_r"),
        steps=tuple(member(Step, step, "steps") for step in items(fields, "steps")),
        attempts=whole(fields, "attempts", 0),
        retry_at=number(fields, "retry_at", 0.0),
        last_outcome_at=number(fields, "last_outcome_at", 0.0),
        missing_since=number_or_none(fields, "missing_since"),
        hold_until=number(fields, "hold_until", 0.0),
        contradictions=tuple(
            number({"contradictions": at}, "contradictions")
            for at in items(fields, "contradictions")
        ),
        closed_volume=number(fields, "closed_volume", 0.0),
        closed_at=number_or_none(fields, "closed_at"),
        close_reason=text_or_none(fields, "close_reason"),
        close_price=number_or_none(fields, "close_price"),
        close_profit=number_or_none(fields, "close_profit"),
        risk_alerted=flag(fields, "risk_alerted", default=False),
        revision=whole(fields, "revision", 1),
        attempt_step=member_or_none(Step, fields, "attempt_step"),
        initial_stop_fixed=flag(fields, "initial_stop_fixed", default=False),
        commission_per_lot=number_or_none(fields, "commission_per_lot"),
    )


def intent_fields(intent: Intent) -> Fields:
    """Return what is stored of an intent."""
    return {
        "id": intent.id,
        "identifier": intent.identifier,
        "ticket": intent.ticket,
        "symbol": intent.symbol,
        "direction": intent.direction.value,
        "kind": intent.kind.value,
        "step": None if intent.step is None else intent.step.value,
        "volume": intent.volume,
        "volume_before": intent.volume_before,
        "stop_loss": intent.stop_loss,
        "take_profit": intent.take_profit,
        "stop_before": intent.stop_before,
        "price_seen": intent.price_seen,
        "reason": intent.reason,
        "magic": intent.magic,
        "decided_at": intent.decided_at,
        "snapshot_at": intent.snapshot_at,
        "decided_by": intent.decided_by,
    }


def intent_from(fields: Fields) -> Intent:
    """Return the intent that was stored; FolderRefused if another version wrote it."""
    return Intent(
        id=text(fields, "id"),
        identifier=whole(fields, "identifier"),
        ticket=whole(fields, "ticket"),
        symbol=text(fields, "symbol"),
        direction=member(Direction, fields.get("direction"), "direction"),
        kind=member(IntentKind, fields.get("kind"), "kind"),
        step=member_or_none(Step, fields, "step"),
        volume=number(fields, "volume"),
        volume_before=number(fields, "volume_before"),
        stop_loss=number_or_none(fields, "stop_loss"),
        take_profit=number_or_none(fields, "take_profit"),
        stop_before=number_or_none(fields, "stop_before"),
        price_seen=number(fields, "price_seen"),
        reason=text(fields, "reason"),
        magic=whole(fields, "magic"),
        decided_at=number(fields, "decided_at"),
        snapshot_at=number(fields, "snapshot_at"),
        decided_by=whole(fields, "decided_by"),
    )


def pending_fields(pending: PendingIntent) -> Fields:
    """Return what is stored of a pending intent."""
    return {
        "intent": intent_fields(pending.intent),
        "first_read_at": pending.first_read_at,
        "told": pending.told,
    }


def pending_from(fields: Fields) -> PendingIntent:
    """Return the pending intent that was stored."""
    intent = inner(fields, "intent")
    if intent is None:
        refuse("intent", None)
    return PendingIntent(
        intent=intent_from(intent),
        first_read_at=number_or_none(fields, "first_read_at"),
        told=flag(fields, "told", default=False),
    )


def outcome_fields(outcome: Outcome) -> Fields:
    """Return what is stored of an outcome."""
    return {
        "intent_id": outcome.intent_id,
        "kind": outcome.kind.value,
        "at": outcome.at,
        "retcode": outcome.retcode,
        "detail": outcome.detail,
        "price": outcome.price,
        "volume": outcome.volume,
        "order": outcome.order,
        "deal": outcome.deal,
        "resolved_by": outcome.resolved_by,
    }


def outcome_from(fields: Fields) -> Outcome:
    """Return the outcome that was stored."""
    return Outcome(
        intent_id=text(fields, "intent_id"),
        kind=member(OutcomeKind, fields.get("kind"), "kind"),
        at=number(fields, "at"),
        retcode=whole_or_none(fields, "retcode"),
        detail=text(fields, "detail", ""),
        price=number_or_none(fields, "price"),
        volume=number_or_none(fields, "volume"),
        order=whole_or_none(fields, "order"),
        deal=whole_or_none(fields, "deal"),
        resolved_by=text(fields, "resolved_by", "broker"),
    )


def action_fields(action: Action) -> Fields:
    """Return what is stored of an action."""
    return {
        "id": action.id,
        "at": action.at,
        "identifier": action.identifier,
        "ticket": action.ticket,
        "symbol": action.symbol,
        "kind": action.kind,
        "detail": action.detail,
        "intent": None if action.intent is None else intent_fields(action.intent),
        "outcome": None if action.outcome is None else outcome_fields(action.outcome),
    }


def action_from(fields: Fields) -> Action:
    """Return the action that was stored."""
    intent, outcome = inner(fields, "intent"), inner(fields, "outcome")
    return Action(
        id=text(fields, "id"),
        at=number(fields, "at"),
        identifier=whole(fields, "identifier"),
        ticket=whole(fields, "ticket"),
        symbol=text(fields, "symbol"),
        kind=text(fields, "kind"),
        detail=text(fields, "detail"),
        intent=None if intent is None else intent_from(intent),
        outcome=None if outcome is None else outcome_from(outcome),
    )


def day_fields(summary: DaySummary) -> Fields:
    """Return what is stored of a day's summary."""
    return {
        "day": summary.day,
        "symbol": summary.symbol,
        "closed": summary.closed,
        "won": summary.won,
        "lost": summary.lost,
        "unexplained": summary.unexplained,
        "profit": summary.profit,
        "volume": summary.volume,
        "r_sum": summary.r_sum,
        "r_count": summary.r_count,
        "actions": {kind: dict(outcomes) for kind, outcomes in summary.actions.items()},
    }


def day_from(fields: Fields) -> DaySummary:
    """Return the summary that was stored."""
    kinds = inner(fields, "actions") or {}
    return DaySummary(
        day=whole(fields, "day"),
        symbol=text(fields, "symbol"),
        closed=whole(fields, "closed", 0),
        won=whole(fields, "won", 0),
        lost=whole(fields, "lost", 0),
        unexplained=whole(fields, "unexplained", 0),
        profit=number(fields, "profit", 0.0),
        volume=number(fields, "volume", 0.0),
        r_sum=number(fields, "r_sum", 0.0),
        r_count=whole(fields, "r_count", 0),
        actions={kind: _tally(inner(kinds, kind) or {}) for kind in kinds},
    )


def _tally(outcomes: Fields) -> dict[str, int]:
    return {outcome: whole(outcomes, outcome) for outcome in outcomes}


def alert_fields(alert: Alert) -> Fields:
    """Return what is stored of an alert."""
    return {
        "id": alert.id,
        "key": alert.key,
        "severity": alert.severity.value,
        "title": alert.title,
        "text": alert.text,
        "raised_at": alert.raised_at,
        "last_at": alert.last_at,
        "count": alert.count,
        "told_at": alert.told_at,
        "told": alert.told,
        "acknowledged_at": alert.acknowledged_at,
        "acknowledged_by": alert.acknowledged_by,
    }


def alert_from(fields: Fields) -> Alert:
    """Return the alert that was stored."""
    return Alert(
        id=text(fields, "id"),
        key=text(fields, "key"),
        severity=member(Severity, fields.get("severity"), "severity"),
        title=text(fields, "title"),
        text=text(fields, "text"),
        raised_at=number(fields, "raised_at"),
        last_at=number(fields, "last_at"),
        count=whole(fields, "count", 1),
        told_at=number_or_none(fields, "told_at"),
        told=whole(fields, "told", 0),
        acknowledged_at=number_or_none(fields, "acknowledged_at"),
        acknowledged_by=text_or_none(fields, "acknowledged_by"),
    )
