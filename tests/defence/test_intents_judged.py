"""Intents: which holds back which, which comes too late, and what tells a deletion."""

from __future__ import annotations

from dataclasses import replace

import pytest
from defence_samples import NOW, closing, deal, history, intent, position, record
from hypothesis import given
from hypothesis import strategies as st
from test_doubt import outcome, settle

from defence.broker import Direction, Empty, History, Known, OrderFate, Position, Unknown
from defence.intents import blocks, overtaken_by
from defence.orders import Intent, IntentKind, Outcome, OutcomeKind
from defence.reconcile import HistoryRead

CLOSE = replace(intent(IntentKind.CLOSE, id="mine", volume=1.0), step=None)
PART = replace(CLOSE, kind=IntentKind.CLOSE_PART, volume=0.5)
STOP = replace(CLOSE, kind=IntentKind.MOVE_STOP, volume=0.0)
DELETE = intent(IntentKind.DELETE_ORDER, step=None, volume=0.0)
NEW = replace(CLOSE, id="new", decided_at=NOW)


@pytest.mark.parametrize(
    ("doubtful", "wanted", "hedging", "held"),
    [
        (CLOSE, NEW, False, True),
        (PART, NEW, False, True),
        (STOP, NEW, False, False),
        (CLOSE, NEW, True, False),
        (PART, NEW, True, False),
        (STOP, NEW, True, False),
        (replace(CLOSE, identifier=2), NEW, False, False),
        (DELETE, replace(DELETE, id="new"), False, False),
        (CLOSE, replace(DELETE, id="new"), False, False),
        (NEW, NEW, False, False),
    ],
)
def test_only_a_close_on_a_netting_account_is_held_back(
    doubtful: Intent, wanted: Intent, hedging: bool, held: bool
) -> None:
    assert blocks(doubtful, wanted, hedging=hedging) is held


def done(volume: float | None = 1.0, kind: OutcomeKind = OutcomeKind.DONE) -> Outcome:
    return Outcome(intent_id="new", kind=kind, at=NOW, volume=volume)


@pytest.mark.parametrize("doubtful", [CLOSE, PART])
@pytest.mark.parametrize("volume", [1.0, None])
def test_a_close_in_doubt_is_overtaken_by_one_that_closed_all(
    doubtful: Intent, volume: float | None
) -> None:
    found = overtaken_by(doubtful, NEW, done(volume))
    assert found is not None
    assert (found.intent_id, found.kind) == ("mine", OutcomeKind.NOT_DONE)
    assert found.resolved_by == "reconciliation"
    assert "new" in found.detail


@pytest.mark.parametrize(
    ("doubtful", "closed", "result"),
    [
        (STOP, NEW, done()),
        (CLOSE, replace(NEW, kind=IntentKind.CLOSE_PART), done()),
        (replace(CLOSE, identifier=2), NEW, done()),
        (NEW, NEW, done()),
        (CLOSE, NEW, done(0.5, OutcomeKind.PARTIAL)),
        (CLOSE, NEW, done(kind=OutcomeKind.UNKNOWN)),
        (CLOSE, NEW, done(kind=OutcomeKind.NOT_DONE)),
        # It found less than the doubtful one had: that one may have been done.
        (PART, replace(NEW, volume=0.5, volume_before=0.5), done(0.5)),
        (CLOSE, replace(NEW, volume=0.5), done(0.5)),
    ],
)
def test_otherwise_the_deals_must_tell(doubtful: Intent, closed: Intent, result: Outcome) -> None:
    assert overtaken_by(doubtful, closed, result) is None


def fate(order: OrderFate | None) -> Known[History]:
    return Known(History(identifier=1, deals=(), order=order))


@pytest.mark.parametrize(
    ("read", "second", "kind"),
    [
        (fate(OrderFate.DELETED), False, OutcomeKind.DONE),
        (fate(OrderFate.ENDED), False, OutcomeKind.NOT_DONE),
        (fate(OrderFate.WAITING), False, None),
        (fate(OrderFate.WAITING), True, OutcomeKind.NOT_DONE),
        (fate(None), True, None),
        (history(deal(), closing()), False, OutcomeKind.NOT_DONE),
        (Empty(), True, None),
        (None, True, None),
        (Unknown("busy"), True, None),
    ],
)
def test_a_deletion_is_told_from_the_orders_fate(
    read: HistoryRead | None, second: bool, kind: OutcomeKind | None
) -> None:
    made = settle(DELETE, read=read, second=second)
    assert outcome(made) == (None if kind is None else (kind, None))
    unread = read is None or isinstance(read, Unknown)
    assert made.needs_history == (frozenset({1}) if unread else frozenset())


WHOLE = replace(CLOSE, id="0123456789abcdef")


