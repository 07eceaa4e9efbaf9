"""What `run` does in which order, with a guard and a gateway that only pretend."""

from __future__ import annotations

import io
import signal
import threading
from pathlib import Path

import pytest
from console_fakes import FakeClock, FakeDoor, FakeGuard

from actors.events import Kind
from console.ends import Ended
from console.log import Log, RunningLog, configure
from console.run_command import POLL, Runner
from console.signals import NAMES, Signals
from defence.errors import FolderRefused, StartRefused
from storage.marker import MARKER
from supervisors.settings import Settings


class Stage:
    """A run on the stage: what was done, said and logged."""

    def __init__(self, **settings: object) -> None:
        self.sink = io.StringIO()
        self.log: Log = configure(self.sink)
        self.deeds: list[str] = []
        self.clock = FakeClock()
        self.signals = Signals()
        self.guard = FakeGuard(Settings(**settings), self.deeds)
        self.door = FakeDoor(self.deeds)

    def ctrl_c(self) -> None:
        self.signals._note(signal.SIGINT, None)

    def run(self) -> int:
        runner = Runner(
            self.guard,  # type: ignore[arg-type]  # it has what a run needs
            self.door,
            self.signals,
            RunningLog(),
            log=self.log,
            announce=lambda text: self.deeds.append(f"said {text}"),
            given=["data_dir"],
            clock=self.clock,
            sleep=self.clock.sleep,
        )
        return runner.run()


FULL = [
    "bind 127.0.0.1:8001",
    "guard.start",
    "listen",
    "said ready http://127.0.0.1:4711",
    "door.stop",
    "guard.stop",
]


def test_ctrl_c_stops_in_reverse() -> None:
    stage = Stage()
    stage.clock.at(5, stage.ctrl_c)
    assert stage.run() == 0
    assert stage.deeds == FULL
    assert "SIGINT: stopping" in stage.sink.getvalue()
    assert stage.clock.now == pytest.approx(105, abs=2 * POLL)


def test_the_duration_counts_from_ready() -> None:
    stage = Stage(duration=3)
    stage.guard.when_started = lambda: stage.clock.at(2, stage.guard.become_ready)
    assert stage.run() == 0
    assert stage.deeds == FULL
    assert stage.clock.now == pytest.approx(105, abs=3 * POLL)


def test_ops_shut_it_down() -> None:
    stage = Stage()
    stage.clock.at(1, lambda: setattr(stage.guard, "over", True))
    assert stage.run() == 0
    assert stage.deeds == FULL


def test_the_guards_death_is_told() -> None:
    stage = Stage()
    stage.clock.at(1, lambda: stage.guard.die("registry is stuck inside a commit"))
    with pytest.raises(Ended) as end:
        stage.run()
    assert end.value.status == 1
    assert end.value.text == "the guard has died: registry is stuck inside a commit"
    assert stage.deeds == FULL


def test_a_taken_port_comes_first() -> None:
    stage = Stage()
    stage.door = FakeDoor(
        stage.deeds, StartRefused("8001 is in use", field="port", remedy="choose another --port")
    )
    with pytest.raises(Ended) as end:
        stage.run()
    assert end.value.status == 1
    assert end.value.text == "start refused: port: 8001 is in use; choose another --port"
    assert stage.deeds == ["bind 127.0.0.1:8001", "door.stop", "guard.stop"]


def test_a_refused_start_names_the_flag() -> None:
    stage = Stage()
    cause = FolderRefused("is a file", field="data_dir", value="/x", remedy="choose another")
    stage.guard.when_started = lambda: stage.guard.refuse(cause)
    with pytest.raises(Ended) as end:
        stage.run()
    assert end.value.status == 1
    assert end.value.text == "start refused: --data-dir: is a file (got '/x'); choose another"
    assert stage.deeds == ["bind 127.0.0.1:8001", "guard.start", "door.stop", "guard.stop"]


def test_a_start_without_an_end_is_bounded() -> None:
    stage = Stage(startup_timeout=4)
    stage.guard.when_started = lambda: None
    with pytest.raises(Ended) as end:
        stage.run()
    assert end.value.status == 1
    assert "not ready within 4 s" in end.value.text
    assert stage.clock.now <= 105 + 2 * POLL


@pytest.mark.parametrize("when", ["before ready", "with ready"])
def test_interrupted_before_it_listens(when: str) -> None:
    stage = Stage()
    if when == "before ready":
        stage.guard.when_started = lambda: stage.clock.at(1, stage.ctrl_c)
    else:

        def both() -> None:
            stage.ctrl_c()
            stage.guard.become_ready()

        stage.guard.when_started = both
    assert stage.run() == 130
    assert stage.deeds == ["bind 127.0.0.1:8001", "guard.start", "door.stop", "guard.stop"]


