"""Reconciliation: what is stored against what the broker shows, as one pure function.

DESIGN's table, row by row. Facts come from the broker; none is invented, and
nothing is ever removed on unknown. A second run on the same look changes
nothing. The parts: `adopt` (not stored), `compare` (stored and there), `gone`
(stored and not there), `doubt` (intents without outcome).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import chain

from defence.adopt import found, learn
from defence.alerts import Notice, Severity
from defence.broker import Position, Snapshot, Unknown
from defence.compare import differences
from defence.doubt import resolve
from defence.gone import UNBROKEN, closed, missing, replaced
from defence.grid import is_price
from defence.orders import PendingIntent
from defence.outcomes import predates, revised
from defence.plans import (
    Adoption,
    Finding,
    HistoryRead,
    Look,
    Plan,
    ReconcileRules,
    apply,
    check_account,
)
from defence.trade import Standing, TradeRecord

__all__ = [
    "Adoption",
    "HistoryRead",
    "PendingIntent",
    "Plan",
    "ReconcileRules",
    "apply",
    "check_account",
    "plan",
]


def plan(
    *,
    trades: Mapping[int, TradeRecord],
    pending: Mapping[str, PendingIntent],
    snapshot: Snapshot | Unknown,
    histories: Mapping[int, HistoryRead],
    now: float,
    rules: ReconcileRules,
    plan_id: str,
    known_before: float = -math.inf,
) -> Plan:
    """Return what a look at the broker changes.

    `trades` are the guarded, observed and released records by identifier,
    `pending` the intents without outcome by id, `histories` what was read of
    those positions that were asked for. `now` is the guard's clock; ids of
    actions begin with `plan_id`. Snapshots must be given in the order in which
    they were taken; `known_before` is the `asked_at` of the one before, on which
    it rests whether a trade was missing all the time. Raises `AccountRefused` if
    the snapshot is another account's, before anything else is looked at.
    """
    if isinstance(snapshot, Unknown):
        return Plan(unknown=snapshot.reason)
    if rules.account is not None:
        check_account(rules.account, snapshot.account)
    look = Look(snapshot=snapshot, histories=histories, now=now, rules=rules, plan_id=plan_id)
    unbroken = 0 <= look.asked_at - known_before <= UNBROKEN
    book, unclear = _book(snapshot)
    doubts: dict[int, list[PendingIntent]] = {}
    for doubt in sorted(
        pending.values(), key=lambda doubt: (doubt.intent.decided_at, doubt.intent.id)
    ):
        doubts.setdefault(doubt.intent.identifier, []).append(doubt)
    findings: dict[int, Finding] = {}
    for identifier in sorted({*trades, *book, *doubts, *unclear}):
        record, position = trades.get(identifier), book.get(identifier)
        if identifier in unclear:
            findings[identifier] = replace(_listed(record, look), waiting=True)
        elif identifier in doubts:
            findings[identifier] = _doubtful(
                doubts[identifier], record, position, look, unbroken=unbroken
            )
        elif record is None:
            findings[identifier] = Finding() if position is None else found(position, look)
        elif record.active or record.standing is Standing.RELEASED:
            findings[identifier] = (
                missing(record, look, unbroken=unbroken)
                if position is None
                else _present(record, position, look)
            )
    return _merged(findings)


def _book(snapshot: Snapshot) -> tuple[dict[int, Position], set[int]]:
    """Return the positions by identifier, and the identifiers of which nothing can be said.

    Two positions under one identifier, or one whose numbers are none, is a
    broken read of that position: it counts as unknown, not as missing.
    """
    book: dict[int, Position] = {}
    unclear: set[int] = set()
    for position in snapshot.open_positions():
        if position.identifier in book or not _sound(position):
            unclear.add(position.identifier)
        book[position.identifier] = position
    return {key: position for key, position in book.items() if key not in unclear}, unclear


def _sound(position: Position) -> bool:
    stops = (position.stop_loss, position.take_profit)
    return (
        position.identifier > 0
        and is_price(position.price_open)
        and math.isfinite(position.volume)
        and position.volume > 0
        and all(stop is None or is_price(stop) for stop in stops)
    )


def _listed(record: TradeRecord | None, look: Look) -> Finding:
    """Return that the position is listed, whatever else can be said of it: it is not missing."""
    if record is None or record.missing_since is None:
        return Finding()
    return Finding(trade=revised(record, look.now, replace(record, missing_since=None)))


def _present(record: TradeRecord, position: Position, look: Look) -> Finding:
    old_look = predates(record, look.asked_at, look.now)
    if not _same(record, position):
        if old_look or record.standing is Standing.RELEASED:
            return Finding()
        return _reversed(record, position, look)
    finding = Finding() if old_look else differences(record, position, look)
    after = record if finding.trade is None else finding.trade
    learned = learn(after, look)
    if learned.trade is not None:
        # One change of the record, however much it learned.
        learned = replace(learned, trade=replace(learned.trade, revision=record.revision + 1))
    return _both(finding, learned)


def _same(record: TradeRecord, position: Position) -> bool:
    return position.direction is record.direction and position.symbol == record.symbol


def _reversed(record: TradeRecord, position: Position, look: Look) -> Finding:
    """Archive the old record; the position under its identifier is a trade not stored."""
    old = replaced(record, look)
    detail = (
        f"{record.direction.value} {record.symbol} is now "
        f"{position.direction.value} {position.symbol}"
    )
    notice = Notice(
        key=f"reversed:{record.identifier}:{record.revision}",
        severity=Severity.WARNING,
        title=f"{record.symbol} {record.ticket} has become another trade",
        text=f"Under identifier {record.identifier}, {detail}. The old trade is archived, the new "
        "one is handled as any position that is not registered.",
    )
    archived = Finding(
        archived=old, actions=(look.action(record, "reversed", detail),), notices=(notice,)
    )
    return _both(archived, found(position, look))


def _doubtful(
    doubts: Iterable[PendingIntent],
    record: TradeRecord | None,
    position: Position | None,
    look: Look,
    *,
    unbroken: bool,
) -> Finding:
    """Resolve what can be resolved; all else about the trade waits for the next look.

    Four things need not wait: that it is listed, so not missing any more; a position
    whose end is in history is archived, for no later look could say more; one that
    is not stored is handled as such, for this look is from after the order; and what
    history tells of the opening.
    """
    whole = Finding() if position is None else _listed(record, look)
    after = record if whole.trade is None else whole.trade
    for doubt in doubts:
        whole = _both(whole, resolve(doubt, after, position, look, unbroken=unbroken))
        after = after if whole.trade is None else whole.trade
    if whole.waiting:
        return whole
    if after is None:
        return whole if position is None else _both(whole, found(position, look))
    if position is not None:
        return _both(whole, learn(after, look)) if _same(after, position) else whole
    ended = closed(after, look)
    return whole if ended is None else replace(_both(whole, ended), trade=None)


def _both(first: Finding, second: Finding) -> Finding:
    return Finding(
        trade=first.trade if second.trade is None else second.trade,
        archived=first.archived if second.archived is None else second.archived,
        outcomes=(*first.outcomes, *second.outcomes),
        pending=(*first.pending, *second.pending),
        actions=(*first.actions, *second.actions),
        notices=(*first.notices, *second.notices),
        needs_history=first.needs_history or second.needs_history,
        waiting=first.waiting or second.waiting,
    )


def _merged(findings: Mapping[int, Finding]) -> Plan:
    all_of = findings.values()
    return Plan(
        trades=tuple(finding.trade for finding in all_of if finding.trade is not None),
        archived=tuple(finding.archived for finding in all_of if finding.archived is not None),
        outcomes=tuple(chain.from_iterable(finding.outcomes for finding in all_of)),
        pending=tuple(chain.from_iterable(finding.pending for finding in all_of)),
        actions=tuple(chain.from_iterable(finding.actions for finding in all_of)),
        notices=tuple(chain.from_iterable(finding.notices for finding in all_of)),
        needs_history=frozenset(key for key, finding in findings.items() if finding.needs_history),
        waiting=frozenset(key for key, finding in findings.items() if finding.waiting),
    )
