"""The sink: one line a fact, no secrets, traces of real faults only; and the pulse."""

from __future__ import annotations

import io
import re
import threading
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from loguru import logger

from actors.clock import SystemClock
from actors.events import EventStream, Kind
from console.log import RunningLog, configure
from console.pulse import Pulse, summary
from console.writer import Writer
from defence.errors import DeadlinePassed, Invalid


@pytest.fixture
def sink() -> io.StringIO:
    return io.StringIO()


def test_a_line(sink: io.StringIO) -> None:
    configure(sink)
    stream = EventStream(SystemClock())
    stream.listen(RunningLog())
    facts = {"how": "killed", "error": "killed by ops"}
    stream.publish(Kind.EXITED, "monitor", 2, **facts)
    stream.publish(Kind.STOPPED)
    first, second = sink.getvalue().splitlines()
    time = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}Z"
    assert re.fullmatch(rf"{time} WARNING  monitor#2    died: killed \(killed by ops\)", first)
    assert re.fullmatch(rf"{time} INFO     guard        stopped", second)


@pytest.mark.parametrize(("verbose", "lines"), [(False, 0), (True, 1)])
def test_cycles_are_quiet(sink: io.StringIO, verbose: bool, lines: int) -> None:
    configure(sink, verbose=verbose)
    stream = EventStream(SystemClock())
    stream.listen(RunningLog())
    stream.publish(Kind.CYCLE, "monitor", 1, cycle=1, trades=0, evaluated=0, intents=0, took=0.1)
    assert len(sink.getvalue().splitlines()) == lines


def test_no_secret_is_written(sink: io.StringIO) -> None:
    log = configure(sink)
    log.hide(["hunter2-word", None, "hunter2"])
    log.hide(["token-of-guard"])
    logger.info("the broker said: hunter2-word")
    logger.bind(child="x").error("Bearer token-of-guard {}", "hunter2")
    try:
        raise ValueError("hunter2-word")
    except ValueError:
        logger.exception("failed")
    text = sink.getvalue()
    assert "hunter2" not in text
    assert "token-of-guard" not in text
    assert text.count("***") >= 4


@pytest.mark.parametrize(
    "hostile", ["a\nb", "a\r\n2026-01-01 INFO forged", "\x1b[31mred", "<red>x</red> {0} {extra}"]
)
def test_what_others_write_stays_one_line(sink: io.StringIO, hostile: str) -> None:
    configure(sink)
    stream = EventStream(SystemClock())
    stream.listen(RunningLog())
    stream.publish(Kind.TERMINAL_LOST, "connector", 1, reason=hostile)
    text = sink.getvalue()
    assert text.count("\n") == 1
    assert "\x1b" not in text
    if "<" in hostile:
        assert hostile in text


def test_colours_on_a_terminal_only() -> None:
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Screen()
    configure(screen)
    logger.warning("<red>[x]</red> \x1b[5m {0}")
    text = screen.getvalue()
    assert "\x1b[33m" in text, "a warning is yellow"
    assert "<red>[x]</red> ?[5m {0}" in text, "what is said is not marked up"


def test_a_fault_shows_its_trace_and_an_expected_error_does_not(sink: io.StringIO) -> None:
    configure(sink)
    try:
        raise Invalid("is wrong", field="login")
    except Invalid as error:
        logger.opt(exception=error).error("died: {}", error)
    assert "Traceback" not in sink.getvalue()
    assert "login: is wrong" in sink.getvalue()
    try:
        raise KeyError("nobody foresaw this")
    except KeyError as error:
        logger.opt(exception=error).error("died: {}", error)
    assert "Traceback" in sink.getvalue()
    assert "nobody foresaw this" in sink.getvalue()


def test_the_symbol_is_remembered(sink: io.StringIO) -> None:
    configure(sink)
    stream = EventStream(SystemClock())
    stream.listen(RunningLog())
    stream.publish(Kind.INTENT, "registry", 1, ticket=7, symbol="GBPUSD", what="close", reason="r")
    stream.publish(Kind.OUTCOME, "registry", 1, ticket=7, outcome="done", by="broker")
    stream.publish(Kind.OUTCOME, "registry", 1, ticket=8, outcome="done", by="broker")
    lines = sink.getvalue().splitlines()
    assert "GBPUSD #7 order done" in lines[1]
    assert " #8 order done" in lines[2]


