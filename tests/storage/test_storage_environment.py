"""The environment: durable, growing, refusing what it cannot trust."""

from __future__ import annotations

import errno
import os
import sys
import threading
from pathlib import Path

import lmdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storage_samples import finished, python, unhurried

from defence.errors import (
    Damaged,
    DtmsError,
    Fault,
    FolderRefused,
    Invalid,
    Stopped,
    StoreFull,
    TryAgain,
)
from storage import environment as module
from storage import preflight
from storage.backups import take
from storage.environment import Environment
from storage.examine import Finding
from storage.failures import translate
from storage.layout import BIRTH_KEY, DATA_FILE, META, SEQUENCE_KEY
from storage.view import Change

DB = "things"


def opened(path: Path, name: str = "test", map_size: int = 1 << 20) -> Environment:
    return Environment.open(path, name=name, databases=(DB,), map_size=map_size)


def put(env: Environment, key: bytes, **fields: object) -> None:
    env.run(lambda change: change.put(DB, key, fields))


def sound(path: Path) -> bool:
    return preflight.check([path])[path].finding is Finding.SOUND


def test_written_is_there_after_opening_again(tmp_path: Path) -> None:
    env = opened(tmp_path / "e")
    put(env, b"k", a=1)
    env.close()
    env.close()
    again = opened(tmp_path / "e")
    with again.read() as view:
        assert view.get(DB, b"k") == {"a": 1}
        assert view.get(DB, b"other") is None
        assert view.has(DB, b"k")
        assert not view.has(DB, b"other")
        assert view.count(DB) == 1
    again.close()


def test_it_is_synchronous_and_never_maps_for_writing(tmp_path: Path) -> None:
    env = opened(tmp_path / "e")
    flags = env._open().flags()
    assert flags["sync"]
    assert flags["metasync"]
    assert not flags["writemap"]
    env.close()


def test_an_error_undoes_all_of_the_transaction(tmp_path: Path) -> None:
    env = opened(tmp_path / "e")

    def work(change: Change) -> None:
        change.put(DB, b"k", {"a": 1})
        change.put(DB, b"", {})

    with pytest.raises(Invalid):
        env.run(work)
    with env.read() as view:
        assert view.get(DB, b"k") is None
    env.close()


def test_the_map_grows_by_itself_and_the_work_runs_again(tmp_path: Path) -> None:
    env = opened(tmp_path / "e", map_size=64 * 1024)
    runs = []

    def work(change: Change) -> int:
        runs.append(1)
        for number in range(400):
            change.put(DB, b"%d" % number, {"text": "x" * 1000})
        return len(runs)

    assert env.run(work) == len(runs) > 1
    with env.read() as view:
        assert view.count(DB) == 400
        assert all(fields == {"text": "x" * 1000} for _, fields in view.items(DB))
    env.close()
    assert sound(tmp_path / "e")
    opened(tmp_path / "e", map_size=64 * 1024).close()  # a map smaller than the file


def test_it_grows_over_many_commits_too(tmp_path: Path) -> None:
    env = opened(tmp_path / "e", map_size=64 * 1024)
    for number in range(60):
        put(env, b"%03d" % number, text="x" * 5000)
    with env.read() as view:
        assert [key for key, _ in view.items(DB)] == [b"%03d" % number for number in range(60)]
    env.close()


def test_it_says_when_it_cannot_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAP_LIMIT", 128 * 1024)
    env = opened(tmp_path / "e", map_size=64 * 1024)
    put(env, b"k", a=1)
    with pytest.raises(StoreFull, match="cannot grow"):
        put(env, b"big", text="x" * 500_000)
    with env.read() as view:
        assert view.get(DB, b"k") == {"a": 1}
        assert view.get(DB, b"big") is None
    put(env, b"k2", a=2)  # what fits is still taken
    env.close()


