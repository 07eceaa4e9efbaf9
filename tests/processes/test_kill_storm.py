"""`kill -9` at random moments while 32 register: what was acknowledged is there, once."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from kill_storm import EARLY, STOP, STORM, Storm

Rounds = Callable[..., int]

A_FOLDER = 10  # rounds on one folder
AT_ONCE = 2
# of the moments of a kill most are in the middle of the registrations
MOMENTS = (STORM, EARLY, STORM, STOP, STORM, STORM, EARLY, STORM, STOP, STORM)


@pytest.mark.timeout(3600)
def test_kill_9_while_32_register_loses_nothing(rounds: Rounds, tmp_path: Path) -> None:
    count = rounds(ci=20, long=200)

    def play(seed: int) -> tuple[Storm, int]:
        storm = Storm(tmp_path / f"storm-{seed}", seed)
        moments = list(MOMENTS[:A_FOLDER])
        random.Random(seed).shuffle(moments)
        for moment in moments:
            storm.round(moment)
        return storm, storm.finish()

    with ThreadPoolExecutor(AT_ONCE) as pool:
        played = list(pool.map(play, range(1, count // A_FOLDER + 1)))
    moments: Counter[str] = Counter()
    for storm, _ in played:
        moments.update(storm.moments)
    acknowledged = sum(len(storm.books.known) for storm, _ in played)
    created = sum(created for _, created in played)
    cut = sum(storm.cut for storm, _ in played)
    print(f"{dict(moments)}: {acknowledged} acknowledged, {created} `created`, {cut} cut off")
    assert moments.total() == count
    # the rounds did what they say: registrations were under way when the kill came
    assert moments[STORM] >= count / 2
    assert moments[EARLY] >= 1
    assert cut >= count / 2
    assert acknowledged >= 10 * count
