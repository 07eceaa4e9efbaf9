"""What stands in the answers: symbols, accounts, terminals, and results of orders."""

from __future__ import annotations

from typing import Any

import pytest
from contract_kit import BUY, buy

from terminals import GeneratedMarket, SimulatedTerminal
from terminals import constants as mt5
from terminals.module import module_functions

START = 1_700_000_000.0


@pytest.fixture(scope="module")
def market() -> GeneratedMarket:
    return GeneratedMarket(7, START, ("EURUSD", "USDJPY"))


def connected(market: GeneratedMarket, **options: Any) -> SimulatedTerminal:
    made = SimulatedTerminal(market=market, now=lambda: START, **options)
    assert made.initialize()
    return made


@pytest.fixture
def terminal(market: GeneratedMarket) -> SimulatedTerminal:
    return connected(market)


@pytest.fixture
def m(terminal: SimulatedTerminal) -> dict[str, Any]:
    return module_functions(terminal)


def test_a_symbol_shows_its_day(m: dict[str, Any]) -> None:
    info = m["symbol_info"]("EURUSD")
    day = int(START) // 86_400 * 86_400
    ticks = m["copy_ticks_range"]("EURUSD", day, int(START), mt5.COPY_TICKS_ALL)
    assert (info.bidhigh, info.bidlow) == (ticks["bid"].max(), ticks["bid"].min())
    assert (info.askhigh, info.asklow) == (ticks["ask"].max(), ticks["ask"].min())
    assert info.session_open == ticks["bid"][0]
    eve = m["copy_ticks_range"]("EURUSD", day - 60, day, mt5.COPY_TICKS_ALL)
    before = eve["bid"][eve["time"] < day][-1]
    assert info.session_close == before
    assert info.price_change == pytest.approx((info.bid / before - 1) * 100, abs=1e-3)
    assert (info.bid, info.ask) == (ticks["bid"][-1], ticks["ask"][-1])
    assert info.spread == round((info.ask - info.bid) / info.point)


def test_a_held_price_is_in_its_day(terminal: SimulatedTerminal) -> None:
    terminal.set_price("EURUSD", 5.0, 5.1)
    info = terminal.symbol_info("EURUSD")
    assert info is not None
    assert (info.bidhigh, info.askhigh) == (5.0, 5.1)
    assert info.bidlow < 2.0


def test_a_symbol_shows_its_terms(m: dict[str, Any], market: GeneratedMarket) -> None:
    for name, spec in market.specs.items():
        info = m["symbol_info"](name)
        assert info.trade_exemode == spec.execution
        assert info.filling_mode == spec.filling_mode
        assert (info.swap_mode, info.swap_long, info.swap_short) == (
            spec.swap_mode,
            spec.swap_long,
            spec.swap_short,
        )
        assert info.ticks_bookdepth == spec.book_levels
        assert info.volume_limit == spec.volume_limit
        assert info.currency_profit == spec.profit
        loss = m["order_calc_profit"](0, name, 1.0, info.bid, info.bid - info.point)
        assert info.trade_tick_value_loss == pytest.approx(-loss, abs=0.006)


def test_close_by_is_for_hedging_accounts_only(terminal: SimulatedTerminal) -> None:
    account = terminal._broker.book.account
    modes = {}
    for mode in (0, 2):
        account.margin_mode = mode
        info = terminal.symbol_info("EURUSD")
        assert info is not None
        modes[mode] = info.order_mode
    assert modes == {0: 63, 2: 127}


def test_a_check_shows_the_account_as_it_would_be(m: dict[str, Any]) -> None:
    request = buy(volume=0.5)
    checked = m["order_check"](request)
    assert m["positions_total"]() == 0
    assert m["order_send"](request).retcode == 10009
    account = m["account_info"]()
    assert (checked.balance, checked.margin) == (account.balance, account.margin)
    # PROGRAMMING, its page on order_check: equity is the balance, profit 0.0; no spread is paid
    assert (checked.equity, checked.profit) == (checked.balance, 0.0)
    assert checked.margin_free == pytest.approx(checked.equity - checked.margin)
    assert checked.margin_level == pytest.approx(checked.equity / checked.margin * 100.0)
    assert account.profit < 0.0
    assert checked.margin > 0


def test_a_check_that_is_refused_shows_no_money(m: dict[str, Any]) -> None:
    checked = m["order_check"](buy(volume=0.001))
    assert checked.retcode == mt5.TRADE_RETCODE_INVALID_VOLUME
    assert checked.comment == "Invalid volume"
    assert checked[1:7] == (0.0,) * 6