@pytest.mark.parametrize(
    ("comment", "kind"),
    [
        ("dtms 0123456789abcdef", OutcomeKind.DONE),
        ("dtms 01234567", OutcomeKind.DONE),
        ("dtms 0123", OutcomeKind.DONE),  # cut
        ("dtms 0123..", OutcomeKind.DONE),  # cut, and so marked
        ("[by the broker]", OutcomeKind.DONE),
        ("", OutcomeKind.DONE),
        ("dtms fedcba98", OutcomeKind.NOT_DONE),  # another order of ours
    ],
)
def test_a_deal_that_names_another_order_of_ours_is_not_this_ones(
    comment: str, kind: OutcomeKind
) -> None:
    made = settle(WHOLE, read=history(deal(), closing(reason=3, comment=comment)), trade=record())
    found = outcome(made)
    assert found is not None
    assert found[0] is kind


@given(st.text(max_size=31))
def test_no_comment_but_our_mark_and_a_strange_id_is_held_against_a_deal(comment: str) -> None:
    made = settle(WHOLE, read=history(deal(), closing(reason=3, comment=comment)), trade=record())
    found = outcome(made)
    assert found is not None
    strange = comment.startswith("dtms ") and len(comment) >= 13
    if not strange or comment.startswith("dtms 01234567"):
        assert found[0] is OutcomeKind.DONE


@pytest.mark.parametrize("reason", [0, 1, 2])
@pytest.mark.parametrize("order", [WHOLE, replace(WHOLE, kind=IntentKind.CLOSE_PART, volume=0.5)])
def test_what_a_person_closed_is_no_deed_of_ours(order: Intent, reason: int) -> None:
    by_hand = closing(reason=reason, volume=order.volume)
    rest = closing(reason=4, volume=0.5, ticket=201, order=21, time=30.0)
    deals = (deal(), by_hand) if order.kind is IntentKind.CLOSE else (deal(), by_hand, rest)
    made = settle(order, read=history(*deals), trade=record())
    assert outcome(made) == (OutcomeKind.NOT_DONE, None)
    assert len(made.archived) == 1


@pytest.mark.parametrize(
    ("before", "price", "reason", "direction", "kind"),
    [
        (1.09, 1.0949, 4, Direction.BUY, OutcomeKind.DONE),
        (1.09, 1.0920, 4, Direction.BUY, OutcomeKind.DONE),  # slipped, but not so far
        (1.09, 1.0910, 4, Direction.BUY, OutcomeKind.NOT_DONE),
        (1.09, 1.0900, 4, Direction.BUY, OutcomeKind.NOT_DONE),
        (1.09, 1.0850, 4, Direction.BUY, OutcomeKind.NOT_DONE),  # a gap: it cannot be told
        (None, 1.0850, 4, Direction.BUY, OutcomeKind.DONE),  # there was no other stop
        (1.09, 1.0949, 5, Direction.BUY, OutcomeKind.NOT_DONE),
        (1.09, 1.0949, 0, Direction.BUY, OutcomeKind.NOT_DONE),
        (1.10, 1.0951, 4, Direction.SELL, OutcomeKind.DONE),
        (1.10, 1.1000, 4, Direction.SELL, OutcomeKind.NOT_DONE),
    ],
)
def test_a_stop_change_is_told_from_where_the_position_was_stopped_out(
    before: float | None, price: float, reason: int, direction: Direction, kind: OutcomeKind
) -> None:
    change = intent(stop_before=before, direction=direction, take_profit=None)
    opening = deal(direction=direction)
    other = Direction.SELL if direction is Direction.BUY else Direction.BUY
    end = closing(price=price, reason=reason, direction=other)
    trade = record(direction=direction, stop_loss=before)
    made = settle(change, read=history(opening, end), trade=trade)
    assert outcome(made) == (kind, None)
    assert len(made.archived) == 1


def test_ours_beside_a_persons_is_still_ours() -> None:
    half = replace(WHOLE, kind=IntentKind.CLOSE_PART, volume=0.5)
    ours = closing(reason=3, volume=0.5, order=30, ticket=300)
    by_hand = closing(reason=0, volume=0.5, order=31, ticket=301)
    for deals in ((ours, by_hand), (by_hand, ours)):
        made = settle(half, read=history(deal(), *deals), trade=record())
        assert outcome(made) == (OutcomeKind.DONE, 0.5)
        assert made.outcomes[0].order == 30


def test_a_filled_order_is_no_deleted_one() -> None:
    there: Position = position(direction=Direction.SELL)
    made = settle(DELETE, there, read=fate(OrderFate.WAITING))
    assert outcome(made) == (OutcomeKind.NOT_DONE, None)
