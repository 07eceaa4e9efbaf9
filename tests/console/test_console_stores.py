"""`verify`, `backup`, `restore`: on a folder at rest, and on one whose guard runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from console_fakes import Process, start

from console.main import main
from storage import preflight
from storage.audit import AuditEntry
from storage.backups import take
from storage.folder import DataFolder, open_stores
from storage.locks import FolderLock
from storage.trades import TradeStore

NAMES = ["trades", "ledger", "outbox", "audit"]
Said = pytest.CaptureFixture[str]


def used(path: Path, login: int = 7, entries: int = 3) -> Path:
    """A data folder that was used by one account, and closed."""
    stores = open_stores(DataFolder(path), 1_700_000_000.0)
    stores.trades.bind(login, "Demo")
    for number in range(entries):
        stores.audit.append(AuditEntry(at=1e9 + number, command=f"pause {number}", by="ops"))
    stores.close()
    return path


def entries(path: Path) -> int:
    """How many audit entries the folder holds; opening it asks for nobody's permission."""
    stores = open_stores(DataFolder(path), 1_700_000_000.0)
    found = len(stores.audit.tail())
    stores.close()
    return found


def spoil(data: Path) -> None:
    """Make the records unreadable, the file still LMDB's."""
    raw = bytearray(data.read_bytes())
    at = raw.find(b"pause 1")
    assert at > 0
    while at > 0:
        raw[at : at + 5] = b"PAUSE"
        at = raw.find(b"pause 1")
    data.write_bytes(raw)


def plain(capsys: Said, *words: str, status: int = 0) -> Any:
    """What a command says with --json."""
    assert main([*words, "--data-dir", "data", "--json"]) == status
    return json.loads(capsys.readouterr().out)


def states(body: Any) -> dict[str, str]:
    return {row["store"]: row["state"] for row in body["stores"]}


