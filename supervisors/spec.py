"""What a supervisor must know of a child before it lives."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from actors.actor import Context, GuardActor
from actors.names import ROOT
from defence.errors import Invalid
from supervisors.owner import is_seconds

if TYPE_CHECKING:
    import random


class Restart(StrEnum):
    """When a child that ended is started again."""

    PERMANENT = "permanent"  # always; a normal end is charged too
    TRANSIENT = "transient"  # after an abnormal end only
    TEMPORARY = "temporary"  # never


class Escalation(StrEnum):
    """What happens when the budget is used up."""

    RETRY = "retry"  # try again when the oldest charge leaves the window
    STAY_DOWN = "stay_down"  # wait for ops


def _at_least(least: float, value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and value >= least


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delay before the n-th restart in a row: none, then growing, with jitter. Seconds.

    The second restart waits `first` seconds, each later one `factor` times
    longer, at most `limit`; each is lengthened by up to `jitter` of itself.
    After `reset_after` seconds without a charge the next restart is the first
    again. The budget knows nothing of that: a child that lives just long
    enough uses it up all the same (SUPERVISION.md, corner rule 9).
    Raises `Invalid` for a bad field, naming it.
    """

    first: float = 1.0
    factor: float = 2.0
    limit: float = 30.0
    jitter: float = 0.2
    reset_after: float = 600.0

    def __post_init__(self) -> None:
        for field, least in (("first", 0.0), ("factor", 1.0), ("limit", 0.0), ("jitter", 0.0)):
            value = getattr(self, field)
            if not _at_least(least, value):
                raise Invalid(
                    f"must be a number, {least:g} or more",
                    field=f"backoff.{field}",
                    value=value,
                    remedy="Backoff(first=0.0) never waits",
                )
        if not is_seconds(self.reset_after):
            raise Invalid(
                "must be a number of seconds above 0",
                field="backoff.reset_after",
                value=self.reset_after,
                remedy="leave it out for ten minutes",
            )

    def delay(self, nth: int, random: random.Random) -> float:
        """Return the seconds to wait before the `nth` restart (1 is the first)."""
        if nth <= 1:
            return 0.0
        growth = self.factor ** min(nth - 2, 64)  # a float overflows where nobody waits any more
        plain = min(self.limit, self.first * growth)
        return plain * (1 + self.jitter * random.random())


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """A child and the rules of its life. Times in seconds.

    `release` ends what the child is stuck in, for example by killing the
    process that it waits for. It is called on a thread of its own when an
    incarnation is fenced because it hangs, and again if its lease cannot be
    revoked then; it may come late and more than once.

    Raises `Invalid` for a bad field, naming it.
    """

    name: str
    factory: Callable[[Context], GuardActor]
    restart: Restart = Restart.PERMANENT
    max_restarts: int = 3
    period: float = 3600.0
    backoff: Backoff = Backoff()
    escalation: Escalation = Escalation.RETRY
    start_timeout: float = 30.0
    stop_timeout: float = 5.0
    hang_after: float = 30.0
    silence_after: float | None = None  # None: it may be quiet for ever
    vital: bool = True  # escalated, nobody may be told "ready"
    data_limit: int = 10_000
    release: Callable[[], None] | None = None

    def __post_init__(self) -> None:
        name = self.name
        if not isinstance(name, str) or not name.isidentifier() or name == ROOT:
            remedy = f"a word of letters, digits and underscores; {ROOT!r} is the supervisor's own"
            raise Invalid("a child needs a plain name", field="name", value=name, remedy=remedy)
        self._must(
            "factory", callable(self.factory), "a class, or a function, that takes a Context"
        )
        words: tuple[tuple[str, type[StrEnum]], ...] = (
            ("restart", Restart),
            ("escalation", Escalation),
        )
        for field, kind in words:  # the plain word will do, as from a settings file
            value = getattr(self, field)
            self._must(field, value in list(kind), f"one of {', '.join(kind)}")
            object.__setattr__(self, field, kind(value))
        self._must("backoff", isinstance(self.backoff, Backoff), "a Backoff")
        self._must("vital", isinstance(self.vital, bool), "True or False")
        self._must(
            "max_restarts", _is_whole(self.max_restarts, 0), "0 escalates at the first failure"
        )
        self._must("data_limit", _is_whole(self.data_limit, 1), "how many requests may wait")
        for field in ("period", "start_timeout", "stop_timeout", "hang_after"):
            self._must(field, is_seconds(getattr(self, field)), "a number of seconds above 0")
        quiet = self.silence_after is None or is_seconds(self.silence_after)
        self._must("silence_after", quiet, "a number of seconds above 0; None: no limit")
        freed = self.release is None or callable(self.release)
        self._must("release", freed, "a function without arguments; None: there is nothing to end")

    def _must(self, field: str, good: bool, remedy: str) -> None:
        if not good:
            raise Invalid(
                f"does not fit child {self.name!r}",
                field=field,
                value=getattr(self, field),
                remedy=remedy,
            )


def check_names(specs: Sequence[ChildSpec]) -> None:
    """Raise `Invalid` unless these are specs, each with a name of its own."""
    seen: set[str] = set()
    for spec in specs:
        if not isinstance(spec, ChildSpec):
            raise Invalid(
                "is no child spec", field="specs", value=spec, remedy="give a list of ChildSpec"
            )
        if spec.name in seen:
            raise Invalid(
                "two children have this name",
                field="name",
                value=spec.name,
                remedy="an address names one child: choose another name",
            )
        seen.add(spec.name)
