"""Times that come out of the functions and go in are the broker's wall time."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from contract_kit import BUY, buy

from terminals import GeneratedMarket, SimulatedTerminal
from terminals.module import module_functions
from terminals.sim.conditions import NEW_YORK_CLOSE, Conditions
from terminals.sim.wall import on_the_wall, utc_seconds
from terminals.sim.zone import BrokerZone
from terminals.structs import TradeDeal, TradeOrder

WINTER, SUMMER = 1_700_000_000, 1_720_000_000  # GMT+2, GMT+3
AHEAD = {WINTER: 7200, SUMMER: 10800}
PENDING = {"action": 5, "type": 2, "symbol": "EURUSD", "volume": 0.1, "price": 1.0}


def module_at(start: int) -> dict[str, Any]:
    terminal = SimulatedTerminal(
        market=GeneratedMarket(7, float(start), ("EURUSD",)),
        now=lambda: float(start),
        conditions=Conditions(zone=NEW_YORK_CLOSE),
    )
    functions = module_functions(terminal)
    assert functions["initialize"]()
    return functions


@pytest.mark.parametrize("start", [WINTER, SUMMER])
def test_what_comes_out(start: int) -> None:
    m = module_at(start)
    wall = start + AHEAD[start]
    tick = m["symbol_info_tick"]("EURUSD")
    assert wall - 2 <= tick.time <= wall
    assert tick.time == tick.time_msc // 1000
    assert m["symbol_info"]("EURUSD").time == tick.time
    assert m["order_send"](BUY).retcode == 10009
    (one,) = m["positions_get"]()
    assert {one.time, one.time_update} == {wall}
    assert {one.time_msc, one.time_update_msc} == {wall * 1000}
    assert m["positions_get"](ticket=one.ticket) == (one,)
    (deal,) = m["history_deals_get"](position=one.identifier)
    (order,) = m["history_orders_get"](position=one.identifier)
    assert {deal.time, order.time_setup, order.time_done} == {wall}
    bars = m["copy_rates_from_pos"]("EURUSD", 16408, 0, 1)
    assert bars["time"][0] == wall // 86_400 * 86_400
    assert m["copy_rates_from_pos"]("EURUSD", 1, 0, 1)["time"][0] == tick.time // 60 * 60
    ticks = m["copy_ticks_from"]("EURUSD", tick.time, 1, -1)
    assert ticks["time_msc"][0] == tick.time_msc


@pytest.mark.parametrize("start", [WINTER, SUMMER])
def test_what_goes_in(start: int) -> None:
    m = module_at(start)
    wall = start + AHEAD[start]
    assert m["order_send"](BUY).retcode == 10009
    (one,) = m["positions_get"]()
    for name in ("history_deals_get", "history_orders_get"):
        assert len(m[name](wall, wall, group="EUR*")) == 1
        assert m[name](start - 60, start + 60, group="EUR*") == ()
    assert m["history_orders_total"](wall, wall) == 1
    assert m["history_deals_total"](start - 60, start + 60) == 0
    rates = m["copy_rates_range"]("EURUSD", 1, wall - 300, wall)
    assert np.all((rates["time"] >= wall - 300) & (rates["time"] <= wall))
    assert len(rates) == 5
    expiration = wall + 3600
    done = m["order_send"]({**PENDING, "type_time": 2, "expiration": expiration})
    assert done.retcode == 10009
    assert done.request.expiration == expiration
    (order,) = m["orders_get"]()
    assert order.time_expiration == expiration
    assert order.time_setup == wall
    assert m["order_send"]({**PENDING, "type_time": 2, "expiration": wall - 60}).retcode == 10022
    assert one.time == wall


def test_a_time_that_is_not_there_stays_away() -> None:
    zone = BrokerZone(NEW_YORK_CLOSE)
    order = TradeOrder(ticket=1, time_setup=WINTER, time_setup_msc=WINTER * 1000 + 7)
    shown = on_the_wall(order, zone)
    assert (shown.time_done, shown.time_done_msc, shown.time_expiration) == (0, 0, 0)
    assert (shown.time_setup, shown.time_setup_msc) == (WINTER + 7200, (WINTER + 7200) * 1000 + 7)
    assert shown.ticket == 1
    assert on_the_wall(TradeDeal(profit=5.0), zone) == TradeDeal(profit=5.0)
    assert utc_seconds(0, zone) == 0
    assert utc_seconds(WINTER + 7200, zone) == WINTER


def test_the_request_is_echoed_as_it_was_given() -> None:
    m = module_at(SUMMER)
    checked = m["order_check"](buy(expiration=SUMMER + 99_999))
    assert checked.request.expiration == SUMMER + 99_999
