"""Backups of a guard that runs, and what people hear when a store gave way to another."""

from __future__ import annotations

import json
import shutil
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from guard_kit import GuardKit, kinds
from test_guard_acting import let_pass

import supervisors.keeper as keeper_module
import supervisors.premises as premises_module
from actors.events import Event, Kind
from actors.simulated import SimulatedRuntime
from actors.threads import ThreadRuntime
from defence.alerts import Alert, Severity
from defence.errors import DtmsError, StartRefused, Stopped, StoreFull, TryAgain
from storage import backups as backups_module
from storage import preflight
from storage.audit import AuditStore
from storage.backups import BackupSet, sets
from storage.environment import Environment
from storage.examine import examine
from storage.folder import ENVIRONMENTS
from storage.layout import DATA_FILE, FORMAT_KEY, HISTORY_IDS, HISTORY_TICKETS, META
from storage.migration import DATABASES
from storage.outbox import OutboxStore
from storage.swap import Swap, Why
from supervisors import Guard, Trade
from supervisors.aftermath import alert_of, needs_person
from supervisors.keeper import AGAIN_AFTER, FIRST_AFTER

PATIENCE = 20.0
SLOW: dict[str, Any] = {"interval": 600.0, "check_every": 20.0}  # hours pass, no cycle matters


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks and copies in this process, which is faster."""
    monkeypatch.setattr(preflight, "available", lambda: False)


def place(guard: Guard) -> Path:
    return guard.data_dir / "backups"


def taken(guard: Guard) -> list[Event]:
    """The backups that were taken, not the one that was there before."""
    return [event for event in kinds(guard, Kind.BACKUP) if event.facts["by"] != "before"]


def alerts(guard: Guard, key: str) -> list[Alert]:
    return [alert for alert in guard.alerts() if alert.key == key]


# -- the schedule


@pytest.mark.usefixtures("quick")
def test_the_first_comes_soon_and_then_one_each_period(sim: GuardKit) -> None:
    guard = sim.start(adoption="ignore", backup_every=3600.0, backups_kept=3, **SLOW)
    opened = next(e.at for e in kinds(guard, Kind.STAGE) if e.facts["stage"] == "stores")
    let_pass(sim, 6 * 3600.0)
    moments = [event.at - opened for event in taken(guard)]
    assert moments == pytest.approx([FIRST_AFTER + n * 3600.0 for n in range(6)], abs=1.0)
    assert {event.facts["by"] for event in taken(guard)} == {"schedule"}
    assert [event.facts["stores"] for event in taken(guard)] == [list(ENVIRONMENTS)] * 6
    kept = sets(place(guard))
    assert [each.number for each in kept] == [6, 5, 4]
    names = [Path(event.facts["path"]).name for event in taken(guard)]
    assert [each.name for each in kept] == names[:2:-1]
    assert [event.facts["removed"] for event in taken(guard)] == [
        [],
        [],
        [],
        [names[0]],
        [names[1]],
        [names[2]],
    ]
    assert not kinds(guard, Kind.BACKUP_FAILED)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("age", "expected"),
    [
        (0.0, 3600.0),
        (1800.0, 1800.0),
        (3550.0, FIRST_AFTER),  # due in 50 s, but a start has other things to do
        (90_000.0, FIRST_AFTER),
        (-7200.0, 3600.0),  # the clock was set back
    ],
)
def test_a_backup_from_before_counts(sim: GuardKit, age: float, expected: float) -> None:
    guard = sim.start(adoption="ignore", backup_every=0.0, **SLOW)
    guard.admin("backup")
    (newest,) = sets(place(guard))
    guard.stop()
    runtime = SimulatedRuntime()
    runtime.clock.jump_wall(newest.at + age - runtime.clock.wall())
    again = sim.make(runtime=runtime, adoption="ignore", backup_every=3600.0, **SLOW)
    begun = runtime.clock.monotonic()
    again.start()
    (before,) = kinds(again, Kind.BACKUP)
    assert (before.facts["by"], before.facts["path"]) == ("before", str(newest.path))
    sim.until(lambda: bool(taken(again)), 10_000.0)
    assert runtime.clock.monotonic() - begun == pytest.approx(expected, abs=1.0)


@pytest.mark.usefixtures("quick")
def test_on_demand_only(sim: GuardKit) -> None:
    guard = sim.start(adoption="ignore", backup_every=0.0, **SLOW)
    let_pass(sim, 4 * 3600.0)
    assert sets(place(guard)) == []
    ticket = sim.terminal.open_position("EURUSD", "BUY", 0.2, sl=0.5)
    guard.register(Trade(ticket=ticket))
    answer = guard.admin("backup", by="anna")
    (made,) = sets(place(guard))
    assert answer == {
        "backup": str(made.path),
        "number": 1,
        "stores": list(ENVIRONMENTS),
        "failed": {},
        "trades": 1,
    }
    let_pass(sim, 4 * 3600.0)
    assert [event.facts["by"] for event in taken(guard)] == ["anna"]


@pytest.mark.usefixtures("quick")
def test_one_on_demand_moves_the_schedule(sim: GuardKit) -> None:
    guard = sim.start(adoption="ignore", backup_every=3600.0, **SLOW)
    let_pass(sim, 1000.0)
    asked = sim.runtime.clock.wall()
    guard.admin("backup")
    let_pass(sim, 3550.0)
    assert [event.facts["by"] for event in taken(guard)] == ["schedule", "host"]
    let_pass(sim, 100.0)
    assert taken(guard)[-1].facts["taken_at"] == pytest.approx(asked + 3600.0, abs=1.0)


@pytest.mark.usefixtures("quick")
def test_a_backup_asked_for_is_audited(sim: GuardKit) -> None:
    guard = sim.start(adoption="ignore", backup_every=0.0)
    guard.admin("backup", by="anna")
    entry = guard._house.premises.stores.audit.tail(1)[0]
    assert (entry.command, entry.by, entry.result) == ("backup", "anna", "accepted")


# -- what fails


@pytest.mark.usefixtures("quick")
def test_a_failure_is_told_tried_again_and_ended_by_an_all_clear(sim: GuardKit) -> None:
    guard = sim.start(adoption="ignore", backup_every=3600.0, **SLOW)
    place(guard).rmdir()
    place(guard).write_text("a file in its place")
    let_pass(sim, FIRST_AFTER + 2 * AGAIN_AFTER + 1.0)
    failed = kinds(guard, Kind.BACKUP_FAILED)
    assert [event.at - failed[0].at for event in failed] == [0.0, AGAIN_AFTER, 2 * AGAIN_AFTER]
    (alert,) = alerts(guard, keeper_module.FAILED)
    assert (alert.severity, alert.acknowledged_at) == (Severity.WARNING, None)
    assert "is a file" in alert.text
    assert not kinds(guard, Kind.CHARGED)
    with pytest.raises(DtmsError, match="is a file"):  # and who asks hears why
        guard.admin("backup")
    place(guard).unlink()
    let_pass(sim, AGAIN_AFTER + 1.0)
    assert len(taken(guard)) == 1
    assert all(one.acknowledged_at for one in alerts(guard, keeper_module.FAILED))
    (clear,) = alerts(guard, "backup_works")
    assert clear.severity is Severity.INFO
    let_pass(sim, 3 * 3600.0)
    assert len(taken(guard)) == 4
    assert [one.count for one in alerts(guard, "backup_works")] == [1]  # said once


@pytest.mark.usefixtures("quick")
def test_a_store_that_fails_is_told_and_the_others_are_backed_up(sim: GuardKit) -> None:
    guard = sim.start(adoption="ignore", backup_every=0.0)
    guard.admin("set-mode", mode="observe", why="x" * 90)
    audit = guard.data_dir / "audit" / DATA_FILE
    content = audit.read_bytes()
    audit.write_bytes(content.replace(b"x" * 90, b"x" * 89 + b"y"))
    answer = guard.admin("backup")
    assert answer["stores"] == ["trades", "ledger", "outbox"]
    assert list(answer["failed"]) == ["audit"]  # type: ignore[call-overload]
    let_pass(sim, 1.0)
    (alert,) = alerts(guard, keeper_module.FAILED)
    assert "no copy of audit" in alert.text
    assert "checksum" in alert.text
    audit.write_bytes(content)
    guard.admin("backup")
    let_pass(sim, 1.0)
    assert len(alerts(guard, "backup_works")) == 1


@pytest.mark.usefixtures("quick")
def test_old_backups_that_cannot_be_removed_are_told_and_not_cleared_at_once(
    sim: GuardKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = sim.start(adoption="ignore", backup_every=0.0)

    def stuck(*_: object) -> list[str]:
        raise TryAgain("told by the test")

    with monkeypatch.context() as patch:
        patch.setattr(keeper_module, "prune", stuck)
        assert guard.admin("backup")["number"] == 1
        let_pass(sim, 1.0)
    (alert,) = alerts(guard, keeper_module.FAILED)
    assert "told by the test" in alert.text
    assert alert.acknowledged_at is None
    assert not alerts(guard, "backup_works")
    guard.admin("backup")
    let_pass(sim, 1.0)
    assert alerts(guard, keeper_module.FAILED)[0].acknowledged_at


@pytest.mark.usefixtures("quick")
def test_a_fault_while_telling_does_not_end_all_backups(
    sim: GuardKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = sim.start(adoption="ignore", backup_every=0.0)

    calls: list[object] = []

    def faulty(*_: object) -> list[str]:
        calls.append(_)
        if len(calls) == 2:  # the one after the backup
            raise RuntimeError("told by the test")
        return []

    with monkeypatch.context() as patch:
        patch.setattr(keeper_module, "prune", faulty)
        with pytest.raises(RuntimeError, match="told by the test"):
            guard.admin("backup")  # this runtime has one thread: it comes out here
    assert guard.admin("backup")["number"] == 2


@pytest.mark.usefixtures("quick")
def test_no_thread_is_told_and_no_end(sim: GuardKit, monkeypatch: pytest.MonkeyPatch) -> None:
    guard = sim.start(adoption="ignore", backup_every=0.0)

    def none_left(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(sim.runtime, "aside", none_left)
        with pytest.raises(TryAgain, match="new thread"):
            guard.admin("backup")
    assert guard.admin("backup")["number"] == 1
    assert not kinds(guard, Kind.CHARGED)


@pytest.mark.usefixtures("quick")
def test_backups_of_a_newer_version_do_not_keep_a_guard_from_starting(sim: GuardKit) -> None:
    guard = sim.start(adoption="ignore", backup_every=0.0)
    guard.admin("backup")
    (made,) = sets(place(guard))
    guard.stop()
    said = json.loads(json.loads((made.path / "manifest.json").read_bytes())["backup"])
    body = json.dumps({**said, "format": 99})
    sealed = {"backup": body, "crc": zlib.crc32(body.encode())}
    (made.path / "manifest.json").write_text(json.dumps(sealed))
    again = sim.next_process({}, adoption="ignore", backup_every=3600.0).start()
    let_pass(sim, 1.0)
    assert alerts(again, keeper_module.FAILED) == []
    assert again.admin("backup")["number"] == 1  # passed over, and not in the way
    assert made.path.exists()


# -- while one is under way


class Copying:
    """Makes copies slow: each waits until the test lets it go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.copies = 0
        real = preflight.copy

        def slow(*arguments: Any, **options: Any) -> object:
            self.copies += 1
            self.begun.set()
            assert self.go_on.wait(PATIENCE)
            return real(*arguments, **options)

        monkeypatch.setattr(backups_module.preflight, "copy", slow)


