"""Intents in doubt: every kind of evidence, and waiting where there is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from defence_samples import NOW, closing, deal, history, intent, position, record, snapshot

from defence.broker import Deal, Direction, Empty, History, Known, OrderFate, Position, Unknown
from defence.orders import Intent, IntentKind, OutcomeKind, PendingIntent
from defence.reconcile import Adoption, HistoryRead, Plan, ReconcileRules, apply, plan
from defence.trade import Standing, Step, TradeRecord

HALF = intent(IntentKind.CLOSE_PART)
ALL = replace(intent(IntentKind.CLOSE, volume=1.0), step=None)
RULES = ReconcileRules(adoption=Adoption.ADOPT)


def settle(
    order: Intent,
    *positions: Position,
    read: HistoryRead | None = None,
    trade: TradeRecord | None = None,
    second: bool = False,
    told: bool = False,
    since: float = 30.0,
    unbroken: bool = True,
) -> Plan:
    """Plan with one intent in doubt, at the first read or some time after it."""
    stored = {} if trade is None else {trade.identifier: trade}
    doubt = PendingIntent(intent=order, first_read_at=NOW - since if second else None, told=told)
    pending = {order.id: doubt}
    look = snapshot(*positions)
    histories = {} if read is None else {order.identifier: read}

    def planned(trades: Any, doubts: Any, at: float) -> Plan:
        return plan(
            trades=trades,
            pending=doubts,
            snapshot=look,
            histories=histories,
            now=at,
            rules=RULES,
            plan_id="p",
            known_before=NOW - (30 if unbroken else 3600),
        )

    made = planned(stored, pending, NOW + 1)
    assert planned(*apply(made, stored, pending), NOW + 2).empty
    return made


def outcome(made: Plan) -> tuple[OutcomeKind, float | None] | None:
    if not made.outcomes:
        return None
    (found,) = made.outcomes
    assert found.resolved_by == "reconciliation"
    assert found.detail
    assert [action.id for action in made.actions if action.outcome is found] == [found.intent_id]
    return found.kind, found.volume


@pytest.mark.parametrize(
    ("stop", "second", "kind"),
    [
        (1.095, False, OutcomeKind.DONE),
        (1.0950049, False, OutcomeKind.DONE),
        (1.09501, False, None),
        (1.09, False, None),
        (1.09, True, OutcomeKind.NOT_DONE),
        (1.07, False, None),
        (1.07, True, OutcomeKind.NOT_DONE),
        (None, True, OutcomeKind.NOT_DONE),
    ],
)
def test_a_stop_change_is_told_from_the_stop(
    stop: float | None, second: bool, kind: OutcomeKind | None
) -> None:
    made = settle(intent(), position(stop_loss=stop), trade=record(), second=second)
    assert outcome(made) == (None if kind is None else (kind, None))
    if kind is OutcomeKind.DONE:
        (trade,) = made.trades
        assert (trade.steps, trade.stop_loss, trade.hold_until) == ((Step.L1_STOP,), stop, 0.0)
    elif kind is None:
        assert made.trades == ()
        assert made.waiting == {1}


def test_a_stop_that_is_neither_is_a_manual_change() -> None:
    (trade,) = settle(intent(), position(stop_loss=1.07), trade=record(), second=True).trades
    assert (trade.attempts, trade.stop_loss) == (1, 1.07)
    assert trade.hold_until == NOW + 1 + 3600
    (plain,) = settle(intent(), position(), trade=record(), second=True).trades
    assert (plain.attempts, plain.stop_loss, plain.hold_until) == (1, 1.09, 0.0)


def test_nothing_else_about_the_trade_changes_while_in_doubt() -> None:
    there = position(ticket=9, take_profit=1.3, volume=0.9, price_open=1.2)
    made = settle(intent(), there, trade=record())
    assert made.trades == ()
    assert made.archived == ()
    assert made.pending == (PendingIntent(intent=intent(), first_read_at=NOW),)


def test_a_look_from_before_the_order_says_nothing() -> None:
    late = intent(decided_at=NOW + 0.5)
    made = settle(late, position(stop_loss=1.095), trade=record())
    assert made == Plan(waiting=frozenset({1}))


def test_a_trade_in_doubt_that_is_listed_is_not_missing() -> None:
    made = settle(intent(), position(), trade=record(missing_since=NOW - 40))
    assert made.outcomes == ()
    assert [trade.missing_since for trade in made.trades] == [None]


def test_a_first_read_in_the_future_counts_anew() -> None:
    doubt = PendingIntent(intent=intent(), first_read_at=NOW + 5000)
    made = plan(
        trades={1: record()},
        pending={doubt.intent.id: doubt},
        snapshot=snapshot(position()),
        histories={},
        now=NOW,
        rules=RULES,
        plan_id="p",
    )
    assert made.pending == (PendingIntent(intent=intent(), first_read_at=NOW),)


OURS = closing(volume=0.5, reason=3, price=1.105, order=30, ticket=300)
EARLIER = closing(volume=0.5, reason=3, price=1.2, order=15, ticket=150, time=15.0)
STOPPED = closing(volume=0.5, reason=4, order=40, ticket=400, time=30.0)
BY_HAND = closing(volume=0.3, reason=0, order=41, ticket=401, time=30.0)


def at_work(*deals: Deal, order: OrderFate = OrderFate.WAITING) -> Known[History]:
    return Known(History(identifier=1, deals=(deal(), *deals), order=order))


AT_WORK = at_work()


@pytest.mark.parametrize(
    ("volume", "read", "second", "expected"),
    [
        # By the volume that is left.
        (0.5, None, False, (OutcomeKind.DONE, 0.5)),
        (1.0, None, False, None),
        # As before: not done, unless an order is still at work on it.
        (1.0, None, True, None),
        (1.0, Unknown("busy"), True, None),
        (1.0, AT_WORK, True, None),
        (1.0, at_work(order=OrderFate.UNREAD), True, None),
        (0.8, at_work(replace(OURS, volume=0.2), order=OrderFate.UNREAD), True, None),
        (1.0, history(deal()), True, (OutcomeKind.NOT_DONE, None)),
        (1.0, Empty(), True, (OutcomeKind.NOT_DONE, None)),
        # A part of it is filled, and the order works for the rest: it is not known yet.
        (0.8, at_work(replace(OURS, volume=0.2)), False, None),
        (0.8, at_work(replace(OURS, volume=0.2)), True, None),
        (0.7, at_work(BY_HAND), True, None),
        (0.5, at_work(replace(OURS, volume=0.2), replace(BY_HAND, ticket=402)), True, None),
        (0.5, at_work(OURS), False, (OutcomeKind.DONE, 0.5)),  # what works is another's
        # Another volume: history is asked, and its word counts.
        (0.8, None, True, None),
        (0.8, Unknown("busy"), True, None),
        (0.8, history(deal(), replace(OURS, volume=0.2)), False, (OutcomeKind.PARTIAL, 0.2)),
        (0.7, history(deal(), BY_HAND), False, None),
        (0.7, history(deal(), BY_HAND), True, (OutcomeKind.NOT_DONE, None)),
        (0.2, history(deal(), OURS, BY_HAND), False, (OutcomeKind.DONE, 0.5)),
        (1.5, history(deal(), deal(ticket=101, volume=0.5)), True, (OutcomeKind.NOT_DONE, None)),
        # The history does not reach: the volume speaks, at the second read.
        (0.8, Empty(), False, None),
        (0.8, Empty(), True, (OutcomeKind.PARTIAL, 0.2)),
        (0.3, Empty(), True, (OutcomeKind.DONE, 0.5)),
        # An order of the same volume from before the intent is not ours.
        (1.0, history(deal(volume=1.5), EARLIER), True, (OutcomeKind.NOT_DONE, None)),
        (0.7, history(deal(volume=1.5), EARLIER, BY_HAND), True, (OutcomeKind.NOT_DONE, None)),
    ],
)
def test_a_partial_close_is_told_from_deals_and_volume(
    volume: float, read: HistoryRead | None, second: bool, expected: object
) -> None:
    made = settle(HALF, position(volume=volume), read=read, trade=record(), second=second)
    assert outcome(made) == expected
    if expected is None:
        assert made.waiting == {1}
        assert made.trades == ()
        unread = read is None or isinstance(read, Unknown)
        asks = unread and (second or volume == 0.8)
        assert made.needs_history == (frozenset({1}) if asks else frozenset())


FITS_NEVER = history(deal(volume=3.0))  # the deals between are lost
REVERSED = history(deal(), closing(entry=2, volume=2.0, reason=0))


@pytest.mark.parametrize(
    ("order", "volume", "read", "since", "expected"),
    [
        # It was filled after the look, and before the deals were read.
        (HALF, 1.0, history(deal(), OURS), 30, None),
        (ALL, 0.8, history(deal(), *(replace(OURS, volume=v) for v in (0.2, 0.8))), 30, None),
        (HALF, 0.8, history(deal(), *(replace(OURS, volume=0.2) for _ in "ab")), 30, None),
        # The deals are late.
        (HALF, 0.8, history(deal()), 30, None),
        (HALF, 0.5, history(deal()), 30, (OutcomeKind.DONE, 0.5)),
        # But not for ever.
        (HALF, 1.0, FITS_NEVER, 299, None),
        (HALF, 1.0, FITS_NEVER, 300, (OutcomeKind.NOT_DONE, None)),
        (HALF, 0.8, FITS_NEVER, 300, (OutcomeKind.PARTIAL, 0.2)),
        # Deals that do not say what is open: without the opening, or with a reversal.
        (HALF, 1.0, history(BY_HAND), 30, (OutcomeKind.NOT_DONE, None)),
        (HALF, 1.0, REVERSED, 30, (OutcomeKind.NOT_DONE, None)),
        # Noise, and several openings.
        (HALF, 1.0, history(deal(volume=1.0 + 1e-12)), 30, (OutcomeKind.NOT_DONE, None)),
        (HALF, 1.0, history(*(deal(volume=0.1, ticket=n) for n in range(10))), 30, "not done"),
    ],
)
def test_deals_of_another_moment_than_the_volume_settle_nothing(
    order: Intent, volume: float, read: HistoryRead, since: float, expected: object
) -> None:
    there = position(volume=volume)
    made = settle(order, there, read=read, trade=record(), second=True, since=since)
    assert outcome(made) == ((OutcomeKind.NOT_DONE, None) if expected == "not done" else expected)
    # The first look after an outage may be of such a moment, however old the doubt.
    made = settle(order, there, read=read, trade=record(), second=True, since=since, unbroken=False)
    assert (outcome(made) is None) is (expected is None or read is FITS_NEVER)


@pytest.mark.parametrize("fate", [OrderFate.WAITING, OrderFate.UNREAD])
@pytest.mark.parametrize("order", [HALF, ALL])
def test_nothing_is_said_of_what_is_gone_while_an_order_may_be_at_work(
    order: Intent, fate: OrderFate
) -> None:
    made = settle(order, read=at_work(order=fate), trade=record(), second=True)
    assert (made.outcomes, made.waiting) == ((), {1})
    ended = settle(order, read=at_work(closing(), order=fate), trade=record())
    assert outcome(ended) == (OutcomeKind.NOT_DONE, None)
    assert [old.standing for old in ended.archived] == [Standing.CLOSED]


def test_a_close_in_several_fills_is_one_order() -> None:
    fills = history(
        deal(),
        replace(OURS, volume=0.2, price=1.1, ticket=300),
        replace(OURS, volume=0.3, price=1.2, ticket=301),
    )
    made = settle(HALF, position(volume=0.5), read=fills, trade=record())
    (found,) = made.outcomes
    assert (found.kind, found.volume) == (OutcomeKind.DONE, 0.5)
    assert found.price == pytest.approx(1.16)
    assert (found.order, found.deal) == (30, 301)


def test_of_two_orders_alike_a_programs_is_ours_then_the_comment() -> None:
    hand = replace(OURS, reason=0, order=31, ticket=302)
    other = replace(OURS, order=32, ticket=303, comment="elsewhere")
    named = replace(OURS, order=33, ticket=304, comment="dtms intent-0001")
    small = replace(HALF, volume_before=2.0)
    read = history(deal(volume=2.0), hand, other, named)
    made = settle(small, position(volume=0.5), read=read, trade=record(volume=2.0))
    assert made.outcomes[0].order == 33
    trade = record(volume=2.0)
    read = history(deal(volume=2.0), hand, other)
    made = settle(small, position(volume=1.0), read=read, trade=trade)
    assert made.outcomes[0].order == 32


@pytest.mark.parametrize("order", [intent(), HALF, ALL], ids=["stop", "half", "all"])
def test_a_position_that_is_gone_needs_its_history(order: Intent) -> None:
    for read in (None, Unknown("busy")):
        made = settle(order, read=read, trade=record(), second=True)
        assert made.outcomes == ()
        assert made.archived == ()
        assert made.needs_history == {1}
        assert made.waiting == {1}


@pytest.mark.parametrize(
    ("order", "read", "expected"),
    [
        (ALL, history(deal(), closing(reason=3)), (OutcomeKind.DONE, 1.0)),
        (ALL, history(deal(), closing()), (OutcomeKind.NOT_DONE, None)),
        (HALF, history(deal(), OURS, STOPPED), (OutcomeKind.DONE, 0.5)),
        (HALF, history(deal(), closing()), (OutcomeKind.NOT_DONE, None)),
        (intent(), history(deal(), closing()), (OutcomeKind.NOT_DONE, None)),
    ],
)
def test_the_end_of_a_position_resolves_and_archives(
    order: Intent, read: HistoryRead, expected: object
) -> None:
    made = settle(order, read=read, trade=record())
    assert outcome(made) == expected
    assert [old.standing for old in made.archived] == [Standing.CLOSED]
    assert made.trades == ()


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (ALL, (OutcomeKind.DONE, 1.0)),
        (HALF, (OutcomeKind.NOT_DONE, None)),
        (intent(), (OutcomeKind.NOT_DONE, None)),
    ],
)
def test_gone_without_a_deal_waits_for_a_second_read(order: Intent, expected: object) -> None:
    assert outcome(settle(order, read=Empty(), trade=record())) is None
    made = settle(order, read=Empty(), trade=record(), second=True)
    assert outcome(made) == expected
    assert made.archived == ()


def test_a_reversed_position_is_no_evidence_for_ours() -> None:
    there = position(direction=Direction.SELL, stop_loss=1.095)
    made = settle(intent(), there, trade=record())
    assert made.outcomes == ()
    assert made.needs_history == {1}


def test_an_intent_for_what_is_not_stored_is_resolved_before_adoption() -> None:
    made = settle(ALL, position())
    assert made.trades == ()
    assert made.waiting == {1}
    settled = settle(ALL, position(), read=history(deal()), second=True)
    assert [found.kind for found in settled.outcomes] == [OutcomeKind.NOT_DONE]
    assert [trade.standing for trade in settled.trades] == [Standing.GUARDED]
    gone = settle(ALL, read=history(deal(), closing()))
    assert outcome(gone) == (OutcomeKind.NOT_DONE, None)


def test_deleting_an_order_is_told_by_its_filling_or_by_a_person() -> None:
    delete = intent(IntentKind.DELETE_ORDER, step=None)
    filled = settle(delete, position())
    assert [found.kind for found in filled.outcomes] == [OutcomeKind.NOT_DONE]
    assert outcome(settle(delete)) is None
    made = settle(delete, second=True)
    assert made.outcomes == ()
    assert [notice.key for notice in made.notices] == ["in-doubt:intent-0001"]
    assert made.pending[0].told
    assert settle(delete, second=True, told=True).notices == ()


def test_two_intents_for_one_trade_are_settled_in_their_order() -> None:
    first = intent(id="a", decided_at=NOW - 200, step=None, stop_loss=1.093)
    second = intent(id="b", stop_before=1.093)
    made = plan(
        trades={1: record()},
        pending={
            "b": PendingIntent(intent=second, first_read_at=NOW - 30),
            "a": PendingIntent(intent=first, first_read_at=NOW - 30),
        },
        snapshot=snapshot(position(stop_loss=1.095)),
        histories={},
        now=NOW + 1,
        rules=RULES,
        plan_id="p",
    )
    assert [(found.intent_id, found.kind) for found in made.outcomes] == [
        ("a", OutcomeKind.NOT_DONE),
        ("b", OutcomeKind.DONE),
    ]
    assert made.trades[0].stop_loss == 1.095


def test_what_history_tells_of_the_opening_is_learned_with_the_outcome() -> None:
    fresh = record(commission_per_lot=None)
    made = settle(HALF, position(volume=0.5), read=history(deal(), OURS), trade=fresh)
    (trade,) = made.trades
    assert (trade.volume, trade.commission_per_lot) == (0.5, -3.5)


def test_the_same_look_is_never_a_second_read() -> None:
    doubt = PendingIntent(intent=intent(), first_read_at=NOW)
    made = plan(
        trades={1: record()},
        pending={doubt.intent.id: doubt},
        snapshot=snapshot(position()),
        histories={},
        now=NOW + 100,
        rules=replace(RULES, in_doubt_wait=0.0),
        plan_id="p",
    )
    assert made == Plan(waiting=frozenset({1}))
