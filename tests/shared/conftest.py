"""Brokers and programs of a test; none outlives it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from shared_kit import Here, Programs


@pytest.fixture
def here() -> Iterator[Here]:
    """A broker in this process, and its clients."""
    made = Here()
    yield made
    made.close()


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    """Processes: a broker, guards and bots."""
    made = Programs(tmp_path)
    yield made
    made.close()
