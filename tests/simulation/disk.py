"""A disk in memory: what the stores write, with the faults that a disk has.

It outlives a guard, as a disk outlives a process. Records are encoded and
checked as in LMDB; only the engine below is another.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from defence.errors import Stopped, StoreFull
from storage.records import Fields, decode, encode
from storage.view import TOP

T = TypeVar("T")


class Table:
    """One database: keys in order, and what is stored under them."""

    __slots__ = ("keys", "rows")

    def __init__(self) -> None:
        self.keys: list[bytes] = []
        self.rows: dict[bytes, bytes] = {}

    def put(self, key: bytes, raw: bytes) -> None:
        if key not in self.rows:
            insort(self.keys, key)
        self.rows[key] = raw

    def delete(self, key: bytes) -> bool:
        if self.rows.pop(key, None) is None:
            return False
        del self.keys[bisect_left(self.keys, key)]
        return True


class MemoryView:
    """What `storage.view.View` offers, over tables."""

    def __init__(self, tables: dict[str, Table]) -> None:
        self._tables = tables

    def get(self, db: str, key: bytes) -> Fields | None:
        raw = self._table(db).rows.get(key)
        return None if raw is None else decode(db, key, raw)

    def has(self, db: str, key: bytes) -> bool:
        return key in self._table(db).rows

    def count(self, db: str) -> int:
        return len(self._table(db).keys)

    def items(
        self, db: str, *, prefix: bytes = b"", newest_first: bool = False
    ) -> Iterator[tuple[bytes, Fields]]:
        return self.walk(db, low=prefix, high=prefix + TOP, newest_first=newest_first)

    def walk(
        self, db: str, *, low: bytes = b"", high: bytes = TOP, newest_first: bool = False
    ) -> Iterator[tuple[bytes, Fields]]:
        table = self._table(db)
        keys = table.keys[bisect_left(table.keys, low) : bisect_left(table.keys, high)]
        for key in reversed(keys) if newest_first else keys:
            yield key, decode(db, key, table.rows[key])

    def newest_key(self, db: str, prefix: bytes) -> bytes | None:
        keys = self._table(db).keys
        at = bisect_left(keys, prefix + TOP)
        key = keys[at - 1] if at else b""
        return key if at and key.startswith(prefix) else None

    def _table(self, db: str) -> Table:
        table = self._tables.get(db)
        if table is None:
            table = self._tables[db] = Table()
        return table


class MemoryChange(MemoryView):
    """One transaction: all of it or nothing."""

    def __init__(self, tables: dict[str, Table], sequence: int) -> None:
        super().__init__(tables)
        self.sequence = sequence
        self.changed = False
        self.undo: list[tuple[Table, bytes, bytes | None]] = []

    def put(self, db: str, key: bytes, fields: Mapping[str, object]) -> None:
        table, self.changed = self._table(db), True
        self.undo.append((table, key, table.rows.get(key)))
        table.put(key, encode(db, key, fields))

    def delete(self, db: str, key: bytes) -> bool:
        table, self.changed = self._table(db), True
        old = table.rows.get(key)
        if old is None:
            return False
        self.undo.append((table, key, old))
        return table.delete(key)

    def roll_back(self) -> None:
        for table, key, old in reversed(self.undo):
            if old is None:
                table.delete(key)
            else:
                table.put(key, old)


class Disk:
    """All stores of a data folder, and what is wrong with the disk under them."""

    def __init__(self, now: Callable[[], float] = lambda: 0.0) -> None:
        self._now = now
        self.full_until = 0.0  # of `now`
        self.stores: dict[str, dict[str, Table]] = {}
        self.sequences: dict[str, int] = {}
        self.account: tuple[int, str] | None = None
        self.locked = False
        self.struck: Callable[[str, str], None] = lambda _store, _when: None

    @property
    def full(self) -> bool:
        """Whether there is no room."""
        return self._now() < self.full_until

    def environment(self, name: str) -> MemoryEnvironment:
        return MemoryEnvironment(self, name)


class InPlaceAlways:
    """Nobody takes a file away that is none."""

    def must_be_there(self) -> None:
        """It is."""

    def lock_lost(self) -> str | None:
        return None


class MemoryEnvironment:
    """What `storage.environment.Environment` offers, over a `Disk`."""

    def __init__(self, disk: Disk, name: str) -> None:
        self.name = name
        self.path = Path(f"/memory/{name}")
        self.files = InPlaceAlways()
        self.birth = f"birth-{name}"
        self._disk = disk
        self._tables = disk.stores.setdefault(name, {})
        self._closed = False

    @property
    def sequence(self) -> int:
        return self._disk.sequences.get(self.name, 0)

    def run(self, work: Callable[[MemoryChange], T]) -> T:
        self._open()
        change = MemoryChange(self._tables, self.sequence + 1)
        try:
            done = work(change)
            if change.changed:
                self._disk.struck(self.name, "before")
                self._open()
                if self._disk.full:
                    raise self.lacks_room(0) or AssertionError
        except BaseException:
            change.roll_back()
            raise
        if change.changed:
            self._disk.sequences[self.name] = change.sequence
            self._disk.struck(self.name, "after")
        return done

    @contextmanager
    def read(self) -> Iterator[MemoryView]:
        self._open()
        yield MemoryView(self._tables)

    def lacks_room(self, size: int) -> StoreFull | None:
        """Return that the disk is full, None if it is not."""
        if not self._disk.full:
            return None
        return StoreFull(f"no room for the store {self.name!r}", field=self.name)

    def free_readers(self) -> int:
        return 0

    def close(self) -> None:
        self._closed = True

    def _open(self) -> None:
        if self._closed:
            raise Stopped(f"the store {self.name!r} is closed", field=self.name)
