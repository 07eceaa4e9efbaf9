"""Servers that are not there, die, hang and come back; a tunnel that keeps bytes."""

from __future__ import annotations

import gc
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from bridge_kit import LONG, Bridges, InCall, Server, free_port, until

from console.deep.probe import Probe
from console.deep.reading import connect
from console.look_at_terminal import check_terminal
from supervisors.settings import Settings
from terminals.bridge.connection import Connection
from terminals.bridge.place import Place

BUY = {"action": 1, "symbol": "EURUSD", "volume": 0.1, "type": 0, "type_filling": 0}
UNKNOWN, LOST, NOT_SENT, INIT = -10005, -10002, -10004, -10003
SHORT = 0.3


def buys(server: Server) -> int:
    """How many orders met the broker."""
    return len(server.package.terminal.orders_sent)


def test_without_a_server_it_says_so_at_once(bridges: Bridges) -> None:
    port = free_port()
    terminal = bridges.terminal(Place(port=port))
    began = time.monotonic()
    for _ in range(5):
        assert not terminal.initialize(), "and the next try is not put off"
        code, text = terminal.last_error()
        assert code == INIT
        assert f"no mt5linux server answers at 127.0.0.1:{port}: Connection refused" in text
    assert time.monotonic() - began < 5.0
    assert terminal.account_info() is None
    assert terminal.last_error()[0] == NOT_SENT


@pytest.fixture(scope="module")
def mortal(shared: Bridges) -> Server:
    """One that is killed and started again; its broker lives on."""
    return shared.server(state=shared.folder / "broker.json")


def test_killed_between_two_calls(bridges: Bridges, mortal: Server) -> None:
    terminal = bridges.connected(mortal)
    assert terminal.account_info() is not None
    mortal.kill()
    assert terminal.order_send(BUY) is None
    assert terminal.last_error()[0] == NOT_SENT, "its end was seen before a byte was written"
    assert not terminal.initialize()
    mortal.start()
    assert terminal.initialize()
    assert terminal.account_info() is not None
    assert terminal.restarts > 0


@pytest.mark.parametrize("call", ["positions_get", "order_send"])
def test_killed_in_the_middle_of_a_call(bridges: Bridges, mortal: Server, call: str) -> None:
    terminal = bridges.connected(mortal)
    mortal.spoil(call, "before", "hang")
    arguments = (BUY,) if call == "order_send" else ()
    slow = InCall(lambda: (getattr(terminal, call)(*arguments), terminal.last_error()))
    until(lambda: call in [one[0] for one in mortal.package.seen])
    mortal.kill()
    answer, (code, text) = slow.result()
    assert (answer, code) == (None, LOST)
    assert "the bridge ended in" in text
    mortal.start()
    assert terminal.initialize()
    assert terminal.positions_get() is not None


def test_executed_and_the_answer_lost(bridges: Bridges, mortal: Server) -> None:
    terminal = bridges.connected(mortal)
    before = len(terminal.positions_get() or ())
    mortal.spoil("order_send", "after", "die")
    assert terminal.order_send(BUY) is None
    assert terminal.last_error()[0] == LOST, "unknown: not -10004"
    mortal.kill()
    mortal.start()
    assert terminal.initialize()
    assert len(terminal.positions_get() or ()) == before + 1
    assert buys(mortal) == 0, "of the new server: nothing was sent again"


# -- hanging


@pytest.fixture(scope="module")
def server(shared: Bridges) -> Server:
    return shared.server()


@pytest.fixture
def released(server: Server) -> Iterator[Any]:
    """Let what hangs go on."""
    yield server.package.released.set
    server.package.released.set()
    until(lambda: not list(server.package.__dict__["_dtms_orders_under_way"]))
    server.package.released.clear()
    server.package.spoilt.clear()


def test_a_read_that_hangs(shared: Bridges, server: Server, released: Any) -> None:
    terminal = shared.connected(server, call_timeout=SHORT)
    server.spoil("positions_get", "before", "hang")
    began = time.monotonic()
    assert terminal.positions_get() is None
    took = time.monotonic() - began
    assert terminal.last_error()[0] == UNKNOWN
    assert SHORT <= took < SHORT + LONG / 4
    assert terminal.account_info() is None
    assert terminal.last_error()[0] == NOT_SENT, "its late answer can be taken for no other"
    assert terminal.initialize()
    assert terminal.account_info() is not None
    assert terminal.positions_get() is not None


