"""Orders at the simulated broker: what it refuses, and what it does."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from terminal_kit import Clock, books_balance, generated, order, playing, stops

from terminals import GeneratedMarket, SimulatedTerminal, spec_for
from terminals import constants as mt5
from terminals.structs import OrderSendResult

SELL = mt5.ORDER_TYPE_SELL
QUIET = {"EURUSD": [(at, 1.1, 1.1001) for at in range(0, 7200, 60)]}


def sent(terminal: SimulatedTerminal, request: dict[str, Any]) -> OrderSendResult:
    done = terminal.order_send(request)
    assert done is not None, terminal.last_error()
    return done


def quiet(**options: Any) -> SimulatedTerminal:
    return playing(QUIET, **options)[0]


REFUSED: list[tuple[str, dict[str, Any], int]] = [
    ("too small", {"volume": 0.001}, 10014),
    ("off the step", {"volume": 0.015}, 10014),
    ("too large", {"volume": 100.01}, 10014),
    ("zero", {"volume": 0.0}, 10014),
    ("negative", {"volume": -0.1}, 10014),
    ("no number", {"volume": math.nan}, 10014),
    ("mask used as an enum", {"type_filling": 3}, 10030),
    ("return", {"type_filling": mt5.ORDER_FILLING_RETURN}, 10030),
    ("stop above the bid", {"sl": 1.1005}, 10016),
    ("stop within the stops level", {"sl": 1.09995}, 10016),
    ("target below the bid", {"tp": 1.0990}, 10016),
    ("negative stop", {"sl": -1.0}, 10016),
    ("infinite target", {"tp": math.inf}, 10016),
    ("sell with its stop below", {"type": SELL, "sl": 1.09}, 10016),
    ("stop with too many digits", {"sl": 1.0912345}, 10016),
    ("nonsense price", {"price": math.nan}, 10015),
    ("pending type", {"type": mt5.ORDER_TYPE_BUY_LIMIT}, 10035),
    ("unknown symbol", {"symbol": "NOPE"}, 10013),
    ("no symbol", {"symbol": None}, 10013),
    ("unknown action", {"action": 99}, 10013),
    ("no action", {"action": None}, 10013),
    ("no money", {"volume": 50.0}, 10019),
    ("position that is not there", {"position": 1, "type": SELL}, 10036),
]


@pytest.mark.parametrize(
    ("fields", "retcode"), [row[1:] for row in REFUSED], ids=[r[0] for r in REFUSED]
)
def test_refusals(fields: dict[str, Any], retcode: int) -> None:
    terminal = quiet()
    request = order(**fields)
    done = sent(terminal, request)
    assert done.retcode == retcode
    assert done.comment
    assert terminal.last_error() == (1, "Success")
    checked = terminal.order_check(request)
    assert checked is not None
    assert checked.retcode == retcode
    assert terminal.positions_get() == ()
    assert terminal.orders_sent == [{**request, "retcode": retcode}]
    books_balance(terminal)


@pytest.mark.parametrize(
    ("mask", "filling", "retcode"),
    [(1, 0, 10009), (1, 1, 10030), (2, 0, 10030), (2, 1, 10009), (3, 1, 10009), (3, 2, 10030)],
)
def test_filling_mask_and_enum(mask: int, filling: int, retcode: int) -> None:
    terminal = quiet(specs={"filling_mode": mask})
    assert sent(terminal, order(type_filling=filling)).retcode == retcode


@pytest.mark.parametrize(
    ("mode", "side", "retcode"),
    [(0, 0, 10017), (1, 0, 10009), (1, 1, 10042), (2, 0, 10043), (2, 1, 10009), (3, 0, 10044)],
)
def test_trade_modes(mode: int, side: int, retcode: int) -> None:
    terminal = quiet(specs={"trade_mode": mode})
    assert sent(terminal, order(type=side)).retcode == retcode
    ticket = terminal.open_position("EURUSD", "BUY", 0.1)
    closing = sent(terminal, order(type=SELL, position=ticket))
    assert closing.retcode == (10017 if mode == 0 else 10009)


def test_switches() -> None:
    terminal = quiet()
    terminal.set_autotrading(False)
    info = terminal.terminal_info()
    assert info is not None
    assert info.trade_allowed is False
    assert sent(terminal, order()).retcode == 10027
    terminal.set_autotrading(True)
    terminal.set_trading(expert=False)
    assert sent(terminal, order()).retcode == 10026
    terminal.set_trading(allowed=False)
    assert sent(terminal, order()).retcode == 10017
    account = terminal.account_info()
    assert account is not None
    assert account.trade_allowed is False
    terminal.set_trading()
    assert sent(terminal, order()).retcode == 10009


def test_closed_market() -> None:
    terminal, clock = playing(
        {
            "EURUSD": [
                (0, 1.1, 1.1001),
                (60, 1.1, 1.1001),
                (90_000, 1.2, 1.2001),
                (90_060, 1.2, 1.2001),
            ]
        }
    )
    ticket = terminal.open_position("EURUSD", "BUY", 0.1)
    clock.at += 7200
    assert sent(terminal, order()).retcode == 10018
    assert sent(terminal, order(type=SELL, position=ticket)).retcode == 10018
    assert sent(terminal, stops(ticket, sl=1.05)).retcode == 10018
    clock.at += 82_830
    assert sent(terminal, stops(ticket, sl=1.05)).retcode == 10009
    assert not terminal.over
    clock.at += 60
    assert sent(terminal, order()).retcode == 10018  # the recording is over
    assert terminal.over
    assert terminal.market.over


def test_symbol_that_is_not_in_market_watch() -> None:
    terminal = quiet()
    assert terminal.symbol_select("EURUSD", False)
    info = terminal.symbol_info("EURUSD")
    assert info is not None
    assert info.visible is False
    assert sent(terminal, order()).retcode == 10021
    assert terminal.symbol_select("EURUSD")
    assert sent(terminal, order()).retcode == 10009
    assert terminal.symbol_select("EURUSD", False) is False  # it has a position


def test_open_modify_close() -> None:
    terminal, clock = playing(
        {"EURUSD": [(0, 1.1, 1.1001), (60, 1.102, 1.1021), (120, 1.102, 1.1021), (180, 1.1, 1.2)]}
    )
    done = sent(terminal, order(sl=1.09, tp=1.2, magic=7, comment="x" * 29))
    assert (done.retcode, done.price, done.volume, done.bid, done.ask) == (
        10009,
        1.1001,
        0.1,
        1.1,
        1.1001,
    )
    (one,) = terminal.positions_get() or ()
    assert (one.ticket, one.identifier, one.type, one.magic) == (done.order, done.order, 0, 7)
    assert (one.sl, one.tp, one.price_open, one.price_current) == (1.09, 1.2, 1.1001, 1.1)
    assert one.profit == -1.0
    clock.at += 60
    assert sent(terminal, stops(one.ticket, sl=1.1, tp=1.2)).retcode == 10009
    assert sent(terminal, stops(one.ticket, sl=1.1, tp=1.2)).retcode == 10025
    assert sent(terminal, stops(one.ticket, sl=1.1025, tp=1.2)).retcode == 10016
    assert sent(terminal, stops(one.ticket, sl=1.10195, tp=1.2)).retcode == 10016
    assert sent(terminal, stops(one.ticket, symbol="NOPE")).retcode == 10013
    assert sent(terminal, stops(one.ticket, sl=1.101)).retcode == 10009
    (one,) = terminal.positions_get() or ()
    assert (one.sl, one.tp) == (1.101, 0.0)  # a level left out is removed
    assert one.profit == 19.0
    half = sent(terminal, order(type=SELL, position=one.ticket, volume=0.04, comment="part"))
    assert (half.retcode, half.price) == (10009, 1.102)
    assert sent(terminal, order(type=SELL, position=one.ticket, volume=0.07)).retcode == 10038
    assert sent(terminal, order(position=one.ticket, volume=0.01)).retcode == 10013  # same side
    (one,) = terminal.positions_get() or ()
    assert one.volume == 0.06
    account = terminal.account_info()
    assert account is not None
    assert account.balance == 10_007.6
    assert sent(terminal, order(type=SELL, position=one.ticket, volume=0.06)).retcode == 10009
    assert sent(terminal, stops(one.ticket, sl=1.1)).retcode == 10036
    assert sent(terminal, order(type=SELL, position=one.ticket)).retcode == 10036
    deals = terminal.history_deals_get(position=one.identifier)
    assert deals is not None
    assert [(d.entry, d.type, d.volume, d.profit, d.comment) for d in deals] == [
        (0, 0, 0.1, 0.0, "x" * 29),
        (1, 1, 0.04, 7.6, "part"),
        (1, 1, 0.06, 11.4, ""),
    ]
    assert {d.reason for d in deals} == {mt5.DEAL_REASON_EXPERT}
    assert [d.ticket for d in terminal.history_deals_get(ticket=half.order) or ()] == [half.deal]
    opening, *closing = terminal.history_orders_get(position=one.identifier) or ()
    assert (opening.ticket, opening.sl, opening.tp, opening.state) == (done.order, 1.09, 1.2, 4)
    assert len(closing) == 2
    assert terminal.history_orders_get(ticket=done.order) == (opening,)
    assert terminal.symbol_select("EURUSD", False)
    books_balance(terminal)


def test_a_sell_mirrors() -> None:
    terminal, clock = playing(
        {"EURUSD": [(0, 1.1, 1.1001), (60, 1.098, 1.0981), (120, 1.098, 1.0981)]}
    )
    done = sent(terminal, order(type=SELL, sl=1.11, tp=1.09))
    assert done.price == 1.1
    clock.at += 60
    (one,) = terminal.positions_get() or ()
    assert (one.price_current, one.profit) == (1.0981, 19.0)
    assert sent(terminal, stops(one.ticket, sl=1.097)).retcode == 10016
    assert sent(terminal, stops(one.ticket, sl=1.09815)).retcode == 10016
    assert sent(terminal, stops(one.ticket, sl=1.0982)).retcode == 10009


def test_a_level_that_stays_may_stand_nearer_than_a_new_one_could() -> None:
    terminal = quiet()
    ticket = terminal.open_position("EURUSD", "BUY", 0.1, sl=1.09995)
    assert sent(terminal, stops(ticket, sl=1.09995, tp=1.2)).retcode == 10009
    assert sent(terminal, stops(ticket, sl=1.09994, tp=1.2)).retcode == 10016


def test_freeze_level() -> None:
    terminal = quiet(specs={"freeze_level": 100})
    ticket = terminal.open_position("EURUSD", "BUY", 0.1, sl=1.0995)
    assert sent(terminal, stops(ticket, sl=1.09)).retcode == 10029


def test_hedging_keeps_both_sides_and_margins_the_larger() -> None:
    terminal = quiet()
    assert sent(terminal, order(volume=0.3)).retcode == 10009
    before = terminal.account_info()
    assert sent(terminal, order(type=SELL, volume=0.1)).retcode == 10009
    after = terminal.account_info()
    assert before is not None
    assert after is not None
    assert after.margin == before.margin == 330.03  # 0.3 lots bought at 1.1001, leverage 100
    assert [p.type for p in terminal.positions_get() or ()] == [0, 1]


def test_order_check_changes_nothing() -> None:
    terminal = quiet()
    checked = terminal.order_check(order())
    assert checked is not None
    assert (checked.retcode, checked.comment, checked.balance) == (0, "Done", 10_000.0)
    assert terminal.positions_get() == ()
    assert terminal.orders_sent == []


def netting(rows: Any = None) -> tuple[SimulatedTerminal, Clock]:
    terminal, clock = playing(rows or QUIET)
    terminal._broker.book.account.margin_mode = mt5.ACCOUNT_MARGIN_MODE_RETAIL_NETTING
    return terminal, clock


def test_netting_adds_reduces_and_reverses() -> None:
    terminal, clock = netting({"EURUSD": [(0, 1.1, 1.1), (60, 1.2, 1.2), (120, 1.2, 1.2)]})
    first = sent(terminal, order(volume=0.1, sl=1.0))
    clock.at += 60
    sent(terminal, order(volume=0.3, tp=1.5))
    (one,) = terminal.positions_get() or ()
    assert (one.ticket, one.volume, one.price_open) == (first.order, 0.4, pytest.approx(1.175))
    assert (one.sl, one.tp) == (0.0, 1.5)  # the newest order's levels, and it had no stop
    sent(terminal, order(volume=0.2, type=SELL))
    (one,) = terminal.positions_get() or ()
    assert (one.volume, one.price_open) == (0.2, pytest.approx(1.175))
    turned = sent(terminal, order(volume=0.5, type=SELL))
    (one,) = terminal.positions_get() or ()
    assert (one.type, one.volume, one.price_open) == (1, 0.3, 1.2)
    assert (one.ticket, one.identifier) == (turned.order, first.order)
    assert (one.sl, one.tp) == (0.0, 0.0)  # the reversing order's levels, and it had none
    deals = terminal.history_deals_get(position=first.order)
    assert deals is not None
    assert [(d.entry, d.profit) for d in deals] == [(0, 0.0), (0, 0.0), (1, 500.0), (2, 500.0)]
    assert sent(terminal, order(volume=0.3, position=one.ticket)).retcode == 10009
    assert terminal.positions_get() == ()
    books_balance(terminal)


def test_netting_never_has_two_positions_of_a_symbol() -> None:
    terminal, _ = netting()
    for side in (0, 0, 1, 1, 1, 0):
        sent(terminal, order(type=side, volume=0.2))
        assert len(terminal.positions_get() or ()) <= 1
    books_balance(terminal)


def test_money_of_another_currency_is_converted_by_the_market() -> None:
    terminal, clock = playing(
        {"USDJPY": [(0, 150.0, 150.0), (60, 160.0, 160.0), (120, 160.0, 160.0)]}
    )
    terminal.open_position("USDJPY", "BUY", 0.1)
    clock.at += 60
    (one,) = terminal.positions_get() or ()
    assert one.profit == round(10.0 * 0.1 * 100_000 / 160.0, 2)
    info = terminal.symbol_info("USDJPY")
    assert info is not None
    assert info.trade_tick_value == pytest.approx(100.0 / 160.0)


def test_commission_is_half_in_and_half_out() -> None:
    terminal = quiet()
    terminal._broker.book.account.commission_per_lot = 7.0
    done = sent(terminal, order(volume=0.2))
    sent(terminal, order(type=SELL, volume=0.2, position=done.order))
    deals = terminal.history_deals_get(position=done.order)
    assert deals is not None
    assert [d.commission for d in deals] == [-0.7, -0.7]
    books_balance(terminal)


def test_symbols_differ_so_that_assumptions_fail_here() -> None:
    terminal = generated()
    assert sent(terminal, order(symbol="XAUUSD", volume=0.01)).retcode == 10030
    assert sent(terminal, order(symbol="XAUUSD", volume=0.01, type_filling=1)).retcode == 10009
    assert sent(terminal, order(symbol="USDJPY", type_filling=1)).retcode == 10030


def test_specs_can_be_replaced() -> None:
    spec = replace(spec_for("EURUSD"), stops_level=500)
    terminal = generated(market=GeneratedMarket(7, specs={"EURUSD": spec}))
    info = terminal.symbol_info("EURUSD")
    assert info is not None
    assert info.trade_stops_level == 500


def test_of_the_orders_sent_the_newest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker may run for months; what tests look at must not grow with it."""
    monkeypatch.setattr("terminals.sim.terminal.SENT_KEPT", 3)
    terminal = quiet()
    for magic in range(5):
        sent(terminal, order(magic=magic))
    assert [one["magic"] for one in terminal.orders_sent] == [2, 3, 4]


