"""What a root supervisor needs from outside: a ledger, an owner to tell, and its times."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from defence.alerts import Notice
from defence.errors import DtmsError


class Ledger(Protocol):
    """Where charges are kept over process restarts (wall times)."""

    def charges(self, child: str) -> list[float]:
        """Return the wall times of the charges of `child`."""
        ...

    def add(self, child: str, at: float) -> None:
        """Write a charge, durably."""
        ...

    def clear(self, child: str) -> None:
        """Forget the charges of `child`."""
        ...

    def prune(self, child: str, before: float) -> None:
        """Forget charges of `child` that are older than the wall time `before`."""
        ...


class Owner(Protocol):
    """Who is told what becomes of the whole."""

    def all_ready(self) -> None:
        """Every child is ready for the first time."""

    def start_refused(self, cause: DtmsError) -> None:
        """The first start failed; what was started is being stopped."""

    def all_stopped(self) -> None:
        """Every child has ended or is fenced."""

    def cannot_go_on(self, cause: str) -> None:
        """Nothing can be kept safe any more: the guard must die."""

    def host_paused(self, seconds: float) -> None:
        """The machine slept, or its clock jumped."""

    def notify(self, notice: Notice) -> None:
        """People must be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RootSettings:
    """Times in seconds."""

    startup_timeout: float = 60.0
    check_every: float = 1.0
    pause_after: float = 5.0  # lateness, or clock difference, that means the host paused
    max_leaked: int = 5  # hung threads that are tolerated before escalation
