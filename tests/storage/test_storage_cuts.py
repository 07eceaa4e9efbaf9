"""Crash inside recovery, migration, backup and restore: at every step, then start again.

Same result as without the fault: what is served, what was set aside, what
people are told, and nothing left behind. `cut_operations` has the operations,
`cut_points` the steps, `cut_server` does each case in a process of its own.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
from cut_points import DIED, KINDS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SERVERS = 2
# what each operation must come to uncut: stores set aside, and alerts of it
EXPECTED = {
    "damaged": (1, 1),
    "damaged_no_backup": (1, 1),
    "rolled_back": (2, 2),
    "several": (3, 3),
    "missing": (0, 2),
    "marker": (2, 1),
    "marker_and_all": (6, 5),
    "newest_backup": (1, 1),
    "migration": (1, 0),
    "migrations": (2, 0),
    "damaged_migrations": (3, 1),
    "guard": (2, 2),
    "first": (0, 0),
    "backup": (0, 0),
    "backup_open": (0, 0),
    "restore": (2, 2),
}
OPERATIONS = tuple(EXPECTED)

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="a case is a fork")


class Server:
    """One process that does cases, one after the other."""

    def __init__(self, folder: Path) -> None:
        path = os.pathsep.join(str(each) for each in (ROOT, ROOT / "tests" / "guard", HERE))
        self._child = subprocess.Popen(
            [sys.executable, str(HERE / "cut_server.py"), str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        self._lock = threading.Lock()

    def ask(self, **case: Any) -> dict[str, Any]:
        """Do a case; waits for its end."""
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        with self._lock:
            self._child.stdin.write(json.dumps(case) + "\n")
            self._child.stdin.flush()
            line = self._child.stdout.readline()
        assert line, "the server has died"
        said: dict[str, Any] = json.loads(line)
        return said

    def close(self) -> None:
        """Let it end."""
        self._child.communicate(timeout=60)


class Cases:
    """Does cases on several servers at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._servers = [Server(folder / "base") for _ in range(SERVERS)]
        self._pool = ThreadPoolExecutor(SERVERS)
        self._numbers = count()
        self._now = 0.0

    def make(self) -> None:
        """Let a guard live in the folder that all cases begin with."""
        made = self._servers[0].ask(make=True)
        assert made.get("operations") == list(OPERATIONS), made
        self._now = made["now"]

    def all(self, cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return what each case came to."""
        return list(self._pool.map(self._one, cases))

    def _one(self, case: dict[str, Any]) -> dict[str, Any]:
        number = next(self._numbers)
        return self._servers[number % SERVERS].ask(
            base=str(self._folder / "base"),
            folder=str(self._folder / f"case{number}"),
            now=self._now,
            **{"cut": 0, "kind": "die", "children": False, **case},
        )

    def close(self) -> None:
        """End the servers."""
        self._pool.shutdown()
        for server in self._servers:
            server.close()


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cases]:
    made = Cases(tmp_path_factory.mktemp("cuts"))
    try:
        made.make()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def uncut(cases: Cases) -> dict[str, dict[str, Any]]:
    """What each operation comes to without a fault, by name."""
    done = cases.all([{"operation": name} for name in OPERATIONS])
    return dict(zip(OPERATIONS, done, strict=True))


@pytest.mark.parametrize("name", OPERATIONS)
def test_uncut_the_operation_does_what_it_is_for(
    uncut: dict[str, dict[str, Any]], name: str
) -> None:
    said = uncut[name]
    assert said["cut"].get("refused", "error") is None, said
    assert said["cut"]["count"] > 20, "there is nothing to cut"
    came_to = said["outcome"]
    assert "error" not in came_to, came_to.get("error")
    told = [alert for alert in came_to["alerts"] if alert[0].startswith("set_aside:")]
    assert (len(came_to["asides"]), len(told)) == EXPECTED[name], came_to
    assert came_to["left"] == []


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", OPERATIONS)
def test_cut_at_any_step_it_comes_to_the_same(
    cases: Cases, uncut: dict[str, dict[str, Any]], rounds: Callable[..., int], name: str
) -> None:
    steps = uncut[name]["cut"]["what"]
    places = range(1, len(steps) + 1)
    rng = random.Random(name)
    chosen = [
        (cut, kind)
        for kind, few in zip(KINDS, (12, 3, 2), strict=True)
        for cut in spread(list(places), rounds(ci=few, long=len(steps)), rng)
    ]
    done = cases.all([{"operation": name, "cut": cut, "kind": kind} for cut, kind in chosen])
    wrong = []
    for (cut, kind), said in zip(chosen, done, strict=True):
        found = differences(name, kind, said, uncut[name]["outcome"])
        if found:
            wrong.append(f"{kind} at step {cut} ({steps[cut - 1]}): {found}")
    assert not wrong, f"{len(wrong)} of {len(chosen)}:\n" + "\n".join(wrong)[:8000]


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", ["several", "migration", "backup_open", "restore"])
def test_cut_around_the_child_that_copies(
    cases: Cases, uncut: dict[str, dict[str, Any]], rounds: Callable[..., int], name: str
) -> None:
    """The same with children that check and copy, as in a program that is not frozen."""
    whole = cases.all([{"operation": name, "children": True}])[0]
    assert whole["outcome"] == uncut[name]["outcome"]
    steps = whole["cut"]["what"]
    around = [
        (cut, kind)
        for kind in KINDS
        for place, what in enumerate(steps)
        if what.startswith("subprocess.Popen")
        for cut in (place + 1, place + 2)
    ]
    assert around
    chosen = spread(around, rounds(ci=2, long=len(around)), random.Random(name))
    done = cases.all(
        [{"operation": name, "cut": cut, "kind": kind, "children": True} for cut, kind in chosen]
    )
    for (cut, kind), said in zip(chosen, done, strict=True):
        found = differences(name, kind, said, whole["outcome"])
        assert not found, f"{kind} at step {cut}: {found}"


def spread(every: list[Any], wanted: int, rng: random.Random) -> list[Any]:
    """Return so many of them, one drawn from each stretch: all parts are visited."""
    if wanted >= len(every):
        return every
    edges = [len(every) * n // wanted for n in range(wanted + 1)]
    return [every[rng.randrange(a, b)] for a, b in pairwise(edges)]


def differences(name: str, kind: str, said: dict[str, Any], wanted: dict[str, Any]) -> str | None:
    """Return in what a cut case differs from the uncut one, None if in nothing."""
    errors = [part["error"] for part in (said["cut"], said["again"]) if "error" in part]
    if errors:
        return f"another error than ours: {errors[0]}"
    if kind == "die" and said["status"] != DIED:
        return f"it was not cut: {said['status']}"
    if said["again"].get("refused"):
        return f"the second time it was refused: {said['again']['refused']}"
    came_to = said["outcome"]
    if "error" in came_to:
        return str(came_to["error"])
    if name == "restore":
        came_to = _twice_restored(came_to, wanted)
    found = {
        part: {"instead of": wanted[part], "is": came_to[part]}
        for part in wanted
        if came_to[part] != wanted[part]
    }
    return json.dumps(found, indent=1) if found else None


def _twice_restored(came_to: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Leave out what a second restore by hand adds: it was asked for twice, and done twice.

    The person restores two stores. Cut at the second, or at the very end, the
    command is given again: what is restored already is set aside once more,
    and told. It is never the store from before that is set aside twice.
    """
    extra = [each for each in came_to["asides"] if each not in wanted["asides"]]
    again = {name for name in ("trades", "audit") if _told(came_to, name) == 2}
    if again != {each[0].split(".")[0] for each in extra} or len(extra) != len(again):
        return came_to
    alerts = [each for each in came_to["alerts"] if each[0][len("set_aside:") :] not in again]
    once = [each for each in wanted["alerts"] if each[0][len("set_aside:") :] in again]
    return {
        **came_to,
        "content": {**came_to["content"], "outbox": wanted["content"]["outbox"]},
        "asides": [each for each in came_to["asides"] if each not in extra],
        "alerts": sorted([*alerts, *once]),
    }


def _told(came_to: dict[str, Any], name: str) -> int:
    return sum(each[0] == f"set_aside:{name}" for each in came_to["alerts"])
