"""Damage the files, start a whole guard: it lives, serves no wrong record, and says what it did.

`damage_world` lets a guard live and keeps an independent journal of it,
`damage_blows` damages the folder, `damage_judge` compares what the guard then
serves with the journal, and with the broker's own books.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import lmdb
import lmdb.verify
import pytest
from storage_samples import T0, action

from defence.errors import Damaged
from storage.environment import Environment
from storage.examine import Finding, examine
from storage.trades import Batch, TradeStore

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
KINDS = 30  # see damage_blows.KINDS: so many seeds have each kind of damage at least once
A_WORLD = 6  # seeds that share one day's life of a guard
EVERY = 3  # every third case is started once more


def batch(folder: Path, first: int, end: int) -> Iterator[dict[str, Any]]:
    """Judge seeds in children, and yield what they say of each; a death is a finding too."""
    folder.mkdir()
    while first < end:
        begun, ended = first - 1, True
        with _child(folder / str(first), first, end) as child:
            assert child.stdout is not None
            for line in child.stdout:
                said = json.loads(line)
                if "begin" in said:
                    begun, ended = said["begin"], False
                elif "end" in said:
                    ended = True
                    yield said
                else:
                    assert said["kinds"] == KINDS, "there are other kinds of damage now"
        if child.returncode == 0:
            return
        assert not ended, f"the batch failed between two seeds, after {begun}"
        how = -child.returncode
        death = signal.Signals(how).name if how > 0 else f"status {child.returncode}"
        yield {"end": begun, "kinds": ["?"], "wrong": f"the guard's process died: {death}"}
        first = begun + 1


def _child(folder: Path, first: int, end: int) -> subprocess.Popen[bytes]:
    folder.mkdir()
    numbers = [str(number) for number in (first, end, A_WORLD, EVERY)]
    path = os.pathsep.join(str(each) for each in (ROOT, ROOT / "tests" / "guard", HERE))
    return subprocess.Popen(
        [sys.executable, str(HERE / "damage_batch.py"), str(folder), *numbers],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )


@pytest.mark.timeout(7200)
def test_no_damage_kills_the_guard_or_makes_it_lie(
    tmp_path: Path, rounds: Callable[..., int]
) -> None:
    seeds = rounds(ci=2 * KINDS, long=40 * KINDS)
    halves = [(0, seeds // 2), (seeds // 2, seeds)]  # a machine has two cores at least
    with ThreadPoolExecutor(len(halves)) as pool:
        work = [
            pool.submit(lambda a=a, b=b: list(batch(tmp_path / f"{a}", a, b))) for a, b in halves
        ]
        said = [each for done in work for each in done.result()]
    wrong = [
        f"seed {each['end']}, {each['kinds']}: {each['wrong']}" for each in said if "wrong" in each
    ]
    assert not wrong, f"{len(wrong)} of {seeds}:\n" + "\n".join(wrong)
    assert {each["end"] for each in said} == set(range(seeds))
    # the harness itself: every way it may end has been seen, and every place a store may come from
    ended = Counter(each["ended"] for each in said)
    assert set(ended) >= {"harmless", "recovered"}, ended
    assert ended["recovered"] > seeds / 3, ended
    sources = {
        "itself" if source == store else "nothing" if source == "nothing" else "a backup"
        for each in said
        for store, source in each["replaced"].items()
    }
    assert sources == {"itself", "nothing", "a backup"}


def test_a_value_that_shrinks_is_no_damage(tmp_path: Path) -> None:
    """Twice in one commit, first long, then short: the engine would keep the long one's pages."""
    path = tmp_path / "test"
    env = Environment.open(path, name="test", databases=("things",))

    def work(change: Any) -> None:
        for length in (20_000, 9000, 10):
            change.put("things", b"why", {"text": "x" * length})
        change.put("things", b"long", {"text": "x" * 12_000})
        change.put("things", b"long", {"text": "x" * 5000})

    for _ in range(3):
        env.run(work)
        with env.read() as view:
            assert view.get("things", b"why") == {"text": "x" * 10}
            assert view.get("things", b"long") == {"text": "x" * 5000}
    env.copy_here(tmp_path / "copy")
    env.close()
    for each in (path, tmp_path / "copy"):
        assert examine(each).reason == ""


def test_a_sound_file_may_be_shorter_than_the_engine_counts(tmp_path: Path) -> None:
    """Pages at the end that a commit took and gave up again are counted, and never written."""
    path = tmp_path / "test"
    env = Environment.open(path, name="test", databases=("things",))

    for number in range(6):  # pages that are free, and pages that are freed
        env.run(lambda change, n=number: change.put("things", b"a", {"text": "x" * 3000 * n}))

    def work(change: Any) -> None:
        change.put("things", b"b", {"text": "x" * 400_000})
        change.delete("things", b"b")

    env.run(work)
    env.close()
    engine = lmdb.open(str(path), readonly=True, lock=False)
    counted = (engine.info()["last_pgno"] + 1) * engine.stat()["psize"]
    engine.close()
    assert (path / "data.mdb").stat().st_size < counted, "this engine writes them"
    assert examine(path).finding is Finding.SOUND
    Environment.open(path, name="test", databases=("things",)).close()


def test_a_cut_that_reaches_a_record_is_refused_at_opening(tmp_path: Path) -> None:
    path = tmp_path / "test"
    env = Environment.open(path, name="test", databases=("things",))
    for number in range(50):
        env.run(lambda change, n=number: change.put("things", b"%d" % n, {"text": "x" * 3000}))
    env.close()
    os.truncate(path / "data.mdb", (path / "data.mdb").stat().st_size // 2)
    with pytest.raises(Damaged, match="is cut"):
        Environment.open(path, name="test", databases=("things",))


def test_a_record_that_cannot_be_found_by_its_key_is_damage(tmp_path: Path) -> None:
    """The offline verifier does not compare a branch page's keys with the pages below it."""
    path = tmp_path / "trades"
    store = TradeStore.open(path)
    store.commit(Batch(actions=[action(f"a{n}", at=T0 + n, detail="x" * 400) for n in range(60)]))
    keys = {each.id for each in store.actions(1000)}
    store.close()
    assert len(keys) == 60
    data = path / "data.mdb"
    content = bytearray(data.read_bytes())
    flipped = 0
    for page in range(2 * 4096, len(content), 4096):
        if content[page + 10] & 0x01 == 0:  # P_BRANCH
            continue
        node = page + int.from_bytes(content[page + 18 : page + 20], "little")  # its second one
        size = int.from_bytes(content[node + 6 : node + 8], "little")
        if size < 8:
            continue
        content[node + 8 + size - 1] ^= 0x80
        spoilt = tmp_path / f"spoilt{page}" / "data.mdb"
        spoilt.parent.mkdir()
        spoilt.write_bytes(content)
        content[node + 8 + size - 1] ^= 0x80
        if lmdb.verify.verify(str(spoilt), subdir=False):  # type: ignore[no-untyped-call]
            continue
        verdict = examine(spoilt.parent)
        if verdict.finding is Finding.DAMAGED:
            assert "is not found by its key" in verdict.reason
            flipped += 1
    assert flipped, "no flip misled the engine"
