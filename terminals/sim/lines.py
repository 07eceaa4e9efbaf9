"""A symbol's positions as arrays: their worth, their margin, and what their levels wait for.

What can be done once for a symbol is not done for each of its positions. A
line is built from the book and never changed; another one takes its place when
the symbol's positions or orders have changed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np

from terminals import constants as mt5
from terminals.sim.book import OpenPosition
from terminals.sim.market import Price, Ticks
from terminals.sim.money import Array, cents_of
from terminals.sim.symbols import SymbolSpec
from terminals.sim.working import ABOVE, LONG_TYPES, works_as_market
from terminals.structs import TradeOrder, TradePosition

_ROUNDING: Final = 0.006  # what rounding one position to the cent can make of a difference
_Wall: TypeAlias = Callable[[int], int]  # UTC milliseconds to the broker's wall time


class Gates(NamedTuple):
    """Nothing of a symbol can trigger while its quotes stay between these."""

    bid_low: float = -math.inf  # something may happen at a bid of at most this
    bid_high: float = math.inf  # ... of at least this
    ask_low: float = -math.inf
    ask_high: float = math.inf

    def shut(self, span: Extremes) -> bool:
        """Whether no quote of a span reaches any of them."""
        return (
            self.bid_low < span.bid_low
            and span.bid_high < self.bid_high
            and self.ask_low < span.ask_low
            and span.ask_high < self.ask_high
        )


class Extremes(NamedTuple):
    """The outermost quotes of a span: most spans touch nothing, and this is enough to see it."""

    bid_low: float
    bid_high: float
    ask_low: float
    ask_high: float


def extremes(ticks: Ticks) -> Extremes:
    """Return the extremes of a span of at least one tick."""
    bid, ask = ticks.bid, ticks.ask
    low, high = np.minimum.reduce, np.maximum.reduce
    return Extremes(float(low(bid)), float(high(bid)), float(low(ask)), float(high(ask)))


def gates(positions: Iterable[OpenPosition], orders: Iterable[TradeOrder]) -> Gates:
    """Return what the levels of positions and the prices of orders wait for."""
    bid_low = ask_low = -math.inf
    bid_high = ask_high = math.inf
    for one in positions:
        if one.type == mt5.POSITION_TYPE_BUY:
            bid_low = max(bid_low, one.sl or -math.inf)
            bid_high = min(bid_high, one.tp or math.inf)
        else:
            ask_high = min(ask_high, one.sl or math.inf)
            ask_low = max(ask_low, one.tp or -math.inf)
    for order in orders:
        price, above = order.price_open, order.type in ABOVE
        if works_as_market(order):
            price, above = math.inf, False
        if order.type in LONG_TYPES:
            ask_low, ask_high = (
                (ask_low, min(ask_high, price)) if above else (max(ask_low, price), ask_high)
            )
        else:
            bid_low, bid_high = (
                (bid_low, min(bid_high, price)) if above else (max(bid_low, price), bid_high)
            )
    return Gates(bid_low, bid_high, ask_low, ask_high)


class Worth(NamedTuple):
    """The floating profits of a line at one quote, rounded, and their sum."""

    profits: Array
    profit: float


class Line:
    """The positions of one symbol."""

    def __init__(self, spec: SymbolSpec, positions: Sequence[OpenPosition]) -> None:
        """Take down what does not change with the quotes; there is at least one position."""
        self.spec = spec
        self.positions = positions
        count = len(positions)
        self._long = np.fromiter((one.sign > 0 for one in positions), np.bool_, count)
        self._open = np.fromiter((one.price_open for one in positions), np.float64, count)
        signed = (one.sign * one.volume for one in positions)
        self._size = np.fromiter(signed, np.float64, count) * spec.contract_size
        taken = np.fromiter((one.margin * one.volume for one in positions), np.float64, count)
        self.margins = float(taken[self._long].sum()), float(taken[~self._long].sum())
        self.margin = max(self.margins)
        self.swap = sum(one.swap for one in positions)
        # For bounds: profit = rate * (bid * bought - ask * sold - paid).
        self._bought = float(self._size[self._long].sum())
        self._sold = -float(self._size[~self._long].sum())
        self._paid = float((self._size * self._open).sum())
        self._key: tuple[float, float, float] | None = None
        self._worth = Worth(np.zeros(count), 0.0)
        self._frames: tuple[tuple[Any, ...], ...] | None = None  # heads, tails, swaps
        self._rows: tuple[tuple[float, float, float], list[TradePosition]] | None = None

    def worth(self, price: Price, rate: float) -> Worth:
        """Return the floating profits at a quote; `rate` is of the profit currency."""
        key = (price.bid, price.ask, rate)
        if key != self._key:
            closing = np.where(self._long, price.bid, price.ask)
            profits = cents_of((closing - self._open) * self._size * rate)
            self._worth = Worth(profits, float(profits.sum()))
            self._key = key
        return self._worth

    def bounds(self, span: Extremes, rates: tuple[float, float]) -> tuple[float, float]:
        """Return between what the floating profit stays in a span of quotes and rates."""
        low = span.bid_low * self._bought - span.ask_high * self._sold - self._paid
        high = span.bid_high * self._bought - span.ask_low * self._sold - self._paid
        slack = _ROUNDING * len(self.positions)
        smallest = low * (rates[1] if low < 0.0 else rates[0]) - slack
        return smallest, high * (rates[1] if high > 0.0 else rates[0]) + slack

    def rows(self, price: Price, rate: float, wall: _Wall) -> list[TradePosition]:
        """Return the positions as a terminal shows them, with times of the broker's wall."""
        key = (price.bid, price.ask, rate)
        if self._rows is not None and self._rows[0] == key:
            return self._rows[1]
        if self._frames is None:
            self._frames = tuple(zip(*(_frame(one, wall) for one in self.positions), strict=True))
        heads, tails, swaps = self._frames
        prices = np.where(self._long, price.bid, price.ask).tolist()
        profits = self.worth(price, rate).profits.tolist()
        moving = zip(prices, swaps, profits, strict=True)
        new = tuple.__new__
        made = [
            new(TradePosition, head + middle + tail)
            for head, middle, tail in zip(heads, moving, tails, strict=True)
        ]
        self._rows = key, made
        return made


def plain_row(one: OpenPosition, wall: _Wall) -> TradePosition:
    """Return a position whose symbol has no quote, with the numbers of its last one."""
    head, tail, swap = _frame(one, wall)
    return tuple.__new__(TradePosition, (*head, one.price_current, swap, one.profit, *tail))


def _frame(one: OpenPosition, wall: _Wall) -> tuple[tuple[object, ...], tuple[object, ...], float]:
    """Return a row's fields before and after those that move with the quotes, and the swap."""
    opened, updated = wall(one.time_msc), wall(one.time_update_msc)
    head = (
        one.ticket,
        opened // 1000,
        opened,
        updated // 1000,
        updated,
        one.type,
        one.magic,
        one.identifier,
        one.reason,
        one.volume,
        one.price_open,
        one.sl,
        one.tp,
    )
    return head, (one.symbol, one.comment, one.external_id), one.swap
