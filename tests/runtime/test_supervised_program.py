"""The example is short, ends by itself, and says what the page about it says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "supervised_program.py"


def test_the_example_is_short() -> None:
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) < 60


def test_the_example_shows_restart_budget_escalation_hang_and_an_ordered_stop() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "examples.supervised_program"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    said = done.stdout.splitlines()
    for line in (
        "wind#1 charged restarts_in_window=1 budget_left=1",
        "wind#2 charged restarts_in_window=2 budget_left=0",
        "rain#1 fenced how=hung",
        "rain#2 ready",
        "rain answers as life 2",
        "archived 7 of 10 readings",
        "wind is down: its restart budget is used up",
    ):
        # two threads may share a line
        assert done.stdout.count(line) == 1, f"{line!r} in:\n{done.stdout}"
    assert "wind#2 restarting delay=0.0" in done.stdout
    assert "wind#2 poisoned message=str" in done.stdout
    stops = [line.split("stage=")[1] for line in said if "what=stopped" in line]
    assert stops == ["rain what=stopped", "wind what=stopped", "archive what=stopped"]
