"""One connection to an mt5linux server, from its start to its end; after it comes another one.

A thread of its own connects, sends the far side over and asks whether it is
well; then it ends, and whoever asks reads his answer himself. A connection
that has missed an answer is never used again: the answer would come later and
be taken for another.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Final

from defence.errors import Invalid
from terminals.bridge.packed import Packed, unpacked
from terminals.bridge.place import Place
from terminals.bridge.rpc import Language, RaisedError, Reference, reference
from terminals.bridge.wire import Wire, framed
from terminals.worker.hearing import EndedError
from terminals.worker.plan import Plan
from terminals.worker.process import Log

CLOSE: Final = "close"
INITIALIZE: Final = "initialize"
ORDER: Final = "order_send"
REQUEST_LIMIT: Final = 65_536  # characters
_ROOT, _EXECUTE, _FUNCTION, _HELLO = -3, -2, -1, 0  # numbers of the first requests
_SUCCESS: Final = (1, "Success")
_HIDDEN: Final = "***"

Answer = tuple[Any, ...]  # number, whether it is no exception, value, last error, fields


class Connection:
    """A `Peer` of `worker.host.Host`: it begins at once, and is `gone` when it is closed."""

    def __init__(
        self,
        plan: Plan,
        log: Log,
        *,
        place: Place,
        language: Language,
        far_side: str,
        call_timeout: float,
        connect_timeout: float,
    ) -> None:
        """Begin to connect, in the background. `plan.options` is what `initialize` is given.

        `far_side` is the text that runs at the server. `call_timeout` is how long
        a call may take, and until when an order may begin there; `connect_timeout`
        is for the first conversation. Both are seconds.
        """
        self.pid: int | None = None  # of the server's process
        self.gone = threading.Event()
        self.why = ""
        self.notes: dict[str, Any] = {}
        self.killed = False
        self.began_at = time.monotonic()
        self.ended_at = 0.0
        self._plan = plan
        self._log = log
        self._place = place
        self._language = language
        self._far_side = far_side
        self._call_timeout = call_timeout
        self._until = self.began_at + connect_timeout  # of the first conversation
        self._begun = threading.Event()  # the first conversation is over, well or not
        self._greeting: Answer = ()
        self._answer_of: Reference = ("", 0, 0)  # the far side's one function
        self._clocks: tuple[float, ...] = ()  # the server's
        self._heard_at = 0.0  # of them, by ours
        self._lock = threading.Lock()  # of the connection's life; held for moments only
        self._wire: Wire | None = None
        self._users = 0
        self._ended = False
        self._reset = True
        self._owner = os.getpid()
        threading.Thread(target=self._begin, name="dtms-bridge", daemon=True).start()

    # -- used by the caller, one at a time

    def send(self, message: Sequence[Any]) -> bool:
        """Send a call; False if no byte of it has left. Raises Invalid if it cannot be one."""
        number, call, arguments, named, expected = message
        if call == CLOSE:
            self._end("closed", reset=False)
            return True
        if call == INITIALIZE:
            named = _connecting(self._plan.options)
        with self._using() as wire:
            if wire is None:
                return False
            latest = self._latest_start() if call == ORDER else None
            text = _text((call, arguments, named, expected, latest))
            data = framed(self._language.call(number, self._answer_of, text))
            if not wire.quiet():
                self._end("the server closed it, or said what nobody had asked")
                return False
            return wire.send(data, time.monotonic() + self._call_timeout)

    def answer(self, number: int, until: float) -> Answer | None:
        """Return the answer with this number, None if there is none `until` (monotonic).

        Raises EndedError if the connection has ended.
        """
        if number == _HELLO:
            if not self._begun.wait(max(0.0, until - time.monotonic())):
                return None
            if not self._greeting:
                raise EndedError(self.why)
            return self._greeting
        with self._using() as wire:
            if wire is None:
                raise EndedError(self.why)
            try:
                found = self._heard(wire, number, until)
                packed = None if found is None else self._taken(self._language.answer(found))
            except (EOFError, Invalid, RaisedError) as problem:
                self._end(_what_ended(problem))
                raise EndedError(self.why) from problem
        if packed is None:
            return None
        value = packed.value if packed.ok else tuple(map(self._clean, packed.value))
        return number, packed.ok, value, _cleaned(packed.error, self._clean), packed.shape

    # -- used by anybody

    def kill(self, why: str) -> None:
        """End it now; from any thread, and without waiting."""
        if os.getpid() != self._owner:
            return  # a fork's child: the connection is its parent's
        self.killed = True
        self._end(why)

    def hang_up(self) -> None:
        """End it in order, if nobody uses it."""
        if not self._users:
            self._end("closed", reset=False)

    # -- its life

    def _begin(self) -> None:
        """Connect and greet. Whatever fails, its end is told."""
        try:
            self._open()
        except OSError as error:
            why = error.strerror or str(error)
            self._end(f"no mt5linux server answers at {self._place}: {why}")
        except (EOFError, Invalid, RaisedError) as problem:
            what = _what_ended(problem)
            self._end(f"the server at {self._place} is no mt5linux server of RPyC 6: {what}")
        except Exception as error:  # noqa: BLE001 - no thread, no memory: whoever waits is told
            self._end(f"it could not be used: {type(error).__name__}: {error}")

    def _open(self) -> None:
        left = self._until - time.monotonic()
        sock = self._place.connect(max(0.1, left))
        with self._lock:
            if self._ended:
                sock.close()
                return
            self._wire = Wire(sock)
        with self._using() as wire:
            if wire is not None:
                self._greet(wire)
        self._begun.set()

    def _greet(self, wire: Wire) -> None:
        """Send the far side over, and ask it whether the package is there."""
        language = self._language
        root = reference(self._asked(wire, _ROOT, language.root(_ROOT)))
        code = language.call_method(_EXECUTE, root, "execute", self._far_side)
        self._asked(wire, _EXECUTE, code)
        name = language.call_method(_FUNCTION, root, "eval", "dtms_far_side")
        self._answer_of = reference(self._asked(wire, _FUNCTION, name))
        call = language.call(_HELLO, self._answer_of, _text(("hello", (), {}, None, None)))
        packed = self._taken(self._asked(wire, _HELLO, call))
        if not packed.ok:
            self._greeting = (_HELLO, False, _no_package(packed.value), _SUCCESS, None)
            return
        self._take_hello(packed.value)

    def _take_hello(self, found: Any) -> None:
        if not isinstance(found, dict) or type(found.get("orders")) is not int:
            raise Invalid("the far side does not say how it is", field="answer")
        if found["orders"]:
            # Its sender has given it up. What it does is not known before it has ended.
            self._end("an order that was given up is still under way at the server")
            return
        process = found.get("process")
        self.pid = process if type(process) is int else None
        told = f"MetaTrader5 {found.get('package')!s:.40}, Python {found.get('python')!s:.40}"
        self._log("INFO", f"mt5linux at {self._place} has {told}")
        self._greeting = (_HELLO, True, None, _SUCCESS, None)

    def _asked(self, wire: Wire, number: int, body: bytes) -> object:
        if not wire.send(framed(body), self._until):
            raise EOFError("it closed the connection")
        found = self._heard(wire, number, self._until)
        if found is None:
            raise EOFError("it does not answer")
        return self._language.answer(found)

    def _heard(self, wire: Wire, number: int, until: float) -> bytes | None:
        body = wire.receive(until)
        if body is not None and self._language.number_of(body) != number:
            raise Invalid("the message answers what nobody has asked", field="message")
        return body

    def _taken(self, found: object) -> Packed:
        packed = unpacked(found)
        self._clocks, self._heard_at = packed.clocks, time.monotonic()
        return packed

    def _latest_start(self) -> list[float]:
        """Return until when an order may begin, by the server's clocks.

        After that its sender has given it up. What was heard of those clocks was
        under way for a while, so this is too early rather than too late.
        """
        left = time.monotonic() - self._heard_at + self._call_timeout
        return [theirs + left for theirs in self._clocks]

    @contextmanager
    def _using(self) -> Iterator[Wire | None]:
        """Use the wire, which is not closed meanwhile; None if it has ended."""
        with self._lock:
            self._users += 1
            wire = None if self._ended else self._wire
        try:
            yield wire
        finally:
            with self._lock:
                self._users -= 1
                if self._ended:
                    self._over()

    def _end(self, why: str, *, reset: bool = True) -> None:
        with self._lock:
            if not self._ended:
                self.why, self._reset, self._ended = self._clean(why), reset, True
            if self._wire is not None:
                self._wire.cut()
            self._over()

    def _over(self) -> None:
        """Close the wire once nobody uses it, and tell. The caller has the lock."""
        if self._users or self.gone.is_set():
            return
        if self._wire is not None:
            self._wire.close(reset=self._reset)
        self.ended_at = time.monotonic()
        self.gone.set()
        self._begun.set()

    def _clean(self, text: str) -> str:
        """Return a text of the server's without the password."""
        for secret in self._plan.secrets:
            text = text.replace(secret, _HIDDEN)
        return text


