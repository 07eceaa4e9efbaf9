"""The root and its budgets in virtual time: charges, backoff, escalation, ops, kinds of restart."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from runtime_kit import (
    Call,
    House,
    MemoryLedger,
    Note,
    Script,
    child,
    die_once,
    hang_in,
    pass_time,
    raising,
    refused,
)

from actors.events import Kind
from actors.life import ExitReport, ResetBudget, RestartChild, ShutDown, StartChild, Stop
from actors.mailbox import Lane
from defence.alerts import Severity
from defence.errors import StoreFull
from supervisors.slot import ChildState
from supervisors.spec import Backoff, Escalation, Restart

Build = Callable[..., House]
HOUR = 3600.0


def down(house: House, name: str = "one", times: int = 4) -> None:
    """Kill the child until it is escalated, all at one moment."""
    for _ in range(times):
        number = house.slot(name).number
        house.kill(name)
        house.until(lambda: _moved_on(house, name, number))  # noqa: B023 - used at once


def _moved_on(house: House, name: str, number: int) -> bool:
    escalated = house.slot(name).state is ChildState.ESCALATED
    return escalated or (name, number + 1) in house.lives(Kind.READY)


def budget(house: House, name: str = "one") -> tuple[int, int]:
    """Return restarts in the window, and those left, as the events say."""
    facts = [
        event.facts
        for event in house.events.since()
        if event.child == name and "budget_left" in event.facts
    ][-1]
    return int(str(facts["restarts_in_window"])), int(str(facts["budget_left"]))


def test_three_restarts_then_the_fourth_failure_escalates(simulate: Build) -> None:
    spec, script = child("one")
    house = simulate(spec).open()
    assert budget(house) == (0, 3)
    down(house)
    assert house.slot("one").state is ChildState.ESCALATED
    assert len(house.of(Kind.CHARGED)) == 3
    assert len(house.ledger.kept["one"]) == 3
    assert budget(house) == (3, 0)
    (event,) = house.of(Kind.ESCALATED)
    assert event.facts["failures"] == ["killed: by the test"] * 4
    (notice,) = house.owner.notices
    assert (notice.key, notice.severity) == ("escalated:one", Severity.CRITICAL)
    assert "restart budget is used up" in notice.title
    assert len(script.made) == 4


def test_it_tries_again_when_the_oldest_charge_leaves_and_not_before(simulate: Build) -> None:
    spec, script = child("one")
    house = simulate(spec).open()
    moments = []
    for _ in range(3):  # charges at about 0, 100 and 200 s
        moments.append(house.clock.monotonic())
        down(house, times=1)
        pass_time(house, 100.0)
    down(house, times=1)
    frees = moments[0] + HOUR
    pass_time(house, frees - house.clock.monotonic() - 0.01)
    assert len(script.made) == 4
    pass_time(house, 0.02)
    assert len(script.made) == 5
    assert house.slot("one").state is ChildState.READY
    assert len(house.of(Kind.ESCALATED)) == 1  # tried once, not in vain before
    down(house, times=1)
    assert len(house.of(Kind.ESCALATED)) == 2  # the budget holds afterwards, too
    assert house.of(Kind.ESCALATED)[1].facts["failures"] == ["killed: by the test"]


@pytest.mark.parametrize("offset", [0.1, 0.3, 1 / 3, 7.7, 123.456, 1e3 / 3])
def test_rounding_never_escalates_twice(simulate: Build, offset: float) -> None:
    spec, _ = child("one", period=1000.1)
    house = simulate(spec).open()
    pass_time(house, offset)
    down(house)
    pass_time(house, 1001.0)
    assert len(house.of(Kind.ESCALATED)) == 1
    assert house.slot("one").state is ChildState.READY


def test_stay_down_waits_for_ops(simulate: Build) -> None:
    spec, script = child("one", escalation=Escalation.STAY_DOWN)
    house = simulate(spec).open()
    down(house)
    assert house.of(Kind.ESCALATED)[0].facts["retry_in"] is None
    assert "waits for ops" in house.owner.notices[0].text
    pass_time(house, 3 * HOUR)
    assert len(script.made) == 4
    answer = house.ask_root(ResetBudget("one", "somebody"))
    assert answer["budget_left"] == 3
    house.ready("one", 5)
    assert house.ledger.kept.get("one", []) == []
    assert budget(house) == (0, 3)
    assert house.of(Kind.BUDGET_RESET)[0].facts["by"] == "somebody"


def test_a_reset_starts_an_escalated_child_at_once_and_voids_the_retry(simulate: Build) -> None:
    spec, script = child("one")
    house = simulate(spec).open()
    down(house)
    house.ask_root(ResetBudget("one"))
    house.ready("one", 5)
    pass_time(house, 2 * HOUR)
    assert len(script.made) == 5


def test_ops_may_restart_an_escalated_child_without_a_charge(simulate: Build) -> None:
    spec, _ = child("one")
    house = simulate(spec).open()
    down(house)
    house.ask_root(RestartChild("one"))
    house.ready("one", 5)
    assert len(house.of(Kind.CHARGED)) == 3
    down(house, times=1)
    assert len(house.of(Kind.ESCALATED)) == 2  # the budget was not refilled


def test_no_restarts_at_all(simulate: Build) -> None:
    spec, script = child("one", max_restarts=0)
    house = simulate(spec).open()
    house.kill("one")
    pass_time(house, 3 * HOUR)
    assert house.slot("one").state is ChildState.ESCALATED
    assert len(script.made) == 1
    house.ask_root(ResetBudget("one"))
    house.ready("one", 2)


def test_the_ledger_is_remembered_by_the_next_process(simulate: Build) -> None:
    ledger = MemoryLedger()
    spec, _ = child("one")
    first = simulate(spec, ledger=ledger).open()
    down(first, times=2)
    first.close()
    spec, _ = child("one")
    second = simulate(spec, ledger=ledger).open()
    assert budget(second) == (2, 1)
    down(second, times=2)
    assert second.slot("one").state is ChildState.ESCALATED


def test_a_charge_from_the_future_counts_as_now(simulate: Build) -> None:
    ledger = MemoryLedger()
    ledger.kept["one"] = [1_700_000_000.0 + 9 * HOUR]
    spec, _ = child("one", max_restarts=1)
    house = simulate(spec, ledger=ledger).open()
    assert budget(house) == (1, 0)
    house.kill("one")
    pass_time(house, HOUR - 10.0)
    assert house.slot("one").state is ChildState.ESCALATED
    pass_time(house, 11.0)
    assert house.slot("one").state is ChildState.READY


@pytest.mark.parametrize("error", [StoreFull("no room"), OSError("gone")])
def test_a_charge_that_cannot_be_written_counts_and_alerts(
    simulate: Build, error: Exception
) -> None:
    spec, _ = child("one")
    house = simulate(spec).open()
    house.ledger.broken = error
    down(house)
    assert house.slot("one").state is ChildState.ESCALATED
    assert len(house.of(Kind.CHARGED)) == 3
    assert [notice.key for notice in house.owner.notices] == ["ledger"] * 3 + ["escalated:one"]


def test_a_reset_that_cannot_be_written_changes_nothing(simulate: Build) -> None:
    spec, _ = child("one")
    house = simulate(spec).open()
    down(house, times=1)
    house.ledger.broken = StoreFull("no room")
    assert isinstance(refused(lambda: house.ask_root(ResetBudget("one"))), StoreFull)
    assert house.slot("one").budget.left(house.clock.monotonic()) == 2


def test_the_backoff_is_none_then_grows(simulate: Build) -> None:
    spec, _ = child("one", max_restarts=5, backoff=Backoff(first=10.0, factor=3.0, jitter=0.2))
    house = simulate(spec).open()
    delays = []
    for _ in range(4):
        number = house.slot("one").number
        before = house.clock.monotonic()
        house.kill("one")
        house.until(lambda: house.slot("one").number > number, timeout=200.0)  # noqa: B023
        delays.append(house.clock.monotonic() - before)
        house.ready("one", number + 1)
    assert delays[0] == 0.0
    for delay, plain in zip(delays[1:], (10.0, 30.0, 30.0), strict=True):
        assert plain <= delay <= plain * 1.2 + 0.001
    said = [event.facts["nth"] for event in house.of(Kind.RESTARTING)]
    assert said == [2, 3, 4]


def test_a_shutdown_during_a_backoff_wins(simulate: Build) -> None:
    spec, script = child("one", backoff=Backoff(first=10.0))
    house = simulate(spec).open()
    down(house, times=1)
    house.kill("one")
    house.until(lambda: house.slot("one").state is ChildState.BACKOFF)
    house.to_root(ShutDown())
    house.until(lambda: house.owner.stopped)
    pass_time(house, 100.0)
    assert len(script.made) == 2


def test_a_backoff_that_ends_while_others_still_stop_starts_nothing(simulate: Build) -> None:
    spec, script = child("one", backoff=Backoff(first=2.0, jitter=0.0))
    slow, other = child("slow", stop_timeout=10.0)
    other.on_stop = lambda worker: worker.context.runtime.hang()
    house = simulate(spec, slow).open()
    down(house, times=1)
    house.kill("one")
    house.until(lambda: house.slot("one").state is ChildState.BACKOFF)
    house.to_root(ShutDown())
    house.until(lambda: house.owner.stopped, 20.0)
    assert len(script.made) == 2


def test_the_end_of_a_former_backoff_is_void(simulate: Build) -> None:
    """It may wait in the root's mailbox already when the plan changes."""
    spec, script = child("one", backoff=Backoff(first=20.0))
    house = simulate(spec).open()
    down(house, times=1)
    house.kill("one")
    house.until(lambda: house.slot("one").state is ChildState.BACKOFF)
    epoch = house.slot("one").epoch
    house.to_root(StartChild("one", epoch - 1))
    pass_time(house, 1.0)
    assert len(script.made) == 2
    house.to_root(StartChild("one", epoch))
    pass_time(house, 1.0)
    assert len(script.made) == 3


