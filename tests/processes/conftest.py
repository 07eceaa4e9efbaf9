"""A folder and the processes of a test; none outlives it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from process_kit import Process

Launch = Callable[..., Process]


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    """Start guards in the test's folder."""
    made: list[Process] = []

    def start(*flags: str, **environ: str) -> Process:
        process = Process(tmp_path, *flags, **environ)
        made.append(process)
        return process

    yield start
    for process in made:
        if process.popen.poll() is None:
            process.popen.kill()
        process.popen.wait(10)
        process.finish()
        if hasattr(process, "client"):
            process.client.close()
