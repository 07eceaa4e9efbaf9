"""The names and ways of pykka that the runtime leans on: these fail loudly when one goes.

`test_runtime_pykka` holds what a mailbox needs; here is what actors, futures
and the traps' table need. A trap that is no longer there is no harm, but what
was built around it may then be simpler.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator

import pykka
import pytest
from pykka import _actor, _future, _ref, _threading

from actors.actor import GuardActor
from actors.mailbox import Letter, Mailbox
from actors.replies import Reply

PATIENCE = 5.0


class Plain(pykka.ThreadingActor):
    """An actor as pykka means it."""

    use_daemon_thread = True

    def __init__(self, broken: bool = False) -> None:
        super().__init__()
        self.broken = broken
        self.heard: list[object] = []
        self.failures = 0

    def on_start(self) -> None:
        if self.broken:
            raise ValueError("no file")

    def on_failure(self, *_: object) -> None:
        self.failures += 1

    def on_receive(self, message: object) -> object:
        self.heard.append(message)
        if message == "raise":
            raise ValueError("a bug")
        return message


@pytest.fixture
def plain() -> Iterator[pykka.ActorRef[Plain]]:
    ref = Plain.start()
    yield ref
    if ref.is_alive():
        ref.stop(timeout=PATIENCE)


# -- names


def test_an_actors_ref_is_kept_under_the_name_that_we_set() -> None:
    actor = Plain()
    other = pykka.ActorRef(actor)
    actor._actor_ref = other
    assert actor.actor_ref is other


def test_a_ref_reads_of_its_actor_what_ours_have() -> None:
    """`ActorRef.__init__` takes these; an actor of ours is made without `start`."""
    source = inspect.getsource(_ref.ActorRef.__init__)
    for name in ("actor_urn", "actor_inbox", "actor_stopped", "__class__"):
        assert f"actor.{name}" in source, name
    assert set(vars(pykka.ActorRef(Plain()))) >= {"actor_urn", "actor_inbox", "actor_stopped"}


def test_start_is_the_one_door_that_we_close() -> None:
    """All that pykka begins by itself begins in `start`."""
    source = inspect.getsource(_actor.Actor.start)
    assert "ActorRegistry.register" in source
    assert "_start_actor_loop" in source
    assert "register" not in inspect.getsource(_actor.Actor.__init__).split('"""')[-1]
    assert GuardActor.__init__ is not _actor.Actor.__init__


def test_the_hooks_are_the_ones_that_we_call_or_refuse() -> None:
    names = {name for name in vars(_actor.Actor) if name.startswith("on_")}
    assert names == {"on_start", "on_stop", "on_failure", "on_receive"}
    assert {"use_daemon_thread", "_create_actor_inbox", "_create_future"} <= set(
        vars(_threading.ThreadingActor)
    )


def test_futures_have_the_parts_that_our_reply_overrides() -> None:
    future: pykka.Future[object] = Reply()
    assert hasattr(future, "_get_hook")
    assert future._get_hook is None
    assert inspect.isabstract(_future.Future) is False
    assert list(inspect.signature(_future.Future.get).parameters) == ["self", "timeout"]
    assert list(inspect.signature(_future.Future.set).parameters) == ["self", "value"]
    assert list(inspect.signature(_future.Future.set_exception).parameters) == ["self", "exc_info"]
    future.set(3)
    assert future.map(lambda value: value + 1).get(timeout=1) == 4  # type: ignore[operator]
    other = Reply()
    other.set(5)
    assert future.join(other).get(timeout=1) == [3, 5]


def test_a_reply_and_pykkas_future_do_the_same() -> None:
    for make in (Reply, pykka.ThreadingFuture):
        empty, failed = make(), make()
        with pytest.raises(pykka.Timeout):
            empty.get(timeout=0.01)
        error = ValueError("x")
        failed.set_exception((ValueError, error, None))
        for _ in range(2):  # it can be had again
            with pytest.raises(ValueError, match="x") as caught:
                failed.get(timeout=0)
            assert caught.value is error
        try:
            raise KeyError("of the moment")
        except KeyError:
            handled = make()
            handled.set_exception()
        with pytest.raises(KeyError):
            handled.get(timeout=0)


def test_a_ref_that_asks_waits_for_the_future_of_its_actors_class() -> None:
    """An old ref goes on working against our mailbox: `put`, then the future."""
    actor = Plain()
    box = Mailbox("box", now=lambda: 0.0)
    box.open_for(1)
    actor.actor_inbox = box
    ref = pykka.ActorRef(actor)
    seen: list[object] = []

    def answer() -> None:
        while not (taken := box.take(1)):
            box.wait(1, PATIENCE)
        assert isinstance(taken[0], Letter)
        seen.append(taken[0].message)
        box.settle(taken[0], 1, value="answered")

    thread = threading.Thread(target=answer)
    thread.start()
    assert ref.ask("a question", timeout=PATIENCE) == "answered"
    thread.join(PATIENCE)
    assert seen == ["a question"]


# -- traps that are still there


def test_trap_04_start_returns_a_ref_of_an_actor_whose_start_failed() -> None:
    ref = Plain.start(broken=True)
    stopped = threading.Event()
    for _ in range(500):
        if not ref.is_alive():
            break
        stopped.wait(0.01)
    assert not ref.is_alive()
    assert pykka.ActorRegistry.get_all() == []


def test_trap_05_an_error_in_an_ask_is_the_askers_alone(plain: pykka.ActorRef[Plain]) -> None:
    with pytest.raises(ValueError, match="a bug"):
        plain.ask("raise", timeout=PATIENCE)
    assert plain.is_alive()
    assert plain.proxy().failures.get(timeout=PATIENCE) == 0


def test_trap_08_a_ref_goes_stale(plain: pykka.ActorRef[Plain]) -> None:
    plain.stop(timeout=PATIENCE)
    with pytest.raises(pykka.ActorDeadError):
        plain.tell("x")


def test_trap_24_an_unknown_message_returns_none() -> None:
    class Deaf(pykka.ThreadingActor):
        use_daemon_thread = True

    ref = Deaf.start()
    try:
        assert ref.ask("what?", timeout=PATIENCE) is None
    finally:
        ref.stop(timeout=PATIENCE)


def test_trap_25_a_proxy_reaches_into_the_actor(plain: pykka.ActorRef[Plain]) -> None:
    plain.proxy().heard = "taken over"
    assert plain.proxy().heard.get(timeout=PATIENCE) == "taken over"


def test_trap_27_a_message_is_shared(plain: pykka.ActorRef[Plain]) -> None:
    message: list[int] = []
    assert plain.ask(message, timeout=PATIENCE) is message


def test_trap_31_whatever_is_registered_is_reached(plain: pykka.ActorRef[Plain]) -> None:
    assert plain in pykka.ActorRegistry.get_all()
    pykka.ActorRegistry.broadcast("to all")
    assert plain.proxy().heard.get(timeout=PATIENCE) == ["to all"]
