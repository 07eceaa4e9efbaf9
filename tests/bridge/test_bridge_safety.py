"""What a server can do to the guard: answer, or be left. And what it never gets to see."""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import rpyc.core.brine as brine
import rpyc.core.consts as consts
from bridge_kit import LONG, PACKAGE, Bridges, Server, compressed, until
from hypothesis import given
from hypothesis import strategies as st
from rpyc.core import protocol

from defence.errors import Invalid
from terminals.bridge.packed import unpacked
from terminals.bridge.place import Place
from terminals.bridge.rpc import Language, RaisedError
from terminals.bridge.terminal import BridgeTerminal
from terminals.bridge.wire import HEAD, framed

REQUESTS = sorted(value for name, value in vars(consts).items() if name.startswith("HANDLE_"))


def message(kind: int, *content: Any) -> bytes:
    return bytes((kind,)) + bytes(brine.dump(content))


def head(answer: bytes) -> bytes:
    return struct.pack("<I", len(answer)) + answer


WELL = head(b'[true, ["plain", {"orders": 0}], [1, "Success"], [0.5, 0.5]]')
DONE = head(b'[true, ["plain", true], [1, "Success"], [0.5, 0.5]]')
REFERENCE = ("rpyc.core.service.SlaveService", 1, 2)


class Impostor:
    """Greets as mt5linux does, then sends what it was given instead of an answer."""

    def __init__(self, instead: Callable[[int], bytes]) -> None:
        self.heard: list[bytes] = []
        self.ended = threading.Event()
        self._instead = instead
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.place = Place(port=self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError), self._listener.accept()[0] as caller:
            for given in (REFERENCE, None, REFERENCE, WELL, DONE):
                number = self._number(caller)
                label = consts.LABEL_REMOTE_REF if given == REFERENCE else consts.LABEL_VALUE
                caller.sendall(framed(message(consts.MSG_REPLY, number, (label, given))))
            caller.sendall(self._instead(self._number(caller)))
            while piece := caller.recv(65_536):
                self.heard.append(piece)
        self.ended.set()

    def _number(self, caller: socket.socket) -> int:
        def read(size: int) -> bytes:
            found = b""
            while len(found) < size:
                piece = caller.recv(size - len(found))
                if not piece:
                    raise OSError("it has gone")
                found += piece
            return found

        length = HEAD.unpack(read(HEAD.size))[0]
        return int(brine.load(read(length + 1)[1:-1])[0])

    def close(self) -> None:
        self._listener.close()
        self._thread.join(LONG)


@pytest.fixture
def impostor(bridges: Bridges) -> Iterator[Callable[..., tuple[Impostor, BridgeTerminal]]]:
    made: list[Impostor] = []

    def make(instead: Callable[[int], bytes]) -> tuple[Impostor, BridgeTerminal]:
        server = Impostor(instead)
        made.append(server)
        terminal = bridges.terminal(server.place)
        assert terminal.initialize(), terminal.last_error()
        return server, terminal

    yield make
    bridges.close()
    for one in made:
        one.close()


def left(server: Impostor, terminal: BridgeTerminal) -> str:
    """Assert that a call failed as unknown, that nothing went back, and return why."""
    assert terminal.account_info() is None
    code, text = terminal.last_error()
    assert code == -10002
    assert terminal.pid is None
    assert server.ended.wait(LONG)
    assert server.heard == [], "not a byte in return"
    return text


def test_the_impostor_can_answer_well(impostor: Any) -> None:
    """Or none of these tests would say anything."""
    _, terminal = impostor(lambda n: framed(message(2, n, (1, DONE))))
    assert terminal.symbol_select("EURUSD") is True


@pytest.mark.parametrize("handler", REQUESTS)
def test_a_request_of_the_server_s_is_not_served(impostor: Any, handler: int) -> None:
    """To read, to call, to pickle, to inspect: all that RPyC knows."""
    root = (consts.LABEL_LOCAL_REF, REFERENCE)
    wanted = (consts.LABEL_TUPLE, (root, (consts.LABEL_VALUE, "__class__")))
    server, terminal = impostor(lambda n: framed(message(1, n, (handler, wanted))))
    assert "the server wants something of the guard" in left(server, terminal)


