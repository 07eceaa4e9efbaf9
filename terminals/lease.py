"""Fencing: who may still act, checked at the moment of the act.

A `Lease` belongs to one incarnation of a child. Whoever replaces that child
revokes the lease first; from then on no new hold succeeds, and the revocation
is complete only when nobody is inside a hold any more. A `Permit` holds
several leases together around one effect (an order), so that the check and
the order are one step (DESIGN, Fencing).

Everywhere else in DTMS state has one owner and needs no lock (DESIGN, promise
4). Here it cannot be so: the holder is a thread that may hang inside a call
of the terminal and reads no mailbox, and the one who revokes must not wait
for it. A counter under a condition is the smallest thing that lets a foreign
thread say "from now on no more" and learn whether something is still under way.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from defence.errors import Fenced, Invalid


class Lease:
    """The right of one incarnation to act, until it is revoked; then for ever not.

    Holds are counted, not exclusive: several threads may hold one lease, and
    one thread may hold it twice. So holding several leases cannot deadlock.
    """

    __slots__ = ("_condition", "_inside", "_revoked", "holder", "incarnation")

    def __init__(self, holder: str, incarnation: int) -> None:
        self.holder = holder
        self.incarnation = incarnation
        self._condition = threading.Condition()
        self._inside = 0
        self._revoked = False

    def __repr__(self) -> str:
        state = "revoked" if self._revoked else "valid"
        return f"<Lease {self.holder} {self.incarnation} {state}>"

    @property
    def revoked(self) -> bool:
        """Whether `revoke` has been called; it never becomes false again."""
        return self._revoked

    def enter(self) -> None:
        """Begin a hold; pair it with `leave`. Raises `Fenced` if revoked."""
        with self._condition:
            self.verify()
            self._inside += 1

    def leave(self) -> None:
        """End a hold that `enter` began. Never raises for a revoked lease."""
        with self._condition:
            self._inside -= 1
            if self._inside == 0:
                self._condition.notify_all()

    def verify(self) -> None:
        """Raise `Fenced` if the lease is revoked."""
        if self._revoked:
            raise Fenced(
                f"{self.holder}, incarnation {self.incarnation}, has been replaced",
                field="lease",
                value=self.incarnation,
                remedy="nothing was done; only the current incarnation may act",
            )

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Be inside while the block runs; revocation cannot complete meanwhile.

        Raises `Fenced` if the lease is revoked.
        """
        self.enter()
        try:
            yield
        finally:
            self.leave()

    def revoke(self, timeout: float) -> bool:
        """Forbid new holds for ever, then wait at most `timeout` seconds for old ones.

        Returns True when nobody is inside any longer, False when someone
        still is: then that holder must be killed (its worker process) before
        it is replaced. May be called again, to wait on. Called from inside a
        hold of the same lease it can only return False.
        Raises `Invalid` if `timeout` is negative or not a number; the lease
        is revoked even then, because that is the safe side.
        """
        with self._condition:
            self._revoked = True
            if math.isnan(timeout) or timeout < 0:
                raise Invalid(
                    "a time-out is a number of seconds, 0 or more",
                    field="timeout",
                    value=timeout,
                    remedy="give 0 to look without waiting",
                )
            # Locks refuse time-outs beyond TIMEOUT_MAX, infinity included.
            limit = min(timeout, threading.TIMEOUT_MAX)
            return self._condition.wait_for(lambda: self._inside == 0, limit)


class Permit:
    """All leases held together around one effect; re-usable, from any thread.

    Entering holds the leases in order, runs the checks inside, and looks at
    the leases once more: a check may take long (it reads the broker), and a
    lease that was revoked meanwhile must not let the effect begin, although
    the revocation still waits for us. Leaving releases in reverse order.

    A Permit keeps no state of its own between entering and leaving, so one
    object serves any number of orders, one after the other or at once.
    """

    __slots__ = ("_checks", "_leases")

    def __init__(self, *leases: Lease, check: Callable[[], None] | None = None) -> None:
        self._leases = leases
        self._checks: tuple[Callable[[], None], ...] = () if check is None else (check,)

    def also(self, check: Callable[[], None]) -> Permit:
        """Return a permit of the same leases that runs `check` too, after the others."""
        permit = Permit(*self._leases)
        permit._checks = (*self._checks, check)
        return permit

    def __enter__(self) -> None:
        """Hold the leases. Raises `Fenced`, or whatever a check raises; then nothing is held."""
        held = 0
        try:
            for lease in self._leases:
                lease.enter()
                held += 1
            for check in self._checks:
                check()
            for lease in self._leases:
                lease.verify()
        except BaseException:
            # Not only Exception: a hold that outlives an interrupt blocks revocation for ever.
            self._release(held)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._release(len(self._leases))

    def _release(self, held: int) -> None:
        for lease in reversed(self._leases[:held]):
            lease.leave()