def test_it_never_moves_the_map_under_a_reader(tmp_path: Path) -> None:
    env = opened(tmp_path / "e", map_size=64 * 1024)
    put(env, b"k", a=1)
    with env.read() as view:
        with pytest.raises(StoreFull, match="being read"):
            put(env, b"big", text="x" * 500_000)
        assert view.get(DB, b"k") == {"a": 1}
    put(env, b"big", text="x" * 500_000)
    env.close()


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    env = opened(tmp_path / "e")
    env.close()
    with pytest.raises(Stopped), env.read():
        pass
    with pytest.raises(Stopped):
        put(env, b"k")


def test_closing_does_not_cut_a_transaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_CLOSE_WAIT", 0.05)
    env = opened(tmp_path / "e")
    inside, go_on = threading.Event(), threading.Event()

    def work(change: Change) -> None:
        change.put(DB, b"k", {"a": 1})
        inside.set()
        assert go_on.wait(10)

    writer = threading.Thread(target=env.run, args=(work,))
    writer.start()
    assert inside.wait(10)
    with pytest.raises(TryAgain, match="middle of a transaction"):
        env.close()
    go_on.set()
    writer.join()
    with env.read() as view:
        assert view.get(DB, b"k") == {"a": 1}
    env.close()


KEYS = st.lists(st.sampled_from([0, 1, 65, 254, 255]), min_size=1, max_size=3).map(bytes)


@settings(unhurried, max_examples=60)
@given(keys=st.sets(KEYS, max_size=12), prefix=st.just(b"") | KEYS, newest=st.booleans())
def test_walking_is_like_a_sorted_map(
    tmp_path_factory: pytest.TempPathFactory, keys: set[bytes], prefix: bytes, newest: bool
) -> None:
    env = opened(tmp_path_factory.mktemp("walk") / "e")
    env.run(lambda change: [change.put(DB, key, {"k": key}) for key in keys])
    expected = sorted((key for key in keys if key.startswith(prefix)), reverse=newest)
    with env.read() as view:
        walked = list(view.items(DB, prefix=prefix, newest_first=newest))
    env.close()
    assert walked == [(key, {"k": key}) for key in expected]


def test_an_empty_file_is_not_an_empty_store(tmp_path: Path) -> None:
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / DATA_FILE).touch()
    with pytest.raises(Damaged, match="0 bytes"):
        opened(tmp_path / "e")
    assert (tmp_path / "e" / DATA_FILE).stat().st_size == 0


def test_garbage_is_refused(tmp_path: Path) -> None:
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / DATA_FILE).write_bytes(os.urandom(50_000))
    with pytest.raises(Damaged, match="not an LMDB file"):
        opened(tmp_path / "e")


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "e" / DATA_FILE).mkdir(parents=True)
    with pytest.raises(Damaged, match="not a file"):
        opened(tmp_path / "e")


def test_another_stores_file_is_refused(tmp_path: Path) -> None:
    opened(tmp_path / "e", name="ledger").close()
    with pytest.raises(Damaged, match="holds the store 'ledger'"):
        opened(tmp_path / "e", name="outbox")


def test_another_programs_file_is_refused(tmp_path: Path) -> None:
    foreign = lmdb.open(str(tmp_path / "e"), max_dbs=2)
    with foreign.begin(write=True) as txn:
        txn.put(b"k", b"v")
    foreign.close()
    with pytest.raises(Damaged):
        opened(tmp_path / "e")


def test_a_newer_format_is_refused_and_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FORMATS", {"test": 9})
    opened(tmp_path / "e").close()
    monkeypatch.undo()
    with pytest.raises(FolderRefused, match="format 9"):
        opened(tmp_path / "e")