def far_side_text() -> str:
    """Return what runs in the server, as text. Nothing of it is run here.

    Raises Invalid where the program was packed without its sources.
    """
    spec = find_spec("terminals.bridge.far_side")
    loader: Any = None if spec is None else spec.loader
    text = loader.get_source(spec.name) if spec and hasattr(loader, "get_source") else None
    if text is None:
        raise Invalid(
            "the text of terminals/bridge/far_side.py is not there",
            field="terminal",
            value="bridge",
            remedy="install DTMS with its sources",
        )
    return str(text)


def _connecting(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `initialize`; what is not given is left out.

    The package takes None for a wrong argument (MT5.md). With a login it logs in,
    by the password that the terminal has saved if none is given (its vendor's
    documentation): so a login goes with a password only, as in `NativeTerminal`,
    and the terminal stays on the account that others use.
    """
    found: dict[str, Any] = {"timeout": options["timeout_ms"], "portable": options["portable"]}
    logs_in = None not in (options["login"], options["password"])
    names = ["path", "login", "password", "server"] if logs_in else ["path"]
    return found | {name: options[name] for name in names if options[name] is not None}


def _text(message: Sequence[Any]) -> str:
    """Return a message as JSON. Raises Invalid for what the package could not be given."""
    try:
        text = json.dumps(message, default=_plain)
    except (TypeError, ValueError) as error:
        raise Invalid(
            f"cannot be sent: {error}", field="request", remedy="use plain numbers and texts"
        ) from error
    if len(text) > REQUEST_LIMIT:
        raise Invalid(
            f"has {len(text)} characters, at most {REQUEST_LIMIT} are sent",
            field="request",
            value=len(text),
        )
    return text


def _plain(value: Any) -> Any:
    """Return a number of numpy's as Python's; nothing else is turned into what it is not."""
    if type(value).__module__ == "numpy" and getattr(value, "ndim", 1) == 0:
        return value.item()
    raise TypeError(f"{type(value).__name__} is no plain value")


def _no_package(raised: tuple[str, str]) -> tuple[Any, ...]:
    """Return the refusal, as `goods.error_of` reads it, of a server without a package."""
    return (
        "terminal_refused",
        f"the mt5linux server cannot import MetaTrader5: {raised[0]}: {raised[1]}",
        "terminal",
        "bridge",
        "install it into the Python that runs the server: wine python -m pip install MetaTrader5",
    )


def _what_ended(problem: Exception) -> str:
    if isinstance(problem, Invalid):
        return f"its answer is damaged: {problem}"
    if isinstance(problem, RaisedError):
        return f"the server raised {problem}"
    return str(problem)


def _cleaned(error: tuple[Any, ...], clean: Any) -> tuple[Any, ...]:
    return tuple(clean(part) if isinstance(part, str) else part for part in error)
