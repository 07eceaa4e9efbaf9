"""The check of one environment at rest: structure first, then every record.

This runs in a child process (`storage.preflight`), because LMDB answers some
damage with a signal (LMDB.md: 263 of 2,400 damaged files). The order matters
too: the offline verifier reads the file as plain bytes and cannot crash, and
the engine sees only a file that it passed.

The file is checked where it lies. It is at rest (the caller holds the folder's
lock), nothing here writes, the free list is checked too (a compact copy would
leave it out), and a full disk does not keep a sound store from being opened.
A live environment is never checked like this but through a verified copy
(`Environment.backup`).
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import lmdb
import lmdb.verify

from defence.errors import Damaged, FolderRefused
from storage.failures import engine_path
from storage.layout import DATA_FILE, FORMAT_KEY, META, PARSERS
from storage.records import decode

_MAGIC: Final = {struct.pack("<I", 0xBEEFC0DE), struct.pack(">I", 0xBEEFC0DE)}
_SHOWN: Final = 3  # findings of the verifier that are told; the rest is counted
# what a pure reader of hostile bytes can trip over; it is damage then as well
_TRIPPED: Final = (
    struct.error,
    ArithmeticError,
    LookupError,
    RecursionError,
    ValueError,
)


class Finding(StrEnum):
    """What a check found."""

    SOUND = "sound"
    DAMAGED = "damaged"  # set it aside
    REFUSED = "refused"  # not damaged, not for us to open: no right, or a newer version's


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of one check; `reason` is empty for a sound environment."""

    finding: Finding
    reason: str = ""


def first_look(folder: Path) -> str | None:
    """Return why `data.mdb` cannot be an environment, None if it may be or is missing.

    A file cut to 0 bytes would open as a healthy empty database (LMDB.md).
    Raises OSError if the file cannot be read.
    """
    data = folder / DATA_FILE
    if not data.exists():
        return None
    if not data.is_file():
        return f"{DATA_FILE} is not a file"
    size = data.stat().st_size
    if size == 0:
        return f"{DATA_FILE} has 0 bytes"
    with data.open("rb") as file:
        head = file.read(64)
    if not any(head[at : at + 4] in _MAGIC for at in range(0, 64, 4)):
        return f"{DATA_FILE} is not an LMDB file"
    return None


def examine(folder: Path) -> Verdict:
    """Check the environment in `folder`; one that was never made is sound."""
    try:
        reason = first_look(folder)
        if reason is None and (folder / DATA_FILE).exists():
            reason = _structure(folder / DATA_FILE) or _records(folder)
    except Damaged as damage:
        return Verdict(Finding.DAMAGED, damage.message)
    except FolderRefused as refusal:
        return Verdict(Finding.REFUSED, str(refusal))
    except lmdb.Error as error:
        return Verdict(Finding.DAMAGED, f"the engine refuses it: {error}")
    except OSError as error:
        if error.errno == errno.EIO:
            return Verdict(Finding.DAMAGED, f"the disk cannot read it: {error}")
        return Verdict(Finding.REFUSED, f"it cannot be read: {error}")
    return Verdict(Finding.SOUND) if reason is None else Verdict(Finding.DAMAGED, reason)


def _structure(data: Path) -> str | None:
    try:
        problems = lmdb.verify.verify(str(data), subdir=False)  # type: ignore[no-untyped-call]  # no stubs for it
    except lmdb.verify.VerifyError as error:
        return str(error)
    except _TRIPPED as error:
        return f"the verifier stumbled: {type(error).__name__}: {error}"
    if not problems:
        return None
    more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return "; ".join(problems[:_SHOWN]) + more


def _records(folder: Path) -> str | None:
    """Decode every record of every database; return why the file is not ours."""
    # readonly and without a lock file: not one byte changes by looking
    env = lmdb.open(engine_path(folder), readonly=True, lock=False, create=False, max_dbs=64)
    try:
        with env.begin() as txn:
            names = list(txn.cursor().iternext(keys=True, values=False))
        if not names:
            return None  # made, and killed before the first commit
        handles = {name: env.open_db(name, create=False) for name in names}
        with env.begin() as txn:
            meta = handles.get(META.encode())
            if meta is None or txn.get(FORMAT_KEY, db=meta) is None:
                return "it is an LMDB file of another program"
            for name, handle in handles.items():
                db = name.decode("utf-8", "backslashreplace")
                parse = PARSERS.get(db)
                for key, raw in txn.cursor(db=handle):
                    fields = decode(db, key, raw)
                    if parse is not None:
                        parse(fields)
    finally:
        env.close()
    return None