@pytest.fixture
def copying(monkeypatch: pytest.MonkeyPatch) -> Iterator[Copying]:
    made = Copying(monkeypatch)
    yield made
    made.go_on.set()


class Asker(threading.Thread):
    """Asks for a backup on a thread of its own and keeps the answer."""

    def __init__(self, guard: Guard) -> None:
        super().__init__()
        self.guard = guard
        self.answer: object = None
        self.start()

    def run(self) -> None:
        try:
            self.answer = self.guard.admin("backup", timeout=PATIENCE)
        except DtmsError as error:
            self.answer = error

    def said(self) -> object:
        self.join(PATIENCE)
        assert not self.is_alive(), "no answer came"
        return self.answer


def waiting(guard: Guard) -> int:
    keeper = guard._house._keeper
    assert keeper is not None
    return len(keeper._waiting)


def test_who_asks_meanwhile_joins_the_one_under_way(kit: GuardKit, copying: Copying) -> None:
    guard = kit.start(adoption="ignore", backup_every=0.0)
    first = Asker(guard)
    assert copying.begun.wait(PATIENCE)
    others = [Asker(guard) for _ in range(3)]
    kit.until(lambda: waiting(guard) == 4)
    keeper = guard._house._keeper
    assert keeper is not None
    keeper.ask("schedule")  # the timer comes too
    copying.go_on.set()
    answers = [each.said() for each in (first, *others)]
    (made,) = sets(place(guard))
    assert all(isinstance(answer, dict) for answer in answers), answers
    assert {answer["backup"] for answer in answers} == {str(made.path)}  # type: ignore[index]
    assert copying.copies == 1
    assert len(taken(guard)) == 1
    assert guard.admin("backup", timeout=PATIENCE)["number"] == 2  # and the next is another


