"""Other ways to store a record durably, one barrier or more a record."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing, suppress
from pathlib import Path
from queue import Empty, SimpleQueue

import lmdb

from actors.replies import Reply


class _Plain:
    """What needs neither preparing nor tidying."""

    def __init__(self, folder: Path, record: bytes) -> None:
        folder.mkdir()
        self.folder = folder
        self.record = record
        self._done = 0

    def prepare(self, count: int) -> None:
        """Do nothing."""

    def tidy(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class RawLmdb(_Plain):
    """(a) LMDB, `sync=True`, one transaction a record."""

    name = "(a) LMDB, one a transaction"

    def __init__(self, folder: Path, record: bytes) -> None:
        super().__init__(folder, record)
        self._env = lmdb.open(str(folder), map_size=1 << 30, sync=True, metasync=True)

    def store(self, nth: int) -> None:
        """Write one record, durably."""
        with self._env.begin(write=True) as txn:
            self._done += 1  # the write transaction is the lock
            txn.put(self._done.to_bytes(8, "big"), self.record)

    def close(self) -> None:
        """Close it."""
        self._env.close()


class Sqlite(_Plain):
    """(b) SQLite as most services use it: a connection a save, the rollback journal."""

    name = "(b) SQLite, a connection a save"

    def __init__(self, folder: Path, record: bytes) -> None:
        super().__init__(folder, record)
        self._path = folder / "trades.sqlite"
        with closing(self._connect()) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")
            connection.execute("CREATE TABLE trades (id INTEGER PRIMARY KEY, record BLOB)")
            connection.commit()

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._path, timeout=120.0)

    def store(self, nth: int) -> None:
        """Write one record, durably (`synchronous=FULL` is the default)."""
        with closing(self._connect()) as connection:
            connection.execute("INSERT INTO trades (record) VALUES (?)", (self.record,))
            connection.commit()


class RawFsync(_Plain):
    """(c) Append to a file and `fsync`: the limit for one barrier a record."""

    name = "(c) fsync append"

    def __init__(self, folder: Path, record: bytes) -> None:
        super().__init__(folder, record)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
        self._file = os.open(folder / "log", flags, 0o600)

    def store(self, nth: int) -> None:
        """Append one record, durably."""
        os.write(self._file, self.record)
        os.fsync(self._file)

    def close(self) -> None:
        """Close it."""
        os.close(self._file)


class GroupCommit(_Plain):
    """(d) The least a group commit costs: one queue, one writer thread, one record a caller.

    What DTMS adds to this are the look at the broker, the rules, the line of
    history and the indexes, the mailboxes that survive a crash, and the events.
    """

    name = "(d) group commit, bare"

    def __init__(self, folder: Path, record: bytes) -> None:
        super().__init__(folder, record)
        self._env = lmdb.open(str(folder), map_size=1 << 30, sync=True, metasync=True)
        self._asked: SimpleQueue[Reply | None] = SimpleQueue()
        self._writer = threading.Thread(target=self._write, daemon=True)
        self._writer.start()

    def store(self, nth: int) -> None:
        """Write one record, durably."""
        reply = Reply()
        self._asked.put(reply)
        reply.get()

    def _write(self) -> None:
        while True:
            waiting = [self._asked.get()]
            with suppress(Empty):
                while len(waiting) < 512:
                    waiting.append(self._asked.get_nowait())
            with self._env.begin(write=True) as txn:
                for _ in waiting:
                    self._done += 1
                    txn.put(self._done.to_bytes(8, "big"), self.record)
            for reply in waiting:
                if reply is None:
                    return
                reply.set()

    def close(self) -> None:
        """End the writer, and close it."""
        self._asked.put(None)
        self._writer.join()
        self._env.close()
