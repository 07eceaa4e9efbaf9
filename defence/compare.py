"""Stored and at the broker: what differs, and what is made of it.

The broker's values always win. What a person changed is recorded and
respected; too many changes against ours, and the trade is only watched.
"""

from __future__ import annotations

from dataclasses import replace

from defence.adopt import measured_anew
from defence.alerts import Notice, Severity
from defence.broker import Position
from defence.grid import clean_volume, same_price, same_volume
from defence.orders import Action
from defence.outcomes import revised
from defence.plans import Finding, Look
from defence.risk import usable_initial_stop
from defence.trade import Standing, Step, TradeRecord

LEAST_HALF = 0.33  # of a volume: half of three steps, rounded down, is one of them


def differences(record: TradeRecord, position: Position, look: Look) -> Finding:
    """Return the record brought up to date with its position (same symbol and direction).

    A released trade is only noted: its ticket follows, nothing else does.
    """
    changes, actions = _found_again(record, position, look)
    if record.standing is not Standing.RELEASED:
        changes, sized = _sized(changes, position, look)
        actions = (*actions, *sized)
        if not _same_stops(changes, position, look):
            changed = manual_change(changes, position, look)
            changes = changes if changed.trade is None else changed.trade
            trade = revised(record, look.now, changes)
            return replace(changed, trade=trade, actions=(*actions, *changed.actions))
    trade = revised(record, look.now, changes)
    return Finding(trade=None if trade is record else trade, actions=actions)


def _found_again(
    record: TradeRecord, position: Position, look: Look
) -> tuple[TradeRecord, tuple[Action, ...]]:
    actions: tuple[Action, ...] = ()
    if record.missing_since is not None:
        record = replace(record, missing_since=None)
        actions = (look.action(record, "reappeared", "is among the positions again"),)
    if position.ticket != record.ticket:
        detail = f"ticket {record.ticket} is now {position.ticket}"
        record = replace(record, ticket=position.ticket)
        actions = (*actions, look.action(record, "ticket_changed", detail))
    return record, actions


def _sized(
    record: TradeRecord, position: Position, look: Look
) -> tuple[TradeRecord, tuple[Action, ...]]:
    """Take over volume and open price; more volume or another price is another risk."""
    actions: tuple[Action, ...] = ()
    before = record.volume
    grown = position.volume > before and not same_volume(position.volume, before)
    if position.volume < before and not same_volume(position.volume, before):
        part = clean_volume(before - position.volume)
        closed = clean_volume(record.closed_volume + part)
        record = replace(record, volume=position.volume, closed_volume=closed)
        detail = f"{part:.10g} of {before:.10g} lots were closed"
        if record.attempt_step is Step.L2_HALF and part >= before * LEAST_HALF:
            # Refused, says the broker, yet it is half: closed once more it would be three quarters.
            detail = f"{detail}, which is what was to be closed"
            record = replace(
                record,
                steps=(*record.steps, Step.L2_HALF),
                attempts=0,
                attempt_step=None,
                retry_at=0.0,
            )
        actions = (look.action(record, "partial_close", detail),)
    if grown or not _same_entry(record, position, look):
        detail = (
            f"{before:.10g} lots at {record.entry_price:.10g} are now "
            f"{position.volume:.10g} at {position.price_open:.10g}"
        )
        record = replace(
            record,
            volume=position.volume,
            entry_price=position.price_open,
            initial_volume=max(
                record.initial_volume, clean_volume(position.volume + record.closed_volume)
            ),
            commission_per_lot=None,  # the new part's is not known yet
            risk_alerted=False,
        )
        stop = usable_initial_stop(position.direction, position.price_open, position.stop_loss)
        record = measured_anew(record, stop, look)
        actions = (*actions, look.action(record, "resized", detail))
    return record, actions


def _same_entry(record: TradeRecord, position: Position, look: Look) -> bool:
    # An average price is finer than a tick, so half a tick would hide additions.
    tick = look.tick(record.symbol)
    return same_price(record.entry_price, position.price_open, None if tick is None else tick / 10)


def _same_stops(record: TradeRecord, position: Position, look: Look) -> bool:
    tick = look.tick(record.symbol)
    return same_price(record.stop_loss, position.stop_loss, tick) and same_price(
        record.take_profit, position.take_profit, tick
    )


def manual_change(record: TradeRecord, position: Position, look: Look) -> Finding:
    """Return the record with the broker's stops, which someone else has set.

    A guarded trade is left alone for `manual_hold`; at `contradiction_limit`
    changes within `contradiction_window` it is only observed from then on.
    """
    rules = look.rules
    detail = (
        f"stop loss {_text(record.stop_loss)} is now {_text(position.stop_loss)}, "
        f"take profit {_text(record.take_profit)} is now {_text(position.take_profit)}"
    )
    changes = replace(record, stop_loss=position.stop_loss, take_profit=position.take_profit)
    notices: tuple[Notice, ...] = ()
    if record.standing is Standing.GUARDED:
        recent = [t for t in record.contradictions if look.now - t < rules.contradiction_window]
        changes = replace(
            changes,
            hold_until=look.now + rules.manual_hold,
            contradictions=(*recent, look.now),
        )
        if len(changes.contradictions) >= rules.contradiction_limit:
            changes = replace(changes, standing=Standing.OBSERVED)
            notices = (_contradicted(changes),)
    action = look.action(record, "manual_change", detail)
    return Finding(trade=revised(record, look.now, changes), actions=(action,), notices=notices)


def _text(price: float | None) -> str:
    return "none" if price is None else f"{price:.10g}"


def _contradicted(record: TradeRecord) -> Notice:
    return Notice(
        key=f"contradicted:{record.identifier}",
        severity=Severity.WARNING,
        title=f"{record.symbol} {record.ticket} is only observed from now on",
        text=f"Its stops were changed by someone else {len(record.contradictions)} times within "
        "minutes. DTMS does not fight over a trade: register it again to have it guarded.",
    )
