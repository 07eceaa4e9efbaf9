"""The broker: listens on this machine, and gives each client a thread of its own.

A client that is slow, sends nonsense, hangs by script or reads nothing holds up
its own thread and nobody else: no byte is read or written with the terminal's
lock held. What a client may cost is limited: frames, connections, the time for
its greeting, for the rest of a frame that has begun, and for taking an answer.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from defence.errors import DtmsError, Forbidden, Invalid
from terminals.shared.address import Address
from terminals.shared.desk import Desk
from terminals.shared.line import REQUEST_LIMIT, usable
from terminals.shared.proof import challenge, greeted, nonce, welcome
from terminals.shared.terminal import SharedTerminal
from terminals.worker.child import SUCCESS
from terminals.worker.frames import Frames, frame

Log: TypeAlias = Callable[[str, str], None]  # level as loguru names it, and a text

_GREETING_LIMIT: Final = 2048  # bytes
_PIECE: Final = 65_536
_BACKLOG: Final = 128
_LOOK_EVERY: Final = 0.5  # seconds; whether to stop, where nothing wakes a thread that accepts
_CLOSE_WAIT: Final = 2.0  # seconds for the threads to end


@dataclass(frozen=True, slots=True)
class Limits:
    """What clients may cost. Times in seconds."""

    clients: int = 128  # that have proved the token
    strangers: int = 32  # that have not, yet
    greeting: float = 5.0
    patience: float = 10.0  # for the whole rest of a frame, and for taking an answer


class BrokerServer:
    """Serves one terminal on a port of this machine."""

    def __init__(
        self,
        terminal: SharedTerminal,
        token: str,
        *,
        port: int = 0,
        office: bool = False,
        limits: Limits | None = None,
        log: Log | None = None,
    ) -> None:
        """Take the port (0: a free one); nobody is served before `start`.

        `office` lets clients play the broker's back office. Raises Invalid if
        the port cannot be had.
        """
        self._terminal = terminal
        self._token = token
        self._office = office
        self._limits = limits or Limits()
        self._log = log
        self._lock = threading.Lock()
        self._clients: set[socket.socket] = set()
        self._strangers: set[socket.socket] = set()
        self._threads: set[threading.Thread] = set()
        self._closed = False
        self._listener = _listen(port)
        self._listener.settimeout(_LOOK_EVERY)
        self.address = Address(
            "127.0.0.1", self._listener.getsockname()[1], token=token, pid=os.getpid()
        )
        self._acceptor = threading.Thread(target=self._accept, name="dtms-broker", daemon=True)

    @property
    def clients(self) -> int:
        """How many have proved the token and are connected."""
        with self._lock:
            return len(self._clients)

    def start(self) -> None:
        """Serve from now on."""
        self._listener.listen(_BACKLOG)
        self._acceptor.start()

    def close(self) -> None:
        """End all connections. Calls that hang end with `terminal.close()`; idempotent."""
        with self._lock:
            self._closed = True
            lines = [*self._clients, *self._strangers]
            threads = [*self._threads]
        with suppress(OSError):  # on Linux it wakes `accept`; elsewhere that looks by itself
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for line in lines:
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(_CLOSE_WAIT)
        if self._acceptor.is_alive():
            self._acceptor.join(_CLOSE_WAIT)

    # -- one thread for all who come

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._listener.accept()
            except OSError as error:
                if self._closed:
                    return
                if isinstance(error, TimeoutError):
                    continue
                self._say("WARNING", f"a client could not be let in: {error}")
                # No descriptor is free, most likely: they come free when others go.
                threading.Event().wait(0.1)
                continue
            if not self._take(line):
                line.close()

    def _take(self, line: socket.socket) -> bool:
        """Give a client its thread; False if there are too many who have not said who they are."""
        thread = threading.Thread(
            target=self._serve, args=(line,), name="dtms-broker-client", daemon=True
        )
        with self._lock:
            if self._closed or len(self._strangers) >= self._limits.strangers:
                return False
            self._strangers.add(line)
            self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError as error:
            self._forget(line, thread)
            self._say("WARNING", f"a client could not be let in: {error}")
            return False
        return True

    # -- a thread for each

    def _serve(self, line: socket.socket) -> None:
        try:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._greet(line, time.monotonic() + self._limits.greeting):
                self._converse(line)
        except (Invalid, Forbidden) as error:
            self._say("WARNING", f"a client was cut off: {error}")
            with suppress(OSError, DtmsError):
                line.sendall(_refusal(str(error)))
        except TimeoutError:
            self._say("WARNING", "a client was cut off: it neither reads nor ends what it began")
        except OSError as error:
            self._say("DEBUG", f"a client has gone: {error}")
        except Exception as error:  # noqa: BLE001 - of one client; the others are served on
            self._say("ERROR", f"a client was cut off: {type(error).__name__}: {error}")
        finally:
            line.close()  # first: who is not counted any more has nothing open
            self._forget(line, threading.current_thread())

    def _greet(self, line: socket.socket, until: float) -> bool:
        """Have a client prove the token `until` then; False if there is no room for it.

        Raises Invalid, Forbidden or OSError.
        """
        mine = nonce()
        _allow(line, until)
        line.sendall(frame(challenge(mine)))
        frames = Frames(_GREETING_LIMIT)
        found: list[Any] = []
        while not found:
            _allow(line, until)
            piece = line.recv(_GREETING_LIMIT)
            if not piece:
                raise ConnectionError("before it had greeted")
            found += frames.feed(piece)
        if len(found) > 1 or frames.begun:
            raise Invalid("holds more than a greeting", field="frame")
        theirs = greeted(self._token, mine, found[0])
        with self._lock:
            self._strangers.discard(line)
            room = len(self._clients) < self._limits.clients
            if room:
                self._clients.add(line)
        if not room:
            most = self._limits.clients
            line.sendall(_refusal(f"{most} clients are connected, which is the most"))
            return False
        line.sendall(frame((0, True, welcome(self._token, mine, theirs), SUCCESS, None)))
        return True

    def _converse(self, line: socket.socket) -> None:
        """Answer calls until the client goes. Raises Invalid or OSError."""
        self._terminal.sit(lambda: _has_gone(line))
        desk = Desk(self._terminal, line.sendall, office=self._office)
        frames = Frames(REQUEST_LIMIT)
        patience = self._limits.patience
        until: float | None = None  # for the rest of a frame that has begun
        line.settimeout(patience)
        while True:
            try:
                piece = line.recv(_PIECE)
            except TimeoutError:
                if frames.begun:
                    raise
                continue  # it has nothing to ask
            if not piece:
                return
            for message in frames.feed(piece):
                if until is not None:
                    until = None
                    line.settimeout(patience)
                if not desk.serve(message):
                    return
            if frames.begun:
                until = time.monotonic() + patience if until is None else until
                _allow(line, until)

    def _forget(self, line: socket.socket, thread: threading.Thread) -> None:
        with self._lock:
            self._clients.discard(line)
            self._strangers.discard(line)
            self._threads.discard(thread)

    def _say(self, level: str, text: str) -> None:
        if self._log is not None:
            self._log(level, text)


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # on Windows it would let two programs have one port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
    except (OSError, OverflowError) as error:
        listener.close()
        raise Invalid(
            f"port {port} cannot be had: {getattr(error, 'strerror', None) or error}",
            field="port",
            value=port,
            remedy="leave --port out, and a free one is taken",
        ) from error
    return listener


def _allow(line: socket.socket, until: float) -> None:
    """Let the next step end by `until`: a byte now and then gains no time.

    Raises TimeoutError if that is over.
    """
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    line.settimeout(left)


def _refusal(why: str) -> bytes:
    return frame((0, False, why, SUCCESS, None))


def _has_gone(line: socket.socket) -> bool:
    """Whether the client has closed its end; it says nothing while it waits for an answer."""
    try:
        return usable(line, 0.0) and not line.recv(1, socket.MSG_PEEK)
    except OSError:
        return True
