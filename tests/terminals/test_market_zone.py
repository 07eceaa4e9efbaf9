"""The broker's wall clock against the machine's own tables of zones."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_kit import DAY, HOUR, told, utc

from defence.errors import Invalid
from terminals.sim.conditions import NEW_YORK_CLOSE, UTC
from terminals.sim.zone import BrokerZone

# Half an hour of daylight saving, a change at midnight, a zone with half hours, one that left.
NAMES = (
    UTC,
    NEW_YORK_CLOSE,
    "Europe/Athens",
    "Australia/Lord_Howe",
    "America/Havana",
    "Asia/Kolkata",
    "Europe/Moscow",
)


def known(name: str) -> bool:
    try:
        ZoneInfo(name)
    except ZoneInfoNotFoundError:
        return False
    return True


ZONES = {n: BrokerZone(n) for n in NAMES if n in (UTC, NEW_YORK_CLOSE) or known(n)}
moments = st.integers(utc("1971-01-01"), utc("2098-01-01"))
# Around the changes, where all the trouble is.
near_changes = st.builds(
    lambda year, month, sunday, ms: utc(f"{year}-{month:02}-01") + (sunday * 7 + 6) % 35 * DAY + ms,
    st.integers(1987, 2097),
    st.sampled_from([3, 4, 10, 11]),
    st.integers(0, 4),
    st.integers(-2 * DAY, 2 * DAY),
)
zones = st.sampled_from(sorted(ZONES))
CHANGES = {
    NEW_YORK_CLOSE: ("2024-03-10 07:00", "2024-11-03 06:00"),
    "Europe/Athens": ("2024-03-31 01:00", "2024-10-27 01:00"),
    "Australia/Lord_Howe": ("2024-04-06 15:00", "2024-10-05 15:30"),
    "America/Havana": ("2024-03-10 05:00", "2024-11-03 05:00"),
    "Europe/Moscow": ("2011-03-26 23:00", "2014-10-25 22:00"),
}


def offset(name: str, utc_msc: int) -> int:
    """What the machine's table says."""
    moment = dt.datetime.fromtimestamp(utc_msc // 1000, ZoneInfo(name))
    found = moment.utcoffset()
    assert found is not None
    return round(found.total_seconds() * 1000)


@pytest.mark.parametrize(
    ("moment", "wall"),
    [
        ("2024-01-15 12:00", "2024-01-15 14:00"),
        ("2024-07-15 12:00", "2024-07-15 15:00"),
        ("2024-03-10 06:59:59", "2024-03-10 08:59:59"),
        ("2024-03-10 07:00", "2024-03-10 10:00"),
        ("2024-11-03 05:59:59", "2024-11-03 08:59:59"),
        ("2024-11-03 06:00", "2024-11-03 08:00"),
        ("2006-04-02 06:59:59", "2006-04-02 08:59:59"),  # the rule before 2007
        ("2006-04-02 07:00", "2006-04-02 10:00"),
        ("2006-10-29 06:00", "2006-10-29 08:00"),
        ("2024-01-12 22:00", "2024-01-13 00:00"),  # New York closes, winter and summer
        ("2024-07-12 21:00", "2024-07-13 00:00"),
    ],
)
def test_a_day_ends_when_new_york_closes(moment: str, wall: str) -> None:
    assert BrokerZone(NEW_YORK_CLOSE).to_wall_msc(utc(moment)) == utc(wall)


@pytest.mark.parametrize("name", sorted(set(CHANGES) & set(ZONES)))
def test_to_the_millisecond(name: str) -> None:
    zone = ZONES[name]
    for change in map(utc, CHANGES[name]):
        before, after = (BrokerZone(name).to_wall_msc(at) - at for at in (change - 1, change))
        assert before != after  # it is one
        ats = [change + by for by in (-2, -1, 0, 1)]
        walls = [change + before - 2, change + before - 1, change + after, change + after + 1]
        assert [zone.to_wall_msc(at) for at in ats] == walls
        assert zone.to_wall_array(np.array(ats[:3], dtype=np.int64)).tolist() == walls[:3]
        assert [zone.to_utc_msc(wall) for wall in walls[:2]] == ats[:2]
        # The first moment after the hour that comes twice, or in the one that never comes.
        edge = change + before
        lost = max(0, before - after)
        assert zone.to_utc_msc(edge) == change + lost
        assert zone.to_utc_msc(edge + 1) == change + (lost + 1 if lost else 0)


@pytest.mark.skipif(not known("America/New_York"), reason="no table of zones on this machine")
def test_the_rule_is_new_yorks_on_every_day() -> None:
    # Half past six is between the two changes, which are at 06:00 and at 07:00.
    days = np.arange(utc("1987-01-01 06:30"), utc("2100-01-01"), DAY, dtype=np.int64)
    walls = ZONES[NEW_YORK_CLOSE].to_wall_array(days)
    wanted = [int(at) + offset("America/New_York", int(at)) + 7 * HOUR for at in days]
    assert walls.tolist() == wanted


@pytest.mark.skipif(not known("America/New_York"), reason="no table of zones on this machine")
@settings(max_examples=120, deadline=None)
@given(at=st.one_of(moments.filter(lambda ms: ms >= utc("1987-01-02")), near_changes))
def test_the_rule_is_new_yorks(at: int) -> None:
    wall = at + offset("America/New_York", at) + 7 * HOUR
    assert ZONES[NEW_YORK_CLOSE].to_wall_msc(at) == wall


@settings(max_examples=100, deadline=None)
@given(name=zones.filter(lambda one: one not in (UTC, NEW_YORK_CLOSE)), at=moments)
def test_named_zones_are_those_of_the_machine(name: str, at: int) -> None:
    assert ZONES[name].to_wall_msc(at) == at + offset(name, at)


@settings(max_examples=120, deadline=None)
@given(name=zones, wall=st.one_of(moments, near_changes))
def test_a_wall_time_is_its_first_moment(name: str, wall: int) -> None:
    zone = ZONES[name]
    at = zone.to_utc_msc(wall)
    shown = zone.to_wall_msc(at)
    assert shown >= wall  # later only where that time does not exist
    if shown > wall:
        assert zone.to_wall_msc(at - 1) < wall
    for earlier in (1, HOUR // 2, HOUR, 3 * HOUR):
        assert zone.to_wall_msc(at - earlier) < wall


@settings(max_examples=120, deadline=None)
@given(name=zones, at=st.one_of(moments, near_changes))
def test_there_and_back(name: str, at: int) -> None:
    zone = ZONES[name]
    back = zone.to_utc_msc(zone.to_wall_msc(at))
    assert back <= at
    if back != at:  # the second pass of an hour that comes twice
        assert zone.to_wall_msc(back) == zone.to_wall_msc(at)
        assert at - back <= HOUR


@settings(max_examples=100, deadline=None)
@given(name=zones, ats=st.lists(st.one_of(moments, near_changes), max_size=20), late=st.booleans())
def test_arrays_are_the_same_as_one_by_one(name: str, ats: list[int], late: bool) -> None:
    zone = ZONES[name]
    if late:  # all within one offset, which is a shorter way
        ats = [utc("2023-12-01") + at % DAY for at in ats]
    given = np.array(ats, dtype=np.int64)
    wall = zone.to_wall_array(given)
    assert wall.tolist() == [zone.to_wall_msc(at) for at in ats]
    assert wall is not given
    assert given.tolist() == ats


@settings(max_examples=80, deadline=None)
@given(name=zones, at=st.one_of(moments, near_changes))
def test_midnights_follow_each_other(name: str, at: int) -> None:
    zone = ZONES[name]
    first = zone.next_midnight(at)
    second = zone.next_midnight(first)
    assert zone.midnight(first) == zone.midnight(second - 1) == first
    assert zone.midnight(at) <= at < zone.next_midnight(zone.midnight(at))
    assert at < first < second
    # Nothing before it belongs to its day, and no day is left out or comes twice.
    assert told(zone.to_wall_msc(first)).date() > told(zone.to_wall_msc(first - 1)).date()
    days = [told(zone.to_wall_msc(one)).date() for one in (first, second)]
    assert days[1] - days[0] == dt.timedelta(days=1)
    assert first - at <= 26 * HOUR
    wall = told(zone.to_wall_msc(first))
    assert (wall.hour, wall.minute) == (0, 0) or zone.to_wall_msc(first) % HOUR == 0


@pytest.mark.skipif(not known("America/Havana"), reason="no table of zones on this machine")
def test_clocks_that_change_at_midnight() -> None:
    havana = BrokerZone("America/Havana")
    # Forward from 00:00 to 01:00: the day begins at the moment of the change.
    assert havana.next_midnight(utc("2024-03-10 03:00")) == utc("2024-03-10 05:00")
    # Back from 01:00 to 00:00: the day has turned at the first pass already.
    assert havana.next_midnight(utc("2024-11-03 03:00")) == utc("2024-11-03 04:00")
    assert havana.next_midnight(utc("2024-11-03 04:30")) == utc("2024-11-04 05:00")
    assert havana.midnight(utc("2024-03-10 05:00")) == utc("2024-03-10 05:00")
    assert havana.midnight(utc("2024-03-10 04:59")) == utc("2024-03-09 05:00")
    # 00:30 for the second time: the day began at the first midnight
    assert havana.midnight(utc("2024-11-03 05:30")) == utc("2024-11-03 04:00")


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../etc/passwd", "Europe", "GMT+25"])
def test_a_zone_that_nobody_knows(name: str) -> None:
    with pytest.raises(Invalid) as caught:
        BrokerZone(name)
    assert caught.value.field == "zone"
    assert caught.value.value == name
    assert "tzdata" in (caught.value.remedy or "")
