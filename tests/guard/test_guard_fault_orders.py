"""The guard meets answers to its orders: refused, accepted, half done, lost, and lies."""

from __future__ import annotations

import pytest
from fault_kit import STOP, Meeting, meets
from guard_kit import GuardKit, kinds

from actors.events import Kind
from defence.orders import MARK
from defence.retcodes import Meaning, classify
from defence.trade import Step
from terminals import constants as mt5

DANGER = 1.0945  # gives back more than half of the risk: level 1
BEST, GIVEN_BACK = 1.1300, 1.1210  # from +3 R back by 0.9 R: level 2
RETCODES = sorted(value for name, value in vars(mt5).items() if name.startswith("TRADE_RETCODE_"))
DOUBT = (Meaning.OUTCOME_UNKNOWN, Meaning.PLACED)


def outcomes(met: Meeting) -> list[str]:
    return [str(one.facts["outcome"]) for one in kinds(met.guard, Kind.OUTCOME)]


def halve(met: Meeting) -> None:
    """Bring the trade to level 2: half is to be closed, then the stop moved."""
    met.price(BEST)
    met.rest(40.0)
    met.price(GIVEN_BACK)


def test_the_codes_are_all_of_them() -> None:
    assert RETCODES[0] == 10004
    assert RETCODES[-1] == 10046
    assert len(RETCODES) > 35


@meets("an order is refused")
def test_refused_with_every_code(sim: GuardKit) -> None:
    """One guard meets them one after the other, each with a trade of its own."""
    met = Meeting(sim)
    for retcode in RETCODES:
        seen, sent = len(kinds(met.guard, Kind.OUTCOME)), met.sent
        met.inject("an order is refused", retcode=retcode)
        met.price(DANGER)
        met.rest(200.0)
        found = kinds(met.guard, Kind.OUTCOME)[seen:]
        # 10009, 10010: the broker's word, but the stop that is read back is not there.
        doubt = classify(retcode) in (*DOUBT, Meaning.DONE, Meaning.PARTIAL)
        assert (found[0].facts["outcome"] == "unknown") == doubt, retcode
        if doubt:
            assert found[1].facts["outcome"] == "not_done", retcode
            assert found[1].at - found[0].at >= 30.0, retcode
        assert met.guard.status()["orders_in_doubt"] == 0, retcode
        # "no changes" is taken for the broker's word; the stop that differs, for a person's.
        acts = classify(retcode) is not Meaning.NO_CHANGES
        assert len(met.done) == acts, retcode
        assert met.sent - sent == 1 + acts, retcode
        met.next_trade()
    assert not kinds(met.guard, Kind.CHARGED, Kind.EXITED)


@meets("an order is done though it was refused")
def test_done_though_refused_with_a_code_of_each_meaning(sim: GuardKit) -> None:
    met = Meeting(sim)
    by_meaning = {classify(retcode): retcode for retcode in RETCODES}
    for retcode in by_meaning.values():
        met.inject("an order is done though it was refused", retcode=retcode)
        met.price(DANGER)
        met.rest(100.0)
        assert met.guard.status()["orders_in_doubt"] == 0, retcode
        assert met.record.stop_loss == met.position.sl > STOP, retcode
        assert len(met.done) == 1, retcode
        met.next_trade()
    assert not kinds(met.guard, Kind.CHARGED, Kind.EXITED)


@meets("an order is done though it was refused")
def test_half_closed_though_refused_with_every_code(sim: GuardKit) -> None:
    """What is left must be half: a second close would leave a quarter."""
    met = Meeting(sim)
    for retcode in RETCODES:
        halve(met)
        met.inject("an order is done though it was refused", retcode=retcode)
        met.rest(150.0)
        assert met.position.volume == pytest.approx(0.1), retcode
        assert met.record.volume == pytest.approx(0.1), retcode
        assert Step.L2_HALF in met.record.steps, retcode
        assert met.guard.status()["orders_in_doubt"] == 0, retcode
        met.next_trade()
    assert not kinds(met.guard, Kind.CHARGED, Kind.EXITED)


