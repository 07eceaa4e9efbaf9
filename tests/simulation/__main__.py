"""Replay a seed, or run many: `python -m tests.simulation --seed 7`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from loguru import logger

from tests.simulation.mutants import MUTANTS, planted
from tests.simulation.runner import run, shrunk, sweep_on_cores
from tests.simulation.script import Blow, script_for


def main() -> int:
    """Return 0 if every invariant held, 1 if one was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay one seed and print its trace")
    parser.add_argument("--script", type=Path, help="with --seed: blows from a file, one a line")
    parser.add_argument("--seeds", metavar="FIRST:LAST", help="run many, LAST not included")
    parser.add_argument("--jobs", type=int, default=1, help="processes for --seeds")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="plant a fault first")
    parser.add_argument("--quiet", action="store_true", help="no trace, the verdict only")
    parser.add_argument("--no-shrink", action="store_true", help="leave a failing script as it is")
    asked = parser.parse_args()
    if (asked.seed is None) == (asked.seeds is None):
        parser.error("give --seed N or --seeds FIRST:LAST")
    logger.remove()  # this is a program of its own: the trace tells all
    if asked.seeds is not None:
        first, last = (int(part) for part in asked.seeds.split(":"))
        return _many(first, last, asked.jobs, asked.mutant)
    blows = None
    if asked.script is not None:
        lines = asked.script.read_text(encoding="utf-8").splitlines()
        blows = [Blow.parse(line) for line in lines if line.strip()]
    return _one(asked.seed, blows, asked.mutant, quiet=asked.quiet, small=not asked.no_shrink)


def _one(
    seed: int, blows: list[Blow] | None, mutant: str | None, *, quiet: bool, small: bool
) -> int:
    with planted(mutant):
        story = run(seed, blows, told=not quiet)
    sys.stdout.write(story.text() if not quiet else "")
    if story.violation is None:
        print(f"seed {seed}: every invariant held; {story.processes} processes")
        return 0
    print(f"seed {seed}: {story.violation}")
    if small and blows is None:
        short = shrunk(seed, story.violation.invariant, mutant)
        print(f"{len(short)} of {len(script_for(seed))} blows are enough:")
        print("\n".join(blow.line() for blow in short))
    return 1


def _many(first: int, last: int, jobs: int, mutant: str | None) -> int:
    done = sweep_on_cores(first, last, jobs, mutant)
    for finding in done.findings:
        print(f"seed {finding.seed}: {finding.what}")
    pace = done.seeds / done.seconds * 60.0 if done.seconds else 0.0
    print(
        f"{done.seeds} hours, {len(done.findings)} broken, {done.ready} ready at the end; "
        f"{pace:.0f} hours a minute of one core's time"
    )
    return 1 if done.findings else 0


if __name__ == "__main__":
    sys.exit(main())
