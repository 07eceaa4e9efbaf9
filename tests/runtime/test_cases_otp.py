"""The cases of Erlang/OTP's `supervisor_SUITE` that apply to one for one, in our own words.

Each docstring names the case and says the rule; docs/supervision.md, Cases,
has the table of all of them, and why the others do not apply.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from runtime_kit import (
    Call,
    House,
    Note,
    Script,
    child,
    pass_time,
    raising,
    refused,
)

from actors.events import Kind
from actors.life import Kill, ResetBudget, RestartChild, ShutDown, Stop
from actors.mailbox import Lane
from defence.errors import Invalid, NotFound, StartRefused, Stopped
from supervisors.slot import ChildState
from supervisors.spec import Backoff, ChildSpec, Escalation, Restart

Build = Callable[..., House]


def states(house: House) -> list[tuple[str, str, bool]]:
    """Return what OTP's `which_children` tells: name, state, and whether it lives."""
    return [(slot.name, slot.state.value, slot.live) for slot in house.slots]


def ends(house: House) -> list[tuple[str | None, object]]:
    return [(event.child, event.facts["how"]) for event in house.of(Kind.EXITED)]


# -- start


def test_a_house_without_children_starts_and_stops(build: Build) -> None:
    """OTP `sup_start_normal`: a supervisor with nothing to supervise is ready, and ends cleanly."""
    house = build().open()
    house.close()
    assert (house.owner.ready, house.owner.stopped) == (1, 1)


@pytest.mark.parametrize("made", [None, 7, object()])
def test_what_is_no_actor_is_a_failed_start(build: Build, made: object) -> None:
    """OTP `sup_start_error_return`: a factory that returns anything but an actor is refused."""
    broken = ChildSpec(name="one", factory=lambda _: made)  # type: ignore[arg-type, return-value]
    other, script = child("other")
    house = build(broken, other).begin()
    house.until(lambda: house.owner.stopped)
    (cause,) = house.owner.refusals
    assert isinstance(cause, StartRefused)
    assert "one failed to start" in str(cause)
    assert script.made == []


def test_a_start_that_raises_is_the_cause_that_is_told(build: Build) -> None:
    """OTP `sup_start_fail`: an exception in the first start ends the start, and is its reason."""
    spec, script = child("one")
    script.on_start = raising(ValueError("badmatch 2"))
    house = build(spec).begin()
    house.until(lambda: house.owner.stopped)
    assert "ValueError: badmatch 2" in str(house.owner.refusals[0])
    assert house.owner.ready == 0


def test_a_refused_child_leaves_nothing_behind(build: Build) -> None:
    """OTP `sup_start_child_returns_error`: of a start that was refused nothing goes on living.

    OTP's `start_child` refuses one child; here all are started together, or none.
    """
    one, _ = child("one")
    two, script = child("two")
    script.on_start = raising(StartRefused("no such account", remedy="mend it"))
    house = build(one, two).begin()
    house.until(lambda: house.owner.stopped)
    assert "no such account" in str(house.owner.refusals[0])
    assert states(house) == [("one", "stopped", False), ("two", "stopped", False)]
    assert isinstance(refused(lambda: house.address("one").tell(Note("late"))), Stopped)


def test_a_restart_by_hand_that_fails_is_charged_and_tried_again(simulate: Build) -> None:
    """OTP `sup_start_restart_child_returns_error`: a start by hand may fail; it is then a failure.

    OTP answers with the error and lets the child lie. Here the restart is
    under way when ops are answered; what follows is charged and backed off.
    """
    spec, script = child("one", backoff=Backoff(first=5.0, jitter=0.0))
    house = simulate(spec).open()
    script.on_start = raising(RuntimeError("not now"))
    assert house.ask_root(RestartChild("one"))["restarting"] is True
    pass_time(house, 4.0)
    assert house.exits("one") == ["stopped", "failed to start", "failed to start"]
    assert house.slot("one").state is ChildState.BACKOFF
    assert len(house.of(Kind.CHARGED)) == 2


def test_the_defaults_of_a_spec_are_these() -> None:
    """OTP `sup_start_map`: what a child spec leaves out has a documented value."""
    spec = ChildSpec(name="one", factory=lambda _: None)  # type: ignore[arg-type, return-value]
    assert (spec.restart, spec.escalation) == (Restart.PERMANENT, Escalation.RETRY)
    assert (spec.max_restarts, spec.period) == (3, 3600.0)  # OTP: 1 in 5 s
    assert (spec.start_timeout, spec.stop_timeout) == (30.0, 5.0)  # OTP: none, 5 s
    assert (spec.hang_after, spec.silence_after) == (30.0, None)
    assert (spec.vital, spec.data_limit) == (True, 10_000)
    assert spec.backoff == Backoff(first=1.0, factor=2.0, limit=30.0, jitter=0.2)


