"""What holds of reconciliation for any book, any store and any history."""

from __future__ import annotations

from dataclasses import replace

import pytest
from defence_samples import NOW, closing, deal, facts, intent, position, quote, record, snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from defence.broker import Direction, Empty, History, Known, Position, Unknown
from defence.errors import Invalid
from defence.orders import IntentKind, PendingIntent
from defence.reconcile import Adoption, HistoryRead, Plan, ReconcileRules, apply, plan
from defence.trade import Standing, Step, TradeRecord

_IDS = st.integers(1, 4)
_STOPS = st.sampled_from([None, 1.08, 1.09, 1.095, 1.11])
_VOLUMES = st.sampled_from([0.5, 1.0, 1.5])
_SIDES = st.sampled_from(list(Direction))
_TIMES = st.sampled_from([0.0, NOW - 100, NOW - 60, NOW - 1, NOW + 0.5, NOW + 999])
_MAYBE_TIMES = st.none() | _TIMES


@st.composite
def positions(draw: st.DrawFn) -> Position:
    identifier = draw(_IDS)
    return position(
        identifier=identifier,
        ticket=draw(st.sampled_from([identifier, identifier + 10])),
        symbol=draw(st.sampled_from(["EURUSD", "GBPUSD"])),
        direction=draw(_SIDES),
        volume=draw(_VOLUMES | st.floats()),
        price_open=draw(st.sampled_from([1.1, 1.1, 1.1, 1.102, float("nan")])),
        stop_loss=draw(_STOPS),
        take_profit=draw(st.sampled_from([None, 1.15])),
        magic=draw(st.integers(0, 2)),
    )


@st.composite
def records(draw: st.DrawFn) -> TradeRecord:
    identifier = draw(_IDS)
    return record(
        identifier=identifier,
        ticket=identifier,
        direction=draw(_SIDES),
        volume=draw(_VOLUMES),
        stop_loss=draw(_STOPS),
        initial_stop=draw(_STOPS),
        initial_stop_fixed=draw(st.booleans()),
        commission_per_lot=draw(st.sampled_from([None, 0.0])),
        standing=draw(st.sampled_from([Standing.GUARDED, Standing.OBSERVED, Standing.RELEASED])),
        missing_since=draw(_MAYBE_TIMES),
        last_outcome_at=draw(_TIMES),
        registered_at=draw(_TIMES),
        contradictions=tuple(draw(st.lists(_TIMES, max_size=3))),
    )


@st.composite
def doubts(draw: st.DrawFn) -> PendingIntent:
    kind = draw(st.sampled_from(list(IntentKind)))
    identifier = draw(_IDS)
    return PendingIntent(
        intent=intent(
            kind,
            id=f"intent-{draw(st.integers(1, 5))}",
            identifier=identifier,
            direction=draw(_SIDES),
            step=draw(st.sampled_from([None, *Step])),
            decided_at=draw(_TIMES),
        ),
        first_read_at=draw(_MAYBE_TIMES),
        told=draw(st.booleans()),
    )


@st.composite
def reads(draw: st.DrawFn) -> HistoryRead:
    which = draw(st.integers(0, 4))
    if which == 0:
        return Unknown("busy")
    if which == 1:
        return Empty()
    deals = [deal()] if draw(st.booleans()) else []
    deals += [
        closing(
            ticket=200 + count,
            order=20 + draw(st.integers(0, 1)),
            volume=draw(_VOLUMES),
            reason=draw(st.integers(0, 12)),
            direction=draw(_SIDES),
        )
        for count in range(draw(st.integers(0, 3)))
    ]
    return Known(History(identifier=1, deals=tuple(deals), opening_stop=draw(_STOPS)))


RULES = st.builds(
    ReconcileRules,
    adoption=st.sampled_from(list(Adoption)),
    in_doubt_wait=st.sampled_from([0.0, 30.0]),
    missing_wait=st.sampled_from([0.0, 60.0]),
    overrides=st.sampled_from([(), ((1, "EUR*", Adoption.ADOPT), (2, None, Adoption.IGNORE))]),
)


def stored(trades: list[TradeRecord]) -> dict[int, TradeRecord]:
    return {trade.identifier: trade for trade in trades}


def pended(pending: list[PendingIntent]) -> dict[str, PendingIntent]:
    return {doubt.intent.id: doubt for doubt in pending}