ODD: dict[str, Callable[[int], bytes]] = {
    "a reference": lambda n: framed(message(2, n, (consts.LABEL_REMOTE_REF, REFERENCE))),
    "an object of ours": lambda n: framed(message(2, n, (consts.LABEL_LOCAL_REF, REFERENCE))),
    "a tuple": lambda n: framed(message(2, n, (consts.LABEL_TUPLE, ((1, DONE),)))),
    "another number": lambda n: framed(message(2, n + 1, (1, DONE))),
    "no number": lambda _: framed(message(2, "x", (1, DONE))),
    "a text": lambda n: framed(message(2, n, (1, "True"))),
    "an exception": lambda n: framed(
        message(3, n, (("os", "system"), ("echo",), (("__class__", "x"),), "Traceback"))
    ),
    "an odd exception": lambda n: framed(message(3, n, 7)),
    "an unknown kind": lambda n: framed(message(9, n, (1, DONE))),
    "no message": lambda _: framed(b""),
    "no brine": lambda _: framed(b"\x02\xff\xff"),
    "deep brine": lambda _: framed(b"\x02" + b"\x10" * 100_000),
    "too long": lambda _: HEAD.pack(2**31, 0),
    "a strange mark": lambda _: HEAD.pack(1, 7) + b"x\n",
    "no line feed": lambda _: HEAD.pack(1, 0) + b"xx",
    "no zlib": lambda _: HEAD.pack(4, 1) + b"xxxx\n",
}


@pytest.mark.parametrize("what", ODD)
def test_what_is_no_answer_ends_the_connection(impostor: Any, what: str) -> None:
    modules = set(sys.modules)
    left(*impostor(ODD[what]))
    assert set(sys.modules) <= modules | {"numpy"}


def test_a_compressed_answer_is_taken(impostor: Any) -> None:
    _, terminal = impostor(lambda n: compressed(message(2, n, (1, DONE))))
    assert terminal.symbol_select("EURUSD") is True


def test_an_answer_that_nobody_waits_for_is_never_taken_for_another(impostor: Any) -> None:
    twice = DONE
    server, terminal = impostor(lambda n: 2 * framed(message(2, n, (1, twice))))
    assert terminal.symbol_select("EURUSD") is True
    assert terminal.account_info() is None
    assert terminal.last_error()[0] == -10004, "it was seen before anything was sent"
    assert server.ended.wait(LONG)


@given(body=st.binary(max_size=80) | st.binary(max_size=80).map(lambda b: b"\x02" + b))
def test_any_bytes_are_damage_to_the_reader(body: bytes) -> None:
    language = Language()
    with contextlib.suppress(Invalid, RaisedError):
        language.number_of(body)
        answer = language.answer(body)
        with pytest.raises(Invalid):
            unpacked(answer)


# -- the real server, in bad hands

REACHING = (
    PACKAGE
    + """

got = []

def reach():
    import gc
    from rpyc.core import consts, protocol

    for one in gc.get_objects():
        if isinstance(one, protocol.Connection) and not one.closed:
            for ask in (
                lambda: one.async_request(consts.HANDLE_GETROOT),
                lambda: one.async_request(consts.HANDLE_CALL, one, ()),
            ):
                answer = ask()
                answer.add_callback(lambda result: got.append(result.error))


def account_info():
    reach()
    return terminal.account_info()
"""
)


def test_code_at_the_server_reaches_nothing_of_the_guard(bridges: Bridges) -> None:
    """RPyC lets code at the server use the connection backwards; nobody serves it here."""
    server = bridges.server(package=REACHING)
    server.package.account_info()
    until(lambda: False in list(server.package.got))  # RPyC's own client does serve it
    del server.package.got[:]
    server.let_go()
    terminal = bridges.connected(server)
    assert terminal.account_info() is None
    code, text = terminal.last_error()
    assert code == -10002
    assert "the server wants something of the guard" in text
    assert False not in list(server.package.got), "an answer without an error"


def test_rpyc_s_own_connection_is_not_used(
    bridges: Bridges, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("it serves the other side")

    monkeypatch.setattr(protocol.Connection, "__init__", refuse)
    terminal = bridges.connected(server)
    assert terminal.positions_get() is not None


# -- the password

SECRET = "hunter-2-secret"


def test_the_password_is_in_no_log_and_no_error(bridges: Bridges, server: Server) -> None:
    said: dict[str, str] = {}
    for what in ("refuse", "raise", "junk", "die"):
        terminal = bridges.terminal(server.place, login=5, password=SECRET, server="S")
        server.spoil("initialize", "before", what)
        connected = terminal.initialize()
        assert what == "refuse" or not connected
        said[what] = f"{terminal!r} {terminal._plan} {terminal.last_error()}"
    assert "***" in said["raise"], "the package's own text had it"
    server.kill()
    texts = [*said.values(), *bridges.said, server.log.read_text()]
    assert not [one for one in texts if SECRET in one]
