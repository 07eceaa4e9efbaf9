"""Bars and ticks as `copy_rates_*` and `copy_ticks_*` return them: arrays in wall time.

Bars are of the bid, begin on the wall's grid (days at 00:00, weeks on Sunday,
months on the first), and there is none where there was no tick, as at the
platform. `tick_volume` counts ticks, `spread` is the last one in points,
`real_volume` the sum of the trades' volumes.

Dates are seconds of the broker's wall time. A count with a date goes back from
it for bars (mql5.com/en/docs/series/copyrates: from the present to the past;
the bar that holds the date is the newest) and forward for ticks
(mql5.com/en/docs/python_metatrader5/mt5copyticksfrom_py). A range takes the
bars that open within it, and the ticks, both ends included.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, floor
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from terminals import constants as mt5
from terminals.sim.history import (
    MINUTE_MS,
    NO_ROWS,
    QUARTER_MS,
    QUOTE_FLAGS,
    RATES,
    Rows,
    rows_of_rows,
    rows_of_ticks,
)
from terminals.sim.market import Market
from terminals.sim.quotes import TRADE_FLAGS
from terminals.sim.zone import DAY_MS, HOUR_MS, BrokerZone

__all__ = [
    "COPY_TICKS_ALL",
    "COPY_TICKS_INFO",
    "COPY_TICKS_TRADE",
    "RATES",
    "TICKS",
    "TIMEFRAMES",
    "Day",
    "Rows",
    "bars_from",
    "bars_from_pos",
    "bars_range",
    "day_of",
    "ticks_from",
    "ticks_range",
]

TICKS: Final = np.dtype(
    [
        ("time", "<i8"),
        ("bid", "<f8"),
        ("ask", "<f8"),
        ("last", "<f8"),
        ("volume", "<u8"),
        ("time_msc", "<i8"),
        ("flags", "<u4"),
        ("volume_real", "<f8"),
    ]
)
LAST_DATE: Final = 32_535_215_999.0  # the end of the year 3000, where the platform's dates end
COPY_TICKS_ALL: Final = -1
COPY_TICKS_INFO: Final = 1  # changes of bid or ask
COPY_TICKS_TRADE: Final = 2  # changes of last or volume

_WEEK_SHIFT: Final = 4 * DAY_MS  # the epoch was a Thursday, bars of a week begin on Sunday
TIMEFRAMES: Final = frozenset(
    value for name, value in vars(mt5).items() if name.startswith("TIMEFRAME_")
)


def bars_from_pos(
    market: Market,
    symbol: str,
    timeframe: int,
    start_pos: int,
    count: int,
    at_msc: int,
    zone: BrokerZone,
) -> Rows:
    """Return `count` bars, oldest first, leaving out the newest `start_pos`.

    Position 0 is the bar that is not finished yet. Fewer come if there are fewer.
    """
    return _newest(market, symbol, timeframe, start_pos, count, at_msc, zone)


def bars_from(
    market: Market,
    symbol: str,
    timeframe: int,
    date_from: float,
    count: int,
    at_msc: int,
    zone: BrokerZone,
) -> Rows:
    """Return the `count` newest bars that open at or before a date, oldest first."""
    # All of that bar counts, also what came after the date: up to where the next one begins.
    until = min(at_msc, zone.to_utc_msc(_bar_end(_millis(date_from, floor), timeframe)) - 1)
    return _newest(market, symbol, timeframe, 0, count, until, zone)


def bars_range(
    market: Market,
    symbol: str,
    timeframe: int,
    date_from: float,
    date_to: float,
    at_msc: int,
    zone: BrokerZone,
) -> Rows:
    """Return the bars that open between two dates, both included."""
    low, high = _millis(date_from, ceil), _millis(date_to, floor)
    if high < low:
        return NO_ROWS.copy()
    until = min(at_msc, zone.to_utc_msc(_bar_end(high, timeframe)) - 1)
    since = zone.to_utc_msc(_bar_begin(low, timeframe))
    found = _bars(market, symbol, timeframe, since, until, zone)
    return found[found["time"] * 1000 >= low]  # the first one may have opened before the range


def _newest(
    market: Market,
    symbol: str,
    timeframe: int,
    leave: int,
    count: int,
    at_msc: int,
    zone: BrokerZone,
) -> Rows:
    """Return the newest bars before a time, looking back only as far as is needed."""
    wanted = leave + count
    price = market.price(symbol, at_msc)
    newest = at_msc if price is None else price.time_msc
    wall = zone.to_wall_msc(newest)
    found = NO_ROWS
    for times in (1, 4, wall):  # nights and weekends have no bars; at last, all there is
        since = max(0, wall - _span(timeframe) * wanted * times)
        begin = zone.to_utc_msc(_bar_begin(since, timeframe))
        found = _bars(market, symbol, timeframe, begin, at_msc, zone)
        if len(found) >= wanted or not since:
            break
    return found[max(0, len(found) - wanted) : max(0, len(found) - leave)]


def _bars(
    market: Market, symbol: str, timeframe: int, since: int, until: int, zone: BrokerZone
) -> Rows:
    """Return the bars of [since, until], from what is kept as bars and then from ticks."""
    parts = []
    begin = since
    kept = _history(market, symbol, until)
    if kept is not None:
        quarters = _span(timeframe) % QUARTER_MS == 0
        rows, begin = kept.rows(since, until, quarters=quarters)
        if len(rows):
            parts.append(rows_of_rows(rows, _opens(rows["time"], timeframe, zone)))
    ticks = market.ticks(symbol, begin - 1, until)
    point = market.specs[symbol].point
    if len(ticks.time_msc):
        opened = _opens(ticks.time_msc, timeframe, zone)
        parts.append(rows_of_ticks(ticks, opened, point))
    if len(parts) == 2:  # what is kept may end in the midst of a bar
        both = np.concatenate(parts)
        parts = [rows_of_rows(both, np.maximum.accumulate(both["time"]))]
    out = parts[0] if parts else NO_ROWS.copy()
    out["time"] //= 1000
    return out


class _Kept(Protocol):
    """Bars that a market keeps (`terminals.sim.history.History`)."""

    def rows(self, since: int, until: int, *, quarters: bool) -> tuple[Rows, int]:
        """Return the bars that begin at `since` or later, and from when on ticks are wanted."""


def _history(market: Market, symbol: str, upto_msc: int) -> _Kept | None:
    """Return the bars that a market keeps; one that keeps none, as a small one may, has no such."""
    ask: Callable[[str, int], _Kept | None] | None = getattr(market, "history", None)
    return None if ask is None else ask(symbol, upto_msc)


def _opens(
    utc_msc: npt.NDArray[np.int64], timeframe: int, zone: BrokerZone
) -> npt.NDArray[np.int64]:
    """Return for each moment the wall time at which its bar opened; it never goes back.

    Where an hour comes twice, its second pass belongs to the first one's last bar.
    """
    opened = bar_opens(zone.to_wall_array(utc_msc), timeframe)
    latest: npt.NDArray[np.int64] = np.maximum.accumulate(opened)
    return latest


def _millis(date: float, rounded: Callable[[float], int]) -> int:
    """Return wall milliseconds of a date in seconds, within the platform's years."""
    inside = min(max(0.0, date), LAST_DATE)  # not a number is the beginning, too
    return rounded(inside * 1000.0)


