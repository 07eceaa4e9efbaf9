"""Going over to the API, and the plain requests of the command line."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from client_fakes import DROP, HANG, FakeApi, FakeGuard, Says, Seen

import gateway
from gateway import client as module
from gateway.client import Client, ClientError, NotReadyError, Unreachable


@pytest.fixture(params=["thread", "loop"])
def go_remote(request: pytest.FixtureRequest, client: Client) -> Callable[[], None]:
    if request.param == "thread":
        return client.use_remote_only
    return lambda: asyncio.run(client.use_remote_only_async())


NOT_READY: list[Says | str] = [
    Says(503, {"ready": False, "reasons": ["starting"]}),
    Says(500, {"ready": False}),
    Says(503),
    Says(200, {"ready": False}),
    Says(503, {"ready": True}),
    Says(200, {"ready": "yes"}),
    Says(200, "<html>some other server</html>"),
    Says(200, {}),
    Says(200, []),
    Says(404),
    Says(401),
    Says(302, None, (("Location", "/ready"),)),
    DROP,
]


@pytest.mark.parametrize("said", NOT_READY, ids=repr)
def test_the_local_guard_stays_until_the_api_is_ready(
    api: FakeApi, client: Client, go_remote: Callable[[], None], said: Says | str
) -> None:
    guard = FakeGuard()
    client.use_local(guard)
    api.default = said
    with pytest.raises(NotReadyError, match="local guard stays in use"):
        go_remote()
    assert client.register_trade(7).via == "local"
    api.default = Says(200, {"ready": True})
    go_remote()
    api.script = [Says(200, {"created": True, "trade": {}})]
    assert client.register_trade(7).via == "api"
    assert len(guard.calls) == 1


def test_why_it_is_not_ready_is_told(api: FakeApi, client: Client) -> None:
    api.default = Says(503, {"ready": False, "reasons": ["terminal lost"]})
    with pytest.raises(NotReadyError, match="terminal lost"):
        client.use_remote_only()


def test_no_answer_is_not_ready(
    api: FakeApi, client: Client, go_remote: Callable[[], None]
) -> None:
    client.configure(api.url, timeout=0.05)
    client.use_local(FakeGuard())
    api.default = HANG
    with pytest.raises(NotReadyError, match="did not answer within"):
        go_remote()
    client.configure("http://127.0.0.1:1")
    with pytest.raises(NotReadyError):
        go_remote()
    assert client.register_trade(7).via == "local"


@pytest.mark.parametrize("bare", [Says(404), Says(200, "ok"), Says(200, {"status": "ok"})])
def test_health_is_asked_where_readyz_says_nothing(
    api: FakeApi, client: Client, go_remote: Callable[[], None], bare: Says
) -> None:
    client.use_local(FakeGuard())
    api.default = lambda seen: Says(200, {"ready": True}) if seen.path == "/health" else bare
    go_remote()
    assert [seen.path for seen in api.seen] == ["/readyz", "/health"]
    assert client._local is None


def test_a_no_of_readyz_is_final(
    api: FakeApi, client: Client, go_remote: Callable[[], None]
) -> None:
    api.default = lambda seen: Says(200, {"ready": seen.path == "/health"})
    with pytest.raises(NotReadyError):
        go_remote()


def test_a_guard_handed_over_meanwhile_is_kept(api: FakeApi, client: Client) -> None:
    old, new = FakeGuard(), FakeGuard()
    client.use_local(old)

    def meanwhile(_: Seen) -> Says:
        client.use_local(new)
        return Says(200, {"ready": True})

    api.default = meanwhile
    client.use_remote_only()
    assert client._local is new


def test_the_readers_return_status_and_body(api: FakeApi) -> None:
    module.configure(api.url, "t")
    api.script = [
        Says(200, {"trades": []}),
        Says(503, {"ready": False}),
        Says(200, "# TYPE x gauge"),
        Says(403, {"error": "forbidden"}),
        Says(404, None),
    ]
    assert module.api_get("/dtms/trades", {"state": "HEALTHY"}) == (200, {"trades": []})
    assert module.api_get("/health") == (503, {"ready": False})
    assert module.api_get("/metrics") == (200, "# TYPE x gauge")
    assert module.api_post("/dtms/admin/kill", {"child": "monitor"}) == (
        403,
        {"error": "forbidden"},
    )
    assert module.api_delete("/dtms/trade/7") == (404, None)
    module.api_post("/dtms/admin/pause")
    assert [(seen.method, seen.path, seen.body) for seen in api.seen] == [
        ("GET", "/dtms/trades?state=HEALTHY", None),
        ("GET", "/health", None),
        ("GET", "/metrics", None),
        ("POST", "/dtms/admin/kill", {"child": "monitor"}),
        ("DELETE", "/dtms/trade/7", None),
        ("POST", "/dtms/admin/pause", {}),
    ]


@pytest.mark.parametrize("said", [DROP, HANG])
def test_the_readers_say_when_there_is_no_guard(api: FakeApi, client: Client, said: Any) -> None:
    api.default = said
    for ask in (client.get, client.post, client.delete):
        with pytest.raises(Unreachable, match="is the guard running") as caught:
            ask("/dtms/status", timeout=0.05)
        assert isinstance(caught.value, ClientError)
    assert len(api.seen) == 3, "a person who asks is told at once"
    with pytest.raises(Unreachable):
        Client("http://127.0.0.1:1").get("/dtms/status")


def test_the_package_has_serve_and_nothing_by_chance() -> None:
    assert gateway.__all__ == ["serve"]
    with pytest.raises(AttributeError, match="no attribute 'srv'"):
        _ = gateway.srv
