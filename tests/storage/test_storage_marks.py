"""The watermark: it follows each commit, proves only what it can, and never fails one."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loguru import logger
from storage_damage import fall_back
from storage_samples import T0, action, alert, finished, python, trade, unhurried

from storage import marks, recovery
from storage.audit import AuditEntry
from storage.backups import take
from storage.environment import Environment
from storage.examine import examine
from storage.folder import ENVIRONMENTS, DataFolder, Stores, open_stores
from storage.layout import DATA_FILE
from storage.marks import Mark, MarkFile, mark_path, read_mark, rolled_back, write_mark
from storage.swap import Swap, Why, told
from storage.trades import Batch
from storage.view import Change

DB = "things"
BIRTH, OTHER = "ab" * 16, "cd" * 16


def opened(path: Path, *, marked: bool = True) -> Environment:
    return Environment.open(path, name="test", databases=(DB,), marked=marked)


def put(env: Environment, key: bytes = b"k", **fields: object) -> None:
    env.run(lambda change: change.put(DB, key, fields))


@pytest.fixture
def logged() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(str(message)), level="WARNING")
    yield lines
    logger.remove(sink)


# -- the file


@settings(unhurried)
@given(birth=st.binary(min_size=16, max_size=16), sequence=st.integers(0, 2**64 - 1))
def test_a_mark_comes_back(
    tmp_path_factory: pytest.TempPathFactory, birth: bytes, sequence: int
) -> None:
    path = tmp_path_factory.mktemp("mark") / "e"
    mark = Mark(birth.hex(), sequence)
    write_mark(path, mark)
    assert read_mark(path) == mark
    file = MarkFile(path, birth.hex())
    file.write(sequence ^ 1)
    assert read_mark(path) == Mark(birth.hex(), sequence ^ 1)
    file.close()
    file.close()


def test_it_lies_beside_the_environment_and_is_the_owners(tmp_path: Path) -> None:
    env = opened(tmp_path / "e")
    put(env)
    env.close()
    assert mark_path(tmp_path / "e") == tmp_path / "dtms.e.mark"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dtms.e.mark", "e"]
    if os.name != "nt":
        assert mark_path(tmp_path / "e").stat().st_mode & 0o777 == 0o600


def test_no_mark_and_none_that_can_be_read(tmp_path: Path) -> None:
    assert read_mark(tmp_path / "e") is None
    mark_path(tmp_path / "e").mkdir()
    assert read_mark(tmp_path / "e") is None  # proves nothing, and keeps nobody down


def test_a_torn_or_foreign_mark_proves_nothing(tmp_path: Path) -> None:
    path = mark_path(tmp_path / "e")
    write_mark(tmp_path / "e", Mark(BIRTH, 300))
    whole = path.read_bytes()
    older = marks._raw(Mark(BIRTH, 255))  # the power went in the middle of a write
    torn = [whole[:at] for at in range(len(whole))]
    torn += [whole[:at] + older[at:] for at in range(len(whole))]
    torn += [whole + b"\x00", b"x" * len(whole), bytes(len(whole))]
    for at in range(len(whole)):
        flipped = bytearray(whole)
        flipped[at] ^= 1
        torn.append(bytes(flipped))
    for content in torn:
        path.write_bytes(content)
        assert read_mark(tmp_path / "e") in (None, Mark(BIRTH, 300), Mark(BIRTH, 255))
        if content not in (whole, older):
            assert read_mark(tmp_path / "e") is None, content


@pytest.mark.parametrize(
    ("mark", "sequence", "behind"),
    [
        (None, 0, False),
        (Mark(BIRTH, 5), 5, False),
        (Mark(BIRTH, 5), 6, False),  # killed between commit and mark
        (Mark(BIRTH, 5), 4, True),
        (Mark(BIRTH, 5), 0, True),
        (Mark(OTHER, 5), 4, False),  # the mark of another store
    ],
)
def test_when_a_store_has_rolled_back(mark: Mark | None, sequence: int, behind: bool) -> None:
    assert rolled_back(mark, BIRTH, sequence) is behind


# -- its place in a commit


def test_it_is_written_after_each_commit_and_never_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    real = MarkFile.write

    def look_first(self: MarkFile, sequence: int) -> None:
        # what is on the disk now is what a kill here would leave
        shutil.copytree(tmp_path / "e", tmp_path / "then")
        facts = examine(tmp_path / "then").facts
        shutil.rmtree(tmp_path / "then")
        assert facts is not None
        seen.append((facts.sequence, sequence))
        real(self, sequence)

    monkeypatch.setattr(MarkFile, "write", look_first)
    env = opened(tmp_path / "e")
    before: list[Mark | None] = []

    def work(change: Change) -> None:
        before.append(read_mark(tmp_path / "e"))
        change.put(DB, b"k", {"n": change.sequence})

    for number in (1, 2, 3):
        env.run(work)
        assert read_mark(tmp_path / "e") == Mark(env.birth, number)
    env.close()
    assert seen == [(1, 1), (2, 2), (3, 3)]
    assert before == [None, Mark(env.birth, 1), Mark(env.birth, 2)]


def test_what_is_not_committed_is_not_marked(tmp_path: Path) -> None:
    env = opened(tmp_path / "e")
    assert read_mark(tmp_path / "e") is None  # opening is no commit

    def fails(change: Change) -> None:
        change.put(DB, b"k", {})
        raise RuntimeError("told by the test")

    with pytest.raises(RuntimeError):
        env.run(fails)
    env.run(lambda change: change.get(DB, b"k"))
    assert read_mark(tmp_path / "e") is None
    put(env)
    assert read_mark(tmp_path / "e") == Mark(env.birth, 1)
    env.close()


def test_an_unmarked_environment_has_none(tmp_path: Path) -> None:
    env = opened(tmp_path / "e", marked=False)
    put(env)
    env.close()
    assert [path.name for path in tmp_path.iterdir()] == ["e"]


def test_a_mark_that_cannot_be_written_fails_no_commit_and_is_told_once(
    tmp_path: Path, logged: list[str]
) -> None:
    mark_path(tmp_path / "e").mkdir()
    env = opened(tmp_path / "e")
    for number in range(5):
        put(env, b"%d" % number)
    assert env.sequence == 5
    with env.read() as view:
        assert view.count(DB) == 5
    assert len(logged) == 1
    assert str(mark_path(tmp_path / "e")) in logged[0]
    mark_path(tmp_path / "e").rmdir()
    put(env)  # and it goes on by itself
    assert read_mark(tmp_path / "e") == Mark(env.birth, 6)
    env.close()
    assert len(logged) == 1


def test_each_time_that_marks_begin_to_fail_is_told(
    tmp_path: Path, logged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    env = opened(tmp_path / "e")
    put(env)

    def full(*_: object) -> int:
        raise OSError(28, "full")

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(marks.os, "lseek", full)
            put(env)
            put(env)
        put(env)
    assert len(logged) == 2
    assert read_mark(tmp_path / "e") == Mark(env.birth, 7)
    env.close()


def test_something_longer_in_its_place_becomes_a_mark(tmp_path: Path) -> None:
    mark_path(tmp_path / "e").write_bytes(b"no mark at all" * 50)
    env = opened(tmp_path / "e")
    put(env)
    assert read_mark(tmp_path / "e") == Mark(env.birth, 1)
    env.close()


# -- what it is for

WRITES: dict[str, Callable[[Stores, int], object]] = {
    "trades": lambda stores, n: stores.trades.commit(Batch(trades=[trade(n)])),
    "ledger": lambda stores, n: stores.ledger.add("monitor", T0 + n),
    "outbox": lambda stores, n: stores.outbox.put(alert(f"x{n}")),
    "audit": lambda stores, n: stores.audit.append(AuditEntry(at=T0 + n, command="c", by="ops")),
}
COUNTS: dict[str, Callable[[Stores], int]] = {
    "trades": lambda stores: len(stores.trades.load()[0]),
    "ledger": lambda stores: len(stores.ledger.charges("monitor")),
    "outbox": lambda stores: len(stores.outbox.load()),
    "audit": lambda stores: len(stores.audit.tail()),
}


def fill(folder: DataFolder, first: int, commits: int) -> None:
    stores = open_stores(folder, T0)
    for number in range(first, first + commits):
        for write in WRITES.values():
            write(stores, number)
    stores.close()


def counted(folder: DataFolder) -> dict[str, int]:
    stores = open_stores(folder, T0 + 100)
    found = {name: count(stores) for name, count in COUNTS.items()}
    stores.close()
    return found


def swaps(folder: DataFolder) -> list[Swap]:
    return [swap for _, swap in folder.untold()]


def tell_all(folder: DataFolder) -> None:
    for note, _ in folder.untold():
        told(note)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_an_older_copy_put_in_place_is_noticed(tmp_path: Path, name: str) -> None:
    folder = DataFolder(tmp_path / "data")
    fill(folder, 0, 2)
    shutil.copy(folder.path / name / DATA_FILE, tmp_path / "older")
    fill(folder, 2, 3)
    shutil.copy(tmp_path / "older", folder.path / name / DATA_FILE)
    assert counted(folder) == {each: 2 if each == name else 5 for each in ENVIRONMENTS}
    (swap,) = swaps(folder)
    assert (swap.name, swap.why, swap.missing) == (name, Why.ROLLED_BACK, 3)
    assert swap.source == name  # what it still holds is the best there is
    assert swap.reason == f"it is at commit {swap.sequence}, and had come to {swap.reached}"
    assert swap.aside == f"{name}.rolled-back-20231114T221500Z"
    assert (folder.path / swap.aside / DATA_FILE).exists()
    tell_all(folder)
    assert counted(folder)[name] == 2
    assert swaps(folder) == []  # noticed once


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_fall_back_by_one_commit_is_noticed(tmp_path: Path, name: str) -> None:
    folder = DataFolder(tmp_path / "data")
    fill(folder, 0, 4)
    fall_back(folder.path / name)
    assert counted(folder) == {each: 3 if each == name else 4 for each in ENVIRONMENTS}
    (swap,) = swaps(folder)
    assert (swap.name, swap.why, swap.missing) == (name, Why.ROLLED_BACK, 1)


def test_a_backup_that_saw_what_was_lost_comes_in_its_place(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    fill(folder, 0, 4)
    made = take(folder.backups, [folder.path / name for name in ENVIRONMENTS], T0)
    fall_back(folder.path / "trades")
    assert counted(folder)["trades"] == 4
    (swap,) = swaps(folder)
    assert (swap.why, swap.source, swap.missing) == (Why.ROLLED_BACK, made.name, 0)


# -- and what is no alarm


def copy_in_place(folder: DataFolder) -> None:
    """The newest compact copy, put in the stores' place by hand, with nothing lost."""
    made = take(folder.backups, [folder.path / name for name in ENVIRONMENTS], T0)
    for name in ENVIRONMENTS:
        shutil.copy(made.path / name / DATA_FILE, folder.path / name / DATA_FILE)


