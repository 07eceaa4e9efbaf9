"""One LMDB environment, opened safely, written durably, grown by itself.

Always `sync=True`, never `writemap`: LMDB.md has the measurements. All reads
and writes go through records with checksums; a damaged one raises Damaged and
never returns wrong data.
"""

from __future__ import annotations

import secrets
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import lmdb

from defence.errors import Damaged, DtmsError, FolderRefused, Stopped, StoreFull, TryAgain
from storage.examine import first_look, structure
from storage.failures import engine_path, translate, write_copy
from storage.files import make_folder, refused, sync_folder, try_to_write
from storage.in_place import InPlace
from storage.layout import BIRTH_KEY, DATA_FILE, FORMAT_KEY, FORMATS, META, SEQUENCE_KEY
from storage.marks import BIRTH_BYTES, MarkFile
from storage.reading import text, whole
from storage.records import Fields, decode, encode
from storage.view import Change, View

T = TypeVar("T")

MAP_SIZE: Final = 16 * 1024 * 1024  # bytes; address space, not disk
MAP_LIMIT: Final = 2**40 if sys.maxsize > 2**32 else 2**30
_MAX_DBS: Final = 32
_CLOSE_WAIT: Final = 5.0  # seconds
_READERS: Final = 126


class Stamp(NamedTuple):
    """Which environment it is (copies keep the birth), and how many commits it has seen."""

    birth: str
    sequence: int


class Environment:
    """One LMDB environment with one owner. Made by `Environment.open`."""

    def __init__(
        self,
        env: lmdb.Environment,
        handles: Mapping[str, lmdb._Database],
        name: str,
        path: Path,
        map_size: int,
        stamp: Stamp,
        marked: bool,
    ) -> None:
        self.name = name
        self.path = path
        self.files = InPlace(name, path)
        self._env: lmdb.Environment | None = env
        self._handles = handles
        self._map_size = map_size
        self.birth = stamp.birth
        self._sequence = stamp.sequence
        self._mark = MarkFile(path, stamp.birth) if marked else None
        # There is one owner, so it is never waited for. But growing moves the
        # map, and whoever broke that rule would then read freed memory.
        self._lock = threading.RLock()
        self._depth = 0

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        name: str,
        databases: Sequence[str],
        map_size: int = MAP_SIZE,
        marked: bool = True,
    ) -> Environment:
        """Open the environment in the folder `path`, or make it there.

        `marked` keeps a watermark beside it (see `storage.marks`).

        Call `storage.preflight.check` first: a damaged file can kill the
        process that opens it. Raises Damaged for a file that is empty, cut,
        not LMDB's or another environment's; FolderRefused without the right to
        write or if a newer version made it; StoreFull without room.
        """
        make_folder(path)
        data = path / DATA_FILE
        try:
            reason = first_look(path)
            new = not data.exists()
        except OSError as error:
            raise refused(error, path, f"reading the store {name!r}") from error
        if reason is not None:
            raise _damaged(name, path, reason)
        # what is there chooses its engine by its format; what is new must not
        # depend on a variable of the host's environment
        engine: dict[str, Any] = {"lib_version": 0} if new else {}
        try:
            env = lmdb.open(
                engine_path(path),
                map_size=map_size,
                mode=0o600,
                max_dbs=_MAX_DBS,
                max_readers=_READERS,
                sync=True,
                metasync=True,
                writemap=False,
                **engine,
            )
        except lmdb.Error as error:
            raise translate(error, name, path) from error
        try:
            handles, stamp = _prepare(env, name, path, databases)
            if new:
                sync_folder(path)
                sync_folder(path.parent)  # in which the folder may be new
        except lmdb.Error as error:
            env.close()
            raise translate(error, name, path) from error
        except OSError as error:
            env.close()
            raise refused(error, path, f"opening the store {name!r}") from error
        except DtmsError:
            env.close()
            raise
        size = max(map_size, env.info()["map_size"])
        return cls(env, handles, name, path, size, stamp, marked)

    @property
    def sequence(self) -> int:
        """How many commits the environment has seen, its forerunners by copy included."""
        return self._sequence

    def run(self, work: Callable[[Change], T]) -> T:
        """Do `work` in one transaction; durable on disk when this returns.

        `work` runs again from its start if the map had to grow, so it must
        have no effect but through the `Change`. Whatever it raises undoes all.
        Raises StoreFull, Damaged, FolderRefused, StoreLost, or Stopped after `close`.
        """
        with self._lock:
            while True:
                try:
                    with self._open().begin(write=True) as txn:
                        change = Change(txn, self._handles, self._sequence + 1)
                        done = work(change)
                        if change.changed:
                            change.put(META, SEQUENCE_KEY, {"n": change.sequence})
                except lmdb.MapFullError:
                    self._grow()
                except lmdb.Error as error:
                    raise translate(error, self.name, self.path) from error
                else:
                    if change.changed:
                        self._sequence = change.sequence
                        if self._mark is not None:
                            self._mark.write(change.sequence)
                        self.files.must_be_there()  # or what was written is nowhere
                    return done

    @contextmanager
    def read(self) -> Iterator[View]:
        """Read one consistent moment: `with environment.read() as view`."""
        with self._lock:
            self._depth += 1
            try:
                with self._open().begin() as txn:
                    yield View(txn, self._handles)
            except lmdb.Error as error:
                raise translate(error, self.name, self.path) from error
            finally:
                self._depth -= 1

    def copy_here(self, target: Path) -> None:
        """Write a compact copy into the new folder `target`, from this process; unverified.

        For programs that can start no child (`storage.backups` prefers one).
        Raises StoreFull, FolderRefused or Damaged.
        """
        make_folder(target)
        with self._lock:
            try:
                write_copy(self._open(), target)
            except lmdb.Error as error:
                raise translate(error, self.name, target) from error
            except OSError as error:
                raise refused(error, target, "writing a backup") from error

    def lacks_room(self, size: int) -> StoreFull | None:
        """Return that a file of `size` bytes does not fit beside the store, None if it does."""
        refusal = try_to_write(self.path, size)
        return refusal if isinstance(refusal, StoreFull) else None

    def free_readers(self) -> int:
        """Free the reader slots of processes that died; return how many.

        Such a slot pins old pages, so the file would only grow (LMDB.md). Done
        at every opening and backup; a long run may do it now and then.
        """
        with self._lock:
            try:
                return self._open().reader_check()
            except lmdb.Error as error:
                raise translate(error, self.name, self.path) from error

    def close(self) -> None:
        """Close; a second time does nothing. TryAgain if a transaction does not end."""
        if not self._lock.acquire(timeout=_CLOSE_WAIT):
            # unmapping under a transaction that runs would kill the process
            raise TryAgain(
                f"the store {self.name!r} is in the middle of a transaction",
                field=self.name,
                remedy="close it again; at its end the process lets go of it anyway",
            )
        try:
            env, self._env = self._env, None
            if env is not None:
                env.close()
                if self._mark is not None:
                    self._mark.close()
        finally:
            self._lock.release()

    def _open(self) -> lmdb.Environment:
        if self._env is None:
            raise Stopped(f"the store {self.name!r} is closed", field=self.name)
        return self._env

    def _grow(self) -> None:
        size = self._map_size * 2
        if size > MAP_LIMIT or self._depth:
            why = "it is being read" if self._depth else f"it has {self._map_size} bytes"
            raise StoreFull(
                f"the map of the store {self.name!r} cannot grow: {why}",
                field=self.name,
                value=self._map_size,
                remedy="archive what is old into a backup and start with a new data folder",
            )
        try:
            self._open().set_mapsize(size)
        except lmdb.Error as error:
            # the old map is gone and there is no new one: never touch it again
            self._env = None
            raise translate(error, self.name, self.path) from error
        self._map_size = size


