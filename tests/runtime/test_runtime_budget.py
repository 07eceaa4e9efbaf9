"""The restart budget, its backoff and its spec; `test_cases_window` has the window itself."""

from __future__ import annotations

import math
import random

import hypothesis.strategies as st
import pytest
from hypothesis import given
from runtime_kit import STEADY, refused

from defence.errors import Invalid
from supervisors.budget import RestartBudget
from supervisors.spec import Backoff, ChildSpec

HOUR = 3600.0


def granted_by_budget(times: list[float], limit: int, period: float) -> list[float]:
    budget = RestartBudget(limit, period)
    granted = []
    for now in times:
        left = budget.left(now)
        if budget.allows(now):
            budget.charge(now)
            granted.append(now)
            assert budget.left(now) == left - 1
        else:
            assert left == 0
    return granted


@STEADY
@given(st.floats(0, 1e9), st.integers(1, 4), st.data())
def test_a_charge_counts_up_to_and_not_at_the_end_of_its_period(
    start: float, limit: int, data: st.DataObject
) -> None:
    period = data.draw(st.floats(0.1, 1e6))
    budget = RestartBudget(limit, period, [start] * limit)
    end = start + period
    just_before = math.nextafter(end, -math.inf)
    if just_before >= start:
        assert not budget.allows(just_before)
    assert budget.frees_at(just_before) == end
    assert budget.allows(end)
    assert budget.frees_at(end) == end


def test_the_example_of_corner_rule_1() -> None:
    """Tumbling windows grant all 5, and so 4 within six seconds; here no hour holds more than 3."""
    failures = [1.0, 3598.0, 3599.0, 3602.0, 3603.0]
    granted = granted_by_budget(failures, 3, HOUR)
    assert granted == [1.0, 3598.0, 3599.0, 3602.0]
    hours = [[at for at in granted if begin <= at < begin + HOUR] for begin in granted]
    assert max(map(len, hours)) == 3


@STEADY
@given(st.lists(st.floats(0, 2 * HOUR), max_size=6), st.integers(1, 3))
def test_frees_at_is_the_first_moment_that_allows(charges: list[float], limit: int) -> None:
    now = max(charges, default=0.0)
    budget = RestartBudget(limit, HOUR, list(charges))
    frees = budget.frees_at(now)
    assert frees is not None
    if frees > now:
        assert not RestartBudget(limit, HOUR, list(charges)).allows(math.nextafter(frees, 0.0))
    assert budget.allows(frees)


def test_a_budget_of_none_never_frees() -> None:
    budget = RestartBudget(0, HOUR)
    assert not budget.allows(0.0)
    assert budget.frees_at(0.0) is None
    assert budget.left(0.0) == 0


def test_reset_forgets() -> None:
    budget = RestartBudget(2, HOUR, [0.0, 1.0])
    assert budget.left(2.0) == 0
    budget.reset()
    assert budget.left(2.0) == 2


@STEADY
@given(st.lists(st.floats(-2 * HOUR, 2 * HOUR), max_size=8), st.floats(0, 1e6))
def test_what_the_ledger_kept_counts_and_the_future_counts_as_now(
    ages: list[float], now: float
) -> None:
    wall = 1_700_000_000.0
    stored = [wall - age for age in ages]
    budget = RestartBudget(3, HOUR)
    budget.restore(stored, wall=wall, now=now)
    expected = [max(0.0, wall - at) for at in stored]
    expected = [now - age for age in expected if now < (now - age) + HOUR]
    assert sorted(budget.charges) == sorted(expected)
    assert all(at <= now for at in budget.charges)


def test_a_ledger_round_trip_over_two_processes() -> None:
    first = RestartBudget(3, HOUR)
    for now in (10.0, 20.0, 30.0):
        first.charge(now)
    stored = [1_000_000.0 + at for at in first.charges]  # wall times
    second = RestartBudget(3, HOUR)
    second.restore(stored, wall=1_000_100.0, now=5.0)
    assert not second.allows(5.0)
    assert second.frees_at(5.0) == 5.0 - 90.0 + HOUR


def test_backoff_is_none_then_grows_with_jitter_to_its_limit() -> None:
    backoff = Backoff(first=1.0, factor=2.0, limit=30.0, jitter=0.2)
    dice = random.Random(7)
    for nth, plain in enumerate([0, 1, 2, 4, 8, 16, 30, 30], start=1):
        delays = [backoff.delay(nth, dice) for _ in range(50)]
        assert all(plain <= delay <= plain * 1.2 for delay in delays)
        assert plain == 0 or len(set(delays)) > 40
    assert backoff.delay(100_000, dice) <= 36.0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", ""),
        ("name", "two words"),
        ("max_restarts", -1),
        ("period", 0.0),
        ("period", math.inf),
        ("start_timeout", -1.0),
        ("stop_timeout", math.nan),
        ("hang_after", 0.0),
        ("silence_after", 0.0),
        ("data_limit", 0),
    ],
)
def test_each_bad_field_of_a_spec_is_named(field: str, value: object) -> None:
    good = {"name": "one", "factory": lambda _: None}
    error = refused(lambda: ChildSpec(**{**good, field: value}))  # type: ignore[arg-type]
    assert isinstance(error, Invalid)
    assert error.field == field
    assert error.value is value or error.value == value
