"""Reading one file of recorded prices: bars or quote ticks, plain or compressed.

Formats, told by the header: bars (`timestamp,open,high,low,close` and any
more columns, `Time,Open,High,Low,Close,Volume`), quote ticks
(`timestamp,bid,ask`, and of an exchange `last`, `volume` and `flags`), and
MetaTrader 5's own exports of bars and of ticks (`<DATE>`, `<TIME>`, tab
separated, also UTF-16). Times without a zone are
taken as UTC. What is malformed is refused with file, line and column; nothing
is skipped, because a hole in the prices would be a stop that never triggers.
"""

from __future__ import annotations

import datetime as dt
import gzip
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Final, NoReturn

from defence.errors import Invalid
from terminals.sim.symbols import known_symbol

_GZIP: Final = b"\x1f\x8b"
_SIDE: Final = re.compile(r"(?:^|[-_. ])(bid|ask)(?=[-_. ]|$)", re.IGNORECASE)
_ACCEPTED: Final = (
    "accepted are bars (timestamp, open, high, low, close), quote ticks (timestamp, bid, ask) "
    "and MetaTrader 5's exports of bars or ticks, comma, semicolon or tab separated"
)


@dataclass(slots=True)
class PriceFile:
    """One file's rows, in columns. Bars fill `bars`, quote ticks fill `bid` and `ask`."""

    path: Path
    symbol: str
    side: str | None  # "bid", "ask" or None, from the file's name
    digits: int = 0
    time_msc: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)  # line in the file, for messages
    bars: list[tuple[float, float, float, float]] = field(default_factory=list)  # o, h, l, c
    spread: list[float] = field(default_factory=list)  # of bars, in points; may be empty
    bid: list[float] = field(default_factory=list)
    ask: list[float] = field(default_factory=list)
    # Of ticks, where the file has these columns; last is 0 before the first trade.
    last: list[float] = field(default_factory=list)
    volume: list[float] = field(default_factory=list)
    flags: list[int] = field(default_factory=list)  # 0 where the file does not say


def symbol_of(path: Path) -> str:
    """Return the symbol that a file's name begins with; raise Invalid if none can be told.

    `gbpusd-m1-bid.csv.gz` is GBPUSD; `GBPUSD.m_M1_2012.csv` is GBPUSD.m: a
    broker's suffix belongs to its symbol.
    """
    stem = re.sub(r"(\.(gz|csv|txt|tsv))+$", "", path.name, flags=re.IGNORECASE)
    token = re.split(r"[-_ ]", stem, maxsplit=1)[0]
    head, dot, suffix = token.partition(".")
    if known_symbol(head) is not None:
        return head.upper() + dot + suffix
    if re.fullmatch(r"#?[A-Z0-9]{2,16}(\.[A-Za-z0-9]+)?", token) and not token.isdigit():
        return token
    raise Invalid(
        f"{path}: cannot tell the symbol from the file's name",
        field="prices",
        value=path.name,
        remedy="begin the name with the symbol, as in gbpusd-m1-bid.csv or EURUSD_M1.csv",
    )


def side_of(path: Path) -> str | None:
    """Return "bid" or "ask" if the file's name says so."""
    found = _SIDE.search(path.name)
    return None if found is None else found.group(1).lower()


def read_price_file(path: Path) -> PriceFile:
    """Read one file. Raises Invalid naming file, line and column of what is wrong."""
    rows = _text(path).splitlines()  # first: a mistyped path should be told as one
    out = PriceFile(path=path, symbol=symbol_of(path), side=side_of(path))
    head = next((i for i, row in enumerate(rows) if row.strip()), None)
    if head is None:
        _refuse(path, None, "the file is empty", "give a file with prices")
    separator = next((mark for mark in "\t;," if mark in rows[head]), ",")
    names = [cell.strip().strip('"<>').lower() for cell in rows[head].split(separator)]
    bars = {"open", "high", "low", "close"} <= set(names)
    if not bars and not {"bid", "ask"} <= set(names):
        _refuse(path, head + 1, f"unknown header {rows[head].strip()[:80]!r}", _ACCEPTED)
    reader = _Rows(out, names, separator, rows, head + 1)
    if bars:
        reader.read_bars()
    else:
        reader.read_ticks()
    if not out.time_msc:
        _refuse(path, None, "the file has a header but no prices", "give a file with prices")
    return out


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        _refuse(path, None, f"cannot be read: {reason}", "check the path", cause=error)
    if raw.startswith(_GZIP):
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            _refuse(path, None, f"damaged gzip data: {error}", "copy the file anew", cause=error)
    encoding = "utf-16" if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        _refuse(path, None, f"is not {encoding} text", "export it as text (CSV)", cause=error)


