"""The child: makes the terminal that it was told to host."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from defence.errors import Invalid
from terminals.protocol import Terminal
from terminals.sim.faults import Fault, FaultScript, fault_from
from terminals.worker.goods import FAULTS
from terminals.worker.plan import NATIVE, SIMULATED, plain_fault

Note: TypeAlias = Callable[[str, Any], None]


def build(kind: str, options: Mapping[str, Any], note: Note) -> Terminal:
    """Return the terminal, not connected. Raises what its constructor raises.

    `note(name, value)` tells the guard's side something that no call asked for.
    """
    if kind == NATIVE:
        from terminals.native import NativeTerminal  # only when chosen

        return NativeTerminal(**options)
    if kind == SIMULATED:
        return _simulated(dict(options), note)
    raise Invalid(f"{kind!r} cannot be hosted", field="terminal", value=kind)


def _simulated(options: dict[str, Any], note: Note) -> Terminal:
    # Late: a worker of the native package needs none of it.
    from terminals.sim.generated import GeneratedMarket
    from terminals.sim.market import Market, RecordedMarket
    from terminals.sim.terminal import SimulatedTerminal

    files, seed, start = (options.pop(name) for name in ("prices", "seed", "start"))
    market: Market
    if files:
        market = RecordedMarket.load([Path(one) for one in files])
    else:
        market = GeneratedMarket(seed=seed, start=start)
    faults = [fault_from(one) for one in options.pop("faults")]
    state = options.pop("state")
    return SimulatedTerminal(
        market=market,
        now=time.time,
        state=None if state is None else Path(state),
        faults=NotedScript(faults, note),
        hang=_hang,
        **options,
    )


class NotedScript(FaultScript):
    """A script that tells what is left of it before a fault shows.

    A fault may be what ends this process. Whoever takes its place must not
    begin the script anew, or a terminal that hangs once would hang for ever.
    """

    def __init__(self, faults: Sequence[Fault], note: Note) -> None:
        """Start with some faults."""
        super().__init__(faults)
        self._note = note

    def add(self, fault: Fault) -> None:
        """Add a fault; told at once."""
        super().add(fault)
        self._tell()

    def clear(self) -> None:
        """Forget all faults; told at once."""
        super().clear()
        self._tell()

    def due(self, call: str) -> list[Fault]:
        """Count a call; tell before anything of it is felt."""
        touched = self.watches(call)
        shown = super().due(call)
        if touched:
            self._tell()
        return shown

    def _tell(self) -> None:
        self._note(FAULTS, [plain_fault(one) for one in self.left()])


def _hang(seconds: float | None) -> None:
    """Hang as a real terminal does: nothing but the end of the process releases it."""
    if seconds is not None:
        time.sleep(seconds)
        return
    while True:
        time.sleep(3600.0)
