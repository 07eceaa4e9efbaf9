"""Fencing as the last resort: releasing what a child is stuck in, leaked threads, the backoff."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runtime_kit import (
    STEADY,
    Call,
    House,
    Note,
    Worker,
    child,
    clock_of,
    pass_time,
    refused,
)

from actors.events import Kind
from actors.life import RestartChild, ShutDown, StrikeChild
from defence.errors import Conflict, Invalid
from supervisors import Backoff, ChildSpec
from supervisors.budget import RestartBudget
from supervisors.ends import RELEASE_WAIT
from supervisors.slot import ChildState

Build = Callable[..., House]


class Stuck:
    """A handler that is stuck in a hold of its lease until it is freed, and what frees it."""

    def __init__(self, house: House | None = None) -> None:
        self.freed = threading.Event()
        self.calls: list[str] = []
        self.leaves = True
        self.worker: Worker | None = None

    def work(self, worker: Worker) -> str:
        if worker.context.incarnation > 1:
            return "done"
        self.worker = worker
        worker.context.lease.enter()
        if hasattr(worker.context.runtime, "turn"):  # simulated: `release` leaves for it
            worker.context.runtime.hang()
        assert self.freed.wait(10.0)
        worker.context.lease.leave()
        return "too late"

    def release(self) -> None:
        self.calls.append(threading.current_thread().name)
        if not self.leaves:
            return
        worker, self.worker = self.worker, None
        self.freed.set()
        if worker is not None and hasattr(worker.context.runtime, "turn"):
            worker.context.lease.leave()


def test_what_a_child_is_stuck_in_is_released_before_it_is_replaced(build: Build) -> None:
    stuck = Stuck()
    spec, _ = child("one", hang_after=0.15, release=stuck.release)
    house = build(spec).open()
    assert house.ask("one", Call(stuck.work)) == "done"
    assert len(stuck.calls) == 1
    assert house.exits("one") == ["hung"]
    assert house.owner.causes == []
    if not hasattr(house.runtime, "turn"):
        assert stuck.calls == ["dtms-aside"]  # the root does not do it, and does not wait
        leaks = [event.facts["threads"] for event in house.of(Kind.LEAKED)]
        house.until(lambda: house.actor.ends.leaked == [])
        assert leaks in ([], [1])


def test_a_lease_that_stays_held_is_released_again_and_then_all_is_over(build: Build) -> None:
    stuck = Stuck()
    stuck.leaves = False
    spec, script = child("one", hang_after=0.15, release=stuck.release)
    house = build(spec).open()
    house.later("one", Call(stuck.work))
    house.until(lambda: house.owner.causes)
    assert house.owner.causes == ["one cannot be fenced: an order is stuck in it"]
    assert len(stuck.calls) == 2
    assert len(script.made) == 1, "no successor beside one that may still act"
    stuck.freed.set()
    house.closed = True
    house.runtime.close()
    house.root_box.close()


def test_a_release_that_fails_is_logged_and_the_end_goes_on(build: Build) -> None:
    def fail() -> None:
        raise OSError("no such process")

    spec, _ = child("one", hang_after=0.15, release=fail)
    house = build(spec).open()

    def hang_once(worker: Worker) -> str:
        if worker.context.incarnation == 1:
            worker.context.runtime.hang()
        return "done"

    assert house.ask("one", Call(hang_once)) == "done"


def test_a_release_that_hangs_itself_is_not_waited_for(thread: Build) -> None:
    go_on = threading.Event()
    spec, _ = child("one", hang_after=0.15, release=lambda: go_on.wait(20.0) and None)
    house = thread(spec).open()

    def hang_once(worker: Worker) -> str:
        if worker.context.incarnation == 1:
            worker.context.runtime.hang()
        return "done"

    begun = house.clock.monotonic()
    assert house.ask("one", Call(hang_once)) == "done"
    assert house.clock.monotonic() - begun >= RELEASE_WAIT
    go_on.set()


@pytest.mark.parametrize("what", ["shutdown", "restart", "strike"])
def test_orders_that_come_while_a_child_is_being_released(simulate: Build, what: str) -> None:
    calls: list[str] = []
    spec, script = child("one", hang_after=5.0, stop_timeout=1.0, release=lambda: calls.append("x"))
    house = simulate(spec).open()

    def aside(work: Callable[[], object], then: Callable[[object], None]) -> None:
        house.runtime.call_later(1.0, lambda: then(work()))

    house.runtime.aside = aside  # type: ignore[method-assign]
    house.later("one", Call(lambda w: w.context.runtime.hang() if len(script.made) == 1 else None))
    house.until(lambda: house.of(Kind.FENCED), 20.0)
    assert not house.of(Kind.EXITED)
    if what == "shutdown":
        house.to_root(ShutDown())
        house.until(lambda: house.owner.stopped)
        assert len(script.made) == 1
    elif what == "restart":
        house.ask_root(RestartChild("one"))
        house.ready("one", 2)
        assert house.of(Kind.CHARGED) == []  # ops asked for it
    else:
        assert isinstance(refused(lambda: house.ask_root(StrikeChild("one", "kill"))), Conflict)
        house.ready("one", 2)
    assert calls == ["x"]
    assert house.exits("one")[0] == "hung"
    pass_time(house, 10.0)


def test_a_start_that_is_stuck_is_released_too(build: Build) -> None:
    calls: list[str] = []
    spec, script = child("one", start_timeout=0.3, release=lambda: calls.append("x"))
    house = build(spec).open()
    script.on_start = lambda w: w.context.runtime.hang() if len(script.made) == 2 else None
    house.kill("one")
    house.ready("one", 3)
    assert house.exits("one") == ["killed", "not ready in time"]
    assert calls == ["x"]


def test_a_stop_that_hangs_is_released(build: Build) -> None:
    calls: list[str] = []
    spec, script = child("one", stop_timeout=0.2, release=lambda: calls.append("x"))
    house = build(spec).open()
    script.on_stop = lambda worker: worker.context.runtime.hang()
    house.stop()
    assert house.exits("one") == ["hung"]
    assert calls == ["x"]


def test_a_thread_that_stays_behind_is_counted_until_it_ends(thread: Build) -> None:
    gate = threading.Event()
    spec, _ = child("one", hang_after=0.15)
    house = thread(spec).open()

    def wait_once(worker: Worker) -> str:
        if worker.context.incarnation == 1:
            gate.wait(20.0)
        return "done"

    assert house.ask("one", Call(wait_once)) == "done"
    (event,) = house.of(Kind.LEAKED)
    assert (event.child, event.incarnation) == ("one", 1)
    assert event.facts == {"threads": 1, "ended": False}
    gate.set()
    house.until(lambda: len(house.of(Kind.LEAKED)) == 2)
    assert house.of(Kind.LEAKED)[1].facts == {"threads": 0, "ended": True}
    assert [(leak.threads, leak.ended) for leak in house.owner.leaks] == [(1, False), (0, True)]


# -- the backoff


def restarts(house: House) -> list[float]:
    return [float(str(event.facts["delay"])) for event in house.of(Kind.RESTARTING)]


def kill_and_wait(house: House) -> None:
    number = house.slot("one").number
    house.kill("one")
    house.until(lambda: house.slot("one").number > number, 100.0)
    house.ready("one", number + 1)


def test_after_a_quiet_time_the_next_restart_is_the_first_again(simulate: Build) -> None:
    backoff = Backoff(first=10.0, jitter=0.0, reset_after=600.0)
    spec, _ = child("one", max_restarts=4, backoff=backoff)
    house = simulate(spec).open()
    kill_and_wait(house)
    kill_and_wait(house)
    assert restarts(house) == [10.0]
    clock_to(house, clock_of(house).monotonic() + 599.0)  # a charge is dated at its restart
    kill_and_wait(house)
    assert restarts(house) == [10.0, 20.0]
    clock_to(house, clock_of(house).monotonic() + 600.0)
    kill_and_wait(house)
    assert restarts(house) == [10.0, 20.0], "at once"
    house.kill("one")  # the budget has not been reset: corner rule 9
    house.until(lambda: house.slot("one").state is ChildState.ESCALATED)


def clock_to(house: House, moment: float) -> None:
    pass_time(house, moment - clock_of(house).monotonic())


def test_a_child_that_lives_just_long_enough_still_uses_its_budget_up(simulate: Build) -> None:
    spec, _ = child("one", backoff=Backoff(first=1.0, reset_after=10.0))
    house = simulate(spec).open()
    for _ in range(3):
        kill_and_wait(house)
        pass_time(house, 11.0)
    assert restarts(house) == []
    house.kill("one")
    house.until(lambda: house.slot("one").state is ChildState.ESCALATED)


def in_a_row(charges: list[float], now: float, apart: float) -> int:
    """Count in the plain way: back from now, to the first gap."""
    row = 0
    for earlier, later in zip(sorted(charges)[::-1], [now, *sorted(charges)[::-1]], strict=False):
        if later - earlier >= apart:
            return row
        row += 1
    return row


@STEADY
@given(
    charges=st.lists(st.integers(0, 100).map(float), max_size=8),
    later=st.integers(0, 50),
    apart=st.integers(1, 60),
)
def test_charges_in_a_row_are_counted_back_to_the_first_gap(
    charges: list[float], later: int, apart: int
) -> None:
    now = max(charges, default=0.0) + later
    budget = RestartBudget(9, 1000.0, list(charges))
    assert budget.in_a_row(now, apart) == in_a_row(charges, now, apart)
    assert sorted(budget.charges) == sorted(charges), "counting charges nothing"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("first", -1.0),
        ("first", float("inf")),
        ("factor", 0.5),
        ("factor", "2"),
        ("limit", float("nan")),
        ("jitter", -0.1),
        ("jitter", True),
        ("reset_after", 0.0),
        ("reset_after", None),
    ],
)
def test_bad_fields_of_a_backoff_are_named(field: str, value: object) -> None:
    error = refused(lambda: Backoff(**{field: value}))  # type: ignore[arg-type]
    assert isinstance(error, Invalid)
    assert (error.field, error.value, bool(error.remedy)) == (f"backoff.{field}", value, True)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "two words"),
        ("name", "root"),
        ("name", 7),
        ("factory", "Worker"),
        ("restart", "often"),
        ("restart", None),
        ("escalation", "panic"),
        ("backoff", 1.0),
        ("max_restarts", -1),
        ("max_restarts", 2.5),
        ("max_restarts", True),
        ("period", 0.0),
        ("period", "1h"),
        ("start_timeout", -1.0),
        ("stop_timeout", float("nan")),
        ("hang_after", float("inf")),
        ("silence_after", 0.0),
        ("vital", "yes"),
        ("data_limit", 0),
        ("data_limit", 1.5),
        ("release", "kill"),
    ],
)
def test_each_bad_field_of_a_spec_has_a_name_a_value_and_a_remedy(
    field: str, value: object
) -> None:
    good: dict[str, Any] = {"name": "one", "factory": Note}
    error = refused(lambda: ChildSpec(**{**good, field: value}))
    assert isinstance(error, Invalid)
    assert (error.field, bool(error.remedy)) == (field, True)
    assert error.value is value


def test_a_plain_word_will_do_for_the_kind() -> None:
    spec, _ = child("one", restart="temporary", escalation="stay_down")
    assert spec.restart is type(spec.restart)("temporary")
    assert spec.escalation.value == "stay_down"


def test_a_child_that_becomes_ready_while_it_is_asked_to_stop_has_its_time_all_the_same(
    simulate: Build,
) -> None:
    """Ops restart it in its start: what ends the wait is `stop_timeout`, not `hang_after`."""
    spec, script = child("one", stop_timeout=2.0, start_timeout=20.0, hang_after=1000.0)
    house = simulate(spec).open()
    script.on_start = hang_at_the_second_stop
    house.kill("one")
    house.until(lambda: house.slot("one").number == 2)
    house.to_root(RestartChild("one"))
    pass_time(house, 30.0)
    assert house.exits("one")[:2] == ["killed", "hung"]
    assert house.slot("one").number == 3


def hang_at_the_second_stop(worker: Worker) -> None:
    if worker.context.incarnation == 2:
        worker.script.on_stop = lambda one: one.context.runtime.hang()
