"""What Thespian and Ray test that teaches something, in our own words.

Each docstring names the project and the case and says the rule;
docs/supervision.md, Cases, has the table.
"""

from __future__ import annotations

from collections.abc import Callable

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
from actors.life import RestartChild, Stop
from actors.mailbox import Lane
from actors.simulated import is_set
from defence.errors import Conflict, Fault
from supervisors.slot import ChildState
from supervisors.spec import Restart

Build = Callable[..., House]


# -- Thespian: test_poisonMessage, test_actorFailures


def test_a_message_that_kills_twice_is_given_back_to_who_sent_it(build: Build) -> None:
    """Thespian `testLevel3ask`, `testBadNews`: tried again once, then returned as poison.

    Between the two tries Thespian restarts the actor; here as well, and both are charged.
    """
    spec, script = child("one")
    house = build(spec).open()
    error = refused(lambda: house.ask("one", Call(raising(ValueError("Yucky number 3")))))
    assert isinstance(error, Fault)
    assert "Yucky number 3" in str(error)
    assert house.ask("one", Note("hi")) == 3
    assert house.exits("one") == ["crashed", "crashed"]
    assert len(house.of(Kind.POISONED)) == 1
    assert len(house.of(Kind.CHARGED)) == 2
    assert script.book == ["hi"]


def test_poison_that_nobody_asked_about_hurts_nobody_else(build: Build) -> None:
    """Thespian `testLevel3tell`, `testLevel1`, `testLevel2`: others are served in between."""
    spec, script = child("one", max_restarts=20)
    house = build(spec).open()
    for text in ("a", "b", "c"):
        house.address("one").tell(Call(raising(ValueError("3"))))
        house.address("one").tell(Note(text))
    house.until(lambda: len(script.book) == 3)
    assert script.book == ["a", "b", "c"]
    assert len(house.of(Kind.POISONED)) == 3
    assert len(house.of(Kind.CHARGED)) == 6


def test_a_bad_use_is_an_answer_and_no_death(build: Build) -> None:
    """Thespian `testUseBadAddressInActorGetsReturnedAsPoison`: an expected error is a reply."""
    spec, _ = child("one")
    house = build(spec).open()

    def aside(_: Worker) -> None:
        raise Conflict("there is no such address")

    assert isinstance(refused(lambda: house.ask("one", Call(aside))), Conflict)
    assert house.ask("one", Note("Greetings.")) == 1
    assert house.exits("one") == []


def test_an_actor_that_never_starts_is_told_to_whoever_starts_it(build: Build) -> None:
    """Thespian `test01_NonStartingSystemLevelActor`: there None comes as the answer."""
    spec, script = child("one")
    script.born = raising(RuntimeError("This actor can never start"))
    house = build(spec).begin()
    house.until(lambda: house.owner.stopped)
    assert "can never start" in str(house.owner.refusals[0])


def test_an_actor_that_fails_in_its_stop_has_stopped(build: Build) -> None:
    """Thespian `Confused`: who raises at the request to exit is gone all the same."""
    spec, script = child("one")
    script.on_stop = raising(NameError("Who am I?"))
    house = build(spec).open()
    house.close()
    assert house.exits("one") == ["crashed"]
    assert house.owner.stopped == 1


# -- Ray: test_actor_failures


def test_what_was_sent_is_done_once_and_in_order_over_a_death(build: Build) -> None:
    """Ray `test_actor_restart_with_retry`: no call fails, and the order is kept over the restart.

    Ray's calls fail without `max_task_retries`, and may run twice with it;
    here the killed one hands its mailbox on, and nothing runs twice that was answered.
    """
    spec, script = child("one", max_restarts=1)
    house = build(spec).open()
    futures = []
    for n in range(100):
        futures.append(house.later("one", Note(str(n))))
        if n == 50:
            house.kill("one")
    numbers = [house.wait(future) for future in futures]
    house.ready("one", 2)
    assert numbers == sorted(numbers)  # 1, then 2; never back
    assert script.book == [str(n) for n in range(100)]
    assert house.exits("one") == ["killed"]


def test_after_the_limit_the_calls_wait_and_are_told_at_the_end(simulate: Build) -> None:
    """Ray `test_actor_restart`: past `max_restarts` every call fails; here they wait for ops."""
    spec, _ = child("one", max_restarts=1, escalation="stay_down")
    house = simulate(spec).open()
    for _ in range(2):
        house.kill("one")
        pass_time(house, 1.0)
    futures = [house.later("one", Note("x"), timeout=50.0) for _ in range(10)]
    pass_time(house, 10.0)
    assert not any(is_set(future) for future in futures)
    house.ask_root(RestartChild("one"))
    assert {house.wait(future) for future in futures} == {3}


def test_a_dead_actor_is_restarted_without_being_called(build: Build) -> None:
    """Ray `test_actor_restart_without_task`: nobody needs to send anything for that."""
    spec, _ = child("one")
    house = build(spec).open()
    accepted = house.slot("one").mailbox.counts().accepted
    house.kill("one")
    house.ready("one", 2)
    assert house.slot("one").mailbox.counts().accepted == accepted + 1  # the kill


def test_the_successor_of_a_caller_may_call(build: Build) -> None:
    """Ray `test_caller_actor_restart`: what a restarted actor sends is handled as before.

    An answer to its forerunner's request is a dead letter, and not taken for its own.
    """
    one, script = child("one")
    two, other = child("two")
    house = build(one, two).open()
    house.ask("one", Call(lambda worker: worker.request("two", Note("first"))))
    house.until(lambda: len(script.answers) == 1)
    house.kill("one")
    house.ready("one", 2)
    house.ask("one", Call(lambda worker: worker.request("two", Note("second"))))
    house.until(lambda: len(script.answers) == 2)
    assert [answer.incarnation for answer in script.answers] == [1, 2]
    assert other.book == ["first", "second"]


def test_a_child_that_exits_on_purpose_stays_away_if_it_may(build: Build) -> None:
    """Ray `test_actor_restart` (`__ray_terminate__`): an intended exit is not repaired."""
    spec, script = child("one", restart=Restart.TRANSIENT)
    house = build(spec).open()
    house.ask("one", Call(die_once(RuntimeError("first a crash"))))
    house.address("one").tell(Stop(), lane=Lane.CONTROL)
    house.until(lambda: house.slot("one").state is ChildState.STOPPED)
    assert len(script.made) == 2
