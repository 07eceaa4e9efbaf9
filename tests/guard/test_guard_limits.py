"""Limits, on whole guards: no room, no right, files taken away under a running guard."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from guard_kit import GuardKit, kinds
from test_guard_acting import let_pass, one_trade, orders, price

from actors.events import Kind
from actors.messages import GetTrade, ListTrades, Register
from actors.names import REGISTRY
from actors.points import Points
from defence.alerts import Notice, Severity
from defence.errors import DtmsError, FolderRefused, Stopped, StoreFull, TryAgain
from defence.trade import Registration, TradeRecord
from storage.trades import Batch, TradeStore
from storage.view import Change
from supervisors import Guard, Trade

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def run_child(
    scenario: str, folder: Path, *extra: str, before: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a scenario of `limits_child.py`."""
    # -B: a limit for files would leave halves of .pyc files in the checkout
    python = [sys.executable, "-B", str(HERE / "limits_child.py")]
    return subprocess.run(
        [*before, *python, scenario, str(folder), *extra],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(HERE)))},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        cwd=folder,
    )


def held(done: subprocess.CompletedProcess[str]) -> None:
    """Fail with what the child said, unless all of its scenario held."""
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    assert done.stdout.endswith("all of it held\n")


@pytest.fixture(scope="module")
def namespace() -> tuple[str, ...]:
    """Return the command that gives a process mounts of its own; skip where it may not."""
    command = ("unshare", "--user", "--map-root-user", "--mount")
    if shutil.which("unshare") is None:
        pytest.skip("there is no unshare here")
    trial = ["sh", "-c", "mkdir -p /tmp && mount -t tmpfs tmpfs /tmp"]
    done = subprocess.run([*command, *trial], capture_output=True, check=False, timeout=20)
    if done.returncode != 0:
        pytest.skip(f"mounting is not allowed here: {done.stderr.decode().strip()}")
    return command


@pytest.mark.parametrize("store", ["trades", "freeze", "ledger", "outbox", "audit"])
def test_a_full_disk_under_one_store(
    tmp_path: Path, namespace: tuple[str, ...], store: str
) -> None:
    held(run_child(store, tmp_path, before=namespace))


@pytest.mark.skipif(sys.platform == "win32", reason="no limit for a file's size to set there")
def test_no_store_can_be_written(tmp_path: Path) -> None:
    held(run_child("everything", tmp_path))


def test_a_full_disk_is_noticed_without_a_write(tmp_path: Path, namespace: tuple[str, ...]) -> None:
    held(run_child("idle", tmp_path, before=namespace))


def test_a_start_on_a_full_disk(tmp_path: Path, namespace: tuple[str, ...]) -> None:
    held(run_child("start_on_full", tmp_path, before=namespace))


def test_a_disk_that_is_mounted_read_only(tmp_path: Path, namespace: tuple[str, ...]) -> None:
    held(run_child("read_only_mount", tmp_path, before=namespace))


@pytest.mark.skipif(sys.platform == "win32", reason="rights of POSIX")
@pytest.mark.parametrize("scenario", ["read_only_folder", "no_state_folder"])
def test_rights_that_are_missing(tmp_path: Path, scenario: str) -> None:
    """Root may do anything, so as root the child first gives up that privilege (Linux)."""
    if os.geteuid() == 0 and sys.platform != "linux":
        pytest.skip("root may do anything")
    held(run_child(scenario, tmp_path, "plain"))


# -- files taken away under a running guard


def registered(kit: GuardKit, guard: Guard, number: int) -> set[int]:
    """Register so many trades; return their tickets."""
    tickets = {kit.terminal.open_position("EURUSD", "BUY", 0.1, sl=1.0) for _ in range(number)}
    for ticket in tickets:
        assert guard.register(Trade(ticket=ticket)).created
    return tickets


def in_store(data: Path) -> set[int]:
    """Return the tickets of the trades in a store at rest."""
    store = TradeStore.open(data / "trades")
    trades, _ = store.load()
    store.close()
    return {trade.ticket for trade in trades.values()}


def delete_file(data: Path, _: Path) -> None:
    (data / "trades" / "data.mdb").unlink()


def delete_all(data: Path, _: Path) -> None:
    shutil.rmtree(data)


def move_folder(data: Path, away: Path) -> None:
    data.rename(away)


def move_and_make_anew(data: Path, away: Path) -> None:
    data.rename(away)
    (data / "trades").mkdir(parents=True)


def replace_file(data: Path, _: Path) -> None:
    file = data / "trades" / "data.mdb"
    copy = file.with_name("copy")
    shutil.copy(file, copy)
    copy.replace(file)


TAKEN = [delete_file, delete_all, move_folder, move_and_make_anew, replace_file]
on_posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows holds open files fast")


