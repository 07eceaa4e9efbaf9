"""The messages of supervision: how a child is told to stop, and how its end is told.

They know nothing of trades; those of the guard are in `actors.messages`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

# -- any actor


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request that one actor sent to another."""

    request_id: str
    incarnation: int  # of the one that asked
    child: str  # that answers
    value: object = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """Run `on_stop` and end. Meant for one incarnation, or for whoever gets it."""

    incarnation: int | None = None


@dataclass(frozen=True, slots=True)
class Kill:
    """Die at once (chaos)."""

    reason: str = "killed"


@dataclass(frozen=True, slots=True)
class Hang:
    """Hang in the handler (chaos): for ever, or for `seconds`."""

    seconds: float | None = None


# -- the root supervisor


@dataclass(frozen=True, slots=True)
class Poison:
    """A message that ended two incarnations while they handled it, and it alone.

    It is set aside; its asker has got the error. `at` is UTC epoch seconds.
    """

    message: str  # its type's name
    id: str
    error: str  # what the second incarnation ended with
    shown: str  # the message in words: at most 500 characters, and no secret
    lane: str
    at: float


@dataclass(frozen=True, slots=True)
class ExitReport:
    """How an incarnation ended; there is exactly one for each."""

    child: str
    incarnation: int
    how: str  # crashed, killed, failed to start, hung, silent, stopped
    error: str
    normal: bool = False
    cause: BaseException | None = field(default=None, compare=False)
    poison: Poison | None = None  # the message that did it, if it was found guilty


@dataclass(frozen=True, slots=True)
class ChildReady:
    """A child does its job."""

    child: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class Begin:
    """Start the children, in order."""


@dataclass(frozen=True, slots=True)
class CheckHealth:
    """Look for hung and silent children."""

    by: str = "timer"


@dataclass(frozen=True, slots=True)
class StartChild:
    """A backoff, or an escalation, is over. Void if the child's `epoch` has moved on."""

    child: str
    epoch: int


@dataclass(frozen=True, slots=True)
class StartTimedOut:
    """An incarnation had `start_timeout` to become ready."""

    child: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class StopTimedOut:
    """An incarnation had `stop_timeout` to end."""

    child: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class Freed:
    """A spec's `release` has been called, the `nth` time for this incarnation, or took too long."""

    child: str
    incarnation: int
    nth: int


@dataclass(frozen=True, slots=True)
class RestartChild:
    """Restart a child by hand: not charged."""

    child: str
    by: str = "host"
    id: str = ""


@dataclass(frozen=True, slots=True)
class ResetBudget:
    """Forget a child's charges; an escalated child is started again."""

    child: str
    by: str = "host"
    id: str = ""


@dataclass(frozen=True, slots=True)
class StrikeChild:
    """Chaos: `kill` or `hang` a child."""

    child: str
    what: str
    seconds: float | None = None
    id: str = ""


@dataclass(frozen=True, slots=True)
class CannotGoOn:
    """A child has found that nothing can be kept safe any more: the guard must die."""

    cause: str


@dataclass(frozen=True, slots=True)
class ShutDown:
    """Stop the children in reverse order, then end."""

    by: str = "host"
