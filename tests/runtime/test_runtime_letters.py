"""What becomes of messages when their handlers die: one answer each, order kept, poison found."""

from __future__ import annotations

from collections.abc import Callable

import pykka
import pytest
from pykka.messages import ProxyCall, ProxyGetAttr, ProxySetAttr
from runtime_kit import (
    DEATHS,
    Call,
    House,
    Note,
    Script,
    Sting,
    Worker,
    child,
    die_once,
    pass_time,
    raising,
    refused,
)

from actors.actor import Forwarded
from actors.events import Kind
from actors.life import Answer, RestartChild
from actors.mailbox import Lane, Letter
from actors.points import Killed
from defence.errors import (
    DeadlinePassed,
    Fault,
    Invalid,
    MailboxFull,
    Stopped,
    UnknownMessage,
)

Build = Callable[..., House]


@pytest.mark.parametrize("death", DEATHS)
def test_a_message_that_crashes_once_is_answered_by_the_successor(
    build: Build, death: type[BaseException]
) -> None:
    spec, _ = child("one")
    house = build(spec).open()
    future = house.later("one", Call(die_once(death("x"))))
    after = house.later("one", Note("after"))
    assert house.wait(future) == "alive"
    assert house.wait(after) == 2


@pytest.mark.parametrize("death", DEATHS)
def test_a_message_that_crashes_twice_alone_is_poison(
    build: Build, death: type[BaseException]
) -> None:
    spec, _ = child("one")
    house = build(spec).open()
    future = house.later("one", Call(raising(death("always"))))
    after = house.later("one", Note("after"))
    error = refused(lambda: house.wait(future))
    assert isinstance(error, Fault)
    assert death.__name__ in str(error)
    assert house.wait(after) == 3
    (poison,) = house.of(Kind.POISONED)
    assert (poison.incarnation, poison.facts["message"]) == (2, "Call")
    assert len(house.of(Kind.CHARGED)) == 2
    assert house.slot("one").mailbox.counts().failed == 1


def test_a_kill_never_makes_poison(build: Build) -> None:
    """A kill while a message is in hand: the message returns, blameless, any number of times."""
    spec, _ = child("one", max_restarts=5)
    house = build(spec).open()
    house.points.kill_at("one.before_reply", times=4)
    assert house.ask("one", Note("x")) == 5
    assert house.exits("one") == ["killed"] * 4
    assert not house.of(Kind.POISONED)


def test_a_hung_message_returns_and_the_successor_answers(build: Build) -> None:
    spec, _ = child("one", hang_after=0.1)
    house = build(spec).open()

    def hang_once(worker: Worker) -> object:
        if worker.context.incarnation == 1:
            worker.context.runtime.hang()
        return worker.context.incarnation

    first = house.later("one", Call(hang_once))
    after = house.later("one", Note("after"))
    assert (house.wait(first), house.wait(after)) == (2, 2)


def test_messages_wait_through_a_failed_restart_in_order(build: Build) -> None:
    spec, script = child("one")
    house = build(spec).open()
    script.on_start = die_once(RuntimeError("on start"))
    house.points.kill_at("one.before_reply")
    futures = [house.later("one", Note(f"n{n}")) for n in range(5)]
    assert [house.wait(future) for future in futures] == [3] * 5
    # The first was handled before the kill, and again; none was lost, none overtook.
    assert script.book == ["n0", "n0", "n1", "n2", "n3", "n4"]


def test_answers_are_owed_over_a_restart_by_ops(build: Build) -> None:
    spec, script = child("one")
    house = _paused(build(spec), "one")
    owed = [house.later("one", Note(f"n{n}")) for n in range(3)]
    _resume(house, "one")
    house.to_root(RestartChild("one"))
    assert {house.wait(future) for future in owed} <= {2, 3}
    assert script.book == ["n0", "n1", "n2"]
    house.ready("one", 3)


def test_expected_errors_are_answers_and_the_actor_lives(build: Build) -> None:
    spec, _ = child("one")
    house = build(spec).open()
    error = Invalid("too small", field="volume", value=0)
    assert refused(lambda: house.ask("one", Call(raising(error)))) is error
    assert isinstance(refused(lambda: house.ask("one", "what is this?")), UnknownMessage)
    assert house.ask("one", Note("alive")) == 1
    assert not house.of(Kind.EXITED)


@pytest.mark.parametrize(
    "message",
    [
        ProxyCall(attr_path=("script", "book", "clear"), args=(), kwargs={}),
        ProxyGetAttr(attr_path=("script",)),
        ProxySetAttr(attr_path=("script",), value=None),
    ],
)
def test_proxy_messages_are_refused_through_a_ref(build: Build, message: object) -> None:
    spec, script = child("one")
    house = build(spec).open()
    ref = script.worker.actor_ref
    future = ref.ask(message, block=False)
    assert isinstance(refused(lambda: house.wait(future)), UnknownMessage)
    stop = ref.ask(pykka.messages._ActorStop(), block=False)
    assert isinstance(refused(lambda: house.wait(stop)), UnknownMessage)
    assert house.ask("one", Note("alive")) == 1


