"""Rigs on either runtime, stopped at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bench_kit import Rig

Make = Callable[..., Rig]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Make rigs: `make(threads=False, seed=1)`."""
    made: list[Rig] = []

    def one(**options: Any) -> Rig:
        folder = tmp_path / f"guard-{len(made)}"
        folder.mkdir()
        made.append(Rig(folder, **options))
        return made[-1]

    yield one
    for rig in made:
        rig.guard.stop()


@pytest.fixture(params=["threads", "simulated"])
def rig(request: pytest.FixtureRequest, make: Make) -> Rig:
    """A guard that is ready, on either runtime."""
    return make(threads=request.param == "threads").start()


@pytest.fixture
def sim(make: Make) -> Rig:
    """A guard that is ready, in virtual time."""
    return make(threads=False).start()
