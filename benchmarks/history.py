"""History at a million records against the same at a thousand: questions, commits, compaction.

Every question is asked of the store itself, where its cost arises; the guard
adds a message, and the gateway JSON. Both stores hold records of half a year,
as many archived trades as actions, four actions a ticket.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

from benchmarks.measure import Options, percentile
from benchmarks.report import Table, milliseconds
from defence.broker import Direction
from defence.history import Query
from defence.orders import Action
from defence.trade import Standing, TradeRecord, TradeState
from storage.compaction import STEP, Resume
from storage.layout import DATA_FILE
from storage.trades import Batch, TradeStore

SPAN: Final = 180 * 86_400.0  # seconds that the records reach over
NOW: Final = 1_760_000_000.0
CHUNK: Final = 10_000  # records a transaction while filling
SYMBOLS: Final = ("EURUSD", "GBPUSD", "USDJPY", "XAUUSD", "US500")
A_TICKET: Final = 4  # actions

_TRADE: Final = TradeRecord(
    identifier=1,
    ticket=1,
    symbol="EURUSD",
    direction=Direction.BUY,
    volume=0.1,
    entry_price=1.1,
    stop_loss=1.09,
    take_profit=1.12,
    magic=7,
    managed_by="bench",
    standing=Standing.CLOSED,
    state=TradeState.CLOSED,
    registered_at=0.0,
    updated_at=0.0,
    created_by="",
    initial_volume=0.1,
    initial_stop=1.09,
    result_r=0.5,
    closed_volume=0.1,
    close_reason="sl",
    close_price=1.105,
    close_profit=5.0,
)


class Filled:
    """A store with `size` actions and as many archived trades."""

    def __init__(self, folder: Path, size: int) -> None:
        self.size = size
        self.path = folder / f"trades-{size}"
        self.store = TradeStore.open(self.path)
        self.random = random.Random(size)
        began = time.perf_counter()
        for first in range(1, size + 1, CHUNK):
            numbers = range(first, min(first + CHUNK, size + 1))
            self.store.commit(
                Batch(
                    archived=[_trade(number, self.at(number)) for number in numbers],
                    actions=[_action(number, self.at(number)) for number in numbers],
                )
            )
        self.took = time.perf_counter() - began
        self.bytes = (self.path / DATA_FILE).stat().st_size
        self._next = size

    def at(self, number: int) -> float:
        """Return when a record happened: they are evenly spread."""
        return NOW - SPAN + SPAN * number / (self.size + 1)

    def any_ticket(self) -> int:
        """Return a ticket that has actions."""
        return self.random.randint(1, max(1, self.size // A_TICKET))

    def any_window(self, count: int = 100) -> Query:
        """Return a window of time with about `count` records."""
        width = SPAN * count / self.size
        since = NOW - SPAN + self.random.random() * (SPAN - width)
        return Query(since=since, until=since + width, limit=count)

    def commit(self) -> None:
        """Write what a registration writes."""
        self._next += 1
        number = 10**9 + self._next
        trade = replace(_trade(number, NOW), standing=Standing.GUARDED, closed_at=None)
        self.store.commit(Batch(trades=(trade,), actions=(_action(number * A_TICKET, NOW),)))


def _trade(number: int, at: float) -> TradeRecord:
    return replace(
        _TRADE,
        identifier=number,
        ticket=number,
        symbol=SYMBOLS[number % len(SYMBOLS)],
        registered_at=at - 3600.0,
        updated_at=at,
        closed_at=at,
        created_by=f"request-{number}",
    )


def _action(number: int, at: float) -> Action:
    ticket = -(-number // A_TICKET)
    return Action(
        id=f"action-{number}",
        at=at,
        identifier=ticket,
        ticket=ticket,
        symbol=SYMBOLS[ticket % len(SYMBOLS)],
        kind="manual_change",
        detail="stop loss 1.09 is now 1.095, take profit none is now none",
    )


def run(options: Options) -> list[Table]:
    """Measure; three tables."""
    sizes = (1_000, options.size(quick=5_000, full=1_000_000))
    repeats = options.size(quick=20, full=300)
    small, large = (Filled(options.folder, size) for size in sizes)
    empty = Filled(options.folder, 0)
    try:
        asked = _questions(small, large, repeats)
        commits = _commits(empty, small, large, repeats)
        steps = _steps(small, large, options.size(quick=4, full=40))
    finally:
        for one in (small, large, empty):
            one.store.close()
    for one in (small, large):
        each = one.bytes / max(1, one.size)
        asked.notes.append(
            f"{one.size:,} trades and as many actions: {one.bytes / 2**20:,.0f} MiB, "
            f"{each:,.0f} bytes a trade with its action; filled in {one.took:.0f} s"
        )
    return [asked, commits, steps]


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _questions(small: Filled, large: Filled, repeats: int) -> Table:
    def by_ticket(one: Filled) -> object:
        return one.store.find_actions(Query(ticket=one.any_ticket()))

    def by_time(one: Filled) -> object:
        return one.store.find_actions(one.any_window())

    def newest(one: Filled) -> object:
        return one.store.find_actions(Query(limit=100))

    def many(one: Filled) -> object:
        return one.store.find_actions(Query(limit=1000))

    def trade(one: Filled) -> object:
        return one.store.find_history(Query(ticket=one.any_ticket()))

    def trades(one: Filled) -> object:
        return one.store.find_history(one.any_window())

    rows = {
        "actions of a ticket (4)": by_ticket,
        "actions in a window of time (100)": by_time,
        "newest actions (100)": newest,
        "newest actions (1,000)": many,
        "archived trade of a ticket": trade,
        "archived trades in a window (100)": trades,
    }
    table = Table(
        f"Questions, {repeats} each, in turn",
        ("question", f"at {small.size:,}", f"at {large.size:,}", "p99", "ratio of medians"),
    )
    for name, ask in rows.items():
        few, more = [], []
        for _ in range(max(10, repeats // 10) if ask is many else repeats):
            few.append(_timed(lambda ask=ask: ask(small)))  # type: ignore[misc]
            more.append(_timed(lambda ask=ask: ask(large)))  # type: ignore[misc]
        _row(table, name, few, more)
    return table


def _row(table: Table, name: str, few: list[float], more: list[float]) -> None:
    one, other = percentile(few, 0.5), percentile(more, 0.5)
    table.add(
        name,
        milliseconds(one),
        milliseconds(other),
        milliseconds(percentile(more, 0.99)),
        f"{other / one:.2f}",
    )


def _commits(empty: Filled, small: Filled, large: Filled, repeats: int) -> Table:
    table = Table(
        f"One durable commit of a registration's records, {repeats} each, in turn",
        ("store", "p50", "p99", "ratio to empty"),
    )
    samples: dict[int, list[float]] = {one.size: [] for one in (empty, small, large)}
    for _ in range(repeats):
        for one in (empty, small, large):
            samples[one.size].append(_timed(one.commit))
    base = percentile(samples[0], 0.5)
    for size, found in samples.items():
        middle = percentile(found, 0.5)
        name = f"{size:,} records" if size else "empty"
        table.add(
            name,
            milliseconds(middle),
            milliseconds(percentile(found, 0.99)),
            f"{middle / base:.2f}",
        )
    return table


def _steps(small: Filled, large: Filled, count: int) -> Table:
    """Compact the older half; the small store is through after a few steps."""
    samples: dict[tuple[int, str], list[float]] = {}
    for one in (small, large):
        resume: Resume | None = Resume()
        # trades first; then, without waiting for the last of them, actions
        for _ in range(count):
            if resume is None or resume.db != Resume().db:
                break
            resume = _step(one, resume, "trades", samples)
        resume = Resume("actions")
        for _ in range(count):
            if resume is None:
                break
            resume = _step(one, resume, "actions", samples)
    table = Table(
        f"Compaction, a step of {STEP} records (one durable transaction)",
        ("step over", f"at {small.size:,}", f"at {large.size:,}", "p99", "ratio of medians"),
    )
    for what in ("trades", "actions"):
        _row(table, what, samples[small.size, what], samples[large.size, what])
    return table


def _step(
    one: Filled, resume: Resume, what: str, samples: dict[tuple[int, str], list[float]]
) -> Resume | None:
    found: list[Resume | None] = []

    def step() -> None:
        found.append(one.store.compact(NOW - SPAN / 2, resume).resume)

    samples.setdefault((one.size, what), []).append(_timed(step))
    return found[0]
