"""R, break-even, grids and the pace."""

from __future__ import annotations

import math

import pytest
from defence_samples import NOW, facts, position, quote, record
from hypothesis import given, settings
from hypothesis import strategies as st

from defence.broker import Direction
from defence.errors import Invalid
from defence.grid import ceil_to, floor_to, same_price
from defence.pace import next_interval
from defence.risk import (
    break_even_price,
    exit_price,
    first_peak,
    quote_fault,
    result_r,
    usable_initial_stop,
)

BUY, SELL = Direction.BUY, Direction.SELL


@pytest.mark.parametrize(
    ("direction", "stop", "price", "expected"),
    [
        (BUY, 1.09, 1.12, 2.0),
        (BUY, 1.09, 1.085, -1.5),
        (SELL, 1.12, 1.08, 1.0),
        (SELL, 1.12, 1.11, -0.5),
        (BUY, None, 1.12, None),
        (BUY, 1.1, 1.12, None),
        (BUY, 1.11, 1.12, None),
        (SELL, 1.1, 1.0, None),
        (BUY, math.nan, 1.12, None),
        (BUY, 1.09, math.nan, None),
        (BUY, 1.09, math.inf, None),
    ],
)
def test_result_in_r(
    direction: Direction, stop: float | None, price: float, expected: float | None
) -> None:
    trade = record(direction=direction, initial_stop=stop)
    assert result_r(trade, price) == (None if expected is None else pytest.approx(expected))


def test_a_stop_at_or_beyond_the_entry_is_no_initial_risk() -> None:
    assert usable_initial_stop(BUY, 1.1, 1.09999) == 1.09999
    assert usable_initial_stop(BUY, 1.1, 1.1) is None
    assert usable_initial_stop(SELL, 1.1, 1.11) == 1.11
    assert usable_initial_stop(SELL, 1.1, 1.1) is None
    assert usable_initial_stop(SELL, 1.1, None) is None


def test_exit_is_bid_for_buy_and_ask_for_sell() -> None:
    assert exit_price(BUY, quote(1.1, 1.2)) == 1.1
    assert exit_price(SELL, quote(1.1, 1.2)) == 1.2


@pytest.mark.parametrize(
    ("price", "fault"),
    [
        (None, "no price"),
        (quote(math.nan), "the price is not a number above zero"),
        (quote(1.1, math.inf), "the price is not a number above zero"),
        (quote(0.0, 1.0), "the price is not a number above zero"),
        (quote(1.1, 1.09), "the price is crossed"),
        (quote(1.1, symbol="GBPUSD"), "the price is another symbol's"),
        (quote(1.1, seen_at=NOW - 61), "the price is stale"),
        (quote(1.1, seen_at=NOW - 59), None),
        (quote(1.1), None),
    ],
)
def test_prices_that_cannot_be_used(price: object, fault: str | None) -> None:
    assert quote_fault(price, "EURUSD", NOW, 60) == fault  # type: ignore[arg-type] # None or Quote


def test_break_even_counts_spread_swap_and_commission_away_from_loss() -> None:
    # Spread 10 points; 3 of swap and 4 of commission at 1 a tick and lot: 7 points.
    trade = record(commission_per_lot=-4.0)
    price = quote(1.1, 1.1001)
    assert break_even_price(trade, position(swap=-3.0), price, facts()) == 1.10017
    assert break_even_price(trade, position(swap=-3.3), price, facts()) == 1.10018
    sell = position(direction=SELL, swap=-3.3)
    assert break_even_price(trade, sell, price, facts()) == 1.09982
    # Earned swap pays for commission, never for the spread.
    assert break_even_price(trade, position(swap=50.0), price, facts()) == 1.1001
    # Commission is known a lot: half the volume pays half of it, the price is the same.
    assert break_even_price(trade, position(volume=0.5), price, facts()) == 1.10014
    # Where the tick has no value, costs in money cannot be turned into a price.
    assert break_even_price(trade, position(swap=-3.0), price, facts(tick_value=0)) == 1.1001
    with pytest.raises(Invalid) as caught:
        break_even_price(trade, position(), price, facts(tick_size=0.0))
    assert caught.value.field == "tick_size"


def test_the_best_begins_at_zero_or_better_unless_adopted() -> None:
    assert first_peak(-0.6, adopted=False) == 0.0
    assert first_peak(0.6, adopted=False) == 0.6
    assert first_peak(-0.6, adopted=True) == -0.6
    assert first_peak(None, adopted=False) is None


@settings(deadline=None, derandomize=True)
@given(st.integers(1, 10**7), st.sampled_from([1e-5, 1e-3, 0.01, 0.25, 0.5, 1.0, 5.0]))
def test_values_on_the_grid_stay_where_they_are(count: int, tick: float) -> None:
    value = count * tick
    assert same_price(floor_to(value, tick), value, tick)
    assert same_price(ceil_to(value, tick), value, tick)
    between = value + tick * 0.4
    assert floor_to(between, tick) <= between <= ceil_to(between, tick)
    assert ceil_to(between, tick) - floor_to(between, tick) == pytest.approx(tick, rel=1e-4)


def test_prices_are_compared_by_half_a_tick() -> None:
    assert same_price(1.1, 1.1000049, 1e-5)
    assert not same_price(1.1, 1.10001, 1e-5)
    assert same_price(None, None, 1e-5)
    assert not same_price(None, 1.1, 1e-5)
    assert not same_price(1.1, 1.1000049, None)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({1: 0.0}, {1: 0.25}, 30.0),
        ({1: 0.0}, {1: 0.26}, 10.0),
        ({1: 0.0, 2: 1.0}, {1: 0.1, 2: 0.7}, 10.0),
        ({1: None}, {1: 5.0}, 30.0),
        ({}, {1: 5.0}, 30.0),
        ({1: 5.0}, {}, 30.0),
        ({1: 0.0}, {1: math.nan}, 30.0),
    ],
)
def test_the_pace_is_faster_when_a_trade_moved(
    before: dict[int, float | None], after: dict[int, float | None], expected: float
) -> None:
    assert next_interval(30.0, before, after) == expected


def test_the_pace_has_a_floor_and_refuses_nonsense() -> None:
    assert next_interval(0.002, {1: 0.0}, {1: 1.0}) == 0.001
    for base in (0.0, -1.0, math.nan, math.inf, True):
        with pytest.raises(Invalid) as caught:
            next_interval(base, {}, {})
        assert caught.value.field == "interval"
