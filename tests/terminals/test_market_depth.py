"""Depth of market, and the catalogue of symbols."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_kit import MONDAY, START, START_MS, quotes

from terminals import constants as mt5
from terminals.sim.conditions import TYPICAL
from terminals.sim.depth import BUY, SELL, levels
from terminals.sim.generated import DEFAULT_SYMBOLS, GeneratedMarket
from terminals.sim.market import Price
from terminals.sim.sessions import Hours
from terminals.sim.symbols import CATALOGUE, conversion, known_symbol, spec_for

names = st.sampled_from(sorted(CATALOGUE))


@settings(max_examples=100, deadline=None)
@given(
    name=names,
    time=st.integers(0, 2**42),
    points=st.integers(1, 10**7),
    spread=st.integers(0, 500),
    count=st.integers(0, 32),
    limited=st.booleans(),
)
def test_a_book_fits_its_quote(
    name: str, time: int, points: int, spread: int, count: int, limited: bool
) -> None:
    spec = replace(CATALOGUE[name], book_levels=count)
    if not limited:
        spec = replace(spec, depth=0.0)
    bid, ask = (spec.price(one * spec.point) for one in (points, points + spread))
    found = levels(spec, Price(time, bid, ask))
    assert found == levels(spec, Price(time, bid, ask))
    offers = [one for one in found if one.type == SELL]
    bids = [one for one in found if one.type == BUY]
    assert list(found) == offers + bids
    if not count:
        assert not found
        return
    assert len(offers) == count
    assert offers[-1].price == ask
    assert bids[0].price == bid
    for side in (offers, bids):
        prices = [one.price for one in side]
        assert prices == sorted(set(prices), reverse=True)
        assert all(one.price == spec.price(one.price) and one.price >= spec.point for one in side)
        assert all(one.volume >= spec.volume_step for one in side)
        steps = [one.volume / spec.volume_step for one in side]
        assert all(abs(one - round(one)) < 1e-6 for one in steps)
        if limited:  # so that what fills at once can be told from the book
            assert round(sum(one.volume for one in side), 8) == spec.depth


def test_a_book_is_not_deeper_than_its_symbol() -> None:
    spec = replace(CATALOGUE["FDXS"], book_levels=10, depth=3.5)
    found = levels(spec, Price(MONDAY, 19_000.0, 19_002.0))
    assert [(one.type, one.volume) for one in found] == [(SELL, 1.0)] * 3 + [(BUY, 1.0)] * 3


def test_a_book_changes_with_the_quote() -> None:
    spec = CATALOGUE["EURUSD"]
    one, other = (levels(spec, Price(at, 1.1, 1.1001)) for at in (MONDAY, MONDAY + 1))
    assert [row.volume for row in one] != [row.volume for row in other]
    assert levels(spec, None) == ()
    pound = levels(CATALOGUE["GBPUSD"], Price(MONDAY, 1.1, 1.1001))
    assert [row.volume for row in one] != [row.volume for row in pound]


def test_each_market_has_a_book() -> None:
    market = quotes([(MONDAY, 1.1, 1.1002)])
    assert market.book("EURUSD", MONDAY - 1) == ()
    found = market.book("EURUSD", MONDAY + 5)
    assert found == levels(spec_for("EURUSD"), market.price("EURUSD", MONDAY))
    made = GeneratedMarket.under(TYPICAL, start=START)
    for name, spec in made.specs.items():
        price = made.price(name, START_MS)
        assert made.book(name, START_MS) == levels(spec, price)
        assert price is not None
        assert len(made.book(name, START_MS)) == 2 * spec.book_levels


# -- the catalogue ------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(CATALOGUE))
def test_a_symbol_makes_sense(name: str) -> None:
    spec = CATALOGUE[name]
    assert spec.name == name == known_symbol(name)
    assert spec_for(name) == spec
    assert spec.price(spec.typical_price) == spec.typical_price
    assert 0 < spec.typical_spread * spec.point < 0.001 * spec.typical_price
    assert 0 < spec.volume_min <= spec.depth <= spec.volume_max
    for volume in (spec.volume_min, spec.volume_max, spec.depth, spec.volume_limit):
        assert abs(volume / spec.volume_step - round(volume / spec.volume_step)) < 1e-9
    assert Hours(spec.week).always == (spec.week is None)
    assert spec.swap_mode in {0, 1, 5}
    assert (spec.swap_long == spec.swap_short == 0.0) == (spec.swap_mode == 0)
    assert spec.swap_long + spec.swap_short <= 0.0  # the broker earns on both sides together
    assert (spec.margin_initial > 0) == spec.exchange
    assert spec.filling_mode in {1, 2, 3}


def test_the_catalogue_has_one_of_each_kind() -> None:
    kinds = {name: (one.execution, one.calc_mode) for name, one in CATALOGUE.items()}
    assert [n for n, (e, _) in kinds.items() if e == mt5.SYMBOL_TRADE_EXECUTION_INSTANT] == [
        "USDCAD"
    ]
    assert [n for n, (e, _) in kinds.items() if e == mt5.SYMBOL_TRADE_EXECUTION_EXCHANGE] == [
        "FDXS"
    ]
    assert [n for n, one in CATALOGUE.items() if one.exchange] == ["FDXS"]
    assert [n for n, one in CATALOGUE.items() if one.week is None] == ["BTCUSD", "ETHUSD"]
    assert {one.filling_mode for one in CATALOGUE.values()} == {1, 2, 3}
    assert {one.digits for one in CATALOGUE.values()} == {0, 2, 3, 5}
    majors = {"EURUSD", "GBPUSD", "USDJPY", "USDCHF", "AUDUSD", "USDCAD", "NZDUSD"}
    assert majors < set(CATALOGUE)
    assert DEFAULT_SYMBOLS == ("EURUSD", "GBPUSD", "USDJPY", "XAUUSD")


@pytest.mark.parametrize(
    ("name", "dollars"),  # of one point of one lot
    [("EURUSD", 1.0), ("USDJPY", 100 / 150), ("XAUUSD", 1.0), ("BTCUSD", 0.01), ("FDXS", 1.085)],
)
def test_what_a_point_is_worth(name: str, dollars: float) -> None:
    spec = CATALOGUE[name]
    mid = {one.name: one.typical_price for one in CATALOGUE.values()}.get
    worth = spec.point * spec.contract_size * conversion(spec.profit, "USD", mid)
    assert worth == pytest.approx(dollars, rel=0.001)


def test_a_brokers_suffix_keeps_the_facts() -> None:
    assert spec_for("US500.cash") == replace(CATALOGUE["US500"], name="US500.cash")
    assert known_symbol("usdchf.m") == "USDCHF"
    assert known_symbol("DAX40") is None
