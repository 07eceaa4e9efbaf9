"""History: pages against a sorted list, compaction against plain sums, the step to format 2."""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from storage_samples import T0, action, intent, strategy, trade, unhurried

from defence.days import DAY, DaySummary
from defence.errors import Damaged, Fault, Invalid
from defence.history import MAX_PAGE, Page, Query, moment_of, query_of
from defence.orders import Action, Outcome, OutcomeKind, PendingIntent
from defence.retention import AWAY, LEAP, STEADY_FOR, first_look, horizon, next_look
from defence.trade import Standing, TradeRecord
from storage import audit as audit_module
from storage import compaction as compaction_module
from storage.audit import AuditEntry, AuditStore
from storage.compaction import Resume
from storage.environment import Environment
from storage.fields import action_fields, pending_fields, trade_fields
from storage.keys import moment_key, number_key, text_key
from storage.layout import (
    ACTION_IDS,
    ACTION_TICKETS,
    ACTIONS,
    DAYS,
    HISTORY,
    HISTORY_IDS,
    HISTORY_TICKETS,
    INTENTS,
    META,
    TRADES,
)
from storage.records import Fields
from storage.steps import trades_1_to_2
from storage.trades import DATABASES, Batch, TradeStore
from storage.view import Change

MIDNIGHT = T0 // DAY * DAY
OLD = 3  # days that the drawn records reach back: few, so that many share one
TINY = 1 << 16  # bytes of the map: it must grow in the middle of the work, which then runs again


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TradeStore]:
    opened = TradeStore.open(tmp_path / "trades")
    yield opened
    opened.close()


def closed(identifier: int, at: float, **changes: Any) -> TradeRecord:
    given_: dict[str, Any] = {
        "standing": Standing.CLOSED,
        "closed_at": at,
        "created_by": f"m{identifier}@{at}",
        **changes,
    }
    return trade(identifier, **given_)


def everything(find: Callable[[Query], Page[Any]], **query: Any) -> list[Any]:
    """Page through a whole list."""
    found: list[Any] = []
    cursor = None
    while True:
        page = find(Query(**{"limit": MAX_PAGE, **query}, cursor=cursor))
        found.extend(page.items)
        if page.next is None:
            return found
        cursor = page.next


def compact_all(store: TradeStore, before: float, limit: int = 250) -> tuple[int, int]:
    resume, trades, actions = None, 0, 0
    while True:
        step = store.compact(before, resume, limit)
        trades, actions, resume = trades + step.trades, actions + step.actions, step.resume
        if resume is None:
            return trades, actions


# -- compaction, against a plain model


def plain_sums(trades: list[TradeRecord], actions: list[Action]) -> dict[Any, dict[str, Any]]:
    """Sum by day and symbol, without a line of the program's own summing."""
    sums: dict[Any, dict[str, Any]] = defaultdict(lambda: defaultdict(float))
    for one in trades:
        at = one.updated_at if one.closed_at is None else one.closed_at
        into = sums[math.floor(at / DAY), one.symbol]
        into["closed" if one.standing is Standing.CLOSED else "unexplained"] += 1
        profit = one.close_profit
        if profit is not None:
            into["profit"] += profit
            into["won"] += profit > 0
            into["lost"] += profit < 0
        into["volume"] += one.closed_volume
        if one.result_r is not None:
            into["r_sum"] += one.result_r
            into["r_count"] += 1
    for each in actions:
        outcome = "none" if each.outcome is None else each.outcome.kind.value
        sums[math.floor(each.at / DAY), each.symbol]["actions", each.kind, outcome] += 1
    return {key: {k: v for k, v in into.items() if v} for key, into in sums.items()}


def stored_sums(summaries: list[DaySummary]) -> dict[Any, dict[str, Any]]:
    found: dict[Any, dict[str, Any]] = {}
    for one in summaries:
        names = ("closed", "won", "lost", "unexplained", "profit", "volume", "r_sum", "r_count")
        into: dict[Any, Any] = {name: getattr(one, name) for name in names}
        for kind, outcomes in one.actions.items():
            into.update({("actions", kind, outcome): n for outcome, n in outcomes.items()})
        assert (one.day, one.symbol) not in found
        found[one.day, one.symbol] = {k: v for k, v in into.items() if v}
    return found


