"""The cases of OTP's `supervisor_SUITE` about restarts, budgets and order, in our own words.

Each docstring names the case and says the rule; docs/supervision.md, Cases,
has the table of all of them, and why the others do not apply.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from runtime_kit import (
    Call,
    House,
    Note,
    Script,
    Worker,
    child,
    die_once,
    pass_time,
    raising,
    refused,
)

from actors.actor import GuardActor
from actors.events import Kind
from actors.life import Kill, ResetBudget, RestartChild, ShutDown, Stop
from actors.mailbox import Lane
from defence.errors import Conflict, NotFound, Stopped
from supervisors.slot import ChildState
from supervisors.spec import Backoff, Escalation, Restart

Build = Callable[..., House]

ENDS: dict[str, object] = {  # one clean end, asked for by anybody; one by its supervisor's word
    "normal": Stop(),
    "shutdown": Stop(1),
    "abnormal": Kill("abnormal"),
}


# -- kinds of restart by kinds of end


@pytest.mark.parametrize(
    ("kind", "end", "restarted"),
    [
        pytest.param(Restart.PERMANENT, "normal", True, id="permanent_normal"),
        pytest.param(Restart.TRANSIENT, "normal", False, id="transient_normal"),
        pytest.param(Restart.TEMPORARY, "normal", False, id="temporary_normal"),
        pytest.param(Restart.PERMANENT, "shutdown", True, id="permanent_shutdown"),
        pytest.param(Restart.TRANSIENT, "shutdown", False, id="transient_shutdown"),
        pytest.param(Restart.TEMPORARY, "shutdown", False, id="temporary_shutdown"),
        pytest.param(Restart.PERMANENT, "abnormal", True, id="permanent_abnormal"),
        pytest.param(Restart.TRANSIENT, "abnormal", True, id="transient_abnormal"),
        pytest.param(Restart.TEMPORARY, "abnormal", False, id="temporary_abnormal"),
    ],
)
def test_which_ends_are_followed_by_a_restart(
    build: Build, kind: Restart, end: str, restarted: bool
) -> None:
    """OTP `permanent_normal` and eight more: which kind of child is restarted after which end.

    A permanent child's clean end is charged, too; nothing is charged where nothing is restarted.
    """
    spec, script = child("one", restart=kind)
    house = build(spec).open()
    house.address("one").tell(ENDS[end], lane=Lane.CONTROL)
    if restarted:
        house.ready("one", 2)
        assert house.ask("one", Note("again")) == 2
    else:
        house.until(lambda: house.slot("one").state is ChildState.STOPPED)
        assert not house.slot("one").live
    assert len(script.made) == 1 + restarted
    assert len(house.of(Kind.CHARGED)) == restarted
    assert house.exits("one") == ["killed" if end == "abnormal" else "stopped"]


def test_the_whole_error_of_a_failed_start_is_passed_on(build: Build) -> None:
    """OTP `faulty_application_shutdown`: the start's refusal carries what really went wrong."""

    def misspelled(_: Worker) -> None:
        __import__("a_module_that_is_not_there")

    spec, script = child("faulty")
    script.on_start = misspelled
    house = build(spec).begin()
    house.until(lambda: house.owner.stopped)
    told = str(house.owner.refusals[0])
    assert "faulty failed to start" in told
    assert "ModuleNotFoundError" in told
    assert "a_module_that_is_not_there" in told


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_temporary_bystander_is_neither_touched_nor_restarted(build: Build, how: str) -> None:
    """OTP `temporary_bystander`: a sibling's end is no end of a temporary child."""
    one, _ = child("one")
    bystander, script = child("bystander", restart=Restart.TEMPORARY)
    house = build(one, bystander).open()
    house.address("one").tell(Stop() if how == "stop" else Kill(), lane=Lane.CONTROL)
    house.ready("one", 2)
    assert house.ask("bystander", Note("untouched")) == 1
    assert len(script.made) == 1
    house.kill("bystander")
    house.until(lambda: not house.slot("bystander").live)
    house.kill("one")
    house.ready("one", 3)
    assert len(script.made) == 1


