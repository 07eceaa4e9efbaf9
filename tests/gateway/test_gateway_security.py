"""Who may ask what: token, Host, origin, beyond loopback."""

from __future__ import annotations

import hmac
import inspect

import httpx2
import pytest
from gateway_fakes import AUTH, TICKET, TOKEN, FakeGuard, fake_settings, raw, serving

from gateway.errors import ForeignHost, ForeignOrigin, Unauthorized
from gateway.security import Bound, check_host, check_origin, check_token, needs_token
from gateway.server import Gateway

MUTATIONS = [
    ("POST", "/dtms/trade/enable"),
    ("DELETE", f"/dtms/trade/{TICKET}"),
    ("POST", "/dtms/admin/pause"),
    ("POST", "/dtms/admin/kill"),
    ("PUT", "/whatever"),
]


@pytest.mark.parametrize(("method", "path"), MUTATIONS)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Authorization": TOKEN},
        {"Authorization": "Bearer"},
    ],
)
def test_every_mutation_needs_the_token(
    guard: FakeGuard, client: httpx2.Client, method: str, path: str, headers: dict[str, str]
) -> None:
    answer = client.request(method, path, headers=headers, json={"ticket": TICKET})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert answer.json()["field"] == "Authorization"
    assert TOKEN not in answer.text
    assert {name for name, _ in guard.calls} <= {"token"}


def test_the_right_token(guard: FakeGuard, client: httpx2.Client) -> None:
    for scheme in ("Bearer", "bearer", "BEARER "):
        answer = client.post("/dtms/admin/pause", headers={"Authorization": f"{scheme} {TOKEN}"})
        assert answer.status_code == 200


def test_two_tokens_are_none(gateway: Gateway) -> None:
    head = f"Authorization: Bearer {TOKEN}\r\n" * 2
    status, _, _ = raw(
        gateway, f"POST /dtms/admin/pause HTTP/1.1\r\nHost: localhost\r\n{head}\r\n".encode()
    )
    assert status == 401


def test_the_comparison_takes_constant_time() -> None:
    """By construction: the bytes are compared by `hmac.compare_digest`, and in no other way."""
    source = inspect.getsource(check_token)
    assert "hmac.compare_digest(given, expected.encode(" in source
    assert "given ==" not in source
    assert "== given" not in source


def test_each_comparison_goes_through_compare_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def spy(one: bytes, other: bytes) -> bool:
        seen.append((one, other))
        return real(one, other)

    monkeypatch.setattr("gateway.security.hmac.compare_digest", spy)
    check_token("abc", [b"Bearer abc"])
    with pytest.raises(Unauthorized):
        check_token("abc", [])
    assert seen == [(b"abc", b"abc"), (b"", b"abc")]


@pytest.mark.parametrize("given", [[], [b""], [b"Bearer "], [b"Bearer"], [b"Bearer x"]])
def test_an_empty_token_lets_nobody_in(given: list[bytes]) -> None:
    with pytest.raises(Unauthorized):
        check_token("", given)


