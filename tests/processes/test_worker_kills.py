"""`kill -9` at a guard whose terminal has a process of its own, and at that process alone."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hosted_kit import CAN_LOOK, GONE, WorkerStorm, kill_9, lives, the_worker, workers_of
from kill_storm import EARLY, STOP, STORM
from process_kit import Process, broker_file

Rounds = Callable[..., int]
Launch = Callable[..., Process]

pytestmark = pytest.mark.skipif(not CAN_LOOK, reason="looks for processes in /proc")
A_FOLDER = 10  # rounds on one folder
AT_ONCE = 2
MOMENTS = (STORM, EARLY, STORM, STOP, STORM, STORM, EARLY, STORM, STOP, EARLY)


@pytest.mark.timeout(7200)
def test_a_killed_guard_leaves_no_worker_and_loses_nothing(rounds: Rounds, tmp_path: Path) -> None:
    count = rounds(ci=30, long=1000)

    def play(seed: int) -> WorkerStorm:
        storm = WorkerStorm(tmp_path / f"storm-{seed}", seed)
        moments = list(MOMENTS)
        random.Random(seed).shuffle(moments)
        for moment in moments:
            storm.round(moment)
        storm.finish()
        return storm

    with ThreadPoolExecutor(AT_ONCE) as pool:
        played = list(pool.map(play, range(1, count // A_FOLDER + 1)))
    moments: Counter[str] = Counter()
    seen: Counter[bool] = Counter()
    for storm in played:
        moments.update(storm.moments)
        seen.update(storm.seen)
    followed = [seconds for storm in played for seconds in storm.followed]
    acknowledged = sum(len(storm.books.known) for storm in played)
    print(
        f"{dict(moments)}: {acknowledged} acknowledged; the worker was there at {seen[True]}, "
        f"and gone after {max(followed):.3f} s at the latest"
    )
    assert len(followed) == count
    assert seen[True] >= count / 2
    assert acknowledged >= 10 * count


@pytest.mark.timeout(1800)
def test_a_guard_outlives_its_worker(launch: Launch, rounds: Rounds, tmp_path: Path) -> None:
    count = rounds(ci=4, long=100)
    tickets = list(range(1001, 1001 + 40 * count))
    state = broker_file(tmp_path / "broker.json", tickets)
    flags = ("--isolate", "--sim-state", str(state), "--port", "0", "--mode", "observe")
    guard = launch(*flags).ready()
    registering = Registering(guard, tickets)
    try:
        for nth in range(count):
            worker = the_worker(guard.popen.pid)
            registering.until(40 * nth + 10)
            kill_9(worker)
            guard.until(lambda worker=worker: not lives(worker), 5.0)
            guard.until(lambda nth=nth: len(registering.acknowledged) >= 40 * nth + 20, 60.0)
    finally:
        registering.end()
    registering.finish()
    guard.until(lambda: guard.get("/dtms/health")[0] == 200, 60.0)
    assert registering.faults == []
    assert guard.popen.poll() is None
    everything_once(guard, tickets)
    ended = {name: child["last_exit"] for name, child in children(guard).items()}
    assert set(ended.values()) == {None}, "a worker's end is no child's end"
    worker = the_worker(guard.popen.pid)
    guard.kill()
    guard.until(lambda: not lives(worker), GONE)
    assert workers_of(guard.popen.pid, tmp_path / "data") == []
    guard = launch(*flags).ready()  # the locks are free
    everything_once(guard, tickets)
    worker = the_worker(guard.popen.pid)
    assert guard.interrupt() == 0, guard.log
    assert not lives(worker)


def everything_once(guard: Process, tickets: list[int]) -> None:
    """What was acknowledged is guarded, once."""
    trades = Counter(trade["ticket"] for trade in guard.get("/dtms/trades")[1]["trades"])
    assert set(trades) == set(tickets)
    assert set(trades.values()) == {1}


def children(guard: Process) -> dict[str, dict[str, Any]]:
    """Return the children's lines of the status."""
    found: dict[str, dict[str, Any]] = guard.get("/dtms/status")[1]["children"]
    return found


class Registering:
    """Threads that register tickets in order over HTTP, each until it is acknowledged."""

    def __init__(self, guard: Process, tickets: list[int], threads: int = 4) -> None:
        self.acknowledged: set[int] = set()
        self.faults: list[str] = []
        self._guard = guard
        self._left = list(reversed(tickets))
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def until(self, count: int) -> None:
        """Wait until so many are acknowledged."""
        self._guard.until(lambda: len(self.acknowledged) >= count or bool(self.faults), 60.0)

    def end(self) -> None:
        """Begin nothing more."""
        self._over.set()
        for thread in self._threads:
            thread.join(60.0)
            assert not thread.is_alive()

    def finish(self) -> None:
        """Register what is left."""
        self._over.clear()
        while (ticket := self._next()) is not None:
            self._register(ticket)

    def _next(self) -> int | None:
        with self._lock:
            return self._left.pop() if self._left else None

    def _run(self) -> None:
        while not self._over.wait(0.01):
            ticket = self._next()
            if ticket is None:
                return
            try:
                self._register(ticket)
            except Exception as error:  # noqa: BLE001 - a thread has no other voice
                self.faults.append(f"{ticket}: {error!r}")

    def _register(self, ticket: int) -> None:
        for _ in range(600):
            status, body = self._post(ticket)
            if status == 200:
                if body["created"] is not True:
                    self.faults.append(f"{ticket} heard that it was not new")
                with self._lock:
                    self.acknowledged.add(ticket)
                return
            if status != 503:
                self.faults.append(f"{ticket}: {status} {body}")
                return
            threading.Event().wait(0.05)
        self.faults.append(f"{ticket} was never accepted")

    def _post(self, ticket: int) -> tuple[int, Any]:
        key = {"Idempotency-Key": f"request-{ticket}"}
        return self._guard.post("/dtms/trade/enable", {"ticket": ticket}, **key)
