"""The host sleeps, clocks jump, the root gets stuck: who is judged, and who is not."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from runtime_kit import (
    PATIENCE,
    Call,
    House,
    Script,
    Worker,
    child,
    clock_of,
    hang_in,
    make_context,
    pass_time,
)

from actors.clock import VirtualClock
from actors.events import EventStream, Kind
from actors.incarnation import Incarnation
from actors.life import CheckHealth
from actors.mailbox import Lane, Mailbox
from actors.post import Post
from actors.simulated import SimulatedRuntime
from supervisors.slot import ChildState
from supervisors.spec import Backoff
from supervisors.watchdog import Watchdog

Build = Callable[..., House]


def busy_child(simulate: Build) -> House:
    """Return a house whose child has been busy with one message for a moment."""
    spec, _ = child("one", hang_after=10.0, silence_after=20.0)
    house = simulate(spec).open()
    house.post.send("one", Call(hang_in(1)))
    pass_time(house, 3.0)
    return house


def sleep(house: House, seconds: float) -> None:
    """Let the machine sleep: time passes, and nothing at all runs."""
    clock_of(house).advance(seconds)


@pytest.mark.parametrize("by", ["timer", "gateway"])
def test_after_a_sleep_nobody_is_hung_or_silent_or_charged(simulate: Build, by: str) -> None:
    house = busy_child(simulate)
    sleep(house, 3600.0)
    if by == "gateway":  # a health check from outside may be the first thing after the sleep
        house.actor.receive(CheckHealth("gateway"))
    pass_time(house, 5.0)
    assert not house.of(Kind.EXITED)
    assert not house.of(Kind.CHARGED)
    (event,) = house.of(Kind.HOST_PAUSED)
    assert float(str(event.facts["late"])) == pytest.approx(3600.0, abs=2.0)
    assert house.owner.pauses == [pytest.approx(3600.0, abs=2.0)]
    pass_time(house, 8.0)  # it is judged from the waking on
    assert house.exits("one") == ["hung"]
    assert len(house.of(Kind.CHARGED)) == 1


@pytest.mark.parametrize("seconds", [-7200.0, -5.5, 5.5, 7200.0])
def test_a_clock_jump_is_a_pause(simulate: Build, seconds: float) -> None:
    house = busy_child(simulate)
    clock_of(house).jump_wall(seconds)
    pass_time(house, 9.0)
    assert not house.of(Kind.EXITED)
    assert house.owner.pauses == [pytest.approx(abs(seconds), abs=0.1)]
    pass_time(house, 3.0)
    assert house.exits("one") == ["hung"]


@pytest.mark.parametrize("seconds", [-4.5, 4.5])
def test_a_small_correction_of_the_clock_is_none(simulate: Build, seconds: float) -> None:
    house = busy_child(simulate)
    clock_of(house).jump_wall(seconds)
    sleep(house, 4.5)
    pass_time(house, 4.0)
    assert house.owner.pauses == []
    assert house.exits("one") == ["hung"]


def test_small_corrections_do_not_add_up(simulate: Build) -> None:
    spec, _ = child("one")
    house = simulate(spec).open()
    for _ in range(10):
        clock_of(house).jump_wall(2.0)
        pass_time(house, 5.0)
    assert house.owner.pauses == []


@pytest.mark.parametrize("before", [0.5, 9.9])
def test_a_start_that_slept_is_given_its_time_anew(simulate: Build, before: float) -> None:
    """Also when the time-out is the first thing that is handled after the sleep."""
    spec, script = child("one", start_timeout=10.0)
    house = simulate(spec).open()
    script.on_start = hang_in(2)
    house.kill("one")
    house.until(lambda: len(script.made) == 2)
    pass_time(house, before)
    sleep(house, 3600.0)
    pass_time(house, 8.0)
    assert house.slot("one").state is ChildState.STARTING
    assert len(house.of(Kind.CHARGED)) == 1  # the kill
    pass_time(house, 3.0)
    assert house.exits("one") == ["killed", "not ready in time"]


def test_the_start_of_all_that_slept_is_given_its_time_anew(simulate: Build) -> None:
    spec, _ = child("slow", Script(ready=False), start_timeout=1000.0)
    house = simulate(spec, startup_timeout=60.0).begin()
    pass_time(house, 59.9)
    sleep(house, 3600.0)
    pass_time(house, 50.0)
    assert house.owner.refusals == []
    pass_time(house, 11.0)
    assert len(house.owner.refusals) == 1


def test_asking_for_health_is_a_check(simulate: Build) -> None:
    spec, _ = child("one", hang_after=3.0)
    house = simulate(spec, check_every=100.0).open()
    house.post.send("one", Call(hang_in(1)))
    pass_time(house, 4.0)
    assert not house.of(Kind.EXITED)
    for _ in range(5):  # many at once never charge one incarnation twice
        house.post.send("root", CheckHealth("gateway"), lane=Lane.CONTROL)
    pass_time(house, 1.0)
    assert house.exits("one") == ["hung"]
    assert len(house.of(Kind.CHARGED)) == 1


def test_asking_for_health_does_not_shorten_a_backoff(simulate: Build) -> None:
    spec, script = child("one", backoff=Backoff(first=20.0))
    house = simulate(spec).open()
    for _ in range(2):
        house.kill("one")
        pass_time(house, 1.0)
    for _ in range(8):
        house.post.send("root", CheckHealth("gateway"), lane=Lane.CONTROL)
        pass_time(house, 1.0)
    assert len(script.made) == 2


def test_a_registry_stuck_in_a_commit_ends_the_guard(simulate: Build) -> None:
    spec, _ = child("one", hang_after=3.0)
    other, script = child("other")
    house = simulate(spec, other).open()

    def commit(worker: Worker) -> None:
        worker.context.vitals.critical = True  # as `critical()` has it while the commit runs
        worker.context.runtime.hang()

    house.post.send("one", Call(commit))
    pass_time(house, 10.0)
    assert house.owner.causes == ["one is stuck inside a commit"]
    house.kill("other")  # nothing is started any more
    pass_time(house, 10.0)
    assert len(script.made) == 1
    assert not house.of(Kind.CHARGED)


def test_critical_is_marked_while_it_lasts(simulate: Build) -> None:
    spec, script = child("one")
    house = simulate(spec).open()
    seen = []

    def commit(worker: Worker) -> None:
        with worker.critical():
            seen.append(worker.context.vitals.critical)

    house.ask("one", Call(commit))
    assert seen == [True]
    assert not script.worker.context.vitals.critical


def test_a_lease_that_is_stuck_in_an_order_ends_the_guard(
    simulate: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supervisors.ends.REVOKE_WAIT", 0.0)
    spec, script = child("one", hang_after=3.0)
    house = simulate(spec).open()

    def order(worker: Worker) -> None:
        worker.context.lease.enter()  # inside the order, and it never returns
        worker.context.runtime.hang()

    house.post.send("one", Call(order))
    pass_time(house, 10.0)
    assert house.owner.causes == ["one cannot be fenced: an order is stuck in it"]
    assert len(script.made) == 1


# -- the watchdog


class Watched:
    """A root of its own, stepped by hand, and a watchdog asked by hand."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        runtime = SimulatedRuntime(0, self.clock)
        events = EventStream(self.clock)
        self.box = Mailbox("root", now=self.clock.monotonic)
        post = Post(runtime, events)
        context = make_context("root", 1, self.box, post, runtime, events)
        self.root = Incarnation(Worker(context, Script()), lambda _: None)
        self.box.open_for(1)
        self.root.step()
        self.said: list[str] = []
        self.dog = Watchdog(self.root, self.clock, self.said.append, every=1.0)

    def pass_time(self, seconds: int, *, alive: bool) -> list[str | None]:
        causes = []
        for _ in range(seconds):
            self.clock.advance(1.0)
            if alive:
                self.root.actor.progress()
            causes.append(self.dog.check())
        return causes


