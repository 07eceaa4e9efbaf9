"""From an intent to the request that the terminal understands. Pure.

The terminal refuses anything but plain int, float and str, and takes a value
that is left out for 0; so keys are left out rather than None, and a stop
change always carries both stop and target (MT5.md, Closing).
"""

from __future__ import annotations

import math
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal
from typing import TypeAlias

from defence.broker import Direction, MarginMode, Quote, SymbolFacts
from defence.errors import Invalid
from defence.orders import Intent, IntentKind
from terminals.constants import (
    COMMENT_MAX,
    ORDER_FILLING_FOK,
    ORDER_FILLING_IOC,
    ORDER_FILLING_RETURN,
    ORDER_TIME_GTC,
    ORDER_TYPE_BUY,
    ORDER_TYPE_SELL,
    SYMBOL_FILLING_FOK,
    SYMBOL_FILLING_IOC,
    SYMBOL_TRADE_EXECUTION_MARKET,
    TRADE_ACTION_DEAL,
    TRADE_ACTION_REMOVE,
    TRADE_ACTION_SLTP,
)

OrderRequest: TypeAlias = dict[str, int | float | str]

# How far a fill may be from the asked price, points. Wide, because a guard
# that closes wants to be out; only instant execution looks at it.
DEVIATION = 50

# Below this many decimals two numbers that floats show as different are one.
_NOISE = Decimal("1e-10")


def request_for(
    intent: Intent,
    facts: SymbolFacts,
    quote: Quote,
    margin_mode: MarginMode,
    *,
    filling: int | None = None,
    deviation: int = DEVIATION,
) -> OrderRequest:
    """Return the request for an intent; `filling` overrides the first of `filling_modes`.

    A close names its position on netting accounts too: there an opposite deal
    without it would do the same, but with it the broker refuses instead of
    opening a new position when ours has just gone. The volume is rounded down
    to the symbol's step and capped at its maximum, so it may be less than the
    intent's; the outcome then is PARTIAL.

    Raises `Invalid` where no request can be right: a stop change without a
    stop (it would remove the stop), a volume under the symbol's minimum or
    over the position's, a quote of another symbol.
    """
    if intent.kind is IntentKind.DELETE_ORDER:
        return {"action": TRADE_ACTION_REMOVE, "order": intent.ticket}
    for field, value in (("facts", facts.symbol), ("quote", quote.symbol)):
        if value != intent.symbol:
            raise Invalid(
                f"is of another symbol than the intent's {intent.symbol}",
                field=field,
                value=value,
                remedy="pass those of the intent's symbol",
            )
    if intent.kind is IntentKind.MOVE_STOP:
        return _stop_change(intent, facts)
    closes_by_selling = intent.direction is Direction.BUY
    return {
        "action": TRADE_ACTION_DEAL,
        "position": intent.ticket,
        "symbol": intent.symbol,
        "volume": _closing_volume(intent, facts, margin_mode),
        "type": ORDER_TYPE_SELL if closes_by_selling else ORDER_TYPE_BUY,
        "price": on_tick(quote.bid if closes_by_selling else quote.ask, facts),
        "deviation": deviation,
        "magic": intent.magic,
        "comment": comment_for(intent.id),
        "type_time": ORDER_TIME_GTC,
        "type_filling": filling_modes(facts)[0] if filling is None else filling,
    }


def filling_modes(facts: SymbolFacts) -> tuple[int, ...]:
    """Return the three filling modes as request enums, those the symbol allows first.

    The symbol has a bit mask, the request an enum: passing the one for the
    other is the usual cause of INVALID_FILL (MT5.md, Filling trap). Fill or
    kill comes first, because it leaves no remainder to look after. Modes that
    the mask does not name come last: masks lie, and a refusal does no harm.
    """
    allowed = []
    if facts.filling_mode & SYMBOL_FILLING_FOK:
        allowed.append(ORDER_FILLING_FOK)
    if facts.filling_mode & SYMBOL_FILLING_IOC:
        allowed.append(ORDER_FILLING_IOC)
    if facts.execution_mode != SYMBOL_TRADE_EXECUTION_MARKET:
        allowed.append(ORDER_FILLING_RETURN)
    every = (ORDER_FILLING_FOK, ORDER_FILLING_IOC, ORDER_FILLING_RETURN)
    return (*allowed, *(mode for mode in every if mode not in allowed))


def comment_for(intent_id: str) -> str:
    """Return the order's comment: brokers cut and replace it, so it is a hint, never a key."""
    plain = "".join(char for char in intent_id if char.isascii() and char.isprintable())
    return f"dtms {plain[:20]}"[:COMMENT_MAX]


def on_tick(price: float, facts: SymbolFacts) -> float:
    """Return the nearest price on the symbol's tick grid."""
    return _on_grid(price, facts.tick_size, ROUND_HALF_EVEN)


def half_tick(facts: SymbolFacts) -> float:
    """Return the distance below which two prices are the same price."""
    return facts.tick_size / 2


def _stop_change(intent: Intent, facts: SymbolFacts) -> OrderRequest:
    if intent.stop_loss is None:
        raise Invalid(
            "a stop change needs a stop; without one it would remove the stop",
            field="stop_loss",
            remedy="give the stop's price",
        )
    target = intent.take_profit
    return {
        "action": TRADE_ACTION_SLTP,
        "position": intent.ticket,
        "symbol": intent.symbol,
        "sl": _level("stop_loss", intent.stop_loss, facts),
        "tp": 0.0 if target is None else _level("take_profit", target, facts),
    }


def _level(field: str, price: float, facts: SymbolFacts) -> float:
    """Return a stop or target on the tick grid; never 0, which would remove it."""
    level = on_tick(price, facts) if math.isfinite(price) else 0.0
    if level <= 0:
        raise Invalid("is not a price", field=field, value=price, remedy="give a price above zero")
    return level


def _closing_volume(intent: Intent, facts: SymbolFacts, margin_mode: MarginMode) -> float:
    if not math.isfinite(intent.volume) or intent.volume <= 0:
        raise Invalid(
            "a close needs a volume above zero",
            field="volume",
            value=intent.volume,
            remedy="give the lots to close",
        )
    if intent.volume > intent.volume_before + facts.volume_step / 2:
        harm = "be refused" if margin_mode is MarginMode.HEDGING else "open the opposite position"
        raise Invalid(
            f"the position has {intent.volume_before:g} lots; the rest would {harm}",
            field="volume",
            value=intent.volume,
            remedy="close at most what the position has",
        )
    wanted = min(intent.volume, facts.volume_max)
    volume = _on_grid(wanted, facts.volume_step, ROUND_FLOOR)
    if volume < facts.volume_min:
        raise Invalid(
            f"{volume:g} lots are under the symbol's minimum of {facts.volume_min:g}",
            field="volume",
            value=intent.volume,
            remedy="close more, or the whole position",
        )
    return volume


def _on_grid(value: float, step: float, rounding: str) -> float:
    """Return `value` on the grid of `step`: decimal, as 0.3 / 0.1 is 2.99 in binary floats."""
    # float(): the repr of a numpy number is not a number.
    grid = Decimal(repr(float(step)))
    exact = Decimal(repr(float(value))).quantize(_NOISE)
    return float((exact / grid).to_integral_value(rounding) * grid)
