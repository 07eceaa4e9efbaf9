"""One gateway a module, with a fake guard that each test finds as new."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from gateway_fakes import AUTH, FakeGuard, serving

from gateway.server import Gateway


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("DTMS_HOST", "DTMS_PORT", "DTMS_TOKEN", "DTMS_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def shared() -> Iterator[tuple[FakeGuard, Gateway]]:
    guard = FakeGuard()
    with serving(guard) as gateway:
        yield guard, gateway


@pytest.fixture
def guard(shared: tuple[FakeGuard, Gateway]) -> FakeGuard:
    shared[0].reset()
    return shared[0]


@pytest.fixture
def gateway(shared: tuple[FakeGuard, Gateway]) -> Gateway:
    return shared[1]


@pytest.fixture
def client(gateway: Gateway) -> Iterator[httpx2.Client]:
    """Somebody without the token."""
    with httpx2.Client(base_url=gateway.url, trust_env=False, timeout=5) as made:
        yield made


@pytest.fixture
def ops(gateway: Gateway) -> Iterator[httpx2.Client]:
    """Somebody with the token."""
    with httpx2.Client(base_url=gateway.url, trust_env=False, timeout=5, headers=AUTH) as made:
        yield made
