"""What a body may be: size, type, JSON."""

from __future__ import annotations

import json
import math
import socket
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import httpx2
import pytest
from gateway_fakes import AUTH, TOKEN, FakeGuard, raw
from hypothesis import given, settings
from hypothesis import strategies as st

from defence.errors import Invalid
from defence.trade import TradeState
from gateway import intake
from gateway.bodies import dumps, parse, plain
from gateway.server import Gateway

HEAD = f"POST /dtms/trade/enable HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n"
AS_JSON = HEAD + "Content-Type: application/json\r\n"

REFUSED = [
    (b'{"ticket": NaN}', "ticket"),
    (b'{"ticket": 1, "volume": Infinity}', "volume"),
    (b'{"ticket": 1, "stop_loss": -Infinity}', "stop_loss"),
    (b'{"ticket": 1, "stop_loss": 1e999}', "stop_loss"),
    (b'{"trades": [{"ticket": 1}, {"ticket": 2, "volume": NaN}]}', "trades[1].volume"),
    (b'{"ticket": 1, "ticket": 2}', "ticket"),
    (b'{"symbol": "\\ud800"}', "symbol"),
    (b'{"\\ud800": 1}', "\\ud800"),
    (b'{"ticket": ' + b"9" * 5000 + b"}", "body"),
    (b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}", "body"),
    (b'{"a": ' + b"[" * 20 + b"]" * 20 + b"}", "body"),
    (b'{"a": "\xff"}', "body"),
    ('{"a": 1}'.encode("utf-16"), "body"),
    (b"", "body"),
    (b"{", "body"),
    (b"{'ticket': 1}", "body"),
    (b'{"ticket": 1} {}', "body"),
    (b"[]", "body"),
    (b"null", "body"),
    (b'"ticket"', "body"),
    (b"NaN", "body"),
    (b"5", "body"),
]


@pytest.mark.parametrize(("body", "field"), REFUSED)
def test_what_is_no_json_object_is_refused_with_the_field(
    guard: FakeGuard, ops: httpx2.Client, body: bytes, field: str
) -> None:
    with pytest.raises(Invalid) as caught:
        parse(body)
    assert caught.value.field == field
    answer = ops.post(
        "/dtms/trade/enable", content=body, headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert all(name == "token" for name, _ in guard.calls)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_every_json_object_comes_through_unchanged(body: dict[str, Any]) -> None:
    assert parse(json.dumps(body, ensure_ascii=False).encode()) == body


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=60))
def test_any_bytes_are_an_object_or_invalid(body: bytes) -> None:
    try:
        found = parse(body)
    except Invalid as error:
        dumps(error.body())  # and can be told
    else:
        assert isinstance(found, dict)


@settings(deadline=None, max_examples=50)
@given(st.recursive(LEAVES | st.floats() | st.text(), st.lists, max_leaves=5))
def test_whatever_goes_out_is_ascii_json(value: object) -> None:
    json.loads(dumps(plain(value)).decode("ascii"), parse_constant=pytest.fail)


def test_plain() -> None:
    odd = {1: math.inf, "state": TradeState.CLOSED, "path": PurePosixPath("/x"), "t": (1, {2})}
    assert plain(odd) == {"1": None, "state": "CLOSED", "path": "/x", "t": [1, [2]]}


def test_nan_does_not_go_out() -> None:
    with pytest.raises(ValueError, match="JSON"):
        dumps({"x": math.nan})


# -- size


def test_too_large_by_its_own_word(guard: FakeGuard, ops: httpx2.Client) -> None:
    limit = guard.settings.max_body
    body = json.dumps({"managed_by": "x" * limit}).encode()
    answer = ops.post(
        "/dtms/trade/enable", content=body, headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["field"]) == (413, "body")
    assert answer.headers["connection"] == "close"


