"""What both runtimes offer: threads with real time, or one seeded thread without."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from pykka import Future

from actors.clock import Clock

if TYPE_CHECKING:
    from actors.incarnation import Incarnation


class Timer(Protocol):
    """A call that is to come."""

    def cancel(self) -> None:
        """Let it not come; too late is no error."""
        ...


class Runtime(Protocol):
    """Runs incarnations, calls timers, makes futures and waits for them."""

    @property
    def clock(self) -> Clock:
        """The runtime's clock."""
        ...

    @property
    def random(self) -> random.Random:
        """Random numbers for jitter; seeded in the simulated runtime."""
        ...

    def new_id(self) -> str:
        """Return an id that no other message has."""
        ...

    def new_future(self) -> Future[Any]:
        """Return an empty future."""
        ...

    def run(self, incarnation: Incarnation) -> None:
        """Begin to step an incarnation; raises `RuntimeError` if no thread can be had."""
        ...

    def join(self, incarnation: Incarnation, timeout: float) -> bool:
        """Wait until its thread has ended; False if it has not after `timeout` seconds."""
        ...

    def call_later(self, delay: float, call: Callable[[], None]) -> Timer:
        """Call `call` after `delay` seconds; it must be quick and never block."""
        ...

    def aside(self, work: Callable[[], object], then: Callable[[object], None]) -> None:
        """Do `work` where it keeps no actor waiting, then call `then` with its result or error.

        For what takes long and touches no actor's state. `then` must be quick.
        Raises `RuntimeError` if no thread can be had.
        """
        ...

    def hang(self, seconds: float | None = None) -> None:
        """Stop here as a hung call does: for `seconds`, or until the runtime closes."""
        ...

    def wait(self, future: Future[Any], timeout: float) -> Any:
        """Return the future's value, or raise its error, or `pykka.Timeout`."""
        ...

    def wait_until(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait until `condition` holds; False if it does not within `timeout` seconds."""
        ...

    def close(self) -> None:
        """Release what hangs and end the timers; idempotent."""
        ...


def outcome(work: Callable[[], object]) -> object:
    """Return what `work` returns or raises, for a caller that must not fail."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - it is handed on, to whoever asked
        return error
