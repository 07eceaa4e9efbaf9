"""Workers for tests; none outlives its test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from worker_kit import Workers


@pytest.fixture
def workers() -> Iterator[Workers]:
    """Hosted terminals; all are closed at the end."""
    made = Workers()
    yield made
    made.close()


@pytest.fixture(scope="module")
def shared() -> Iterator[Workers]:
    """Hosted terminals of a whole module, for tests that leave them as they were."""
    made = Workers()
    yield made
    made.close()
