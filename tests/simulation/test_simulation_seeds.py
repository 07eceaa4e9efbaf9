"""Every invariant holds in thousands of seeded hours of chaos, and a seed replays to the byte."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.simulation.runner import Sweep, run, sweep_on_cores
from tests.simulation.script import Blow, script_for

PARTS = 8
ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(36_000)
@pytest.mark.parametrize("part", range(PARTS))
def test_every_invariant_holds(part: int, rounds: Callable[..., int]) -> None:
    """2,000 hours in CI, 100,000 with `--long`; a finding names its seed, to be replayed."""
    each = rounds(ci=2_000, long=100_000) // PARTS
    done: Sweep = sweep_on_cores(part * each, (part + 1) * each, jobs=os.cpu_count() or 1)
    assert not done.findings, "\n".join(
        f"python -m tests.simulation --seed {one.seed}   # {one.what}" for one in done.findings[:5]
    )
    assert done.ready > each // 2  # else the seeds prove nothing: nobody comes back


def test_the_same_seed_gives_the_same_trace() -> None:
    for seed in (3, 20, 107):
        assert run(seed, told=True).text() == run(seed, told=True).text()


def test_another_process_tells_the_same_story_to_the_byte() -> None:
    """Nothing of hash seeds, addresses, ids or the clock gets into a trace."""
    texts = []
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--seed", "20"],
            capture_output=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            timeout=60,
        )
        assert done.returncode == 0, done.stderr.decode()
        texts.append(done.stdout)
    assert texts[0] == texts[1]
    assert texts[0].count(b"\n") > 500


def test_other_seeds_tell_other_stories() -> None:
    assert len({run(seed, told=True).text() for seed in range(4)}) == 4


def test_a_trace_reads_as_a_sequence() -> None:
    """Blows, events and the steps of the actors, each with its virtual time, in order."""
    text = run(20, told=True).text()
    assert "== process 1" in text
    assert "-- nothing goes wrong any more" in text
    assert "monitor#1 ready" in text
    steps = [line for line in text.splitlines() if line.startswith("   ") and " worked" in line]
    assert any("registry#1 Observe worked" in line for line in steps)


def test_a_script_can_be_written_down_and_read_back() -> None:
    """What a finding prints can be given back with `--script`."""
    for seed in range(300):
        for blow in script_for(seed):
            assert Blow.parse(blow.line()) == blow


def test_a_written_script_is_replayed(tmp_path: Path) -> None:
    lines = tmp_path / "blows"
    lines.write_text('  100.0  kill "monitor"\n  200.0  die 5.0\n', encoding="utf-8")
    command = [sys.executable, "-m", "tests.simulation", "--seed", "1", "--script", str(lines)]
    done = subprocess.run(command, capture_output=True, cwd=ROOT, timeout=60, text=True)
    assert done.returncode == 0, done.stderr
    assert "monitor#2 ready" in done.stdout
    assert "every invariant held; 2 processes" in done.stdout
