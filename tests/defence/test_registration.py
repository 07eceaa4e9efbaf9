"""Registration: what is admitted, refused and repeated."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from defence_samples import NOW, facts, position, quote, record, snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from defence.broker import Direction, Snapshot, Unknown
from defence.errors import BrokerUnknown, Conflict, Fault, Invalid, NotFound, Refused
from defence.registration import Admission, admit, check_shape, find_position, release
from defence.rules import ADOPTED, WATCHED
from defence.trade import Standing, Step, Trade, TradeRecord, TradeState


def ask(
    *,
    there: Snapshot | Unknown | None = None,
    existing: TradeRecord | None = None,
    message_id: str = "message-2",
    **fields: Any,
) -> Admission:
    return admit(
        Trade(**{"ticket": 1, **fields}),
        snapshot=snapshot(position()) if there is None else there,
        existing=existing,
        message_id=message_id,
        now=NOW,
    )


def _one(field: str, value: object) -> dict[str, Any]:
    return {field: value}


def test_a_ticket_is_enough_the_rest_comes_from_the_position() -> None:
    look = snapshot(position(), quotes={"EURUSD": quote(1.104)})
    admission = ask(there=look)
    assert admission.changed
    assert admission.registration.created
    trade = admission.registration.trade
    assert trade == record(
        managed_by="",
        registered_at=NOW,
        updated_at=NOW,
        created_by="message-2",
        result_r=pytest.approx(0.4),
        peak_r=pytest.approx(0.4),
        initial_stop_fixed=False,
        commission_per_lot=None,
    )
    assert admission.action is not None
    assert admission.action.kind == "registered"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("ticket", value) for value in (0, -1, True, 1.0, "1", None, 2**64)),
        *(("identifier", value) for value in (0, True, 1.5)),
        *(("magic", value) for value in (-1, False, 0.0, "5", 2**64)),
        *(
            (field, value)
            for field in ("volume", "entry_price", "stop_loss", "take_profit")
            for value in (0.0, -1.0, math.nan, math.inf, -math.inf, True, "1", 10**400)
        ),
        *(("symbol", value) for value in ("", "  ", 5, "EUR\nUSD", "x" * 65)),
        *(("managed_by", value) for value in (5, "a" * 65, "a\x00", "\ud800")),
        *(("direction", value) for value in ("buy", "LONG", 1, "")),
    ],
)
def test_bad_values_are_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(Invalid) as caught:
        check_shape(Trade(**{"ticket": 1, field: value}))
    assert caught.value.field == field
    assert caught.value.remedy


def test_a_good_shape_comes_back_with_its_direction() -> None:
    trade = Trade(ticket=1, direction="SELL", managed_by="", magic=0, volume=1)
    assert check_shape(trade) == replace(trade, direction=Direction.SELL)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"identifier": 2}, "identifier"),
        ({"symbol": "GBPUSD"}, "symbol"),
        ({"direction": "SELL"}, "direction"),
        ({"magic": 6}, "magic"),
        ({"volume": 1.01}, "volume"),
        ({"entry_price": 1.10011}, "entry_price"),
        ({"volume": 0.005}, "volume"),
        ({"volume": 0.333}, "volume"),
        ({"stop_loss": 1.1}, "stop_loss"),
        ({"stop_loss": 1.12}, "stop_loss"),
        ({"take_profit": 1.1}, "take_profit"),
        ({"take_profit": 1.05}, "take_profit"),
    ],
)
def test_fields_against_the_facts_are_refused_by_name(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        ask(**fields)
    assert caught.value.field == field
    assert caught.value.value == fields[field]
    assert caught.value.remedy


@pytest.mark.parametrize(
    "fields",
    [
        {"identifier": 1, "symbol": "EURUSD", "direction": "BUY", "magic": 5, "volume": 1.0},
        {"entry_price": 1.1001},
        {"volume": 0.33},
        {"stop_loss": 1.08, "take_profit": 1.2},
    ],
)
def test_fields_that_fit_are_accepted(fields: dict[str, Any]) -> None:
    trade = ask(**fields).registration.trade
    assert (trade.volume, trade.entry_price) == (1.0, 1.1)
    assert (trade.stop_loss, trade.take_profit) == (1.09, 1.15)


def test_sell_has_its_sides_the_other_way_round() -> None:
    look = snapshot(position(direction=Direction.SELL, stop_loss=1.12, take_profit=1.05))
    assert ask(there=look).registration.trade.initial_stop == 1.12
    for field, value in (("stop_loss", 1.09), ("take_profit", 1.2)):
        with pytest.raises(Invalid) as caught:
            ask(there=look, **_one(field, value))
        assert caught.value.field == field


def test_a_stop_trailed_past_the_entry_is_accepted_but_is_no_risk() -> None:
    look = snapshot(position(stop_loss=1.11, take_profit=1.09))
    trade = ask(there=look, stop_loss=1.11, take_profit=1.09).registration.trade
    assert (trade.stop_loss, trade.initial_stop, trade.result_r) == (1.11, None, None)
    assert not trade.initial_stop_fixed
    assert ask(there=look).registration.trade.initial_stop is None
    given = ask(there=look, stop_loss=1.08).registration.trade
    assert (given.stop_loss, given.initial_stop, given.initial_stop_fixed) == (1.11, 1.08, True)


def test_no_such_position() -> None:
    for look in (snapshot(), snapshot(position(ticket=3, identifier=4))):
        with pytest.raises(NotFound) as caught:
            ask(there=look)
        assert caught.value.field == "ticket"


def test_an_unknown_broker_is_no_answer() -> None:
    with pytest.raises(BrokerUnknown):
        ask(there=Unknown("no connection"))


def test_a_position_is_found_by_ticket_first_then_by_identifier() -> None:
    moved, other = position(ticket=9), position(identifier=8, ticket=1)
    assert find_position(Trade(ticket=1), snapshot(moved, other)) == other
    assert find_position(Trade(ticket=1), snapshot(moved)) == moved
    assert find_position(Trade(ticket=5, identifier=1), snapshot(moved)) == moved
    assert ask(there=snapshot(moved)).registration.trade.ticket == 9


# What is stored already


def test_repeating_changes_nothing_and_the_creator_hears_created() -> None:
    existing = record()
    again = ask(existing=existing, stop_loss=1.09, managed_by="bot", volume=1.0)
    assert again == Admission(replace(again.registration, created=False), changed=False)
    assert again.registration.trade is existing
    retry = ask(existing=existing, message_id="message-1")
    assert retry.registration.created
    assert retry.registration.trade is existing
    assert not retry.changed


def test_the_creators_retry_is_answered_whatever_became_of_the_trade() -> None:
    for standing in Standing:
        existing = record(standing=standing)
        retry = ask(existing=existing, message_id="message-1", there=Unknown("gone"))
        assert retry.registration.created
        assert retry.registration.trade is existing


def test_repeating_after_our_own_acts_is_no_contradiction() -> None:
    existing = record(volume=0.5, closed_volume=0.5, stop_loss=1.095)
    look = snapshot(position(volume=0.5, stop_loss=1.095))
    for volume, stop in ((1.0, 1.09), (0.5, 1.095)):
        assert not ask(there=look, existing=existing, volume=volume, stop_loss=stop).changed


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"managed_by": "other"}, "managed_by"),
        ({"stop_loss": 1.08}, "stop_loss"),
        ({"stop_loss": 1.11}, "stop_loss"),
        ({"magic": 6}, "magic"),
        ({"symbol": "GBPUSD"}, "symbol"),
        ({"direction": "SELL"}, "direction"),
        ({"volume": 2.0}, "volume"),
        ({"entry_price": 1.2}, "entry_price"),
    ],
)
def test_contradicting_what_is_registered_is_a_conflict(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(Conflict) as caught:
        ask(existing=record(), **fields)
    assert caught.value.field == field


def test_a_repeated_registration_can_supply_an_unknown_risk() -> None:
    existing = record(initial_stop=None, initial_stop_fixed=False)
    again = ask(existing=existing, stop_loss=1.08)
    assert again.changed
    assert not again.registration.created
    trade = again.registration.trade
    assert (trade.initial_stop, trade.initial_stop_fixed, trade.peak_r) == (1.08, True, 0.0)
    assert trade.revision == 2
    with pytest.raises(Invalid):
        ask(existing=existing, stop_loss=1.12)


@pytest.mark.parametrize(
    "changes",
    [
        {"standing": Standing.OBSERVED, "managed_by": WATCHED},
        {"standing": Standing.RELEASED},
        {"standing": Standing.GUARDED, "managed_by": ADOPTED},
    ],
)
def test_observed_released_and_adopted_trades_are_taken_over(changes: dict[str, Any]) -> None:
    existing = record(steps=(Step.L1_STOP,), state=TradeState.WARNING_L1, **changes)
    existing = replace(existing, hold_until=NOW + 9, contradictions=(NOW,), attempts=2, revision=7)
    admission = ask(existing=existing, managed_by="new", stop_loss=1.08)
    assert admission.changed
    assert admission.registration.created
    trade = admission.registration.trade
    assert (trade.standing, trade.managed_by, trade.initial_stop) == (
        Standing.GUARDED,
        "new",
        1.08,
    )
    assert (trade.created_by, trade.registered_at) == ("message-2", NOW)
    # What was done to the trade stays done; what held us back is over.
    assert (trade.steps, trade.state) == ((Step.L1_STOP,), TradeState.WARNING_L1)
    assert (trade.hold_until, trade.contradictions, trade.attempts) == (0.0, (), 0)
    assert trade.revision == 8
    without = ask(existing=existing, stop_loss=None).registration.trade
    assert without.managed_by == ("bot" if existing.managed_by == "bot" else "")


def test_a_taken_over_trade_keeps_the_stop_that_was_read_in_history() -> None:
    existing = record(managed_by=ADOPTED, initial_stop=1.08, peak_r=1.2)
    trade = ask(existing=existing).registration.trade
    assert (trade.initial_stop, trade.initial_stop_fixed, trade.peak_r) == (1.08, True, 1.2)
    # Another unit of R begins its best anew.
    assert ask(existing=existing, stop_loss=1.085).registration.trade.peak_r == 0.0


@pytest.mark.parametrize("standing", [Standing.CLOSED, Standing.UNEXPLAINED])
def test_an_archived_record_counts_only_while_the_position_is_gone(standing: Standing) -> None:
    existing = record(standing=standing, steps=(Step.L1_STOP,))
    with pytest.raises(NotFound):
        ask(existing=existing, there=snapshot())
    admission = ask(existing=existing)
    assert admission.registration.created
    assert admission.registration.trade.steps == ()


def test_another_trades_record_is_a_fault() -> None:
    with pytest.raises(Fault):
        ask(existing=record(identifier=2))


def test_release_is_idempotent_and_knows_closed_trades() -> None:
    released = release(record(), now=NOW, by="ops")
    assert released.trade == record(standing=Standing.RELEASED, updated_at=NOW, revision=2)
    assert released.action is not None
    assert released.action.detail == "by ops"
    again = release(released.trade, now=NOW + 1, by="ops")
    assert again.trade is released.trade
    assert again.action is None
    with pytest.raises(NotFound):
        release(record(standing=Standing.CLOSED), now=NOW, by="ops")


_NUMBERS = st.none() | st.floats() | st.integers() | st.sampled_from([1.09, 1.1, 1.15, 0.5])


@settings(deadline=None, derandomize=True)
@given(
    ticket=st.integers(-1, 3),
    volume=_NUMBERS,
    entry_price=_NUMBERS,
    stop_loss=_NUMBERS,
    take_profit=_NUMBERS,
    direction=st.sampled_from([None, "BUY", "SELL", "x"]),
    managed_by=st.none() | st.text(max_size=70),
    existing=st.sampled_from([None, *(record(standing=standing) for standing in Standing)]),
)
def test_whatever_is_asked_is_admitted_soundly_or_refused_by_field(
    existing: TradeRecord | None, **fields: Any
) -> None:
    try:
        admission = ask(existing=existing, **fields)
    except Refused as refused:
        complete = bool(refused.field and refused.remedy)
    else:
        complete = _sound(admission, existing, fields)
    assert complete


def _sound(admission: Admission, existing: TradeRecord | None, fields: dict[str, Any]) -> bool:
    trade = admission.registration.trade
    assert trade.active
    assert trade.identifier == 1
    assert trade.initial_stop is None or trade.initial_stop < trade.entry_price
    again = ask(existing=trade, message_id="message-3", **fields)
    assert not again.registration.created
    assert not again.changed
    return again.registration.trade == trade


def test_entry_room_follows_the_symbols_grid() -> None:
    coarse = snapshot(position(), symbols={"EURUSD": facts(point=1e-6, tick_size=1e-3)})
    assert ask(there=coarse, entry_price=1.102).changed
    blind = snapshot(position(), symbols={})
    assert ask(there=blind, entry_price=1.1001).changed
    with pytest.raises(Invalid):
        ask(there=blind, entry_price=1.1002)
