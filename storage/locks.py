"""One authority: a lock by data folder and a lock by account (DESIGN, promise 1).

LMDB alone does not give a single instance (LMDB.md), so these locks lie
outside the environments. The operating system lets go of them when the process
dies, however it dies. They hold between two guards of one process as well.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Final

import filelock
from loguru import logger

from defence.errors import AlreadyGuarded, DtmsError, FolderRefused
from storage.files import OWNER_FILE, make_folder, refused, write_whole

LOCK_NAME: Final = "guard.lock"
_PLAIN: Final = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789.-_")
_LONGEST: Final = 150  # characters; file systems allow 255 bytes


def account_name(login: int, server: str) -> str:
    """Return a file name for an account; two accounts never share one.

    The login comes first and holds no "_", so the name splits in one way only.
    Capitals are written as numbers too: some file systems do not tell them
    from small letters, and "Demo" and "demo" may be two servers.
    """
    plain = "".join(
        chr(byte) if byte in _PLAIN else f"%{byte:02X}"
        for byte in server.encode("utf-8", "surrogatepass")
    )
    if len(plain) > _LONGEST:
        # "=" occurs in no plain name, so a digest is never taken for one
        plain = "=" + hashlib.sha256(server.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{login}_{plain}"


class _Lock:
    """A file lock with a note beside it that says who holds it."""

    def __init__(self, path: Path, what: str, remedy: str) -> None:
        self._path = path
        self._note = path.with_name(path.name + ".pid")
        self._what = what
        self._remedy = remedy
        # not thread local: a guard may be started and stopped by different threads
        self._lock = filelock.FileLock(path, mode=OWNER_FILE, thread_local=False)

    @property
    def held(self) -> bool:
        """Whether this object holds the lock."""
        return self._lock.is_locked

    def acquire(self) -> None:
        """Take the lock, without waiting.

        Raises AlreadyGuarded if another guard has it (this object itself
        included), FolderRefused if the lock file cannot be used.
        """
        if self.held:
            raise self._taken()
        if not self._path.parent.is_dir():  # the lock file alone must not make a folder
            raise FolderRefused(
                f"the folder {self._path.parent} does not exist",
                field="data_dir",
                value=str(self._path.parent),
                remedy="make the folder first",
            )
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise self._taken() from error
        except OSError as error:
            raise refused(error, self._path, "locking") from error
        try:
            write_whole(self._note, json.dumps({"pid": os.getpid()}).encode())
        except DtmsError:
            self._lock.release()
            raise

    def release(self) -> None:
        """Let go; a second time does nothing."""
        if not self.held:
            return
        try:
            self._note.unlink(missing_ok=True)
        except OSError as error:  # it misleads nobody: only who finds the lock taken reads it
            logger.bind(child="guard").warning("{} stays behind: {}", self._note, error)
        finally:
            self._lock.release()

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _taken(self) -> AlreadyGuarded:
        pid = _pid(self._note)
        by = "another process" if pid is None else f"process {pid}"
        if pid == os.getpid():
            by = f"this process ({pid})"
        return AlreadyGuarded(
            f"{self._what} is already guarded by {by}",
            field="data_dir",
            value=str(self._path),
            remedy=self._remedy,
        )


class FolderLock(_Lock):
    """The lock of a data folder, the same one through every symbolic link."""

    def __init__(self, data_dir: Path) -> None:
        folder = _resolved(data_dir)
        super().__init__(
            folder / LOCK_NAME,
            f"the data folder {folder}",
            "stop that guard, or choose another data folder",
        )


class AccountLock(_Lock):
    """The lock of an account (server, login) in the user's state folder."""

    def __init__(self, state_dir: Path, server: str, login: int) -> None:
        folder = _resolved(state_dir) / "accounts"
        try:
            make_folder(folder, parents=True)
        except DtmsError as error:
            raise _about_state(error) from error
        super().__init__(
            folder / f"{account_name(login, server)}.lock",
            f"the account {login} on {server!r}",
            "stop that guard: one account has one guard",
        )

    def acquire(self) -> None:
        """Take the lock as `FolderLock` does; an error names the state folder."""
        try:
            super().acquire()
        except AlreadyGuarded:
            raise
        except DtmsError as error:
            raise _about_state(error) from error


def _about_state(error: DtmsError) -> DtmsError:
    """Return the error for the state folder: it is not the data folder that must be mended."""
    remedy = error.remedy
    if isinstance(error, FolderRefused):
        remedy = "give this user the right to write there, or choose another state folder"
    return type(error)(error.message, field="state_dir", value=error.value, remedy=remedy)


def _resolved(folder: Path) -> Path:
    try:
        return folder.resolve()
    except (OSError, RuntimeError) as error:  # a loop of symbolic links
        raise FolderRefused(
            f"{folder} leads nowhere: {error}",
            field="data_dir",
            value=str(folder),
            remedy="mend the symbolic link, or choose another folder",
        ) from error


def _pid(note: Path) -> int | None:
    """Return the process that wrote the note; None if there is none that can be read."""
    try:
        said = json.loads(note.read_bytes())
    except (OSError, ValueError):
        return None
    pid = said.get("pid") if isinstance(said, dict) else None
    return pid if isinstance(pid, int) else None
