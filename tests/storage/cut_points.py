"""A fault at the n-th step of an operation: the process dies there, or the disk has no room.

The steps are what the operation does to files: opening for writing, renaming,
removing, making folders, starting a child (all of them audited by the
interpreter), each `fsync`, and before and after each commit.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from defence.errors import StoreFull
from storage.environment import Environment

DIED: Final = 137
KINDS: Final = ("die", "error", "full")  # dies; one call fails; the disk stays full from then on
_WRITES: Final = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_TAKES_NO_ROOM: Final = ("os.remove", "os.rmdir", "shutil.rmtree", "subprocess.Popen")
_AUDITED: Final = (
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.truncate",
    "os.chmod",
    "os.link",
    "os.symlink",
    "shutil.rmtree",
    "shutil.move",
    "shutil.copyfile",
    "subprocess.Popen",
)


class Cutter:
    """Counts steps, and strikes at number `at`. One a process: a hook stays for ever."""

    def __init__(self, below: Path, at: int, kind: str) -> None:
        self.count = 0
        self.what: list[str] = []
        self._below = str(below)
        self._at = at
        self._kind = kind
        self._on = False
        sys.addaudithook(self._hook)
        self._patch()

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count and strike while this is open."""
        self._on = True
        try:
            yield
        finally:
            self._on = False

    def step(self, what: str) -> None:
        """Be at a step: count it, and strike if it is its turn."""
        if not self._on:
            return
        self.count += 1
        self.what.append(what)
        if self._kind == "die" and self.count == self._at:
            os._exit(DIED)
        once = self._kind == "error" and self.count == self._at
        takes_room = what.split(" ", maxsplit=1)[0] not in _TAKES_NO_ROOM and what != "committed"
        full = self._kind == "full" and self.count >= self._at > 0 and takes_room
        if once or full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._on:
            return
        if event == "open":
            path, mode, flags = arguments
            if isinstance(path, int):
                if isinstance(mode, str) and set(mode) & set("wax+"):
                    self.step("open by number")
            elif isinstance(flags, int) and flags & _WRITES and self._ours(path):
                self.step(f"open {Path(os.fsdecode(path)).name}")
        elif event in _AUDITED:
            # paths that are relative belong to a folder that shutil has open
            places = [os.fsdecode(a) for a in arguments[:2] if isinstance(a, str | bytes)]
            if event == "subprocess.Popen" or any(
                self._ours(each) or not Path(each).is_absolute() for each in places
            ):
                self.step(f"{event} {' '.join(Path(each).name for each in places)}")

    def _ours(self, path: object) -> bool:
        return isinstance(path, str | bytes) and os.fsdecode(path).startswith(self._below)

    def _patch(self) -> None:
        fsync, run = os.fsync, Environment.run
        step, kind = self.step, self._kind

        def synced(handle: int) -> None:
            step("fsync")
            fsync(handle)

        def committed(environment: Environment, work: Any) -> Any:
            try:
                step("commit")
            except OSError as error:  # as the engine's error comes out of `run`
                raise StoreFull(str(error), field="data_dir", remedy="free some space") from error
            done = run(environment, work)
            if kind == "die":
                step("committed")  # durable, and nobody knows
            return done

        os.fsync = synced
        Environment.run = committed  # type: ignore[method-assign]
