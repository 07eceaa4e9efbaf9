"""Where a stop may go, and what a half is: the arithmetic under the policy.

A stop is never widened, never nearer to the price than the broker allows and
one spread, and a stop at the market is a close in disguise.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from defence.broker import Direction, Position, Quote, SymbolFacts
from defence.grid import VOLUME_NOISE, ceil_to, clean_volume, floor_to, is_price
from defence.risk import break_even_price
from defence.trade import TradeRecord

_NOISE = 1e-3  # share of a tick; rounding noise of a difference of two prices


class StopFault(Enum):
    """Why no stop can be proposed."""

    NO_ROOM = "too near to the price"
    NOT_BETTER = "not a tick better than the present one"
    SAFE = "the present one is at break-even or better"


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """One symbol at one moment; `price` is where the trade would close."""

    quote: Quote
    facts: SymbolFacts
    price: float

    @property
    def distance(self) -> float:
        """The least distance of a stop from the price, in price.

        The broker's stops and freeze levels are in points. A floating level is
        shown as 0 (MT5.md, Closing), so one spread and one tick hold as well.
        """
        levels = max(self.facts.stops_level, self.facts.freeze_level) * self.facts.point
        return max(levels, self.quote.ask - self.quote.bid, self.facts.tick_size)


def tightened_stop(record: TradeRecord, position: Position, market: Market) -> float | StopFault:
    """Return the midpoint between the present stop and the price, if it may stand there.

    A position without a stop counts from the trade's initial stop. Rounded to
    the tick away from the price.
    """
    anchor = position.stop_loss if position.stop_loss is not None else record.initial_stop
    if anchor is None:
        return StopFault.NO_ROOM
    middle = (anchor + market.price) / 2
    rounded = floor_to if position.direction is Direction.BUY else ceil_to
    return _allowed(rounded(middle, market.facts.tick_size), position, market)


def safe_stop(record: TradeRecord, position: Position, market: Market) -> float | StopFault:
    """Return the break-even stop if the price has left room for it, else a tightened one.

    SAFE means that the present stop is at break-even or better already.
    """
    target = break_even_price(record, position, market.quote, market.facts)
    sign = position.direction.sign
    noise = market.facts.tick_size * _NOISE
    present = position.stop_loss
    if present is not None and sign * (present - target) >= -noise:
        return StopFault.SAFE
    moved = _allowed(target, position, market)
    if not isinstance(moved, StopFault):
        return moved
    return tightened_stop(record, position, market)


def _allowed(stop: float, position: Position, market: Market) -> float | StopFault:
    sign = position.direction.sign
    tick = market.facts.tick_size
    noise = tick * _NOISE
    if not is_price(stop) or sign * (market.price - stop) < market.distance - noise:
        return StopFault.NO_ROOM
    present = position.stop_loss
    if present is not None and sign * (stop - present) < tick - noise:
        return StopFault.NOT_BETTER
    return stop


def inside_freeze(position: Position, price: float, facts: SymbolFacts) -> bool:
    """Whether the price is so near to a stop of the position that the broker refuses changes."""
    reach = facts.freeze_level * facts.point
    if reach <= 0:
        return False
    levels = (position.stop_loss, position.take_profit)
    return any(level is not None and abs(price - level) <= reach for level in levels)


def half_of(volume: float, facts: SymbolFacts) -> float | None:
    """Return half of `volume` (lots) rounded down to the volume step, if it can be closed.

    None if the half, or what would remain, is under the symbol's minimum. No
    more than the symbol's maximum for one order.
    """
    half = floor_to(min(volume / 2, facts.volume_max), facts.volume_step)
    rest = clean_volume(volume - half)
    least = facts.volume_min - VOLUME_NOISE
    if half < least or rest < least:
        return None
    return clean_volume(half)
