"""Backups: whole sets or none, one moment a copy, one at a time, the newest few kept."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import filelock
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storage_samples import T0, action, alert, finished, python, trade, unhurried

from defence.errors import Damaged, FolderRefused, StartRefused, StoreFull, TryAgain
from storage import backups, preflight
from storage.audit import AuditEntry
from storage.backups import MANIFEST, BackupSet, prune, read_set, sets, take
from storage.environment import Environment
from storage.examine import Facts
from storage.folder import ENVIRONMENTS, DataFolder, Stores, open_stores
from storage.layout import DATA_FILE
from storage.trades import Batch
from storage.view import Change

DB = "things"


def opened(path: Path) -> Environment:
    return Environment.open(path, name=path.name, databases=(DB,))


def put(env: Environment, key: bytes = b"k", **fields: object) -> None:
    env.run(lambda change: change.put(DB, key, fields))


def folders(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir() if path.is_dir())


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[Stores]:
    made = open_stores(DataFolder(tmp_path / "data"), T0)
    made.trades.bind(77, "Demo")
    made.trades.commit(Batch(trades=[trade(1), trade(2)], actions=[action()]))
    made.ledger.add("monitor", T0)
    made.outbox.put(alert())
    made.audit.append(AuditEntry(at=T0, command="pause", by="ops"))
    yield made
    made.close()


def environments(stores: Stores) -> list[Environment]:
    each = (stores.trades, stores.ledger, stores.outbox, stores.audit)
    return [store.environment for store in each]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "backups"


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Environment]:
    """One small environment with a commit in it."""
    env = opened(tmp_path / "one")
    put(env, n=1)
    yield env
    env.close()


# -- a whole set


def test_a_set_is_whole(stores: Stores, place: Path) -> None:
    made = take(place, environments(stores), T0 + 0.5)
    assert made.name == "20231114T221320Z"
    assert (made.number, made.at, made.failed, made.account) == (1, T0 + 0.5, {}, (77, "Demo"))
    assert sets(place) == [made] == [read_set(made.path)]
    assert {path.relative_to(made.path).as_posix() for path in made.path.rglob("*")} == {
        MANIFEST,
        *(name for name in ENVIRONMENTS),
        *(f"{name}/{DATA_FILE}" for name in ENVIRONMENTS),
    }
    for env in environments(stores):
        facts = made.copies[env.name]
        assert (facts.name, facts.birth, facts.sequence) == (env.name, env.birth, env.sequence)
    assert made.copies["trades"].counts["trades"] == 2
    assert made.copies["trades"].counts["actions"] == 1
    verdicts = preflight.check(made.path / name for name in ENVIRONMENTS)
    assert [verdict.facts for verdict in verdicts.values()] == list(made.copies.values())
    if os.name != "nt":
        assert all(path.stat().st_mode & 0o077 == 0 for path in place.rglob("*"))
    # and its copies are stores
    shutil.copytree(made.path / "trades", place.parent / "again")
    copy = Environment.open(
        place.parent / "again", name="trades", databases=("trades",), marked=False
    )
    copy.close()


def test_stores_at_rest_and_of_other_processes_are_copied_too(tmp_path: Path, place: Path) -> None:
    env = opened(tmp_path / "one")
    put(env, n=1)
    live = take(place, [tmp_path / "one"], T0)  # its writer is this very process
    put(env, n=2)
    env.close()
    rest = take(place, [tmp_path / "one"], T0 + 1)
    assert [each.copies["one"].sequence for each in (live, rest)] == [1, 2]
    assert live.copies["one"].birth == env.birth


def test_one_child_copies_all(stores: Stores, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []
    real = preflight._command
    monkeypatch.setattr(preflight, "_command", lambda jobs: started.append(1) or real(jobs))
    take(place, environments(stores), T0)
    assert len(started) == 1


def test_its_name_comes_last_and_all_of_it_is_durable(
    one: Environment, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[tuple[str, list[str]]] = []
    write, sync = backups.write_whole, backups.sync_folder

    def writing(path: Path, content: bytes) -> None:
        write(path, content)
        steps.append((path.name, folders(place)))

    def syncing(path: Path) -> None:
        sync(path)
        steps.append((path.name, folders(place)))

    monkeypatch.setattr(backups, "write_whole", writing)
    monkeypatch.setattr(backups, "sync_folder", syncing)
    made = take(place, [one], T0)
    assert steps == [(MANIFEST, [f"{made.name}.part"]), ("backups", [made.name])]


INVARIANT = 9  # records that are always written in one commit


def test_each_copy_is_one_moment_while_a_writer_commits(
    tmp_path: Path, place: Path, rounds: object
) -> None:
    env = opened(tmp_path / "one")
    over = threading.Event()
    commits = [0]

    def work(change: Change) -> None:
        for part in range(INVARIANT):
            fields = {"n": change.sequence, "pad": "x" * 700}
            change.put(DB, b"%d" % part, fields)

    def write() -> None:
        while not over.is_set():
            env.run(work)
            commits[0] += 1

    env.run(work)
    writer = threading.Thread(target=write)
    writer.start()
    try:
        made = []
        for number in range(rounds(ci=4, long=60)):  # type: ignore[operator]
            before = env.sequence
            made.append(take(place, [env], T0 + number))
            assert before <= made[-1].copies["one"].sequence <= env.sequence
    finally:
        over.set()
        writer.join()
    env.close()
    assert commits[0] > len(made), "the writer stood still: this test showed nothing"
    for each in made:
        copy = Environment.open(each.path / "one", name="one", databases=(DB,), marked=False)
        with copy.read() as view:
            found = [fields["n"] for _, fields in view.items(DB)]
        copy.close()
        assert found == [each.copies["one"].sequence] * INVARIANT


# -- what fails


def test_a_store_without_a_sound_copy_is_left_out_and_told(stores: Stores, place: Path) -> None:
    data = stores.ledger.environment.path / DATA_FILE
    content = data.read_bytes()
    data.write_bytes(content.replace(b"monitor", b"monitoR"))  # while it is open
    made = take(place, environments(stores), T0)
    assert set(made.copies) == {"trades", "outbox", "audit"}
    assert set(made.failed) == {"ledger"}
    assert "checksum" in made.failed["ledger"]
    assert folders(made.path) == ["audit", "outbox", "trades"]
    assert read_set(made.path) == made


def test_all_without_a_sound_copy_is_an_error_and_no_set(one: Environment, place: Path) -> None:
    data = one.path / DATA_FILE
    data.write_bytes(data.read_bytes().replace(b"\xa1n\x01", b"\xa1n\x02"))
    with pytest.raises(Damaged, match=r"no store passed.*one: .*checksum"):
        take(place, [one], T0)
    assert folders(place) == []


def test_a_store_that_holds_nothing_yet_is_left_out(tmp_path: Path, one: Environment) -> None:
    made = take(tmp_path / "backups", [tmp_path / "one", tmp_path / "none"], T0)
    assert set(made.copies) == {"one"}
    with pytest.raises(Damaged, match="no store passed"):
        take(tmp_path / "backups", [tmp_path / "none"], T0)


@pytest.mark.parametrize(
    "error", [StoreFull("no room"), FolderRefused("no right"), StartRefused("no child")]
)
def test_an_error_leaves_no_set_behind(
    one: Environment, place: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    kept = take(place, [one], T0)

    def fail(pairs: dict[Path, Path], **_: object) -> None:
        target = next(iter(pairs.values()))
        target.mkdir()
        (target / DATA_FILE).write_bytes(b"half a copy")
        raise error

    monkeypatch.setattr(backups.preflight, "copy", fail)
    with pytest.raises(type(error)):
        take(place, [one], T0 + 1)
    assert folders(place) == [kept.name]
    assert one.free_readers() == 0


FULL = """
import resource, sys; from pathlib import Path
from storage_samples import T0
from defence.errors import StoreFull
from storage.backups import take
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
try:
    take(Path(sys.argv[1]), [Path(sys.argv[2])], T0)
