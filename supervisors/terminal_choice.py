"""Which terminal the settings ask for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from actors.runtime import Runtime
from actors.simulated import SimulatedRuntime
from defence.errors import TerminalRefused
from supervisors.settings import Settings
from terminals.protocol import Terminal

if TYPE_CHECKING:
    from terminals.market import Market


def make_terminal(settings: Settings, runtime: Runtime) -> Terminal:
    """Return the chosen terminal, not connected yet.

    Raises `Invalid` for bad price, state or fault files and `TerminalRefused`
    for a terminal that cannot be had on this machine.
    """
    if settings.terminal == "bridge":
        raise TerminalRefused(
            "the bridge to mt5linux is not there yet",
            field="terminal",
            value="bridge",
            remedy="use --terminal simulated, or --terminal native on Windows",
        )
    if settings.terminal == "native":
        return _native(settings)
    return _simulated(settings, runtime)


def _native(settings: Settings) -> Terminal:
    from terminals.native import NativeTerminal  # only when chosen

    return NativeTerminal(
        path=None if settings.terminal_path is None else str(settings.terminal_path),
        login=settings.login,
        password=None if settings.password is None else settings.password.get_secret_value(),
        server=settings.server,
        portable=settings.portable,
    )


def _simulated(settings: Settings, runtime: Runtime) -> Terminal:
    # Late: it loads numpy, which a command such as `status` does not need.
    from terminals.faults import load_faults
    from terminals.generated import GeneratedMarket
    from terminals.market import RecordedMarket
    from terminals.simulated import SimulatedTerminal

    market: Market
    if settings.prices:
        market = RecordedMarket.load(settings.prices)
    else:
        market = GeneratedMarket(seed=settings.seed, start=runtime.clock.wall())
    hang: Callable[[float | None], None] | None = None
    if isinstance(runtime, SimulatedRuntime):
        hang = runtime.hang  # the default would block the one thread there is
    return SimulatedTerminal(
        market=market,
        now=runtime.clock.wall,
        speed=settings.speed,
        step=settings.interval,
        hang=hang,
        state=settings.sim_state,
        faults=[] if settings.sim_faults is None else load_faults(settings.sim_faults),
        reload_state=settings.chaos,
        demo=True,
        login=settings.login,
        password=None if settings.password is None else settings.password.get_secret_value(),
        server=settings.server,
    )
