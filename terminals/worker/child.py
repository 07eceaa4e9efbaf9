"""The child: builds one terminal from the first frame, then answers one call at a time.

    the guard says               the child answers
    (0, "hello", kind, options)  (0, ok, None, last error, None)
    (id, call, args, named, account)  (id, ok, answer, last error, fields)
                                 (None, name, value): a note that nobody asked for

`ok` is False for an exception, and the answer is then the exception. `account`
is None, or login and server that must be logged in at the moment of the order.
The end of the pipe is the end of the process, also while a call hangs.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final

from defence.errors import Invalid
from terminals.constants import RES_E_INTERNAL_FAIL_CONNECT, RES_S_OK
from terminals.protocol import CALLS, Terminal
from terminals.worker.build import build
from terminals.worker.frames import Frames, frame
from terminals.worker.goods import MARKET_TIME, Packing, packed_error
from terminals.worker.ties import (
    claim_pipes,
    die_with,
    end_with,
    outlive_signals,
    quiet_crashes,
)

CLOSE: Final = "close"
SUCCESS: Final = (RES_S_OK, "Success")
# Of a simulated terminal only: who plays the broker's back office (sim/back_office.py).
OFFICE: Final = (
    "open_position",
    "close_position",
    "modify",
    "change_ticket",
    "vanish",
    "deposit",
    "set_price",
    "release_price",
    "advance",
    "disconnect",
    "reconnect",
    "switch_account",
    "set_autotrading",
    "set_trading",
    "add_fault",
    "clear_faults",
)
FACTS: Final = (MARKET_TIME, "over", "orders_sent", "calls")
FACT: Final = "fact"
DAMAGED: Final = 65  # exit status
GARBAGE_EVERY: Final = 50_000  # new objects until cycles are looked for; 700 is usual
TELL_EVERY: Final = 1.0  # seconds
_PIECE: Final = 65_536


class OtherAccountError(Exception):
    """The account at the moment of the order is not the one that the order is for."""


class _Ours:
    """A permit that is refused unless the expected account is logged in."""

    def __init__(self, terminal: Terminal, expected: tuple[int | None, str | None]) -> None:
        self._terminal = terminal
        self._expected = expected

    def __enter__(self) -> None:
        found = self._terminal.account_info()
        if found is None:
            raise OtherAccountError("not sent: the account cannot be read at the order")
        for name, wanted in zip(("login", "server"), self._expected, strict=True):
            if wanted is not None and getattr(found, name) != wanted:
                shown = getattr(found, name)
                raise OtherAccountError(f"not sent: {name} is {shown!r}, expected {wanted!r}")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Hold nothing."""


