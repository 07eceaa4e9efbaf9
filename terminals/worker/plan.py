"""What a worker is told to host. It crosses in the first frame and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from defence.errors import Invalid
from terminals.sim.faults import Fault, plain_fault

NATIVE: Final = "native"
SIMULATED: Final = "simulated"
IDEAL_TERMS: Final = "ideal"
KINDS: Final = (NATIVE, SIMULATED)


@dataclass(frozen=True, slots=True)
class Plan:
    """The kind of terminal, and what its constructor is given: plain data.

    `options` may hold a password; it is in no repr. Raises Invalid for a kind
    that cannot be hosted.
    """

    kind: str
    options: Mapping[str, Any] = field(repr=False)

    def __post_init__(self) -> None:
        """Check the kind."""
        if self.kind not in KINDS:
            raise Invalid(
                f"{self.kind!r} cannot be hosted",
                field="terminal",
                value=self.kind,
                remedy=f"one of {', '.join(KINDS)}",
            )

    @property
    def real(self) -> bool:
        """Whether orders reach a broker and can move money."""
        return self.kind != SIMULATED

    @property
    def account(self) -> tuple[int | None, str | None]:
        """Login and server that were asked for."""
        return self.options.get("login"), self.options.get("server")

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no log may show."""
        password = self.options.get("password")
        return (password,) if isinstance(password, str) and password else ()


def native_plan(
    *,
    path: Path | None = None,
    login: int | None = None,
    password: str | None = None,
    server: str | None = None,
    portable: bool = False,
    timeout_ms: int = 60_000,
) -> Plan:
    """Host the official package; the options are those of `NativeTerminal`."""
    return Plan(
        NATIVE,
        {
            "path": None if path is None else str(path.absolute()),
            "login": login,
            "password": password,
            "server": server,
            "portable": portable,
            "timeout_ms": timeout_ms,
        },
    )


def simulated_plan(
    *,
    seed: int = 1,
    start: float,
    prices: Sequence[Path] = (),
    speed: float = 1.0,
    step: float = 30.0,
    state: Path | None = None,
    faults: Sequence[Fault] = (),
    reload_state: bool = False,
    demo: bool = False,
    conditions: str = IDEAL_TERMS,
    login: int | None = None,
    password: str | None = None,
    server: str | None = None,
) -> Plan:
    """Host a simulated terminal; the options are those of `SimulatedTerminal`.

    `seed` and `start` (market time in epoch seconds) are those of generated
    prices; recorded ones are read in the worker from the files in `prices`.
    `conditions` is a name that `terminals.sim.conditions` knows.
    """
    return Plan(
        SIMULATED,
        {
            "seed": seed,
            "start": start,
            "prices": [str(path.absolute()) for path in prices],
            "speed": speed,
            "step": step,
            "state": None if state is None else str(state.absolute()),
            "faults": [plain_fault(fault) for fault in faults],
            "reload_state": reload_state,
            "demo": demo,
            "conditions": conditions,
            "login": login,
            "password": password,
            "server": server,
        },
    )
