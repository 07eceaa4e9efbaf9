"""Depth of market: made-up levels around a quote.

The best levels are the quote itself; behind them each level stands a few
points further off and is mostly larger. Everything is a function of the
symbol, the quote and its time: the same moment shows the same book, and
another quote another one. A side adds up to what one fill takes at most (the
symbol's `depth`), where that is limited. The book is a picture: fills follow
the rules of docs/broker.md and do not eat it level by level.
"""

from __future__ import annotations

import zlib
from itertools import accumulate, pairwise
from math import floor
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from terminals.sim.quotes import Price
    from terminals.sim.symbols import SymbolSpec

SELL: Final = 1  # BOOK_TYPE_SELL: an offer, at the ask or above
BUY: Final = 2  # BOOK_TYPE_BUY: a bid
UNLIMITED: Final = 500.0  # smallest volumes of a side where depth is not limited
_MASK: Final = (1 << 64) - 1


class Level(NamedTuple):
    """One row of the book: BOOK_TYPE_SELL or BOOK_TYPE_BUY, price, lots."""

    type: int
    price: float
    volume: float


def levels(spec: SymbolSpec, price: Price | None) -> tuple[Level, ...]:
    """Return the book at a quote, the highest price first; empty without a quote or a book."""
    if price is None or spec.book_levels <= 0:
        return ()
    seed = _mix(zlib.crc32(spec.name.encode()) ^ (price.time_msc << 20))
    offers = _side(spec, SELL, price.ask, 1, seed)
    bids = _side(spec, BUY, price.bid, -1, _mix(seed))
    return (*reversed(offers), *bids)


def _side(spec: SymbolSpec, kind: int, best: float, sign: int, seed: int) -> list[Level]:
    """Return the levels of one side, the best one first, which always has some volume."""
    total = spec.depth or UNLIMITED * spec.volume_min
    steps = max(1, floor(total / spec.volume_step + 1e-6))
    weights: list[int] = []
    prices: list[float] = []
    points = 0
    for rank in range(min(spec.book_levels, steps)):
        seed = _mix(seed)
        price = max(spec.price(best + sign * points * spec.point), spec.point)
        if prices and price == prices[-1]:
            break  # a price of nearly nothing has no room below it
        prices.append(price)
        weights.append((1 + rank) * (50 + seed % 100))
        points += 1 + (seed >> 32) % 3
    # Each level has a step, the rest goes by weight; rounded as a sum, so that it is all there.
    spare = steps - len(prices)
    bounds = [round(spare * upto / sum(weights)) for upto in accumulate(weights, initial=0)]
    return [
        Level(kind, price, round((1 + after - before) * spec.volume_step, 8))
        for price, (before, after) in zip(prices, pairwise(bounds), strict=True)
    ]


def _mix(value: int) -> int:
    """Scatter 64 bits (the finaliser of splitmix64)."""
    value = (value + 0x9E37_79B9_7F4A_7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58_476D_1CE4_E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D0_49BB_1331_11EB) & _MASK
    return value ^ (value >> 31)