except StoreFull as error:
    print("told:", error.remedy)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit for a file's size to set there")
def test_without_room_there_is_no_new_set(tmp_path: Path, place: Path) -> None:
    env = opened(tmp_path / "one")
    kept = take(place, [env], T0)
    put(env, text="x" * 200_000)
    env.close()
    code, out, err = finished(python(FULL, place, tmp_path / "one"))
    assert (code, out, err) == (0, "told: free some space there\n", "")
    assert folders(place) == [kept.name]


def test_a_folder_that_cannot_be_made_is_told(one: Environment, place: Path) -> None:
    place.write_text("a file")
    with pytest.raises(FolderRefused, match="is a file"):
        take(place, [one], T0)
    with pytest.raises(FolderRefused, match="parent"):
        take(place.parent / "no" / "backups", [one], T0)


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be deleted there")
def test_a_lost_lock_file_refuses_a_backup(one: Environment, place: Path) -> None:
    (one.path / "lock.mdb").unlink()
    with pytest.raises(TryAgain, match=r"lock\.mdb"):
        take(place, [one], T0)
    assert not place.exists()


def test_what_a_cut_backup_left_is_no_set_and_is_swept(one: Environment, place: Path) -> None:
    first = take(place, [one], T0)
    shutil.copytree(first.path, place / "20231114T230000Z.part")  # cut before its name
    shutil.copytree(first.path, place / f"{first.name}.part")
    assert sets(place) == [first]
    second = take(place, [one], T0 + 1)
    assert folders(place) == [first.name, second.name]


