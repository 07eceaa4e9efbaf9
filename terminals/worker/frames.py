"""The frames between guard and worker: four bytes of length, then one msgpack value.

Nothing in them is ever executed: msgpack knows numbers, texts, bytes, lists
and maps. A frame of another length than its head says, or with something else
in it, is damage, and whoever reads it ends the connection.
"""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]  # it has no stubs

from defence.errors import Invalid

# Whoever reads takes so many pieces after his deadline: more than lay there when it was over,
# and not all that a side that never stops talking may send.
LATE_PIECES: Final = 16
MAX_FRAME: Final = 64 * 1024 * 1024  # bytes; some 300,000 deals of an account's history
_HEAD: Final = Struct(">I")
HEAD_SIZE: Final = _HEAD.size  # bytes before the message


def frame(message: Any, limit: int = MAX_FRAME) -> bytes:
    """Return a message as a frame. Raises Invalid if it cannot be one, naming why."""
    try:
        body = _body(message)
    except (TypeError, ValueError, OverflowError) as error:
        raise Invalid(
            f"cannot be sent: {error}", field="frame", remedy="use plain numbers and texts"
        ) from error
    if len(body) > limit:
        raise _too_large(len(body), limit)
    return _HEAD.pack(len(body)) + body


def _body(message: Any) -> bytes:
    try:
        plain: bytes = msgpack.packb(message, default=_plain)
    except UnicodeEncodeError:
        # A broker's comment may hold what is no valid text. Slower, so it is not the rule.
        plain = msgpack.packb(message, default=_plain, unicode_errors="surrogatepass")
    return plain


class Frames:
    """Puts frames together from the pieces in which a pipe gives them."""

    def __init__(self, limit: int = MAX_FRAME) -> None:
        """Accept frames of at most `limit` bytes."""
        self._limit = limit
        self._kept = bytearray()

    @property
    def missing(self) -> int:
        """Bytes until the frame that has begun is whole; 0 if none has."""
        if len(self._kept) < _HEAD.size:
            return 0
        return int(_HEAD.unpack_from(self._kept)[0]) + _HEAD.size - len(self._kept)

    @property
    def begun(self) -> bool:
        """Whether a part of a frame is there: an end of the pipe now has cut it."""
        return bool(self._kept)

    def feed(self, piece: bytes) -> Iterator[Any]:
        """Yield the messages that are whole now. Raises Invalid for damage."""
        self._kept += piece
        while len(self._kept) >= _HEAD.size:
            length = int(_HEAD.unpack_from(self._kept)[0])
            if length > self._limit:
                raise _too_large(length, self._limit)
            if len(self._kept) < _HEAD.size + length:
                return
            body = self._kept[_HEAD.size : _HEAD.size + length]
            del self._kept[: _HEAD.size + length]
            yield _message(body)


def _message(body: bytearray) -> Any:
    try:
        return msgpack.unpackb(
            body, use_list=False, unicode_errors="surrogatepass", strict_map_key=False
        )
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise Invalid(
            f"holds no message: {type(error).__name__}: {error}",
            field="frame",
            value=bytes(body[:40]),
            remedy="the pipe between guard and worker is damaged: start the worker anew",
        ) from error


def _too_large(length: int, limit: int) -> Invalid:
    return Invalid(
        f"says {length} bytes, at most {limit} are taken",
        field="frame",
        value=length,
        remedy="ask for less at once; if nobody asked for much, the pipe is damaged",
    )


def _plain(value: Any) -> Any:
    """Return a number of numpy's as Python's; nothing else is turned into what it is not."""
    item = getattr(value, "item", None)
    if type(value).__module__ == "numpy" and callable(item) and getattr(value, "ndim", 1) == 0:
        return item()
    raise TypeError(f"{type(value).__name__} is no plain value")