def tree(folder: Path) -> dict[str, bytes]:
    """Every file but the lock's, to see that nothing has changed."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith("guard.lock")
    }


def test_a_sound_folder(capsys: Said) -> None:
    before = tree(used(Path("data")))
    body = plain(capsys, "verify")
    assert states(body) == dict.fromkeys(NAMES, "sound")
    assert body["running"] is False
    audit = body["stores"][3]
    assert (audit["commit"], audit["records"]) == (3, 6)  # three entries, three of META
    assert tree(Path("data")) == before
    assert main(["verify", "--data-dir", "data"]) == 0
    assert "sound" in capsys.readouterr().out


def test_damage_is_told_and_nothing_is_changed(capsys: Said) -> None:
    spoil(used(Path("data")) / "audit" / "data.mdb")
    before = tree(Path("data"))
    body = plain(capsys, "verify", status=1)
    assert states(body) == {**dict.fromkeys(NAMES, "sound"), "audit": "damaged"}
    assert "checksum" in body["stores"][3]["why"]
    assert tree(Path("data")) == before
    assert main(["verify", "--data-dir", "data"]) == 1
    assert "1 of 4 are not sound" in capsys.readouterr().err


def test_a_store_that_fell_back_is_told(capsys: Said) -> None:
    used(Path("data"), entries=1)
    old = Path("data", "audit", "data.mdb").read_bytes()
    used(Path("data"), entries=2)
    Path("data", "audit", "data.mdb").write_bytes(old)
    body = plain(capsys, "verify", status=1)
    assert body["stores"][3]["why"] == "it is at commit 1, and had come to 3"


def test_a_missing_store_is_told(capsys: Said) -> None:
    shutil.rmtree(used(Path("data")) / "ledger")
    assert states(plain(capsys, "verify", status=1))["ledger"] == "damaged"


def test_backups_are_written_kept_and_verified(
    capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    used(Path("data"))
    monkeypatch.setenv("DTMS_BACKUPS_KEPT", "2")
    made = [plain(capsys, "backup") for _ in range(3)]
    assert [one["number"] for one in made] == [1, 2, 3]
    assert made[2]["removed"] == [Path(made[0]["backup"]).name]
    kept = {Path(one["backup"]).name for one in made[1:]}
    assert {path.name for path in Path("data/backups").iterdir() if path.is_dir()} == kept
    body = plain(capsys, "verify")
    assert set(states(body)) == {*NAMES, *(f"backups/{a}/{b}" for a in kept for b in NAMES)}
    # one elsewhere takes nobody's place
    other = plain(capsys, "backup", "--to", "elsewhere")
    assert Path(other["backup"]).parent.name == "elsewhere"
    assert other["removed"] == []


def test_a_damaged_backup_is_told(capsys: Said) -> None:
    used(Path("data"))
    first, second = (Path(plain(capsys, "backup")["backup"]) for _ in range(2))
    spoil(first / "audit" / "data.mdb")
    (second / "manifest.json").write_text("{}")
    body = plain(capsys, "verify", status=1)
    bad = {name for name, state in states(body).items() if state == "damaged"}
    assert bad == {f"backups/{first.name}/audit", f"backups/{second.name}"}


def test_a_copy_that_is_gone_is_told(capsys: Said) -> None:
    used(Path("data"))
    made = Path(plain(capsys, "backup")["backup"])
    shutil.rmtree(made / "audit")
    body = plain(capsys, "verify", status=1)
    (bad,) = [row for row in body["stores"] if row["state"] != "sound"]
    assert (bad["store"], bad["why"]) == (f"backups/{made.name}/audit", "the copy is missing")


def test_a_store_that_is_gone_has_no_copy_and_that_is_told(capsys: Said) -> None:
    shutil.rmtree(used(Path("data")) / "trades")
    body = plain(capsys, "backup", status=1)
    assert states(body)["trades"] == "damaged"


def test_a_copy_that_is_not_what_its_manifest_says_is_told(capsys: Said) -> None:
    used(Path("data"), entries=1)
    old = Path(plain(capsys, "backup")["backup"])
    used(Path("data"), entries=1)
    new = Path(plain(capsys, "backup")["backup"])
    shutil.copy(old / "audit" / "data.mdb", new / "audit" / "data.mdb")
    body = plain(capsys, "verify", status=1)
    (bad,) = [row for row in body["stores"] if row["state"] != "sound"]
    assert bad["store"] == f"backups/{new.name}/audit"
    assert "manifest" in bad["why"]


def test_a_damaged_store_has_no_copy_and_the_others_have(capsys: Said) -> None:
    spoil(used(Path("data")) / "audit" / "data.mdb")
    body = plain(capsys, "backup", status=1)
    assert states(body) == {**dict.fromkeys(NAMES, "sound"), "audit": "damaged"}
    assert sorted(path.name for path in Path(body["backup"]).iterdir()) == sorted(
        ["manifest.json", "trades", "ledger", "outbox"]
    )


def test_restoring_puts_the_old_content_in_place_and_keeps_the_new(capsys: Said) -> None:
    used(Path("data"), entries=2)
    first = Path(plain(capsys, "backup")["backup"]).name
    used(Path("data"), entries=1)
    plain(capsys, "backup")
    used(Path("data"), entries=1)
    newest = Path("data/audit/data.mdb").read_bytes()
    body = plain(capsys, "restore", first, "--store", "audit", "--store", "ledger")
    assert body["restored"] == first
    assert [row["store"] for row in body["stores"]] == ["audit", "ledger"]
    aside = Path("data", body["stores"][0]["aside"])
    assert (aside / "data.mdb").read_bytes() == newest
    assert first in aside.with_name(f"{aside.name}.txt").read_text()
    assert entries(Path("data")) == 2
    # damage after that must not bring back what was turned away from
    fresh = Path(body["backup"]).name
    Path("data/audit/data.mdb").write_bytes(b"")
    assert entries(Path("data")) == 2
    # without a name: the newest; and by its path
    assert plain(capsys, "restore", "--store", "audit")["restored"] == fresh
    assert entries(Path("data")) == 2
    plain(capsys, "restore", f"data/backups/{first}", "--store", "audit")
    assert entries(Path("data")) == 2
    assert states(plain(capsys, "verify"))["audit"] == "sound"


def test_what_cannot_be_restored_is_told(capsys: Said) -> None:
    def refused(*words: str, status: int = 1) -> str:
        assert main(["restore", *words, "--data-dir", "data"]) == status
        out, err = capsys.readouterr()
        assert out == ""
        return err

    for command in ("verify", "backup", "restore"):
        assert main([command, "--data-dir", "data"]) == 1
        assert "is no data folder of DTMS" in capsys.readouterr().err
    assert not Path("data").exists()
    used(Path("data"))
    before = tree(Path("data"))
    assert "there is no backup of trades" in refused()
    assert "is no backup set" in refused("nothing")
    assert "there is no store 'tokens'" in refused("--store", "tokens", status=2)
    used(Path("other"), login=8)
    assert main(["backup", "--data-dir", "other", "--json"]) == 0
    foreign = json.loads(capsys.readouterr().out)["backup"]
    assert "belongs to (8, 'Demo')" in refused(foreign)
    assert tree(Path("data")) == before
    # the copies in a set are checked before anything gives way to them
    body = plain(capsys, "backup")
    before = tree(Path("data"))
    spoil(Path(body["backup"], "audit", "data.mdb"))
    before[str(Path(body["backup"], "audit", "data.mdb").relative_to(Path("data").absolute()))] = (
        Path(body["backup"], "audit", "data.mdb").read_bytes()
    )
    assert "failed its check" in refused("--store", "audit")
    assert tree(Path("data")) == before


def test_a_folder_in_use_is_not_restored(capsys: Said) -> None:
    used(Path("data"))
    plain(capsys, "backup")
    with FolderLock(Path("data")):
        before = tree(Path("data"))
        assert main(["restore", "--data-dir", "data"]) == 1
        assert "add --stop" in capsys.readouterr().err
        # somebody has it, and it is no guard that could be stopped
        assert main(["restore", "--stop", "--port", "9", "--data-dir", "data"]) == 3
        assert tree(Path("data")) == before


def test_with_a_guard_running(runs: list[Process], tmp_path: Path, capsys: Said) -> None:
    process = start(tmp_path, "--data-dir", "data", "--port", "0", "--interval", "1")
    runs.append(process)
    place = ["--port", str(process.port)]
    made = plain(capsys, "backup")
    assert states(made) == dict.fromkeys(NAMES, "sound")
    body = plain(capsys, "verify")
    assert body["running"] is True
    assert set(states(body).values()) == {"sound"}
    assert len(body["stores"]) == 8
    assert [path for path in Path("data/backups").iterdir() if path.suffix == ".part"] == []
    assert main(["restore", "--data-dir", "data"]) == 1
    assert "add --stop" in capsys.readouterr().err
    body = plain(capsys, "restore", "--stop", *place)
    assert body["stores"][0]["came"] == Path(made["backup"]).name
    assert process.ended() == 0
    # people are told, and nothing is sent until one of them has looked
    again = start(tmp_path, "--data-dir", "data", "--port", "0", "--mode", "armed")
    runs.append(again)
    again.until("ALERT The store 'trades' was restored by hand")
    place = ["--port", str(again.port)]
    assert plain(capsys, "status", *place)["mode"] == "observe"
    again.interrupt()
    assert again.ended() == 0
    store = TradeStore.open(Path("data/trades"))
    assert store.load()[0]
    store.close()


def test_what_verify_copies_is_not_where_backups_sweep(
    capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    used(Path("data"))
    real = preflight.copy

    def while_a_backup_is_taken(pairs: dict[Path, Path], **options: Any) -> object:
        monkeypatch.setattr(preflight, "copy", real)
        take(Path("data", "backups"), [Path("data", name).absolute() for name in NAMES], 1e9)
        return real(pairs, **options)

    with FolderLock(Path("data")):  # somebody has it, so verified copies are looked at
        monkeypatch.setattr(preflight, "copy", while_a_backup_is_taken)
        body = plain(capsys, "verify")
    assert body["running"] is True
    assert set(states(body).values()) == {"sound"}
    assert not list(Path("data").glob("*.tmp"))
