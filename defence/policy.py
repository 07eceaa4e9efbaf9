"""The Monitor's policy: what to do for a trade that gives back what it had.

Danger is the R given back from the best R seen (`peak_r`). At `l1_giveback` the
trade is in WARNING_L1 and its stop is tightened; at `l2_giveback` it is in
WARNING_L2, half is closed and the stop goes to break-even where there is room.
States only go up, each step happens at most once a trade, and there is at most
one decision a call. A stop is never widened and never put at the market.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from defence.broker import Position, Quote, SymbolFacts
from defence.errors import Fault
from defence.grid import same_price, same_volume
from defence.orders import Intent, IntentKind
from defence.outcomes import after_outcome, predates, revised
from defence.risk import exit_price, first_peak, quote_fault, result_r, usable_facts
from defence.rules import ADOPTED, WATCHED, Rules
from defence.stops import Market, StopFault, half_of, inside_freeze, safe_stop, tightened_stop
from defence.trade import Standing, Step, TradeRecord, TradeState

__all__ = [
    "Decision",
    "Rules",
    "Skip",
    "Verdict",
    "after_outcome",
    "decide",
    "due_step",
    "evaluate",
    "intent_of",
    "predates",
]

_NOISE = 1e-9  # R; rounding noise of a comparison with a limit
_RANK = {
    TradeState.HEALTHY: 0,
    TradeState.WARNING_L1: 1,
    TradeState.WARNING_L2: 2,
    TradeState.CLOSED: 3,
}
_MAY_TRADE = (3, 4)  # trade_mode: close only, full access


class Skip(StrEnum):
    """Why no decision was made. Prices that cannot be used have texts of their own."""

    CLOSED = "the trade is closed"
    MARKET = "the market is closed"
    RISK = "risk unknown"
    STANDING = "watched only"
    DIFFERS = "the position differs from the record: reconcile first"
    HOLD = "a manual change is respected"
    RETRY = "waiting before the next try"
    ATTEMPTS = "attempts are used up"
    FACTS = "the symbol's facts are not known"
    TRADE_MODE = "the symbol may not be traded"
    FROZEN = "the price is inside the freeze level"
    NO_ROOM = "no room for a stop between the present one and the price"
    NOT_BETTER = "the present stop is as good"
    SAFE = "the stop is at break-even or better"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is to be done now. Volume in lots, 0 for a stop change; both stops as to be set."""

    kind: IntentKind
    step: Step
    volume: float
    stop_loss: float | None
    take_profit: float | None
    reason: str
    price_seen: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A trade evaluated: its record brought up to date, and what is to be done, if anything.

    `skipped` says why a trade was not evaluated, or why a step that is due is
    not decided; None where nothing is due.
    """

    record: TradeRecord
    decision: Decision | None = None
    skipped: str | None = None


def decide(
    record: TradeRecord,
    position: Position,
    quote: Quote | None,
    facts: SymbolFacts | None,
    now: float,
    rules: Rules,
) -> Verdict:
    """Evaluate one trade against one look at the broker.

    `now` is the guard's clock. The caller sees to it that the look is not older
    than the trade's last outcome (`predates`) and that no intent is pending.
    Raises `Fault` if the position is another trade's.
    """
    if record.identifier != position.identifier:
        raise Fault(
            "is another trade's position",
            field="identifier",
            value=position.identifier,
            remedy=f"pass the position of {record.identifier}",
        )
    if record.standing in (Standing.CLOSED, Standing.UNEXPLAINED):
        return Verdict(record=record, skipped=Skip.CLOSED)
    fault = quote_fault(quote, record.symbol, now, rules.quote_stale_after)
    if quote is None or fault is not None:
        return Verdict(record=record, skipped=fault)
    if facts is not None and not facts.session_open:
        # Quotes outside the session have spreads at which nobody trades.
        return Verdict(record=record, skipped=Skip.MARKET)
    if record.direction is not position.direction or record.symbol != position.symbol:
        return Verdict(record=record, skipped=Skip.DIFFERS)
    price = exit_price(record.direction, quote)
    seen = evaluate(record, price, now, rules)
    if seen.result_r is None or seen.peak_r is None:
        return Verdict(record=seen, skipped=Skip.RISK)
    step = due_step(seen, rules)
    if step is None:
        return Verdict(record=seen)
    if step is Step.L2_HALF and _cannot_halve(position, facts):
        step = Step.L2_STOP
    skip = _held_back(seen, position, facts, step, now, rules)
    if skip is not None or facts is None:
        return Verdict(record=seen, skipped=skip)
    if inside_freeze(position, price, facts):
        return Verdict(record=seen, skipped=Skip.FROZEN)
    market = Market(quote=quote, facts=facts, price=price)
    return _act(seen, position, market, step, now)


def evaluate(record: TradeRecord, price: float, now: float, rules: Rules) -> TradeRecord:
    """Return the record with result, best result and state as of `price`.

    States only go up. With unknown risk the result is None, and the state stays.
    """
    result = result_r(record, price)
    if result is None:
        return revised(record, now, replace(record, result_r=None, peak_r=None))
    peak = record.peak_r
    if peak is None:
        peak = first_peak(result, adopted=record.managed_by in (ADOPTED, WATCHED))
    peak = result if peak is None else max(peak, result)
    state = max(record.state, _danger(peak - result, rules), key=_RANK.__getitem__)
    if (result, peak, state) == (record.result_r, record.peak_r, record.state):
        return record  # as after most looks
    return revised(record, now, replace(record, result_r=result, peak_r=peak, state=state))


def _danger(giveback: float, rules: Rules) -> TradeState:
    if giveback >= rules.l2_giveback - _NOISE:
        return TradeState.WARNING_L2
    if giveback >= rules.l1_giveback - _NOISE:
        return TradeState.WARNING_L1
    return TradeState.HEALTHY


def due_step(record: TradeRecord, rules: Rules) -> Step | None:
    """Return the step that is due for an evaluated record, or None.

    The state remembers the worst that was seen; what is due depends on the
    danger now, so that a trade which has recovered (while the user's change was
    respected, or nothing could be sent) is left alone. Only the second half of
    level 2 follows whatever the price does: it completes what was begun.
    """
    if Step.L2_STOP in record.steps:
        return None
    if Step.L2_HALF in record.steps:
        return Step.L2_STOP
    if record.result_r is None or record.peak_r is None:
        return None
    danger = _danger(record.peak_r - record.result_r, rules)
    if danger is TradeState.WARNING_L2:
        return Step.L2_HALF
    if danger is TradeState.WARNING_L1 and Step.L1_STOP not in record.steps:
        return Step.L1_STOP
    return None


def _agrees(record: TradeRecord, position: Position, facts: SymbolFacts) -> bool:
    # A difference is a manual change that has not been recorded yet; acting on
    # it would break the promise to respect it.
    return (
        same_volume(record.volume, position.volume)
        and same_price(record.stop_loss, position.stop_loss, facts.tick_size)
        and same_price(record.take_profit, position.take_profit, facts.tick_size)
    )


def _held_back(
    record: TradeRecord,
    position: Position,
    facts: SymbolFacts | None,
    step: Step,
    now: float,
    rules: Rules,
) -> Skip | None:
    """Return what forbids acting now, whatever the step would be."""
    if record.standing is not Standing.GUARDED:
        return Skip.STANDING
    if now < record.hold_until:
        return Skip.HOLD
    if record.attempt_step in (None, step) and record.attempts >= rules.max_attempts:
        return Skip.ATTEMPTS
    if now < record.retry_at:
        return Skip.RETRY
    if facts is None or not usable_facts(facts):
        return Skip.FACTS
    if facts.trade_mode not in _MAY_TRADE:
        return Skip.TRADE_MODE
    if not _agrees(record, position, facts):
        return Skip.DIFFERS
    return None


def _cannot_halve(position: Position, facts: SymbolFacts | None) -> bool:
    return facts is not None and usable_facts(facts) and half_of(position.volume, facts) is None


def _act(
    record: TradeRecord, position: Position, market: Market, step: Step, now: float
) -> Verdict:
    reason = _reason(record)
    half = half_of(position.volume, market.facts)
    if step is Step.L2_HALF and half is not None:
        decision = Decision(
            kind=IntentKind.CLOSE_PART,
            step=step,
            volume=half,
            stop_loss=position.stop_loss,
            take_profit=position.take_profit,
            reason=reason,
            price_seen=market.price,
        )
        return Verdict(record=record, decision=decision)
    if step is Step.L2_STOP and Step.L2_HALF not in record.steps:
        # The volume cannot be halved: that step has nothing to do.
        record = revised(record, now, replace(record, steps=(*record.steps, Step.L2_HALF)))
    stop = (
        safe_stop(record, position, market)
        if step is Step.L2_STOP
        else tightened_stop(record, position, market)
    )
    if stop is StopFault.SAFE:
        # What the step is for has been reached without us.
        done = revised(record, now, replace(record, steps=(*record.steps, step)))
        return Verdict(record=done, skipped=Skip.SAFE)
    if isinstance(stop, StopFault):
        skip = Skip.NO_ROOM if stop is StopFault.NO_ROOM else Skip.NOT_BETTER
        return Verdict(record=record, skipped=skip)
    decision = Decision(
        kind=IntentKind.MOVE_STOP,
        step=step,
        volume=0.0,
        stop_loss=stop,
        take_profit=position.take_profit,
        reason=reason,
        price_seen=market.price,
    )
    return Verdict(record=record, decision=decision)


def _reason(record: TradeRecord) -> str:
    if record.peak_r is None or record.result_r is None:
        return "completes level 2"
    giveback = record.peak_r - record.result_r
    return f"gave back {giveback:.2f} R of a best of {record.peak_r:.2f} R"


def intent_of(
    decision: Decision,
    record: TradeRecord,
    position: Position,
    *,
    intent_id: str,
    now: float,
    snapshot_at: float,
    decided_by: int,
) -> Intent:
    """Return the order of a decision, ready to be journalled."""
    return Intent(
        id=intent_id,
        identifier=record.identifier,
        ticket=position.ticket,
        symbol=record.symbol,
        direction=record.direction,
        kind=decision.kind,
        step=decision.step,
        volume=decision.volume,
        volume_before=position.volume,
        stop_loss=decision.stop_loss,
        take_profit=decision.take_profit,
        stop_before=position.stop_loss,
        price_seen=decision.price_seen,
        reason=decision.reason,
        magic=record.magic,
        decided_at=now,
        snapshot_at=snapshot_at,
        decided_by=decided_by,
    )