def test_a_frozen_program_backs_up_as_well(
    stores: Stores, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(preflight, "_child", None)
    made = take(place, environments(stores), T0)
    assert set(made.copies) == set(ENVIRONMENTS)
    assert made.copies["trades"].counts["trades"] == 2
    assert made.failed == {}
    assert read_set(made.path) == made


# -- one at a time


def test_two_at_once_are_not_taken(
    one: Environment, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, go_on = threading.Event(), threading.Event()
    real, made = backups.preflight.copy, []

    def slow(*arguments: object, **options: object) -> object:
        inside.set()
        assert go_on.wait(20)
        return real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(backups.preflight, "copy", slow)
    first = threading.Thread(target=lambda: made.append(take(place, [one], T0)))
    first.start()
    try:
        assert inside.wait(20)
        for again in (lambda: take(place, [one], T0 + 1), lambda: prune(place, 1)):
            with pytest.raises(TryAgain, match="under way"):
                again()
    finally:
        go_on.set()
        first.join()
    assert sets(place) == made
    assert take(place, [one], T0 + 1).number == 2


OTHER_PROCESS = """
import sys; from pathlib import Path
from defence.errors import TryAgain
from storage import backups
try:
    backups.take(Path(sys.argv[1]), [Path(sys.argv[2])], 5.0)
except TryAgain as error:
    print("told:", error.remedy)
"""


def test_another_processs_backup_is_not_joined(one: Environment, place: Path) -> None:
    place.mkdir()
    with filelock.FileLock(place / backups._LOCK):
        code, out, err = finished(python(OTHER_PROCESS, place, one.path))
    assert (code, out, err) == (0, "told: try again later\n", "")
    assert folders(place) == []
    code, out, err = finished(python(OTHER_PROCESS, place, one.path))
    assert (code, out, err) == (0, "", "")
    assert folders(place) == ["19700101T000005Z"]


# -- names, numbers and what is kept


def test_order_is_by_number_though_the_clock_went_back(one: Environment, place: Path) -> None:
    taken = [take(place, [one], at) for at in (T0, T0 - 9999, T0 + 50, T0 - 20_000)]
    assert [each.number for each in taken] == [1, 2, 3, 4]
    assert sets(place) == taken[::-1]
    assert prune(place, 2) == [taken[1].name, taken[0].name]
    assert sets(place) == [taken[3], taken[2]]
    assert take(place, [one], T0).number == 5  # never a number again


def test_two_within_a_second_are_two(one: Environment, place: Path) -> None:
    names = [take(place, [one], T0 + number / 10).name for number in range(3)]
    assert names == ["20231114T221320Z", "20231114T221320Z-1", "20231114T221320Z-2"]
    assert [each.name for each in sets(place)] == names[::-1]


def facts(name: str, sequence: int = 1) -> Facts:
    return Facts(name=name, format=1, birth=None, sequence=sequence, account=None, counts={})


def lay(place: Path, number: int, names: frozenset[str] | set[str]) -> BackupSet:
    """A set's folder, without the copies themselves."""
    path = place / f"set-{number}"
    path.mkdir(parents=True)
    copies = {name: facts(name, number) for name in sorted(names)}
    (path / MANIFEST).write_bytes(backups._manifest(number, T0 + number, copies, {}))
    return read_set(path)


NAMES = st.sets(st.sampled_from(ENVIRONMENTS), min_size=1)


@settings(unhurried, max_examples=80)
@given(held=st.lists(NAMES, max_size=9), keep=st.integers(1, 10))
def test_pruning_keeps_the_newest_and_the_newest_of_each_store(
    tmp_path_factory: pytest.TempPathFactory, held: list[set[str]], keep: int
) -> None:
    place = tmp_path_factory.mktemp("prune")
    before = [lay(place, number, names) for number, names in enumerate(held, 1)][::-1]
    gone = prune(place, keep)
    after = sets(place)
    assert after[:keep] == before[:keep]
    newest = {}
    for each in before[::-1]:
        newest |= dict.fromkeys(each.copies, each)
    assert after == [s for at, s in enumerate(before) if at < keep or s in newest.values()]
    assert gone == [s.name for s in before if s not in after]
    assert folders(place) == sorted(s.name for s in after)


def test_at_least_one_is_kept(one: Environment, place: Path) -> None:
    for number in range(3):
        take(place, [one], T0 + number)
    prune(place, 0)
    assert len(sets(place)) == 1


def test_one_that_is_half_removed_never_passes_for_a_set(
    one: Environment, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = [take(place, [one], T0 + number) for number in range(3)]

    def cut_short(path: Path) -> None:
        assert sets(place) == taken[:0:-1]  # its name is gone before anything of it is
        (path / "one" / DATA_FILE).unlink()
        raise OSError(13, "told by the test")

    with monkeypatch.context() as patch:
        patch.setattr(backups.shutil, "rmtree", cut_short)
        with pytest.raises(FolderRefused, match="removing"):
            prune(place, 2)
    assert sets(place) == taken[:0:-1]
    take(place, [one], T0 + 9)  # which sweeps the rest of it
    assert not [name for name in folders(place) if name.endswith(".part")]


def spoil(manifest: Path, how: str) -> None:
    """Let a manifest be something else than what was written."""
    content = manifest.read_bytes()
    sealed = json.loads(content)
    other = {
        "gone": None,
        "empty": b"",
        "half": content[: len(content) // 2],
        "no json": b"hello",
        "not utf-8": b"\xff\xfe\xfa",
        "a list": b"[]",
        "another number": content.replace(b'\\"number\\": 2', b'\\"number\\": 9'),
        "another checksum": json.dumps({**sealed, "crc": 5}).encode(),
        "no body": json.dumps({"crc": 5}).encode(),
    }[how]
    assert other != content
    if other is None:
        manifest.unlink()
    else:
        manifest.write_bytes(other)


@pytest.mark.parametrize(
    "how",
    [
        "gone",
        "empty",
        "half",
        "no json",
        "not utf-8",
        "a list",
        "another number",
        "another checksum",
        "no body",
    ],
)
def test_a_damaged_manifest_is_no_set(place: Path, how: str) -> None:
    taken = [lay(place, number, {"trades"}) for number in (1, 2, 3)]
    spoil(taken[1].path / MANIFEST, how)
    with pytest.raises(Damaged, match="is no backup set") as told:
        read_set(taken[1].path)
    assert told.value.remedy
    assert sets(place) == [taken[2], taken[0]]
    assert prune(place, 1) == [taken[0].name]
    assert folders(place) == [taken[1].name, taken[2].name]  # what is no set is not ours to remove


def test_a_newer_versions_set_is_refused_and_not_called_damaged(
    one: Environment, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backups, "FORMAT", 2)
    made = take(place, [one], T0)
    monkeypatch.undo()
    with pytest.raises(FolderRefused, match="format 2"):
        read_set(made.path)


def test_no_sets(place: Path) -> None:
    assert sets(place) == []
    place.mkdir()
    (place / "notes.txt").touch()
    (place / "somebodys").mkdir()
    assert sets(place) == []
    shutil.rmtree(place)
    place.touch()
    with pytest.raises(FolderRefused):
        sets(place)


def test_a_set_without_trades_has_no_account(place: Path) -> None:
    made = lay(place, 1, {"ledger"})
    assert made.account is None
    named = replace(facts("trades"), account=(5, "S"))
    assert replace(made, copies={"trades": named}).account == (5, "S")