def restored_by_hand(folder: DataFolder) -> None:
    """An older backup, restored by the command for it, then used."""
    made = take(folder.backups, [folder.path / name for name in ENVIRONMENTS], T0)
    fill(folder, 10, 3)
    for name in ENVIRONMENTS:
        recovery.restore([folder.path / name], made, account=None, now=T0)
    tell_all(folder)


def new_after_damage(folder: DataFolder) -> None:
    """Every store was lost, and a new one has begun."""
    for name in ENVIRONMENTS:
        (folder.path / name / DATA_FILE).write_bytes(b"")
    fill(folder, 0, 1)
    tell_all(folder)


def lost_marks(folder: DataFolder) -> None:
    for name in ENVIRONMENTS:
        mark_path(folder.path / name).unlink()


def older_marks(folder: DataFolder) -> None:
    """The power went: the marks were written without a barrier."""
    older = {name: mark_path(folder.path / name).read_bytes() for name in ENVIRONMENTS}
    fill(folder, 20, 2)
    for name, content in older.items():
        mark_path(folder.path / name).write_bytes(content)


def foreign_marks(folder: DataFolder) -> None:
    for name in ENVIRONMENTS:
        write_mark(folder.path / name, Mark(OTHER, 10**6))


@pytest.mark.parametrize(
    "what",
    [
        copy_in_place,
        restored_by_hand,
        new_after_damage,
        lost_marks,
        older_marks,
        foreign_marks,
    ],
    ids=lambda what: what.__name__,
)
def test_no_false_alarm(tmp_path: Path, what: Callable[[DataFolder], None]) -> None:
    folder = DataFolder(tmp_path / "data")
    fill(folder, 0, 3)
    what(folder)
    for _ in range(2):
        counted(folder)
        assert swaps(folder) == []
    fill(folder, 30, 1)
    counted(folder)
    assert swaps(folder) == []
    for name in ENVIRONMENTS:  # and the marks keep watch again
        facts, mark = examine(folder.path / name).facts, read_mark(folder.path / name)
        assert facts is not None
        assert mark == Mark(facts.birth or "", facts.sequence)


KILLED = """
import os, signal, sys; from pathlib import Path
from storage_samples import trade
from storage import marks
from storage.trades import Batch, TradeStore
store = TradeStore.open(Path(sys.argv[1]))
store.commit(Batch(trades=[trade(1)]))
marks.MarkFile.write = lambda self, sequence: os.kill(os.getpid(), signal.SIGKILL)
store.commit(Batch(trades=[trade(2)]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_kill_between_commit_and_mark_is_no_alarm(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    open_stores(folder, T0).close()
    code, _, err = finished(python(KILLED, folder.path / "trades"))
    assert (code, err) == (-9, "")
    mark = read_mark(folder.path / "trades")
    assert mark is not None
    stores = open_stores(folder, T0)
    assert swaps(folder) == []
    assert set(stores.trades.load()[0]) == {1, 2}
    assert stores.trades.sequence() == mark.sequence + 1
    stores.trades.commit(Batch(actions=[action()]))
    assert read_mark(folder.path / "trades") == Mark(mark.birth, mark.sequence + 2)
    stores.close()