def test_a_batch_is_answered_one_by_one(build: Build) -> None:
    spec, script = child("one", Script(batch=10))
    house = _paused(build(spec), "one")
    futures = [house.later("one", Note(f"n{n}")) for n in range(25)]
    _resume(house, "one")
    assert [house.wait(future) for future in futures] == [2] * 25
    assert script.book == [f"n{n}" for n in range(25)]
    assert script.batches == [10, 10, 5]


def test_a_batch_that_fails_is_retried_singly_and_charged_once(build: Build) -> None:
    spec, script = child("one", Script(batch=10))
    script.stings["sting"] = 2  # in the batch, and alone
    house = _paused(build(spec), "one")
    futures = [house.later("one", m) for m in (Note("a"), Sting(), Note("b"))]
    _resume(house, "one")
    assert [house.wait(future) for future in futures] == [2, "sting survived", 3]
    assert script.batches == [3, 1, 1, 1, 1]  # all, a, the culprit, the culprit again, b
    assert house.exits("one") == ["killed", "crashed"]
    assert not house.of(Kind.POISONED)


def test_only_the_culprit_of_a_batch_is_poison(build: Build) -> None:
    spec, script = child("one", Script(batch=10))
    script.stings["sting"] = 9
    house = _paused(build(spec), "one")
    futures = [house.later("one", m) for m in (Note("a"), Sting(), Note("b"))]
    _resume(house, "one")
    assert house.wait(futures[0]) == 2
    assert isinstance(refused(lambda: house.wait(futures[1])), Fault)
    assert house.wait(futures[2]) == 4
    assert len(house.of(Kind.CHARGED)) == 3  # the kill, and the culprit's two


def test_a_batch_that_dies_of_system_exit_is_taken_singly_by_the_successor(build: Build) -> None:
    spec, script = child("one", Script(batch=10), max_restarts=5)
    house = _paused(build(spec), "one")
    deadly = Call(raising(SystemExit(9)))
    futures = [house.later("one", m) for m in (Note("a"), deadly, Note("b"))]
    _resume(house, "one")
    assert house.wait(futures[0]) == 3
    assert isinstance(refused(lambda: house.wait(futures[1])), Fault)
    assert house.wait(futures[2]) == 5
    assert script.batches[0] == 3
    assert set(script.batches[1:]) == {1}


def test_control_goes_first(build: Build) -> None:
    spec, script = child("one")
    house = _paused(build(spec), "one")
    for text, lane in (("data", Lane.DATA), ("reply", Lane.REPLY), ("control", Lane.CONTROL)):
        house.address("one").tell(Note(text), lane=lane)
    _resume(house, "one")
    house.until(lambda: len(script.book) == 3)
    assert script.book == ["control", "reply", "data"]


def test_a_full_mailbox_says_so_at_once_and_takes_control_still(build: Build) -> None:
    spec, _ = child("one", data_limit=3)
    house = _paused(build(spec), "one")
    futures = [house.later("one", Note(f"n{n}")) for n in range(3)]
    assert isinstance(refused(lambda: house.later("one", Note("too many"))), MailboxFull)
    for lane in (Lane.CONTROL, Lane.REPLY):
        house.address("one").tell(Note("never refused"), lane=lane)
    counts = house.slot("one").mailbox.counts()
    assert (counts.waiting, counts.refused) == (5, 1)
    _resume(house, "one")
    assert [house.wait(future) for future in futures] == [2] * 3


def test_a_late_message_is_refused_and_not_done(build: Build) -> None:
    spec, script = child("one")
    house = _paused(build(spec), "one")
    error = refused(lambda: house.ask("one", Note("late"), timeout=0.05))
    assert isinstance(error, DeadlinePassed)
    future = house.later("one", Note("in time"))
    _resume(house, "one")
    assert house.wait(future) == 2
    assert script.book == ["in time"]
    assert house.slot("one").mailbox.counts().failed == 1


def test_a_message_is_late_at_its_deadline(simulate: Build) -> None:
    """At the very moment when its asker was told so, it must not be done any more."""
    spec, script = child("one", escalation="stay_down", max_restarts=0)
    house = simulate(spec).open()
    house.kill("one")
    house.until(lambda: house.of(Kind.ESCALATED))
    assert isinstance(refused(lambda: house.ask("one", Note("x"), timeout=10.0)), DeadlinePassed)
    house.actor.starting.spawn(house.slot("one"))  # no time has passed
    pass_time(house, 1.0)
    assert script.book == []


def test_requests_are_answered_as_messages(build: Build) -> None:
    one, asker = child("one")
    two, _ = child("two")
    house = build(one, two).open()
    request = house.ask("one", Call(lambda worker: worker.request("two", Note("hello"))))
    bad = house.ask("one", Call(lambda worker: worker.request("two", "gibberish")))
    house.until(lambda: len(asker.answers) == 2)
    first, second = asker.answers
    assert first == Answer(request, 1, "two", value=1)
    assert (second.request_id, type(second.error)) == (bad, UnknownMessage)


