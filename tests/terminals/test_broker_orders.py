"""The rules of docs/broker.md about orders, one by one."""

from __future__ import annotations

from typing import Any

import pytest
from broker_kit import (
    BUY,
    EXCHANGE,
    FOK,
    HEDGING,
    IOC,
    NETTING,
    RETURN,
    SELL,
    START,
    At,
    market_of,
)

from terminals import constants as mt5
from terminals.sim.conditions import Conditions
from terminals.structs import TradeRequest

BUY_LIMIT, SELL_LIMIT = mt5.ORDER_TYPE_BUY_LIMIT, mt5.ORDER_TYPE_SELL_LIMIT
BUY_STOP, SELL_STOP = mt5.ORDER_TYPE_BUY_STOP, mt5.ORDER_TYPE_SELL_STOP
BUY_STOP_LIMIT, SELL_STOP_LIMIT = mt5.ORDER_TYPE_BUY_STOP_LIMIT, mt5.ORDER_TYPE_SELL_STOP_LIMIT
MODIFY, REMOVE = mt5.TRADE_ACTION_MODIFY, mt5.TRADE_ACTION_REMOVE
CLOSE_BY, SLTP, DEAL = mt5.TRADE_ACTION_CLOSE_BY, mt5.TRADE_ACTION_SLTP, mt5.TRADE_ACTION_DEAL
FLAT = [(float(at), 1.1, 1.1001) for at in range(0, 7200, 60)]
SHALLOW = Conditions(depth=True)
INSTANT, ON_EXCHANGE = mt5.SYMBOL_TRADE_EXECUTION_INSTANT, mt5.SYMBOL_TRADE_EXECUTION_EXCHANGE
PLACED, CANCELED, PARTIAL = (
    mt5.ORDER_STATE_PLACED,
    mt5.ORDER_STATE_CANCELED,
    mt5.ORDER_STATE_PARTIAL,
)
FILLED, REJECTED = mt5.ORDER_STATE_FILLED, mt5.ORDER_STATE_REJECTED


def flat(facts: dict[str, Any] | None = None, **options: Any) -> At:
    return At(market_of({"EURUSD": FLAT}, {"EURUSD": facts or {}}), **options)


def modify(at: At, ticket: int, price: float, **fields: Any) -> int:
    return at.ask(MODIFY, "", order=ticket, price=price, **fields)[0]


# -- pending orders --------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "price", "stoplimit", "limit", "filled"),
    [
        (BUY_STOP_LIMIT, 1.11, 1.105, BUY_LIMIT, 1.1041),
        (SELL_STOP_LIMIT, 1.09, 1.095, SELL_LIMIT, 1.096),
    ],
)
def test_a_stop_limit_becomes_a_limit_that_fills_at_a_later_tick(
    kind: int, price: float, stoplimit: float, limit: int, filled: float
) -> None:
    up = kind == BUY_STOP_LIMIT
    first, second = (1.12, 1.104) if up else (1.08, 1.096)
    rows = [(0.0, 1.1, 1.1001), (10.0, first, first + 0.0001), (20.0, second, second + 0.0001)]
    at = At(market_of({"EURUSD": [*rows, (30.0, second, second + 0.0001)]}))
    code, ticket = at.place(kind, price, stoplimit=stoplimit)
    assert code == 10009
    at.go(10)
    (waiting,) = at.orders
    assert (waiting.type, waiting.price_open, waiting.state) == (limit, stoplimit, PLACED)
    assert waiting.price_stoplimit == stoplimit
    at.go(25)
    assert at.one.ticket == ticket
    assert at.one.price_open == pytest.approx(filled)
    assert (at.past(ticket).type, at.past(ticket).price_stoplimit) == (limit, stoplimit)


def test_a_stop_limit_whose_limit_is_there_already_waits_for_the_next_tick() -> None:
    rows = [(float(n), 1.12, 1.1201) for n in range(1, 5)]
    at = At(market_of({"EURUSD": [(0.0, 1.1, 1.1001), *rows]}))
    at.place(BUY_STOP_LIMIT, 1.13, stoplimit=1.125)
    at.go(3)
    assert [one.type for one in at.orders] == [BUY_STOP_LIMIT]
    at = At(market_of({"EURUSD": [(0.0, 1.1, 1.1001), *rows]}))
    at.place(BUY_STOP_LIMIT, 1.1201, stoplimit=1.1201)
    at.go(1)
    assert [one.type for one in at.orders] == [BUY_LIMIT]
    at.go(2)
    assert at.one.price_open == 1.1201


