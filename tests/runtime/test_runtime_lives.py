"""How children begin and end, on both runtimes: order, handshake, one report for every death."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from runtime_kit import (
    DEATHS,
    Call,
    House,
    Note,
    Script,
    Worker,
    child,
    die_once,
    hang_in,
    raising,
    refused,
)

from actors.events import Kind
from actors.incarnation import Incarnation
from actors.life import RestartChild, ShutDown, StrikeChild
from defence.errors import Conflict, NotFound, StartRefused, Stopped
from supervisors.slot import ChildState

Build = Callable[..., House]
NAMES = ("one", "two", "three")


def test_children_start_in_order_each_after_the_one_before_is_ready(build: Build) -> None:
    house = build(*(child(name)[0] for name in NAMES)).open()
    lives = [
        (event.child, event.kind.value)
        for event in house.events.since()
        if event.kind in (Kind.STARTED, Kind.READY)
    ]
    assert lives == [(name, kind) for name in NAMES for kind in ("started", "ready")]
    assert house.owner.ready == 1


def test_children_stop_in_reverse(build: Build) -> None:
    stops: list[str] = []
    specs = []
    for name in NAMES:
        script = Script(on_stop=lambda worker: stops.append(worker.context.name))
        specs.append(child(name, script)[0])
    house = build(*specs).open()
    house.close()
    assert stops == list(reversed(NAMES))
    assert [event.child for event in house.of(Kind.EXITED)] == list(reversed(NAMES))
    assert [event.facts["how"] for event in house.of(Kind.EXITED)] == ["stopped"] * 3
    assert house.owner.stopped == 1
    assert all(slot.state is ChildState.STOPPED for slot in house.slots)


@pytest.mark.parametrize("death", DEATHS)
def test_stop_goes_on_past_a_child_whose_on_stop_raises(
    build: Build, death: type[BaseException]
) -> None:
    first, _ = child("one")
    second, script = child("two")
    third, _ = child("three")
    script.on_stop = raising(death("no"))
    house = build(first, second, third).open()
    house.close()
    assert house.exits("two") == ["crashed"]
    assert house.exits("one") == house.exits("three") == ["stopped"]
    assert not house.of(Kind.CHARGED)


def test_stop_goes_on_past_a_child_that_hangs_in_on_stop(build: Build) -> None:
    first, _ = child("one")
    second, script = child("two", stop_timeout=0.1)
    script.on_stop = lambda worker: worker.context.runtime.hang()
    house = build(first, second).open()
    house.close()
    assert house.exits("two") == ["hung"]
    assert house.exits("one") == ["stopped"]
    assert house.lives(Kind.FENCED) == [("two", 1)]


def test_a_child_is_not_ready_before_it_says_so(build: Build) -> None:
    slow, script = child("slow", Script(ready=False))
    after, _ = child("after")
    house = build(slow, after).begin()
    house.until(lambda: script.made and script.worker.context.vitals.busy_since is None)
    assert house.ask("slow", Note("works before it is ready")) == 1
    assert house.slot("slow").state is ChildState.STARTING
    assert house.slot("after").state is ChildState.PENDING
    house.ask("slow", Call(lambda worker: worker.ready()))
    house.until(lambda: house.owner.ready)
    assert house.lives(Kind.READY) == [("slow", 1), ("after", 1)]


@pytest.mark.parametrize("death", DEATHS)
def test_a_failing_first_start_refuses_and_stops_what_was_started(
    build: Build, death: type[BaseException]
) -> None:
    first, _ = child("one")
    second, _ = child("two")
    third, script = child("three")
    fourth, never = child("four")
    script.on_start = raising(death("cannot"))
    house = build(first, second, third, fourth).begin()
    house.until(lambda: house.owner.stopped)
    (cause,) = house.owner.refusals
    assert isinstance(cause, StartRefused)
    assert "three failed to start" in str(cause)
    assert house.owner.ready == 0
    assert never.made == []
    ends = [(event.child, event.facts["how"]) for event in house.of(Kind.EXITED)]
    assert ends == [("three", "failed to start"), ("two", "stopped"), ("one", "stopped")]
    assert not house.of(Kind.CHARGED)


def test_a_refusal_by_the_child_is_the_cause_itself(build: Build) -> None:
    spec, script = child("one")
    why = StartRefused("wrong password", remedy="mend it")
    script.on_start = raising(why)
    house = build(spec).begin()
    house.until(lambda: house.owner.stopped)
    assert house.owner.refusals == [why]


def test_the_whole_start_times_out(build: Build) -> None:
    spec, _ = child("slow", Script(ready=False))
    house = build(spec, startup_timeout=0.1).begin()
    house.until(lambda: house.owner.stopped)
    assert "waiting for slow" in str(house.owner.refusals[0])


@pytest.mark.parametrize("death", DEATHS)
def test_dying_in_a_message_is_one_report_and_one_charge(
    build: Build, death: type[BaseException]
) -> None:
    spec, script = child("one")
    house = build(spec).open()
    work = die_once(death("now"))
    assert house.ask("one", Call(work)) == "alive"
    house.ready("one", 2)
    assert house.exits("one") == ["crashed"]
    assert len(house.of(Kind.CHARGED)) == 1
    assert death.__name__ in str(house.of(Kind.EXITED)[0].facts["error"])
    assert [worker.context.incarnation for worker in script.made] == [1, 2]


@pytest.mark.parametrize("death", DEATHS)
def test_dying_in_on_start_during_a_restart_is_charged_and_tried_again(
    build: Build, death: type[BaseException]
) -> None:
    spec, script = child("one")
    house = build(spec).open()
    script.on_start = die_once(death("again"))
    house.kill("one")
    house.ready("one", 3)
    assert house.exits("one") == ["killed", "failed to start"]
    assert len(house.of(Kind.CHARGED)) == 2


@pytest.mark.parametrize("death", [*DEATHS, MemoryError])
def test_a_factory_that_raises_is_a_failed_start(build: Build, death: type[BaseException]) -> None:
    spec, script = child("one")
    house = build(spec).open()
    script.born = die_once(death("not born"))
    house.kill("one")
    house.ready("one", 3)
    assert house.exits("one") == ["killed", "failed to start"]
    assert house.root_reports == []


def test_a_factory_that_raises_at_the_first_start_refuses_it(build: Build) -> None:
    spec, script = child("one")
    script.born = raising(SystemExit(3))
    house = build(spec).begin()
    house.until(lambda: house.owner.stopped)
    assert "SystemExit: 3" in str(house.owner.refusals[0])


def test_a_thread_that_cannot_be_had_is_a_failed_start(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, _ = child("one")
    house = build(spec).open()
    run = house.runtime.run
    failed: list[Incarnation] = []

    def fail_once(incarnation: Incarnation) -> None:
        if not failed:
            failed.append(incarnation)
            raise RuntimeError("can't start new thread")
        run(incarnation)

    monkeypatch.setattr(house.runtime, "run", fail_once)
    house.kill("one")
    house.ready("one", 3)
    assert house.exits("one") == ["killed", "failed to start"]


@pytest.mark.parametrize("unspeakable", ["str", "repr"])
def test_an_exception_that_cannot_be_shown_is_reported_like_any_other(
    build: Build, unspeakable: str
) -> None:
    class Unspeakable(Exception):  # noqa: N818 - what it is called is not the point
        def __str__(self) -> str:
            if unspeakable == "str":
                raise RuntimeError("no words")
            return "words"

        def __repr__(self) -> str:
            raise RuntimeError("no representation")

    spec, _ = child("one")
    house = build(spec).open()
    error = refused(lambda: house.ask("one", Call(raising(Unspeakable()))))
    assert "crashed twice" in str(error)
    house.ready("one", 3)
    assert house.exits("one") == ["crashed", "crashed"]


def test_a_kill_is_one_report_and_has_no_culprit(build: Build) -> None:
    spec, _ = child("one")
    house = build(spec).open()
    for number in (2, 3):
        house.kill("one")
        house.ready("one", number)
    assert house.exits("one") == ["killed", "killed"]
    assert not house.of(Kind.POISONED)


def test_a_hung_child_is_fenced_replaced_and_charged_once(build: Build) -> None:
    spec, script = child("one", hang_after=0.1)
    house = build(spec).open()
    house.address("one").tell(Call(hang_in(1)))
    house.ready("one", 2)
    house.until(lambda: house.slot("one").mailbox.counts().handled == 1)
    assert house.exits("one") == ["hung"]
    assert house.lives(Kind.FENCED) == [("one", 1)]
    assert len(house.of(Kind.CHARGED)) == 1
    assert script.made[0].context.lease.revoked
    assert not script.made[1].context.lease.revoked


def test_a_silent_child_is_fenced_replaced_and_charged_once(build: Build) -> None:
    spec, script = child("one", silence_after=0.15)
    script.on_start = lambda worker: worker.park(
        "resting" if worker.context.incarnation > 1 else None
    )
    house = build(spec).open()
    house.ready("one", 2)
    assert house.exits("one") == ["silent"]
    assert len(house.of(Kind.CHARGED)) == 1


def test_a_start_that_takes_too_long_is_charged(build: Build) -> None:
    spec, script = child("one", start_timeout=0.1)
    house = build(spec).open()
    script.on_start = hang_in(2)
    house.kill("one")
    house.ready("one", 3)
    assert house.exits("one") == ["killed", "not ready in time"]
    assert len(house.of(Kind.CHARGED)) == 2


def test_a_restart_by_ops_is_orderly_and_not_charged(build: Build) -> None:
    stops: list[int] = []
    spec, script = child("one")
    script.on_stop = lambda worker: stops.append(worker.context.incarnation)
    house = build(spec).open()
    assert house.ask_root(RestartChild("one"))["restarting"] is True
    house.ready("one", 2)
    assert stops == [1]
    assert house.exits("one") == ["stopped"]
    assert not house.of(Kind.CHARGED)


def test_a_hung_child_restarted_by_ops_is_started_once(build: Build) -> None:
    """The stop that the hung one never took must not stop its successor."""
    spec, script = child("one", stop_timeout=0.1, hang_after=60.0)
    house = build(spec).open()
    house.address("one").tell(Call(hang_in(1)))
    house.until(lambda: script.worker.context.vitals.busy_with == "Call")
    house.ask_root(RestartChild("one"))
    house.ready("one", 2)
    assert house.ask("one", Note("still there")) == 2
    assert house.exits("one") == ["hung"]
    assert not house.of(Kind.CHARGED)
    dead = [event for event in house.of(Kind.DEAD_LETTER) if event.facts["message"] == "Stop"]
    assert [event.facts["why"] for event in dead] == ["for #1"]


def test_two_restarts_by_ops_at_once_are_one(build: Build) -> None:
    spec, _ = child("one")
    house = build(spec).open()
    house.to_root(RestartChild("one"))
    house.to_root(RestartChild("one"))
    house.ready("one", 2)
    house.until(lambda: house.ask("one", Note("there")) >= 2)
    assert house.exits("one")[0] == "stopped"
    assert not house.of(Kind.CHARGED)


def test_a_child_whose_turn_has_not_come_cannot_be_restarted(build: Build) -> None:
    slow, script = child("slow", Script(ready=False))
    after, late = child("after")
    house = build(slow, after).begin()
    house.until(lambda: script.made)
    assert isinstance(refused(lambda: house.ask_root(RestartChild("after"))), Conflict)
    house.ask("slow", Call(lambda worker: worker.ready()))
    house.until(lambda: house.owner.ready)
    assert len(late.made) == 1


def test_ops_are_told_what_cannot_be_done(build: Build) -> None:
    spec, _ = child("one")
    house = build(spec).open()
    assert isinstance(refused(lambda: house.ask_root(RestartChild("nobody"))), NotFound)
    house.ask_root(StrikeChild("one", "kill"))
    house.ready("one", 2)
    house.to_root(ShutDown())
    assert isinstance(refused(lambda: house.ask_root(RestartChild("one"))), Conflict)


def test_after_the_stop_nothing_is_accepted(build: Build) -> None:
    spec, _ = child("one")
    house = build(spec).open()
    house.close()
    assert isinstance(refused(lambda: house.address("one").tell(Note("late"))), Stopped)
    house.post.send("one", Note("late"))
    assert house.of(Kind.DEAD_LETTER)[-1].facts == {"message": "Note", "why": "Stopped"}


def test_a_worker_cannot_be_started_as_a_pykka_actor() -> None:
    error = refused(Worker.start)
    assert "started by its supervisor" in str(error)
