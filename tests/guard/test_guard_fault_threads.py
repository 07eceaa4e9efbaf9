"""The guard on real threads meets what matters most."""

from __future__ import annotations

import pytest
from fault_kit import Meeting, meets
from guard_kit import GuardKit, kinds

from actors.events import Kind
from actors.names import CONNECTOR
from defence.trade import Standing, Step

DANGER = 1.0945


def back(met: Meeting) -> bool:
    return bool(kinds(met.guard, Kind.TERMINAL_BACK)) and met.guard.health().ready


@meets("an outage", "the nightly restart", "the account is switched, and back")
@pytest.mark.parametrize(
    "change",
    [
        {"name": "an outage"},
        {"name": "the nightly restart", "daily": None},
        {"name": "the account is switched, and back"},
    ],
    ids=lambda change: str(change["name"]),
)
def test_an_outage_is_parked(kit: GuardKit, change: dict[str, str]) -> None:
    met = Meeting(kit)
    met.inject(**{"seconds": 0.4, **change})
    kit.until(lambda: bool(kinds(met.guard, Kind.TERMINAL_LOST)))
    met.price(DANGER)
    kit.until(lambda: back(met))
    kit.until(lambda: len(met.done) == 1)
    lost, sent = kinds(met.guard, Kind.TERMINAL_LOST)[0], kinds(met.guard, Kind.INTENT)[0]
    assert sent.at > kinds(met.guard, Kind.TERMINAL_BACK)[0].at > lost.at
    assert not kinds(met.guard, Kind.CHARGED, Kind.EXITED)


@meets("a call hangs for ever")
def test_a_call_that_never_returns(kit: GuardKit) -> None:
    met = Meeting(kit, hang_after=0.5, stale_after=5.0)
    met.inject("a call hangs for ever")
    kit.until(lambda: bool(kinds(met.guard, Kind.CHARGED, child=CONNECTOR)))
    kit.until(lambda: met.guard.health().ready)
    met.price(DANGER)
    kit.until(lambda: len(met.done) == 1)
    kit.until(lambda: met.record.steps == (Step.L1_STOP,))


@meets("executed, the answer lost")
def test_an_answer_that_is_lost(kit: GuardKit) -> None:
    met = Meeting(kit)
    met.inject("executed, the answer lost")
    met.price(DANGER)
    kit.until(lambda: len(kinds(met.guard, Kind.OUTCOME)) == 2)
    outcomes = [one.facts["outcome"] for one in kinds(met.guard, Kind.OUTCOME)]
    assert outcomes == ["unknown", "done"]
    assert met.sent == 1


@meets("a slow broker", "a ticket changes")
def test_a_slow_broker_that_changes_a_ticket(kit: GuardKit) -> None:
    met = Meeting(kit)
    met.inject("a slow broker", seconds=0.02)
    met.inject("a ticket changes")
    ticket = met.position.ticket
    assert ticket != met.ticket
    kit.until(lambda: [one.ticket for one in met.guard.trades()] == [ticket])
    met.price(DANGER)
    kit.until(lambda: len(met.done) == 1)
    assert met.done[0]["position"] == ticket
    assert met.guard.trade(ticket).standing is Standing.GUARDED
    assert not kinds(met.guard, Kind.CHARGED)
