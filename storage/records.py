"""How one record is written: a header with a checksum, then a msgpack map.

    4 bytes  CRC-32 over database name, key, schema and map (big endian)
    1 byte   schema, major: a newer one is refused, never guessed at
    1 byte   schema, minor: newer fields are ignored, missing ones defaulted
    rest     msgpack map with text keys

The checksum takes in the database's name and the key, because LMDB can hand
out a sound value for the wrong key after damage (LMDB.md: of 2,400 damaged
files 564 read silently wrong data; a checksum a record caught nearly all).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import msgpack  # type: ignore[import-untyped]  # it has no stubs

from defence.errors import Damaged, FolderRefused, Invalid

Fields: TypeAlias = dict[str, Any]  # what msgpack reads back: the field mappings check each type

SCHEMA_MAJOR: Final = 1
SCHEMA_MINOR: Final = 0

_HEADER: Final = struct.Struct(">IBB")
_SCHEMA: Final = bytes((SCHEMA_MAJOR, SCHEMA_MINOR))
_LENGTHS: Final = struct.Struct(">BH")
MAX_KEY: Final = 511  # bytes; LMDB's limit


def encode(db: str, key: bytes, fields: Mapping[str, object]) -> bytes:
    """Return the bytes to store under `key` in database `db`.

    Raises Invalid where a field cannot be written (an integer beyond 64 bits,
    a type that msgpack does not know) or the key does not fit LMDB.
    """
    if not 0 < len(key) <= MAX_KEY:
        raise Invalid(
            f"a key of {len(key)} bytes does not fit the database {db!r}",
            field="key",
            value=key[:40],
            remedy=f"use 1 to {MAX_KEY} bytes",
        )
    try:
        # surrogatepass: a comment that the broker cut in the middle of a
        # character must not keep its trade from being stored
        packed: bytes = msgpack.packb(fields, unicode_errors="surrogatepass")
    except (OverflowError, TypeError, ValueError) as error:
        raise Invalid(
            f"a record of {db!r} cannot be written: {error}",
            field=db,
            value=key[:40],
            remedy="use text, numbers of at most 64 bits, lists and maps",
        ) from error
    body = _SCHEMA + packed
    return _checksum(db, key, body).to_bytes(4, "big") + body


def decode(db: str, key: bytes, raw: bytes) -> Fields:
    """Return the fields stored under `key`, their checksum verified.

    Raises Damaged for bytes that are not what was written there, and
    FolderRefused for a sound record of a newer schema: that one is not
    damaged and must not be set aside.
    """
    if len(raw) <= _HEADER.size:
        raise _damaged(db, key, f"is only {len(raw)} bytes long")
    checksum, major, minor = _HEADER.unpack_from(raw)
    body = raw[4:]
    if _checksum(db, key, body) != checksum:
        raise _damaged(db, key, "does not match its checksum")
    if major > SCHEMA_MAJOR:
        raise FolderRefused(
            f"a record of {db!r} has schema {major}.{minor}; "
            f"this program knows {SCHEMA_MAJOR}.{SCHEMA_MINOR}",
            field="data_dir",
            remedy="run the newer DTMS that wrote it, or use another data folder",
        )
    try:
        fields = msgpack.unpackb(body[2:], unicode_errors="surrogatepass")
    except (ValueError, RecursionError) as error:
        raise _damaged(db, key, f"is not a msgpack map: {error}") from error
    if not isinstance(fields, dict):
        raise _damaged(db, key, "is not a msgpack map")
    return fields


def _checksum(db: str, key: bytes, body: bytes) -> int:
    name = db.encode()
    # lengths first: ("ab", "c") and ("a", "bc") are different places
    head = _LENGTHS.pack(len(name), len(key)) + name + key
    return zlib.crc32(body, zlib.crc32(head))


def _damaged(db: str, key: bytes, what: str) -> Damaged:
    return Damaged(
        f"the record {key.hex()} of {db!r} {what}",
        field=db,
        value=key.hex(),
        remedy="set the environment aside and restore the newest backup",
    )