@pytest.mark.parametrize(
    ("kind", "settled"),
    [(Kind.GUARD_READY, True), (Kind.START_REFUSED, True), (Kind.DIED, True), (Kind.READY, False)],
)
def test_what_settles_a_start(sink: io.StringIO, kind: Kind, settled: bool) -> None:
    configure(sink)
    stream = EventStream(SystemClock())
    running = RunningLog()
    stream.listen(running)
    stream.publish(kind)
    assert running.settled.is_set() is settled


# -- the pulse


@dataclass
class FakeTrade:
    result_r: float | None


class Watched:
    def __init__(self) -> None:
        self.asked = 0
        self.reasons: list[str] = []
        self.slow = False

    def status(self) -> dict[str, object]:
        account = {"currency": "USD"}
        return {"mode": "armed", "paused": None, "reasons": self.reasons, "account": account}

    def trades(self, *, timeout: float = 5.0) -> Any:
        self.asked += 1
        if self.slow:
            raise DeadlinePassed("late")
        return (FakeTrade(-0.31), FakeTrade(None), FakeTrade(0.529))


def test_the_summary() -> None:
    status = {"mode": "armed", "reasons": ["a", "b"], "account": {"currency": "EUR"}}
    trades: Any = [FakeTrade(-0.31), FakeTrade(0.529)]
    assert summary(7, trades, 9991.987, status) == (
        "cycle 7, 2 trades, R -0.31 to +0.53, equity 9991.99 EUR, armed, NOT READY: a; b"
    )
    assert summary(None, None, None, {"mode": "observe", "paused": "paused by x"}) == (
        "no cycle yet, the trades could not be read in time, paused by x"
    )
    none: Any = [FakeTrade(None)]
    assert summary(1, none, None, {"mode": "observe"}) == "cycle 1, 1 trade, observe"


def test_the_pulse_beats_at_most_every_30_s(sink: io.StringIO) -> None:
    configure(sink)
    stream, running, guard = EventStream(SystemClock()), RunningLog(), Watched()
    stream.listen(running)
    now = SimpleNamespace(s=1000.0)
    pulse = Pulse(guard, running, lambda: now.s)

    def cycle(number: int) -> None:
        stream.publish(Kind.SNAPSHOT, "connector", 1, positions=3, equity=10.0)
        stream.publish(Kind.CYCLE, "monitor", 1, cycle=number)

    def beats() -> list[str]:
        pulse.beat()
        return [line for line in sink.getvalue().splitlines() if "equity" in line]

    assert beats() == []  # nothing has happened yet
    cycle(1)
    assert len(beats()) == 1
    assert "cycle 1, 3 trades, R -0.31 to +0.53, equity 10.00 USD, armed" in beats()[0]
    cycle(2)
    now.s += 29.9
    assert len(beats()) == 1
    now.s += 0.1
    assert len(beats()) == 2
    assert guard.asked == 2
    now.s += 60.0
    assert len(beats()) == 2  # no new cycle, and nothing is wrong
    guard.reasons = ["the broker was last read 61 s ago"]
    guard.slow = True
    assert "could not be read in time" in beats()[2]
    assert "NOT READY: the broker was last read 61 s ago" in beats()[2]


# -- the thread that writes


class Blocked(io.StringIO):
    """A screen that stands still until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()
        self.go = threading.Event()

    def write(self, text: str) -> int:
        self.begun.set()
        assert self.go.wait(10)
        return super().write(text)


def test_nobody_waits_for_a_screen_that_stands_still() -> None:
    screen = Blocked()
    writer = Writer(screen, room=3)
    writer("first\n")
    assert screen.begun.wait(10)
    for number in range(5):
        writer(f"{number}\n")  # would never return if it waited
    assert writer.close(0.01) is False
    screen.go.set()
    assert writer.close(10) is True
    dropped = "(2 lines of the log were dropped: nobody read them)"
    assert screen.getvalue().splitlines() == ["first", "0", "1", "2", dropped]


def test_a_reader_that_has_gone_harms_nobody() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    writer = Writer(Gone())
    for _ in range(3):
        writer("x\n")
    assert writer.close(10) is True


def test_closing_writes_what_waits(sink: io.StringIO) -> None:
    log = configure(sink, patient=False)
    for number in range(500):
        logger.info("line {}", number)
    log.close()
    logger.info("too late")
    lines = sink.getvalue().splitlines()
    assert len(lines) == 500
    assert lines[-1].endswith("line 499")


def test_a_program_without_a_window() -> None:
    log = configure(None)
    logger.info("nowhere")
    log.close()
