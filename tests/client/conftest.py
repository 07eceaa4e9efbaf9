"""One scripted API, one clock, and a client of both a test."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from client_fakes import Clock, FakeApi, serving

from gateway import client as module
from gateway.client import Client, RegistrationResult

TOKEN = "s3cret-of-the-guard"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    for name in ("DTMS_HOST", "DTMS_PORT", "DTMS_TOKEN", "DTMS_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    yield
    module.use_local(None)
    module.configure()
    module.close_http_client()


@pytest.fixture
def api() -> Iterator[FakeApi]:
    with serving() as server:
        yield server


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(api: FakeApi, clock: Clock) -> Client:
    return Client(api.url, TOKEN, clock=clock, sleep=clock.sleep, async_sleep=clock.async_sleep)


Register = Callable[..., RegistrationResult]


@pytest.fixture(params=["thread", "loop"])
def register(request: pytest.FixtureRequest, client: Client) -> Register:
    """Register with `client`, in both flavours."""
    if request.param == "thread":
        return client.register_trade

    def in_loop(*args: Any, **fields: Any) -> RegistrationResult:
        return asyncio.run(client.register_trade_async(*args, **fields))

    return in_loop
