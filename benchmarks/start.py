"""From start to ready with many stored trades, split by the stages of the event stream.

In this process: `guard.start()` to ready, at a terminal that answers from
memory. As a process: from before Python itself is started to ready, with the
simulated terminal and its positions from a file, as `python run.py` has it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from actors.events import Event, Kind
from benchmarks.measure import Options, spread
from benchmarks.report import Table, milliseconds
from benchmarks.rig import QuickTerminal, settings, terminal
from defence.broker import Direction
from defence.trade import Standing, TradeRecord, TradeState
from storage.folder import DataFolder, open_stores
from storage.trades import Batch
from supervisors import Guard
from terminals.structs import TradePosition

WITHIN: Final = 300.0  # seconds
HERE: Final = Path(__file__).resolve().parent.parent
_TOLD: Final = (Kind.STAGE, Kind.READY, Kind.RECONCILED, Kind.CYCLE, Kind.GUARD_READY)


def run(options: Options) -> list[Table]:
    """Measure; a table for each way."""
    count = options.size(quick=50, full=10_000)
    rounds = options.size(quick=1, full=5)
    folder, state = options.folder, options.folder / "positions.json"
    rows = write_state(state, count)
    with Guard(settings(folder), terminal=terminal(state)):
        pass  # it binds the folder to the account
    store_trades(folder, rows)
    _here(folder, terminal(state))  # each trade gets its first result, once
    here = [_here(folder, terminal(state)) for _ in range(rounds)]
    process = [_process(folder, state) for _ in range(rounds)]
    return [
        _table(f"guard.start() to ready, {count:,} stored trades, {rounds} rounds", here),
        _table(f"process start to ready, {count:,} stored trades, {rounds} rounds", process),
    ]


def store_trades(folder: Path, rows: tuple[TradePosition, ...]) -> None:
    """Store a trade for each position, as a guard that ran before would have."""
    stores = open_stores(DataFolder(folder / "data"), time.time())
    try:
        records = [_record(row) for row in rows]
        for first in range(0, len(records), 1000):
            stores.trades.commit(Batch(trades=records[first : first + 1000]))
    finally:
        stores.close()


def _record(row: TradePosition) -> TradeRecord:
    now = time.time()
    return TradeRecord(
        identifier=row.identifier,
        ticket=row.ticket,
        symbol=row.symbol,
        direction=Direction.BUY,
        volume=row.volume,
        entry_price=row.price_open,
        stop_loss=row.sl,
        take_profit=None,
        magic=row.magic,
        managed_by="bench",
        standing=Standing.GUARDED,
        state=TradeState.HEALTHY,
        registered_at=now,
        updated_at=now,
        created_by=f"bench:{row.ticket}",
        initial_volume=row.volume,
        initial_stop=row.sl,
        initial_stop_fixed=True,
        commission_per_lot=0.0,  # its history was read when it was registered
    )


def write_state(path: Path, count: int) -> tuple[TradePosition, ...]:
    """Write the simulated broker's state with so many positions; return their rows."""
    at = terminal()
    at.initialize()
    at.open_many(count)
    account, rows = at.account_info(), at.positions_get()
    if account is None or not rows:
        raise RuntimeError(f"the terminal does not answer: {at.last_error()}")
    kept = {"login": account.login, "server": account.server, "balance": account.balance}
    content = {"account": kept, "positions": [row._asdict() for row in rows]}
    path.write_text(json.dumps(content), encoding="utf-8")
    return rows


def _here(folder: Path, at: QuickTerminal) -> dict[str, float]:
    guard = Guard(settings(folder), terminal=at)
    began = time.time()
    try:
        guard.start()
        return _stages(began, guard.events.since())
    finally:
        guard.stop()


def _process(folder: Path, state: Path) -> dict[str, float]:
    began = time.time()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.start", str(folder), str(state)],
        capture_output=True,
        text=True,
        timeout=WITHIN,
        check=False,
        cwd=HERE,
    )
    if done.returncode:
        raise RuntimeError(f"the guard's process failed: {done.stderr}")
    found: Mapping[str, float] = json.loads(done.stdout)
    return {name: at - began for name, at in found.items()}


def _stages(began: float, events: list[Event]) -> dict[str, float]:
    """Return when each stage was reached, seconds after `began`; the first time of each."""
    found: dict[str, float] = {}
    for event in events:
        if event.kind in _TOLD:
            found.setdefault(_name(event), event.at - began)
    return found


def _name(event: Event) -> str:
    if event.kind is Kind.STAGE:
        return str(event.facts.get("stage"))
    return event.kind.value if event.child is None else f"{event.child} {event.kind.value}"


def _table(title: str, rounds: list[dict[str, float]]) -> Table:
    table = Table(title, ("stage", "reached after", "least to most", "step"))
    before = 0.0
    names = [name for name in rounds[0] if all(name in one for one in rounds)]
    for name in sorted(names, key=lambda name: spread(one[name] for one in rounds).middle):
        middle, least, most = spread(one[name] for one in rounds)
        between = f"{milliseconds(least)} to {milliseconds(most)}"
        table.add(name, milliseconds(middle), between, milliseconds(middle - before))
        before = middle
    table.notes.append("to reach: ready in under 1.5 s, preflight included")
    return table


def _child(folder: Path, state: Path) -> dict[str, Any]:
    """Start a guard in this process, with the simulated terminal that users have."""
    imported = time.time()
    guard = Guard(settings(folder, sim_state=state, quote_stale_after=1e9))
    try:
        guard.start()
        return {"imports": imported, **_stages(0.0, guard.events.since())}
    finally:
        guard.stop()


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_child(Path(sys.argv[1]), Path(sys.argv[2]))))
