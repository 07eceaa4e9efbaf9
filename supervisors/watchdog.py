"""The watchdog outside the root: nothing carries on unsupervised."""

from __future__ import annotations

import threading
from collections.abc import Callable

from actors.actor import Vitals
from actors.clock import Clock
from actors.incarnation import Incarnation


class Watchdog:
    """Declares the root dead when it ended, is stuck, or its timers have stopped.

    It judges nothing right after the host slept: then everybody is late.
    """

    def __init__(
        self,
        root: Incarnation,
        clock: Clock,
        declare_dead: Callable[[str], None],
        *,
        every: float = 1.0,
        stuck_after: float = 15.0,
        late: float = 5.0,
    ) -> None:
        self._root = root
        self._vitals: Vitals = root.context.vitals
        self._clock = clock
        self._declare_dead = declare_dead
        self._every = every
        self._stuck_after = stuck_after
        self._late = late
        self._last = clock.monotonic()
        self._judge_from = self._last
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Watch from a thread of its own; raises `RuntimeError` if there is none."""
        self._thread = threading.Thread(target=self._watch, name="dtms-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the watch; idempotent, and callable from the watch itself."""
        self._ended.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=2 * self._every + 1)

    def check(self) -> str | None:
        """Return why the root must be declared dead, or None."""
        now = self._clock.monotonic()
        late, self._last = now - self._last - self._every, now
        if late > self._late:
            self._judge_from = now
        if self._root.done:
            return "the root supervisor has died"
        busy = self._vitals.busy_since
        if busy is not None and now - max(busy, self._judge_from) > self._stuck_after:
            return f"the root supervisor is stuck in {self._vitals.busy_with or 'its start'}"
        if now - max(self._vitals.progress_at, self._judge_from) > self._stuck_after:
            return "the root supervisor no longer checks its children"
        return None

    def _watch(self) -> None:
        while not self._ended.wait(self._every):
            cause = self.check()
            if cause is not None and not self._ended.is_set():
                self._declare_dead(cause)
                return
