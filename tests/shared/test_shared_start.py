"""The order in which a broker comes up."""

from __future__ import annotations

from pathlib import Path

import pytest

from console.broker_command import broker
from storage import files
from terminals.shared.module import PackageTerminal


def test_who_sees_the_file_is_answered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, write, met = tmp_path / "broker.json", files.write_whole, []

    def written(at: Path, data: bytes) -> None:
        write(at, data)
        bot = PackageTerminal({"DTMS_BROKER": str(path)})
        met.append((bot.initialize(), bot.last_error()))
        bot.shutdown()

    monkeypatch.setattr(files, "write_whole", written)
    assert broker({"broker": str(path), "duration": 0.1}, port=0) == 0
    assert met == [(True, (1, "Success"))]
