"""A store that takes no writes: told once, kept in mind above the incarnations, told when over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Generic, TypeVar

from actors.actor import GuardActor
from actors.events import Kind
from actors.life import CannotGoOn
from actors.mailbox import Lane
from actors.messages import Raise, WriteAgain
from actors.names import ALERT, ROOT
from actors.runtime import Timer
from defence.alerts import Notice, Severity
from defence.errors import DtmsError, Fault, StoreLost

T = TypeVar("T")

_FULL: Final = "store_full:"
TRY_AGAIN: Final = 2.0  # seconds between two tries to write
SOON: Final = 60.0  # seconds; trouble again within them, and the tries become rarer
RAREST: Final = 300.0  # seconds


def is_trouble(key: str) -> bool:
    """Whether an alert with that key says that a store takes no writes."""
    return key.startswith(_FULL)


def end_the_guard(actor: GuardActor, lost: StoreLost) -> None:
    """Let the guard die: it would acknowledge into a file that nobody will find again.

    To go on in memory alone would be no better, since the folder's lock may
    be gone as well; a new start finds out what is there.
    """
    actor.tell(ROOT, CannotGoOn(f"{lost}"), lane=Lane.CONTROL)


class Trouble:
    """Whether a store takes writes, and since when not.

    It lives in its owner's settings: an incarnation that dies takes neither
    the trouble nor the memory of it along. Used by one incarnation at a time.
    """

    def __init__(self, store: str, severity: Severity, meanwhile: str) -> None:
        """`meanwhile` is the sentence that tells people what it means until it is over."""
        self.store = store
        self.since: float | None = None  # wall time
        self.refusals = 0
        self._severity = severity
        self._meanwhile = meanwhile
        self._timer: Timer | None = None
        self._pause = TRY_AGAIN
        self._over_at = float("-inf")  # wall time

    def fails(self, actor: GuardActor, error: DtmsError) -> None:
        """The store did not take a write."""
        self.refusals += 1
        if self.since is not None:
            return
        self.since = actor.clock.wall()
        # A try may pass where the real write fails: people are not told both in turns.
        again = abs(self.since - self._over_at) < SOON
        self._pause = min(2 * self._pause, RAREST) if again else TRY_AGAIN
        actor.emit(Kind.STORE_FAILS, store=self.store, code=error.code, reason=error.message)
        notice = Notice(
            key=f"{_FULL}{self.store}",
            severity=self._severity,
            title=f"The store {self.store!r} takes no writes",
            text=f"{error}. {self._meanwhile}",
        )
        actor.tell(ALERT, Raise(notice))
        self.plan(actor)

    def plan(self, actor: GuardActor) -> None:
        """Have the owner try again in a while: to recover must not need a caller."""
        self._cancel()
        if self.since is not None:
            self._timer = actor.later(self._pause, WriteAgain(), merge="write again")

    def _cancel(self) -> None:
        """Have one next try planned, whatever timers a forerunner left."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def over(self, actor: GuardActor) -> None:
        """The store takes writes."""
        if self.since is None:
            return
        self._over_at = actor.clock.wall()
        lasted = max(0.0, self._over_at - self.since)
        refusals, self.since, self.refusals = self.refusals, None, 0
        self._cancel()
        actor.emit(Kind.STORE_WORKS, store=self.store)
        notice = Notice(
            key=f"store_works:{self.store}",
            severity=Severity.INFO,
            title=f"The store {self.store!r} takes writes again",
            text=f"After {lasted:.0f} s, in which {refusals} writes were refused. It goes on by "
            "itself; nothing that was acknowledged is missing.",
            ends=f"{_FULL}{self.store}",
        )
        actor.tell(ALERT, Raise(notice))


class Unwritten(Generic[T]):
    """What a store has not taken yet, the newest of each key, in order."""

    def __init__(self, trouble: Trouble, limit: int = 1000) -> None:
        """More than `limit` are not kept: the oldest go, and the log says so."""
        self.trouble = trouble
        self.waiting: dict[str, T] = {}
        self._limit = limit

    def write(
        self, actor: GuardActor, put: Callable[[T], None], new: Mapping[str, T] | None = None
    ) -> bool:
        """Write what waits, then what is new; False if some of it waits now.

        A store whose file was taken away ends the guard. Raises Fault only,
        such as Fenced: then nothing new was kept.
        """
        pending = {**self.waiting, **(new or {})}
        try:
            for key in list(pending):
                with actor.context.lease.hold():
                    put(pending[key])
                del pending[key]
                self.waiting.pop(key, None)
        except Fault:
            raise
        except StoreLost as lost:
            self._keep(actor, pending)
            end_the_guard(actor, lost)
            return False
        except DtmsError as error:
            self._keep(actor, pending)
            self.trouble.fails(actor, error)
            return False
        self.trouble.over(actor)
        return True

    def _keep(self, actor: GuardActor, pending: dict[str, T]) -> None:
        self.waiting = pending
        while len(pending) > self._limit:
            lost = pending.pop(next(iter(pending)))
            actor.context.log.error("too much waits for {}: given up: {}", self.trouble.store, lost)
