"""The check of one environment at rest: structure first, then every record.

This runs in a child process (`storage.preflight`), because LMDB answers some
damage with a signal (LMDB.md: 263 of 2,400 damaged files). The order matters
too: the offline verifier reads the file as plain bytes and cannot crash, and
the engine sees only a file that it passed.

The file is checked where it lies. It is at rest (the caller holds the folder's
lock), nothing here writes, the free list is checked too (a compact copy would
leave it out), and a full disk does not keep a sound store from being opened.
A live environment is never checked like this but through a verified copy
(`storage.backups`).
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self

import lmdb
import lmdb.verify

from defence.errors import Damaged, FolderRefused
from storage.failures import engine_path
from storage.layout import (
    ACCOUNT_KEY,
    BIRTH_KEY,
    DATA_FILE,
    FORMAT_KEY,
    FORMATS,
    META,
    PARSERS,
    SEQUENCE_KEY,
)
from storage.reading import text, whole
from storage.records import Fields, decode

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
class Facts:
    """What a sound environment says of itself; `counts` are records by database."""

    name: str
    format: int
    birth: str | None  # None: an older version made it
    sequence: int
    account: tuple[int, str] | None  # of the trade store: login and server
    counts: Mapping[str, int]

    def plain(self) -> dict[str, Any]:
        """Return the facts as JSON takes them."""
        return {
            "name": self.name,
            "format": self.format,
            "birth": self.birth,
            "sequence": self.sequence,
            "account": None if self.account is None else list(self.account),
            "counts": dict(self.counts),
        }

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Return the facts that `plain` wrote; LookupError, TypeError or ValueError if not."""
        account = plain["account"]
        return cls(
            name=str(plain["name"]),
            format=int(plain["format"]),
            birth=None if plain["birth"] is None else str(plain["birth"]),
            sequence=int(plain["sequence"]),
            account=None if account is None else (int(account[0]), str(account[1])),
            counts={str(db): int(count) for db, count in plain["counts"].items()},
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of one check; `reason` is empty for a sound environment.

    `facts` is None for one that is not sound, or that holds nothing yet.
    """

    finding: Finding
    reason: str = ""
    facts: Facts | None = None


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
            reason = structure(folder / DATA_FILE)
            if reason is None:
                return _records(folder)
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


def structure(data: Path) -> str | None:
    """Return what the offline verifier finds wrong in a file, None if nothing; it cannot crash."""
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


def _records(folder: Path) -> Verdict:
    """Decode every record of every database; say what the environment is."""
    # readonly and without a lock file: not one byte changes by looking
    env = lmdb.open(engine_path(folder), readonly=True, lock=False, create=False, max_dbs=64)
    try:
        with env.begin() as txn:
            names = list(txn.cursor().iternext(keys=True, values=False))
        if not names:
            return Verdict(Finding.SOUND)  # made, and killed before the first commit
        handles = {name: env.open_db(name, create=False) for name in names}
        counts: dict[str, int] = {}
        with env.begin() as txn:
            meta = handles.get(META.encode())
            if meta is None or txn.get(FORMAT_KEY, db=meta) is None:
                return Verdict(Finding.DAMAGED, "it is an LMDB file of another program")
            facts = _facts({bytes(key): decode(META, key, raw) for key, raw in txn.cursor(db=meta)})
            known = FORMATS.get(facts.name, facts.format)
            if facts.format > known:
                reason = f"it has format {facts.format}, this program knows {known}"
                return Verdict(Finding.REFUSED, reason)
            for name, handle in handles.items():
                db = name.decode("utf-8", "backslashreplace")
                parse = PARSERS.get(db)
                counts[db] = 0
                # the verifier does not compare a branch page's keys with the
                # pages below: a wrong one hides records from whoever asks by key
                tall = txn.stat(handle)["depth"] > 1
                for key, raw in txn.cursor(db=handle):
                    fields = decode(db, key, raw)
                    if tall and txn.get(key, db=handle) != raw:
                        reason = f"the record {key.hex()} of {db!r} is not found by its key"
                        return Verdict(Finding.DAMAGED, reason)
                    counts[db] += 1
                    if parse is not None:
                        parse(fields)
    finally:
        env.close()
    return Verdict(Finding.SOUND, facts=replace(facts, counts=counts))


def _facts(meta: Mapping[bytes, Fields]) -> Facts:
    made, birth = meta[FORMAT_KEY], meta.get(BIRTH_KEY)
    sequence, account = meta.get(SEQUENCE_KEY), meta.get(ACCOUNT_KEY)
    return Facts(
        name=text(made, "name"),
        format=whole(made, "format"),
        birth=None if birth is None else text(birth, "id"),
        sequence=0 if sequence is None else whole(sequence, "n"),
        account=None if account is None else (whole(account, "login"), text(account, "server")),
        counts={},
    )
