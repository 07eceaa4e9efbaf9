"""A child that is broken, slow to come up or deaf: it costs its host nothing but a new child."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from worker_kit import LONG, InCall, Workers, alive, children, connect, stopped, until

from defence.errors import Invalid, TerminalRefused
from terminals.worker import host, process
from terminals.worker.hearing import CAN_POLL
from terminals.worker.office import SimulatedWorker

RECEIVE, TIMEOUT = -10_002, -10_005

# A child of another make. It speaks the same frames, and what it says is up to each test.
CHILD = """
import json, os, sys, time
sys.path += json.loads(sys.argv[1])
from terminals.worker.frames import Frames, frame
frames, waiting = Frames(), []
def hear():
    while not waiting:
        piece = os.read(0, 65536)
        if not piece:
            os._exit(0)
        waiting.extend(frames.feed(piece))
    return waiting.pop(0)
def say(*message):
    data = frame(message)
    while data:
        data = data[os.write(1, data):]
GOOD = (1, "Success")
def answer(value=None, error=GOOD, shape=None, ok=True):
    say(hear()[0], ok, value, error, shape)
"""
GREETS = "answer()\n"
SLEEPS = "time.sleep(600)\n"


@pytest.fixture(params=["polled", "threaded"], autouse=True)
def hearing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks reads the pipe, or a thread does, as it must on Windows."""
    monkeypatch.setattr(process, "CAN_POLL", request.param == "polled" and CAN_POLL)


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let the next children do what a text says, after those of `CHILD`."""
    return lambda text: monkeypatch.setattr(process, "_BOOT", CHILD + text)


def started(workers: Workers, **options: Any) -> SimulatedWorker:
    """A hosted terminal whose child has answered to the first message, and told the time."""
    terminal = workers.make(**options)
    terminal.start()
    return terminal


def thread_names(prefix: str) -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith(prefix)]


STARTS = GREETS + "answer(5.0)\n"


# -- it dies although nobody could use it


@pytest.mark.parametrize("failure", [OSError(errno.EMFILE, "Too many open files"), MemoryError()])
def test_a_child_that_cannot_be_greeted_is_reaped_and_replaced(
    workers: Workers, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    before, dup, failures = children(), os.dup, [failure]

    def no_dup(number: int) -> int:
        if failures and threading.current_thread().name == "dtms-worker":
            raise failures.pop()
        return dup(number)

    monkeypatch.setattr(os, "dup", no_dup)
    terminal = workers.make(call_timeout=5.0)
    assert terminal.initialize() is False
    assert "it could not be used" in terminal.last_error()[1]
    assert terminal._host._worker is None  # it is gone, and known to be
    assert children() <= before
    connect(terminal)


def test_whatever_fails_at_its_start_it_is_known_to_be_gone(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_roots() -> list[str]:
        raise RuntimeError("a loop of links")

    terminal = workers.make(call_timeout=5.0)
    with monkeypatch.context() as patch:
        patch.setattr(process, "_roots", no_roots)
        assert terminal.initialize() is False
    assert "could not be started: a loop of links" in terminal.last_error()[1]
    connect(terminal)


# -- it says what nobody wants to know


@pytest.mark.parametrize(
    "flood",
    [
        "for nth in range(10**9): say(None, f'n{nth}', 'x' * 1000)",
        "for nth in range(10**9): say(10**9 + nth, True, 'x' * 1000, GOOD, None)",
        "while True: say(0, True, 'x' * 1000, GOOD, None)",  # that one has had its answer
        "while True: say(True, True, None, GOOD, None)",
        "while True: say(None, 'market_time', 'x' * 1000)",
    ],
)
def test_what_nobody_asked_for_is_damage_and_does_not_pile_up(
    workers: Workers, child: Callable[[str], None], flood: str
) -> None:
    child(STARTS + flood + "\n")
    terminal = workers.make()
    out = InCall(terminal.start)  # the damage may come before it has seen that it has started
    until(lambda: terminal._host._worker is not None)
    worker = terminal._host._worker
    assert worker is not None
    until(lambda: out.over)
    until(lambda: terminal.account_info() is None and worker.gone.is_set())
    assert worker.killed
    assert "its answer is damaged" in worker.why
    assert worker.notes.keys() <= {"faults", "market_time"}
    until(lambda: not thread_names("dtms-worker"))


def test_one_who_never_stops_talking_lets_no_deadline_pass(
    workers: Workers, child: Callable[[str], None]
) -> None:
    child(STARTS + "while True: say(None, 'market_time', 5.0)\n")
    terminal = workers.make(call_timeout=0.5)
    terminal.start()
    began = time.monotonic()
    assert terminal.account_info() is None
    assert 0.4 < time.monotonic() - began < 5.0
    assert terminal.last_error()[0] == TIMEOUT


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ("answer(None, None)", "last_error"),
        ("answer(None, ('x', {}))", "last_error"),
        ("answer(None, (1, 'a', 'b'))", "last_error"),
        ("answer(('ValueError', 'x'), None, ok=False)", "last_error"),
        ("answer(None, GOOD, ok=False)", "an error"),
        ("answer(((1, 2),), GOOD, (('count', 'index'), None))", "TradePosition"),
        ("answer(((1, 2),), GOOD, (('ticket', 'ticket'), None))", "TradePosition"),
    ],
)
def test_a_damaged_answer_ends_the_worker(
    workers: Workers, child: Callable[[str], None], said: str, named: str
) -> None:
    child(f"{STARTS}{said}\n{SLEEPS}")
    terminal = started(workers)
    worker = terminal._host._worker
    assert worker is not None
    with pytest.raises(Invalid, match=f"no answer of {named}") as caught:
        terminal.positions_get()
    assert caught.value.field == "frame"
    assert worker.gone.wait(LONG)
    assert "its answer to positions_get is damaged" in worker.why
    assert terminal.last_error()[0] == RECEIVE
    assert terminal.pid is None


def test_an_account_without_a_login_is_no_account_to_expect(
    workers: Workers, child: Callable[[str], None]
) -> None:
    child(f"{STARTS}answer((5,), GOOD, (('leverage',), None))\n{SLEEPS}")
    terminal = started(workers)
    found: Any = terminal.account_info()
    assert found.leverage == 5
    assert terminal._account is None


# -- it does not read


def test_a_write_that_waits_keeps_nobody_from_killing(
    workers: Workers, child: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if a pipe held less than is thought: then a deadline and a kill still count."""
    child(STARTS + SLEEPS)
    monkeypatch.setattr(process, "_REQUEST_LIMIT", 1 << 24)
    terminal = started(workers)
    worker = terminal._host._worker
    assert worker is not None
    out = InCall(
        lambda: (terminal.order_check({"comment": "x" * 4_000_000}), terminal.last_error())
    )
    until(worker._pipe.locked)
    time.sleep(0.05)  # it may still be short of the write; it is in it nearly always
    assert not out.over
    killer = InCall(lambda: terminal.abort("the connector hangs"))
    try:
        killer.result(LONG / 4)
        answer, (code, text) = out.result(LONG / 4)
    except AssertionError:
        os.kill(worker.pid or 0, signal.SIGKILL)  # or nobody could end it: it waits for the write
        raise
    assert (answer, code) == (None, RECEIVE)
    assert "the connector hangs" in text


