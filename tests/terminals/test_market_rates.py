"""Bars and ticks of a market against plain loops."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from market_kit import DAY, HOUR, MONDAY, START, START_MS, quotes, told, utc

from terminals import constants as mt5
from terminals.sim import rates
from terminals.sim.conditions import NEW_YORK_CLOSE, TYPICAL, UTC
from terminals.sim.generated import GeneratedMarket
from terminals.sim.market import RecordedMarket
from terminals.sim.prices import Series
from terminals.sim.symbols import spec_for
from terminals.sim.zone import BrokerZone

ZONES = {name: BrokerZone(name) for name in (UTC, NEW_YORK_CLOSE)}
POINT = 1e-5
HALF_DAY = 12 * HOUR
Tick = tuple[int, float, float]
Row = tuple[int, float, float, float, float, int, int, int]

# Pauses of milliseconds, minutes, and more than a week.
pauses = st.one_of(st.integers(1, 5_000), st.integers(1, 3 * HOUR), st.integers(1, 9 * DAY))


def _path(begin: int, steps: list[tuple[int, int, int]]) -> list[Tick]:
    rows, at, price = [], begin, 110_000
    for pause, move, spread in steps:
        at, price = at + pause, price + move
        rows.append((at, price / 1e5, (price + spread) / 1e5))
    return rows


paths = st.builds(
    _path,
    # Around the ends of daylight saving, months and years, too.
    st.sampled_from([MONDAY, utc("2024-11-01"), utc("2024-03-08 20:00"), utc("2023-12-28")]),
    st.lists(st.tuples(pauses, st.integers(-40, 40), st.integers(0, 30)), min_size=1, max_size=60),
)
frames = st.sampled_from(sorted(rates.TIMEFRAMES))
zones = st.sampled_from(sorted(ZONES))


def opens(wall: int, frame: int) -> int:
    """When the bar of a wall time opened, by the calendar."""
    moment = told(wall)
    day = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    if frame == mt5.TIMEFRAME_MN1:
        begin = day.replace(day=1)
    elif frame == mt5.TIMEFRAME_W1:
        begin = day - dt.timedelta(days=(day.weekday() + 1) % 7)  # the Sunday before
    else:
        minutes = (frame & 0x3FFF) * (60 if frame & 0x4000 else 1)
        begin = day + (moment - day) // dt.timedelta(minutes=minutes) * dt.timedelta(
            minutes=minutes
        )
    return round((begin - told(0)).total_seconds()) * 1000


def plainly(ticks: list[Tick], frame: int, zone: BrokerZone) -> list[Row]:
    """All bars, one tick after the other."""
    out: list[Any] = []
    for at, bid, ask in ticks:
        begin = opens(zone.to_wall_msc(at), frame) // 1000
        if out and begin <= out[-1][0]:
            last = out[-1]
            last[2], last[3], last[4] = max(last[2], bid), min(last[3], bid), bid
            last[5], last[6] = last[5] + 1, round((ask - bid) / POINT)
        else:
            out.append([begin, bid, bid, bid, bid, 1, round((ask - bid) / POINT), 0])
    return [tuple(one) for one in out]


def rows(found: rates.Rows) -> list[Row]:
    assert found.dtype == rates.RATES
    listed: list[Row] = found.tolist()
    return listed


@settings(max_examples=80, deadline=None)
@given(
    path=paths,
    frame=frames,
    zone=zones,
    leave=st.integers(0, 5),
    count=st.integers(1, 70),
    until=st.integers(0, 10**9),
)
def test_bars_by_position(
    path: list[Tick], frame: int, zone: str, leave: int, count: int, until: int
) -> None:
    at = path[0][0] + until % (path[-1][0] - path[0][0] + 1)
    seen = [one for one in path if one[0] <= at]
    wanted = plainly(seen, frame, ZONES[zone])
    wanted = wanted[max(0, len(wanted) - leave - count) : max(0, len(wanted) - leave)]
    found = rates.bars_from_pos(quotes(path), "EURUSD", frame, leave, count, at, ZONES[zone])
    assert rows(found) == wanted


@settings(max_examples=80, deadline=None)
@given(path=paths, frame=frames, zone=zones, count=st.integers(1, 70), date=st.data())
def test_bars_back_from_a_date(
    path: list[Tick], frame: int, zone: str, count: int, date: st.DataObject
) -> None:
    wall = [ZONES[zone].to_wall_msc(one[0]) // 1000 for one in path]
    since = date.draw(st.one_of(st.integers(wall[0] - 5, wall[-1] + 5), st.sampled_from(wall)))
    wanted = [one for one in plainly(path, frame, ZONES[zone]) if one[0] <= since][-count:]
    at = path[-1][0]
    found = rates.bars_from(quotes(path), "EURUSD", frame, since, count, at, ZONES[zone])
    assert rows(found) == wanted


@settings(max_examples=80, deadline=None)
@given(path=paths, frame=frames, zone=zones, dates=st.data())
def test_bars_between_dates(path: list[Tick], frame: int, zone: str, dates: st.DataObject) -> None:
    wall = [ZONES[zone].to_wall_msc(one[0]) // 1000 for one in path]
    edges = st.one_of(st.integers(wall[0] - 5, wall[-1] + 5), st.sampled_from(wall))
    low, high = dates.draw(edges), dates.draw(edges)
    wanted = [one for one in plainly(path, frame, ZONES[zone]) if low <= one[0] <= high]
    at = path[-1][0]
    found = rates.bars_range(quotes(path), "EURUSD", frame, low, high, at, ZONES[zone])
    assert rows(found) == wanted


@pytest.mark.parametrize("begin", ["2024-11-03 05:00", "2024-03-10 06:00", "2023-11-14 21:00"])
@pytest.mark.parametrize("frame", [mt5.TIMEFRAME_M5, mt5.TIMEFRAME_M15, mt5.TIMEFRAME_H1])
def test_ticks_on_the_grid_while_clocks_change(begin: str, frame: int) -> None:
    zone, step = ZONES[NEW_YORK_CLOSE], 5 * 60_000
    path = [(utc(begin) + n * step, 1.1 + n / 1e5, 1.1001 + n / 1e5) for n in range(30)]
    market, end = quotes(path), path[-1][0]
    for at, _, _ in path:
        seen = plainly([one for one in path if one[0] <= at], frame, zone)
        assert rows(rates.bars_from_pos(market, "EURUSD", frame, 0, 99, at, zone)) == seen
        assert [one[0] for one in seen] == sorted({one[0] for one in seen})
    every = plainly(path, frame, zone)
    for date in sorted({zone.to_wall_msc(at) // 1000 for at, _, _ in path}):
        wanted = [one for one in every if one[0] <= date]
        found = rates.bars_from(market, "EURUSD", frame, date, 99, end, zone)
        assert rows(found) == wanted
        wanted = [one for one in wanted if one[0] >= date - 1_200]
        found = rates.bars_range(market, "EURUSD", frame, date - 1_200, date, end, zone)
        assert rows(found) == wanted


def test_weeks_begin_on_sunday_and_months_on_the_first() -> None:
    market = quotes([(utc("2023-11-14 22:00"), 1.1, 1.2)])
    for frame, begin in ((mt5.TIMEFRAME_W1, "2023-11-12"), (mt5.TIMEFRAME_MN1, "2023-11-01")):
        (row,) = rates.bars_from_pos(market, "EURUSD", frame, 0, 9, START_MS, ZONES[NEW_YORK_CLOSE])
        assert row["time"] == utc(begin) // 1000
    # 22:00 in winter is midnight of the wall: already the next day.
    frame = mt5.TIMEFRAME_D1
    (row,) = rates.bars_from_pos(market, "EURUSD", frame, 0, 9, START_MS, ZONES[NEW_YORK_CLOSE])
    assert row["time"] == utc("2023-11-15") // 1000


@settings(max_examples=80, deadline=None)
@given(
    path=paths,
    zone=zones,
    flags=st.sampled_from([rates.COPY_TICKS_ALL, rates.COPY_TICKS_INFO, rates.COPY_TICKS_TRADE]),
    count=st.integers(1, 70),
    date=st.data(),
)
def test_ticks(path: list[Tick], zone: str, flags: int, count: int, date: st.DataObject) -> None:
    market = quotes(path)
    walls = [ZONES[zone].to_wall_msc(one[0]) for one in path]
    edges = st.one_of(st.integers(walls[0] - 5000, walls[-1] + 5000), st.sampled_from(walls)).map(
        lambda ms: ms / 1000.0
    )
    since, until = date.draw(edges), date.draw(edges)
    # Wall times are looked up as first moments; a second pass comes after all of the first.
    begin = ZONES[zone].to_utc_msc(round(since * 1000))
    end = ZONES[zone].to_utc_msc(round(until * 1000))
    wanted = []
    before: Tick | None = None
    for (at, bid, ask), wall in zip(path, walls, strict=True):
        changes = 6 if before is None else 2 * (bid != before[1]) + 4 * (ask != before[2])
        before = (at, bid, ask)
        if at >= begin and flags != rates.COPY_TICKS_TRADE:
            wanted.append((wall // 1000, bid, ask, 0.0, 0, wall, changes or 6, 0.0, at))
    now = path[-1][0]
    found = rates.ticks_from(market, "EURUSD", since, count, flags, now, ZONES[zone])
    assert found.dtype == rates.TICKS
    assert found.tolist() == [one[:-1] for one in wanted[:count]]
    ranged = rates.ticks_range(market, "EURUSD", since, until, flags, now, ZONES[zone])
    assert ranged.tolist() == [one[:-1] for one in wanted if one[-1] <= end]


def test_the_first_tick_is_told_against_the_one_before_it() -> None:
    rows = [(MONDAY - 1, 1.1, 1.2), (MONDAY, 1.3, 1.4), (MONDAY + 1, 1.3, 1.5)]
    market, zone = quotes(rows), ZONES[UTC]
    (row,) = rates.ticks_from(market, "EURUSD", MONDAY / 1000 + 0.001, 9, -1, MONDAY + 1, zone)
    assert row["flags"] == mt5.TICK_FLAG_ASK
    day = rates.day_of(market, "EURUSD", MONDAY + 1, zone)
    assert day is not None
    assert (day.begin_msc, day.open, day.before) == (MONDAY, 1.3, 1.1)
    assert day.change == pytest.approx(1.3 / 1.1 - 1.0)


def exchange() -> RecordedMarket:
    """Six ticks of a future: quotes and trades by turns."""
    series = Series(
        symbol="FDXS",
        spec=spec_for("FDXS"),
        time_msc=MONDAY + np.arange(6, dtype=np.int64) * 30_000,
        bid=np.array([100.0, 101.0, 101.0, 101.0, 102.0, 102.0]),
        ask=np.array([102.0, 102.0, 102.0, 103.0, 103.0, 103.0]),
        last=np.array([0.0, 0.0, 102.0, 102.0, 102.0, 103.0]),
        volume=np.array([0.0, 0.0, 3.0, 0.0, 0.0, 4.0]),
        flags=np.array([6, 2, 56, 4, 2, 88], dtype=np.uint32),
    )
    return RecordedMarket({"FDXS": series})


@pytest.mark.parametrize(
    ("flags", "picked"),
    [
        (rates.COPY_TICKS_ALL, [0, 1, 2, 3, 4, 5]),
        (rates.COPY_TICKS_INFO, [0, 1, 3, 4]),
        (rates.COPY_TICKS_TRADE, [2, 5]),
    ],
)
def test_ticks_of_an_exchange(flags: int, picked: list[int]) -> None:
    market, zone = exchange(), ZONES[UTC]
    now = MONDAY + 10 * 60_000
    found = rates.ticks_from(market, "FDXS", MONDAY / 1000, 9, flags, now, zone)
    assert found["time_msc"].tolist() == [MONDAY + 30_000 * one for one in picked]
    assert found["flags"].tolist() == [[6, 2, 56, 4, 2, 88][one] for one in picked]
    assert found["last"].tolist() == [[0.0, 0.0, 102.0, 102.0, 102.0, 103.0][n] for n in picked]
    assert found["volume"].tolist() == [[0, 0, 3, 3, 3, 4][one] for one in picked]
    assert found["volume_real"].tolist() == found["volume"].tolist()


def test_volumes_of_an_exchange_are_in_bars_and_quotes() -> None:
    market, zone = exchange(), ZONES[UTC]
    now = MONDAY + 10 * 60_000
    found = rates.bars_from_pos(market, "FDXS", mt5.TIMEFRAME_M1, 0, 9, now, zone)
    assert found["real_volume"].tolist() == [0, 3, 4]
    price = market.price("FDXS", now)
    assert price is not None
    assert (price.last, price.volume, price.flags) == (103.0, 4.0, 88)


@pytest.mark.parametrize(
    ("begins", "wanted"),
    [
        (0, (103.0, 102.0, 7.0)),  # the first ticks of the day are quotes before any trade
        (4, (103.0, 103.0, 4.0)),  # and here they repeat yesterday's
        (6, (0.0, 0.0, 0.0)),
    ],
)
def test_a_day_of_an_exchange_is_that_of_its_own_trades(
    begins: int, wanted: tuple[float, float, float]
) -> None:
    one = exchange().ticks("FDXS", 0, MONDAY + DAY)
    assert one.trades is not None
    times = np.append(one.time_msc, MONDAY + HOUR)
    times[begins:] += DAY
    rows = (np.append(values, values[-1]) for values in (one.bid, one.ask, *one.trades[:2]))
    bid, ask, last, volume = rows
    series = Series(
        symbol="FDXS",
        spec=spec_for("FDXS"),
        time_msc=times,
        bid=bid,
        ask=ask,
        last=last,
        volume=volume,
        flags=np.append(one.trades.flags, np.uint32(6)),
    )
    market = RecordedMarket({"FDXS": series})
    day = rates.day_of(market, "FDXS", MONDAY + 2 * DAY, ZONES[UTC])
    assert day is not None
    assert (day.last_high, day.last_low, day.volume) == wanted
    price = market.price("FDXS", MONDAY + 2 * DAY)
    assert price is not None
    assert (price.last, price.volume) == (103.0, 4.0)


@settings(max_examples=60, deadline=None)
@given(path=paths, zone=zones)
def test_a_day_is_that_of_its_newest_quote(path: list[Tick], zone: str) -> None:
    wall = ZONES[zone]
    at = path[-1][0] + 3 * DAY  # a weekend later it is still Friday
    day = rates.day_of(quotes(path), "EURUSD", at, wall)
    dates = [told(wall.to_wall_msc(one[0])).date() for one in path]
    today = [one for one, date in zip(path, dates, strict=True) if date == dates[-1]]
    earlier = [one for one, date in zip(path, dates, strict=True) if date < dates[-1]]
    assert day is not None
    assert (day.open, day.ticks) == (today[0][1], len(today))
    assert (day.bid_high, day.bid_low) == (max(b for _, b, _ in today), min(b for _, b, _ in today))
    assert (day.ask_high, day.ask_low) == (max(a for *_, a in today), min(a for *_, a in today))
    assert day.before == (earlier[-1][1] if earlier else 0.0)
    assert day.begin_msc <= today[0][0] < wall.next_midnight(day.begin_msc)


def test_before_the_first_quote_there_is_nothing() -> None:
    market, zone = quotes([(MONDAY, 1.1, 1.2)]), ZONES[UTC]
    early = MONDAY - 1
    assert rates.day_of(market, "EURUSD", early, zone) is None
    assert not len(rates.bars_from_pos(market, "EURUSD", mt5.TIMEFRAME_D1, 0, 5, early, zone))
    assert not len(rates.ticks_from(market, "EURUSD", 0, 5, -1, early, zone))


@pytest.mark.parametrize("date", [-1e30, 0.0, 1e30, float("inf"), float("nan")])
def test_dates_beyond_all_calendars(date: float) -> None:
    market, zone = quotes([(MONDAY, 1.1, 1.2)]), ZONES[NEW_YORK_CLOSE]
    late = date > 0
    for frame in rates.TIMEFRAMES:
        found = rates.bars_from(market, "EURUSD", frame, date, 10**9, MONDAY, zone)
        assert len(found) == late
        assert len(rates.bars_range(market, "EURUSD", frame, 0.0, date, MONDAY, zone)) == late
    assert len(rates.ticks_from(market, "EURUSD", date, 10**9, -1, MONDAY, zone)) == (not late)
    assert len(rates.ticks_range(market, "EURUSD", 0.0, date, -1, MONDAY, zone)) == late


# -- the past of a generated market -----------------------------------------


@pytest.mark.parametrize("frame", [mt5.TIMEFRAME_M1, mt5.TIMEFRAME_H4, mt5.TIMEFRAME_D1])
@pytest.mark.parametrize("typical", [False, True])
def test_a_generated_market_has_a_past(frame: int, typical: bool) -> None:
    zone = ZONES[NEW_YORK_CLOSE if typical else UTC]
    market = GeneratedMarket.under(TYPICAL, start=START) if typical else GeneratedMarket(1, START)
    found = rates.bars_from_pos(market, "EURUSD", frame, 0, 5_000, START_MS, zone)
    assert len(found) > (400 if frame == mt5.TIMEFRAME_D1 else 3_000)
    assert (np.diff(found["time"]) > 0).all()
    low, high = found["low"], found["high"]
    for name in ("open", "close"):
        assert (low <= found[name]).all()
        assert (found[name] <= high).all()
    # Where what is remembered meets what was ticked, the price goes on.
    steps = np.abs(np.diff(np.log(found["close"])))
    assert steps.max() < 12 * steps.mean()
    weekdays = {told(int(one) * 1000).weekday() for one in found["time"]}
    assert (weekdays <= {0, 1, 2, 3, 4}) == typical


def test_the_bar_in_which_a_day_opens_is_in_the_past_too() -> None:
    market, zone = GeneratedMarket.under(TYPICAL, start=START), ZONES[NEW_YORK_CLOSE]
    found = rates.bars_from_pos(market, "EURUSD", mt5.TIMEFRAME_M15, 0, 9_600, START_MS, zone)
    assert len(found) == 9_600
    for part in (found[:480], found[-480:]):  # five days of quarters, and of minutes
        assert np.count_nonzero(part["time"] % 86_400 == 0) == 5


def test_what_is_forgotten_stays_in_the_bars() -> None:
    zone = ZONES[UTC]
    often, never = GeneratedMarket(4, START), GeneratedMarket(4, START)
    late = START_MS + 5 * DAY
    for at in range(START_MS, late + 1, 6 * HOUR):
        often.price("EURUSD", at)
        often.play(at)
        if at % DAY > HALF_DAY:  # what is in the bars already is not taken in again
            rates.bars_from_pos(often, "EURUSD", mt5.TIMEFRAME_M1, 0, 10, at, zone)
    assert (
        len(often.ticks("EURUSD", 0, late).bid) < 200_000 < len(never.ticks("EURUSD", 0, late).bid)
    )
    for frame in (mt5.TIMEFRAME_M1, mt5.TIMEFRAME_M20, mt5.TIMEFRAME_H1, mt5.TIMEFRAME_W1):
        one, other = (
            rates.bars_from_pos(m, "EURUSD", frame, 0, 6_000, late, zone) for m in (often, never)
        )
        assert np.array_equal(one, other)
        assert len(one) > 50


def test_minutes_become_quarters_after_a_month() -> None:
    zone = ZONES[UTC]
    market = GeneratedMarket(4, START)
    days = range(1, 68)
    wanted = rates.bars_from_pos(market, "EURUSD", mt5.TIMEFRAME_D1, 1, 20, START_MS, zone)
    for day in days:
        market.price("EURUSD", START_MS + day * DAY)
        market.play(START_MS + day * DAY)
    late = START_MS + days[-1] * DAY
    kept, _ = market.history("EURUSD", late).rows(0, late, quarters=False)
    assert 30 * 1440 < len(kept) < 70 * 1440
    again = rates.bars_from_pos(market, "EURUSD", mt5.TIMEFRAME_D1, 1 + days[-1], 20, late, zone)
    assert np.array_equal(wanted, again)
