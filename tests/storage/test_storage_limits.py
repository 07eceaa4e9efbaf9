"""Limits of a store: no room, files taken away, folders that are copies of others."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from loguru import logger
from storage_samples import finished, python

from defence.errors import AlreadyGuarded, FolderRefused, StoreLost, TryAgain
from storage import backups, files
from storage.environment import Environment
from storage.files import ROOM, has_room, try_to_write
from storage.home import ID_FILE, settle
from storage.in_place import InPlace
from storage.layout import DATA_FILE, LOCK_FILE
from storage.locks import AccountLock, FolderLock
from storage.room import no_room, try_store

DB = "things"
on_posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows holds open files fast")


@pytest.fixture
def env(tmp_path: Path) -> Iterator[Environment]:
    """An open environment."""
    opened = Environment.open(tmp_path / "e", name="test", databases=(DB,))
    yield opened
    opened.close()


def put(env: Environment, key: bytes, value: int = 1) -> None:
    env.run(lambda change: change.put(DB, key, {"n": value}))


def keys(env: Environment) -> set[bytes]:
    with env.read() as view:
        return {key for key, _ in view.items(DB)}


# -- files taken away


def unlinked(path: Path) -> None:
    path.unlink()


def renamed(path: Path) -> None:
    path.rename(path.with_name("other"))


def replaced(path: Path) -> None:
    shutil.copy(path, path.with_name("copy"))
    path.with_name("copy").replace(path)


def parent_moved(path: Path) -> None:
    path.parent.rename(path.parent.with_name("moved"))


def parent_a_file(path: Path) -> None:
    parent_moved(path)
    path.parent.touch()


TAKEN = [unlinked, renamed, replaced, parent_moved, parent_a_file]


@on_posix
@pytest.mark.parametrize("take", TAKEN)
def test_a_commit_into_a_file_that_is_gone_is_no_commit(
    env: Environment, take: Callable[[Path], None]
) -> None:
    put(env, b"before")
    take(env.path / DATA_FILE)
    for _ in range(2):  # and it stays so
        with pytest.raises(StoreLost) as told:
            put(env, b"after")
    assert str(env.path / DATA_FILE) in str(told.value.value)
    assert "start the guard again" in str(told.value.remedy)
    word = "replaced" if take is replaced else "deleted or moved"
    assert word in told.value.message
    assert keys(env) >= {b"before"}  # what is open can still be read


@on_posix
def test_a_file_that_comes_back_is_the_same(env: Environment) -> None:
    data = env.path / DATA_FILE
    data.rename(data.with_name("away"))
    with pytest.raises(StoreLost):
        put(env, b"while away")
    data.with_name("away").rename(data)
    put(env, b"back")


@on_posix
def test_nothing_is_said_of_a_file_that_cannot_be_looked_at(
    env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A right that was taken away says nothing about the file; it is open."""

    def denied(path: object) -> os.stat_result:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("storage.in_place.os.stat", denied)
    put(env, b"k")
    assert env.files.lock_lost() is None


@on_posix
@pytest.mark.parametrize("take", [unlinked, renamed, replaced])
def test_a_lost_lock_file_stops_backups_and_nothing_else(
    env: Environment, tmp_path: Path, take: Callable[[Path], None]
) -> None:
    put(env, b"before")
    assert env.files.lock_lost() is None
    backups.take(tmp_path / "sets", [env], 1.0)
    take(env.path / LOCK_FILE)
    put(env, b"after")
    lost = env.files.lock_lost()
    assert lost is not None
    assert str(env.path / LOCK_FILE) in lost
    with pytest.raises(TryAgain) as told:
        backups.take(tmp_path / "sets", [env], 2.0)
    assert "restart the guard" in str(told.value.remedy)
    assert len(backups.sets(tmp_path / "sets")) == 1
    env.close()
    again = Environment.open(env.path, name="test", databases=(DB,))
    assert keys(again) == {b"before", b"after"}
    backups.take(tmp_path / "sets", [again], 3.0)
    again.close()


