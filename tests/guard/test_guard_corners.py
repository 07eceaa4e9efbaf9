"""Corners of supervision on a whole guard: a stuck root, a host that sleeps, silence, storms."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from guard_kit import GuardKit, kinds

from actors.events import Kind
from actors.life import Answer, CheckHealth
from actors.mailbox import Lane
from actors.messages import GetTrade, TakeSnapshot
from actors.names import CONNECTOR, MONITOR, REGISTRY
from actors.points import Points, Skipped
from actors.post import Post
from actors.registry import Registry
from actors.simulated import SimulatedRuntime
from defence.errors import DtmsError, MailboxFull, NotFound, Stopped
from storage.trades import TradeStore
from supervisors import Guard, Trade
from supervisors.watchdog import Watchdog

ROOT_DIR = Path(__file__).resolve().parents[2]
HOUR = 3600.0


def watchdog_of(guard: Guard, *, stuck_after: float = 0.5, every: float = 0.05) -> Watchdog:
    """Return the guard's watchdog, made quick."""
    tree = guard._house._tree
    assert tree is not None
    dog = tree._watchdog
    assert dog is not None
    dog._stuck_after, dog._every = stuck_after, every
    return dog


def child(guard: Guard, name: str) -> dict[str, Any]:
    children = guard.status()["children"]
    assert isinstance(children, dict)
    line: dict[str, Any] = children[name]
    return line


def run_for(kit: GuardKit, seconds: float) -> None:
    kit.runtime.run_for(seconds)  # type: ignore[attr-defined]  # the simulated runtime alone has it


# -- the watchdog outside the root


def stick(guard: Guard, points: Points, kit: GuardKit, wake: threading.Event) -> None:
    points.arm("root.before_reply", lambda: wake.wait(30) and None)
    guard._house.tell_root(CheckHealth(by="asked"))


def stop_timers(guard: Guard, points: Points, kit: GuardKit, wake: threading.Event) -> None:
    runtime: Any = kit.runtime
    runtime.call_later = lambda *_: _NoTimer()
    with runtime._due:
        runtime._heap.clear()


class _NoTimer:
    def cancel(self) -> None:
        """Nothing was planned."""


@pytest.mark.parametrize(
    ("strike", "word"), [(stick, "stuck in CheckHealth"), (stop_timers, "no longer checks")]
)
def test_a_root_that_does_nothing_is_dead_within_bounds(
    kit: GuardKit,
    strike: Callable[[Guard, Points, GuardKit, threading.Event], None],
    word: str,
) -> None:
    points = Points()
    guard = kit.start(points=points)
    watchdog_of(guard)
    wake = threading.Event()
    began = time.monotonic()
    strike(guard, points, kit, wake)
    cause = guard.wait(timeout=10)
    took = time.monotonic() - began
    assert cause is not None
    assert word in cause
    assert 0.4 < took < 5.0
    with pytest.raises(Stopped):
        guard.register(Trade(ticket=1))
    assert guard.health().status == 503
    assert len(kinds(guard, Kind.DIED)) == 1
    wake.set()


def test_a_root_that_wakes_after_the_verdict_starts_nobody(kit: GuardKit) -> None:
    points = Points()
    guard = kit.start(points=points)
    watchdog_of(guard)
    wake = threading.Event()
    stick(guard, points, kit, wake)
    guard._house._post.send(MONITOR, object(), lane=Lane.REPLY)
    points.kill_at("monitor.before_reply")  # its report waits in the root's mailbox
    assert guard.wait(timeout=10) is not None
    started = len(kinds(guard, Kind.STARTED))
    wake.set()
    kit.until(lambda: "dtms-root-1" not in {one.name for one in threading.enumerate()})
    assert len(kinds(guard, Kind.STARTED)) == started
    assert not kinds(guard, Kind.CHARGED)
    guard.stop()
    assert [one.name for one in threading.enumerate() if one.name.startswith("dtms-")] == []


