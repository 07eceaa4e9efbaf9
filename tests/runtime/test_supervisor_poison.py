"""Poison: what crashed, or hung, its handler twice and alone is set aside, recorded, answered."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runtime_kit import (
    STEADY,
    Call,
    House,
    Note,
    Script,
    Worker,
    child,
    hang_in,
    pass_time,
    raising,
    refused,
    stall,
)

from actors.events import Kind
from actors.life import RestartChild
from actors.mailbox import Lane
from actors.poisoning import LONGEST, shown
from defence.errors import Fault

Build = Callable[..., House]


def hang(worker: Worker) -> None:
    worker.context.runtime.hang()


def test_a_message_that_crashes_twice_is_recorded_with_all_that_ops_need(build: Build) -> None:
    spec, _ = child("one")
    house = build(spec).open()
    before = house.clock.wall()
    refused(lambda: house.ask("one", Call(raising(RuntimeError("bad")))))
    house.until(lambda: house.owner.poison)
    (fact,) = house.owner.poison
    poison = fact.poison
    assert (fact.child, fact.incarnation) == ("one", 2)
    assert (poison.message, poison.error, poison.lane) == ("Call", "RuntimeError: bad", "data")
    assert poison.shown.startswith("Call(work=")
    assert before <= poison.at <= house.clock.wall()
    (event,) = house.of(Kind.POISONED)
    assert event.facts == {"message": "Call", "id": poison.id, "error": poison.error}


def test_a_message_that_hangs_twice_is_poison_too(build: Build) -> None:
    spec, _ = child("one", hang_after=0.15)
    house = build(spec).open()
    error = refused(lambda: house.ask("one", Call(hang)))
    assert isinstance(error, Fault)
    assert "hung on this message again" in str(error)
    house.ready("one", 3)
    assert house.ask("one", Note("healthy")) == 3
    assert house.exits("one") == ["hung", "hung"]
    (fact,) = house.owner.poison
    assert (fact.incarnation, fact.poison.message) == (2, "Call")
    assert fact.poison.error.startswith("hung in Call for 0.")
    counts = house.slot("one").mailbox.counts()
    assert (counts.handled, counts.failed, counts.waiting) == (1, 1, 0)


def test_once_hung_is_not_guilty(build: Build) -> None:
    spec, _ = child("one", hang_after=0.15)
    house = build(spec).open()

    def once(worker: Worker) -> str:
        hang_in(1)(worker)
        return "done"

    assert house.ask("one", Call(once)) == "done"
    assert house.owner.poison == []
    assert house.exits("one") == ["hung"]


def test_a_crash_and_a_hang_are_two(build: Build) -> None:
    spec, _ = child("one", hang_after=0.15)
    house = build(spec).open()

    def both(worker: Worker) -> None:
        if worker.context.incarnation == 1:
            raise RuntimeError("first")
        hang(worker)

    assert isinstance(refused(lambda: house.ask("one", Call(both))), Fault)
    assert house.exits("one") == ["crashed", "hung"]
    assert len(house.owner.poison) == 1


def test_an_actor_that_asked_gets_the_error_as_a_message(build: Build) -> None:
    one, _ = child("one", hang_after=0.15)
    two, asker = child("two")
    house = build(one, two).open()
    request = house.ask("two", Call(lambda worker: worker.request("one", Call(hang))))
    house.until(lambda: asker.answers)
    (answer,) = asker.answers
    assert (answer.request_id, answer.child) == (request, "one")
    assert isinstance(answer.error, Fault)


def test_a_batch_that_hangs_is_taken_singly_and_only_the_guilty_is_set_aside(
    build: Build,
) -> None:
    spec, script = child("one", Script(batch=10), hang_after=0.15, max_restarts=10)
    house = build(spec).open()
    gate: list[int] = []
    first = house.later("one", Call(lambda worker: stall(worker, lambda: bool(gate))))
    good = house.later("one", Note("good"))
    bad = house.later("one", Call(hang))
    gate.append(1)
    house.wait(first)
    assert house.wait(good) >= 1
    assert isinstance(refused(lambda: house.wait(bad)), Fault)
    assert script.book == ["good"] * script.book.count("good")
    assert [fact.poison.message for fact in house.owner.poison] == ["Call"]
    assert house.exits("one") == ["hung"] * 3, "as a batch, which is nobody's fault; then twice"


def test_a_handler_that_is_only_slow_to_stop_is_not_blamed(simulate: Build) -> None:
    """The time-out of a stop is shorter than what makes a hang."""
    spec, _ = child("one", hang_after=100.0, stop_timeout=1.0)
    house = simulate(spec).open()

    def slow(worker: Worker) -> str:
        if worker.context.incarnation < 4:
            hang(worker)
        return "done"

    future = house.later("one", Call(slow), 500.0)
    for _ in range(3):
        pass_time(house, 5.0)
        house.ask_root(RestartChild("one"))
        pass_time(house, 5.0)
    assert house.wait(future, 500.0) == "done"
    assert house.exits("one") == ["hung"] * 3
    assert house.owner.poison == []


def test_silence_blames_nobody(simulate: Build) -> None:
    """It has a message in hand, but not for so long that this would be a hang."""
    spec, _ = child("one", silence_after=10.0, hang_after=100.0, max_restarts=10)
    house = simulate(spec).open()

    def slow(worker: Worker) -> str:
        if worker.context.incarnation < 4:
            hang(worker)
        return "done"

    assert house.wait(house.later("one", Call(slow), 500.0), 500.0) == "done"
    assert house.exits("one") == ["silent"] * 3
    assert house.owner.poison == []


def test_a_control_message_can_be_poison(build: Build) -> None:
    spec, _ = child("one")
    house = build(spec).open()
    house.address("one").tell(Call(raising(KeyError("k"))), lane=Lane.CONTROL)
    house.until(lambda: house.owner.poison)
    assert house.owner.poison[0].poison.lane == "control"


# -- what is shown of a message


class Colour(Enum):
    RED = 1


class Pair(NamedTuple):
    left: int
    password: str


@dataclass(frozen=True, slots=True)
class Login:
    user: str
    password: str
    api_token: str
    more: object = None
    quiet: str = field(default="unseen", repr=False)


class Bare:
    def __init__(self) -> None:
        self.size = 3
        self.client_secret = "xyzzy"

    def __repr__(self) -> str:
        raise RuntimeError("no words")


class Slotted:
    __slots__ = ("a",)


class Broken:
    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("no attributes")


LOGIN = "Login(user='u', password='***', api_token='***', more=None)"


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (Note("hi"), "Note(text='hi')"),
        (Login("u", "xyzzy", "xyzzy"), LOGIN),
        (Bare(), "Bare(size=3, client_secret='***')"),
        ({"TOKEN": "xyzzy", "a": [1, 2.5]}, "{'TOKEN': '***', 'a': [1, 2.5]}"),
        (Pair(1, "xyzzy"), "Pair(left=1, password='***')"),
        (Colour.RED, "Colour.RED"),
        (Decimal("1.50"), "Decimal('1.50')"),
        (dt.datetime(2024, 1, 2, tzinfo=dt.UTC), "2024-01-02 00:00:00+00:00"),
        (ValueError("bad", 1), "ValueError('bad', 1)"),
        (10**5000, "<a huge int>"),
        (Login, "<class Login>"),
        (Slotted(), "Slotted()"),
        ((1, (2, (3, (4, (5,))))), "tuple(1, tuple(2, tuple(3, <tuple>)))"),
        (None, "None"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_what_is_shown_of_a_message(message: object, expected: str) -> None:
    assert shown(message) == expected


def test_nothing_that_a_message_does_can_harm_whoever_shows_it() -> None:
    assert "cannot be shown" in shown(Broken())
    assert "cannot be shown" in shown(Login("me", "p", "t", more=Broken()))
    ring: list[object] = []
    ring.append(ring)
    assert shown(ring) == "[[[<list>]]]"
    assert len(shown(["x" * 1000] * 1000)) == LONGEST


plain = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(max_size=700) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.text(), inner, max_size=30),
    max_leaves=60,
)


@STEADY
@given(inside=plain)
def test_anything_is_shown_short_and_without_its_secrets(inside: object) -> None:
    text = shown(Login("me", "xyzzy-1", "xyzzy-2", more={"more": inside, "secret": "xyzzy-3"}))
    assert len(text) <= LONGEST
    assert "xyzzy" not in text
    assert text.startswith("Login(user='me'")