def test_the_asker_is_answered_though_admin_dies_meanwhile(kit: GuardKit, copying: Copying) -> None:
    guard = kit.start(adoption="ignore", backup_every=0.0)
    asker = Asker(guard)
    assert copying.begun.wait(PATIENCE)
    guard.admin("kill", child="admin")
    kit.until(lambda: bool(kinds(guard, Kind.READY, child="admin")[1:]))
    copying.go_on.set()
    answer = asker.said()
    assert isinstance(answer, dict), answer
    assert answer["number"] == 1
    assert copying.copies == 1  # the successor did not start it again


def test_a_slow_copy_holds_up_nobody(kit: GuardKit, copying: Copying) -> None:
    hang_after = 0.4
    guard = kit.start(adoption="ignore", backup_every=0.0, hang_after=hang_after)
    asker = Asker(guard)
    assert copying.begun.wait(PATIENCE)
    begun = time.monotonic()
    registered = []
    while time.monotonic() - begun < 3 * hang_after:
        ticket = kit.terminal.open_position("EURUSD", "BUY", 0.2, sl=0.5)
        registered.append(guard.register(Trade(ticket=ticket)).trade.ticket)
        cycles = len(kinds(guard, Kind.CYCLE))
        kit.until(lambda cycles=cycles: len(kinds(guard, Kind.CYCLE)) > cycles)  # type: ignore[misc]
    assert guard.health().ready
    assert not kinds(guard, Kind.FENCED, Kind.CHARGED, Kind.EXITED)
    copying.go_on.set()
    answer = asker.said()
    assert isinstance(answer, dict), answer
    assert answer["trades"] == len(registered)  # the copy is of the moment it was made