def test_a_shutdown_during_a_hanging_restart_wins(simulate: Build) -> None:
    spec, script = child("one", start_timeout=10.0, stop_timeout=1.0)
    house = simulate(spec).open()
    script.on_start = lambda worker: worker.context.runtime.hang()
    house.kill("one")
    house.until(lambda: len(script.made) == 2)
    house.to_root(ShutDown())
    house.until(lambda: house.owner.stopped)
    assert house.exits("one") == ["killed", "hung"]


def test_an_ops_restart_during_a_backoff_is_at_once_and_alone(simulate: Build) -> None:
    spec, script = child("one", backoff=Backoff(first=10.0))
    house = simulate(spec).open()
    down(house, times=1)
    house.kill("one")
    house.until(lambda: house.slot("one").state is ChildState.BACKOFF)
    before = house.clock.monotonic()
    house.ask_root(RestartChild("one"))
    house.ready("one", 3)
    assert house.clock.monotonic() == before
    pass_time(house, 100.0)  # the timer of the backoff is void
    assert len(script.made) == 3


def test_a_stale_exit_report_is_ignored_and_noted(simulate: Build) -> None:
    spec, _ = child("one")
    house = simulate(spec).open()
    down(house, times=1)
    house.stale_reports_expected = True
    house.to_root(ExitReport("one", 1, "crashed", "once more"))
    pass_time(house, 1.0)
    assert house.slot("one").state is ChildState.READY
    assert len(house.of(Kind.CHARGED)) == 1
    assert house.of(Kind.STALE_REPORT)[0].facts == {"of": 1, "how": "crashed"}
    assert len(house.exits("one")) == 1


