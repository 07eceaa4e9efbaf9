"""Thespian beside DTMS: actors as processes, with the supervision that a parent does itself.

DTMS does not need it. It is the other actor library for Python in which a
parent is told of its child's end. Install the extra `bench` to have it
measured. It runs in a process of its own: it forks, and its system is one for
the whole process.
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from benchmarks.measure import Options, percentile
from benchmarks.report import Table, milliseconds

HERE: Final = Path(__file__).resolve().parents[1]
BASES: Final = {
    "simpleSystemBase": "all actors on the caller's thread: no concurrency, nothing can be killed",
    "multiprocTCPBase": "an actor a process, messages pickled over TCP",
}
WITHIN: Final = 300.0  # seconds for one base


def table(options: Options) -> Table:
    """Return Thespian's figures, or one row that says that it is not installed."""
    found = Table(
        "Thespian, for comparison",
        ("base", "ask", "tell, until all are handled", "start of a child", "kill to restart, p50"),
    )
    if importlib.util.find_spec("thespian") is None:
        found.add("not installed", *("-" for _ in range(4)))
        found.notes.append("Thespian is not installed: pip install 'dtms[bench]' has it measured")
        return found
    for base, what in BASES.items():
        found.add(*_row(base, _measured(base, options)))
        found.notes.append(f"{base}: {what}")
    found.notes.append(
        "kill to restart: from an ask of the parent until the child that it made, when it heard "
        "ChildActorExited, has answered; the parent keeps no budget, and messages that waited "
        "for the old child are lost"
    )
    return found


def _row(base: str, said: dict[str, Any]) -> tuple[str, ...]:
    if "failed" in said:
        return (base, f"failed: {said['failed']}", "-", "-", "-")
    micro = [f"{said[name] * 1e6:,.1f} us" for name in ("ask", "tell")]
    milli = [milliseconds(percentile(said[name], 0.5)) for name in ("starts", "restarts")]
    return (base, *micro, *milli)


def _measured(base: str, options: Options) -> dict[str, Any]:
    """Return what a process of its own says; it is ended whatever happens, with its actors."""
    asks, few = options.size(quick=20, full=2000), options.size(quick=2, full=30)
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.thespian_side", base, str(asks), str(few)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=HERE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = process.communicate(timeout=WITHIN)
    except subprocess.TimeoutExpired:
        return {"failed": f"no figures within {WITHIN:g} s"}
    finally:
        if hasattr(os, "killpg"):  # its actors are processes of the same group
            with suppress(ProcessLookupError):  # all have ended by themselves
                os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.wait()
    if process.returncode:
        return {"failed": (err.strip().splitlines() or ["no reason given"])[-1]}
    said: dict[str, Any] = json.loads(out.splitlines()[-1])
    return said


def _measure(base: str, asks: int, few: int) -> dict[str, object]:
    """Measure one base, in this process."""
    from thespian.actors import ActorSystem

    from benchmarks.thespian_actors import Echo, Parent

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    capabilities = {"Admin Port": port} if base.startswith("multiproc") else None
    system = ActorSystem(base, capabilities)
    try:
        echo = system.createActor(Echo)
        system.ask(echo, 1, 10.0)
        ask = _each(asks, lambda: system.ask(echo, 1, 10.0))

        def flood() -> None:
            for _ in range(asks):
                system.tell(echo, "no answer")
            system.ask(echo, 1, 60.0)

        tell = _each(1, flood) / asks

        def start() -> None:
            system.ask(system.createActor(Echo), 1, 10.0)

        starts = [_each(1, start) for _ in range(few)]
        parent = system.createActor(Parent)
        system.ask(parent, "start", 10.0)
        restarts: list[float] = []
        for _ in range(few):
            began = time.perf_counter()
            if system.ask(parent, "kill", 30.0) != "alive":
                raise RuntimeError("the child was not replaced")
            restarts.append(time.perf_counter() - began)
        return {"ask": ask, "tell": tell, "starts": starts, "restarts": restarts}
    finally:
        system.shutdown()


def _each(count: int, call: Callable[[], object]) -> float:
    began = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - began) / count


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_measure(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))) + "\n")