def test_volumes_of_requests_are_rounded() -> None:
    terminal = quiet()
    third = 0.1 + 0.2  # 0.30000000000000004
    done = sent(terminal, order(volume=third))
    assert done.volume == 0.3
    placed = sent(terminal, order(action=5, type=2, price=1.0, type_filling=2, volume=third))
    assert placed.volume == 0.3
    ticket = terminal.open_position("EURUSD", "BUY", third)
    terminal.close_position(ticket, 0.7 - 0.5)  # 0.19999999999999996
    assert [one.volume for one in terminal.positions_get() or ()] == [0.3, 0.1]
    (waits,) = terminal.orders_get() or ()
    assert (waits.volume_initial, waits.volume_current) == (0.3, 0.3)
    volumes = [one.volume for one in (terminal.history_deals_get(0, 4e9) or ()) if one.symbol]
    assert volumes == [0.3, 0.3, 0.2]


def test_first_in_first_out_goes_by_time_not_by_ticket() -> None:
    terminal, clock = playing(QUIET)
    terminal._broker.book.account.fifo_close = True
    older = sent(terminal, order()).order
    clock.at += 60
    younger = sent(terminal, order()).order
    terminal.change_ticket(older, younger + 100)
    assert sent(terminal, order(type=SELL, position=younger)).retcode == 10045
    assert sent(terminal, order(type=SELL, position=younger + 100)).retcode == 10009
    assert sent(terminal, order(type=SELL, position=younger)).retcode == 10009


