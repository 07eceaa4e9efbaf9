"""The cases of Elixir's `Supervisor` and `DynamicSupervisor` tests that apply, in our own words.

Each docstring names the case and says the rule; docs/supervision.md, Cases,
has the table of all of them, and why the others do not apply.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from runtime_kit import (
    AT_ONCE,
    PATIENCE,
    Call,
    House,
    Note,
    Script,
    Worker,
    child,
    die_once,
    hang_in,
    pass_time,
    raising,
    refused,
)

from actors.events import Kind
from actors.life import Kill, RestartChild, ShutDown, Stop
from actors.mailbox import Lane
from defence.errors import Conflict, Fault, Invalid, StartRefused
from supervisors.slot import ChildState
from supervisors.spec import Backoff, ChildSpec, Escalation, Restart

Build = Callable[..., House]

CLEAN = [Stop(), Stop(1)]  # "normal" and "shutdown": here they are one
ANY_END = [*CLEAN, Kill("whatever")]


def end(house: House, message: object, name: str = "one") -> None:
    house.address(name).tell(message, lane=Lane.CONTROL)


def ends(house: House) -> list[tuple[str | None, object]]:
    return [(event.child, event.facts["how"]) for event in house.of(Kind.EXITED)]


# -- Supervisor


@pytest.mark.parametrize("given", [7, None, b"other"])
def test_what_is_no_spec_is_refused(given: object) -> None:
    """Elixir Supervisor "child_spec/2": what cannot be made into a child is refused by name."""
    wrong: dict[str, Any] = {"name": given, "factory": lambda _: None}
    error = refused(lambda: ChildSpec(**wrong))
    assert isinstance(error, Invalid)
    assert error.field == "name"


def test_the_limits_may_be_left_out_or_given() -> None:
    """Elixir Supervisor "init/2": intensity and period have defaults; both can be set, by child."""
    plain, _ = child("one")
    assert (plain.max_restarts, plain.period) == (3, 3600.0)  # Elixir: 3 in 5 s for all together
    tight, _ = child("one", max_restarts=1, period=2.0)
    assert (tight.max_restarts, tight.period) == (1, 2.0)


def test_a_child_that_stops_itself_is_there_again_with_its_first_state(build: Build) -> None:
    """Elixir Supervisor "start_link/2": after a clean end a permanent child begins anew.

    Its address is good all the while; Elixir's test waits for the name to be registered again.
    """
    state: dict[int, list[str]] = {}
    spec, script = child("stack")
    script.on_start = lambda worker: state.update({worker.context.incarnation: ["hello"]})

    def pop(worker: Worker) -> str:
        return state[worker.context.incarnation].pop()

    house = build(spec).open()
    assert house.ask("stack", Call(pop)) == "hello"
    end(house, Stop(), "stack")
    assert house.ask("stack", Call(pop)) == "hello"
    assert script.worker.context.incarnation == 2


def test_the_life_cycle_of_a_child(build: Build) -> None:
    """Elixir Supervisor "child life-cycle": counted, stopped, started again by hand, stopped.

    There is no `terminate_child` and no `delete_child`: a child is stopped
    for good by the end of the house, or by its own.
    """
    spec, script = child("one", restart=Restart.TRANSIENT)
    house = build(spec).open()
    assert [slot.live for slot in house.slots] == [True]
    end(house, Stop())
    house.until(lambda: house.slot("one").state is ChildState.STOPPED)
    assert [slot.live for slot in house.slots] == [False]
    house.ask_root(RestartChild("one"))
    house.ready("one", 2)
    assert house.ask("one", Note("there")) == 2
    house.close()
    assert house.exits("one") == ["stopped", "stopped"]
    assert len(script.made) == 2


# -- DynamicSupervisor: limits and specs


@pytest.mark.parametrize(
    ("field", "value"),
    [("max_restarts", -1), ("period", 0), ("data_limit", -1), ("stop_timeout", -1)],
)
def test_limits_that_make_no_sense_are_refused(field: str, value: float) -> None:
    """Elixir DynamicSupervisor "with non-ok init", "with invalid child spec": each is named."""
    rules: dict[str, Any] = {field: value}
    error = refused(lambda: child("one", **rules))
    assert isinstance(error, Invalid)
    assert (error.field, error.value) == (field, value)


@pytest.mark.parametrize(("wait", "good"), [(0, False), (1, True), (-1, False)])
def test_how_long_a_stop_may_take_is_more_than_nothing(wait: int, good: bool) -> None:
    """Elixir DynamicSupervisor "with valid shutdown", "with invalid valid shutdown": above 0 s.

    Elixir takes 0 as well; here who is not even asked could not be told from who did not answer.
    """
    if good:
        assert child("one", stop_timeout=wait)[0].stop_timeout == 1
    else:
        assert isinstance(refused(lambda: child("one", stop_timeout=wait)), Invalid)


@pytest.mark.parametrize("way", [RuntimeError, SystemExit, KeyboardInterrupt, StopIteration])
@pytest.mark.parametrize("where", ["factory", "on_start"])
def test_however_a_first_start_fails_it_is_refused(
    build: Build, way: type[BaseException], where: str
) -> None:
    """Elixir DynamicSupervisor "with throw/error/exit": all three are a failed start, and told."""
    spec, script = child("one")
    if where == "factory":
        script.born = raising(way("oops"))
    else:
        script.on_start = raising(way("oops"))
    house = build(spec).begin()
    house.until(lambda: house.owner.stopped)
    (cause,) = house.owner.refusals
    assert isinstance(cause, StartRefused)
    assert way.__name__ in str(cause)


# -- DynamicSupervisor: restarts


@pytest.mark.parametrize("message", ANY_END)
def test_a_temporary_child_is_never_restarted(build: Build, message: object) -> None:
    """Elixir DynamicSupervisor "temporary child is not restarted regardless of reason"."""
    spec, script = child("one", restart=Restart.TEMPORARY)
    house = build(spec).open()
    end(house, message)
    house.until(lambda: house.slot("one").state is ChildState.STOPPED)
    assert len(script.made) == 1


@pytest.mark.parametrize("message", ANY_END)
def test_a_transient_child_is_restarted_unless_it_ended_cleanly(
    build: Build, message: object
) -> None:
    """Elixir DynamicSupervisor "transient child is restarted unless normal/shutdown"."""
    spec, script = child("one", restart=Restart.TRANSIENT)
    house = build(spec).open()
    end(house, message)
    if message in CLEAN:
        house.until(lambda: house.slot("one").state is ChildState.STOPPED)
        assert len(script.made) == 1
    else:
        house.ready("one", 2)


def test_a_permanent_child_is_restarted_whatever_its_end(build: Build) -> None:
    """Elixir DynamicSupervisor "permanent child is restarted regardless of reason"."""
    spec, _ = child("one", max_restarts=9)
    house = build(spec).open()
    for number, message in enumerate([Stop(), Stop(2), Kill("whatever")], start=2):
        end(house, message)
        house.ready("one", number)
    assert len(house.of(Kind.CHARGED)) == 3


@pytest.mark.parametrize("outcome", ["ready", "raises", "no actor", "not ready in time", "hangs"])
def test_what_can_come_of_a_restart(simulate: Build, outcome: str) -> None:
    """Elixir DynamicSupervisor "child is restarted with different values": one charge a try.

    Elixir's `:ignore` has no equal: a child that is not wanted is not specified.
    """
    spec, script = child("one", Script(ready=False), start_timeout=2.0)
    script.on_start = lambda worker: worker.ready()
    house = simulate(spec).open()

    def start(worker: Worker) -> None:
        if worker.context.incarnation > 2 or outcome == "ready":
            worker.ready()
        elif outcome == "raises":
            raise ValueError("found")
        elif outcome == "hangs":
            worker.context.runtime.hang()

    script.on_start = start
    if outcome == "no actor":
        script.born = die_once(TypeError("no actor"))
    house.kill("one")
    pass_time(house, 5.0)
    tried = 1 if outcome == "ready" else 2
    assert house.slot("one").state is ChildState.READY
    assert house.slot("one").number == 1 + tried
    assert len(house.of(Kind.CHARGED)) == tried
    assert len(house.exits("one")) == tried


def test_a_restart_that_failed_once_is_tried_again(simulate: Build) -> None:
    """Elixir DynamicSupervisor "child is restarted when trying again": within the budget."""
    spec, script = child("one", max_restarts=2)
    house = simulate(spec).open()
    script.on_start = die_once(RuntimeError("try again"))
    house.kill("one")
    house.ready("one", 3)
    assert house.exits("one") == ["killed", "failed to start"]
    assert not house.of(Kind.ESCALATED)


@pytest.mark.parametrize("limit", [1, 10])
@pytest.mark.parametrize("backoff", [AT_ONCE, Backoff(first=0.25, limit=1.0)])
def test_a_restart_that_keeps_failing_uses_the_budget_up(
    simulate: Build, limit: int, backoff: Backoff
) -> None:
    """Elixir "child triggers maximum restarts", "child triggers maximum intensity when trying
    again".

    The failure and every try count alike; then Elixir's supervisor ends, and
    here the child is escalated.
    """
    spec, script = child(
        "one", max_restarts=limit, backoff=backoff, escalation=Escalation.STAY_DOWN
    )
    house = simulate(spec).open()
    script.on_start = raising(RuntimeError("error"))
    house.kill("one")
    pass_time(house, 60.0)
    assert house.slot("one").state is ChildState.ESCALATED
    assert len(house.of(Kind.CHARGED)) == limit
    assert len(house.exits("one")) == limit + 1
    assert len(house.of(Kind.ESCALATED)) == 1
    made = len(script.made)
    pass_time(house, 8000.0)
    assert len(script.made) == made


# -- DynamicSupervisor: the end of all


def test_children_that_stop_in_time_are_not_forced(build: Build) -> None:
    """Elixir DynamicSupervisor "terminates children with integer shutdown"."""
    specs = [child(f"c{n}", stop_timeout=PATIENCE)[0] for n in range(3)]
    house = build(*specs).open()
    house.close()
    assert ends(house) == [(f"c{n}", "stopped") for n in (2, 1, 0)]
    assert not house.of(Kind.FENCED)


def test_children_that_end_badly_while_stopping_have_ended(build: Build) -> None:
    """Elixir DynamicSupervisor "... integer shutdown and abnormal reason": how is told, no more."""
    specs = [child(f"c{n}", Script(on_stop=raising(RuntimeError("oops"))))[0] for n in range(3)]
    house = build(*specs).open()
    house.close()
    assert ends(house) == [(f"c{n}", "crashed") for n in (2, 1, 0)]
    assert not house.of(Kind.CHARGED)
    assert house.owner.stopped == 1


def test_of_several_only_the_late_one_is_forced(build: Build) -> None:
    """Elixir DynamicSupervisor "... expired integer shutdown", "brutal kill", "mixed"."""
    late = Script(on_stop=lambda worker: worker.context.runtime.hang())
    specs = [
        child("prompt", stop_timeout=PATIENCE)[0],
        child("late", late, stop_timeout=0.1)[0],
        child("last", stop_timeout=0.5)[0],
    ]
    house = build(*specs).open()
    house.close()
    assert ends(house) == [("last", "stopped"), ("late", "hung"), ("prompt", "stopped")]
    assert house.lives(Kind.FENCED) == [("late", 1)]


def test_a_permanent_child_stays_down_when_all_are_stopped(build: Build) -> None:
    """Elixir DynamicSupervisor "... permanent restart and normal reason": none comes back."""
    specs = [child(f"c{n}", restart=Restart.PERMANENT) for n in range(3)]
    house = build(*(spec for spec, _ in specs)).open()
    house.close()
    assert [len(script.made) for _, script in specs] == [1, 1, 1]
    assert not house.of(Kind.CHARGED)
    assert house.owner.ready == 1


@pytest.mark.parametrize("way", ["backing off", "starting", "escalated"])
def test_a_child_between_two_lives_can_be_stopped(simulate: Build, way: str) -> None:
    """Elixir DynamicSupervisor "terminates restarting child": there is nothing to wait for."""
    ways: dict[str, dict[str, Any]] = {
        "backing off": {"backoff": Backoff(first=100.0), "max_restarts": 2},
        "starting": {"start_timeout": 100.0, "stop_timeout": 0.5},
        "escalated": {"max_restarts": 1, "period": 100.0},
    }
    spec, script = child("one", **ways[way])
    house = simulate(spec).open()
    if way == "starting":
        script.on_start = hang_in(3)
    for _ in range(2):
        house.kill("one")
        pass_time(house, 0.25)
    assert house.slot("one").state is not ChildState.READY
    before, made = house.clock.monotonic(), len(script.made)
    house.to_root(ShutDown())
    house.until(lambda: house.owner.stopped)
    assert house.clock.monotonic() - before == (0.5 if way == "starting" else 0.0)
    pass_time(house, 200.0)
    assert len(script.made) == made


def test_what_is_stopping_starts_nothing_more(build: Build) -> None:
    """Elixir Supervisor.stop: while all stop, a child is not started by hand either."""
    gate = threading.Event()
    first, _ = child("first")
    last, script = child("last", stop_timeout=PATIENCE)
    house = build(first, last).open()

    def wait(worker: Worker) -> None:
        worker.context.runtime.wait_until(lambda: gate.is_set() or worker.context.name == "", 0.5)

    script.on_stop = wait
    house.to_root(ShutDown())
    error = refused(lambda: house.ask_root(RestartChild("first")))
    gate.set()
    assert isinstance(error, Conflict)
    house.close()
    assert house.slot("first").number == 1


def test_an_asker_of_a_child_that_never_comes_back_is_told(simulate: Build) -> None:
    """Elixir GenServer.call to a dead child exits at once; here the message waits for a successor.

    When there will be none it is told so, at the latest when the house ends.
    """
    spec, _ = child("one", max_restarts=0, escalation=Escalation.STAY_DOWN)
    house = simulate(spec).open()
    house.kill("one")
    pass_time(house, 1.0)
    future = house.later("one", Note("waits"), timeout=1e6)
    house.close()
    error = refused(lambda: future.get(timeout=0))
    assert not isinstance(error, Fault)
    assert "stopped" in str(error)