# -- the grid of a timeframe, in wall time ----------------------------------


def _span(timeframe: int) -> int:
    """Return the length of a bar in milliseconds; of a month the longest."""
    if timeframe == mt5.TIMEFRAME_MN1:
        return 31 * DAY_MS
    if timeframe == mt5.TIMEFRAME_W1:
        return 7 * DAY_MS
    return (timeframe & 0x3FFF) * (HOUR_MS if timeframe & 0x4000 else MINUTE_MS)


def bar_opens(wall_msc: npt.NDArray[np.int64], timeframe: int) -> npt.NDArray[np.int64]:
    """Return for each wall time the one at which its bar opened, in a new array."""
    if timeframe == mt5.TIMEFRAME_MN1:
        months = wall_msc.astype("datetime64[ms]").astype("datetime64[M]")
        return months.astype("datetime64[ms]").astype(np.int64)
    length = _span(timeframe)
    shift = _WEEK_SHIFT if timeframe == mt5.TIMEFRAME_W1 else 0
    opened: npt.NDArray[np.int64] = (wall_msc + shift) // length * length - shift
    return opened


def _bar_begin(wall_msc: int, timeframe: int) -> int:
    return int(bar_opens(np.array([wall_msc], dtype=np.int64), timeframe)[0])


def _bar_end(wall_msc: int, timeframe: int) -> int:
    """Return the wall time at which the bar of a moment ends and the next one may open."""
    begin = _bar_begin(wall_msc, timeframe)
    if timeframe == mt5.TIMEFRAME_MN1:
        return _bar_begin(begin + 31 * DAY_MS, timeframe)
    return begin + _span(timeframe)


# -- ticks -------------------------------------------------------------------


def ticks_from(
    market: Market,
    symbol: str,
    date_from: float,
    count: int,
    flags: int,
    at_msc: int,
    zone: BrokerZone,
) -> Rows:
    """Return the first `count` ticks at or after a date."""
    since = zone.to_utc_msc(_millis(date_from, ceil))
    return _rows(market, symbol, since, at_msc, flags, zone, count)