@on_posix
@pytest.mark.parametrize("take", TAKEN)
@pytest.mark.parametrize("interval", [1000.0, 0.05], ids=["by a commit", "by a cycle"])
def test_nothing_is_acknowledged_into_a_file_that_is_gone(
    kit: GuardKit, take: Callable[[Path, Path], None], interval: float
) -> None:
    """The guard dies and says why, be it at the next commit or at the next look."""
    guard = kit.start(adoption="ignore", interval=interval)
    known = registered(kit, guard, 3)
    if interval < 1:  # no commit comes to see it: the cycle must look by itself
        refuse(guard._house.premises.stores.trades, TryAgain("told by the test"))
    data, away = kit.folder / "data", kit.folder / "away"
    take(data, away)
    if interval > 1:
        late = kit.terminal.open_position("EURUSD", "BUY", 0.1, sl=1.0)
        with pytest.raises(Stopped) as told:
            guard.register(Trade(ticket=late))
        assert "while it was in use" in str(told.value)
        assert told.value.remedy
    cause = guard.wait(timeout=10)
    assert cause is not None
    assert "data.mdb" in str(cause) or "'trades'" in str(cause)
    assert "start the guard again" in cause
    assert guard.health().status == 503
    assert any("while it was in use" in reason for reason in guard.health().reasons)
    guard.stop()
    if away.exists():  # moved: all of it is there, in its new place
        assert known <= in_store(away)


@on_posix
def test_a_folder_that_was_moved_back_holds_all_that_was_acknowledged(kit: GuardKit) -> None:
    state = {"state": kit.folder / "broker.json"}
    guard = kit.start(adoption="ignore", terminal_options=state)
    known = registered(kit, guard, 3)
    (kit.folder / "data").rename(kit.folder / "away")
    assert guard.wait(timeout=10) is not None
    guard.stop()
    (kit.folder / "away").rename(kit.folder / "data")
    again = kit.start(adoption="ignore", terminal_options=state)
    assert {trade.ticket for trade in again.trades()} == known


@on_posix
@pytest.mark.parametrize("how", ["deleted", "replaced"])
def test_a_lock_file_that_is_gone_is_told_and_loses_nothing(kit: GuardKit, how: str) -> None:
    state = {"state": kit.folder / "broker.json"}
    guard = kit.start(adoption="ignore", terminal_options=state)
    known = registered(kit, guard, 3)
    lock = kit.folder / "data" / "trades" / "lock.mdb"
    lock.unlink()
    if how == "replaced":
        lock.touch()
    kit.until(lambda: any(alert.key == "lock_lost:trades" for alert in guard.alerts()))
    told = next(alert for alert in guard.alerts() if alert.key == "lock_lost:trades")
    assert "Restart the guard" in told.text
    assert how in told.text
    known |= registered(kit, guard, 3)
    with pytest.raises(TryAgain, match=r"lock\.mdb was .* a copy made now could be wrong"):
        guard.admin("backup", timeout=60)
    assert guard.health().ready
    cycles = len(kinds(guard, Kind.CYCLE))
    kit.until(lambda: len(kinds(guard, Kind.CYCLE)) > cycles + 3)
    assert next(a for a in guard.alerts() if a.key == "lock_lost:trades").count == 1
    guard.stop()
    assert known == in_store(kit.folder / "data")
    again = kit.start(adoption="ignore", terminal_options=state)
    assert {trade.ticket for trade in again.trades()} == known
    again.admin("backup", timeout=60)


# -- what a store that takes no writes means, step by step (virtual time)


def refuse(store: TradeStore, error: DtmsError) -> Callable[[], None]:
    """Have the store refuse every commit with that error; return the way to end it."""
    commit, run = store.commit, store.environment.run

    def full(*_: object, **__: object) -> None:
        raise error

    store.commit = store.environment.run = full  # type: ignore[method-assign, assignment]

    def mend() -> None:
        store.commit, store.environment.run = commit, run  # type: ignore[method-assign]

    return mend


