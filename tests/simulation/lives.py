"""What the witness keeps of processes and their children."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.process import Process


class Violated(Exception):  # noqa: N818 - named by what happened
    """An invariant does not hold."""

    def __init__(self, invariant: str, what: str) -> None:
        super().__init__(f"{invariant}: {what}")
        self.invariant = invariant


@dataclass(slots=True)
class Charge:
    """An automatic restart of the Monitor."""

    at: float  # of the process's monotonic clock
    wall: float
    durable: bool


@dataclass(slots=True)
class Life:
    """What the witness keeps of the process that runs."""

    process: Process
    reconciled: bool = False
    paused: bool = False  # then no cycle is to be expected
    cycles: int = 0
    manual: list[tuple[str, float]] = field(default_factory=list)  # starts that ops asked for
    escalated: dict[str, tuple[float, int]] = field(default_factory=dict)  # since, notices before
    stopped: list[str] = field(default_factory=list)
    fenced: set[tuple[str | None, int | None]] = field(default_factory=set)
    starts: Counter[tuple[str | None, int | None]] = field(default_factory=Counter)
    ends: Counter[tuple[str | None, int | None]] = field(default_factory=Counter)
