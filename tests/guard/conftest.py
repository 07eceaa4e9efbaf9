"""Guards for tests: a simulated terminal whose market stands still unless it is moved."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from guard_kit import GuardKit

from actors.points import Points
from actors.simulated import SimulatedRuntime
from actors.threads import ThreadRuntime
from supervisors import Guard


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[GuardKit]:
    """Guards on real threads; all are stopped at the end."""
    made = GuardKit(tmp_path, ThreadRuntime)
    yield made
    made.stop_all()


@pytest.fixture
def sim(tmp_path: Path) -> Iterator[GuardKit]:
    """Guards on the simulated runtime, virtual time."""
    made = GuardKit(tmp_path, SimulatedRuntime)
    yield made
    made.stop_all()


@pytest.fixture(params=["threads", "simulated"])
def both(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[GuardKit]:
    """The same test on either runtime."""
    made = GuardKit(tmp_path, ThreadRuntime if request.param == "threads" else SimulatedRuntime)
    yield made
    made.stop_all()


@pytest.fixture
def points() -> Points:
    """Places to strike."""
    return Points()


@pytest.fixture(scope="module")
def shared_guard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Guard, int]]:
    """One guard with one unregistered position, for tests that change nothing."""
    made = GuardKit(tmp_path_factory.mktemp("shared"), SimulatedRuntime)
    guard = made.start(adoption="ignore")
    ticket = made.terminal.open_position("EURUSD", "BUY", 0.1, sl=1.0)
    yield guard, ticket
    made.stop_all()
