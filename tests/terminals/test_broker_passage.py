"""A span walked in one go comes to the same as the same span walked tick by tick."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
from broker_kit import BUY, EXCHANGE, HEDGING, HOUR, NETTING, RETURN, START, At, Rows, market_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from terminals import RecordedMarket
from terminals import constants as mt5
from terminals.sim.broker import Broker
from terminals.sim.conditions import NEW_YORK_CLOSE, Conditions
from terminals.sim.lines import Gates

KINDS = ("deal", "limit", "stop", "stop limit", "close", "levels", "remove")
DEAL, PENDING, REMOVE = mt5.TRADE_ACTION_DEAL, mt5.TRADE_ACTION_PENDING, mt5.TRADE_ACTION_REMOVE
PRICES = {"EURUSD": (1.1, 5), "USDJPY": (150.0, 3), "EURJPY": (165.0, 3), "XAUUSD": (2300.0, 2)}
HOURS = 60  # of a recording: two rollovers and more
COSTLY = Conditions(slippage=4, depth=True, swaps=True, zone=NEW_YORK_CLOSE)
PLAIN = Conditions(swaps=True)


class Plodder(Broker):
    """A broker that looks at every order and every position at every single tick."""

    def _quiet(self, spans: Any) -> bool:
        return False

    def gates(self, symbol: str) -> Gates:
        return Gates(bid_low=math.inf)


class Act(NamedTuple):
    """Something that a client does, at a part of the recording."""

    at: float
    what: str
    symbol: int
    side: int
    size: int
    near: int
    far: int


ACTS = st.builds(
    Act,
    at=st.floats(0.0, 0.95),
    what=st.sampled_from(KINDS),
    symbol=st.integers(0, len(PRICES) - 1),
    side=st.integers(0, 1),
    size=st.integers(1, 40),
    near=st.integers(1, 40),
    far=st.integers(0, 40),
)


@cache
def recording(seed: int) -> RecordedMarket:
    """Two days and a half of rare ticks that jump, some at one millisecond."""
    random = np.random.default_rng(seed)
    rows: dict[str, Rows] = {}
    for symbol, (price, digits) in PRICES.items():
        count = 150
        steps = np.sort(random.integers(1, HOURS * 3600, count - 1)).tolist()
        times = [0, *steps]
        walk = np.cumsum(random.standard_t(2, count)) * 0.0008
        bids = np.round(price * np.exp(walk), digits)
        spreads = np.round(price * 1e-4 * random.integers(1, 4, count), digits)
        rows[symbol] = [
            (float(at), float(bid), round(float(bid + wide), digits))
            for at, bid, wide in zip(times, bids, spreads, strict=True)
        ]
    specs = {
        name: {
            "swap_long": -300.0,
            "swap_short": 120.0,
            "depth": 0.25,
            "filling_mode": 3,
            "execution": 3,
            "week": ((0, 5 * 1440),),
        }
        for name in rows
    }
    return market_of(rows, specs)


def act(at: At, one: Act) -> None:
    """Ask for something at the present prices."""
    symbol = list(PRICES)[one.symbol]
    quote = at.broker.price(symbol)
    assert quote is not None
    up = 1 if one.side == BUY else -1
    entry = quote.ask if up > 0 else quote.bid
    digits = PRICES[symbol][1]

    def away(points: float) -> float:
        return round(entry * (1.0 + points * 2e-4), digits)

    sl, tp = away(-up * (one.near + one.far)), away(up * (2 * one.near + one.far))
    common: dict[str, Any] = {"symbol": symbol, "volume": one.size / 20, "type_filling": RETURN}
    if one.what == "deal":
        at.ask(DEAL, type=one.side, sl=sl, tp=tp if one.far % 2 else 0.0, **common)
    elif one.what == "limit":
        price, life = away(-up * one.near), one.far % 4
        expiration = (at.broker.at_msc + (1 + one.far) * HOUR) // 1000 if life > 1 else 0
        kind = mt5.ORDER_TYPE_BUY_LIMIT + one.side
        at.ask(PENDING, type=kind, price=price, type_time=life, expiration=expiration, **common)
    elif one.what == "stop":
        kind = mt5.ORDER_TYPE_BUY_STOP + one.side
        at.ask(PENDING, type=kind, price=away(up * one.near), tp=tp, **common)
    elif one.what == "stop limit":
        kind = mt5.ORDER_TYPE_BUY_STOP_LIMIT + one.side
        price, stoplimit = away(up * one.near), away(up * one.near / 2)
        at.ask(PENDING, type=kind, price=price, stoplimit=stoplimit, **common)
    elif one.what == "remove":
        if at.orders:
            at.ask(REMOVE, "", order=at.orders[0].ticket)
    elif at.positions:
        (found, *_) = at.positions
        if one.what == "levels":
            at.broker.set_levels(found, 0.0, found.tp)
        else:
            side = 1 - found.type
            volume = min(found.volume, one.size / 20)
            at.ask(DEAL, found.symbol, type=side, volume=volume, position=found.ticket)


def played(
    market: RecordedMarket, acts: Sequence[Act], looks: int, **options: Any
) -> tuple[list[Any], At]:
    """Play a recording with so many looks between; return all that can be told of it."""
    at = At(market, balance=9_000.0, commission_per_lot=7.0, **options)
    end = START + HOURS * HOUR
    moments = [(START + int(one.at * HOURS * HOUR), one) for one in acts]
    moments.sort(key=lambda item: item[0])
    watched = [START + (end - START) * n // max(1, looks) for n in range(1, looks)]
    for moment, one in [*moments, (end, None)]:
        for look in watched:
            if at.broker.at_msc < look < moment:
                at.broker.advance_to(look)
        at.broker.advance_to(moment)
        if one is not None:
            act(at, one)
    at.adds_up()
    book = at.book
    rows = [tuple(row) for row in at.broker.rows()]
    seen = [rows, at.orders, book.past_orders, book.deals, at.broker.money()]
    return [*seen, list(at.broker.journal), [one.margin for one in at.positions]], at


@pytest.mark.parametrize("mode", [HEDGING, NETTING, EXCHANGE])
@pytest.mark.parametrize("conditions", [PLAIN, COSTLY], ids=["plain", "costly"])
def test_one_go_is_tick_by_tick(mode: int, conditions: Conditions) -> None:
    @settings(
        max_examples=30,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(seed=st.integers(0, 12), acts=st.lists(ACTS, min_size=1, max_size=12))
    def same(seed: int, acts: list[Act]) -> None:
        market = recording(seed)
        options = {"mode": mode, "conditions": conditions, "stop_out_level": 60.0}
        plain, _ = played(market, acts, 0, kind=Plodder, **options)
        for looks in (0, 37):
            found, _ = played(market, acts, looks, **options)
            assert found == plain

    same()


def test_the_recordings_have_what_the_property_is_about() -> None:
    reasons: set[int] = set()
    states: set[int] = set()
    entries: set[int] = set()
    swapped = parts = 0
    told: set[str] = set()
    random = np.random.default_rng(5)
    for seed in range(36):
        acts = [
            Act(
                float(random.uniform(0, 0.9)),
                str(random.choice(KINDS)),
                *(int(n) for n in random.integers((0, 0, 1, 1, 0), (4, 2, 40, 40, 40))),
            )
            for _ in range(12)
        ]
        mode = (HEDGING, NETTING, EXCHANGE)[seed % 3]
        options = {"mode": mode, "conditions": COSTLY, "stop_out_level": 60.0}
        _, at = played(recording(seed % 13), acts, 0, **options)
        reasons |= {one.reason for one in at.deals()}
        entries |= {one.entry for one in at.deals()}
        states |= {one.state for one in [*at.book.past_orders, *at.orders]}
        swapped += sum(1 for one in at.deals() if one.swap)
        orders = [one.order for one in at.deals()]
        parts += len(orders) - len(set(orders))
        told |= {one.kind for one in at.broker.journal}
    assert reasons >= {mt5.DEAL_REASON_SL, mt5.DEAL_REASON_TP, mt5.DEAL_REASON_SO}
    assert entries >= {mt5.DEAL_ENTRY_IN, mt5.DEAL_ENTRY_OUT, mt5.DEAL_ENTRY_INOUT}
    assert states >= {1, 2, 4, 5, 6}
    assert swapped
    assert parts > 10
    assert told >= {"margin call", "stop out", "rollover", "expired", "rejected"}


def test_a_quiet_span_is_not_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(float(n), 1.1 + n % 7 / 1e4, 1.1001 + n % 7 / 1e4) for n in range(5000)]
    at = At(market_of({"EURUSD": rows}))
    at.deal(BUY, 0.1, sl=1.05, tp=1.2)
    monkeypatch.setattr(Broker, "_walk", lambda *_: pytest.fail("walked"))
    at.go(4999)
    assert at.one.sl == 1.05


def test_only_the_part_in_which_something_happens_is_walked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [(float(n), 1.1, 1.1001) for n in range(5000)]
    rows[3000] = (3000.0, 1.04, 1.0401)
    at = At(market_of({"EURUSD": rows}))
    at.deal(BUY, 0.1, sl=1.05)
    walked: list[int] = []
    plain = Broker._walk

    def counting(self: Broker, upto_msc: int) -> None:
        walked.append(len(self.market.ticks("EURUSD", self.at_msc, upto_msc).time_msc))
        plain(self, upto_msc)

    monkeypatch.setattr(Broker, "_walk", counting)
    at.go(4999)
    assert at.positions == []
    assert sum(walked) <= 48
    (_, closed) = at.deals()
    assert (closed.time_msc, closed.price) == (START + 3_000_000, 1.04)


def test_a_tick_of_a_symbol_that_only_converts_can_stop_out() -> None:
    euro = [(0.0, 1.1, 1.1001), (100.0, 1.1, 1.1001), (200.0, 1.1, 1.1001)]
    yen = [(0.0, 150.0, 150.01), (150.0, 40.0, 40.01), (200.0, 40.0, 40.01)]
    both = [(0.0, 165.0, 165.02), (50.0, 164.5, 164.52), (200.0, 164.5, 164.52)]
    at = At(market_of({"EURUSD": euro, "USDJPY": yen, "EURJPY": both}), balance=1_800.0)
    code, ticket = at.deal(BUY, 1.0, symbol="EURJPY")
    assert code == 10009
    at.go(160)
    (_, closed) = at.book.deals_of_position(ticket)
    assert (closed.time_msc, closed.reason) == (START + 150_000, mt5.DEAL_REASON_SO)
    assert closed.profit == -math.floor(0.52 * 100_000 / 40.005 * 100 + 0.5) / 100


def test_a_gain_that_is_worth_less_can_stop_out_too() -> None:
    yen = [(0.0, 150.0, 150.01), (150.0, 300.0, 300.01), (155.0, 150.0, 150.01)]
    both = [(0.0, 165.0, 165.0), (50.0, 170.0, 170.0), (200.0, 170.0, 170.0)]
    at = At(market_of({"USDJPY": [*yen, (200.0, 150.0, 150.01)], "EURJPY": both}))
    at.deal(BUY, 1.0, symbol="EURJPY")
    at.go(60)
    at.book.account.balance = -2_000.0  # paid out, as far as it goes: 3,333 float
    at.go(160)
    (_, closed) = at.deals()
    assert (closed.time_msc, closed.reason) == (START + 150_000, mt5.DEAL_REASON_SO)


def test_ticks_of_one_moment_are_all_in_before_the_first_is_acted_upon() -> None:
    rows = {
        "EURUSD": [(0.0, 1.1, 1.1001), (10.0, 1.05, 1.0501), (20.0, 1.05, 1.0501)],
        "USDJPY": [(0.0, 150.0, 150.01), (10.0, 100.0, 100.01), (20.0, 100.0, 100.01)],
        "EURJPY": [(0.0, 165.0, 165.01), (10.0, 160.0, 160.01), (20.0, 160.0, 160.01)],
    }
    at = At(market_of(rows))
    at.deal(BUY, 0.1, symbol="EURJPY", sl=161.0)
    at.go(15)
    (_, closed) = at.deals()
    assert closed.profit == round((160.0 - 165.01) * 10_000 / 100.005, 2)