def test_it_costs_little(tmp_path: Path) -> None:
    """After every commit: no open file, no folder listed, one look at one path."""
    for name in (DATA_FILE, LOCK_FILE):
        (tmp_path / name).touch()
    in_place = InPlace("test", tmp_path)
    looked: list[object] = []
    real = os.stat

    def counted(path: str) -> os.stat_result:
        looked.append(path)
        return real(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("storage.in_place.os.stat", counted)
        in_place.must_be_there()
    assert looked == [str(tmp_path / DATA_FILE)]


# -- no room

LIMITED = """
import resource, sys; from pathlib import Path
from defence.errors import StoreFull
from storage.environment import Environment
from storage.files import has_room, try_to_write
from storage.room import AMPLE, no_room, try_store
folder = Path(sys.argv[1])
env = Environment.open(folder, name="test", databases=("things",))
env.run(lambda change: change.put("things", b"first", {"a": 1}))
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
def full(error):
    return type(error).__name__, bool(error and error.remedy)
before = env.sequence
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
print("nothing", *full(try_store(env, 1.0)), *full(try_to_write(folder, AMPLE)), has_room(folder))
resource.setrlimit(resource.RLIMIT_FSIZE, (AMPLE - 1, hard))
env.run(lambda change: change.put("things", b"small", {"a": 1}))
print("little", *full(try_store(env, 1.0)), *full(no_room(env)))
resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
print("enough", try_store(env, 1.0), no_room(env), try_to_write(folder, AMPLE), has_room(folder))
print(sorted(path.name for path in folder.iterdir()), env.sequence - before)
env.close()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit for a file's size to set there")
def test_room_is_tried_not_believed(tmp_path: Path) -> None:
    """A store that takes a small write but no ample one is full still."""
    code, out, err = finished(python(LIMITED, tmp_path / "e"))
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "nothing StoreFull True StoreFull True False",
        "little StoreFull True StoreFull True",
        "enough None None None True",
        "['data.mdb', 'lock.mdb'] 2",
    ]


def test_what_a_kill_leaves_of_a_try_is_taken_away_by_the_next(tmp_path: Path) -> None:
    (tmp_path / "dtms.room.tmp").write_bytes(bytes(100))
    assert try_to_write(tmp_path, 10) is None
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_gone_is_no_question_of_room(tmp_path: Path) -> None:
    refusal = try_to_write(tmp_path / "no", 10)
    assert isinstance(refusal, FolderRefused)
    assert has_room(tmp_path / "no")


def test_the_right_to_make_files_is_no_question_of_room(
    env: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse = FolderRefused("no right")
    monkeypatch.setattr("storage.environment.try_to_write", lambda _folder, _size: refuse)
    assert no_room(env) is None
    assert try_store(env, 1.0) is None


def test_a_disk_with_little_left_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda _: usage._replace(free=10 * ROOM))
    assert not has_room(tmp_path)


def test_trying_tells_a_lost_store(env: Environment) -> None:
    if sys.platform == "win32":
        pytest.skip("Windows holds open files fast")
    (env.path / DATA_FILE).unlink()
    with pytest.raises(StoreLost):
        try_store(env, 1.0)


# -- copies of data folders


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state folder as the account's lock leaves it."""
    with AccountLock(tmp_path / "state", "Demo", 7):
        pass
    return tmp_path / "state"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder, guarded once."""
    made = tmp_path / "data"
    made.mkdir()
    return made


@pytest.fixture
def log() -> Iterator[list[str]]:
    """What is logged."""
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)), format="{level} {message}")
    yield lines
    logger.remove(sink)


def note(state: Path) -> Path:
    return next((state / "accounts").glob("*.home.json"))


def test_a_copy_is_refused_while_the_original_is_there(
    state: Path, data: Path, tmp_path: Path
) -> None:
    settle(state, data, 7, "Demo")
    copy = tmp_path / "copy"
    shutil.copytree(data, copy)
    before = note(state).read_bytes()
    for _ in range(2):
        with pytest.raises(FolderRefused) as told:
            settle(state, copy, 7, "Demo")
    text = str(told.value)
    assert str(copy) in text
    assert str(data) in text
    assert "rename the original" in text
    assert told.value.field == "data_dir"
    assert note(state).read_bytes() == before
    settle(state, data, 7, "Demo")  # the original is as good as before
    settle(state, copy, 8, "Demo")  # another account never knew of it
    settle(state, copy, 7, "demo")


@pytest.mark.parametrize("away", ["renamed", "deleted", "another folder in its place"])
def test_a_folder_that_was_moved_is_fine(
    state: Path, data: Path, tmp_path: Path, away: str
) -> None:
    settle(state, data, 7, "Demo")
    moved = tmp_path / "moved"
    if away == "renamed":
        data.rename(moved)
    else:
        shutil.copytree(data, moved)
        shutil.rmtree(data)
    if away == "another folder in its place":
        data.mkdir()
        (data / ID_FILE).write_text("0" * 32)
    settle(state, moved, 7, "Demo")
    assert json.loads(note(state).read_bytes())["folder"] == str(moved)
    settle(state, moved, 7, "Demo")


def test_the_same_folder_by_another_spelling_is_no_copy(
    state: Path, data: Path, tmp_path: Path
) -> None:
    settle(state, data, 7, "Demo")
    settle(state, data / ".." / "data", 7, "Demo")
    try:
        (tmp_path / "link").symlink_to(data, target_is_directory=True)
    except OSError:
        pytest.skip("no right to make links here")
    settle(state, tmp_path / "link", 7, "Demo")
    assert json.loads(note(state).read_bytes())["folder"] == str(data)


def test_another_folder_is_allowed_and_told(
    state: Path, data: Path, tmp_path: Path, log: list[str]
) -> None:
    settle(state, data, 7, "Demo")
    assert log == []
    other = tmp_path / "other"
    other.mkdir()
    settle(state, other, 7, "Demo")
    assert len(log) == 1
    assert log[0].startswith("WARNING")
    assert str(data) in log[0]
    assert str(other) in log[0]


@pytest.mark.parametrize(
    "spoilt", [b"", b"garbage", b"[]", b"{}", b'{"folder": 1, "id": 2}', b"\xff"]
)
def test_a_spoilt_note_refuses_nobody(
    state: Path, data: Path, tmp_path: Path, spoilt: bytes
) -> None:
    settle(state, data, 7, "Demo")
    note(state).write_bytes(spoilt)
    copy = tmp_path / "copy"
    shutil.copytree(data, copy)
    settle(state, copy, 7, "Demo")
    assert json.loads(note(state).read_bytes())["folder"] == str(copy)


@pytest.mark.skipif(sys.platform == "win32", reason="rights of POSIX")
def test_note_and_id_are_the_owners(state: Path, data: Path) -> None:
    settle(state, data, 7, "Demo")
    assert note(state).stat().st_mode & 0o777 == 0o600
    assert (data / ID_FILE).stat().st_mode & 0o777 == 0o600
    assert len((data / ID_FILE).read_text().strip()) == 32


# -- locks in the child of a fork

FORKED = """
import os, subprocess, sys; from pathlib import Path
from storage.locks import AccountLock, FolderLock
from defence.errors import AlreadyGuarded
folder, how = Path(sys.argv[1]), sys.argv[2]
locks = [FolderLock(folder), AccountLock(folder, "s", 1)]
for lock in locks:
    lock.acquire()
child = os.fork()
if child == 0:
    if how == "releases":
        for lock in locks:
            lock.release()
    elif how == "forgets":
        del lock, locks[:]
        import gc; gc.collect()
    sys.exit(0) if how != "ends at once" else os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
TRY = '''
import sys; from pathlib import Path
from storage.locks import AccountLock, FolderLock
from defence.errors import AlreadyGuarded
for lock in (FolderLock(Path(sys.argv[1])), AccountLock(Path(sys.argv[1]), "s", 1)):
    try:
        lock.acquire()
        print("taken", end=" ")
    except AlreadyGuarded as error:
        print("refused", "process " + sys.argv[2] in str(error), end=" ")
'''
def look():
    command = [sys.executable, "-c", TRY, str(folder), str(os.getpid())]
    print(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
look()
print(*(lock.held for lock in locks))
for lock in locks:
    lock.release()
look()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
@pytest.mark.parametrize("how", ["ends", "ends at once", "releases", "forgets"])
def test_a_forked_child_does_not_let_go_of_its_parents_locks(tmp_path: Path, how: str) -> None:
    code, out, err = finished(python(FORKED, tmp_path, how))
    assert (code, err) == (0, "")
    assert [line.split() for line in out.splitlines()] == [
        ["refused", "True", "refused", "True"],
        ["True", "True"],
        ["taken", "taken"],
    ]


def test_a_state_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    with pytest.raises(FolderRefused) as told:
        AccountLock(tmp_path / "state", "s", 1)
    assert told.value.field == "state_dir"
    assert "state folder" in str(told.value.remedy)


def test_a_taken_account_is_still_told_as_taken(tmp_path: Path) -> None:
    with AccountLock(tmp_path, "s", 1), pytest.raises(AlreadyGuarded):
        AccountLock(tmp_path, "s", 1).acquire()


def test_a_note_that_cannot_be_removed_keeps_no_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: list[str]
) -> None:
    lock = FolderLock(tmp_path)
    lock.acquire()

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", denied)
        lock.release()
    assert not lock.held
    assert any("stays behind" in line for line in log)
    with FolderLock(tmp_path):
        pass
