"""One status for each error, and one shape for all of them."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import httpx2
import pytest
from gateway_fakes import AUTH, TOKEN, FakeGuard, raw
from loguru import logger
from starlette.exceptions import HTTPException

from defence.errors import (
    AlreadyGuarded,
    BrokerUnknown,
    Conflict,
    Damaged,
    DeadlinePassed,
    DtmsError,
    Fault,
    FolderRefused,
    Forbidden,
    Invalid,
    MailboxFull,
    NotFound,
    NotReady,
    Refused,
    Stopped,
    StoreFull,
    TryAgain,
    UnknownMessage,
)
from gateway.app import make_app
from gateway.errors import TooMany, answer, retry_after, status_of
from gateway.server import Gateway

SHAPE = {"error", "message", "field", "remedy"}

TABLE = [
    (Invalid, 422, None),
    (NotFound, 404, None),
    (Conflict, 409, None),
    (Forbidden, 403, None),
    (Refused, 400, None),
    (UnknownMessage, 400, None),
    (MailboxFull, 429, "1"),
    (NotReady, 503, "1"),
    (BrokerUnknown, 503, "1"),
    (DeadlinePassed, 503, "1"),
    (TryAgain, 503, "1"),
    (Stopped, 503, "1"),
    (StoreFull, 507, "30"),
    (FolderRefused, 507, "30"),
]


@pytest.mark.parametrize(("kind", "status", "wait"), TABLE)
def test_status_of_each_error(
    guard: FakeGuard, ops: httpx2.Client, kind: type[DtmsError], status: int, wait: str | None
) -> None:
    guard.errors["register_fields"] = kind("so it is", field="f", value=1, remedy="do this")
    response = ops.post("/dtms/trade/enable", json={"ticket": 1})
    assert response.status_code == status
    assert response.headers.get("Retry-After") == wait
    assert response.json() == {
        "error": kind.code,
        "message": "so it is",
        "field": "f",
        "remedy": "do this",
    }


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("secret-path /home/kim"),
        Fault("secret-path"),
        Damaged("secret-path"),
        AlreadyGuarded("secret-path"),
        KeyError("secret-path"),
    ],
)
def test_what_nobody_foresaw_is_500_and_shows_nothing(
    guard: FakeGuard, ops: httpx2.Client, error: Exception
) -> None:
    lines: list[str] = []
    sink = logger.add(lines.append, format="{message}", diagnose=True, backtrace=True)
    try:
        for method, path in (("trades", "/dtms/trades"), ("status", "/metrics")):
            guard.errors[method] = error
            response = ops.get(path)
            assert response.status_code == 500
            assert response.json() == {
                "error": "internal",
                "message": "the guard failed inside",
                "field": None,
                "remedy": "see its log",
            }
            assert "Retry-After" not in response.headers
    finally:
        logger.remove(sink)
    text = "".join(lines)
    assert "secret-path" in text  # the log has what the body has not
    assert "Traceback" in text
    assert TOKEN not in text


def test_every_error_has_the_one_shape(guard: FakeGuard, ops: httpx2.Client) -> None:
    guard.errors["trades"] = NotReady("starting")
    requests: list[tuple[int, str, str, dict[str, Any]]] = [
        (404, "GET", "/nope", {}),
        (404, "GET", "/health/", {}),
        (405, "PUT", "/health", {}),
        (405, "POST", "/dtms/trades", {}),
        (405, "GET", "/dtms/trade/enable", {}),
        (405, "DELETE", "/dtms/trade/enable", {}),
        (405, "OPTIONS", "/dtms/status", {}),
        (405, "GET", "/dtms/admin/pause", {}),
        (422, "POST", "/dtms/trade/enable", {"json": []}),
        (422, "GET", "/dtms/trade/x", {}),
        (415, "POST", "/dtms/trade/enable", {"content": b"{}"}),
        (413, "POST", "/dtms/trade/enable", {"content": b"x" * 20_000}),
        (503, "GET", "/dtms/trades", {}),
        (421, "GET", "/health", {"headers": {"Host": "evil.example"}}),
        (403, "GET", "/health", {"headers": {"Origin": "https://evil.example"}}),
        (401, "POST", "/nope", {"headers": {"Authorization": "Bearer wrong"}}),
    ]
    for status, method, path, options in requests:
        response = ops.request(method, path, **options)
        assert (response.status_code, method, path) == (status, method, path)
        assert set(response.json()) == SHAPE, path
        assert response.json()["message"], path
        assert response.headers["content-type"] == "application/json"
        assert response.headers["x-content-type-options"] == "nosniff"


def test_a_wrong_method_says_all_that_are_right(ops: httpx2.Client) -> None:
    response = ops.request("PATCH", "/dtms/trade/5")
    assert (response.status_code, response.headers["allow"]) == (405, "DELETE, GET")


def test_long_and_odd_paths_do_not_come_back_whole(gateway: Gateway) -> None:
    status, _, body = raw(gateway, b"GET /" + b"a" * 4000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert status == 404
    assert len(body) < 400
    status, _, _ = raw(gateway, b"GET /%00%ff%0a HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert status == 404


def test_not_ready_before_there_is_a_token(guard: FakeGuard, client: httpx2.Client) -> None:
    guard.errors["token"] = NotReady("the guard has not been started")
    response = client.post("/dtms/trade/enable", json={"ticket": 1}, headers=AUTH)
    assert (response.status_code, response.json()["error"]) == (503, "not_ready")


def test_a_client_that_hangs_up_is_no_error(guard: FakeGuard, gateway: Gateway) -> None:
    lines: list[str] = []
    seen = threading.Event()

    def note(line: str) -> None:
        lines.append(line)
        if "went away" in line:
            seen.set()

    sink = logger.add(note, format="{level} {message}")
    try:
        head = (
            f"POST /dtms/trade/enable HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}"
            "\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        with socket.create_connection(("127.0.0.1", gateway.port)) as talk:
            talk.sendall(head.encode())
        assert seen.wait(5)
    finally:
        logger.remove(sink)
    assert not [line for line in lines if line.startswith(("ERROR", "CRITICAL"))]


def test_retry_after_of_the_rate_limit_is_rounded_up() -> None:
    assert retry_after(TooMany("x", wait=1.2, remedy="")) == 2
    assert retry_after(TooMany("x", wait=0.001, remedy="")) == 1
    assert retry_after(ValueError()) is None
    assert answer(TooMany("x", wait=7.5, remedy="")).headers["retry-after"] == "8"


def test_a_subclass_has_its_parents_status() -> None:
    class Odd(Conflict):
        pass

    assert status_of(Odd("x")) == 409
    assert status_of(ValueError()) == 500


def test_what_the_web_framework_refuses_has_the_shape_too() -> None:
    """No route of ours leaves a check to it; one that is added may."""
    app = make_app(FakeGuard())

    @app.get("/odd/{number}")
    async def odd(number: int) -> None:
        raise HTTPException(418, "no coffee")

    async def go() -> list[httpx2.Response]:
        async with httpx2.AsyncClient(
            transport=httpx2.ASGITransport(app=app), base_url="http://localhost"
        ) as client:
            return [await client.get("/odd/x"), await client.get("/odd/1")]

    invalid, refused = asyncio.run(go())
    assert (invalid.status_code, refused.status_code) == (422, 418)
    assert (invalid.json()["error"], invalid.json()["field"]) == ("invalid", "number")
    assert (set(invalid.json()), set(refused.json())) == (SHAPE, SHAPE)
    assert refused.json()["message"] == "no coffee"
    app.state.backstage.close()
