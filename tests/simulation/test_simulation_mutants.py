"""The invariants look: each planted fault is found, and by the invariant that it breaks."""

from __future__ import annotations

import pytest

from tests.simulation.invariants import ALL
from tests.simulation.mutants import MUTANTS, Mutant, planted
from tests.simulation.runner import run, shrunk, sweep
from tests.simulation.script import script_for

WITHIN = 2_000  # seeds


@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_planted_fault_is_found(name: str) -> None:
    mutant: Mutant = MUTANTS[name]
    done = sweep(range(WITHIN), name, first_only=True)
    assert done.findings, f"{mutant.why}: nothing noticed it in {WITHIN} hours"
    assert done.findings[0].invariant in mutant.invariants, done.findings[0].what


def test_every_invariant_has_a_fault_that_breaks_it() -> None:
    """Alone, or first in its list: the others are what the same fault may break before."""
    assert {mutant.invariants[0] for mutant in MUTANTS.values()} == ALL


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
