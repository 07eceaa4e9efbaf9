"""Gateway: bind, listen, stop; and what it leaves alone."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx2
import pytest
from gateway_fakes import AUTH, TOKEN, FakeGuard, fake_settings, hung_up, raw, serving

import gateway as package
from defence.errors import StartRefused
from gateway import wire
from gateway.errors import HostRefused, PortRefused
from gateway.server import Gateway
from gateway.sockets import url_of

EVERYWHERE = "0.0.0.0"  # noqa: S104 - what the tests are about


def http_threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("dtms-http")]


def test_bound_is_not_listening() -> None:
    gateway = Gateway(FakeGuard()).bind(port=0)
    try:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", gateway.port), timeout=2)
        assert not gateway.serving
        assert gateway.listen().serving
        assert httpx2.get(f"{gateway.url}/livez", trust_env=False).status_code == 200
    finally:
        gateway.stop()


@pytest.mark.parametrize("listening", [False, True])
def test_a_port_in_use_is_refused_early(listening: bool) -> None:
    first = Gateway(FakeGuard()).bind(port=0)
    try:
        if listening:
            first.listen()
        with pytest.raises(PortRefused) as caught:
            Gateway(FakeGuard()).bind(port=first.port)
        error = caught.value
        assert isinstance(error, StartRefused)
        assert (error.field, error.value) == ("port", first.port)
        assert error.remedy == "choose another --port, or 0 for a free one"
        assert str(first.port) in error.message
    finally:
        first.stop()


def test_a_foreign_listener_is_in_the_way() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(PortRefused):
        Gateway(FakeGuard()).bind(port=other.getsockname()[1])


def test_the_port_is_free_again_at_once() -> None:
    """Connections that the server has ended hold the port for a while (TIME_WAIT)."""
    first = Gateway(FakeGuard()).bind(port=0).listen()
    with socket.create_connection(("127.0.0.1", first.port)) as talk:
        talk.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        talk.recv(1000)
        first.stop()
        second = Gateway(FakeGuard()).bind(port=first.port)
        try:
            assert second.listen().serving
        finally:
            second.stop()


@pytest.mark.skipif(os.name == "nt", reason="Windows gives a port to one only")
def test_two_that_got_past_each_other_meet_at_listen() -> None:
    """A race over a port in TIME_WAIT: both are bound, and the second cannot listen."""
    gateways = [Gateway(FakeGuard()), Gateway(FakeGuard())]
    port = 0
    for one in gateways:
        one._socket = socket.socket()
        one._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one._socket.bind(("127.0.0.1", port))
        port = one._port = one._socket.getsockname()[1]
    first, second = gateways
    try:
        assert first.listen().serving
        with pytest.raises(PortRefused) as caught:
            second.listen()
        assert caught.value.value == port
    finally:
        second.stop()
        first.stop()


@pytest.mark.parametrize("host", ["not.a.host.invalid", "192.0.2.1", "exa mple"])
def test_a_host_that_is_not_ours(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo

    def offline(name: str | None, *args: object, **options: object) -> object:
        if name and name.endswith(".invalid"):
            raise socket.gaierror(-2, "Name or service not known")
        return real(name, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", offline)
    guard = FakeGuard(fake_settings(token=TOKEN))
    with pytest.raises(HostRefused) as caught:
        Gateway(guard).bind(host, 0)
    assert (caught.value.field, caught.value.value) == ("host", host)


@pytest.mark.parametrize("token", [None, "", "  "])
def test_beyond_loopback_without_a_token_is_refused(token: str | None) -> None:
    gateway = Gateway(FakeGuard(fake_settings(token=token)))
    with pytest.raises(HostRefused) as caught:
        gateway.bind(EVERYWHERE, 0)
    assert (caught.value.field, caught.value.value) == ("host", EVERYWHERE)
    assert "DTMS_TOKEN" in str(caught.value.remedy)
    gateway.bind("127.0.0.1", 0)  # nothing was kept
    gateway.stop()


def test_beyond_loopback_with_a_token() -> None:
    guard = FakeGuard(fake_settings(token=TOKEN, host=EVERYWHERE))
    with serving(guard) as gateway:
        assert gateway.url == f"http://127.0.0.1:{gateway.port}"
        assert httpx2.get(f"{gateway.url}/health", headers=AUTH, trust_env=False).status_code == 200


def test_settings_say_where() -> None:
    with serving(FakeGuard(fake_settings(host="localhost", port=0))) as gateway:
        assert gateway.host == "localhost"
        assert gateway.url == f"http://127.0.0.1:{gateway.port}"


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
def test_ipv6_loopback() -> None:
    try:
        gateway = Gateway(FakeGuard()).bind("::1", 0)
    except HostRefused:
        pytest.skip("this machine has no IPv6 loopback")
    try:
        assert gateway.url == f"http://[::1]:{gateway.port}"
        gateway.listen()
        assert httpx2.get(f"{gateway.url}/health", trust_env=False).status_code == 200
    finally:
        gateway.stop()


def test_urls() -> None:
    assert url_of("::", 1) == "http://[::1]:1"
    assert url_of("10.0.0.5", 8001) == "http://10.0.0.5:8001"


def test_answers_do_not_wait_for_acknowledgements() -> None:
    """asyncio sets TCP_NODELAY only for sockets that say they are TCP."""
    gateway = Gateway(FakeGuard()).bind(port=0)
    assert gateway._socket is not None
    assert gateway._socket.proto == socket.IPPROTO_TCP
    gateway.stop()


def test_bound_once_and_stopped_for_good() -> None:
    gateway = Gateway(FakeGuard())
    with pytest.raises(StartRefused):
        _ = gateway.port
    gateway.bind(port=0)
    with pytest.raises(StartRefused):
        gateway.bind(port=0)
    assert gateway.listen() is gateway.listen()
    gateway.stop()
    gateway.stop()
    assert not gateway.serving
    with pytest.raises(StartRefused):
        gateway.listen()
    with pytest.raises(StartRefused):
        gateway.bind(port=0)


def test_stop_without_listen_frees_the_port() -> None:
    gateway = Gateway(FakeGuard()).bind(port=0)
    port = gateway.port
    gateway.stop()
    socket.create_server(("127.0.0.1", port)).close()


def test_after_stop_no_thread_is_left() -> None:
    guard = FakeGuard()
    with serving(guard) as gateway:
        with httpx2.Client(base_url=gateway.url, headers=AUTH, trust_env=False) as client:
            for _ in range(3):
                assert client.get("/dtms/trades").status_code == 200
                assert client.post("/dtms/admin/pause").status_code == 200
        assert "dtms-http" in http_threads()
    limit = time.monotonic() + 5
    while http_threads() and time.monotonic() < limit:  # they end when they notice
        threading.Event().wait(0.01)
    assert http_threads() == []


def test_stop_is_bounded_while_a_call_hangs() -> None:
    guard = FakeGuard()
    guard.gate.clear()
    with serving(guard) as gateway, socket.create_connection(("127.0.0.1", gateway.port)) as bot:
        body = b'{"ticket": 1}'
        head = (
            f"POST /dtms/trade/enable HTTP/1.1\r\nHost: localhost\r\n"
            f"Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        bot.sendall(head.encode() + body)
        limit = time.monotonic() + 5
        while guard.inside == 0:
            assert time.monotonic() < limit
            threading.Event().wait(0.005)
        began = time.monotonic()
        gateway.stop(0.2)
        assert time.monotonic() - began < 2.0
        assert gateway._thread is not None
        assert not gateway._thread.is_alive()
        bot.settimeout(5)
        told = bot.recv(10_000)
        assert told.startswith(b"HTTP/1.1 503")
        assert b"it may still be done" in told
        guard.gate.set()


def test_idle_and_half_sent_connections_do_not_hold_up_the_stop() -> None:
    with serving(FakeGuard()) as gateway:
        address = ("127.0.0.1", gateway.port)
        with socket.create_connection(address), socket.create_connection(address) as half:
            half.sendall(b"GET /livez HT")
            began = time.monotonic()
            gateway.stop(3.0)
            assert time.monotonic() - began < 1.5


def test_an_answer_that_nobody_takes_does_not_hold_up_the_stop() -> None:
    guard = FakeGuard()
    guard.how_many = 20_000
    with serving(guard) as gateway, socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", gateway.port))
        slow.sendall(b"GET /dtms/trades HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert slow.recv(1)
        gateway.stop(0.3)
        assert gateway._server is not None
        assert gateway._server.server_state.connections == set()


def test_a_head_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "HEADERS_WITHIN", 0.05)
    with (
        serving(FakeGuard()) as gateway,
        socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as slow,
    ):
        slow.sendall(b"GET /livez HTTP/1.1\r\nHost: loc")
        assert hung_up(slow)
        with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as silent:
            assert hung_up(silent)


def test_a_second_request_has_its_own_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "HEADERS_WITHIN", 0.05)
    with (
        serving(FakeGuard()) as gateway,
        socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as slow,
    ):
        slow.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b""
        while not answer.endswith(b"}"):
            answer += slow.recv(1000)
        slow.sendall(b"GET /li")
        slow.settimeout(2.5)  # sooner than an idle connection is closed
        assert hung_up(slow)


def test_a_slow_answer_is_not_mistaken_for_a_slow_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "HEADERS_WITHIN", 0.05)
    guard = FakeGuard()
    guard.gate.clear()
    with serving(guard) as gateway:
        threading.Timer(0.3, guard.gate.set).start()
        answer = httpx2.post(
            f"{gateway.url}/dtms/trade/enable", json={"ticket": 1}, headers=AUTH, trust_env=False
        )
        assert answer.status_code == 200


def test_one_connection_too_many_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_CONNECTIONS", 1)
    with serving(FakeGuard()) as gateway:
        address = ("127.0.0.1", gateway.port)
        with socket.create_connection(address, timeout=5) as first:
            first.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert first.recv(100).startswith(b"HTTP/1.1 200")
            with socket.create_connection(address, timeout=2.5) as second:
                assert hung_up(second)


def test_forwarded_for_is_not_believed() -> None:
    guard = FakeGuard()
    with serving(guard) as gateway:
        httpx2.post(
            f"{gateway.url}/dtms/admin/pause",
            headers={**AUTH, "X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "https"},
            trust_env=False,
        )
    assert guard.calls[-1] == ("admin", ("pause", "http 127.0.0.1", {}))


def test_a_web_socket_is_not_upgraded() -> None:
    with serving(FakeGuard()) as gateway:
        status, _, _ = raw(
            gateway,
            b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\n\r\n",
        )
    assert status == 200


def test_the_hosts_signals_and_logging_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(logging._levelToName, 5, raising=False)
    names = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi")
    host = logging.NullHandler()
    logging.getLogger("uvicorn.access").addHandler(host)

    def facts() -> list[object]:
        signals = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
        logs = [logging.getLogger(name) for name in names]
        return [
            signals,
            logging.getLevelName(5),
            [(one.level, list(one.handlers), one.propagate) for one in logs],
        ]

    try:
        before, root = facts(), list(logging.getLogger().handlers)
        with serving(FakeGuard()) as gateway:
            httpx2.get(f"{gateway.url}/health", trust_env=False)
            assert facts() == before
        assert facts() == before
        assert logging.getLogger().handlers == root
    finally:
        logging.getLogger("uvicorn.access").removeHandler(host)


def test_serve_is_loaded_at_first_use() -> None:
    code = (
        "import sys, gateway; assert 'uvicorn' not in sys.modules; gateway.serve; "
        "assert 'uvicorn' in sys.modules; import threading; "
        "assert threading.active_count() == 1, threading.enumerate()"
    )
    root = Path(package.__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_serve_lets_go_of_the_port_when_it_cannot_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Gateway] = []

    def refuse(self: Gateway) -> Gateway:
        made.append(self)
        raise PortRefused("no", field="port")

    monkeypatch.setattr(Gateway, "listen", refuse)
    with pytest.raises(PortRefused):
        package.serve(FakeGuard())  # type: ignore[arg-type, unused-ignore]
    socket.create_server(("127.0.0.1", made[0].port)).close()


def test_a_web_server_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(self: object, sockets: object = None) -> None:
        raise RuntimeError("no loop today")

    monkeypatch.setattr(wire.WebServer, "startup", fail)
    gateway = Gateway(FakeGuard()).bind(port=0)
    with pytest.raises(StartRefused, match="no loop today"):
        gateway.listen()
    assert not gateway.serving
    gateway.stop()