@pytest.mark.parametrize(
    ("kind", "normal", "restarted", "charged"),
    [
        (Restart.PERMANENT, True, True, 1),
        (Restart.PERMANENT, False, True, 1),
        (Restart.TRANSIENT, True, False, 0),
        (Restart.TRANSIENT, False, True, 1),
        (Restart.TEMPORARY, True, False, 0),
        (Restart.TEMPORARY, False, False, 0),
    ],
)
def test_kinds_of_restart(
    simulate: Build, kind: Restart, normal: bool, restarted: bool, charged: int
) -> None:
    spec, script = child("one", restart=kind)
    bystander, other = child("other")
    house = simulate(spec, bystander).open()
    if normal:
        house.address("one").tell(Stop(), lane=Lane.CONTROL)
    else:
        house.kill("one")
    pass_time(house, 10.0)
    assert len(script.made) == (2 if restarted else 1)
    assert len(house.of(Kind.CHARGED)) == charged
    state = house.slot("one").state
    assert state is (ChildState.READY if restarted else ChildState.STOPPED)
    assert len(other.made) == 1
    if not restarted:
        house.ask_root(RestartChild("one"))
        house.ready("one", 2)


def test_failed_starts_during_a_restart_use_the_budget_up(simulate: Build) -> None:
    spec, script = child("one", backoff=Backoff(first=1.0))
    house = simulate(spec).open()
    script.on_start = raising(RuntimeError("for ever"))
    house.kill("one")
    pass_time(house, 60.0)
    assert house.exits("one") == ["killed", *["failed to start"] * 3]
    assert len(house.of(Kind.CHARGED)) == 3
    assert house.slot("one").state is ChildState.ESCALATED


