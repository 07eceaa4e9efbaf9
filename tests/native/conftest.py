"""Terminals of the stand-in package; workers load it, this process never does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from native_kit import STAND_IN, Hosted, Install, Installed

from terminals.worker.hosted import WorkerTerminal
from terminals.worker.plan import native_plan


@pytest.fixture(autouse=True)
def _clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No terminal, setting or file of the machine's user is seen."""
    monkeypatch.chdir(tmp_path)
    for name in ("APPDATA", "ProgramFiles", "ProgramW6432"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DTMS_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install terminals."""
    monkeypatch.syspath_prepend(str(STAND_IN))
    yield lambda name="MetaTrader 5", **facts: Installed(tmp_path / name, **facts)
    assert "MetaTrader5" not in sys.modules


@pytest.fixture
def hosted() -> Iterator[Hosted]:
    """Make workers with a terminal; all are closed at the end."""
    made: list[WorkerTerminal] = []

    def make(at: Installed | None, call_timeout: float = 60.0, **options: Any) -> WorkerTerminal:
        path = None if at is None else at.executable
        made.append(WorkerTerminal(native_plan(path=path, **options), call_timeout=call_timeout))
        return made[-1]

    yield make
    for one in made:
        one.close()
