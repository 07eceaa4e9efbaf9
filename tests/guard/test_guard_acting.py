"""The guard defends: at most one order per decision, never on a missing answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from guard_kit import GuardKit, kinds

from actors.events import Kind
from actors.messages import Evaluated, Execute, Journalled, RecordOutcome
from actors.names import CONNECTOR
from actors.points import Points
from defence.broker import Direction
from defence.errors import DeadlinePassed, Forbidden, Invalid, NotFound
from defence.orders import Intent, IntentKind
from defence.trade import Step, TradeState
from supervisors import Guard, Trade
from terminals.sim.faults import fault_from

ENTRY, STOP = 1.10000, 1.09000  # a risk of 100 pips


def let_pass(kit: GuardKit, seconds: float) -> None:
    """Let virtual time pass."""
    kit.runtime.run_for(seconds)  # type: ignore[attr-defined]  # the simulated runtime alone has it


def price(kit: GuardKit, bid: float) -> None:
    """Put EURUSD's bid there, with one pip of spread."""
    kit.terminal.set_price("EURUSD", bid, round(bid + 0.0001, 5))


def one_trade(sim: GuardKit, volume: float = 0.2, **options: object) -> tuple[Guard, int]:
    """Return a guard with one BUY of EURUSD at 1.1000, stop at 1.0900."""
    guard = sim.start(adoption="ignore", **options)
    price(sim, ENTRY - 0.0001)
    ticket = sim.terminal.open_position("EURUSD", "BUY", volume, sl=STOP)
    guard.register(Trade(ticket=ticket))
    let_pass(sim, 31.0)
    return guard, ticket


def orders(kit: GuardKit) -> list[dict[str, object]]:
    """Return the guard's own orders that met the broker and were done."""
    return [order for order in kit.terminal.orders_sent if order.get("retcode") == 10009]


def position(kit: GuardKit, ticket: int) -> object:
    """Return the broker's position."""
    found = kit.terminal.positions_get(ticket=ticket)
    return found[0] if found else None


def test_level_1_tightens_the_stop_once(sim: GuardKit) -> None:
    guard, ticket = one_trade(sim)
    price(sim, 1.0945)
    let_pass(sim, 200.0)
    record = guard.trade(ticket)
    assert record.state is TradeState.WARNING_L1
    assert record.steps == (Step.L1_STOP,)
    sent = orders(sim)
    assert len(sent) == 1
    new = float(str(sent[0]["sl"]))
    assert STOP < new < 1.0945
    assert record.stop_loss == pytest.approx(new)
    assert position(sim, ticket).sl == pytest.approx(new)  # type: ignore[attr-defined]
    actions = [a for a in guard.actions() if a.intent is not None]
    assert [str(a.outcome.kind) for a in actions if a.outcome] == ["done"]


def test_level_2_closes_half_then_moves_the_stop(sim: GuardKit) -> None:
    guard, ticket = one_trade(sim)
    price(sim, 1.1300)  # +3 R
    let_pass(sim, 60.0)
    price(sim, 1.1210)  # gave back 0.9 R, still far past the entry
    let_pass(sim, 300.0)
    record = guard.trade(ticket)
    assert record.state is TradeState.WARNING_L2
    assert Step.L2_HALF in record.steps
    assert Step.L2_STOP in record.steps
    assert record.volume == pytest.approx(0.1)
    assert position(sim, ticket).volume == pytest.approx(0.1)  # type: ignore[attr-defined]
    assert record.stop_loss is not None
    assert record.stop_loss >= ENTRY  # break-even or better
    assert len(orders(sim)) == 2
    price(sim, 1.1215)
    let_pass(sim, 3600.0)
    assert len(orders(sim)) == 2


def test_no_price_no_action(sim: GuardKit) -> None:
    guard, ticket = one_trade(sim)
    sim.terminal.add_fault(
        fault_from({"call": "symbol_info_tick", "effect": "unknown", "count": None})
    )
    price(sim, 1.0945)
    let_pass(sim, 300.0)
    assert orders(sim) == []
    assert guard.trade(ticket).state is TradeState.HEALTHY
    cycle = guard.status()["cycle"]
    assert cycle["skipped"] == {"no price": 1}  # type: ignore[index]
    assert guard.health().ready  # skipped with a reason


