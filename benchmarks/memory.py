"""Bytes a trade: the objects of the Registry's book, and what the process grows by.

The book is measured as it is after a start (read from the store) and as it is
after registrations; each object is counted once, however many records share
it. The process is one of its own that loads a store; what it grows by holds
the allocator's waste as well.
"""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import time
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import Final

from actors.book import Book
from benchmarks.measure import Options
from benchmarks.report import Table
from benchmarks.rig import settings, terminal
from benchmarks.start import HERE, WITHIN, store_trades, write_state
from defence.trade import Trade, TradeRecord
from storage.folder import DataFolder, open_stores
from supervisors import Guard

_SHARED: Final = (type, Enum, bool, type(None))  # one for all records, whoever made them


def run(options: Options) -> list[Table]:
    """Measure; one table."""
    count = options.size(quick=50, full=10_000)
    table = Table(f"Memory, {count:,} trades", ("what", "bytes a trade"))
    state = options.folder / "positions.json"
    rows = write_state(state, count)
    tickets = [row.ticket for row in rows]
    with Guard(settings(options.folder), terminal=terminal(state)) as guard:
        for first in range(0, count, 500):
            some = [Trade(ticket=one, managed_by="bench") for one in tickets[first : first + 500]]
            guard.register_many(some, timeout=60.0)
        registered = guard.trades(timeout=60.0)
    table.add("records as registered", f"{_bytes(registered) / count:,.0f}")
    store_trades(options.folder, rows)
    stores = open_stores(DataFolder(options.folder / "data"), time.time())
    try:
        trades, pending = stores.trades.load()
    finally:
        stores.close()
    book = Book(trades, pending)
    table.add("records as loaded", f"{_bytes(trades.values()) / count:,.0f}")
    index = sys.getsizeof(book.trades) + sum(map(sys.getsizeof, book.trades))
    table.add("the book's index", f"{index / count:,.0f}")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.memory", str(options.folder)],
        capture_output=True,
        text=True,
        timeout=WITHIN,
        check=False,
        cwd=HERE,
    )
    if done.returncode:
        raise RuntimeError(f"the loading process failed: {done.stderr}")
    growth = json.loads(done.stdout)
    shown = f"{growth / count:,.0f}" if growth else "unknown on this system"
    table.add("a process that loads them grows by", shown)
    table.notes.append("to reach: at most 1,500 bytes a trade")
    return [table]


def _bytes(records: Iterable[TradeRecord]) -> int:
    """Return the size of the records and all that they alone hold, each object once."""
    seen: set[int] = set()
    waiting: list[object] = list(records)
    total = 0
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, _SHARED):
            continue
        seen.add(id(one))
        total += sys.getsizeof(one)
        waiting.extend(gc.get_referents(one))
    return total


def _resident() -> int:
    """Return the resident bytes that are this process's own; 0 where the system does not say.

    The store's file is mapped too, but those pages are the system's cache: it
    takes them back when it needs them.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    found = (line.split()[1] for line in lines if line.startswith("RssAnon:"))
    return int(next(found, "0")) * 1024


def _growth(folder: Path) -> int:
    """Return by how many resident bytes this process grows when it loads the trades."""
    stores = open_stores(DataFolder(folder / "data"), time.time())
    try:
        gc.collect()
        before = _resident()
        trades, _ = stores.trades.load()
        gc.collect()
        after = _resident()
    finally:
        stores.close()
    if not trades:
        raise RuntimeError("there was nothing to load")
    return after - before


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_growth(Path(sys.argv[1]))))