class World:
    """A store, and all that ever happened in plain lists."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.store = TradeStore.open(path, map_size=TINY)
        self.trades: list[TradeRecord] = []  # ever archived
        self.actions: dict[str, Action] = {}  # ever told
        self.open: set[int] = set()
        self.doubtful: dict[str, int] = {}
        self.kept_trades: list[TradeRecord] = []
        self.kept_actions: dict[str, Action] = {}
        self.resume: Resume | None = None
        self.n = 0

    def act(self, at: float, identifier: int, kind: str, again: bool) -> None:
        known = [a for a in self.kept_actions.values() if a.identifier == identifier]
        if again and known:  # told again while it is kept
            one = replace(known[0], detail="again", at=at, ticket=at_ticket(identifier, at))
        else:
            self.n += 1
            ticket = at_ticket(identifier, at)
            one = action(f"a{self.n}", at=at, identifier=identifier, ticket=ticket, kind=kind)
        self.store.commit(Batch(actions=[one]))
        self.actions[one.id] = self.kept_actions[one.id] = one

    def enter(self, identifier: int) -> None:
        self.n += 1
        self.store.commit(Batch(trades=[trade(identifier, created_by=f"m{self.n}")]))
        self.open.add(identifier)

    def leave(self, at: float, identifier: int, quarters: int | None, ticket: int) -> None:
        self.n += 1
        money = None if quarters is None else quarters / 4
        one = closed(
            identifier,
            at,
            ticket=ticket,
            created_by=f"m{self.n}",
            close_profit=money,
            result_r=money,
            closed_volume=0.25,
            standing=Standing.UNEXPLAINED if money is None else Standing.CLOSED,
            symbol="EURUSD" if identifier % 2 else "XAUUSD",
        )
        self.store.commit(Batch(archived=[one]))
        self.open.discard(identifier)
        self.trades.append(one)
        self.kept_trades.append(one)

    def decide(self, at: float, identifier: int) -> None:
        self.n += 1
        one = intent(f"i{self.n}", identifier=identifier, decided_at=at, ticket=identifier)
        self.store.commit(Batch(intents=[PendingIntent(intent=one)]))
        self.doubtful[one.id] = identifier

    def settle(self, kind: OutcomeKind) -> None:
        if not self.doubtful:
            return
        name = next(iter(self.doubtful))
        pending = self.store.load()[1][name].intent
        outcome = Outcome(intent_id=name, kind=kind, at=pending.decided_at)
        self.store.commit(Batch(outcomes=[outcome]))
        told = action(
            name,
            at=pending.decided_at,
            identifier=pending.identifier,
            ticket=pending.ticket,
            symbol=pending.symbol,
            kind=pending.kind.value,
            detail=pending.reason,
            intent=pending,
            outcome=outcome,
        )
        self.actions[name] = self.kept_actions[name] = told
        if kind is not OutcomeKind.UNKNOWN:
            del self.doubtful[name]

    def step(self, before: float, limit: int) -> None:
        step = self.store.compact(before, self.resume, limit)
        self.resume = step.resume
        trades, actions = self.details()
        gone_trades = [one for one in self.kept_trades if one not in trades]
        gone_actions = [one for one in self.kept_actions.values() if one not in actions]
        assert (len(gone_trades), len(gone_actions)) == (step.trades, step.actions)
        assert len(gone_trades) + len(gone_actions) + step.kept <= limit
        held = self.open | set(self.doubtful.values())
        for one in gone_trades:
            assert (one.closed_at or 0) < before, "too young"
            assert one.identifier not in held
        for each in gone_actions:
            assert each.at < before, "too young"
            assert each.identifier not in held
            assert all(one.identifier != each.identifier for one in trades)
        self.kept_trades = [one for one in self.kept_trades if one in trades]
        self.kept_actions = {a.id: a for a in self.kept_actions.values() if a in actions}

    def whole_pass(self, before: float, limit: int) -> None:
        self.resume = None
        self.step(before, limit)
        while self.resume is not None:
            self.step(before, limit)
        held = self.open | set(self.doubtful.values())
        for one in self.kept_trades:
            assert (one.closed_at or 0) >= before or one.identifier in held
        young = held | {one.identifier for one in self.kept_trades}
        for each in self.kept_actions.values():
            assert each.at >= before or each.identifier in young

    def crash(self) -> None:
        self.store.close()
        self.store = TradeStore.open(self.path, map_size=TINY)
        self.resume = None

    def details(self) -> tuple[list[TradeRecord], list[Action]]:
        return everything(self.store.find_history), everything(self.store.find_actions)

    def check(self) -> None:
        """Kept details and sums are all that ever happened, nothing twice."""
        trades, actions = self.details()
        assert Counter(map(repr, trades)) == Counter(map(repr, self.kept_trades))
        assert Counter(map(repr, actions)) == Counter(map(repr, self.kept_actions.values()))
        summed_trades = [one for one in self.trades if one not in trades]
        summed_actions = [one for one in self.actions.values() if one not in actions]
        assert stored_sums(everything(self.store.find_days)) == plain_sums(
            summed_trades, summed_actions
        )
        with self.store.environment.read() as view:
            assert {db: view.count(db) for db in (HISTORY, HISTORY_IDS, HISTORY_TICKETS)} == (
                dict.fromkeys((HISTORY, HISTORY_IDS, HISTORY_TICKETS), len(trades))
            )
            assert {db: view.count(db) for db in (ACTIONS, ACTION_IDS, ACTION_TICKETS)} == (
                dict.fromkeys((ACTIONS, ACTION_IDS, ACTION_TICKETS), len(actions))
            )


def at_ticket(identifier: int, at: float) -> int:
    return identifier * 10 + int(at) % 3


moments = st.integers(-OLD * 4, 4).map(lambda quarter: MIDNIGHT + quarter * DAY / 4)
numbers = st.integers(1, 4)
befores = st.integers(-OLD, 0).map(lambda day: MIDNIGHT + day * DAY)
limits = st.integers(1, 7)
kinds = st.sampled_from(("registered", "released"))
operations = st.one_of(
    st.tuples(st.just("act"), moments, numbers, kinds, st.booleans()),
    st.tuples(st.just("enter"), numbers),
    st.tuples(st.just("leave"), moments, numbers, st.none() | st.integers(-8, 8), numbers),
    st.tuples(st.just("decide"), moments, numbers),
    st.tuples(st.just("settle"), st.sampled_from((OutcomeKind.DONE, OutcomeKind.UNKNOWN))),
    st.tuples(st.just("step"), befores, limits),
    st.tuples(st.just("whole_pass"), befores, limits),
    st.tuples(st.just("crash")),
)


def test_details_and_sums_are_all_that_ever_happened(
    tmp_path_factory: pytest.TempPathFactory, rounds: Callable[..., int]
) -> None:
    @settings(unhurried, max_examples=rounds(ci=60, long=1500))
    @given(st.lists(operations, min_size=1, max_size=30))
    def check(drawn: list[tuple[Any, ...]]) -> None:
        world = World(tmp_path_factory.mktemp("w") / "trades")
        try:
            for name, *arguments in drawn:
                getattr(world, name)(*arguments)
                world.check()
            world.whole_pass(MIDNIGHT, 3)
            world.check()
        finally:
            world.store.close()

    check()


def test_a_step_that_fails_changes_nothing(
    store: TradeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.commit(Batch(archived=[closed(1, MIDNIGHT - DAY)], actions=[action(at=MIDNIGHT - DAY)]))

    def fail(_: object) -> Fields:
        raise Fault("in the middle")

    with monkeypatch.context() as patch:
        patch.setattr(compaction_module, "day_fields", fail)
        with pytest.raises(Fault):
            store.compact(MIDNIGHT)
    assert len(store.archived()) == 1
    assert everything(store.find_days) == []
    assert compact_all(store, MIDNIGHT) == (1, 1)


def test_what_must_stay_stays_however_old(store: TradeStore) -> None:
    ancient = MIDNIGHT - 1000 * DAY
    store.commit(
        Batch(
            trades=[trade(1), trade(2, standing=Standing.RELEASED)],
            archived=[closed(3, MIDNIGHT + 5)],
            intents=[PendingIntent(intent=intent("i4", identifier=4))],
            actions=[
                action("would:1:l1_stop", at=ancient, identifier=1),
                action("told:2", at=ancient, identifier=2),
                action("of:3", at=ancient, identifier=3),
                action("i4", at=ancient, identifier=4),
                action("of:5", at=ancient, identifier=5),
            ],
        )
    )
    assert compact_all(store, MIDNIGHT) == (0, 1)
    kept = {one.id for one in everything(store.find_actions)}
    assert kept == {"would:1:l1_stop", "told:2", "of:3", "i4"}
    # the trade is over, and its turn has come: what was done to it goes with it
    store.commit(Batch(archived=[closed(1, MIDNIGHT - 5)]))
    assert compact_all(store, MIDNIGHT) == (1, 1)
    assert store.action("would:1:l1_stop") is None


def test_steps_are_bounded_and_go_on(store: TradeStore) -> None:
    old = [closed(n, MIDNIGHT - DAY + n) for n in range(1, 11)]
    store.commit(Batch(archived=old, actions=[action(f"a{n}", at=T0 - 9 * DAY) for n in range(5)]))
    first = store.compact(MIDNIGHT, None, 4)
    assert (first.trades, first.kept) == (4, 0)
    assert len(store.archived()) == 6
    step, steps = first, 1
    while step.resume is not None:
        step, steps = store.compact(MIDNIGHT, step.resume, 4), steps + 1
    assert steps == 5
    (sums,) = (one for one in everything(store.find_days) if one.closed)
    assert sums.closed == 10


def test_a_step_goes_on_behind_what_must_stay(store: TradeStore) -> None:
    held = [action(f"h{n}", at=MIDNIGHT - DAY + n, identifier=1) for n in range(7)]
    free = [action(f"f{n}", at=MIDNIGHT - DAY + 9 + n, identifier=2) for n in range(5)]
    store.commit(Batch(trades=[trade(1)], actions=[*held, *free]))
    resume, gone, kept = None, 0, 0
    for _ in range(9):
        step = store.compact(MIDNIGHT, resume, 3)
        resume, gone, kept = step.resume, gone + step.actions, kept + step.kept
        if resume is None:
            break
    assert (resume, gone, kept) == (None, 5, 7)


def test_a_pass_that_finds_nothing_is_no_commit(store: TradeStore) -> None:
    store.commit(Batch(trades=[trade(1)], actions=[action(at=MIDNIGHT - 5 * DAY)]))
    before = store.sequence()
    assert compact_all(store, MIDNIGHT) == (0, 0)
    assert store.sequence() == before


def test_numbers_that_are_none_spoil_no_sum(store: TradeStore) -> None:
    odd = [
        closed(1, MIDNIGHT - 5, close_profit=math.nan, result_r=math.inf, closed_volume=math.inf),
        closed(2, MIDNIGHT - 5, close_profit=0.1, result_r=0.1, closed_volume=0.1),
        closed(3, MIDNIGHT - 5, close_profit=0.2, result_r=0.2, closed_volume=0.2),
    ]
    store.commit(Batch(archived=odd))
    compact_all(store, MIDNIGHT)
    (found,) = everything(store.find_days)
    assert (found.closed, found.won, found.profit, found.r_sum) == (3, 2, 0.3, 0.3)
    assert (found.r_count, found.volume) == (2, 0.3)


def test_the_sums_of_a_day_grow(store: TradeStore) -> None:
    at = MIDNIGHT - 5
    even = closed(1, at, close_profit=0.0, result_r=0.0)
    store.commit(Batch(archived=[even], actions=[action("a1", at=at), action("a2", at=at)]))
    compact_all(store, MIDNIGHT)
    doubt = intent("i1", decided_at=at, identifier=9)
    store.commit(Batch(intents=[PendingIntent(intent=doubt)], actions=[action("a3", at=at)]))
    done = Outcome(intent_id="i1", kind=OutcomeKind.DONE, at=at)
    store.commit(Batch(archived=[closed(2, at, close_profit=-1.5)], outcomes=[done]))
    compact_all(store, MIDNIGHT, 1)
    (found,) = everything(store.find_days)
    assert (found.closed, found.won, found.lost, found.profit) == (2, 0, 1, -1.5)
    assert (found.r_sum, found.r_count) == (0.0, 1)
    assert found.actions == {"registered": {"none": 3}, "move_stop": {"done": 1}}


def test_any_symbol_has_a_sum(store: TradeStore) -> None:
    symbols = ("", "x" * 300, "\ud800", "€" * 120)
    trades = [closed(n, MIDNIGHT - 5, symbol=one) for n, one in enumerate(symbols, 1)]
    store.commit(Batch(archived=trades))
    compact_all(store, MIDNIGHT)
    assert {one.symbol for one in everything(store.find_days)} == set(symbols)
    pages = everything(store.find_days, limit=1)
    assert len(pages) == 4


def test_compaction_is_noted(store: TradeStore, tmp_path: Path) -> None:
    assert store.compacted_at() is None
    store.note_compacted(T0)
    store.close()
    again = TradeStore.open(tmp_path / "trades")
    assert again.compacted_at() == T0
    again.close()


# -- pages, against a sorted list


@st.composite
def queries(draw: st.DrawFn, *filters: str) -> dict[str, Any]:
    query: dict[str, Any] = {"limit": draw(st.integers(1, 6)), "oldest_first": draw(st.booleans())}
    wanted = draw(st.sampled_from((None, *filters)))
    if wanted is not None:
        query[wanted] = draw(st.integers(1, 3))
    since, until = sorted((draw(moments), draw(moments)))
    if draw(st.booleans()):
        query["since"] = since
    if draw(st.booleans()):
        query["until"] = until
    return query


def fits(at: float, query: dict[str, Any]) -> bool:
    return query.get("since", 0.0) <= at < query.get("until", math.inf)


def paged(
    find: Callable[[Query], Page[Any]], query: dict[str, Any], between: Callable[[], None]
) -> list[Any]:
    found: list[Any] = []
    cursor = None
    while True:
        page = find(Query(**query, cursor=cursor))
        assert len(page.items) <= query["limit"]
        found.extend(page.items)
        if page.next is None:
            return found
        assert len(page.items) == query["limit"]
        cursor = page.next
        between()


drawn_actions = st.lists(st.tuples(moments, st.integers(1, 3), st.booleans()), max_size=25)


def test_pages_of_actions_are_like_a_sorted_list(
    tmp_path_factory: pytest.TempPathFactory, rounds: Callable[..., int]
) -> None:
    @settings(unhurried, max_examples=rounds(ci=60, long=1000))
    @given(drawn_actions, queries("ticket"), st.lists(moments, max_size=6))
    def check(
        drawn: list[tuple[float, int, bool]], query: dict[str, Any], late: list[float]
    ) -> None:
        store = TradeStore.open(tmp_path_factory.mktemp("p") / "trades")
        told, group = [], []
        for nth, (at, ticket, now) in enumerate(drawn):
            one = action(f"a{nth}", at=at, ticket=ticket)
            told.append(one)
            group.append(one)
            if now:
                store.commit(Batch(actions=group))
                group = []
        store.commit(Batch(actions=group))
        expected = [
            one
            for _, one in sorted(enumerate(told), key=lambda pair: (pair[1].at, pair[0]))
            if fits(one.at, query) and one.ticket == query.get("ticket", one.ticket)
        ]
        if not query["oldest_first"]:
            expected.reverse()
        coming = iter(enumerate(late))

        def between() -> None:
            for nth, at in coming:
                ticket = query.get("ticket", 1)
                store.commit(Batch(actions=[action(f"late{nth}", at=at, ticket=ticket)]))
                return

        found = paged(store.find_actions, query, between)
        store.close()
        assert [one for one in found if not one.id.startswith("late")] == expected
        assert len({one.id for one in found}) == len(found), "one is told twice"

    check()


drawn_trades = st.lists(st.tuples(moments, st.integers(1, 3), st.integers(1, 3)), max_size=20)


def test_pages_of_trades_are_like_a_sorted_list(
    tmp_path_factory: pytest.TempPathFactory, rounds: Callable[..., int]
) -> None:
    @settings(unhurried, max_examples=rounds(ci=60, long=1000))
    @given(drawn_trades, queries("ticket", "identifier"))
    def check(drawn: list[tuple[float, int, int]], query: dict[str, Any]) -> None:
        store = TradeStore.open(tmp_path_factory.mktemp("p") / "trades")
        # a microsecond apart, in the order of their coming
        trades = [
            closed(identifier, at + nth * 1e-5, ticket=ticket, created_by=f"m{nth}")
            for nth, (at, identifier, ticket) in enumerate(drawn)
        ]
        for one in trades:
            store.commit(Batch(archived=[one]))
        compact_all(store, 0.0)
        number, identifier = query.get("ticket"), query.get("identifier")
        expected = [
            one
            for one in sorted(
                trades, key=lambda one: one.closed_at or 0, reverse=not query["oldest_first"]
            )
            if fits(round(one.closed_at or 0, 6), query)
            and number in (None, one.ticket, one.identifier)
            and identifier in (None, one.identifier)
        ]
        assert paged(store.find_history, query, lambda: None) == expected
        store.close()

    check()


def test_pages_of_days(store: TradeStore) -> None:
    days = [MIDNIGHT - n * DAY for n in range(1, 6)]
    store.commit(
        Batch(
            archived=[
                closed(10 * n + m, at + 1, symbol=symbol)
                for n, at in enumerate(days, 1)
                for m, symbol in enumerate(("A", "B"))
            ]
        )
    )
    compact_all(store, MIDNIGHT)
    first = int(MIDNIGHT // DAY)
    newest_first = [(first - n, symbol) for n in range(1, 6) for symbol in ("B", "A")]

    def asked(**query: Any) -> list[tuple[int, str]]:
        return [(one.day, one.symbol) for one in everything(store.find_days, **query)]

    assert asked(limit=3) == newest_first
    assert asked(limit=3, oldest_first=True) == newest_first[::-1]
    # a day belongs to what was asked if any of it does
    assert asked(since=days[1] + 5) == newest_first[:4]
    assert asked(until=days[1] + 5) == newest_first[2:]
    assert asked(since=days[2], until=days[1]) == newest_first[4:6]
    for field in ("ticket", "identifier"):
        with pytest.raises(Invalid) as told:
            store.find_days(Query(**{field: 3}))
        assert told.value.field == field


def test_compaction_does_not_shift_a_page(store: TradeStore) -> None:
    store.commit(Batch(archived=[closed(n, MIDNIGHT - DAY + n) for n in range(1, 9)]))
    page = store.find_history(Query(limit=3, oldest_first=True))
    compact_all(store, MIDNIGHT, 4)  # the cursor's own record is gone
    store.commit(Batch(archived=[closed(n, MIDNIGHT - DAY + n) for n in range(2, 9)]))
    rest = store.find_history(Query(limit=9, oldest_first=True, cursor=page.next))
    assert [one.identifier for one in page.items] == [1, 2, 3]
    assert [one.identifier for one in rest.items] == [4, 5, 6, 7, 8]


def test_a_trade_is_found_by_the_ticket_it_had_last(store: TradeStore) -> None:
    store.commit(Batch(trades=[trade(1)]))
    store.commit(Batch(trades=[trade(1, ticket=77)]))
    gone = closed(1, T0, ticket=77)
    store.commit(Batch(archived=[gone]))
    assert store.find_archived_ticket(77) == gone
    assert store.find_archived_ticket(1) == gone  # the ticket it began with
    assert store.find_archived_ticket(5) is None
    # archived once more, under another ticket: the old one leads nowhere
    later = replace(gone, ticket=78)
    store.commit(Batch(archived=[later]))
    assert store.find_archived_ticket(77) is None
    assert store.find_archived_ticket(78) == later


@pytest.mark.parametrize("at", [T0, 9.9e10])
def test_two_lives_that_end_in_one_microsecond_are_two(store: TradeStore, at: float) -> None:
    lives = [closed(1, at, created_by=f"m{n}") for n in range(3)]
    for one in lives:
        store.commit(Batch(archived=[one]))
    assert store.archived(identifier=1) == lives[::-1]
    assert len(everything(store.find_history)) == 3


def test_an_action_told_with_another_time_stands_there(store: TradeStore) -> None:
    store.commit(Batch(actions=[action("a1"), action("a2", at=T0 + 1)]))
    moved = action("a1", at=T0 + 2)
    store.commit(Batch(actions=[action("a3", at=T0 + 2), moved]))
    assert [one.id for one in store.actions()] == ["a1", "a3", "a2"]
    assert everything(store.find_actions, until=T0 + 1) == []
    assert store.action("a1") == moved


def test_an_index_that_points_at_nothing_is_damage(store: TradeStore) -> None:
    store.commit(Batch(archived=[closed(1, T0)], actions=[action(ticket=4)]))

    def lose(change: Change) -> None:
        for db in (HISTORY, ACTIONS):
            for key, _ in list(change.items(db)):
                change.delete(db, key)

    store.environment.run(lose)
    for ask in (
        lambda: store.find_history(Query(ticket=1)),
        lambda: store.find_actions(Query(ticket=4)),
        lambda: store.actions(ticket=4),
        lambda: store.archived(identifier=1),
    ):
        with pytest.raises(Damaged):
            ask()


CURSORS = ["x", "zz", "", "00" * 23, "00" * 25, "0" * 47, "00 " * 24, "٠٠" * 24, "-1" * 24]


@pytest.mark.parametrize("cursor", CURSORS)
def test_a_cursor_of_nothing_is_named(store: TradeStore, cursor: str) -> None:
    for find in (store.find_actions, store.find_history, store.find_days):
        if find == store.find_days and len(cursor) in (46, 50):
            continue  # any day and symbol
        with pytest.raises(Invalid) as told:
            find(Query(cursor=cursor))
        assert told.value.field == "cursor"
        assert told.value.remedy


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"limit": True}, "limit"),
        ({"limit": 5.0}, "limit"),
        ({"ticket": -1}, "ticket"),
        ({"ticket": 2**64}, "ticket"),
        ({"ticket": "5"}, "ticket"),
        ({"identifier": -1}, "identifier"),
        ({"ticket": 1, "identifier": 1}, "identifier"),
        ({"since": "yesterday"}, "since"),
        ({"since": ""}, "since"),
        ({"since": "2026-13-01"}, "since"),
        ({"since": "2026-02-30"}, "since"),
        ({"since": "2026-11-22T25:00"}, "since"),
        ({"since": "1969-12-31"}, "since"),
        ({"since": "2026-11-22T10:00:00Z" * 9}, "since"),
        ({"since": "٢٠٢٦-١١-٢٢"}, "since"),
        ({"since": math.nan}, "since"),
        ({"since": True}, "since"),
        ({"since": object()}, "since"),
        ({"until": "9999-12-31"}, "until"),
        ({"until": math.inf}, "until"),
        ({"since": "2026-11-22", "until": "2026-11-21T05:00Z"}, "since"),
    ],
)
def test_a_bad_question_is_named(asked: dict[str, Any], field: str) -> None:
    with pytest.raises(Invalid) as told:
        query_of(**asked)
    assert told.value.field == field
    assert told.value.remedy
    assert told.value.value is not None


NOON = 1_700_049_600.0  # 2023-11-15T12:00:00Z


@pytest.mark.parametrize(
    ("value", "since", "until"),
    [
        (NOON, NOON, NOON),
        ("2023-11-15T12:00:00Z", NOON, NOON),
        ("2023-11-15T12:00:00", NOON, NOON),
        (" 2023-11-15 12:00 ", NOON, NOON),
        ("2023-11-15T14:00:00+02:00", NOON, NOON),
        ("2023-11-15", NOON - DAY / 2, NOON + DAY / 2),
        (dt.date(2023, 11, 15), NOON - DAY / 2, NOON + DAY / 2),
        (dt.datetime(2023, 11, 15, 12, tzinfo=dt.UTC), NOON, NOON),
        (dt.datetime(2023, 11, 15, 12), NOON, NOON),  # noqa: DTZ001 - that is what is tested
        ("1970-01-01", 0.0, float(DAY)),
    ],
)
def test_a_moment_may_be_given_in_many_ways(value: Any, since: float, until: float) -> None:
    assert moment_of(value, "since") == since
    assert moment_of(value, "until", end=True) == until
    assert query_of(since=value, until=value) == Query(since=since, until=until)


# -- when


def test_the_horizon_is_a_midnight_and_never_too_young() -> None:
    assert horizon(MIDNIGHT + 5, 90) == MIDNIGHT - 90 * DAY
    assert horizon(MIDNIGHT, 90) == MIDNIGHT - 90 * DAY
    assert horizon(MIDNIGHT - 1, 90) == MIDNIGHT - 91 * DAY
    assert horizon(MIDNIGHT + 5, 0.25) == MIDNIGHT - DAY
    assert horizon(5.0, 90) == 0.0
    assert horizon(-(10.0**9), 90) == 0.0


def test_a_clock_that_leaps_is_not_believed_at_once() -> None:
    steady = first_look(T0, 0.0, T0 - AWAY)
    assert steady.wait == 0.0
    assert next_look(steady, T0 + LEAP, 0.0).wait == 0.0  # as suspends and corrections do
    leapt = next_look(steady, T0 + 365 * DAY, 60.0)
    assert leapt.wait == STEADY_FOR
    assert next_look(leapt, T0 + 365 * DAY + 300, 360.0).wait == STEADY_FOR - 300
    assert next_look(leapt, T0 + 365 * DAY + 600, 660.0).wait == 0.0
    again = next_look(leapt, T0 + 999 * DAY, 400.0)
    assert again.wait == STEADY_FOR
    # set back: everything is younger, nothing to doubt
    assert next_look(steady, T0 - 365 * DAY, 60.0).wait == 0.0


def test_a_clock_is_doubted_at_a_start_that_is_far_from_the_last_run() -> None:
    assert first_look(T0, 9.0, None).wait == STEADY_FOR
    assert first_look(T0, 9.0, T0 - AWAY - 1).wait == STEADY_FOR
    assert first_look(T0, 9.0, T0 + 99 * DAY).wait == 0.0


# -- from format 1 to format 2

FORMAT_1 = (
    *(TRADES, HISTORY, HISTORY_IDS, INTENTS, ACTIONS, ACTION_IDS, ACTION_TICKETS),
    *("applied", "applied_order"),
)
ids = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
u64 = st.integers(0, 2**64 - 1)
times = st.floats(0, 4e9)
any_trade = st.builds(
    lambda record, identifier, ticket, at: replace(
        record, identifier=identifier, ticket=ticket, closed_at=at
    ),
    strategy(TradeRecord),
    u64,
    u64,
    times,
)
any_action = st.builds(
    lambda record, name, ticket, at: replace(record, id=name, ticket=ticket, at=at),
    strategy(Action),
    ids,
    u64,
    times,
)


@settings(unhurried, max_examples=40)
@given(
    st.lists(any_trade, max_size=5, unique_by=lambda one: one.identifier),
    st.lists(any_trade, max_size=8, unique_by=lambda one: (one.identifier, one.closed_at)),
    st.lists(any_action, max_size=8, unique_by=lambda one: one.id),
    st.lists(ids, max_size=3, unique=True),
)
def test_the_step_from_format_1(
    tmp_path_factory: pytest.TempPathFactory,
    active: list[TradeRecord],
    archived: list[TradeRecord],
    actions: list[Action],
    names: list[str],
) -> None:
    folder = tmp_path_factory.mktemp("m")
    old = Environment.open(folder / "old", name="old", databases=FORMAT_1)
    pending = [PendingIntent(intent=intent(name)) for name in names]

    def as_format_1_did(change: Change) -> None:
        change.put(META, b"account", {"login": 7, "server": "S"})
        for one in active:
            change.put(TRADES, number_key(one.identifier, field="n"), trade_fields(one))
        for one in archived:
            number = number_key(one.identifier, field="n")
            at = moment_key(one.closed_at or 0.0, field="at")
            change.put(HISTORY, at + number, trade_fields(one))
            change.put(HISTORY_IDS, number + at, {})
        for nth, each in enumerate(actions):
            place = moment_key(each.at, field="at") + number_key(1, field="n")
            place += number_key(nth, field="n")
            change.put(ACTIONS, place, action_fields(each))
            change.put(ACTION_IDS, text_key(each.id, field="id"), {"key": place})
            change.put(ACTION_TICKETS, number_key(each.ticket, field="n") + place, {})
        for doubt in pending:
            key = text_key(doubt.intent.id, field="id")
            change.put(INTENTS, key, pending_fields(doubt))
        for nth, name in enumerate(names):
            change.put("applied", text_key(name, field="id"), {"n": nth})
            change.put("applied_order", number_key(nth, field="n"), {"id": name})

    old.run(as_format_1_did)
    with old.read() as view:
        rows = list(trades_1_to_2(view))
        kept = {db: list(view.items(db)) for db in (TRADES, HISTORY, INTENTS, ACTIONS, ACTION_IDS)}
    old.close()
    assert {key for db, key, _ in rows if db == META} == {b"account"}
    assert {db for db, _, _ in rows} <= {META, *DATABASES} - {DAYS}
    assert len({(db, key) for db, key, _ in rows}) == len(rows)
    new = TradeStore.open(folder / "new")
    new.environment.run(lambda change: [change.put(*row) for row in rows])
    with new.environment.read() as view:
        for db, records in kept.items():
            assert repr(list(view.items(db))) == repr(records)
    assert new.account() == (7, "S")
    assert set(new.load()[1]) == set(names)
    for one in archived:
        at = moment_key(one.closed_at or 0.0, field="at")
        twins = [
            other
            for other in archived
            if other.identifier == one.identifier
            and moment_key(other.closed_at or 0.0, field="at") == at
        ]
        if len(twins) > 1:
            continue  # format 1 kept one of them
        for query in (Query(ticket=one.ticket), Query(identifier=one.identifier)):
            assert repr(one) in map(repr, new.find_history(query).items)
    for each in actions:
        assert repr(new.action(each.id)) == repr(each)
        assert repr(each) in map(repr, new.find_actions(Query(ticket=each.ticket)).items)
    new.close()


# -- the audit


@pytest.fixture
def audit(tmp_path: Path) -> Iterator[AuditStore]:
    opened = AuditStore.open(tmp_path / "audit")
    yield opened
    opened.close()


def commands(audit: AuditStore) -> list[str]:
    return [entry.command for entry in audit.tail(99)]


def test_the_audit_is_bounded(audit: AuditStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(8):
        audit.append(AuditEntry(at=T0, command=f"c{number}", by="ops"))
    monkeypatch.setattr(audit_module, "ENTRIES_KEPT", 5)
    audit.append(AuditEntry(at=1.0, command="c8", by="ops"))  # a clock may be wrong
    assert commands(audit) == ["c8", "c7", "c6", "c5", "c4", "c3", "c2"]
    for number in range(9, 12):
        audit.append(AuditEntry(at=T0, command=f"c{number}", by="ops"))
    assert commands(audit) == ["c11", "c10", "c9", "c8", "c7"]