def _refuse(
    path: Path,
    line: int | None,
    what: str,
    remedy: str,
    *,
    value: object = None,
    cause: BaseException | None = None,
) -> NoReturn:
    place = f"{path}" if line is None else f"{path}, line {line}"
    raise Invalid(
        f"{place}: {what}" if line is None or not what.startswith("column") else f"{place}, {what}",
        field="prices",
        value=value,
        remedy=remedy,
    ) from cause


class _Rows:
    """The rows of one file while they are read."""

    def __init__(
        self, out: PriceFile, names: Sequence[str], separator: str, rows: Sequence[str], first: int
    ) -> None:
        self._out = out
        self._names = names
        self._separator = separator
        self._rows = rows
        self._first = first
        self._date = names.index("date") if "date" in names else None
        clocks = [n for n in ("timestamp", "datetime", "time", "gmt time") if n in names]
        self._time = names.index(clocks[0]) if clocks else None
        if self._date is None and self._time is None:
            _refuse(out.path, first, "the header has no time column", _ACCEPTED)

    def read_bars(self) -> None:
        """Fill `bars`, and `spread` if there is such a column."""
        out = self._out
        at = [self._names.index(name) for name in ("open", "high", "low", "close")]
        i_open, i_high, i_low, i_close = at
        i_spread = self._names.index("spread") if "spread" in self._names else None
        before = -1
        for number, cells in self._cells():
            try:
                o, h = float(cells[i_open]), float(cells[i_high])
                low, c = float(cells[i_low]), float(cells[i_close])
                spread = 0.0 if i_spread is None else float(cells[i_spread])
            except ValueError:
                self._explain(number, cells, [*at, *([] if i_spread is None else [i_spread])])
            # One chained comparison: it is false for NaN as well.
            if not (0.0 < low <= o <= h < inf and low <= c <= h and 0.0 <= spread < inf):
                self._explain_bar(number, cells, at, i_spread)
            moment = self._moment(number, cells)
            if moment <= before:
                self._backwards(number, cells, "repeats or goes back in time")
            before = moment
            out.time_msc.append(moment)
            out.lines.append(number)
            out.bars.append((o, h, low, c))
            if i_spread is not None:
                out.spread.append(spread)
        self._digits(at)

    def read_ticks(self) -> None:
        """Fill `bid` and `ask`; an empty cell means the side has not changed."""
        out = self._out
        i_bid, i_ask = self._names.index("bid"), self._names.index("ask")
        traded = [n in self._names for n in ("last", "volume", "flags")]
        bid = ask = last = 0.0
        before = -1
        for number, cells in self._cells():
            try:
                bid = float(cells[i_bid]) if cells[i_bid].strip() else bid
                ask = float(cells[i_ask]) if cells[i_ask].strip() else ask
            except ValueError:
                self._explain(number, cells, [i_bid, i_ask])
            moment = self._moment(number, cells)
            if moment < before:
                self._backwards(number, cells, "goes back in time")
            before = moment
            if not (0.0 < bid <= ask < inf):
                empty = [i for i in (i_bid, i_ask) if not cells[i].strip()]
                if 0.0 in (bid, ask) and len(empty) == 1:
                    continue  # an export may begin with one side only; a quote needs both
                self._explain_tick(number, cells, i_bid, i_ask, bid, ask)
            out.time_msc.append(moment)
            out.lines.append(number)
            out.bid.append(bid)
            out.ask.append(ask)
            if traded[0]:
                last = self._amount(number, cells, "last") or last
                out.last.append(last)
                out.volume.append(self._amount(number, cells, "volume") if traded[1] else 0.0)
                out.flags.append(int(self._amount(number, cells, "flags")) if traded[2] else 0)
        self._digits([i_bid, i_ask])

    def _amount(self, number: int, cells: Sequence[str], name: str) -> float:
        """Return a number that is not below 0; an empty cell is 0."""
        index = self._names.index(name)
        text = cells[index].strip()
        try:
            value = float(text) if text else 0.0
        except ValueError:
            value = -1.0
        if not 0.0 <= value < inf or (name == "flags" and value >= 1 << 32):
            self._column(number, cells, index, f"is no {name}")
        return value

    def _cells(self) -> list[tuple[int, list[str]]]:
        """Split all rows; blank lines are passed over, a wrong number of columns is refused."""
        wanted = len(self._names)
        split = []
        for number, row in enumerate(self._rows[self._first :], self._first + 1):
            if not row or row.isspace():
                continue
            cells = row.split(self._separator)
            if len(cells) != wanted:
                missing = f", {self._names[len(cells)]} is missing" if len(cells) < wanted else ""
                _refuse(
                    self._out.path,
                    number,
                    f"{len(cells)} columns where the header has {wanted}{missing}",
                    "mend or remove the line",
                    value=row[:80],
                )
            if "_" in row:  # Python would read 1_6 as 16
                index = next(i for i, cell in enumerate(cells) if "_" in cell)
                self._column(number, cells, index, "is not a price")
            split.append((number, cells))
        return split

    def _moment(self, number: int, cells: Sequence[str]) -> int:
        """Return the row's time in milliseconds."""
        if self._date is None:
            text = cells[self._time or 0].strip().strip('"')
        elif self._time is None:
            text = cells[self._date].strip()
        else:
            text = f"{cells[self._date].strip()} {cells[self._time].strip()}"
        if text[2:3] == "." and text[5:6] == ".":  # 01.01.2017 22:00
            text = f"{text[6:10]}-{text[3:5]}-{text[0:2]}{text[10:]}"
        elif text[4:5] == ".":  # 2012.02.01 00:00
            text = f"{text[0:4]}-{text[5:7]}-{text[8:10]}{text[10:]}"
        try:
            moment = dt.datetime.fromisoformat(text)
        except ValueError:
            column = self._time if self._time is not None else self._date
            self._column(number, cells, column or 0, "is not a time")
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=dt.UTC)
        return round(moment.timestamp() * 1000.0)

    def _backwards(self, number: int, cells: Sequence[str], what: str) -> NoReturn:
        column = self._time if self._time is not None else self._date
        self._column(number, cells, column or 0, what)

    def _column(self, number: int, cells: Sequence[str], index: int, what: str) -> NoReturn:
        text = cells[index].strip()
        _refuse(
            self._out.path,
            number,
            f"column {index + 1} ({self._names[index]}): {text[:40]!r} {what}",
            "mend or remove the line",
            value=text,
        )

    def _explain(self, number: int, cells: Sequence[str], columns: Sequence[int]) -> NoReturn:
        """Name the first of the columns that is no positive, finite number."""
        for index in columns:
            try:
                value = float(cells[index])
            except ValueError:
                value = -1.0
            if not 0.0 < value < inf:
                noun = "spread" if self._names[index] == "spread" else "price"
                self._column(number, cells, index, f"is not a {noun}")
        _refuse(self._out.path, number, "cannot be read", "mend or remove the line")

    def _explain_bar(
        self, number: int, cells: Sequence[str], at: Sequence[int], spread: int | None
    ) -> NoReturn:
        values = [float(cells[index]) for index in at]
        if all(0.0 < value < inf for value in values):
            _, h, low, _ = values
            if h < low:
                self._column(number, cells, at[1], f"is a high below the low {low}")
            for index, name in ((0, "open"), (3, "close")):
                if not low <= values[index] <= h:
                    what = f"is {'an' if name == 'open' else 'a'} {name} outside low and high"
                    self._column(number, cells, at[index], what)
            if spread is not None:
                self._column(number, cells, spread, "is not a spread")
        self._explain(number, cells, at)

    def _explain_tick(
        self, number: int, cells: Sequence[str], i_bid: int, i_ask: int, bid: float, ask: float
    ) -> NoReturn:
        if 0.0 < ask < bid < inf:
            self._column(number, cells, i_bid, f"is a bid above the ask {ask}")
        self._explain(number, cells, [i_bid, i_ask])

    def _digits(self, columns: Sequence[int]) -> None:
        """Note how many decimals the first prices have."""
        sample = self._rows[self._first : self._first + 400]
        for row in sample:
            cells = row.split(self._separator)
            for index in columns:
                if index < len(cells):
                    decimals = len(cells[index].strip().partition(".")[2])
                    self._out.digits = max(self._out.digits, min(decimals, 8))