def test_a_position_closes_without_its_symbol_and_is_told_the_quote() -> None:
    terminal = quiet()
    ticket = sent(terminal, order()).order
    done = sent(terminal, order(symbol=None, type=SELL, position=ticket))
    assert (done.retcode, done.bid, done.ask) == (10009, 1.1, 1.1001)
    assert (done.request.symbol, terminal.positions_get()) == ("", ())


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("order_calc_margin", (8, "EURUSD", 1.0, 1.1)),
        ("order_calc_margin", (-1, "EURUSD", 1.0, 1.1)),
        ("order_calc_profit", (2, "EURUSD", 1.0, 1.1, 1.2)),
        ("order_calc_margin", (0, "EURUSD", math.inf, 1.0)),
        ("order_calc_margin", (0, "EURUSD", 1.0, math.inf)),
        ("order_calc_margin", (0, "EURUSD", 1e200, 1e200)),
        ("order_calc_margin", (0, "EURUSD", math.nan, 1.0)),
        ("order_calc_profit", (0, "EURUSD", 1.0, 1.0, math.nan)),
        ("order_calc_profit", (0, "EURUSD", 1.0, math.inf, 1.0)),
        ("order_calc_profit", (1, "EURUSD", math.inf, 1.0, 1.0)),
        ("order_calc_profit", (1, "EURUSD", 1e12, 1.0, 2.0)),
    ],
)
def test_what_cannot_be_calculated_is_refused(name: str, arguments: tuple[Any, ...]) -> None:
    terminal = quiet()
    assert getattr(terminal, name)(*arguments) is None
    assert terminal.last_error()[0] == -2