@pytest.mark.parametrize("kind", [Restart.TEMPORARY, Restart.TRANSIENT])
def test_a_child_that_ends_for_good_ends_nobody_else(build: Build, kind: Restart) -> None:
    """OTP `nonsignificant_temporary`, `nonsignificant_transient`: its end is its own.

    No child is `significant` here: the end of one never stops the house.
    """
    one, _ = child("one", restart=kind)
    other, _ = child("other")
    house = build(one, other).open()
    house.address("one").tell(Stop(), lane=Lane.CONTROL)
    house.until(lambda: house.slot("one").state is ChildState.STOPPED)
    assert house.ask("other", Note("goes on")) == 1
    assert house.owner.stopped == 0


# -- the budget


def test_just_under_the_budget_a_child_is_restarted_for_ever(simulate: Build) -> None:
    """OTP `multiple_restarts`: one restart every period is within 1 per period.

    The window is half-open: the charge at `t` has left at `t + period` exactly.
    """
    spec, _ = child("one", max_restarts=1, period=8.0)
    house = simulate(spec).open()
    for number in range(1, 12):
        house.kill("one")
        house.ready("one", number + 1)
        pass_time(house, 8.0)
    assert not house.of(Kind.ESCALATED)
    house.kill("one")
    house.ready("one", 13)
    pass_time(house, 8.0 - 1 / 64)
    house.kill("one")  # a moment too early
    pass_time(house, 0.0)
    assert house.slot("one").state is ChildState.ESCALATED


def test_one_for_one(build: Build) -> None:
    """OTP `one_for_one`: the one that died is replaced, and its siblings are not.

    OTP counts the restarts of all children together; here each has its own
    budget, so that a sibling's failures use up nobody else's.
    """
    one, _ = child("one", max_restarts=1)
    two, script = child("two", max_restarts=1)
    house = build(one, two).open()
    house.kill("one")
    house.ready("one", 2)
    assert len(script.made) == 1
    house.kill("two")
    house.ready("two", 2)
    house.kill("one")
    house.until(lambda: house.slot("one").state is ChildState.ESCALATED)
    assert house.ask("two", Note("goes on")) == 2


def test_a_child_that_cannot_be_started_again_escalates_alone(simulate: Build) -> None:
    """OTP `one_for_one_escalation`: a restart that fails is tried again until the budget is used
    up.

    OTP's supervisor then ends, and its other children with it. Here the
    child is escalated, people are told, and its siblings go on.
    """
    one, script = child("one", max_restarts=4, escalation=Escalation.STAY_DOWN)
    two, _ = child("two")
    house = simulate(one, two).open()
    script.on_start = raising(RuntimeError("error"))
    house.kill("one")
    pass_time(house, 60.0)
    assert house.exits("one") == ["killed", *["failed to start"] * 4]
    (event,) = house.of(Kind.ESCALATED)
    failures = event.facts["failures"]
    assert isinstance(failures, list)
    assert len(failures) == 5
    assert house.ask("two", Note("goes on")) == 1
    assert house.exits("two") == []


@pytest.mark.parametrize("then", ["shut down", "restart", "reset"])
def test_a_restart_that_keeps_failing_can_be_interrupted(simulate: Build, then: str) -> None:
    """OTP `hanging_restart_loop`: a shutdown, or ops, come between two tries."""
    spec, script = child("one", max_restarts=8, period=10.0, backoff=Backoff(first=1.0, jitter=0.0))
    house = simulate(spec).open()
    script.on_start = raising(RuntimeError("deadlock"))
    house.kill("one")
    pass_time(house, 2.0)
    assert house.slot("one").state is ChildState.BACKOFF
    made = len(script.made)
    if then == "shut down":
        before = house.clock.monotonic()
        house.close()
        assert house.clock.monotonic() == before  # at once
        assert len(script.made) == made
        assert house.slot("one").state is ChildState.STOPPED
        return
    script.on_start = None
    if then == "restart":
        house.ask_root(RestartChild("one"))
    else:
        assert house.ask_root(ResetBudget("one"))["budget_left"] == 8
        pass_time(house, 4.0)  # a reset gives back the budget; the backoff goes on
    house.until(lambda: house.slot("one").state is ChildState.READY)
    assert len(script.made) == made + 1


