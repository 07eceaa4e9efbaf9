"""A snapshot is known or empty only if everything about it is right; else it is unknown."""

from __future__ import annotations

import math
import pickle
import re
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from fake_terminal import LOGIN, SERVER, Fails, FakeTerminal, position, row
from hypothesis import given, settings
from hypothesis import strategies as st

from defence.broker import Direction, Empty, Known, MarginMode, Snapshot, Unknown
from defence.errors import BrokerUnknown, Invalid
from terminals.glancing import Pace, glance
from terminals.lease import Lease, Permit
from terminals.reading import (
    SymbolCache,
    account_check,
    account_of,
    take_snapshot,
    terminal_state_of,
)
from terminals.structs import AccountInfo, SymbolInfo, TerminalInfo, Tick


def look(terminal: Any, cache: SymbolCache | None = None, **changes: Any) -> Snapshot | Unknown:
    clock = iter(range(100, 200))
    values: dict[str, Any] = {
        "snapshot_id": "s-1",
        "expected_login": LOGIN,
        "expected_server": SERVER,
        "now": lambda: float(next(clock)),
        "symbols": cache or SymbolCache(),
    }
    return take_snapshot(terminal, **{**values, **changes})


def known(terminal: Any, cache: SymbolCache | None = None, **changes: Any) -> Snapshot:
    snapshot = look(terminal, cache, **changes)
    assert isinstance(snapshot, Snapshot), snapshot
    return snapshot


def test_known() -> None:
    terminal = FakeTerminal(position(11), position(12, type=1, sl=0.0, tp=0.0, symbol="USDJPY"))
    snapshot = known(terminal)
    assert snapshot.id == "s-1"
    assert (snapshot.asked_at, snapshot.taken_at) == (100.0, 101.0)
    assert (snapshot.account.login, snapshot.account.server) == (LOGIN, SERVER)
    assert snapshot.account.margin_mode is MarginMode.HEDGING
    assert snapshot.terminal.connected
    buy, sell = snapshot.open_positions()
    assert (buy.ticket, buy.direction, buy.stop_loss, buy.take_profit) == (
        11,
        Direction.BUY,
        1.0950,
        1.1200,
    )
    assert (sell.direction, sell.stop_loss, sell.take_profit) == (Direction.SELL, None, None)
    assert set(snapshot.quotes) == set(snapshot.symbols) == {"EURUSD", "USDJPY"}
    assert snapshot.quotes["EURUSD"].time == 1_700_000_100.5
    assert snapshot.symbols["EURUSD"].tick_size == 0.00001


def test_empty_is_not_unknown() -> None:
    snapshot = known(FakeTerminal())
    assert snapshot.positions == Empty()
    assert snapshot.open_positions() == ()


def test_any_account_is_accepted_when_none_is_expected() -> None:
    terminal = FakeTerminal(position())
    terminal.login, terminal.server = 42, "Elsewhere"
    snapshot = known(terminal, expected_login=None, expected_server=None)
    assert snapshot.account.login == 42


def account(**changes: Any) -> AccountInfo:
    return row(AccountInfo, FakeTerminal().account_info(), **changes)


def switches(**changes: Any) -> TerminalInfo:
    return row(TerminalInfo, FakeTerminal().terminal_info(), **changes)


def on(call: str, answer: Any, nth: int | None = None) -> Callable[[FakeTerminal], None]:
    return lambda terminal: terminal.on(call, answer, nth)


def with_position(**changes: Any) -> Callable[[FakeTerminal], None]:
    return on("positions_get", (position(11, **changes),))


def empty_but_failed(terminal: FakeTerminal) -> None:
    def nothing() -> tuple[()]:
        terminal.error = (-10002, "IPC recv failed")
        return ()

    terminal.on("positions_get", nothing)