LOST = {
    "executed, the answer lost": {"when": "after"},
    "not executed, the answer lost": {"when": "before"},
}


@pytest.mark.parametrize("fault", LOST.values(), ids=LOST)
def test_an_order_without_an_answer_is_never_sent_again_blindly(
    sim: GuardKit, fault: dict[str, object]
) -> None:
    guard, ticket = one_trade(sim)
    sim.terminal.add_fault(
        fault_from(
            {
                "call": "order_send",
                "effect": "unknown",
                "error": [-10002, "IPC recv failed"],
                **fault,
            }
        )
    )
    price(sim, 1.0945)
    sends = sim.terminal.calls["order_send"]
    let_pass(sim, 31.0)
    assert sim.terminal.calls["order_send"] == sends + 1
    outcomes = [e.facts["outcome"] for e in kinds(guard, Kind.OUTCOME)]
    assert outcomes[0] == "unknown"
    let_pass(sim, 400.0)
    executed = fault["when"] == "after"
    outcomes = [e.facts["outcome"] for e in kinds(guard, Kind.OUTCOME)]
    assert outcomes[1] == ("done" if executed else "not_done")
    # One order took effect in all, whichever way it went.
    assert len(orders(sim)) == 1
    assert guard.trade(ticket).steps == (Step.L1_STOP,)
    resolved = kinds(guard, Kind.OUTCOME)
    if not executed:
        assert resolved[1].at - resolved[0].at >= 30.0


@pytest.mark.parametrize("point", ["connector.before_send", "connector.after_send"])
def test_a_connector_that_dies_around_the_order_sends_no_second_one(
    sim: GuardKit, point: str
) -> None:
    points = Points()
    guard, ticket = one_trade(sim, points=points)
    points.kill_at(point)
    price(sim, 1.0945)
    let_pass(sim, 400.0)
    assert points.reached == {point: 1}
    assert len(orders(sim)) == 1
    assert guard.trade(ticket).steps == (Step.L1_STOP,)
    assert guard.status()["orders_in_doubt"] == 0


@pytest.mark.parametrize(
    "point",
    [
        "registry.before_commit",
        "registry.in_commit",
        "registry.after_commit",
        "registry.before_execute",
        "registry.before_reply",
        "monitor.before_reply",
    ],
)
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_deaths_around_the_journal_send_no_second_order(
    sim: GuardKit, point: str, nth: int
) -> None:
    points = Points()
    guard, ticket = one_trade(sim, points=points)
    price(sim, 1.0945)
    seen = {"n": 0}
    original = points.reach

    def strike(name: str) -> None:
        if name == point:
            seen["n"] += 1
            if seen["n"] == nth:
                points.kill_at(name)
        original(name)

    points.reach = strike  # type: ignore[method-assign]  # counts the passes of this point
    let_pass(sim, 900.0)
    assert points.reached.get(point, 0) == (1 if seen["n"] >= nth else 0)
    assert seen["n"] >= 1
    assert len(orders(sim)) == 1
    assert guard.trade(ticket).steps == (Step.L1_STOP,)
    assert guard.status()["orders_in_doubt"] == 0
    assert guard.health().ready


def test_an_order_decided_by_a_replaced_monitor_is_not_sent(sim: GuardKit) -> None:
    points = Points()
    guard, ticket = one_trade(sim, points=points)
    price(sim, 1.0945)

    def replace_the_monitor() -> None:
        guard._house._slots[-1].lease.revoke(0.0)  # type: ignore[union-attr]

    points.arm("connector.before_send", replace_the_monitor)
    let_pass(sim, 31.0)
    assert orders(sim) == []
    outcome = kinds(guard, Kind.OUTCOME)[0]
    assert outcome.facts["outcome"] == "not_sent"
    assert "fenced" in str(outcome.facts["detail"])
    assert guard.trade(ticket).attempts == 0


