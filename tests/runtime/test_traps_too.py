"""The traps of pykka, row by row: those that are not in test_traps; and that none is forgotten."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Any

import pykka
import pytest
import test_traps
from pykka import messages as pykka_messages
from runtime_kit import (
    DEATHS,
    PATIENCE,
    Call,
    House,
    Note,
    Script,
    child,
    die_once,
    hang_in,
    raising,
    refused,
)

from actors.events import Kind
from actors.life import RestartChild
from actors.mailbox import Letter, Mailbox
from actors.threads import ThreadRuntime
from defence.errors import AskedInside, DeadlinePassed, Fault, Invalid, Stopped, UnknownMessage
from supervisors.slot import ChildState
from supervisors.spec import Restart

Build = Callable[..., House]


def test_every_row_has_a_test() -> None:
    rows: set[int] = set()
    for name in (*vars(test_traps), *globals()):
        if found := re.match(r"test_row_(\d\d)(?:_and_(\d\d))?_", name):
            rows |= {int(number) for number in found.groups() if number}
    assert rows == set(range(1, 32))


@pytest.mark.parametrize("death", DEATHS)
def test_row_02_an_asker_is_answered_whatever_the_handler_dies_of(
    build: Build, death: type[BaseException]
) -> None:
    """In pairs too: each child asked while the other dies of the same."""
    one, _ = child("one")
    two, _ = child("two")
    house = build(one, two).open()
    owed = [house.later(name, Call(raising(death("x")))) for name in ("one", "two")]
    for future in owed:
        assert "crashed twice" in str(refused(lambda future=future: house.wait(future)))  # type: ignore[misc]
    house.ready("one", 3)
    house.ready("two", 3)
    assert house.ask("one", Note("one goes on")) == house.ask("two", Note("two goes on")) == 3


@pytest.mark.parametrize("death", DEATHS)
def test_row_03_dying_in_on_start_leaves_no_zombie(
    build: Build, death: type[BaseException]
) -> None:
    spec, script = child("one")
    house = build(spec).open()
    script.on_start = die_once(death("x"))
    house.kill("one")
    house.ready("one", 3)
    assert house.exits("one") == ["killed", "failed to start"]
    assert house.ask("one", Note("alive")) == 3
    if isinstance(house.runtime, ThreadRuntime):
        house.until(lambda: _threads("one") == ["dtms-one-3"])  # liveness is the thread's


def _threads(name: str) -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith(f"dtms-{name}-")]


def test_row_04_a_child_counts_as_started_after_its_handshake_only(build: Build) -> None:
    spec, script = child("one", Script(ready=False), start_timeout=0.3)
    house = build(spec).begin()
    house.until(lambda: house.owner.refusals)
    assert "not ready in time" in str(house.owner.refusals[0])
    assert house.owner.ready == 0
    assert len(script.made) == 1


def test_row_04_a_first_start_that_raises_is_heard(build: Build) -> None:
    spec, _ = child("one", Script(on_start=raising(ValueError("no file"))))
    house = build(spec).begin()
    house.until(lambda: house.owner.refusals)
    assert "no file" in str(house.owner.refusals[0])


def test_row_05_an_expected_error_is_a_reply_and_another_is_a_crash(build: Build) -> None:
    spec, _ = child("one")
    house = build(spec).open()
    answer = refused(lambda: house.ask("one", Call(raising(Invalid("wrong", field="x")))))
    assert isinstance(answer, Invalid)
    assert not house.of(Kind.EXITED)
    house.ask("one", Call(die_once(ValueError("a bug"))))
    house.ready("one", 2)
    assert house.exits("one") == ["crashed"]  # reported once


def test_row_07_a_put_is_accepted_or_raises_and_what_is_accepted_is_answered(
    thread: Build,
) -> None:
    """pykka's ask may pass `is_alive()`, put behind the drain, and wait for ever."""
    for round_ in range(15):
        box = Mailbox(f"box{round_}", now=time.monotonic)
        box.open_for(1)
        owed: list[pykka.Future[Any]] = []
        begin = threading.Barrier(3)

        def ask(box: Mailbox = box, begin: threading.Barrier = begin) -> None:
            begin.wait()
            for _ in range(50):
                future: pykka.ThreadingFuture[object] = pykka.ThreadingFuture()
                try:
                    box.put(Letter("x", id="x", reply_to=future))
                except Stopped:
                    return
                owed.append(future)  # noqa: B023 - of this round, whose threads end in it

        askers = [threading.Thread(target=ask) for _ in range(2)]
        for asker in askers:
            asker.start()
        begin.wait()
        box.close()
        for asker in askers:
            asker.join(PATIENCE)
        assert all(isinstance(refused(lambda f=f: f.get(timeout=0)), Stopped) for f in owed)  # type: ignore[misc]
        assert box.counts().balanced


