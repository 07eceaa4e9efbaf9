"""The reference's market: a recording, played tick by tick; wall time; rates of exchange."""

from __future__ import annotations

import datetime as dt
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import NamedTuple

from ledger_terms import DAY_MS, HOUR_MS, QUIET_MS, Symbol, Terms

# Dollars for one unit, where the market has no quote to convert by (docs/broker.md, Numbers).
DOLLARS = {
    "USD": Decimal(1),
    "EUR": Decimal("1.1"),
    "GBP": Decimal("1.28"),
    "JPY": Decimal("0.0067"),
}


class Quote(NamedTuple):
    """What one may sell and buy at."""

    bid: Decimal
    ask: Decimal


class Tick(NamedTuple):
    """One quote of a recording."""

    time: int
    symbol: str
    bid: Decimal
    ask: Decimal


def new_york_summer(utc: int) -> bool:
    """Whether New York has daylight saving.

    From 02:00 local time (07:00 UTC) of March's second Sunday to 02:00 local
    time (06:00 UTC) of November's first (Energy Policy Act of 2005, sec. 110).
    """
    year = dt.datetime.fromtimestamp(utc / 1000, dt.UTC).year
    march = dt.datetime(year, 3, 1, 7, tzinfo=dt.UTC)
    begins = march + dt.timedelta(days=(6 - march.weekday()) % 7 + 7)
    november = dt.datetime(year, 11, 1, 6, tzinfo=dt.UTC)
    ends = november + dt.timedelta(days=(6 - november.weekday()) % 7)
    return begins.timestamp() * 1000 <= utc < ends.timestamp() * 1000


class Tape:
    """The market as it was recorded, and the present quotes."""

    def __init__(self, symbols: Sequence[Symbol], ticks: Sequence[Tick], terms: Terms) -> None:
        self.symbols = {one.name: one for one in symbols}
        self.terms = terms
        self.quotes: dict[str, Quote] = {}
        self.ticks: dict[int, list[Tick]] = {}
        self.times: dict[str, list[int]] = {name: [] for name in self.symbols}
        for tick in sorted(ticks):
            self.ticks.setdefault(tick.time, []).append(tick)
            self.times[tick.symbol].append(tick.time)
        self.moments = sorted(self.ticks)
        # The market begins when every symbol has a price, and is over after the last tick.
        self.begin = max(times[0] for times in self.times.values())
        self.end = self.moments[-1]

    # -- time --------------------------------------------------------------

    def wall(self, utc: int) -> int:
        """Return wall time: what programs see."""
        if not self.terms.new_york:
            return utc
        return utc + (3 if new_york_summer(utc) else 2) * HOUR_MS

    def utc(self, wall: int) -> int:
        """Return the moment at which the wall shows that time.

        Of an hour that comes twice, the first; a time that is left out is the
        moment at which the clocks go forward.
        """
        if not self.terms.new_york:
            return wall
        for moment in (wall - 3 * HOUR_MS, wall - 2 * HOUR_MS):
            if self.wall(moment) == wall:
                return moment
        moment = wall - wall % HOUR_MS - 3 * HOUR_MS
        while self.wall(moment) < wall:
            moment += HOUR_MS
        return moment

    def midnights(self, after: int, until: int) -> Iterator[int]:
        """Give the moments at which the wall shows 00:00, `after < moment <= until`."""
        hour = after - after % HOUR_MS + HOUR_MS
        while hour <= until:
            if self.wall(hour) % DAY_MS == 0:
                yield hour
            hour += HOUR_MS

    def next_midnight(self, after: int) -> int:
        """Return the first 00:00 of wall time after a moment."""
        return next(self.midnights(after, after + 2 * DAY_MS))

    # -- prices ------------------------------------------------------------

    def moments_until(self, after: int, until: int) -> list[int]:
        """Return the times of ticks, `after < time <= until`."""
        low, high = bisect_right(self.moments, after), bisect_right(self.moments, until)
        return self.moments[low:high]

    def play(self, moment: int) -> list[str]:
        """Take in the quotes of a moment; return the symbols that had a tick, by name."""
        for tick in self.ticks.get(moment, ()):
            self.quotes[tick.symbol] = Quote(tick.bid, tick.ask)
        return [tick.symbol for tick in self.ticks.get(moment, ())]

    def is_open(self, symbol: str, now: int) -> bool:
        """Whether a recorded symbol trades: its ticks do not pause, and are not over."""
        times = self.times[symbol]
        index = bisect_right(times, now)
        if index in (0, len(times)):
            return False
        return times[index] - times[index - 1] <= QUIET_MS or now == times[index - 1]

    def mid(self, name: str) -> Decimal | None:
        """Return the price between bid and ask."""
        quote = self.quotes.get(name)
        return None if quote is None else (quote.bid + quote.ask) / 2

    def rate(self, currency: str, into: str) -> Decimal:
        """Return what one unit of a currency is worth in another."""
        if currency == into:
            return Decimal(1)
        direct = self.mid(currency + into)
        if direct is not None:
            return direct
        inverse = self.mid(into + currency)
        if inverse is not None:
            return 1 / inverse
        return DOLLARS[currency] / DOLLARS[into]


def in_time(ticks: Mapping[str, Sequence[tuple[int, Decimal, Decimal]]]) -> list[Tick]:
    """Make a recording of the ticks of several symbols."""
    rows = (Tick(at, name, bid, ask) for name, some in ticks.items() for at, bid, ask in some)
    return sorted(rows)
