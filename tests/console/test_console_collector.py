"""The garbage collector of a process that is the guard's own."""

from __future__ import annotations

import gc

from console.collector import THRESHOLDS, calm


def test_it_is_calm_meanwhile_and_as_it_was_afterwards() -> None:
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    with calm():
        assert gc.get_threshold() == THRESHOLDS
        assert gc.get_freeze_count() > frozen
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == frozen == 0