def _prepare(
    env: lmdb.Environment, name: str, path: Path, databases: Sequence[str]
) -> tuple[dict[str, lmdb._Database], Stamp]:
    """Check what the engine says of the file, then open the databases."""
    info, stat = env.info(), env.stat()
    size = (path / DATA_FILE).stat().st_size
    if (info["last_pgno"] + 1) * stat["psize"] > size:
        # reading beyond the file's end is SIGBUS, not an error; but the engine
        # does not write pages at the end that it gave up in the same commit
        reason = structure(path / DATA_FILE)
        if reason is not None:
            raise _damaged(name, path, f"{DATA_FILE} is cut: {size} bytes; {reason}")
    env.reader_check()  # slots of processes that were killed
    fresh = stat["entries"] == 0
    with env.begin(write=True) as txn:
        meta = env.open_db(META.encode(), txn=txn, create=fresh)
        found = txn.get(FORMAT_KEY, db=meta)
        if found is None:
            if not fresh:
                raise _damaged(name, path, "it is an LMDB file of another program")
            fields: Fields = {"name": name, "format": FORMATS.get(name, 1)}
            txn.put(FORMAT_KEY, encode(META, FORMAT_KEY, fields), db=meta)
        else:
            _same_format(decode(META, FORMAT_KEY, found), name, path)
        stamp = _stamp(txn, meta)
        handles = {db: env.open_db(db.encode(), txn=txn) for db in databases}
    return {META: meta, **handles}, stamp


def _stamp(txn: lmdb.Transaction[bytes], meta: lmdb._Database) -> Stamp:
    """Return the environment's birth and sequence; an older version may have made it without."""
    raw = txn.get(BIRTH_KEY, db=meta)
    if raw is None:
        birth = secrets.token_hex(BIRTH_BYTES)
        txn.put(BIRTH_KEY, encode(META, BIRTH_KEY, {"id": birth}), db=meta)
    else:
        birth = text(decode(META, BIRTH_KEY, raw), "id")
    raw = txn.get(SEQUENCE_KEY, db=meta)
    return Stamp(birth, 0 if raw is None else whole(decode(META, SEQUENCE_KEY, raw), "n"))


def _same_format(fields: Fields, name: str, path: Path) -> None:
    if fields.get("name") != name:
        raise _damaged(name, path, f"it holds the store {fields.get('name')!r}")
    version, known = fields.get("format"), FORMATS.get(name, 1)
    if version == known:
        return
    older = isinstance(version, int) and version < known
    raise FolderRefused(
        f"the store {name!r} has format {version!r}; this program works with {known}",
        field="data_dir",
        value=str(path),
        remedy="start a guard on the folder: it migrates the store"
        if older
        else "run the newer DTMS that made it, or use another data folder",
    )


def _damaged(name: str, path: Path, reason: str) -> Damaged:
    return Damaged(
        f"the store {name!r} cannot be trusted: {reason}",
        field=name,
        value=str(path),
        remedy="set it aside and restore the newest backup",
    )