_WORLD = {
    "trades": st.lists(records(), max_size=4).map(stored),
    "pending": st.lists(doubts(), max_size=2).map(pended),
    "histories": st.dictionaries(_IDS, reads(), max_size=4),
    "rules": RULES,
}


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    book=st.lists(positions(), max_size=5),
    known_before=st.sampled_from([float("-inf"), NOW - 30]),
    **_WORLD,
)
def test_any_look_is_settled_soundly(
    book: list[Position],
    known_before: float,
    trades: dict[int, TradeRecord],
    pending: dict[str, PendingIntent],
    histories: dict[int, HistoryRead],
    rules: ReconcileRules,
) -> None:
    look = snapshot(*book, quotes={"EURUSD": quote(1.101)}, symbols={"EURUSD": facts()})

    def planned(
        now: float, have: dict[int, TradeRecord], open_doubts: dict[str, PendingIntent]
    ) -> Plan:
        return plan(
            trades=have,
            pending=open_doubts,
            snapshot=look,
            histories=histories,
            now=now,
            rules=rules,
            plan_id="p",
            known_before=known_before,
        )

    made = planned(NOW + 1, trades, pending)
    after, left = apply(made, trades, pending)

    # One record for an identifier, and each under its own.
    changed = [trade.identifier for trade in made.trades]
    archived = [trade.identifier for trade in made.archived]
    assert len(changed) == len(set(changed))
    assert len(archived) == len(set(archived))
    assert all(trade.identifier == key for key, trade in after.items())

    # Conservation: every stored trade is kept, changed or archived; both only where replaced.
    book_of = {there.identifier: there for there in book}
    for key, trade in trades.items():
        assert (key in after) or (key in archived)
        if key in archived and key in changed:
            assert book_of[key].direction is not trade.direction or (
                book_of[key].symbol != trade.symbol
            )
    assert set(archived) <= set(trades)
    assert set(after) <= set(trades) | set(book_of)
    for intent_id, doubt in pending.items():
        resolved = [found.intent_id for found in made.outcomes].count(intent_id)
        assert resolved + (intent_id in left) == 1
        # A frozen trade: nothing about it changes while its intent waits, but that it is there.
        identifier = doubt.intent.identifier
        frozen = all(
            other.intent.id in left
            for other in pending.values()
            if other.intent.identifier == identifier
        )
        if frozen:
            assert identifier not in archived
            if identifier in changed:
                there, was = after[identifier], trades[identifier]
                assert identifier in book_of
                assert (there.missing_since, was.missing_since is None) == (None, False)
                assert there == replace(
                    was, missing_since=None, revision=there.revision, updated_at=NOW + 1
                )

    # Nothing is removed without a history, nor what the book still shows as it was.
    for old in made.archived:
        shown = book_of.get(old.identifier)
        assert shown is not None or isinstance(histories.get(old.identifier), Known | Empty)

    # Revisions go up by what was written; released trades are never adopted.
    for trade in made.trades:
        before = trades.get(trade.identifier)
        if before is not None and before.standing is Standing.RELEASED:
            assert trade.standing is Standing.RELEASED
        if before is not None and trade.identifier not in archived:
            assert trade.revision > before.revision
    ids = [action.id for action in made.actions]
    assert len(ids) == len(set(ids))

    # Idempotent: the same look changes nothing any more.
    again = planned(NOW + 2, after, left)
    assert again.empty


@settings(deadline=None, derandomize=True)
@given(**_WORLD)
def test_nothing_changes_on_unknown(
    trades: dict[int, TradeRecord],
    pending: dict[str, PendingIntent],
    histories: dict[int, HistoryRead],
    rules: ReconcileRules,
) -> None:
    made = plan(
        trades=trades,
        pending=pending,
        snapshot=Unknown("no connection"),
        histories=histories,
        now=NOW,
        rules=rules,
        plan_id="p",
    )
    assert made == Plan(unknown="no connection")
    assert apply(made, trades, pending) == (trades, pending)


@settings(deadline=None, derandomize=True)
@given(trades=_WORLD["trades"], rules=RULES)
def test_a_missing_trade_always_comes_to_an_end(
    trades: dict[int, TradeRecord], rules: ReconcileRules
) -> None:
    left = trades
    for step in range(4):
        made = plan(
            trades=left,
            pending={},
            snapshot=snapshot(at=NOW + 1000 + 40 * step),
            histories=dict.fromkeys(trades, Empty()),
            now=NOW + 1001 + 40 * step,
            known_before=NOW + 960 + 40 * step,
            rules=rules,
            plan_id=f"p{step}",
        )
        left, _ = apply(made, left, {})
    assert left == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("manual_hold", -1.0),
        ("missing_wait", float("nan")),
        ("in_doubt_wait", float("inf")),
        ("contradiction_window", -0.1),
        ("contradiction_limit", 0),
    ],
)
def test_rules_that_make_no_sense_are_refused(field: str, value: float) -> None:
    with pytest.raises(Invalid) as caught:
        replace(ReconcileRules(), **{field: value})  # type: ignore[arg-type] # one at a time
    assert caught.value.field == field
