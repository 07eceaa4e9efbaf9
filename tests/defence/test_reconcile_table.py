"""The table of DESIGN, Reconciliation: the same rows in the same order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from defence_samples import NOW, closing, deal, history, intent, position, quote, record, snapshot

from defence.broker import Direction, Empty, Position, Snapshot, Unknown
from defence.errors import AccountRefused
from defence.orders import IntentKind, OutcomeKind, PendingIntent
from defence.reconcile import Adoption, HistoryRead, Plan, ReconcileRules, apply, plan
from defence.rules import ADOPTED, WATCHED
from defence.trade import Standing, Step, TradeRecord, TradeState

RULES = ReconcileRules()


def run(
    *trades: TradeRecord,
    look: Snapshot | Unknown,
    pending: tuple[PendingIntent, ...] = (),
    histories: dict[int, HistoryRead] | None = None,
    rules: ReconcileRules = RULES,
) -> Plan:
    now = NOW if isinstance(look, Unknown) else look.taken_at
    before = now - 30  # the known look before this one
    made = plan(
        trades={trade.identifier: trade for trade in trades},
        pending={doubt.intent.id: doubt for doubt in pending},
        snapshot=look,
        histories=histories or {},
        now=now,
        rules=rules,
        plan_id="p",
        known_before=before,
    )
    # Every row is idempotent: once applied, the same look changes nothing.
    after, doubts = apply(
        made,
        {trade.identifier: trade for trade in trades},
        {doubt.intent.id: doubt for doubt in pending},
    )
    again = plan(
        trades=after,
        pending=doubts,
        snapshot=look,
        histories=histories or {},
        now=now + 1,
        rules=rules,
        plan_id="q",
        known_before=before,
    )
    assert again.empty
    return made


def kinds(made: Plan) -> list[str]:
    return [action.kind for action in made.actions]


def stored_and_closed() -> None:
    ended = history(deal(), closing())
    made = run(record(), look=snapshot(), histories={1: ended})
    (old,) = made.archived
    assert (old.standing, old.state) == (Standing.CLOSED, TradeState.CLOSED)
    assert (old.close_reason, old.close_price) == ("sl", 1.09)
    assert old.close_profit == -1000 - 2 - 0.5 - 3.5 - 3.5
    assert made.trades == ()
    assert kinds(made) == ["closed"]


def stored_and_unexplained() -> None:
    first = run(record(), look=snapshot(), histories={1: Empty()})
    (missed,) = first.trades
    assert missed.missing_since == NOW
    assert first.archived == ()
    assert first.waiting == {1}
    early = run(missed, look=snapshot(at=NOW + 59.9), histories={1: Empty()})
    assert early.empty
    unread = run(missed, look=snapshot(at=NOW + 60))
    assert unread.empty
    assert unread.needs_history == {1}
    unknown = run(missed, look=snapshot(at=NOW + 60), histories={1: Unknown("no answer")})
    assert unknown.empty
    assert unknown.needs_history == {1}
    made = run(missed, look=snapshot(at=NOW + 60), histories={1: Empty()})
    (old,) = made.archived
    assert (old.standing, old.close_price, old.close_profit) == (Standing.UNEXPLAINED, None, None)
    assert [notice.key for notice in made.notices] == ["unexplained:1"]


def not_stored() -> None:
    look = snapshot(position(), quotes={"EURUSD": quote(1.094)})
    ignored = run(look=look, rules=replace(RULES, adoption=Adoption.IGNORE))
    assert ignored == Plan()
    (watched,) = run(look=look).trades
    assert (watched.standing, watched.managed_by) == (Standing.OBSERVED, WATCHED)
    made = run(look=look, rules=replace(RULES, adoption=Adoption.ADOPT))
    (adopted,) = made.trades
    assert (adopted.standing, adopted.managed_by) == (Standing.GUARDED, ADOPTED)
    assert adopted.state is TradeState.HEALTHY
    assert adopted.peak_r == pytest.approx(-0.6)
    assert adopted.initial_stop == 1.09
    assert made.needs_history == {1}
    assert kinds(made) == ["adopted"]


def released() -> None:
    free = record(standing=Standing.RELEASED)
    look = snapshot(position(stop_loss=1.05, volume=0.2))
    rules = replace(RULES, adoption=Adoption.ADOPT)
    assert run(free, look=look, rules=rules) == Plan()
    ended = run(free, look=snapshot(), histories={1: history(deal(), closing())})
    assert [old.standing for old in ended.archived] == [Standing.CLOSED]


def new_ticket() -> None:
    before = record(state=TradeState.WARNING_L1, peak_r=1.5, steps=(Step.L1_STOP,))
    made = run(before, look=snapshot(position(ticket=77)))
    assert made.trades == (replace(before, ticket=77, revision=2, updated_at=NOW + 0.01),)
    assert kinds(made) == ["ticket_changed"]


def volume_smaller() -> None:
    made = run(record(closed_volume=0.2), look=snapshot(position(volume=0.7)))
    (trade,) = made.trades
    assert (trade.volume, trade.closed_volume) == (0.7, 0.5)
    assert (trade.initial_stop, trade.hold_until) == (1.09, 0.0)
    assert kinds(made) == ["partial_close"]


def volume_larger_or_price_changed() -> None:
    before = record(peak_r=2.0, state=TradeState.WARNING_L1, initial_stop=1.08)
    for changes in ({"volume": 2.0}, {"price_open": 1.0995}):
        made = run(before, look=snapshot(position(**changes)))
        (trade,) = made.trades
        assert trade.initial_stop == 1.09
        assert trade.peak_r == trade.result_r
        assert trade.result_r == pytest.approx(
            (1.1 - trade.entry_price) / (trade.entry_price - 1.09)
        )
        assert trade.entry_price == changes.get("price_open", 1.1)
        assert trade.volume == changes.get("volume", 1.0)
        assert trade.state is TradeState.WARNING_L1
        assert kinds(made) == ["resized"]
        assert made.needs_history == {1}  # the commission of what was added
    beyond = run(before, look=snapshot(position(volume=2.0, stop_loss=1.12)))
    assert beyond.trades[0].initial_stop is None
    assert beyond.trades[0].result_r is None
    assert kinds(beyond) == ["resized", "manual_change"]


def stops_differ() -> None:
    trade = record()
    for count, changes in enumerate(
        ({"stop_loss": 1.091}, {"take_profit": 1.2}, {"stop_loss": None}), start=1
    ):
        there = position(stop_loss=trade.stop_loss, take_profit=trade.take_profit)
        there = replace(there, **changes)  # type: ignore[arg-type] # one field at a time
        made = run(trade, look=snapshot(there, at=NOW + 100 * count))
        (trade,) = made.trades
        assert (trade.stop_loss, trade.take_profit) == (there.stop_loss, there.take_profit)
        assert trade.hold_until == NOW + 100 * count + 0.01 + 3600
        assert kinds(made) == ["manual_change"]
        third = count == 3
        assert trade.standing is (Standing.OBSERVED if third else Standing.GUARDED)
        assert len(made.notices) == third
    # Changes further apart than the window are no fight.
    calm = record(contradictions=(NOW - 700, NOW - 650))
    (trade,) = run(calm, look=snapshot(position(stop_loss=1.08))).trades
    assert trade.standing is Standing.GUARDED
    assert trade.contradictions == (NOW + 0.01,)


def direction_or_symbol_differ() -> None:
    for changes in ({"direction": Direction.SELL}, {"symbol": "GBPUSD"}):
        made = run(
            record(),
            look=snapshot(position(stop_loss=None, **changes)),
            rules=replace(RULES, adoption=Adoption.ADOPT),
        )
        (old,) = made.archived
        (new,) = made.trades
        assert (old.identifier, old.standing) == (1, Standing.UNEXPLAINED)
        assert (new.identifier, new.managed_by) == (1, ADOPTED)
        assert len(made.notices) == 1
        assert kinds(made) == ["reversed", "adopted"]
    known = history(deal(), closing(entry=2, volume=2.0, reason=3))
    look = snapshot(position(direction=Direction.SELL))
    (old,) = run(record(), look=look, histories={1: known}).archived
    assert (old.standing, old.close_reason) == (Standing.CLOSED, "reversed")


def unknown() -> None:
    doubt = PendingIntent(intent=intent())
    made = run(
        record(missing_since=NOW - 1000),
        look=Unknown("no connection"),
        pending=(doubt,),
        histories={1: history(deal(), closing())},
    )
    assert made == Plan(unknown="no connection")


def another_account() -> None:
    with pytest.raises(AccountRefused):
        run(record(), look=snapshot(), rules=replace(RULES, account=(8, "Demo")))
    with pytest.raises(AccountRefused):
        run(record(), look=snapshot(), rules=replace(RULES, account=(7, "Real")))
    assert run(record(), look=snapshot(position()), rules=replace(RULES, account=(7, "Demo"))).empty


def in_doubt() -> None:
    trade, there = record(), position(stop_loss=1.095)
    done = run(trade, look=snapshot(there), pending=(PendingIntent(intent=intent()),))
    assert [outcome.kind for outcome in done.outcomes] == [OutcomeKind.DONE]
    assert done.trades[0].steps == (Step.L1_STOP,)
    # A close is told from the volume; "not executed" takes two reads 30 s apart.
    order = intent(IntentKind.CLOSE_PART)
    half = snapshot(position(volume=0.5))
    closed = run(trade, look=half, pending=(PendingIntent(intent=order),))
    assert [outcome.kind for outcome in closed.outcomes] == [OutcomeKind.DONE]
    assert (closed.trades[0].volume, closed.trades[0].closed_volume) == (0.5, 0.5)
    first = run(trade, look=snapshot(position()), pending=(PendingIntent(intent=order),))
    assert first == Plan(
        pending=(PendingIntent(intent=order, first_read_at=NOW),), waiting=frozenset({1})
    )
    later = run(trade, look=snapshot(position(), at=NOW + 29.9), pending=first.pending)
    assert later == Plan(waiting=frozenset({1}))
    look = snapshot(position(), at=NOW + 30)
    assert run(trade, look=look, pending=first.pending).needs_history == {1}
    settled = run(trade, look=look, pending=first.pending, histories={1: history(deal())})
    assert [outcome.kind for outcome in settled.outcomes] == [OutcomeKind.NOT_DONE]
    assert settled.trades[0].attempts == 1


def damaged() -> None:
    # A backup is older than the account: every difference is met at once.
    there = (
        position(ticket=70, volume=0.5, stop_loss=1.095),
        position(identifier=3, ticket=3),
    )
    made = run(record(), record(identifier=2, ticket=2), look=snapshot(*there))
    restored = {trade.identifier: trade for trade in made.trades}
    assert (restored[1].ticket, restored[1].volume, restored[1].stop_loss) == (70, 0.5, 1.095)
    assert restored[2].missing_since == NOW
    assert restored[3].standing is Standing.OBSERVED
    assert made.archived == ()


ROWS: list[Callable[[], None]] = [
    stored_and_closed,
    stored_and_unexplained,
    not_stored,
    released,
    new_ticket,
    volume_smaller,
    volume_larger_or_price_changed,
    stops_differ,
    direction_or_symbol_differ,
    unknown,
    another_account,
    in_doubt,
    damaged,
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.__name__)
def test_row(row: Callable[[], None]) -> None:
    row()


# Beside the table


def test_rules_for_positions_that_are_not_stored() -> None:
    rules = ReconcileRules(
        adoption=Adoption.ADOPT,
        overrides=(
            (5, "EUR*", Adoption.OBSERVE),
            (None, "*JPY", Adoption.IGNORE),
            (9, None, Adoption.IGNORE),
        ),
    )
    cases: list[tuple[dict[str, Any], Adoption]] = [
        ({"symbol": "EURUSD", "magic": 5}, Adoption.OBSERVE),
        ({"symbol": "EURJPY", "magic": 5}, Adoption.OBSERVE),
        ({"symbol": "EURJPY", "magic": 6}, Adoption.IGNORE),
        ({"symbol": "EURUSD", "magic": 9}, Adoption.IGNORE),
        ({"symbol": "EURUSD", "magic": 6}, Adoption.ADOPT),
        ({"symbol": "eurjpy", "magic": 6}, Adoption.ADOPT),
    ]
    for changes, adoption in cases:
        assert rules.adoption_of(position(**changes)) is adoption


def test_a_position_that_reappears_is_no_longer_missing() -> None:
    made = run(record(missing_since=NOW - 30), look=snapshot(position()))
    assert made.trades[0].missing_since is None
    assert kinds(made) == ["reappeared"]


def test_a_partial_close_in_history_is_not_the_end() -> None:
    part = history(deal(), closing(volume=0.5))
    made = run(record(), look=snapshot(), histories={1: part})
    assert made.archived == ()
    assert made.waiting == {1}
    # Nor is it where history has lost the opening deal.
    cut = history(closing(volume=0.5))
    trade = record(volume=0.5, closed_volume=0.5)
    assert run(trade, look=snapshot(), histories={1: cut}).archived == ()


def test_price_and_profit_of_an_end_in_parts() -> None:
    parts = history(
        deal(),
        closing(volume=0.25, price=1.12, profit=500, ticket=201, reason=3, time=15.0),
        closing(volume=0.75, price=1.16, profit=4500, ticket=202, reason=5),
    )
    (old,) = run(record(), look=snapshot(), histories={1: parts}).archived
    assert old.close_price == pytest.approx(1.15)
    assert old.close_profit == pytest.approx(5000 - 3 * 3.5 - 2 * 2.5)
    assert (old.close_reason, old.closed_volume) == ("tp", 1.0)


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        (0, "client"),
        (1, "mobile"),
        (2, "web"),
        (3, "expert"),
        (4, "sl"),
        (5, "tp"),
        (6, "stop out"),
    ],
)
def test_the_words_for_what_closed(reason: int, word: str) -> None:
    ended = history(deal(), closing(reason=reason))
    (old,) = run(record(), look=snapshot(), histories={1: ended}).archived
    assert old.close_reason == word


def test_a_look_from_before_the_last_outcome_or_registration_is_ignored() -> None:
    for field in ("last_outcome_at", "registered_at"):
        trade = record(**{field: NOW + 0.005})
        assert run(trade, look=snapshot(position(stop_loss=1.05, volume=0.5))).empty
        gone = run(trade, look=snapshot(), histories={1: history(deal(), closing())})
        assert gone.empty
        assert gone.waiting == {1}


def test_history_supplies_the_opening_stop_and_the_commission() -> None:
    trade = record(commission_per_lot=None, initial_stop_fixed=False, stop_loss=1.12)
    there = snapshot(position(stop_loss=1.12))
    assert run(trade, look=there).needs_history == {1}
    known = history(deal(fee=-0.5), opening_stop=1.08)
    (learned,) = run(trade, look=there, histories={1: known}).trades
    assert (learned.initial_stop, learned.commission_per_lot) == (1.08, -4.0)
    # A registered stop is never replaced, nor one at or beyond the entry taken.
    (kept,) = run(
        record(commission_per_lot=None), look=snapshot(position()), histories={1: known}
    ).trades
    assert kept.initial_stop == 1.09
    beyond = history(deal(), opening_stop=1.1)
    (unusable,) = run(trade, look=there, histories={1: beyond}).trades
    assert unusable.initial_stop == 1.09
    # Nothing to be learned is learned once; no answer is asked again.
    (empty,) = run(trade, look=there, histories={1: Empty()}).trades
    assert empty.commission_per_lot == 0.0
    assert run(trade, look=there, histories={1: Unknown("busy")}).empty


def test_unknown_risk_is_told_once() -> None:
    blind = record(initial_stop=None, initial_stop_fixed=False, commission_per_lot=None)
    made = run(blind, look=snapshot(position()), histories={1: Empty()})
    assert [notice.key for notice in made.notices] == ["risk-unknown:1"]
    assert made.trades[0].risk_alerted
    again = replace(made.trades[0], commission_per_lot=None)
    assert run(again, look=snapshot(position()), histories={1: Empty()}).notices == ()


def test_adoption_uses_a_history_that_is_at_hand() -> None:
    look = snapshot(position(stop_loss=1.12), quotes={"EURUSD": quote(1.11)})
    known = history(deal(), opening_stop=1.08)
    rules = replace(RULES, adoption=Adoption.ADOPT)
    (trade,) = run(look=look, histories={1: known}, rules=rules).trades
    assert (trade.initial_stop, trade.revision) == (1.08, 1)
    assert trade.peak_r == pytest.approx(0.5)


def test_a_broken_read_of_a_position_counts_as_unknown() -> None:
    twice = run(record(), look=snapshot(position(), position(volume=0.5)))
    assert twice == Plan(waiting=frozenset({1}))
    for changes in (
        {"volume": 0.0},
        {"volume": float("nan")},
        {"price_open": float("inf")},
        {"stop_loss": float("nan")},
        {"take_profit": -1.0},
    ):
        made = run(record(), look=snapshot(position(**changes)))
        assert made == Plan(waiting=frozenset({1}))


def test_positions_beside_each_other_do_not_mix() -> None:
    def other(**changes: Any) -> Position:
        return position(identifier=2, ticket=2, **changes)

    made = run(
        record(), record(identifier=2, ticket=2), look=snapshot(position(), other(volume=0.4))
    )
    assert [trade.identifier for trade in made.trades] == [2]


def test_a_first_miss_in_the_future_counts_anew() -> None:
    made = run(record(missing_since=NOW + 5000), look=snapshot(), histories={1: Empty()})
    assert made.trades[0].missing_since == NOW