WRONG: list[tuple[str, Callable[[FakeTerminal], None], str]] = [
    ("login before", on("account_info", account(login=7), 1), r"login before the read is 7"),
    ("login after", on("account_info", account(login=7), 2), r"login after the read is 7"),
    ("server before", on("account_info", account(server="X"), 1), "server before the read is 'X'"),
    ("server after", on("account_info", account(server="X"), 2), "server after the read is 'X'"),
    ("nobody logged in", on("account_info", account(login=0)), "login is 0"),
    (
        "not connected before",
        on("terminal_info", switches(connected=False), 1),
        "not connected to the broker before",
    ),
    (
        "not connected after",
        on("terminal_info", switches(connected=False), 2),
        "not connected to the broker after",
    ),
    ("account before None", on("account_info", Fails(-10001, "IPC send failed"), 1), "-10001"),
    ("account after None", on("account_info", Fails(-10004, "No IPC connection"), 2), "-10004"),
    ("terminal before None", on("terminal_info", Fails(-10005), 1), "terminal_info.*-10005"),
    ("terminal after None", on("terminal_info", Fails(-10005), 2), "terminal_info.*-10005"),
    ("account raises", on("account_info", OSError("gone")), "account_info raised OSError: gone"),
    ("terminal raises", on("terminal_info", EOFError()), "terminal_info raised EOFError"),
    ("positions None", on("positions_get", Fails(-10002, "IPC recv failed")), "-10002: IPC recv"),
    ("positions raise", on("positions_get", EOFError("stream closed")), "EOFError: stream closed"),
    ("positions False", on("positions_get", False), "answered with bool"),
    ("empty, but it failed", empty_but_failed, "nothing, and last_error -10002"),
    ("volume NaN", with_position(volume=math.nan), "position 11: volume is nan"),
    ("volume 0", with_position(volume=0.0), "position 11: volume"),
    ("volume negative", with_position(volume=-1.0), "position 11: volume"),
    ("open price infinite", with_position(price_open=math.inf), "position 11: price_open"),
    ("open price 0", with_position(price_open=0.0), "position 11: price_open"),
    ("stop NaN", with_position(sl=math.nan), "position 11: sl"),
    ("stop negative", with_position(sl=-1.0), "position 11: sl"),
    ("target infinite", with_position(tp=math.inf), "position 11: tp"),
    ("current price NaN", with_position(price_current=math.nan), "position 11: price_current"),
    ("profit NaN", with_position(profit=math.nan), "position 11: profit"),
    ("swap infinite", with_position(swap=-math.inf), "position 11: swap"),
    ("volume text", with_position(volume="1"), "position 11: volume is '1'"),
    ("volume None", with_position(volume=None), "position 11: volume is None"),
    ("volume bool", with_position(volume=True), "position 11: volume is True"),
    ("type neither", with_position(type=2), "position 11: type is 2"),
    ("identifier 0", with_position(identifier=0), "position 11: identifier"),
    ("magic a float", with_position(magic=1.5), "position 11: magic"),
    ("symbol empty", with_position(symbol=""), "position 11: symbol is empty"),
    ("comment None", with_position(comment=None), "position 11: comment"),
    ("no fields", on("positions_get", (object(),)), "position None"),
    (
        "one identifier twice",
        on("positions_get", (position(11), position(12, identifier=11))),
        "two positions have the identifier 11",
    ),
    (
        "one ticket twice",
        on("positions_get", (position(11), position(11, identifier=12))),
        "two positions have the ticket 11",
    ),
    ("connected missing", on("terminal_info", switches(connected=None)), "connected is None"),
    ("connected odd", on("terminal_info", switches(connected="yes")), "neither true nor false"),
    ("margin mode", on("account_info", account(margin_mode=9)), "margin_mode is 9"),
    ("balance NaN", on("account_info", account(balance=math.nan)), "balance is nan"),
    ("last_error raises", on("last_error", OSError("pipe")), "last_error raised OSError: pipe"),
]


@pytest.mark.parametrize(
    ("wrong", "reason"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG]
)
def test_wrong_is_unknown(wrong: Callable[[FakeTerminal], None], reason: str) -> None:
    terminal = FakeTerminal()  # nothing open: the state in which a mistake looks like "all closed"
    wrong(terminal)
    snapshot = look(terminal)
    assert isinstance(snapshot, Unknown), snapshot
    assert re.search(reason, snapshot.reason), snapshot.reason


@pytest.mark.parametrize(
    "call", ["account_info", "terminal_info", "positions_get", "symbol_info", "symbol_info_tick"]
)
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_interrupts_pass_through(call: str, interrupt: type[BaseException]) -> None:
    terminal = FakeTerminal(position())
    terminal.on(call, interrupt())
    with pytest.raises(interrupt):
        look(terminal)


def test_last_error_is_read_right_after_the_call_that_failed() -> None:
    terminal = FakeTerminal(position())
    terminal.on("positions_get", Fails(-10001))
    look(terminal)
    assert terminal.trail == ["account_info", "terminal_info", "positions_get", "last_error"]


@pytest.mark.parametrize("count", [1, 2, 50, 400])
def test_calls_do_not_depend_on_the_number_of_positions(count: int) -> None:
    book = [position(100 + n, symbol=("EURUSD", "USDJPY")[n % 2]) for n in range(max(count, 2))]
    terminal, cache = FakeTerminal(*book), SymbolCache()
    known(terminal, cache)
    assert terminal.calls.total() == 2 + 1 + 2 + 2 + 2
    terminal.calls.clear()
    known(terminal, cache)  # the symbols' facts are still good
    assert terminal.calls.total() == 2 + 1 + 2 + 2


