"""The reference ledger against examples worked out by hand, most of them published.

Nothing of the simulated broker runs here: before the two are held against
each other, the reference must be right by itself.
"""

from __future__ import annotations

import ast
import copy
import datetime as dt
import sys
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from ledger_broker import Ledger
from ledger_market import Tape, in_time, new_york_summer
from ledger_scenes import SYMBOLS
from ledger_terms import (
    BUY,
    BUY_LIMIT,
    BUY_STOP,
    BUY_STOP_LIMIT,
    BY_SL,
    BY_SO,
    BY_TP,
    CANCELED,
    CFD_LEVERAGE,
    CLOSE_BY,
    DEAL,
    EXPIRED,
    FILLED,
    FOREX,
    HEDGING,
    IN,
    INOUT,
    NETTING,
    OUT,
    OUT_BY,
    PENDING,
    REJECTED,
    REMOVE,
    SELL,
    SLTP,
    SPECIFIED,
    TODAY,
    Account,
    Symbol,
    Terms,
    average,
    cents,
)

D = Decimal
START = 1_709_600_400_000  # Tuesday, 5 March 2024, 01:00 UTC
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
Rows = Sequence[tuple[int, str, str]]


def played(
    rows: dict[str, Rows], terms: Terms | None = None, deposit: str = "10000", **account: Any
) -> Ledger:
    """A ledger on ticks given as (milliseconds from START, bid, ask), with a tick each 20 min."""
    named = {one.name: one for one in SYMBOLS} | {
        "AUDUSD": Symbol(name="AUDUSD", digits=5, base="AUD", profit="USD", swap_long=D("-5.47"))
    }
    ticks = {}
    for name, some in rows.items():
        full = []
        for index, (at, bid, ask) in enumerate(some):
            until = some[index + 1][0] if index + 1 < len(some) else at + 2 * HOUR
            full += [(START + t, D(bid), D(ask)) for t in range(at, until, 20 * MINUTE)]
        ticks[name] = full
    symbols = [copy.copy(named[name]) for name in rows]
    tape = Tape(symbols, in_time(ticks), terms or Terms())
    return Ledger(Account(**account), tape, D(deposit))


def order(symbol: str, side: int, volume: float, **rest: Any) -> dict[str, Any]:
    base = {"action": DEAL, "symbol": symbol, "type": side, "volume": volume}
    return {**base, "type_filling": 1 if symbol == "XAUUSD" else 0, **rest}