def test_the_failures_told_are_the_newest(simulate: Build) -> None:
    spec, _ = child("one", max_restarts=2)
    house = simulate(spec).open()
    for n in range(5):  # one every hour: never too many
        house.address("one").tell(Call(die_once(RuntimeError(f"old {n}"))))
        pass_time(house, HOUR + 1.0)
    down(house, times=3)
    failures = house.of(Kind.ESCALATED)[0].facts["failures"]
    assert failures == ["killed: by the test"] * 3


def test_a_parked_child_is_not_charged_for_waiting(simulate: Build) -> None:
    spec, script = child("one", Script(ready=False), start_timeout=5.0, silence_after=20.0)
    script.on_start = lambda worker: worker.park("no terminal")
    house = simulate(spec, startup_timeout=1000.0).begin()
    pass_time(house, 100.0)
    assert house.slot("one").state is ChildState.STARTING
    house.ask("one", Call(lambda worker: worker.ready()))
    house.until(lambda: house.owner.ready)
    pass_time(house, 100.0)
    assert not house.of(Kind.EXITED)
    house.ask("one", Call(lambda worker: worker.park(None)))
    pass_time(house, 19.0)
    assert not house.of(Kind.EXITED)
    pass_time(house, 2.0)
    assert house.exits("one") == ["silent"]
    assert house.of(Kind.PARKED)[0].facts == {"reason": "no terminal"}
    assert house.lives(Kind.UNPARKED) == [("one", 1)]


def test_a_child_that_hangs_while_parked_in_its_start_is_hung(simulate: Build) -> None:
    spec, script = child("one", start_timeout=5.0, hang_after=12.0)
    house = simulate(spec).open()

    def park_and_hang(worker: object) -> None:
        script.on_start = None
        script.worker.park("no terminal")
        script.worker.context.runtime.hang()

    script.on_start = park_and_hang
    house.kill("one")
    pass_time(house, 30.0)
    assert house.exits("one") == ["killed", "hung"]
    assert house.slot("one").state is ChildState.READY


def test_too_many_hung_threads_escalate_and_say_so(simulate: Build) -> None:
    spec, _ = child("one", max_restarts=50, hang_after=1.0)
    house = simulate(spec, max_leaked=2).open()
    for _ in range(3):
        number = house.slot("one").number
        house.post.send("one", Call(hang_in(number)))
        pass_time(house, 5.0)
    assert house.slot("one").state is ChildState.ESCALATED
    assert "threads hang" in house.owner.notices[-1].title
    told = len(house.owner.notices)
    pass_time(house, 600.0)
    assert told < len(house.owner.notices) <= told + 11  # repeated, and not every second
    for incarnation in house.actor.ends.leaked:  # the threads end after all
        incarnation.done = True
    pass_time(house, 61.0)
    assert house.slot("one").state is ChildState.READY


def test_a_child_that_was_ready_may_die_while_others_still_start(simulate: Build) -> None:
    one, _ = child("one")
    slow, _ = child("slow", Script(ready=False))
    house = simulate(one, slow, startup_timeout=1000.0).begin()
    house.ready("one", 1)
    house.kill("one")
    house.ready("one", 2)
    house.ask("slow", Call(lambda worker: worker.ready()))
    house.until(lambda: house.owner.ready)
    assert house.owner.refusals == []
    assert house.ask("one", Note("there")) == 2
