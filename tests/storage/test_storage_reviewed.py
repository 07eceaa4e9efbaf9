"""What a review found of folders and backups: room, other names, other accounts."""

from __future__ import annotations

import json
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
from storage_samples import T0

from defence.errors import AccountRefused, FolderRefused, StoreFull
from storage.backups import sets, take
from storage.folder import ENVIRONMENTS, DataFolder, open_stores
from storage.home import settle
from storage.locks import account_name
from supervisors import Guard, Settings

Usage = namedtuple("Usage", "total used free")


def used(path: Path) -> DataFolder:
    folder = DataFolder(path)
    stores = open_stores(folder, T0)
    stores.trades.bind(77, "Demo")
    stores.close()
    return folder


def test_a_backup_never_fills_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = used(tmp_path / "data")
    paths = [folder.path / name for name in ENVIRONMENTS]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 64 << 20))
    with pytest.raises(StoreFull, match="would leave less than 64 MB") as told:
        take(folder.backups, paths, T0)
    assert "fewer backups" in str(told.value.remedy)
    assert sets(folder.backups) == []
    monkeypatch.undo()
    assert take(folder.backups, paths, T0).number == 1


def test_the_same_folder_by_another_path_is_no_copy(tmp_path: Path) -> None:
    folder, state = used(tmp_path / "data").path, tmp_path / "state"
    (state / "accounts").mkdir(parents=True)
    settle(state, folder, 77, "Demo")
    (tmp_path / "mounted").symlink_to(folder)  # stands for a mount, which does not resolve
    (note,) = (state / "accounts").glob(f"{account_name(77, 'Demo')}*")
    said = json.loads(note.read_text())
    note.write_text(json.dumps({**said, "folder": str(tmp_path / "mounted")}))
    settle(state, folder, 77, "Demo")
    shutil.copytree(folder, tmp_path / "copy")
    with pytest.raises(FolderRefused, match="is a copy of"):
        settle(state, tmp_path / "copy", 77, "Demo")


def test_settings_for_another_account_change_nothing(tmp_path: Path) -> None:
    folder = used(tmp_path / "data")
    (folder.path / "trades" / "data.mdb").write_bytes(b"")
    before = sorted(path.name for path in folder.path.iterdir())
    for wrong in ({"login": 78}, {"login": 77, "server": "Live"}):
        settings = Settings(data_dir=folder.path, state_dir=tmp_path / "state", **wrong)
        with pytest.raises(AccountRefused, match="belongs to"):
            Guard(settings).start()
        left = {"guard.lock", "guard.lock.pid", "token"}
        names = {path.name for path in folder.path.iterdir()}
        assert names - left == set(before) - left
