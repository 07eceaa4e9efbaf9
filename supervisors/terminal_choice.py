"""Which terminal the settings ask for, and whether it has a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from actors.log import log
from actors.names import CONNECTOR
from actors.runtime import Runtime
from actors.simulated import SimulatedRuntime
from defence.errors import Invalid
from supervisors.settings import Settings
from terminals.protocol import Terminal

if TYPE_CHECKING:
    from pydantic import SecretStr

    from terminals.sim.faults import Fault
    from terminals.worker.hosted import WorkerTerminal
    from terminals.worker.plan import Plan

_SIM_ONLY = ("sim_state", "sim_faults", "sim_conditions")
_SIMULATED = ("prices", *_SIM_ONLY, "speed", "seed")
_OF_THE_BROKER = ("prices", *_SIM_ONLY, "speed", "seed", "isolate")
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
    check_choice(settings)
    if settings.broker is not None:
        return _shared(settings, runtime)
    if settings.terminal == "bridge":
        return _bridge(settings, runtime)
    if settings.isolated:
        return _hosted(settings, runtime)
    if settings.terminal == "native":
        return _native(settings)
    return _simulated(settings, runtime)


def check_choice(settings: Settings) -> None:
    """Refuse what can be known to be wrong, or to mean nothing, before anything is touched.

    Not a part of Settings: `ctl` must reach its guard whatever else is set where
    it runs, and `dtms broker` names with `broker` the file that it writes.
    Raises `Invalid`, naming the setting.
    """
    if settings.broker is not None:
        _check_broker(settings, settings.broker)
    elif not settings.simulated:
        for name in _SIMULATED:
            if getattr(settings, name) != type(settings).model_fields[name].default:
                raise Invalid(
                    f"is for the simulated terminal, and the terminal is {settings.terminal}",
                    field=name,
                    value=str(getattr(settings, name)),
                    remedy=f"leave it out (DTMS_{name.upper()} as a variable)",
                )
    elif settings.sim_faults is not None:
        from terminals.sim.fault_seed import SEED, chosen_faults  # late, as below

        if str(settings.sim_faults).startswith(SEED):  # a file is read when it is needed
            chosen_faults(settings.sim_faults)


def _check_broker(settings: Settings, named: str) -> None:
    from terminals.shared.address import find, is_address  # late, as below
    from terminals.shared.module import IN_PROCESS

    for refused, why in (
        (not settings.simulated, f"it is simulated, and the terminal is {settings.terminal}"),
        (named == IN_PROCESS, "in-process is for programs that import MetaTrader5"),
    ):
        if refused:
            remedy = "leave it out (DTMS_BROKER as a variable)"
            raise Invalid(why, field="broker", value=named, remedy=remedy)
    for name in _OF_THE_BROKER:
        if name in settings.model_fields_set and getattr(settings, name) is not False:
            raise Invalid(
                "is the broker's to know, where a guard uses one",
                field=name,
                value=str(getattr(settings, name)),
                remedy="give it to `run.py broker`, or leave --broker (DTMS_BROKER) out",
            )
    if is_address(named):  # all is said; a file may still be written
        find(named, _secret(settings.broker_token))


def _secret(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _hosted(settings: Settings, runtime: Runtime) -> Terminal:
    from terminals.worker.hosted import WorkerTerminal  # late, as below
    from terminals.worker.office import SimulatedWorker

    _refuse_virtual_time(runtime, "isolate", True)
    make = SimulatedWorker if settings.simulated else WorkerTerminal
    simulated = settings.simulated
    plan = _simulated_plan(settings, runtime) if simulated else _native_plan(settings)
    worker: WorkerTerminal = make(
        plan,
        call_timeout=settings.worker_timeout,
        connect_timeout=settings.terminal_timeout + CONNECT_MARGIN,
        log=_log,
    )
    return worker


def _refuse_virtual_time(runtime: Runtime, field: str, value: object) -> None:
    if isinstance(runtime, SimulatedRuntime):
        raise Invalid(
            "another process lives in real time, and this runtime in virtual time",
            field=field,
            value=value,
            remedy="leave it out",
        )


def _bridge(settings: Settings, runtime: Runtime) -> Terminal:
    from terminals.bridge.place import WARNING
    from terminals.bridge.terminal import BridgeTerminal  # late: it loads RPyC

    _refuse_virtual_time(runtime, "terminal", "bridge")
    place = settings.bridge
    if not place.near:
        _log("WARNING", WARNING)
    return BridgeTerminal(
        place,
        path=None if settings.terminal_path is None else str(settings.terminal_path),
        login=settings.login,
        password=_secret(settings.password),
        server=settings.server,
        portable=settings.portable,
        timeout_ms=round(settings.terminal_timeout * 1000),
        call_timeout=settings.worker_timeout,
        connect_timeout=settings.terminal_timeout + CONNECT_MARGIN,
        log=_log,
    )


def _shared(settings: Settings, runtime: Runtime) -> Terminal:
    from terminals.shared.address import find  # late, as below
    from terminals.shared.remote import RemoteTerminal

    named = settings.broker or ""
    _refuse_virtual_time(runtime, "broker", named)
    token = _secret(settings.broker_token)
    return RemoteTerminal(
        lambda: find(named, token),
        login=settings.login,
        password=_secret(settings.password),
        server=settings.server,
        call_timeout=settings.worker_timeout,
        connect_timeout=settings.terminal_timeout + CONNECT_MARGIN,
        log=_log,
    )


def _native_plan(settings: Settings) -> Plan:
    from terminals.worker.plan import native_plan

    return native_plan(
        path=settings.terminal_path,
        login=settings.login,
        password=_secret(settings.password),
        server=settings.server,
        portable=settings.portable,
        timeout_ms=round(settings.terminal_timeout * 1000),
    )


def _simulated_plan(settings: Settings, runtime: Runtime) -> Plan:
    return broker_plan(settings, runtime.clock.wall(), demo=True)


def broker_plan(settings: Settings, start: float, *, demo: bool) -> Plan:
    """Return the simulated terminal that is asked for; `start` is its market's, in epoch seconds.

    With `demo` an account that is new has the demonstration's positions.
    """
    from terminals.worker.plan import simulated_plan

    return simulated_plan(
        seed=settings.seed,
        start=start,
        prices=settings.prices,
        speed=settings.speed,
        step=settings.interval,
        state=settings.sim_state,
        faults=_faults(settings),
        reload_state=settings.chaos,
        demo=demo,
        conditions=settings.sim_conditions,
        login=settings.login,
        password=_secret(settings.password),
        server=settings.server,
    )


def _log(level: str, text: str) -> None:
    """Say what became of a worker, or a bridge, in the Connector's name."""
    log.bind(child=CONNECTOR).log(level, "{}", text)


def _native(settings: Settings) -> Terminal:
    from terminals.native import NativeTerminal  # only when chosen

    return NativeTerminal(**_native_plan(settings).options)


def _simulated(settings: Settings, runtime: Runtime) -> Terminal:
    # Late: it loads numpy, which a command such as `status` does not need.
    from terminals.sim.terminal import SimulatedTerminal
    from terminals.worker.build import simulated

    hang: Callable[[float | None], None] | None = None
    if isinstance(runtime, SimulatedRuntime):
        hang = runtime.hang  # the default would block the one thread there is
    plan = _simulated_plan(settings, runtime)
    return simulated(SimulatedTerminal, plan.options, now=runtime.clock.wall, hang=hang)


def _faults(settings: Settings) -> list[Fault]:
    from terminals.sim.fault_seed import SEED, as_json, chosen_faults

    if settings.sim_faults is None:
        return []
    faults = chosen_faults(settings.sim_faults)
    if str(settings.sim_faults).startswith(SEED):
        log.bind(child=CONNECTOR).info("faults of {}: {}", settings.sim_faults, as_json(faults))
    return faults
