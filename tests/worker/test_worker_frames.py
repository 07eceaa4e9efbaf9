"""Frames: what was sent arrives, whatever the pieces; damage is told, and never guessed at."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from defence.errors import Invalid
from terminals.worker.frames import Frames, frame

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters())  # surrogates too: a comment may hold half a character
    | st.binary(max_size=50),
    lambda inner: (
        st.lists(inner, max_size=5).map(tuple)
        | st.dictionaries(st.text() | st.integers(0, 9), inner, max_size=5)
    ),
    max_leaves=20,
)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(ends)]


@given(st.lists(PLAIN, max_size=5), st.lists(st.integers(0, 10_000), max_size=8))
def test_what_was_sent_arrives_however_it_is_cut(messages: list[Any], places: list[int]) -> None:
    data = b"".join(map(frame, messages))
    reader = Frames()
    found = [message for piece in cut(data, places) for message in reader.feed(piece)]
    assert found == messages
    assert not reader.begun


@given(PLAIN, st.integers(1, 50))
def test_what_is_cut_off_does_not_arrive_and_shows(message: Any, missing: int) -> None:
    data = frame(message)
    reader = Frames()
    assert list(reader.feed(data[: max(1, len(data) - missing)])) == []
    assert reader.begun


@given(st.binary(min_size=4, max_size=200))
def test_garbage_is_refused_or_waited_for_and_never_crashes(data: bytes) -> None:
    reader = Frames(limit=100)
    refusals: list[Invalid] = []
    found: list[Any] = []
    try:
        found.extend(reader.feed(data))
    except Invalid as error:
        refusals.append(error)
    assert all(error.field == "frame" and error.remedy for error in refusals)
    assert refusals or found or reader.begun


def test_print_into_the_pipe_is_refused_at_once() -> None:
    with pytest.raises(Invalid, match="at most"):
        list(Frames().feed(b"Hello, here speaks a library\n"))


@pytest.mark.parametrize(
    "body", [b"", b"\xc1", b"\x01\x02", b"\xd9\xff", b"\x91" * 3000, b"\xa1\xff", b"\x81\x80\x01"]
)
def test_a_body_that_is_no_message(body: bytes) -> None:
    with pytest.raises(Invalid, match="no message"):
        list(Frames().feed(len(body).to_bytes(4, "big") + body))


def test_the_largest_frame_and_one_byte_more() -> None:
    fits = frame(b"x" * 95, limit=97)
    assert len(fits) == 101
    assert list(Frames(limit=97).feed(fits)) == [b"x" * 95]
    with pytest.raises(Invalid, match="97 bytes, at most 96"):
        list(Frames(limit=96).feed(fits))
    with pytest.raises(Invalid, match="97 bytes, at most 96"):
        frame(b"x" * 95, limit=96)


def test_it_says_how_much_is_missing() -> None:
    data = frame(b"x" * 1000)
    reader = Frames()
    assert reader.missing == 0
    assert list(reader.feed(data[:10])) == []
    assert reader.missing == len(data) - 10


@pytest.mark.parametrize("value", [object(), {1, 2}, 2**70, 1j, print])
def test_what_is_no_plain_value_is_not_sent(value: object) -> None:
    with pytest.raises(Invalid, match="cannot be sent"):
        frame(("order_send", {"volume": value}))


def test_numpy_numbers_are_numbers() -> None:
    np = pytest.importorskip("numpy")
    data = frame((np.int64(7), np.float64(0.5), np.bool_(True), np.float32(0.25)))
    assert list(Frames().feed(data)) == [(7, 0.5, True, 0.25)]
    with pytest.raises(Invalid, match="cannot be sent"):
        frame(np.zeros(3))
