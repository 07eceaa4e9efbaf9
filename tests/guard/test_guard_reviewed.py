"""What a review found: each of these was lost, sent too late, or acknowledged into nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import Any

import pytest
from guard_kit import GuardKit, kinds
from intents_kit import Scene, kill_nth, scene
from test_guard_acting import let_pass, one_trade, price
from test_guard_flatten import ask, with_more
from test_guard_limits import refuse

from actors import flattening
from actors.events import Kind
from actors.messages import Execute
from actors.names import CONNECTOR
from actors.points import Points
from defence.alerts import Notice, Severity
from defence.broker import Direction
from defence.errors import Damaged, DtmsError, Stopped, StoreFull, StoreLost, TryAgain
from defence.orders import LATEST, Action, Intent, IntentKind, Outcome, OutcomeKind
from storage.backups import sets
from supervisors import Guard, Trade, keeper

INTENT = Intent(
    id="i",
    identifier=1,
    ticket=1,
    symbol="EURUSD",
    direction=Direction.BUY,
    kind=IntentKind.CLOSE,
    step=None,
    volume=0.1,
    volume_before=0.1,
    stop_loss=None,
    take_profit=None,
    stop_before=None,
    price_seen=1.1,
    reason="flatten",
    magic=0,
    decided_at=1_700_000_000.0,
    snapshot_at=1_700_000_000.0,
    decided_by=1,
)
on_posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows holds open files fast")


def full(*_: object, **__: object) -> None:
    raise StoreFull("no room")


def frozen_unstored(sim: GuardKit) -> tuple[Guard, Callable[[], None]]:
    """Return a guard that was frozen while the audit was full, and the way to make room."""
    guard, _ = one_trade(sim)
    audit = guard._house.premises.stores.audit
    run = audit.environment.run
    audit.environment.run = full  # type: ignore[method-assign, assignment]
    guard.admin("freeze", why="news")

    def mend() -> None:
        audit.environment.run = run  # type: ignore[method-assign]

    return guard, mend


def open_alerts(guard: Guard) -> set[str]:
    """Return the keys of the alerts that nobody and nothing has ended."""
    return {alert.key for alert in guard.alerts() if alert.acknowledged_at is None}


def test_a_freeze_that_waits_for_room_outlives_admin(sim: GuardKit) -> None:
    guard, mend = frozen_unstored(sim)
    guard.admin("kill", child="admin")
    let_pass(sim, 5.0)
    mend()
    let_pass(sim, 10.0)
    assert guard._house.premises.stores.audit.control().mode == "observe"
    assert "freeze_not_stored" not in open_alerts(guard)
    guard.stop()
    assert sim.next_process({}, adoption="ignore").start().status()["mode"] == "observe"


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_the_next_command_does_not_thaw_a_freeze_that_waits(sim: GuardKit, command: str) -> None:
    guard, mend = frozen_unstored(sim)
    guard.admin("kill", child="admin")
    let_pass(sim, 1.5)
    mend()
    guard.admin(command)
    assert guard._house.premises.stores.audit.control().mode == "observe"
    let_pass(sim, 10.0)
    assert guard.status()["mode"] == "observe"
    assert "freeze_not_stored" not in open_alerts(guard)


def test_a_newer_word_counts_more_than_a_freeze_that_waits(sim: GuardKit) -> None:
    guard, mend = frozen_unstored(sim)
    mend()
    guard.admin("set-mode", mode="armed")
    guard.admin("kill", child="admin")
    let_pass(sim, 10.0)
    assert guard._house.premises.stores.audit.control().mode == "armed"
    assert guard.status()["mode"] == "armed"
    assert "freeze_not_stored" not in open_alerts(guard)


# -- a flatten that comes too late


@pytest.mark.parametrize("away", [20.0, 100.0])
def test_a_flatten_ends_when_the_connector_was_away_too_long(sim: GuardKit, away: float) -> None:
    made = with_more(sim)
    made.terminal.after_send = lambda: made.terminal.runtime.clock.advance(
        away if len(made.terminal.sent) == 1 else 0.0
    )
    kill_nth(made.points, "connector.after_send", 1)
    answer = ask(made)()
    told = [a for a in made.guard.alerts() if a.key == "flatten_incomplete"]
    if away < 60.0:
        assert len(made.terminal.sent) == 3
        assert told == []
        return
    assert len(made.terminal.sent) == 1
    assert [one["outcome"] for one in answer["failed"]] == ["unknown", "not_sent"]
    assert "give it again" in answer["failed"][1]["detail"]
    assert (answer["orders_deleted"], answer["orders_not_deleted"]) == (0, 1)
    assert [alert.severity for alert in told] == [Severity.CRITICAL]
    assert "2 of 3 orders" in told[0].text
    assert str(answer["failed"][1]["ticket"]) in told[0].text
    let_pass(sim, 1.0)
    late = made.outcome(f"ops-1-{answer['failed'][1]['ticket']}")
    assert late is not None
    assert late.kind is OutcomeKind.NOT_SENT
    assert "give it again" in (late.detail or "")
    again = made.flatten()
    assert (again["failed"], again["orders_deleted"]) == ([], 1)
    assert made.terminal.positions_get() == ()


@pytest.mark.parametrize(("jump", "sent"), [(-30.0, 3), (-3600.0, 1)])
def test_a_clock_that_was_set_back_makes_no_flatten_endless(
    sim: GuardKit, jump: float, sent: int
) -> None:
    made = with_more(sim)
    clock = made.terminal.runtime.clock
    made.points.arm("connector.after_send", lambda: clock.jump_wall(jump))
    ask(made)()
    assert len(made.terminal.sent) == sent


# -- files taken away


def alarm(guard: Guard) -> None:
    notice = Notice(key="k", severity=Severity.CRITICAL, title="t", text="x")
    guard._house.notify(notice)


def pause(guard: Guard) -> None:
    with pytest.raises(StoreLost):
        guard.admin("pause")


def freeze(guard: Guard) -> None:
    guard.admin("freeze")


def acknowledge(guard: Guard) -> None:
    guard.admin("acknowledge")


def kill(guard: Guard) -> None:
    guard.admin("kill", child="recovery")


def reset(guard: Guard) -> None:
    with pytest.raises(Stopped):
        guard.admin("reset-budget", child="recovery")


@on_posix
@pytest.mark.parametrize(
    ("store", "do"),
    [
        ("outbox", alarm),
        ("audit", pause),
        ("audit", freeze),
        ("audit", acknowledge),
        ("ledger", kill),
        ("ledger", reset),
    ],
)
def test_a_guard_does_not_live_on_without_one_of_its_stores(
    sim: GuardKit, store: str, do: Callable[[Guard], None]
) -> None:
    guard, _ = one_trade(sim)
    if do is reset:  # it writes only if there is a charge to forget
        kill(guard)
        let_pass(sim, 5.0)
    (guard.data_dir / store / "data.mdb").unlink()
    # Only this one is answered by another child than the one that loses its store: the end
    # may come before the answer, and then the asker is told so.
    with suppress(Stopped) if do is acknowledge else nullcontext():
        do(guard)
    let_pass(sim, 2.0)
    cause = str(guard.wait(timeout=0))
    assert "while it was in use" in cause
    assert store in cause
    if do is alarm:  # and people were told all the same
        told = [e for e in kinds(guard, Kind.ALERT) if e.facts["key"] == "k"]
        assert [e.facts["told"] for e in told] == [True]


def test_an_outbox_that_is_gone_when_alert_starts_ends_the_guard(sim: GuardKit) -> None:
    """It tidies up first, which writes only when there is something old."""
    guard, _ = one_trade(sim)

    def lost(before: float) -> int:
        raise StoreLost("told by the test")

    guard._house.premises.stores.outbox.prune = lost  # type: ignore[method-assign]
    guard.admin("kill", child="alert")
    let_pass(sim, 2.0)
    assert "told by the test" in str(guard.wait(timeout=0))


# -- an order from the future


@pytest.mark.parametrize(("ahead", "sent"), [(0.5, True), (2.0, False), (3600.0, False)])
def test_an_order_from_before_the_clock_was_set_back_is_not_sent(
    sim: GuardKit, ahead: float, sent: bool
) -> None:
    guard, _ = one_trade(sim)
    price(sim, 1.0945)
    let_pass(sim, 31.0)
    action = next(a for a in guard.actions() if a.intent is not None)
    assert action.intent is not None
    before = len(sim.terminal.orders_sent)
    assert ahead < LATEST or not sent
    early = replace(action.intent, id="early", decided_at=sim.runtime.clock.wall() + ahead)
    guard._house.address(CONNECTOR).tell(Execute(early))
    let_pass(sim, 0.5)
    assert (len(sim.terminal.orders_sent) > before) is sent


# -- outcomes that the store did not take


def outcomes(guard: Guard) -> list[tuple[str, str | None]]:
    """Return what became of each order, and who said so."""
    sent: list[Action] = [a for a in guard.actions() if a.intent is not None]
    return [(str(a.outcome.kind), a.outcome.resolved_by) for a in sent if a.outcome]


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("point", ["registry.before_commit", "registry.after_commit"])
def test_a_death_while_owed_outcomes_are_written_loses_none(
    sim: GuardKit, point: str, nth: int
) -> None:
    points = Points()
    guard, _ = one_trade(sim, points=points)
    second = sim.terminal.open_position("EURUSD", "BUY", 0.2, sl=1.09)
    guard.register(Trade(ticket=second))
    let_pass(sim, 31.0)
    store = guard._house.premises.stores.trades
    mend: list[Callable[[], None]] = []
    points.arm("registry.before_execute", lambda: mend.append(refuse(store, StoreFull("no room"))))
    price(sim, 1.0945)
    sim.until(lambda: guard.status()["orders_in_doubt"] == 2, 60.0)
    let_pass(sim, 3.0)
    mend[0]()
    kill_nth(points, point, nth)
    let_pass(sim, 20.0)
    assert [e.facts["how"] for e in kinds(guard, Kind.EXITED)] == ["killed"]
    assert outcomes(guard) == [("done", "broker")] * 2
    assert guard.status()["orders_in_doubt"] == 0


@pytest.mark.parametrize("error", [TryAgain("told by the test"), Damaged("told by the test")])
@pytest.mark.parametrize("dies", [False, True])
def test_an_outcome_refused_for_any_reason_is_not_lost(
    sim: GuardKit, error: DtmsError, dies: bool
) -> None:
    points = Points()
    guard, _ = one_trade(sim, points=points)
    store = guard._house.premises.stores.trades
    mend: list[Callable[[], None]] = []
    points.arm("registry.before_execute", lambda: mend.append(refuse(store, error)))
    price(sim, 1.0945)
    sim.until(lambda: bool(mend), 60.0)
    let_pass(sim, 1.0)
    if dies:
        guard.admin("kill", child="registry")
        let_pass(sim, 3.0)
    mend[0]()
    let_pass(sim, 45.0)
    assert outcomes(guard) == [("done", "broker")]
    assert len(sim.terminal.orders_sent) == 1


def test_a_try_that_was_given_up_as_poison_is_not_the_last(sim: GuardKit) -> None:
    points = Points()
    guard, _ = one_trade(sim, points=points)
    store = guard._house.premises.stores.trades
    mend: list[Callable[[], None]] = []
    error = TryAgain("told by the test")
    points.arm("registry.before_execute", lambda: mend.append(refuse(store, error)))
    price(sim, 1.0945)
    sim.until(lambda: bool(mend), 60.0)
    let_pass(sim, 0.5)
    mend[0]()

    def crash() -> None:
        raise RuntimeError("told by the test")

    points.arm("registry.before_commit", crash, times=2)
    let_pass(sim, 20.0)
    assert len(kinds(guard, Kind.POISONED)) == 1
    assert outcomes(guard) == [("done", "broker")]


@pytest.mark.parametrize("error", [TryAgain("told by the test"), Damaged("told by the test")])
def test_what_a_flatten_did_is_written_later(sim: GuardKit, error: DtmsError) -> None:
    made: Scene = scene(sim)
    mend: list[Callable[[], None]] = []
    made.points.arm("connector.before_send", lambda: mend.append(refuse(made.store, error)))
    answer: Any = ask(made)()
    assert answer["closed"] == 1
    let_pass(sim, 1.0)
    mend[0]()
    let_pass(sim, 45.0)
    outcome = made.outcome(f"ops-1-{made.ticket}")
    assert outcome is not None
    assert (outcome.kind, outcome.resolved_by) == (OutcomeKind.DONE, "broker")


def test_a_long_flatten_that_goes_on_is_not_cut() -> None:
    at = 1_700_000_000.0

    def pair(after: float) -> tuple[Intent, Outcome]:
        return INTENT, Outcome(intent_id="i", kind=OutcomeKind.DONE, at=at + after)

    limit = flattening.LATEST_FLATTEN
    slow = [pair(after) for after in (30.0, 80.0, 130.0)]
    assert not flattening._too_late(INTENT, slow, at + 130.0 + limit)
    assert flattening._too_late(INTENT, slow, at + 131.0 + limit)
    # those behind one that was too late are too late as well
    assert flattening._too_late(INTENT, [pair(limit + 1.0)], at + limit + 1.1)
    assert flattening._too_late(INTENT, [], at - limit - 1.0)
    assert not flattening._too_late(INTENT, [pair(-500.0)], at + 1.0)  # sent by a forerunner


def test_too_many_backups_are_removed_though_there_is_no_room_for_another(
    sim: GuardKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard, _ = one_trade(sim, backup_every=0.0)
    for _ in range(3):
        guard.admin("backup", timeout=60)
    folder = guard.data_dir / "backups"
    assert len(sets(folder)) == 3
    guard.stop()
    again = sim.start(adoption="ignore", backup_every=0.0, backups_kept=1)
    monkeypatch.setattr(keeper, "take", full)
    with pytest.raises(StoreFull):
        again.admin("backup", timeout=60)
    assert [made.number for made in sets(folder)] == [3]
