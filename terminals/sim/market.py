"""The market behind the simulated broker: who knows the prices up to a market time.

A market is a function of time: asked twice for the same span it gives the
same ticks, however it is stepped through. Market times are milliseconds since
the epoch in UTC, as the recording or the generator has them; they need not be
near the present.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol

from defence.errors import Invalid
from terminals.sim.depth import Level, levels
from terminals.sim.history import History
from terminals.sim.mark import NO_ORIGINS, Origins
from terminals.sim.prices import Series, load_prices
from terminals.sim.quotes import Cursor, Price, Prices, Ticks, Trades, carried
from terminals.sim.symbols import SymbolSpec

__all__ = ["Market", "Price", "Prices", "RecordedMarket", "Ticks", "Trades"]

# A pause in the ticks longer than this (and than four bars) is a closed market, not a quiet one.
QUIET_MS: Final = 30 * 60_000


class Market(Protocol):
    """Where the simulated broker takes its prices from; all its accounts share one market."""

    @property
    def name(self) -> str:
        """The kind of prices: `generated` or `recorded`."""

    @property
    def specs(self) -> Mapping[str, SymbolSpec]:
        """The symbols, with their facts."""

    @property
    def start_msc(self) -> int:
        """The market time at which a fresh broker begins."""

    @property
    def end_msc(self) -> int | None:
        """The market time of the last price; None if prices never end."""

    @property
    def over(self) -> bool:
        """Whether the market has been played to its end."""

    def begin(self, at_msc: int, prices: Mapping[str, float], origins: Origins) -> int:
        """Take up again at a market time near the given mid prices; return the time taken.

        For a broker that goes on where an earlier process stopped. Before any tick is read.
        Where a symbol's origin is known, its prices are those that were before.
        """

    def origins(self) -> Origins:
        """Return where the prices of each symbol came from, if they can be made again."""

    def play(self, upto_msc: int) -> None:
        """Note that every account has seen everything up to this time; older ticks may go."""

    def ticks(self, symbol: str, after_msc: int, upto_msc: int) -> Ticks:
        """Return the ticks with `after_msc < time <= upto_msc`."""

    def price(self, symbol: str, at_msc: int) -> Price | None:
        """Return the newest quote at a time; None before the first."""

    def is_open(self, symbol: str, at_msc: int) -> bool:
        """Whether the symbol trades at that time."""

    def book(self, symbol: str, at_msc: int) -> tuple[Level, ...]:
        """Return the depth of market at a time, the highest price first; empty before any quote."""


class RecordedMarket:
    """Prices that were recorded, played once.

    The market starts at the first moment at which every symbol has a price.
    A symbol is closed in long pauses of its ticks (nights, weekends) and
    after its last one; its quote then stays where it was.
    """

    def __init__(
        self, series: Mapping[str, Series], *, specs: Mapping[str, SymbolSpec] | None = None
    ) -> None:
        """Raise Invalid if there are no prices, or the recordings share no time."""
        if not series:
            raise Invalid("no recorded prices", field="prices", remedy="name at least one file")
        self._series = dict(series)
        self.specs: Mapping[str, SymbolSpec] = {
            symbol: (specs or {}).get(symbol) or one.spec for symbol, one in self._series.items()
        }
        first = max(self._series.values(), key=lambda one: int(one.time_msc[0]))
        ends = min(self._series.values(), key=lambda one: int(one.time_msc[-1]))
        self.start_msc = int(first.time_msc[0])
        if self.start_msc > int(ends.time_msc[-1]):
            raise Invalid(
                f"the recordings share no time: {ends.symbol} ends before {first.symbol} begins",
                field="prices",
                remedy="play files of one period together",
            )
        self.end_msc: int | None = max(int(one.time_msc[-1]) for one in self._series.values())
        self._played = self.start_msc
        self._histories: dict[str, History] = {}
        self._cursors = {symbol: Cursor(_ticks_of(one)) for symbol, one in self._series.items()}

    @classmethod
    def load(cls, paths: Sequence[Path]) -> RecordedMarket:
        """Read price files (see `terminals.sim.prices`). Raises Invalid for what cannot be read."""
        return cls(load_prices(paths))

    @property
    def name(self) -> str:
        """The kind of prices."""
        return "recorded"

    @property
    def notes(self) -> tuple[str, ...]:
        """What had to be mended or made up in reading, for people."""
        return tuple(note for one in self._series.values() for note in one.notes)

    @property
    def over(self) -> bool:
        """Whether everything has been played."""
        return self.end_msc is not None and self._played >= self.end_msc

    def begin(self, at_msc: int, prices: Mapping[str, float], origins: Origins) -> int:
        """Go on at a market time; at the start if it is outside of this recording."""
        del prices, origins  # recorded prices are what they are
        inside = self.end_msc is not None and self.start_msc <= at_msc <= self.end_msc
        self._played = at_msc if inside else self.start_msc
        return self._played

    def origins(self) -> Origins:
        """Return none: recorded prices are in their files."""
        return NO_ORIGINS

    def play(self, upto_msc: int) -> None:
        """Note how far the recording has been played."""
        self._played = max(self._played, upto_msc)

    def ticks(self, symbol: str, after_msc: int, upto_msc: int) -> Ticks:
        """Return the ticks of a span, as views of the arrays."""
        return self._cursors[symbol].span(after_msc, upto_msc)

    def price(self, symbol: str, at_msc: int) -> Price | None:
        """Return the newest quote at a time."""
        return self._cursors[symbol].price(at_msc)

    def history(self, symbol: str, upto_msc: int) -> History:
        """Return the bars of all that is over by a moment."""
        found = self._histories.get(symbol)
        if found is None:
            found = self._histories[symbol] = History(self.specs[symbol].point)
        found.follow(self._cursors[symbol], upto_msc)
        return found

    def is_open(self, symbol: str, at_msc: int) -> bool:
        """Whether a tick is near enough on both sides."""
        one = self._series[symbol]
        index = self._cursors[symbol].count(at_msc)
        if index == 0 or index == len(one.time_msc):
            return False
        before = one.time_msc.item(index - 1)
        pause = one.time_msc.item(index) - before
        if pause <= max(QUIET_MS, 4 * one.bar_ms):
            return True
        # The bar before the pause still trades to its end.
        return bool(at_msc - before <= one.bar_ms)

    def book(self, symbol: str, at_msc: int) -> tuple[Level, ...]:
        """Return a depth of market around the recorded quote; no recording here has its own."""
        return levels(self.specs[symbol], self.price(symbol, at_msc))


def _ticks_of(one: Series) -> Ticks:
    trades = None
    if one.last is not None and one.volume is not None and one.flags is not None:
        trades = Trades(one.last, one.volume, one.flags)
        trades = trades._replace(volume=carried(trades.volume, trades.made))
    return Ticks(one.time_msc, one.bid, one.ask, trades)
