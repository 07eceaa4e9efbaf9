"""The cases of Pekko's backoff and life cycle specs that apply, in our own words.

Each docstring names the spec and the case and says the rule; docs/supervision.md,
Cases, has the table of all of them, and why the others do not apply.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from cases_kit import DAY, HOUR, crash, delays, ping
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
)

from actors.events import Kind
from actors.life import ResetBudget, RestartChild, Stop
from actors.mailbox import Lane
from actors.simulated import is_set
from supervisors.slot import ChildState
from supervisors.spec import Backoff

Build = Callable[..., House]


# -- BackoffSupervisorSpec, BackoffOnRestartSupervisorSpec


def test_a_child_that_stops_is_started_again(build: Build) -> None:
    """Pekko BackoffSupervisorSpec "start child again when it stops when using Backoff.onStop"."""
    spec, _ = child("one", backoff=Backoff(first=0.01))
    house = build(spec).open()
    house.address("one").tell(Stop(), lane=Lane.CONTROL)
    assert house.ask("one", Note("hello")) in (1, 2)  # forwarded, whichever it is
    house.ready("one", 2)


def test_ops_reset_the_count_and_with_it_the_backoff(simulate: Build) -> None:
    """Pekko BackoffSupervisorSpec "support manual reset": the next failure is the first again."""
    spec, _ = child("one", backoff=Backoff(first=2.0, jitter=0.0))
    house = simulate(spec).open()
    assert delays(house, 3) == [0.0, 2.0, 4.0]
    assert house.ask_root(ResetBudget("one"))["budget_left"] == 3
    assert delays(house, 2) == [0.0, 2.0]


@pytest.mark.parametrize(
    ("nth", "backoff", "expected"),
    [
        (1, Backoff(first=300.0, limit=420.0, jitter=0.0), 0.0),
        (2, Backoff(first=0.0, limit=0.0, jitter=0.0), 0.0),
        (2, Backoff(first=300.0, limit=420.0, jitter=0.0), 300.0),
        (4, Backoff(first=5.0, limit=7.0, jitter=0.0), 7.0),
        (4, Backoff(first=5.0, limit=7 * DAY, jitter=0.0), 20.0),
        (31, Backoff(first=300.0, limit=600.0, jitter=0.0), 600.0),
        (31, Backoff(first=10_000 * DAY, limit=10_000 * DAY, jitter=0.0), 10_000 * DAY),
        (2**31, Backoff(first=10_000 * DAY, limit=10_000 * DAY, jitter=0.0), 10_000 * DAY),
    ],
)
def test_the_delay_is_calculated_correctly(nth: int, backoff: Backoff, expected: float) -> None:
    """Pekko BackoffSupervisorSpec "correctly calculate the delay": capped, and no overflow."""
    assert backoff.delay(nth, random.Random(0)) == expected


@pytest.mark.parametrize("how", ["stop", "crash"])
def test_after_the_limit_a_child_is_not_started_any_more(simulate: Build, how: str) -> None:
    """Pekko BackoffSupervisorSpec "stop restarting the child after reaching maxNrOfRetries limit
    ...".
    """
    spec, script = child("one", max_restarts=2, backoff=Backoff(first=0.5), escalation="stay_down")
    house = simulate(spec).open()
    for _ in range(3):
        if how == "stop":
            house.address("one").tell(Stop(), lane=Lane.CONTROL)
        else:
            house.address("one").tell(Call(die_once(RuntimeError("boom"))))
        pass_time(house, 5.0)
    assert len(script.made) == 3
    assert house.slot("one").state is ChildState.ESCALATED


def test_messages_wait_while_the_child_is_away(simulate: Build) -> None:
    """Pekko BackoffSupervisorSpec "reply to sender if replyWhileStopped is specified", and its
    like.

    Pekko answers in the child's place, or drops; here the message waits for the next incarnation.
    """
    spec, _ = child("one", backoff=Backoff(first=50.0, limit=50.0, jitter=0.0))
    house = simulate(spec).open()
    delays(house, 1)
    house.kill("one")
    pass_time(house, 1.0)
    future = house.later("one", Note("still there?"), timeout=100.0)
    pass_time(house, 40.0)
    assert not is_set(future)
    pass_time(house, 10.0)
    assert future.get(timeout=0) == 3


def test_commands_are_taken_while_a_child_takes_its_time_to_end(simulate: Build) -> None:
    """Pekko BackoffOnRestartSupervisorSpec "accept commands while child is terminating".

    The root waits for nobody: it answers while a stop is under way.
    """
    spec, script = child("one", stop_timeout=3.0)
    other, _ = child("other")
    house = simulate(spec, other).open()
    script.on_stop = lambda worker: worker.context.runtime.hang()
    house.ask_root(RestartChild("one"))
    pass_time(house, 1.0)
    before = house.clock.monotonic()
    assert house.ask_root(ResetBudget("other"))["budget_left"] == 3
    assert house.ask_root(RestartChild("other"))["restarting"] is True
    house.ready("other", 2)
    assert house.clock.monotonic() == before
    assert house.slot("one").number == 1
    pass_time(house, 3.0)
    assert ping(house) == 2


def test_limits_hold_over_a_backoff(simulate: Build) -> None:
    """Pekko BackoffOnRestart "respect maxNrOfRetries ...", "respect withinTimeRange ...".

    Also "keep restarting when failures happen outside of withinTimeRange":
    what lies further apart than the period allows goes on for ever.
    """
    fast, _ = child("fast", max_restarts=3, period=60.0, backoff=Backoff(first=2.0, jitter=0.0))
    slow, _ = child("slow", max_restarts=1, period=10.0, backoff=Backoff(first=2.0, jitter=0.0))
    house = simulate(fast, slow).open()
    assert delays(house, 3, "fast") == [0.0, 2.0, 4.0]
    house.kill("fast")
    pass_time(house, 10.0)
    assert house.slot("fast").state is ChildState.ESCALATED
    for _ in range(5):
        assert delays(house, 1, "slow") == [0.0]
        pass_time(house, 10.0)
    assert house.slot("slow").state is ChildState.READY


# -- ActorLifeCycleSpec


def test_the_order_of_the_hooks_over_lives(build: Build) -> None:
    """Pekko ActorLifeCycleSpec "invoke preRestart, preStart, postRestart when using
    OneForOneStrategy".

    Here: `on_start` for every life; `on_stop` only for one that is stopped, never
    after a crash ("default for preRestart ... is to call postStop" differs).
    """
    seen: list[str] = []
    spec, script = child("one", max_restarts=9)
    script.on_start = lambda worker: seen.append(f"start {worker.context.incarnation}")
    script.on_stop = lambda worker: seen.append(f"stop {worker.context.incarnation}")
    house = build(spec).open()
    for _ in range(3):
        crash(house)
    house.close()
    assert seen == ["start 1", "start 2", "start 3", "start 4", "stop 4"]


def test_without_a_restart_there_is_one_start_and_one_stop(build: Build) -> None:
    """Pekko ActorLifeCycleSpec "not invoke preRestart and postRestart when never restarted ..."."""
    seen: list[str] = []
    spec, script = child("one")
    script.on_start = lambda _: seen.append("start")
    script.on_stop = lambda _: seen.append("stop")
    house = build(spec).open()
    assert ping(house) == 1
    house.close()
    assert seen == ["start", "stop"]


def test_a_failure_in_the_stop_is_logged_and_told(build: Build) -> None:
    """Pekko ActorLifeCycleSpec "log failures in postStop"."""
    lines: list[str] = []
    sink = logger.add(lambda line: lines.append(str(line)), level="ERROR")
    try:
        spec, script = child("one")
        script.on_stop = raising(RuntimeError("hurrah"))
        house = build(spec).open()
        house.close()
    finally:
        logger.remove(sink)
    assert sum("RuntimeError: hurrah" in line for line in lines) == 1
    (event,) = house.of(Kind.EXITED)
    assert (event.facts["how"], event.facts["error"]) == ("crashed", "RuntimeError: hurrah")


def test_a_start_that_never_succeeds_has_its_number_of_tries(simulate: Build) -> None:
    """Pekko ActorLifeCycleSpec "not break supervisor strategy due to unhandled exception in
    preStart".
    """
    tries: list[int] = []
    spec, script = child("one", max_restarts=3, escalation="stay_down")
    house = simulate(spec).open()

    def start(worker: Worker) -> None:
        tries.append(worker.context.incarnation)
        raise RuntimeError("test exception")

    script.on_start = start
    house.kill("one")
    pass_time(house, HOUR)
    assert tries == [2, 3, 4]
