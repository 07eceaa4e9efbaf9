"""A past that never was played: bars from before the first tick of a generated market.

A month of minutes and two years of quarters of an hour, ending where the ticks
begin; a generated market keeps about a day of ticks.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from terminals.sim.history import MINUTE_MS, NO_ROWS, QUARTER_MS, RATES, Rows
from terminals.sim.sessions import Hours
from terminals.sim.symbols import SymbolSpec
from terminals.sim.zone import DAY_MS, BrokerZone

MINUTES_MS: Final = 30 * DAY_MS  # for how long minutes are kept
QUARTERS_MS: Final = 730 * DAY_MS  # how far the past goes back that was never played
SAMPLES: Final = 4  # prices of which a bar of the past is made
PULL: Final = math.log(2.0) / 150.0  # a day: half of a distance is gone after 150 days
PERSISTENCE: Final = 0.95  # of an hour's log volatility
JOLT: Final = 0.12


class Past:
    """Makes up the bars from before the first tick of a generated market."""

    def __init__(
        self, spec: SymbolSpec, hours: Hours, zone: BrokerZone, seed: tuple[int, ...]
    ) -> None:
        """Take the symbol, when it trades, and what the random streams begin with."""
        self._spec = spec
        self._hours = hours
        self._zone = zone
        self._seed = seed

    def make(self, until_msc: int, price: float, volatility: float) -> tuple[Rows, Rows]:
        """Return minutes and quarters that end at a moment and a bid; volatility of a day."""
        middle = (until_msc - MINUTES_MS) // QUARTER_MS * QUARTER_MS
        minutes, price = self._walk(middle, until_msc, MINUTE_MS, price, volatility)
        quarters, _ = self._walk(middle - QUARTERS_MS, middle, QUARTER_MS, price, volatility)
        return minutes, quarters

    def _walk(
        self, since: int, until: int, length: int, price: float, volatility: float
    ) -> tuple[Rows, float]:
        """Walk back from a price, drawn to the typical one; return the bars and where they begin.

        Drawn by nothing, two years would leave a price anywhere.
        """
        random = np.random.default_rng((*self._seed, length))
        opened = np.arange(since // length * length, until, length, dtype=np.int64)
        # By its end: the bar in which a market opens has ticks, too.
        opened = opened[self._hours.mask(self._zone.to_wall_array(opened + length - 1))]
        if not len(opened):
            return NO_ROWS, price
        relative = np.exp(_clusters(random, -(-len(opened) * length // (4 * QUARTER_MS))))
        each = np.repeat(relative, 4 * QUARTER_MS // length)[: len(opened)]
        days = length / SAMPLES / DAY_MS  # between two samples
        scale = volatility * math.sqrt(days)
        moves = random.standard_normal((len(opened), SAMPLES)) * (each * scale)[:, None]
        # Walked from its end: the last sample is the price. Distance from the typical one:
        # y[n] = fade * y[n-1] - move[n], for all n at once.
        backward = np.append(0.0, moves.reshape(-1)[:0:-1])
        fading = np.exp(-PULL * days * np.arange(len(backward)))
        typical = self._spec.typical_price
        away = fading * (math.log(price / typical) - np.cumsum(backward / fading))
        bid = np.round(typical * np.exp(away[::-1]), self._spec.digits)
        bid = np.maximum(bid, self._spec.point).reshape(-1, SAMPLES)
        out = np.zeros(len(opened), dtype=RATES)
        out["time"] = opened
        out["open"], out["close"] = bid[:, 0], bid[:, -1]
        out["high"], out["low"] = bid.max(axis=1), bid.min(axis=1)
        ticks = length // 1000
        out["tick_volume"] = random.integers(ticks // 2, ticks + 1, len(opened))
        out["spread"] = np.maximum(1, np.round(self._spec.typical_spread * (0.6 + 0.4 * each)))
        if self._spec.exchange:
            out["real_volume"] = out["tick_volume"] * 2
        return out, float(bid[0, 0])


def _clusters(random: np.random.Generator, hours: int) -> npt.NDArray[np.float64]:
    """Return log volatility by the hour."""
    out = np.empty(hours)
    value = 0.0
    for index, jolt in enumerate((random.standard_normal(hours) * JOLT).tolist()):
        value = PERSISTENCE * value + jolt
        out[index] = value
    return out
