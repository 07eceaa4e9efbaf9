"""The future of an answer: one lock, taken until the answer is there.

pykka's own makes a condition, which costs several times as much to make, to
set and to wait for; every registration has one.
"""

from __future__ import annotations

import sys
import threading
from queue import Full
from typing import TYPE_CHECKING, Any

from pykka import Future, Timeout

if TYPE_CHECKING:
    from types import TracebackType

_Error = tuple[type[BaseException], BaseException, "TracebackType | None"]


class Reply(Future[Any]):
    """A future for real threads. Set once; a second time raises `queue.Full`, as pykka's does."""

    def __init__(self) -> None:
        super().__init__()
        self._turn = threading.Lock()  # who may set it
        self._there = threading.Lock()  # held until it is set
        self._there.acquire()  # given back by whoever sets it, on another thread
        self._value: object = None
        self._error: Any = None

    def get(self, *, timeout: float | None = None) -> Any:
        """Return the answer, or raise it; `pykka.Timeout` after `timeout` seconds."""
        if self._get_hook is not None:  # made by `map`, `join` and the like
            return super().get(timeout=timeout)
        wait = -1.0 if timeout is None else min(max(0.0, timeout), threading.TIMEOUT_MAX)
        if not self._there.acquire(timeout=wait):
            raise Timeout(f"{timeout} seconds")
        self._there.release()  # for whoever asks again
        if self._error is not None:
            kind, error, trace = self._error
            error = kind() if error is None else error
            raise error if error.__traceback__ is trace else error.with_traceback(trace)
        return self._value

    def set(self, value: object = None) -> None:
        """Answer with a value."""
        self._take_turn()
        self._value = value
        self._there.release()

    def set_exception(self, exc_info: Any = None) -> None:
        """Answer with an error, `sys.exc_info()` by default."""
        error = sys.exc_info() if exc_info is None else exc_info
        self._take_turn()
        self._error = error
        self._there.release()

    def _take_turn(self) -> None:
        if self._get_hook is not None or not self._turn.acquire(blocking=False):
            raise Full
