"""Quotes of one symbol: ticks as arrays, the newest one, and finding places among them."""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from terminals import constants as mt5

FOREVER: Final = 1 << 62  # a market time that never comes
TRADE_FLAGS: Final = mt5.TICK_FLAG_LAST | mt5.TICK_FLAG_VOLUME  # a tick that is (also) a trade
Millis: TypeAlias = npt.NDArray[np.int64]
Prices: TypeAlias = npt.NDArray[np.float64]


class Trades(NamedTuple):
    """What an exchange reports with each tick: last price, its volume, TICK_FLAG_* of changes.

    A tick that only quotes repeats price and volume of the newest trade: volumes are to be summed
    over the ticks that `made` tells.
    """

    last: Prices
    volume: Prices
    flags: npt.NDArray[np.uint32]

    @property
    def made(self) -> npt.NDArray[np.bool_]:
        """Which ticks are trades."""
        made: npt.NDArray[np.bool_] = (self.flags & TRADE_FLAGS) != 0
        return made


def carried(values: Prices, new: npt.NDArray[np.bool_], before: float | Prices = 0.0) -> Prices:
    """Return for each place the newest value that is new there or earlier; `before` at first."""
    newest = np.maximum.accumulate(np.where(new, np.arange(len(new)), -1))
    out: Prices = np.where(newest >= 0, values[newest], before)
    return out


class Ticks(NamedTuple):
    """Quotes of one symbol in time order; arrays of one length, not to be written to."""

    time_msc: Millis
    bid: Prices
    ask: Prices
    trades: Trades | None = None  # only where there are any

    def cut(self, low: int, high: int) -> Ticks:
        """Return the ticks of these places, as views."""
        part = slice(low, high)
        trades = self.trades
        if trades is not None:
            trades = Trades(trades.last[part], trades.volume[part], trades.flags[part])
        return Ticks(self.time_msc[part], self.bid[part], self.ask[part], trades)


class Price(NamedTuple):
    """One quote; of an exchange with the last trade, its volume and what this tick changed."""

    time_msc: int
    bid: float
    ask: float
    last: float = 0.0
    volume: float = 0.0
    flags: int = mt5.TICK_FLAG_BID | mt5.TICK_FLAG_ASK

    @property
    def mid(self) -> float:
        """The price between bid and ask."""
        return (self.bid + self.ask) / 2.0


class Cursor:
    """Finds places in the ticks of one symbol, near where it found the last one.

    Who plays a market asks for spans that begin where the last one ended, and
    for the newest quote again and again until the next tick.
    """

    __slots__ = ("_end", "_newest", "data")

    def __init__(self, data: Ticks) -> None:
        """Look at these ticks."""
        self.feed(data)

    def feed(self, data: Ticks) -> None:
        """Look at these ticks from now on."""
        self.data = data
        self._end = (-1, 0)  # the time that a span ended at, and how many ticks there are up to it
        self._newest: tuple[int, int, Price | None] = (0, 0, None)  # from, until, quote

    def count(self, at_msc: int) -> int:
        """Return how many ticks there are up to a time."""
        return int(self.data.time_msc.searchsorted(at_msc, side="right"))

    def span(self, after_msc: int, upto_msc: int) -> Ticks:
        """Return the ticks with `after_msc < time <= upto_msc`, as views."""
        at, low = self._end
        if at != after_msc:
            low = self.count(after_msc)
        high = self.count(upto_msc)
        self._end = (upto_msc, high)
        return self.data.cut(low, high)

    def price(self, at_msc: int) -> Price | None:
        """Return the newest quote at a time up to which all ticks are here."""
        since, until, found = self._newest
        if since <= at_msc < until:
            return found
        data = self.data
        after = self.count(at_msc)
        if not after:
            return None
        index = after - 1
        since = data.time_msc.item(index)
        until = data.time_msc.item(after) if after < len(data.time_msc) else FOREVER
        found = Price(since, data.bid.item(index), data.ask.item(index))
        if data.trades is not None:
            last, volume, flags = data.trades
            found = found._replace(
                last=last.item(index), volume=volume.item(index), flags=flags.item(index)
            )
        self._newest = (since, until, found)
        return found