def test_a_cut_file_is_refused_and_kills_nobody(tmp_path: Path) -> None:
    env = opened(tmp_path / "e")
    for number in range(50):
        put(env, b"%d" % number, text="x" * 3000)
    env.close()
    data = tmp_path / "e" / DATA_FILE
    os.truncate(data, data.stat().st_size // 2)
    script = """
import sys; from pathlib import Path
from defence.errors import Damaged
from storage.environment import Environment
try:
    Environment.open(Path(sys.argv[1]), name="test", databases=("things",))
except Damaged as error:
    print("told:", error)
"""
    code, out, err = finished(python(script, tmp_path / "e"))
    assert (code, err) == (0, "")
    assert "told:" in out
    assert "is cut" in out


def test_the_same_store_twice_in_a_process_is_a_fault(tmp_path: Path) -> None:
    env = opened(tmp_path / "e")
    with pytest.raises(Fault, match="already open"):
        opened(tmp_path / "e")
    put(env, b"k", a=1)  # and the first one goes on
    env.close()


def test_a_missing_parent_and_a_file_in_place_are_told(tmp_path: Path) -> None:
    with pytest.raises(FolderRefused, match="parent"):
        opened(tmp_path / "no" / "e")
    (tmp_path / "file").touch()
    with pytest.raises(FolderRefused, match="is a file"):
        opened(tmp_path / "file")
    with pytest.raises(FolderRefused):
        opened(tmp_path / "file" / "e")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may do anything")
def test_no_right_to_write_is_told(tmp_path: Path) -> None:
    opened(tmp_path / "e").close()
    for file in (tmp_path / "e").iterdir():
        file.chmod(0o400)
    with pytest.raises(FolderRefused) as told:
        opened(tmp_path / "e")
    assert told.value.remedy


LIMITED = """
import resource, sys; from pathlib import Path
from defence.errors import StoreFull
from storage.environment import Environment
env = Environment.open(Path(sys.argv[1]), name="test", databases=("things",), map_size=1 << 24)
env.run(lambda change: change.put("things", b"first", {"a": 1}))
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
try:
    env.run(lambda change: change.put("things", b"big", {"text": "x" * 1_000_000}))
except StoreFull as error:
    print("told:", error.remedy)
with env.read() as view:
    assert view.get("things", b"first") == {"a": 1}
    assert view.get("things", b"big") is None
env.run(lambda change: change.put("things", b"small", {"a": 2}))
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
env.run(lambda change: change.put("things", b"big", {"text": "x" * 1_000_000}))
env.close()
print("alive")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit for a file's size to set there")
def test_a_full_disk_is_told_and_survived(tmp_path: Path) -> None:
    code, out, err = finished(python(LIMITED, tmp_path / "e"))
    assert (code, err) == (0, "")
    assert out.splitlines() == ["told: free some space on that disk", "alive"]
    env = opened(tmp_path / "e")
    with env.read() as view:
        assert {key for key, _ in view.items(DB)} == {b"first", b"small", b"big"}
    env.close()
    assert sound(tmp_path / "e")


NO_ADDRESSES = """
import resource, sys; from pathlib import Path
from defence.errors import Stopped, TryAgain
from storage.environment import Environment
env = Environment.open(Path(sys.argv[1]), name="test", databases=("things",), map_size=1 << 26)
env.run(lambda change: change.put("things", b"first", {"a": 1}))
resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))
try:
    while True:
        env._grow()
except TryAgain:
    print("told")
try:
    env.run(lambda change: None)
except Stopped:
    print("closed")
env.close()
print("alive")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a limit for the address space")
def test_a_map_that_cannot_be_made_kills_nobody(tmp_path: Path) -> None:
    code, out, err = finished(python(NO_ADDRESSES, tmp_path / "e"))
    assert (code, err) == (0, "")
    assert out.split() == ["told", "closed", "alive"]
    env = opened(tmp_path / "e")
    with env.read() as view:
        assert view.get(DB, b"first") == {"a": 1}
    env.close()


def test_every_commit_has_its_number(tmp_path: Path) -> None:
    env = opened(tmp_path / "e")
    assert env.sequence == 0
    numbers = [env.run(lambda change: (change.put(DB, b"k", {}), change.sequence)[1])]
    env.run(lambda change: change.get(DB, b"k"))  # changes nothing, counts nothing
    numbers.append(env.run(lambda change: (change.delete(DB, b"none"), change.sequence)[1]))

    def fails(change: Change) -> None:
        change.put(DB, b"x", {})
        raise RuntimeError("told by the test")

    with pytest.raises(RuntimeError):
        env.run(fails)
    numbers.append(env.run(lambda change: (change.put(DB, b"k", {}), change.sequence)[1]))
    assert numbers == [1, 2, 3]
    with env.read() as view:
        assert view.get(META, SEQUENCE_KEY) == {"n": 3}
        assert view.get(META, BIRTH_KEY) == {"id": env.birth}
    env.close()
    again = opened(tmp_path / "e")
    assert (again.sequence, again.birth) == (3, env.birth)
    put(again, b"k")
    assert again.sequence == 4
    again.close()


