"""Looking for workers: who they are, whose they are, and whether one outlived its guard (Linux)."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path

from kill_storm import Host, Storm

MODULE = b"terminals.worker.child"
GONE = 2.0  # seconds within which a worker must have followed its guard
ISOLATED = {"DTMS_ISOLATE": "true"}
CAN_LOOK = sys.platform == "linux"


def commands() -> dict[int, list[bytes]]:
    """Return the command lines of all processes that have one; a zombie has none."""
    found: dict[int, list[bytes]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue  # it has just ended
            if words != [b""]:
                found[int(entry.name)] = words
    return found


def workers_of(guard: int, folder: Path | None = None) -> list[int]:
    """Return the workers of a guard's process, by their command lines.

    With `folder` those too that have been started and are not a Python of their
    own yet: they still have their guard's command line, which names it.
    """
    mine, place = str(guard).encode(), None if folder is None else os.fsencode(folder)
    return [
        pid
        for pid, words in commands().items()
        if pid != guard
        and (
            (mine in words and any(MODULE in word for word in words))
            or (place is not None and any(word.startswith(place) for word in words))
        )
    ]


def lives(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in ("Z", "X")


def the_worker(guard: int, within: float = 30.0) -> int:
    """Wait for a guard's one worker; return its pid."""
    end = time.monotonic() + within
    while True:
        found = workers_of(guard)
        if len(found) == 1:
            return found[0]
        assert time.monotonic() < end, f"workers: {found}"
        time.sleep(0.01)


def kill_9(pid: int) -> None:
    """Kill as the machine would."""
    os.kill(pid, signal.SIGKILL)


class WorkerStorm(Storm):
    """The storm of kills, at guards whose terminal has a process of its own."""

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(folder, seed, **ISOLATED)
        self.followed: list[float] = []  # seconds until nothing was left
        self.seen: Counter[bool] = Counter()  # whether a worker was there at the kill

    def killing(self, host: Host) -> None:
        """Note who is there, a moment before the kill."""
        self._there = workers_of(host.popen.pid)

    def ended(self, host: Host) -> None:
        """Wait until its worker has gone; fail if one stays."""
        began = time.monotonic()
        self.seen[bool(self._there)] += 1
        while left := {*workers_of(host.popen.pid, self.folder), *filter(lives, self._there)}:
            late = time.monotonic() - began
            assert late < GONE, f"{left} outlived their guard by {late:.1f} s"
            time.sleep(0.005)
        self.followed.append(time.monotonic() - began)