def test_a_root_that_checks_is_left_alone() -> None:
    assert set(Watched().pass_time(100, alive=True)) == {None}


def test_a_root_whose_timers_stopped_is_dead_after_15_seconds() -> None:
    watched = Watched()
    watched.pass_time(10, alive=True)
    causes = watched.pass_time(16, alive=False)
    assert causes == [None] * 15 + ["the root supervisor no longer checks its children"]


def test_a_stuck_root_is_dead() -> None:
    watched = Watched()
    watched.root.context.vitals.busy_since = watched.clock.monotonic()
    watched.root.context.vitals.busy_with = "ExitReport"
    causes = watched.pass_time(16, alive=True)
    assert causes == [None] * 15 + ["the root supervisor is stuck in ExitReport"]


def test_a_dead_root_is_dead_at_once() -> None:
    watched = Watched()
    watched.root.done = True
    assert watched.pass_time(1, alive=True) == ["the root supervisor has died"]


def test_after_a_sleep_the_root_is_judged_anew() -> None:
    watched = Watched()
    watched.root.context.vitals.busy_since = watched.clock.monotonic()
    watched.clock.advance(3600.0)
    assert watched.dog.check() is None
    assert watched.pass_time(14, alive=False) == [None] * 14
    assert watched.pass_time(3, alive=False)[-1] is not None


def test_asked_checks_do_not_hide_that_the_timers_stopped(simulate: Build) -> None:
    spec, _ = child("one")
    house = simulate(spec).open()
    dog = Watchdog(house.root, house.clock, lambda _: None, every=1.0)
    virtual_heap = house.runtime._heap
    virtual_heap.clear()  # the timers are gone
    causes = []
    for _ in range(20):
        pass_time(house, 1.0)
        house.post.send("root", CheckHealth("gateway"), lane=Lane.CONTROL)
        causes.append(dog.check())
    assert causes[-1] == "the root supervisor no longer checks its children"
    assert house.owner.pauses == []


def test_the_watchdog_thread_says_it_once_and_ends() -> None:
    watched = Watched()
    said = threading.Event()
    causes: list[str] = []

    def declare(cause: str) -> None:
        causes.append(cause)
        dog.stop()  # it may be stopped from its own thread
        said.set()

    dog = Watchdog(watched.root, watched.clock, declare, every=0.001)
    dog.start()
    watched.root.done = True
    assert said.wait(PATIENCE)
    dog.stop()
    assert causes == ["the root supervisor has died"]
    assert dog._thread is not None
    assert not dog._thread.is_alive()


def test_a_root_that_crashes_is_one_report(simulate: Build) -> None:
    spec, _ = child("one")
    house = simulate(spec).open()
    house.actor._next_check = lambda: 1 / 0  # type: ignore[assignment, method-assign]
    pass_time(house, 3.0)
    (report,) = house.root_reports
    assert (report.child, report.how, report.normal) == ("root", "crashed", False)
    assert "ZeroDivisionError" in report.error
    house.closed = True  # nobody is left to stop it in order
    house.runtime.close()
