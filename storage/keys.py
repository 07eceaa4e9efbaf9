"""Keys whose byte order is the order we read in."""

from __future__ import annotations

import math
import struct
from typing import Final

from defence.errors import Invalid
from defence.history import MOMENT_MAX

_U64: Final = struct.Struct(">Q")
_U64_MAX: Final = 2**64 - 1


def number_key(number: int, *, field: str) -> bytes:
    """Return 8 bytes that sort as the number does; Invalid outside 0..2^64-1."""
    if not 0 <= number <= _U64_MAX:
        raise Invalid(
            f"{number} does not fit a key",
            field=field,
            value=number,
            remedy="use a whole number from 0 to 2^64 - 1",
        )
    return _U64.pack(number)


def moment_key(at: float, *, field: str) -> bytes:
    """Return 8 bytes that sort as the moment does (UTC epoch seconds, to the microsecond)."""
    if not math.isfinite(at) or not 0 <= at <= MOMENT_MAX:
        raise Invalid(
            f"{at!r} is no time",
            field=field,
            value=at,
            remedy="use UTC epoch seconds, from 1970 on",
        )
    return _U64.pack(round(at * 1_000_000))


def text_key(text: str, *, field: str) -> bytes:
    """Return the key of an id or a name; Invalid if empty or longer than LMDB allows."""
    key = text.encode("utf-8", "surrogatepass")
    if not 0 < len(key) <= 400:  # leaves room for a suffix below LMDB's 511
        raise Invalid(
            f"a name of {len(key)} bytes cannot be a key",
            field=field,
            value=text[:40],
            remedy="use 1 to 400 bytes of text",
        )
    return key
