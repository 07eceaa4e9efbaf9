"""The Monitor is replaced three times an hour; then people are told."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from guard_kit import GuardKit, kinds

from actors.events import Kind
from actors.life import CheckHealth
from actors.points import Points, Skipped
from defence.errors import Conflict
from supervisors import Guard


def monitor(guard: Guard) -> dict[str, object]:
    """Return the Monitor's line of the status."""
    children = guard.status()["children"]
    assert isinstance(children, dict)
    line: dict[str, object] = children["monitor"]
    return line


def await_incarnation(kit: GuardKit, guard: Guard, number: int, state: str = "ready") -> None:
    """Wait until the Monitor is in its n-th life and in that state."""
    kit.until(
        lambda: (monitor(guard)["incarnation"], monitor(guard)["state"]) == (number, state),
        timeout=200.0 if kit.make_runtime.__name__ == "SimulatedRuntime" else 15.0,
    )


def kill(guard: Guard, points: Points) -> None:
    """Kill it from outside."""
    guard.admin("kill", child="monitor")


def hang(guard: Guard, points: Points) -> None:
    """Hang it in a handler."""
    guard.admin("hang", child="monitor")


def silence(guard: Guard, points: Points) -> None:
    """Let it forget its next tick."""

    def skip() -> None:
        raise Skipped

    points.arm("monitor.schedule", skip)


def crash(guard: Guard, points: Points) -> None:
    """Make its next message raise."""

    def fail() -> None:
        raise ZeroDivisionError("a bug")

    points.arm("monitor.before_reply", fail)


WAYS = [(kill, "killed"), (hang, "hung"), (silence, "silent"), (crash, "crashed")]


@pytest.mark.parametrize(("strike", "how"), WAYS, ids=[how for _, how in WAYS])
def test_three_restarts_then_escalation(
    both: GuardKit, strike: Callable[[Guard, Points], None], how: str
) -> None:
    points = Points()
    guard = both.start(
        points=points, hang_after=0.4 if both.make_runtime.__name__ != "SimulatedRuntime" else 30.0
    )
    for number in (1, 2, 3):
        strike(guard, points)
        await_incarnation(both, guard, number + 1)
        assert monitor(guard)["restarts_in_window"] == number
        assert guard.health().ready
    strike(guard, points)
    await_incarnation(both, guard, 4, "escalated")

    exits = kinds(guard, Kind.EXITED, child="monitor")
    assert [event.facts["how"] for event in exits] == [how] * 4
    assert len(kinds(guard, Kind.CHARGED, child="monitor")) == 3
    judged = guard.health()
    assert judged.status == 503
    assert any("monitor escalated" in reason for reason in judged.reasons)
    assert guard.monitoring_health()["ok"] is False
    both.until(lambda: any(alert.key == "escalated:monitor" for alert in guard.alerts()))


def test_failing_in_on_start_is_charged_and_escalates(both: GuardKit) -> None:
    points = Points()
    guard = both.start(points=points)

    def fail() -> None:
        raise RuntimeError("no start")

    points.arm("monitor.on_start", fail, times=4)
    guard.admin("kill", child="monitor")
    await_incarnation(both, guard, 4, "escalated")
    hows = [event.facts["how"] for event in kinds(guard, Kind.EXITED, child="monitor")]
    assert hows == ["killed", "failed to start", "failed to start", "failed to start"]
    assert guard.health().status == 503


def test_ops_reset_the_budget_and_it_runs_again(both: GuardKit) -> None:
    guard = both.start()
    for number in (1, 2, 3):
        guard.admin("kill", child="monitor")
        await_incarnation(both, guard, number + 1)
    guard.admin("kill", child="monitor")
    await_incarnation(both, guard, 4, "escalated")
    with pytest.raises(Conflict, match="escalated"):
        guard.admin("kill", child="monitor")
    answer = guard.admin("reset-budget", child="monitor")
    assert answer["budget_left"] == 3
    await_incarnation(both, guard, 5)
    assert monitor(guard)["restarts_in_window"] == 0
    assert guard.health().ready


def test_a_restart_by_ops_is_not_charged(both: GuardKit) -> None:
    guard = both.start()
    for number in range(2, 8):
        guard.admin("restart", child="monitor")
        await_incarnation(both, guard, number)
    assert monitor(guard)["restarts_in_window"] == 0


def test_the_budget_frees_as_the_window_slides(sim: GuardKit) -> None:
    guard = sim.start()
    runtime = sim.runtime
    for number in (1, 2, 3):
        guard.admin("kill", child="monitor")
        await_incarnation(sim, guard, number + 1)
        runtime.run_for(600.0)  # type: ignore[attr-defined]  # the simulated runtime alone has it
    guard.admin("kill", child="monitor")
    await_incarnation(sim, guard, 4, "escalated")
    first = kinds(guard, Kind.CHARGED, child="monitor")[0].at
    assert monitor(guard)["budget_left"] == 0
    # The oldest charge leaves the half-open window exactly one period after it came.
    runtime.run_for(first + 3600.0 - runtime.clock.wall() - 1.0)  # type: ignore[attr-defined]
    assert monitor(guard)["state"] == "escalated"
    runtime.run_for(3.0)  # type: ignore[attr-defined]
    await_incarnation(sim, guard, 5)
    charges = [event.at for event in kinds(guard, Kind.CHARGED, child="monitor")]
    assert len(charges) == 4
    assert charges[3] - charges[0] >= 3600.0