@pytest.mark.parametrize("missing", ["name", "factory"])
def test_a_spec_needs_a_name_and_a_factory(missing: str) -> None:
    """OTP `sup_start_map_faulty_specs`: a spec without id or start is an error that says which.

    OTP ignores a key that it does not know; here that is an error as well.
    """
    whole: dict[str, Any] = {"name": "one", "factory": lambda _: None}
    ChildSpec(**whole)
    error = refused(lambda: ChildSpec(**{k: v for k, v in whole.items() if k != missing}))
    assert missing in str(error)
    assert "silly" in str(refused(lambda: ChildSpec(**{**whole, "silly": True})))


# -- stop


def test_no_child_may_take_for_ever_to_stop() -> None:
    """OTP `sup_stop_infinity`: OTP lets a child take its time; here every stop has an end."""
    error = refused(lambda: child("one", stop_timeout=math.inf))
    assert isinstance(error, Invalid)
    assert error.field == "stop_timeout"


def test_who_does_not_stop_in_time_is_fenced_and_the_others_stop(build: Build) -> None:
    """OTP `sup_stop_timeout`: asked, waited for, then ended by force; the rest stop in order."""
    one, _ = child("one")
    two, script = child("two", stop_timeout=0.15, hang_after=60.0)
    house = build(one, two).open()
    house.post.send("two", Call(lambda worker: worker.context.runtime.hang()))
    house.until(lambda: script.worker.context.vitals.busy_with == "Call")
    house.close()
    assert ends(house) == [("two", "hung"), ("one", "stopped")]
    assert script.worker.context.lease.revoked


def test_the_shortest_stop_is_a_fence(simulate: Build) -> None:
    """OTP `sup_stop_brutal_kill`: killed without being asked.

    No thread can be killed here: the shortest `stop_timeout` asks, and fences at once.
    """
    spec, _ = child("one", stop_timeout=1e-6)
    house = simulate(spec).open()
    house.post.send("one", Call(lambda worker: worker.context.runtime.hang()))
    pass_time(house, 1.0)
    before = house.clock.monotonic()
    house.close()
    assert house.exits("one") == ["hung"]
    assert house.clock.monotonic() - before < 0.001


@pytest.mark.parametrize("kind", Restart)
@pytest.mark.parametrize("how", ["stop", "kill", "crash"])
def test_a_stop_is_finished_while_children_end_by_themselves(
    simulate: Build, kind: Restart, how: str
) -> None:
    """OTP `sup_stop_race`: a child that ends on its own during the shutdown changes nothing."""
    first, _ = child("first")
    racing, _ = child("racing", restart=kind)
    slow, script = child("slow", stop_timeout=3.0)
    script.on_stop = lambda worker: worker.context.runtime.hang()
    house = simulate(first, racing, slow).open()
    house.to_root(ShutDown())
    pass_time(house, 1.0)  # `slow` is being waited for
    if how == "crash":
        house.post.send("racing", Call(raising(RuntimeError("other"))))
    else:
        message = Stop() if how == "stop" else Kill()
        house.address("racing").tell(message, lane=Lane.CONTROL)
    house.until(lambda: house.owner.stopped)
    assert house.owner.stopped == 1
    assert [name for name, _ in ends(house)] == ["racing", "slow", "first"]
    assert not house.of(Kind.CHARGED)
    assert house.slot("racing").number == 1


def test_an_error_while_stopping_is_an_end_like_any_other(build: Build) -> None:
    """OTP `sup_stop_non_shutdown_exit_dynamic`: it stopped, if not as it should have; that is told.

    OTP's case has ten children of one dynamic supervisor; here they are ten specs.
    """
    names = [f"c{n}" for n in range(10)]
    specs = [child(name, Script(on_stop=raising(SystemExit(n))))[0] for n, name in enumerate(names)]
    house = build(*specs).open()
    house.close()
    assert ends(house) == [(name, "crashed") for name in reversed(names)]
    assert house.owner.stopped == 1
    assert not house.of(Kind.CHARGED)


# -- administration


