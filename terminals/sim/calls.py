"""How a call of the simulated terminal goes: counted, spoiled by script, done, answered."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, Final, TypeVar

from terminals import constants as mt5
from terminals.c_values import BadArgumentError
from terminals.protocol import Permit
from terminals.sim.effects import Effect, Sort
from terminals.sim.faults import Fault
from terminals.sim.mishaps import Mishaps
from terminals.sim.screen import of_another_account
from terminals.sim.script import FaultScript
from terminals.sim.server import Setup
from terminals.structs import AccountInfo, OrderCheckResult

T = TypeVar("T")
SUCCESS: Final = (mt5.RES_S_OK, "Success")
NO_IPC: Final = (mt5.RES_E_INTERNAL_FAIL_CONNECT, "No IPC connection")
INVALID_PARAMS: Final = (mt5.RES_E_INVALID_PARAMS, "Terminal: Invalid params")
NOT_FOUND: Final = (mt5.RES_E_NOT_FOUND, "Terminal: Not found")
# With these the terminal itself refuses, before the server could.
NOT_SENT: Final = (mt5.TRADE_RETCODE_CLIENT_DISABLES_AT, mt5.TRADE_RETCODE_CONNECTION)
UNAUTHORISED: Final = (mt5.RES_E_AUTH_FAILED, "Terminal: Authorization failed")


class FailError(Exception):
    """Ends a call: it gives its failure value, and `last_error()` this code and text."""

    def __init__(self, error: tuple[int, str]) -> None:
        super().__init__(error[1])
        self.error = error


class Calls(Mishaps):
    """The machinery under the module's functions."""

    def __init__(
        self,
        setup: Setup,
        faults: Sequence[Fault] | FaultScript,
        hang: Callable[[float | None], None] | None,
    ) -> None:
        """Build the server; nothing is connected yet."""
        super().__init__(setup, faults)
        self.calls: Counter[str] = Counter()
        self._released = threading.Event()
        self._hang = hang if hang is not None else self._wait
        self._error: tuple[int, str] = SUCCESS
        self._initialized = False

    def close(self) -> None:
        """End for good: save, fail all calls from now on, release whoever hangs."""
        with self._lock:
            if not self._released.is_set():
                self._refresh()
                self._saved = None
                self._save()
            self._released.set()
            self._initialized = False

    # -- how a call goes ---------------------------------------------------

    def _call(
        self,
        name: str,
        work: Callable[[], T],
        failed: T,
        *,
        empty: T | None = None,
        answer: Callable[[int], T] | None = None,
        permit: Permit | None = None,
        connects: bool = False,
        steps: bool = False,
        about: str | None = None,
    ) -> T:
        """Do one call: scripted faults before, the work under permit and lock, faults after.

        `about` is the symbol that is asked for, for what a fault shows instead.
        """
        with self._lock:
            self.calls[name] += 1
            if not self._reachable(connects):
                return failed
            if self._script.timed:
                self._refresh()  # what has come by now may be about this very call
            due = self._script.due(name)
        for fault in due:
            if fault.when == "before":
                if fault.effect in (Effect.UNKNOWN, Effect.EMPTY):
                    return self._lost(fault, failed, empty)
                self._suffer(fault)
        # The permit comes before the lock: whoever waits for the permit holds nothing here.
        with permit if permit is not None else nullcontext():
            result, done = self._work(work, failed, due, answer, connects, steps, about)
        for fault in due if done else ():
            if fault.when == "after":
                if fault.effect in (Effect.UNKNOWN, Effect.EMPTY):
                    return self._lost(fault, failed, empty)
                if fault.effect is Effect.RETCODE and answer is not None and fault.retcode:
                    with self._lock:
                        result = answer(fault.retcode)
                self._suffer(fault)
        return result

    def _work(
        self,
        work: Callable[[], T],
        failed: T,
        due: Sequence[Fault],
        answer: Callable[[int], T] | None,
        connects: bool,
        steps: bool,
        about: str | None,
    ) -> tuple[T, bool]:
        """Do a call's own work; return the answer, and whether the terminal gave it."""
        with self._lock:
            if not self._reachable(connects):  # it may have been closed while the call hung
                return failed, False
            self._error = SUCCESS
            if steps:
                self._clock.step_on()
            self._refresh()
            try:
                if self._trouble is not None and not connects:
                    raise FailError((mt5.RES_E_INTERNAL_FAIL_RECEIVE, self._trouble))
                forced = [one.retcode for one in due if one.retcode and one.when == "before"]
                if forced and answer is not None:
                    return answer(forced[-1] or 0), True
                self._bent = due
                result = work()
                if isinstance(result, OrderCheckResult) and answer is not None:
                    result = self._checked(result, answer)
                result = self._as_shown(result, due, about)
            except (FailError, BadArgumentError) as error:
                self._error = error_of(error)
                return failed, True
            self._save()
            return result, True

    def _checked(self, found: OrderCheckResult, answer: Callable[[int], T]) -> T | Any:
        """Return what `order_check` says of a server that takes no orders now."""
        off = self._refusals()
        if not off or found.retcode in NOT_SENT:
            return found
        return answer(off[0])

    def _as_shown(self, answer: T, due: Sequence[Fault], about: str | None) -> T:
        """Return an answer as the terminal shows it, which may be wrong."""
        shown: Any = self._show(answer, about)
        for fault in due:
            if fault.effect is Effect.WRONG_ACCOUNT and isinstance(shown, AccountInfo):
                shown = of_another_account(shown, fault)
        found: T = shown
        return found

    def _reachable(self, connects: bool) -> bool:
        if self._released.is_set() and connects:
            self._error = (mt5.RES_E_INTERNAL_FAIL_INIT, "IPC initialize failed, terminal closed")
            return False
        if not self._initialized and not connects:
            self._error = NO_IPC
            return False
        return True

    def _lost(self, fault: Fault, failed: T, empty: T | None) -> T:
        with self._lock:
            if fault.effect is Effect.EMPTY and empty is not None:
                self._error = SUCCESS
                return empty
            self._error = fault.error
            return failed

    def _suffer(self, fault: Fault) -> None:
        """Wait, raise, or let something happen. Called with neither lock nor permit held."""
        if fault.effect in (Effect.HANG, Effect.DELAY, Effect.SLOW):
            self._hang(fault.seconds)
        elif fault.sort is not Sort.ANSWER:
            self._happens(fault)
        elif fault.effect is Effect.RAISE:
            raise ConnectionError(f"scripted fault in {fault.call}")

    def _wait(self, seconds: float | None) -> None:
        self._released.wait(seconds)


def error_of(error: FailError | BadArgumentError) -> tuple[int, str]:
    if isinstance(error, FailError):
        return error.error
    return mt5.RES_E_INVALID_PARAMS, str(error)
