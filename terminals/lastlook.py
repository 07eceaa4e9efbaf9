"""The last look before an order: is the position still the one that was decided on?

A decision rests on a snapshot, and people and other programs trade the same
account. What they changed since must not be undone, and what closed must not
be closed again. The look runs inside the permit, so it is as fresh as can be.
"""

from __future__ import annotations

import math

from defence.broker import Direction, Position, Quote, SymbolFacts
from defence.orders import Intent, IntentKind
from terminals.requests import OrderRequest, half_tick


def objection(
    intent: Intent,
    request: OrderRequest,
    position: Position,
    quote: Quote,
    facts: SymbolFacts,
) -> str | None:
    """Return why the request must not be sent to the position as it is now, or None. Pure."""
    for field in ("identifier", "symbol", "direction"):
        decided, present = getattr(intent, field), getattr(position, field)
        if decided != present:
            return f"{field} of the position is {present}, the intent has {decided}"
    if intent.kind is IntentKind.MOVE_STOP:
        return _against_stop(intent, request, position, quote, facts)
    return _against_close(intent, request, position, facts)


def same_price(one: float | None, other: float | None, facts: SymbolFacts) -> bool:
    """Return whether two prices are the same on the symbol's tick grid; None is no price."""
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=0, abs_tol=half_tick(facts))


def _against_close(
    intent: Intent, request: OrderRequest, position: Position, facts: SymbolFacts
) -> str | None:
    wanted, noise = float(request["volume"]), facts.volume_step / 2
    if position.volume < wanted - noise:
        return f"the position has only {position.volume:g} of the {wanted:g} lots to close"
    if intent.kind is IntentKind.CLOSE_PART and position.volume < intent.volume_before - noise:
        # Someone has taken a part out already; a second part is a new decision.
        return (
            f"volume was reduced from {intent.volume_before:g} to {position.volume:g} "
            "since the decision"
        )
    return None


def _against_stop(
    intent: Intent, request: OrderRequest, position: Position, quote: Quote, facts: SymbolFacts
) -> str | None:
    sign = intent.direction.sign
    stop, present = float(request["sl"]), position.stop_loss
    if not same_price(present, stop, facts):
        if present is not None and sign * (present - stop) > 0:
            return f"stop is already tighter: {present:g}"
        if not same_price(present, intent.stop_before, facts):
            return f"stop was changed to {present} since the decision"
    if not same_price(position.take_profit, float(request["tp"]) or None, facts):
        # Stop and target are set together: sending would undo someone's new target.
        return f"take profit was changed to {position.take_profit} since the decision"
    price = position.price_current
    if price <= 0:  # no quote had reached the position yet
        price = quote.bid if intent.direction is Direction.BUY else quote.ask
    if sign * (price - stop) <= 0:
        return f"stop {stop:g} is on the wrong side of the price {price:g}"
    return None