def test_ops_restart_what_exists_and_nothing_else(build: Build) -> None:
    """OTP `child_adm`: a child that runs, or has ended, can be restarted by name; no other name
    can.

    OTP refuses to restart what runs; here that is an orderly stop and a start.
    """
    spec, _ = child("one", restart=Restart.TEMPORARY)
    house = build(spec).open()
    house.ask_root(RestartChild("one"))
    house.ready("one", 2)
    house.address("one").tell(Stop(), lane=Lane.CONTROL)
    house.until(lambda: house.slot("one").state is ChildState.STOPPED)
    assert states(house) == [("one", "stopped", False)]
    house.ask_root(RestartChild("one"))
    house.ready("one", 3)
    assert house.ask("one", Note("there")) == 3
    error = refused(lambda: house.ask_root(RestartChild("hej")))
    assert isinstance(error, NotFound)
    assert (error.field, error.value) == ("child", "hej")
    assert isinstance(refused(lambda: house.ask_root(ResetBudget("hej"))), NotFound)
    assert not house.of(Kind.CHARGED)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "no identifier"),
        ("max_restarts", -1),
        ("period", 0.0),
        ("start_timeout", -10.0),
        ("stop_timeout", -10.0),
        ("hang_after", math.nan),
        ("silence_after", -1.0),
        ("data_limit", 0),
    ],
)
@pytest.mark.parametrize("way", ["child_specs", "child_specs_map"])
def test_each_bad_field_of_a_child_spec_is_named(way: str, field: str, value: object) -> None:
    """OTP `child_specs`, `child_specs_map`: each wrong field is an error that names it."""
    good: dict[str, Any] = {"name": "one", "factory": lambda _: None}
    rules: dict[str, Any] = {field: value}
    error = refused(
        lambda: (
            ChildSpec(**{**good, field: value})
            if way == "child_specs_map"
            else child("one", **rules)
            if field != "name"
            else child(str(value))
        )
    )
    assert isinstance(error, Invalid)
    assert error.field == field


def test_two_children_of_one_name_are_no_house(build: Build) -> None:
    """OTP `child_specs` (`duplicate_child_name`): a name belongs to one child."""
    one, _ = child("one")
    again, _ = child("one")
    error = refused(lambda: build(one, again))
    assert isinstance(error, Invalid)
    assert error.value == "one"


@pytest.mark.parametrize(
    ("field", "value"),
    [("max_restarts", -1), ("period", 0.0), ("period", math.inf), ("period", math.nan)],
)
def test_a_window_has_a_number_and_an_end(field: str, value: float) -> None:
    """OTP `sup_flags`: intensity and period are checked when they are given, not when needed."""
    rules: dict[str, Any] = {field: value}
    error = refused(lambda: child("one", **rules))
    assert isinstance(error, Invalid)
    assert error.field == field


def test_what_the_children_are_is_told_at_every_moment(simulate: Build) -> None:
    """OTP `which_children`: each child with its state, in the order of the specs."""
    specs = [
        child("runs")[0],
        child("ended", restart=Restart.TEMPORARY)[0],
        child("waits", backoff=Backoff(first=9.0), max_restarts=2)[0],
        child("down", max_restarts=0)[0],
    ]
    house = simulate(*specs).open()
    for name in ("ended", "down", "waits"):
        house.kill(name)
    house.ready("waits", 2)
    house.kill("waits")
    pass_time(house, 1.0)
    assert states(house) == [
        ("runs", "ready", True),
        ("ended", "stopped", False),
        ("waits", "backoff", False),
        ("down", "escalated", False),
    ]


def test_counting_the_children(build: Build) -> None:
    """OTP `count_children`: how many there are, and how many of them live."""
    specs = [child(f"c{n}", restart=Restart.TEMPORARY)[0] for n in range(20)]
    house = build(*specs).open()
    assert (len(house.slots), sum(slot.live for slot in house.slots)) == (20, 20)
    for n in range(5):
        house.kill(f"c{n}")
    house.until(lambda: sum(slot.live for slot in house.slots) == 15)
    assert len(house.slots) == 20


def test_a_child_that_waits_for_its_restart_does_not_count_as_living(simulate: Build) -> None:
    """OTP `count_restarting_children`: between two lives it is restarting, and then back."""
    specs = [
        child(f"c{n}", backoff=Backoff(first=2.0, jitter=0.0), max_restarts=9) for n in range(3)
    ]
    house = simulate(*(spec for spec, _ in specs)).open()
    for _, script in specs[:2]:
        script.on_start = raising(RuntimeError("not yet"))
        house.kill(script.worker.context.name)
    pass_time(house, 10.0)
    assert [slot.live for slot in house.slots] == [False, False, True]
    assert [slot.state for slot in house.slots[:2]] == [ChildState.BACKOFF] * 2
    for _, script in specs[:2]:
        script.on_start = None
    pass_time(house, 40.0)
    assert [slot.state for slot in house.slots] == [ChildState.READY] * 3


def test_a_temporary_child_that_ended_is_not_forgotten(build: Build) -> None:
    """OTP `do_not_save_child_specs_for_temporary_children`: OTP forgets it; here ops may start it.

    The children are few and fixed; what a spec holds is no cost.
    """
    spec, script = child("one", restart=Restart.TEMPORARY)
    house = build(spec).open()
    house.kill("one")
    house.until(lambda: house.slot("one").state is ChildState.STOPPED)
    assert len(script.made) == 1
    house.ask_root(RestartChild("one"))
    house.ready("one", 2)
    assert not house.of(Kind.CHARGED)
