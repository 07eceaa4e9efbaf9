"""The invariants look: each planted fault is found, and by the invariant that it breaks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.simulation.mutants import MUTANTS, Mutant, planted
from tests.simulation.runner import run, shrunk, sweep
from tests.simulation.script import script_for

WITHIN = 2_000  # seeds
RARE = frozenset[str]()  # found after so many seeds that CI leaves them to the long run


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_fault_is_found(name: str, rounds: Callable[..., int]) -> None:
    if name in RARE and rounds(ci=0, long=1) == 0:
        pytest.skip("found too rarely for CI: run with --long")
    mutant: Mutant = MUTANTS[name]
    done = sweep(range(WITHIN), name, first_only=True)
    assert done.findings, f"{mutant.why}: nothing noticed it in {WITHIN} hours"
    assert done.findings[0].invariant in mutant.invariants, done.findings[0].what


def test_every_invariant_has_a_fault_that_breaks_it() -> None:
    from tests.simulation import mutants

    named = {
        value for name, value in vars(mutants).items() if name.isupper() and isinstance(value, str)
    }
    assert named == {one for mutant in MUTANTS.values() for one in mutant.invariants}


def test_without_a_fault_the_same_seeds_find_nothing() -> None:
    assert sweep(range(30)).findings == ()


def test_what_breaks_nothing_cannot_be_shrunk() -> None:
    with pytest.raises(ValueError, match="seed 3 does not break 'liveness'"):
        shrunk(3, "liveness")


def test_a_failing_seed_is_shrunk_to_what_matters() -> None:
    """One blow more or less: of a whole hour's script a handful is left, and it still breaks."""
    (found,) = sweep(range(WITHIN), "window-off-by-one", first_only=True).findings
    seed, invariant = found.seed, found.invariant
    short = shrunk(seed, invariant, "window-off-by-one")
    assert 1 <= len(short) <= 6 < len(script_for(seed))
    with planted("window-off-by-one"):
        broken = run(seed, short).violation
        assert broken is not None
        assert broken.invariant == invariant
        for n in range(len(short)):
            left_out = run(seed, [*short[:n], *short[n + 1 :]]).violation
            assert left_out is None or left_out.invariant != invariant
