"""Whether the files of an open environment still lie where they were opened.

A deleted file that is open takes every write and keeps none of it: a guard
that goes on acknowledging into it would break its promise, so the data file is
looked for after every commit and before the answers. A deleted `lock.mdb` lets
a second writer in and hides readers from the writer (LMDB.md); our own locks
hold, so writing goes on, but a copy by another process can no longer be
trusted. Windows does not let an open file be deleted or renamed; the
comparison is harmless there.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from defence.errors import StoreLost, TryAgain
from storage.layout import DATA_FILE, LOCK_FILE

_Identity = tuple[int, int]
_GONE: Final = (0, 0)


class InPlace:
    """What was opened: remembers the files' identities, compares them with the paths'."""

    def __init__(self, name: str, folder: Path) -> None:
        self._name = name
        self._data_path = str(folder / DATA_FILE)
        self._lock_path = str(folder / LOCK_FILE)
        self._data = _identity(self._data_path)
        self._lock = _identity(self._lock_path)

    def must_be_there(self) -> None:
        """Raise StoreLost if the data file was deleted, moved or replaced. About 2 us."""
        if _same(_identity(self._data_path), self._data):
            return
        raise StoreLost(
            f"the file of the store {self._name!r} was {_what(self._data_path)} while it was in "
            "use; what was written since is not at that path",
            field="data_dir",
            value=self._data_path,
            remedy="put the folder back where it was if it was moved, then start the guard again",
        )

    def lock_lost(self) -> str | None:
        """Return what happened to `lock.mdb`, None if it is as it was."""
        if _same(_identity(self._lock_path), self._lock):
            return None
        return f"{self._lock_path} was {_what(self._lock_path)} while the store was in use"

    def must_be_locked(self) -> None:
        """Raise TryAgain if `lock.mdb` is not the one in use: no other process may read now.

        A process that reads would not be seen by the writer, which could
        overwrite the pages under its eyes.
        """
        lost = self.lock_lost()
        if lost is not None:
            raise TryAgain(
                f"{lost}: a copy made now could be wrong",
                field=self._name,
                value=self._lock_path,
                remedy="restart the guard, then back up",
            )


def _identity(path: str) -> _Identity | None:
    """Return which file is at that path, `_GONE` if there is none, None if it cannot be told."""
    try:
        found = os.stat(path)  # noqa: PTH116 - after every commit: a Path would double its cost
    except (FileNotFoundError, NotADirectoryError):
        return _GONE
    except OSError:  # such as a right taken away: that says nothing about the file
        return None
    return found.st_dev, found.st_ino


def _same(found: _Identity | None, opened: _Identity | None) -> bool:
    return found is None or opened is None or found == opened


def _what(path: str) -> str:
    return "deleted or moved" if _identity(path) == _GONE else "replaced by another"
