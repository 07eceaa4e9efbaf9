"""Cuts operations: each in a process of its own, forked from one that has imported everything.

    python cut_server.py FOLDER

A line of JSON in is a case, a line of JSON out is what it came to. This
process opens no store itself, so its forks inherit none.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cut_operations import BEFORE, make_base, operate, outcome
from cut_points import DIED, Cutter
from loguru import logger

from defence.errors import DtmsError
from storage import preflight


def alone(work: Callable[[], dict[str, Any]]) -> tuple[int, dict[str, Any]]:
    """Do `work` in a process of its own; return its exit status and what it returned."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            said = work()
        except BaseException:  # noqa: BLE001 - told to the test, which fails on it
            said = {"error": traceback.format_exc()[-3000:]}
        with os.fdopen(writer, "w") as pipe:
            json.dump(said, pipe)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), json.loads(text) if text else {}


def run(case: dict[str, Any]) -> dict[str, Any]:
    """Prepare a folder, do the operation with the fault, then without; return the outcome."""
    base, folder = Path(case["base"]), Path(case["folder"])
    name, now, data = case["operation"], case["now"], folder / "data"
    shutil.copytree(base, folder)
    shutil.rmtree(folder / "state", ignore_errors=True)
    status, said = alone(lambda: _prepared(name, data))
    if status or said:
        return {"error": said}
    status, cut = alone(lambda: _operated(case, data, now))
    again: dict[str, Any] = {}
    if status == DIED or cut.get("refused"):
        again_case = {**case, "cut": 0}
        _, again = alone(lambda: _operated(again_case, data, now + 60.0))
    _, came_to = alone(lambda: _came_to(name, data, now + 120.0))
    shutil.rmtree(folder)
    return {"status": status, "cut": cut, "again": again, "outcome": came_to}


def _prepared(name: str, data: Path) -> dict[str, Any]:
    BEFORE[name](data)
    return {}


def _came_to(name: str, data: Path, now: float) -> dict[str, Any]:
    preflight.available = lambda: False  # quicker
    return outcome(name, data, now)


def _operated(case: dict[str, Any], data: Path, now: float) -> dict[str, Any]:
    if not case["children"]:
        preflight.available = lambda: False  # then the copying is cut at its steps too
    cutter = Cutter(data, case["cut"], case["kind"])
    refused = None
    with cutter.counting():
        try:
            operate(case["operation"], data, now)
        except DtmsError as error:
            refused = f"{type(error).__name__}: {error}"
    return {"refused": refused, "count": cutter.count, "what": cutter.what}


def main(base: Path) -> None:
    """Serve cases until the input ends; the base is made first."""
    logger.remove()
    for line in sys.stdin:
        case = json.loads(line)
        if "make" in case:
            _, said = alone(lambda: {"now": make_base(base), "operations": list(BEFORE)})
        else:
            said = run(case)
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
