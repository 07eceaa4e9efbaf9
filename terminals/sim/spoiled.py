"""A market whose quotes stand still or widen for a while: a decorator over the real one.

What is spoiled here is spoiled for the broker too: nothing triggers while
quotes stand still, and a widened spread reaches stops. Quotes that are wrong
only on the screen are `terminals.sim.screen`'s. A price that the back office
holds (`set_price`) is not the market's, and stays as it is.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from terminals.sim.depth import Level, levels
from terminals.sim.history import MINUTE_MS, QUARTER_MS, History, Rows, rows_of_ticks
from terminals.sim.mark import Origins
from terminals.sim.market import Market
from terminals.sim.quotes import FOREVER, Price, Prices, Ticks, Trades
from terminals.sim.symbols import SymbolSpec

REMEMBERED_MS: Final = 7 * 86_400_000  # for how long what was spoiled stays so: over a weekend


@dataclass(slots=True)
class Span:
    """When a symbol's quotes (None: all symbols') are spoiled: `since <= time < until`, in ms."""

    symbol: str | None
    since_msc: int
    until_msc: int | None
    factor: float | None = None  # of the spread; None: quotes stand still

    @property
    def end_msc(self) -> int:
        """When it is over."""
        return FOREVER if self.until_msc is None else self.until_msc


class SpoiledMarket:
    """A market, as long as nothing is spoiled the very one that it decorates."""

    def __init__(self, market: Market) -> None:
        """Decorate a market."""
        self._market = market
        self._spans: list[Span] = []  # in the order of their begins
        self._begins: list[int] = []  # of each span, to find places by
        self._ends: list[int] = []  # the latest end of each span and all those before it
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

    def end(self, at_msc: int) -> None:
        """Let all that would go on end now."""
        for span in self._spans:
            span.until_msc = min(span.end_msc, at_msc)
        self._follow(0)

    def spoils(self, symbol: str, first_msc: int, last_msc: int) -> list[Span]:
        """Return what has a moment of `first <= time <= last` for a symbol, as it began."""
        found = []
        place = bisect_right(self._begins, last_msc)
        while place and self._ends[place - 1] > first_msc:
            place -= 1
            span = self._spans[place]
            if span.symbol in (None, symbol) and span.end_msc > first_msc:
                found.append(span)
        return found[::-1]

    def _add(self, span: Span) -> Span:
        place = bisect_right(self._begins, span.since_msc)
        self._spans.insert(place, span)
        self._begins.insert(place, span.since_msc)
        self._follow(place)
        return span

    def _follow(self, place: int) -> None:
        """Note the ends again from a place on."""
        del self._ends[place:]
        for span in self._spans[place:]:
            self._ends.append(max(span.end_msc, self._ends[-1] if self._ends else 0))

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

    def begin(self, at_msc: int, prices: Mapping[str, float], origins: Origins) -> int:
        """Take up again at a market time near the given mid prices; return the time taken."""
        return self._market.begin(at_msc, prices, origins)

    def origins(self) -> Origins:
        """Return where the prices of each symbol came from, if they can be made again."""
        return self._market.origins()

    def play(self, upto_msc: int) -> None:
        """Note that the broker has seen everything up to this time; forget what is long over."""
        self._market.play(upto_msc)
        if self._ends and self._ends[0] <= upto_msc - REMEMBERED_MS:
            gone = bisect_right(self._ends, upto_msc - REMEMBERED_MS)
            del self._spans[:gone], self._begins[:gone], self._ends[:gone]

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
        for span in self.spoils(symbol, after_msc + 1, upto_msc):
            if len(found.time_msc):
                found = self._spoil(symbol, found, span)
        return found

    def price(self, symbol: str, at_msc: int) -> Price | None:
        """Return the newest quote that got through at a time; None before the first.

        One that did not is not shown afterwards either: `ticks` never gives it.
        """
        found = self._market.price(symbol, at_msc)
        if not self._spans:
            return found
        while found is not None:  # a span may begin where another stands still
            time = found.time_msc
            stood = [one for one in self.spoils(symbol, time, time) if one.factor is None]
            first = min((one.since_msc for one in stood), default=time)
            if first == time:
                break
            found = self._market.price(symbol, first)
        for span in self.spoils(symbol, at_msc, at_msc):
            if found is not None and span.factor is not None:
                found = self._widened(symbol, found, span.factor)
        return found

    def history(self, symbol: str, upto_msc: int) -> History | SpoiledBars | None:
        """Return the bars of all that is over by a moment; None if the market keeps none."""
        ask = getattr(self._market, "history", None)
        kept: History | None = None if ask is None else ask(symbol, upto_msc)
        return kept if kept is None or not self._spans else SpoiledBars(kept, self, symbol)

    def unspoiled(self, symbol: str, after_msc: int, upto_msc: int) -> Ticks:
        """Return the ticks of a span as the market has them."""
        return self._market.ticks(symbol, after_msc, upto_msc)

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
        return price._replace(bid=float(bid), ask=float(ask))


class SpoiledBars:
    """The bars that a market keeps, those of spoiled times made again from what got through."""

    def __init__(self, kept: History, market: SpoiledMarket, symbol: str) -> None:
        """Look at a symbol's bars through a spoiled market."""
        self._kept = kept
        self._market = market
        self._symbol = symbol

    def rows(self, since: int, until: int, *, quarters: bool) -> tuple[Rows, int]:
        """Return the bars that begin at `since` or later, and from when on ticks are wanted."""
        rows, end = self._kept.rows(since, until, quarters=quarters)
        length = QUARTER_MS if quarters else MINUTE_MS
        parts: list[tuple[int, int]] = []  # whole bars, none of them twice
        for span in self._market.spoils(self._symbol, since, end - 1):
            low = max(since, span.since_msc // length * length)
            high = min(end, -(-span.end_msc // length) * length)
            if parts and low <= parts[-1][1]:
                low, high = parts[-1][0], max(high, parts.pop()[1])
            parts.append((low, high))
        for low, high in parts:
            rows = self._again(rows, low, high, length)
        return rows, end

    def _again(self, rows: Rows, low: int, high: int, length: int) -> Rows:
        known = self._market.unspoiled(self._symbol, low - 1, high - 1).time_msc
        if not len(known):
            return rows  # their ticks are no longer kept
        low = max(low, known.item(0) // length * length)
        ticks = self._market.ticks(self._symbol, low - 1, high - 1)
        point = self._market.specs[self._symbol].point
        made = rows_of_ticks(ticks, ticks.time_msc // length * length, point)
        before, after = rows["time"].searchsorted((low, high))
        return np.concatenate((rows[:before], made, rows[after:]))


def _kept(found: Ticks, kept: npt.NDArray[np.bool_]) -> Ticks:
    trades = found.trades
    if trades is not None:
        trades = Trades(trades.last[kept], trades.volume[kept], trades.flags[kept])
    return Ticks(found.time_msc[kept], found.bid[kept], found.ask[kept], trades)
