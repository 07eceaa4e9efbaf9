"""Flatten: journalled before it is sent where that can be, and done all the same where not."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from guard_kit import GuardKit, kinds
from intents_kit import Fate, Scene, kill_nth, scene
from test_guard_acting import let_pass

from actors.events import Kind
from actors.messages import Flatten
from actors.names import CONNECTOR
from actors.points import AROUND_AN_ORDER, Points
from defence.errors import StoreFull, TerminalRefused
from defence.orders import IntentKind, OutcomeKind
from supervisors import Guard
from terminals.sim.faults import fault_from

EVERYTHING = {"closed": 2, "orders_deleted": 1, "orders_not_deleted": 0, "failed": []}


def with_more(sim: GuardKit, **options: Any) -> Scene:
    """Return a scene with a second position, which nobody guards, and a waiting order."""
    made = scene(sim, **options)
    made.terminal.open_position("GBPUSD", "SELL", 0.3)
    made.place()
    return made


def ask(made: Scene, flatten_id: str = "ops-1") -> Any:
    """Ask the connector to flatten; return the future of the answer."""
    future = made.guard._house.address(CONNECTOR).ask_later(
        Flatten("ops", flatten_id), timeout=300.0
    )
    return lambda: made.terminal.runtime.wait(future, 300.0)


def nothing_left(made: Scene) -> None:
    """The broker has neither position nor order."""
    assert made.terminal.positions_get() == ()
    assert made.terminal.orders_get() == ()


def full(*_: object, **__: object) -> None:
    raise StoreFull("no room")


def test_every_order_is_durable_before_it_is_sent(sim: GuardKit) -> None:
    made = with_more(sim)
    answer = made.flatten()
    assert answer == {**EVERYTHING, "orders_unknown": False, "journalled": "before"}
    made.all_were_durable()
    assert len(made.terminal.sent) == 3
    nothing_left(made)
    let_pass(sim, 1.0)
    assert made.pending() == {}
    intents = kinds(made.guard, Kind.INTENT)
    assert [event.facts["what"] for event in intents] == ["close", "close", "delete_order"]
    outcomes = kinds(made.guard, Kind.OUTCOME)
    assert [event.facts["outcome"] for event in outcomes] == ["done", "done", "done"]
    assert {event.facts["id"] for event in outcomes} == {event.facts["id"] for event in intents}


def test_the_journal_holds_what_a_deleted_order_was(sim: GuardKit) -> None:
    made = with_more(sim)
    ask(made)()
    let_pass(sim, 1.0)
    action = made.store.action(f"ops-1-order-{made.orders[0]}")
    assert action.kind == "delete_order"
    assert (action.ticket, action.symbol) == (made.orders[0], "EURUSD")
    assert action.intent.direction.value == "BUY"
    assert (action.intent.volume_before, action.intent.price_seen) == (0.1, 1.05)
    assert action.outcome.kind is OutcomeKind.DONE


def test_an_empty_account_is_answered_at_once(sim: GuardKit) -> None:
    made = with_more(sim)
    made.flatten()
    again = made.flatten()
    assert (again["closed"], again["failed"], again["orders_deleted"]) == (0, [], 0)
    assert len(made.terminal.sent) == 3


def test_a_full_store_does_not_stop_it(sim: GuardKit, monkeypatch: pytest.MonkeyPatch) -> None:
    made = with_more(sim)
    monkeypatch.setattr(made.store, "commit", full)
    started = made.terminal.runtime.clock.monotonic()
    answer = made.flatten()
    assert answer == {**EVERYTHING, "orders_unknown": False, "journalled": "not"}
    assert made.terminal.runtime.clock.monotonic() - started < 1.0  # a refusal is not waited for
    nothing_left(made)


def test_an_escalated_registry_does_not_stop_it(sim: GuardKit) -> None:
    made = with_more(sim)
    while made.guard.status()["children"]["registry"]["state"] == "ready":  # type: ignore[index]
        made.guard.admin("kill", child="registry")
        let_pass(sim, 120.0)
    assert made.guard.status()["children"]["registry"]["state"] == "escalated"  # type: ignore[index]
    started = made.terminal.runtime.clock.monotonic()
    answer = made.flatten()
    assert answer == {**EVERYTHING, "orders_unknown": False, "journalled": "afterwards"}
    assert 2.0 <= made.terminal.runtime.clock.monotonic() - started < 3.0
    nothing_left(made)
    made.guard.admin("reset-budget", child="registry")
    let_pass(sim, 60.0)
    assert made.pending() == {}
    done = [e for e in kinds(made.guard, Kind.OUTCOME) if e.facts["outcome"] == "done"]
    assert len(done) == 3  # the journal has it, afterwards


@pytest.mark.parametrize("child", ["registry", "connector"])
@pytest.mark.parametrize("fate", list(Fate))
def test_a_lost_answer_is_told_and_resolved(sim: GuardKit, fate: Fate, child: str) -> None:
    made = with_more(sim)
    made.terminal.fates = [fate] if child == "registry" else [Fate.ANSWERED, Fate.ANSWERED, fate]
    answer = ask(made)()
    lost = fate is not Fate.ANSWERED
    if child == "registry":
        assert [one["outcome"] for one in answer["failed"]] == ["unknown"] * lost
    else:
        assert answer["orders_not_deleted"] == lost
    made.settle()
    made.agrees(f"ops-1-{made.ticket}", 0.2)
    made.agrees(f"ops-1-order-{made.orders[0]}", 0.0)
    made.all_were_durable()


@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("point", AROUND_AN_ORDER)
def test_a_death_at_any_point_sends_no_order_twice(sim: GuardKit, point: str, nth: int) -> None:
    made = with_more(sim)
    kill_nth(made.points, point, nth)
    answer = ask(made)()
    made.settle()
    assert answer["journalled"] in ("before", "afterwards")
    for ticket in (made.ticket, f"order-{made.orders[0]}"):
        made.agrees(f"ops-1-{ticket}", 0.0)
    assert len(made.terminal.sent) == 3
    nothing_left(made)
    if answer["journalled"] == "before":
        made.all_were_durable()


@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("point", AROUND_AN_ORDER)
def test_the_process_dies_in_the_middle(sim: GuardKit, point: str, nth: int) -> None:
    made = with_more(sim)
    over: list[bool] = []

    def stop_here() -> None:
        over.append(True)

    left = [nth]

    def count() -> None:
        left[0] -= 1
        if left[0] == 0:
            made.points.kill_at(point)
            stop_here()
            made.points.reach(point)

    made.points.arm(point, count, times=100)
    made.guard._house.address(CONNECTOR).tell(Flatten("ops", "ops-1"))
    made.terminal.runtime.wait_until(lambda: bool(over), 60.0)
    before = len(made.terminal.sent)
    made.die()
    made.settle()
    for sent in made.terminal.sent[:before]:
        assert sent.intent is not None
        made.agrees(sent.intent.id, 0.0)
    made.all_were_durable()
    # The same command again: what it had decided is not sent a second time.
    ask(made)()
    made.settle()
    ids = [sent.intent.id for sent in made.terminal.sent if sent.intent]
    assert len(ids) == len(set(ids))
    # A new command closes what is still open.
    answer = made.flatten()
    assert answer["failed"] == []
    nothing_left(made)


def test_the_same_command_twice_sends_each_order_once(sim: GuardKit) -> None:
    made = with_more(sim)
    made.terminal.fates = [Fate.NOT_EXECUTED_ANSWER_LOST]
    first, second = ask(made), ask(made)
    answers = [first(), second()]
    assert sorted(one["closed"] for one in answers) == [0, 1]
    assert len(made.of(f"ops-1-{made.ticket}")) == 1
    made.settle()
    third = ask(made)()
    assert [one["outcome"] for one in third["failed"]] == ["not_done"]
    assert len(made.of(f"ops-1-{made.ticket}")) == 1
    assert made.flatten()["closed"] == 1
    nothing_left(made)


def test_two_commands_at_once_close_everything_once(sim: GuardKit) -> None:
    made = with_more(sim)
    first, second = ask(made, "ops-1"), ask(made, "ops-2")
    answers = [first(), second()]
    assert sum(one["closed"] for one in answers) == 2
    assert sum(one.executed is not None for one in made.terminal.sent) == 3
    made.settle()
    nothing_left(made)


@pytest.mark.parametrize("netting", [False, True], ids=["hedging", "netting"])
@pytest.mark.parametrize("kind", [IntentKind.MOVE_STOP, IntentKind.CLOSE_PART, IntentKind.CLOSE])
@pytest.mark.parametrize(
    "fate", [Fate.NOT_EXECUTED_ANSWER_LOST, Fate.EXECUTED_LATER, Fate.PART_ANSWER_LOST]
)
def test_only_a_close_in_doubt_on_a_netting_account_holds_it_back(
    sim: GuardKit, kind: IntentKind, netting: bool, fate: Fate
) -> None:
    made = scene(sim, netting=netting)
    made.terminal.fates = [fate]
    made.decide(made.intent(kind))
    assert set(made.pending()) == {"intent-1"}
    answer = ask(made)()
    if netting and kind is not IntentKind.MOVE_STOP:
        assert answer["closed"] == 0
        assert [one["outcome"] for one in answer["failed"]] == ["in_doubt"]
        assert "intent-1" in answer["failed"][0]["detail"]
        assert len(made.terminal.sent) == 1
        made.settle()
        made.flatten()
    else:
        assert answer["closed"] == 1
        made.settle()
    closed = sum(one.executed or 0.0 for one in made.terminal.sent)
    assert closed == pytest.approx(0.2)
    nothing_left(made)
    if kind is not IntentKind.MOVE_STOP:
        made.agrees("intent-1", 0.1 if kind is IntentKind.CLOSE_PART else 0.2)


def test_two_closes_of_which_one_was_done_are_not_both_done(sim: GuardKit) -> None:
    made = scene(sim)
    made.terminal.comment = lambda _: "a broker's own words"
    made.terminal.fates = [Fate.NOT_EXECUTED_ANSWER_LOST]
    made.decide(made.intent(IntentKind.CLOSE))
    assert ask(made)()["closed"] == 1
    made.settle()
    outcomes = [made.outcome(one) for one in ("intent-1", f"ops-1-{made.ticket}")]
    assert [one.kind.value for one in outcomes if one] == ["not_done", "done"]


def test_frozen_and_observing_it_is_done(sim: GuardKit) -> None:
    made = with_more(sim, mode="observe")
    made.guard.admin("freeze", why="news")
    assert made.flatten()["closed"] == 2
    nothing_left(made)


def test_another_account_is_never_flattened(sim: GuardKit) -> None:
    made = with_more(sim)

    def switch() -> None:
        made.terminal.switch_account(999, "Elsewhere")

    made.points.arm("connector.before_send", switch)
    answer = made.flatten()
    assert [one["outcome"] for one in answer["failed"]] == ["not_sent", "not_sent"]
    assert made.terminal.sent == []


def test_an_account_that_cannot_be_read_is_said_so(sim: GuardKit) -> None:
    made = with_more(sim)
    made.terminal.add_fault(fault_from({"call": "positions_get", "effect": "unknown"}))
    with pytest.raises(TerminalRefused):
        made.flatten()
    assert made.terminal.sent == []


def test_orders_that_cannot_be_read_are_said_so(sim: GuardKit) -> None:
    made = with_more(sim)
    made.terminal.add_fault(fault_from({"call": "orders_get", "effect": "unknown"}))
    answer = made.flatten()
    assert (answer["closed"], answer["orders_unknown"], answer["orders_deleted"]) == (2, True, 0)


def test_a_restart_by_ops_in_the_middle_loses_no_asker(sim: GuardKit) -> None:
    made = with_more(sim)
    runtime = made.terminal.runtime
    made.points.arm("registry.before_commit", runtime.hang)
    answer, began = ask(made), runtime.clock.monotonic()
    let_pass(sim, 0.5)
    made.guard.admin("restart", child="connector")
    assert answer()["closed"] == 2
    # The next one asks the journal at once, not when the timer of the last one comes.
    assert 2.0 <= runtime.clock.monotonic() - began < 3.0
    made.settle()
    assert len(made.terminal.sent) == 3


@pytest.mark.parametrize("nth", [1, 2, 3, 4])
@pytest.mark.parametrize("point", ["connector.before_reply", "connector.after_send"])
def test_without_a_journal_a_death_sends_nothing_twice_either(
    sim: GuardKit, point: str, nth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = with_more(sim)
    monkeypatch.setattr(made.store, "commit", full)
    made.terminal.fates = [Fate.NOT_EXECUTED_ANSWER_LOST] * 2
    kill_nth(made.points, point, nth)
    ask(made)()
    let_pass(sim, 10.0)
    targets = [one.request.get("position") for one in made.terminal.sent]
    assert len(targets) == len(set(targets))


def test_it_goes_to_its_end_whoever_still_waits(sim: GuardKit) -> None:
    made = with_more(sim)
    made.terminal.after_send = lambda: made.terminal.runtime.clock.advance(5.0)
    made.guard._house.address(CONNECTOR).ask_later(Flatten("ops", "ops-1"), timeout=3.0)
    let_pass(sim, 60.0)
    nothing_left(made)


def on_threads(kit: GuardKit, points: Points) -> tuple[Guard, int]:
    guard = kit.start(adoption="ignore", points=points)
    for _ in range(5):
        kit.terminal.open_position("EURUSD", "BUY", 0.1)
    info = kit.terminal.account_info()
    assert info is not None
    return guard, info.login


def test_threads_journal_before(kit: GuardKit, points: Points) -> None:
    guard, login = on_threads(kit, points)
    answer: Any = guard.admin("flatten", confirm=login)
    assert (answer["closed"], answer["journalled"]) == (5, "before")
    assert kit.terminal.positions_get() == ()


def test_threads_do_not_wait_for_a_registry_that_hangs(
    kit: GuardKit, points: Points, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.flattening.JOURNAL_WAIT", 0.1)
    guard, login = on_threads(kit, points)
    released = threading.Event()

    def hold() -> None:
        released.wait(20.0)

    points.arm("registry.before_commit", hold)
    try:
        answer: Any = guard.admin("flatten", confirm=login)
        assert (answer["closed"], answer["journalled"]) == (5, "afterwards")
        assert kit.terminal.positions_get() == ()
    finally:
        released.set()
    kit.until(lambda: [e.facts["outcome"] for e in kinds(guard, Kind.OUTCOME)] == ["done"] * 5)
    assert guard._house.premises.stores.trades.load()[1] == {}
