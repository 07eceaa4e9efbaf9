"""The simulated terminal answers as the MetaTrader5 package does (MT5.md)."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from terminal_kit import Clock, generated, order, playing

from terminals import GeneratedMarket, SimulatedTerminal, Terminal, structs
from terminals import constants as mt5

FIELDS = {
    "TradePosition": "ticket, time, time_msc, time_update, time_update_msc, type, magic, "
    "identifier, reason, volume, price_open, sl, tp, price_current, swap, profit, symbol, "
    "comment, external_id",
    "TradeOrder": "ticket, time_setup, time_setup_msc, time_done, time_done_msc, "
    "time_expiration, type, type_time, type_filling, state, magic, position_id, "
    "position_by_id, reason, volume_initial, volume_current, price_open, sl, tp, "
    "price_current, price_stoplimit, symbol, comment, external_id",
    "TradeDeal": "ticket, order, time, time_msc, type, entry, magic, position_id, reason, "
    "volume, price, commission, swap, profit, fee, symbol, comment, external_id",
    "TradeRequest": "action, magic, order, symbol, volume, price, stoplimit, sl, tp, "
    "deviation, type, type_filling, type_time, expiration, comment, position, position_by",
    "OrderSendResult": "retcode, deal, order, volume, price, bid, ask, comment, request_id, "
    "retcode_external, request",
    "OrderCheckResult": "retcode, balance, equity, profit, margin, margin_free, margin_level, "
    "comment, request",
    "Tick": "time, bid, ask, last, volume, time_msc, flags, volume_real",
    "TerminalInfo": "community_account, community_connection, connected, dlls_allowed, "
    "trade_allowed, tradeapi_disabled, email_enabled, ftp_enabled, notifications_enabled, "
    "mqid, build, maxbars, codepage, ping_last, community_balance, retransmission, company, "
    "name, language, path, data_path, commondata_path",
    "SymbolInfo": "custom, chart_mode, select, visible, session_deals, session_buy_orders, "
    "session_sell_orders, volume, volumehigh, volumelow, time, digits, spread, spread_float, "
    "ticks_bookdepth, trade_calc_mode, trade_mode, start_time, expiration_time, "
    "trade_stops_level, trade_freeze_level, trade_exemode, swap_mode, swap_rollover3days, "
    "margin_hedged_use_leg, expiration_mode, filling_mode, order_mode, order_gtc_mode, "
    "option_mode, option_right, bid, bidhigh, bidlow, ask, askhigh, asklow, last, lasthigh, "
    "lastlow, volume_real, volumehigh_real, volumelow_real, option_strike, point, "
    "trade_tick_value, trade_tick_value_profit, trade_tick_value_loss, trade_tick_size, "
    "trade_contract_size, trade_accrued_interest, trade_face_value, trade_liquidity_rate, "
    "volume_min, volume_max, volume_step, volume_limit, swap_long, swap_short, "
    "margin_initial, margin_maintenance, session_volume, session_turnover, session_interest, "
    "session_buy_orders_volume, session_sell_orders_volume, session_open, session_close, "
    "session_aw, session_price_settlement, session_price_limit_min, session_price_limit_max, "
    "margin_hedged, price_change, price_volatility, price_theoretical, price_greeks_delta, "
    "price_greeks_theta, price_greeks_gamma, price_greeks_vega, price_greeks_rho, "
    "price_greeks_omega, price_sensitivity, basis, category, currency_base, currency_profit, "
    "currency_margin, bank, description, exchange, formula, isin, name, page, path",
    "AccountInfo": "login, trade_mode, leverage, limit_orders, margin_so_mode, trade_allowed, "
    "trade_expert, margin_mode, currency_digits, fifo_close, balance, credit, profit, equity, "
    "margin, margin_free, margin_level, margin_so_call, margin_so_so, margin_initial, "
    "margin_maintenance, assets, liabilities, commission_blocked, name, server, currency, "
    "company",
}
COUNTS = {
    "TradePosition": 19,
    "TradeOrder": 24,
    "TradeDeal": 18,
    "TradeRequest": 17,
    "OrderSendResult": 11,
    "OrderCheckResult": 9,
    "Tick": 8,
    "TerminalInfo": 22,
    "SymbolInfo": 96,
    "AccountInfo": 28,
}


@pytest.mark.parametrize("name", FIELDS)
def test_fields_are_the_packages_in_its_order(name: str) -> None:
    one = getattr(structs, name)()
    assert list(one._asdict()) == FIELDS[name].split(", ")
    assert len(one) == COUNTS[name]


def test_results_behave_like_struct_sequences() -> None:
    tick = structs.Tick(bid=1.5, ask=1.6, time=3)
    assert tick[1] == tick.bid == 1.5
    assert tuple(tick)[:3] == (3, 1.5, 1.6)
    for absent in ("_fields", "_replace", "_make"):
        assert not hasattr(tick, absent)
    with pytest.raises(AttributeError):
        tick.bid = 2.0  # type: ignore[misc]
    with pytest.raises(pickle.PicklingError):
        pickle.dumps(tick)
    with pytest.raises(TypeError):
        structs.Tick(price=1.0)  # type: ignore[call-arg]


def test_the_public_names_are_had_from_the_package() -> None:
    import terminals

    for name in terminals.__all__:
        assert getattr(terminals, name).__name__ == name
    with pytest.raises(AttributeError):
        terminals.Nonsense  # noqa: B018
    code = "import sys, terminals.native, terminals.protocol; sys.exit('numpy' in sys.modules)"
    root = Path(terminals.__file__).parent.parent
    assert subprocess.run([sys.executable, "-c", code], cwd=root).returncode == 0


def test_it_is_a_terminal() -> None:
    terminal: Terminal = SimulatedTerminal(market=GeneratedMarket(), now=Clock())
    assert (terminal.name, terminal.real) == ("simulated", False)


def test_filters_among_several_positions() -> None:
    terminal = generated()
    eur = terminal.open_position("EURUSD", "BUY", 0.1)
    yen = terminal.open_position("USDJPY", "SELL", 0.1)

    def tickets(**filters: Any) -> list[int]:
        return [one.ticket for one in terminal.positions_get(**filters) or ()]

    assert tickets() == [eur, yen]
    assert tickets(symbol="USDJPY") == [yen]
    assert tickets(ticket=eur) == [eur]
    assert tickets(group="*USD*") == [eur, yen]
    assert tickets(group="*,!*JPY") == [eur]
    assert tickets(symbol="USDJPY", ticket=eur) == [eur]


def test_credentials() -> None:
    expected = (5_001_000, "secret", "Simulated-Demo")

    def started(**given: Any) -> SimulatedTerminal:
        return SimulatedTerminal(
            market=GeneratedMarket(7), now=Clock(), credentials=expected, **given
        )

    good = started(login=expected[0], password=expected[1], server=expected[2])
    assert good.initialize()
    assert "secret" not in repr(good)
    assert started().initialize()  # no login asked: the terminal's own account
    bad = started(login=expected[0], password="wrong", server=expected[2])
    assert bad.initialize() is False
    assert bad.last_error() == (-6, "Terminal: Authorization failed")
    assert bad.account_info() is None
    assert bad.initialize(login=expected[0], password=expected[1], server=expected[2])
    assert bad.initialize(login="5001000") is False
    assert bad.last_error() == (-2, 'Invalid "login" argument')


def test_a_login_that_fails_leaves_the_account() -> None:
    own = (5_001_000, "right", "Simulated-Demo")
    terminal = SimulatedTerminal(market=GeneratedMarket(7), now=Clock(), credentials=own)
    assert terminal.initialize()
    terminal.switch_account(7, "Other")
    assert terminal.login(own[0], "wrong", own[2]) is False
    assert terminal.last_error()[0] == -6
    account = terminal.account_info()
    assert account is not None
    assert account.login == 7
    assert terminal.login(*own)
    account = terminal.account_info()
    assert account is not None
    assert account.login == own[0]


def test_another_login_than_the_accounts_is_refused() -> None:
    terminal = SimulatedTerminal(market=GeneratedMarket(7), now=Clock(), login=1)
    assert terminal.initialize() is False
    assert terminal.last_error()[0] == -6


def test_calls_are_counted_by_name() -> None:
    terminal = generated()
    terminal.positions_get()
    terminal.positions_get("EURUSD")
    terminal.order_send(order(comment="x" * 40))
    assert terminal.calls["positions_get"] == 2
    assert terminal.calls["order_send"] == 1
    assert terminal.calls["initialize"] == 1


def test_rates() -> None:
    rows = [(at, 1.1 + at / 1e5, 1.1001 + at / 1e5) for at in range(0, 400, 10)]
    terminal, clock = playing({"EURUSD": rows})
    clock.at += 250
    rates = terminal.copy_rates_from_pos("EURUSD", mt5.TIMEFRAME_M1, 0, 3)
    assert rates is not None
    assert rates.dtype.names == (
        "time",
        "open",
        "high",
        "low",
        "close",
        "tick_volume",
        "spread",
        "real_volume",
    )
    # START is 20 s into a minute: bars open at -20, 40, 100, 160, 220
    assert [int(at) - 1_700_000_000 for at in rates["time"]] == [100, 160, 220]
    assert list(rates["tick_volume"]) == [6, 6, 4]
    assert rates["open"][0] == pytest.approx(1.101)
    assert rates["close"][-1] == pytest.approx(1.1025)
    assert rates["spread"][0] == 10
    older = terminal.copy_rates_from_pos("EURUSD", mt5.TIMEFRAME_M1, 1, 100)
    assert older is not None
    assert len(older) == 4
    assert older["high"].max() == pytest.approx(1.1021)


@pytest.mark.parametrize(
    ("timeframe", "opens"),
    [
        (mt5.TIMEFRAME_H4, "2023-11-14T20:00:00"),
        (mt5.TIMEFRAME_D1, "2023-11-14T00:00:00"),
        (mt5.TIMEFRAME_W1, "2023-11-12T00:00:00"),
        (mt5.TIMEFRAME_MN1, "2023-11-01T00:00:00"),
    ],
)
def test_bars_open_where_the_calendar_says(timeframe: int, opens: str) -> None:
    terminal, _ = playing({"EURUSD": [(0, 1.1, 1.1001), (60, 1.1, 1.1001)]})
    rates = terminal.copy_rates_from_pos("EURUSD", timeframe, 0, 1)
    assert rates is not None
    assert np.datetime64(int(rates["time"][0]), "s") == np.datetime64(opens)
