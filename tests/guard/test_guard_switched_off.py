"""Trading by programs is switched off: seen, told, treated as observe; on again, and no burst."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from guard_kit import GuardKit, kinds

from actors.events import Kind
from actors.points import Points
from actors.simulated import SimulatedRuntime
from defence.alerts import Severity
from defence.trade import Step
from supervisors import Guard, Trade
from terminals.sim.faults import fault_from

ENTRY, STOP = 1.10000, 1.09000  # a risk of 100 pips
SYMBOL = "EURUSD"


def let_pass(kit: GuardKit, seconds: float) -> None:
    """Let virtual time pass."""
    kit.runtime.run_for(seconds)  # type: ignore[attr-defined]  # the simulated runtime alone has it


def price(kit: GuardKit, bid: float) -> None:
    kit.terminal.set_price(SYMBOL, bid, round(bid + 0.0001, 5))


def trades(kit: GuardKit, count: int = 1, **options: object) -> tuple[Guard, list[int]]:
    """Return a guard with some BUYs at 1.1000, stop at 1.0900."""
    guard = kit.start(adoption="ignore", **options)
    price(kit, ENTRY - 0.0001)
    tickets = [kit.terminal.open_position(SYMBOL, "BUY", 0.2, sl=STOP) for _ in range(count)]
    for ticket in tickets:
        guard.register(Trade(ticket=ticket))
    return guard, tickets


def cycles(kit: GuardKit, guard: Guard, more: int) -> None:
    """Let some more whole cycles end."""
    wanted = len(kinds(guard, Kind.CYCLE)) + more
    if isinstance(kit.runtime, SimulatedRuntime):
        let_pass(kit, 31.0 * more)
        assert len(kinds(guard, Kind.CYCLE)) >= wanted
    else:
        kit.until(lambda: len(kinds(guard, Kind.CYCLE)) >= wanted)


def reasons(guard: Guard) -> list[str]:
    return [reason for reason in guard.health().reasons if reason.startswith("cannot_act")]


SWITCHES: dict[str, Callable[[GuardKit, bool], None]] = {
    "Algo Trading button": lambda kit, on: kit.terminal.set_autotrading(on),
    "investor password": lambda kit, on: kit.terminal.set_trading(allowed=on),
    "does not let programs": lambda kit, on: kit.terminal.set_trading(expert=on),
}


@pytest.mark.parametrize("why", SWITCHES)
def test_off_is_observe_and_on_again_is_one_order(both: GuardKit, why: str) -> None:
    guard, tickets = trades(both, 2)
    SWITCHES[why](both, False)
    cycles(both, guard, 2)
    assert [why in reason for reason in reasons(guard)] == [True]
    assert guard.health().status == 503
    price(both, 1.0945)
    cycles(both, guard, 3)
    assert both.terminal.orders_sent == []
    assert kinds(guard, Kind.INTENT, Kind.OUTCOME) == []
    assert [a.kind for a in guard.actions() if a.kind.startswith("would")] == [
        "would_move_stop"
    ] * 2
    open_alerts = [a for a in guard.alerts() if a.acknowledged_at is None]
    assert [(a.key, a.count, a.severity) for a in open_alerts] == [
        ("cannot_act", 1, Severity.CRITICAL)
    ]
    assert why in open_alerts[0].text

    SWITCHES[why](both, True)
    cycles(both, guard, 4)
    assert reasons(guard) == []
    assert guard.health().ready
    assert [one.facts["reason"] for one in kinds(guard, Kind.CANNOT_ACT)][1:] == [None]
    # One for each trade, of what is there now; nothing that had piled up.
    sent = both.terminal.orders_sent
    assert [(one["action"], one["retcode"]) for one in sent] == [(6, 10009)] * 2
    assert [guard.trade(ticket).steps for ticket in tickets] == [(Step.L1_STOP,)] * 2
    ended = {a.key: a.acknowledged_by for a in guard.alerts()}
    assert ended["cannot_act"] == "can_act"


def test_the_alert_is_repeated_until_somebody_has_acknowledged(sim: GuardKit) -> None:
    guard, _ = trades(sim, alert_repeat=100.0)
    sim.terminal.set_autotrading(False)
    let_pass(sim, 60.0)

    def told() -> int:
        return next(a.told for a in guard.alerts() if a.key == "cannot_act")

    assert told() == 1
    let_pass(sim, 350.0)
    assert told() >= 3
    guard.admin("acknowledge", alert="cannot_act")
    before = told()
    let_pass(sim, 1000.0)
    assert told() == before


def test_off_between_the_look_and_the_order(sim: GuardKit, points: Points) -> None:
    """The order is decided and journalled, and the switch is seen right before it goes out."""
    guard, (ticket,) = trades(sim, points=points)
    let_pass(sim, 31.0)
    price(sim, 1.0945)
    points.arm("connector.before_send", lambda: sim.terminal.set_autotrading(False))
    let_pass(sim, 100.0)
    assert sim.terminal.orders_sent == []
    (outcome,) = kinds(guard, Kind.OUTCOME)
    assert outcome.facts["outcome"] == "not_sent"
    assert str(outcome.facts["detail"]).startswith("cannot act: trading by programs")
    assert guard.trade(ticket).attempts == 0
    sim.terminal.set_autotrading(True)
    let_pass(sim, 60.0)
    assert guard.trade(ticket).steps == (Step.L1_STOP,)


REFUSALS = {
    "10026": {"effect": "retcode", "retcode": 10026},
    "10027": {"effect": "retcode", "retcode": 10027},
    "-8": {"effect": "unknown", "error": [-8, "Auto-Trading using Python API disabled"]},
}


@pytest.mark.parametrize("code", REFUSALS)
def test_refused_although_every_switch_is_on(both: GuardKit, code: str) -> None:
    """One order finds out; the others wait. It is tried again, and costs no try of the step."""
    guard, tickets = trades(both, 3)
    both.terminal.add_fault(fault_from({"call": "order_send", "count": None, **REFUSALS[code]}))
    price(both, 1.0945)
    both.until(lambda: len(kinds(guard, Kind.OUTCOME)) >= 3, timeout=60.0)
    cycles(both, guard, 1)
    found = [(one.facts["outcome"], one.facts["detail"]) for one in kinds(guard, Kind.OUTCOME)][:3]
    assert sorted(kind for kind, _ in found) == ["not_done", "not_sent", "not_sent"]
    assert all(str(detail).startswith("cannot act") for kind, detail in found if kind == "not_sent")
    assert code in reasons(guard)[0]
    assert [a.count for a in guard.alerts() if a.key == "cannot_act"] == [1]
    if not isinstance(both.runtime, SimulatedRuntime):
        return  # what follows takes minutes
    let_pass(both, 1800.0)
    tried = [one for one in kinds(guard, Kind.OUTCOME) if one.facts["outcome"] == "not_done"]
    assert 8 <= len(tried) <= 11  # after 30 s, 1 min, 2 min, 4 min, then every 5 min
    assert [a.count for a in guard.alerts() if a.key == "cannot_act"] == [1]
    assert [guard.trade(ticket).attempts for ticket in tickets] == [0, 0, 0]
    both.terminal.clear_faults()
    let_pass(both, 400.0)
    assert [guard.trade(ticket).steps for ticket in tickets] == [(Step.L1_STOP,)] * 3
    assert guard.health().ready
    assert len([one for one in both.terminal.orders_sent if one["retcode"] == 10009]) == 3


def test_a_refusal_that_is_over_unnoticed_does_not_stay_for_ever(sim: GuardKit) -> None:
    """No order was needed since: after a while health says ready again, and people are told."""
    guard, (ticket,) = trades(sim)
    sim.terminal.add_fault(fault_from({"call": "order_send", **REFUSALS["10026"]}))
    let_pass(sim, 31.0)
    price(sim, 1.0945)
    let_pass(sim, 31.0)
    assert reasons(guard)
    sim.terminal.close_position(ticket)
    let_pass(sim, 300.0)
    assert guard.health().ready
    assert [a.acknowledged_by for a in guard.alerts() if a.key == "cannot_act"] == ["can_act"]


def test_refusals_that_are_over_do_not_make_the_next_wait_long(sim: GuardKit) -> None:
    guard, (ticket, other) = trades(sim, 2)
    sim.terminal.add_fault(fault_from({"call": "order_send", "count": None, **REFUSALS["10026"]}))
    let_pass(sim, 31.0)
    price(sim, 1.0945)
    let_pass(sim, 1800.0)  # by now it waits 5 min between two tries
    assert reasons(guard)
    price(sim, ENTRY)
    let_pass(sim, 600.0)
    assert not reasons(guard)
    price(sim, 1.0945)
    let_pass(sim, 31.0)
    assert reasons(guard)
    sim.terminal.clear_faults()
    sim.terminal.close_position(other)
    let_pass(sim, 65.0)
    assert guard.trade(ticket).steps == (Step.L1_STOP,)


def test_a_flatten_says_that_nothing_was_sent(sim: GuardKit) -> None:
    guard, _ = trades(sim)
    let_pass(sim, 31.0)
    sim.terminal.set_autotrading(False)
    login = guard.status()["account"]["login"]  # type: ignore[index]
    answer = guard.admin("flatten", confirm=login)
    assert answer["closed"] == 0
    assert "cannot act" in str(answer["failed"])
    assert sim.terminal.orders_sent == []
    sim.terminal.set_autotrading(True)
    assert guard.admin("flatten", confirm=login)["closed"] == 1


def test_a_changed_build_is_told_once(sim: GuardKit, monkeypatch: pytest.MonkeyPatch) -> None:
    guard, _ = trades(sim)
    let_pass(sim, 31.0)
    monkeypatch.setattr("terminals.sim.views.BUILD", 5001)
    let_pass(sim, 200.0)
    (told,) = kinds(guard, Kind.TERMINAL_UPDATED)
    assert (told.facts["before"], told.facts["build"]) == (5000, 5001)
    assert guard.status()["terminal"]["build"] == 5001  # type: ignore[index]
    (alert,) = [a for a in guard.alerts() if a.key == "terminal_updated"]
    assert (alert.severity, alert.told) == (Severity.INFO, 1)
    guard.admin("kill", child="connector")
    monkeypatch.setattr("terminals.sim.views.BUILD", 5002)
    let_pass(sim, 200.0)  # the next incarnation knows what its forerunner saw
    assert [one.facts["before"] for one in kinds(guard, Kind.TERMINAL_UPDATED)] == [5000, 5001]
