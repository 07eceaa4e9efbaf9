"""One account, one running guard: between processes, within one, through links, after a kill."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from storage_samples import finished, python, unhurried

from defence.errors import AlreadyGuarded, FolderRefused
from defence.state_folder import state_dir
from storage.locks import LOCK_NAME, AccountLock, FolderLock, account_name

HOLDER = """
import sys; from pathlib import Path
from storage.locks import AccountLock, FolderLock
kind, where = sys.argv[1], Path(sys.argv[2])
lock = FolderLock(where) if kind == "folder" else AccountLock(where, "Demo-1", 77)
lock.acquire()
print("held", flush=True)
sys.stdin.readline()
if kind == "folder":
    lock.release()
    print("released", flush=True)
sys.stdin.readline()
"""


def holder(kind: str, where: Path) -> subprocess.Popen[bytes]:
    child = python(HOLDER, kind, where)
    assert child.stdout is not None
    assert child.stdout.readline() == b"held" + os.linesep.encode()
    return child


def say(child: subprocess.Popen[bytes]) -> None:
    assert child.stdin is not None
    child.stdin.write(b"\n")
    child.stdin.flush()


def test_a_folder_is_guarded_once(tmp_path: Path) -> None:
    child = holder("folder", tmp_path)
    lock = FolderLock(tmp_path)
    with pytest.raises(AlreadyGuarded) as told:
        lock.acquire()
    assert str(tmp_path) in str(told.value)
    assert f"process {child.pid}" in str(told.value)
    assert told.value.remedy
    assert not lock.held
    say(child)
    assert child.stdout is not None
    child.stdout.readline()
    lock.acquire()
    assert lock.held
    lock.release()
    say(child)
    assert finished(child)[0] == 0


def test_an_account_is_guarded_once(tmp_path: Path) -> None:
    child = holder("account", tmp_path)
    with pytest.raises(AlreadyGuarded) as told:
        AccountLock(tmp_path, "Demo-1", 77).acquire()
    assert "77" in str(told.value)
    assert "Demo-1" in str(told.value)
    assert f"process {child.pid}" in str(told.value)
    for server, login in (("Demo-1", 78), ("Demo-2", 77), ("demo-1", 77)):
        with AccountLock(tmp_path, server, login):
            pass
    child.kill()
    child.communicate(timeout=10)


@pytest.mark.parametrize("kind", ["folder", "account"])
def test_a_kill_lets_go(tmp_path: Path, kind: str) -> None:
    child = holder(kind, tmp_path)
    child.kill()
    child.communicate(timeout=10)
    lock = FolderLock(tmp_path) if kind == "folder" else AccountLock(tmp_path, "Demo-1", 77)
    lock.acquire()
    with pytest.raises(AlreadyGuarded, match=f"this process \\({os.getpid()}\\)"):
        (
            FolderLock(tmp_path) if kind == "folder" else AccountLock(tmp_path, "Demo-1", 77)
        ).acquire()
    lock.release()


def test_it_holds_within_a_process_too(tmp_path: Path) -> None:
    first = FolderLock(tmp_path)
    first.acquire()
    with pytest.raises(AlreadyGuarded):
        FolderLock(tmp_path).acquire()
    with pytest.raises(AlreadyGuarded):
        first.acquire()
    assert first.held
    first.release()
    first.release()
    with FolderLock(tmp_path):
        pass


def test_it_holds_through_a_symbolic_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    try:
        link.symlink_to(real, target_is_directory=True)
    except OSError:
        pytest.skip("no right to make links here")
    for one, other in ((real, link), (link, real)):
        child = holder("folder", one)
        with pytest.raises(AlreadyGuarded, match=f"folder {re.escape(str(real))} is"):
            FolderLock(other).acquire()
        child.kill()
        child.communicate(timeout=10)
        with AccountLock(one, "s", 1), pytest.raises(AlreadyGuarded):
            AccountLock(other, "s", 1).acquire()


def test_a_link_to_itself_is_told(tmp_path: Path) -> None:
    try:
        (tmp_path / "loop").symlink_to(tmp_path / "loop")
    except OSError:
        pytest.skip("no right to make links here")
    with pytest.raises(FolderRefused):
        FolderLock(tmp_path / "loop").acquire()


def test_a_missing_folder_is_not_made_by_its_lock(tmp_path: Path) -> None:
    with pytest.raises(FolderRefused, match="does not exist"):
        FolderLock(tmp_path / "no").acquire()
    assert not (tmp_path / "no").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="rights of POSIX")
def test_lock_and_note_are_the_owners(tmp_path: Path) -> None:
    with AccountLock(tmp_path / "state", "s", 1):
        files = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
        assert len(files) == 2
        assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
        folders = [tmp_path / "state" / "accounts"]
        assert {path.stat().st_mode & 0o777 for path in folders} == {0o700}


@pytest.mark.parametrize("content", [b"", b"garbage", b"[1]", b'{"pid": "x"}', b"\xff\xfe"])
def test_a_spoilt_note_only_costs_the_number(tmp_path: Path, content: bytes) -> None:
    with FolderLock(tmp_path):
        (tmp_path / f"{LOCK_NAME}.pid").write_bytes(content)
        with pytest.raises(AlreadyGuarded, match="another process"):
            FolderLock(tmp_path).acquire()


SERVERS = st.text(st.characters(), max_size=200)
LOGINS = st.integers(-(2**40), 2**63)


@unhurried
@given(st.tuples(LOGINS, SERVERS), st.tuples(LOGINS, SERVERS))
def test_two_accounts_never_share_a_name(one: tuple[int, str], other: tuple[int, str]) -> None:
    names = account_name(*one), account_name(*other)
    # also where the file system does not tell capitals from small letters
    assert (names[0].casefold() == names[1].casefold()) == (one == other)


@unhurried
@given(LOGINS, SERVERS)
def test_a_name_fits_every_file_system(login: int, server: str) -> None:
    name = account_name(login, server)
    assert len(name) < 200
    assert name.isascii()
    assert not set(name) & set('<>:"/\\|?* \0')


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((-1, "a"), (1, "a-")),
        ((1, "a_b"), (1, "a b")),
        ((1, "Demo"), (1, "demo")),
        ((1, "%41"), (1, "A")),
        ((1, "x" * 300), (1, "x" * 301)),
        ((1, "../x"), (1, "x")),
    ],
)
def test_names_that_look_alike(one: tuple[int, str], other: tuple[int, str]) -> None:
    assert account_name(*one).casefold() != account_name(*other).casefold()


@pytest.mark.parametrize(
    ("platform", "environ", "expected"),
    [
        ("linux", {"XDG_STATE_HOME": "/x", "HOME": "/h"}, "/x/dtms"),
        ("linux", {"XDG_STATE_HOME": "x", "HOME": "/h"}, "/h/.local/state/dtms"),
        ("linux", {"HOME": "/h"}, "/h/.local/state/dtms"),
        ("darwin", {"XDG_STATE_HOME": "/x", "HOME": "/h"}, "/h/Library/Application Support/dtms"),
        ("win32", {"LOCALAPPDATA": "/l", "HOME": "/h"}, "/l/dtms"),
        ("win32", {"HOME": "/h"}, "/h/AppData/Local/dtms"),
    ],
)
def test_the_state_folder_of_each_platform(
    platform: str, environ: dict[str, str], expected: str
) -> None:
    assert state_dir(environ, platform) == Path(expected)


def test_an_unknown_home_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home() -> Path:
        raise RuntimeError("no home")

    monkeypatch.setattr(Path, "home", no_home)
    with pytest.raises(FolderRefused, match="home"):
        state_dir({}, "linux")