def test_a_stop_answers_who_waits_and_does_not_wait_for_ever(
    kit: GuardKit, copying: Copying
) -> None:
    guard = kit.start(adoption="ignore", backup_every=0.0, stop_timeout=0.3)
    askers = [Asker(guard) for _ in range(2)]
    assert copying.begun.wait(PATIENCE)
    kit.until(lambda: waiting(guard) == 2)
    stopping = threading.Thread(target=guard.stop)
    stopping.start()
    assert all(isinstance(asker.said(), Stopped) for asker in askers)
    stopping.join(PATIENCE)
    assert not stopping.is_alive()
    assert guard.over
    copying.go_on.set()  # what goes on after the end gets no name
    for thread in threading.enumerate():
        if thread.name == "dtms-aside":
            thread.join(PATIENCE)
    assert sets(place(guard)) == []
    assert [path.name for path in place(guard).iterdir() if path.is_dir()] == []
    again = kit.make(adoption="ignore", backup_every=0.0, runtime=ThreadRuntime()).start()
    assert again.admin("backup", timeout=PATIENCE)["number"] == 1


def test_a_stop_waits_for_one_that_is_nearly_done(kit: GuardKit, copying: Copying) -> None:
    guard = kit.start(adoption="ignore", backup_every=0.0, stop_timeout=PATIENCE)
    keeper = guard._house._keeper
    assert keeper is not None
    keeper.ask("the test")
    assert copying.begun.wait(PATIENCE)
    stopping = threading.Thread(target=guard.stop)
    stopping.start()
    kit.until(lambda: keeper._over)
    with pytest.raises(Stopped):
        guard.admin("backup")
    copying.go_on.set()
    stopping.join(PATIENCE)
    assert not stopping.is_alive()
    assert [each.number for each in sets(place(guard))] == [1]


