"""Answers that are promised: given once, by whoever took them, whatever becomes of the child."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from pykka import Future
from runtime_kit import (
    PATIENCE,
    Call,
    House,
    Note,
    Script,
    Worker,
    child,
    refused,
)

from actors.actor import Promised, keep_promise
from actors.events import Kind
from actors.runtime import Runtime
from actors.simulated import SimulatedRuntime, is_set
from actors.threads import ThreadRuntime
from defence.errors import Conflict, Stopped

Build = Callable[..., House]


class Desk:
    """Takes promises and keeps them when the test says so."""

    def __init__(self) -> None:
        self.taken: list[Future[Any] | None] = []

    def promise(self, _: Worker | None = None) -> Promised:
        """What a handler returns."""
        return Promised(self.taken.append)

    def answer(self, value: object) -> None:
        """Answer all that were taken."""
        for reply_to in self.taken:
            keep_promise(reply_to, value)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_the_asker_is_answered_later_and_the_child_is_free(build: Build, desk: Desk) -> None:
    spec, _ = child("one")
    house = build(spec).open()
    future = house.later("one", Call(desk.promise))
    assert house.ask("one", Note("meanwhile")) == 1
    assert len(desk.taken) == 1
    assert not is_set(future)
    counts = house.slot("one").mailbox.counts()
    assert (counts.in_hand, counts.waiting, counts.balanced) == (0, 0, True)
    desk.answer({"a": 1})
    assert house.wait(future) == {"a": 1}


def test_an_error_is_raised_at_the_asker_and_nobody_dies(build: Build, desk: Desk) -> None:
    spec, _ = child("one")
    house = build(spec).open()
    future = house.later("one", Call(desk.promise))
    house.until(lambda: desk.taken)
    error = Conflict("told by the test")
    desk.answer(error)
    assert refused(lambda: house.wait(future)) is error
    assert house.exits("one") == []
    assert house.ask("one", Note("alive")) == 1


def test_where_nobody_waits_there_is_nobody_to_answer(build: Build, desk: Desk) -> None:
    spec, _ = child("one")
    house = build(spec).open()
    house.address("one").tell(Call(desk.promise))
    house.until(lambda: desk.taken)
    assert desk.taken == [None]
    desk.answer("nobody hears it")


def test_it_counts_as_handled_once(build: Build, desk: Desk) -> None:
    spec, _ = child("one")
    house = build(spec).open()
    before = house.slot("one").mailbox.counts().handled
    futures = [house.later("one", Call(desk.promise)) for _ in range(5)]
    house.until(lambda: len(desk.taken) == 5)
    desk.answer("done")
    assert [house.wait(future) for future in futures] == ["done"] * 5
    counts = house.slot("one").mailbox.counts()
    assert (counts.handled - before, counts.failed, counts.dead) == (5, 0, 0)
    assert counts.balanced


def test_a_death_after_it_was_taken_changes_nothing(build: Build, desk: Desk) -> None:
    spec, _ = child("one")
    house = build(spec).open()
    future = house.later("one", Call(desk.promise))
    house.until(lambda: desk.taken)
    house.kill("one")
    house.ready("one", 2)
    assert not is_set(future)
    desk.answer("kept")
    assert house.wait(future) == "kept"
    assert len(desk.taken) == 1


def test_a_death_before_it_was_taken_and_the_successor_gives_it(build: Build, desk: Desk) -> None:
    spec, _ = child("one", max_restarts=5)
    house = build(spec).open()
    house.points.kill_at("one.before_reply", times=3)  # handled, not yet settled
    future = house.later("one", Call(desk.promise))
    house.until(lambda: desk.taken)
    assert house.exits("one") == ["killed"] * 3
    desk.answer("once")
    assert house.wait(future) == "once"
    assert len(desk.taken) == 1
    assert house.slot("one").mailbox.counts().handled == 1


def test_a_handler_that_dies_promises_nothing(build: Build, desk: Desk) -> None:
    spec, _ = child("one")
    house = build(spec).open()
    left = [RuntimeError("once")]

    def work(worker: Worker) -> Promised:
        if left:
            raise left.pop()
        return desk.promise(worker)

    future = house.later("one", Call(work))
    house.until(lambda: desk.taken)
    assert house.exits("one") == ["crashed"]
    desk.answer("once")
    assert house.wait(future) == "once"
    assert len(desk.taken) == 1


def test_a_fenced_incarnations_promise_is_not_started(thread: Build, desk: Desk) -> None:
    """It hangs, is replaced, and wakes: only its successor's promise is taken."""
    wake, woken = threading.Event(), threading.Event()

    def work(worker: Worker) -> Promised:
        if worker.context.incarnation == 1:
            assert wake.wait(PATIENCE)
            woken.set()
            return Promised(lambda _: desk.taken.append(None))
        return desk.promise(worker)

    spec, _ = child("one", hang_after=0.2)
    house = thread(spec).open()
    future = house.later("one", Call(work))
    house.until(lambda: desk.taken)
    wake.set()
    assert woken.wait(PATIENCE)
    assert house.ask("one", Note("x")) == 2
    house.until(lambda: not any(one.name == "dtms-one-1" for one in threading.enumerate()))
    assert len(desk.taken) == 1
    desk.answer("the successor's")
    assert house.wait(future) == "the successor's"


