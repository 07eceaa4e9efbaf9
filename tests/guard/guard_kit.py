"""What tests of a whole guard need: make one, move its market, look at its events."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from actors.events import Event, Kind
from actors.points import Points
from actors.runtime import Runtime
from actors.simulated import SimulatedRuntime
from supervisors import Guard, Settings
from terminals.sim.generated import GeneratedMarket
from terminals.sim.terminal import SimulatedTerminal


def still_terminal(runtime: Runtime, **options: Any) -> SimulatedTerminal:
    """Return a terminal whose market moves only by `set_price` and `advance`."""
    if isinstance(runtime, SimulatedRuntime):
        options.setdefault("hang", runtime.hang)
    options.setdefault("demo", False)
    # Speed 0 with a tiny step: time moves by a millisecond a read, prices practically not.
    return SimulatedTerminal(
        market=GeneratedMarket(seed=1, start=1_700_000_000.0),
        now=runtime.clock.wall,
        speed=0.0,
        step=0.001,
        **options,
    )


class GuardKit:
    """Makes guards on one runtime and stops them all."""

    def __init__(self, folder: Path, runtime: type[Any]) -> None:
        self.folder = folder
        self.make_runtime = runtime
        self.guards: list[Guard] = []
        self.terminal: SimulatedTerminal
        self.runtime: Runtime

    def make(
        self,
        *,
        terminal: SimulatedTerminal | None = None,
        terminal_options: dict[str, Any] | None = None,
        seed: int = 0,
        runtime: Runtime | None = None,
        points: Points | None = None,
        **settings: Any,
    ) -> Guard:
        """Return a guard that has not been started."""
        simulated = self.make_runtime is SimulatedRuntime
        self.runtime = runtime or (SimulatedRuntime(seed) if simulated else self.make_runtime())
        self.terminal = terminal or still_terminal(self.runtime, **(terminal_options or {}))
        settings.setdefault("data_dir", self.folder / "data")
        settings.setdefault("state_dir", self.folder / "state")
        settings.setdefault("interval", 0.05 if not simulated else 30.0)
        settings.setdefault("check_every", 0.05 if not simulated else 1.0)
        settings.setdefault("backoff_first", 0.01 if not simulated else 1.0)
        settings.setdefault("chaos", True)
        # The market stands still between two `set_price`: its last price stays good.
        settings.setdefault("quote_stale_after", 1e9)
        guard = Guard(
            Settings(**settings), runtime=self.runtime, terminal=self.terminal, points=points
        )
        self.guards.append(guard)
        return guard

    def start(self, **options: Any) -> Guard:
        """Return a guard that is ready."""
        return self.make(**options).start()

    def next_process(self, terminal_options: dict[str, Any], **settings: Any) -> Guard:
        """Return a guard as after a restart of the process: new runtime, time goes on."""
        wall = self.runtime.clock.wall()
        runtime = self.make_runtime()
        if isinstance(runtime, SimulatedRuntime):
            runtime.clock.jump_wall(wall + 60.0 - runtime.clock.wall())
        return self.make(runtime=runtime, terminal_options=terminal_options, **settings)

    def until(self, condition: Callable[[], bool], timeout: float = 10.0) -> None:
        """Wait until a condition holds; fail if it does not."""
        assert self.runtime.wait_until(condition, timeout), "it did not come to that in time"

    def stop_all(self) -> None:
        """Stop every guard."""
        for guard in self.guards:
            guard.stop()


def kinds(guard: Guard, *wanted: Kind, child: str | None = None) -> list[Event]:
    """Return the events of some kinds, oldest first."""
    return [
        event
        for event in guard.events.since()
        if event.kind in wanted and (child is None or event.child == child)
    ]