def test_the_same_order_twice_in_the_mailbox_is_sent_once(sim: GuardKit) -> None:
    guard, ticket = one_trade(sim)
    price(sim, 1.0945)
    let_pass(sim, 31.0)
    action = next(a for a in guard.actions() if a.intent is not None)
    assert action.intent is not None
    assert action.outcome is not None
    before = guard.trade(ticket)
    guard._house.ask("registry", RecordOutcome(action.outcome), 5.0)
    assert guard.trade(ticket) == before
    guard._house.address(CONNECTOR).tell(Execute(action.intent))
    let_pass(sim, 31.0)
    assert len(orders(sim)) == 1  # the stop is there already: withheld at the last look


def test_observe_decides_and_records_and_sends_nothing(sim: GuardKit) -> None:
    guard, ticket = one_trade(sim, mode="observe")
    price(sim, 1.0945)
    let_pass(sim, 300.0)
    assert orders(sim) == []
    assert guard.trade(ticket).state is TradeState.WARNING_L1
    would = [a for a in guard.actions() if a.kind == "would_move_stop"]
    assert len(would) == 1
    assert len(kinds(guard, Kind.WOULD)) == 1
    guard.admin("set-mode", mode="armed")
    let_pass(sim, 60.0)
    assert len(orders(sim)) == 1


def test_freeze_sends_nothing_also_after_a_restart(sim: GuardKit, tmp_path: Path) -> None:
    state = {"state": tmp_path / "broker.json"}
    guard, _ = one_trade(sim, terminal_options=state)
    guard.admin("freeze", why="news")
    price(sim, 1.0945)
    let_pass(sim, 100.0)
    guard.admin("kill", child="connector")
    guard.admin("kill", child="monitor")
    let_pass(sim, 200.0)
    assert orders(sim) == []
    guard.stop()
    again = sim.next_process(state, adoption="ignore", mode="armed").start()
    assert again.status()["mode"] == "observe"  # the more restrictive of stored and flag


def test_who_froze_sees_it_also_while_no_monitor_lives(sim: GuardKit) -> None:
    guard, ticket = one_trade(sim)
    assert guard.status()["mode"] == "armed"
    for _ in range(4):  # more often than an hour allows
        guard.admin("kill", child="monitor")
        let_pass(sim, 5.0)
    assert guard.status()["children"]["monitor"]["state"] == "escalated"  # type: ignore[index]
    guard.admin("freeze", by="ops", why="news")
    assert guard.status()["mode"] == "observe"
    (told,) = kinds(guard, Kind.FROZEN)
    assert told.facts == {"frozen": True, "by": "ops", "why": "news"}
    guard.admin("reset-budget", child="monitor")
    let_pass(sim, 60.0)
    price(sim, 1.0945)
    let_pass(sim, 100.0)
    assert guard.status()["mode"] == "observe"
    assert orders(sim) == []
    guard.admin("set-mode", mode="armed", by="ops")
    assert guard.status()["mode"] == "armed"
    let_pass(sim, 60.0)
    assert [one.facts["frozen"] for one in kinds(guard, Kind.FROZEN)] == [True, False]
    assert len(orders(sim)) == 1
    assert guard.trade(ticket).state is TradeState.WARNING_L1


def acts_once_armed(sim: GuardKit, guard: Guard) -> None:
    guard.admin("set-mode", mode="armed", by="ops")
    let_pass(sim, 120.0)
    assert guard.status()["mode"] == "armed"
    price(sim, 1.0945)
    let_pass(sim, 100.0)
    assert len(orders(sim)) == 1


def test_who_thawed_sees_it_though_the_connector_was_away(sim: GuardKit) -> None:
    guard, _ = one_trade(sim)
    for _ in range(60):  # into a back-off that is longer than anybody waits
        if guard.status()["children"]["connector"]["state"] == "ready":  # type: ignore[index]
            guard.admin("kill", child="connector")
        let_pass(sim, 1.0)
    assert guard.status()["children"]["connector"]["state"] == "backoff"  # type: ignore[index]
    with pytest.raises(DeadlinePassed):
        guard.admin("freeze", by="ops")
    acts_once_armed(sim, guard)


def test_who_thawed_sees_it_though_the_frozen_connector_died(sim: GuardKit) -> None:
    guard, _ = one_trade(sim)
    guard.admin("freeze", by="ops")
    assert guard.status()["mode"] == "observe"
    guard.admin("kill", child="connector")
    acts_once_armed(sim, guard)


