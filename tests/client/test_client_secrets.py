"""The token: where it is found, where it may go, and where it never shows."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from client_fakes import DROP, Clock, FakeApi, Says, Seen, accepted
from hypothesis import given
from hypothesis import strategies as st

from gateway import client as module
from gateway.client import Client, Misconfigured, RegistrationResult

Register = Callable[..., RegistrationResult]
SECRET = "s3cret-of-the-guard"


def bearer(seen: Seen) -> str | None:
    return seen.headers.get("authorization")


def test_found_by_itself_in_the_data_folder(
    api: FakeApi, client: Client, register: Register
) -> None:
    client.configure(api.url)
    Path("dtms-data").mkdir()
    Path("dtms-data/token").write_text("by-default\r\n")
    assert register(7)
    Path("elsewhere").mkdir()
    Path("elsewhere/token").write_text("from-folder")
    client.configure(api.url, data_dir="elsewhere")
    assert register(7)
    assert [bearer(seen) for seen in api.seen] == ["Bearer by-default", "Bearer from-folder"]


def test_the_environment_and_the_argument_come_before_the_file(
    api: FakeApi, client: Client, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.configure(api.url)
    Path("data").mkdir()
    Path("data/token").write_text("file")
    monkeypatch.setenv("DTMS_DATA_DIR", "data")
    register(7)
    monkeypatch.setenv("DTMS_TOKEN", "environment")
    register(7)
    client.configure(api.url, "argument")
    register(7)
    assert [bearer(seen) for seen in api.seen] == [
        "Bearer file",
        "Bearer environment",
        "Bearer argument",
    ]


def test_host_and_port_come_from_the_environment(
    api: FakeApi, client: Client, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.configure(token="t")
    monkeypatch.setenv("DTMS_PORT", str(api.port))
    for host in ("127.0.0.1", "localhost", "0.0.0.0"):  # noqa: S104 - what a guard may listen on
        monkeypatch.setenv("DTMS_HOST", host)
        assert register(7), host


@pytest.mark.parametrize(
    ("host", "port", "url"),
    [
        (None, None, "http://127.0.0.1:8001"),
        ("", "", "http://127.0.0.1:8001"),
        ("::", "9000", "http://[::1]:9000"),
        ("fe80::1", None, "http://[fe80::1]:8001"),
        ("[::1]", None, "http://[::1]:8001"),
        ("guard.example", "1", "http://guard.example:1"),
    ],
)
def test_the_address(
    host: str | None, port: str | None, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("DTMS_HOST", host), ("DTMS_PORT", port)):
        if value is not None:
            monkeypatch.setenv(name, value)
    assert Client().base_url() == url


@pytest.mark.parametrize("port", ["0", "65536", "x", "-1", "8001 ", "9" * 5000, "²"])
def test_a_wrong_port_is_told(
    register: Register, client: Client, port: str, monkeypatch: Any
) -> None:
    monkeypatch.setenv("DTMS_PORT", port)
    client.configure(token="t")
    result = register(7)
    assert result.code == "invalid"
    assert "DTMS_PORT" in str(result.error)


def test_a_new_token_is_found_after_a_401(api: FakeApi, client: Client, register: Register) -> None:
    Path("dtms-data").mkdir()
    file = Path("dtms-data/token")
    file.write_text("old")
    client.configure(api.url)

    def gate(seen: Seen) -> Says:
        if bearer(seen) == "Bearer new":
            return accepted()
        file.write_text("new")
        return Says(401)

    api.default = gate
    result = register(7)
    assert result.ok
    assert result.attempts == 1
    assert [bearer(seen) for seen in api.seen] == ["Bearer old", "Bearer new"]
    assert len({seen.key for seen in api.seen}) == 1


def test_it_looks_again_once_only(api: FakeApi, client: Client, register: Register) -> None:
    Path("dtms-data").mkdir()
    file = Path("dtms-data/token")
    file.write_text("t0")
    client.configure(api.url)

    def gate(_: Seen) -> Says:
        file.write_text(f"t{len(api.seen)}")
        return Says(401)

    api.default = gate
    result = register(7)
    assert (result.status, len(api.seen)) == (401, 2)
    assert str(file) in str(result.error), "it says where it looked"


def test_without_a_token_the_api_decides(api: FakeApi, client: Client, register: Register) -> None:
    client.configure(api.url)
    assert register(7)
    assert bearer(api.seen[0]) is None


def test_reading_sends_the_token_only_when_asked_for_it(api: FakeApi, client: Client) -> None:
    client.get("/dtms/status")
    api.script = [Says(401), Says(200, {"ok": True})]
    assert client.get("/dtms/status") == (200, {"ok": True})
    assert [bearer(seen) for seen in api.seen] == [None, None, f"Bearer {SECRET}"]


@pytest.mark.parametrize(
    "host",
    [
        "192.0.2.7",
        "guard.example",
        "127.0.0.1.example",
        "[2001:db8::1]",
        "localhost.example",
        "1.1",
    ],
)
def test_it_does_not_travel_in_clear_text(host: str, clock: Clock) -> None:
    client = Client(f"http://{host}:1", SECRET, clock=clock, sleep=clock.sleep)
    result = client.register_trade(7)
    assert (result.ok, result.code, result.attempts) == (False, "invalid", 0)
    assert "allow_remote=True" in str(result.error)
    with pytest.raises(Misconfigured, match="clear text"):
        client.post("/dtms/admin/pause")


@pytest.mark.parametrize(
    ("url", "allow"),
    [
        ("http://127.0.0.1:1", False),
        ("http://127.8.9.1:1", False),
        ("http://[::1]:1", False),
        ("http://localhost:1", False),
        ("https://guard.example", False),
        ("http://guard.example", True),
    ],
)
def test_where_it_may_travel(url: str, allow: bool) -> None:
    assert Client(url, SECRET, allow_remote=allow)._token(url) == SECRET


BAD_TOKENS = ["", " ", "two words", "line\nbreak", "ümlaut", "x\x00", "y" * 5000]


@pytest.mark.parametrize("token", BAD_TOKENS)
def test_a_token_no_header_can_carry_is_refused_unseen(
    api: FakeApi, client: Client, register: Register, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Misconfigured) as caught:
        client.configure(api.url, token)
    assert len(token) < 3 or token not in str(caught.value)
    client.configure(api.url)
    Path("dtms-data").mkdir()
    Path("dtms-data/token").write_bytes(token.encode())
    result = register(7)
    assert result.code == "invalid"
    assert "token" in str(result.error)
    assert len(token) < 3 or token not in str(result.error)
    assert not api.seen


def test_a_token_file_that_cannot_be_read_is_told(client: Client, register: Register) -> None:
    client.configure("http://127.0.0.1:1")
    Path("dtms-data/token").mkdir(parents=True)
    result = register(7)
    assert result.code == "invalid"
    assert "cannot be read" in str(result.error)


def test_it_never_shows(
    api: FakeApi, client: Client, register: Register, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    module.configure(api.url, SECRET)
    shown = [repr(client), repr(client.__dict__), repr(module._default), repr(client._settings)]
    echo = {"error": "invalid", "message": f"you sent Bearer {SECRET}", "field": None}
    for said in (Says(422, echo), DROP, Says(500, echo), accepted(), Says(401, echo)):
        api.default = said
        shown.append(repr(register(7)))
    client.configure("http://guard.example", SECRET)
    shown.append(repr(register(7)))
    assert "you sent Bearer ***" in shown[4]
    assert SECRET not in "".join(shown) + caplog.text
    assert caplog.records, "the log was looked at"


@pytest.mark.parametrize(
    "url",
    [
        "http://user:hunter2@127.0.0.1:8001",
        "ftp://127.0.0.1",
        "127.0.0.1:8001",
        "http://",
        "http://h:99999",
        "http://h:0",
        "http://h/?token=hunter2",
        "http://h/#hunter2",
        "",
        7,
    ],
)
def test_a_wrong_address_is_refused_unseen(url: Any) -> None:
    with pytest.raises(Misconfigured, match="base_url: ") as caught:
        Client(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), True, "5"])
def test_a_wrong_timeout_is_refused(timeout: Any) -> None:
    with pytest.raises(Misconfigured, match="timeout: "):
        Client(timeout=timeout)


@given(st.text(max_size=20))
def test_no_host_name_gets_the_token_unless_it_is_this_machine(host: str) -> None:
    """Whatever the text: refused, or the address leads to this machine."""
    url = f"http://{host}:1/"
    try:
        client = Client(url, SECRET)
        client._token(client.base_url())
    except Misconfigured:
        return
    target = module.httpx2.URL(client.base_url()).host
    assert target in ("localhost", "::1") or target.startswith("127.")


def test_no_path_changes_the_host(client: Client) -> None:
    for path in ("@evil.example/", ".evil.example/", "", "dtms/status"):
        with pytest.raises(Misconfigured, match="path: "):
            client.get(path)
