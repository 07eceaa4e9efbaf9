"""Running seeds: one, many, on several cores, whole or with a planted fault."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

from loguru import logger

from tests.simulation.blows import Story
from tests.simulation.mutants import planted
from tests.simulation.script import Blow, script_for
from tests.simulation.shrink import shrink
from tests.simulation.world import World


@dataclass(frozen=True, slots=True)
class Finding:
    """What a seed broke."""

    seed: int
    invariant: str
    what: str


@dataclass(frozen=True, slots=True)
class Sweep:
    """What many seeds came to. `seconds` is CPU time of the process that ran them."""

    seeds: int
    ready: int
    findings: tuple[Finding, ...]
    seconds: float


def run(seed: int, script: Sequence[Blow] | None = None, *, told: bool = False) -> Story:
    """Live through the hour of a seed."""
    blows = script_for(seed) if script is None else list(script)
    return World(seed, blows, told=told).run()


def sweep(seeds: Iterable[int], mutant: str | None = None, *, first_only: bool = False) -> Sweep:
    """Run seeds one after the other, in silence; `first_only` stops at the first finding."""
    logger.disable("")
    began, ran, ready, findings = time.process_time(), 0, 0, []
    try:
        with planted(mutant):
            for seed in seeds:
                story = run(seed)
                ran += 1
                ready += story.ready
                if story.violation is not None:
                    broken = story.violation
                    findings.append(Finding(seed, broken.invariant, str(broken)))
                    if first_only:
                        break
    finally:
        logger.enable("")
    return Sweep(ran, ready, tuple(findings), time.process_time() - began)


def sweep_on_cores(first: int, last: int, jobs: int, mutant: str | None = None) -> Sweep:
    """Run the seeds from `first` to before `last` on several processes."""
    if jobs <= 1:
        return sweep(range(first, last), mutant)
    parts = [range(first + n, last, jobs) for n in range(jobs)]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        done = list(pool.map(sweep, parts, [mutant] * jobs))
    return Sweep(
        sum(one.seeds for one in done),
        sum(one.ready for one in done),
        tuple(sorted((f for one in done for f in one.findings), key=lambda f: f.seed)),
        sum(one.seconds for one in done),
    )


def shrunk(seed: int, invariant: str, mutant: str | None = None) -> list[Blow]:
    """Return a short script that breaks the same invariant as the seed's own.

    Raises `ValueError` if that breaks nothing of the kind.
    """

    def breaks(script: Sequence[Blow]) -> bool:
        violation = run(seed, script).violation
        return violation is not None and violation.invariant == invariant

    logger.disable("")
    try:
        with planted(mutant):
            whole = script_for(seed)
            if not breaks(whole):
                raise ValueError(f"seed {seed} does not break {invariant!r}")
            return shrink(whole, breaks)
    finally:
        logger.enable("")
