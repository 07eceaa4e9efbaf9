"""Frames over a socket: limits, deadlines, and what is said of bytes that did not leave."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest
from bridge_kit import LONG, InCall, compressed
from hypothesis import given
from hypothesis import strategies as st

from defence.errors import Invalid
from terminals.bridge import wire as module
from terminals.bridge.wire import HEAD, Wire, framed

LIMIT = 100
Pair = tuple[Wire, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    here, there = socket.socketpair()
    wire = Wire(here, LIMIT)
    with there:
        yield wire, there
    wire.close(reset=True)


def soon() -> float:
    return time.monotonic() + LONG


def test_frames_come_whole_and_in_order(pair: Pair) -> None:
    wire, there = pair
    data = framed(b"one") + framed(b"") + compressed(b"three")
    for at in range(len(data)):
        there.sendall(data[at : at + 1])
    assert [wire.receive(soon()) for _ in range(3)] == [b"one", b"", b"three"]


def test_as_much_as_the_limit_and_not_a_byte_more(pair: Pair) -> None:
    wire, there = pair
    for make in (framed, compressed):
        there.sendall(make(bytes(LIMIT)))
        assert wire.receive(soon()) == bytes(LIMIT)
    there.sendall(HEAD.pack(LIMIT + 1, 0))
    with pytest.raises(Invalid, match="says 101 bytes"):
        wire.receive(soon())


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (compressed(bytes(LIMIT + 1)), "expands to more than 100"),
        (compressed(b"x" * 50, cut=3), "is cut"),
        (HEAD.pack(4, 1) + b"xxxx\n", "cannot be expanded"),
        (HEAD.pack(1, 7) + b"x\n", "is no frame"),
        (HEAD.pack(1, 0) + b"xx", "is no frame"),
        (HEAD.pack(2**31, 0), "says 2147483648 bytes"),
    ],
    ids=["a bomb", "cut", "no zlib", "a strange mark", "no line feed", "too long"],
)
def test_damage(pair: Pair, frame: bytes, says: str) -> None:
    wire, there = pair
    there.sendall(frame)
    with pytest.raises(Invalid, match=says):
        wire.receive(soon())


@given(pieces=st.lists(st.binary(min_size=1, max_size=40), max_size=6))
def test_any_bytes_are_frames_or_damage_or_an_end(pieces: list[bytes]) -> None:
    here, there = socket.socketpair()
    wire = Wire(here, LIMIT)
    with there:
        for piece in pieces:
            there.sendall(piece)

    def read_on() -> None:
        while wire.receive(float("inf")) is not None:
            pass

    try:
        with pytest.raises((EOFError, Invalid)):
            read_on()
    finally:
        wire.close(reset=False)


def test_a_deadline_leaves_what_has_come_for_the_next(pair: Pair) -> None:
    wire, there = pair
    there.sendall(framed(b"late")[:4])
    assert wire.receive(time.monotonic() + 0.01) is None
    assert wire.receive(0.0) is None
    there.sendall(framed(b"late")[4:])
    assert wire.receive(soon()) == b"late"


def test_one_that_never_stops_talking_lets_no_deadline_pass(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire, there = pair
    for name in ("_PIECE", "_LARGEST_PIECE"):
        monkeypatch.setattr(module, name, 4)
    body = bytes(LIMIT)  # more pieces than are read after the deadline
    there.sendall(framed(body))
    assert [wire.receive(0.0) for _ in range(2)] == [None, body]


def test_an_end_in_the_middle_says_so(pair: Pair) -> None:
    wire, there = pair
    there.sendall(framed(b"cut")[:4])
    there.close()
    with pytest.raises(EOFError, match="in an answer"):
        wire.receive(soon())


def test_quiet_is_open_and_without_a_byte(pair: Pair) -> None:
    wire, there = pair
    assert wire.quiet()
    there.sendall(b"x")
    assert not wire.quiet()


def test_an_end_is_not_quiet(pair: Pair) -> None:
    wire, there = pair
    there.close()
    assert not wire.quiet()


def test_what_is_kept_of_a_frame_is_not_quiet(pair: Pair) -> None:
    wire, there = pair
    there.sendall(framed(b"one") + b"x")
    assert wire.receive(soon()) == b"one"
    assert not wire.quiet()


def test_nothing_has_left_where_nobody_listens_or_it_was_cut(pair: Pair) -> None:
    wire, there = pair
    there.close()
    assert not wire.send(b"x", soon())
    here, other = socket.socketpair()
    with other:
        cut = Wire(here)
        cut.cut()
        assert not cut.send(b"x", soon())
        assert not cut.quiet()
        cut.close(reset=False)


def test_a_part_may_have_arrived(pair: Pair) -> None:
    """Nobody reads, so only a part is taken: that is not "nothing has left"."""
    wire, _ = pair
    assert wire.send(bytes(50_000_000), time.monotonic() + 0.05)


def test_cut_wakes_whoever_reads(pair: Pair) -> None:
    wire, _ = pair

    def read() -> str:
        with pytest.raises(EOFError) as caught:
            wire.receive(soon())
        return str(caught.value)

    reading = InCall(read)
    wire.cut()
    assert reading.result(LONG / 4)


def test_a_reset_takes_back_what_is_still_on_its_way() -> None:
    """What a network keeps of an order that was given up must not arrive later."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = socket.create_connection(listener.getsockname())
        far = listener.accept()[0]
    with far:
        wire = Wire(near)
        assert wire.send(bytes(50_000_000), time.monotonic() + 0.05)
        wire.close(reset=True)
        with pytest.raises(ConnectionResetError):
            _to_the_end(far)


def _to_the_end(far: socket.socket) -> None:
    while far.recv(1 << 20):
        pass
