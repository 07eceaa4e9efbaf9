"""The runtime of tests: one at a time, a seeded scheduler, virtual time.

The same seed gives the same trace. It steps the very same incarnations as the
threads do; only who runs next, and what time it is, are its own.
"""

from __future__ import annotations

import heapq
import itertools
import random
import threading
from collections import deque
from collections.abc import Callable, Collection
from typing import Any

from pykka import Future, ThreadingFuture, Timeout

from actors.batons import Abandoned, Baton, current_baton
from actors.clock import VirtualClock
from actors.incarnation import Incarnation, Step
from actors.runtime import outcome
from defence.errors import Fault


class VirtualTimer:
    """A call that comes when virtual time gets there."""

    __slots__ = ("call", "cancelled")

    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        """Let it not come; too late is no error."""
        self.cancelled = True


class SimulatedRuntime:
    """Runs every actor on the thread that drives it, in an order drawn from `seed`.

    A child that is named in `may_hang` is stepped on a thread of its own
    (`actors.batons`): if it hangs it stays on its stack, holding what it holds, and
    goes on when its time is over, however late that is for its incarnation.
    For others there is the cheaper way: a handler that hangs for ever is
    unwound, and one that hangs for a while keeps everybody waiting. `watch` is
    called after every turn. The newest `keep` lines of the trace are kept, all
    by default.
    """

    def __init__(
        self, seed: int = 0, clock: VirtualClock | None = None, *, keep: int | None = None
    ) -> None:
        self.clock: VirtualClock = clock or VirtualClock()
        self.random = random.Random(seed)
        self.trace: deque[str] = deque(maxlen=keep)
        self.may_hang: Collection[str] = ()
        self.watch: Callable[[], None] | None = None
        self.running: Incarnation | None = None
        self._schedule = random.Random(seed ^ 0x5EED)
        self._incarnations: list[Incarnation] = []
        self._stopped: dict[Baton, Incarnation] = {}  # in the middle of a handler
        self._heap: list[tuple[float, int, VirtualTimer]] = []
        self._order = itertools.count()
        self._ids = itertools.count(1)
        self._driver = threading.get_ident()

    def new_id(self) -> str:
        """Return the next id; the same in every run of a seed."""
        return f"m{next(self._ids):06d}"

    def new_future(self) -> Future[Any]:
        """Return an empty future; before anything is sent a foreign thread is refused here."""
        self._own_thread()
        return ThreadingFuture()

    def run(self, incarnation: Incarnation) -> None:
        """Put the incarnation among those that may be stepped."""
        self._incarnations.append(incarnation)

    def join(self, incarnation: Incarnation, timeout: float) -> bool:
        """Return whether it has ended; nothing here runs by itself."""
        inside = incarnation.hung or incarnation in self._stopped.values()
        return incarnation.done or not (inside or _holds(incarnation))

    def call_later(self, delay: float, call: Callable[[], None]) -> VirtualTimer:
        """Call `call` when `delay` virtual seconds have passed."""
        timer = VirtualTimer(call)
        due = self.clock.monotonic() + max(0.0, delay)
        heapq.heappush(self._heap, (due, next(self._order), timer))
        return timer

    def aside(self, work: Callable[[], object], then: Callable[[object], None]) -> None:
        """Do `work` at a turn of its own, on the one thread; no virtual time passes."""
        self.call_later(0.0, lambda: then(outcome(work)))

    def hang(self, seconds: float | None = None) -> None:
        """Stop the handler for ever, or for `seconds` of virtual time."""
        baton, one = current_baton(), self.running
        if baton is not None and one is not None:
            self._stopped[baton] = one
            if seconds is not None:
                self.call_later(seconds, lambda: self._resume(baton))
            baton.stop_here()
        elif seconds is None:
            raise Abandoned("hangs")
        else:
            self.clock.advance(seconds)

    def wait(self, future: Future[Any], timeout: float) -> Any:
        """Drive the scheduler until the future has its answer, or virtual time is up."""
        self._own_thread()
        if not self.wait_until(lambda: is_set(future), timeout):
            raise Timeout(f"{timeout} virtual seconds")
        return future.get(timeout=0)

    def wait_until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Drive the scheduler until `condition` holds, at most `timeout` virtual seconds."""
        self._own_thread()
        end = self.clock.monotonic() + timeout
        while not condition():
            if not self.turn(end):
                return condition()
        return True

    def run_for(self, seconds: float) -> None:
        """Let `seconds` of virtual time pass, with all that happens in it."""
        self.wait_until(lambda: False, seconds)

    def turn(self, end: float) -> bool:
        """Step one incarnation, or move time to the next timer; False once `end` is reached."""
        able = [
            one
            for one in self._incarnations
            if not one.begun or one.context.mailbox.might_serve(one.number)
        ]
        if able:
            self._step(able[0] if len(able) == 1 else self._schedule.choice(able))
            return True
        now = self.clock.monotonic()
        if self._heap and self._heap[0][0] <= max(end, now):
            due, _, timer = heapq.heappop(self._heap)
            if due > now:
                self.clock.advance(due - now)
            if not timer.cancelled:
                timer.call()
                self._seen()
            return True
        if end > now:
            self.clock.advance(end - now)
        return False

    def close(self) -> None:
        """Forget timers and incarnations, and unwind who has stopped; idempotent."""
        self._heap.clear()
        self._incarnations.clear()
        while self._stopped:
            baton, self.running = self._stopped.popitem()
            self._on(baton.drop)
        self.running = None

    def alive(self) -> list[str]:
        """Return nothing: this runtime has no threads."""
        return []

    # -- one turn

    def _step(self, one: Incarnation) -> None:
        before, self.running = self.running, one
        if one.name not in self.may_hang or current_baton() is not None:
            self._ended(one, one.step())
        else:
            self._on(Baton(lambda: self._ended(one, one.step())).begin)
            if one in self._stopped.values():
                self._note(one, "stopped")
                self._incarnations.remove(one)
        self.running = before
        self._seen()

    def _resume(self, baton: Baton) -> None:
        one = self._stopped.pop(baton, None)
        if one is None:
            return
        before, self.running = self.running, one
        self._note(one, "goes on")
        if self._on(baton.resume) and not one.done and not one.hung and _holds(one):
            self._incarnations.append(one)
        self.running = before

    def _on(self, hand_over: Callable[[], Any]) -> Any:
        """Let another thread drive until it gives the baton back."""
        before, self._driver = self._driver, 0
        try:
            return hand_over()
        finally:
            self._driver = before

    def _ended(self, one: Incarnation, result: Step) -> None:
        self._note(one, result.value)
        if one.done or one.hung:
            self._incarnations = [each for each in self._incarnations if each is not one]

    def _note(self, one: Incarnation, what: str) -> None:
        handled = one.handled if what != Step.IDLE else ""
        self.trace.append(f"{self.clock.monotonic():.3f} {one.name}#{one.number} {handled} {what}")

    def _seen(self) -> None:
        if self.watch is not None:
            self.watch()

    def _own_thread(self) -> None:
        if current_baton() is None and threading.get_ident() != self._driver:
            raise Fault(
                "the simulated runtime was asked from a foreign thread",
                remedy="ask from the thread that made it, or use the thread runtime",
            )


def is_set(future: Future[Any]) -> bool:
    """Whether a future has its answer, value or error."""
    try:
        future.get(timeout=0)
    except Timeout:
        return False
    except Exception:  # noqa: BLE001 - an error is an answer too
        return True
    return True


def _holds(one: Incarnation) -> bool:
    """Whether it has not been fenced."""
    return one.context.mailbox.held_by(one.number)