def test_pause_and_resume(sim: GuardKit) -> None:
    guard, ticket = one_trade(sim)
    guard.admin("pause", why="lunch")
    price(sim, 1.0945)
    let_pass(sim, 1000.0)
    assert orders(sim) == []
    assert not kinds(guard, Kind.CHARGED)  # a paused monitor is not silent
    judged = guard.health()
    assert not judged.monitoring_active
    guard.admin("kill", child="monitor")
    let_pass(sim, 100.0)
    assert orders(sim) == []  # the pause outlives the incarnation
    guard.admin("resume")
    let_pass(sim, 31.0)
    assert len(orders(sim)) == 1
    assert guard.trade(ticket).steps == (Step.L1_STOP,)


def test_cannot_act_is_not_ready_and_told(sim: GuardKit) -> None:
    guard, _ = one_trade(sim)
    sim.terminal.set_autotrading(False)
    price(sim, 1.0945)
    let_pass(sim, 60.0)
    judged = guard.health()
    assert judged.status == 503
    assert any(reason.startswith("cannot_act") for reason in judged.reasons)
    assert any(alert.key == "cannot_act" for alert in guard.alerts())
    assert orders(sim) == []
    sim.terminal.set_autotrading(True)
    let_pass(sim, 60.0)
    assert guard.health().ready
    assert len(orders(sim)) == 1


def test_flatten_closes_all_while_the_monitor_is_down(sim: GuardKit) -> None:
    guard, ticket = one_trade(sim, max_restarts=0)
    other = sim.terminal.open_position("GBPUSD", "SELL", 0.3)
    guard.admin("kill", child="monitor")
    let_pass(sim, 10.0)
    assert guard.health().status == 503
    with pytest.raises(Invalid) as caught:
        guard.admin("flatten", confirm=1)
    assert caught.value.field == "confirm"
    account = guard.status()["account"]
    answer = guard.admin("flatten", confirm=account["login"])  # type: ignore[index]
    assert answer["closed"] == 2
    assert answer["failed"] == []
    assert position(sim, ticket) is None
    assert position(sim, other) is None


def test_ops_resolve_an_order_in_doubt(sim: GuardKit) -> None:
    guard, ticket = one_trade(sim)
    sim.terminal.add_fault(
        fault_from(
            {
                "call": "order_send",
                "effect": "unknown",
                "error": [-10002, "IPC recv failed"],
                "when": "after",
            }
        )
    )
    price(sim, 1.0945)
    let_pass(sim, 30.5)
    doubt = next(a for a in guard.actions() if a.intent is not None)
    if guard.status()["orders_in_doubt"]:
        guard.admin("resolve", intent=doubt.id, done=True)
    assert guard.status()["orders_in_doubt"] == 0
    with pytest.raises(NotFound):
        guard.admin("resolve", intent=doubt.id, done=True)
    assert guard.trade(ticket).steps == (Step.L1_STOP,)


def test_chaos_needs_the_flag_and_unknown_commands_are_refused(sim: GuardKit) -> None:
    guard = sim.start(chaos=False)
    for command in ("kill", "hang"):
        with pytest.raises(Forbidden):
            guard.admin(command, child="monitor")
    with pytest.raises(NotFound):
        guard.admin("explode")
    with pytest.raises(NotFound):
        guard.admin("restart", child="nobody")
    with pytest.raises(Invalid):
        guard.admin("set-mode", mode="berserk")
    audit = guard._house.premises.stores.audit.tail(10)
    assert {entry.command for entry in audit} >= {"kill", "hang", "explode", "restart", "set-mode"}
    assert all(entry.result.startswith("refused") for entry in audit)


def test_calls_per_cycle_do_not_depend_on_the_number_of_trades(sim: GuardKit) -> None:
    guard = sim.start(adoption="adopt")

    def per_cycle() -> float:
        before, cycles = dict(sim.terminal.calls), len(kinds(guard, Kind.CYCLE))
        let_pass(sim, 300.0)
        count = len(kinds(guard, Kind.CYCLE)) - cycles
        calls = sum(sim.terminal.calls.values()) - sum(before.values())
        return calls / count

    sim.terminal.open_position("EURUSD", "BUY", 0.1)
    let_pass(sim, 60.0)
    few = per_cycle()
    for _ in range(200):
        sim.terminal.open_position("EURUSD", "BUY", 0.01)
    let_pass(sim, 60.0)
    assert len(guard.trades()) == 201
    assert per_cycle() <= few + 1