def test_a_hanging_restart_does_not_keep_anybody_from_stopping(build: Build) -> None:
    """OTP `hanging_restart_loop`: the same when the start hangs instead of failing."""
    spec, script = child("one", start_timeout=60.0, stop_timeout=0.15)
    house = build(spec).open()
    script.on_start = lambda worker: worker.context.runtime.hang()
    house.kill("one")
    house.until(lambda: len(script.made) == 2)
    house.close()
    assert house.exits("one") == ["killed", "hung"]


# -- order and number


def test_children_start_in_the_order_given_and_stop_in_the_opposite_one(build: Build) -> None:
    """OTP `order_of_children`: the order of the specs is kept, also after restarts in between."""
    names = ["ch7", "ch3", "ch10", "ch2", "ch5"]
    seen: list[str] = []
    specs = []
    for name in names:
        script = Script(
            on_start=lambda worker: seen.append(f"+{worker.context.name}"),
            on_stop=lambda worker: seen.append(f"-{worker.context.name}"),
        )
        specs.append(child(name, script)[0])
    house = build(*specs).open()
    assert seen == [f"+{name}" for name in names]
    house.kill("ch10")
    house.ready("ch10", 2)
    seen.clear()
    house.close()
    assert seen == [f"-{name}" for name in reversed(names)]


def test_many_children_are_started_and_stopped_in_proportion(simulate: Build) -> None:
    """OTP `scale_start_stop_many_children`: ten times the children are ten times the work.

    Measured in turns of the scheduler, not in time: it is the same on every machine.
    """
    turns = []
    for many in (20, 200):
        house = simulate(*(child(f"c{n}")[0] for n in range(many))).open()
        house.close()
        assert [slot.state for slot in house.slots] == [ChildState.STOPPED] * many
        turns.append(len(house.runtime.trace))  # type: ignore[union-attr]
    assert turns[1] <= 11 * turns[0]


def test_specs_are_for_good(build: Build) -> None:
    """OTP `code_change` and its like do not apply: nothing is added to a house that runs."""
    spec, _ = child("one")
    house = build(spec).open()
    error = refused(lambda: setattr(house.slot("one").spec, "max_restarts", 99))
    assert isinstance(error, AttributeError)
    assert isinstance(refused(lambda: house.address("two")), NotFound)
    error = refused(GuardActor.start)
    assert "started by its supervisor" in str(error)
    house.to_root(ShutDown())
    assert isinstance(refused(lambda: house.ask_root(RestartChild("one"))), Conflict | Stopped)


def test_a_death_is_waited_for_without_the_childs_help(build: Build) -> None:
    """OTP `child_unlink`: a child cannot hide its end from its supervisor.

    OTP's child drops its link; ours forgets its mailbox, its lease and its pykka ref.
    """

    def hide(worker: Worker) -> None:
        worker.actor_inbox = None  # type: ignore[assignment]
        worker._actor_ref = None  # type: ignore[assignment]
        raise SystemExit("gone")

    spec, _ = child("one")
    house = build(spec).open()
    house.post.send("one", Call(hide_once(hide)))
    house.ready("one", 2)
    assert house.exits("one") == ["crashed"]
    assert house.ask("one", Call(die_once(RuntimeError("x")))) == "alive"


def hide_once(work: Callable[[Worker], None]) -> Callable[[Worker], object]:
    left = [work]

    def once(worker: Worker) -> None:
        if left:
            left.pop()(worker)

    return once
