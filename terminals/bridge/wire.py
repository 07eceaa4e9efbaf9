"""Frames over a socket: a length, a mark, the body, a line feed. As RPyC's channels have them.

Nothing here waits without looking up four times a second, so that a deadline
and `cut` reach whoever waits on every system, also where ending a socket from
another thread does not wake a read.
"""

from __future__ import annotations

import socket
import struct
import sys
import time
import zlib
from contextlib import suppress
from typing import Final

from defence.errors import Invalid
from terminals.worker.frames import LATE_PIECES, MAX_FRAME

HEAD: Final = struct.Struct("!LB")  # bytes of the body; whether it is compressed
_FEED: Final = b"\n"
_LOOK_UP: Final = 0.25  # seconds
_PIECE: Final = 65_536
_LARGEST_PIECE: Final = 1 << 20
# To close with this sends a reset: what has not left the machine never will.
_RESET: Final = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


def framed(body: bytes) -> bytes:
    """Return a frame, never compressed."""
    return HEAD.pack(len(body), 0) + body + _FEED


class Wire:
    """One connected socket. One thread at a time uses it; `cut` is for any."""

    def __init__(self, sock: socket.socket, limit: int = MAX_FRAME) -> None:
        """Take the socket over. Frames of more than `limit` bytes are damage."""
        self._sock = sock
        self._limit = limit
        self._kept = bytearray()
        self._is_cut = False

    def cut(self) -> None:
        """Let whoever waits here go on, soon and without anything; from any thread."""
        self._is_cut = True
        with suppress(OSError):  # it has just ended by itself
            self._sock.shutdown(socket.SHUT_RD)

    def close(self, *, reset: bool) -> None:
        """Close it. With `reset` nothing that is still on its way from here arrives."""
        with suppress(OSError):
            if reset:
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        with suppress(OSError):
            self._sock.close()

    def quiet(self) -> bool:
        """Whether it is open and nothing has come in: how it must be before a request."""
        if self._kept or self._is_cut:
            return False
        try:
            self._sock.setblocking(False)
            self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False  # an end, or what nobody asked for

    def send(self, data: bytes, until: float) -> bool:
        """Send all of it; False if not a byte was taken. A part that was taken may arrive."""
        rest = memoryview(data)
        while rest and not self._is_cut:
            left = until - time.monotonic()
            if left <= 0:
                break
            try:
                self._sock.settimeout(min(left, _LOOK_UP))
                rest = rest[self._sock.send(rest) :]
            except TimeoutError:
                continue
            except OSError:
                break
        return len(rest) < len(data)

    def receive(self, until: float) -> bytes | None:
        """Return the next frame's body, None if it is not there `until` (monotonic).

        Raises EOFError when the connection has ended, Invalid for damage.
        """
        late = 0  # pieces read after the deadline
        while True:
            body = self._whole()
            if body is not None:
                return body
            if self._is_cut:
                raise EOFError("it was cut")
            left = until - time.monotonic()
            if late == LATE_PIECES:
                return None
            late += left <= 0
            try:
                self._sock.settimeout(max(0.0, min(left, _LOOK_UP)))
                piece = self._sock.recv(self._size())
            except (TimeoutError, BlockingIOError):
                if left <= 0:
                    return None
                continue
            except OSError as error:
                raise EOFError(f"it failed: {error.strerror or error}") from error
            if not piece:
                raise EOFError("it closed the connection" + (" in an answer" * bool(self._kept)))
            self._kept += piece

    def _whole(self) -> bytes | None:
        """Take a whole frame off what has come in. Raises Invalid for damage."""
        if len(self._kept) < HEAD.size:
            return None
        length, mark = HEAD.unpack_from(self._kept)
        if length > self._limit:
            raise _damage(f"says {length} bytes, at most {self._limit} are taken")
        end = HEAD.size + length
        if len(self._kept) <= end:
            return None
        if mark not in (0, 1) or self._kept[end] != _FEED[0]:
            raise _damage("is no frame")
        body = bytes(self._kept[HEAD.size : end])
        del self._kept[: end + 1]
        return self._expanded(body) if mark else body

    def _expanded(self, body: bytes) -> bytes:
        """Return what was compressed: a few bytes may say that they are many."""
        machine = zlib.decompressobj()
        try:
            found = machine.decompress(body, self._limit)
        except zlib.error as error:
            raise _damage(f"cannot be expanded: {error}") from error
        if not machine.eof:
            raise _damage(f"is cut, or expands to more than {self._limit} bytes")
        return found

    def _size(self) -> int:
        missing = 0
        if len(self._kept) >= HEAD.size:
            missing = int(HEAD.unpack_from(self._kept)[0]) + HEAD.size + 1 - len(self._kept)
        return min(_LARGEST_PIECE, max(_PIECE, missing))


def _damage(what: str) -> Invalid:
    return Invalid(what, field="frame", remedy="is an mt5linux server of RPyC 6 at that port?")
