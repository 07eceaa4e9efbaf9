"""An order that waited too long is not sent, and is not resolved while it may yet be sent."""

from __future__ import annotations

from dataclasses import replace

import pytest
from guard_kit import GuardKit, kinds
from test_guard_acting import let_pass, one_trade, orders, price

from actors.events import Kind
from actors.messages import Execute
from actors.names import CONNECTOR
from actors.points import Points
from defence.errors import Conflict
from defence.orders import LATEST


@pytest.mark.parametrize(("age", "sent"), [(LATEST - 1.0, True), (LATEST + 1.0, False)])
def test_a_late_order_is_not_sent(sim: GuardKit, age: float, sent: bool) -> None:
    guard, _ = one_trade(sim)
    price(sim, 1.0945)
    let_pass(sim, 31.0)
    action = next(a for a in guard.actions() if a.intent is not None)
    assert action.intent is not None
    before = len(sim.terminal.orders_sent)
    now = sim.runtime.clock.wall()
    late = replace(action.intent, id="late", decided_at=now - age)
    guard._house.address(CONNECTOR).tell(Execute(late))
    let_pass(sim, 0.5)
    assert (len(sim.terminal.orders_sent) > before) is sent


def test_ops_wait_until_it_cannot_be_sent_any_more(sim: GuardKit) -> None:
    points = Points()
    guard, ticket = one_trade(sim, points=points, backoff_first=0.0)
    held: list[float] = []

    def hold() -> None:
        held.append(sim.runtime.clock.wall())
        sim.runtime.hang(None)

    points.arm("connector.before_send", hold)  # before it is attempted: a successor sends it
    price(sim, 1.0945)
    let_pass(sim, 30.5)
    assert held
    (intent,) = guard._house.premises.stores.trades.load()[1]
    with pytest.raises(Conflict, match="on its way") as caught:
        guard.admin("resolve", intent=intent, done=False)
    assert "try again in" in str(caught.value.remedy)
    let_pass(sim, LATEST + 5.0)  # the hang is noticed; the order is too old for the successor
    (outcome,) = kinds(guard, Kind.OUTCOME)
    assert outcome.facts["outcome"] == "not_sent"
    assert str(outcome.facts["detail"]).startswith("decided ")
    assert orders(sim) == []
    let_pass(sim, 65.0)  # and the danger being there still, it is decided anew
    assert len(orders(sim)) == 1
    assert guard.trade(ticket).stop_loss is not None