def test_a_later_tick_is_one_of_a_later_moment() -> None:
    rows = [(0.0, 1.1, 1.1001), (10.0, 1.12, 1.1201), (10.0, 1.1, 1.1001), (20.0, 1.1, 1.1001)]
    market = market_of({"EURUSD": [*rows, (30.0, 1.1, 1.1001)]}, {"EURUSD": {"depth": 0.1}})
    at = At(market, conditions=SHALLOW)
    at.place(BUY_STOP_LIMIT, 1.11, stoplimit=1.105)
    at.place(BUY_STOP, 1.11, 0.2)
    at.go(10)
    assert [one.type for one in at.orders] == [BUY_LIMIT, BUY_STOP]
    assert [one.volume for one in at.deals()] == [0.1]
    at.go(25)
    assert [one.volume for one in at.deals()] == [0.1, 0.1, 0.1]


@pytest.mark.parametrize(
    ("kind", "price", "stoplimit", "code"),
    [
        (BUY_STOP_LIMIT, 1.11, 0.0, 10015),
        (BUY_STOP_LIMIT, 1.11, 1.12, 10015),
        (BUY_STOP_LIMIT, 1.11, 1.11, 10009),
        (SELL_STOP_LIMIT, 1.09, 1.08, 10015),
        (SELL_STOP_LIMIT, 1.09, 1.09, 10009),
        (SELL_STOP_LIMIT, 1.11, 1.12, 10015),
        (BUY_STOP, 1.1002, 0.0, 10015),
        (BUY_STOP, 1.1003, 0.0, 10009),
    ],
)
def test_prices_of_pending_orders(kind: int, price: float, stoplimit: float, code: int) -> None:
    at = flat({"stops_level": 20})
    assert at.place(kind, price, stoplimit=stoplimit)[0] == code


def test_levels_of_a_stop_limit_are_measured_from_its_limit() -> None:
    at = flat()
    assert at.place(BUY_STOP_LIMIT, 1.12, stoplimit=1.11, sl=1.115)[0] == 10016
    assert at.place(BUY_STOP_LIMIT, 1.12, stoplimit=1.11, sl=1.105)[0] == 10009
    assert at.place(BUY_STOP, 1.12, sl=1.115)[0] == 10009


def test_orders_of_one_tick_are_filled_by_ticket() -> None:
    rows = [(0.0, 1.1, 1.1001), (10.0, 1.04, 1.0401), (20.0, 1.04, 1.0401)]
    at = At(market_of({"EURUSD": rows}))
    tickets = [at.place(BUY_LIMIT, price)[1] for price in (1.05, 1.09, 1.07)]
    modify(at, tickets[0], 1.06)
    at.go(15)
    assert [one.order for one in at.deals()] == tickets


def test_modify_changes_price_levels_and_life() -> None:
    at = flat()
    _, ticket = at.place(BUY_LIMIT, 1.05, sl=1.04, tp=1.2)
    assert modify(at, ticket, 1.05, sl=1.04, tp=1.2) == 10025
    until = START // 1000 + 100
    life = {"type_time": mt5.ORDER_TIME_SPECIFIED, "expiration": until}
    assert modify(at, ticket, 1.06, sl=1.03, **life) == 10009
    (one,) = at.orders
    assert (one.price_open, one.sl, one.tp) == (1.06, 1.03, 0.0)
    assert (one.type_time, one.time_expiration, one.ticket) == (2, until, ticket)
    assert modify(at, ticket, 1.06, sl=1.03, **life) == 10025
    assert modify(at, ticket, 1.2) == 10015
    assert modify(at, ticket, 1.06, sl=1.07) == 10016
    assert modify(at, ticket, 1.06, type_time=2, expiration=until - 200) == 10022
    assert modify(at, ticket + 1, 1.06) == 10013
    at.go(100)
    assert at.past(ticket).state == mt5.ORDER_STATE_EXPIRED