@pytest.mark.parametrize(
    ("error", "reason"),
    [(StoreFull("no room"), "store_full: "), (FolderRefused("read-only"), "folder_refused: ")],
)
def test_an_outcome_that_cannot_be_written_is_not_lost(
    sim: GuardKit, error: DtmsError, reason: str
) -> None:
    """The order is journalled, then the disk is full: the outcome waits in memory."""
    points = Points()
    guard, ticket = one_trade(sim, points=points)
    store = guard._house.premises.stores.trades
    mend: list[Callable[[], None]] = []
    points.arm("registry.before_execute", lambda: mend.append(refuse(store, error)))
    price(sim, 1.0945)
    let_pass(sim, 60.0)
    assert len(orders(sim)) == 1
    assert any(text.startswith(reason) for text in guard.health().reasons)
    assert guard.status()["orders_in_doubt"] == 1  # as the store has it
    let_pass(sim, 300.0)
    assert len(orders(sim)) == 1  # the trade is frozen meanwhile
    guard.admin("kill", child="registry")  # what is owed outlives the incarnation
    let_pass(sim, 5.0)
    mend[0]()
    let_pass(sim, 60.0)
    assert guard.health().ready
    assert guard.status()["orders_in_doubt"] == 0
    sent = [a for a in guard.actions() if a.intent is not None]
    assert [str(a.outcome.kind) for a in sent if a.outcome] == ["done"]
    assert sent[0].outcome is not None
    assert sent[0].outcome.resolved_by == "broker"  # its own answer, not one found later
    assert guard.trade(ticket).stop_loss != 1.09
    assert len(orders(sim)) == 1


def test_what_was_seen_at_the_broker_is_seen_again(sim: GuardKit) -> None:
    """A trade that closes while the store is full is archived when there is room."""
    guard, ticket = one_trade(sim)
    mend = refuse(guard._house.premises.stores.trades, StoreFull("no room"))
    sim.terminal.close_position(ticket)
    let_pass(sim, 600.0)
    assert str(guard.trade(ticket).standing) == "guarded"
    assert not guard.health().ready
    assert not kinds(guard, Kind.CHARGED)  # nobody is to blame
    mend()
    let_pass(sim, 120.0)
    assert guard.health().ready
    assert str(guard.trade(ticket).standing) == "closed"


def test_people_are_told_once_and_until_it_is_over(sim: GuardKit) -> None:
    guard, _ = one_trade(sim)
    mend = refuse(guard._house.premises.stores.trades, StoreFull("no room"))
    sim.terminal.set_price("EURUSD", 1.0945, 1.0946)
    let_pass(sim, 120.0)
    told = [e for e in kinds(guard, Kind.ALERT) if e.facts["key"] == "store_full:trades"]
    assert len([e for e in told if e.facts["told"]]) == 1
    let_pass(sim, 700.0)  # repeated, since nobody has acknowledged it
    told = [e for e in kinds(guard, Kind.ALERT) if e.facts["key"] == "store_full:trades"]
    assert len([e for e in told if e.facts["told"]]) == 3
    mend()
    let_pass(sim, 10.0)
    over = next(a for a in guard.alerts() if a.key == "store_works:trades")
    assert "writes were refused" in over.text
    ended = next(a for a in guard.alerts() if a.key == "store_full:trades")
    assert ended.acknowledged_by == "store_works:trades"
    count = len(kinds(guard, Kind.ALERT))
    let_pass(sim, 1000.0)
    assert len(kinds(guard, Kind.ALERT)) == count  # and then there is silence


def test_the_next_try_is_one_timer_whatever_happens(sim: GuardKit) -> None:
    """Neither restarts add timers, nor do failing registrations put the next try off."""
    guard, _ = one_trade(sim)
    environment = guard._house.premises.stores.trades.environment
    mend = refuse(guard._house.premises.stores.trades, StoreFull("no room"))
    tries: list[float] = []
    full = environment.run

    def tried(work: Callable[[Change], object]) -> object:
        tries.append(sim.runtime.clock.monotonic())
        return full(work)

    environment.run = tried  # type: ignore[method-assign, assignment]
    ticket = sim.terminal.open_position("EURUSD", "BUY", 0.1, sl=1.0)
    with pytest.raises(StoreFull):
        guard.register(Trade(ticket=ticket))
    for _ in range(3):
        guard.admin("kill", child="registry")
        let_pass(sim, 10.0)
    began = sim.runtime.clock.monotonic()
    for _ in range(60):
        with pytest.raises(StoreFull):
            guard.register(Trade(ticket=ticket))
        let_pass(sim, 1.0)
    passed = sim.runtime.clock.monotonic() - began
    late = [at for at in tries if at > began]
    assert passed / 2 - 2 <= len(late) <= passed / 2 + 2  # every 2 s
    mend()


def several_at_once(sim: GuardKit, guard: Guard, watched: int) -> list[object]:
    """Have the registry take two registrations and two reads as one batch; return the answers."""
    fresh = [sim.terminal.open_position("EURUSD", "BUY", 0.1, sl=1.0) for _ in range(2)]
    snapshot = guard.snapshot()
    registry = guard._house.address(REGISTRY)
    messages = [
        Register("a", Trade(ticket=fresh[0]), snapshot),
        ListTrades(),
        Register("b", Trade(ticket=fresh[1]), snapshot),
        Register("c", Trade(ticket=watched), snapshot),
        GetTrade(watched),
    ]
    asked = [registry.ask_later(message, timeout=60) for message in messages]
    answers: list[object] = []
    for future in asked:
        try:
            answers.append(guard._house.wait(future, 60, "registry"))
        except DtmsError as error:
            answers.append(error)
    return answers