BAD_TICKS: list[tuple[str, Any]] = [
    ("none", Fails(-4, "Terminal: Not found")),
    ("raises", OSError("gone")),
    ("bid 0", Tick(time=1, time_msc=1000, bid=0.0, ask=1.1)),
    ("ask 0", Tick(time=1, time_msc=1000, bid=1.1, ask=0.0)),
    ("bid negative", Tick(time=1, time_msc=1000, bid=-1.0, ask=1.1)),
    ("bid NaN", Tick(time=1, time_msc=1000, bid=math.nan, ask=1.1)),
    ("ask infinite", Tick(time=1, time_msc=1000, bid=1.1, ask=math.inf)),
    ("crossed", Tick(time=1, time_msc=1000, bid=1.2, ask=1.1)),
    ("time missing", Tick(time=None, time_msc=None, bid=1.1, ask=1.2)),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("tick", [case[1] for case in BAD_TICKS], ids=[c[0] for c in BAD_TICKS])
def test_a_symbol_without_a_usable_tick_has_no_quote(tick: Any) -> None:
    terminal = FakeTerminal(position())
    terminal.on("symbol_info_tick", tick)
    snapshot = known(terminal)
    assert not snapshot.quotes
    assert len(snapshot.open_positions()) == 1


def test_a_tick_without_milliseconds_has_its_seconds() -> None:
    terminal = FakeTerminal(position())
    terminal.on("symbol_info_tick", Tick(time=77, time_msc=0, bid=1.1, ask=1.1))
    assert known(terminal).quotes["EURUSD"].time == 77.0


def test_numbers_are_plain_python() -> None:
    odd = {
        "ticket": np.int64(11),
        "identifier": np.int64(11),
        "type": np.int8(0),
        "magic": np.uint64(7),
        "time": np.int64(5),
        "volume": np.float64(1.0),
        "price_open": np.float32(1.5),
        "sl": np.float64(1.25),
        "tp": np.float64(0.0),
        "symbol": np.str_("EURUSD"),
    }
    terminal = FakeTerminal(position(**odd))
    terminal.on("symbol_info_tick", Tick(time=1, time_msc=1, bid=np.float64(1.1), ask=2))  # type: ignore[arg-type]
    snapshot = known(terminal)
    (held,) = snapshot.open_positions()
    for thing in (held, snapshot.quotes["EURUSD"], snapshot.symbols["EURUSD"], snapshot.account):
        for field in fields(thing):
            value = getattr(thing, field.name)
            assert type(value).__module__ != "numpy", field.name
    assert pickle.loads(pickle.dumps(held)) == held  # noqa: S301 - proves plain data


def test_facts_are_read_again_after_a_while_and_kept_when_that_fails() -> None:
    terminal, cache = FakeTerminal(position()), SymbolCache(refresh_after=60)
    usual = terminal.symbol_info("EURUSD")

    def at(moment: float) -> int:
        known(terminal, cache, now=lambda: moment)
        return terminal.calls["symbol_info"] - 1

    assert at(1000) == 1
    assert at(1059.9) == 1
    terminal.on("symbol_info", row(SymbolInfo, usual, trade_mode=3))
    assert at(1060) == 2
    assert known(terminal, cache, now=lambda: 1060.0).symbols["EURUSD"].trade_mode == 3
    terminal.on("symbol_info", Fails(-10001))
    assert at(1120) == 3
    assert cache.problems["EURUSD"].startswith("symbol_info failed: last_error -10001")
    assert known(terminal, cache, now=lambda: 1120.0).symbols["EURUSD"].trade_mode == 3
    terminal.on("symbol_info", row(SymbolInfo, usual, trade_mode=0))
    assert at(1121) == 5  # a failed refresh is tried again at once
    assert known(terminal, cache, now=lambda: 1121.0).symbols["EURUSD"].trade_mode == 0
    assert not cache.problems
    assert at(900) == 6  # the clock was set back


def test_facts_are_of_one_account() -> None:
    terminal, cache = FakeTerminal(position()), SymbolCache()
    known(terminal, cache)
    terminal.login = 77
    terminal.on("symbol_info", Fails(-10001))
    assert not known(terminal, cache, expected_login=77).symbols
    assert cache.problems
    terminal.login, terminal.positions = 78, {}
    known(terminal, cache, expected_login=78)
    assert not cache.problems


LOOKS: dict[str, Callable[[FakeTerminal, SymbolCache], Any]] = {
    "snapshot": look,
    "glance": lambda terminal, cache: glance(
        terminal,
        [(11, None)],
        expected_login=LOGIN,
        expected_server=SERVER,
        now=lambda: 100.0,
        monotonic=lambda: 0.0,
        symbols=cache,
        pace=Pace(),
    ),
}


@pytest.mark.parametrize("way", LOOKS)
def test_what_is_read_while_the_account_changes_is_not_kept(way: str) -> None:
    """The login comes first, then the symbols of its broker, then the frame that notices."""
    terminal, cache = FakeTerminal(position()), SymbolCache()
    usual = terminal.symbol_info("EURUSD")
    known(terminal, cache)

    def elsewhere() -> SymbolInfo:
        terminal.login = 77
        return row(SymbolInfo, usual, volume_step=0.1)

    cache.forget()
    terminal.on("symbol_info", elsewhere)
    assert isinstance(LOOKS[way](terminal, cache), Unknown)
    terminal.login = LOGIN
    terminal.on("symbol_info", usual)
    assert known(terminal, cache).symbols["EURUSD"].volume_step == 0.01


FACTS = [
    ("point", 0.0),
    ("point", math.nan),
    ("digits", 99),
    ("digits", None),
    ("volume_min", 0.0),
    ("volume_step", -0.01),
    ("volume_max", math.inf),
    ("trade_tick_value", math.nan),
]


@pytest.mark.parametrize(("field", "value"), FACTS)
def test_facts_that_make_no_sense_are_no_facts(field: str, value: Any) -> None:
    terminal, cache = FakeTerminal(position()), SymbolCache()
    usual = terminal.symbol_info("EURUSD")
    terminal.on("symbol_info", row(SymbolInfo, usual, **{field: value}))
    assert not known(terminal, cache).symbols
    assert field in cache.problems["EURUSD"]


def test_a_tick_size_of_zero_is_a_point() -> None:
    terminal = FakeTerminal(position())
    usual = terminal.symbol_info("EURUSD")
    terminal.on("symbol_info", row(SymbolInfo, usual, trade_tick_size=0.0))
    assert known(terminal).symbols["EURUSD"].tick_size == 0.00001


@pytest.mark.parametrize("refresh", [-1.0, math.nan])
def test_a_bad_refresh_time_is_refused(refresh: float) -> None:
    with pytest.raises(Invalid, match="refresh_after"):
        SymbolCache(refresh)


def test_account_and_terminal_alone() -> None:
    terminal = FakeTerminal()
    account_now, state = account_of(terminal), terminal_state_of(terminal)
    assert not isinstance(account_now, Unknown)
    assert not isinstance(state, Unknown)
    assert (account_now.login, account_now.trade_allowed, state.trade_allowed) == (
        LOGIN,
        True,
        True,
    )
    terminal.on("account_info", Fails(-6, "Terminal: Authorization failed"))
    terminal.on("terminal_info", switches(tradeapi_disabled=True))
    refused, state = account_of(terminal), terminal_state_of(terminal)
    assert isinstance(refused, Unknown)
    assert "-6: Terminal: Authorization failed" in refused.reason
    assert not isinstance(state, Unknown)
    assert not state.trade_allowed  # this API may not trade


def test_account_check_refuses_another_account() -> None:
    terminal = FakeTerminal()
    check = account_check(terminal, expected_login=LOGIN, expected_server=SERVER)
    permit = Permit(Lease("connector", 1), check=check)
    with permit:
        pass
    terminal.login = 7
    with pytest.raises(BrokerUnknown, match="login at the order is 7"), permit:
        pytest.fail("entered for another account")


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: st.one_of(st.floats(), st.integers(), st.none(), st.sampled_from(("", "EURUSD")))
            for name in (
                "ticket", "identifier", "type", "magic", "volume", "price_open", "sl", "tp",
                "price_current", "profit", "swap", "symbol", "comment", "time",
            )
        },
    )
)  # fmt: skip
def test_whatever_a_row_holds_it_is_a_sane_position_or_unknown(changes: dict[str, Any]) -> None:
    terminal = FakeTerminal()
    terminal.on("positions_get", (row(type(position()), position(11), **changes),))
    snapshot = look(terminal)
    if isinstance(snapshot, Unknown):
        assert "position" in snapshot.reason
        return
    assert isinstance(snapshot.positions, Known)
    (held,) = snapshot.positions.value
    assert held.volume > 0
    assert math.isfinite(held.volume)
    for price in (held.price_open, held.stop_loss, held.take_profit):
        assert price is None or (math.isfinite(price) and price > 0)
    assert type(held.magic) is int
