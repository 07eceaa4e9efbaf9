"""The policy: what is decided, what never is, and what an outcome does."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from defence_samples import NOW, facts, intent, position, quote, record
from hypothesis import given, settings
from hypothesis import strategies as st

from defence.broker import Direction, Position, Quote, SymbolFacts
from defence.errors import Fault, Invalid
from defence.orders import IntentKind, Outcome, OutcomeKind
from defence.policy import Rules, Skip, Verdict, after_outcome, decide, intent_of, predates
from defence.rules import ADOPTED
from defence.trade import Standing, Step, TradeRecord, TradeState

RULES = Rules()


def outcome(kind: OutcomeKind, **changes: Any) -> Outcome:
    return Outcome(intent_id="intent-0001", kind=kind, at=NOW, **changes)


def judge(
    trade: TradeRecord,
    bid: float,
    there: Position | None = None,
    symbol: SymbolFacts | None = None,
    price: Quote | None = None,
    rules: Rules = RULES,
) -> Verdict:
    return decide(trade, there or position(), price or quote(bid), symbol or facts(), NOW, rules)


def test_healthy_needs_nothing() -> None:
    verdict = judge(record(), 1.103)
    assert verdict.decision is None
    assert verdict.skipped is None
    assert verdict.record.state is TradeState.HEALTHY
    assert verdict.record.result_r == pytest.approx(0.3)
    assert verdict.record.peak_r == pytest.approx(0.3)


def test_level_1_tightens_the_stop_to_the_midpoint() -> None:
    verdict = judge(record(peak_r=0.8), 1.103)
    assert verdict.record.state is TradeState.WARNING_L1
    decision = verdict.decision
    assert decision is not None
    assert (decision.kind, decision.step) == (IntentKind.MOVE_STOP, Step.L1_STOP)
    assert decision.stop_loss == 1.0965
    assert decision.take_profit == 1.15
    assert decision.volume == 0
    assert decision.price_seen == 1.103


def test_level_1_counts_from_the_initial_stop_where_the_position_has_none() -> None:
    verdict = judge(record(peak_r=0.8, stop_loss=None), 1.103, position(stop_loss=None))
    assert verdict.decision is not None
    assert verdict.decision.stop_loss == 1.0965


def test_the_midpoint_of_a_sell_is_rounded_away_from_the_price() -> None:
    trade = record(direction=Direction.SELL, initial_stop=1.11, stop_loss=1.11, peak_r=0.8)
    there = position(direction=Direction.SELL, stop_loss=1.11)
    verdict = judge(trade, 0, there, price=quote(1.0970, 1.09711))
    assert verdict.decision is not None
    assert verdict.decision.stop_loss == 1.10356  # 1.103555, up


def test_level_2_closes_half_then_moves_the_stop_to_break_even() -> None:
    trade = record(peak_r=1.5)
    first = judge(trade, 1.107)
    assert first.record.state is TradeState.WARNING_L2
    assert first.decision is not None
    assert (first.decision.kind, first.decision.step) == (IntentKind.CLOSE_PART, Step.L2_HALF)
    assert first.decision.volume == 0.5
    assert (first.decision.stop_loss, first.decision.take_profit) == (1.09, 1.15)
    order = intent_of(
        first.decision,
        first.record,
        position(),
        intent_id="intent-0001",
        now=NOW,
        snapshot_at=NOW - 1,
        decided_by=2,
    )
    half = after_outcome(first.record, order, outcome(OutcomeKind.DONE, volume=0.5), NOW, RULES)
    assert (half.volume, half.closed_volume) == (0.5, 0.5)
    second = judge(half, 1.107, position(volume=0.5))
    assert second.decision is not None
    assert (second.decision.kind, second.decision.step) == (IntentKind.MOVE_STOP, Step.L2_STOP)
    assert second.decision.stop_loss == 1.1001  # entry and the spread


def test_level_2_tightens_only_where_break_even_would_be_at_the_market() -> None:
    trade = record(peak_r=0.9, steps=(Step.L2_HALF,))
    # Break-even is 1.10010; a spread below 1.10015 is too near for it.
    verdict = judge(trade, 1.10015)
    assert verdict.decision is not None
    assert verdict.decision.step is Step.L2_STOP
    assert verdict.decision.stop_loss == pytest.approx(1.09507)


def test_level_2_is_finished_though_the_price_recovers() -> None:
    trade = record(peak_r=1.5, state=TradeState.WARNING_L2, steps=(Step.L2_HALF,))
    verdict = judge(trade, 1.12)
    assert verdict.decision is not None
    assert verdict.decision.stop_loss == 1.1001


def test_a_stop_at_break_even_or_better_is_left_alone() -> None:
    trade = record(peak_r=2.5, steps=(Step.L2_HALF,), stop_loss=1.108)
    verdict = judge(trade, 1.115, position(stop_loss=1.108))
    assert verdict.decision is None
    assert verdict.skipped == Skip.SAFE
    assert verdict.record.steps == (Step.L2_HALF, Step.L2_STOP)


def test_a_trade_that_recovered_is_left_alone_and_its_state_stays() -> None:
    trade = record(peak_r=1.5, state=TradeState.WARNING_L2)
    verdict = judge(trade, 1.118)
    assert verdict.decision is None
    assert verdict.record.state is TradeState.WARNING_L2


@pytest.mark.parametrize(
    ("volume", "half"),
    [(1.0, 0.5), (0.03, 0.01), (0.02, 0.01), (0.01, None), (0.05, 0.02), (250.0, 100.0)],
)
def test_half_is_rounded_down_and_within_the_symbol(volume: float, half: float | None) -> None:
    trade = record(peak_r=1.5, volume=volume)
    verdict = judge(trade, 1.107, position(volume=volume))
    assert verdict.decision is not None
    if half is None:
        assert verdict.decision.step is Step.L2_STOP
        assert verdict.decision.stop_loss == 1.1001
        assert verdict.record.steps == (Step.L2_HALF,)
    else:
        assert verdict.decision.step is Step.L2_HALF
        assert verdict.decision.volume == half


def test_no_half_where_the_remainder_would_be_under_the_minimum() -> None:
    trade = record(peak_r=1.5, volume=0.3)
    verdict = judge(trade, 1.107, position(volume=0.3), facts(volume_min=0.2, volume_step=0.1))
    assert verdict.decision is not None
    assert verdict.decision.step is Step.L2_STOP


def test_an_adopted_trade_acts_only_on_what_is_seen_afterwards() -> None:
    adopted = judge(record(managed_by=ADOPTED), 1.094)
    assert adopted.record.peak_r == pytest.approx(-0.6)
    assert adopted.decision is None
    registered = judge(record(), 1.094)
    assert registered.record.state is TradeState.WARNING_L1


@pytest.mark.parametrize(
    ("trade", "there", "symbol", "price", "skipped"),
    [
        ({"standing": Standing.OBSERVED}, {}, {}, {}, Skip.STANDING),
        ({"standing": Standing.RELEASED}, {}, {}, {}, Skip.STANDING),
        ({"standing": Standing.CLOSED}, {}, {}, {}, Skip.CLOSED),
        ({"hold_until": NOW + 1}, {}, {}, {}, Skip.HOLD),
        ({"retry_at": NOW + 1}, {}, {}, {}, Skip.RETRY),
        ({"attempts": 3}, {}, {}, {}, Skip.ATTEMPTS),
        ({"attempts": 3, "attempt_step": Step.L2_HALF}, {}, {}, {}, Skip.ATTEMPTS),
        ({"initial_stop": None}, {}, {}, {}, Skip.RISK),
        ({"initial_stop": 1.1}, {}, {}, {}, Skip.RISK),
        ({}, {"stop_loss": 1.08}, {}, {}, Skip.DIFFERS),
        ({}, {"take_profit": None}, {}, {}, Skip.DIFFERS),
        ({}, {"volume": 0.7}, {}, {}, Skip.DIFFERS),
        ({}, {"direction": Direction.SELL}, {}, {}, Skip.DIFFERS),
        ({}, {}, {"trade_mode": 0}, {}, Skip.TRADE_MODE),
        ({}, {}, {"trade_mode": 2}, {}, Skip.TRADE_MODE),
        ({}, {}, {"session_open": False}, {}, Skip.MARKET),
        ({}, {}, {"volume_step": 0.0}, {}, Skip.FACTS),
        ({}, {}, {"tick_size": math.nan}, {}, Skip.FACTS),
        ({}, {}, {"freeze_level": 1800}, {}, Skip.FROZEN),
        ({}, {}, {}, {"ask": 1.1}, "the price is crossed"),
        ({}, {}, {}, {"bid": math.nan}, "the price is not a number above zero"),
        ({}, {}, {}, {"seen_at": NOW - 121}, "the price is stale"),
    ],
)
def test_what_forbids_acting(
    trade: dict[str, Any],
    there: dict[str, Any],
    symbol: dict[str, Any],
    price: dict[str, Any],
    skipped: str,
) -> None:
    base = record(peak_r=1.5)
    verdict = judge(
        replace(base, **trade),
        0,
        position(**there),
        facts(**symbol),
        replace(quote(1.107), **price),
    )
    assert verdict.decision is None
    assert verdict.skipped == skipped
    # The same trade without the obstacle is acted upon.
    assert judge(base, 1.107).decision is not None


def test_close_only_symbols_are_defended() -> None:
    assert judge(record(peak_r=1.5), 1.107, symbol=facts(trade_mode=3)).decision is not None


def test_without_price_or_facts_nothing_is_decided() -> None:
    no_price = decide(record(peak_r=1.5), position(), None, facts(), NOW, RULES)
    assert (no_price.decision, no_price.skipped) == (None, "no price")
    no_facts = decide(record(peak_r=1.5), position(), quote(1.107), None, NOW, RULES)
    assert (no_facts.decision, no_facts.skipped) == (None, Skip.FACTS)
    assert no_facts.record.state is TradeState.WARNING_L2


def test_another_trades_position_is_a_fault() -> None:
    with pytest.raises(Fault):
        judge(record(), 1.1, position(identifier=2))


@pytest.mark.parametrize("symbol", [{"stops_level": 400}, {"freeze_level": 400}])
def test_no_room_no_decision(symbol: dict[str, int]) -> None:
    # The midpoint is 350 points from the price, the stop 700.
    verdict = judge(record(peak_r=0.2), 1.097, symbol=facts(**symbol))
    assert (verdict.decision, verdict.skipped) == (None, Skip.NO_ROOM)
    wide = judge(record(peak_r=0.2), 1.097, price=quote(1.097, 1.101))
    assert (wide.decision, wide.skipped) == (None, Skip.NO_ROOM)
    assert judge(record(peak_r=0.2), 1.097).decision is not None


def test_a_price_beyond_the_initial_stop_leaves_no_room() -> None:
    trade = record(peak_r=0.0, stop_loss=None, steps=(Step.L2_HALF,))
    verdict = judge(trade, 1.085, position(stop_loss=None))
    assert (verdict.decision, verdict.skipped) == (None, Skip.NO_ROOM)


def test_failed_tries_of_level_1_do_not_block_level_2() -> None:
    trade = record(peak_r=1.5, attempts=3, attempt_step=Step.L1_STOP)
    verdict = judge(trade, 1.107)
    assert verdict.decision is not None
    assert verdict.decision.step is Step.L2_HALF


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("l1_giveback", 0.0),
        ("l1_giveback", math.nan),
        ("l2_giveback", 0.4),
        ("max_attempts", 0),
        ("retry_after", -1.0),
        ("quote_stale_after", 0.0),
    ],
)
def test_rules_that_make_no_sense_are_refused(field: str, value: float) -> None:
    with pytest.raises(Invalid) as caught:
        replace(RULES, **{field: value})  # type: ignore[arg-type] # one field at a time
    assert caught.value.field == field


# Outcomes


def test_done_marks_the_step_and_sets_what_was_done() -> None:
    tried = record(attempts=2, attempt_step=Step.L1_STOP, retry_at=NOW + 9, updated_at=0)
    done = after_outcome(tried, intent(), outcome(OutcomeKind.DONE), NOW, RULES)
    assert done == replace(
        tried,
        steps=(Step.L1_STOP,),
        stop_loss=1.095,
        attempts=0,
        attempt_step=None,
        retry_at=0.0,
        last_outcome_at=NOW,
        updated_at=NOW,
        revision=2,
    )


@pytest.mark.parametrize(
    ("kind", "volume", "left"),
    [
        (OutcomeKind.DONE, 0.5, 0.5),
        (OutcomeKind.DONE, None, 0.5),
        (OutcomeKind.DONE, 0.0, 0.5),
        (OutcomeKind.PARTIAL, 0.3, 0.7),
        (OutcomeKind.PARTIAL, None, 1.0),
    ],
)
def test_a_close_takes_its_volume(kind: OutcomeKind, volume: float | None, left: float) -> None:
    order = intent(IntentKind.CLOSE_PART)
    after = after_outcome(record(), order, outcome(kind, volume=volume), NOW, RULES)
    assert after.volume == left
    assert after.closed_volume == pytest.approx(1 - left)
    assert after.steps == (Step.L2_HALF,)
    assert after.stop_loss == 1.09


def test_failures_count_and_wait_longer_each_time() -> None:
    trade = record()
    for attempts, delay in ((1, 60), (2, 120), (3, 240)):
        trade = after_outcome(trade, intent(), outcome(OutcomeKind.NOT_DONE), NOW, RULES)
        assert (trade.attempts, trade.retry_at) == (attempts, NOW + delay)
        assert trade.last_outcome_at == NOW
    assert trade.steps == ()
    other = replace(intent(), step=Step.L2_HALF)
    assert after_outcome(trade, other, outcome(OutcomeKind.NOT_SENT), NOW, RULES).attempts == 1


@pytest.mark.parametrize("detail", ["fenced", "frozen by ops", "cannot act: x", "held up: x"])
def test_orders_that_were_not_tried_are_no_attempt(detail: str) -> None:
    untried = outcome(OutcomeKind.NOT_SENT, detail=detail)
    assert after_outcome(record(), intent(), untried, NOW, RULES).attempts == 0
    tried = outcome(OutcomeKind.NOT_SENT, detail=f"not {detail}")
    assert after_outcome(record(), intent(), tried, NOW, RULES).attempts == 1


def test_fenced_orders_and_orders_of_no_step_are_no_attempt() -> None:
    fenced = outcome(OutcomeKind.NOT_SENT, detail="fenced")
    after = after_outcome(record(), intent(), fenced, NOW, RULES)
    assert (after.attempts, after.retry_at, after.last_outcome_at) == (0, 0.0, NOW)
    manual = replace(intent(IntentKind.CLOSE), step=None)
    assert after_outcome(record(), manual, outcome(OutcomeKind.NOT_DONE), NOW, RULES).attempts == 0


def test_unknown_changes_nothing() -> None:
    trade = record()
    assert after_outcome(trade, intent(), outcome(OutcomeKind.UNKNOWN), NOW, RULES) is trade


def test_a_look_from_before_the_outcome_says_nothing() -> None:
    trade = record(registered_at=NOW - 10, last_outcome_at=NOW - 5)
    assert predates(trade, NOW - 11, NOW)
    assert predates(trade, NOW - 6, NOW)
    # The clock may have stood still from the look to the answer: then it is the older.
    assert predates(trade, NOW - 5, NOW)
    assert not predates(trade, NOW - 4.999, NOW)
    # A look of the moment of the registration is the one that it was made with.
    assert not predates(replace(trade, last_outcome_at=0.0), NOW - 10, NOW)
    # A clock that was set back must not leave the trade unguarded.
    assert not predates(replace(trade, last_outcome_at=NOW + 500), NOW - 1, NOW)


# Properties over arbitrary prices

_SIDES = st.sampled_from(list(Direction))
_LEVELS = st.integers(0, 60)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    direction=_SIDES,
    path=st.lists(st.tuples(st.integers(-400, 400), st.integers(0, 30)), min_size=1, max_size=30),
    volume=st.integers(1, 40),
    minimum=st.integers(1, 4),
    has_stop=st.booleans(),
    levels=st.tuples(_LEVELS, _LEVELS),
    answers=st.lists(
        st.sampled_from([OutcomeKind.DONE, OutcomeKind.DONE, OutcomeKind.NOT_DONE]), min_size=30
    ),
)
def test_no_path_of_prices_widens_a_stop_repeats_a_step_or_leaves_the_rules(
    direction: Direction,
    path: list[tuple[int, int]],
    volume: int,
    minimum: int,
    has_stop: bool,
    levels: tuple[int, int],
    answers: list[OutcomeKind],
) -> None:
    sign = direction.sign
    initial = round(1.1 - sign * 0.002, 5)
    symbol = facts(stops_level=levels[0], freeze_level=levels[1], volume_min=minimum / 100)
    there = position(
        direction=direction,
        volume=volume / 100,
        stop_loss=initial if has_stop else None,
        take_profit=None,
    )
    trade = record(
        direction=direction,
        volume=there.volume,
        stop_loss=there.stop_loss,
        take_profit=None,
        initial_stop=initial,
    )
    done: list[Step] = []
    rank = list(TradeState)
    now = NOW
    for (offset, spread), answer in zip(path, answers, strict=False):
        now += 1000
        bid = round(1.1 + offset * 1e-5, 5)
        price = quote(bid, round(bid + spread * 1e-5, 5))
        verdict = decide(trade, there, price, symbol, now, RULES)
        assert rank.index(verdict.record.state) >= rank.index(trade.state)
        trade = verdict.record
        decision = verdict.decision
        if decision is None:
            continue
        assert decision.step not in done
        assert decision.take_profit == there.take_profit
        at = price.bid if direction is Direction.BUY else price.ask
        if decision.kind is IntentKind.MOVE_STOP:
            stop = decision.stop_loss
            assert stop is not None
            room = max(*levels, spread, 1) * 1e-5
            assert sign * (at - stop) >= room - 1e-8
            if there.stop_loss is not None:
                assert sign * (stop - there.stop_loss) >= 1e-5 - 1e-8
            assert round(stop / 1e-5) * 1e-5 == pytest.approx(stop, abs=1e-9)
        else:
            assert decision.volume >= symbol.volume_min - 1e-9
            assert there.volume - decision.volume >= symbol.volume_min - 1e-9
            assert decision.volume <= there.volume / 2 + 1e-9
            assert decision.stop_loss == there.stop_loss
        order = intent_of(
            decision, trade, there, intent_id="i", now=now, snapshot_at=now, decided_by=1
        )
        trade = after_outcome(trade, order, outcome(answer), now, RULES)
        if answer is OutcomeKind.DONE:
            done.append(decision.step)
            there = replace(
                there,
                volume=round(there.volume - decision.volume, 8),
                stop_loss=decision.stop_loss,
            )
    assert len(done) == len(set(done))
    assert set(done) <= set(trade.steps)


@settings(deadline=None, derandomize=True)
@given(
    bid=st.floats(allow_nan=True, allow_infinity=True),
    ask=st.floats(allow_nan=True, allow_infinity=True),
    stop=st.none() | st.floats(min_value=1e-5, max_value=1e9),
    direction=_SIDES,
)
def test_arbitrary_prices_never_harm(
    bid: float, ask: float, stop: float | None, direction: Direction
) -> None:
    there = position(direction=direction, stop_loss=stop)
    trade = record(
        direction=direction,
        stop_loss=stop,
        initial_stop=1.1 - direction.sign * 0.01,
        steps=(Step.L2_HALF,),
        peak_r=3.0,
    )
    verdict = judge(trade, 0, there, price=quote(bid, ask))
    if verdict.decision is None:
        return
    new = verdict.decision.stop_loss
    assert new is not None
    assert math.isfinite(new)
    price = bid if direction is Direction.BUY else ask
    assert direction.sign * (price - new) > 0
    if stop is not None:
        assert direction.sign * (new - stop) > 0


def test_break_even_at_the_market_is_no_stop_even_without_a_spread() -> None:
    trade = record(peak_r=0.9, steps=(Step.L2_HALF,))
    verdict = judge(trade, 0, price=quote(1.1, 1.1))
    assert verdict.decision is not None
    assert verdict.decision.stop_loss == 1.095


def test_a_stop_that_would_not_be_a_tick_better_is_not_sent() -> None:
    trade = record(peak_r=0.6, stop_loss=1.1)
    verdict = judge(trade, 0, position(stop_loss=1.1), price=quote(1.10001, 1.10002))
    assert (verdict.decision, verdict.skipped) == (None, Skip.NOT_BETTER)
