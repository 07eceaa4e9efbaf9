"""A hosted terminal against the same one in the process: cost per call, start, death."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from benchmarks.books import POSITIONS, START, block, in_the_process, write_books
from benchmarks.measure import Options, percentile, spread
from benchmarks.report import Table, microseconds, milliseconds
from terminals.sim.terminal import SimulatedTerminal
from terminals.worker.hosted import WorkerTerminal
from terminals.worker.office import SimulatedWorker
from terminals.worker.plan import simulated_plan

TICK_TARGET: Final = 100e-6  # seconds, median
ROWS_TARGET: Final = 1e-3


def run(options: Options) -> list[Table]:
    """Measure calls by turns, a block here and a block there, so that a busy machine hits both."""
    state = options.folder / "broker.json"
    write_books(state)
    write_books(options.folder / "here.json")
    here = in_the_process(options.folder / "here.json")
    there = SimulatedWorker(simulated_plan(start=START, speed=0.0, step=0.001, state=state))
    try:
        began = time.perf_counter()
        there.start()
        _connect(there)
        first = time.perf_counter() - began
        return [
            _calls(here, there, options),
            _lives(there, first, rounds=options.size(quick=2, full=10)),
        ]
    finally:
        there.close()
        here.close()


def _calls(here: SimulatedTerminal, there: WorkerTerminal, options: Options) -> Table:
    table = Table(
        "A call, hosted and in the process",
        (
            "call",
            "in the process p50",
            "hosted p50",
            "hosted p99",
            "the worker adds",
            "hosted/here",
        ),
    )
    calls: list[tuple[str, Callable[[Any], Any], int, float | None]] = [
        ("a tick", lambda t: t.symbol_info_tick("EURUSD"), 1000, TICK_TARGET),
        ("the account", lambda t: t.account_info(), 20, None),
        ("the switches", lambda t: t.terminal_info(), 1000, None),
        ("one position", lambda t: t.positions_get(ticket=1_000_005), 200, None),
        (f"{POSITIONS:,} positions", lambda t: t.positions_get(), 20, None),
        (f"{POSITIONS:,} deals", lambda t: t.history_deals_get(0, 4e9), 20, ROWS_TARGET),
        ("a stop moved to where it is", _same_stop, 20, None),
    ]
    blocks = options.size(quick=2, full=11)
    for name, call, size, target in calls:
        mine: list[float] = []
        other: list[float] = []
        added: list[float] = []
        ratios: list[float] = []
        block(call, here, size)
        block(call, there, size)
        for _ in range(blocks):
            a, b = block(call, here, size), block(call, there, size)
            mine += a
            other += b
            added.append(percentile(b, 0.5) - percentile(a, 0.5))
            ratios.append(percentile(b, 0.5) / percentile(a, 0.5))
        table.add(
            name,
            microseconds(percentile(mine, 0.5)),
            microseconds(percentile(other, 0.5)),
            microseconds(percentile(other, 0.99)),
            microseconds(spread(added).middle),
            f"{spread(ratios).middle:.1f} ({spread(ratios).least:.1f}-{spread(ratios).most:.1f})",
        )
        if target is not None:
            judged = spread(added).middle if size == 20 else percentile(other, 0.5)
            what = "added by the worker" if size == 20 else "hosted"
            verdict = "reached" if judged < target else "NOT reached"
            table.notes.append(f"{name}: to reach {microseconds(target)} {what}, p50: {verdict}")
    table.notes.append(
        "The simulated terminal values all positions for each look, which a real one does not; "
        "deals have the fields of positions, but for one, and are just read."
    )
    return table


def _same_stop(terminal: Any) -> Any:
    return terminal.order_check({"action": 6, "position": 1_000_000, "symbol": "EURUSD"})


def _lives(terminal: WorkerTerminal, first: float, rounds: int) -> Table:
    """Kill the worker, and measure until it is connected again."""
    table = Table("A worker's life", ("what", "p50", "most"))
    table.add("start to connected, the first", milliseconds(first), milliseconds(first))
    noticed, back = [], []
    for _ in range(rounds):
        began = time.perf_counter()
        terminal.abort()  # one that died by itself would wait a little before the next
        while terminal.pid is not None:
            time.sleep(0.0005)
        noticed.append(time.perf_counter() - began)
        began = time.perf_counter()
        _connect(terminal)
        back.append(time.perf_counter() - began)
    for name, found in (("killed to noticed and reaped", noticed), ("to connected again", back)):
        table.add(name, milliseconds(percentile(found, 0.5)), milliseconds(max(found)))
    return table


def _connect(terminal: WorkerTerminal) -> None:
    while not terminal.initialize():
        time.sleep(0.005)