def test_a_dead_loop_is_found_by_asking(sim: GuardKit) -> None:
    points = Points()
    # The supervisor's own look comes once an hour: only asking can find it.
    guard = sim.start(points=points, check_every=3600.0)
    silence(guard, points)
    sim.runtime.run_for(130.0)  # type: ignore[attr-defined]
    assert monitor(guard)["incarnation"] == 1
    answer = guard.monitoring_health()
    assert answer["ok"] is False
    await_incarnation(sim, guard, 2)
    sim.runtime.run_for(1.0)  # type: ignore[attr-defined]
    assert guard.monitoring_health()["ok"] is True
    assert monitor(guard)["restarts_in_window"] == 1


def test_asking_never_charges_twice_nor_shortens_a_backoff(sim: GuardKit) -> None:
    points = Points()
    guard = sim.start(points=points, backoff_first=10.0)
    guard.admin("kill", child="monitor")
    await_incarnation(sim, guard, 2)
    silence(guard, points)
    sim.runtime.run_for(122.5)  # type: ignore[attr-defined]
    for _ in range(20):
        guard.monitoring_health()
        sim.runtime.run_for(0.1)  # type: ignore[attr-defined]
    assert monitor(guard)["restarts_in_window"] == 2
    assert monitor(guard)["state"] == "backoff"
    await_incarnation(sim, guard, 3)
    started = kinds(guard, Kind.STARTED, child="monitor")[-1].at
    exited = kinds(guard, Kind.EXITED, child="monitor")[-1].at
    assert started - exited >= 10.0


def test_stay_down_waits_for_ops(sim: GuardKit) -> None:
    guard = sim.start(escalation="stay_down", max_restarts=0)
    guard.admin("kill", child="monitor")
    await_incarnation(sim, guard, 1, "escalated")
    sim.runtime.run_for(3 * 3600.0)  # type: ignore[attr-defined]
    assert monitor(guard)["state"] == "escalated"
    guard.admin("reset-budget", child="monitor")
    await_incarnation(sim, guard, 2)


def test_the_alert_is_repeated_until_it_is_acknowledged(sim: GuardKit) -> None:
    guard = sim.start(max_restarts=0, alert_repeat=300.0, escalation="stay_down")
    guard.admin("kill", child="monitor")
    await_incarnation(sim, guard, 1, "escalated")
    sim.runtime.run_for(1000.0)  # type: ignore[attr-defined]
    told = guard.alerts()[0].told
    assert told >= 3
    guard.admin("acknowledge")
    sim.runtime.run_for(1000.0)  # type: ignore[attr-defined]
    assert guard.alerts()[0].told == told


def test_a_terminal_outage_is_not_charged(sim: GuardKit) -> None:
    guard = sim.start()
    sim.terminal.disconnect()
    sim.runtime.run_for(600.0)  # type: ignore[attr-defined]
    assert monitor(guard)["restarts_in_window"] == 0
    judged = guard.health()
    assert judged.status == 503
    assert any("last read" in reason for reason in judged.reasons)
    sim.terminal.reconnect()
    sim.runtime.run_for(60.0)  # type: ignore[attr-defined]
    assert guard.health().ready
    assert kinds(guard, Kind.TERMINAL_LOST)
    assert kinds(guard, Kind.TERMINAL_BACK)


def test_a_new_process_does_not_refill_the_budget(sim: GuardKit) -> None:
    guard = sim.start()
    for number in (1, 2, 3):
        guard.admin("kill", child="monitor")
        await_incarnation(sim, guard, number + 1)
    wall = sim.runtime.clock.wall()
    guard.stop()
    again = sim.make(seed=5)
    sim.runtime.clock.jump_wall(wall + 10.0 - sim.runtime.clock.wall())  # type: ignore[attr-defined]
    again.start()
    assert monitor(again)["restarts_in_window"] == 3
    again.admin("kill", child="monitor")
    await_incarnation(sim, again, 1, "escalated")


def test_the_check_by_hand_is_the_same_check(sim: GuardKit) -> None:
    """`CheckHealth` from a timer and from a caller find the same silence."""
    points = Points()
    guard = sim.start(points=points)
    silence(guard, points)
    sim.runtime.run_for(200.0)  # type: ignore[attr-defined]
    assert [e.facts["how"] for e in kinds(guard, Kind.EXITED, child="monitor")] == ["silent"]
    assert CheckHealth(by="asked") != CheckHealth()
