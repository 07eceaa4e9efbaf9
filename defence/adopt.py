"""Positions that are not stored, and what history tells of a trade's beginning."""

from __future__ import annotations

from dataclasses import replace

from defence.alerts import Notice, Severity
from defence.broker import History, Known, Position, Unknown
from defence.outcomes import revised
from defence.plans import Adoption, Finding, Look
from defence.risk import first_peak, usable_initial_stop
from defence.rules import ADOPTED, WATCHED
from defence.trade import Standing, TradeRecord, TradeState


def found(position: Position, look: Look) -> Finding:
    """Return what is done with a position that is not stored: adopt, observe or ignore.

    It begins in HEALTHY with the result it has now, so that only what is seen
    from now on counts. Its initial stop is the position's own until history
    says otherwise.
    """
    adoption = look.rules.adoption_of(position)
    if adoption is Adoption.IGNORE:
        return Finding()
    guarded = adoption is Adoption.ADOPT
    stop = usable_initial_stop(position.direction, position.price_open, position.stop_loss)
    result = look.result(position.direction, position.symbol, position.price_open, stop)
    record = TradeRecord(
        identifier=position.identifier,
        ticket=position.ticket,
        symbol=position.symbol,
        direction=position.direction,
        volume=position.volume,
        entry_price=position.price_open,
        stop_loss=position.stop_loss,
        take_profit=position.take_profit,
        magic=position.magic,
        managed_by=ADOPTED if guarded else WATCHED,
        standing=Standing.GUARDED if guarded else Standing.OBSERVED,
        state=TradeState.HEALTHY,
        registered_at=look.now,
        updated_at=look.now,
        created_by=f"{look.plan_id}:{position.identifier}",
        initial_volume=position.volume,
        initial_stop=stop,
        result_r=result,
        peak_r=first_peak(result, adopted=True),
    )
    learned = learn(record, look)
    record = record if learned.trade is None else replace(learned.trade, revision=1)
    kind = "adopted" if guarded else "observed"
    detail = f"{position.direction.value} {position.volume:.10g} lots, found at the broker"
    action = look.action(record, kind, detail)
    return replace(learned, trade=record, actions=(action, *learned.actions))


def learn(record: TradeRecord, look: Look) -> Finding:
    """Return the record with what history tells of its opening, read once.

    The opening order's stop, if a risk can be measured from it and none was
    registered, and the commission. An empty history tells that there is nothing
    to be learned. People are told once if a guarded trade's risk stays unknown.
    """
    if not record.active or record.commission_per_lot is not None:
        return Finding()
    read = look.history(record.identifier)
    if read is None or isinstance(read, Unknown):
        return Finding(needs_history=read is None)
    if isinstance(read, Known):
        changes = replace(
            _with_opening_stop(record, read.value.opening_stop, look),
            commission_per_lot=_opening_commission(read.value),
        )
    else:
        changes = replace(record, commission_per_lot=0.0)
    tell = (
        changes.standing is Standing.GUARDED
        and changes.initial_stop is None
        and not changes.risk_alerted
    )
    if tell:
        changes = replace(changes, risk_alerted=True)
    trade = revised(record, look.now, changes)
    return Finding(trade=trade, notices=(_risk_notice(trade),) if tell else ())


def _with_opening_stop(record: TradeRecord, stop: float | None, look: Look) -> TradeRecord:
    if record.initial_stop_fixed:
        return record
    usable = usable_initial_stop(record.direction, record.entry_price, stop)
    if usable is None:
        return replace(record, initial_stop_fixed=record.initial_stop is not None)
    if usable == record.initial_stop:
        return replace(record, initial_stop_fixed=True)
    # R has another unit now: result and best begin anew.
    return measured_anew(record, usable, look)


def measured_anew(record: TradeRecord, stop: float | None, look: Look) -> TradeRecord:
    """Return the record with another initial stop; result and best R begin anew."""
    result = look.result(record.direction, record.symbol, record.entry_price, stop)
    adopted = record.managed_by in (ADOPTED, WATCHED)
    return replace(
        record,
        initial_stop=stop,
        initial_stop_fixed=True,
        result_r=result,
        peak_r=first_peak(result, adopted=adopted),
    )


def _opening_commission(history: History) -> float:
    opening = [deal for deal in history.deals if deal.entry == 0 and deal.volume > 0]
    volume = sum(deal.volume for deal in opening)
    if volume <= 0:
        return 0.0
    return sum(deal.commission + deal.fee for deal in opening) / volume


def _risk_notice(record: TradeRecord) -> Notice:
    return Notice(
        key=f"risk-unknown:{record.identifier}",
        severity=Severity.WARNING,
        title=f"The risk of {record.symbol} {record.ticket} is unknown",
        text="No initial stop was registered, and neither the position nor its opening order has "
        "one from which a risk can be measured. The rules in R are off for this trade: register "
        "it again with its initial stop_loss.",
    )