@pytest.mark.skipif(sys.platform != "linux", reason="sets the size of a pipe")
def test_the_longest_request_fits_into_the_smallest_pipe(workers: Workers) -> None:
    import fcntl

    def request(size: int) -> dict[str, Any]:
        return {"action": 1, "comment": "x" * size}

    def is_sent(size: int) -> bool:
        terminal.order_check(request(size))
        return "argument: frame" not in terminal.last_error()[1]

    terminal = workers.connected()
    terminal._host._numbers = 1000  # so that all of them have the same size
    longest = max(filter(is_sent, range(3950, 4100)))
    assert not is_sent(longest + 1)
    terminal._host.call_timeout = 0.3
    worker = terminal._host._worker
    assert worker is not None
    assert worker._process is not None
    assert worker._process.stdin is not None
    size = fcntl.fcntl(worker._process.stdin, fcntl.F_SETPIPE_SZ, 4096)
    if size > 4096:
        pytest.skip("a page is larger here")
    os.kill(terminal.pid or 0, signal.SIGSTOP)
    until(lambda: stopped(terminal.pid or 0))
    out = InCall(lambda: (terminal.order_check(request(longest)), terminal.last_error()[0]))
    assert out.result(LONG / 4) == (None, TIMEOUT)


# -- it does not come up


def test_a_start_ends_before_a_child_of_supervision_is_late(
    workers: Workers, child: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert host.START_WAIT + 5.0 < 30.0  # with what is handed over to it
    child("time.sleep(600)\n")
    monkeypatch.setattr(host, "START_WAIT", 0.3)
    terminal = workers.make(call_timeout=LONG)
    began = time.monotonic()
    with pytest.raises(TerminalRefused, match="still starting"):
        terminal.start()
    assert time.monotonic() - began < LONG / 4


def test_a_close_ends_a_start_that_waits(workers: Workers, child: Callable[[str], None]) -> None:
    child("time.sleep(600)\n")
    terminal = workers.make()
    out = InCall(terminal.start)
    until(lambda: terminal.pid is not None)
    pid = terminal.pid or 0
    terminal.close()
    assert not alive(pid)
    with pytest.raises(TerminalRefused, match="closed"):
        out.result(LONG / 4)
