"""What one client, or all of them, may ask for at a time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, TypeVar

from defence.errors import DeadlinePassed, MailboxFull, Stopped
from gateway.errors import TooMany
from gateway.threads import DaemonThreads

T = TypeVar("T")
MAX_CLIENTS: Final = 4096  # addresses that are remembered; the one unseen longest goes first


class TokenBuckets:
    """A token bucket for each client: `rate` requests a second, a second's worth at once.

    `clock` gives monotonic seconds. Used on one thread, the event loop's.
    """

    def __init__(self, rate: float, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._most = max(1.0, rate)
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> None:
        """Count one request; raises `TooMany` with the time until the next one may come."""
        if self._rate <= 0:
            return
        now = self._clock()
        tokens, at = self._buckets.get(client, (self._most, now))
        tokens = min(self._most, tokens + max(0.0, now - at) * self._rate)
        allowed = tokens >= 1.0
        self._buckets[client] = (tokens - 1.0 if allowed else tokens, now)
        self._buckets.move_to_end(client)
        while len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        if not allowed:
            raise TooMany(
                f"more than {self._rate:g} changes a second",
                wait=(1.0 - tokens) / self._rate,
                remedy="wait as Retry-After says, or use the batch form",
            )


class Lane:
    """Threads for calls that block, so that the event loop never does.

    Kinds of requests have lanes of their own: sixty registrations that wait
    for a hung terminal do not keep ops from freezing the guard. What waits for
    a thread is bounded, and given up after `patience` seconds.
    """

    def __init__(
        self, name: str, threads: int, waiting: int, patience: float, clock: Callable[[], float]
    ) -> None:
        self._name = name
        self._most = threads + waiting
        self._patience = patience
        self._clock = clock
        self._here = 0
        self._closed = False
        self._threads = DaemonThreads(threads, f"dtms-http-{name}")

    async def run(self, call: Callable[[], T]) -> T:
        """Return what `call` returns, on a thread of this lane.

        Raises what it raises; `MailboxFull` if too many wait, `DeadlinePassed`
        if no thread got to it in time: in both cases it was not done.
        """
        if self._closed:
            raise Stopped("the gateway is stopping", remedy="start it again")
        if self._here >= self._most:
            raise MailboxFull(
                f"{self._here} requests are under way already", remedy="try again in a moment"
            )
        due = self._clock() + self._patience

        def begin() -> T:
            if self._clock() > due:
                raise DeadlinePassed(
                    f"no thread was free within {self._patience:g} s; it was not done",
                    remedy="try again in a moment",
                )
            return call()

        self._here += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, begin)
        finally:
            self._here -= 1

    def close(self) -> None:
        """Let the threads end when they are idle; what has not begun is not done."""
        self._closed = True
        self._threads.shutdown(wait=False, cancel_futures=True)
