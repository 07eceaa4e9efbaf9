"""A simulated broker with many positions, for the benchmarks that cross a process border."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from terminals.sim.generated import GeneratedMarket
from terminals.sim.terminal import SimulatedTerminal

START: Final = 1_700_000_000.0  # market time, seconds
POSITIONS: Final = 1_000
FIRST: Final = 1_000_000  # ticket
SYMBOLS: Final = ("EURUSD", "GBPUSD", "USDJPY", "XAUUSD")


def write_books(path: Path, positions: int = POSITIONS) -> None:
    """Write a state file with so many positions, and money for them."""
    rows = [
        {
            "ticket": FIRST + nth,
            "identifier": FIRST + nth,
            "symbol": SYMBOLS[nth % len(SYMBOLS)],
            "volume": 0.01,
            "comment": f"position {nth}",
        }
        for nth in range(positions)
    ]
    path.write_text(json.dumps({"account": {"balance": 1e9}, "positions": rows}))


def in_the_process(state: Path) -> SimulatedTerminal:
    """Return a connected terminal on such a file, whose market moves only when it is looked at."""
    terminal = SimulatedTerminal(
        market=GeneratedMarket(1, START), now=lambda: START, speed=0.0, step=0.001, state=state
    )
    terminal.initialize()
    return terminal


def block(call: Callable[[Any], Any], terminal: Any, size: int) -> list[float]:
    """Return how long each of `size` calls took, in seconds; each must have an answer."""
    gc.collect()
    took = []
    for _ in range(size):
        began = time.perf_counter()
        answer = call(terminal)
        took.append(time.perf_counter() - began)
        assert answer is not None
    return took
