"""Every test in a folder of its own, without a variable of the user's environment."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from console_fakes import Process, start
from loguru import logger


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("DTMS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("DTMS_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    yield
    logger.remove()


@pytest.fixture
def runs() -> Iterator[list[Process]]:
    """Processes of the test; what still runs at its end is ended."""
    started: list[Process] = []
    yield started
    for process in started:
        process.end()


@pytest.fixture(scope="module")
def guard_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """One guard for all tests of a module that only talk to it."""
    folder = tmp_path_factory.mktemp("guard")
    process = start(folder, "--data-dir", "data", "--port", "0", "--interval", "1")
    try:
        process.ready()
        yield process
    finally:
        process.end()
