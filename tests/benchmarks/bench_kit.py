"""Guards at a terminal that remembers how it was asked for positions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from actors.points import Points
from actors.runtime import Runtime
from actors.simulated import SimulatedRuntime
from actors.threads import ThreadRuntime
from supervisors import Guard, Settings
from terminals.sim.generated import GeneratedMarket
from terminals.sim.terminal import SimulatedTerminal
from terminals.structs import TradePosition


class Asked(SimulatedTerminal):
    """Notes each `positions_get`: the ticket, or None for all; may spoil single positions."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.asked: list[int | None] = []
        self.spoiled: dict[int, dict[str, Any]] = {}

    def positions_get(self, *unnamed: object, **filters: Any) -> tuple[TradePosition, ...] | None:
        self.asked.append(filters.get("ticket"))
        rows = super().positions_get(*unnamed, **filters)
        if rows is None:
            return None
        return tuple(
            TradePosition(**{**row._asdict(), **self.spoiled.get(row.ticket, {})}) for row in rows
        )

    def open(self, count: int) -> list[int]:
        return [self.open_position("EURUSD", "BUY", 0.01, sl=1.0) for _ in range(count)]


class Rig:
    """One guard that leaves positions alone until they are registered, and its terminal."""

    def __init__(self, folder: Path, *, threads: bool, seed: int = 0, **changes: Any) -> None:
        self.points = Points()
        self.runtime: Runtime = ThreadRuntime() if threads else SimulatedRuntime(seed)
        options: dict[str, Any] = {}
        if isinstance(self.runtime, SimulatedRuntime):
            options["hang"] = self.runtime.hang
        self.terminal = Asked(
            market=GeneratedMarket(seed=1, start=1_700_000_000.0),
            now=self.runtime.clock.wall,
            speed=0.0,
            step=0.001,
            demo=False,
            **options,
        )
        self.terminal.deposit(1e6)
        values: dict[str, Any] = {
            "data_dir": folder / "data",
            "state_dir": folder / "state",
            "adoption": "ignore",
            "interval": 3600.0,
            "stale_after": 86_400.0,
            "reconcile_every": 86_400.0,
            "backoff_first": 0.01,
            "check_every": 0.05 if threads else 1.0,
            "quote_stale_after": 1e9,
            "port": 0,
            "rate_limit": 0.0,
            **changes,
        }
        self.guard = Guard(
            Settings(**values), runtime=self.runtime, terminal=self.terminal, points=self.points
        )

    def start(self) -> Rig:
        self.guard.start()
        self.terminal.asked.clear()
        self.terminal.calls.clear()
        return self

    def balanced(self) -> None:
        for name, counts in self.guard.counts().items():
            assert counts.balanced, (name, counts)