def test_an_order_that_hangs_keeps_new_connections_out(
    shared: Bridges, server: Server, released: Any
) -> None:
    terminal = shared.connected(server, call_timeout=SHORT)
    before = buys(server)
    server.spoil("order_send", "before", "hang")
    assert terminal.order_send(BUY) is None
    assert terminal.last_error()[0] == UNKNOWN
    for _ in range(3):
        assert not terminal.initialize()
        assert "an order that was given up is still under way" in terminal.last_error()[1]
    released()
    until(terminal.initialize)
    assert buys(server) == before + 1, "it had begun, so it was done, once"


def test_a_connection_that_takes_long(shared: Bridges, server: Server, released: Any) -> None:
    terminal = shared.terminal(server.place, call_timeout=SHORT, connect_timeout=LONG)
    server.spoil("initialize", "before", "hang")
    for _ in range(3):
        began = time.monotonic()
        assert not terminal.initialize()
        assert time.monotonic() - began < SHORT + LONG / 4
        assert "still connecting" in terminal.last_error()[1]
        assert terminal.account_info() is None
        assert terminal.last_error()[0] == NOT_SENT
    calls = [one[0] for one in server.package.seen].count("initialize")
    released()
    until(terminal.initialize)
    assert [one[0] for one in server.package.seen].count("initialize") == calls
    assert terminal.account_info() is not None


def test_a_connection_that_never_comes_is_given_up(
    shared: Bridges, server: Server, released: Any
) -> None:
    terminal = shared.terminal(server.place, call_timeout=SHORT, connect_timeout=2 * SHORT)
    server.spoil("initialize", "before", "hang")
    until(lambda: not terminal.initialize() and terminal.last_error()[0] == UNKNOWN)
    assert terminal.initialize(), "a fresh one, at once"


@pytest.fixture
def busy() -> Iterator[Place]:
    """Yield a place where connections are taken, and nobody says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield Place(port=listener.getsockname()[1])


@pytest.mark.parametrize("deep", [True, False])
def test_a_doctor_waits_for_a_slow_start_as_a_guard_does(
    bridges: Bridges, busy: Place, deep: bool
) -> None:
    terminal = bridges.terminal(busy, call_timeout=0.1, connect_timeout=0.4)
    began = time.monotonic()
    if deep:
        assert not connect(Probe(terminal), None)
    else:
        settings = Settings(terminal="bridge", login=5, server="S")
        check = check_terminal(settings, LONG, lambda: terminal)
        assert "bridge does not connect" in check.text
    assert time.monotonic() - began > 0.35
    assert not terminal.connecting


def test_a_server_that_dies_while_it_connects(bridges: Bridges, mortal: Server) -> None:
    terminal = bridges.terminal(mortal.place)
    mortal.spoil("initialize", "before", "die")
    assert not terminal.initialize()
    assert terminal.last_error()[0] == INIT
    mortal.kill()
    mortal.start()
    assert terminal.initialize()


def test_a_server_that_listens_and_says_nothing(bridges: Bridges) -> None:
    """Its process stands still: the package holds the GIL, or somebody stopped it."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        place = Place(port=mute.getsockname()[1])
        terminal = bridges.terminal(place, call_timeout=SHORT, connect_timeout=2 * SHORT)
        for _ in range(3):
            began = time.monotonic()
            assert not terminal.initialize()
            assert time.monotonic() - began < SHORT + LONG / 4


def test_abort_frees_a_call(shared: Bridges, server: Server, released: Any) -> None:
    terminal = shared.connected(server)
    server.spoil("positions_get", "before", "hang")
    slow = InCall(lambda: (terminal.positions_get(), terminal.last_error()))
    until(lambda: server.package.seen[-1][0] == "positions_get")
    began = time.monotonic()
    terminal.abort("so")
    answer, (code, text) = slow.result()
    assert time.monotonic() - began < LONG / 4
    assert (answer, code) == (None, LOST)
    assert text.endswith("so")
    assert terminal.initialize()