def test_a_second_ctrl_c_is_answered_and_kills_nothing() -> None:
    stage = Stage()
    stage.clock.at(1, stage.ctrl_c)
    noticed = threading.Event()
    stage.log.hide(())

    def slow_stop() -> None:
        stage.ctrl_c()
        for _ in range(200):
            if "stopping already" in stage.sink.getvalue():
                noticed.set()
                return
            threading.Event().wait(0.01)

    stage.guard.when_stopped = slow_stop
    assert stage.run() == 0
    assert noticed.is_set()
    assert stage.sink.getvalue().count("stopping already") == 1


def test_a_step_that_fails_does_not_keep_the_next() -> None:
    stage = Stage(duration=1)

    def broken() -> None:
        stage.deeds.append("door.stop")
        raise OSError("no")

    stage.door.stop = broken  # type: ignore[method-assign]  # a broken gateway
    assert stage.run() == 1
    assert stage.deeds == FULL
    assert "stopping: no" in stage.sink.getvalue()


def test_what_cannot_be_stopped_does_not_keep_the_process() -> None:
    stage = Stage(duration=1)
    stuck = threading.Event()

    def never_ends() -> None:
        stage.clock.sleep(1000)
        stuck.wait(10)

    stage.guard.when_stopped = never_ends
    try:
        assert stage.run() == 1
        assert "not everything stopped in time" in stage.sink.getvalue()
    finally:
        stuck.set()


def test_the_token_is_hidden_from_the_log() -> None:
    stage = Stage(duration=1)

    def leak() -> None:
        reason = f"it said {stage.guard.token()}"
        stage.guard.events.publish(Kind.TERMINAL_LOST, "connector", 1, reason=reason)

    stage.clock.at(0.5, leak)
    assert stage.run() == 0
    assert stage.guard.token() not in stage.sink.getvalue()
    assert "the terminal is lost: it said ***" in stage.sink.getvalue()


# -- signals


def test_handlers_are_put_back() -> None:
    numbers = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
    before = [signal.getsignal(number) for number in numbers]
    with Signals() as signals:
        for number in numbers:
            signal.raise_signal(number)
        assert signals.count == len(numbers)
        assert signals.name == "SIGINT"
    assert [signal.getsignal(number) for number in numbers] == before


def test_signals_outside_of_the_main_thread_are_left_alone() -> None:
    before = signal.getsignal(signal.SIGINT)
    seen: list[object] = []

    def inside() -> None:
        with Signals() as signals:
            seen.append(signal.getsignal(signal.SIGINT))
            seen.append(signals.asked)

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert seen == [before, False]


def book(stage: Stage, active: int, observed: int) -> None:
    stage.guard.events.publish(Kind.BOOK, active=active, observed=observed, in_doubt=0)


def test_an_armed_guard_says_what_it_only_observes() -> None:
    stage = Stage(duration=10)

    def begin() -> None:
        book(stage, 3, 2)
        stage.guard.events.publish(Kind.CONTROL, mode="observe", paused=False)
        stage.guard.become_ready()

    def told() -> list[str]:
        return [line for line in stage.sink.getvalue().splitlines() if "armed, but" in line]

    def steps() -> None:
        assert not told(), "nobody expects it to act"
        stage.guard.events.publish(Kind.CONTROL, mode="armed", paused=False)
        assert "WARNING" in told()[0]
        assert "armed, but 2 of 3 trades are only observed" in told()[0]
        assert "register" in told()[0]
        assert "--adoption adopt" in told()[0]
        book(stage, 4, 2)
        stage.guard.events.publish(Kind.CONTROL, mode="armed", paused=False)  # a new monitor
        book(stage, 3, 1)
        assert len(told()) == 1, "no news"
        book(stage, 4, 2)
        assert len(told()) == 2
        stage.guard.events.publish(Kind.CONTROL, mode="observe", paused=False)
        stage.guard.events.publish(Kind.CONTROL, mode="armed", paused=False)
        assert len(told()) == 3, "armed anew, by a person who must know"
        stage.guard.events.publish(Kind.FROZEN, frozen=True, by="ops", why="")
        book(stage, 5, 3)
        assert len(told()) == 3, "nobody expects it to act any more"
        stage.guard.events.publish(Kind.FROZEN, frozen=False, by="ops", why="")
        assert len(told()) == 4, "somebody does again"
        book(stage, 1, 0)
        assert len(told()) == 4

    stage.guard.when_started = begin
    stage.clock.at(1, steps)
    assert stage.run() == 0
    assert len(told()) == 4, "the steps were taken"


def test_a_new_simulated_broker_is_told_where_trades_are_stored(tmp_path: Path) -> None:
    def said(**settings: object) -> bool:
        stage = Stage(duration=1, data_dir=tmp_path, **settings)
        assert stage.run() == 0
        return "a new simulated broker" in stage.sink.getvalue()

    assert not said(), "nothing is stored yet"
    (tmp_path / MARKER).write_text("{}")
    assert said()
    assert not said(sim_state=tmp_path / "broker.json")
    assert not said(broker="broker.json")
    assert not said(terminal="native")
