"""A market whose quotes stand still or widen for a while: a decorator over the real one.

What is spoiled here is spoiled for the broker too: nothing triggers while
quotes stand still, and a widened spread reaches stops. Quotes that are wrong
only on the screen are `terminals.sim.screen`'s. A price that the back office
holds (`set_price`) is not the market's, and stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from terminals.sim.depth import Level, levels
from terminals.sim.market import Market
from terminals.sim.quotes import Price, Prices, Ticks, Trades
from terminals.sim.symbols import SymbolSpec


@dataclass(slots=True)
class Span:
    """When a symbol's quotes (None: all symbols') are spoiled: `since <= time < until`, in ms."""

    symbol: str | None
    since_msc: int
    until_msc: int | None
    factor: float | None = None  # of the spread; None: quotes stand still

    def covers(self, symbol: str) -> bool:
        """Whether it is about that symbol."""
        return self.symbol in (None, symbol)

    def has(self, at_msc: int) -> bool:
        """Whether a moment is in it."""
        return self.since_msc <= at_msc and (self.until_msc is None or at_msc < self.until_msc)


class SpoiledMarket:
    """A market, as long as nothing is spoiled the very one that it decorates."""

    def __init__(self, market: Market) -> None:
        """Decorate a market."""
        self._market = market
        self._spans: list[Span] = []
        # Asked for with each tick of each symbol: the market's own, while nothing is spoiled.
        self.specs: Mapping[str, SymbolSpec] = market.specs

    def __getattr__(self, name: str) -> Any:
        """Return what else the market has."""
        return getattr(self._market, name)

    # -- what is spoiled

    def freeze(self, symbol: str | None, since_msc: int, until_msc: int | None) -> Span:
        """Let quotes stand still from a moment on."""
        return self._add(Span(symbol, since_msc, until_msc))

    def widen(
        self, symbol: str | None, factor: float, since_msc: int, until_msc: int | None
    ) -> Span:
        """Let the spread be `factor` times as wide, around the same middle."""
        return self._add(Span(symbol, since_msc, until_msc, factor))

    def end(self, span: Span, at_msc: int) -> None:
        """Let a span end now, if it would go on."""
        if span.until_msc is None or span.until_msc > at_msc:
            span.until_msc = at_msc

    def _add(self, span: Span) -> Span:
        self._spans.append(span)
        return span

    # -- the market

    @property
    def name(self) -> str:
        """The kind of prices."""
        return self._market.name

    @property
    def start_msc(self) -> int:
        """The market time at which a fresh broker begins."""
        return self._market.start_msc

    @property
    def end_msc(self) -> int | None:
        """The market time of the last price; None if prices never end."""
        return self._market.end_msc

    @property
    def over(self) -> bool:
        """Whether the market has been played to its end."""
        return self._market.over

    def begin(self, at_msc: int, prices: Mapping[str, float]) -> int:
        """Take up again at a market time near the given mid prices; return the time taken."""
        return self._market.begin(at_msc, prices)

    def play(self, upto_msc: int) -> None:
        """Note that the broker has seen everything up to this time."""
        self._market.play(upto_msc)

    def is_open(self, symbol: str, at_msc: int) -> bool:
        """Whether the symbol trades at that time; frozen quotes do not say that it does not."""
        return self._market.is_open(symbol, at_msc)

    def book(self, symbol: str, at_msc: int) -> tuple[Level, ...]:
        """Return the depth of market at a time; that of a spoiled quote is made around it."""
        if not self._spans:
            return self._market.book(symbol, at_msc)
        return levels(self.specs[symbol], self.price(symbol, at_msc))

    def ticks(self, symbol: str, after_msc: int, upto_msc: int) -> Ticks:
        """Return the ticks with `after_msc < time <= upto_msc`, as far as they got through."""
        found = self._market.ticks(symbol, after_msc, upto_msc)
        for span in self._spans:
            if span.covers(symbol) and len(found.time_msc):
                found = self._spoil(symbol, found, span)
        return found

    def price(self, symbol: str, at_msc: int) -> Price | None:
        """Return the newest quote that got through at a time; None before the first."""
        if not self._spans:
            return self._market.price(symbol, at_msc)
        mine = [one for one in self._spans if one.covers(symbol)]
        seen, moved = at_msc, True
        while moved:  # a span may begin where another one stands still
            stood = [one for one in mine if one.factor is None and one.has(seen)]
            first = min((one.since_msc for one in stood), default=seen)
            moved, seen = first < seen, first
            if moved:
                continue
        found = self._market.price(symbol, seen)
        for span in mine:
            if found is not None and span.factor is not None and span.has(at_msc):
                found = self._widened(symbol, found, span.factor)
        return found

    def _spoil(self, symbol: str, found: Ticks, span: Span) -> Ticks:
        times = found.time_msc
        inside = times >= span.since_msc
        if span.until_msc is not None:
            inside &= times < span.until_msc
        if span.factor is None:
            if inside.any():
                # The tick of the very moment is the one at which they stand still.
                inside &= times > span.since_msc
                return _kept(found, ~inside)
            return found
        bid, ask = self._wide(symbol, found.bid, found.ask, span.factor)
        bid, ask = np.where(inside, bid, found.bid), np.where(inside, ask, found.ask)
        return found._replace(bid=bid, ask=ask)

    def _wide(self, symbol: str, bid: Prices, ask: Prices, factor: float) -> tuple[Prices, Prices]:
        more = (ask - bid) * (factor - 1.0) / 2.0
        digits = self.specs[symbol].digits
        return np.round(bid - more, digits), np.round(ask + more, digits)

    def _widened(self, symbol: str, price: Price, factor: float) -> Price:
        bid, ask = self._wide(symbol, np.array(price.bid), np.array(price.ask), factor)
        return Price(price.time_msc, float(bid), float(ask))


def _kept(found: Ticks, kept: npt.NDArray[np.bool_]) -> Ticks:
    trades = found.trades
    if trades is not None:
        trades = Trades(trades.last[kept], trades.volume[kept], trades.flags[kept])
    return Ticks(found.time_msc[kept], found.bid[kept], found.ask[kept], trades)
