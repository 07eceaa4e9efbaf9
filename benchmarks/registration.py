"""Durable registrations a second, in one process, against other ways to store a record.

Callers are threads; each sends its next registration when the last is
answered. A registration reads the broker, checks the trade, writes the record,
its line of history and their indexes, and is durable when it returns. The
others store one opaque record of the same number of bytes, and do nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from benchmarks.measure import (
    Contender,
    Options,
    Round,
    interleaved,
    percentile,
    ratios,
    spread,
    timed,
)
from benchmarks.report import Table, milliseconds, rate
from benchmarks.rig import Registering, guarding, terminal
from benchmarks.stores import GroupCommit, RawFsync, RawLmdb, Sqlite
from defence.trade import Trade
from storage.fields import action_fields, trade_fields
from storage.layout import ACTIONS, TRADES
from storage.records import encode
from supervisors import Guard

CALLERS: Final = (1, 8, 64)


def run(options: Options) -> list[Table]:
    """Measure; one table."""
    rounds = options.size(quick=1, full=7)
    at = terminal()
    with guarding(options.folder / "guard", at) as guard:
        (ticket,) = at.open_many(1)
        guard.register(Trade(ticket=ticket, managed_by="bench", magic=0))
        record = _record_of(guard, ticket)
        raw = RawLmdb(options.folder / "lmdb", record)
        sqlite = Sqlite(options.folder / "sqlite", record)
        fsync = RawFsync(options.folder / "fsync", record)
        group = GroupCommit(options.folder / "group", record)
        contenders: list[Contender] = [Registering(guard, at), raw, sqlite, fsync, group]
        table = Table(
            f"Registration: durable records a second, {rounds} interleaved rounds",
            ("callers", "way", "records/s", "least to most", "p50", "p99", "DTMS / this"),
        )
        try:
            for callers in CALLERS:
                # SQLite polls for its lock: with many callers it gets few, and a long time.
                counts = {
                    sqlite.name: options.size(quick=1, full=2 if callers == 64 else 20) * callers
                }
                full = {1: 300, 8: 60, 64: 25}[callers] * callers
                count = options.size(quick=2 * callers, full=full)
                found = interleaved(
                    contenders,
                    rounds,
                    lambda one, callers=callers, counts=counts, count=count: timed(  # type: ignore[misc]
                        one, callers, counts.get(one.name, count)
                    ),
                )
                _rows(table, callers, found, [one.name for one in contenders])
        finally:
            for contender in contenders:
                contender.close()
        table.notes.append(f"record: {len(record)} bytes; adoption off, no cycle while measuring")
        table.notes.append("to reach: 1 caller 0.85 of (a); 64 callers 4 times (a), 20 times (b)")
    return [table]


def _record_of(guard: Guard, ticket: int) -> bytes:
    """Return as many bytes as the values of one registration's records have."""
    trade, (action,) = guard.trade(ticket), guard.actions(1, ticket)
    return encode(TRADES, b"key", trade_fields(trade)) + encode(
        ACTIONS, b"key", action_fields(action)
    )


def _rows(table: Table, callers: int, found: dict[str, list[Round]], names: Sequence[str]) -> None:
    ours = found[names[0]]
    for name in names:
        samples = [one for round_ in found[name] for one in round_.latencies]
        middle, least, most = spread(round_.rate for round_ in found[name])
        times = ratios(ours, found[name])
        table.add(
            str(callers) if name == names[0] else "",
            name,
            rate(middle),
            f"{rate(least)} to {rate(most)}",
            milliseconds(percentile(samples, 0.5)),
            milliseconds(percentile(samples, 0.99)),
            "" if name == names[0] else f"{times.middle:.2f} ({times.least:.2f}-{times.most:.2f})",
        )
