"""What a supervisor must know of a child before it lives."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from actors.actor import Context, GuardActor
from defence.errors import Invalid

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


@dataclass(frozen=True, slots=True)
class Backoff:
    """Delay before the n-th restart in the window: none, then growing, with jitter.

    The second restart waits `first` seconds, each later one `factor` times
    longer, at most `limit`; each is lengthened by up to `jitter` of itself.
    """

    first: float = 1.0
    factor: float = 2.0
    limit: float = 30.0
    jitter: float = 0.2

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

    def __post_init__(self) -> None:
        if not self.name or not self.name.isidentifier():
            raise Invalid("a child needs a plain name", field="name", value=self.name)
        if self.max_restarts < 0:
            raise Invalid(
                "must be 0 or more",
                field="max_restarts",
                value=self.max_restarts,
                remedy="0 escalates at the first failure",
            )
        for field in ("period", "start_timeout", "stop_timeout", "hang_after", "silence_after"):
            value = getattr(self, field)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise Invalid("must be a number of seconds above 0", field=field, value=value)
        if self.data_limit < 1:
            raise Invalid("must be 1 or more", field="data_limit", value=self.data_limit)