HOST = """
    import sys, time
    sys.path.insert(0, {root!r})
    from console.main import main
    {strike}
    sys.exit(main(["run", "--data-dir", {data!r}, "--state-dir", {state!r}, "--port", "0",
        "--interval", "0.2", "--check-every", "0.1", "--hang-after", "0.5",
        "--stop-timeout", "0.5"]))
"""
ROOT_DIES = """
    from supervisors.root import RootSupervisor
    looks, check = [], RootSupervisor._check_health
    def die(self, message):
        looks.append(message)
        if len(looks) > 8:
            raise SystemExit(0)
        check(self, message)
    RootSupervisor._check_health = die
"""
COMMIT_STICKS = """
    from storage.trades import TradeStore
    commit = TradeStore.commit
    def stick(self, *batches):
        if sum(len(batch.trades) for batch in batches) < 2:
            return commit(self, *batches)
        {first}
        time.sleep(30)
        {then}
    TradeStore.commit = stick
"""


@pytest.mark.parametrize(
    ("strike", "word", "whole"),
    [
        (ROOT_DIES, "root", True),
        (COMMIT_STICKS.format(first="pass", then="return commit(self, *batches)"), "commit", False),
        (
            COMMIT_STICKS.format(first="done = commit(self, *batches)", then="return done"),
            "in",
            True,
        ),
    ],
    ids=["the root dies", "stuck before the commit", "stuck after the commit"],
)
def test_the_command_ends_with_1_and_the_transaction_is_whole_or_not_there(
    tmp_path: Path, strike: str, word: str, whole: bool
) -> None:
    code = textwrap.dedent(HOST).format(
        root=str(ROOT_DIR),
        strike=textwrap.dedent(strike),
        data=str(tmp_path / "data"),
        state=str(tmp_path / "state"),
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 1, done.stderr[-2000:]
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("dtms: "), last
    assert word in last
    store = TradeStore.open(tmp_path / "data" / "trades")
    try:
        trades, _ = store.load()
        adopted = [a for a in store.actions(1000) if a.kind == "adopted"]
    finally:
        store.close()
    # what a reconciliation adopts is one transaction: all of it, or nothing
    assert {one.identifier for one in adopted} == set(trades)
    assert (len(trades) > 1) is whole


def test_a_registry_stuck_after_its_commit_is_replaced_and_answers_once(kit: GuardKit) -> None:
    points = Points()
    guard = kit.start(points=points, hang_after=0.4, adoption="ignore")
    ticket = kit.terminal.open_position("EURUSD", "BUY", 0.1)
    points.arm("registry.after_commit", lambda: kit.runtime.hang(1.5))
    answer = guard.register(Trade(ticket=ticket), timeout=20)
    assert answer.created  # the successor knows the message by its id
    assert [e.facts["how"] for e in kinds(guard, Kind.EXITED, child=REGISTRY)] == ["hung"]
    assert len(guard.trades()) == 1
    assert not guard.over


# -- the host sleeps


@pytest.fixture(params=["late", "wall forwards", "wall backwards"])
def jump(request: pytest.FixtureRequest, sim: GuardKit) -> Callable[[], None]:
    """Let the machine sleep, or its clock jump, while nothing runs."""

    def late() -> None:
        clock(sim).advance(HOUR)

    def wall(seconds: float) -> None:
        clock(sim).jump_wall(seconds)

    ways = {
        "late": late,
        "wall forwards": lambda: wall(HOUR),
        "wall backwards": lambda: wall(-HOUR),
    }
    return ways[request.param]


def clock(kit: GuardKit) -> Any:
    assert isinstance(kit.runtime, SimulatedRuntime)
    return kit.runtime.clock


def nobody_was_judged(guard: Guard, *, charged: int = 0) -> None:
    assert len(kinds(guard, Kind.HOST_PAUSED)) == 1
    assert not kinds(guard, Kind.FENCED)
    assert len(kinds(guard, Kind.CHARGED)) == charged


def test_a_sleep_while_it_is_ready_reconciles_before_anything_is_decided(
    sim: GuardKit, jump: Callable[[], None]
) -> None:
    guard = sim.start(adoption="ignore")
    run_for(sim, 60.0)
    seq = guard.events.newest
    jump()
    run_for(sim, 90.0)
    nobody_was_judged(guard)
    assert not kinds(guard, Kind.EXITED)
    after = [e.kind for e in guard.events.since(seq)]
    assert Kind.RECONCILED in after
    assert guard.health().ready


def test_a_look_from_before_the_sleep_decides_nothing(
    sim: GuardKit, jump: Callable[[], None]
) -> None:
    """The price that calls for an order was read before; after the sleep it has gone."""
    points = Points()
    guard = sim.start(points=points, adoption="ignore")
    sim.terminal.set_price("EURUSD", 1.0999, 1.1000)
    ticket = sim.terminal.open_position("EURUSD", "BUY", 0.2, sl=1.09)
    guard.register(Trade(ticket=ticket))
    run_for(sim, 31.0)
    sim.terminal.set_price("EURUSD", 1.0945, 1.0946)  # half way to the stop: level 1

    def sleep() -> None:
        jump()
        sim.terminal.set_price("EURUSD", 1.0999, 1.1000)

    points.arm("connector.before_reply", sleep)  # the look has been taken, its answer not given
    sent = len(sim.terminal.orders_sent)
    run_for(sim, 100.0)
    assert points.reached["connector.before_reply"] == 1
    assert len(sim.terminal.orders_sent) == sent
    assert not kinds(guard, Kind.INTENT)
    nobody_was_judged(guard)


def test_a_sleep_during_the_start(sim: GuardKit, jump: Callable[[], None]) -> None:
    guard = sim.make(startup_timeout=60.0)
    sim.terminal.disconnect()
    guard.start(block=False)
    run_for(sim, 30.0)
    jump()
    run_for(sim, 5.0)
    assert not kinds(guard, Kind.START_REFUSED)
    sim.terminal.reconnect()
    guard.wait_ready()
    assert guard.health().ready
    nobody_was_judged(guard)


def test_a_sleep_during_a_backoff(sim: GuardKit, jump: Callable[[], None]) -> None:
    guard = sim.start(backoff_first=20.0)
    for number in (1, 2):
        guard.admin("kill", child="monitor")
        sim.until(lambda number=number: len(kinds(guard, Kind.CHARGED)) == number)  # type: ignore[misc]
    assert child(guard, MONITOR)["state"] == "backoff"
    jump()
    run_for(sim, 60.0)
    nobody_was_judged(guard, charged=2)
    assert child(guard, MONITOR)["state"] == "ready"
    assert guard.health().ready


def test_a_sleep_during_an_escalation_does_not_free_the_budget_early(
    sim: GuardKit, jump: Callable[[], None], request: pytest.FixtureRequest
) -> None:
    guard = sim.start()
    for number in (1, 2, 3, 4):
        guard.admin("kill", child="monitor")
        sim.until(
            lambda number=number: (
                len(kinds(guard, Kind.EXITED, child=MONITOR)) == number  # type: ignore[misc]
                and child(guard, MONITOR)["state"] in ("ready", "escalated")
            ),
            200.0,
        )
    assert child(guard, MONITOR)["state"] == "escalated"
    first = kinds(guard, Kind.CHARGED)[0]
    began = clock(sim).monotonic()
    jump()
    run_for(sim, 60.0)
    slept = clock(sim).monotonic() - began
    # time that has really passed frees the budget; a wall clock that jumped does not
    freed = slept > HOUR - 1.0
    assert (child(guard, MONITOR)["state"] != "escalated") is freed, first
    assert len(kinds(guard, Kind.CHARGED)) == (4 if freed else 3)
    assert not kinds(guard, Kind.FENCED)


def test_a_sleep_during_the_stop(sim: GuardKit, jump: Callable[[], None]) -> None:
    points = Points()
    guard = sim.start(points=points)
    points.arm("recovery.on_stop", jump)
    guard.stop()
    assert guard.over
    assert {e.facts["how"] for e in kinds(guard, Kind.EXITED)} == {"stopped"}
    assert not kinds(guard, Kind.CHARGED)
    assert len(kinds(guard, Kind.STOPPED)) == 1


# -- silence


def test_a_lost_timer_is_silence(both: GuardKit) -> None:
    points = Points()
    simulated = both.make_runtime is SimulatedRuntime
    guard = both.start(points=points, hang_after=30.0 if simulated else 0.3)

    def skip() -> None:
        raise Skipped

    points.arm("monitor.schedule", skip)
    both.until(lambda: len(kinds(guard, Kind.READY, child=MONITOR)) == 2, 200 if simulated else 15)
    assert [e.facts["how"] for e in kinds(guard, Kind.EXITED, child=MONITOR)] == ["silent"]


@pytest.mark.parametrize("owed_by", [CONNECTOR, REGISTRY])
def test_a_lost_answer_is_asked_for_anew_and_costs_nothing(
    sim: GuardKit, monkeypatch: pytest.MonkeyPatch, owed_by: str
) -> None:
    """The Monitor's thread lives, its timers too; but what it waits for never comes."""
    guard = sim.start()
    send, left = Post.send, [1]

    def lose(self: Post, to: str, message: object, **how: Any) -> None:
        if left and to == MONITOR and isinstance(message, Answer) and message.child == owed_by:
            left.pop()
            return
        send(self, to, message, **how)

    monkeypatch.setattr(Post, "send", lose)
    sim.until(lambda: not left, 100.0)
    before = len(kinds(guard, Kind.CYCLE))
    sim.until(lambda: len(kinds(guard, Kind.CYCLE)) > before + 1, 300.0)
    assert not kinds(guard, Kind.EXITED, child=MONITOR)
    assert not kinds(guard, Kind.CHARGED)
    sim.until(lambda: guard.health().ready, 60.0)


@pytest.mark.parametrize("why", ["paused", "parked"])
def test_a_paused_or_parked_monitor_is_never_judged_silent(sim: GuardKit, why: str) -> None:
    guard = sim.start()
    if why == "paused":
        guard.admin("pause")
    else:
        sim.terminal.disconnect()
    run_for(sim, 3 * HOUR)
    assert not kinds(guard, Kind.EXITED)
    assert not kinds(guard, Kind.CHARGED)
    assert guard.monitoring_health()["incarnation"] == 1
    if why == "paused":
        guard.admin("resume")
    else:
        sim.terminal.reconnect()
    cycles = len(kinds(guard, Kind.CYCLE))
    run_for(sim, 60.0)
    assert len(kinds(guard, Kind.CYCLE)) > cycles
    assert guard.health().ready


# -- threads that stay behind


def test_a_hung_thread_is_counted_until_it_has_ended(kit: GuardKit) -> None:
    points = Points()
    guard = kit.start(points=points, hang_after=0.3)
    assert guard.status()["leaked_threads"] == 0
    wake = threading.Event()
    points.arm("recovery.before_reply", lambda: wake.wait(30) and None)
    guard._house._post.send("recovery", object(), lane=Lane.REPLY)
    kit.until(lambda: guard.status()["leaked_threads"] == 1)
    kit.until(lambda: guard.health().ready)
    assert "dtms-recovery-1" in {one.name for one in threading.enumerate()}
    wake.set()
    kit.until(lambda: guard.status()["leaked_threads"] == 0)
    assert [e.facts["ended"] for e in kinds(guard, Kind.LEAKED)] == [False, True]


# -- storms


@pytest.fixture
def storm(kit: GuardKit, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Guard, int, Points]]:
    """A guard whose Registry and Connector are full of data letters, and stay so."""
    monkeypatch.setattr(Registry, "batch_limit", 8)
    handle = Registry._handle

    def slowly(self: Registry, message: object, draft: Any) -> object:
        if isinstance(message, GetTrade):
            time.sleep(0.002)
        return handle(self, message, draft)

    points = Points()
    guard = kit.start(points=points, adoption="ignore", chaos=True, max_restarts=50)
    kit.terminal.set_price("EURUSD", 1.0999, 1.1000)
    ticket = kit.terminal.open_position("EURUSD", "BUY", 0.2, sl=1.09)
    guard.register(Trade(ticket=ticket))
    monkeypatch.setattr(Registry, "_handle", slowly)
    post, over = guard._house._post, threading.Event()
    registry, connector = post.address(REGISTRY), post.address(CONNECTOR)

    def flood() -> None:
        while not over.is_set():
            try:
                for _ in range(200):
                    registry.tell(GetTrade(4))
                    connector.tell(TakeSnapshot())
            except DtmsError:
                over.wait(0.001)

    fillers = [threading.Thread(target=flood, daemon=True) for _ in range(2)]
    for _ in range(10_000):
        registry.tell(GetTrade(4))
    for filler in fillers:
        filler.start()
    yield guard, ticket, points
    over.set()
    for filler in fillers:
        filler.join(10)


