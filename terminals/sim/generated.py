"""Generated prices: a seeded random market that never closes.

Each symbol walks by itself, one tick about every second, with volatility that
comes in clusters and a spread that widens with it. The same seed and start
give the same ticks, however the market is stepped through, because ticks are
made in fixed chunks, each from its own random stream.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np

from terminals.sim.market import Millis, Price, Prices, Ticks
from terminals.sim.symbols import SymbolSpec, spec_for

DEFAULT_SYMBOLS: Final = ("EURUSD", "GBPUSD", "USDJPY", "XAUUSD")
CHUNK: Final = 900  # ticks, one a second: 15 minutes
MINUTE: Final = 60
HISTORY_CHUNKS: Final = 96  # a day of past, so that bars exist from the first moment
KEEP_MS: Final = 24 * 3_600_000  # how much of the past is kept while playing
PERSISTENCE: Final = 0.985  # of a minute's log volatility: clusters last about an hour
JOLT: Final = 0.06  # a minute's surprise in log volatility

# Times, log prices, and how wide the spread is (1 is typical).
_Chunk: TypeAlias = tuple[Millis, Prices, Prices]


class GeneratedMarket:
    """A market of generated prices, open at all times.

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
    ) -> None:
        """Raise nothing; prices are made when they are first asked for."""
        self.specs: Mapping[str, SymbolSpec] = {
            name: (specs or {}).get(name) or spec_for(name) for name in symbols
        }
        self._seed = seed
        self._volatility = volatility
        self.start_msc = round(start * 1000.0)
        self.end_msc: int | None = None
        self._walks: dict[str, _Walk] = {}
        self._anchors: dict[str, float] = {}

    @property
    def name(self) -> str:
        """The kind of prices."""
        return "generated"

    @property
    def over(self) -> bool:
        """Never: there is always a next price."""
        return False

    def begin(self, at_msc: int, prices: Mapping[str, float]) -> int:
        """Start over at a market time, near the given mid prices."""
        self.start_msc = at_msc
        self._anchors = dict(prices)
        self._walks = {}
        return at_msc

    def play(self, upto_msc: int) -> None:
        """Forget ticks that are older than a day."""
        for walk in self._walks.values():
            walk.forget(upto_msc - KEEP_MS)

    def ticks(self, symbol: str, after_msc: int, upto_msc: int) -> Ticks:
        """Return the ticks of a span, made if need be."""
        one = self._walk(symbol).upto(upto_msc)
        low = int(np.searchsorted(one.time_msc, after_msc, side="right"))
        high = int(np.searchsorted(one.time_msc, upto_msc, side="right"))
        return Ticks(one.time_msc[low:high], one.bid[low:high], one.ask[low:high])

    def price(self, symbol: str, at_msc: int) -> Price | None:
        """Return the newest quote at a time."""
        one = self._walk(symbol).upto(at_msc)
        index = int(np.searchsorted(one.time_msc, at_msc, side="right")) - 1
        if index < 0:
            return None
        return Price(int(one.time_msc[index]), float(one.bid[index]), float(one.ask[index]))

    def is_open(self, symbol: str, at_msc: int) -> bool:
        """Always, so that a demonstration works on a weekend."""
        del at_msc
        return symbol in self.specs

    def _walk(self, symbol: str) -> _Walk:
        walk = self._walks.get(symbol)
        if walk is None:
            spec = self.specs[symbol]
            anchor = self._anchors.get(symbol, spec.typical_price)
            walk = _Walk(spec, self._seed, self.start_msc, anchor, self._volatility)
            self._walks[symbol] = walk
        return walk


class _Walk:
    """The ticks of one symbol."""

    def __init__(
        self, spec: SymbolSpec, seed: int, start_msc: int, anchor: float, volatility: float
    ) -> None:
        self._spec = spec
        # The start is part of it: a market taken up again does not repeat its first moves.
        self._entropy = (seed & 0xFFFF_FFFF_FFFF_FFFF, start_msc, zlib.crc32(spec.name.encode()))
        self._per_second = spec.daily_volatility * volatility / math.sqrt(86_400.0)
        self._log_volatility = 0.0
        self._log_price = 0.0
        self._chunk = 0
        self._next_msc = start_msc - HISTORY_CHUNKS * CHUNK * 1000
        past = [self._make() for _ in range(HISTORY_CHUNKS)]
        # The past is walked first and then moved, so that it ends at the anchor.
        shift = math.log(anchor) - self._log_price
        self._log_price = math.log(anchor)
        self._data = self._quoted([(t, log + shift, wide) for t, log, wide in past])

    def upto(self, at_msc: int) -> Ticks:
        """Return all kept ticks, having made those up to a time at least."""
        made = []
        while self._next_msc <= at_msc:
            made.append(self._make())
        if made:
            new = self._quoted(made)
            old = self._data
            self._data = Ticks(
                np.concatenate((old.time_msc, new.time_msc)),
                np.concatenate((old.bid, new.bid)),
                np.concatenate((old.ask, new.ask)),
            )
        return self._data

    def forget(self, before_msc: int) -> None:
        """Let go of old ticks, rarely and many at a time."""
        old = int(np.searchsorted(self._data.time_msc, before_msc))
        if old > len(self._data.time_msc) // 2:
            data = self._data
            self._data = Ticks(
                data.time_msc[old:].copy(), data.bid[old:].copy(), data.ask[old:].copy()
            )

    def _make(self) -> _Chunk:
        """Make the next chunk."""
        random = np.random.default_rng((*self._entropy, self._chunk))
        self._chunk += 1
        minutes = np.empty(CHUNK // MINUTE)
        jolts = random.standard_normal(len(minutes)) * JOLT
        for index, jolt in enumerate(jolts):
            self._log_volatility = PERSISTENCE * self._log_volatility + float(jolt)
            minutes[index] = self._log_volatility
        relative = np.exp(np.repeat(minutes, MINUTE))
        moves = random.standard_normal(CHUNK) * relative * self._per_second
        path = self._log_price + np.cumsum(moves)
        self._log_price = float(path[-1])
        times = self._next_msc + np.arange(CHUNK, dtype=np.int64) * 1000
        times += random.integers(0, 800, CHUNK)
        self._next_msc += CHUNK * 1000
        wide = 0.6 + 0.4 * relative + random.exponential(0.15, CHUNK)
        return times, path, wide

    def _quoted(self, chunks: Sequence[_Chunk]) -> Ticks:
        """Turn log prices into bid and ask on the symbol's grid; the bid carries the walk."""
        spec = self._spec
        times = np.concatenate([one[0] for one in chunks])
        middle = np.exp(np.concatenate([one[1] for one in chunks]))
        wide = np.concatenate([one[2] for one in chunks])
        points = np.maximum(1.0, np.round(wide * spec.typical_spread))
        bid = np.round(middle - points * spec.point / 2.0, spec.digits)
        return Ticks(times, bid, np.round(bid + points * spec.point, spec.digits))
