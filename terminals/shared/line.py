"""A client's connection to the broker: deadlines, an end from any thread, and no thread of its own.

It is what `WorkerProcess` is for a terminal that is hosted: `Host` sends its
calls over one connection after another, and the same rules hold. It connects
and greets when the greeting's answer is asked for, so that whoever has made it
can end it meanwhile. "Not sent" is
said only when no byte has left; a call that has no answer by its deadline ends
the connection, and what was in flight is unknown.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Final

from defence.errors import DtmsError, Invalid
from terminals.shared.address import Address
from terminals.shared.proof import challenged, check_welcome, hello, nonce
from terminals.worker.child import CLOSE
from terminals.worker.frames import HEAD_SIZE, LATE_PIECES, MAX_FRAME, Frames, frame
from terminals.worker.hearing import EndedError

REQUEST_LIMIT: Final = 65_536  # bytes of a frame to the broker
CONNECT_WAIT: Final = 5.0  # seconds for the system and the greeting together
SEND_WAIT: Final = 5.0  # seconds for a broker that does not read
_GREETING: Final = 0  # the number of its answer
_INITIALIZE: Final = "initialize"
_PIECE: Final = 65_536
_LARGEST_PIECE: Final = 1 << 20
_SLICE: Final = 0.25  # seconds; on Windows no signal ends a wait
_NO_SIGNAL: Final = getattr(socket, "MSG_NOSIGNAL", 0)  # a host may have given SIGPIPE back


class Line:
    """One connection. `answer(0, ...)` opens it; when it is `gone`, `why` says why.

    `send` and `answer` are for one thread at a time; `kill` is for any.
    """

    def __init__(
        self,
        find: Callable[[], Address],
        given: Mapping[str, Any] | None = None,
        *,
        wait: float = CONNECT_WAIT,
    ) -> None:
        """Connect to nothing yet.

        `given` are credentials for `initialize`. `wait` is how long connecting
        and greeting may take together, in seconds; never more than CONNECT_WAIT.
        """
        self.pid: int | None = None
        self.gone = threading.Event()
        self.why = ""
        self.notes: dict[str, Any] = {}
        self.killed = False
        self.began_at = self.ended_at = time.monotonic()
        self._owner = os.getpid()
        self._use = threading.Lock()  # of the conversation; it is closed when nobody has it
        self._life = threading.Lock()  # of the descriptor; held for moments only
        self._frames = Frames(MAX_FRAME)
        self._ready: list[Any] = []
        self._socket: socket.socket | None = None
        self._find = find
        self._given = {name: value for name, value in (given or {}).items() if value is not None}
        self._connect_wait = min(wait, CONNECT_WAIT)
        self._begun = False

    def _begin(self, until: float) -> None:
        """Connect and greet, once; it is `gone` if that fails, or is not over `until`."""
        self._begun = True
        try:
            self._connect(self._find(), min(until, time.monotonic() + self._connect_wait))
        except DtmsError as error:
            self._end(str(error))
        except OSError as error:
            self._end(f"the broker does not answer: {error.strerror or error}")
        except BaseException:
            self._end("interrupted")
            raise

    def _connect(self, address: Address, until: float) -> None:
        try:
            found = address.connect(max(0.001, until - time.monotonic()))
        except OSError as error:
            why = error.strerror or error
            self._end(f"no broker answers at {address}: {why} (start one: python run.py broker)")
            return
        found.setblocking(False)
        with self._life:
            self._socket = found
        if self.gone.is_set():  # meanwhile, by a thread that had no socket to shut down
            return
        theirs, mine = challenged(self._next(until)), nonce()
        self._send(frame(hello(address.token, theirs, mine)))
        answer = self._next(until)
        if not isinstance(answer, tuple) or len(answer) != 5:
            raise Invalid("who listens there is no broker of DTMS", field="broker")
        if not answer[1]:
            self._end(f"the broker refuses us: {answer[2]!s:.200}")
            return
        check_welcome(address.token, theirs, mine, answer[2])
        self.pid = address.pid
        self._ready.append((_GREETING, True, None, answer[3], None))

    def _next(self, until: float) -> Any:
        """Return the next message of a greeting. Raises Invalid if none comes."""
        late = 0
        while not self._ready:
            late += time.monotonic() >= until
            if late > LATE_PIECES or not self._wait(until) or not self._read():
                raise Invalid(
                    "who listens there does not greet as a broker of DTMS does",
                    field="broker",
                    remedy="start a broker: python run.py broker",
                )
        return self._ready.pop(0)

    # -- a call

    def send(self, message: Sequence[Any]) -> bool:
        """Send a message; False if no byte of it has left. Raises Invalid if it cannot be one."""
        number, call, args, named, account = message
        if call == _INITIALIZE:
            named = {**self._given, **named}
        data = frame((number, call, args, named, account), REQUEST_LIMIT - HEAD_SIZE)
        if os.getpid() != self._owner:
            return False
        with self._in_use():
            if self.gone.is_set():
                return False
            # Nothing was asked, so whatever can be read is an end, or as good as one.
            if self._ready or self._readable(0.0):
                self._end("it has closed the connection")
                return False
            sent = self._send(data)
            if call == CLOSE:
                self._end("closed")
            return sent

    def _send(self, data: bytes) -> bool:
        """Send all of it; False if nothing was taken. A part that was taken may have arrived."""
        line, rest, until = self._socket, memoryview(data), time.monotonic() + SEND_WAIT
        assert line is not None  # noqa: S101 - only before `gone`
        try:
            while rest:
                try:
                    rest = rest[line.send(rest, _NO_SIGNAL) :]
                except BlockingIOError:
                    left = until - time.monotonic()
                    if left <= 0:
                        self._end("it does not read")
                        break
                    usable(line, min(_SLICE, left), write=True)
        except OSError as error:
            self._end(f"the connection failed: {error.strerror or error}")
        except BaseException:
            self._end("interrupted")
            raise
        return len(rest) < len(data)

    def answer(self, number: int, until: float) -> tuple[Any, ...] | None:
        """Return the answer with this number, None if there is none `until` (monotonic).

        The first, number 0, is that of the greeting: it connects. Raises
        EndedError if the connection has ended.
        """
        if os.getpid() != self._owner:
            raise EndedError("it is another process's connection")
        with self._in_use():
            if number == _GREETING and not (self._begun or self.gone.is_set()):
                self._begin(until)
            late = 0  # pieces read after the deadline
            while not self._ready:
                if self.gone.is_set():
                    raise EndedError(self.why)
                late += time.monotonic() >= until
                if late > LATE_PIECES or not self._wait(until):
                    return None
                self._read()
            found = self._ready.pop(0)
        if not isinstance(found, tuple) or len(found) != 5 or found[0] != number:
            self.kill("its answer is damaged")
            raise EndedError(self.why)
        answer: tuple[Any, ...] = found
        return answer

    def _wait(self, until: float) -> bool:
        """Whether there is something to read, an end included, before `until`."""
        while True:
            left = until - time.monotonic()
            if self._readable(max(0.0, min(_SLICE, left) if sys.platform == "win32" else left)):
                return True
            if self.gone.is_set():
                return True
            if left <= 0:
                return False

    def _readable(self, seconds: float) -> bool:
        line = self._socket
        if line is None:
            return True
        return usable(line, seconds)

    def _read(self) -> bool:
        """Take what is there; False at the end."""
        line = self._socket
        if line is None or self.gone.is_set():
            return False
        try:
            piece = line.recv(min(_LARGEST_PIECE, max(_PIECE, self._frames.missing)))
            self._ready += self._frames.feed(piece)
        except BlockingIOError:
            return True
        except Invalid as damage:
            self._end(f"its answer is damaged: {damage}")
            return False
        except OSError as error:
            self._end(f"the connection failed: {error.strerror or error}")
            return False
        if not piece:
            half = " in the middle of an answer" if self._frames.begun else ""
            self._end(f"it closed the connection{half}")
        return bool(piece)

    # -- its end

    def kill(self, why: str) -> None:
        """End it now: whoever waits for an answer goes on. From any thread, and quick."""
        if os.getpid() != self._owner:
            return  # a fork's child: the connection is its parent's
        self.killed = True
        self._end(why)
        self._close_if_free()

    def hang_up(self) -> None:
        """End it, as `kill` does: there is no other way."""
        self.kill("closed")

    def abandon(self) -> None:
        """Close a fork's copy of the descriptor; the parent's connection stays."""
        self.gone.set()
        line, self._socket = self._socket, None
        if line is not None:  # without the locks: nobody may be left to give them back
            line.close()

    def _end(self, why: str) -> None:
        self.why = self.why or why
        self.ended_at = time.monotonic()
        self.gone.set()
        with self._life:
            if self._socket is not None:
                with suppress(OSError):  # it has ended already
                    self._socket.shutdown(socket.SHUT_RDWR)

    @contextmanager
    def _in_use(self) -> Iterator[None]:
        """Have the conversation, and look for its end once it is free for others again.

        Whoever ends it before that cannot close it, and leaves that to us.
        """
        try:
            with self._use:
                yield
        finally:
            if self.gone.is_set():
                self._close_if_free()

    def _close_if_free(self) -> None:
        """Close it, unless somebody has the conversation: he does, after it."""
        if self._use.acquire(blocking=False):
            try:
                self._close()
            finally:
                self._use.release()

    def _close(self) -> None:
        with self._life:
            if self._socket is not None:
                self._socket.close()
            self._socket = None


def usable(line: socket.socket, seconds: float, *, write: bool = False) -> bool:
    """Whether there is something to read (an end included), or room to write, within seconds."""
    if sys.platform == "win32" or not hasattr(select, "poll"):
        wanted = ([], [line]) if write else ([line], [])
        return any(select.select(*wanted, [], seconds))
    else:  # noqa: RET505 - seen from Windows, a line after this would be unreachable
        poll = select.poll()
        poll.register(line, select.POLLOUT if write else select.POLLIN)
        # Rounded up, or a wait of less than a millisecond would be none, and spin.
        return bool(poll.poll(None if seconds == float("inf") else -int(-seconds * 1000 // 1)))
