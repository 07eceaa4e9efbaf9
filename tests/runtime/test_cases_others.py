"""What supervisord and systemd test that teaches something, in our own words.

Each docstring names the project and the case and says the rule;
docs/supervision.md, Cases, has the table.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from runtime_kit import (
    Call,
    House,
    MemoryLedger,
    Script,
    child,
    clock_of,
    hang_in,
    pass_time,
    raising,
    refused,
)

from actors.clock import VirtualClock
from actors.events import Kind
from actors.life import Kill, RestartChild, ShutDown, Stop, StrikeChild
from actors.mailbox import Lane
from actors.simulated import SimulatedRuntime
from defence.errors import Conflict
from supervisors.slot import ChildState
from supervisors.spec import Backoff, Restart

Build = Callable[..., House]
HOUR = 3600.0


# -- supervisord: test_process, test_supervisord


@pytest.mark.parametrize("seconds", [-9000.0, -30.0, 30.0, 9000.0])
def test_a_clock_that_is_set_back_shortens_and_lengthens_no_wait(
    simulate: Build, seconds: float
) -> None:
    """supervisord `test_transition_backoff_to_starting_...` with `delay` and `laststart` in the
    future.

    supervisord measures by the wall clock, and mends its marks when it was
    rolled back; here every wait is measured by the monotonic clock.
    """
    spec, script = child("one", backoff=Backoff(first=20.0, jitter=0.0))
    house = simulate(spec).open()
    house.kill("one")
    house.ready("one", 2)
    house.kill("one")
    pass_time(house, 5.0)
    clock_of(house).jump_wall(seconds)
    pass_time(house, 14.5)
    assert house.slot("one").state is ChildState.BACKOFF
    pass_time(house, 1.0)
    assert house.slot("one").state is ChildState.READY
    assert len(script.made) == 3


@pytest.mark.parametrize("seconds", [-9000.0, 9000.0])
def test_too_quick_an_exit_is_one_whatever_the_clock_did(simulate: Build, seconds: float) -> None:
    """supervisord `test_finish_tooquickly`, and the same with the system clock rolled back.

    There an exit within `startsecs` is a failed start, and counts; one a
    second later is not, and counts for nothing. Here every end of a
    permanent child is a charge, quick or slow.
    """
    spec, _ = child("one")
    house = simulate(spec).open()
    house.kill("one")
    clock_of(house).jump_wall(seconds)
    pass_time(house, 100.0)
    house.kill("one")
    pass_time(house, 0.0)
    assert len(house.of(Kind.CHARGED)) == 2
    assert house.slot("one").budget.left(house.clock.monotonic()) == 1


def test_a_slow_crasher_is_not_restarted_for_ever(simulate: Build) -> None:
    """supervisord `test_transition_starting_to_running`: RUNNING resets its count; that is a hole.

    A child that lives just long enough must not be forgiven (SUPERVISION,
    corner rule 9): only time takes a charge away.
    """
    spec, _ = child("one", max_restarts=3, period=HOUR)
    house = simulate(spec).open()
    for _ in range(4):
        pass_time(house, 600.0)  # long after any `startsecs`
        house.kill("one")
        pass_time(house, 1.0)
    assert house.slot("one").state is ChildState.ESCALATED


def test_backoff_ends_in_a_state_that_is_told(simulate: Build) -> None:
    """supervisord `test_transition_backoff_to_fatal`, `test_give_up`: it is an event of its own."""
    spec, script = child("one", backoff=Backoff(first=1.0), escalation="stay_down")
    house = simulate(spec).open()
    script.on_start = raising(RuntimeError("bad filename"))
    house.kill("one")
    pass_time(house, 60.0)
    assert house.slot("one").state is ChildState.ESCALATED
    (event,) = house.of(Kind.ESCALATED)
    assert event.facts["failures"] == [
        "killed: by the test",
        *["failed to start: RuntimeError: bad filename"] * 3,
    ]


@pytest.mark.parametrize("state", ["backoff", "escalated", "stopped", "starting"])
def test_nothing_is_started_while_the_whole_is_stopping(simulate: Build, state: str) -> None:
    """supervisord `test_transition_..._to_starting_supervisor_stopping`: from no state."""
    rules: dict[str, Any] = {"start_timeout": 50.0}
    if state == "backoff":
        rules["backoff"] = Backoff(first=2.0, jitter=0.0)
    elif state == "escalated":
        rules.update(max_restarts=1, period=2.0)
    elif state == "stopped":
        rules["restart"] = Restart.TEMPORARY
    spec, script = child("one", **rules)
    slow, other = child("slow", stop_timeout=10.0)
    other.on_stop = lambda worker: worker.context.runtime.hang()
    house = simulate(spec, slow).open()
    if state == "starting":
        script.on_start = hang_in(2)
    for _ in range(1 if state in ("starting", "stopped") else 2):
        house.kill("one")
        pass_time(house, 0.0)
    assert house.slot("one").state.value == state
    made = len(script.made)
    house.to_root(ShutDown())
    pass_time(house, 9.0)  # `slow` is being waited for
    assert isinstance(refused(lambda: house.ask_root(RestartChild("one"))), Conflict)
    pass_time(house, 60.0)
    assert house.owner.stopped == 1
    assert len(script.made) == made


def test_who_waits_longer_than_the_stop_takes_is_not_forced(simulate: Build) -> None:
    """supervisord `test_transition_stops_unkillable_notyet`, `test_transition_stops_unkillable`."""
    spec, script = child("one", stop_timeout=10.0)
    house = simulate(spec).open()
    script.on_stop = lambda worker: worker.context.runtime.hang()
    house.to_root(ShutDown())
    pass_time(house, 10.0 - 1 / 64)
    assert not house.of(Kind.FENCED)
    assert house.slot("one").state is ChildState.STOPPING
    pass_time(house, 1 / 64)
    assert house.lives(Kind.FENCED) == [("one", 1)]
    assert house.owner.stopped == 1


def test_killing_what_does_not_run_is_refused(simulate: Build) -> None:
    """supervisord `test_kill_nopid`, `test_kill_from_backoff`, `test_spawn_already_running`."""
    spec, _ = child("one", backoff=Backoff(first=50.0))
    house = simulate(spec).open()
    for _ in range(2):
        house.kill("one")
        pass_time(house, 1.0)
    assert house.slot("one").state is ChildState.BACKOFF
    error = refused(lambda: house.ask_root(StrikeChild("one", "kill")))
    assert isinstance(error, Conflict)
    assert "backoff" in str(error)
    assert house.slot("one").state is ChildState.BACKOFF


@pytest.mark.parametrize("kind", ["expected", "unexpected"])
def test_an_expected_end_is_followed_by_nothing(build: Build, kind: str) -> None:
    """supervisord `test_finish_expected`, `test_transition_exited_to_starting_condit_...`.

    `autorestart=unexpected` is a transient child; expected is a clean end, not an exit code.
    """
    spec, _ = child("one", restart=Restart.TRANSIENT)
    house = build(spec).open()
    message = Stop() if kind == "expected" else Kill()
    house.address("one").tell(message, lane=Lane.CONTROL)
    if kind == "expected":
        house.until(lambda: house.slot("one").state is ChildState.STOPPED)
    else:
        house.ready("one", 2)


def test_stopping_all_passes_over_those_that_do_not_run(simulate: Build) -> None:
    """supervisord `test_stop_all`: who runs is asked, who waits or has ended is just closed."""
    specs = [
        child("ended", restart=Restart.TEMPORARY)[0],
        child("runs")[0],
        child("waits", backoff=Backoff(first=100.0))[0],
    ]
    house = simulate(*specs).open()
    house.kill("ended")
    for _ in range(2):
        house.kill("waits")
        pass_time(house, 0.5)
    before = house.clock.monotonic()
    house.close()
    assert house.clock.monotonic() == before
    stops = [event.child for event in house.of(Kind.EXITED) if event.facts["how"] == "stopped"]
    assert stops == ["runs"]
    assert all(slot.state is ChildState.STOPPED for slot in house.slots)


def test_who_is_forced_while_starting_is_told_as_that(simulate: Build) -> None:
    """supervisord `test_kill_from_starting`, `..._from_running`, `..._from_stopping`."""
    spec, script = child("one", Script(ready=False), start_timeout=100.0)
    script.on_start = lambda worker: worker.ready()
    house = simulate(spec).open()
    script.on_start = None
    house.kill("one")
    pass_time(house, 1.0)
    assert house.slot("one").state is ChildState.STARTING
    house.ask_root(StrikeChild("one", "kill"))
    pass_time(house, 1.0)
    assert house.exits("one") == ["killed", "killed"]
    script.on_stop = raising(RuntimeError("killed while stopping"))
    house.close()
    assert house.exits("one")[-1] == "crashed"


# -- systemd: StartLimitBurst, TEST-07, test-ratelimit, WatchdogSec


def test_ten_are_let_through_and_the_eleventh_is_not(simulate: Build) -> None:
    """systemd `test_ratelimit_below`: burst in an interval, then none, then the burst again.

    systemd's interval begins with the first; here each leaves for itself, so
    that after one second nobody gets ten more when the last nine were late.
    """
    spec, _ = child("one", max_restarts=10, period=8.0, escalation="stay_down")
    house = simulate(spec).open()
    house.kill("one")
    pass_time(house, 7.0)
    for _ in range(9):
        house.kill("one")
        pass_time(house, 0.0)
    assert house.slot("one").state is ChildState.READY
    pass_time(house, 1.0)  # the first one leaves; a tumbling interval would give all ten back
    house.kill("one")
    pass_time(house, 0.0)
    assert house.slot("one").state is ChildState.READY
    house.kill("one")
    pass_time(house, 0.0)
    assert house.slot("one").state is ChildState.ESCALATED


def test_there_is_no_interval_of_nothing() -> None:
    """systemd `test_ratelimit_below` with interval 0 (limiting is off): here that is refused."""
    assert "period" in str(refused(lambda: child("one", period=0.0)))


def test_reset_failed_begins_anew(simulate: Build) -> None:
    """systemd `reset-failed`: flushes the counter, and a failed unit may be started."""
    from actors.life import ResetBudget  # the command beside its case

    spec, _ = child("one", max_restarts=1, escalation="stay_down")
    house = simulate(spec).open()
    for _ in range(2):
        house.kill("one")
        pass_time(house, 0.0)
    assert house.slot("one").state is ChildState.ESCALATED
    house.ask_root(ResetBudget("one"))
    house.ready("one", 3)
    house.kill("one")
    house.ready("one", 4)


def test_who_is_silent_and_stuck_leaves_a_thread_that_is_counted(simulate: Build) -> None:
    """Ours, beside systemd `WatchdogSec`: it hangs since just before."""
    spec, _ = child("one", hang_after=8.0, silence_after=10.0)
    house = simulate(spec).open()
    pass_time(house, 5.0)
    house.post.send("one", Call(hang_in(1)))
    pass_time(house, 7.0)
    assert house.exits("one") == ["silent"]
    assert [event.facts["threads"] for event in house.of(Kind.LEAKED)] == [1]
    pass_time(house, 11.0)
    assert house.exits("one") == ["silent", "silent"]  # the second one was idle
    assert len(house.of(Kind.LEAKED)) == 1


@pytest.mark.parametrize(("every", "falls"), [(9.0, False), (11.0, True)])
def test_a_child_must_show_signs_of_life(simulate: Build, every: float, falls: bool) -> None:
    """systemd `WatchdogSec`: who does not report in time is ended and restarted; that counts."""
    spec, _ = child("one", silence_after=10.0)
    house = simulate(spec).open()
    for _ in range(3):
        pass_time(house, every)
        house.post.send("one", Call(lambda worker: worker.progress()))
        pass_time(house, 0.0)
    pass_time(house, 1.0)
    assert bool(house.of(Kind.CHARGED)) is falls
    assert set(house.exits("one")) <= {"silent"}


# -- the process itself is restarted: nobody's count survives it but ours


@pytest.mark.parametrize("jump", [0.0, -2 * HOUR, 2 * HOUR])
def test_a_restart_of_the_supervisor_does_not_refill_the_budget(jump: float) -> None:
    """systemd `daemon-reexec`, supervisord after a restart, OTP after a crash of the supervisor.

    They begin to count anew. Here the ledger is read again, whatever the wall
    clock did meanwhile: what it dates in the future counts as now; what it
    makes older than it is leaves early, which a clock alone cannot know.
    """
    ledger = MemoryLedger()
    wall = 1_700_000_000.0
    for life in range(2):
        spec, _ = child("one", max_restarts=2)
        runtime = SimulatedRuntime(1, VirtualClock(wall))
        house = House(runtime, [spec], ledger, check_every=1.0).open()
        if life == 0:
            for number in (2, 3):
                house.kill("one")
                house.ready("one", number)
        else:
            left = house.slot("one").budget.left(house.clock.monotonic())
            assert left == (2 if jump >= HOUR else 0)
        wall = house.clock.wall() + jump
        house.close()
