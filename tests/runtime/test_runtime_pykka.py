"""What DTMS relies on in pykka, held still: these fail loudly when pykka changes under us."""

from __future__ import annotations

import inspect
import queue
from importlib.metadata import version
from pathlib import Path

import pykka
import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from pykka import _actor, _envelope, _ref
from runtime_kit import Note, Worker, child, refused

from actors.actor import GuardActor
from actors.mailbox import Letter, Mailbox

ROOT = Path(__file__).parents[2]


def test_the_version_is_in_the_range_that_we_pin() -> None:
    lines = (ROOT / "setup.cfg").read_text(encoding="utf-8").splitlines()
    pin = Requirement(next(line.strip() for line in lines if line.strip().startswith("pykka")))
    assert str(pin.specifier) == "<4.6,>=4.5"
    assert pin.specifier.contains(Version(version("pykka")))


def test_an_envelope_has_the_two_slots_that_a_letter_extends() -> None:
    assert set(_envelope.Envelope.__slots__) == {"message", "reply_to"}
    assert list(inspect.signature(_envelope.Envelope.__init__).parameters) == [
        "self",
        "message",
        "reply_to",
    ]
    assert not hasattr(Letter("x", id="1"), "__dict__")


class Plain(pykka.ThreadingActor):
    """Never started: only made."""


def test_a_ref_uses_the_inbox_that_the_actor_had_when_the_ref_was_made() -> None:
    actor = Plain()
    first = actor.actor_inbox
    actor.actor_inbox = Mailbox("box", now=lambda: 0.0)
    assert actor.actor_ref.actor_inbox is first  # so GuardActor makes its ref anew
    ref = pykka.ActorRef(actor)
    assert ref.actor_inbox is actor.actor_inbox


def test_a_ref_puts_an_envelope_into_the_inbox_and_nothing_else() -> None:
    actor = Plain()
    box = Mailbox("box", now=lambda: 0.0)
    actor.actor_inbox = box
    ref = pykka.ActorRef(actor)
    box.open_for(1)
    ref.tell("told")
    future = ref.ask("asked", block=False)
    told, asked = (box.take(1)[0] for _ in range(2))
    assert (told.message, told.reply_to) == ("told", None)
    assert (asked.message, asked.reply_to) == ("asked", future)
    assert isinstance(future, pykka.ThreadingFuture)


def test_the_inbox_protocol_is_put_get_empty() -> None:
    names = {name for name in vars(_actor.ActorInbox) if not name.startswith("_")}
    assert names == {"put", "get", "empty"}
    assert all(callable(getattr(Mailbox, name)) for name in names)


def test_a_future_is_set_once() -> None:
    future: pykka.ThreadingFuture[int] = pykka.ThreadingFuture()
    future.set(1)
    with pytest.raises(queue.Full):
        future.set(2)
    with pytest.raises(queue.Full):
        future.set_exception((ValueError, ValueError(), None))
    assert future.get(timeout=0) == 1


def test_a_future_without_an_answer_times_out_with_pykkas_timeout() -> None:
    future: pykka.ThreadingFuture[int] = pykka.ThreadingFuture()
    with pytest.raises(pykka.Timeout):
        future.get(timeout=0)
    assert issubclass(pykka.Timeout, Exception)


def test_a_future_raises_the_very_error_that_it_was_given() -> None:
    future: pykka.ThreadingFuture[int] = pykka.ThreadingFuture()
    error = ValueError("x")
    future.set_exception((ValueError, error, None))
    assert refused(lambda: future.get(timeout=0)) is error


def test_making_an_actor_neither_registers_nor_starts_it() -> None:
    """GuardActor relies on it: it is made, never started by pykka."""
    source = inspect.getsource(_actor.Actor.__init__)
    assert "register" not in source.split('"""')[-1]
    Plain()
    assert pykka.ActorRegistry.get_all() == []


def test_we_override_what_pykka_would_do_with_messages() -> None:
    """Our step never enters pykka's loop, its dispatch or its stop."""
    steps = ROOT / "actors" / "incarnation.py"
    assert not any(
        name in steps.read_text(encoding="utf-8")
        for name in ("_actor_loop", "_handle_receive", "_start_actor_loop", "._stop()")
    )
    assert GuardActor.start.__func__ is not pykka.Actor.start.__func__  # type: ignore[attr-defined]
    assert GuardActor.use_daemon_thread


def test_a_guard_actors_ref_reaches_the_slots_mailbox(build) -> None:  # type: ignore[no-untyped-def]
    spec, script = child("one")
    house = build(spec).open()
    ref = script.worker.actor_ref
    assert isinstance(ref, _ref.ActorRef)
    assert ref.actor_inbox is house.slot("one").mailbox
    house.kill("one")
    house.ready("one", 2)
    assert house.wait(ref.ask(Note("the old ref"), block=False)) == 2
    assert isinstance(script.worker, Worker)