def test_what_needs_no_room_is_answered_though_its_neighbours_are_refused(sim: GuardKit) -> None:
    guard, ticket = one_trade(sim)
    mend = refuse(guard._house.premises.stores.trades, StoreFull("no room"))
    first, listed, second, known, found = several_at_once(sim, guard, ticket)
    assert isinstance(first, StoreFull)
    assert isinstance(second, StoreFull)
    assert isinstance(listed, tuple)
    assert [trade.ticket for trade in listed] == [ticket]
    assert isinstance(known, Registration)
    assert not known.created
    assert isinstance(found, TradeRecord)
    assert found.ticket == ticket
    mend()
    assert [trade.ticket for trade in guard.trades()] == [ticket]  # refused is refused


def test_what_does_not_fit_together_may_fit_alone(sim: GuardKit) -> None:
    guard, ticket = one_trade(sim)
    store = guard._house.premises.stores.trades
    commit = store.commit

    def small_only(*batches: Batch) -> object:
        if len(batches) > 1:
            raise StoreFull("no room for that much")
        return commit(*batches)

    store.commit = small_only  # type: ignore[method-assign, assignment]
    answers = several_at_once(sim, guard, ticket)
    assert [getattr(answer, "created", None) for answer in answers] == [
        True,
        None,
        True,
        False,
        None,
    ]
    assert guard.health().ready
    assert not kinds(guard, Kind.STORE_FAILS)


def test_a_new_start_ends_the_trouble_of_the_process_before(sim: GuardKit) -> None:
    """Nobody else would: it started, so there is room."""
    guard, _ = one_trade(sim)
    refuse(guard._house.premises.stores.trades, StoreFull("no room"))
    ticket = sim.terminal.open_position("EURUSD", "BUY", 0.1, sl=1.0)
    with pytest.raises(StoreFull):
        guard.register(Trade(ticket=ticket))
    let_pass(sim, 5.0)
    assert any(alert.key == "store_full:trades" for alert in guard.alerts())
    guard.stop()
    again = sim.next_process({}, adoption="ignore").start()
    ended = next(alert for alert in again.alerts() if alert.key == "store_full:trades")
    assert ended.acknowledged_by == "a new start"


@on_posix
def test_a_store_that_is_lost_while_it_is_full_ends_the_guard(sim: GuardKit) -> None:
    """Paused, so that no cycle looks: the next try to write finds it."""
    guard, _ = one_trade(sim)
    guard.admin("pause")
    store = guard._house.premises.stores.trades
    commit = store.commit

    def full(*_: object) -> None:
        raise StoreFull("no room")

    store.commit = full  # type: ignore[method-assign, assignment]
    ticket = sim.terminal.open_position("EURUSD", "BUY", 0.1, sl=1.0)
    (store.environment.path / "data.mdb").unlink()
    with pytest.raises(StoreFull):
        guard.register(Trade(ticket=ticket))
    store.commit = commit  # type: ignore[method-assign]
    let_pass(sim, 10.0)
    assert "while it was in use" in str(guard.wait(timeout=0))


def test_a_full_outbox_does_not_keep_alert_down(sim: GuardKit) -> None:
    """Old alerts cannot be forgotten then; that is no reason not to tell new ones."""
    guard, _ = one_trade(sim)

    def full(before: float) -> int:
        raise StoreFull("no room")

    guard._house.premises.stores.outbox.prune = full  # type: ignore[method-assign]
    guard.admin("kill", child="alert")
    let_pass(sim, 60.0)
    assert len(kinds(guard, Kind.CHARGED)) == 1  # the kill alone
    guard._house.notify(Notice(key="k", severity=Severity.INFO, title="t", text="x"))
    assert [alert.key for alert in guard.alerts()] == ["k"]
    assert not guard.health().reasons


def test_a_try_that_passes_where_the_write_fails_is_not_told_in_turns(sim: GuardKit) -> None:
    """Such as a map that cannot grow: the tries become rarer, and so does the all-clear."""
    guard, ticket = one_trade(sim)

    def full(*_: object) -> None:
        raise StoreFull("the map cannot grow")

    guard._house.premises.stores.trades.commit = full  # type: ignore[method-assign, assignment]
    sim.terminal.close_position(ticket)
    let_pass(sim, 1200.0)
    assert 3 <= len(kinds(guard, Kind.STORE_FAILS)) <= 12  # 2 s, then twice as long each time
    assert not guard.health().ready
