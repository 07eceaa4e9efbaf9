"""A hung handler of the simulated runtime stays on its stack, and may wake late."""

from __future__ import annotations

import threading
from collections.abc import Callable

from runtime_kit import Call, House, Note, Worker, child, pass_time, virtual

from actors.batons import Abandoned, Baton, current_baton
from actors.events import Kind
from defence.errors import Fenced

Build = Callable[..., House]


def test_work_that_stops_is_taken_up_where_it_stopped() -> None:
    seen: list[object] = []

    def work() -> None:
        baton = current_baton()
        assert baton is not None
        seen.append("before")
        baton.stop_here()
        seen.append("after")

    baton = Baton(work)
    assert not baton.begin()
    assert seen == ["before"]
    assert baton.resume()
    assert seen == ["before", "after"]
    assert current_baton() is None


def test_one_at_a_time() -> None:
    """Whoever hands over the baton stands still until he has it back."""
    running: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _ in range(50):
            running.append(1)
            most.append(len(running))
            running.pop()

    for _ in range(20):
        assert Baton(work).begin()
    assert max(most) == 1


def test_dropped_work_unwinds_and_does_nothing_more() -> None:
    seen: list[str] = []

    def work() -> None:
        baton = current_baton()
        assert baton is not None
        try:
            baton.stop_here()
            seen.append("went on")
        except Abandoned:
            seen.append("unwound")

    baton = Baton(work)
    baton.begin()
    baton.drop()
    assert seen == ["unwound"]
    assert baton.ended
    assert not [one for one in threading.enumerate() if one.name == "dtms-baton"]


def hang(seconds: float | None, then: Callable[[Worker], object] = lambda _: None) -> Call:
    def work(worker: Worker) -> object:
        with worker.context.lease.hold():
            worker.context.runtime.hang(seconds)
        return then(worker)

    return Call(work)


def test_others_go_on_while_one_is_slow(simulate: Build) -> None:
    slow, _ = child("slow", hang_after=60.0)
    quick, book = child("quick")
    house = simulate(slow, quick).open()
    virtual(house).may_hang = ("slow",)
    answer = house.later("slow", hang(20.0, lambda _: "done"), timeout=60.0)
    pass_time(house, 5.0)
    house.ask("quick", Note("meanwhile"))
    assert book.book == ["meanwhile"]
    assert house.wait(answer, 60.0) == "done"
    assert house.clock.monotonic() < 25.0
    assert not house.of(Kind.FENCED)


def test_a_fenced_handler_wakes_late_and_holds_nothing(simulate: Build) -> None:
    """The order of things that only real threads had: fenced in the middle, replaced, awake."""
    woke: list[str] = []

    def then(worker: Worker) -> None:
        try:
            with worker.context.lease.hold():
                woke.append("acts")
        except Fenced:
            woke.append("fenced")

    spec, script = child("one", hang_after=10.0)
    house = simulate(spec).open()
    virtual(house).may_hang = ("one",)

    def work(worker: Worker) -> object:
        if worker.context.incarnation == 1:
            worker.context.runtime.hang(40.0)
            then(worker)
        return worker.context.incarnation

    answer = house.later("one", Call(work), timeout=90.0)
    pass_time(house, 15.0)
    assert house.exits("one") == ["hung"]
    assert not woke
    assert house.wait(answer, 90.0) == 2  # its successor answered
    pass_time(house, 60.0)
    assert woke == ["fenced"]
    assert len(script.made) == 2


def test_a_handler_that_holds_its_lease_cannot_be_replaced(simulate: Build) -> None:
    spec, _ = child("one", hang_after=10.0)
    house = simulate(spec).open()
    virtual(house).may_hang = ("one",)
    house.post.send("one", hang(None))
    pass_time(house, 20.0)
    assert house.owner.causes
    assert "cannot be fenced" in house.owner.causes[0]


def test_the_end_of_a_world_leaves_no_thread(simulate: Build) -> None:
    spec, _ = child("one", hang_after=1000.0, stop_timeout=1.0)
    house = simulate(spec).open()
    virtual(house).may_hang = ("one",)
    house.post.send("one", Call(lambda worker: worker.context.runtime.hang()))
    pass_time(house, 1.0)
    assert [one for one in threading.enumerate() if one.name == "dtms-baton"]
    house.close()
    assert not [one for one in threading.enumerate() if one.name == "dtms-baton"]