def test_who_sends_it_all_first_still_reads_the_refusal(gateway: Gateway) -> None:
    """Closing on unread bytes would reset the connection, and the answer with it."""
    body = b"x" * 200_000
    for head in (f"Content-Length: {len(body)}\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"):
        sent = body if "Length" in head else b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
        assert raw(gateway, (AS_JSON + head).encode() + sent, buffer=8192)[0] == 413


def test_exactly_the_limit_is_not_too_large(guard: FakeGuard, ops: httpx2.Client) -> None:
    limit = guard.settings.max_body
    body = b'{"ticket": 1}' + b" " * (limit - 13)
    headers = {"Content-Type": "application/json"}
    assert ops.post("/dtms/trade/enable", content=body, headers=headers).status_code == 200
    assert ops.post("/dtms/trade/enable", content=body + b" ", headers=headers).status_code == 413


def test_too_large_in_chunks(guard: FakeGuard, ops: httpx2.Client) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'{"managed_by": "'
        for _ in range(200):
            yield b"x" * 1000

    answer = ops.post(
        "/dtms/trade/enable", content=pieces(), headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 413
    assert all(name == "token" for name, _ in guard.calls)


def test_endless_chunks_are_broken_off(gateway: Gateway) -> None:
    chunk = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as talk:
        talk.sendall((AS_JSON + "Transfer-Encoding: chunked\r\n\r\n").encode())
        with pytest.raises(ConnectionError):
            _send(talk, chunk, 1_000_000)


def _send(talk: socket.socket, chunk: bytes, times: int) -> None:
    for _ in range(times):
        talk.sendall(chunk)


def test_a_gigabyte_is_refused_unseen(gateway: Gateway) -> None:
    head = f"{AS_JSON}Content-Length: 1000000000\r\nExpect: 100-continue\r\n\r\n"
    status, answer, _ = raw(gateway, head.encode())
    assert status == 413
    assert b"100 Continue" not in answer


def test_a_content_length_that_lies_low(guard: FakeGuard, gateway: Gateway) -> None:
    """What comes after the declared length is another request, and no good one."""
    body = b'{"ticket": 1}, "volume": 9}\r\n\r\n'
    status, _, answer = raw(gateway, f"{AS_JSON}Content-Length: 13\r\n\r\n".encode() + body)
    assert status == 200
    assert json.loads(answer)["trade"]["ticket"] == 1
    assert [what for name, what in guard.calls if name == "register_fields"] == [
        ({"ticket": 1}, None)
    ]


@pytest.mark.parametrize(
    "head", ["Content-Length: -1\r\n", "Content-Length: 5\r\nContent-Length: 6\r\n"]
)
def test_a_content_length_that_is_none(gateway: Gateway, head: str) -> None:
    assert raw(gateway, f"{AS_JSON}{head}\r\n".encode())[0] == 400


def test_a_body_that_never_comes(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "BODY_WITHIN", 0.05)
    status, head, body = raw(gateway, f"{AS_JSON}Content-Length: 10\r\n\r\n{{".encode())
    assert (status, json.loads(body)["error"]) == (408, "request_timeout")
    assert b"connection: close" in head.lower()


# -- type


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("application/json", 200),
        ("application/json; charset=utf-8", 200),
        ("Application/JSON", 200),
        ("application/vnd.dtms+json", 200),
        ("text/plain", 415),
        ("application/x-www-form-urlencoded", 415),
        ("multipart/form-data", 415),
        ("application/jsonp", 415),
        ("text/json", 415),
        ("", 415),
    ],
)
def test_content_types(guard: FakeGuard, ops: httpx2.Client, kind: str, status: int) -> None:
    answer = ops.post(
        "/dtms/trade/enable", content=b'{"ticket": 1}', headers={"Content-Type": kind}
    )
    assert answer.status_code == status


def test_a_command_with_a_body_of_another_type(guard: FakeGuard, ops: httpx2.Client) -> None:
    answer = ops.post("/dtms/admin/pause", content=b"child=monitor", headers=AUTH)
    assert answer.status_code == 415
