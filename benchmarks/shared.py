"""The shared broker against a terminal in the process: cost per call of its process border."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.books import POSITIONS, block, in_the_process, write_books
from benchmarks.measure import Options, percentile, spread
from benchmarks.report import Table, microseconds, milliseconds
from terminals.module import module_functions
from terminals.shared.address import read
from terminals.shared.module import PackageTerminal
from terminals.shared.remote import RemoteTerminal
from terminals.sim.terminal import SimulatedTerminal

ROOT: Final = Path(__file__).resolve().parents[1]
WAIT: Final = 60.0  # seconds for a broker to come up

Call = Callable[[Any], Any]


class _Functions:
    """The functions of the package as attributes."""

    def __init__(self, functions: dict[str, Any]) -> None:
        self.__dict__.update(functions)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def run(options: Options) -> list[Table]:
    """Measure calls by turns, a block here and a block there, so that a busy machine hits both."""
    for name in ("here.json", "there.json"):
        write_books(options.folder / name)
    here = in_the_process(options.folder / "here.json")
    file = options.folder / "broker.json"
    began = time.perf_counter()
    broker = _started(file, options.folder / "there.json")
    took = time.perf_counter() - began
    guard = RemoteTerminal(lambda: read(file))
    bots = [PackageTerminal({"DTMS_BROKER": str(file)}) for _ in range(2)]
    try:
        functions = [_Functions(module_functions(bot)) for bot in bots]
        if not guard.initialize() or not all(each.initialize() for each in functions):
            raise RuntimeError(f"no connection: {guard.last_error()}")
        return [
            _calls(here, guard, functions[0], options),
            _life(functions[1], took, rounds=options.size(quick=5, full=100)),
        ]
    finally:
        guard.close()
        for bot in bots:
            bot.shutdown()
        here.close()
        broker.terminate()
        broker.wait(WAIT)


def _started(file: Path, state: Path) -> subprocess.Popen[bytes]:
    """Start a broker whose market practically stands still, and wait for its file."""
    words = ["--broker", str(file), "--sim-state", str(state), "--speed", "0.000001"]
    broker = subprocess.Popen(
        [sys.executable, str(ROOT / "run.py"), "broker", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + WAIT
    while not file.exists():
        if broker.poll() is not None or time.monotonic() > end:
            raise RuntimeError("the broker did not come up")
        time.sleep(0.01)
    return broker


def _calls(here: SimulatedTerminal, guard: RemoteTerminal, bot: Any, options: Options) -> Table:
    table = Table(
        "A call, shared and in the process",
        ("call", "in the process p50", "a guard p50", "p99", "a bot p50", "p99", "a bot adds"),
    )
    calls: list[tuple[str, Call, int]] = [
        ("a tick", lambda t: t.symbol_info_tick("EURUSD"), 1000),
        ("the account", lambda t: t.account_info(), 20),
        ("one position", lambda t: t.positions_get(ticket=1_000_005), 200),
        (f"{POSITIONS:,} positions", lambda t: t.positions_get(), 20),
        (f"{POSITIONS:,} deals", lambda t: t.history_deals_get(0, 4e9), 20),
        ("1,000 bars", lambda t: t.copy_rates_from_pos("EURUSD", 1, 0, 1000), 20),
    ]
    blocks = options.size(quick=2, full=11)
    for name, call, size in calls:
        found: list[list[float]] = [[], [], []]
        added: list[float] = []
        for _ in range(blocks + 1):
            each = [block(call, one, size) for one in (here, guard, bot)]
            for all_of, these in zip(found, each, strict=True):
                all_of.extend(these)
            added.append(percentile(each[2], 0.5) - percentile(each[0], 0.5))
        mine, guards, bots = found
        table.add(
            name,
            microseconds(percentile(mine, 0.5)),
            microseconds(percentile(guards, 0.5)),
            microseconds(percentile(guards, 0.99)),
            microseconds(percentile(bots, 0.5)),
            microseconds(percentile(bots, 0.99)),
            microseconds(spread(added).middle),
        )
    table.notes.append(
        "The bot's calls pass through the module's own checks of arguments; the guard's do not. "
        "The broker's market runs by the clock, so its terminal looks for ticks at each call."
    )
    return table


def _life(bot: Any, took: float, rounds: int) -> Table:
    table = Table("A connection's life", ("what", "p50", "most"))
    table.add("the broker's process, to its file", milliseconds(took), milliseconds(took))
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        assert bot.initialize()
        found.append(time.perf_counter() - began)
    table.add("initialize", milliseconds(percentile(found, 0.5)), milliseconds(max(found)))
    return table
