"""Risk: a trade's result in multiples of its initial risk, and its break-even.

The rules are DESIGN's, Reconciliation: R is measured from the initial stop,
never from a stop at or beyond the entry; unknown risk has no R.
"""

from __future__ import annotations

import math

from defence.broker import Direction, Position, Quote, SymbolFacts
from defence.errors import Invalid
from defence.grid import ceil_to, floor_to, is_price
from defence.trade import TradeRecord


def usable_initial_stop(direction: Direction, entry: float, stop: float | None) -> float | None:
    """Return `stop` if an initial risk can be measured from it, else None.

    A stop at or beyond the entry (BUY: `stop >= entry`) has been moved there
    later: it protects, but it says nothing of the risk that was taken.
    """
    if stop is None or not is_price(stop) or not is_price(entry):
        return None
    return stop if direction.sign * (entry - stop) > 0 else None


def exit_price(direction: Direction, quote: Quote) -> float:
    """Return the price at which a trade closes now: bid for BUY, ask for SELL."""
    return quote.bid if direction is Direction.BUY else quote.ask


def quote_fault(
    quote: Quote | None, symbol: str, now: float, stale_after: float | None
) -> str | None:
    """Return why a quote cannot be used, or None if it can.

    A stale quote is told only where `seen_at` is known: more than
    `stale_after` seconds old on the guard's clock.
    """
    if quote is None:
        return "no price"
    if quote.symbol != symbol:
        return "the price is another symbol's"
    if not (is_price(quote.bid) and is_price(quote.ask)):
        return "the price is not a number above zero"
    if quote.ask < quote.bid:
        return "the price is crossed"
    if stale_after is not None and quote.seen_at is not None and now - quote.seen_at > stale_after:
        return "the price is stale"
    return None


def result_at(
    direction: Direction, entry: float, initial_stop: float | None, price: float
) -> float | None:
    """Return the result at `price` in R; None if the risk is unknown."""
    stop = usable_initial_stop(direction, entry, initial_stop)
    if stop is None or not math.isfinite(price):
        return None
    result = direction.sign * (price - entry) / abs(entry - stop)
    return result if math.isfinite(result) else None


def result_r(record: TradeRecord, price: float) -> float | None:
    """Return the record's result at `price` in R; None if its risk is unknown."""
    return result_at(record.direction, record.entry_price, record.initial_stop, price)


def first_peak(result: float | None, *, adopted: bool) -> float | None:
    """Return the R from which giving back is measured, at the first look.

    A registered trade is measured from its entry or better. An adopted one
    from where it was found, so that only what is seen afterwards counts.
    """
    if result is None or adopted:
        return result
    return max(0.0, result)


def usable_facts(facts: SymbolFacts) -> bool:
    """Whether the symbol's grid can be computed with: all steps finite and above 0."""
    steps = (facts.point, facts.tick_size, facts.volume_step, facts.volume_min, facts.volume_max)
    return all(is_price(step) for step in steps)


def break_even_price(
    record: TradeRecord, position: Position, quote: Quote, facts: SymbolFacts
) -> float:
    """Return the price at which the position closes without a loss.

    The entry, plus the spread now, plus swap and commission paid so far, as a
    price; rounded to the tick away from loss (BUY up, SELL down). Swap earned
    pays for commission, never for the spread. Costs in money are left out where
    the tick's value or the volume is not known. Raises `Invalid` if the symbol's
    tick size is not above 0.
    """
    if not is_price(facts.tick_size):
        raise Invalid(
            "is not a tick", field="tick_size", value=facts.tick_size, remedy="select the symbol"
        )
    money = _money_paid(record, position)
    per_price = facts.tick_value * position.volume / facts.tick_size
    costs = max(0.0, quote.ask - quote.bid)
    if math.isfinite(money) and math.isfinite(per_price) and per_price > 0:
        costs += money / per_price
    raw = position.price_open + position.direction.sign * costs
    rounded = ceil_to if position.direction is Direction.BUY else floor_to
    return rounded(raw, facts.tick_size)


def _money_paid(record: TradeRecord, position: Position) -> float:
    commission = (record.commission_per_lot or 0.0) * position.volume
    return max(0.0, -(position.swap + commission))
