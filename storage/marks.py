"""The watermark: how far a store had come, written outside it after each commit.

A flipped meta page rolls LMDB back by a commit, and an old copy put in a
store's place rolls it back by many; nothing inside can see either (LMDB.md).
So each commit's number goes into a small file beside the environment, without
a barrier of its own: it is never ahead of what is durable, and may be behind.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from loguru import logger

from storage.files import OWNER_FILE, write_whole

_BODY: Final = struct.Struct(">4s16sQ")
_CRC: Final = struct.Struct(">I")
_MAGIC: Final = b"DTMK"
BIRTH_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Mark:
    """How far the store that was born as `birth` (32 hex digits) had come."""

    birth: str
    sequence: int


def mark_path(environment: Path) -> Path:
    """Return where the mark of the environment in that folder lies: beside it."""
    return environment.with_name(f"dtms.{environment.name}.mark")


def read_mark(environment: Path) -> Mark | None:
    """Return the mark; None if there is none, or a power cut tore it: that proves nothing.

    One that cannot be read proves nothing either: it is logged, no reason to stay down.
    """
    path = mark_path(environment)
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        logger.bind(child="storage").warning("the watermark {} cannot be read: {}", path, error)
        return None
    if len(raw) != _BODY.size + _CRC.size:
        return None
    magic, birth, sequence = _BODY.unpack_from(raw)
    if magic != _MAGIC or _CRC.unpack_from(raw, _BODY.size)[0] != zlib.crc32(raw[: _BODY.size]):
        return None
    return Mark(birth.hex(), sequence)


def write_mark(environment: Path, mark: Mark) -> None:
    """Write the mark whole and durable: for a store that was put in another's place."""
    write_whole(mark_path(environment), _raw(mark))


def rolled_back(mark: Mark | None, birth: str, sequence: int) -> bool:
    """Whether a store has fallen behind its mark. Another store's mark says nothing."""
    return mark is not None and mark.birth == birth and sequence < mark.sequence


class MarkFile:
    """The mark of an open environment, written in place after each commit."""

    def __init__(self, environment: Path, birth: str) -> None:
        self._path = mark_path(environment)
        self._birth = birth
        self._handle: int | None = None
        self._failing = False

    def write(self, sequence: int) -> None:
        """Write how far the store has come. A failure is logged, never raised.

        The commit is durable already: to fail it now would be a lie.
        """
        try:
            raw = _raw(Mark(self._birth, sequence))
            if self._handle is None:
                flags = os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0)
                self._handle = os.open(self._path, flags, OWNER_FILE)
                os.ftruncate(self._handle, len(raw))  # something longer would never be a mark
            os.lseek(self._handle, 0, os.SEEK_SET)
            os.write(self._handle, raw)
            self._failing = False
        except OSError as error:
            if not self._failing:  # once, not at every commit
                self._failing = True
                logger.bind(child="storage").warning(
                    "the watermark {} cannot be written; a store that rolls back would not be "
                    "noticed: {}",
                    self._path,
                    error,
                )

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)


def _raw(mark: Mark) -> bytes:
    body = _BODY.pack(_MAGIC, bytes.fromhex(mark.birth), mark.sequence)
    return body + _CRC.pack(zlib.crc32(body))
