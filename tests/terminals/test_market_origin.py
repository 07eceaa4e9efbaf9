"""A kept broker's chart: its past stays over restarts, unless somebody has moved the price."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from terminal_kit import START, Clock, generated

from terminals import GeneratedMarket, SimulatedTerminal
from terminals import constants as mt5
from terminals.sim.conditions import IDEAL, TYPICAL, Conditions
from terminals.sim.generated import RESUMED_MS

HOUR, DAY = 3_600.0, 86_400.0
FRAMES = (mt5.TIMEFRAME_M1, mt5.TIMEFRAME_M15, mt5.TIMEFRAME_H4, mt5.TIMEFRAME_D1)
SYMBOLS = ("EURUSD", "XAUUSD", "FDXS")


def terminal(
    path: Path, clock: Clock, conditions: Conditions = TYPICAL, seed: int = 5
) -> SimulatedTerminal:
    market = GeneratedMarket.under(conditions, seed=seed, start=clock.at)
    return generated(market=market, now=clock, state=path, conditions=conditions)


def chart(one: SimulatedTerminal, symbol: str) -> dict[str, Any]:
    """What a program sees of a symbol's past and present."""
    found: dict[str, Any] = {
        f"bars {frame}": one.copy_rates_from_pos(symbol, frame, 0, 600) for frame in FRAMES
    }
    since = int(one.market_time - 6 * HOUR)
    found["ticks"] = one.copy_ticks_from(symbol, since, 30_000, mt5.COPY_TICKS_ALL)
    found["tick"] = one.symbol_info_tick(symbol)
    return found


def differs(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [name for name in before if not np.array_equal(before[name], after[name])]


@pytest.mark.parametrize("conditions", [IDEAL, TYPICAL], ids=["ideal", "typical"])
def test_the_past_stays_and_the_future_is_the_same(conditions: Conditions, tmp_path: Path) -> None:
    symbols = SYMBOLS if conditions is TYPICAL else SYMBOLS[:2]
    clock = Clock(START)
    first = terminal(tmp_path / "a.json", clock, conditions)
    for _ in range(5):
        clock.at += 9 * HOUR
        first.open_position("XAUUSD", "BUY", 0.01)
    before = {symbol: chart(first, symbol) for symbol in symbols}
    again = terminal(tmp_path / "a.json", clock, conditions)
    assert again.market_time == first.market_time
    for symbol in symbols:
        assert not differs(before[symbol], chart(again, symbol))
    # and once more: a market that was taken up is taken up as well
    clock.at += HOUR
    again.open_position("EURUSD", "BUY", 0.01)
    third = terminal(tmp_path / "a.json", clock, conditions)
    clock.at += 30 * HOUR
    for symbol in symbols:
        assert not differs(chart(first, symbol), chart(third, symbol))


def test_one_that_died_without_a_word_goes_on_with_the_same_prices(tmp_path: Path) -> None:
    clock, path = Clock(START), tmp_path / "a.json"
    first = terminal(path, clock)
    first.open_position("EURUSD", "BUY", 0.01)
    died_at = path.read_bytes()
    clock.at += 45.0
    seen = first.copy_ticks_from("EURUSD", int(clock.at - 40), 30, mt5.COPY_TICKS_ALL)
    path.write_bytes(died_at)
    again = terminal(path, clock)  # it catches up
    assert again.market_time == first.market_time
    found = again.copy_ticks_from("EURUSD", int(clock.at - 40), 30, mt5.COPY_TICKS_ALL)
    assert seen is not None
    assert len(seen) == 30
    assert np.array_equal(seen, found)


def test_a_price_that_a_person_writes_begins_another_walk(tmp_path: Path) -> None:
    clock, path = Clock(START), tmp_path / "a.json"
    first = terminal(path, clock)
    clock.at += HOUR
    first.open_position("EURUSD", "BUY", 0.01)
    gold = chart(first, "XAUUSD")
    kept = json.loads(path.read_text())
    kept["market"]["prices"]["EURUSD"] = 1.5
    path.write_text(json.dumps(kept))
    again = terminal(path, clock)
    tick = again.symbol_info_tick("EURUSD")
    assert tick is not None
    assert tick.bid == pytest.approx(1.5, rel=1e-3)
    assert not differs(gold, chart(again, "XAUUSD"))


def test_a_price_that_was_set_begins_another_walk(tmp_path: Path) -> None:
    clock, path = Clock(START), tmp_path / "a.json"
    first = terminal(path, clock)
    clock.at += HOUR
    first.set_price("EURUSD", 1.6, 1.6001)
    first.open_position("XAUUSD", "BUY", 0.01)
    assert "EURUSD" not in json.loads(path.read_text())["market"]["walks"]
    again = terminal(path, clock)
    tick = again.symbol_info_tick("EURUSD")
    assert tick is not None
    assert tick.bid == pytest.approx(1.6, rel=1e-3)


@pytest.mark.parametrize("other", [{"seed": 6}, {"conditions": IDEAL}])
def test_another_draw_is_another_past_that_ends_where_the_old_one_did(
    other: dict[str, Any], tmp_path: Path
) -> None:
    clock, path = Clock(START), tmp_path / "a.json"
    first = terminal(path, clock)
    clock.at += 5 * DAY
    first.open_position("EURUSD", "BUY", 0.01)
    before = chart(first, "EURUSD")
    again = terminal(path, clock, **other)
    assert set(differs(before, chart(again, "EURUSD"))) == set(before)
    tick = again.symbol_info_tick("EURUSD")
    assert tick is not None
    assert tick.bid == pytest.approx(before["tick"].bid, rel=1e-3)


@pytest.mark.parametrize(("age", "stays"), [(0, True), (1, False)])
def test_what_began_too_long_ago_is_not_made_again(age: int, stays: bool, tmp_path: Path) -> None:
    clock, path = Clock(START), tmp_path / "a.json"
    first = terminal(path, clock, IDEAL)
    first.open_position("EURUSD", "BUY", 0.01)
    clock.at += RESUMED_MS / 1000 + age
    first.open_position("EURUSD", "BUY", 0.01)
    before = chart(first, "GBPUSD")
    again = terminal(path, clock, IDEAL)
    assert (not differs(before, chart(again, "GBPUSD"))) is stays
