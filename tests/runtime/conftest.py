"""Houses on both runtimes; whatever a test did, the house is audited when it closes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from runtime_kit import House, MemoryLedger

from actors.simulated import SimulatedRuntime
from actors.threads import ThreadRuntime
from supervisors.spec import ChildSpec

Build = Callable[..., House]


def _builder(
    make: Callable[[], ThreadRuntime | SimulatedRuntime], check_every: float = 0.05
) -> Iterator[Build]:
    houses: list[House] = []

    def build(*specs: ChildSpec, ledger: MemoryLedger | None = None, **times: Any) -> House:
        houses.append(House(make(), specs, ledger, **{"check_every": check_every, **times}))
        return houses[-1]

    yield build
    for house in houses:
        house.close()


@pytest.fixture(params=["threads", "simulated-1", "simulated-2"])
def build(request: pytest.FixtureRequest) -> Iterator[Build]:
    """Build houses on every runtime."""
    kind, _, seed = request.param.partition("-")
    yield from _builder(ThreadRuntime if kind == "threads" else lambda: SimulatedRuntime(int(seed)))


@pytest.fixture
def simulate() -> Iterator[Build]:
    """Build houses in virtual time, with the intervals of real life."""
    yield from _builder(lambda: SimulatedRuntime(1), check_every=1.0)


@pytest.fixture
def thread() -> Iterator[Build]:
    """Build houses on real threads."""
    yield from _builder(ThreadRuntime)