def test_row_11_a_thread_that_cannot_be_had_is_a_failed_start_and_no_ghost(
    thread: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, _ = child("one")
    house = thread(spec).open()
    start, left = threading.Thread.start, [1]

    def none_left(self: threading.Thread) -> None:
        if self.name.startswith("dtms-one") and left:
            left.pop()
            raise RuntimeError("can't start new thread")
        start(self)

    monkeypatch.setattr(threading.Thread, "start", none_left)
    house.kill("one")
    house.ready("one", 3)
    assert house.exits("one") == ["killed", "failed to start"]
    assert pykka.ActorRegistry.get_all() == []
    house.close()  # and stopping does not hang


def test_row_12_stopping_goes_on_past_every_hung_child(build: Build) -> None:
    specs = [child(name, stop_timeout=0.1)[0] for name in ("one", "two", "three")]
    scripts = {name: Script() for name in ("one", "two", "three")}
    specs = [child(name, scripts[name], stop_timeout=0.1)[0] for name in scripts]
    house = build(*specs).open()
    for name in ("two", "three"):
        scripts[name].on_stop = lambda worker: worker.context.runtime.hang()
    house.close()
    stopped = [e.child for e in house.of(Kind.STAGE) if e.facts["what"] == "stopped"]
    assert stopped == ["three", "two", "one"]
    assert [house.exits(name) for name in scripts] == [["stopped"], ["hung"], ["hung"]]


def test_row_16_a_message_whose_time_is_over_is_never_done(build: Build) -> None:
    spec, script = child("one", hang_after=60.0)
    house = build(spec).open()
    held = house.later("one", Call(lambda worker: worker.context.runtime.hang(0.5)))
    late = house.later("one", Note("an order"), timeout=0.05)
    house.wait(held, 20.0)
    assert isinstance(refused(lambda: house.wait(late, 20.0)), DeadlinePassed)
    assert script.book == []
    assert house.ask("one", Note("sent again")) == 1
    assert script.book == ["sent again"]


def test_row_17_hung_threads_are_counted_and_capped(thread: Build) -> None:
    spec, script = child("one", hang_after=0.05, max_restarts=50)
    house = thread(spec, max_leaked=3, check_every=0.02).open()
    for _ in range(8):
        if house.slot("one").state is ChildState.ESCALATED:
            break
        number = len(script.made)
        house.post.send("one", Call(lambda worker: worker.context.runtime.hang()))
        house.until(
            lambda number=number: (
                (  # type: ignore[misc]
                    len(script.made) > number and house.slot("one").state is ChildState.READY
                )
                or house.slot("one").state is ChildState.ESCALATED
            )
        )
    assert house.slot("one").state is ChildState.ESCALATED
    assert len(script.made) <= 5  # not one more for each hang, without end


def test_row_18_a_replacement_never_overlaps_with_what_may_still_act(build: Build) -> None:
    """The old one is ended or fenced before the new one is made."""
    order: list[str] = []
    script = Script(on_stop=lambda worker: order.append(f"end {worker.context.incarnation}"))
    script.born = lambda context: order.append(f"made {context.incarnation}")
    spec, _ = child("one", script)
    house = build(spec).open()
    for number in (2, 3):
        house.ask_root(RestartChild("one"))
        house.ready("one", number)
    assert order == ["made 1", "end 1", "made 2", "end 2", "made 3"]
    leases = [worker.context.lease.revoked for worker in script.made]
    assert leases == [True, True, False]


def test_row_19_an_on_stop_that_raises_is_recorded(build: Build) -> None:
    spec, _ = child("one", Script(on_stop=raising(ValueError("not closed"))))
    house = build(spec).open()
    house.close()
    (event,) = house.of(Kind.EXITED, "one")
    assert event.facts["how"] == "crashed"
    assert "not closed" in str(event.facts["error"])


def test_row_24_an_unknown_message_raises(build: Build) -> None:
    spec, _ = child("one")
    house = build(spec).open()
    answer = refused(lambda: house.ask("one", object()))
    assert isinstance(answer, UnknownMessage)
    assert not house.of(Kind.EXITED)


@pytest.mark.parametrize(
    "message",
    [
        pykka_messages.ProxySetAttr(attr_path=("script",), value=None),
        pykka_messages.ProxySetAttr(attr_path=("on_receive",), value=None),
        pykka_messages.ProxyGetAttr(attr_path=("script",)),
        pykka_messages.ProxyCall(attr_path=("_stop",), args=(), kwargs={}),
        pykka_messages._ActorStop(),
    ],
    ids=["set", "replace", "get", "call", "stop"],
)
def test_row_25_proxy_messages_and_pykkas_own_stop_are_refused(
    build: Build, message: object
) -> None:
    spec, script = child("one")
    house = build(spec).open()
    before = script.worker.script
    future = script.worker.actor_ref.ask(message, block=False)
    assert isinstance(refused(lambda: house.wait(future)), UnknownMessage)
    assert script.worker.script is before
    assert house.ask("one", Note("alive")) == 1
    assert not house.of(Kind.EXITED)


@pytest.mark.parametrize("whom", ["one", "two"])
def test_row_26_an_ask_on_an_actors_thread_raises(build: Build, whom: str) -> None:
    """Of itself, and of another that asks back."""
    one, _ = child("one")
    two, _ = child("two")
    house = build(one, two).open()
    asked = Call(lambda _: house.address(whom).ask(Note("deadlock?"), timeout=1.0))
    error = refused(lambda: house.ask("one", asked))
    assert isinstance(error, Fault)
    assert AskedInside.__name__ in str(error)
    assert "an actor never waits for another" in str(error)
    assert house.ask("two", Note("alive")) == 1


def test_row_30_every_way_to_die_is_one_exit_report(build: Build) -> None:
    """Seven ways, of which pykka's pattern hears one."""
    spec, script = child(
        "one", hang_after=0.3, silence_after=None, max_restarts=50, start_timeout=5.0
    )
    house = build(spec, check_every=0.05).open()

    def restart(_: object = None) -> None:
        house.ask_root(RestartChild("one"))

    ways: list[tuple[str, Callable[[], object]]] = [
        ("crashed", lambda: house.post.send("one", Call(die_once(ValueError("in a message"))))),
        ("crashed", lambda: house.post.send("one", Call(die_once(SystemExit(1))))),
        ("killed", lambda: house.kill("one")),
        ("hung", lambda: house.post.send("one", Call(hang_in(len(script.made))))),
        ("stopped", restart),
    ]
    for how, strike in ways:
        number = len(script.made)
        strike()
        house.ready("one", number + 1)
        assert house.exits("one")[-1] == how
        assert len(house.exits("one")) == number
    script.on_start = die_once(KeyboardInterrupt())
    house.kill("one")
    house.ready("one", len(ways) + 3)
    script.on_start, script.on_stop = None, die_once(GeneratorExit())
    restart()
    house.ready("one", len(ways) + 4)
    script.born = die_once(SystemExit(2))
    house.kill("one")
    house.ready("one", len(ways) + 6)
    hows = house.exits("one")[len(ways) :]
    assert hows == ["killed", "failed to start", "crashed", "killed", "failed to start"]
    assert house.slot("one").spec.restart is Restart.PERMANENT
