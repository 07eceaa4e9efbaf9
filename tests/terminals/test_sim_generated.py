"""Generated prices, and the demonstration on them."""

from __future__ import annotations

import time

import numpy as np
from terminal_kit import START, Clock, generated, playing

from terminals import GeneratedMarket


def test_demo_on_generated_prices() -> None:
    clock = Clock()
    terminal = generated(now=clock, market=GeneratedMarket(1, START), demo=True)
    opened = terminal.positions_get()
    account = terminal.account_info()
    assert opened is not None
    assert account is not None
    assert 4 <= len(opened) <= 6
    assert len({one.symbol for one in opened}) >= 3
    assert {one.type for one in opened} == {0, 1}
    assert all(one.sl for one in opened)
    assert (account.server, account.balance, account.margin_mode) == ("Simulated-Demo", 10_000.0, 2)
    clock.at += 3600
    assert len(terminal.positions_get() or ()) < len(opened)


def test_demo_on_other_symbols() -> None:
    rows = {
        "GBPUSD": [(0, 1.576, 1.5761), (60, 1.576, 1.5761)],
        "EURCHF": [(0, 1.2, 1.2001), (60, 1.2, 1.2001)],
    }
    terminal, _ = playing(rows, demo=True)
    opened = terminal.positions_get()
    assert opened is not None
    assert {one.symbol for one in opened} == set(rows)
    assert {one.type for one in opened} == {0, 1}
    pips = [abs(one.price_open - one.sl) * 1e4 for one in opened if one.symbol == "GBPUSD"]
    assert all(14 <= one <= 61 for one in pips)


def test_generated_prices_are_a_function_of_seed_and_start() -> None:
    one, other = GeneratedMarket(5, START), GeneratedMarket(5, START)
    upto = round(START * 1000) + 7_200_000
    for at in range(round(START * 1000), upto, 137_000):
        other.price("EURUSD", at)
    first, second = one.ticks("EURUSD", 0, upto), other.ticks("EURUSD", 0, upto)
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a, b)
    third = GeneratedMarket(6, START).ticks("EURUSD", 0, upto)
    assert not np.array_equal(first.bid, third.bid)
    assert (np.diff(first.time_msc) > 0).all()
    assert (first.bid > 0).all()
    assert (first.ask > first.bid).all()
    assert one.price("EURUSD", 0) is None


def test_generated_prices_do_not_repeat_themselves() -> None:
    bid = GeneratedMarket(5, START).ticks("XAUUSD", 0, round(START * 1000)).bid
    moves = np.diff(np.log(bid))
    one, after = moves[:899], moves[900:1799]
    assert abs(float(np.corrcoef(one, after)[0, 1])) < 0.3


def test_generated_volatility_comes_in_clusters() -> None:
    market = GeneratedMarket(5, START)
    bid = market.ticks("EURUSD", 0, round(START * 1000)).bid
    minutes = np.abs(np.diff(np.log(bid[::60])))
    one, next_one = minutes[:-1] - minutes.mean(), minutes[1:] - minutes.mean()
    assert (one * next_one).mean() / minutes.var() > 0.05


def test_generated_market_forgets_only_the_old() -> None:
    market = GeneratedMarket(5, START)
    begin = round(START * 1000)
    late = begin + 3 * 86_400_000
    kept = market.ticks("EURUSD", late - 3_600_000, late)
    market.play(late)
    again = market.ticks("EURUSD", late - 3_600_000, late)
    assert np.array_equal(kept.bid, again.bid)
    assert len(market.ticks("EURUSD", 0, late).bid) < 100_000


def test_a_minute_costs_little() -> None:
    clock = Clock()
    terminal = generated(now=clock, market=GeneratedMarket(1, START))
    for symbol in terminal.market.specs:
        terminal.open_position(symbol, "BUY", 0.01)
    terminal.positions_get()
    began = time.perf_counter()
    for _ in range(300):
        clock.at += 60
        terminal.positions_get()
    assert (time.perf_counter() - began) / 300 < 0.005  # measured 0.1 ms, with room for slow hosts
