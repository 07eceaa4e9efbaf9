"""Who may ask, and who may settle: addresses, own and foreign threads, fenced incarnations."""

from __future__ import annotations

import threading
from collections.abc import Callable

from runtime_kit import PATIENCE, Call, House, Note, Worker, child, pass_time, refused, stall

from actors.events import Kind
from actors.life import RestartChild
from defence.errors import AskedInside, Fault, NotFound

Build = Callable[..., House]


def test_asking_on_an_actors_own_thread_raises(build: Build) -> None:
    one, _ = child("one")
    two, _ = child("two")
    house = build(one, two).open()
    caught: list[BaseException] = []

    def ask(worker: Worker) -> None:
        address = worker.context.post.address("two")
        caught.append(refused(lambda: address.ask(Note("x"), timeout=1.0)))
        caught.append(refused(lambda: address.ask_later(Note("x"), timeout=1.0)))

    house.ask("one", Call(ask))
    assert [type(error) for error in caught] == [AskedInside, AskedInside]
    assert house.slot("two").mailbox.counts().accepted == 0
    assert house.ask("two", Note("from outside")) == 1


def test_asking_the_simulated_runtime_from_a_foreign_thread_is_refused(simulate: Build) -> None:
    spec, script = child("one")
    house = simulate(spec).open()
    caught: list[BaseException] = []
    thread = threading.Thread(
        target=lambda: caught.append(refused(lambda: house.ask("one", Note("x"))))
    )
    thread.start()
    thread.join(PATIENCE)
    assert isinstance(caught[0], Fault)
    assert "foreign thread" in str(caught[0])
    pass_time(house, 1.0)
    assert script.book == []  # refused means: not done either
    assert house.slot("one").mailbox.counts().accepted == 0


def test_a_fenced_incarnation_that_wakes_settles_nothing(build: Build) -> None:
    spec, script = child("one", hang_after=0.1)
    house = build(spec).open()
    woke: list[int] = []

    def sleep_once(worker: Worker) -> str:
        if worker.context.incarnation == 1:
            stall(worker, lambda: bool(script.book))  # until the successor has answered
            woke.append(1)
            return "from the grave"
        worker.script.book.append("done")
        return "from the successor"

    assert house.wait(house.later("one", Call(sleep_once))) == "from the successor"
    house.until(lambda: woke)
    assert house.ask("one", Note("after")) == 2
    counts = house.slot("one").mailbox.counts()
    assert (counts.accepted, counts.handled) == (2, 2)


def test_a_fenced_incarnation_that_crashes_reports_nothing(build: Build) -> None:
    spec, script = child("one", hang_after=0.1)
    house = build(spec).open()

    def crash_late(worker: Worker) -> str:
        if worker.context.incarnation == 1:
            stall(worker, lambda: bool(script.book))
            raise RuntimeError("too late")
        worker.script.book.append("done")
        return "answered"

    assert house.wait(house.later("one", Call(crash_late))) == "answered"
    assert house.ask("one", Note("after")) == 2
    assert house.exits("one") == ["hung"]
    assert len(house.of(Kind.CHARGED)) == 1


def test_a_fenced_incarnation_settles_nothing_while_nobody_has_followed_it(build: Build) -> None:
    spec, script = child("one", hang_after=0.1, max_restarts=0)
    house = build(spec).open()

    def sleep_once(worker: Worker) -> int:
        if worker.context.incarnation == 1:
            stall(worker, lambda: bool(house.of(Kind.ESCALATED)))
            script.book.append("woke")
        return worker.context.incarnation

    future = house.later("one", Call(sleep_once))
    house.until(lambda: script.book)
    house.until(lambda: house.slot("one").incarnation is None)
    assert house.slot("one").mailbox.counts().waiting == 1
    house.ask_root(RestartChild("one"))
    assert house.wait(future) == 2


def test_an_incarnation_fenced_before_its_first_step_does_nothing(simulate: Build) -> None:
    spec, script = child("one")
    starts: list[int] = []
    script.on_start = lambda worker: starts.append(worker.context.incarnation)
    house = simulate(spec).open()
    house.kill("one")
    house.until(lambda: len(script.made) == 2)
    house.actor.ends.fence(house.slot("one"), "hung")
    house.ready("one", 3)
    pass_time(house, 1.0)
    assert starts == [1, 3]


def test_an_unknown_address_names_those_that_exist(build: Build) -> None:
    spec, _ = child("one")
    house = build(spec).open()
    error = refused(lambda: house.address("two"))
    assert isinstance(error, NotFound)
    assert "one of one, root" in str(error)
    assert repr(house.address("one")) == "<Address of one>"
