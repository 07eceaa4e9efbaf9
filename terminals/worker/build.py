"""The child: makes the terminal that it was told to host."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from defence.errors import Invalid
from terminals.protocol import Terminal
from terminals.sim.faults import Fault, fault_from, plain_fault
from terminals.sim.script import FaultScript
from terminals.worker.goods import FAULTS
from terminals.worker.plan import NATIVE, SIMULATED

Note: TypeAlias = Callable[[str, Any], None]
T = TypeVar("T")


def build(kind: str, options: Mapping[str, Any], note: Note) -> Terminal:
    """Return the terminal, not connected. Raises what its constructor raises.

    `note(name, value)` tells the guard's side something that no call asked for.
    """
    if kind == NATIVE:
        from terminals.native import NativeTerminal  # only when chosen

        return NativeTerminal(**options)
    if kind == SIMULATED:
        from terminals.sim.terminal import SimulatedTerminal  # a native one needs none of it

        return simulated(
            SimulatedTerminal, options, script=lambda faults: NotedScript(faults, note), hang=_hang
        )
    raise Invalid(f"{kind!r} cannot be hosted", field="terminal", value=kind)


def simulated(
    make: Callable[..., T],
    plan: Mapping[str, Any],
    *,
    now: Callable[[], float] = time.time,
    script: Callable[[Sequence[Fault]], FaultScript] = FaultScript,
    **more: Any,
) -> T:
    """Make a simulated terminal of the options of a `simulated_plan`, and `more` of its own.

    `now` gives seconds of the clock that the caller lives by.
    """
    from terminals.sim.conditions import conditions_named
    from terminals.sim.generated import GeneratedMarket
    from terminals.sim.market import Market, RecordedMarket

    options = dict(plan)
    files, seed, start = (options.pop(name) for name in ("prices", "seed", "start"))
    conditions = conditions_named(options.pop("conditions"), seed=seed)
    market: Market
    if files:
        market = RecordedMarket.load([Path(one) for one in files])
    else:
        market = GeneratedMarket.under(conditions, seed=seed, start=start)
    faults = [fault_from(one) for one in options.pop("faults")]
    state = options.pop("state")
    return make(
        market=market,
        now=now,
        state=None if state is None else Path(state),
        faults=script(faults),
        conditions=conditions,
        **options,
        **more,
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

    def changed(self) -> None:
        """Tell what is left, before anything of it is felt."""
        self._note(FAULTS, [plain_fault(one) for one in self.left()])


def _hang(seconds: float | None) -> None:
    """Hang as a real terminal does: nothing but the end of the process releases it."""
    if seconds is not None:
        time.sleep(seconds)
        return
    while True:
        time.sleep(3600.0)
