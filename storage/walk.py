"""Walking a range of keys: what a page of history, and a step of compaction, need.

`View.items` walks a prefix; here the range has two ends, so that a page
begins where the last one ended without passing over what lies before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from storage.environment import View
from storage.records import Fields, decode

TOP: Final = b"\xff" * 33  # above every key that begins with a time, a day or nothing


def walk(
    view: View, db: str, *, low: bytes = b"", high: bytes = TOP, newest_first: bool = False
) -> Iterator[tuple[bytes, Fields]]:
    """Walk the records with `low <= key < high`, in the keys' order or against it.

    Do not change `db` while walking it: take a list first. Raises Damaged.
    """
    # one module in two files: the transaction is the view's, and nobody else's
    txn, handle = view._txn, view._handles[db]  # noqa: SLF001
    with txn.cursor(handle) as cursor:
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


def newest_key(view: View, db: str, prefix: bytes) -> bytes | None:
    """Return the last key with that prefix, None if there is none; its record is not read."""
    txn, handle = view._txn, view._handles[db]  # noqa: SLF001 - as above
    with txn.cursor(handle) as cursor:
        found = cursor.prev() if cursor.set_range(prefix + TOP) else cursor.last()
        key = cursor.key() if found else b""
    return key if found and key.startswith(prefix) else None
