"""Answers are heard to the last, deadlines are kept, and an end is told, whoever reads the pipe."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from worker_kit import InCall

from terminals.worker import hearing as module
from terminals.worker.frames import LATE_PIECES, frame
from terminals.worker.hearing import CAN_POLL, EndedError, Hearing, Polled, Threaded

LONG = 20.0


class Owner:
    """A process whose life the test tells."""

    def __init__(self) -> None:
        self.why = ""
        self.over = False
        self.killed = threading.Event()

    def take(self, message: Any) -> Any:
        return None if message[0] is None else message

    def kill(self, why: str) -> None:
        self.why = self.why or why
        self.killed.set()

    def runs_no_more(self, within: float) -> bool:
        del within
        return self.over


class Line:
    """A pipe, both ends in the test's hand, and who hears it."""

    def __init__(self, kind: type[Polled | Threaded]) -> None:
        reader, self.writer = os.pipe()
        self.owner = Owner()
        self.hearing: Hearing = kind(os.fdopen(reader, "rb", 0), self.owner)
        self._closed = False
        self.ended = False

    def say(self, *message: Any) -> None:
        os.write(self.writer, frame(message))

    def hang_up(self) -> None:
        if not self._closed:
            self._closed = True
            os.close(self.writer)

    def end(self, why: str = "it ended") -> None:
        """Do what the process's own thread does once it has ended."""
        self.ended = self.owner.over = True
        self.owner.why = self.owner.why or why
        self.hearing.close()
        self.hearing.over()


@pytest.fixture(
    params=[
        pytest.param(Polled, marks=pytest.mark.skipif(not CAN_POLL, reason="no poll here")),
        Threaded,
    ]
)
def line(request: pytest.FixtureRequest) -> Iterator[Line]:
    one = Line(request.param)
    yield one
    one.hang_up()
    if not one.ended:
        one.end()


def soon() -> float:
    return time.monotonic() + LONG


def test_answers_come_in_order_and_notes_are_none(line: Line) -> None:
    line.say(1, "a")
    line.say(None, "note")
    line.say(2, "b")
    assert line.hearing.get(soon()) == (1, "a")
    assert line.hearing.get(soon()) == (2, "b")


def test_a_deadline_is_kept(line: Line) -> None:
    began = time.monotonic()
    assert line.hearing.get(began + 0.05) is None
    assert 0.04 < time.monotonic() - began < 2.0
    assert line.hearing.get(began) is None


@pytest.mark.skipif(not CAN_POLL, reason="no poll here")
def test_what_lay_there_at_the_deadline_is_heard_and_not_all_that_comes_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    size = 100
    monkeypatch.setattr(module, "_PIECE", size)
    note = frame((None, "market_time", 1.0))
    fill = len(note) * (size * LATE_PIECES // len(note) // 2)
    line = Line(Polled)
    try:
        for length, heard in ((fill, [(1, "a")]), (3 * fill, [None, (1, "a")])):
            os.write(line.writer, note * (length // len(note)))
            line.say(1, "a")
            assert [line.hearing.get(0.0) for _ in heard] == heard
    finally:
        line.hang_up()
        line.end()


def test_what_was_said_before_the_end_is_heard_after_it(line: Line) -> None:
    line.say(1, "done")
    line.owner.over = True
    line.hang_up()
    line.end()
    assert line.hearing.get(soon()) == (1, "done")
    with pytest.raises(EndedError, match="it ended"):
        line.hearing.get(soon())


def test_whoever_waits_is_told_of_the_end_although_another_holds_the_pipe(line: Line) -> None:
    """As a program does that the process has started: then the pipe never ends."""
    out = InCall(lambda: line.hearing.get(soon()))
    time.sleep(0.05)
    line.end("it was killed")
    with pytest.raises(EndedError, match="it was killed"):
        out.result()


@pytest.mark.skipif(not CAN_POLL, reason="no poll here")
def test_one_who_has_hung_up_is_known_to_be_deaf_before_he_is_asked() -> None:
    line = Line(Polled)
    assert not line.hearing.deaf()
    line.hang_up()
    assert line.hearing.deaf()
    assert line.owner.why == "it closed its pipe"
    line.end()
    assert line.hearing.deaf()


@pytest.mark.parametrize(
    ("said", "over", "why"),
    [
        (frame((1, "a"))[:-1], True, "it ended in the middle of an answer"),
        (b"", False, "it closed its pipe"),
        (b"", True, ""),
        (b"\0\0\0\1\xc1", False, "its answer is damaged"),
    ],
)
def test_how_the_pipe_ends_is_judged(
    line: Line, monkeypatch: pytest.MonkeyPatch, said: bytes, over: bool, why: str
) -> None:
    monkeypatch.setattr(module, "DRAIN", 0.05)
    line.owner.over = over
    if said:
        os.write(line.writer, said)
    line.hang_up()
    assert line.hearing.get(time.monotonic() + 0.2) is None
    assert why in line.owner.why
    assert line.owner.killed.is_set() == bool(why)
