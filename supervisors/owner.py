"""What a root supervisor needs from outside: a ledger, an owner to tell, and its times.

The owner is told facts, never words: what people read is the owner's business.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, fields
from typing import Protocol

from actors.life import Poison
from defence.errors import DtmsError, Invalid


class Ledger(Protocol):
    """Where charges are kept over process restarts (wall times)."""

    def charges(self, child: str) -> list[float]:
        """Return the wall times of the charges of `child`."""
        ...

    def add(self, child: str, at: float) -> None:
        """Write a charge, durably. An error means that it counts in memory only."""
        ...

    def clear(self, child: str) -> None:
        """Forget the charges of `child`."""
        ...

    def prune(self, child: str, before: float) -> None:
        """Forget charges of `child` that are older than the wall time `before`."""
        ...


class MemoryLedger:
    """Charges that last as long as this object: a new process has every budget anew."""

    def __init__(self) -> None:
        self.kept: dict[str, list[float]] = {}

    def charges(self, child: str) -> list[float]:
        """Return the wall times of the charges of `child`."""
        return list(self.kept.get(child, ()))

    def add(self, child: str, at: float) -> None:
        """Note a charge."""
        self.kept.setdefault(child, []).append(at)

    def clear(self, child: str) -> None:
        """Forget the charges of `child`."""
        self.kept.pop(child, None)

    def prune(self, child: str, before: float) -> None:
        """Forget charges of `child` that are older than `before`."""
        self.kept[child] = [at for at in self.kept.get(child, ()) if at >= before]


@dataclass(frozen=True, slots=True)
class Escalated:
    """A child is down: its budget is used up, or too many of its threads hang."""

    child: str
    incarnation: int
    why: str
    failures: tuple[str, ...]  # those that led to it, oldest first
    retry_in: float | None  # seconds until it is tried again; None: by ops only


@dataclass(frozen=True, slots=True)
class ChargeUnwritten:
    """A restart could not be written to the ledger: it counts until this process ends."""

    child: str
    error: str


@dataclass(frozen=True, slots=True)
class Poisoned:
    """A message was set aside, because two incarnations ended over it."""

    child: str
    incarnation: int
    poison: Poison


@dataclass(frozen=True, slots=True)
class Leaked:
    """The thread of a hung incarnation stayed behind, or has `ended` after all."""

    child: str
    incarnation: int
    threads: int  # how many are behind now, of all children
    ended: bool


class Owner(Protocol):
    """Who is told what becomes of the whole. Called by supervision: be quick, and never wait."""

    def all_ready(self) -> None:
        """Every child is ready for the first time."""

    def start_refused(self, cause: DtmsError) -> None:
        """The first start failed; what was started is being stopped."""

    def all_stopped(self) -> None:
        """Every child has ended or is fenced."""

    def cannot_go_on(self, cause: str) -> None:
        """Nothing can be kept safe any more: the whole must die."""

    def host_paused(self, seconds: float) -> None:
        """The machine slept, or its clock jumped."""

    def escalated(self, fact: Escalated) -> None:
        """A child is down."""

    def charge_unwritten(self, fact: ChargeUnwritten) -> None:
        """The ledger took no charge."""

    def poisoned(self, fact: Poisoned) -> None:
        """A message was set aside."""

    def leaked(self, fact: Leaked) -> None:
        """The number of hung threads changed."""


Fact = Escalated | ChargeUnwritten | Poisoned | Leaked


class RememberingOwner:
    """Keeps the newest facts, for a program that wants to look and not to be called.

    Override a method to be called. Whatever it raises is logged and harms no child.
    """

    def __init__(self, keep: int = 1_000) -> None:
        self.facts: deque[Fact] = deque(maxlen=keep)
        self.pauses: deque[float] = deque(maxlen=keep)  # seconds
        self.refusal: DtmsError | None = None
        self.cause: str | None = None  # why nothing could go on
        self.ready = False
        self.stopped = False

    def all_ready(self) -> None:
        """Every child is ready for the first time."""
        self.ready = True

    def start_refused(self, cause: DtmsError) -> None:
        """The first start failed."""
        self.refusal = cause

    def all_stopped(self) -> None:
        """Every child has ended or is fenced."""
        self.stopped = True

    def cannot_go_on(self, cause: str) -> None:
        """Nothing can be kept safe any more."""
        self.cause = cause

    def host_paused(self, seconds: float) -> None:
        """The machine slept, or its clock jumped."""
        self.pauses.append(seconds)

    def escalated(self, fact: Escalated) -> None:
        """A child is down."""
        self.facts.append(fact)

    def charge_unwritten(self, fact: ChargeUnwritten) -> None:
        """The ledger took no charge."""
        self.facts.append(fact)

    def poisoned(self, fact: Poisoned) -> None:
        """A message was set aside."""
        self.facts.append(fact)

    def leaked(self, fact: Leaked) -> None:
        """The number of hung threads changed."""
        self.facts.append(fact)


@dataclass(frozen=True, slots=True, kw_only=True)
class RootSettings:
    """Times in seconds. Raises `Invalid` for a bad field, naming it."""

    startup_timeout: float = 60.0
    check_every: float = 1.0
    pause_after: float = 5.0  # lateness, or clock difference, that means the host paused
    max_leaked: int = 5  # hung threads that are tolerated before escalation

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "max_leaked":
                if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                    raise Invalid(
                        "must be a whole number, 0 or more",
                        field="max_leaked",
                        value=value,
                        remedy="0 escalates at the first thread that stays behind",
                    )
            elif not is_seconds(value):
                raise Invalid(
                    "must be a number of seconds above 0",
                    field=field.name,
                    value=value,
                    remedy="leave it out for its default",
                )


def is_seconds(value: object) -> bool:
    """Whether `value` is a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and value > 0