def ticks_range(
    market: Market,
    symbol: str,
    date_from: float,
    date_to: float,
    flags: int,
    at_msc: int,
    zone: BrokerZone,
) -> Rows:
    """Return the ticks between two dates, both included."""
    since = zone.to_utc_msc(_millis(date_from, ceil))
    until = min(at_msc, zone.to_utc_msc(_millis(date_to, floor)))
    return _rows(market, symbol, since, until, flags, zone, None)


def _rows(
    market: Market,
    symbol: str,
    since: int,
    until: int,
    flags: int,
    zone: BrokerZone,
    count: int | None,
) -> Rows:
    """Return ticks of [since, until] as the package's rows, those of a kind, at most `count`."""
    if until < since:
        return np.zeros(0, dtype=TICKS)
    ticks = market.ticks(symbol, since - 1, until)
    size = len(ticks.time_msc)
    # A change is one against the tick before, so that one is looked at too, if there is any.
    changed = np.full(size, QUOTE_FLAGS, dtype=np.uint32)
    if ticks.trades is not None:
        changed = ticks.trades.flags
    elif size:
        changed[1:] = (np.diff(ticks.bid) != 0) * 2 + (np.diff(ticks.ask) != 0) * 4
        before = market.price(symbol, int(ticks.time_msc[0]) - 1)
        if before is not None:
            changed[0] = (ticks.bid[0] != before.bid) * 2 + (ticks.ask[0] != before.ask) * 4
        changed[changed == 0] = QUOTE_FLAGS  # a quote that was only said again
    chosen: Any = slice(None)
    if flags in (COPY_TICKS_INFO, COPY_TICKS_TRADE):
        wanted = QUOTE_FLAGS if flags == COPY_TICKS_INFO else TRADE_FLAGS
        chosen = np.flatnonzero(changed & wanted)
    chosen = chosen[:count] if not isinstance(chosen, slice) else slice(None, count)
    wall = zone.to_wall_array(ticks.time_msc[chosen])
    out = np.zeros(len(wall), dtype=TICKS)
    out["time"] = wall // 1000
    out["time_msc"] = wall
    out["bid"] = ticks.bid[chosen]
    out["ask"] = ticks.ask[chosen]
    out["flags"] = changed[chosen]
    if ticks.trades is not None:
        out["last"] = ticks.trades.last[chosen]
        out["volume"] = ticks.trades.volume[chosen]
        out["volume_real"] = ticks.trades.volume[chosen]
    return out


# -- the day, for SymbolInfo -------------------------------------------------


class Day(NamedTuple):
    """The day of the newest quote. Prices; times in UTC milliseconds."""

    begin_msc: int  # 00:00 of the wall
    open: float  # first bid
    bid_high: float
    bid_low: float
    ask_high: float
    ask_low: float
    last_high: float  # of the day's trades; 0 without any
    last_low: float
    ticks: int
    volume: float  # of trades
    before: float  # last bid of the day before; 0 if there is none

    @property
    def change(self) -> float:
        """The first bid's change against the day before, as a part of it."""
        return 0.0 if not self.before else self.open / self.before - 1.0


def day_of(market: Market, symbol: str, at_msc: int, zone: BrokerZone) -> Day | None:
    """Return the day of the newest quote, up to a time; None if it has no tick.

    On a weekend that is Friday: a day begins with its first quote.
    """
    price = market.price(symbol, at_msc)
    if price is None:
        return None
    wall = zone.to_wall_msc(price.time_msc)
    begin = zone.to_utc_msc(wall // DAY_MS * DAY_MS)
    day = market.ticks(symbol, begin - 1, at_msc)
    if not len(day.time_msc):
        return None  # a quote whose tick is no longer kept
    before = market.price(symbol, begin - 1)
    last, volume = np.zeros(0), np.zeros(0)
    if day.trades is not None:
        # What a quote repeats may be a trade of the day before.
        last, volume = day.trades.last[day.trades.made], day.trades.volume[day.trades.made]
    return Day(
        begin_msc=begin,
        open=float(day.bid[0]),
        bid_high=float(day.bid.max()),
        bid_low=float(day.bid.min()),
        ask_high=float(day.ask.max()),
        ask_low=float(day.ask.min()),
        last_high=float(last.max()) if len(last) else 0.0,
        last_low=float(last.min()) if len(last) else 0.0,
        ticks=len(day.time_msc),
        volume=float(volume.sum()),
        before=0.0 if before is None else before.bid,
    )
