"""Generated prices: a seeded random market.

Each symbol walks by itself (`terminals.sim.walk`). The same seed and start
give the same ticks, however the market is stepped through. Under ideal
conditions it never closes; with `conditions.sessions` it keeps the symbols'
hours by the broker's wall time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from terminals.sim.conditions import IDEAL, Conditions
from terminals.sim.depth import Level, levels
from terminals.sim.history import History
from terminals.sim.mark import Origin, Origins
from terminals.sim.quotes import Price, Ticks
from terminals.sim.sessions import Hours
from terminals.sim.symbols import CATALOGUE, SymbolSpec, spec_for
from terminals.sim.walk import Walk
from terminals.sim.zone import DAY_MS, BrokerZone

RESUMED_MS: Final = 14 * DAY_MS  # some seconds' work for all symbols
DEFAULT_SYMBOLS: Final = ("EURUSD", "GBPUSD", "USDJPY", "XAUUSD")


class GeneratedMarket:
    """A market of generated prices.

    `start` is a market time in UTC epoch seconds; `volatility` multiplies the
    symbols' usual volatility. The default of 2 lets something happen within
    minutes, which is what a demonstration is for.
    """

    def __init__(
        self,
        seed: int = 1,
        start: float = 1_700_000_000.0,
        symbols: Sequence[str] = DEFAULT_SYMBOLS,
        *,
        specs: Mapping[str, SymbolSpec] | None = None,
        volatility: float = 2.0,
        conditions: Conditions = IDEAL,
    ) -> None:
        """Make no price yet, but when they are first asked for.

        Raises Invalid for a zone in `conditions` that this machine does not know, and for a
        symbol's week that makes no sense.
        """
        self.specs: Mapping[str, SymbolSpec] = {
            name: (specs or {}).get(name) or spec_for(name) for name in symbols
        }
        self._seed = seed
        self._volatility = volatility
        self._sessions = conditions.sessions
        self._zone = BrokerZone(conditions.zone)
        self._hours = {
            name: Hours(spec.week if conditions.sessions else None)
            for name, spec in self.specs.items()
        }
        self.start_msc = round(start * 1000.0)
        self.end_msc: int | None = None
        self._walks: dict[str, Walk] = {}
        hours = f"sessions of {conditions.zone}" if conditions.sessions else "always open"
        self._draw = f"seed {seed}, volatility {volatility:g}, {hours}"
        self._origins: dict[str, Origin] = {}
        self._seen_msc = self.start_msc  # how far the market has been played

    @classmethod
    def under(cls, conditions: Conditions, *, seed: int = 1, start: float) -> GeneratedMarket:
        """Return the market for a broker's terms: with sessions all symbols at their usual pace.

        Without, the four of the demonstration. Raises what making one raises.
        """
        if not conditions.sessions:
            return cls(seed, start, conditions=conditions)
        return cls(seed, start, tuple(CATALOGUE), volatility=1.0, conditions=conditions)

    @property
    def name(self) -> str:
        """The kind of prices."""
        return "generated"

    @property
    def over(self) -> bool:
        """Never: there is always a next price."""
        return False

    def begin(self, at_msc: int, prices: Mapping[str, float], origins: Origins) -> int:
        """Go on at a market time: from the known origins, else near the given mid prices.

        An origin of another draw is none, nor one of more than `RESUMED_MS` ago: all that has
        been since then is made again.
        """
        self.start_msc = at_msc
        self._walks = {}
        self._origins = {symbol: self._origin(at_msc, price) for symbol, price in prices.items()}
        for symbol, one in origins.items():
            if one.draw == self._draw and at_msc - RESUMED_MS <= one.start_msc <= at_msc:
                self._origins[symbol] = one
        self._seen_msc = at_msc
        return at_msc

    def origins(self) -> Origins:
        """Return where the prices of each symbol come from that was looked at."""
        return {symbol: self._origins[symbol] for symbol in self._walks}

    def play(self, upto_msc: int) -> None:
        """Let go of ticks that are older than a day of open market."""
        self._seen_msc = upto_msc
        for walk in self._walks.values():
            walk.forget(upto_msc)

    def ticks(self, symbol: str, after_msc: int, upto_msc: int) -> Ticks:
        """Return the ticks of a span, made if need be."""
        return self._walk(symbol).upto(upto_msc).span(after_msc, upto_msc)

    def history(self, symbol: str, upto_msc: int) -> History:
        """Return the bars of all that is over by a moment, and of a past before the first tick."""
        return self._walk(symbol).history(upto_msc)

    def price(self, symbol: str, at_msc: int) -> Price | None:
        """Return the newest quote at a time."""
        return self._walk(symbol).upto(at_msc).price(at_msc)

    def is_open(self, symbol: str, at_msc: int) -> bool:
        """Whether the symbol trades; without sessions always, so that a demonstration works."""
        hours = self._hours.get(symbol)
        return hours is not None and (hours.always or hours.is_open(self._zone.to_wall_msc(at_msc)))

    def book(self, symbol: str, at_msc: int) -> tuple[Level, ...]:
        """Return a depth of market around the quote."""
        return levels(self.specs[symbol], self.price(symbol, at_msc))

    def _origin(self, start_msc: int, anchor: float) -> Origin:
        return Origin(draw=self._draw, start_msc=start_msc, anchor=anchor)

    def _walk(self, symbol: str) -> Walk:
        walk = self._walks.get(symbol)
        if walk is None:
            spec = self.specs[symbol]
            origin = self._origins.setdefault(
                symbol, self._origin(self.start_msc, spec.typical_price)
            )
            walk = Walk(
                spec,
                self._seed,
                origin.start_msc,
                origin.anchor,
                self._volatility,
                zone=self._zone,
                hours=self._hours[symbol],
                lively=self._sessions,
            )
            walk.forget(self._seen_msc)  # a symbol that is looked at late
            self._walks[symbol] = walk
        return walk