def test_the_reference_shares_no_code_with_the_broker() -> None:
    for name in ("ledger_broker", "ledger_book", "ledger_market", "ledger_rules", "ledger_terms"):
        source = (Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8")
        nodes = list(ast.walk(ast.parse(source)))
        found = {one.module or "" for one in nodes if isinstance(one, ast.ImportFrom)}
        found |= {each.name for one in nodes if isinstance(one, ast.Import) for each in one.names}
        own = {one for one in found if one.startswith("ledger")}
        assert {one.split(".")[0] for one in found - own} <= sys.stdlib_module_names


def test_rounding_of_money() -> None:
    assert cents(D("1.005")) == D("1.01")
    assert cents(D("-1.005")) == D("-1.01")
    assert cents(D("1.00499")) == D("1.00")
    assert cents(D("1.0049999999")) == D("1.01")  # so near to the half counts as it
    assert cents(D("4.164999")) == D("4.16")  # 0.0001 of a cent is too far
    assert cents(D("-0.004")) == 0
    assert average(D("1.123456785")) == D("1.12345679")


def test_profit_is_the_move_times_the_contract() -> None:
    """(close - open) * contract size * lots: MQL5 reference, ENUM_SYMBOL_CALC_MODE, FOREX."""
    book = played({"EURUSD": [(0, "1.08490", "1.08500"), (HOUR, "1.08600", "1.08610")]})
    assert book.send(order("EURUSD", BUY, 0.1)).code == 10009
    assert book.money().profit == D("-1.00")  # the spread: 10 points of 0.10
    book.advance(START + HOUR)
    assert book.money().profit == D("10.00")
    assert book.money().equity == D("10010.00")


def test_profit_in_yen_is_converted_at_the_moment() -> None:
    book = played({"USDJPY": [(0, "150.000", "150.000"), (HOUR, "160.000", "160.000")]})
    book.send(order("USDJPY", BUY, 0.1))
    book.advance(START + HOUR)
    assert book.money().profit == D("625.00")  # 10 yen * 10,000 / 160


def test_margin_of_a_pair_at_a_leverage_of_100() -> None:
    """1 lot EURUSD at 1.2000, 1:100: 1,200 USD (faq.propnumberone.com, article 10026394)."""
    book = played({"EURUSD": [(0, "1.19990", "1.20000")]})
    book.send(order("EURUSD", BUY, 1.0))
    assert book.money().margin == D("1200.00")


def test_margin_arises_in_the_base_currency() -> None:
    """Lots * contract / leverage, in EUR, then converted: MQL5 reference, FOREX of the modes."""
    rows: dict[str, Rows] = {
        "EURUSD": [(0, "1.08000", "1.08020")],
        "EURGBP": [(0, "0.85500", "0.85510"), (HOUR, "0.99500", "0.99510")],
    }
    book = played(rows)
    euro = book.tape.symbols["EURGBP"]
    book.send(order("EURGBP", BUY, 1.0))
    assert book.money().margin == D("540.05")  # 100,000 EUR / 100 at 1.0801, a rate of 0.5
    book.advance(START + HOUR)
    assert book.lot_margin(euro, D("0.99510")) == book.lot_margin(euro, D("0.85510"))


def test_margin_of_gold() -> None:
    """0.1 lot at 1944, 1:100: 194.40 USD (chaport.help, margin-calculation-2)."""
    book = played({"XAUUSD": [(0, "1943.50", "1944.00")]})
    assert book.tape.symbols["XAUUSD"].calc_mode == CFD_LEVERAGE
    book.send(order("XAUUSD", BUY, 0.1))
    assert book.money().margin == D("194.40")


def test_margin_where_the_base_is_the_accounts_own_currency() -> None:
    book = played({"USDJPY": [(0, "151.234", "151.300")]})
    assert book.tape.symbols["USDJPY"].calc_mode == FOREX
    book.send(order("USDJPY", SELL, 0.5))
    assert book.money().margin == D("500.00")  # 100,000 USD / 100 * 0.5, whatever the price


def test_margin_stays_as_the_deal_fixed_it() -> None:
    book = played({"EURUSD": [(0, "1.10000", "1.10000"), (HOUR, "1.20000", "1.20000")]})
    book.send(order("EURUSD", BUY, 1.0))
    book.advance(START + HOUR)
    assert book.money().margin == D("1100.00")
    book.send(order("EURUSD", BUY, 1.0))
    assert book.money().margin == D("2300.00")


def test_a_hedged_volume_pays_for_its_larger_side() -> None:
    """MetaTrader 5 help, "Margin calculation: retail forex", with the larger leg."""
    book = played({"EURUSD": [(0, "1.10000", "1.10000")]})
    book.send(order("EURUSD", BUY, 1.0))
    book.send(order("EURUSD", SELL, 0.4))
    assert book.money().margin == D("1100.00")
    book.send(order("EURUSD", SELL, 0.8))
    assert book.money().margin == D("1320.00")


def test_a_level_of_margin() -> None:
    book = played({"EURUSD": [(0, "1.10000", "1.10000")]}, deposit="3300")
    book.send(order("EURUSD", BUY, 1.0))
    assert (book.money().level, book.money().free) == (D("300.00"), D("2200.00"))


def test_an_order_that_costs_more_than_is_free_is_refused() -> None:
    book = played({"EURUSD": [(0, "1.10000", "1.10000")]}, deposit="1100")
    assert book.send(order("EURUSD", BUY, 1.01)).code == 10019
    assert book.send(order("EURUSD", BUY, 1.0)).code == 10009
    assert book.send(order("EURUSD", SELL, 1.0)).code == 10009  # hedged: takes nothing more


def test_a_night_costs_swap_points() -> None:
    """2 lots AUDUSD long at -5.47 points: -10.94 USD (support of Amalga, article KA-01041)."""
    book = played(
        {"AUDUSD": [(0, "0.66000", "0.66000"), (DAY, "0.66000", "0.66000")]}, Terms(swaps=True)
    )
    book.send(order("AUDUSD", BUY, 2.0))
    book.advance(START + DAY)
    assert [one.swap for one in book.positions.values()] == [D("-10.94")]
    assert book.money().profit == D("-10.94")
    assert book.money().balance == D(10000)


@pytest.mark.parametrize(
    ("days", "nights"), [(1, 1), (2, 4), (3, 5), (4, 6), (5, 6), (6, 6), (7, 7)]
)
def test_wednesday_is_charged_three_times_and_the_weekend_not(days: int, nights: int) -> None:
    """From Tuesday: Tuesday 1, Wednesday 3, Thursday 1, Friday 1, no Saturday, no Sunday."""
    rows: Rows = [(0, "0.66000", "0.66000"), (8 * DAY, "0.66000", "0.66000")]
    book = played({"AUDUSD": rows}, Terms(swaps=True))
    book.send(order("AUDUSD", BUY, 1.0))
    book.advance(START + days * DAY)
    assert [one.swap for one in book.positions.values()] == [D("-5.47") * nights]


def test_interest_on_the_present_price() -> None:
    """swap / 100 / 360 * price * contract * lots (vantagehelpcenter.com, 11622077883535)."""
    book = played(
        {"XAUUSD": [(0, "2400.00", "2400.00"), (DAY, "2500.00", "2500.00")]}, Terms(swaps=True)
    )
    book.send(order("XAUUSD", BUY, 0.1))
    book.advance(START + DAY)
    # -5.5 / 100 / 360 * 2400 * 100 * 0.1 = -3.6667, at Tuesday's midnight, before 2500 came
    assert [one.swap for one in book.positions.values()] == [D("-3.67")]


def test_a_part_takes_its_part_of_the_swap_along() -> None:
    rows: Rows = [(0, "0.66000", "0.66000"), (DAY, "0.66000", "0.66000")]
    book = played({"AUDUSD": rows}, Terms(swaps=True), commission_per_lot=D(7))
    book.send(order("AUDUSD", BUY, 0.3))  # -5.47 * 0.3 = -1.641
    book.advance(START + DAY)
    (one,) = book.positions.values()
    assert one.swap == D("-1.64")
    book.send(order("AUDUSD", SELL, 0.1, position=one.ticket))
    deal = book.deals[-1]
    assert (deal.swap, deal.commission, deal.entry) == (D("-0.55"), D("-0.35"), OUT)
    assert one.swap == D("-1.09")
    assert book.money().balance == D(10000) - D("1.05") - D("0.35") - D("0.55")


def test_close_by_saves_a_spread() -> None:
    """Both cancel at the open price of `position_by`; one deal carries the profit.

    MetaTrader 5 help, "Close By", and MQL5 book, "Closing opposite positions".
    """
    book = played({"EURUSD": [(0, "1.10000", "1.10010"), (HOUR, "1.10500", "1.10510")]})
    book.send(order("EURUSD", BUY, 1.0))
    book.advance(START + HOUR)
    book.send(order("EURUSD", SELL, 0.4))
    long, short = book.positions
    answer = book.send({"action": CLOSE_BY, "position": long, "position_by": short})
    assert (answer.code, answer.volume) == (10009, D("0.4"))
    first, second = book.deals[-2:]
    assert (first.entry, first.position_id, first.price, first.profit) == (
        OUT_BY,
        long,
        D("1.10500"),
        D("196.00"),  # (1.10500 - 1.10010) * 0.4 * 100,000
    )
    assert (second.entry, second.position_id, second.price, second.profit) == (
        OUT_BY,
        short,
        D("1.10500"),
        D(0),
    )
    assert [(one.ticket, one.volume) for one in book.positions.values()] == [(long, D("0.6"))]
    assert [(one.state, one.volume) for one in book.past[-1:]] == [(FILLED, D("0.4"))]


def test_netting_adds_reduces_and_reverses() -> None:
    rows: Rows = [(0, "1.10000", "1.10000"), (HOUR, "1.20000", "1.20000")]
    book = played({"EURUSD": rows}, mode=NETTING)
    book.send(order("EURUSD", BUY, 0.1))
    book.advance(START + HOUR)
    book.send(order("EURUSD", BUY, 0.3))
    (one,) = book.positions.values()
    first = one.ticket
    assert (one.volume, one.price_open) == (D("0.4"), D("1.175"))
    assert book.money().margin == D("470.00")  # 0.1 lot at 1100 and 0.3 at 1200
    book.send(order("EURUSD", SELL, 0.2))
    assert book.deals[-1].profit == D("500.00")
    assert book.money().margin == D("235.00")
    answer = book.send(order("EURUSD", SELL, 0.5))
    (one,) = book.positions.values()
    assert (one.side, one.volume, one.price_open) == (SELL, D("0.3"), D("1.2"))
    assert (one.ticket, one.identifier) == (answer.order, first)
    assert [deal.entry for deal in book.deals[1:]] == [IN, IN, OUT, INOUT]
    assert book.deals[-1].volume == D("0.5")
    assert book.money().balance == D("11000.00")


def test_a_gap_fills_beyond_the_stop() -> None:
    rows: Rows = [(0, "1.10000", "1.10010"), (HOUR, "1.08000", "1.08010")]
    book = played({"EURUSD": rows})
    book.send(order("EURUSD", BUY, 0.1, sl=1.09))
    book.advance(START + 2 * HOUR)
    deal = book.deals[-1]
    assert (deal.reason, deal.price, deal.profit) == (BY_SL, D("1.08000"), D("-201.00"))
    assert deal.time == START + HOUR


def test_a_target_is_filled_at_the_tick() -> None:
    rows: Rows = [(0, "1.10000", "1.10010"), (HOUR, "1.08000", "1.08010")]
    book = played({"EURUSD": rows})
    book.send(order("EURUSD", SELL, 0.1, tp=1.09))
    book.advance(START + 2 * HOUR)
    assert (book.deals[-1].reason, book.deals[-1].price) == (BY_TP, D("1.08010"))


def test_pending_orders_fill_at_the_ticks_price() -> None:
    rows: Rows = [
        (0, "1.10000", "1.10010"),
        (HOUR, "1.08000", "1.08010"),
        (2 * HOUR, "1.12", "1.1201"),
    ]
    book = played({"EURUSD": rows})
    placed = {"action": PENDING, "symbol": "EURUSD", "volume": 0.1, "type_filling": 2}
    assert book.send({**placed, "type": BUY_LIMIT, "price": 1.09}).code == 10009
    assert book.send({**placed, "type": BUY_STOP, "price": 1.11}).code == 10009
    assert (
        book.send({**placed, "type": BUY_STOP_LIMIT, "price": 1.115, "stoplimit": 1.09}).code
        == 10009
    )
    assert book.send({**placed, "type": BUY_LIMIT, "price": 1.11}).code == 10015
    book.advance(START + 3 * HOUR)
    assert [one.price for one in book.deals[1:]] == [D("1.08010"), D("1.1201")]
    (waiting,) = book.working.values()
    assert (waiting.type, waiting.price) == (BUY_LIMIT, D("1.09"))


def test_an_order_without_the_money_is_rejected_when_it_is_reached() -> None:
    rows: Rows = [(0, "1.10000", "1.10010"), (HOUR, "1.08000", "1.08010")]
    book = played({"EURUSD": rows}, deposit="500")
    placed = {"action": PENDING, "symbol": "EURUSD", "volume": 1.0, "type_filling": 2}
    book.send({**placed, "type": BUY_LIMIT, "price": 1.09})
    book.advance(START + HOUR)
    assert [(one.state, one.done) for one in book.past] == [(REJECTED, START + HOUR)]


def test_orders_expire_when_they_are_due() -> None:
    rows: Rows = [(0, "1.10000", "1.10010"), (2 * DAY, "1.08000", "1.08010")]
    book = played({"EURUSD": rows})
    placed = {"action": PENDING, "symbol": "EURUSD", "volume": 0.1, "type_filling": 2}
    limit = {**placed, "type": BUY_LIMIT, "price": 1.09}
    at = START // 1000 + 90
    assert book.send({**limit, "type_time": TODAY}).code == 10009
    assert book.send({**limit, "type_time": SPECIFIED, "expiration": at}).code == 10009
    assert book.send({**limit, "type_time": 3, "expiration": at}).code == 10009
    assert book.send({**limit, "type_time": SPECIFIED, "expiration": at - 90}).code == 10022
    book.advance(START + 3 * DAY)
    midnight = START - START % DAY + DAY
    assert [(one.state, one.done) for one in book.past] == [
        (EXPIRED, at * 1000),
        (EXPIRED, midnight),
        (EXPIRED, midnight),
    ]
    assert len(book.deals) == 1


def test_the_worst_position_is_closed_while_the_level_is_too_low() -> None:
    rows: Rows = [(0, "1.10000", "1.10000"), (HOUR, "1.06000", "1.06000")]
    book = played({"EURUSD": rows}, deposit="2500", stop_out_level=D(50))
    book.send(order("EURUSD", BUY, 0.3))
    book.send(order("EURUSD", BUY, 0.6))
    book.advance(START + HOUR - 1)
    assert book.money().margin == D("990.00")
    # At 1.06: -1200 and -2400; equity is -1100. First the larger goes, then the other.
    book.advance(START + HOUR)
    assert [(one.reason, one.profit) for one in book.deals[3:]] == [
        (BY_SO, D("-2400.00")),
        (BY_SO, D("-1200.00")),
    ]
    assert [one.comment for one in book.deals[3:]] == ["[so -111.11%]", "[so -333.33%]"]


def test_where_depth_is_limited() -> None:
    rows: Rows = [(0, "1.10000", "1.10010")]
    book = played({"EURUSD": rows}, Terms(depth=True))  # of 0.5 lots
    assert book.send(order("EURUSD", BUY, 0.6)).code == 10006
    answer = book.send(order("EURUSD", BUY, 0.6, type_filling=1))
    assert (answer.code, answer.volume) == (10010, D("0.5"))
    assert [(one.state, one.left) for one in book.past] == [(CANCELED, D("0.1"))]


def test_at_an_agreed_price_all_is_filled_or_nothing() -> None:
    book = played({"US500": [(0, "5200.0", "5200.5")]}, Terms(depth=True))  # of 4 lots
    for filling, volume, code in (
        (1, 4.1, 10006),
        (2, 4.1, 10006),
        (2, 4.0, 10009),
        (3, 1.0, 10030),
    ):
        asked = order("US500", BUY, volume, price=5200.5, type_filling=filling)
        assert book.send(asked).code == code
    assert [one.filling for one in book.past] == [0]


def test_what_a_request_may_leave_out() -> None:
    book = played({"EURUSD": [(0, "1.10000", "1.10010")]})
    book.send(order("EURUSD", BUY, 0.1))
    (ticket,) = book.positions
    assert book.send({"action": SLTP, "position": ticket, "sl": 1.09}).code == 10009
    assert (
        book.send({"action": DEAL, "position": ticket, "type": SELL, "volume": 0.1}).code == 10009
    )
    netted = played({"EURUSD": [(0, "1.10000", "1.10010")]}, mode=NETTING)
    assert netted.send({"action": SLTP, "symbol": "EURUSD", "sl": 1.09}).code == 10036
    netted.send(order("EURUSD", BUY, 0.1))
    assert netted.send({"action": SLTP, "symbol": "EURUSD", "sl": 1.09}).code == 10009
    assert netted.check({"action": SLTP, "symbol": "EURUSD", "sl": 1.090001}) == 10016


def test_what_is_off_the_grid_is_refused() -> None:
    book = played({"EURUSD": [(0, "1.10000", "1.10010")]})
    limit = {"action": PENDING, "symbol": "EURUSD", "type": BUY_LIMIT, "volume": 0.1}
    assert book.send({**limit, "price": 1.0812345678}).code == 10015
    assert book.send({**limit, "price": 1.08123, "sl": 1.0700001}).code == 10016
    assert book.send({**limit, "price": 1.1 - 0.01, "sl": 1.1 - 0.03}).code == 10009  # an ulp off
    assert book.send(order("EURUSD", BUY, 0.1, sl=1.0900001)).code == 10016


def test_an_order_that_ends_unfilled_shows_the_market_of_its_end() -> None:
    rows: Rows = [(0, "1.10000", "1.10010"), (HOUR, "1.12000", "1.12010")]
    book = played({"EURUSD": rows})
    at = START // 1000 + 3600  # the very moment of the tick, which comes later
    limit = {"action": PENDING, "symbol": "EURUSD", "type": BUY_LIMIT, "volume": 0.1, "price": 1.09}
    book.send({**limit, "type_time": SPECIFIED, "expiration": at})
    answer = book.send(limit)
    book.advance(START + HOUR)
    book.send({"action": REMOVE, "order": answer.order})
    assert [(one.state, one.price_last) for one in book.past] == [
        (EXPIRED, D("1.10010")),
        (CANCELED, D("1.12010")),
    ]


def test_levels_count_after_they_were_set() -> None:
    rows: Rows = [(0, "1.10000", "1.10010"), (HOUR, "1.08000", "1.08010")]
    book = played({"EURUSD": rows}, mode=HEDGING)
    book.send(order("EURUSD", BUY, 0.1))
    (ticket,) = book.positions
    levels = {"action": SLTP, "symbol": "EURUSD", "position": ticket, "sl": 1.09}
    book.advance(START + HOUR)
    assert book.send(levels).code == 10016  # above the bid by now
    assert book.send({**levels, "sl": 1.07}).code == 10009
    assert book.send({**levels, "sl": 1.07}).code == 10025


def test_the_clocks_of_new_york() -> None:
    """2024: 10 March, 07:00 UTC, to 3 November, 06:00 UTC; 2025: 9 March to 2 November."""
    for changes, summer in (
        (dt.datetime(2024, 3, 10, 7, tzinfo=dt.UTC), True),
        (dt.datetime(2024, 11, 3, 6, tzinfo=dt.UTC), False),
        (dt.datetime(2025, 3, 9, 7, tzinfo=dt.UTC), True),
        (dt.datetime(2025, 11, 2, 6, tzinfo=dt.UTC), False),
    ):
        at = int(changes.timestamp() * 1000)
        assert new_york_summer(at) is summer
        assert new_york_summer(at - 1) is not summer
