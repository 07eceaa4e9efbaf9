"""Nothing carries on unsupervised: the guard itself dies, and says so."""

from __future__ import annotations

import threading

import pytest
from guard_kit import GuardKit, kinds

from actors.events import Event, Kind
from actors.life import CheckHealth
from actors.points import Killed, Points
from defence.errors import Stopped
from supervisors import Trade


def test_a_registry_stuck_inside_a_commit_ends_the_guard(kit: GuardKit) -> None:
    """It cannot be replaced: its transaction would become durable when it wakes."""
    points = Points()
    guard = kit.start(points=points, hang_after=0.4, adoption="ignore", stop_timeout=0.5)
    ticket = kit.terminal.open_position("EURUSD", "BUY", 0.1)
    points.arm("registry.in_commit", kit.runtime.hang)
    stopped: list[Stopped] = []

    def call() -> None:
        try:
            guard.register(Trade(ticket=ticket), timeout=20)
        except Stopped as error:
            stopped.append(error)

    caller = threading.Thread(target=call)
    caller.start()
    cause = guard.wait(timeout=10)
    assert cause is not None
    assert "stuck inside a commit" in cause
    caller.join(10)
    assert len(stopped) == 1
    assert guard.over
    assert guard.health().status == 503
    assert len(kinds(guard, Kind.EXITED, child="registry")) == 0
    assert len(kinds(guard, Kind.DIED)) == 1
    with pytest.raises(Stopped):
        guard.register(Trade(ticket=ticket))


def test_a_registry_that_hangs_before_its_commit_is_replaced_and_writes_nothing_late(
    kit: GuardKit,
) -> None:
    points = Points()
    guard = kit.start(points=points, hang_after=0.4, adoption="ignore")
    ticket = kit.terminal.open_position("EURUSD", "BUY", 0.1)
    wake = threading.Event()
    points.arm("registry.before_commit", lambda: wake.wait(30) and None)
    answer = guard.register(Trade(ticket=ticket), timeout=20)
    assert answer.created
    assert [e.facts["how"] for e in kinds(guard, Kind.EXITED, child="registry")] == ["hung"]
    before = guard._house.premises.stores.trades.sequence()
    wake.set()  # the fenced one wakes up: its lease is gone, so it writes nothing
    kit.until(lambda: "dtms-registry-1" not in {t.name for t in threading.enumerate()})
    trades, _ = guard._house.premises.stores.trades.load()
    assert [trade.created_by for trade in trades.values()] == [answer.trade.created_by]
    assert guard._house.premises.stores.trades.sequence() - before <= 3  # cycles alone
    assert len(kinds(guard, Kind.REGISTERED)) == 1


@pytest.mark.parametrize("how", ["dies", "is stuck"])
def test_a_root_that_dies_or_is_stuck(kit: GuardKit, how: str) -> None:
    points = Points()
    guard = kit.start(points=points)
    watchdog = guard._house._tree._watchdog
    assert watchdog is not None
    watchdog._stuck_after = 0.5
    watchdog._every = 0.05

    def die() -> None:
        raise Killed("the root")

    points.arm("root.before_reply", die if how == "dies" else kit.runtime.hang)
    guard._house.tell_root(CheckHealth(by="asked"))
    cause = guard.wait(timeout=10)
    assert cause is not None
    assert "root" in cause
    with pytest.raises(Stopped):
        guard.trades()
    assert guard.health().reasons[0].startswith("the guard has died")


def test_stop_from_a_listener_on_an_actors_thread(kit: GuardKit) -> None:
    guard = kit.make()

    def stop(event: Event) -> None:
        if event.kind is Kind.CYCLE and event.facts["cycle"] == 3:
            guard.stop()

    guard.events.listen(stop)
    guard.start()
    kit.until(lambda: guard.over)
    assert guard.wait(timeout=0) is None


def test_shutdown_by_ops(kit: GuardKit) -> None:
    guard = kit.start()
    assert guard.admin("shutdown") == {"stopping": True}
    kit.until(lambda: guard.over)
    assert guard.wait(timeout=0) is None
    kit.until(lambda: len(kinds(guard, Kind.STOPPED)) == 1)


def test_the_host_sleeps(sim: GuardKit) -> None:
    """A clock jump: no hang is judged, nothing charged, reconcile first."""
    guard = sim.start()
    sim.runtime.run_for(60.0)  # type: ignore[attr-defined]  # the simulated runtime alone has it
    before = len(kinds(guard, Kind.RECONCILED))
    sim.runtime.clock.jump_wall(3600.0)  # type: ignore[attr-defined]
    sim.runtime.run_for(3.0)  # type: ignore[attr-defined]
    assert len(kinds(guard, Kind.HOST_PAUSED)) == 1
    assert not kinds(guard, Kind.EXITED)
    assert not kinds(guard, Kind.CHARGED)
    assert len(kinds(guard, Kind.RECONCILED)) > before
    sim.runtime.run_for(60.0)  # type: ignore[attr-defined]
    assert guard.health().ready
