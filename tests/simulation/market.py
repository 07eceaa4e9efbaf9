"""A market that moves only when the script says so: quotes are steps in time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping

import numpy as np

from terminals.sim.depth import Level, levels
from terminals.sim.mark import NO_ORIGINS, Origins
from terminals.sim.market import Price, Ticks
from terminals.sim.symbols import SymbolSpec, spec_for

SYMBOLS = ("EURUSD", "GBPUSD")
NO_TICKS = Ticks(np.zeros(0, dtype=np.int64), np.zeros(0), np.zeros(0))


class SteppedMarket:
    """Each symbol's quote stays until `move`. A quote is dated by its last step."""

    name = "stepped"
    end_msc = None
    over = False

    def __init__(self, start: float) -> None:
        self.specs: Mapping[str, SymbolSpec] = {name: spec_for(name) for name in SYMBOLS}
        self.start_msc = round(start * 1000.0)
        self._times: dict[str, list[int]] = {}
        self._steps: dict[str, list[Price]] = {}
        for name, spec in self.specs.items():
            self._times[name] = [self.start_msc]
            self._steps[name] = [self._quote(spec, spec.typical_price, self.start_msc)]

    def move(self, symbol: str, by: float, at: float) -> None:
        """Move the quote by a part of the price (0.01 is one in a hundred) at market time `at`."""
        old = self._steps[symbol][-1]
        at_msc = max(round(at * 1000.0), old.time_msc + 1)
        self._times[symbol].append(at_msc)
        quote = self._quote(self.specs[symbol], old.bid * (1.0 + by), at_msc)
        self._steps[symbol].append(quote)

    def begin(self, at_msc: int, prices: Mapping[str, float], origins: Origins) -> int:
        return self.start_msc

    def origins(self) -> Origins:
        return NO_ORIGINS

    def play(self, upto_msc: int) -> None:
        """Nothing is forgotten: an hour has few steps."""

    def ticks(self, symbol: str, after_msc: int, upto_msc: int) -> Ticks:
        times = self._times[symbol]
        low, high = bisect_right(times, after_msc), bisect_right(times, upto_msc)
        if low == high:
            return NO_TICKS
        steps = self._steps[symbol][low:high]
        return Ticks(
            np.array([one.time_msc for one in steps], dtype=np.int64),
            np.array([one.bid for one in steps]),
            np.array([one.ask for one in steps]),
        )

    def price(self, symbol: str, at_msc: int) -> Price | None:
        at = bisect_right(self._times[symbol], at_msc)
        return self._steps[symbol][at - 1] if at else None

    def is_open(self, symbol: str, at_msc: int) -> bool:
        return symbol in self.specs

    def book(self, symbol: str, at_msc: int) -> tuple[Level, ...]:
        return levels(self.specs[symbol], self.price(symbol, at_msc))

    @staticmethod
    def _quote(spec: SymbolSpec, bid: float, at_msc: int) -> Price:
        bid = round(bid, spec.digits)
        ask = round(bid + spec.typical_spread * spec.point, spec.digits)
        return Price(at_msc, bid, ask)
