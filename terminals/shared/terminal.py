"""The simulated terminal with several programs at it: each has a seat of its own.

As with a real one, there is one terminal and one account, and each program
that loads the package has its own connection to it: what `initialize` has done
and what `last_error` says are the program's, all else is the terminal's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final

from terminals.protocol import Permit
from terminals.sim.calls import SUCCESS
from terminals.sim.terminal import SimulatedTerminal
from terminals.structs import OrderSendResult
from terminals.worker.child import OtherAccountError

_LOOK_EVERY: Final = 0.05  # seconds; how soon it is noticed that nobody waits for a call any more


class NobodyWaitsError(Exception):
    """Whoever made the call has gone: nothing more is done for him."""


def _stays() -> bool:
    return False


class _Seat(threading.local):
    """What belongs to one client. Each is served by a thread of its own."""

    def __init__(self) -> None:
        self.initialized = False
        self.met = False
        self.error = SUCCESS
        self.subscribed: set[str] = set()
        self.gone: Callable[[], bool] = _stays


class SharedTerminal(SimulatedTerminal):
    """A simulated terminal of which each thread is another program."""

    def __init__(self, **options: Any) -> None:
        """Build it; the options are those of `SimulatedTerminal`, but for `hang`."""
        self._seat = _Seat()
        super().__init__(**options, hang=self._wait_for_client)

    def sit(self, gone: Callable[[], bool]) -> None:
        """Take a seat on this thread; `gone` says whether its client has left."""
        self._seat.gone = gone

    # The names under which the terminal keeps what belongs to a client.

    @property
    def _initialized(self) -> bool:
        return self._seat.initialized

    @_initialized.setter
    def _initialized(self, value: bool) -> None:
        self._seat.initialized = value

    @property
    def _error(self) -> tuple[int, str]:
        return self._seat.error

    @_error.setter
    def _error(self, value: tuple[int, str]) -> None:
        self._seat.error = value

    @property
    def _met(self) -> bool:
        return self._seat.met

    @_met.setter
    def _met(self, value: bool) -> None:
        self._seat.met = value

    @property
    def _subscribed(self) -> set[str]:
        return self._seat.subscribed

    @_subscribed.setter
    def _subscribed(self, value: set[str]) -> None:
        self._seat.subscribed = value

    def _wait_for_client(self, seconds: float | None) -> None:
        """Hang a call for as long as its client waits; others are served meanwhile.

        Raises NobodyWaitsError if he has gone: a call that was given up must
        not take effect when the hang is over.
        """
        end = float("inf") if seconds is None else time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self._released.wait(min(_LOOK_EVERY, left)):
                return
            if self._seat.gone():
                raise NobodyWaitsError

    def _send(
        self, permit: Permit, request: tuple[Any, ...], fields: Mapping[str, Any]
    ) -> OrderSendResult | None:
        return super()._send(_OneStep(self, permit), request, fields)

    def still_waits(self) -> None:
        """Raise NobodyWaitsError if this thread's client has gone."""
        if self._seat.gone():
            raise NobodyWaitsError

    def account_key(self) -> tuple[int, str]:
        """Return login and server of the account that is logged in."""
        with self._lock:
            return self._key(self._broker)

    @property
    def turn(self) -> Any:
        """The lock of all calls."""
        return self._lock


class _OneStep:
    """A permit, and the order right after it: no other client comes between.

    The permit itself may look at the account, and such a look may hang by
    script; so it is entered without the lock, and what it found is compared
    under it.
    """

    def __init__(self, terminal: SharedTerminal, permit: Permit) -> None:
        self._terminal = terminal
        self._permit = permit

    def __enter__(self) -> None:
        terminal = self._terminal
        before = terminal.account_key()
        self._permit.__enter__()
        terminal.turn.acquire()
        try:
            terminal.still_waits()
            if terminal.account_key() != before:
                raise OtherAccountError("not sent: the account was switched at the order")
        except BaseException as error:
            terminal.turn.release()
            self._permit.__exit__(type(error), error, error.__traceback__)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._terminal.turn.release()
        self._permit.__exit__(kind, error, trace)
