"""Missing for a moment, twice, is not gone: an absence is one of reads without a gap."""

from __future__ import annotations

from defence_samples import NOW, closing, deal, history, position, record, snapshot

from defence.broker import Empty
from defence.gone import UNBROKEN
from defence.reconcile import HistoryRead, Plan, ReconcileRules, plan
from defence.trade import Standing, TradeRecord

OPEN = history(deal())  # opened, and never closed


def look(
    trade: TradeRecord,
    at: float,
    before: float,
    read: HistoryRead,
    *,
    there: bool = False,
    **numbers: float,
) -> Plan:
    """Plan with a look at `at`; the known one before it was at `before`."""
    return plan(
        trades={1: trade},
        pending={},
        snapshot=snapshot(*([position(**numbers)] if there else []), at=at),
        histories={1: read},
        now=at + 1,
        rules=ReconcileRules(),
        plan_id=f"p{at}",
        known_before=before,
    )


def absent(trade: TradeRecord, times: list[float], read: HistoryRead) -> tuple[Plan, TradeRecord]:
    """Return the last plan of known looks without the position, and the trade before it."""
    made, before = Plan(), NOW - 30
    for at in times:
        trade = made.trades[0] if made.trades else trade
        made, before = look(trade, at, before, read), at
    return made, trade


def test_two_moments_with_an_outage_between_are_no_absence() -> None:
    back = NOW + 3600
    made, _ = absent(record(), [NOW, back], Empty())
    (kept,) = made.trades
    assert (made.archived, made.notices, made.waiting) == ((), (), {1})
    assert kept.missing_since == back
    assert made.actions == ()  # it was told at the first
    again = look(kept, back + 1, back, OPEN, there=True)
    assert (again.trades[0].standing, again.trades[0].missing_since) == (Standing.GUARDED, None)


def test_an_absence_without_a_gap_comes_to_its_end() -> None:
    made, _ = absent(record(), [NOW, NOW + 3600, NOW + 3631, NOW + 3662], Empty())
    assert [old.standing for old in made.archived] == [Standing.UNEXPLAINED]
    made, _ = absent(record(), [NOW, NOW + UNBROKEN], Empty())
    assert [old.standing for old in made.archived] == [Standing.UNEXPLAINED]
    made, _ = absent(record(), [NOW, NOW + UNBROKEN + 0.1], Empty())
    assert made.archived == ()


def test_a_guard_that_has_just_started_begins_anew() -> None:
    made = look(record(missing_since=NOW - 1000), NOW, float("-inf"), Empty())
    assert made.archived == ()
    assert made.trades[0].missing_since == NOW


def test_one_whose_numbers_are_broken_is_listed_all_the_same() -> None:
    trade = look(record(), NOW, NOW - 30, Empty()).trades[0]
    assert trade.missing_since == NOW
    listed = look(trade, NOW + 30, NOW, Empty(), there=True, volume=0.0)
    (there,) = listed.trades
    assert (there.missing_since, there.volume, listed.waiting) == (None, 1.0, {1})
    assert look(there, NOW + 30, NOW, Empty(), there=True, volume=0.0).trades == ()
    gone = look(there, NOW + 75, NOW + 30, Empty())
    assert (gone.archived, gone.trades[0].missing_since) == ((), NOW + 75)


def test_where_history_has_it_open_the_closing_deal_is_waited_for() -> None:
    rounds = [NOW + 50 * count for count in range(6)]
    made, left = absent(record(), rounds, OPEN)
    assert (made.archived, made.waiting) == ((), {1})
    ended = look(left, NOW + 280, NOW + 250, history(deal(), closing()))
    assert [old.standing for old in ended.archived] == [Standing.CLOSED]
    # But not for ever.
    made = look(left, NOW + 300, NOW + 250, OPEN)
    assert [old.standing for old in made.archived] == [Standing.UNEXPLAINED]
    assert [notice.key for notice in made.notices] == ["unexplained:1"]


def test_history_that_has_lost_the_opening_says_nothing_of_what_is_open() -> None:
    made, _ = absent(record(), [NOW, NOW + 31, NOW + 62], history(closing(volume=0.5)))
    assert [old.standing for old in made.archived] == [Standing.UNEXPLAINED]