def test_an_order_about_to_be_filled_is_frozen() -> None:
    at = flat({"freeze_level": 500, "stops_level": 0})
    _, near = at.place(BUY_LIMIT, 1.0951)
    _, far = at.place(BUY_LIMIT, 1.09509)
    assert modify(at, near, 1.05) == 10029
    assert at.ask(REMOVE, "", order=near)[0] == 10029
    assert modify(at, far, 1.05) == 10009
    assert at.ask(REMOVE, "", order=far)[0] == 10009
    assert at.past(far).state == CANCELED


# -- close by --------------------------------------------------------------


def test_close_by_cancels_the_smaller_volume() -> None:
    rows = [(0.0, 1.1, 1.1001), (10.0, 1.2, 1.2002), (20.0, 1.2, 1.2002)]
    at = At(market_of({"EURUSD": rows}), commission_per_lot=7.0)
    _, long = at.deal(BUY, 0.3)
    at.go(10)
    _, short = at.deal(SELL, 0.1)
    at.book.positions[long].swap, at.book.positions[short].swap = -3.0, 0.5
    at.book.account.balance += 0.0
    code, order = at.ask(CLOSE_BY, "", position=long, position_by=short, comment="by")
    assert code == 10009
    first, second = at.deals()[-2:]
    assert (first.entry, first.type, first.position_id) == (3, SELL, long)
    assert (first.price, first.volume, first.profit) == (1.2, 0.1, 999.0)
    assert (first.swap, first.commission) == (-1.0, -0.35)
    assert (second.entry, second.type, second.position_id) == (3, BUY, short)
    assert (second.price, second.volume, second.profit) == (1.2, 0.1, 0.0)
    assert (second.swap, second.commission) == (0.5, -0.35)
    assert (at.one.ticket, at.one.volume, at.one.swap) == (long, 0.2, -2.0)
    past = at.past(order)
    assert (past.type, past.position_id, past.position_by_id) == (8, long, short)
    at.adds_up()


def test_close_by_the_other_way_round_leaves_the_rest_of_the_second() -> None:
    at = flat()
    _, long = at.deal(BUY, 0.1)
    _, short = at.deal(SELL, 0.3)
    assert at.ask(CLOSE_BY, position=long, position_by=short)[0] == 10009
    assert (at.one.ticket, at.one.volume) == (short, 0.2)
    at.adds_up()


def test_close_by_is_refused() -> None:
    at = At(market_of({"EURUSD": FLAT, "GBPUSD": FLAT}))
    _, one = at.deal(BUY, 0.1)
    _, same = at.deal(BUY, 0.1)
    _, other = at.deal(SELL, 0.1, symbol="GBPUSD")
    for by, code in ((same, 10013), (other, 10013), (one, 10013), (99, 10036)):
        assert at.ask(CLOSE_BY, position=one, position_by=by)[0] == code
    netting = flat(mode=NETTING)
    assert netting.ask(CLOSE_BY, position=1, position_by=2)[0] == 10013


# -- what may be left out --------------------------------------------------


@pytest.mark.parametrize("named", [False, True])
def test_on_a_hedging_account_a_position_names_its_symbol(named: bool) -> None:
    at = flat()
    _, ticket = at.deal(BUY, 0.3)
    symbol = "EURUSD" if named else ""
    levels = {"position": ticket, "sl": 1.09, "tp": 1.12}
    assert at.ask(SLTP, symbol, **levels)[0] == 10009
    assert (at.one.sl, at.one.tp) == (1.09, 1.12)
    part = TradeRequest(action=DEAL, symbol=symbol, position=ticket, type=SELL, volume=0.1)
    expected = at.broker.projected(part)
    assert expected.margin == pytest.approx(at.broker.money().margin * 2 / 3, abs=0.01)
    assert at.deal(SELL, 0.1, symbol=symbol, position=ticket)[0] == 10009
    assert (at.broker.money(), at.one.volume) == (expected, 0.2)
    at.fails(10013, symbol="")
    at.fails(10013, side=SELL, symbol="", position=99)
    assert at.ask(SLTP, "EURUSD", sl=1.09)[0] == 10036


@pytest.mark.parametrize("mode", [NETTING, EXCHANGE])
def test_elsewhere_a_symbol_names_its_position(mode: int) -> None:
    at = flat(mode=mode)
    assert at.ask(SLTP, sl=1.09)[0] == 10036
    at.deal(BUY, 0.1)
    assert at.ask(SLTP, sl=1.09)[0] == 10009
    assert (at.one.sl, at.one.sl_msc) == (1.09, START)
    assert at.ask(SLTP, "", position=at.one.ticket, sl=1.08)[0] == 10013