@pytest.mark.usefixtures("quick")
def test_a_stop_in_virtual_time_takes_no_real_time(sim: GuardKit) -> None:
    guard = sim.start(adoption="ignore", backup_every=0.0, stop_timeout=60.0)
    reply_to = sim.runtime.new_future()
    keeper = guard._house._keeper
    assert keeper is not None
    keeper.ask("the test", reply_to)
    begun = time.monotonic()
    guard.stop()
    assert time.monotonic() - begun < 30.0
    with pytest.raises(Stopped):
        reply_to.get(timeout=0)


@pytest.mark.usefixtures("quick")
def test_none_begins_after_the_stop(sim: GuardKit) -> None:
    guard = sim.start(adoption="ignore", backup_every=100.0)
    guard.stop()
    let_pass(sim, 1000.0)
    assert sets(place(guard)) == []
    keeper = guard._house._keeper
    assert keeper is not None
    reply_to = sim.runtime.new_future()
    keeper.ask("too late", reply_to)
    with pytest.raises(Stopped):
        reply_to.get(timeout=0)


def test_a_real_child_copies_what_runs(kit: GuardKit) -> None:
    guard = kit.start(adoption="ignore", backup_every=0.0)
    tickets = [kit.terminal.open_position("EURUSD", "BUY", 0.2, sl=0.5) for _ in range(3)]
    for ticket in tickets:
        guard.register(Trade(ticket=ticket))
    answer = guard.admin("backup", timeout=PATIENCE)
    assert answer["trades"] == 3
    made: BackupSet = sets(place(guard))[0]
    found = preflight.check(made.path / name for name in ENVIRONMENTS)
    assert {path.name: verdict.facts for path, verdict in found.items()} == made.copies


# -- when a store gave way to another


def used(sim: GuardKit, *, backup: bool) -> Guard:
    """A guard that was armed, used, and stopped; its market is on disk."""
    state = {"state": sim.folder / "broker.json"}
    guard = sim.start(adoption="ignore", backup_every=0.0, terminal_options=state)
    ticket = sim.terminal.open_position("EURUSD", "BUY", 0.2, sl=0.5)
    guard.register(Trade(ticket=ticket, managed_by="anna"))
    guard.admin("set-mode", mode="armed", by="anna")
    if backup:
        guard.admin("backup")
    guard.stop()
    return guard


def again(sim: GuardKit, **settings: Any) -> Guard:
    state = {"state": sim.folder / "broker.json"}
    return sim.next_process(state, adoption="ignore", backup_every=0.0, **settings)


OBSERVES = {"trades": "observe", "ledger": "armed", "outbox": "armed", "audit": "observe"}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("backup", [False, True], ids=["no backup", "backup"])
@pytest.mark.parametrize("store", ENVIRONMENTS)
def test_the_mode_is_observe_where_a_store_that_decides_gave_way(
    sim: GuardKit, store: str, backup: bool
) -> None:
    guard = used(sim, backup=backup)
    (guard.data_dir / store / DATA_FILE).write_bytes(b"")
    second = again(sim).start()
    assert second.status()["mode"] == OBSERVES[store]
    (event,) = kinds(second, Kind.SET_ASIDE)
    assert (event.facts["store"], event.facts["why"]) == (store, "damaged")
    (alert,) = alerts(second, f"set_aside:{store}")
    assert alert.severity is Severity.CRITICAL
    assert ("ctl set-mode" in alert.text) is (OBSERVES[store] == "observe")
    assert event.facts["path"] in alert.text
    if backup:
        (made,) = sets(place(second))
        assert event.facts["source"] == made.name
        assert made.name in alert.text
        assert [trade.managed_by for trade in second.trades()] == ["anna"]
    else:
        assert event.facts["source"] is None
        assert "no good backup" in alert.text
    # and it stays so until a person confirms, not until the next start
    second.stop()
    third = again(sim).start()
    assert third.status()["mode"] == OBSERVES[store]
    assert not kinds(third, Kind.SET_ASIDE)
    assert len(alerts(third, f"set_aside:{store}")) == 1
    third.admin("set-mode", mode="armed")
    third.stop()
    assert again(sim).start().status()["mode"] == "armed"