def test_an_answer_to_a_dead_incarnation_is_a_dead_letter(build: Build) -> None:
    one, asker = child("one")
    two, _ = child("two")
    house = build(one, two).open()
    house.ask("one", Call(lambda worker: worker.request("two", Sting())))
    house.until(lambda: asker.answers)
    house.kill("one")
    house.ready("one", 2)
    house.post.send("one", Answer("m1", 1, "two", value="stale"))
    house.until(lambda: house.of(Kind.DEAD_LETTER))
    assert len(asker.answers) == 1
    assert house.of(Kind.DEAD_LETTER)[0].facts == {"message": "Answer", "why": "for #1"}
    assert house.slot("one").mailbox.counts().dead == 1


def test_a_crash_in_on_answer_is_blamed_on_the_answer(build: Build) -> None:
    spec, script = child("one")

    def fail(worker: Worker) -> None:
        setattr(worker, "on_answer", raising(RuntimeError("bad answer")))  # noqa: B010

    script.on_start = fail
    house = build(spec).open()
    house.post.send("one", Answer("r", 1, "two"))
    house.ready("one", 2)
    house.until(lambda: house.slot("one").mailbox.counts().dead == 1)  # stale for its successor
    assert house.exits("one") == ["crashed"]


def test_a_forwarded_asker_is_answered_by_the_other(build: Build) -> None:
    one, _ = child("one")
    two, script = child("two")
    house = build(one, two).open()
    house.kill("two")
    house.ready("two", 2)
    assert house.ask("one", Call(lambda worker: worker.forward("two", Note("passed on")))) == 2
    assert script.book == ["passed on"]
    lost = refused(lambda: house.ask("one", Call(lambda w: w.forward("nobody", Note("x")))))
    assert isinstance(lost, Stopped)


def test_forwarding_into_a_full_mailbox_refuses_the_asker(build: Build) -> None:
    one, _ = child("one")
    two, _ = child("two", data_limit=1)
    house = _paused(build(one, two), "two")
    house.later("two", Note("fills it"))
    forward = Call(lambda worker: worker.forward("two", Note("x"), lane=Lane.DATA))
    assert isinstance(refused(lambda: house.ask("one", forward)), MailboxFull)
    assert not house.exits("one")
    _resume(house, "two")


def test_a_forwarded_message_keeps_its_deadline(simulate: Build) -> None:
    one, _ = child("one")
    two, script = child("two", max_restarts=0)
    house = simulate(one, two).open()
    house.kill("two")
    house.until(lambda: house.of(Kind.ESCALATED))
    forward = Call(lambda worker: worker.forward("two", Note("late")))
    standing = Call(lambda worker: Forwarded("two", Sting("order"), Lane.CONTROL, sticky=True))
    for message in (forward, standing):
        late = refused(lambda: house.ask("one", message, timeout=2.0))  # noqa: B023 - used at once
        assert isinstance(late, DeadlinePassed)
    house.actor.starting.spawn(house.slot("two"))
    script.stings["order"] = 0
    pass_time(house, 1.0)
    assert script.book == []  # refused as late
    assert house.slot("two").mailbox.counts().handled == 1 + 1  # the kill, and the standing order


def test_standing_orders_are_repeated_to_every_incarnation_in_order(build: Build) -> None:
    spec, script = child("one")
    house = build(spec).open()
    first = Call(lambda worker: worker.script.book.append("first"))
    for message in (Note("outdated"), first, Note("second")):
        house.post.send("one", message, lane=Lane.CONTROL, sticky=True)
    assert house.ask("one", Note("data")) == 1
    assert script.book == ["outdated", "first", "second", "data"]
    # Only the newest of its type stands; the outdated one held the first place before.
    for number in (2, 3):
        script.book.clear()
        house.kill("one")
        house.ready("one", number)
        assert house.ask("one", Note("data")) == number
        assert script.book == ["first", "second", "data"]


def test_a_killed_point_leaves_the_letter_and_its_mark(build: Build) -> None:
    """`attempted` outlives the crash, because the letter does."""
    spec, _ = child("one")
    house = build(spec).open()
    seen: list[bool] = []

    def effect(worker: Worker) -> str:
        letter = worker.letter
        assert isinstance(letter, Letter)
        seen.append(letter.attempted)
        if not letter.attempted:
            letter.attempted = True
            raise Killed("in the middle of the effect")
        return "done"

    assert house.ask("one", Call(effect)) == "done"
    assert seen == [False, True]


def _paused(house: House, name: str) -> House:
    """Open the house and have incarnation 1 of `name` dead, 2 not yet started."""
    house.open()
    spawn = house.actor.starting.spawn
    held: list[object] = []
    house.actor.starting.spawn = held.append  # type: ignore[method-assign, assignment]
    house.kill(name)
    house.until(lambda: held)
    house.actor.starting.spawn = spawn  # type: ignore[method-assign]
    return house


def _resume(house: House, name: str) -> None:
    """Start incarnation 2 of `name`, as ops would."""
    house.to_root(RestartChild(name))
