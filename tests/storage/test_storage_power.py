"""Cut the power at any moment: nothing that was acknowledged is lost.

Every write and barrier of a run is recorded, and crash images of the data
folder are made that keep or drop what no barrier covers. The same harness must
find loss when the engine runs without its barriers, or it proves nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import power_got
import pytest
from power_cuts import Recording, Tally, cut, judge, missed, record

from storage.marks import BIRTH_BYTES, Mark, mark_path, read_mark, write_mark

Rounds = Callable[..., int]

NOT_HERE = power_got.why_not()
recorded = pytest.mark.skipif(NOT_HERE is not None, reason=NOT_HERE or "")
COMMITS = 30


def cut_many(folder: Path, runs: int, images: int, engine: str = "durable") -> Tally:
    """Record several runs and cut each many times; nothing may have been missed."""
    tally = Tally()
    for seed in range(1, runs + 1):
        place = folder / f"{engine}-{seed}"
        recording = record(place, seed=seed, commits=COMMITS, engine=engine)
        saw_everything(recording, engine)
        into = place / "images"
        into.mkdir()
        judge(recording, cut(recording, into, images=images, seed=seed), tally)
    print(f"{engine}: {tally}")
    return tally


def saw_everything(recording: Recording, engine: str) -> None:
    """A recorder that saw nothing would pass everything."""
    facts, calls = recording.facts, recording.facts["calls"]
    assert facts["failures"] == []
    assert missed(recording) == []
    extension = next(names for library, names in facts["slots"].items() if "cpython" in library)
    found = {name.removesuffix("64") for name in extension}
    assert found >= {"open", "pwrite", "writev", "fdatasync"}
    assert facts["grown"]  # the map grew in the middle
    commits = len(recording.story.commits) - 1
    assert commits == COMMITS
    assert calls["pwrite"] + calls["writev"] >= 2 * commits
    assert calls["fsync folder"] >= 2  # the data folder's names, and the store's
    assert calls["write"] >= commits  # the watermark
    # each commit has one barrier for its pages and one, its own, for its meta page
    weak = engine.startswith("no ")
    assert (calls.get("fdatasync", 0) >= commits) is (engine != "no sync")
    assert (calls["synced write"] >= commits) is not weak


@recorded
@pytest.mark.timeout(900)
def test_a_power_cut_loses_nothing_that_was_acknowledged(rounds: Rounds, tmp_path: Path) -> None:
    runs, images = rounds(ci=2, long=10), rounds(ci=120, long=250)
    tally = cut_many(tmp_path, runs, images)
    assert tally.images - tally.unmade >= rounds(ci=200, long=2000)
    assert tally.lost == []
    assert tally.damage == []  # a sound store never looks damaged
    assert tally.alarms == []  # and never as if it had fallen behind its watermark
    assert tally.wrong == []
    assert tally.spoilt == []
    assert tally.later > 0  # cuts between the barrier and the acknowledgement were among them
    assert tally.unmade > 0
    assert len(tally.kinds) == 7


@recorded
@pytest.mark.timeout(900)
@pytest.mark.parametrize("engine", ["damaged", "restored"])
def test_what_comes_in_a_damaged_stores_place_is_as_durable(
    rounds: Rounds, tmp_path: Path, engine: str
) -> None:
    """Begun anew, or from a backup; and the start that does it may be cut too."""
    tally = cut_many(tmp_path, rounds(ci=1, long=5), rounds(ci=60, long=200), engine)
    assert tally.lost == []
    assert tally.wrong == []
    assert tally.damage == []
    assert tally.alarms == []


@recorded
@pytest.mark.timeout(900)
@pytest.mark.parametrize("engine", ["no sync", "no metasync"])
def test_without_barriers_the_same_cuts_find_loss(
    rounds: Rounds, tmp_path: Path, engine: str
) -> None:
    tally = cut_many(tmp_path, rounds(ci=1, long=4), images=60, engine=engine)
    assert len(tally.lost) > tally.images / 10


def test_a_torn_watermark_never_says_what_was_not_written(tmp_path: Path) -> None:
    """Torn at any byte, between numbers that differ in one byte or in several."""
    store, written = tmp_path / "trades", {}
    for number in (1, 255, 256, 65_535, 65_536):
        mark = Mark("5a" * BIRTH_BYTES, number)
        write_mark(store, mark)
        written[mark] = mark_path(store).read_bytes()
    for (old, before), (new, after) in permutations(written.items(), 2):
        for place in range(len(after) + 1):
            mark_path(store).write_bytes(after[:place] + before[place:])
            assert read_mark(store) in (None, old, new)
