"""What the simulated terminal forgets, keeps and counts where nobody looks at it at once."""

from __future__ import annotations

from typing import Any

import pytest
from terminal_kit import START, Clock, generated, order, playing

from terminals import GeneratedMarket, SimulatedTerminal
from terminals import constants as mt5

PENDING = {"action": mt5.TRADE_ACTION_PENDING, "type": mt5.ORDER_TYPE_BUY_LIMIT, "price": 0.5}
BOTH = mt5.TICK_FLAG_BID | mt5.TICK_FLAG_ASK


def test_a_subscription_to_depth_ends_with_the_connection() -> None:
    terminal = generated()
    assert terminal.market_book_add("EURUSD") is True
    assert terminal.market_book_get("EURUSD")
    assert terminal.shutdown()
    assert terminal.initialize()
    assert terminal.market_book_get("EURUSD") is None
    assert terminal.market_book_add("EURUSD") is True


def test_a_subscription_to_depth_ends_with_the_symbol_in_market_watch() -> None:
    terminal = generated()
    assert terminal.market_book_add("EURUSD") is True
    assert terminal.symbol_select("EURUSD", False) is True
    assert terminal.symbol_select("EURUSD", True) is True
    assert terminal.market_book_get("EURUSD") is None


def test_a_symbol_with_a_working_order_cannot_be_hidden() -> None:
    terminal = generated()
    placed = terminal.order_send(order(**PENDING))
    assert placed is not None
    assert placed.retcode == mt5.TRADE_RETCODE_DONE
    assert terminal.symbol_select("EURUSD", False) is False
    assert terminal.last_error() == (-1, "Terminal: Call failed")
    assert terminal.symbol_info_tick("EURUSD") is not None
    assert terminal.symbol_select("GBPUSD", False) is True
    removal = {"action": mt5.TRADE_ACTION_REMOVE, "order": placed.order}
    assert terminal.order_send(removal) is not None
    assert terminal.symbol_select("EURUSD", False) is True


def server_of(terminal: SimulatedTerminal) -> str:
    account = terminal.account_info()
    assert account is not None
    assert account.login == 77
    return account.server


def test_one_login_at_two_servers_is_two_accounts() -> None:
    terminal = generated()
    for server in ("One", "Two", "Three"):
        terminal.switch_account(77, server)
    for server in ("One", "Two"):
        assert terminal.login(77, server=server)
        assert server_of(terminal) == server
    assert terminal.login(77)
    assert server_of(terminal) == "Two"  # the present one is asked first
    assert terminal.login(77, server="Four") is False
    assert terminal.last_error()[0] == -6
    assert server_of(terminal) == "Two"
    assert terminal.initialize(login=77, server="One")
    assert server_of(terminal) == "One"


def number_of(terminal: SimulatedTerminal) -> int:
    answer = terminal.order_send(order(volume=0.01))
    assert answer is not None
    return int(answer.request_id)


def test_a_request_that_never_was_on_its_way_uses_up_no_number() -> None:
    terminal = generated()
    first = number_of(terminal)
    terminal.set_autotrading(False)
    assert number_of(terminal) == 0
    terminal.set_autotrading(True)
    terminal.disconnect()
    assert number_of(terminal) == 0
    terminal.reconnect()
    assert [one["retcode"] for one in terminal.orders_sent] == [10009, 10027, 10031]
    assert number_of(terminal) == first + 1


@pytest.mark.parametrize("price", [0.0, -1.0])
def test_there_is_no_margin_without_a_price(price: float) -> None:
    terminal = generated()
    assert terminal.order_calc_margin(mt5.ORDER_TYPE_BUY, "EURUSD", 0.1, price) is None
    assert terminal.last_error()[0] == mt5.RES_E_INVALID_PARAMS
    assert terminal.order_calc_margin(mt5.ORDER_TYPE_BUY, "EURUSD", 0.1, 1.1) is not None


@pytest.mark.parametrize("name", ["symbols_total", "symbols_get"])
def test_a_call_before_the_first_connection_is_counted(name: str) -> None:
    terminal = SimulatedTerminal(market=GeneratedMarket(7, START), now=Clock())
    call: Any = getattr(terminal, name)
    assert call() is None
    assert terminal.calls[name] == 1


def test_a_quote_that_was_only_said_again_is_one() -> None:
    told = [(0, 1.1, 1.2), (1, 1.1, 1.2), (2, 1.1, 1.3), (3, 1.1, 1.3)]
    terminal, clock = playing({"EURUSD": told})
    clock.at += 10
    for flags in (mt5.COPY_TICKS_ALL, mt5.COPY_TICKS_INFO):
        ticks = terminal.copy_ticks_from("EURUSD", int(START), 10, flags)
        assert ticks is not None
        assert ticks["flags"].tolist() == [BOTH, BOTH, mt5.TICK_FLAG_ASK, BOTH]
