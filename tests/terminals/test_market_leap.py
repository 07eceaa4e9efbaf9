"""Long spans in one go: a market that nobody looked at for days, and several accounts in it."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from market_kit import DAY, HOUR, START, START_MS
from terminal_kit import Clock, playing

from terminals import GeneratedMarket, SimulatedTerminal
from terminals import constants as mt5
from terminals.sim import rates
from terminals.sim.conditions import IDEAL, TYPICAL, Conditions
from terminals.sim.zone import BrokerZone
from terminals.structs import TradeDeal, TradePosition

DAYS = 4  # long enough for the first ones to be let go of


def guarded(steps: int, conditions: Conditions) -> tuple[list[TradeDeal], list[TradePosition]]:
    """Deals and positions of a second account after some days, at which the first looked too."""
    clock = Clock()
    market = GeneratedMarket(7, START, conditions=conditions)
    terminal = SimulatedTerminal(market=market, now=clock, conditions=conditions)
    assert terminal.initialize()
    home = terminal.account_info()
    assert home is not None
    terminal.open_position("EURUSD", "BUY", 0.01)
    terminal.switch_account(77, "Other")
    tick = terminal.symbol_info_tick("EURUSD")
    assert tick is not None
    stop, target = round(tick.bid - 0.003, 5), round(tick.bid + 0.003, 5)
    terminal.open_position("EURUSD", "BUY", 0.1, sl=stop, tp=target)
    terminal.open_position("EURUSD", "SELL", 0.1)
    terminal.switch_account(home.login, home.server)
    for _ in range(steps):
        terminal.advance(DAYS * 86_400 / steps)
    terminal.switch_account(77, "Other")
    return (
        list(terminal.history_deals_get(0, 2_000_000_000) or ()),
        list(terminal.positions_get() or ()),
    )


@pytest.mark.parametrize("conditions", [IDEAL, TYPICAL], ids=["ideal", "typical"])
def test_a_leap_is_the_same_to_every_account(conditions: Conditions) -> None:
    deals, positions = guarded(1, conditions)
    assert (deals, positions) == guarded(DAYS * 12, conditions)
    assert deals[-1].time < START + 86_400 + 10_800  # when the market came there, not days later
    assert deals[-1].reason in {mt5.DEAL_REASON_SL, mt5.DEAL_REASON_TP}
    if conditions.swaps:
        assert positions[0].swap  # of each night


@pytest.mark.parametrize("symbol", ["EURUSD", "FDXS"])
def test_a_symbol_that_is_looked_at_late_is_as_if_it_had_been_followed(symbol: str) -> None:
    late = START_MS + DAYS * DAY
    followed, alone = (GeneratedMarket(4, START, (symbol,), conditions=TYPICAL) for _ in range(2))
    for at in range(START_MS, late + 1, 6 * HOUR):
        followed.price(symbol, at)
        followed.play(at)
    alone.play(late)
    assert alone.price(symbol, late) == followed.price(symbol, late)
    newest = [market.ticks(symbol, late - DAY // 2, late) for market in (followed, alone)]
    for one, other in zip(newest[0][:3], newest[1][:3], strict=True):
        assert np.array_equal(one, other)
    zone = BrokerZone(TYPICAL.zone)
    for frame in (mt5.TIMEFRAME_M1, mt5.TIMEFRAME_H1, mt5.TIMEFRAME_D1):
        one, other = (
            rates.bars_from_pos(market, symbol, frame, 0, 6_000, late, zone)
            for market in (followed, alone)
        )
        assert np.array_equal(one, other)


def test_a_leap_takes_no_more_room_than_some_days() -> None:
    peaks = []
    for days in (2, 6):
        market = GeneratedMarket(4, START, ("EURUSD",))
        market.play(START_MS + days * DAY)
        tracemalloc.start()
        try:
            market.price("EURUSD", START_MS + days * DAY)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert len(market.ticks("EURUSD", 0, START_MS + days * DAY).bid) <= 3 * 86_400
    assert peaks[1] < 1.3 * peaks[0], peaks


def test_a_recording_ends_though_a_held_quote_was_there_first() -> None:
    terminal, clock = playing({"EURUSD": [(0, 1.1, 1.2), (60, 1.1, 1.2)]})
    clock.at += 59.999
    terminal.set_price("EURUSD", 1.1, 1.2)  # a moment later: at the end
    clock.at += 1
    assert terminal.terminal_info() is not None
    assert terminal.over
