"""Time, triggers and money at the simulated broker."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from terminal_kit import START, Clock, books_balance, generated, order, playing, recorded, stops

from defence.errors import Invalid, NotFound
from terminals import GeneratedMarket, SimulatedTerminal
from terminals import constants as mt5

GAP = [
    (0, 1.1, 1.1001),
    (10, 1.0951, 1.0952),
    (20, 1.0902, 1.0903),
    (30, 1.12, 1.1201),
    (90, 1.12, 1.1201),
]


@pytest.mark.parametrize(
    ("side", "sl", "tp", "price", "reason", "at"),
    [
        ("BUY", 1.0951, 0.0, 1.0951, mt5.DEAL_REASON_SL, 10),
        ("BUY", 1.0950, 0.0, 1.0902, mt5.DEAL_REASON_SL, 20),  # a gap: filled beyond the stop
        ("BUY", 0.0, 1.1100, 1.1200, mt5.DEAL_REASON_TP, 30),
        ("SELL", 1.1100, 0.0, 1.1201, mt5.DEAL_REASON_SL, 30),
        ("SELL", 0.0, 1.0952, 1.0952, mt5.DEAL_REASON_TP, 10),
        ("SELL", 1.1100, 1.0930, 1.0903, mt5.DEAL_REASON_TP, 20),
    ],
)
def test_stops_trigger_at_the_tick_that_reaches_them(
    side: str, sl: float, tp: float, price: float, reason: int, at: float
) -> None:
    terminal, clock = playing({"EURUSD": GAP})
    ticket = terminal.open_position("EURUSD", side, 0.1, sl=sl, tp=tp, magic=5)
    clock.at += 60  # one look, long after the fact
    assert terminal.positions_get() == ()
    opened, closed = terminal.history_deals_get(position=ticket) or ()
    assert (closed.price, closed.reason, closed.entry, closed.magic) == (price, reason, 1, 5)
    assert closed.time_msc == round((START + at) * 1000)
    sign = 1 if side == "BUY" else -1
    assert closed.profit == round((price - opened.price) * sign * 10_000, 2)
    level = sl if reason == mt5.DEAL_REASON_SL else tp
    assert closed.comment == f"[{'sl' if reason == 4 else 'tp'} {level:.5f}]"
    books_balance(terminal)


@settings(max_examples=60, deadline=None)
@given(
    path=st.lists(st.integers(-60, 60), min_size=2, max_size=40),
    side=st.sampled_from([0, 1]),
    sl=st.integers(-80, 80),
    tp=st.integers(-80, 80),
    seen=st.integers(0, 10),
)
def test_one_look_finds_what_walking_tick_by_tick_finds(
    path: list[int], side: int, sl: int, tp: int, seen: int
) -> None:
    quotes = [(1.1 + step / 1e4, 1.1002 + step / 1e4) for step in path]
    rows = [(float(at), round(bid, 5), round(ask, 5)) for at, (bid, ask) in enumerate(quotes)]
    terminal, clock = playing({"EURUSD": rows})
    ticket = terminal.open_position("EURUSD", ("BUY", "SELL")[side], 0.01)
    clock.at += seen
    stop, target = round(1.1 + sl / 1e4, 5), round(1.1 + tp / 1e4, 5)
    terminal.modify(ticket, sl=stop, tp=target)
    sign = 1 if side == 0 else -1
    wanted = []
    for at, bid, ask in rows:
        price = bid if side == 0 else ask
        if at <= seen:
            continue
        if price * sign <= stop * sign:
            wanted = [(at, price, mt5.DEAL_REASON_SL)]
        elif price * sign >= target * sign:
            wanted = [(at, price, mt5.DEAL_REASON_TP)]
        if wanted:
            break
    clock.at = START + len(rows)
    deals = terminal.history_deals_get(position=ticket) or ()
    assert [(d.time_msc / 1000 - START, d.price, d.reason) for d in deals[1:]] == wanted


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    netting=st.booleans(),
    acts=st.lists(
        st.tuples(
            st.sampled_from(["open", "close", "stops", "wait", "pending", "pin"]),
            st.sampled_from(["EURUSD", "USDJPY", "XAUUSD"]),
            st.integers(1, 30),
            st.integers(0, 1),
        ),
        max_size=25,
    ),
)
def test_the_balance_is_the_sum_of_the_deals(
    seed: int, netting: bool, acts: list[tuple[str, str, int, int]]
) -> None:
    clock = Clock()
    terminal = generated(market=GeneratedMarket(seed, START, volatility=20.0), now=clock)
    terminal._broker.book.account.commission_per_lot = 6.0
    if netting:
        terminal._broker.book.account.margin_mode = mt5.ACCOUNT_MARGIN_MODE_RETAIL_NETTING
    for act, symbol, size, side in acts:
        tick = terminal.symbol_info_tick(symbol)
        info = terminal.symbol_info(symbol)
        assert tick is not None
        assert info is not None
        filling = 0 if info.filling_mode & 1 else 1
        away = tick.bid * size / 10_000
        common = {"symbol": symbol, "volume": size / 100, "type_filling": filling}
        mine = [one for one in terminal.positions_get() or () if one.symbol == symbol]
        if act == "open":
            terminal.order_send(
                order(**common, type=side, sl=tick.bid - away if side == 0 else 0.0)
            )
        elif act == "close" and mine:
            volume = min(size / 100, mine[0].volume)
            closing = order(**{**common, "volume": volume}, type=1 - mine[0].type)
            terminal.order_send({**closing, "position": mine[0].ticket})
        elif act == "stops" and mine:
            sign = 1 if mine[0].type == 0 else -1
            terminal.order_send(stops(mine[0].ticket, sl=tick.bid - sign * away, symbol=symbol))
        elif act == "pending":
            price = tick.bid - away if side == 0 else tick.bid + away
            kind = mt5.ORDER_TYPE_BUY_LIMIT if side == 0 else mt5.ORDER_TYPE_SELL_LIMIT
            terminal.order_send(order(**common, type=kind, price=price, action=5))
        elif act == "pin":
            terminal.set_price(symbol, tick.bid + (away if side else -away) * 3, tick.bid * 1.01)
            terminal.release_price(symbol)
        else:
            clock.at += size * 20
        books_balance(terminal)


def test_what_happens_first_is_booked_first() -> None:
    terminal, clock = playing({"EURUSD": GAP})
    late = terminal.open_position("EURUSD", "BUY", 0.1, sl=1.0903)
    early = terminal.open_position("EURUSD", "BUY", 0.1, sl=1.0951)
    other = terminal.open_position("EURUSD", "BUY", 0.1, sl=1.0903)
    clock.at += 60
    closed = [d for d in terminal.history_deals_get(0, 4e9) or () if d.entry == 1]
    assert [one.position_id for one in closed] == [early, late, other]
    assert [one.time_msc for one in closed] == sorted(one.time_msc for one in closed)


def test_history_by_dates_takes_both_ends_and_any_kind_of_moment() -> None:
    terminal, clock = playing({"EURUSD": GAP})
    terminal.open_position("EURUSD", "BUY", 0.1, sl=1.0951, tp=1.2)
    clock.at += 60
    whole = terminal.history_deals_get(0, 4e9) or ()
    assert [one.entry for one in whole if one.symbol] == [0, 1]
    first, last = int(START), int(START) + 10
    assert len(terminal.history_deals_get(first, last) or ()) == len(whole)
    assert [d.entry for d in terminal.history_deals_get(first + 1, last) or ()] == [1]
    assert [o.type for o in terminal.history_orders_get(first, last - 1) or ()] == [0]
    since, until = (dt.datetime.fromtimestamp(at, dt.UTC) for at in (first + 1, last))
    assert [d.entry for d in terminal.history_deals_get(since, until) or ()] == [1]
    assert terminal.history_deals_get(first, last, group="GBP*") == ()


def test_stop_out_closes_the_worst_first() -> None:
    terminal, clock = playing(
        {"EURUSD": [(0, 1.1, 1.1001), (60, 1.06, 1.0601), (120, 1.06, 1.0601)]}
    )
    bad = terminal.open_position("EURUSD", "BUY", 2.3)
    small = terminal.open_position("EURUSD", "BUY", 0.01)
    clock.at += 60
    assert [one.ticket for one in terminal.positions_get() or ()] == [small]
    (_, closed) = terminal.history_deals_get(position=bad) or ()
    assert closed.reason == mt5.DEAL_REASON_SO
    books_balance(terminal)


def test_looking_often_or_once_comes_to_the_same() -> None:
    def deals(steps: list[float]) -> list[Any]:
        clock = Clock()
        terminal = generated(market=GeneratedMarket(3, START), now=clock, demo=True)
        for step in steps:
            clock.at += step
            terminal.positions_get()
        found = terminal.history_deals_get(0, 4e9)
        assert found is not None
        return [tuple(one) for one in found]

    often = deals([7.0] * 600)
    assert len(often) > 7  # something happened at all
    assert often == deals([4200.0])


def test_speed() -> None:
    rows = [(at, 1.1 + at / 1e6, 1.2) for at in range(0, 4000, 10)]
    terminal, clock = playing({"EURUSD": rows}, speed=60.0)
    clock.at += 10
    tick = terminal.symbol_info_tick("EURUSD")
    assert tick is not None
    assert tick.time == START + 600
    assert terminal.market_time == START + 600


def test_as_fast_as_possible_only_a_full_reading_moves_the_market() -> None:
    rows = [(at, 1.1, 1.2) for at in range(0, 400, 10)]
    terminal, clock = playing({"EURUSD": rows}, speed=0.0, step=50.0)
    clock.at += 1000
    terminal.account_info()
    terminal.positions_get(symbol="EURUSD")
    terminal.positions_get("EURUSD")
    assert terminal.market_time == START
    terminal.positions_get()
    assert terminal.market_time == START + 50
    for _ in range(10):
        assert terminal.positions_get() is not None
    assert terminal.market_time == START + 390  # the end
    assert terminal.over


@pytest.mark.parametrize(("speed", "step"), [(-1.0, 1.0), (float("nan"), 1.0), (1.0, 0.0)])
def test_bad_speed(speed: float, step: float) -> None:
    with pytest.raises(Invalid):
        SimulatedTerminal(market=GeneratedMarket(), now=Clock(), speed=speed, step=step)


def test_time_never_goes_back() -> None:
    terminal, clock = playing({"EURUSD": GAP})
    clock.at += 25
    terminal.positions_get()
    clock.at -= 1000
    terminal.positions_get()
    assert terminal.market_time == START + 25
    with pytest.raises(Invalid):
        terminal.advance(-1.0)


def test_a_pinned_price_triggers_and_holds() -> None:
    terminal, clock = playing({"EURUSD": [(at, 1.1, 1.1001) for at in range(0, 600, 10)]})
    ticket = terminal.open_position("EURUSD", "BUY", 0.1, sl=1.09)
    other = terminal.open_position("EURUSD", "BUY", 0.1, sl=1.05)
    before = terminal.symbol_info_tick("EURUSD")
    terminal.set_price("EURUSD", 1.08, 1.0801)
    (_, closed) = terminal.history_deals_get(position=ticket) or ()
    assert (closed.price, closed.reason) == (1.08, mt5.DEAL_REASON_SL)
    clock.at += 100
    tick = terminal.symbol_info_tick("EURUSD")
    assert tick is not None
    assert before is not None
    assert (tick.bid, tick.ask) == (1.08, 1.0801)
    assert tick.time_msc > before.time_msc
    terminal.release_price("EURUSD")
    clock.at += 100
    tick = terminal.symbol_info_tick("EURUSD")
    assert tick is not None
    assert tick.bid == 1.1
    terminal.set_price("EURUSD", 1.3, 1.3001)
    held = terminal.open_position("EURUSD", "BUY", 0.1, sl=1.2)
    clock.at += 100  # the market's own ticks, at 1.1, do not count meanwhile
    assert terminal.positions_get(ticket=held)
    clock.at += 1000
    terminal.positions_get()
    assert terminal.over
    done = terminal.order_send(order())
    assert done is not None
    assert done.retcode == 10009  # a pinned symbol trades, whatever the recording says
    terminal.close_position(held)
    terminal.release_price("EURUSD")
    assert terminal.positions_get(ticket=other)
    for bad in ((0.0, 1.0), (1.2, 1.1), (float("nan"), 1.0)):
        with pytest.raises(Invalid):
            terminal.set_price("EURUSD", *bad)
    with pytest.raises(Invalid):
        terminal.set_price("NOPE", 1.0, 1.1)


def test_back_office() -> None:
    terminal, _ = playing({"EURUSD": [(at, 1.1, 1.1001) for at in range(0, 600, 10)]})
    ticket = terminal.open_position("EURUSD", "BUY", 0.3, sl=1.09, tp=1.2, magic=3, comment="mine")
    terminal.modify(ticket, sl=1.095)
    terminal.close_position(ticket, 0.1)
    terminal.change_ticket(ticket, 99)
    (one,) = terminal.positions_get() or ()
    assert (one.ticket, one.identifier, one.volume, one.sl, one.tp) == (99, ticket, 0.2, 1.095, 1.2)
    assert one.reason == mt5.POSITION_REASON_CLIENT
    terminal.modify(99, sl=0.0, tp=0.0)
    terminal.close_position(99)
    assert terminal.positions_get() == ()
    assert [d.volume for d in terminal.history_deals_get(position=ticket) or ()] == [0.3, 0.1, 0.2]
    gone = terminal.open_position("EURUSD", "SELL", 0.1)
    terminal.vanish(gone)
    assert terminal.positions_get() == ()
    assert len(terminal.history_deals_get(position=gone) or ()) == 1  # no closing deal
    terminal.deposit(500.0)
    books_balance(terminal)
    for call in (terminal.close_position, terminal.modify, terminal.vanish):
        with pytest.raises(NotFound):
            call(1)
    with pytest.raises(NotFound):
        terminal.change_ticket(1, 2)
    for bad in (("NOPE", "BUY", 0.1), ("EURUSD", "UP", 0.1), ("EURUSD", "BUY", 0.0)):
        with pytest.raises(Invalid):
            terminal.open_position(*bad)


def test_another_account_at_the_terminal(tmp_path: Path) -> None:
    terminal, clock = playing({"EURUSD": GAP}, state=tmp_path / "broker.json")
    ticket = terminal.open_position("EURUSD", "BUY", 0.1, sl=1.095)
    terminal.switch_account(77, "Other")
    account = terminal.account_info()
    assert account is not None
    assert (account.login, account.server, account.balance) == (77, "Other", 10_000.0)
    assert terminal.positions_get() == ()
    clock.at += 60  # the first account's stop triggers all the same
    terminal.positions_get()
    kept = json.loads((tmp_path / "broker.json").read_text())
    assert (kept["account"]["login"], kept["positions"]) == (5_001_000, [])
    terminal.switch_account(5_001_000, "Simulated-Demo")
    assert terminal.positions_get() == ()
    assert len(terminal.history_deals_get(position=ticket) or ()) == 2


def test_disconnected_the_view_stands_still_and_the_broker_goes_on() -> None:
    terminal, clock = playing({"EURUSD": GAP})
    ticket = terminal.open_position("EURUSD", "BUY", 0.1, sl=1.095)
    terminal.disconnect()
    clock.at += 60
    info = terminal.terminal_info()
    assert info is not None
    assert info.connected is False
    assert [one.ticket for one in terminal.positions_get() or ()] == [ticket]
    refused = terminal.order_send(order())
    assert refused is not None
    assert refused.retcode == mt5.TRADE_RETCODE_CONNECTION
    terminal.reconnect()
    assert terminal.positions_get() == ()
    assert len(terminal.history_deals_get(position=ticket) or ()) == 2


def test_recordings_that_share_no_time() -> None:
    with pytest.raises(Invalid, match="share no time"):
        recorded({"EURUSD": [(0, 1.1, 1.2), (1, 1.1, 1.2)], "GBPUSD": [(9, 1.1, 1.2)]})


def test_a_stop_is_not_reached_in_time_for_which_the_quote_was_held() -> None:
    rows = [(0, 1.1, 1.1001), (30, 1.05, 1.0501), (60, 1.1, 1.1001), (90, 1.1, 1.1001)]
    terminal, clock = playing({"EURUSD": rows})
    ticket = terminal.open_position("EURUSD", "BUY", 0.1, sl=1.08)
    terminal.set_price("EURUSD", 1.1, 1.1001)
    clock.at += 70  # nobody looks before the quote is let go
    terminal.release_price("EURUSD")
    assert [one.ticket for one in terminal.positions_get() or ()] == [ticket]


def test_the_tick_of_an_exchange_has_its_last_trade() -> None:
    monday = 1_699_876_800  # 12:00
    clock = Clock(monday)
    terminal = generated(market=GeneratedMarket(7, monday, ("FDXS",)), now=clock)
    for _ in range(60):
        clock.at += 10
        info, tick = terminal.symbol_info("FDXS"), terminal.symbol_info_tick("FDXS")
        assert info is not None
        assert tick is not None
        assert tick.last > 0.0
        volumes = tick.volume, tick.volume_real
        assert (tick.last, *volumes) == (info.last, info.volume, info.volume_real)
        assert tick.volume_real >= 1.0  # of that trade, also when the tick only quotes
        assert 0.0 < info.lastlow <= info.last <= info.lasthigh
    bars = terminal.copy_rates_from_pos("FDXS", mt5.TIMEFRAME_M1, 0, 1)
    assert bars is not None
    assert (info.chart_mode, bars["close"][0]) == (mt5.SYMBOL_CHART_MODE_BID, tick.bid)
    terminal.set_price("FDXS", 16_000.0, 16_001.0)
    held = terminal.symbol_info_tick("FDXS")
    assert held is not None
    assert (held.bid, held.last) == (16_000.0, info.last)  # nobody has dealt there
