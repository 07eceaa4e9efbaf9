"""What LMDB's errors mean for us, and where its binding needs a hand."""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import lmdb

from defence.errors import Damaged, DtmsError, Fault, FolderRefused, StoreFull, TryAgain
from storage.files import NO_ROOM, OWNER_FILE, has_room, sync_folder
from storage.layout import DATA_FILE

_NO_RIGHT: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_OURS: Final = (  # misuse of the engine by the program
    lmdb.BadTxnError,
    lmdb.BadDbiError,
    lmdb.BadRslotError,
    lmdb.BadValsizeError,
    lmdb.DbsFullError,
)
_LATER: Final = (lmdb.ReadersFullError, lmdb.LockError, lmdb.MemoryError)


def engine_path(path: Path) -> str | bytes:
    """Return the path as the engine takes it: as bytes where names need not be UTF-8."""
    return str(path) if sys.platform == "win32" else os.fsencode(path)


def write_copy(env: lmdb.Environment, target: Path) -> None:
    """Write a compact copy into the folder `target`, durable; it is not verified here.

    Raises lmdb.Error or OSError. By descriptor, because the engine's copy to a
    name turns a full disk into "invalid argument".
    """
    with (target / DATA_FILE).open("xb") as file:
        env.copyfd(file.fileno(), compact=True)
        file.flush()
        os.fsync(file.fileno())
    (target / DATA_FILE).chmod(OWNER_FILE)
    sync_folder(target)


def is_full(error: lmdb.Error, folder: Path) -> bool:
    """Whether the disk of `folder`, the quota or the largest allowed file had no room.

    The engine calls a write that the disk took in part an input/output error,
    and that is how a disk fills up: then the disk itself is asked for room.
    """
    if isinstance(error, lmdb.DiskError) or _says(error, NO_ROOM):
        return True
    return (_says(error, (errno.EIO,)) or "MDB_SHORT_WRITE" in str(error)) and not has_room(folder)


def _says(error: lmdb.Error, codes: Iterable[int]) -> bool:
    """Whether the engine's error is one of the operating system's errors.

    Told by its text: the engine's C binding gives a plain `lmdb.Error` no
    number, and there is a class of its own for only a few of them.
    """
    text = str(error)
    return any(_text(code) in text for code in codes)


def _text(code: int) -> str:
    if sys.platform == "win32":
        return ctypes.FormatError(code).strip()
    return os.strerror(code)


def translate(error: lmdb.Error, name: str, path: Path) -> DtmsError:
    """Return our error for one of LMDB's: StoreFull, FolderRefused, TryAgain, Fault or Damaged.

    `name` is the environment's. What nobody can place is Damaged: the next
    start checks the file before it is trusted again.
    """
    text = f"the store {name!r} at {path}: {error}"
    if is_full(error, path) or isinstance(error, lmdb.TxnFullError):
        return StoreFull(
            text, field="data_dir", value=str(path), remedy="free some space on that disk"
        )
    if isinstance(error, lmdb.ReadonlyError) or _says(error, _NO_RIGHT):
        return FolderRefused(
            text,
            field="data_dir",
            value=str(path),
            remedy="give this user the right to write there, or choose another folder",
        )
    if isinstance(error, _LATER):
        return TryAgain(text, field=name, remedy="try again; restart the guard if it stays so")
    if isinstance(error, _OURS) or "already open in this process" in str(error):
        return Fault(text, field=name, remedy="mend the program that uses the store")
    return Damaged(
        text,
        field=name,
        value=str(path),
        remedy="restart the guard: it checks every store before it opens it",
    )