def test_results_by_action(m: dict[str, Any], terminal: SimulatedTerminal) -> None:
    quote = m["symbol_info_tick"]("EURUSD")
    opened = m["order_send"](BUY)
    assert (opened.price, opened.bid, opened.ask) == (quote.ask, quote.bid, quote.ask)
    assert opened.deal
    assert opened.order == m["positions_get"]()[0].ticket
    moved = m["order_send"](
        {"action": 6, "position": opened.order, "symbol": "EURUSD", "sl": 1.0, "tp": 0.0}
    )
    assert moved[:7] == (10009, 0, 0, 0.0, 0.0, 0.0, 0.0)
    placed = m["order_send"]({**BUY, "action": 5, "type": 2, "price": 1.0})
    assert placed[:7] == (10009, 0, m["orders_get"]()[0].ticket, 0.1, 0.0, quote.bid, quote.ask)
    refused = m["order_send"](buy(volume=0.001))
    assert refused[1:7] == (0, 0, 0.0, 0.0, 0.0, 0.0)
    numbers = [one.request_id for one in (opened, moved, placed, refused)]
    assert numbers == sorted(set(numbers))
    terminal.set_autotrading(False)
    barred = m["order_send"](BUY)
    assert (barred.retcode, barred.request_id) == (mt5.TRADE_RETCODE_CLIENT_DISABLES_AT, 0)
    assert barred.comment == "AutoTrading disabled by client"


def test_a_requote_shows_the_quote(terminal: SimulatedTerminal) -> None:
    from terminals.sim.faults import fault_from

    terminal.add_fault(fault_from({"call": "order_send", "effect": "retcode", "retcode": 10004}))
    answer = terminal.order_send(BUY)
    assert answer is not None
    assert answer.retcode == 10004
    assert 0 < answer.bid < answer.ask


def test_the_terminal_and_the_account(m: dict[str, Any], terminal: SimulatedTerminal) -> None:
    info = m["terminal_info"]()
    assert (info.connected, info.trade_allowed, info.tradeapi_disabled) == (True, True, False)
    assert info.build == m["version"]()[1] >= 2364  # older ones are refused by the package
    assert info.ping_last > 0
    assert all((info.name, info.company, info.language, info.path, info.data_path))
    terminal.disconnect()
    assert m["terminal_info"]().connected is False
    account = m["account_info"]()
    assert account.limit_orders == terminal._broker.book.account.limit_orders
    assert (account.margin_so_call, account.margin_so_so) == (100.0, 50.0)


def test_an_unselected_symbol_has_facts_but_no_tick(m: dict[str, Any]) -> None:
    assert m["symbol_select"]("USDJPY", False)
    assert m["symbol_info"]("USDJPY").visible is False
    assert m["symbol_info_tick"]("USDJPY") is None
    assert m["last_error"]() == (-4, "Terminal: Not found")
    assert m["market_book_add"]("USDJPY") is False
    assert m["symbol_select"]("USDJPY", True)
    assert m["symbol_info_tick"]("USDJPY").bid > 0


def test_another_account_that_the_terminal_has_had(terminal: SimulatedTerminal) -> None:
    first = terminal.account_info()
    assert first is not None
    terminal.switch_account(7, "Other")
    assert terminal.login(first.login, server="Elsewhere") is False
    assert terminal.login(first.login) is True
    found = terminal.account_info()
    assert found is not None
    assert (found.login, found.server) == (first.login, first.server)
    assert terminal.login(7, "any", "Other") is True


def test_initialize_logs_in_to_an_account_that_the_terminal_has_had(
    terminal: SimulatedTerminal,
) -> None:
    first = terminal.account_info()
    assert first is not None
    terminal.switch_account(7, "Other")
    assert terminal.initialize(login=first.login, server="Elsewhere") is False
    assert terminal.last_error()[0] == -6
    assert terminal.initialize()
    assert terminal.account_info() != first, "failing changes nothing"
    assert terminal.initialize(login=first.login, password="any", server=first.server)
    assert terminal.account_info() == first


def test_a_terminal_that_knows_its_login_takes_its_account_up_again(
    market: GeneratedMarket,
) -> None:
    terminal = connected(market, login=5_001_000)
    first = terminal.account_info()
    terminal.switch_account(7, "Other")
    assert terminal.initialize()
    assert terminal.account_info() == first
    terminal.switch_account(5_001_000, "Other")
    assert terminal.initialize()  # any server will do, and the present one has this login
    found = terminal.account_info()
    assert found is not None
    assert (found.login, found.server) == (5_001_000, "Other")


def test_where_there_are_credentials_no_others_will_do(market: GeneratedMarket) -> None:
    terminal = connected(market, credentials=(5_001_000, "secret", "Simulated-Demo"))
    terminal.switch_account(7, "Other")
    assert terminal.initialize(login=7, password="secret", server="Other") is False
    assert terminal.initialize(login=5_001_000, password="wrong") is False
    named = {"password": "secret", "server": "Simulated-Demo"}
    assert terminal.initialize(login=5_001_000, **named)
    found = terminal.account_info()
    assert found is not None
    assert found.login == 5_001_000
