"""Registrations over HTTP: 64 keep-alive connections of another process, the rate limit off.

The single form sends one trade a request; the batch form many, which ride on
one look at the broker and one transaction.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.measure import Options, Round, percentile, spread
from benchmarks.report import Table, milliseconds, rate
from benchmarks.rig import QuickTerminal, guarding, terminal
from console.collector import calm
from gateway.server import serve
from supervisors import Guard

CONNECTIONS: Final = 64
BATCH: Final = 500  # the most that the gateway takes at a time
WITHIN: Final = 300.0  # seconds
HERE: Final = Path(__file__).resolve().parent.parent


def run(options: Options) -> list[Table]:
    """Measure; one table."""
    rounds = options.size(quick=1, full=5)
    singles = options.size(quick=64, full=3000)
    batches = options.size(quick=2, full=20)
    size = options.size(quick=50, full=BATCH)
    table = Table(
        f"HTTP: registrations a second, rate limit off, {rounds} interleaved rounds",
        ("form", "connections", "records/s", "least to most", "p50", "p99", "requests"),
    )
    at = terminal()
    # the collector as `run.py` sets it in a process of the guard's own
    with guarding(options.folder, at) as guard, serve(guard) as served, calm():
        found: dict[str, list[Round]] = {"single": [], f"batch of {size}": []}
        for _ in range(rounds):
            found["single"].append(
                _round(guard, at, served.host, served.port, singles, 1, CONNECTIONS)
            )
            found[f"batch of {size}"].append(
                _round(guard, at, served.host, served.port, batches * size, size, 2)
            )
    for (form, rounds_), connections in zip(found.items(), (CONNECTIONS, 2), strict=True):
        samples = [one for each in rounds_ for one in each.latencies]
        middle, least, most = spread(each.rate for each in rounds_)
        table.add(
            form,
            str(connections),
            rate(middle),
            f"{rate(least)} to {rate(most)}",
            milliseconds(percentile(samples, 0.5)),
            milliseconds(percentile(samples, 0.99)),
            f"{len(samples):,}",
        )
    times = spread(b.rate / a.rate for a, b in zip(*found.values(), strict=True))
    table.notes.append(
        f"batch / single: {times.middle:.1f} ({times.least:.1f}-{times.most:.1f}); "
        "the client's process runs on the same cores"
    )
    table.notes.append("to reach: single 1,000/s with p99 under 100 ms; batch 20,000/s")
    return [table]


def _round(
    guard: Guard,
    at: QuickTerminal,
    host: str,
    port: int,
    count: int,
    size: int,
    connections: int,
) -> Round:
    """Register `count` new positions, `size` a request."""
    tickets = at.open_many(count)
    at.positions_get()
    trades = [{"ticket": ticket, "managed_by": "bench", "magic": 0} for ticket in tickets]
    bodies: Sequence[object] = trades
    if size > 1:
        bodies = [{"trades": trades[nth : nth + size]} for nth in range(0, count, size)]
    asked = {
        "host": host,
        "port": port,
        "token": guard.token(),
        "connections": connections,
        "bodies": bodies,
    }
    # The token goes through a pipe: an argument can be read by everybody on the machine.
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.load"],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=WITHIN,
        check=False,
        cwd=HERE,
    )
    at.close_many(tickets)
    if done.returncode:
        raise RuntimeError(f"the client failed: {done.stderr}")
    found = json.loads(done.stdout)
    if found["statuses"] != {"200": len(bodies)}:
        raise RuntimeError(f"not all were registered: {found['statuses']}")
    return Round(found["took"], found["latencies"], count)
