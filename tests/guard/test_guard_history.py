"""History through a whole guard: pages, what is compacted when, and what must not be."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from guard_kit import GuardKit, kinds
from test_guard_acting import let_pass, one_trade, price

from actors.events import Kind
from actors.messages import Compact
from actors.names import REGISTRY
from actors.points import Points
from actors.retention import EVERY, FIRST
from actors.simulated import SimulatedRuntime
from defence.errors import Invalid, NotFound, StoreFull
from defence.orders import Action
from defence.retention import STEADY_FOR
from defence.trade import Standing, TradeRecord
from storage import compaction
from storage.compaction import STEP
from storage.trades import Batch, TradeStore
from supervisors import Guard, Trade

DAY = 86_400.0
SLOW = 600.0  # seconds between cycles
HOURS: dict[str, Any] = {"interval": SLOW, "check_every": 20.0}  # hours pass, no cycle matters


def wall(kit: GuardKit) -> float:
    return kit.runtime.clock.wall()


def jump(kit: GuardKit, seconds: float) -> None:
    """Set the wall clock."""
    assert isinstance(kit.runtime, SimulatedRuntime)
    kit.runtime.clock.jump_wall(seconds)


def closed_trade(kit: GuardKit, guard: Guard) -> int:
    """Open a position, register it, close it; return its ticket."""
    ticket = kit.terminal.open_position("EURUSD", "BUY", 0.1, sl=1.0)
    guard.register(Trade(ticket=ticket), request_id=f"req-{ticket}")
    let_pass(kit, guard.settings.interval + 1.0)
    kit.terminal.close_position(ticket)
    let_pass(kit, 2 * guard.settings.interval + 1.0)
    assert guard.trade(ticket).standing is Standing.CLOSED
    return ticket


def filled(kit: GuardKit, count: int, *, days_ago: float, **settings: Any) -> Guard:
    """Return a guard that has not started, on a store with old trades and actions."""
    settings = {**HOURS, **settings}
    first = kit.start(adoption="ignore", interval=30.0)
    kind = closed_trade(kit, first)
    sample = first.trade(kind)
    first.stop()
    store = TradeStore.open(first.data_dir / "trades")
    at = wall(kit) - days_ago * DAY
    store.commit(
        Batch(
            archived=[_copy(sample, number, at) for number in range(count)],
            actions=[_told(sample, number, at) for number in range(count)],
        )
    )
    store.note_compacted(wall(kit))
    store.close()
    return kit.next_process({}, adoption="ignore", **settings)


def _copy(sample: TradeRecord, number: int, at: float) -> TradeRecord:
    identifier = 10_000 + number
    return replace(
        sample,
        identifier=identifier,
        ticket=identifier,
        closed_at=at + number,
        close_profit=0.25,
        created_by=f"old{number}",
    )


def _told(sample: TradeRecord, number: int, at: float) -> Action:
    identifier = 10_000 + number
    return Action(
        id=f"old{number}",
        at=at + number,
        identifier=identifier,
        ticket=identifier,
        symbol=sample.symbol,
        kind="closed",
        detail="",
    )


def counted(guard: Guard) -> tuple[int, int]:
    """Return how many trades and actions the sums by day hold."""
    days = guard.history_days(limit=1000).items
    told = sum(n for one in days for kinds_ in one.actions.values() for n in kinds_.values())
    return sum(one.closed for one in days), told


def test_old_history_becomes_sums_and_young_history_stays(sim: GuardKit) -> None:
    guard = filled(sim, STEP + 50, days_ago=100).start()
    let_pass(sim, FIRST + 60.0)
    assert counted(guard) == (STEP + 50, STEP + 50)
    assert [one.ticket < 10_000 or one.ticket > 20_000 for one in guard.history().items] == [True]
    with pytest.raises(NotFound):
        guard.trade(10_001)
    (profit,) = {one.profit for one in guard.history_days().items if one.closed == STEP + 50}
    assert profit == (STEP + 50) * 0.25
    assert not kinds(guard, Kind.CHARGED)


def test_history_days_0_keeps_for_ever(sim: GuardKit) -> None:
    guard = filled(sim, 3, days_ago=9000, history_days=0).start()
    let_pass(sim, 2 * EVERY)
    assert counted(guard) == (0, 0)
    assert len(guard.history().items) == 4


def test_history_days_is_the_time(sim: GuardKit) -> None:
    guard = filled(sim, 3, days_ago=100, history_days=101).start()
    let_pass(sim, FIRST + 5.0)
    assert counted(guard) == (0, 0)
    guard.stop()
    again = sim.next_process({}, adoption="ignore", history_days=98, **HOURS).start()
    let_pass(sim, FIRST + 5.0)
    assert counted(again) == (3, 3)


def test_it_is_looked_at_every_hour(sim: GuardKit) -> None:
    guard = sim.start(adoption="ignore", interval=120.0, check_every=20.0)
    ticket = closed_trade(sim, guard)
    let_pass(sim, STEADY_FOR + FIRST)  # a new store's clock is looked at for a while
    jump(sim, 91 * DAY)
    let_pass(sim, EVERY - STEADY_FOR)
    assert guard.trade(ticket).standing is Standing.CLOSED  # the next look comes within the hour
    let_pass(sim, EVERY + STEADY_FOR)
    with pytest.raises(NotFound):
        guard.trade(ticket)


def test_a_clock_that_leaps_and_returns_costs_nothing(sim: GuardKit) -> None:
    guard = filled(sim, 3, days_ago=10).start()
    let_pass(sim, FIRST + 60.0)
    before = guard.history(limit=1000)
    for _ in range(3):
        jump(sim, 365 * DAY)
        guard._house.address(REGISTRY).tell(Compact())  # the hour strikes just then
        let_pass(sim, STEADY_FOR / 2)
        jump(sim, -365 * DAY)
        let_pass(sim, 2 * EVERY)
    assert guard.history(limit=1000) == before
    assert counted(guard) == (0, 0)


def test_a_machine_that_wakes_in_the_wrong_year_loses_nothing(sim: GuardKit) -> None:
    guard = filled(sim, 3, days_ago=10)
    jump(sim, 365 * DAY)
    guard.start()
    let_pass(sim, STEADY_FOR / 2)
    jump(sim, -365 * DAY)
    let_pass(sim, 2 * EVERY)
    assert counted(guard) == (0, 0)
    assert len(guard.history().items) == 4


def test_a_short_time_away_is_no_reason_to_doubt(sim: GuardKit) -> None:
    guard = sim.start(adoption="ignore", **{**HOURS, "interval": 120.0})
    ticket = closed_trade(sim, guard)
    let_pass(sim, FIRST + STEADY_FOR)
    guard.stop()
    again = sim.next_process({}, adoption="ignore", history_days=0.01, **HOURS)
    jump(sim, 1.5 * DAY)
    again.start()
    let_pass(sim, FIRST + 1.0)
    with pytest.raises(NotFound):
        again.trade(ticket)
    assert counted(again)[0] == 1


def test_a_clock_set_back_makes_nothing_older(sim: GuardKit) -> None:
    guard = sim.start(adoption="ignore", interval=120.0, check_every=20.0)
    ticket = closed_trade(sim, guard)
    let_pass(sim, STEADY_FOR)
    jump(sim, -200 * DAY)  # now it was closed in the future
    let_pass(sim, 2 * EVERY)
    assert guard.trade(ticket).standing is Standing.CLOSED
    assert guard.history(since=wall(sim)).items


def test_what_an_open_trade_was_told_is_not_told_again(sim: GuardKit, tmp_path: Path) -> None:
    state = {"state": tmp_path / "broker.json"}
    guard, ticket = one_trade(sim, mode="observe", terminal_options=state)
    price(sim, 1.0945)
    let_pass(sim, 300.0)
    (would,) = (one for one in guard.actions() if one.kind == "would_move_stop")
    guard.stop()
    again = sim.next_process(state, adoption="ignore", mode="observe", **HOURS)
    jump(sim, 200 * DAY)
    price(sim, 1.0945)
    again.start()
    let_pass(sim, STEADY_FOR + FIRST + SLOW)
    assert [one.id for one in again.actions() if one.kind == "would_move_stop"] == [would.id]
    assert kinds(again, Kind.WOULD) == []
    assert again.trade(ticket).standing is Standing.GUARDED
    # when it is over, its actions go with it and not before
    sim.terminal.close_position(ticket)
    let_pass(sim, 2 * EVERY)
    assert would.id in {one.id for one in again.actions()}
    jump(sim, 91 * DAY)
    let_pass(sim, 2 * EVERY)
    assert again.actions() == ()
    assert again.history().items == ()
    assert sum(one.actions.get("would_move_stop", {}).get("none", 0) for one in _all(again)) == 1


def _all(guard: Guard) -> tuple[Any, ...]:
    return guard.history_days(limit=1000).items


def test_a_late_retry_of_a_compacted_registration_is_refused(sim: GuardKit) -> None:
    guard = sim.start(adoption="ignore")
    ticket = closed_trade(sim, guard)
    again = guard.register(Trade(ticket=ticket), request_id=f"req-{ticket}")
    assert again.created  # the same request, the same answer, as long as it is known
    let_pass(sim, STEADY_FOR)
    jump(sim, 91 * DAY)
    let_pass(sim, EVERY + 2 * STEADY_FOR)
    with pytest.raises(NotFound):  # nothing is registered that is not open
        guard.register(Trade(ticket=ticket), request_id=f"req-{ticket}")
    assert guard.trades() == ()


@pytest.mark.parametrize(
    "point", ["registry.before_compact", "registry.after_compact", "trades.in_compact"]
)
def test_a_death_between_two_steps_counts_nothing_twice(
    sim: GuardKit, point: str, points: Points, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = filled(sim, 2 * STEP, days_ago=100, points=points).start()
    if point == "trades.in_compact":
        real = compaction.day_fields

        def strike(summary: Any) -> Any:
            points.reach(point)
            return real(summary)

        monkeypatch.setattr(compaction, "day_fields", strike)
    points.kill_at(point, times=3)
    let_pass(sim, 60.0)
    assert points.reached[point] == 3
    let_pass(sim, 2 * EVERY)
    assert counted(guard) == (2 * STEP, 2 * STEP)
    assert len(guard.history().items) == 1


def test_a_registration_waits_for_a_step_at_most(sim: GuardKit) -> None:
    guard = filled(sim, 8 * STEP, days_ago=100).start()
    ticket = sim.terminal.open_position("EURUSD", "BUY", 0.1, sl=1.0)
    let_pass(sim, FIRST + 0.1)
    begun = counted(guard)[0]
    assert 0 < begun < 8 * STEP
    assert guard.register(Trade(ticket=ticket)).created
    assert counted(guard)[0] <= begun + STEP
    let_pass(sim, 60.0)
    assert counted(guard) == (8 * STEP, 8 * STEP)


def test_a_full_disk_keeps_the_details_and_the_guard(
    sim: GuardKit, monkeypatch: pytest.MonkeyPatch
) -> None:
    guard = filled(sim, 5, days_ago=100).start()
    tried = []

    def full(*_: object) -> None:
        tried.append(1)
        raise StoreFull("no room")

    with monkeypatch.context() as patch:
        patch.setattr(TradeStore, "compact", full)
        let_pass(sim, 60.0)
    assert len(tried) == 1  # not again and again
    assert guard.health().ready
    assert len(guard.history().items) == 6
    let_pass(sim, 2 * EVERY)
    assert counted(guard) == (5, 5)
    assert not kinds(guard, Kind.CHARGED)


def test_paging_through_a_guard(sim: GuardKit) -> None:
    guard = filled(sim, 25, days_ago=10).start()
    found: list[int] = []
    cursor = None
    while True:
        page = guard.history(limit=10, cursor=cursor)
        found.extend(one.ticket for one in page.items)
        cursor = page.next
        if cursor is None:
            break
        closed_trade(sim, guard)  # meanwhile more come in
    newest, *old = found
    assert old == [10_024 - n for n in range(25)]
    assert newest not in old
    told = guard.action_page(limit=3, ticket=10_007)
    assert [one.id for one in told.items] == ["old7"]
    assert told.next is None
    day = dt.datetime.fromtimestamp(wall(sim) - 10 * DAY, dt.UTC).date()
    many = guard.action_page(since=day, until=day + dt.timedelta(days=1), limit=1000)
    assert len([one for one in many.items if one.id.startswith("old")]) == 25
    assert guard.action_page(until=day - dt.timedelta(days=1)).items == ()
    assert guard.history(identifier=10_003).items[0].created_by == "old3"
    for asked in ({"limit": 1001}, {"since": "soon"}, {"cursor": "?"}):
        with pytest.raises(Invalid) as told_:
            guard.history(**asked)  # type: ignore[arg-type]  # that is what is tested
        assert told_.value.field in asked


def test_a_closed_trade_is_found_by_its_last_ticket(sim: GuardKit) -> None:
    guard = sim.start(adoption="ignore")
    first = sim.terminal.open_position("EURUSD", "BUY", 0.1, sl=1.0)
    guard.register(Trade(ticket=first))
    sim.terminal.change_ticket(first, first + 1000)
    let_pass(sim, 31.0)
    sim.terminal.close_position(first + 1000)
    let_pass(sim, 61.0)
    record = guard.trade(first + 1000)
    assert (record.identifier, record.standing) == (first, Standing.CLOSED)
    assert guard.trade(first) == record
    assert guard.history(ticket=first + 1000).items == (record,)