def test_the_letter_of_a_fenced_incarnation_keeps_its_asker(thread: Build, desk: Desk) -> None:
    """The one that was fenced wakes before its successor has answered: nothing is taken away."""
    wake, second, go_on = threading.Event(), threading.Event(), threading.Event()

    def work(worker: Worker) -> object:
        if worker.context.incarnation == 1:
            assert wake.wait(PATIENCE)
            return desk.promise(worker)
        second.set()
        assert go_on.wait(PATIENCE)
        return "from the second"

    spec, _ = child("one", hang_after=0.3, max_restarts=9)
    house = thread(spec).open()
    future = house.later("one", Call(work))
    assert second.wait(PATIENCE)
    wake.set()
    house.until(lambda: not any(one.name == "dtms-one-1" for one in threading.enumerate()))
    go_on.set()
    assert house.wait(future) == "from the second"
    assert desk.taken == []


def test_each_of_a_batch_is_promised(build: Build, desk: Desk) -> None:
    spec, script = child("one", Script(batch=10))
    house = build(spec).open()
    futures = [house.later("one", Call(desk.promise)) for _ in range(6)]
    house.until(lambda: len(desk.taken) == 6)
    for number, reply_to in enumerate(desk.taken):
        keep_promise(reply_to, number)
    assert [house.wait(future) for future in futures] == list(range(6))
    assert script.batches


def test_a_promise_outlives_the_end_of_all(build: Build, desk: Desk) -> None:
    spec, _ = child("one")
    house = build(spec).open()
    future = house.later("one", Call(desk.promise))
    house.until(lambda: desk.taken)
    house.stop()
    desk.answer(Stopped("told by the test"))
    assert isinstance(refused(lambda: house.wait(future)), Stopped)


# -- work that keeps no actor waiting


@pytest.fixture(params=["threads", "simulated"])
def runtime(request: pytest.FixtureRequest) -> Any:
    made = ThreadRuntime() if request.param == "threads" else SimulatedRuntime()
    yield made
    made.close()


def fail() -> object:
    raise Conflict("told by the test")


def test_work_aside_brings_its_result_or_its_error(runtime: Runtime) -> None:
    got: list[object] = []
    runtime.aside(lambda: 7, got.append)
    assert runtime.wait_until(lambda: got == [7], PATIENCE)
    runtime.aside(fail, got.append)
    assert runtime.wait_until(lambda: len(got) == 2, PATIENCE)
    assert isinstance(got[1], Conflict)


def test_work_aside_is_not_done_before_it_is_asked_for_is_answered(runtime: Runtime) -> None:
    """Whoever asks goes on at once: nothing of it happens inside the call, or blocks it."""
    go_on, got = threading.Event(), []
    if isinstance(runtime, SimulatedRuntime):
        go_on.set()  # on one thread nothing can wait for another

    def work() -> str:
        assert go_on.wait(PATIENCE)
        return "done"

    runtime.aside(work, got.append)
    assert got == []
    go_on.set()
    assert runtime.wait_until(lambda: got == ["done"], PATIENCE)


def test_work_aside_takes_no_virtual_time() -> None:
    runtime, got = SimulatedRuntime(), []
    before = runtime.clock.monotonic()
    runtime.aside(lambda: 1, got.append)
    assert runtime.wait_until(lambda: bool(got), 10.0)
    assert runtime.clock.monotonic() == before


def test_no_thread_to_be_had_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    runtime = ThreadRuntime()
    monkeypatch.setattr(threading.Thread, "start", none_left)
    with pytest.raises(RuntimeError, match="new thread"):
        runtime.aside(lambda: 1, lambda _: None)


def test_work_aside_does_not_hold_up_the_end() -> None:
    """A runtime that closes does not wait for it, and does not count it as stuck."""
    go_on = threading.Event()
    runtime, got = ThreadRuntime(), []
    runtime.aside(lambda: go_on.wait(PATIENCE), got.append)
    runtime.close()
    assert runtime.alive() == []
    assert got == []
    go_on.set()
    for thread in threading.enumerate():
        if thread.name == "dtms-aside":
            assert thread.daemon  # nor the end of the process
            thread.join(PATIENCE)
    assert got == [True]


def test_no_death_is_seen_in_all_this(build: Build, desk: Desk) -> None:
    spec, _ = child("one")
    house = build(spec).open()
    for value in (1, Conflict("x")):
        future = house.later("one", Call(desk.promise))
        house.until(lambda: desk.taken)
        desk.answer(value)
        desk.taken.clear()
        house.until(lambda future=future: is_set(future))
    assert not house.of(Kind.EXITED)
