"""Recorded prices: from files to one series of quotes a symbol.

Bars become four quotes: open, the extreme that comes first in a plausible
path (the low in a rising bar, the high in a falling one), the other extreme,
close. They stand at 0, 1/4, 2/4 and 3/4 of the bar; a bar's time is its
beginning. Where only one side was recorded, the other stands off by the
symbol's typical spread. In bars of bid and ask the two highs (or lows) need
not be of the same moment, so single crossed values are normal: there the ask
is lifted to the bid, and the count is kept as a note.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from defence.errors import Invalid
from terminals.sim.price_files import PriceFile, read_price_file
from terminals.sim.symbols import SymbolSpec, spec_for

GROSS: Final = 0.01  # bid above ask by more than this part of the price is no rounding matter


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Quotes of one symbol, oldest first; three arrays of one length, at least one long."""

    symbol: str
    spec: SymbolSpec
    time_msc: npt.NDArray[np.int64]
    bid: npt.NDArray[np.float64]
    ask: npt.NDArray[np.float64]
    bar_ms: int = 0  # length of the bars it was made of; 0 for ticks
    # Of ticks of an exchange: last price, volume and TICK_FLAG_*; all three or none.
    last: npt.NDArray[np.float64] | None = None
    volume: npt.NDArray[np.float64] | None = None
    flags: npt.NDArray[np.uint32] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Bars:
    """Bars of one side as arrays, and where each row stands, for messages."""

    time_msc: npt.NDArray[np.int64]
    ohlc: npt.NDArray[np.float64]  # one row a bar
    places: tuple[tuple[Path, int], ...]
    spread: npt.NDArray[np.float64] | None  # in price units


def load_prices(paths: Sequence[Path]) -> dict[str, Series]:
    """Read recorded prices, several symbols and files mixed as they come.

    Two bar files of a symbol are a pair if their names say bid and ask, or,
    if neither does, in the order given. Files of one side follow each other
    in time. Raises Invalid naming the file and what to do.
    """
    if not paths:
        raise Invalid("no recorded prices", field="prices", remedy="name at least one file")
    by_symbol: dict[str, list[PriceFile]] = defaultdict(list)
    for path in paths:
        one = read_price_file(path)
        by_symbol[one.symbol].append(one)
    return {symbol: _series(symbol, files) for symbol, files in by_symbol.items()}


def _series(symbol: str, files: Sequence[PriceFile]) -> Series:
    ticks = [one for one in files if one.bid]
    bars = [one for one in files if one.bars]
    if ticks and bars:
        raise Invalid(
            f"{symbol}: {ticks[0].path} holds ticks and {bars[0].path} holds bars",
            field="prices",
            remedy="play one kind at a time for a symbol",
        )
    digits = max(one.digits for one in files)
    return _from_ticks(symbol, digits, ticks) if ticks else _from_bars(symbol, digits, bars)


def _from_ticks(symbol: str, digits: int, files: Sequence[PriceFile]) -> Series:
    ordered = _in_time(files)
    bid = np.concatenate([np.array(one.bid, dtype=np.float64) for one in ordered])
    ask = np.concatenate([np.array(one.ask, dtype=np.float64) for one in ordered])
    last, volume, flags = _trades(ordered, bid, ask)
    return Series(
        symbol=symbol,
        spec=spec_for(symbol, digits=digits, price=float(bid[0])),
        time_msc=np.concatenate([np.array(one.time_msc, dtype=np.int64) for one in ordered]),
        bid=bid,
        ask=ask,
        last=last,
        volume=volume,
        flags=flags,
    )


def _trades(
    files: Sequence[PriceFile], bid: npt.NDArray[np.float64], ask: npt.NDArray[np.float64]
) -> tuple[
    npt.NDArray[np.float64] | None, npt.NDArray[np.float64] | None, npt.NDArray[np.uint32] | None
]:
    """Return last prices, volumes and flags, if there was any trade; what no file says, told."""
    if not any(any(one.last) for one in files):
        return None, None, None
    lasts, volumes, flags = (
        np.concatenate([getattr(one, name) or [0] * len(one.bid) for one in files])
        for name in ("last", "volume", "flags")
    )
    last = lasts.astype(np.float64)
    volume = volumes.astype(np.float64)
    traded = (volume > 0.0) | (np.diff(last, prepend=0.0) != 0.0)
    seen = (np.diff(bid, prepend=0.0) != 0.0) * 2 | (np.diff(ask, prepend=0.0) != 0.0) * 4
    told = np.where(flags > 0, flags, seen | traded * (8 | 16)).astype(np.uint32)
    return last, volume, told


def _in_time(files: Sequence[PriceFile]) -> list[PriceFile]:
    """Return the files in time order; raise Invalid where two of them overlap."""
    ordered = sorted(files, key=lambda one: one.time_msc[0])
    for one, after in pairwise(ordered):
        if after.time_msc[0] <= one.time_msc[-1]:
            raise Invalid(
                f"{after.path} overlaps {one.path} in time",
                field="prices",
                remedy="give each period once; a pair is told by bid and ask in the names",
            )
    return ordered


