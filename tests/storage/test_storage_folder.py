"""The data folder: whose it is, what is set aside, what is never lost."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from storage_samples import T0, action, alert, trade

from defence.errors import AccountRefused, Damaged, FolderRefused, StartRefused, StoreFull
from storage import files, preflight
from storage import folder as folder_module
from storage.audit import AuditEntry, ControlState
from storage.backups import sets, take
from storage.folder import DataFolder, Stores, open_stores
from storage.layout import DATA_FILE
from storage.locks import FolderLock
from storage.marker import MARKER, Marker, read_marker, write_marker
from storage.marks import read_mark
from storage.swap import Swap, Why, told
from storage.trades import Batch

NAMES = ("trades", "ledger", "outbox", "audit")


def filled(path: Path) -> DataFolder:
    """A data folder that was used and closed."""
    folder = DataFolder(path)
    stores = open_stores(folder, T0)
    stores.trades.bind(77, "Demo")
    stores.trades.commit(Batch(trades=[trade(1)], actions=[action()]))
    stores.ledger.add("monitor", T0)
    stores.outbox.put(alert())
    stores.audit.append(AuditEntry(at=T0, command="pause", by="ops"))
    stores.audit.set_control(ControlState(mode="observe", paused=True))
    stores.close()
    return folder


def kept(stores: Stores) -> dict[str, bool]:
    """Which of the four stores still hold what `filled` wrote."""
    return {
        "trades": stores.trades.load()[0] == {1: trade(1)},
        "ledger": stores.ledger.charges("monitor") == [T0],
        "outbox": stores.outbox.load() == {"x1": alert()},
        "audit": stores.audit.control().paused and len(stores.audit.tail()) == 1,
    }


def swaps(folder: DataFolder) -> list[Swap]:
    """What people have not been told of yet, oldest first."""
    return [swap for _, swap in folder.untold()]


def tell_all(folder: DataFolder) -> None:
    """Remove the notes, as the guard does once people have been told."""
    for note, _ in folder.untold():
        told(note)


def back_up(folder: DataFolder) -> str:
    """Take a backup of all stores at rest; return its name."""
    return take(folder.backups, [folder.path / name for name in NAMES], T0 - 60).name


def test_a_new_folder(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    assert list(folder.path.iterdir()) == []  # nothing is written before its lock is held
    folder.claim()
    assert {path.name for path in folder.path.iterdir()} == {"backups", MARKER}
    stores = open_stores(folder, T0)
    assert swaps(folder) == []
    assert folder.account() is None
    stores.close()
    stores.close()
    assert {path.name for path in folder.path.iterdir()} == {*NAMES, "backups", MARKER, "token"}
    assert list(folder.backups.iterdir()) == []
    assert folder.backups.is_dir()


def test_everything_is_there_at_the_next_start(tmp_path: Path) -> None:
    filled(tmp_path / "data")
    folder = DataFolder(tmp_path / "data")
    stores = open_stores(folder, T0)
    assert all(kept(stores).values())
    assert swaps(folder) == []
    assert folder.account() == stores.trades.account() == (77, "Demo")
    stores.close()


@pytest.mark.skipif(sys.platform == "win32", reason="rights of POSIX")
def test_it_is_for_its_owner_only(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        folder = filled(tmp_path / "data")
    finally:
        os.umask(old)
    assert folder.path.stat().st_mode & 0o777 == 0o700
    for path in folder.path.rglob("*"):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_folder_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(FolderRefused, match=r"thesis\.txt") as told:
        DataFolder(tmp_path)
    assert told.value.remedy
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    "left", [[], ["guard.lock", "guard.lock.pid"], ["dtms.dtms.json.1a.tmp"], [".DS_Store"]]
)
def test_an_empty_folder_or_one_of_a_killed_first_start_is_taken(
    tmp_path: Path, left: list[str]
) -> None:
    for name in left:
        (tmp_path / name).touch()
    open_stores(DataFolder(tmp_path), T0).close()
    assert (tmp_path / MARKER).exists()


def test_a_missing_parent_is_told_or_made(tmp_path: Path) -> None:
    with pytest.raises(FolderRefused, match="parent"):
        DataFolder(tmp_path / "no" / "data")
    assert not (tmp_path / "no").exists()
    DataFolder(tmp_path / "no" / "data", parents=True).claim()
    assert (tmp_path / "no" / "data" / MARKER).exists()


def test_a_file_in_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(FolderRefused, match="is a file"):
        DataFolder(tmp_path / "data")
    with pytest.raises(FolderRefused):
        DataFolder(tmp_path / "data" / "inside")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may do anything")
@pytest.mark.parametrize("mode", [0o500, 0o000])
def test_a_folder_without_the_right_to_it_is_told(tmp_path: Path, mode: int) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data").chmod(mode)
    try:
        with pytest.raises(FolderRefused) as told:
            DataFolder(tmp_path / "data")
        assert told.value.remedy
    finally:
        (tmp_path / "data").chmod(0o700)


def test_no_right_and_no_room_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(code: int) -> Callable[..., None]:
        def fail(*_: object, **__: object) -> None:
            raise OSError(code, os.strerror(code))

        return fail

    for code, error in ((28, StoreFull), (13, FolderRefused), (30, FolderRefused)):
        with monkeypatch.context() as patch:
            patch.setattr(files.os, "open", failing(code))
            with pytest.raises(error) as told:
                files.write_whole(tmp_path / "f", b"x")
            patch.setattr(Path, "mkdir", failing(code))
            with pytest.raises(error):
                DataFolder(tmp_path / f"data{code}")
        assert str(tmp_path) in str(told.value.value)


def test_a_write_that_fails_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write_whole(tmp_path / "f", b"old")

    def fail(_: int) -> None:
        raise OSError(28, "full")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(StoreFull):
        files.write_whole(tmp_path / "f", b"new")
    assert (tmp_path / "f").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["f"]


def test_a_new_name_is_made_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[Path, bytes]] = []

    def note(path: Path) -> None:
        synced.append((path, (tmp_path / "f").read_bytes()))  # after the name is there

    monkeypatch.setattr(files, "sync_folder", note)
    files.write_whole(tmp_path / "f", b"x")
    assert synced == [(tmp_path, b"x")]


def test_the_token_is_made_once(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    token = folder.token()
    assert len(token) >= 43
    assert folder.token() == DataFolder(tmp_path / "data").token() == token
    assert DataFolder(tmp_path / "other").token() != token
    if os.name != "nt":
        assert (folder.path / "token").stat().st_mode & 0o777 == 0o600
        (folder.path / "token").chmod(0o644)
        assert folder.token() == token
        assert (folder.path / "token").stat().st_mode & 0o777 == 0o600


def test_a_token_of_the_users_own(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    (folder.path / "token").write_text("  my own long enough token \r\n")
    assert folder.token() == "my own long enough token"
    (folder.path / "token").write_text("")
    assert len(folder.token()) >= 43
    for content in (b"short", b"\xff" * 40):
        (folder.path / "token").write_bytes(content)
        with pytest.raises(FolderRefused, match="token") as told:
            folder.token()
        assert "short" not in str(told.value)
        assert (folder.path / "token").read_bytes() == content


ZERO = "data.mdb has 0 bytes"
DAMAGE: list[tuple[str, Callable[[Path], object], str]] = [
    ("cut to nothing", lambda data: data.write_bytes(b""), ZERO),
    ("cut in half", lambda data: os.truncate(data, data.stat().st_size // 2), ""),
    ("cut by a byte", lambda data: os.truncate(data, data.stat().st_size - 1), ""),
    ("garbage", lambda data: data.write_bytes(b"garbage" * 5000), "not an LMDB file"),
    ("gone", lambda data: data.unlink(), "data.mdb is missing"),
    ("gone with its folder", lambda data: remove(data.parent), "data.mdb is missing"),
    ("a folder", lambda data: (data.unlink(), data.mkdir()), "not a file"),
]


def remove(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


# every damage once, every store with the damage that only the check can see
PLACES = [
    *((row, NAMES[number % 4]) for number, row in enumerate(DAMAGE)),
    *((DAMAGE[1], name) for name in NAMES if name != NAMES[1]),
]


@pytest.mark.parametrize(
    ("name", "damage", "reason"),
    [(name, row[1], row[2]) for row, name in PLACES],
    ids=[f"{name} {row[0]}" for row, name in PLACES],
)
def test_a_damaged_store_is_set_aside_and_the_others_are_untouched(
    tmp_path: Path, name: str, damage: Callable[[Path], object], reason: str
) -> None:
    filled(tmp_path / "data")
    data = tmp_path / "data" / name / DATA_FILE
    mark = read_mark(data.parent)
    reached = None if mark is None else mark.sequence
    assert reached
    damage(data)
    content = data.read_bytes() if data.is_file() else None
    folder = DataFolder(tmp_path / "data")
    stores = open_stores(folder, T0)
    assert kept(stores) == {each: each != name for each in NAMES}
    (swap,) = swaps(folder)
    assert (swap.name, swap.why, swap.at) == (name, Why.DAMAGED, T0)
    assert reason in swap.reason
    assert (swap.source, swap.source_at, swap.birth) == (None, None, None)
    assert swap.missing == swap.reached == reached
    check_aside(folder, swap, content)
    # the folder still belongs to its account
    assert stores.trades.account() == folder.account() == (77, "Demo")
    with pytest.raises(AccountRefused):
        stores.trades.bind(78, "Demo")
    # and the new store works
    stores.trades.commit(Batch(trades=[trade(2)]))
    stores.close()
    again = open_stores(DataFolder(tmp_path / "data"), T0 + 9)
    assert swaps(folder) == [swap]  # until people have been told
    tell_all(folder)
    assert swaps(folder) == []
    assert 2 in again.trades.load()[0]
    again.close()


def check_aside(folder: DataFolder, swap: Swap, content: bytes | None) -> None:
    """What was set aside is as it was, with the reason beside it; nothing to keep: nothing."""
    if swap.aside is None:
        assert content is None
        assert not list(folder.path.glob(f"{swap.name}.*"))
        return
    assert swap.aside == f"{swap.name}.damaged-20231114T221320Z"
    note = (folder.path / f"{swap.aside}.txt").read_text()
    assert swap.reason in note
    if content is not None:
        assert (folder.path / swap.aside / DATA_FILE).read_bytes() == content


@pytest.mark.parametrize(
    ("name", "damage", "reason"),
    [(name, row[1], row[2]) for row, name in PLACES],
    ids=[f"{name} {row[0]}" for row, name in PLACES],
)
def test_with_a_backup_what_it_held_comes_back(
    tmp_path: Path, name: str, damage: Callable[[Path], object], reason: str
) -> None:
    before = filled(tmp_path / "data")
    backup = back_up(before)
    data = tmp_path / "data" / name / DATA_FILE
    mark = read_mark(tmp_path / "data" / name)
    assert mark is not None
    damage(data)
    content = data.read_bytes() if data.is_file() else None
    folder = DataFolder(tmp_path / "data")
    stores = open_stores(folder, T0)
    assert all(kept(stores).values())
    (swap,) = swaps(folder)
    assert (swap.name, swap.why, swap.at) == (name, Why.DAMAGED, T0)
    assert reason in swap.reason
    assert (swap.source, swap.source_at) == (backup, T0 - 60)
    assert (swap.birth, swap.sequence) == (mark.birth, mark.sequence)
    assert swap.missing == 0
    check_aside(folder, swap, content)
    assert stores.trades.account() == folder.account() == (77, "Demo")
    assert [each.name for each in sets(folder.backups)] == [backup]  # the set is as it was
    stores.trades.commit(Batch(trades=[trade(2)]))
    stores.close()
    tell_all(folder)
    again = open_stores(DataFolder(tmp_path / "data"), T0 + 9)
    assert swaps(folder) == []
    assert set(again.trades.load()[0]) == {1, 2}
    again.close()


def test_all_damaged_at_once(tmp_path: Path) -> None:
    filled(tmp_path / "data")
    for name in NAMES:
        (tmp_path / "data" / name / DATA_FILE).write_bytes(b"")
    folder = DataFolder(tmp_path / "data")
    stores = open_stores(folder, T0)
    assert {swap.name: swap.why for swap in swaps(folder)} == dict.fromkeys(NAMES, Why.DAMAGED)
    assert not any(kept(stores).values())
    assert stores.trades.account() == (77, "Demo")
    stores.close()


def test_stores_in_each_others_place_are_set_aside(tmp_path: Path) -> None:
    filled(tmp_path / "data")
    ledger, outbox = tmp_path / "data" / "ledger", tmp_path / "data" / "outbox"
    ledger.rename(tmp_path / "x")
    outbox.rename(ledger)
    (tmp_path / "x").rename(outbox)
    folder = DataFolder(tmp_path / "data")
    stores = open_stores(folder, T0)
    assert {swap.name: "holds the store" in swap.reason for swap in swaps(folder)} == {
        "ledger": True,
        "outbox": True,
    }
    assert kept(stores) == {"trades": True, "ledger": False, "outbox": False, "audit": True}
    stores.close()


def test_a_spoilt_lock_file_is_no_damage(tmp_path: Path) -> None:
    filled(tmp_path / "data")
    (tmp_path / "data" / "trades" / "lock.mdb").write_bytes(os.urandom(9000))
    folder = DataFolder(tmp_path / "data")
    stores = open_stores(folder, T0)
    assert swaps(folder) == []
    assert all(kept(stores).values())
    stores.close()


@pytest.mark.parametrize("content", [b"", b"{}", b"not json", b"[1]", b"\xff\xfe", None])
def test_a_damaged_marker_is_set_aside_and_the_account_is_kept(
    tmp_path: Path, content: bytes | None
) -> None:
    path = filled(tmp_path / "data").path / MARKER
    if content is None:  # one digit of the login is another one now
        content = path.read_bytes().replace(b"77", b"78")
    path.write_bytes(content)
    folder = DataFolder(tmp_path / "data")
    stores = open_stores(folder, T0)
    (swap,) = swaps(folder)
    assert (swap.name, swap.why, swap.at) == ("marker", Why.DAMAGED, T0)
    assert swap.aside is not None
    assert (folder.path / swap.aside).read_bytes() == content
    assert swap.reason in (folder.path / f"{swap.aside}.txt").read_text()
    assert folder.account() == (77, "Demo")
    assert all(kept(stores).values())
    stores.close()


def test_a_second_guard_that_comes_early_takes_nothing_from_the_first(tmp_path: Path) -> None:
    second = DataFolder(tmp_path / "data")  # looked, and was not given the lock yet
    folder = filled(tmp_path / "data")
    assert DataFolder(tmp_path / "data").account() == second.account() == (77, "Demo")
    second.claim()
    marker = read_marker(folder.path)
    assert marker is not None
    assert (marker.account, marker.made) == ((77, "Demo"), True)


def test_a_lost_marker_is_made_anew_and_told(tmp_path: Path) -> None:
    (filled(tmp_path / "data").path / MARKER).unlink()
    folder = DataFolder(tmp_path / "data")
    stores = open_stores(folder, T0)
    assert all(kept(stores).values())
    assert folder.account() == (77, "Demo")
    (told,) = swaps(folder)
    assert (told.name, told.aside) == ("marker", None)
    assert "missing" in told.reason
    stores.close()
    open_stores(DataFolder(tmp_path / "data"), T0).close()
    assert len(swaps(folder)) == 1


def test_a_lost_store_is_told_though_the_marker_is_damaged_too(tmp_path: Path) -> None:
    folder = filled(tmp_path / "data")
    (folder.path / MARKER).write_bytes(b"")
    (folder.path / "ledger" / DATA_FILE).unlink()
    stores = open_stores(DataFolder(tmp_path / "data"), T0)
    assert {swap.name for swap in swaps(folder)} == {"marker", "ledger"}
    stores.close()


def test_a_newer_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = filled(tmp_path / "data")
    monkeypatch.setattr("storage.marker.FORMAT", 2)
    write_marker(folder.path, Marker())
    monkeypatch.undo()
    with pytest.raises(FolderRefused, match="format 2"):
        DataFolder(tmp_path / "data")


def test_the_marker_comes_back(tmp_path: Path) -> None:
    assert read_marker(tmp_path) is None
    for marker in (Marker(), Marker(login=5, server='a"\n', made=True)):
        write_marker(tmp_path, marker)
        assert read_marker(tmp_path) == marker
    assert json.loads((tmp_path / MARKER).read_text())["login"] == 5
    (tmp_path / MARKER).write_text("{")
    with pytest.raises(Damaged):
        read_marker(tmp_path)


def test_binding_writes_both_and_another_account_is_refused(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    stores = open_stores(folder, T0)
    stores.trades.bind(77, "Demo")
    assert folder.account() == (77, "Demo")
    with pytest.raises(AccountRefused):
        folder.bind(77, "Live")
    with pytest.raises(AccountRefused):
        stores.trades.bind(78, "Demo")
    assert folder.account() == stores.trades.account() == (77, "Demo")
    stores.close()


def test_a_death_between_the_two_bindings_is_mended(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    open_stores(folder, T0).close()
    folder.bind(77, "Demo")  # and then the process died
    stores = open_stores(DataFolder(tmp_path / "data"), T0)
    assert stores.trades.account() == (77, "Demo")
    stores.close()


def test_a_trade_store_of_another_account_is_refused(tmp_path: Path) -> None:
    filled(tmp_path / "one")
    other = DataFolder(tmp_path / "two")
    stores = open_stores(other, T0)
    stores.trades.bind(99, "Live")
    stores.close()
    for name in (DATA_FILE, "lock.mdb"):
        (tmp_path / "one" / "trades" / name).replace(tmp_path / "two" / "trades" / name)
    with pytest.raises(AccountRefused):
        open_stores(DataFolder(tmp_path / "two"), T0)
    with pytest.raises(AccountRefused):  # nothing stayed open: the same answer again
        open_stores(DataFolder(tmp_path / "two"), T0)


def test_an_opening_that_fails_leaves_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path / "data")

    def fail(_: Path) -> object:
        raise StoreFull("told by the test")

    closed = []
    with monkeypatch.context() as patch:
        patch.setattr(folder_module.OutboxStore, "open", fail)
        for kind in (folder_module.TradeStore, folder_module.LedgerStore):
            real = kind.close
            patch.setattr(
                kind, "close", lambda self, real=real: (closed.append(type(self)), real(self))
            )
        with pytest.raises(StoreFull):
            open_stores(DataFolder(tmp_path / "data"), T0)
    assert closed == [folder_module.LedgerStore, folder_module.TradeStore]
    stores = open_stores(DataFolder(tmp_path / "data"), T0)
    assert all(kept(stores).values())
    stores.close()


def test_a_check_that_could_not_be_done_sets_nothing_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path / "data")
    (tmp_path / "data" / "ledger" / DATA_FILE).write_bytes(b"")
    before = sorted(path.name for path in (tmp_path / "data").iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", str(tmp_path / "none"))
        with pytest.raises(StartRefused):
            open_stores(DataFolder(tmp_path / "data"), T0)
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == before


def test_one_store_that_does_not_close_does_not_keep_the_others(tmp_path: Path) -> None:
    stores = open_stores(DataFolder(tmp_path / "data"), T0)

    def fail() -> None:
        raise RuntimeError("told by the test")

    real = stores.ledger.close
    stores.ledger.close = fail  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="told by the test"):
        stores.close()
    real()
    again = open_stores(DataFolder(tmp_path / "data"), T0)  # the others are not open any more
    again.close()


def test_the_lock_lies_beside_the_stores(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    with FolderLock(folder.path):
        stores = open_stores(DataFolder(tmp_path / "data"), T0)
        stores.close()
    assert (tmp_path / "data" / "guard.lock").exists() or os.name == "nt"


def test_starting_takes_one_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path / "data")
    started = []
    real = preflight._command
    monkeypatch.setattr(preflight, "_command", lambda jobs: started.append(jobs) or real(jobs))
    open_stores(DataFolder(tmp_path / "data"), T0).close()
    assert len(started) == 1