# -- prices that lie on no grid --------------------------------------------


def test_prices_of_orders_must_have_the_symbols_digits() -> None:
    at = flat()
    for price, code in ((1.0812345678, 10015), (1.081234, 10015), (1.1 - 0.01, 10009)):
        assert at.place(BUY_LIMIT, price)[0] == code
    ticket = at.orders[0].ticket
    assert at.orders[0].price_open == 1.09
    assert modify(at, ticket, 1.085001) == 10015
    assert modify(at, ticket, 1.085, sl=1.070001) == 10016
    assert at.place(BUY_LIMIT, 1.08, tp=1.1200001)[0] == 10016
    assert at.place(BUY_STOP_LIMIT, 1.12, stoplimit=1.110001)[0] == 10015
    at.fails(10016, sl=1.090001)
    at.fails(10016, tp=1.120001)
    assert at.deal(BUY, 0.1, price=1.1234567, sl=1.1 - 0.03, tp=0.1 * 3 + 0.9)[0] == 10009
    assert (at.one.sl, at.one.tp) == (1.07, 1.2)
    assert at.ask(SLTP, position=at.one.ticket, sl=1.080001, tp=1.2)[0] == 10016
    assert at.ask(SLTP, position=at.one.ticket, sl=1.08, tp=1.200001)[0] == 10016


# -- filling and depth -----------------------------------------------------


@pytest.mark.parametrize(
    ("execution", "mask", "filling", "waits", "code"),
    [
        (2, 3, RETURN, False, 10030),
        (2, 3, RETURN, True, 10009),
        (2, 1, IOC, True, 10030),
        (3, 0, RETURN, False, 10009),
        (3, 0, FOK, False, 10030),
        (1, 1, RETURN, True, 10009),
        (1, 1, RETURN, False, 10009),
        (1, 0, FOK, False, 10009),
        (0, 1, IOC, False, 10009),
        (1, 3, 3, False, 10030),
        (1, 1, IOC, True, 10030),
        (3, 3, 3, False, 10030),
    ],
)
def test_filling(execution: int, mask: int, filling: int, waits: bool, code: int) -> None:
    at = flat({"execution": execution, "filling_mode": mask})
    if waits:
        assert at.place(BUY_LIMIT, 1.05, type_filling=filling)[0] == code
    else:
        price = 1.1001 if execution < 2 else 0.0
        at.fails(code, type_filling=filling, price=price)


def shallow(mode: int = EXCHANGE, **options: Any) -> At:
    facts = {"depth": 0.4, "execution": ON_EXCHANGE}
    return flat(facts, conditions=SHALLOW, mode=mode, **options)


def test_fok_for_more_than_the_depth_is_refused() -> None:
    at = shallow()
    at.fails(10006, volume=0.5, type_filling=FOK)
    assert at.deal(BUY, 0.4, type_filling=FOK)[0] == 10009


def test_ioc_fills_a_part_and_drops_the_rest() -> None:
    at = shallow()
    code, ticket = at.deal(BUY, 1.0, type_filling=IOC)
    assert (code, at.one.volume, at.orders) == (10010, 0.4, [])
    past = at.past(ticket)
    assert (past.state, past.volume_initial, past.volume_current) == (CANCELED, 1.0, 0.6)
    at.adds_up()


@pytest.mark.parametrize("execution", [mt5.SYMBOL_TRADE_EXECUTION_REQUEST, INSTANT])
@pytest.mark.parametrize("filling", [FOK, IOC, RETURN])
def test_at_an_agreed_price_all_is_filled_or_nothing(execution: int, filling: int) -> None:
    at = flat({"depth": 0.4, "execution": execution}, conditions=SHALLOW)
    at.fails(10006, volume=0.5, price=1.1001, type_filling=filling)
    code, ticket = at.deal(BUY, 0.4, price=1.1001, type_filling=filling)
    assert (code, at.one.volume, at.orders) == (10009, 0.4, [])
    assert at.past(ticket).type_filling == FOK


