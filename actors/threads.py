"""The runtime of real life: a daemon thread an incarnation, one thread for timers."""

from __future__ import annotations

import heapq
import itertools
import random
import secrets
import threading
from collections.abc import Callable
from typing import Any

from pykka import Future

from actors.clock import Clock, SystemClock
from actors.incarnation import Incarnation, Step
from actors.log import log
from actors.replies import Reply
from actors.runtime import outcome
from defence.errors import Fenced

IDLE_WAIT = 1.0  # seconds between looks at the fence when there is no mail


class ThreadTimer:
    """A call that the timer thread will make."""

    __slots__ = ("call", "cancelled")

    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        """Let it not come; too late is no error."""
        self.cancelled = True
        self.call = _nothing  # it may lie in the heap for long: what it held is let go


class ThreadRuntime:
    """Threads and the machine's clock. All threads are daemons and end at `close`."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or SystemClock()
        self.random = random.Random()
        self._threads: dict[Incarnation, threading.Thread] = {}
        self._guard = threading.Lock()
        self._closed = threading.Event()
        self._due = threading.Condition()
        self._heap: list[tuple[float, int, ThreadTimer]] = []
        self._order = itertools.count()
        self._ids = secrets.token_hex(12)  # an id is not a secret; no other run may have it
        self._first_id = secrets.randbits(32)
        self._number = itertools.count()
        self._timers: threading.Thread | None = None  # with the first timer

    def new_id(self) -> str:
        """Return an id that no other message has.

        Its first eight characters are no other's in this run: a broker keeps the
        beginning of an order's comment, and by that orders are told apart.
        """
        # One after the other, so that a store has neighbours to put side by side; another
        # run begins elsewhere.
        return f"{(self._first_id + next(self._number)) & 0xFFFFFFFF:08x}{self._ids}"

    def new_future(self) -> Future[Any]:
        """Return an empty future."""
        return Reply()

    def run(self, incarnation: Incarnation) -> None:
        """Step the incarnation on a thread of its own; raises `RuntimeError` if there is none."""
        thread = threading.Thread(
            target=self._step_until_done,
            args=(incarnation,),
            name=f"dtms-{incarnation.name}-{incarnation.number}",
            daemon=True,
        )
        thread.start()
        with self._guard:
            self._threads = {one: t for one, t in self._threads.items() if t.is_alive()}
            self._threads[incarnation] = thread

    def join(self, incarnation: Incarnation, timeout: float) -> bool:
        """Wait until its thread has ended; False if it has not after `timeout` seconds."""
        with self._guard:
            thread = self._threads.get(incarnation)
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(timeout)
        return not thread.is_alive()

    def call_later(self, delay: float, call: Callable[[], None]) -> ThreadTimer:
        """Call `call` on the timer thread after `delay` seconds."""
        timer = ThreadTimer(call)
        with self._due:
            if self._timers is None:
                self._timers = threading.Thread(
                    target=self._call_timers, name="dtms-timers", daemon=True
                )
                self._timers.start()
            due = self.clock.monotonic() + max(0.0, delay)
            heapq.heappush(self._heap, (due, next(self._order), timer))
            self._due.notify()
        return timer

    def aside(self, work: Callable[[], object], then: Callable[[object], None]) -> None:
        """Do `work` on a thread of its own; it is not waited for at the end."""

        def run() -> None:
            then(outcome(work))

        threading.Thread(target=run, name="dtms-aside", daemon=True).start()

    def hang(self, seconds: float | None = None) -> None:
        """Stop here as a hung call does; raises `Fenced` when the runtime closes meanwhile."""
        if self._closed.wait(seconds):
            raise Fenced("the runtime closed while this call hung")

    def wait(self, future: Future[Any], timeout: float) -> Any:
        """Return the future's value, or raise its error, or `pykka.Timeout`."""
        return future.get(timeout=timeout)

    def wait_until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Poll `condition` until it holds; False if it does not within `timeout` seconds."""
        deadline = self.clock.monotonic() + timeout
        never, pause = threading.Event(), 0.001
        while not condition():
            left = deadline - self.clock.monotonic()
            if left <= 0:
                return False
            never.wait(min(pause, left))
            pause = min(0.05, pause * 1.5)  # soon at first, then cheaply
        return True

    def close(self) -> None:
        """Release what hangs, end the timers, and give the threads a moment to end."""
        self._closed.set()
        with self._due:
            self._heap.clear()
            self._due.notify()
        me = threading.current_thread()
        with self._guard:
            threads = [*self._threads.values(), self._timers]
        for thread in threads:
            if thread is not None and thread is not me:
                thread.join(timeout=2 * IDLE_WAIT)

    def alive(self) -> list[str]:
        """Return the names of the runtime's threads that still run."""
        with self._guard:
            threads = [*self._threads.values(), self._timers]
        return [one.name for one in threads if one is not None and one.is_alive()]

    def _step_until_done(self, incarnation: Incarnation) -> None:
        box = incarnation.context.mailbox
        while not self._closed.is_set():
            result = incarnation.step()
            if result is Step.DONE:
                return
            if result is Step.IDLE and not box.wait(incarnation.number, IDLE_WAIT):
                return  # fenced: a successor has the mailbox

    def _call_timers(self) -> None:
        while True:
            with self._due:
                now = self.clock.monotonic()
                while not self._closed.is_set() and (not self._heap or self._heap[0][0] > now):
                    self._due.wait(self._heap[0][0] - now if self._heap else None)
                    now = self.clock.monotonic()
                if self._closed.is_set():
                    return
                timer = heapq.heappop(self._heap)[2]
            if timer.cancelled:
                continue
            try:
                timer.call()
            except Exception:  # noqa: BLE001 - one bad timer must not end all of them
                log.opt(exception=True).error("a timer failed")


def _nothing() -> None:
    """Nothing."""
