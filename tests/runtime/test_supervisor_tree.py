"""The Supervisor as a thing of its own: start, stop, refusal, death, and what it loads."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from runtime_kit import (
    AT_ONCE,
    PATIENCE,
    Call,
    Note,
    Script,
    child,
    dtms_threads,
    raising,
    refused,
    stall,
)

from actors.events import Event, Kind
from actors.life import CheckHealth, Hang, Kill
from actors.mailbox import Lane
from actors.points import Killed, Points
from actors.simulated import SimulatedRuntime
from actors.threads import ThreadRuntime
from defence.errors import DeadlinePassed, Fault, Invalid, NotFound, StartRefused, Stopped
from supervisors import ChildSpec, MemoryLedger, RememberingOwner, RootSettings, Supervisor
from supervisors.owner import Escalated, Poisoned
from supervisors.slot import ChildState
from supervisors.watchdog import Watchdog

Grow = Callable[..., Supervisor]
ROOT = Path(__file__).parents[2]
OFTEN = RootSettings(check_every=0.05)


@pytest.fixture(params=["threads", "simulated"])
def grow(request: pytest.FixtureRequest) -> Iterator[Grow]:
    """Make supervisors on either runtime; afterwards nothing of them is left."""
    made: list[Supervisor] = []

    def make(*specs: ChildSpec, **options: Any) -> Supervisor:
        runtime = SimulatedRuntime(1) if request.param == "simulated" else ThreadRuntime()
        options = {"runtime": runtime, "settings": OFTEN, **options}
        made.append(Supervisor(specs, **options))
        return made[-1]

    yield make
    for tree in made:
        tree.stop()
        tree.runtime.close()
        assert all(counts.balanced for counts in tree.counts().values())
    assert dtms_threads() == []


def until(tree: Supervisor, condition: Callable[[], object]) -> None:
    story = "\n".join(event.line() for event in tree.events.since())
    assert tree.runtime.wait_until(lambda: bool(condition()), PATIENCE), story


def of(tree: Supervisor, kind: Kind) -> list[Event]:
    return [event for event in tree.events.since() if event.kind is kind]


def test_it_starts_in_order_serves_and_stops_in_reverse(grow: Grow) -> None:
    specs = [child(name)[0] for name in ("one", "two", "three")]
    with grow(*specs) as tree:
        assert tree.ready
        assert tree.ask("two", Note("hello"), PATIENCE) == 1
        tree.tell("three", Note("there"))
        assert set(tree.states().values()) == {ChildState.READY}
        assert list(tree.states()) == ["one", "two", "three"]
        assert isinstance(refused(lambda: tree.address("four")), NotFound)
    assert [event.child for event in of(tree, Kind.READY)] == ["one", "two", "three"]
    assert [event.child for event in of(tree, Kind.EXITED)] == ["three", "two", "one"]
    assert tree.over
    assert tree.wait(0.0) is None
    assert isinstance(tree.owner, RememberingOwner)
    assert (tree.owner.ready, tree.owner.stopped, tree.owner.cause) == (True, True, None)
    assert isinstance(refused(lambda: tree.ask("one", Note("late"), 1.0)), Stopped)
    assert isinstance(refused(tree.start), StartRefused)


def test_a_first_start_that_fails_is_refused_and_cleaned_up(grow: Grow) -> None:
    good, _ = child("good")
    bad, script = child("bad")
    script.on_start = raising(RuntimeError("no"))
    tree = grow(good, bad)
    with pytest.raises(StartRefused, match="bad failed to start: RuntimeError: no"):
        tree.start()
    assert tree.over
    assert not tree.ready
    assert [event.child for event in of(tree, Kind.EXITED)] == ["bad", "good"]
    assert len(of(tree, Kind.START_REFUSED)) == 1


def test_a_start_that_is_not_waited_for_tells_its_owner(grow: Grow) -> None:
    bad, script = child("bad")
    script.on_start = raising(RuntimeError("no"))
    owner = RememberingOwner()
    tree = grow(bad, owner=owner).start(block=False)
    until(tree, lambda: owner.refusal)
    if isinstance(tree.runtime, ThreadRuntime):  # it is cleaned up by itself
        until(tree, lambda: tree.over)
    with pytest.raises(StartRefused):
        tree.wait_ready()


def test_a_start_is_given_its_time_and_no_more(grow: Grow) -> None:
    late, _ = child("late", Script(ready=False))
    tree = grow(late, settings=RootSettings(check_every=0.05, startup_timeout=0.3))
    with pytest.raises(StartRefused, match="waiting for late"):
        tree.start()


def test_facts_reach_the_owner_and_charges_the_ledger(grow: Grow) -> None:
    spec, script = child("one", max_restarts=2, backoff=AT_ONCE)
    ledger, owner = MemoryLedger(), RememberingOwner()
    tree = grow(spec, ledger=ledger, owner=owner).start()
    error = refused(lambda: tree.ask("one", Call(raising(RuntimeError("bad"))), PATIENCE))
    assert isinstance(error, Fault)
    until(tree, lambda: len(script.made) == 3)
    assert len(ledger.charges("one")) == 2
    (poisoned,) = [fact for fact in owner.facts if isinstance(fact, Poisoned)]
    assert (poisoned.child, poisoned.incarnation, poisoned.poison.message) == ("one", 2, "Call")
    tree.tell("one", Kill("by the test"), lane=Lane.CONTROL)
    until(tree, lambda: tree.states()["one"] is ChildState.ESCALATED)
    (down,) = [fact for fact in owner.facts if isinstance(fact, Escalated)]
    assert down.failures == (*["crashed: RuntimeError: bad"] * 2, "killed: by the test")
    assert down.retry_in == pytest.approx(3600.0, abs=10.0)
    tree.reset_budget("one")
    until(tree, lambda: tree.states()["one"] is ChildState.READY)
    assert ledger.charges("one") == []
    made = len(script.made)
    tree.restart("one")
    until(tree, lambda: len(script.made) > made)


def test_charges_outlive_the_supervisor_when_the_ledger_does(grow: Grow) -> None:
    ledger = MemoryLedger()
    for left in (2, 1):
        spec, script = child("one", backoff=AT_ONCE)
        tree = grow(spec, ledger=ledger).start()
        tree.tell("one", Kill("by the test"), lane=Lane.CONTROL)
        until(tree, lambda: len(script.made) == 2)  # noqa: B023 - used at once
        (event,) = of(tree, Kind.CHARGED)
        assert event.facts["budget_left"] == left
        tree.stop()


def test_two_children_of_one_name_are_refused() -> None:
    one, _ = child("one")
    error = refused(lambda: Supervisor([one, one]))
    assert isinstance(error, Invalid)
    assert (error.field, error.value) == ("name", "one")
    assert error.remedy
    error = refused(lambda: Supervisor(["one"]))  # type: ignore[list-item]
    assert isinstance(error, Invalid)
    assert error.field == "specs"


def test_no_children_are_few_but_no_mistake(grow: Grow) -> None:
    with grow() as tree:
        assert tree.ready


def test_an_owner_that_raises_harms_nobody(grow: Grow) -> None:
    class Rude(RememberingOwner):
        def all_ready(self) -> None:
            raise RuntimeError("the host's own mistake")

        def poisoned(self, fact: Poisoned) -> None:
            raise ValueError(fact)

    spec, _ = child("one")
    tree = grow(spec, owner=Rude()).start()
    assert tree.ready
    refused(lambda: tree.ask("one", Call(raising(RuntimeError("bad"))), PATIENCE))
    until(tree, lambda: tree.states()["one"] is ChildState.READY)
    assert tree.ask("one", Note("alive"), PATIENCE) == 3
    assert tree.died is None


def test_stop_is_idempotent_and_may_be_called_by_many() -> None:
    spec, _ = child("one")
    tree = Supervisor([spec]).start()
    callers = [threading.Thread(target=tree.stop) for _ in range(5)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(PATIENCE)
    tree.stop()
    assert tree.over
    assert len(of(tree, Kind.STOPPING)) == 1
    assert dtms_threads() == []


def test_a_stop_before_the_start_is_a_stop() -> None:
    spec, script = child("one")
    tree = Supervisor([spec])
    tree.stop()
    assert tree.over
    assert script.made == []


def test_an_actor_may_stop_its_own_supervisor() -> None:
    spec, _ = child("one")
    tree = Supervisor([spec]).start()
    tree.tell("one", Call(lambda _: tree.stop()))
    assert tree.wait(PATIENCE) is None
    assert tree.over
    tree.stop()
    assert dtms_threads() == []


def test_whoever_makes_a_runtime_closes_it() -> None:
    spec, _ = child("one")
    runtime = ThreadRuntime()
    with Supervisor([spec], runtime=runtime):
        pass
    called = threading.Event()
    runtime.call_later(0.0, called.set)
    assert called.wait(PATIENCE)
    runtime.close()
    assert dtms_threads() == []


@pytest.mark.parametrize("how", ["dies", "is stuck"])
def test_a_root_that_dies_or_is_stuck_ends_everything(how: str) -> None:
    spec, _ = child("one")
    points, owner = Points(), RememberingOwner()
    runtime = ThreadRuntime()
    tree = Supervisor([spec], points=points, owner=owner, runtime=runtime, settings=OFTEN).start()
    dog = tree._watchdog
    assert isinstance(dog, Watchdog)
    dog._stuck_after, dog._every = 0.5, 0.05

    def die() -> None:
        raise Killed("the root")

    address = tree.address("one")
    points.arm("root.before_reply", die if how == "dies" else runtime.hang)
    tree.tell_root(CheckHealth(by="asked"))
    cause = tree.wait(PATIENCE)
    assert cause is not None
    assert "root" in cause
    until(tree, lambda: owner.cause == cause)
    lease = tree.slots[0].lease
    assert lease is not None
    assert lease.revoked
    assert isinstance(refused(lambda: tree.ask("one", Note("late"), 1.0)), Stopped)
    assert isinstance(refused(lambda: address.tell(Note("late"))), Stopped)
    assert [event.facts["cause"] for event in of(tree, Kind.DIED)] == [cause]
    tree.stop()
    runtime.close()
    assert dtms_threads() == []


def test_a_hung_child_is_replaced_and_its_question_answered(grow: Grow) -> None:
    spec, _ = child("one", hang_after=0.2)
    tree = grow(spec).start()
    tree.tell("one", Hang(), lane=Lane.CONTROL)
    until(tree, lambda: tree.states()["one"] is not ChildState.READY or of(tree, Kind.FENCED))
    assert tree.ask("one", Note("the next"), PATIENCE) == 2
    assert [event.facts["threads"] for event in of(tree, Kind.LEAKED)] == [1]


def test_an_ask_that_nobody_answers_in_time_says_so(grow: Grow) -> None:
    spec, _ = child("one", hang_after=60.0)
    tree = grow(spec).start()
    slow = Call(lambda worker: stall(worker, lambda: tree.over))
    if isinstance(tree.runtime, SimulatedRuntime):
        slow = Call(lambda worker: worker.context.runtime.hang())
    assert isinstance(refused(lambda: tree.ask("one", slow, 0.1)), DeadlinePassed)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("startup_timeout", 0.0),
        ("check_every", float("nan")),
        ("pause_after", True),
        ("max_leaked", -1),
        ("max_leaked", 1.5),
    ],
)
def test_bad_times_of_the_root_are_named(field: str, value: object) -> None:
    error = refused(lambda: RootSettings(**{field: value}))  # type: ignore[arg-type]
    assert isinstance(error, Invalid)
    assert (error.field, bool(error.remedy)) == (field, True)


LOADED = """
import json, sys
from supervisors import Backoff, ChildSpec, Escalation, Restart, Supervisor
from actors.simulated import SimulatedRuntime
print(json.dumps(sorted(sys.modules)))
"""
OURS = {
    "actors": "actor batons clock events incarnation letters life log mailbox names points "
    "poisoning post replies runtime simulated threads",
    "supervisors": "budget clocks ends owner relay root roster siblings slot spec starting "
    "stopping tree watchdog",
    "terminals": "lease",
    "defence": "errors",
}


def test_supervision_loads_nothing_else_of_the_system() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", LOADED], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout))
    allowed = {
        f"{package}.{name}" for package, names in OURS.items() for name in names.split()
    } | set(OURS)
    packages = ("actors", "console", "defence", "gateway", "storage", "supervisors", "terminals")
    assert {name for name in loaded if name.split(".")[0] in packages} <= allowed
    heavy = {"lmdb", "msgpack", "pydantic", "numpy", "fastapi", "httpx2", "filelock", "apprise"}
    assert loaded & heavy == set()


def test_the_names_of_the_package_can_all_be_had_and_no_others() -> None:
    import supervisors

    for name in supervisors.__all__:
        assert getattr(supervisors, name).__name__ == name
        assert name in dir(supervisors)
    error = refused(lambda: supervisors.Nonsense)
    assert isinstance(error, AttributeError)
    assert "Nonsense" in str(error)
