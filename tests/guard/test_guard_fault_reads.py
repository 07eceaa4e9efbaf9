"""The guard meets reads that fail, lie, hang or come from elsewhere."""

from __future__ import annotations

import pytest
from fault_kit import ENTRY, PIP, Meeting, meets, moving
from guard_kit import GuardKit, kinds

from actors.events import Kind
from actors.names import CONNECTOR
from defence.trade import Standing, Step, TradeState

DANGER = 1.0945  # gives back more than half of the risk: level 1


@meets("an answer is missing", "a broken bridge raises", "another account for a few calls")
@pytest.mark.parametrize(
    "mishap",
    ["an answer is missing", "a broken bridge raises", "another account for a few calls"],
)
def test_a_read_that_fails_removes_nothing(sim: GuardKit, mishap: str) -> None:
    met = Meeting(sim)
    cycles = len(kinds(met.guard, Kind.CYCLE))
    met.inject(mishap)
    met.rest(31.0)
    assert kinds(met.guard, Kind.TERMINAL_LOST)
    met.rest(60.0)
    assert met.record.standing is Standing.GUARDED
    assert kinds(met.guard, Kind.TERMINAL_BACK)
    assert len(kinds(met.guard, Kind.CYCLE)) > cycles
    assert not kinds(met.guard, Kind.CHARGED, Kind.EXITED)
    assert met.guard.health().ready
    met.price(DANGER)
    met.rest(40.0)
    assert len(met.done) == 1


@meets("an empty answer that is a lie")
def test_an_empty_lie_is_found_out(sim: GuardKit) -> None:
    met = Meeting(sim)
    met.inject("an empty answer that is a lie")
    met.rest(35.0)
    met.rest(200.0)
    assert met.record.standing is Standing.GUARDED
    assert met.record.missing_since is None
    assert "unexplained" not in str(met.alerts())
    assert met.record.state is TradeState.HEALTHY


@meets("a call hangs for a while", "a call is delayed")
@pytest.mark.parametrize("mishap", ["a call hangs for a while", "a call is delayed"])
def test_a_wait_is_waited_out(sim: GuardKit, mishap: str) -> None:
    met = Meeting(sim)
    met.price(DANGER)
    met.inject(mishap)
    met.rest(120.0)
    assert not kinds(met.guard, Kind.CHARGED)
    assert len(met.done) == 1
    assert met.guard.health().ready


@meets("a call hangs for ever")
def test_a_hang_for_ever_costs_the_connector(sim: GuardKit) -> None:
    met = Meeting(sim)
    met.inject("a call hangs for ever")
    met.rest(200.0)
    assert [one.child for one in kinds(met.guard, Kind.CHARGED)] == [CONNECTOR]
    assert met.guard.health().ready
    met.price(DANGER)
    met.rest(40.0)
    assert len(met.done) == 1


@meets("a slow broker")
def test_a_slow_broker_is_borne(sim: GuardKit) -> None:
    met = Meeting(sim)
    met.inject("a slow broker")
    met.rest(60.0)
    met.price(DANGER)
    met.rest(120.0)
    assert not kinds(met.guard, Kind.CHARGED)
    assert met.guard.health().ready
    assert len(met.done) == 1


@meets("an outage", "the nightly restart", "the account is switched, and back")
@pytest.mark.parametrize(
    "mishap", ["an outage", "the nightly restart", "the account is switched, and back"]
)
def test_an_outage_is_parked_and_nothing_is_sent(sim: GuardKit, mishap: str) -> None:
    # Danger begins in the middle of the outage: the market starts at 22:13:20, wall time.
    met = Meeting(sim, moving([(0, ENTRY - PIP), (6600, DANGER)], hours=6.0))
    login = met.guard.status()["account"]["login"]  # type: ignore[index]
    if mishap == "the nightly restart":
        met.inject(mishap)
    else:
        met.inject(mishap, second=6280.0)
    met.rest_until(6280.0)
    before = met.sent
    record = met.record
    met.rest(100.0)  # 23:58:20 to 00:00
    judged = met.guard.health()
    assert not judged.ready
    assert met.sent == before
    assert met.record == record
    met.rest(400.0)
    assert met.guard.health().ready
    assert kinds(met.guard, Kind.TERMINAL_BACK)
    assert kinds(met.guard, Kind.RECONCILED)
    assert met.guard.status()["account"]["login"] == login  # type: ignore[index]
    assert not kinds(met.guard, Kind.CHARGED, Kind.EXITED)
    assert len(met.done) == 1
    assert met.record.steps == (Step.L1_STOP,)
