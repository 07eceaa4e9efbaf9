"""Pending orders at the simulated broker."""

from __future__ import annotations

from typing import Any

import pytest
from terminal_kit import order, playing

from terminals import SimulatedTerminal
from terminals import constants as mt5
from terminals.structs import OrderSendResult

QUIET = {"EURUSD": [(at, 1.1, 1.1001) for at in range(0, 7200, 60)]}


def sent(terminal: SimulatedTerminal, request: dict[str, Any]) -> OrderSendResult:
    done = terminal.order_send(request)
    assert done is not None, terminal.last_error()
    return done


def quiet(**options: Any) -> SimulatedTerminal:
    return playing(QUIET, **options)[0]


def pending(**fields: Any) -> dict[str, Any]:
    return order(action=mt5.TRADE_ACTION_PENDING, type_filling=mt5.ORDER_FILLING_RETURN, **fields)


@pytest.mark.parametrize(
    ("kind", "price", "retcode"),
    [
        (mt5.ORDER_TYPE_BUY_LIMIT, 1.09, 10009),
        (mt5.ORDER_TYPE_BUY_LIMIT, 1.11, 10015),
        (mt5.ORDER_TYPE_SELL_LIMIT, 1.11, 10009),
        (mt5.ORDER_TYPE_SELL_LIMIT, 1.09, 10015),
        (mt5.ORDER_TYPE_BUY_STOP, 1.11, 10009),
        (mt5.ORDER_TYPE_BUY_STOP, 1.09, 10015),
        (mt5.ORDER_TYPE_SELL_STOP, 1.09, 10009),
        (mt5.ORDER_TYPE_SELL_STOP, 1.11, 10015),
        (mt5.ORDER_TYPE_BUY, 1.09, 10035),
        (mt5.ORDER_TYPE_BUY_LIMIT, 0.0, 10015),
    ],
)
def test_placing_pending_orders(kind: int, price: float, retcode: int) -> None:
    terminal = quiet()
    done = sent(terminal, pending(type=kind, price=price))
    assert done.retcode == retcode
    assert len(terminal.orders_get() or ()) == (1 if retcode == 10009 else 0)


@pytest.mark.parametrize(
    ("kind", "price", "filled", "side"),
    [
        (mt5.ORDER_TYPE_BUY_LIMIT, 1.095, 1.0901, 0),
        (mt5.ORDER_TYPE_SELL_STOP, 1.095, 1.09, 1),
        (mt5.ORDER_TYPE_BUY_STOP, 1.105, 1.12, 0),
        (mt5.ORDER_TYPE_SELL_LIMIT, 1.105, 1.1199, 1),
    ],
)
def test_pending_orders_fill_at_the_tick(kind: int, price: float, filled: float, side: int) -> None:
    terminal, clock = playing(
        {"EURUSD": [(0, 1.1, 1.1001), (60, 1.09, 1.0901), (120, 1.1199, 1.12), (180, 1.1199, 1.12)]}
    )
    done = sent(terminal, pending(type=kind, price=price, magic=9))
    assert [one.state for one in terminal.orders_get() or ()] == [mt5.ORDER_STATE_PLACED]
    clock.at += 150
    (one,) = terminal.positions_get() or ()
    assert (one.ticket, one.price_open, one.type, one.magic) == (done.order, filled, side, 9)
    assert terminal.orders_get() == ()
    (past,) = terminal.history_orders_get(ticket=done.order) or ()
    assert (past.type, past.state) == (kind, mt5.ORDER_STATE_FILLED)


def test_a_filled_pending_orders_stop_counts_from_its_fill_on() -> None:
    rows = [
        (0, 1.1, 1.1001),
        (10, 1.08, 1.0801),
        (20, 1.12, 1.1201),
        (30, 1.07, 1.0701),
        (99, 1.07, 1.0701),
    ]
    terminal, clock = playing({"EURUSD": rows})
    done = sent(terminal, pending(type=mt5.ORDER_TYPE_BUY_STOP, price=1.115, sl=1.085))
    clock.at += 50
    assert terminal.positions_get() == ()
    opened, closed = terminal.history_deals_get(position=done.order) or ()
    assert (opened.price, closed.price, closed.reason) == (1.1201, 1.07, mt5.DEAL_REASON_SL)


def test_removing_a_pending_order() -> None:
    terminal = quiet()
    done = sent(terminal, pending(type=2, price=1.09))
    remove = {"action": mt5.TRADE_ACTION_REMOVE, "order": done.order}
    assert sent(terminal, remove).retcode == 10009
    assert sent(terminal, remove).retcode == 10013
    assert terminal.orders_get() == ()
    (past,) = terminal.history_orders_get(ticket=done.order) or ()
    assert past.state == mt5.ORDER_STATE_CANCELED


def test_a_working_order_shows_the_present_price_of_its_side() -> None:
    terminal, clock = playing({"EURUSD": [(0, 1.1, 1.1001), (60, 1.2, 1.2002), (120, 1.2, 1.2002)]})
    sent(terminal, pending(type=mt5.ORDER_TYPE_BUY_LIMIT, price=1.0))
    sent(terminal, pending(type=mt5.ORDER_TYPE_SELL_STOP, price=1.0))
    assert [one.price_current for one in terminal.orders_get() or ()] == [1.1001, 1.1]
    clock.at += 60
    assert [one.price_current for one in terminal.orders_get() or ()] == [1.2002, 1.2]
