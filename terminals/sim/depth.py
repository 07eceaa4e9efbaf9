"""Depth of market: made-up levels around a quote.

The best levels are the quote itself; behind them each level stands a few
points further off and is mostly larger. Everything is a function of the
symbol, the quote and its time: the same moment shows the same book, and
another quote another one. A side holds what one fill takes at most (the
symbol's `depth`), where that is limited. The book is a picture: fills follow
the rules of docs/broker.md and do not eat it level by level.
"""

from __future__ import annotations

import zlib
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
    weights, prices = [], []
    points = 0
    for rank in range(spec.book_levels):
        seed = _mix(seed)
        weights.append((1 + rank) * (50 + seed % 100))
        away = spec.price(best + sign * points * spec.point)
        prices.append(max(away, spec.point))
        points += 1 + (seed >> 32) % 3
    step = spec.volume_step
    total = spec.depth or UNLIMITED * spec.volume_min
    scale = total / sum(weights)
    out: list[Level] = []
    for price, weight in zip(prices, weights, strict=True):
        if out and price == out[-1].price:
            break  # a price of nearly nothing has no room below it
        volume = max(step, round(weight * scale / step) * step)
        out.append(Level(kind, price, round(volume, 8)))
    return out


def _mix(value: int) -> int:
    """Scatter 64 bits (the finaliser of splitmix64)."""
    value = (value + 0x9E37_79B9_7F4A_7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58_476D_1CE4_E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D0_49BB_1331_11EB) & _MASK
    return value ^ (value >> 31)