@meets("placed, then filled")
@pytest.mark.parametrize("seconds", [8, 45])
def test_placed_then_filled(sim: GuardKit, seconds: int) -> None:
    met = Meeting(sim)
    met.inject("placed, then filled", seconds=seconds)
    halve(met)
    met.rest(32.0)
    assert outcomes(met)[0] == "unknown"
    met.rest(500.0)
    assert outcomes(met)[:2] == ["unknown", "done"]
    assert met.position.volume == pytest.approx(0.1)
    assert met.record.volume == pytest.approx(0.1)
    assert met.record.steps == (Step.L2_HALF, Step.L2_STOP)
    assert met.sent == 2  # the half, and the stop


@meets("placed, then rejected")
def test_placed_then_rejected(sim: GuardKit) -> None:
    met = Meeting(sim)
    met.inject("placed, then rejected")
    halve(met)
    met.rest(32.0)
    assert outcomes(met) == ["unknown"]
    met.rest(600.0)
    assert outcomes(met)[:3] == ["unknown", "not_done", "done"]
    unknown, not_done = kinds(met.guard, Kind.OUTCOME)[:2]
    assert not_done.at - unknown.at >= 30.0
    assert met.position.volume == pytest.approx(0.1)
    assert met.record.volume == pytest.approx(0.1)


@meets("a partial fill")
def test_a_partial_fill_is_recorded(sim: GuardKit) -> None:
    met = Meeting(sim)
    met.inject("a partial fill")
    halve(met)
    met.rest(400.0)
    assert outcomes(met)[0] == "partial"
    assert met.position.volume == pytest.approx(0.15)
    assert met.record.volume == pytest.approx(0.15)
    assert met.record.closed_volume == pytest.approx(0.05)


@meets("executed, the answer lost", "not executed, the answer lost")
@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("mishap", ["executed, the answer lost", "not executed, the answer lost"])
def test_a_lost_answer(sim: GuardKit, mishap: str, level: int) -> None:
    met = Meeting(sim)
    met.inject(mishap)
    if level == 1:
        met.price(DANGER)
    else:
        halve(met)
    met.rest(600.0)
    executed = mishap.startswith("executed")
    assert outcomes(met)[:2] == ["unknown", "done" if executed else "not_done"]
    assert len(met.done) == level  # the stop; or the half, and then the stop
    assert met.sent == level + (not executed)
    assert met.record.volume == pytest.approx(0.2 if level == 1 else 0.1)


@meets("a comment is cut", "a comment is replaced")
@pytest.mark.parametrize("mishap", ["a comment is cut", "a comment is replaced"])
def test_a_lost_order_is_known_without_its_comment(sim: GuardKit, mishap: str) -> None:
    met = Meeting(sim)
    met.inject(mishap)
    met.inject("executed, the answer lost")
    halve(met)
    met.rest(600.0)
    deals = met.terminal.history_deals_get(position=met.ticket) or ()
    assert deals[-1].comment in (MARK[:2], "broker's own")
    assert outcomes(met)[:2] == ["unknown", "done"]
    assert met.position.volume == pytest.approx(0.1)
    assert met.record.volume == pytest.approx(0.1)


@meets(
    "trading switched off by the server",
    "trading switched off in the terminal",
    "an investor's login",
)
@pytest.mark.parametrize(
    "mishap",
    [
        "trading switched off by the server",
        "trading switched off in the terminal",
        "an investor's login",
    ],
)
def test_trading_switched_off(sim: GuardKit, mishap: str) -> None:
    met = Meeting(sim)
    met.inject(mishap)
    met.price(DANGER)
    met.rest(200.0)
    judged = met.guard.health()
    assert not judged.ready
    assert any(reason.startswith("cannot_act") for reason in judged.reasons)
    assert "cannot_act" in met.alerts()
    assert met.sent == 0
    met.rest(200.0)
    assert met.guard.health().ready
    assert len(met.done) == 1
    assert not kinds(met.guard, Kind.CHARGED)
