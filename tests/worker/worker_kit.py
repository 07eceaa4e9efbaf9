"""What the tests of the worker share: hosted terminals, and what is left of them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from terminals import GeneratedMarket, SimulatedTerminal
from terminals.worker.hosted import WorkerTerminal
from terminals.worker.office import SimulatedWorker
from terminals.worker.plan import simulated_plan

ROOT = Path(__file__).resolve().parents[2]
START = 1_700_000_000.0
LONG = 60.0  # seconds that a loaded machine may take for what is usually at once


class Workers:
    """Makes hosted terminals, and closes them all."""

    def __init__(self) -> None:
        self.made: list[WorkerTerminal] = []
        self.said: list[str] = []

    def log(self, level: str, text: str) -> None:
        """Keep what was logged."""
        self.said.append(f"{level} {text}")

    def make(self, *, call_timeout: float = LONG, **options: Any) -> SimulatedWorker:
        """Return a hosted terminal whose market moves by a millisecond a look; not started."""
        options = {"start": START, "speed": 0.0, "step": 0.001, **options}
        made = SimulatedWorker(simulated_plan(**options), call_timeout=call_timeout, log=self.log)
        self.made.append(made)
        return made

    def connected(self, **options: Any) -> SimulatedWorker:
        """Return one that is connected."""
        made = self.make(**options)
        connect(made)
        return made

    def close(self) -> None:
        """Close all."""
        for one in self.made:
            one.close()


def connect(terminal: WorkerTerminal) -> None:
    """Start and connect, as often as it takes."""
    until(terminal.initialize)


def twin(**options: Any) -> SimulatedTerminal:
    """Return the same terminal as `Workers.make`, in this process, connected."""
    options = {"speed": 0.0, "step": 0.001, **options}
    made = SimulatedTerminal(market=GeneratedMarket(1, START), now=lambda: START, **options)
    assert made.initialize()
    return made


def until(condition: Callable[[], object], timeout: float = LONG) -> None:
    """Wait; fail if it does not come."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it did not come to that in time"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether a process runs; one that waits to be reaped does not (Linux)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def stopped(pid: int) -> bool:
    """Whether a process is stopped by a signal (Linux)."""
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] in "Tt"


def children() -> set[int]:
    """Return the processes, dead ones that nobody has reaped included, that are ours (Linux)."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        try:
            found |= {int(pid) for pid in (task / "children").read_text().split()}
        except FileNotFoundError:
            continue  # the thread has just ended
    return found


def worker_of(pid: int) -> int:
    """Return the worker among the children of a process, 0 if there is none (Linux)."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            if "terminals.worker.child" in Path(f"/proc/{child}/cmdline").read_text():
                return int(child)
    return 0


def descriptors() -> int:
    """How many files this process has open (Linux)."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the listing's own is counted alike


class InCall:
    """A call on a thread of its own, and what came of it."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self.answer: Any = None
        self.error: BaseException | None = None
        self._call = call
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.answer = self._call()
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.error = error

    @property
    def over(self) -> bool:
        """Whether it has returned."""
        return not self._thread.is_alive()

    def result(self, timeout: float = LONG) -> Any:
        """Return its answer; raise its error."""
        self._thread.join(timeout)
        assert self.over, "the call did not return"
        if self.error is not None:
            raise self.error
        return self.answer


def python(text: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Start a host of a worker as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", text, *arguments],
        cwd=options.pop("cwd", ROOT),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), **options.pop("env", {})},
        **options,
    )
