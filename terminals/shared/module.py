"""What a program holds that imports MetaTrader5: the terminal behind the module's functions.

It has a method for each function of the package (`terminals.module` makes the
module of them), and asks the broker that DTMS_BROKER names at `initialize`:
over a connection (`line.py`), or, for `in-process`, a private one right here.

It leaves the program alone: no thread, no signal handler, no log. As with the
package there is one connection and one `last_error` a process, calls take
turns, and none but `initialize` and `login` has a time-out. A fork's child has
no connection until it calls `initialize` itself.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final

from defence.errors import DtmsError, Invalid
from terminals import constants as mt5
from terminals.functions import FUNCTIONS
from terminals.shared.address import TOKEN_VARIABLE, VARIABLE, find
from terminals.shared.line import Line
from terminals.worker.goods import Unpacking, error_of, last_error_of
from terminals.worker.hearing import EndedError

if TYPE_CHECKING:
    from terminals.sim.terminal import SimulatedTerminal

IN_PROCESS: Final = "in-process"
CONNECT_TIMEOUT_MS: Final = 60_000  # the package's own

_SUCCESS: Final = (mt5.RES_S_OK, "Success")
_NO_IPC: Final = (mt5.RES_E_INTERNAL_FAIL_CONNECT, "No IPC connection")
_LOST: Final = (mt5.RES_E_INTERNAL_FAIL_RECEIVE, "IPC recv failed")
_TIMEOUT: Final = (mt5.RES_E_INTERNAL_FAIL_TIMEOUT, "IPC timeout")
_BOOLEAN: Final = frozenset(
    {"initialize", "login", "symbol_select", "market_book_add", "market_book_release"}
)
_SILENT: Final = ("market_book_add", "market_book_release")  # they never say why they fail
_BUILD_FIRST: Final = ("symbols_total", "symbols_get")  # they ask for the build before all else
_CONNECTING: Final = ("initialize", "login")


class PackageTerminal:
    """The functions of the package, over the broker that the environment names."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        """Connect to nothing: `initialize` does."""
        self._environ = environ
        self._owner = os.getpid()
        self._turn = threading.RLock()
        self._line: Line | None = None
        self._here: SimulatedTerminal | None = None
        self._unpacking = Unpacking()
        self._number = 0
        self._error = _SUCCESS
        self._met = False  # a terminal was connected once
        atexit.register(self._leave)

    # -- connecting

    def initialize(self, **options: Any) -> bool:
        """Connect, anew if it is connected already; False with `last_error` if that fails."""
        with self._mine():
            self._leave()
            if self._environ.get(VARIABLE) == IN_PROCESS:
                return self._begin_here(options)
            self._here = None  # the environment names another now
            until = time.monotonic() + _seconds(options)
            line = Line(self._find)
            try:
                line.answer(0, until)
            except EndedError as error:
                if time.monotonic() < until:
                    return self._initialize_failed(str(error))
                self._error = _TIMEOUT
                return False
            self._line, self._unpacking, self._number = line, Unpacking(), 0
            if not self._exchange("initialize", (), options, until):
                self._leave()
                return False
            self._met = True
            return True

    def _find(self) -> Any:
        return find(self._environ.get(VARIABLE), self._environ.get(TOKEN_VARIABLE))

    def _begin_here(self, options: Mapping[str, Any]) -> bool:
        try:
            if self._here is None:
                from terminals.shared.alone import alone  # it loads numpy

                self._here = alone(self._environ)
        except DtmsError as error:
            return self._initialize_failed(str(error))
        return bool(self._ask_here(self._here, "initialize", (), options))

    def _ask_here(
        self, here: SimulatedTerminal, name: str, args: tuple[Any, ...], named: Mapping[str, Any]
    ) -> Any:
        try:
            answer = getattr(here, name)(*args, **named)
        except Exception as raised:  # noqa: BLE001 - as from a broker: a fault may raise anything
            return self._fail(name, _raised(raised))
        self._error = here.last_error()
        return answer

    def _initialize_failed(self, why: str) -> bool:
        self._error = (mt5.RES_E_INTERNAL_FAIL_INIT, f"IPC initialize failed, {why}")
        return False

    def shutdown(self) -> bool:
        """Disconnect; always True."""
        with self._mine():
            self._leave()
            self._error = _SUCCESS
        return True

    def last_error(self) -> tuple[int, str]:
        """Return how the newest call of any thread ended."""
        return self._error

    def _leave(self) -> None:
        """End the connection, without waiting for anybody."""
        line, self._line = self._line, None
        if line is not None:
            (line.kill("closed") if os.getpid() == self._owner else line.abandon())
        if self._here is not None and os.getpid() == self._owner:
            self._here.shutdown()

    def _mine(self) -> AbstractContextManager[Any]:
        """Return the turn; a fork's child begins without a connection and with a free turn.

        It leaves the private broker alone: a thread that is not in the child may
        have been inside, and then no lock of it is ever given back.
        """
        if os.getpid() != self._owner:
            if self._line is not None:
                self._line.abandon()
            self._line = self._here = None
            self._turn, self._owner = threading.RLock(), os.getpid()
        return self._turn

    # -- calls

    def ask(self, name: str, args: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        """Call a function of the package, with arguments as `terminals.arguments` reads them."""
        with self._mine():
            if self._here is not None and self._line is None:
                return self._ask_here(self._here, name, args, named)
            until = time.monotonic() + _seconds(named) if name in _CONNECTING else float("inf")
            return self._exchange(name, args, named, until)

    def _exchange(
        self, name: str, args: tuple[Any, ...], named: Mapping[str, Any], until: float
    ) -> Any:
        line = self._line
        if line is None:
            return self._fail(name, self._unconnected(name))
        self._number += 1
        try:
            if not line.send((self._number, name, args, dict(named), None)):
                self._leave()
                return self._fail(name, _NO_IPC)
            answer = line.answer(self._number, until)
        except Invalid as error:
            return self._fail(name, (mt5.RES_E_INVALID_PARAMS, f"Terminal: {error.message}"))
        except EndedError:
            self._leave()
            return self._fail(name, _LOST)
        except BaseException:  # Ctrl-C: the answer would be taken for that of the next call
            self._leave()
            raise
        if answer is None:
            self._leave()
            return self._fail(name, _TIMEOUT)
        return self._taken(name, answer)

    def _taken(self, name: str, answer: tuple[Any, ...]) -> Any:
        """Return what an answer says; the package's functions never raise what a terminal does."""
        _, ok, value, error, shape = answer
        try:
            self._error = last_error_of(error)
            if shape is not None:  # also with an error: the broker tells them only once
                self._unpacking.learn(name, shape)
            if not ok:
                return self._fail(name, _raised(error_of(value)))
            return self._unpacking.unpack(name, value)
        except Invalid:
            self._leave()
            return self._fail(name, _LOST)

    def _unconnected(self, name: str) -> tuple[int, str]:
        if name in _BUILD_FIRST and not self._met:
            from terminals.sim.asking import OLD_TERMINAL  # seldom; it loads numpy

            return OLD_TERMINAL
        return _NO_IPC

    def _fail(self, name: str, error: tuple[int, str]) -> bool | None:
        self._error = _SUCCESS if name in _SILENT else error
        return False if name in _BOOLEAN else None


def _raised(error: Exception) -> tuple[int, str]:
    return mt5.RES_E_INTERNAL_FAIL, f"IPC call failed: {error}"


def _forward(name: str) -> Callable[..., Any]:
    def call(self: PackageTerminal, *args: Any, **named: Any) -> Any:
        return self.ask(name, args, named)

    call.__name__ = call.__qualname__ = name
    return call


for _name in FUNCTIONS:
    if not hasattr(PackageTerminal, _name):
        setattr(PackageTerminal, _name, _forward(_name))


def _seconds(options: Mapping[str, Any]) -> float:
    """Return the time-out of a call that connects; the package counts it in milliseconds."""
    return float(options.get("timeout") or CONNECT_TIMEOUT_MS) / 1000.0
