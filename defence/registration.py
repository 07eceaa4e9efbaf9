"""Registration: a trade comes under guard, once; and release.

A registration is checked against the broker's position, whose facts win, and
against what is registered already. It is idempotent: repeating it changes
nothing, and the message that created the record always hears `created`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from defence.broker import Direction, Empty, Glance, Known, Position, Snapshot, SymbolFacts, Unknown
from defence.errors import BrokerUnknown, Conflict, Fault, Invalid, NotFound
from defence.grid import VOLUME_NOISE, same_price, same_volume
from defence.orders import Action
from defence.outcomes import revised
from defence.risk import exit_price, first_peak, quote_fault, result_at, usable_initial_stop
from defence.rules import ADOPTED, WATCHED
from defence.shape import check_shape
from defence.trade import Registration, Standing, Trade, TradeRecord, TradeState

__all__ = ["Admission", "Released", "admit", "check_shape", "find_position", "release"]

# Callers often register the price they asked for: one pip on a five-digit symbol.
_ENTRY_POINTS = 10
_ENTRY_TICKS = 2
_ENTRY_SHARE = 1e-4  # of the price, where the symbol's point is not known


@dataclass(frozen=True, slots=True)
class Admission:
    """The answer to a registration; `changed` says whether the record must be written."""

    registration: Registration
    changed: bool
    action: Action | None = None


@dataclass(frozen=True, slots=True)
class Released:
    """A record after its release; `action` is None if it was released already."""

    trade: TradeRecord
    action: Action | None = None


def find_position(trade: Trade, snapshot: Snapshot | Glance) -> Position:
    """Return the open position that is meant: by ticket, else by identifier.

    A position's ticket may change, so an old ticket is also looked for among
    the identifiers. Raises `NotFound`; `BrokerUnknown` if a glance could not
    read this position, `Fault` if it did not look for it.
    """
    found = _glanced(trade, snapshot) if isinstance(snapshot, Glance) else _listed(trade, snapshot)
    if found is not None:
        return found
    raise NotFound(
        "no open position has this ticket",
        field="ticket",
        value=trade.ticket,
        remedy="register a position that is open on this account",
    )


def _listed(trade: Trade, snapshot: Snapshot) -> Position | None:
    positions = snapshot.open_positions()
    wanted = (trade.ticket, trade.identifier)
    for position in positions:
        if position.ticket == trade.ticket:
            return position
    return next((one for one in positions if one.identifier in wanted), None)


def _glanced(trade: Trade, glance: Glance) -> Position | None:
    read = glance.by_ticket.get(trade.ticket)
    if isinstance(read, Known):
        return read.value
    if isinstance(read, Empty):
        for number in (trade.ticket, trade.identifier):
            if number is not None and number in glance.by_identifier:
                return glance.by_identifier[number]
        return None
    if read is None:
        raise Fault(
            "was not looked for: this glance says nothing of it", field="ticket", value=trade.ticket
        )
    raise BrokerUnknown(
        f"the position cannot be read: {read.reason}", remedy="send the registration again"
    )


def admit(
    trade: Trade,
    *,
    snapshot: Snapshot | Glance | Unknown,
    existing: TradeRecord | None,
    message_id: str,
    now: float,
) -> Admission:
    """Return the answer to a registration.

    `existing` is what is stored under the position's identifier, in whatever
    standing, or None. A trade that reconciliation adopted has not been
    registered by anyone yet: the first registration takes it over and is
    `created`, as it is for one that was observed or released. The initial stop
    is the registration's, else the position's own where a risk can be measured
    from it; history may still supply it (`reconcile`).

    `take_profit` is checked for sense; the record keeps the broker's.

    Raises `Invalid`, `NotFound`, `Conflict`; `BrokerUnknown` if the broker
    could not be read; `Fault` if `existing` is another trade's.
    """
    trade = check_shape(trade)
    if existing is not None and existing.created_by == message_id:
        return Admission(Registration(created=True, trade=existing), changed=False)
    if isinstance(snapshot, Unknown):
        raise BrokerUnknown(
            f"the broker cannot be read: {snapshot.reason}", remedy="send the registration again"
        )
    position = find_position(trade, snapshot)
    if existing is not None and existing.identifier != position.identifier:
        raise Fault(
            "is another trade's record",
            field="existing",
            value=existing.identifier,
            remedy=f"pass what is stored under {position.identifier}",
        )
    facts = snapshot.symbols.get(position.symbol)
    known = existing if existing is not None and _registered(existing) else None
    _check_facts(trade, position, facts, existing, Conflict if known is not None else Invalid)
    if known is not None:
        return _again(trade, position, snapshot, known, now)
    stop = _initial_stop(trade, position, facts)
    if trade.stop_loss is None and existing is not None and existing.initial_stop_fixed:
        # It was read in history; the position's own stop may have been moved since.
        stop = usable_initial_stop(position.direction, position.price_open, existing.initial_stop)
    _check_take_profit(trade, position, facts)
    record = _new(trade, position, snapshot, existing, stop, message_id, now)
    action = _action(message_id, now, record, "registered", f"by {record.managed_by or 'the host'}")
    return Admission(Registration(created=True, trade=record), changed=True, action=action)


def _registered(record: TradeRecord) -> bool:
    return record.standing is Standing.GUARDED and record.managed_by != ADOPTED


def _check_facts(
    trade: Trade,
    position: Position,
    facts: SymbolFacts | None,
    existing: TradeRecord | None,
    error: type[Invalid | Conflict],
) -> None:
    """Refuse fields that contradict the position; facts come from the broker."""
    pairs = (
        ("identifier", trade.identifier, position.identifier),
        ("symbol", trade.symbol, position.symbol),
        ("direction", trade.direction, position.direction),
        ("magic", trade.magic, position.magic),
    )
    for field, given, actual in pairs:
        if given is not None and given != actual:
            raise error(f"the position has {actual}", field=field, value=given, remedy=_LEAVE_OUT)
    _check_volume(trade, position, facts, existing, error)
    entry = trade.entry_price
    if entry is not None and abs(entry - position.price_open) > _entry_room(position, facts):
        raise error(
            f"the position was opened at {position.price_open}",
            field="entry_price",
            value=entry,
            remedy=_LEAVE_OUT,
        )


_LEAVE_OUT = "correct the field, or leave it out: it is taken from the position"


def _entry_room(position: Position, facts: SymbolFacts | None) -> float:
    if facts is None or not facts.point > 0:
        return position.price_open * _ENTRY_SHARE
    return max(_ENTRY_POINTS * facts.point, _ENTRY_TICKS * facts.tick_size) * (1 + 1e-6)


def _check_volume(
    trade: Trade,
    position: Position,
    facts: SymbolFacts | None,
    existing: TradeRecord | None,
    error: type[Invalid | Conflict],
) -> None:
    volume = trade.volume
    # What the trade began with stays true after a part of it was closed.
    begun = 0.0 if existing is None or not existing.active else existing.initial_volume
    if volume is None or same_volume(volume, position.volume) or same_volume(volume, begun):
        return
    if volume > max(position.volume, begun) + VOLUME_NOISE:
        raise error(
            f"the position has {position.volume} lots",
            field="volume",
            value=volume,
            remedy=_LEAVE_OUT,
        )
    if facts is None or not facts.volume_step > 0:
        return
    steps = volume / facts.volume_step
    off_grid = abs(steps - round(steps)) > 1e-6
    if off_grid or not facts.volume_min - VOLUME_NOISE <= volume <= facts.volume_max:
        raise Invalid(
            "is no volume of this symbol",
            field="volume",
            value=volume,
            remedy=f"give {facts.volume_min} to {facts.volume_max} lots "
            f"in steps of {facts.volume_step}",
        )


def _initial_stop(trade: Trade, position: Position, facts: SymbolFacts | None) -> float | None:
    direction, entry = position.direction, position.price_open
    if trade.stop_loss is None:
        return usable_initial_stop(direction, entry, position.stop_loss)
    stop = usable_initial_stop(direction, entry, trade.stop_loss)
    if stop is None and not same_price(trade.stop_loss, position.stop_loss, _tick(facts)):
        side = "below" if direction is Direction.BUY else "above"
        raise Invalid(
            "no risk can be measured from a stop at or beyond the entry",
            field="stop_loss",
            value=trade.stop_loss,
            remedy=f"give the stop the trade began with, {side} {entry}, or leave it out",
        )
    return stop


def _check_take_profit(trade: Trade, position: Position, facts: SymbolFacts | None) -> None:
    given = trade.take_profit
    if given is None or same_price(given, position.take_profit, _tick(facts)):
        return
    if position.direction.sign * (given - position.price_open) <= 0:
        side = "above" if position.direction is Direction.BUY else "below"
        raise Invalid(
            "is on the losing side of the entry",
            field="take_profit",
            value=given,
            remedy=f"give a price {side} {position.price_open}, or leave it out",
        )


def _tick(facts: SymbolFacts | None) -> float | None:
    return None if facts is None else facts.tick_size


def _new(
    trade: Trade,
    position: Position,
    snapshot: Snapshot | Glance,
    existing: TradeRecord | None,
    stop: float | None,
    message_id: str,
    now: float,
) -> TradeRecord:
    result = _result_now(position, snapshot, stop, now)
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
        managed_by=trade.managed_by or "",
        standing=Standing.GUARDED,
        state=TradeState.HEALTHY,
        registered_at=now,
        updated_at=now,
        created_by=message_id,
        initial_volume=position.volume,
        initial_stop=stop,
        result_r=result,
        peak_r=first_peak(result, adopted=False),
        initial_stop_fixed=trade.stop_loss is not None and stop is not None,
    )
    if existing is None or existing.standing in (Standing.CLOSED, Standing.UNEXPLAINED):
        return record
    # The same trade under a new registration: what was done to it stays done.
    kept_peak = existing.peak_r if existing.initial_stop == stop else None
    peaks = [peak for peak in (record.peak_r, kept_peak) if peak is not None]
    return replace(
        record,
        managed_by=_manager(trade, existing),
        state=existing.state if existing.steps else TradeState.HEALTHY,
        peak_r=max(peaks, default=None),
        steps=existing.steps,
        closed_volume=existing.closed_volume,
        initial_volume=max(existing.initial_volume, position.volume),
        last_outcome_at=existing.last_outcome_at,
        commission_per_lot=existing.commission_per_lot,
        initial_stop_fixed=record.initial_stop_fixed or existing.initial_stop_fixed,
        revision=existing.revision + 1,
    )


def _manager(trade: Trade, existing: TradeRecord) -> str:
    if trade.managed_by is not None:
        return trade.managed_by
    return "" if existing.managed_by in (ADOPTED, WATCHED) else existing.managed_by


def _result_now(
    position: Position, snapshot: Snapshot | Glance, stop: float | None, now: float
) -> float | None:
    quote = snapshot.quotes.get(position.symbol)
    if quote is None or quote_fault(quote, position.symbol, now, None) is not None:
        return None
    price = exit_price(position.direction, quote)
    return result_at(position.direction, position.price_open, stop, price)


def _again(
    trade: Trade,
    position: Position,
    snapshot: Snapshot | Glance,
    record: TradeRecord,
    now: float,
) -> Admission:
    """Answer a registration of what is registered: nothing changes, unless the risk was unknown."""
    if trade.managed_by is not None and trade.managed_by != record.managed_by:
        raise Conflict(
            f"the trade is managed by {record.managed_by or 'the host'}",
            field="managed_by",
            value=trade.managed_by,
            remedy="release the trade first",
        )
    tick = _tick(snapshot.symbols.get(position.symbol))
    given = trade.stop_loss
    _check_take_profit(trade, position, snapshot.symbols.get(position.symbol))
    own = (record.initial_stop, record.stop_loss, position.stop_loss)
    if given is None or any(same_price(given, stop, tick) for stop in own):
        return Admission(Registration(created=False, trade=record), changed=False)
    if record.initial_stop is not None:
        raise Conflict(
            f"the trade is registered with an initial stop of {record.initial_stop}",
            field="stop_loss",
            value=given,
            remedy="release the trade first",
        )
    stop = _initial_stop(trade, position, snapshot.symbols.get(position.symbol))
    result = _result_now(position, snapshot, stop, now)
    filled = replace(
        record,
        initial_stop=stop,
        initial_stop_fixed=True,
        result_r=result,
        peak_r=first_peak(result, adopted=False),
    )
    record = revised(record, now, filled)
    return Admission(Registration(created=False, trade=record), changed=True)


def release(record: TradeRecord, *, now: float, by: str) -> Released:
    """Return the record as given back to the user, who is never overruled by adoption.

    Releasing it again changes nothing. Raises `NotFound` if the trade is closed.
    """
    if record.standing is Standing.RELEASED:
        return Released(record)
    if not record.active:
        raise NotFound(
            "the trade is closed",
            field="ticket",
            value=record.ticket,
            remedy="nothing is left to release",
        )
    released = revised(record, now, replace(record, standing=Standing.RELEASED))
    action_id = f"released:{record.identifier}:{released.revision}"
    return Released(released, _action(action_id, now, released, "released", f"by {by}"))


def _action(action_id: str, now: float, record: TradeRecord, kind: str, detail: str) -> Action:
    return Action(
        id=action_id,
        at=now,
        identifier=record.identifier,
        ticket=record.ticket,
        symbol=record.symbol,
        kind=kind,
        detail=detail,
    )