def test_a_commit_may_move_its_number_on(tmp_path: Path) -> None:
    """A store that is built from another goes on where that one was."""
    env = opened(tmp_path / "e")

    def work(change: Change) -> None:
        change.put(DB, b"k", {})
        change.sequence = 50

    env.run(work)
    assert env.sequence == 50
    put(env, b"k")
    assert env.sequence == 51
    env.close()
    again = opened(tmp_path / "e")
    assert again.sequence == 51
    again.close()


def test_a_commit_that_had_to_grow_counts_once(tmp_path: Path) -> None:
    env = opened(tmp_path / "e", map_size=64 * 1024)
    runs = []

    def work(change: Change) -> None:
        runs.append(change.sequence)
        change.put(DB, b"big", {"text": "x" * 500_000})

    env.run(work)
    assert len(runs) > 1
    assert set(runs) == {env.sequence} == {1}
    env.close()


def test_every_environment_has_a_birth_of_its_own(tmp_path: Path) -> None:
    births = set()
    for name in ("a", "b", "c"):
        env = opened(tmp_path / name)
        births.add(env.birth)
        env.close()
    assert len(births) == 3
    assert all(len(bytes.fromhex(birth)) == 16 for birth in births)


def test_an_older_versions_environment_gets_its_birth_at_its_opening(tmp_path: Path) -> None:
    env = opened(tmp_path / "e")
    put(env, b"k", a=1)
    with env._open().begin(write=True) as txn:  # as it was made before there were births
        for key in (BIRTH_KEY, SEQUENCE_KEY):
            assert txn.delete(key, db=env._handles[META])
    env.close()
    found = preflight.check([tmp_path / "e"])[tmp_path / "e"].facts
    assert found is not None
    assert (found.birth, found.sequence) == (None, 0)
    again = opened(tmp_path / "e")
    assert again.birth != env.birth
    assert again.sequence == 0
    with again.read() as view:
        assert view.get(DB, b"k") == {"a": 1}
    again.close()
    third = opened(tmp_path / "e")
    assert third.birth == again.birth
    third.close()


def test_an_older_format_is_refused_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(tmp_path / "e").close()
    monkeypatch.setattr(module, "FORMATS", {"test": 2})
    with pytest.raises(FolderRefused, match="format 1") as told:
        opened(tmp_path / "e")
    assert "migrates" in (told.value.remedy or "")


def test_a_copy_is_whole_and_keeps_birth_and_sequence(tmp_path: Path) -> None:
    env = opened(tmp_path / "e")
    for number in range(30):
        put(env, b"%d" % number, n=number)
    env.copy_here(tmp_path / "copy")
    assert [path.name for path in (tmp_path / "copy").iterdir()] == [DATA_FILE]
    assert sound(tmp_path / "copy")
    put(env, b"later", n=1)
    copy = Environment.open(tmp_path / "copy", name="test", databases=(DB,), marked=False)
    assert (copy.birth, copy.sequence) == (env.birth, 30)
    with copy.read() as view:
        assert {fields["n"] for _, fields in view.items(DB)} == set(range(30))
        assert not view.has(DB, b"later")
    copy.close()
    env.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "dtms.e.mark", "e"]


def test_a_copy_never_replaces_anything(tmp_path: Path) -> None:
    env = opened(tmp_path / "e")
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / DATA_FILE).write_bytes(b"somebody's")
    with pytest.raises(FolderRefused, match="exists"):
        env.copy_here(tmp_path / "copy")
    with pytest.raises(FolderRefused, match="parent"):
        env.copy_here(tmp_path / "no" / "copy")
    env.close()
    with pytest.raises(Stopped):
        env.copy_here(tmp_path / "closed")
    assert (tmp_path / "copy" / DATA_FILE).read_bytes() == b"somebody's"


