"""Trading hours against a plain reading of the week."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_kit import DAY, MONDAY

from defence.errors import Invalid
from terminals.sim.sessions import WEEK_MINUTES, Hours, Week, five_days

MINUTE = 60_000
WEEK = 7 * DAY


@st.composite
def weeks(draw: st.DrawFn) -> Week:
    """Some weeks: spans in order, that may touch each other and both ends."""
    edges = draw(
        st.lists(st.integers(0, WEEK_MINUTES), min_size=2, max_size=12, unique=True).map(sorted)
    )
    edges = edges[: len(edges) // 2 * 2]
    spans = list(zip(edges[::2], edges[1::2], strict=True))
    if draw(st.booleans()) and len(spans) > 1:
        spans[1] = (spans[0][1], spans[1][1])
    if draw(st.booleans()):
        spans = [(0, spans[0][1]), *spans[1:]]
        spans[-1] = (spans[-1][0], WEEK_MINUTES)
    return tuple(spans)


def plainly(week: Week, wall_msc: int) -> bool:
    minute = (wall_msc - MONDAY) // MINUTE % WEEK_MINUTES
    return any(begin <= minute < end for begin, end in week)


@settings(max_examples=80, deadline=None)
@given(week=weeks(), ats=st.lists(st.integers(MONDAY - 3 * WEEK, MONDAY + 3 * WEEK), min_size=1))
def test_open_is_inside_a_span(week: Week, ats: list[int]) -> None:
    hours = Hours(week)
    edges = [MONDAY + one * MINUTE + by for span in week for one in span for by in (-1, 0)]
    wanted = [plainly(week, at) for at in ats + edges]
    assert [hours.is_open(at) for at in ats + edges] == wanted
    assert hours.mask(np.array(ats + edges, dtype=np.int64)).tolist() == wanted


@settings(max_examples=80, deadline=None)
@given(
    week=weeks(), edge=st.integers(0, 20), before=st.integers(-5, 60), minutes=st.integers(1, 60)
)
def test_a_span_is_open_closed_or_both(week: Week, edge: int, before: int, minutes: int) -> None:
    edges = [one for span in week for one in span]
    since = edges[edge % len(edges)] - before
    for length in {minutes, max(1, before), max(1, before + 1)}:  # also just up to it, and over
        begin = MONDAY + since * MINUTE
        found = Hours(week).whole(begin, begin + length * MINUTE)
        seen = {plainly(week, begin + one * MINUTE) for one in range(length)}
        # Where spans touch it may say neither, but it never calls whole what is not.
        assert found is None or seen == {found}
        inside = any(0 < (one - since) % WEEK_MINUTES < length for one in edges)
        assert inside or found is not None


@settings(max_examples=100, deadline=None)
@given(week=weeks(), since=st.integers(-WEEK_MINUTES, WEEK_MINUTES), minutes=st.integers(1, 9000))
def test_openings_are_where_closed_turns_open(week: Week, since: int, minutes: int) -> None:
    found = Hours(week).openings(MONDAY + since * MINUTE, MONDAY + (since + minutes) * MINUTE)
    inside = [
        one
        for span in week
        for turn in (-1, 0, 1)
        for one in [span[0] + turn * WEEK_MINUTES]
        if since <= one < since + minutes and not plainly(week, MONDAY + (one - 1) * MINUTE)
    ]
    assert [(one.wall_msc - MONDAY) // MINUTE for one in found] == sorted(inside)
    for one in found:
        assert plainly(week, one.wall_msc - one.closed_ms - MINUTE)
        closed = range(one.wall_msc - one.closed_ms, one.wall_msc, 15 * MINUTE)
        assert not any(plainly(week, at) for at in closed)


def test_without_a_week_it_is_always_open() -> None:
    hours = Hours(None)
    assert hours.always
    assert hours.is_open(MONDAY + 5 * DAY)
    assert hours.mask(np.arange(3)).all()
    assert hours.whole(0, WEEK) is True
    assert hours.openings(0, 3 * WEEK) == []


def test_five_days() -> None:
    assert five_days() == ((0, 7200),)
    assert five_days(60, friday=1435) == (
        (60, 1440),
        (1500, 2880),
        (2940, 4320),
        (4380, 5760),
        (5820, 7195),
    )


@pytest.mark.parametrize(
    "week",
    [(), ((5, 5),), ((9, 3),), ((0, 20), (10, 30)), ((-1, 5),), ((0, WEEK_MINUTES + 1),)],
)
def test_what_is_no_week(week: Week) -> None:
    with pytest.raises(Invalid, match="no week"):
        Hours(week)
