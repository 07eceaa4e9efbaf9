"""Faults that overlap, that meet each other and the broker's own terms, and what they leave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from market_kit import DAY
from terminal_kit import START, Clock, books_balance, generated, order, playing

from defence.errors import Invalid
from terminals import Fault, GeneratedMarket, SimulatedTerminal, spec_for
from terminals import constants as mt5
from terminals.sim.conditions import Conditions
from terminals.sim.faults import fault_from
from terminals.sim.quotes import Ticks
from terminals.sim.rates import day_of
from terminals.sim.spoiled import REMEMBERED_MS, Span, SpoiledMarket
from terminals.sim.zone import BrokerZone

CALM = [(at, 1.1, 1.1001) for at in range(0, 2000, 5)]


def entry(**fields: Any) -> Fault:
    return fault_from(fields)


def bids(first: int, last: int, step: int) -> list[tuple[float, float, float]]:
    """A bid that rises by a point a second, so that each tick says when it was made."""
    return [(at, 1.0 + at * 1e-5, 1.0001 + at * 1e-5) for at in range(first, last, step)]


def connected(terminal: SimulatedTerminal) -> bool:
    info = terminal.terminal_info()
    assert info is not None
    return info.connected


def login(terminal: SimulatedTerminal) -> int:
    info = terminal.account_info()
    assert info is not None
    return info.login


# -- orders ------------------------------------------------------------------


def test_an_order_that_works_and_is_filled_in_part_is_not_rejected() -> None:
    deep = {"depth": 0.3}
    script = [entry(effect="placed", seconds=20)]
    terminal, clock = playing(
        {"EURUSD": CALM}, specs=deep, faults=script, conditions=Conditions(depth=True)
    )
    done = terminal.order_send(order(volume=1.0, type_filling=mt5.ORDER_FILLING_IOC))
    assert done is not None
    assert done.retcode == mt5.TRADE_RETCODE_PLACED
    clock.at += 25
    deals = terminal.history_deals_get(ticket=done.order) or ()
    assert [(one.order, one.volume) for one in deals] == [(done.order, 0.3)]
    past = terminal.history_orders_get(ticket=done.order) or ()
    assert len(past) == 1
    assert past[0].state != mt5.ORDER_STATE_REJECTED
    all_past = [one.ticket for one in terminal.history_orders_get(0, 4e9) or ()]
    assert all_past.count(done.order) == 1
    assert terminal.mishaps[-1].what == f"order {done.order} is filled in part"
    books_balance(terminal)


@pytest.mark.parametrize(("symbol", "part"), [("US500", 0.1), ("FDXS", 1.0), ("EURUSD", 0.01)])
def test_a_part_is_one_that_the_symbol_trades(symbol: str, part: float) -> None:
    market = GeneratedMarket(7, START, (symbol, "EURUSD"))
    script = [entry(effect="partial", volume=0.004)]
    terminal = generated(market=market, faults=script)
    spec = spec_for(symbol)
    sent = order(symbol=symbol, volume=5.0, type_filling=mt5.ORDER_FILLING_IOC)
    done = terminal.order_send(sent)
    assert done is not None
    assert (done.retcode, done.volume) == (mt5.TRADE_RETCODE_DONE_PARTIAL, part)
    assert part == spec.volume_min


# -- quotes that did not get through -------------------------------------------


def frozen_over_midnight(effect: str) -> tuple[SimulatedTerminal, Clock]:
    fault = entry(effect=effect, at=6300, seconds=185)
    return playing({"EURUSD": bids(0, 8001, 15)}, faults=[fault])


@pytest.mark.parametrize("effect", ["freeze", "restart"])
def test_a_tick_that_did_not_get_through_is_not_shown_later(effect: str) -> None:
    terminal, clock = frozen_over_midnight(effect)
    clock.at += 6486
    terminal.symbols_get()
    info, tick = terminal.symbol_info("EURUSD"), terminal.symbol_info_tick("EURUSD")
    assert info is not None
    assert tick is not None
    assert tick.time_msc == round((START + 6300) * 1000)
    assert info.bid == tick.bid == 1.063
    ticks = terminal.copy_ticks_from("EURUSD", int(START + 6200), 100, -1)
    assert ticks is not None
    assert ticks["time_msc"][-1] == tick.time_msc
    clock.at += 14  # the first that is through again
    info = terminal.symbol_info("EURUSD")
    assert info is not None
    assert (info.bid, info.session_open, info.session_close) == (1.06495, 1.06495, 1.063)


def test_a_quote_whose_tick_is_not_kept_has_no_day() -> None:
    class Forgetful(SpoiledMarket):
        def ticks(self, symbol: str, after_msc: int, upto_msc: int) -> Ticks:
            return super().ticks(symbol, upto_msc, upto_msc)

    market = Forgetful(GeneratedMarket(7, START))
    assert day_of(market, "EURUSD", market.start_msc, BrokerZone("UTC")) is None


def test_bars_do_not_know_what_did_not_get_through() -> None:
    script = [entry(effect="freeze", at=1800, seconds=3600)]
    terminal, clock = playing({"EURUSD": bids(0, 9000, 1)}, faults=script)
    clock.at += 5300
    for timeframe in (mt5.TIMEFRAME_M1, mt5.TIMEFRAME_M15, mt5.TIMEFRAME_H1):
        bars = terminal.copy_rates_from_pos("EURUSD", timeframe, 0, 200)
        assert bars is not None
        assert bars["close"][-1] == bars["high"].max() == 1.018
        assert bars["time"][-1] <= START + 1800
    clock.at += 3600
    bars = terminal.copy_rates_from_pos("EURUSD", mt5.TIMEFRAME_M1, 0, 200)
    assert bars is not None
    gone = (bars["time"] > START + 1800) & (bars["time"] < START + 5340)
    assert not gone.any()
    assert (np.diff(bars["time"]) > 0).all()
    assert bars["tick_volume"].sum() == 1801 + 8901 - 5400  # each of them once


def test_bars_of_a_wide_spread_are_of_its_bid_and_others_stay() -> None:
    straight, _ = playing({"EURUSD": bids(0, 9000, 1)})
    script = [entry(effect="widen", factor=11, at=1800, seconds=3600)]
    terminal, _ = playing({"EURUSD": bids(0, 9000, 1)}, faults=script)
    found = []
    for one in (straight, terminal):
        one.advance(8000)
        bars = one.copy_rates_from_pos("EURUSD", mt5.TIMEFRAME_M1, 0, 200)
        assert bars is not None
        found.append(bars)
    before, after = found
    assert (before["time"] == after["time"]).all()
    assert (before["tick_volume"] == after["tick_volume"]).all()
    inside = (before["time"] >= START + 1800) & (before["time"] < START + 5340)
    outside = (before["time"] < START + 1740) | (before["time"] > START + 5400)
    assert np.allclose(after["low"][inside], before["low"][inside] - 0.0005)
    assert (after[outside] == before[outside]).all()


def test_bars_whose_ticks_are_gone_stay() -> None:
    market = GeneratedMarket(7, START)
    kept = market.history("EURUSD", market.start_msc + DAY).rows(
        market.start_msc, market.start_msc + DAY, quarters=True
    )[0]
    for day in range(1, 6):
        market.price("EURUSD", market.start_msc + day * DAY)
        market.play(market.start_msc + day * DAY)
    spoiled = SpoiledMarket(market)
    spoiled.freeze(None, market.start_msc, market.start_msc + DAY)
    bars = spoiled.history("EURUSD", market.start_msc + 5 * DAY)
    assert bars is not None
    rows = bars.rows(market.start_msc, market.start_msc + DAY, quarters=True)[0]
    assert len(rows) == len(kept) > 90
    assert (rows == kept).all()


def test_a_wide_quote_keeps_its_trade() -> None:
    market = SpoiledMarket(GeneratedMarket(7, START, ("FDXS",)))
    at = market.start_msc + 600_000
    plain = market.price("FDXS", at)
    market.widen("FDXS", 3.0, at - 1000, None)
    wide = market.price("FDXS", at)
    assert plain is not None
    assert wide is not None
    assert plain.last > 0.0
    assert (wide.last, wide.volume, wide.flags) == (plain.last, plain.volume, plain.flags)
    assert wide.ask - wide.bid > plain.ask - plain.bid


def test_what_is_long_over_is_forgotten_and_looked_up_no_more() -> None:
    market = SpoiledMarket(GeneratedMarket(7, START, ("EURUSD",)))
    begin = market.start_msc
    lasting = market.freeze("GBPUSD", begin, begin + 20 * DAY)
    for at in range(begin, begin + 15 * DAY, 600_000):
        market.widen("EURUSD", 2.0, at, at + 300_000)
    seen = begin + 10 * DAY + 400_000
    assert market.spoils("EURUSD", seen, seen) == []
    assert len(market.spoils("EURUSD", seen - 200_000, seen)) == 1
    assert market.spoils("GBPUSD", seen, seen) == [lasting]
    market.play(begin + 20 * DAY + REMEMBERED_MS - 1)
    assert market.spoils("GBPUSD", begin, begin) == [lasting]
    market.play(begin + 20 * DAY + REMEMBERED_MS)
    assert market.spoils("GBPUSD", begin, begin) == []
    assert market.spoils("EURUSD", begin, begin + 20 * DAY) == []


def test_a_look_costs_the_same_after_many_spells(monkeypatch: pytest.MonkeyPatch) -> None:
    market = SpoiledMarket(GeneratedMarket(7, START, ("EURUSD",)))
    begin = market.start_msc
    for at in range(begin, begin + 2 * DAY, 60_000):
        market.widen(None, 2.0, at, at + 30_000)
    looked = []

    def counted(span: Span) -> int:
        looked.append(span)
        assert span.until_msc is not None
        return span.until_msc

    monkeypatch.setattr(Span, "end_msc", property(counted))
    market.ticks("EURUSD", begin + DAY, begin + DAY + 90_000)
    market.price("EURUSD", begin + DAY + 90_000)
    assert len(looked) <= 4


# -- one face of the terminal and the other --------------------------------------


def test_symbols_get_shows_what_symbol_info_shows() -> None:
    terminal = generated(faults=[entry(effect="zero", symbol="EURUSD")])
    rows = {one.name: one for one in terminal.symbols_get() or () if one is not True}
    info = terminal.symbol_info("EURUSD")
    assert info is not None
    assert (rows["EURUSD"].bid, rows["EURUSD"].ask) == (info.bid, info.ask) == (0.0, 0.0)
    assert rows["GBPUSD"].bid > 0.0


def test_a_late_deal_is_late_beyond_the_end_of_its_spell() -> None:
    script = [entry(effect="late_deals", lag=40, at=0, seconds=10)]
    terminal, clock = playing({"EURUSD": CALM}, faults=script)

    def deals() -> int:
        found = terminal.history_deals_get(0, 4e9) or ()
        assert terminal.history_deals_total(0, 4e9) == len(found)
        return len([one for one in found if one.symbol])

    clock.at += 5
    assert terminal.order_send(order()) is not None
    clock.at += 6  # the spell is over
    assert deals() == 0
    assert terminal.order_send(order()) is not None  # and this one is not late
    assert deals() == 1
    clock.at += 33.9
    assert deals() == 1
    clock.at += 0.2
    assert deals() == 2
    terminal.add_fault(entry(effect="late_deals", lag=1000, seconds=1))
    assert terminal.order_send(order()) is not None
    clock.at += 5
    assert deals() == 2
    terminal.clear_faults()
    assert deals() == 3


# -- trading switched off --------------------------------------------------------


@pytest.mark.parametrize(
    ("who", "retcode", "flag"),
    [("server", 10026, "trade_expert"), ("account", 10017, "trade_allowed")],
)
def test_no_trading_is_not_written_into_the_account(
    who: str, retcode: int, flag: str, tmp_path: Path
) -> None:
    state = tmp_path / "state.json"
    script = [entry(effect="no_trading", who=who, seconds=600)]
    terminal, _ = playing({"EURUSD": CALM}, faults=script, state=state)

    def answers() -> tuple[int, int, bool]:
        checked, sent = terminal.order_check(order()), terminal.order_send(order())
        account = terminal.account_info()
        assert checked is not None
        assert sent is not None
        assert account is not None
        return checked.retcode, sent.retcode, getattr(account, flag)

    assert answers() == (retcode, retcode, False)
    terminal.deposit(1.0)
    terminal.close()
    assert json.loads(state.read_text())["account"][flag] is True
    terminal, _ = playing({"EURUSD": CALM}, state=state)
    assert answers() == (0, 10009, True)


@pytest.mark.parametrize("who", ["server", "account", "client"])
def test_the_end_of_no_trading_allows_nothing_that_was_forbidden(who: str) -> None:
    terminal, clock = playing({"EURUSD": CALM})
    terminal.set_trading(allowed=False, expert=False)
    terminal.set_autotrading(False)
    terminal.add_fault(entry(effect="no_trading", who=who, seconds=10))
    clock.at += 20
    account, state = terminal.account_info(), terminal.terminal_info()
    assert account is not None
    assert state is not None
    assert (account.trade_allowed, account.trade_expert, state.trade_allowed) == (False,) * 3


def test_no_trading_is_for_the_account_that_was_meant() -> None:
    terminal, _ = playing({"EURUSD": CALM}, faults=[entry(effect="no_trading", who="server")])
    terminal.switch_account(77, "Elsewhere")
    sent, account = terminal.order_send(order()), terminal.account_info()
    assert sent is not None
    assert account is not None
    assert (sent.retcode, account.trade_expert) == (mt5.TRADE_RETCODE_DONE, True)


# -- faults that overlap -----------------------------------------------------------


def after(terminal: SimulatedTerminal, clock: Clock, look: Any, times: list[float]) -> list[Any]:
    """What a look finds at some times, in seconds from now."""
    begin, found = clock.at, []
    for at in times:
        clock.at = begin + at
        found.append(look(terminal))
    return found


@pytest.mark.parametrize(
    "script",
    [
        [{"effect": "disconnect", "seconds": 300}, {"effect": "restart", "seconds": 10}],
        [{"effect": "restart", "seconds": 300}, {"effect": "disconnect", "seconds": 10}],
        [{"effect": "restart", "seconds": 300}, {"effect": "restart", "seconds": 10}],
        [{"effect": "disconnect", "seconds": 300}, {"effect": "disconnect", "seconds": 10}],
        [{"effect": "disconnect", "seconds": 10}, {"effect": "disconnect", "seconds": 300}],
    ],
)
def test_an_outage_lasts_as_long_as_any_of_its_causes(script: list[dict[str, Any]]) -> None:
    terminal, clock = playing({"EURUSD": CALM})
    for one in script:
        terminal.add_fault(entry(**one))
    times = [0.0, 12.0, 299.0, 301.0]
    assert after(terminal, clock, connected, times) == [False, False, False, True]


def test_an_outage_without_end_ends_with_nothing_else() -> None:
    terminal, clock = playing({"EURUSD": CALM})
    for fields in ({"effect": "disconnect"}, {"effect": "disconnect", "seconds": 5}):
        terminal.add_fault(entry(**fields))
    terminal.add_fault(entry(effect="restart", seconds=5))
    assert after(terminal, clock, connected, [0, 10, 1000]) == [False] * 3
    terminal.clear_faults()
    assert connected(terminal)
    terminal.disconnect()  # by hand: the script has nothing to do with it
    terminal.clear_faults()
    assert not connected(terminal)


def test_the_account_is_that_of_the_newest_switch_that_lasts() -> None:
    terminal, clock = playing({"EURUSD": CALM})
    home = login(terminal)
    terminal.add_fault(entry(effect="switch_account", login=11, server="A", seconds=300))
    terminal.add_fault(entry(effect="switch_account", login=22, server="B", seconds=10))
    assert after(terminal, clock, login, [0, 12, 299, 301]) == [22, 11, 11, home]


def test_a_spell_that_comes_again_before_it_is_over_lasts_to_its_own_end() -> None:
    script = [entry(effect="widen", factor=5, at=0, every=60, seconds=90, times=2)]
    terminal, clock = playing({"EURUSD": CALM}, faults=script)

    def spread(one: SimulatedTerminal) -> int:
        info = one.symbol_info("EURUSD")
        assert info is not None
        return info.spread

    found = after(terminal, clock, spread, [1, 61, 91, 149, 151])
    assert found == [50, 250, 50, 50, 10]


# -- the state file ------------------------------------------------------------------


def test_the_file_is_never_much_older_than_the_market(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    terminal, clock = playing({"EURUSD": CALM}, state=state)
    terminal.open_position("EURUSD", "BUY", 0.1)
    writes = set()
    for _ in range(150):
        clock.at += 2
        terminal.positions_get()
        writes.add(state.stat().st_mtime_ns)
    assert len(writes) <= 6  # seldom, all the same
    assert terminal.market_time - json.loads(state.read_text())["market"]["time_msc"] / 1000 <= 60
    again, _ = playing({"EURUSD": CALM}, state=state)  # the first one died without a word
    assert again.market_time >= terminal.market_time - 60


def test_a_file_that_could_not_be_written_as_time_passes_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state.json"
    terminal, clock = playing({"EURUSD": CALM}, state=state)
    before = state.read_text()
    clock.at += 100
    with monkeypatch.context() as full:
        full.setattr("terminals.sim.state.StateFile.write", _full)
        assert terminal.positions_get() is None
        assert "No space left" in terminal.last_error()[1]
    assert terminal.positions_get() == ()
    assert state.read_text() != before


def _full(*_: object) -> None:
    raise OSError("No space left")


def test_a_file_that_makes_no_sense_is_not_replaced_as_time_passes(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    terminal, clock = playing({"EURUSD": CALM}, state=state, reload_state=True)
    state.write_text("{ half of it")
    for _ in range(4):
        clock.at += 100
        assert terminal.positions_get() is None
    assert state.read_text() == "{ half of it"


# -- numbers that make no sense ---------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"effect": "freeze", "at": 10**400}, "at"),
        ({"effect": "freeze", "seconds": 1e306}, "seconds"),
        ({"effect": "reorder", "lag": 1e306}, "lag"),
        ({"effect": "skew", "offset": 1e300}, "offset"),
        ({"effect": "skew", "offset": -1e300}, "offset"),
        ({"effect": "skew", "offset": float("nan")}, "offset"),
        ({"effect": "skew", "offset": float("inf")}, "offset"),
    ],
)
def test_numbers_beyond_all_sense_are_named(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        entry(**fields)
    assert caught.value.field == field


def test_the_largest_numbers_do_no_harm() -> None:
    script = [
        entry(effect="skew", offset=1e10),
        entry(effect="reorder", lag=1e10),
        entry(effect="freeze", at=1e10, seconds=1e10),
    ]
    terminal = generated(faults=script)
    for _ in range(3):
        assert terminal.symbol_info_tick("EURUSD") is not None
