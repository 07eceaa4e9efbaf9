"""The rules of docs/broker.md about money and time, one by one."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from broker_kit import (
    BUY,
    EXCHANGE,
    HEDGING,
    HOUR,
    NETTING,
    SELL,
    START,
    At,
    market_of,
)
from hypothesis import example, given
from hypothesis import strategies as st

from terminals import constants as mt5
from terminals.sim.conditions import NEW_YORK_CLOSE, Conditions
from terminals.sim.money import (
    Money,
    average_price,
    cents,
    cents_of,
    margin_of_lot,
    nights,
    swap_of_night,
    weekday_before,
)
from terminals.structs import TradeRequest

FLAT = [(float(at), 1.1, 1.1001) for at in range(0, 14 * 86_400, 3600)]
MONDAY, WEDNESDAY, FRIDAY, SATURDAY, SUNDAY = 1, 3, 5, 6, 0
SWAPS = Conditions(swaps=True)
WEEK = ((0, 5 * 1440),)


# -- numbers ---------------------------------------------------------------


@given(whole=st.integers(-(10**9), 10**9), part=st.fractions(0, 1))
@example(whole=0, part=Fraction(1, 2))
@example(whole=-1, part=Fraction(1, 2))
@example(whole=416, part=Fraction("0.499902"))
@example(whole=416, part=Fraction("0.499906"))
def test_money_is_rounded_to_the_cent_halves_away_from_zero(whole: int, part: Fraction) -> None:
    exact = (whole + part) / 100
    up = abs(exact) * 100 + Fraction(1, 2) + Fraction("0.9555555e-4")
    if abs(up - round(up)) < Fraction(1, 10**9):
        return  # the tolerance's own border is not a matter of binary fractions
    wanted = math.floor(up) / 100 * (-1 if exact < 0 else 1)
    assert cents(float(exact)) == wanted
    assert cents_of(np.array([float(exact)]))[0] == wanted


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (0.005, 0.01),
        (-0.005, -0.01),
        (1.00499, 1.0),
        (2.675, 2.68),
        (1.005, 1.01),
        (-4.164999, -4.16),
    ],
)
def test_binary_fractions_do_not_decide(value: float, wanted: float) -> None:
    assert cents(value) == wanted


def test_there_is_no_negative_nothing() -> None:
    assert math.copysign(1.0, cents(-0.001)) == 1.0
    assert math.copysign(1.0, float(cents_of(np.array([-0.001]))[0])) == 1.0


def test_an_average_price_is_rounded_to_8_decimals() -> None:
    assert average_price(1.1 * 0.1 + 1.2 * 0.2, 0.3) == 1.16666667
    assert average_price(1.00000001 + 1.00000002, 2.0) == 1.00000002


# -- margin ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("symbol", "currency", "changes", "wanted"),
    [
        ("EURUSD", "USD", {}, 100_000 * 1.1 / 100),
        ("EURUSD", "EUR", {}, 100_000 / 100),
        ("EURUSD", "USD", {"margin_rate": 0.5}, 100_000 * 1.1 / 200),
        ("EURUSD", "USD", {"calc_mode": mt5.SYMBOL_CALC_MODE_CFDLEVERAGE}, 1_100.0),
        ("EURUSD", "EUR", {"calc_mode": mt5.SYMBOL_CALC_MODE_CFDLEVERAGE}, 550.0),
        ("EURUSD", "USD", {"calc_mode": mt5.SYMBOL_CALC_MODE_CFD, "margin_rate": 0.1}, 11_000.0),
        ("EURUSD", "USD", {"calc_mode": 1, "margin_initial": 700.0}, 1_400.0),
        ("EURUSD", "EUR", {"calc_mode": 33, "margin_initial": 700.0}, 700.0),
        ("EURJPY", "USD", {}, 100_000 * 2.0 / 100),  # of euros: the price in yen is nothing to it
        ("EURJPY", "EUR", {}, 100_000 / 100),
        ("EURJPY", "JPY", {}, 100_000 * 1.1 / 100),  # the pair itself is what converts
        ("USDJPY", "USD", {}, 100_000 / 100),
    ],
)
def test_margin_of_a_lot(
    symbol: str, currency: str, changes: dict[str, Any], wanted: float
) -> None:
    market = market_of({symbol: FLAT[:2]}, {symbol: changes})
    rates = {"EUR": 1.0, "USD": 0.5} if currency == "EUR" else {"USD": 1.0, "EUR": 2.0}
    found = margin_of_lot(
        market.specs[symbol], 1.1, currency=currency, leverage=100, rate=lambda of: rates[of]
    )
    assert found == pytest.approx(wanted)


def test_the_margin_is_fixed_by_the_opening_deal() -> None:
    at = At(market_of({"EURUSD": [(0.0, 1.1, 1.1001), (60.0, 1.2, 1.2001), (90.0, 1.2, 1.2001)]}))
    at.deal(BUY, 0.2)
    before = at.broker.money().margin
    at.go(60)
    assert before == at.broker.money().margin == 220.02
    assert at.broker.calc_margin(BUY, "EURUSD", 0.2, 1.2001) == 240.02


def test_a_netted_position_has_the_average_margin_and_keeps_it() -> None:
    rows = [(0.0, 1.1, 1.1), (60.0, 1.2, 1.2), (90.0, 1.2, 1.2), (120.0, 1.2, 1.2)]
    at = At(market_of({"EURUSD": rows}), mode=NETTING)
    at.deal(BUY, 0.1)
    at.go(60)
    at.deal(BUY, 0.3)
    assert at.one.margin == pytest.approx((1100.0 + 3 * 1200.0) / 4)
    at.deal(SELL, 0.2)
    assert at.one.margin == pytest.approx(1175.0)
    assert at.broker.money().margin == 235.0
    at.deal(SELL, 0.5)
    assert at.one.type == SELL
    assert at.one.margin == pytest.approx(1200.0)


def test_a_hedged_volume_pays_for_its_larger_side() -> None:
    at = At(market_of({"EURUSD": FLAT[:9], "GBPUSD": FLAT[:9]}), balance=1_000.0)
    at.deal(BUY, 0.3)
    at.deal(SELL, 0.2)
    assert at.broker.money().margin == 330.03
    at.deal(SELL, 0.2)
    assert at.broker.money().margin == 440.0
    at.deal(BUY, 0.1, symbol="GBPUSD")
    assert at.broker.money().margin == 550.01


def test_working_orders_take_no_margin() -> None:
    at = At(market_of({"EURUSD": FLAT[:9]}))
    assert at.place(mt5.ORDER_TYPE_BUY_LIMIT, 1.05, 1.0)[0] == 10009
    assert at.broker.money().margin == 0.0


def test_no_money_is_about_what_the_deal_adds() -> None:
    at = At(market_of({"EURUSD": FLAT[:9]}), balance=1_000.0)
    at.fails(10019, volume=0.91)
    assert at.deal(BUY, 0.9)[0] == 10009
    at.fails(10019, volume=0.1)
    assert at.deal(SELL, 0.9)[0] == 10009, "a hedge that adds no margin needs none"
    at.fails(10019, side=SELL, volume=0.9)


def test_no_money_counts_a_reversal_by_what_it_leaves() -> None:
    at = At(market_of({"EURUSD": FLAT[:9]}), balance=1_000.0, mode=NETTING)
    assert at.deal(BUY, 0.9)[0] == 10009
    at.fails(10019, side=SELL, volume=1.9)
    assert at.deal(SELL, 1.7)[0] == 10009
    assert (at.one.type, at.one.volume) == (SELL, 0.8)


def test_the_level_and_the_rest_follow() -> None:
    at = At(market_of({"EURUSD": FLAT[:9]}), balance=1_000.0)
    assert at.broker.money() == (0.0, 1000.0, 0.0, 1000.0, 0.0)
    at.deal(BUY, 0.3)
    level = 997.0 / 330.03 * 100.0  # not rounded
    assert at.broker.money() == (-3.0, 997.0, 330.03, 666.97, level)


def test_the_account_after_a_request() -> None:
    at = At(market_of({"EURUSD": FLAT[:9], "GBPUSD": FLAT[:9]}), commission_per_lot=10.0)
    at.deal(BUY, 0.3)
    at.deal(BUY, 0.1, symbol="GBPUSD")
    before, revision = at.broker.money(), at.book.revision
    for side, volume in ((BUY, 0.2), (SELL, 0.2), (SELL, 0.5)):
        asked = TradeRequest(action=1, symbol="EURUSD", type=side, volume=volume)
        seen = at.broker.projected(asked)
        assert at.broker.money() == before
        assert at.book.revision == revision
        done = At(at.broker.market, commission_per_lot=10.0)  # type: ignore[arg-type]
        done.deal(BUY, 0.3)
        done.deal(BUY, 0.1, symbol="GBPUSD")
        done.deal(side, volume)
        # what it opens floats at nothing: the spread is left out
        after = done.broker.money()
        assert seen == Money.of(done.book.account.balance, before.profit, after.margin)
        assert after.profit < before.profit
    dear = TradeRequest(action=1, symbol="EURUSD", type=BUY, volume=90.0)
    assert at.broker.projected(dear) == before


@pytest.mark.parametrize(
    ("side", "volume", "opened"),
    [(BUY, 0.2, 0.0), (SELL, 0.2, -1.0), (SELL, 0.3, 0.0), (SELL, 0.5, 0.0)],
)
def test_a_netted_account_after_a_request(side: int, volume: float, opened: float) -> None:
    """It grows, is reduced by two thirds, is closed, is reversed."""
    at = At(market_of({"EURUSD": FLAT[:9], "GBPUSD": FLAT[:9]}), mode=NETTING)
    at.deal(BUY, 0.3)
    at.deal(BUY, 0.1, symbol="GBPUSD")
    assert at.broker.money().profit == -4.0
    kept = -3.0 if side == BUY else opened
    seen = at.broker.projected(TradeRequest(action=1, symbol="EURUSD", type=side, volume=volume))
    at.deal(side, volume)
    assert (seen.profit, seen.margin) == (kept - 1.0, at.broker.money().margin)
    assert seen.equity == at.book.account.balance + seen.profit


@pytest.mark.parametrize(
    ("equity", "margin", "percent", "wanted"),
    [
        (499.99, 1000.0, 50.0, True),
        (500.0, 1000.0, 50.0, False),
        (0.57, 1.0, 57.0, False),  # 56.99999999999999 as a double
        (4_999_999.99, 9_999_999.99, 50.0, True),
        (5_000_000.00, 9_999_999.99, 50.0, False),
        (-10.0, 0.0, 50.0, False),  # nothing is open
        (-10.0, 5.0, 50.0, True),
    ],
)
def test_a_level_is_under_another_by_a_cent(
    equity: float, margin: float, percent: float, wanted: bool
) -> None:
    assert Money.of(equity, 0.0, margin).under(percent) is wanted


@pytest.mark.parametrize(("side", "wanted"), [(BUY, 666.67), (SELL, -666.67)])
def test_profit_is_converted_at_the_rate_of_the_moment(side: int, wanted: float) -> None:
    rows = {"USDJPY": [(0.0, 149.99, 150.01), (60.0, 149.99, 150.01), (90.0, 149.99, 150.01)]}
    at = At(market_of(rows))
    assert at.broker.calc_profit(side, "USDJPY", 1.0, 149.0, 150.0) == wanted
    assert at.broker.calc_profit(side, "NOPE", 1.0, 149.0, 150.0) is None
    assert at.broker.calc_margin(8, "USDJPY", 1.0, 149.0) is None


def test_the_margin_of_a_pair_follows_its_base_currency_alone() -> None:
    euro = [(0.0, 1.08, 1.0802), (60.0, 1.2, 1.2002), (90.0, 1.2, 1.2002)]
    yen = [(0.0, 163.0, 163.01), (30.0, 180.0, 180.01), (90.0, 180.0, 180.01)]
    at = At(market_of({"EURUSD": euro, "EURJPY": yen}))
    for seconds, wanted in ((0, 1_080.1), (30, 1_080.1), (60, 1_200.1)):
        at.go(seconds)
        for price in (163.0, 326.0):
            assert at.broker.calc_margin(BUY, "EURJPY", 1.0, price) == wanted
    at.deal(BUY, 0.1, symbol="EURJPY")
    assert at.broker.money().margin == 120.01
    assert at.broker.calc_margin(BUY, "EURUSD", 1.0, 1.5) == 1_500.0  # converts by its own price


@pytest.mark.parametrize("kind", range(8))
def test_a_margin_can_be_asked_for_any_type_that_opens(kind: int) -> None:
    at = At(market_of({"EURUSD": FLAT[:2]}))
    assert at.broker.calc_margin(kind, "EURUSD", 0.1, 1.2) == 120.0
    profit = at.broker.calc_profit(kind, "EURUSD", 0.1, 1.2, 1.3)
    assert profit == ([1000.0, -1000.0][kind] if kind < 2 else None)


# -- swaps -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [(0, 0.0), (1, -3.0), (2, -4.5), (3, -4.5), (4, -1.5), (5, -9.166667), (6, -8.75), (7, 0.0)],
)
def test_what_a_night_costs(mode: int, wanted: float) -> None:
    spec = market_of({"EURUSD": FLAT[:2]}, {"EURUSD": {"swap_mode": mode, "swap_long": -15.0}})
    found = swap_of_night(
        spec.specs["EURUSD"],
        long=True,
        volume=0.1,
        price=1.1,
        price_open=1.05,
        rate={"USD": 2.0, "EUR": 3.0}.__getitem__,
    )
    assert found == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("weekday", "times"), [(MONDAY, 1), (WEDNESDAY, 3), (FRIDAY, 1), (SATURDAY, 0), (SUNDAY, 0)]
)
def test_nights_of_the_week(weekday: int, times: int) -> None:
    week = market_of({"EURUSD": FLAT[:2]}, {"EURUSD": {"week": WEEK}}).specs["EURUSD"]
    assert nights(week, weekday) == times
    always = market_of({"EURUSD": FLAT[:2]}, {"EURUSD": {"week": None}}).specs["EURUSD"]
    sunday = market_of({"EURUSD": FLAT[:2]}, {"EURUSD": {"week": ((0, 10_080),)}}).specs["EURUSD"]
    assert nights(always, weekday) == nights(sunday, weekday) == 1


def test_the_weekday_that_ends() -> None:
    assert weekday_before(START) == SUNDAY
    assert weekday_before(START + 24 * HOUR) == MONDAY


def test_swaps_collect_and_leave_with_the_part_that_is_closed() -> None:
    changes = {"swap_long": -10.0, "swap_short": 4.0, "week": WEEK}
    at = At(market_of({"EURUSD": FLAT}, {"EURUSD": changes}), conditions=SWAPS)
    _, long = at.deal(BUY, 0.3)
    _, short = at.deal(SELL, 0.1)
    at.go(86_399)
    assert [one.swap for one in at.positions] == [0.0, 0.0]
    at.go(86_400)
    assert [one.swap for one in at.positions] == [-3.0, 0.4]
    at.go(9.5 * 86_400)  # Mon, Tue, Wed three times, Thu, Fri, Mon, Tue
    assert [one.swap for one in at.positions] == [-27.0, 3.6]
    assert at.broker.money().profit == -3.0 - 1.0 - 27.0 + 3.6
    at.deal(SELL, 0.1, position=long)
    assert (at.deals()[-1].swap, at.book.positions[long].swap) == (-9.0, -18.0)
    at.deal(BUY, 0.1, position=short)
    assert at.deals()[-1].swap == 3.6
    at.adds_up()


def test_ideal_conditions_charge_no_swaps() -> None:
    changes = {"swap_long": -10.0, "week": WEEK}
    at = At(market_of({"EURUSD": FLAT}, {"EURUSD": changes}))
    at.deal(BUY, 0.3)
    at.place(mt5.ORDER_TYPE_BUY_LIMIT, 1.05, type_time=mt5.ORDER_TIME_DAY)  # ends at midnight
    at.go(5 * 86_400)
    assert at.one.swap == 0.0


def test_the_rollover_is_at_midnight_of_the_brokers_wall() -> None:
    changes = {"swap_long": -10.0, "week": WEEK}
    zone = Conditions(swaps=True, zone=NEW_YORK_CLOSE)
    at = At(market_of({"EURUSD": FLAT}, {"EURUSD": changes}), conditions=zone)
    at.deal(BUY, 0.1)
    at.go(22 * 3600 - 1)
    assert at.one.swap == 0.0
    at.go(22 * 3600)  # 00:00 at GMT+2
    assert at.one.swap == -1.0
    (row,) = at.broker.rows()
    assert row.time_msc == START + 2 * HOUR


def test_a_rollover_is_priced_before_the_ticks_of_midnight() -> None:
    rows = [(0.0, 1.1, 1.1), (86_400.0, 2.2, 2.2), (90_000.0, 2.2, 2.2)]
    changes = {"swap_mode": 5, "swap_long": -36.0, "week": WEEK}
    at = At(market_of({"EURUSD": rows}, {"EURUSD": changes}), conditions=SWAPS)
    at.deal(BUY, 1.0)
    at.go(86_400)
    assert at.one.swap == -110.0


# -- ends of orders' lives -------------------------------------------------


@pytest.mark.parametrize(
    ("life", "given", "end"),
    [
        (mt5.ORDER_TIME_DAY, 0, 86_400),
        (mt5.ORDER_TIME_SPECIFIED, 5_000, 5_000),
        (mt5.ORDER_TIME_SPECIFIED_DAY, 90_000, 2 * 86_400),
    ],
)
@pytest.mark.parametrize("looks", [[], [4_999, 86_399, 172_799]])
def test_an_order_ends_at_the_moment_it_is_due(
    life: int, given: int, end: int, looks: list[int]
) -> None:
    at = At(market_of({"EURUSD": FLAT}))
    until = START // 1000 + given if given else 0
    code, ticket = at.place(mt5.ORDER_TYPE_BUY_LIMIT, 1.05, type_time=life, expiration=until)
    assert code == 10009
    for look in looks:
        at.go(look)
        assert bool(at.orders) == (look < end)
    at.go(3 * 86_400)
    assert at.orders == []
    past = at.past(ticket)
    assert (past.state, past.time_done_msc) == (mt5.ORDER_STATE_EXPIRED, START + end * 1000)
    assert past.time_expiration == (until or START // 1000)  # of a day it is the beginning
    assert at.deals() == []


def test_an_order_that_is_due_is_not_filled_by_the_tick_of_that_moment() -> None:
    rows = [(0.0, 1.1, 1.1001), (10.0, 1.04, 1.0401), (20.0, 1.04, 1.0401)]
    at = At(market_of({"EURUSD": rows}))
    life = {"type_time": mt5.ORDER_TIME_SPECIFIED}
    at.place(mt5.ORDER_TYPE_BUY_LIMIT, 1.05, expiration=START // 1000 + 10, **life)
    _, late = at.place(mt5.ORDER_TYPE_BUY_LIMIT, 1.05, expiration=START // 1000 + 11, **life)
    at.go(15)
    assert [one.ticket for one in at.positions] == [late]


@pytest.mark.parametrize(
    ("life", "given", "code"),
    [
        (mt5.ORDER_TIME_SPECIFIED, 0, 10022),
        (mt5.ORDER_TIME_SPECIFIED, 1, 10009),
        (mt5.ORDER_TIME_SPECIFIED_DAY, -1, 10022),
        (mt5.ORDER_TIME_SPECIFIED_DAY, 0, 10009),
        (mt5.ORDER_TIME_GTC, -5, 10009),
        (9, 5, 10022),
    ],
)
def test_a_life_that_is_over_is_refused(life: int, given: int, code: int) -> None:
    at = At(market_of({"EURUSD": FLAT}))
    until = START // 1000 + given
    found = at.place(mt5.ORDER_TYPE_BUY_LIMIT, 1.05, type_time=life, expiration=until)
    assert found[0] == code


# -- margin call and stop-out ----------------------------------------------


def test_stop_out_is_at_the_tick_that_reaches_it() -> None:
    rows = [(0.0, 1.1, 1.1), (10.0, 1.09, 1.09), (20.0, 1.094, 1.094), (30.0, 1.1, 1.1)]
    at = At(market_of({"EURUSD": rows}), balance=1_500.0)
    _, ticket = at.deal(BUY, 1.0)
    at.go(25)
    (_, closed) = at.book.deals_of_position(ticket)
    assert (closed.time_msc, closed.price) == (START + 10_000, 1.09)
    assert (closed.reason, closed.comment) == (mt5.DEAL_REASON_SO, "[so 45.45%/500.00/1100.00]")
    assert at.past(closed.order).reason == mt5.ORDER_REASON_SO
    assert [one.kind for one in at.broker.journal] == ["margin call", "stop out"]


def test_the_largest_loss_goes_first_and_no_more_than_must() -> None:
    rows = [(0.0, 1.1, 1.1), (10.0, 1.0904, 1.0904), (20.0, 1.0904, 1.0904)]
    at = At(market_of({"EURUSD": rows}), balance=1_500.0)
    at.deal(BUY, 0.2)
    _, first = at.deal(BUY, 0.4)
    at.deal(BUY, 0.4)
    at.go(15)
    assert [one.position_id for one in at.deals() if one.entry] == [first]
    assert len(at.positions) == 2


def test_as_many_go_at_one_tick_as_must() -> None:
    rows = [(0.0, 1.1, 1.1), (10.0, 1.086, 1.086), (20.0, 1.086, 1.086)]
    at = At(market_of({"EURUSD": rows}), balance=1_600.0)
    for _ in range(5):
        at.deal(BUY, 0.2)
    at.go(19)
    assert [one.time_msc - START for one in at.deals() if one.entry] == [10_000] * 4
    assert len(at.positions) == 1


def test_only_what_trades_is_stopped_out() -> None:
    night = [(0.0, 1.1, 1.1), (60.0, 1.1, 1.1), (90_000.0, 1.1, 1.1), (90_060.0, 1.1, 1.1)]
    day = [(float(n), 1.3, 1.3) for n in range(0, 7200, 60)]
    fall = [(float(n), 1.2, 1.2) for n in range(7200, 10_000, 60)]
    at = At(market_of({"EURUSD": night, "GBPUSD": [*day, *fall]}), balance=4_000.0)
    at.deal(BUY, 1.0)
    at.go(7_000)
    _, other = at.deal(BUY, 0.25, symbol="GBPUSD")
    at.go(9_000)
    assert [one.symbol for one in at.positions] == ["EURUSD", "GBPUSD"]
    at.book.account.balance = 2_600.0  # under the level, and the night's position cannot go
    at.go(9_060)
    assert [one.symbol for one in at.positions] == ["EURUSD"]
    assert at.deals()[-1].order == at.past(at.deals()[-1].order).ticket
    assert at.deals()[-1].position_id == other


def test_a_margin_call_is_told_once_until_it_is_over() -> None:
    rows = [(0.0, 1.1, 1.1)]
    for n, price in enumerate([1.098, 1.094, 1.0945, 1.099, 1.094, 1.1], start=1):
        rows.append((n * 10.0, price, price))
    for looks in ([60], [10, 20, 30, 40, 50, 60], [35, 60]):
        at = At(market_of({"EURUSD": rows}), balance=1_500.0)
        at.deal(BUY, 1.0)
        for look in looks:
            at.go(look)
        told = [(one.at_msc - START, one.kind) for one in at.broker.journal]
        assert told == [(20_000, "margin call"), (50_000, "margin call")]


def test_without_free_margin_an_order_is_rejected_as_it_activates() -> None:
    rows = [(0.0, 1.1, 1.1001), (10.0, 1.04, 1.0401), (20.0, 1.04, 1.0401)]
    at = At(market_of({"EURUSD": rows}), balance=1_000.0)
    _, ticket = at.place(mt5.ORDER_TYPE_BUY_LIMIT, 1.05, 1.0)
    at.go(15)
    assert (at.positions, at.orders) == ([], [])
    assert at.past(ticket).state == mt5.ORDER_STATE_REJECTED


def test_a_level_counts_against_ticks_after_it_was_set() -> None:
    rows = [(0.0, 1.1, 1.1), (10.0, 1.08, 1.08), (20.0, 1.09, 1.09), (30.0, 1.08, 1.08)]
    at = At(market_of({"EURUSD": rows}))
    at.deal(BUY, 0.1)
    at.go(10)
    at.broker.set_levels(at.one, 1.085, 0.0)
    at.go(10)
    at.go(25)
    assert at.one.sl == 1.085
    at.go(30)
    assert at.deals()[-1].time_msc == START + 30_000


def test_the_stop_of_an_order_counts_after_its_fill() -> None:
    rows = [(0.0, 1.1, 1.1), (10.0, 1.04, 1.04), (20.0, 1.04, 1.04), (30.0, 1.04, 1.04)]
    at = At(market_of({"EURUSD": rows}))
    at.place(mt5.ORDER_TYPE_BUY_LIMIT, 1.05, sl=1.045)
    at.place(mt5.ORDER_TYPE_SELL_STOP, 1.05, tp=1.045)
    at.go(15)
    assert len(at.positions) == 2
    at.go(20)
    assert [one.time_msc - START for one in at.deals()] == [10_000, 10_000, 20_000, 20_000]


def test_a_pin_is_a_tick_of_its_own_moment() -> None:
    rows = [(0.0, 1.1, 1.1001), (0.001, 1.0, 1.0001), (60.0, 1.1, 1.1001), (90.0, 1.1, 1.1)]
    at = At(market_of({"EURUSD": rows, "GBPUSD": rows}))
    at.deal(BUY, 0.1, symbol="GBPUSD", sl=1.05)
    at.deal(BUY, 0.1, sl=1.05)
    at.broker.pin("EURUSD", 1.2, 1.2001)
    assert len(at.positions) == 0, "the market's ticks of the moment before it count too"
    at.deal(BUY, 0.1, sl=1.05)
    at.go(30)
    at.broker.pin("EURUSD", 1.01, 1.0101)
    assert at.positions == []
    assert at.deals()[-1].price == 1.01


@pytest.mark.parametrize("mode", [HEDGING, NETTING, EXCHANGE])
def test_history_is_found_by_order_and_by_position(mode: int) -> None:
    at = At(market_of({"EURUSD": FLAT[:9]}), mode=mode)
    _, first = at.deal(BUY, 0.3)
    _, second = at.deal(SELL, 0.1, position=first)
    book = at.book
    assert [one.order for one in book.deals_of_position(first)] == [first, second]
    assert [one.ticket for one in book.orders_of_position(first)] == [first, second]
    assert [one.volume for one in book.deals_of_order(second)] == [0.1]
    assert book.deals_of_order(12345) == ()
    assert book.order_of(12345) is None
    at.adds_up()
