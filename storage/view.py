"""Reading and writing inside one transaction, through records with checksums."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import lmdb

from storage.records import Fields, decode, encode

TOP: Final = b"\xff" * 33  # above every key that begins with a time, a day or nothing
_LARGE: Final = 1024  # bytes; no value up to that has pages of its own, whatever their size


class View:
    """Reading inside one transaction: one consistent moment."""

    def __init__(self, txn: lmdb.Transaction[bytes], handles: Mapping[str, lmdb._Database]) -> None:
        self._txn = txn
        self._handles = handles

    def get(self, db: str, key: bytes) -> Fields | None:
        """Return the record, None if there is none; Damaged if it is not what was written."""
        raw = self._txn.get(key, db=self._handles[db])
        return None if raw is None else decode(db, key, raw)

    def has(self, db: str, key: bytes) -> bool:
        """Whether there is a record under that key."""
        return self._txn.get(key, db=self._handles[db]) is not None

    def count(self, db: str) -> int:
        """Return how many records the database holds."""
        return self._txn.stat(self._handles[db])["entries"]

    def items(
        self, db: str, *, prefix: bytes = b"", newest_first: bool = False
    ) -> Iterator[tuple[bytes, Fields]]:
        """Walk the records whose key begins with `prefix`, in the keys' order or against it.

        Do not change `db` while walking it: take a list first.
        """
        with self._txn.cursor(self._handles[db]) as cursor:
            if newest_first:
                found = _last(cursor, prefix)
            else:
                found = cursor.set_range(prefix) if prefix else cursor.first()
            while found:
                key, raw = cursor.item()
                if not key.startswith(prefix):
                    return
                yield key, decode(db, key, raw)
                found = cursor.prev() if newest_first else cursor.next()

    def walk(
        self, db: str, *, low: bytes = b"", high: bytes = TOP, newest_first: bool = False
    ) -> Iterator[tuple[bytes, Fields]]:
        """Walk the records with `low <= key < high`, in the keys' order or against it.

        A page of history begins where the last one ended, without passing over
        what lies before. Do not change `db` while walking it: take a list first.
        """
        with self._txn.cursor(self._handles[db]) as cursor:
            if newest_first:
                found = cursor.prev() if cursor.set_range(high) else cursor.last()
            else:
                found = cursor.set_range(low)
            while found:
                key, raw = cursor.item()
                if not low <= key < high:
                    return
                yield key, decode(db, key, raw)
                found = cursor.prev() if newest_first else cursor.next()

    def newest_key(self, db: str, prefix: bytes) -> bytes | None:
        """Return the last key with that prefix, None if there is none; no record is read."""
        with self._txn.cursor(self._handles[db]) as cursor:
            found = cursor.prev() if cursor.set_range(prefix + TOP) else cursor.last()
            key = cursor.key() if found else b""
        return key if found and key.startswith(prefix) else None


class Change(View):
    """Reading and writing inside one transaction: all of it or nothing.

    `sequence` is the number of this commit, one more than that of the last.
    """

    def __init__(
        self,
        txn: lmdb.Transaction[bytes],
        handles: Mapping[str, lmdb._Database],
        sequence: int,
    ) -> None:
        super().__init__(txn, handles)
        self.sequence = sequence
        self.changed = False

    def put(self, db: str, key: bytes, fields: Mapping[str, object]) -> None:
        """Write a record, over an old one too."""
        self.changed = True
        handle, raw = self._handles[db], encode(db, key, fields)
        old = self._txn.get(key, db=handle)
        if old is not None and len(raw) < len(old) > _LARGE:
            # the engine would write a shorter value over the pages of the longer
            # one and keep them all, which the verifier takes for damage
            self._txn.delete(key, db=handle)
        self._txn.put(key, raw, db=handle)

    def delete(self, db: str, key: bytes) -> bool:
        """Delete a record; return whether there was one."""
        self.changed = True
        return self._txn.delete(key, db=self._handles[db])


def _last(cursor: lmdb.Cursor[bytes], prefix: bytes) -> bool:
    """Move to the last key that begins with `prefix` (or to one that does not)."""
    stem = prefix.rstrip(b"\xff")
    if not stem:
        return cursor.last()
    after = stem[:-1] + bytes((stem[-1] + 1,))
    return cursor.prev() if cursor.set_range(after) else cursor.last()