def _from_bars(symbol: str, digits: int, files: Sequence[PriceFile]) -> Series:
    bids, asks = _sides(files)
    spec = spec_for(symbol, digits=digits, price=(bids or asks)[0].bars[0][3])
    unit = float(f"1e-{digits}")
    bid = _bars(bids, unit) if bids else None
    ask = _bars(asks, unit) if asks else None
    notes: list[str] = []
    if bid is not None and ask is not None:
        times, low, high = _paired(symbol, bid, ask, notes)
    elif bid is not None:
        typical = np.full(len(bid.time_msc), spec.typical_spread * spec.point)
        spread = typical if bid.spread is None else bid.spread
        times, low, high = bid.time_msc, bid.ohlc, bid.ohlc + spread[:, None]
        if bid.spread is None:
            notes.append(f"{symbol}: ask made up, {spec.typical_spread} points above bid")
    else:
        assert ask is not None  # noqa: S101 - there is at least one file
        times, high = ask.time_msc, ask.ohlc
        low = ask.ohlc - spec.typical_spread * spec.point
        notes.append(f"{symbol}: bid made up, {spec.typical_spread} points below ask")
    length = _bar_length(times)
    order = np.where(low[:, 3:] >= low[:, :1], [[0, 2, 1, 3]], [[0, 1, 2, 3]])
    # A bar that is followed sooner than usual is walked faster, so that time never goes back.
    lasting = np.minimum(np.diff(times, append=times[-1] + length), length)
    steps = np.arange(4, dtype=np.int64)[None, :] * (lasting[:, None] // 4)
    return Series(
        symbol=symbol,
        spec=spec,
        time_msc=(times[:, None] + steps).reshape(-1),
        bid=np.round(np.take_along_axis(low, order, axis=1).reshape(-1), spec.digits),
        ask=np.round(np.take_along_axis(high, order, axis=1).reshape(-1), spec.digits),
        bar_ms=length,
        notes=tuple(notes),
    )


def _sides(files: Sequence[PriceFile]) -> tuple[list[PriceFile], list[PriceFile]]:
    """Tell bid files from ask files: by name, else a pair in order, else all are bid."""
    bids = [one for one in files if one.side == "bid"]
    asks = [one for one in files if one.side == "ask"]
    plain = [one for one in files if one.side is None]
    if plain and (bids or asks):
        (asks if bids and not asks else bids).extend(plain)
        plain = []
    if len(plain) == 2 and _overlap(plain[0], plain[1]):
        return [plain[0]], [plain[1]]
    return bids + plain, asks


def _overlap(one: PriceFile, other: PriceFile) -> bool:
    return one.time_msc[0] <= other.time_msc[-1] and other.time_msc[0] <= one.time_msc[-1]


def _bars(files: Sequence[PriceFile], unit: float) -> _Bars:
    ordered = _in_time(files)
    spread = [value for one in ordered for value in one.spread]
    rows = [row for one in ordered for row in one.bars]
    return _Bars(
        np.array([moment for one in ordered for moment in one.time_msc], dtype=np.int64),
        np.array(rows, dtype=np.float64),
        tuple((one.path, line) for one in ordered for line in one.lines),
        np.array(spread, dtype=np.float64) * unit if len(spread) == len(rows) else None,
    )


def _paired(
    symbol: str, bid: _Bars, ask: _Bars, notes: list[str]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Join the sides on their times, and uncross what is crossed a little."""
    times, at_bid, at_ask = np.intersect1d(
        bid.time_msc, ask.time_msc, assume_unique=True, return_indices=True
    )
    files = f"{bid.places[0][0]} and {ask.places[0][0]}"
    lonely = len(bid.time_msc) + len(ask.time_msc) - 2 * len(times)
    if lonely > len(times):
        raise Invalid(
            f"{files} do not cover the same times ({len(times)} bars match, {lonely} do not)",
            field="prices",
            remedy="give the bid and the ask file of one period",
        )
    if lonely:
        notes.append(f"{symbol}: {lonely} bars left out that one side only has")
    low, high = bid.ohlc[at_bid], ask.ohlc[at_ask]
    crossed = high < low
    if np.count_nonzero(crossed[:, 3]) * 2 > len(times):
        raise Invalid(
            f"{files}: the ask is below the bid",
            field="prices",
            remedy="the two files seem to be exchanged: give bid first, or say it in the names",
        )
    gross = (low - high > GROSS * low).any(axis=1)
    if gross.any():
        path, line = ask.places[int(at_ask[int(np.argmax(gross))])]
        raise Invalid(
            f"{path}, line {line}: the ask is far below the bid of the same time",
            field="prices",
            remedy="mend or remove the line",
        )
    mended = int(np.count_nonzero(crossed.any(axis=1)))
    if mended:
        notes.append(f"{symbol}: {mended} bars with a bid above the ask, ask lifted to the bid")
    return times, low, np.maximum(low, high)


def _bar_length(times: npt.NDArray[np.int64]) -> int:
    """Return the most frequent distance of two bars in milliseconds; a minute for one bar."""
    if len(times) < 2:
        return 60_000
    distances, counts = np.unique(np.diff(times), return_counts=True)
    return int(distances[int(np.argmax(counts))])
