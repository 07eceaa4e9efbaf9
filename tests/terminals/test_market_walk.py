"""Generated prices: sessions, gaps, hours, trends, and that stepping does not matter."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_kit import DAY, HOUR, MONDAY, SATURDAY, START, START_MS, same, told, utc

from terminals.sim.conditions import NEW_YORK_CLOSE, TYPICAL, conditions_named
from terminals.sim.generated import DEFAULT_SYMBOLS, GeneratedMarket
from terminals.sim.market import Ticks
from terminals.sim.symbols import CATALOGUE
from terminals.sim.zone import BrokerZone

WALL = BrokerZone(NEW_YORK_CLOSE)
FRIDAY = MONDAY + 4 * DAY + 12 * HOUR
# Seed 5, an hour after START; programs' own tests lean on such prices.
IDEAL = {
    "EURUSD": (1.08453, 1.08464),
    "GBPUSD": (1.27187, 1.27197),
    "USDJPY": (149.638, 149.651),
    "XAUUSD": (2350.13, 2350.36),
}


def typical(start_msc: int, seed: int = 1, symbols: tuple[str, ...] = ()) -> GeneratedMarket:
    chosen = symbols or tuple(CATALOGUE)
    return GeneratedMarket(seed, start_msc / 1000, chosen, volatility=1.0, conditions=TYPICAL)


def trades_then(symbol: str, wall_msc: int) -> bool:
    """The week once more, by the calendar."""
    moment = told(wall_msc)
    minute = moment.hour * 60 + moment.minute
    if symbol in {"BTCUSD", "ETHUSD"}:
        return True
    if moment.weekday() > 4:
        return False
    if symbol in {"XAUUSD", "US500"}:
        return minute >= 60
    return 130 <= minute < 23 * 60 if symbol == "FDXS" else minute >= 5


@pytest.mark.parametrize("symbol", ["EURUSD", "XAUUSD", "FDXS", "BTCUSD"])
def test_ticks_come_only_while_it_is_open(symbol: str) -> None:
    market = typical(FRIDAY)
    ticks = market.ticks(symbol, 0, FRIDAY + 5 * DAY)
    walls = WALL.to_wall_array(ticks.time_msc)
    minutes = np.unique(walls // 60_000) * 60_000
    assert all(trades_then(symbol, int(one)) for one in minutes)
    begin = int(ticks.time_msc[0])
    for at in range(begin, FRIDAY + 5 * DAY, 5 * 60_000):
        opened = trades_then(symbol, WALL.to_wall_msc(at))
        assert market.is_open(symbol, at) is opened
        if opened:  # and there they do come
            assert len(market.ticks(symbol, at, at + 5 * 60_000).bid)


def test_daylight_saving_moves_the_hours() -> None:
    market = typical(utc("2024-03-06 12:00"), symbols=("EURUSD",))
    assert market.is_open("EURUSD", utc("2024-03-08 21:59:59"))  # Friday, GMT+2
    assert not market.is_open("EURUSD", utc("2024-03-08 22:00"))
    first = market.ticks("EURUSD", utc("2024-03-08 22:00"), utc("2024-03-11 12:00")).time_msc[0]
    assert utc("2024-03-10 21:05") <= first < utc("2024-03-10 21:06")  # GMT+3 since that Sunday


def test_it_opens_with_a_gap() -> None:
    gaps, usual = [], []
    for seed in range(25):
        market = typical(FRIDAY, seed, ("EURUSD",))
        closes = utc("2023-11-17 22:00")
        before = market.ticks("EURUSD", closes - HOUR, closes).bid
        opened = market.price("EURUSD", utc("2023-11-19 22:05:02"))
        assert opened is not None
        gaps.append(abs(math.log(opened.mid / before[-1])))
        usual.append(float(np.abs(np.diff(np.log(before))).mean()))
        assert market.price("EURUSD", SATURDAY) == market.price("EURUSD", closes - 1)
        # One gap, and the new level stays: the next chunks go on from it.
        later = market.ticks("EURUSD", opened.time_msc, opened.time_msc + HOUR)
        steps = np.abs(np.diff(np.log((later.bid + later.ask) / 2)))
        assert steps.max() < 20 * steps.mean()
    # A weekend's move against a second's; some gaps are small, most are not.
    assert np.median(gaps) > 20 * np.mean(usual)
    assert max(gaps) < 0.05
    assert len(set(gaps)) == 25


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**64),
    symbol=st.sampled_from(["EURUSD", "FDXS", "BTCUSD"]),
    start=st.integers(MONDAY, MONDAY + 7 * DAY),
    steps=st.lists(
        st.tuples(st.integers(1, 7 * HOUR), st.booleans(), st.booleans()), min_size=1, max_size=20
    ),
    lively=st.booleans(),
)
def test_however_it_is_stepped_through(
    seed: int, symbol: str, start: int, steps: list[tuple[int, bool, bool]], lively: bool
) -> None:
    terms = TYPICAL if lively else conditions_named("ideal")
    stepped, whole = (
        GeneratedMarket(seed, start / 1000, (symbol,), conditions=terms) for _ in range(2)
    )
    end = start + sum(step for step, _, _ in steps)
    reference = whole.ticks(symbol, 0, end)
    at = start
    for step, looks, plays in steps:
        before, at = at, at + step
        low, high = np.searchsorted(reference.time_msc, (before, at), side="right")
        assert same(stepped.ticks(symbol, before, at), reference.cut(low, high))
        if looks:
            price = stepped.price(symbol, at)
            if not high:
                assert price is None
                continue
            newest = (reference.time_msc[high - 1], reference.bid[high - 1])
            assert price is not None
            assert (price.time_msc, price.bid) == newest
            assert stepped.price(symbol, at + 1_000_000) == whole.price(symbol, at + 1_000_000)
            assert stepped.price(symbol, at) == price
        if plays:
            stepped.play(at)


def test_what_was_given_out_does_not_change() -> None:
    market = GeneratedMarket(1, START)
    pairs = []
    for day in range(8):
        late = START_MS + HOUR + day * DAY
        given = market.ticks("EURUSD", late - HOUR, late)
        pairs.append((given, Ticks(*(one.copy() for one in given[:3]))))
        market.play(late)
    assert len(market.ticks("EURUSD", 0, late).bid) < 200_000  # something was let go
    assert all(same(given, copied) for given, copied in pairs)


def test_ideal_prices_are_what_they_always_were() -> None:
    market = GeneratedMarket(5, START)
    seen = {name: market.price(name, START_MS + HOUR) for name in DEFAULT_SYMBOLS}
    told = {name: (one.bid, one.ask) for name, one in seen.items() if one is not None}
    assert told == IDEAL
    assert tuple(market.specs) == DEFAULT_SYMBOLS
    assert all(market.is_open(name, SATURDAY) for name in DEFAULT_SYMBOLS)
    assert not market.is_open("NOPE", SATURDAY)


def by_wall_hour(ticks: Ticks) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    hours: np.ndarray[tuple[int], np.dtype[np.int64]] = (
        WALL.to_wall_array(ticks.time_msc) // HOUR % 24
    )
    return hours


def test_hours_are_busy_or_quiet_and_spreads_widen_at_the_rollover() -> None:
    market = typical(FRIDAY, 3, ("EURUSD", "BTCUSD"))
    ticks = market.ticks("EURUSD", MONDAY + 7 * DAY, MONDAY + 12 * DAY)
    moves = np.abs(np.diff(np.log(ticks.bid)))
    hours = by_wall_hour(ticks)[1:]
    assert moves[hours == 16].mean() > 2 * moves[hours == 0].mean()
    spread = np.round((ticks.ask - ticks.bid) * 1e5)
    minutes = WALL.to_wall_array(ticks.time_msc) // 60_000 % 1440
    midday = np.median(spread[(minutes > 660) & (minutes < 780)])
    rollover = np.median(spread[(minutes >= 1435) | (minutes < 10)])
    assert 6 <= midday <= 12
    assert rollover > 2 * midday
    crypto = market.ticks("BTCUSD", MONDAY + 7 * DAY, MONDAY + 12 * DAY)
    wide = np.round((crypto.ask - crypto.bid) * 100)
    quiet = WALL.to_wall_array(crypto.time_msc) // 60_000 % 1440 < 10
    assert np.median(wide[quiet]) < 1.5 * np.median(wide)


def test_there_are_trends_and_ranges() -> None:
    """In three hours prices go far, or nowhere, more often than by chance alone."""

    def ways(market: GeneratedMarket) -> tuple[float, float]:
        found = []
        for day in range(60):
            begin = MONDAY + (14 + day) * DAY
            steps = np.log(market.ticks("BTCUSD", begin, begin + DAY).bid)[:: 15 * 60]
            for at in range(0, len(steps) - 12, 12):
                moves = np.diff(steps[at : at + 13])
                found.append(abs(moves.sum()) / np.sqrt((moves**2).sum()))
        return float(np.mean(np.array(found) > 2.0)), float(np.mean(np.array(found) < 0.3))

    # Cryptocurrencies have the same pace at all hours, so that only the regimes differ.
    far, nowhere = ways(typical(FRIDAY, 4, ("BTCUSD",)))
    plain_far, plain_nowhere = ways(GeneratedMarket(4, FRIDAY / 1000, ("BTCUSD",), volatility=1.0))
    assert far > 1.5 * plain_far
    assert nowhere > 1.15 * plain_nowhere


def test_prices_stay_near_where_they_began() -> None:
    for name, spec in CATALOGUE.items():
        market = typical(START_MS, 1, (name,))
        price = market.price(name, START_MS)
        assert price is not None
        assert abs(price.mid / spec.typical_price - 1.0) < 0.01
        ticks = market.ticks(name, 0, START_MS + DAY)
        daily = spec.daily_volatility
        assert 0.2 * daily < np.log(ticks.bid.max() / ticks.bid.min()) < 8 * daily
        points = np.round((ticks.ask - ticks.bid) / spec.point)
        assert points.min() >= 1
        assert np.array_equal(ticks.bid, np.round(ticks.bid, spec.digits))


def test_an_exchange_reports_its_trades() -> None:
    ticks = typical(START_MS).ticks("FDXS", START_MS, START_MS + DAY)
    trades = ticks.trades
    assert trades is not None
    traded = trades.made
    assert 0.3 < traded.mean() < 0.5
    assert np.array_equal(traded, (trades.flags & 24) == 24)
    assert (trades.flags[~traded] & 24 == 0).all()
    assert (trades.flags != 0).all()
    bought = traded & (trades.flags & 32 > 0)
    sold = traded & (trades.flags & 64 > 0)
    assert np.array_equal(bought | sold, traded)
    assert np.array_equal(trades.last[bought], ticks.ask[bought])
    assert np.array_equal(trades.last[sold], ticks.bid[sold])
    later = np.flatnonzero(~traded[1:]) + 1
    for values in (trades.last, trades.volume):  # a quote repeats the newest trade
        assert np.array_equal(values[later], values[later - 1])
    assert (trades.volume[1:] > 0).all()
    assert typical(START_MS).ticks("EURUSD", START_MS, START_MS + DAY).trades is None


def test_a_trade_is_carried_through_minutes_without_any_tick() -> None:
    closes = utc("2023-11-14 21:00")  # 23:00 of the wall
    begin = closes - 3 * HOUR - 20  # the chunk in which it closes is open for 20 ms
    for seed in range(2):
        stepped, whole = typical(begin, seed, ("FDXS",)), typical(begin, seed, ("FDXS",))
        opens = closes + 4 * HOUR
        for at in range(begin, opens, HOUR // 8):
            found = stepped.price("FDXS", at)
            assert found is not None
            assert found.last > 0.0 < found.volume
        assert same(*(one.ticks("FDXS", begin, opens) for one in (whole, stepped)))


@pytest.mark.parametrize("at", [FRIDAY, SATURDAY, SATURDAY + DAY, MONDAY + 7 * DAY - 2 * HOUR])
def test_whenever_it_starts_there_is_a_quote_and_a_day_of_past(at: int) -> None:
    market = typical(at)
    for name in CATALOGUE:
        price = market.price(name, at)
        assert price is not None
        assert len(market.ticks(name, 0, at).bid) > 70_000


def test_a_weekend_is_not_forgotten_away() -> None:
    market = typical(FRIDAY - 9 * DAY, symbols=("EURUSD",))
    for at in range(FRIDAY - 9 * DAY, SATURDAY + DAY, HOUR):
        market.price("EURUSD", at)
        market.play(at)
    assert market.price("EURUSD", SATURDAY + DAY) == market.price("EURUSD", SATURDAY)
    assert len(market.ticks("EURUSD", 0, SATURDAY).bid) >= 86_400


def test_a_market_taken_up_again_begins_near_its_prices() -> None:
    market = typical(START_MS, symbols=("EURUSD", "FDXS"))
    assert market.begin(SATURDAY, {"EURUSD": 1.3}, {}) == SATURDAY
    price, other = market.price("EURUSD", SATURDAY), market.price("FDXS", SATURDAY)
    assert price is not None
    assert other is not None
    assert abs(price.mid - 1.3) < 0.003
    assert abs(other.mid - 19_000) < 200
    assert market.start_msc == SATURDAY


def test_the_terms_choose_the_symbols() -> None:
    assert tuple(GeneratedMarket.under(conditions_named("ideal"), start=START).specs) == (
        DEFAULT_SYMBOLS
    )
    assert tuple(GeneratedMarket.under(TYPICAL, start=START).specs) == tuple(CATALOGUE)
    # Sessions alone need no other term.
    only = GeneratedMarket.under(replace(conditions_named("ideal"), sessions=True), start=START)
    assert not only.is_open("EURUSD", SATURDAY)


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("conditions", ["ideal", "typical"])
def test_two_years_of_past_stay_where_such_a_price_is(conditions: str, seed: int) -> None:
    market = GeneratedMarket.under(conditions_named(conditions), seed=seed, start=START)
    # far from its typical price, to which the past is drawn
    assert market.begin(START_MS, {"EURUSD": 1.4}, {}) == START_MS
    quarters = market.history("EURUSD", START_MS).rows(0, START_MS, quarters=True)[0]
    assert START_MS - quarters["time"][0] > 700 * DAY
    early = quarters[quarters["time"] < START_MS - 400 * DAY]
    assert 0.85 < early["low"].min() < early["high"].max() < 1.4
    day = 96
    moves = np.diff(np.log(quarters["close"][::day]))
    assert 0.004 < moves.std() < 0.008, "0.6 % a day, however lively what is played is"