def test_a_token_need_not_be_ascii() -> None:
    check_token("schlüssel", ["Bearer schlüssel".encode()])
    with pytest.raises(Unauthorized):
        check_token("schlüssel", [b"Bearer schl"])


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:{port}",
        "localhost:{port}",
        "[::1]:{port}",
        "LOCALHOST",
        "localhost.",
        "127.0.0.1",
    ],
)
def test_our_own_hosts(gateway: Gateway, host: str) -> None:
    name = host.format(port=gateway.port)
    assert raw(gateway, f"GET /livez HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1.evil.example",
        "localhost.evil.example:{port}",
        "192.168.1.5:{port}",
        "[::2]:{port}",
        "localhost:99999",
        "localhost:",
        "local host",
        "user@localhost",
        "",
    ],
)
@pytest.mark.parametrize("path", ["/", "/livez", "/dtms/status", "/metrics"])
def test_a_foreign_host_is_refused(gateway: Gateway, host: str, path: str) -> None:
    name = host.format(port=gateway.port)
    status, _, body = raw(gateway, f"GET {path} HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
    assert status == 421
    assert b'"foreign_host"' in body


def test_no_host_is_foreign(gateway: Gateway) -> None:
    assert raw(gateway, b"GET /livez HTTP/1.0\r\n\r\n")[0] == 421


def test_a_foreign_host_is_refused_before_the_token_is_looked_at(
    guard: FakeGuard, client: httpx2.Client
) -> None:
    answer = client.post("/dtms/admin/pause", headers={**AUTH, "Host": "evil.example"})
    assert answer.status_code == 421
    assert guard.calls == []


@pytest.mark.parametrize(
    ("bound", "known", "unknown"),
    [
        (Bound("::1", "::1"), ["[::1]", "localhost"], ["[::2]", "::1"]),
        (Bound("10.0.0.5", "10.0.0.5", "box"), ["10.0.0.5", "localhost"], ["10.0.0.6", "box"]),
        (Bound("trade.lan", "10.0.0.5"), ["trade.lan", "10.0.0.5"], ["other.lan"]),
        (Bound("0.0.0.0", "0.0.0.0", "Box"), ["10.9.9.9", "[fe80::1]", "box"], ["evil.example"]),  # noqa: S104
        (Bound("0.0.0.0", "0.0.0.0", ""), ["localhost"], ["x"]),  # noqa: S104
    ],
)
def test_what_a_bound_address_is_called(bound: Bound, known: list[str], unknown: list[str]) -> None:
    for name in known:
        check_host(bound, f"{name}:8001")
    for name in unknown:
        with pytest.raises(ForeignHost):
            check_host(bound, f"{name}:8001")


def test_exposed() -> None:
    assert not Bound("127.0.0.1", "127.0.0.1").exposed
    assert not Bound("x", "127.9.9.9").exposed
    assert not Bound("::1", "::1").exposed
    assert Bound("0.0.0.0", "0.0.0.0").exposed  # noqa: S104
    assert Bound("::", "::").exposed
    assert Bound("x", "fe80::1%eth0").exposed
    assert Bound("x", "10.0.0.5").exposed


SITE = "localhost:8001"


@pytest.mark.parametrize(
    ("method", "headers", "allowed"),
    [
        ("POST", {}, True),
        ("POST", {"origin": f"http://{SITE}"}, True),
        ("POST", {"origin": f"https://{SITE}"}, True),
        ("POST", {"origin": "http://LOCALHOST:8001"}, True),
        ("POST", {"origin": "null"}, False),
        ("POST", {"origin": ""}, False),
        ("POST", {"origin": "http://evil.example"}, False),
        ("POST", {"origin": "http://localhost:3000"}, False),
        ("POST", {"origin": "http://localhost"}, False),
        ("POST", {"origin": f"file://{SITE}"}, False),
        ("POST", {"origin": "http://[bad"}, False),
        ("GET", {"origin": "http://evil.example"}, False),
        ("POST", {"sec-fetch-site": "same-origin"}, True),
        ("POST", {"sec-fetch-site": "none"}, True),
        ("POST", {"sec-fetch-site": "cross-site"}, False),
        ("POST", {"sec-fetch-site": "same-site"}, False),
        ("POST", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, False),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, True),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, False),
    ],
)
def test_origins(method: str, headers: dict[str, str], allowed: bool) -> None:
    given = {"host": SITE, **headers}
    if allowed:
        check_origin(method, given)
    else:
        with pytest.raises(ForeignOrigin):
            check_origin(method, given)


def test_origin_over_the_wire(guard: FakeGuard, ops: httpx2.Client, gateway: Gateway) -> None:
    own = ops.post("/dtms/admin/pause", headers={"Origin": gateway.url})
    assert own.status_code == 200
    foreign = ops.post("/dtms/admin/pause", headers={"Origin": "http://evil.example"})
    assert (foreign.status_code, foreign.json()["error"]) == (403, "foreign_origin")
    assert "access-control-allow-origin" not in own.headers


def test_which_requests_need_the_token() -> None:
    for method in ("POST", "DELETE", "PUT", "PATCH", "TRACE", "get"):
        assert needs_token(method, "/livez", exposed=False)
    for path in ("/livez", "/readyz", "/startupz"):
        assert not needs_token("GET", path, exposed=True)
    for path in ("/", "/health", "/metrics", "/dtms/status", "/dtms/events", "/livez/"):
        assert not needs_token("GET", path, exposed=False)
        assert needs_token("GET", path, exposed=True)


def test_beyond_loopback_every_route_but_the_probes_needs_the_token() -> None:
    guard = FakeGuard(fake_settings(host="0.0.0.0", token=TOKEN))  # noqa: S104
    with serving(guard) as gateway, httpx2.Client(base_url=gateway.url, trust_env=False) as who:
        for path in ("/livez", "/readyz", "/startupz"):
            assert who.get(path).status_code == 200
        for path in ("/", "/page.js", "/health", "/metrics", "/dtms/status", "/dtms/events"):
            assert (path, who.get(path).status_code) == (path, 401)
        assert who.get("/health", headers=AUTH).status_code == 200
        assert who.get("/health", headers={**AUTH, "Host": "evil.example"}).status_code == 421


def test_every_answer_has_the_security_headers(guard: FakeGuard, ops: httpx2.Client) -> None:
    guard.errors["alerts"] = RuntimeError()
    for path in ("/", "/health", "/metrics", "/nope", "/dtms/alerts", "/page.js"):
        headers = ops.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert "server" not in headers
