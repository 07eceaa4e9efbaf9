"""Which terminal the settings ask for, and whether it has a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from actors.log import log
from actors.names import CONNECTOR
from actors.runtime import Runtime
from actors.simulated import SimulatedRuntime
from defence.errors import Invalid, TerminalRefused
from supervisors.settings import Settings
from terminals.protocol import Terminal

if TYPE_CHECKING:
    from terminals.sim.faults import Fault
    from terminals.sim.market import Market
    from terminals.worker.hosted import WorkerTerminal
    from terminals.worker.plan import Plan

CONNECT_MARGIN = 10.0  # seconds beyond the package's own time-out until its worker is killed


def make_terminal(settings: Settings, runtime: Runtime) -> Terminal:
    """Return the chosen terminal, not connected yet; a hosted one has its worker already.

    Raises what `choose_terminal` and `start_terminal` raise.
    """
    terminal = choose_terminal(settings, runtime)
    try:
        start_terminal(terminal, settings)
    except BaseException:
        terminal.close()
        raise
    return terminal


def start_terminal(terminal: Terminal, settings: Settings) -> None:
    """Start the worker of a hosted terminal, if it has none: what is wrong is known early.

    Any other terminal has nothing to start. `terminal.close()`, from any
    thread, ends this too. Raises what the terminal's making in the worker
    raises, and `TerminalRefused` if no worker comes up.
    """
    if settings.isolated:
        from terminals.worker.hosted import WorkerTerminal  # late, as below

        if isinstance(terminal, WorkerTerminal):
            terminal.start()


def choose_terminal(settings: Settings, runtime: Runtime) -> Terminal:
    """Return the chosen terminal; a hosted one has no process yet.

    Raises `Invalid` for bad price, state or fault files and `TerminalRefused`
    for a terminal that cannot be had on this machine; of a hosted one that is
    known when it starts.
    """
    if settings.terminal == "bridge":
        raise TerminalRefused(
            "the bridge to mt5linux is not there yet",
            field="terminal",
            value="bridge",
            remedy="use --terminal simulated, or --terminal native on Windows",
        )
    if settings.isolated:
        return _hosted(settings, runtime)
    if settings.terminal == "native":
        return _native(settings)
    return _simulated(settings, runtime)


def _hosted(settings: Settings, runtime: Runtime) -> Terminal:
    from terminals.worker.hosted import WorkerTerminal  # late, as below
    from terminals.worker.office import SimulatedWorker

    if isinstance(runtime, SimulatedRuntime):
        raise Invalid(
            "a process lives in real time, and this runtime in virtual time",
            field="isolate",
            value=True,
            remedy="leave it out",
        )
    make = SimulatedWorker if settings.simulated else WorkerTerminal
    plan = _simulated_plan if settings.simulated else _native_plan
    worker: WorkerTerminal = make(
        plan(settings, runtime),
        call_timeout=settings.worker_timeout,
        connect_timeout=settings.terminal_timeout + CONNECT_MARGIN,
        log=_log,
    )
    return worker


def _native_plan(settings: Settings, _: Runtime) -> Plan:
    from terminals.worker.plan import native_plan

    return native_plan(
        path=settings.terminal_path,
        login=settings.login,
        password=None if settings.password is None else settings.password.get_secret_value(),
        server=settings.server,
        portable=settings.portable,
        timeout_ms=round(settings.terminal_timeout * 1000),
    )


def _simulated_plan(settings: Settings, runtime: Runtime) -> Plan:
    from terminals.worker.plan import simulated_plan

    return simulated_plan(
        seed=settings.seed,
        start=runtime.clock.wall(),
        prices=settings.prices,
        speed=settings.speed,
        step=settings.interval,
        state=settings.sim_state,
        faults=_faults(settings),
        reload_state=settings.chaos,
        demo=True,
        login=settings.login,
        password=None if settings.password is None else settings.password.get_secret_value(),
        server=settings.server,
    )


def _log(level: str, text: str) -> None:
    """Say what became of a worker in the Connector's name; the terminal knows no log."""
    log.bind(child=CONNECTOR).log(level, "{}", text)


def _native(settings: Settings) -> Terminal:
    from terminals.native import NativeTerminal  # only when chosen

    return NativeTerminal(
        path=None if settings.terminal_path is None else str(settings.terminal_path),
        login=settings.login,
        password=None if settings.password is None else settings.password.get_secret_value(),
        server=settings.server,
        portable=settings.portable,
        timeout_ms=round(settings.terminal_timeout * 1000),
    )


def _simulated(settings: Settings, runtime: Runtime) -> Terminal:
    # Late: it loads numpy, which a command such as `status` does not need.
    from terminals.sim.generated import GeneratedMarket
    from terminals.sim.market import RecordedMarket
    from terminals.sim.terminal import SimulatedTerminal

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
        faults=_faults(settings),
        reload_state=settings.chaos,
        demo=True,
        login=settings.login,
        password=None if settings.password is None else settings.password.get_secret_value(),
        server=settings.server,
    )


def _faults(settings: Settings) -> list[Fault]:
    from terminals.sim.faults import load_faults

    return [] if settings.sim_faults is None else load_faults(settings.sim_faults)