@pytest.mark.usefixtures("quick")
def test_a_damaged_marker_is_told_and_leaves_the_mode(sim: GuardKit) -> None:
    guard = used(sim, backup=False)
    (guard.data_dir / "dtms.json").write_bytes(b"{")
    second = again(sim).start()
    assert second.status()["mode"] == "armed"
    (alert,) = alerts(second, "set_aside:marker")
    assert "marker" in alert.title


@pytest.mark.usefixtures("quick")
def test_a_store_that_had_fallen_back_is_told_and_observed(sim: GuardKit) -> None:
    guard = used(sim, backup=False)
    older = (guard.data_dir / "trades" / DATA_FILE).read_bytes()
    second = again(sim).start()
    ticket = sim.terminal.open_position("GBPUSD", "BUY", 0.2, sl=0.5)
    second.register(Trade(ticket=ticket))
    second.stop()
    (guard.data_dir / "trades" / DATA_FILE).write_bytes(older)
    third = again(sim).start()
    assert third.status()["mode"] == "observe"
    (event,) = kinds(third, Kind.SET_ASIDE)
    assert event.facts["why"] == "rolled-back"
    (alert,) = alerts(third, "set_aside:trades")
    assert "fallen back" in alert.title
    assert f"({event.facts['missing']} commit" in alert.text


def as_format_1(path: Path) -> None:
    """Turn a trade store into what an older version had written."""
    env = Environment.open(path, name="trades", databases=DATABASES["trades"])

    def work(change: Any) -> None:
        for db in (HISTORY_IDS, HISTORY_TICKETS):
            for key, _ in list(change.items(db)):
                change.delete(db, key)
        change.put(META, FORMAT_KEY, {"name": "trades", "format": 1})

    env.run(work)
    env.close()


@pytest.mark.usefixtures("quick")
def test_a_migration_raises_no_alert_and_leaves_the_mode(sim: GuardKit) -> None:
    guard = used(sim, backup=False)
    as_format_1(guard.data_dir / "trades")
    facts = examine(guard.data_dir / "trades").facts
    assert facts is not None
    assert facts.format == 1
    second = again(sim).start()
    assert second.status()["mode"] == "armed"
    assert [event.facts["why"] for event in kinds(second, Kind.SET_ASIDE)] == ["migrated"]
    assert second.alerts() == ()
    assert len(second.trades()) == 1
    second.stop()
    assert not kinds(again(sim).start(), Kind.SET_ASIDE)


def dying(real: Callable[..., object], when: str) -> Callable[..., object]:
    """A process that ends at this call: nothing after it is done."""

    def ends(*arguments: object) -> object:
        if when == "after":
            real(*arguments)
        raise KeyboardInterrupt

    return ends


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("owner", "name", "when"),
    [
        (premises_module, "open_stores", "after"),
        (AuditStore, "set_control", "before"),
        (AuditStore, "set_control", "after"),
        (OutboxStore, "put", "before"),
        (OutboxStore, "put", "after"),
        (premises_module, "told", "after"),
    ],
)
def test_people_are_told_once_though_the_guard_dies_at_it(
    sim: GuardKit, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, when: str
) -> None:
    guard = used(sim, backup=True)
    for store in ("trades", "ledger"):
        (guard.data_dir / store / DATA_FILE).write_bytes(b"")
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, dying(getattr(owner, name), when))
        with pytest.raises(KeyboardInterrupt):
            again(sim).start()
    second = again(sim).start()
    assert second.status()["mode"] == "observe"
    for store in ("trades", "ledger"):
        (alert,) = alerts(second, f"set_aside:{store}")
        assert alert.count == 1
        assert alert.told_at is not None
    second.stop()
    third = again(sim).start()
    assert len([a for a in third.alerts() if a.key.startswith("set_aside:")]) == 2
    assert third._house.premises.folder.untold() == []


