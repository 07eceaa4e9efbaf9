"""Strikes: what happens to an actor just before or after one of its effects.

An effect is a commit, a message sent, or a call of the terminal. One thread
cannot kill another in the middle of a line, but these are all the places at
which a death makes a difference that somebody else can see.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from actors.points import Killed
from actors.post import current_child

STALE = 180.0  # seconds after which a strike that met nothing is forgotten


class Crash(RuntimeError):  # noqa: N818 - what it is, not what it is called
    """A bug, planted by the script."""


@dataclass(slots=True)
class Strike:
    """Hit `child` at its `nth` effect from now; `where` None is any effect."""

    child: str
    where: str | None
    when: str  # before, after
    what: str  # kill, crash, exit, hang, slow, die
    seconds: float
    nth: int
    times: int
    until: float

    @property
    def hangs(self) -> bool:
        return self.what in ("hang", "slow")


class Strikes:
    """The strikes of one process."""

    def __init__(
        self,
        now: Callable[[], float],
        hang: Callable[[float | None], None],
        die: Callable[[], None],
        note: Callable[[str], None],
    ) -> None:
        self.armed: list[Strike] = []
        self.dead = False  # the process is: nothing has an effect any more
        self._now = now
        self._hang = hang
        self._die = die
        self._note = note

    def hanging(self) -> list[str]:
        """Return the children whose handlers may hang: they need threads of their own."""
        return [one.child for one in self.armed if one.hangs] if self.armed else []

    def arm(self, child: str, where: str | None, when: str, what: str, seconds: float = 0.0,
            nth: int = 1, times: int = 1) -> None:  # fmt: skip
        until = self._now() + STALE
        self.armed.append(Strike(child, where, when, what, seconds, nth, times, until))

    def effect(self, where: str, when: str) -> None:
        """Be before or after an effect of the actor that runs."""
        if self.dead:
            raise Killed("the process is dead")
        if not self.armed:
            return
        child, now = current_child(), self._now()
        for one in self.armed:
            if one.until < now:
                self.armed.remove(one)
                return  # the list has changed; the others wait for the next effect
            if one.child != child or one.when != when or one.where not in (None, where):
                continue
            one.nth -= 1
            if one.nth > 0:
                continue
            one.times, one.nth = one.times - 1, 1
            if one.times <= 0:
                self.armed.remove(one)
            self._hit(one, where)
            return

    def _hit(self, one: Strike, where: str) -> None:
        self._note(f"struck: {one.child} {one.what} {one.when} {where}")
        if one.what == "kill":
            raise Killed("struck")
        if one.what == "crash":
            raise Crash(f"struck {one.when} {where}")
        if one.what == "exit":
            raise SystemExit(f"struck {one.when} {where}")
        if one.what == "die":
            self.dead = True
            self._die()
            raise Killed("the process dies")
        self._hang(one.seconds if one.what == "slow" else None)
