"""The cases of Pekko's (Akka's) `SupervisorSpec` and `RestartStrategySpec`, in our own words.

Each docstring names the spec and the case and says the rule; docs/supervision.md,
Cases, has the table of all of them, and why the others do not apply.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from cases_kit import DAY, HOUR, crash, ping
from loguru import logger
from runtime_kit import (
    Call,
    House,
    Note,
    Worker,
    child,
    die_once,
    pass_time,
    raising,
    refused,
)

from actors.events import Kind
from actors.life import Kill, Stop
from actors.mailbox import Lane
from supervisors.slot import ChildState
from supervisors.spec import Escalation, Restart

Build = Callable[..., House]


# -- SupervisorSpec


def test_a_child_is_not_restarted_more_often_than_permitted(build: Build) -> None:
    """Pekko SupervisorSpec "not restart child more times than permitted": none is none."""
    spec, script = child("one", max_restarts=0, escalation=Escalation.STAY_DOWN)
    house = build(spec).open()
    crash(house)
    assert house.slot("one").state is ChildState.ESCALATED
    assert len(script.made) == 1


def test_after_the_last_permitted_restart_the_next_crash_is_the_end(simulate: Build) -> None:
    """Pekko SupervisorSpec "restart properly when same instance is returned": three, and no more.

    Here every incarnation is a new object, made by the factory.
    """
    starts: list[int] = []
    spec, script = child("one", max_restarts=3, escalation=Escalation.STAY_DOWN)
    script.on_start = lambda worker: starts.append(worker.context.incarnation)
    house = simulate(spec).open()
    for number in range(1, 4):
        assert ping(house) == number
        crash(house)
        assert ping(house) == number + 1
    crash(house)
    assert starts == [1, 2, 3, 4]
    assert len({id(worker) for worker in script.made}) == 4
    assert len(house.of(Kind.ESCALATED)) == 1


def test_a_temporary_actor_is_not_restarted(build: Build) -> None:
    """Pekko SupervisorSpec "not restart temporary actor": its asker is told, and it stays away.

    The message waits for ops, or for the end, as every message does.
    """
    spec, script = child("one", restart=Restart.TEMPORARY)
    house = build(spec).open()
    future = house.later("one", Call(raising(RuntimeError("Expected"))))
    house.until(lambda: house.slot("one").state is ChildState.STOPPED)
    house.close()
    assert "stopped" in str(refused(lambda: future.get(timeout=0)))
    assert len(script.made) == 1


def test_call_kill_call(build: Build) -> None:
    """Pekko SupervisorSpec "call-kill-call single actor OneForOne", "kill single actor"."""
    spec, _ = child("one")
    house = build(spec).open()
    assert ping(house) == 1
    crash(house)
    assert ping(house) == 2


@pytest.mark.parametrize("victim", ["one", "two", "three"])
def test_of_several_only_the_killed_one_is_replaced(build: Build, victim: str) -> None:
    """Pekko SupervisorSpec "call-kill-call multiple actors ...", "kill multiple actors ..."."""
    names = ["one", "two", "three"]
    house = build(*(child(name)[0] for name in names)).open()
    assert [ping(house, name) for name in names] == [1, 1, 1]
    crash(house, victim)
    assert [ping(house, name) for name in names] == [2 if name == victim else 1 for name in names]


def test_what_was_sent_before_and_behind_a_fatal_message_is_handled_in_order(build: Build) -> None:
    """Pekko SupervisorSpec "one-way call-kill-call single actor OneForOne": nothing is lost."""
    spec, script = child("one")
    house = build(spec).open()
    address = house.address("one")
    address.tell(Note("before"))
    address.tell(Call(die_once(RuntimeError("Die"))))
    address.tell(Note("behind"))
    house.until(lambda: len(script.book) == 2)
    assert script.book == ["before", "behind"]
    assert house.exits("one") == ["crashed"]


def test_a_failure_while_restarting_is_followed_by_another_restart(build: Build) -> None:
    """Pekko SupervisorSpec "attempt restart when exception during restart": in the factory, or
    later.

    Pekko's `preRestart` has no equal: a crashed incarnation is asked for nothing more.
    """
    spec, script = child("one", max_restarts=3)
    house = build(spec).open()
    script.born = die_once(ValueError("Don't wanna!"))
    script.on_start = die_once(ValueError("Don't wanna!"))
    house.address("one").tell(Call(die_once(RuntimeError("Expected"))))
    house.until(lambda: ("one", 4) in house.lives(Kind.READY))
    assert ping(house) == 4
    assert house.exits("one") == ["crashed", "failed to start", "failed to start"]
    assert len(house.of(Kind.CHARGED)) == 3


def test_no_message_of_supervision_is_lost_when_the_handler_of_another_fails(
    simulate: Build,
) -> None:
    """Pekko SupervisorSpec "not lose system messages when a NonFatal exception occurs ...".

    A stop, a kill and a restart that wait behind a crash are there for the successor.
    """
    spec, script = child("one", max_restarts=9)
    house = simulate(spec).open()
    address = house.address("one")
    address.tell(Call(lambda worker: pile_up(worker, house)))
    pass_time(house, 1.0)
    assert house.exits("one") == ["crashed", "killed", "stopped"]
    assert ping(house) == 4
    assert script.book == ["ping"]


def pile_up(worker: Worker, house: House) -> None:
    """Be sent a kill and a stop while still in this handler, then crash, once."""
    if worker.context.incarnation == 1:
        house.address("one").tell(Kill(), lane=Lane.CONTROL)
        house.address("one").tell(Stop(), lane=Lane.CONTROL)
        raise RuntimeError("OHNOES")


@pytest.mark.parametrize("where", ["factory", "on_start"])
def test_a_failure_before_creation_is_logged_and_told(build: Build, where: str) -> None:
    """Pekko SupervisorSpec "log pre-creation check failures": that is no secret."""
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)), level="ERROR")
    try:
        spec, script = child("one")
        failure = raising(AssertionError("deliberate test failure"))
        if where == "factory":
            script.born = failure
        else:
            script.on_start = failure
        house = build(spec).begin()
        house.until(lambda: house.owner.stopped)
    finally:
        logger.remove(sink)
    assert any("deliberate test failure" in line for line in lines)
    assert "deliberate test failure" in str(house.owner.refusals[0])


@pytest.mark.parametrize("first", [True, False])
def test_a_failure_to_initialize_is_supervised_after_the_first_start(
    build: Build, first: bool
) -> None:
    """Pekko SupervisorSpec "supervise exceptions on child actor initialize".

    Pekko restarts a child whose first start failed; here that refuses the
    whole start, and only what was ready once is started again.
    """
    spec, script = child("one")
    house = build(spec)
    if first:
        script.on_start = die_once(RuntimeError("deliberate"))
        house.begin().until(lambda: house.owner.stopped)
        assert len(house.owner.refusals) == 1
        assert len(script.made) == 1
    else:
        house.open()
        script.on_start = die_once(RuntimeError("deliberate"))
        house.kill("one")
        house.ready("one", 3)


def test_there_is_no_budget_without_a_number(simulate: Build) -> None:
    """Pekko SupervisorSpec "restarts a child infinitely if maxNrOfRetries = -1 ...": not here.

    Whoever wants many says how many; -1 is refused.
    """
    assert "max_restarts" in str(refused(lambda: child("one", max_restarts=-1)))
    spec, _ = child("one", max_restarts=1000)
    house = simulate(spec).open()
    for _ in range(100):
        house.kill("one")
    house.ready("one", 101)
    assert not house.of(Kind.ESCALATED)


def test_a_period_of_a_month_is_no_overflow(simulate: Build) -> None:
    """Pekko SupervisorSpec "respects maxNrOfRetries with withinTimeRange whose toMillis exceeds
    ...".

    Also "treats withinTimeRange = Duration.Inf as a single infinite restart
    window": a long period is what comes nearest; infinite is refused.
    """
    assert "period" in str(refused(lambda: child("one", period=float("inf"))))
    spec, _ = child("one", max_restarts=2, period=30 * DAY)
    house = simulate(spec, check_every=HOUR, pause_after=2 * HOUR).open()
    for _ in range(2):
        crash(house)
        pass_time(house, 14 * DAY)
    crash(house)
    assert house.slot("one").state is ChildState.ESCALATED
    pass_time(house, 2 * DAY + 1.0)
    assert house.slot("one").state is ChildState.READY


# -- RestartStrategySpec


def test_the_employee_stays_dead_after_too_many_restarts(simulate: Build) -> None:
    """Pekko RestartStrategySpec "... stays dead after max restarts within time range".

    Pekko's stays dead for good; here `stay_down` does, and `retry` comes back in its time.
    """
    dead, _ = child("dead", max_restarts=2, period=60.0, escalation=Escalation.STAY_DOWN)
    back, _ = child("back", max_restarts=2, period=60.0)
    house = simulate(dead, back).open()
    for _ in range(3):
        crash(house, "dead")
        crash(house, "back")
    pass_time(house, 61.0)
    assert house.slot("dead").state is ChildState.ESCALATED
    assert house.slot("back").state is ChildState.READY


def test_a_crash_after_the_time_range_is_forgiven(simulate: Build) -> None:
    """Pekko RestartStrategySpec "... restarts after number of crashes not within time range"."""
    spec, _ = child("one", max_restarts=2, period=60.0)
    house = simulate(spec).open()
    crash(house)
    crash(house)
    pass_time(house, 60.0)
    crash(house)
    assert ping(house) == 4
    assert not house.of(Kind.ESCALATED)


def test_time_alone_does_not_forgive_too_much(simulate: Build) -> None:
    """Pekko RestartStrategySpec "... not restarted after max retries", "... within time range".

    Pekko's count without a time range never falls; here every period has an end.
    """
    spec, _ = child("one", max_restarts=2, period=1000.0, escalation=Escalation.STAY_DOWN)
    house = simulate(spec).open()
    for _ in range(2):
        crash(house)
        pass_time(house, 300.0)
    crash(house)
    assert house.slot("one").state is ChildState.ESCALATED