@pytest.mark.usefixtures("quick")
def test_without_room_for_the_alert_the_notes_stay(
    sim: GuardKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = used(sim, backup=True)
    (guard.data_dir / "trades" / DATA_FILE).write_bytes(b"")

    def full(*_: object) -> None:
        raise StoreFull("told by the test")

    with monkeypatch.context() as patch:
        patch.setattr(OutboxStore, "put", full)
        with pytest.raises(StartRefused, match="told by the test"):
            again(sim).start()
    second = again(sim).start()
    assert len(alerts(second, "set_aside:trades")) == 1


# -- the words


def swap(**changes: object) -> Swap:
    given: dict[str, object] = {
        "name": "trades",
        "why": Why.DAMAGED,
        "reason": "it rots",
        "at": 0.0,
        "aside": "trades.damaged-X",
        "source": "20231114T221320Z",
        "source_at": 1_700_000_000.0,
        "birth": "ab" * 16,
        "sequence": 30,
        "reached": 34,
    }
    return Swap(**{**given, **changes})  # type: ignore[arg-type]


CONFIRM = "Look at the trades, then arm it again: ctl set-mode --mode armed."
TOLD = [
    (
        swap(),
        Severity.CRITICAL,
        "The store 'trades' was damaged and set aside",
        "it rots. It is kept as trades.damaged-X. The backup 20231114T221320Z of "
        "2023-11-14T22:13:20.000+00:00 came in its place. Missing: registrations, releases, "
        "results and actions after 2023-11-14T22:13:20.000+00:00 (4 commits, up to number 34). "
        + CONFIRM,
    ),
    (
        swap(reached=None, name="ledger"),
        Severity.CRITICAL,
        "The store 'ledger' was damaged and set aside",
        "Missing: charges (a budget may be fuller than it should be) after 2023-11-14T22:13:20",
    ),
    (
        swap(source=None, source_at=None, sequence=0, reached=1, aside=None, name="outbox"),
        Severity.CRITICAL,
        "The store 'outbox' was damaged and set aside",
        (
            "it rots. There was nothing to keep. There was no good backup: a new one was made. "
            "Missing: all alerts and acknowledgements that only it held (1 commit, up to number 1)."
        ),
    ),
    (
        swap(source=None, source_at=None, sequence=None, reached=None),
        Severity.CRITICAL,
        "The store 'trades' was damaged and set aside",
        "no good backup: a new one was made and is filled from the broker. Missing: all reg",
    ),
    (
        swap(why=Why.ROLLED_BACK, source="trades", source_at=None),
        Severity.CRITICAL,
        "The store 'trades' had fallen back and was set aside",
        "What was sound of it goes on in its place. Missing: registrations, releases, results "
        "and actions (4 commits, up to number 34). " + CONFIRM,
    ),
    (
        swap(sequence=34, name="audit"),
        Severity.CRITICAL,
        "The store 'audit' was damaged and set aside",
        "came in its place. Nothing is known to be missing. " + CONFIRM,
    ),
    (
        swap(why=Why.RESTORED),
        Severity.WARNING,
        "The store 'trades' was restored by hand",
        CONFIRM,
    ),
    (
        swap(name="marker", aside="dtms.json.damaged-1"),
        Severity.CRITICAL,
        "The folder's marker was damaged and set aside",
        "it rots. It is kept as dtms.json.damaged-1. A new one was written.",
    ),
]


@pytest.mark.parametrize(("told", "severity", "title", "text"), TOLD)
def test_what_people_are_told(told: Swap, severity: Severity, title: str, text: str) -> None:
    alert = alert_of(told, Path("data/dtms.x.told-1"), 5.0)
    assert alert is not None
    assert (alert.id, alert.key) == ("dtms.x.told-1", f"set_aside:{told.name}")
    assert (alert.severity, alert.title) == (severity, title)
    assert text in alert.text
    assert "  " not in alert.text
    assert (alert.raised_at, alert.last_at) == (5.0, 5.0)


def test_who_must_confirm_what() -> None:
    names = (*ENVIRONMENTS, "marker")
    needed = {
        why: [name for name in names if needs_person(swap(name=name, why=why))] for why in Why
    }
    decides = ["trades", "audit"]
    assert needed == {
        Why.DAMAGED: decides,
        Why.ROLLED_BACK: decides,
        Why.RESTORED: decides,
        Why.MIGRATED: [],
    }
    assert alert_of(swap(why=Why.MIGRATED), Path("x"), 0.0) is None


def test_a_lost_backup_folder_is_made_anew(sim: GuardKit) -> None:
    guard = used(sim, backup=False)
    shutil.rmtree(place(guard))
    second = again(sim).start()
    assert second.admin("backup")["number"] == 1
