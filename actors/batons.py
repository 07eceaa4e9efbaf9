"""Steps that can stop in the middle: a handler on a thread of its own, one thread at a time.

A single thread cannot leave a handler half done and go on with another. So
the simulated runtime gives a step that may hang a thread, and hands it the
baton: whoever has it runs, everybody else stands still. What happens depends
on who is given the baton, and on nothing else: it replays identically.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

_here = threading.local()


class Abandoned(BaseException):
    """Unwinds a handler that never returns: it is as if it stood there for ever."""


class Baton:
    """One piece of work that may stop in its middle, be left, and be taken up again later."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work = work
        # Plain locks as semaphores of one: a hand-over is two of their operations.
        self._go: Final = threading.Lock()
        self._back: Final = threading.Lock()
        self._go.acquire()
        self._back.acquire()
        self._drop = False
        self.ended = False
        self._thread = threading.Thread(target=self._run, name="dtms-baton", daemon=True)

    def begin(self) -> bool:
        """Run until the work stops or ends; True when it has ended."""
        self._thread.start()
        return self._wait()

    def resume(self) -> bool:
        """Go on where it stopped; True when it has ended."""
        self._go.release()
        return self._wait()

    def drop(self) -> None:
        """Unwind the work where it stopped; it is not gone on with."""
        self._drop = True
        self.resume()

    def stop_here(self) -> None:
        """Stop the work, on its own thread, until somebody resumes it."""
        self._back.release()
        self._go.acquire()
        if self._drop:
            raise Abandoned("its world has ended")

    def _wait(self) -> bool:
        self._back.acquire()
        if self.ended:
            self._thread.join()
        return self.ended

    def _run(self) -> None:
        _here.baton = self
        try:
            self._work()
        finally:
            self.ended = True
            self._back.release()


def current_baton() -> Baton | None:
    """Return the baton whose work runs on this thread, None on an ordinary one."""
    baton: Baton | None = getattr(_here, "baton", None)
    return baton