def test_close_frees_a_call_and_is_for_good(shared: Bridges, server: Server, released: Any) -> None:
    terminal = shared.connected(server)
    server.spoil("positions_get", "before", "hang")
    slow = InCall(terminal.positions_get)
    until(lambda: server.package.seen[-1][0] == "positions_get")
    terminal.close()
    assert slow.result() is None
    assert not terminal.initialize()
    terminal.close()


def test_what_somebody_uses_is_not_closed_under_him(shared: Bridges, server: Server) -> None:
    """Its number would be another's, and an order that still goes out would be nobody's."""
    terminal = shared.connected(server)
    connection = terminal._host._worker
    assert isinstance(connection, Connection)
    with connection._using() as wire:
        assert wire is not None
        terminal.abort("so")
        assert not connection.gone.is_set()
        assert wire._sock.fileno() >= 0
    assert connection.gone.is_set()
    assert wire._sock.fileno() < 0


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_nothing_is_left_behind(shared: Bridges, server: Server) -> None:
    def held() -> tuple[int, int]:
        gc.collect()
        return threading.active_count(), len(os.listdir("/proc/self/fd"))  # noqa: PTH208

    nobody, terminal = shared.terminal(Place(port=free_port())), shared.connected(server)
    before = held()
    for _ in range(15):
        assert not nobody.initialize()
        terminal.abort()
        assert terminal.initialize()
    until(lambda: held() <= before)


# -- a tunnel


class Tunnel:
    """Passes bytes on to a server, or keeps them for a while, as a network may."""

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.open = threading.Event()
        self.open.set()
        self.kept = threading.Event()  # bytes have come that were not passed on
        self._to = port
        self._over = False
        self._threads = [threading.Thread(target=self._listen, daemon=True)]
        self._threads[0].start()

    def _listen(self) -> None:
        while True:
            try:
                near = self._listener.accept()[0]
            except OSError:
                return
            thread = threading.Thread(target=self._pass, args=(near,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _pass(self, near: socket.socket) -> None:
        with near, socket.create_connection(("127.0.0.1", self._to)) as far:
            while not self._over:
                for one in select.select([near, far], [], [], 0.05)[0]:
                    piece = _piece(one)
                    if one is near and not self.open.is_set():
                        self.kept.set()
                        self.open.wait()
                    if not piece:
                        if one is near:
                            _drain(far)
                        return
                    with suppress(OSError):  # who waited for it has gone
                        (far if one is near else near).sendall(piece)

    def close(self) -> None:
        """End, once the server has taken in all that was passed on."""
        self._over = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.open.set()
        for one in self._threads:
            one.join(LONG)


def _piece(one: socket.socket) -> bytes:
    try:
        return one.recv(65_536)
    except OSError:
        return b""


def _drain(far: socket.socket) -> None:
    """Say that nothing more comes; the server ends when it has done what came."""
    far.shutdown(socket.SHUT_WR)
    while _piece(far):
        pass


@pytest.fixture
def tunnel(server: Server) -> Iterator[Tunnel]:
    made = Tunnel(server.port)
    yield made
    made.close()


@pytest.mark.parametrize("late", [True, False])
def test_an_order_that_was_kept_on_its_way_does_not_begin_when_it_is_given_up(
    shared: Bridges, server: Server, tunnel: Tunnel, late: bool
) -> None:
    timeout = SHORT if late else LONG
    terminal = shared.terminal(Place(port=tunnel.port), call_timeout=timeout)
    until(terminal.initialize)
    before = buys(server)
    tunnel.open.clear()
    sent = InCall(lambda: (terminal.order_send(BUY), terminal.last_error()[0]))
    assert tunnel.kept.wait(LONG)
    if late:
        assert sent.result() == (None, UNKNOWN)
        # The clock of the server is what counts there, and it starts no later than ours.
        time.sleep(0.02)
    tunnel.open.set()
    if late:
        tunnel.close()
        assert buys(server) == before
    else:
        answer, code = sent.result()
        assert (answer.retcode, code, buys(server)) == (10009, 1, before + 1)