def fill(guard: Guard, most: int) -> None:
    """Ask without waiting, until it is refused."""
    for _ in range(most):
        guard._house._post.address(REGISTRY).ask_later(GetTrade(4), timeout=5.0)


def waiting(guard: Guard, name: str) -> int:
    return guard.counts()[name].waiting


def test_in_a_storm_of_data_replies_intents_and_commands_get_through(
    kit: GuardKit, storm: tuple[Guard, int, Points]
) -> None:
    guard, ticket, _ = storm
    assert waiting(guard, REGISTRY) > 9_000
    began = time.monotonic()
    fill_up = partial(fill, guard, 20_000)
    with pytest.raises(MailboxFull):
        fill_up()
    assert time.monotonic() - began < 5.0
    cycles = len(kinds(guard, Kind.CYCLE))
    kit.until(lambda: len(kinds(guard, Kind.CYCLE)) > cycles + 2, 20.0)
    kit.terminal.set_price("EURUSD", 1.0945, 1.0946)
    kit.until(lambda: bool(kinds(guard, Kind.OUTCOME)), 20.0)  # journalled, sent and recorded
    (intent, *_) = kinds(guard, Kind.INTENT)
    assert intent.facts["ticket"] == ticket
    assert len(kit.terminal.orders_sent) == 1
    commands: list[tuple[str, dict[str, Any]]] = [
        ("pause", {}),
        ("resume", {}),
        ("kill", {"child": "monitor"}),
        ("kill", {"child": "registry"}),
        ("kill", {"child": "connector"}),
        ("freeze", {}),
        ("flatten", {"confirm": guard.status()["account"]["login"]}),  # type: ignore[index]
    ]
    for command, arguments in commands:
        began = time.monotonic()
        guard.admin(command, timeout=20.0, **arguments)
        took = time.monotonic() - began
        assert took < 10.0, f"{command} took {took:.1f} s"
        assert waiting(guard, REGISTRY) > 5_000, command
    kit.until(lambda: kit.terminal.positions_get() == (), 20.0)
    kit.until(lambda: child(guard, REGISTRY)["incarnation"] == 2, 20.0)
    assert waiting(guard, REGISTRY) > 5_000
    assert not kinds(guard, Kind.FENCED)
    for one in guard.counts().values():
        assert one.balanced


def test_what_was_accepted_in_a_storm_is_answered_to_the_last(
    kit: GuardKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = kit.start(adoption="ignore")
    address = guard._house._post.address(REGISTRY)
    futures = [address.ask_later(GetTrade(4), timeout=60.0) for _ in range(9_000)]
    guard.admin("kill", child="registry")
    answers = [partial(kit.runtime.wait, one, 60.0) for one in futures]
    refusals = 0
    for answer in answers:
        with pytest.raises(NotFound):
            answer()
        refusals += 1
    assert refusals == 9_000
    assert child(guard, REGISTRY)["incarnation"] == 2
    assert guard.counts()[REGISTRY].balanced