def evaluated(guard: Guard, ticket: int, intent_id: str, decided_by: int = 1) -> Evaluated:
    """Return a cycle's result with one order, as the Monitor would tell it."""
    record = guard.trade(ticket)
    now = guard._runtime.clock.wall()
    intent = Intent(
        id=intent_id,
        identifier=record.identifier,
        ticket=ticket,
        symbol="EURUSD",
        direction=Direction.BUY,
        kind=IntentKind.MOVE_STOP,
        step=Step.L1_STOP,
        volume=0.0,
        volume_before=record.volume,
        stop_loss=1.095,
        take_profit=None,
        stop_before=record.stop_loss,
        price_seen=1.0999,
        reason="a test",
        magic=0,
        decided_at=now,
        snapshot_at=now,
        decided_by=decided_by,
    )
    return Evaluated((), {record.identifier: record.revision}, (intent,))


def test_the_journal_takes_an_intent_once_and_none_while_one_is_in_doubt(sim: GuardKit) -> None:
    guard, ticket = one_trade(sim)
    lost = {"call": "order_send", "effect": "unknown", "error": [-10002, "IPC recv failed"]}
    sim.terminal.add_fault(fault_from({**lost, "when": "after"}))
    message = evaluated(guard, ticket, "one")
    first: Journalled = guard._house.ask("registry", message, 5.0)
    again: Journalled = guard._house.ask("registry", message, 5.0)
    other: Journalled = guard._house.ask("registry", evaluated(guard, ticket, "two"), 5.0)
    assert (first.intents, again.intents, other.intents) == (("one",), (), ())
    let_pass(sim, 31.0)
    assert sim.terminal.calls["order_send"] == 1
    # Also after its outcome the same intent is not taken again.
    let_pass(sim, 300.0)
    assert guard.status()["orders_in_doubt"] == 0
    late = evaluated(guard, ticket, "one")
    answer: Journalled = guard._house.ask("registry", late, 5.0)
    assert answer.intents == ()
    assert sim.terminal.calls["order_send"] == 1


def test_a_trade_in_doubt_is_skipped_with_that_reason(sim: GuardKit) -> None:
    guard, _ = one_trade(sim)
    lost = {"call": "order_send", "effect": "unknown", "error": [-10002, "IPC recv failed"]}
    sim.terminal.add_fault(fault_from({**lost, "when": "before"}))
    price(sim, 1.0945)
    sim.until(lambda: bool(guard.status()["orders_in_doubt"]), 60)
    let_pass(sim, 0.0)
    guard.admin("set-mode", mode="armed")  # a cycle now
    let_pass(sim, 1.0)
    assert guard.status()["cycle"]["skipped"] == {"an order is in doubt": 1}  # type: ignore[index]


def test_an_intent_on_an_old_record_is_not_taken(sim: GuardKit) -> None:
    guard, ticket = one_trade(sim)
    message = evaluated(guard, ticket, "one")
    guard.release(ticket)
    answer: Journalled = guard._house.ask("registry", message, 5.0)
    assert answer.intents == ()
    let_pass(sim, 10.0)
    assert orders(sim) == []


def test_an_order_of_an_earlier_monitor_is_fenced_at_the_connector(sim: GuardKit) -> None:
    guard, ticket = one_trade(sim)
    guard.admin("restart", child="monitor")
    let_pass(sim, 31.0)
    answer: Journalled = guard._house.ask("registry", evaluated(guard, ticket, "old", 1), 5.0)
    assert answer.intents == ("old",)
    let_pass(sim, 5.0)
    assert orders(sim) == []
    outcome = kinds(guard, Kind.OUTCOME)[-1]
    assert (outcome.facts["outcome"], "fenced" in str(outcome.facts["detail"])) == (
        "not_sent",
        True,
    )
    assert not kinds(guard, Kind.EXITED, child="connector")
