"""The guard meets positions that change under its hands."""

from __future__ import annotations

import pytest
from fault_kit import Meeting, meets
from guard_kit import GuardKit, kinds

from actors.events import Kind
from defence.trade import Standing, Step

DANGER = 1.0945


@meets("a ticket changes")
def test_a_ticket_changes(sim: GuardKit) -> None:
    met = Meeting(sim)
    met.price(1.1020)
    met.rest(40.0)
    before = met.record
    met.inject("a ticket changes")
    met.rest(40.0)
    assert met.position.ticket != met.ticket
    after = met.guard.trade(met.position.ticket)
    assert (after.identifier, after.peak_r) == (before.identifier, before.peak_r)
    assert after.standing is Standing.GUARDED
    met.price(DANGER)
    met.rest(40.0)
    (order,) = met.done
    assert order["position"] == met.position.ticket
    assert len(met.guard.trades()) == 1


@meets("a position vanishes")
def test_a_position_vanishes(sim: GuardKit) -> None:
    met = Meeting(sim)
    met.inject("a position vanishes")
    met.rest(200.0)
    assert met.record.standing is Standing.GUARDED  # its history says that it is open
    met.rest(200.0)
    assert met.record.standing is Standing.UNEXPLAINED
    assert met.record.close_price is None
    assert f"unexplained:{met.record.identifier}" in met.alerts()
    assert met.sent == 0


@meets("a person closes a position")
def test_a_person_closes_it(sim: GuardKit) -> None:
    met = Meeting(sim)
    met.price(1.1050)
    met.inject("a person closes a position")
    met.rest(100.0)
    record = met.record
    assert (record.standing, record.close_reason) == (Standing.CLOSED, "client")
    assert record.close_price == pytest.approx(1.1050)
    assert record.close_profit == pytest.approx(100.0)
    assert met.sent == 0


@meets("a person closes a part")
def test_a_person_closes_a_part(sim: GuardKit) -> None:
    met = Meeting(sim)
    met.inject("a person closes a part")
    met.rest(100.0)
    assert met.record.volume == pytest.approx(0.15)
    assert met.record.closed_volume == pytest.approx(0.05)
    assert met.record.standing is Standing.GUARDED


@meets("a person removes the stop")
def test_a_person_removes_the_stop(sim: GuardKit) -> None:
    met = Meeting(sim)
    met.inject("a person removes the stop")
    met.rest(40.0)
    assert met.record.stop_loss is None
    met.price(DANGER)
    met.rest(3400.0)
    assert met.sent == 0  # it is the person's, for an hour
    assert any(action.kind == "manual_change" for action in met.guard.actions())
    met.rest(400.0)
    assert len(met.done) == 1
    assert met.record.steps == (Step.L1_STOP,)


@meets("deals reach the history late")
def test_a_deal_that_is_late_is_waited_for(sim: GuardKit) -> None:
    met = Meeting(sim)
    met.inject("deals reach the history late")
    met.inject("a person closes a position")
    met.rest(35.0)
    assert met.record.standing is Standing.GUARDED
    assert met.record.missing_since is not None
    met.rest(120.0)
    assert met.record.standing is Standing.CLOSED
    assert met.record.close_profit is not None
    assert not [key for key in met.alerts() if key.startswith("unexplained")]
    assert not kinds(met.guard, Kind.CHARGED)
