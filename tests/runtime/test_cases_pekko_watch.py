"""The cases of Pekko's death watch, hierarchy and shutdown specs that apply, in our own words.

Each docstring names the spec and the case and says the rule; docs/supervision.md,
Cases, has the table of all of them, and why the others do not apply.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from cases_kit import ping
from loguru import logger
from pykka import Future
from runtime_kit import (
    PATIENCE,
    Call,
    House,
    Note,
    Script,
    Worker,
    child,
    die_once,
    pass_time,
    raising,
    virtual,
)

from actors.events import Kind
from actors.life import ExitReport, Kill, ShutDown, Stop
from actors.mailbox import Lane
from actors.simulated import is_set
from actors.threads import ThreadRuntime
from supervisors.slot import ChildState
from supervisors.spec import Restart

Build = Callable[..., House]


# -- DeathWatchSpec: here one watches all, and everybody else reads the events


def watchers(house: House, many: int) -> list[list[tuple[str | None, int | None]]]:
    seen: list[list[tuple[str | None, int | None]]] = [[] for _ in range(many)]
    for one in seen:
        house.events.listen(
            lambda event, one=one: (  # type: ignore[misc]
                one.append((event.child, event.incarnation)) if event.kind is Kind.EXITED else None
            )
        )
    return seen


@pytest.mark.parametrize("how", ["stop", "kill", "crash", "hang"])
def test_every_watcher_is_told_once(build: Build, how: str) -> None:
    """Pekko DeathWatchSpec "notify with [all monitors with] one Terminated message ..."."""
    spec, _ = child("one", restart=Restart.TEMPORARY, hang_after=0.1)
    house = build(spec).open()
    seen = watchers(house, 3)
    if how == "crash":
        house.post.send("one", Call(raising(SystemExit())))
    elif how == "hang":
        house.post.send("one", Call(lambda worker: worker.context.runtime.hang()))
    else:
        house.address("one").tell(Stop() if how == "stop" else Kill(), lane=Lane.CONTROL)
    house.until(lambda: house.slot("one").state is ChildState.STOPPED)
    house.close()
    assert seen == [[("one", 1)]] * 3


def test_who_comes_too_late_can_still_learn_of_a_death(build: Build) -> None:
    """Pekko DeathWatchSpec "... one Terminated message when an Actor is already dead"."""
    spec, _ = child("one", restart=Restart.TEMPORARY)
    house = build(spec).open()
    house.kill("one")
    house.until(lambda: house.slot("one").state is ChildState.STOPPED)
    (event,) = [event for event in house.events.since(0) if event.kind is Kind.EXITED]
    assert (event.child, event.incarnation) == ("one", 1)


def test_who_has_stopped_listening_is_not_told(build: Build) -> None:
    """Pekko DeathWatchSpec "... _current_ monitors ...", "only notify when watching"."""
    spec, _ = child("one", restart=Restart.TEMPORARY)
    house = build(spec).open()
    heard: list[str] = []
    forget = house.events.listen(lambda event: heard.append(event.kind.value))
    forget()
    forget()  # twice is no error
    house.kill("one")
    house.until(lambda: house.slot("one").state is ChildState.STOPPED)
    assert heard == []


def test_a_restart_is_told_as_an_end_and_a_beginning_of_another(build: Build) -> None:
    """Pekko DeathWatchSpec "... once when an Actor is stopped but not when restarted".

    Here each incarnation's end is told, with its number; an address never goes stale.
    """
    spec, _ = child("one", max_restarts=2)
    house = build(spec).open()
    address = house.address("one")
    for number in (2, 3):
        house.kill("one")
        house.ready("one", number)
        assert address.ask(Note("foo"), timeout=PATIENCE) == number
    assert house.lives(Kind.EXITED) == [("one", 1), ("one", 2)]
    house.kill("one")
    house.until(lambda: house.slot("one").state is ChildState.ESCALATED)
    assert len(house.of(Kind.ESCALATED)) == 1


def test_the_end_of_an_old_one_is_not_taken_for_that_of_its_namesake(build: Build) -> None:
    """Pekko DeathWatchSpec "be able to watch a child with the same name after the old died".

    Also SupervisorMiscSpec "be able to recreate child when old child is
    Terminated", "not ... when old child is alive": a name has one living
    incarnation, and a report counts only for its own.
    """
    spec, _ = child("one", max_restarts=5)
    house = build(spec).open()
    house.kill("one")
    house.ready("one", 2)
    house.stale_reports_expected = True
    house.to_root(ExitReport("one", 1, "killed", "a second time"))
    house.until(lambda: house.of(Kind.STALE_REPORT))
    assert ping(house) == 2
    started, exited = house.lives(Kind.STARTED), house.lives(Kind.EXITED)
    assert (len(started), len(exited)) == (2, 1)
    order = [
        (event.kind.value, event.incarnation)
        for event in house.events.since()
        if event.kind in (Kind.STARTED, Kind.EXITED)
    ]
    assert order == [("started", 1), ("exited", 1), ("started", 2)]


# -- SupervisorHierarchySpec, SupervisorMiscSpec


def test_a_permanent_failure_is_told_to_the_owner(build: Build) -> None:
    """Pekko SupervisorHierarchySpec "send notification to supervisor when permanent failure".

    Also SupervisorMiscSpec "have access to the failing child's reference in
    supervisorStrategy": it says which child, and why.
    """
    spec, _ = child("one", max_restarts=1, escalation="stay_down")
    house = build(spec).open()
    house.kill("one")
    house.ready("one", 2)
    house.kill("one")
    house.until(lambda: house.owner.notices)
    (notice,) = house.owner.notices
    assert notice.key == "escalated:one"
    assert "killed" in notice.text


def test_every_thread_of_a_killed_child_is_replaced(thread: Build) -> None:
    """Pekko SupervisorMiscSpec "restart a crashing actor and its dispatcher for any dispatcher"."""
    names = ["one", "two", "three", "four"]
    house = thread(*(child(name)[0] for name in names)).open()
    for name in names:
        house.kill(name)
    for name in names:
        assert house.ask(name, Call(lambda worker: worker.context.incarnation)) in (1, 2)
        house.ready(name, 2)
    assert [ping(house, name) for name in names] == [2, 2, 2, 2]


@pytest.mark.parametrize("seed", range(4))
def test_a_house_survives_being_stressed(simulate: Build, seed: int) -> None:
    """Pekko SupervisorHierarchySpec "survive being stressed": random failures everywhere, no one
    lost.

    Pekko's is 500 actors on real threads and cannot be replayed; this is
    fewer, from a seed, and every accepted message is accounted for.
    """
    dice = random.Random(seed)
    names = [f"c{n}" for n in range(30)]
    scripts = {}
    specs = []
    for name in names:
        spec, scripts[name] = child(name, max_restarts=10_000, hang_after=2.0)
        specs.append(spec)
    house = simulate(*specs, max_leaked=10_000).open()
    asked: list[Future[object]] = []
    logger.disable("actors")
    try:
        for turn in range(300):
            name = dice.choice(names)
            blow = dice.randrange(6)
            if blow == 0:
                house.kill(name)
            elif blow == 1:
                house.post.send(name, Call(die_once(RuntimeError("Failure"))), lane=Lane.DATA)
            elif blow == 2:
                house.post.send(name, Call(hang_once()), lane=Lane.DATA)
            elif blow == 3:
                scripts[name].on_start = die_once(SystemExit("failPre"))
            elif blow == 4:
                scripts[name].born = die_once(MemoryError("failConstr"))
            asked.append(house.later(name, Note(str(turn)), timeout=1e6))
            if dice.random() < 0.3:
                pass_time(house, dice.choice([0.0, 0.5, 3.0]))
        pass_time(house, 60.0)
    finally:
        logger.enable("actors")
    assert all(is_set(future) for future in asked)
    assert all(slot.state is ChildState.READY for slot in house.slots)
    assert [ping(house, name) for name in names] == [house.slot(name).number for name in names]
    for slot in house.slots:
        counts = slot.mailbox.counts()
        assert counts.balanced
        assert counts.waiting == counts.in_hand == counts.failed == counts.dead == 0
    assert sum(len(script.book) for script in scripts.values()) == 300 + len(names)
    assert virtual(house).alive() == []


def hang_once() -> Callable[[Worker], None]:
    left = [True]

    def work(worker: Worker) -> None:
        if left:
            left.pop()
            worker.context.runtime.hang()

    return work


# -- CoordinatedShutdownSpec


def test_the_steps_of_the_stop_are_in_order_each_after_the_one_before(build: Build) -> None:
    """Pekko CoordinatedShutdownSpec "run ordered phases": the next begins when one has ended."""
    seen: list[str] = []

    def slowly(worker: Worker) -> None:
        name = worker.context.name
        seen.append(f"{name} begins")
        if isinstance(worker.context.runtime, ThreadRuntime):
            worker.context.runtime.wait_until(lambda: False, 0.02)
        seen.append(f"{name} ends")

    specs = [child(name, Script(on_stop=slowly))[0] for name in ("c", "b", "a")]
    build(*specs).open().close()
    assert seen == [f"{name} {what}" for name in "abc" for what in ("begins", "ends")]


def test_the_stop_runs_once(build: Build) -> None:
    """Pekko CoordinatedShutdownSpec "only run once": the second time has no effect."""
    stops: list[str] = []
    spec, script = child("one")
    script.on_stop = lambda worker: stops.append(worker.context.name)
    house = build(spec).open()
    house.to_root(ShutDown("somebody"))
    house.to_root(ShutDown("somebody else"))
    house.until(lambda: house.owner.stopped)
    house.close()
    assert stops == ["one"]
    assert house.owner.stopped == 1
    assert [event.facts["by"] for event in house.of(Kind.STOPPING)] == ["somebody"]


@pytest.mark.parametrize("bad", ["raises", "hangs", "is gone already", "both"])
def test_the_stop_goes_on_past_a_step_that_fails(build: Build, bad: str) -> None:
    """Pekko CoordinatedShutdownSpec "continue after timeout or failure", "... already shutdown".

    There is no `recover=off` ("abort if recover=off"): the others are stopped in any case.
    """
    stops: list[str] = []
    scripts = [Script(on_stop=lambda worker: stops.append(worker.context.name)) for _ in range(4)]
    if bad in ("raises", "both"):
        scripts[2].on_stop = raising(RuntimeError("boom"))
    if bad in ("hangs", "both"):
        scripts[1].on_stop = lambda worker: worker.context.runtime.hang()
    specs = [
        child(f"c{n}", script, stop_timeout=0.1, restart=Restart.TEMPORARY)[0]
        for n, script in enumerate(scripts)
    ]
    house = build(*specs).open()
    if bad == "is gone already":
        house.kill("c2")
        house.until(lambda: not house.slot("c2").live)
    house.close()
    missing = {"raises": {"c2"}, "hangs": {"c1"}, "is gone already": {"c2"}, "both": {"c1", "c2"}}
    assert stops == [name for name in ("c3", "c2", "c1", "c0") if name not in missing[bad]]
    assert house.owner.stopped == 1


def test_the_stop_says_who_wanted_it(build: Build) -> None:
    """Pekko CoordinatedShutdownSpec "run from a given phase" (`Reason`), "terminate ..."."""
    spec, _ = child("one")
    house = build(spec).open()
    house.to_root(ShutDown("the night shift"))
    house.until(lambda: house.owner.stopped)
    assert house.of(Kind.STOPPING)[0].facts["by"] == "the night shift"
    house.close()
    assert house.root.done


def test_each_stop_has_its_own_time(simulate: Build) -> None:
    """Pekko CoordinatedShutdownSpec "parse phases from config" (a timeout per phase)."""
    hang = Script(on_stop=lambda worker: worker.context.runtime.hang())
    specs = [
        child("short", hang, stop_timeout=1.0)[0],
        child("long", hang, stop_timeout=7.0)[0],
    ]
    house = simulate(*specs).open()
    before = house.clock.monotonic()
    house.close()
    assert house.clock.monotonic() - before == 8.0
