"""The bridge against the same functions in this process, and against mt5linux's own client."""

from __future__ import annotations

import gc
import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, TypeAlias

from benchmarks.books import in_the_process, write_books
from benchmarks.measure import Options, percentile, spread
from benchmarks.report import Table, microseconds
from terminals.bridge.place import Place
from terminals.bridge.terminal import BridgeTerminal
from terminals.module import module_functions

ROOT: Final = Path(__file__).resolve().parents[1]
_COMES_UP: Final = 30.0  # seconds
Call: TypeAlias = Callable[[Any], Any]

# What the server imports as MetaTrader5: the same broker as here, from the same books.
_PACKAGE: Final = """
from benchmarks.bridge import broker
globals().update(vars(broker({books!r})))
__version__ = "simulated"
"""


def run(options: Options) -> list[Table]:
    """Measure by turns, a block with each, so that a busy machine hits all of them."""
    if importlib.util.find_spec("mt5linux") is None:
        table = Table("A call over the bridge", ("call",))
        table.notes.append("not measured: pip install mt5linux==1.0.11 (the extra `bridge`)")
        return [table]
    table = Table(
        "A call over the bridge, to an mt5linux server on this machine",
        ("call", "in the process p50", "bridge p50", "bridge p99", "mt5linux's client p50"),
    )
    for positions in (1, options.size(quick=20, full=1_000)):
        folder = options.folder / str(positions)
        folder.mkdir()
        with _server(folder, positions) as (here, there, client):
            names = _CALLS if positions == 1 else (_POSITIONS, _DEALS)
            for name, call, read in names:
                contenders = ((here, call), (there, call), (client, _reading(call, read)))
                _row(table, name.format(positions), contenders, options)
    table.notes.append(
        "mt5linux's client is measured until the values are here: it returns references, and "
        "each attribute that is read is a call of its own. Of many positions it reads ten."
    )
    table.notes.append(
        "The simulated broker's own work is in every column. Nothing here has met a network."
    )
    return [table]


def broker(books: str) -> SimpleNamespace:
    """Return the package's functions over a simulated terminal with these books, connected."""
    return SimpleNamespace(**module_functions(in_the_process(Path(books))))


def _reading(call: Call, read: Call) -> Call:
    return lambda terminal: read(call(terminal))


def _account(answer: Any) -> Any:
    return answer.login, answer.server, answer.equity


def _tick(answer: Any) -> Any:
    return answer.bid, answer.ask, answer.time


def _rows(answer: Any) -> Any:
    return [(row.ticket, row.symbol, row.volume, row.profit) for row in answer[:10]]


_POSITIONS: Final[tuple[str, Call, Call]] = ("{:,} position(s)", lambda t: t.positions_get(), _rows)
_DEALS: Final[tuple[str, Call, Call]] = (
    "the deals of {:,}",
    lambda t: t.history_deals_get(0, 4e9),
    _rows,
)
_CALLS: Final[tuple[tuple[str, Call, Call], ...]] = (
    ("a tick", lambda t: t.symbol_info_tick("EURUSD"), _tick),
    ("the account", lambda t: t.account_info(), _account),
    _POSITIONS,
)


def _row(
    table: Table,
    name: str,
    contenders: Sequence[tuple[Any, Call]],
    options: Options,
) -> None:
    found: list[list[float]] = [[], [], []]
    medians: list[list[float]] = [[], [], []]
    for terminal, call in contenders:
        call(terminal)  # to warm up
    for _ in range(options.size(quick=1, full=5)):
        for nth, (terminal, call) in enumerate(contenders):
            took = _block(call, terminal, seconds=0.05 if options.quick else 0.3)
            found[nth] += took
            medians[nth].append(percentile(took, 0.5))
    mine, bridge, theirs = (spread(one).middle for one in medians)
    table.add(
        name,
        microseconds(mine),
        f"{microseconds(bridge)} (+{microseconds(bridge - mine)})",
        microseconds(percentile(found[1], 0.99)),
        f"{microseconds(theirs)} ({theirs / bridge:.1f} times the bridge)",
    )


def _block(call: Call, terminal: Any, seconds: float) -> list[float]:
    gc.collect()
    took: list[float] = []
    end = time.perf_counter() + seconds
    while len(took) < 200 and (len(took) < 3 or time.perf_counter() < end):
        began = time.perf_counter()
        answer = call(terminal)
        took.append(time.perf_counter() - began)
        assert answer is not None
    return took


@contextmanager
def _server(folder: Path, positions: int) -> Iterator[tuple[Any, BridgeTerminal, Any]]:
    """Start a server; yield the functions here, the bridge, and mt5linux's client."""
    import mt5linux

    books = (folder / "here.json", folder / "there.json")
    for path in books:
        write_books(path, positions)
    (folder / "MetaTrader5.py").write_text(_PACKAGE.format(books=str(books[1])))
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = int(found.getsockname()[1])
    process = subprocess.Popen(
        [sys.executable, "-m", "mt5linux", "--host", "127.0.0.1", "-p", str(port), "-q"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT)))},
        cwd=folder,
        stderr=subprocess.DEVNULL,
    )
    terminal = BridgeTerminal(Place(port=port), call_timeout=_COMES_UP)
    try:
        end = time.monotonic() + _COMES_UP
        while not terminal.initialize():
            assert time.monotonic() < end, terminal.last_error()
            time.sleep(0.05)
        yield broker(str(books[0])), terminal, mt5linux.MetaTrader5("127.0.0.1", port)
    finally:
        terminal.close()
        process.kill()
        process.wait()