READER = """
import lmdb, sys
env = lmdb.open(sys.argv[1], readonly=True)
txn = env.begin()
print("reading", flush=True)
sys.stdin.readline()
"""


def killed_reader(path: Path) -> None:
    child = python(READER, path)
    assert child.stdout is not None
    assert child.stdout.readline().strip() == b"reading"
    child.kill()
    child.communicate(timeout=10)


def test_slots_of_killed_readers_are_freed(tmp_path: Path) -> None:
    env = opened(tmp_path / "e")
    put(env, b"k", a=1)
    killed_reader(tmp_path / "e")
    assert env.free_readers() == 1
    killed_reader(tmp_path / "e")
    take(tmp_path / "backups", [env], 0.0)  # a backup frees them too
    assert env.free_readers() == 0
    killed_reader(tmp_path / "e")
    env.close()
    again = opened(tmp_path / "e")  # and an opening
    assert again.free_readers() == 0
    again.close()


def damaged_under_way(path: Path) -> Environment:
    """An open store whose file rots while it is open."""
    env = opened(path)
    for number in range(30):
        put(env, b"%d" % number, text="y" * 500)
    data = path / DATA_FILE
    content = data.read_bytes().replace(b"y" * 500, b"y" * 499 + b"z")  # old copies too
    with data.open("r+b") as file:
        file.write(content)
    return env


def test_damage_is_told_when_read_and_never_backed_up(tmp_path: Path) -> None:
    env = damaged_under_way(tmp_path / "e")
    with env.read() as view, pytest.raises(Damaged, match="checksum"):
        list(view.items(DB))
    with pytest.raises(Damaged, match="checksum"):
        take(tmp_path / "backups", [env], 0.0)
    env.close()
    assert not [path for path in (tmp_path / "backups").iterdir() if path.is_dir()]


def test_a_backup_without_a_child_is_checked_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(preflight, "_child", None)
    env = damaged_under_way(tmp_path / "e")
    with pytest.raises(Damaged, match="checksum"):
        take(tmp_path / "backups", [env], 0.0)
    env.close()
    sound = opened(tmp_path / "s")
    put(sound, b"k", a=1)
    made = take(tmp_path / "backups", [sound], 0.0)
    sound.close()
    assert made.copies["test"].birth == sound.birth
    (place,) = [path.parent for path in made.path.rglob(DATA_FILE)]
    copy = Environment.open(place, name="test", databases=(DB,), marked=False)
    with copy.read() as view:
        assert view.get(DB, b"k") == {"a": 1}
    copy.close()


@pytest.mark.parametrize(
    ("error", "ours"),
    [
        (lmdb.DiskError("w"), StoreFull),
        (lmdb.Error(f"mdb_put: {os.strerror(errno.EFBIG)}"), StoreFull),
        (lmdb.Error(f"mdb_put: {os.strerror(errno.ENOSPC)}"), StoreFull),
        (lmdb.ReadonlyError("w"), FolderRefused),
        (lmdb.Error(f"open: {os.strerror(errno.EACCES)}"), FolderRefused),
        (lmdb.Error(f"open: {os.strerror(errno.EROFS)}"), FolderRefused),
        (lmdb.ReadersFullError("w"), TryAgain),
        (lmdb.BadTxnError("w"), Fault),
        (lmdb.BadValsizeError("w"), Fault),
        (lmdb.CorruptedError("w"), Damaged),
        (lmdb.PageNotFoundError("w"), Damaged),
        (lmdb.PanicError("w"), Damaged),
        (lmdb.Error(f"read: {os.strerror(errno.EIO)}"), Damaged),
    ],
)
def test_what_the_engines_errors_mean(error: lmdb.Error, ours: type[DtmsError]) -> None:
    told = translate(error, "trades", Path("/data"))
    assert type(told) is ours
    assert told.remedy
    assert "trades" in str(told)
