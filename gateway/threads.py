"""Threads for calls that block, as an executor that never keeps a process from ending.

The standard library's executors are joined at the interpreter's exit, even by
a program that has forgotten them: one request that hangs would hold the host
back for as long as it hangs.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class DaemonThreads(Executor):
    """At most `most` daemon threads, begun as they are needed; each is named `name`_n."""

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._over = False
        self._left: dict[Callable[[], None], Future[object]] = {}  # not begun

    def submit(  # the base class has positional-only names
        self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]:
        """Have it called on one of the threads. Raises `RuntimeError` after the shutdown."""
        future: Future[T] = Future()

        def job() -> None:
            self._left.pop(job, None)
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:  # noqa: BLE001 - it is handed on, to whoever asked
                future.set_exception(error)

        with self._lock:
            if self._over:
                raise RuntimeError("these threads have ended")
            self._left[job] = future  # type: ignore[assignment]  # of whatever it returns
            self._jobs.put(job)  # first: a thread that finds nothing calls itself idle
            if not self._idle.acquire(blocking=False) and len(self._threads) < self._most:
                self._begin(future)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the threads end when they are idle; idempotent."""
        with self._lock:
            first, self._over = not self._over, True
            threads = list(self._threads)
            if cancel_futures:
                for future in tuple(self._left.values()):
                    future.cancel()
            if first:
                for _ in threads:
                    self._jobs.put(None)
        if wait:
            for thread in threads:
                thread.join()

    def _begin(self, future: Future[T]) -> None:
        """Begin one more thread; where none can be had the others have to do."""
        name = f"{self._name}_{len(self._threads)}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            if not self._threads:
                future.cancel()
                raise
            return
        self._threads.append(thread)

    def _work(self) -> None:
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                self._idle.release()
                job = self._jobs.get()
            if job is None:
                return
            job()
            del job  # or what it holds would stay until the next one comes
