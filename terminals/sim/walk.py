"""The walk of one generated symbol: ticks in chunks, each from its own random stream.

Under ideal conditions a plain walk, one tick about every second, with
volatility in clusters. With sessions the rest of a market's habits come in:
trends and ranges by turns, hours that are busy or quiet, spreads that widen
around the rollover, no ticks while it is closed and a gap where it opens.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from terminals.sim.history import QUOTE_FLAGS, History
from terminals.sim.past import MINUTES_MS, Past
from terminals.sim.quotes import Cursor, Millis, Prices, Ticks, Trades, carried
from terminals.sim.sessions import DAY_MINUTES, MINUTE_MS, Hours
from terminals.sim.symbols import SymbolSpec
from terminals.sim.zone import DAY_MS, BrokerZone

CHUNK: Final = 900  # seconds, and ticks while it is open: 15 minutes
CHUNK_MS: Final = CHUNK * 1000
MINUTE: Final = 60
HISTORY_CHUNKS: Final = 96  # a day of open market before the start, so that there are bars
KEEP_TICKS: Final = 86_400  # how much of the past is kept while playing: a day
PERSISTENCE: Final = 0.985  # of a minute's log volatility: clusters last about an hour
JOLT: Final = 0.06  # a minute's surprise in log volatility

SHIFT_ODDS: Final = 1.0 / 12.0  # that a trend or a range ends with a chunk: three hours on average
TREND: Final = 0.02  # a strong trend's move a second, in parts of a second's usual move
PULL: Final = math.exp(-1.0 / 1800.0)  # of a range: what is left of a distance after a second
GAP: Final = 0.25  # a gap, in parts of what an open market would move in that time
ROLLOVER: Final = 4.0  # by how much the spread widens at midnight, at most
ROLLOVER_MINUTES: Final = 10.0  # how long that lasts, before and after
# How much a currency moves by the hour of the wall (New York + 7): Tokyo, London, New York.
_NIGHT: Final = [0.4, 0.5, 0.7, 0.8, 0.7, 0.6, 0.6, 0.6, 0.7, 0.9, 1.3, 1.2]
_DAY: Final = [1.0, 0.9, 1.0, 1.5, 1.6, 1.5, 1.2, 0.9, 0.8, 0.7, 0.6, 0.4]
_BY_HOUR: Final = np.array(_NIGHT + _DAY)
BY_HOUR: Final = _BY_HOUR / math.sqrt(float((_BY_HOUR**2).mean()))


class _Chunk(NamedTuple):
    """Times, log prices, how wide the spread is (1 is typical); signed volumes of trades."""

    time_msc: Millis
    log: Prices
    wide: Prices
    traded: Prices | None


class Walk:
    """The ticks of one symbol, made as far as they are asked for."""

    def __init__(
        self,
        spec: SymbolSpec,
        seed: int,
        start_msc: int,
        anchor: float,
        volatility: float,
        *,
        zone: BrokerZone,
        hours: Hours,
        lively: bool,
    ) -> None:
        """Make the day before the start, so that it ends at the anchor, a mid price.

        `lively` has trends, ranges, busy hours and rollovers; without, it is a plain walk.
        """
        self._spec = spec
        self._zone = zone
        self._lively = lively
        self._hours = hours
        # The start is part of it: a market taken up again does not repeat its first moves.
        self._entropy = (seed & 0xFFFF_FFFF_FFFF_FFFF, start_msc, zlib.crc32(spec.name.encode()))
        self._daily = spec.daily_volatility * volatility
        self._per_second = self._daily / math.sqrt(86_400.0)
        self._log_volatility = 0.0
        self._log_price = 0.0
        self._drift = 0.0  # of a trend, in log price a second
        self._middle: float | None = None  # of a range, a log price
        self._last = self._lots = 0.0  # price and volume of the last trade
        self._chunk = 0
        chunks = self._chunks_before(start_msc)
        self._next_msc = start_msc - chunks * CHUNK_MS
        made = [self._make() for _ in range(chunks)]
        # The past is walked first and then moved, so that it ends at the anchor.
        shift = math.log(anchor) - self._log_price
        self._log_price = math.log(anchor)
        self._middle = None if self._middle is None else self._middle + shift
        self._room = _room(2 * CHUNK * HISTORY_CHUNKS, trades=spec.exchange)
        self._size = 0
        self._cursor = Cursor(self._room.cut(0, 0))
        self._append([one._replace(log=one.log + shift) for one in made if one is not None])
        self._history: History | None = None
        self._seen_msc = start_msc  # ticks from before may go

    def upto(self, at_msc: int) -> Cursor:
        """Return all kept ticks, having made those up to a time at least."""
        while self._next_msc <= at_msc:
            made: list[_Chunk] = []
            while self._next_msc <= at_msc and len(made) < HISTORY_CHUNKS:
                chunk = self._make()
                if chunk is not None:
                    made.append(chunk)
            self._append(made)
            self.forget(self._seen_msc)  # after a leap, day by day: never all of it at once
        return self._cursor

    def forget(self, before_msc: int) -> None:
        """Let go of old ticks, rarely and many at a time; the newest day of them stays.

        What is older and not made yet is let go of as it is made; its bars stay.
        """
        self._seen_msc = before_msc
        old = self._cursor.count(before_msc) - KEEP_TICKS
        if old <= KEEP_TICKS:
            return
        data = self._cursor.data
        self._remembered().let_go(data.cut(0, old))
        kept = data.cut(old, len(data.time_msc))
        self._room = _room(2 * len(kept.time_msc), trades=self._spec.exchange)
        self._size = 0
        self._put(kept)

    def history(self, upto_msc: int) -> History:
        """Return the bars of all that is over by a moment."""
        found = self._remembered()
        found.follow(self.upto(upto_msc), upto_msc)
        return found

    def _remembered(self) -> History:
        """Return the bars so far; the past is made when it is first needed, before ticks go."""
        if self._history is None:
            self._history = History(self._spec.point, minutes_ms=MINUTES_MS)
            past = Past(self._spec, self._hours, self._zone, self._entropy)
            data = self._cursor.data
            # at the symbol's own pace: a demonstration's haste is for what is played
            usual = self._spec.daily_volatility
            first = past.make(data.time_msc.item(0), data.bid.item(0), usual)
            self._history.begin(*first)
        return self._history

    # -- ticks -------------------------------------------------------------

    def _chunks_before(self, start_msc: int) -> int:
        """Return how many chunks go back to a day of open market."""
        chunks = opened = 0
        while opened < HISTORY_CHUNKS:
            chunks += 1
            wall = self._zone.to_wall_msc(start_msc - chunks * CHUNK_MS)
            opened += self._hours.whole(wall, wall + CHUNK_MS) is not False
        return chunks

    def _make(self) -> _Chunk | None:
        """Make the next chunk; None while the market is closed."""
        begin = self._next_msc
        number = self._chunk
        self._chunk += 1
        self._next_msc += CHUNK_MS
        wall = self._zone.to_wall_msc(begin)
        whole = self._hours.whole(wall, wall + CHUNK_MS)
        if whole is False:
            return None
        random = np.random.default_rng((*self._entropy, number))
        relative = self._relative(random)
        moves = random.standard_normal(CHUNK) * relative * self._per_second
        times = begin + np.arange(CHUNK, dtype=np.int64) * 1000 + random.integers(0, 800, CHUNK)
        wide = 0.6 + 0.4 * relative + random.exponential(0.15, CHUNK)
        if not self._lively:
            path = self._log_price + np.cumsum(moves)
            self._log_price = float(path[-1])
            return _Chunk(times, path, wide, self._trades(random))
        busy, wider = self._habits(wall)
        walls = self._zone.to_wall_array(times)
        inside = self._hours.mask(walls)
        path = self._lively_path(random, moves * busy * inside, inside, walls, wall)
        chunk = _Chunk(times, path, wide * wider, self._trades(random))
        if whole:
            return chunk
        traded = None if chunk.traded is None else chunk.traded[inside]
        return _Chunk(times[inside], path[inside], chunk.wide[inside], traded)

    def _relative(self, random: np.random.Generator) -> Prices:
        """Return each second's volatility against the usual one."""
        minutes = np.empty(CHUNK // MINUTE)
        jolts = random.standard_normal(len(minutes)) * JOLT
        for index, jolt in enumerate(jolts):
            self._log_volatility = PERSISTENCE * self._log_volatility + float(jolt)
            minutes[index] = self._log_volatility
        return np.exp(np.repeat(minutes, MINUTE))

    def _habits(self, wall_msc: int) -> tuple[Prices, Prices]:
        """Return how busy each second is, and how wide its spread, by the wall's time."""
        minutes = (wall_msc // MINUTE_MS + np.arange(CHUNK // MINUTE)) % DAY_MINUTES
        if self._hours.always:  # a market without closing time has no rollover to fear
            return np.ones(CHUNK), np.ones(CHUNK)
        near = np.minimum(minutes, DAY_MINUTES - minutes)
        wider = 1.0 + ROLLOVER * np.exp(-near / ROLLOVER_MINUTES)
        return np.repeat(BY_HOUR[minutes // 60], MINUTE), np.repeat(wider, MINUTE)

    def _lively_path(
        self,
        random: np.random.Generator,
        moves: Prices,
        inside: npt.NDArray[np.bool_],
        walls: Millis,
        wall: int,
    ) -> Prices:
        """Walk through a chunk in a trend or a range, with gaps where the market opens."""
        jumps = np.zeros(CHUNK + 1)
        for opening in self._hours.openings(wall, wall + CHUNK_MS):
            own = np.random.default_rng((*self._entropy, opening.wall_msc, 1))
            size = GAP * self._daily * math.sqrt(opening.closed_ms / DAY_MS)
            place = int(np.searchsorted(walls, opening.wall_msc))
            jumps[place] += size * float(own.standard_t(3)) / math.sqrt(3.0)
        if random.random() < SHIFT_ODDS:
            kind, strength = random.random(), random.random()
            self._middle = self._log_price if kind < 0.5 else None
            sign = 1.0 if kind < 0.75 else -1.0
            self._drift = 0.0 if kind < 0.5 else sign * strength * TREND * self._per_second
        gaps = np.cumsum(jumps)
        if self._middle is None:
            path = self._log_price + np.cumsum(moves + self._drift * inside) + gaps[:-1]
            self._log_price = float(path[-1] + jumps[-1])
            return path
        # x[n] = pull * x[n-1] + move[n], for all n at once.
        fading = PULL ** np.arange(1, CHUNK + 1)
        away = fading * (self._log_price - self._middle + np.cumsum(moves / fading))
        path = self._middle + away + gaps[:-1]
        self._middle += float(gaps[-1])
        self._log_price = self._middle + float(away[-1])
        return path

    def _trades(self, random: np.random.Generator) -> Prices | None:
        """Return each tick's trade: lots bought (or sold, below 0); 0 for a quote alone."""
        if not self._spec.exchange:
            return None
        lots = random.geometric(0.4, CHUNK) * random.choice((-1.0, 1.0), CHUNK)
        traded: Prices = np.where(random.random(CHUNK) < 0.4, lots, 0.0)
        return traded

    # -- keeping -----------------------------------------------------------

    def _append(self, chunks: Sequence[_Chunk]) -> None:
        """Turn log prices into bid and ask on the symbol's grid; the bid carries the walk."""
        if not chunks:
            return
        spec = self._spec
        times = np.concatenate([one.time_msc for one in chunks])
        middle = np.exp(np.concatenate([one.log for one in chunks]))
        wide = np.concatenate([one.wide for one in chunks])
        points = np.maximum(1.0, np.round(wide * spec.typical_spread))
        bid = np.round(middle - points * spec.point / 2.0, spec.digits)
        if self._lively:
            bid = np.maximum(bid, spec.point)
        ask = np.round(bid + points * spec.point, spec.digits)
        traded = [one.traded for one in chunks if one.traded is not None]
        trades = self._told(bid, ask, np.concatenate(traded)) if traded else None
        self._put(Ticks(times, bid, ask, trades))

    def _told(self, bid: Prices, ask: Prices, traded: Prices) -> Trades:
        """Return what the exchange reports: sellers meet the bid, buyers the ask."""
        at, made = np.flatnonzero(traded), traded != 0.0
        last = carried(np.where(traded > 0.0, ask, bid), made, self._last or bid[:1])
        volume = carried(np.abs(traded), made, self._lots)
        if len(at):
            self._last, self._lots = last.item(-1), volume.item(-1)
        data, size = self._cursor.data, self._size
        before = (data.bid[-1:], data.ask[-1:]) if size else (bid[:1] - 1, ask[:1] - 1)
        flags = (np.diff(bid, prepend=before[0]) != 0) * np.uint32(2)
        flags |= (np.diff(ask, prepend=before[1]) != 0) * np.uint32(4)
        flags[at] |= np.where(traded[at] > 0.0, 8 | 16 | 32, 8 | 16 | 64).astype(np.uint32)
        flags[flags == 0] = QUOTE_FLAGS  # a quote that was only said again
        return Trades(last, volume, flags)

    def _put(self, new: Ticks) -> None:
        """Add ticks behind the others. What was given out stays as it was."""
        begin, end = self._size, self._size + len(new.time_msc)
        if end > len(self._room.time_msc):
            old = self._room.cut(0, begin)
            self._room = _room(2 * end, trades=self._spec.exchange)
            _copy(old, self._room, 0)
        _copy(new, self._room, begin)
        self._size = end
        self._cursor.feed(self._room.cut(0, end))


def _room(size: int, *, trades: bool) -> Ticks:
    told = Trades(np.empty(size), np.empty(size), np.empty(size, np.uint32)) if trades else None
    return Ticks(np.empty(size, np.int64), np.empty(size), np.empty(size), told)


def _copy(source: Ticks, target: Ticks, at: int) -> None:
    end = at + len(source.time_msc)
    target.time_msc[at:end] = source.time_msc
    target.bid[at:end] = source.bid
    target.ask[at:end] = source.ask
    if source.trades is not None and target.trades is not None:
        target.trades.last[at:end] = source.trades.last
        target.trades.volume[at:end] = source.trades.volume
        target.trades.flags[at:end] = source.trades.flags
