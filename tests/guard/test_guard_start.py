"""Ready, or not at all: the start blocks, and is refused with its cause."""

from __future__ import annotations

import itertools
import json
import threading
import time
from pathlib import Path

import pytest
from guard_kit import GuardKit, kinds, still_terminal

from actors.events import Kind
from actors.points import Points
from actors.simulated import SimulatedRuntime
from actors.threads import ThreadRuntime
from defence.errors import (
    AccountRefused,
    AlreadyGuarded,
    FolderRefused,
    NotReady,
    StartRefused,
    Stopped,
    TerminalRefused,
)
from supervisors import Guard, Settings, Trade
from terminals.sim.faults import Fault, fault_from

REFUSES = {
    "call": "initialize",
    "effect": "unknown",
    "count": None,
    "error": [-10003, "IPC initialize failed, MetaTrader 5 x64 not found"],
}


def own_threads() -> list[str]:
    """Return the names of the guard's threads that run."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("dtms")]


def faults(*entries: dict[str, object]) -> dict[str, list[Fault]]:
    """Return terminal options with these faults."""
    return {"faults": [fault_from(entry) for entry in entries]}


def test_a_terminal_that_refuses(kit: GuardKit) -> None:
    guard = kit.make(startup_timeout=1.5, terminal_options=faults(REFUSES))
    began = time.monotonic()
    with pytest.raises(StartRefused, match="waiting for connector"):
        guard.start()
    took = time.monotonic() - began
    assert 1.4 <= took <= 2.5
    failed = kinds(guard, Kind.CONNECT_FAILED)
    delays = [float(str(event.facts["retry_in"])) for event in failed]
    assert len(failed) >= 2
    assert all("MetaTrader 5 x64 not found" in str(event.facts["error"]) for event in failed)
    for nth, delay in enumerate(delays):  # exponential, lengthened by at most a quarter
        assert 0.5 * 2**nth <= delay <= 0.5 * 2**nth * 1.25 + 0.01
    assert guard.health().status == 500
    assert own_threads() == []
    with pytest.raises(Stopped):
        guard.trades()
    # The locks are free: another guard may have the folder.
    kit.make().start()


def test_delays_are_jittered(sim: GuardKit, tmp_path: Path) -> None:
    seen = set()
    for seed in range(3):
        guard = sim.make(
            seed=seed,
            startup_timeout=20.0,
            terminal_options=faults(REFUSES),
            data_dir=tmp_path / f"d{seed}",
        )
        with pytest.raises(StartRefused):
            guard.start()
        seen.add(tuple(event.facts["retry_in"] for event in kinds(guard, Kind.CONNECT_FAILED)))
    assert len(seen) == 3


def test_a_terminal_that_answers_at_the_third_attempt(both: GuardKit) -> None:
    guard = both.start(terminal_options=faults({**REFUSES, "count": 2}))
    assert len(kinds(guard, Kind.CONNECT_FAILED)) == 2
    assert guard.health().ready


def test_wrong_credentials_are_refused_at_once(kit: GuardKit) -> None:
    fault = {**REFUSES, "error": [-6, "Terminal: Authorization failed"]}
    guard = kit.make(startup_timeout=60.0, terminal_options=faults(fault))
    began = time.monotonic()
    with pytest.raises(TerminalRefused, match="Authorization failed") as caught:
        guard.start()
    assert time.monotonic() - began < 3.0
    assert caught.value.field == "login"
    assert kit.terminal.calls["initialize"] == 1
    assert own_threads() == []


def test_a_terminal_that_hangs(kit: GuardKit) -> None:
    """A call that never returns: the start is refused in time all the same."""
    hangs = {"call": "initialize", "effect": "hang", "count": None}
    guard = kit.make(startup_timeout=1.0, terminal_options=faults(hangs))
    began = time.monotonic()
    with pytest.raises(StartRefused):
        guard.start()
    assert time.monotonic() - began <= 2.0
    assert own_threads() == []
    kit.make().start()


def test_start_and_stop_order_is_data(both: GuardKit) -> None:
    guard = both.start()
    guard.stop()
    started = [
        event.child if event.kind is Kind.READY else str(event.facts["stage"])
        for event in kinds(guard, Kind.READY, Kind.STAGE)
        if event.kind is Kind.READY or event.facts["what"] == "done"
    ]
    assert started == [
        "locks",
        "stores",
        "alert",
        "admin",
        "account",
        "connector",
        "registry",
        "recovery",
        "monitor",
        "ready",
    ]
    # Nobody begins before the one before is ready.
    lives = [(e.kind, e.child) for e in kinds(guard, Kind.STARTED, Kind.READY)]
    assert lives == [
        pair
        for name in started
        if name not in ("locks", "stores", "account", "ready")
        for pair in ((Kind.STARTED, name), (Kind.READY, name))
    ]
    stopped = [
        event.facts["stage"]
        for event in kinds(guard, Kind.STAGE)
        if event.facts["what"] in ("stopped", "closed", "released")
    ]
    assert stopped == [
        "monitor",
        "recovery",
        "registry",
        "connector",
        "admin",
        "alert",
        "stores",
        "locks",
    ]
    first_cycle = kinds(guard, Kind.CYCLE)[0]
    reconciled = kinds(guard, Kind.RECONCILED)[0]
    ready = kinds(guard, Kind.GUARD_READY)[0]
    assert reconciled.seq < first_cycle.seq < ready.seq


@pytest.mark.parametrize(
    "child", ["alert", "admin", "connector", "registry", "recovery", "monitor"]
)
def test_a_child_that_fails_its_first_start_refuses_the_start(both: GuardKit, child: str) -> None:
    points = Points()

    def fail() -> None:
        raise OSError("no such thing")

    points.arm(f"{child}.on_start", fail, times=99)
    guard = both.make(points=points)
    with pytest.raises(StartRefused, match=child):
        guard.start()
    assert not kinds(guard, Kind.GUARD_READY)
    assert not kinds(guard, Kind.CHARGED)
    assert own_threads() == []
    for name, counts in guard.counts().items():
        assert counts.balanced, name
        assert counts.waiting == counts.in_hand == 0, name


def test_nothing_is_said_to_be_ready_before(sim: GuardKit) -> None:
    guard = sim.make(terminal_options=faults({**REFUSES, "count": 3}))
    guard.start(block=False)
    said = []
    for _ in range(2000):
        said.append(guard.health().status)
        if said[-1] == 200:
            break
        with pytest.raises(NotReady):
            guard.register(Trade(ticket=1))
        assert sim.runtime.turn(sim.runtime.clock.monotonic() + 1.0) in (True, False)  # type: ignore[attr-defined]
    assert [status for status, _ in itertools.groupby(said)] == [503, 200]
    assert kinds(guard, Kind.CYCLE)
    assert kinds(guard, Kind.RECONCILED)


def test_a_second_guard_on_the_folder_is_refused(kit: GuardKit) -> None:
    kit.start()
    second = kit.make()
    with pytest.raises(AlreadyGuarded) as caught:
        second.start()
    assert caught.value.remedy
    assert kit.guards[0].health().ready


def test_a_second_guard_on_the_account_is_refused(kit: GuardKit, tmp_path: Path) -> None:
    kit.start()
    second = kit.make(data_dir=tmp_path / "elsewhere")
    with pytest.raises(AlreadyGuarded):
        second.start()
    assert kit.guards[0].health().ready


def test_a_folder_of_another_account_is_refused(kit: GuardKit, tmp_path: Path) -> None:
    first = kit.start()
    kit.terminal.open_position("EURUSD", "BUY", 0.1)
    kit.until(lambda: len(first.trades()) == 1)
    first.stop()
    state = tmp_path / "state.json"
    state.write_text(json.dumps({"account": {"login": 4711, "server": "Other"}, "positions": []}))
    runtime = ThreadRuntime()
    other = kit.make(runtime=runtime, terminal=still_terminal(runtime, state=state))
    with pytest.raises(AccountRefused) as caught:
        other.start()
    assert caught.value.field == "data_dir"
    # Nothing was lost: the right account finds its trade again.
    runtime = ThreadRuntime()
    again = kit.make(runtime=runtime, terminal=None)
    kit.terminal.open_position("EURUSD", "BUY", 0.1)
    again.start()


def test_a_foreign_folder_is_refused(kit: GuardKit, tmp_path: Path) -> None:
    foreign = tmp_path / "photos"
    foreign.mkdir()
    (foreign / "holiday.jpg").write_bytes(b"x")
    guard = kit.make(data_dir=foreign)
    with pytest.raises(FolderRefused) as caught:
        guard.start()
    assert caught.value.remedy
    assert [path.name for path in foreign.iterdir()] == ["holiday.jpg"]


def test_a_missing_parent_is_refused(kit: GuardKit, tmp_path: Path) -> None:
    guard = kit.make(data_dir=tmp_path / "no" / "such" / "place")
    with pytest.raises(FolderRefused):
        guard.start()
    assert not (tmp_path / "no").exists()


def test_a_guard_starts_once(kit: GuardKit) -> None:
    guard = kit.start()
    with pytest.raises(StartRefused, match="once"):
        guard.start()
    assert guard.health().ready


def test_stop_is_idempotent_and_right_before_the_start(kit: GuardKit) -> None:
    never = kit.make()
    never.stop()
    never.stop()
    guard = kit.start()
    threads = [threading.Thread(target=guard.stop) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    guard.stop()
    assert guard.over
    assert guard.wait(timeout=0) is None
    assert len(kinds(guard, Kind.STOPPED)) == 1
    assert own_threads() == []


def test_not_blocking_a_refused_start_cleans_up_by_itself(kit: GuardKit) -> None:
    fault = {**REFUSES, "error": [-6, "Terminal: Authorization failed"]}
    guard = kit.make(terminal_options=faults(fault))
    guard.start(block=False)
    kit.until(lambda: guard.over)
    assert guard.health().status == 500
    kit.until(lambda: own_threads() == [])
    with pytest.raises(TerminalRefused):
        guard.wait_ready()


def test_a_ready_terminal_that_is_not_connected_is_not_enough(sim: GuardKit) -> None:
    runtime = SimulatedRuntime(1)
    terminal = still_terminal(runtime)
    terminal.initialize()
    terminal.disconnect()
    guard = sim.make(runtime=runtime, terminal=terminal, startup_timeout=30.0)
    with pytest.raises(StartRefused):
        guard.start()


def test_the_context_manager_starts_and_stops(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path / "d", state_dir=tmp_path / "s", interval=0.1)
    with Guard(settings) as guard:
        assert guard.health().ready
        assert len(guard.trades()) >= 3  # the demo account has open positions
    assert guard.over
    assert own_threads() == []
