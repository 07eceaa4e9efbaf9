"""What an outcome does to the record of its trade."""

from __future__ import annotations

from dataclasses import replace

from defence.grid import clean_volume
from defence.orders import Intent, IntentKind, Outcome, OutcomeKind
from defence.retcodes import Meaning, classify
from defence.rules import Rules
from defence.trade import TradeRecord

CANNOT_ACT = "cannot act"
HELD_UP = "held up"
# How the detail of an order begins that was not even tried: its decider was
# replaced, ops had frozen the guard, programs may not trade, or another order is
# still at work on the symbol. It costs no try.
UNTRIED = ("fenced", "frozen", CANNOT_ACT, HELD_UP)


def predates(record: TradeRecord, asked_at: float, now: float) -> bool:
    """Whether a read that began at `asked_at` says nothing of this trade any more.

    It began before the trade was registered or before its last outcome; one of
    the outcome's own moment counts as older, because a clock may stand still for
    milliseconds (Windows: 16) while an order is carried out. A time in the
    future of `now` is a clock that was set back: it binds nothing, else the
    trade would be unguarded until the clock has caught up.
    """
    known, done = record.registered_at, record.last_outcome_at
    return asked_at < known <= now or asked_at <= done <= now


def refused_to_programs(outcome: Outcome) -> bool:
    """Whether it was refused for coming from a program, by retcode or by `last_error` -8.

    It says nothing of the order, which is good once a person has switched
    trading on: so it costs no try, and others need not be tried meanwhile.
    """
    if outcome.kind is not OutcomeKind.NOT_DONE:
        return False
    if outcome.retcode is None:
        return outcome.detail.startswith(CANNOT_ACT)
    return classify(outcome.retcode) is Meaning.CANNOT_ACT


def after_outcome(
    record: TradeRecord, intent: Intent, outcome: Outcome, now: float, rules: Rules
) -> TradeRecord:
    """Return the record after an outcome of one of its intents.

    UNKNOWN changes nothing: the caller freezes the trade until reconciliation
    resolves it. An order that was fenced was not tried, nor was one that was
    refused to programs as such; one that belongs to no step (a close by a
    person) is no try of the next step.
    """
    if outcome.kind is OutcomeKind.UNKNOWN:
        return record
    if outcome.kind in (OutcomeKind.DONE, OutcomeKind.PARTIAL):
        return _done(record, intent, outcome, now)
    changes = replace(record, last_outcome_at=now)
    untried = outcome.kind is OutcomeKind.NOT_SENT and outcome.detail.startswith(UNTRIED)
    untried = untried or refused_to_programs(outcome)
    if not untried and intent.step is not None:
        same = record.attempt_step in (None, intent.step)
        attempts = (record.attempts if same else 0) + 1
        # Doubled each time; the exponent is bounded so that it cannot overflow.
        delay = rules.retry_after * 2 ** min(attempts - 1, 20)
        changes = replace(
            changes, attempts=attempts, attempt_step=intent.step, retry_at=now + delay
        )
    elif refused_to_programs(outcome) and record.attempt_step is None:
        changes = replace(changes, attempt_step=intent.step)  # which one it was is worth knowing
    return revised(record, now, changes)


def _done(record: TradeRecord, intent: Intent, outcome: Outcome, now: float) -> TradeRecord:
    steps = record.steps
    if intent.step is not None and intent.step not in steps:
        steps = (*steps, intent.step)
    changes = replace(
        record, steps=steps, attempts=0, attempt_step=None, retry_at=0.0, last_outcome_at=now
    )
    if intent.kind is IntentKind.MOVE_STOP:
        changes = replace(changes, stop_loss=intent.stop_loss, take_profit=intent.take_profit)
    elif intent.kind in (IntentKind.CLOSE_PART, IntentKind.CLOSE):
        asked = intent.volume if outcome.kind is OutcomeKind.DONE else 0.0
        closed = min(outcome.volume or asked, record.volume)
        changes = replace(
            changes,
            volume=clean_volume(record.volume - closed),
            closed_volume=clean_volume(record.closed_volume + closed),
        )
    return revised(record, now, changes)


def revised(record: TradeRecord, now: float, changes: TradeRecord) -> TradeRecord:
    """Return `changes` as the next revision, or the record itself if nothing differs."""
    if changes == record:
        return record
    return replace(changes, updated_at=now, revision=record.revision + 1)