class Serving:
    """One terminal and whoever asks it."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        """`write` takes a whole frame."""
        self._write = write
        self._packing = Packing()
        self._terminal: Terminal | None = None
        self._calls: dict[str, Callable[..., Any]] = {}
        self._told_at = float("-inf")
        self.busy = False  # with a message, so that nobody reads the pipe

    def note(self, name: str, value: Any) -> None:
        """Tell the guard's side something."""
        self._write(frame((None, name, value)))

    def serve(self, message: Any) -> bool:
        """Answer one message; False after the last one. Raises Invalid for what is none."""
        if not isinstance(message, tuple) or len(message) < 4:
            raise Invalid(f"holds no call: {message!r:.80}", field="frame")
        if message[1] == "hello":
            self._hello(message)
            return True
        if self._terminal is None or len(message) != 5:
            raise Invalid("holds a call before the first message", field="frame")
        number, call, args, named, account = message
        if call == CLOSE:
            self._terminal.close()
            self._answer(number, True, None, SUCCESS, None)
            return False
        shape = None
        try:
            answer = self._do(call, args, named, account)
            self._tell_time(call)
            packed, shape = self._packing.pack(call, answer)
            sent = frame((number, True, packed, self._last_error(call), shape))
        except OtherAccountError as error:
            self._answer(number, True, None, (RES_E_INTERNAL_FAIL_CONNECT, str(error)), None)
        except Exception as error:  # noqa: BLE001 - it is the caller's: it goes to the guard's side
            self._answer(number, False, packed_error(error), self._last_error(call), shape)
        else:
            self._write(sent)
        return True

    def _hello(self, message: Any) -> None:
        number, _, kind, options = message
        try:
            terminal = build(kind, options, self.note)
        except Exception as error:  # noqa: BLE001 - it is the caller's: it goes to the guard's side
            self._answer(number, False, packed_error(error), SUCCESS, None)
            return
        self._offer(terminal, office=not terminal.real)
        self._answer(number, True, None, SUCCESS, None)

    def _offer(self, terminal: Terminal, *, office: bool) -> None:
        """Answer calls of this terminal from now on, and of its broker's back office if so."""
        self._terminal = terminal
        self._calls = {
            name: getattr(terminal, name) for name in (*CALLS, *(OFFICE if office else ()))
        }
        if office:
            self._calls["add_fault"] = self._add_fault
            self._calls[FACT] = self._fact

    def _do(self, call: str, args: Sequence[Any], named: Mapping[str, Any], account: Any) -> Any:
        if call not in self._calls:
            raise Invalid(f"{call!r} is not offered", field="call", value=call)
        if call == "order_send" and account is not None and self._terminal is not None:
            return self._terminal.send_under(_Ours(self._terminal, account), *args, **named)
        return self._calls[call](*args, **named)

    def _tell_time(self, call: str) -> None:
        """Tell now and then how far the market is: a next worker must not go back behind it."""
        terminal, now = self._terminal, time.monotonic()
        if terminal is None or terminal.real:
            return
        if call in OFFICE or now - self._told_at >= TELL_EVERY:
            self._told_at = now
            self.note(MARKET_TIME, self._fact(MARKET_TIME))

    def _add_fault(self, fault: Mapping[str, Any]) -> None:
        from terminals.sim.faults import fault_from

        terminal: Any = self._terminal
        terminal.add_fault(fault_from(fault))

    def _fact(self, name: str) -> Any:
        if name not in FACTS:
            raise Invalid(f"{name!r} is not offered", field="call", value=name)
        value = getattr(self._terminal, name)
        return dict(value) if isinstance(value, Mapping) else value

    def _last_error(self, call: str) -> tuple[int, str]:
        if self._terminal is None or call not in CALLS:  # the back office has none
            return SUCCESS
        code, text = self._terminal.last_error()
        return int(code), str(text)

    def _answer(self, number: int, ok: bool, value: Any, error: Any, shape: Any) -> None:
        self._write(frame((number, ok, value, error, shape)))


def main(arguments: Sequence[str]) -> int:
    """Serve over standard input and output until the pipe ends; return the exit status.

    `arguments` has the process id of the guard.
    """
    if arguments:
        die_with(int(arguments[0]))
    outlive_signals()
    incoming, outgoing = claim_pipes()
    quiet_crashes()
    # Answers are thousands of short-lived rows without cycles: looking through all that was
    # imported for every few hundred of them would cost as much as packing them.
    gc.freeze()
    gc.set_threshold(GARBAGE_EVERY)
    serving = Serving(lambda data: _write(outgoing, data))
    watch = threading.Thread(target=end_with, args=(incoming, serving), daemon=True)
    watch.start()
    frames = Frames()
    try:
        # This thread reads for itself: a call that had to pass through another comes later.
        while piece := os.read(incoming, _PIECE):
            for message in frames.feed(piece):
                serving.busy = True
                if not serving.serve(message):
                    return 0
                serving.busy = False
    except Invalid as error:
        print(f"worker: {error}", file=sys.stderr, flush=True)  # noqa: T201
        os._exit(DAMAGED)
    except OSError as error:
        print(f"worker: its pipe failed: {error}", file=sys.stderr, flush=True)  # noqa: T201
    os._exit(0)


def _write(pipe: int, data: bytes) -> None:
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(pipe, rest) :]
    except OSError:
        os._exit(0)  # nobody is there to read it