@pytest.mark.parametrize("mode", [HEDGING, NETTING, EXCHANGE])
def test_return_fills_a_part_a_tick(mode: int) -> None:
    at = shallow(mode)
    code, ticket = at.deal(BUY, 1.0, type_filling=RETURN)
    assert (code, at.one.volume) == (10010, 0.4)
    (rest,) = at.orders
    assert (rest.state, rest.type, rest.volume_current, rest.position_id) == (3, BUY, 0.6, ticket)
    assert modify(at, ticket, 1.05) == 10035
    at.go(59)
    assert at.one.volume == 0.4
    at.go(60)
    assert at.one.volume == 0.8
    at.go(120)
    assert (at.one.volume, at.orders) == (1.0, [])
    assert [one.volume for one in at.deals()] == [0.4, 0.4, 0.2]
    assert {one.position_id for one in at.deals()} == {ticket}
    past = at.past(ticket)
    assert (past.state, past.volume_initial, past.volume_current) == (FILLED, 1.0, 0.0)
    at.adds_up()


@pytest.mark.parametrize(("side", "wanted"), [(BUY_LIMIT, 1.2002), (SELL_STOP, 1.2)])
def test_an_order_that_ends_unfilled_shows_the_market_of_its_end(side: int, wanted: float) -> None:
    rows = [(0.0, 1.1, 1.1001), (60.0, 1.2, 1.2002), (120.0, 1.3, 1.3003), (180.0, 1.0, 1.0001)]
    until = {"type_time": mt5.ORDER_TIME_SPECIFIED, "expiration": START // 1000 + 120}
    for looks in ((60,), (180,)):  # how the market is stepped through does not matter
        at = At(market_of({"EURUSD": rows}))
        _, removed = at.place(side, 0.9)
        _, expired = at.place(side, 0.9, **until)
        for look in looks:
            at.go(look)
        if looks == (60,):
            assert at.ask(REMOVE, "", order=removed)[0] == 10009
            assert at.past(removed).price_current == wanted
        at.go(120)
        assert at.past(expired).price_current == wanted  # before the ticks of that moment


def test_the_rest_of_a_deleted_order_shows_the_market_of_its_end() -> None:
    rows = [(0.0, 1.1, 1.1001), (60.0, 1.05, 1.0501), (120.0, 1.2, 1.2002), (180.0, 1.2, 1.2002)]
    facts = {"EURUSD": {"depth": 0.1, "execution": ON_EXCHANGE}}
    at = At(market_of({"EURUSD": rows}, facts), conditions=SHALLOW)
    _, ticket = at.place(BUY_LIMIT, 1.06, 0.5)
    at.go(120)
    assert (at.one.volume, at.one.price_open) == (0.1, 1.0501)
    assert at.ask(REMOVE, "", order=ticket)[0] == 10009
    assert at.past(ticket).price_current == 1.2002
    _, dropped = at.deal(BUY, 0.5, type_filling=IOC)
    assert at.past(dropped).price_current == 1.2002


def test_a_rest_can_be_deleted() -> None:
    at = shallow()
    _, ticket = at.deal(BUY, 1.0, type_filling=RETURN)
    assert at.ask(REMOVE, "", order=ticket)[0] == 10009
    at.go(600)
    assert at.one.volume == 0.4
    assert (at.past(ticket).state, at.past(ticket).volume_current) == (CANCELED, 0.6)


def test_on_a_hedging_account_a_closing_rest_goes_on_closing() -> None:
    at = shallow(HEDGING)
    tickets = [at.deal(BUY, 0.4)[1] for _ in range(2)]
    at.book.positions[tickets[0]].volume = 1.0
    at.book.changed()
    code, _ = at.deal(SELL, 0.7, position=tickets[0], type_filling=RETURN)
    assert (code, at.positions[0].volume) == (10010, 0.6)
    at.go(60)
    assert [one.volume for one in at.positions] == [pytest.approx(0.3), 0.4]
    assert at.orders == []


def being_closed(mode: int) -> tuple[At, int]:
    """A position of 1.2 lots, of which 0.4 are just closed and 0.5 wait to be; and its ticket."""
    at = shallow(mode)
    _, ticket = at.deal(BUY, 1.2, type_filling=RETURN)
    at.go(120)
    assert (at.one.volume, at.orders) == (pytest.approx(1.2), [])
    assert at.deal(SELL, 0.9, position=ticket, type_filling=RETURN)[0] == 10010
    assert (at.one.volume, at.orders[0].volume_current) == (pytest.approx(0.8), 0.5)
    return at, ticket


def test_what_is_being_closed_cannot_be_closed_by_another_order() -> None:
    at, ticket = being_closed(HEDGING)
    again = {"side": SELL, "position": ticket, "type_filling": RETURN}
    at.fails(10038, volume=0.81, **again)
    at.fails(10039, volume=0.31, **again)
    at.fails(10039, volume=0.8, **again)
    assert len(at.orders) == 1
    assert at.deal(SELL, 0.3, position=ticket, type_filling=RETURN)[0] == 10009
    at.go(240)
    assert (at.positions, at.orders) == ([], [])
    at.adds_up()


def test_an_order_that_still_opens_does_not_stand_in_the_way_of_a_close() -> None:
    at = shallow(HEDGING)
    _, ticket = at.deal(BUY, 1.2, type_filling=RETURN)
    assert at.orders[0].position_id == ticket
    assert at.deal(SELL, 0.4, position=ticket)[0] == 10009


def test_a_netting_account_closes_whatever_works() -> None:
    at, ticket = being_closed(NETTING)
    assert at.deal(SELL, 0.8, position=ticket, type_filling=RETURN)[0] == 10010


@pytest.mark.parametrize("closing", [False, True])
def test_where_the_position_is_gone_the_rest_is_canceled(closing: bool) -> None:
    at = shallow(HEDGING)
    _, ticket = at.deal(BUY, 0.4)
    if closing:
        at.book.positions[ticket].volume = 1.0
        at.book.changed()
        _, order = at.deal(SELL, 1.0, position=ticket, type_filling=RETURN)
    else:
        _, order = at.deal(BUY, 1.0, type_filling=RETURN)
    for one in at.positions:
        at.broker.close(one, one.volume, reason=mt5.DEAL_REASON_CLIENT)
    at.go(60)
    assert (at.positions, at.orders) == ([], [])
    assert (at.past(order).state, at.past(order).volume_current) == (CANCELED, 0.6)


def test_on_a_netting_account_the_rest_opens_anew_under_another_identifier() -> None:
    at = shallow(NETTING)
    _, order = at.deal(BUY, 1.0, type_filling=RETURN)
    at.broker.close(at.one, 0.4, reason=mt5.DEAL_REASON_CLIENT)
    at.go(120)
    assert at.one.volume == 0.6
    assert at.one.identifier != order
    at.adds_up()


def test_a_pending_fok_order_that_finds_too_little_depth_is_rejected() -> None:
    rows = [(0.0, 1.1, 1.1001), (10.0, 1.04, 1.0401), (20.0, 1.04, 1.0401), (30.0, 1.2, 1.2001)]
    facts = {"depth": 0.4}
    at = At(market_of({"EURUSD": rows}, {"EURUSD": facts}), conditions=SHALLOW)
    tickets = [at.place(BUY_LIMIT, 1.05, 0.5, type_filling=how)[1] for how in (FOK, IOC, RETURN)]
    at.go(10)
    assert [at.past(one).state for one in tickets[:2]] == [REJECTED, CANCELED]
    assert [one.state for one in at.orders] == [PARTIAL]
    at.go(40)
    assert [one.volume for one in at.deals()] == [0.4, 0.4, 0.1]
    at.adds_up()


def test_a_limit_goes_on_at_its_price_and_a_stop_at_any() -> None:
    rows = [(0.0, 1.1, 1.1001), (10.0, 1.04, 1.0401), (20.0, 1.2, 1.2001), (30.0, 1.2, 1.2001)]
    facts = {"depth": 0.4}
    at = At(market_of({"EURUSD": rows}, {"EURUSD": facts}), conditions=SHALLOW)
    at.place(BUY_LIMIT, 1.05, 0.5)
    at.place(SELL_STOP, 1.05, 0.5)
    at.go(25)
    assert [(one.type, one.volume) for one in at.deals()] == [(BUY, 0.4), (SELL, 0.4), (SELL, 0.1)]
    assert [one.type for one in at.orders] == [BUY_LIMIT]


def test_stops_close_the_whole_whatever_the_depth() -> None:
    rows = [(0.0, 1.1, 1.1001), (10.0, 1.04, 1.0401), (20.0, 1.04, 1.0401)]
    at = At(market_of({"EURUSD": rows}, {"EURUSD": {"depth": 0.4}}), conditions=SHALLOW)
    at.deal(BUY, 0.4, sl=1.05)
    at.one.volume = 1.0
    at.book.changed()
    at.go(10)
    assert at.positions == []


# -- slippage, deviation, requotes -----------------------------------------


def test_slippage_is_against_the_client_and_drawn_by_ticket() -> None:
    def prices(seed: int, most: int) -> list[float]:
        at = flat(conditions=Conditions(seed=seed, slippage=most))
        for n in range(30):
            at.deal(n % 2, 0.01)
        return [one.price for one in at.deals()]

    drawn = prices(1, 5)
    assert drawn == prices(1, 5)
    assert drawn != prices(2, 5)
    assert {round((price - 1.1001) * 1e5) for price in drawn[::2]} == {0, 1, 2, 3, 4, 5}
    assert {round((1.1 - price) * 1e5) for price in drawn[1::2]} <= {0, 1, 2, 3, 4, 5}
    assert prices(1, 0) == [1.1001, 1.1] * 15


@pytest.mark.parametrize("what", ["stop", "limit", "sl", "tp", "so", "closing"])
def test_what_slips(what: str) -> None:
    rows = [(0.0, 1.1, 1.1), (10.0, 1.05, 1.05), (20.0, 1.05, 1.05)]
    deviations = set()
    for seed in range(12):
        conditions = Conditions(seed=seed, slippage=9)
        balance = 5_300.0 if what == "so" else 1e6
        at = At(market_of({"EURUSD": rows}), conditions=conditions, balance=balance)
        if what == "stop":
            at.place(SELL_STOP, 1.06)
        elif what == "limit":
            at.place(BUY_LIMIT, 1.06)
        else:
            levels = {"sl": {"sl": 1.06}, "tp": {"tp": 1.06}}.get(what, {})
            at.deal(SELL if what == "tp" else BUY, 1.0, **levels)
        at.go(10)
        if what == "closing":
            at.deal(SELL, 1.0, position=at.one.ticket)
        last = at.deals()[-1]
        deviations.add(round((last.price - 1.05) * 1e5 * (1 if last.type == BUY else -1)))
    if what in ("limit", "tp", "so"):
        assert deviations == {0}
    else:
        assert deviations <= set(range(10))
        assert len(deviations) > 3


def test_instant_execution_wants_a_price_near_the_present_one() -> None:
    at = flat({"execution": INSTANT}, conditions=Conditions(slippage=50))
    at.fails(10015)
    at.fails(10004, price=1.1002, deviation=9)
    at.fails(10004, price=1.1000, deviation=9)
    assert at.deal(BUY, 0.1, price=1.1002, deviation=10)[0] == 10009
    assert at.one.price_open == 1.1001  # agreed: no slippage
    assert at.deal(SELL, 0.1, position=at.one.ticket, price=1.1)[0] == 10009
    market = flat()
    assert market.deal(BUY, 0.1, price=2.0)[0] == 10009


def test_requotes_are_drawn_from_the_seed_and_can_be_overcome() -> None:
    def codes(seed: int, execution: int = INSTANT) -> list[int]:
        conditions = Conditions(seed=seed, requotes=0.4)
        at = flat({"execution": execution}, conditions=conditions)
        return [at.deal(BUY, 0.01, price=1.1001)[0] for _ in range(60)]

    drawn = codes(1)
    assert drawn == codes(1)
    assert drawn != codes(2)
    assert set(drawn) == {10004, 10009}
    assert 10 < drawn.count(10004) < 40
    assert 10009 in drawn[drawn.index(10004) :]
    assert set(codes(1, mt5.SYMBOL_TRADE_EXECUTION_MARKET)) == {10009}


# -- limits ----------------------------------------------------------------


def test_limit_orders() -> None:
    at = flat(limit_orders=2)
    codes = [at.place(BUY_LIMIT, 1.05)[0] for _ in range(3)]
    assert codes == [10009, 10009, 10033]
    assert at.deal(BUY, 0.1)[0] == 10009


def test_volume_limit_is_for_a_side_with_positions_and_orders() -> None:
    at = flat({"volume_limit": 0.5})
    assert at.deal(BUY, 0.2)[0] == 10009
    assert at.place(BUY_LIMIT, 1.05, 0.2)[0] == 10009
    at.fails(10034, volume=0.2)
    assert at.place(BUY_STOP, 1.2, 0.2)[0] == 10034
    assert at.deal(SELL, 0.5)[0] == 10009
    assert at.deal(BUY, 0.1)[0] == 10009
    netting = flat({"volume_limit": 0.5}, mode=NETTING)
    netting.deal(BUY, 0.4)
    netting.fails(10034, side=SELL, volume=1.0)
    assert netting.deal(SELL, 0.9)[0] == 10009


def test_fifo_closes_the_oldest_of_the_symbol_first() -> None:
    at = At(market_of({"EURUSD": FLAT, "GBPUSD": FLAT}), fifo_close=True)
    at.deal(BUY, 0.1, symbol="GBPUSD")
    _, first = at.deal(BUY, 0.1)
    _, second = at.deal(BUY, 0.1)
    at.fails(10045, side=SELL, position=second)
    assert at.deal(SELL, 0.05, position=first)[0] == 10009
    at.fails(10045, side=SELL, volume=0.05, position=second)
    assert at.deal(SELL, 0.05, position=first)[0] == 10009
    assert at.deal(SELL, 0.1, position=second)[0] == 10009


def test_a_hedge_can_be_prohibited() -> None:
    at = flat(hedge_prohibited=True)
    at.deal(BUY, 0.1)
    at.fails(10046, side=SELL)
    assert at.place(SELL_LIMIT, 1.2)[0] == 10046
    assert at.deal(BUY, 0.1)[0] == 10009
    assert at.deal(SELL, 0.1, position=at.positions[0].ticket)[0] == 10009
    netting = flat(mode=NETTING, hedge_prohibited=True)
    netting.deal(BUY, 0.1)
    assert netting.deal(SELL, 0.3)[0] == 10009


@pytest.mark.parametrize("mode", [NETTING, EXCHANGE])
def test_netting_keeps_the_identifier_and_what_was_there_first(mode: int) -> None:
    at = flat(mode=mode)
    _, first = at.deal(BUY, 0.1, magic=1, comment="first", sl=1.05)
    _, second = at.deal(SELL, 0.3, magic=2, comment="second", tp=1.05)
    one = at.one
    assert (one.ticket, one.identifier, one.type, one.volume) == (second, first, SELL, 0.2)
    assert (one.magic, one.comment, one.sl, one.tp) == (1, "first", 0.0, 1.05)
    deal = at.deals()[-1]
    assert (deal.entry, deal.volume, deal.magic) == (mt5.DEAL_ENTRY_INOUT, 0.3, 2)
    at.adds_up()


def test_an_order_that_adds_brings_its_levels_and_its_later_parts_leave_them() -> None:
    at = shallow(NETTING)
    at.deal(BUY, 0.1, sl=1.05, tp=1.2)
    at.deal(BUY, 0.1, tp=1.3)
    assert (at.one.sl, at.one.tp) == (0.0, 1.3)
    at.deal(BUY, 1.0, sl=1.06, type_filling=RETURN)
    assert (at.one.sl, at.one.tp) == (1.06, 0.0)
    at.broker.set_levels(at.one, 1.07, 1.4)
    at.go(120)
    assert (at.one.volume, at.one.sl, at.one.tp) == (1.2, 1.07, 1.4)
    at.deal(SELL, 0.2, sl=1.3)
    assert (at.one.volume, at.one.sl, at.one.tp) == (1.0, 1.07, 1.4)


def test_each_of_two_levels_counts_from_when_it_was_set() -> None:
    rows = [(0.0, 1.1, 1.1), (10.0, 1.05, 1.05), (20.0, 1.0, 1.0), (30.0, 1.0, 1.0)]
    at = At(market_of({"EURUSD": rows}), mode=NETTING)
    at.deal(SELL, 0.1, tp=1.06)
    at.place(
        SELL_STOP, 1.07, 0.1, sl=1.2, tp=1.06
    )  # fills at the tick at which the old target is reached
    at.go(15)
    assert at.positions == []
    at = At(market_of({"EURUSD": rows}), mode=NETTING)
    at.deal(SELL, 0.1, sl=1.2)
    at.place(SELL_STOP, 1.07, 0.1, tp=1.055)  # its own target waits for a later tick
    at.go(15)
    assert at.one.volume == 0.2
    at.go(20)
    assert at.positions == []
