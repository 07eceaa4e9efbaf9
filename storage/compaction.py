"""Compaction: old details become sums by day, in steps that each are one transaction.

Sum and deletion are in the same transaction, so a crash between two steps
counts nothing twice and loses nothing. A step goes on from the key where the
last one ended; one that begins anew only looks again at what must stay.

What stays, however old: everything of a position whose trade is active or
released, or that has an order in doubt (an action's id is what keeps an order
from being sent, or told, a second time); and actions whose trade is still
among the archived ones, so that a trade and what was done to it go together.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Final

from defence.days import DAY, DaySummary, added, of_action, of_trade
from storage.fields import action_from, day_fields, day_from, pending_from, trade_from
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
    TRADES,
)
from storage.view import Change, View

STEP: Final = 250  # records a step looks at: some milliseconds
_SYMBOL: Final = 100  # characters of a symbol that name a sum; MetaTrader 5 has 31
_PHASES: Final = (HISTORY, ACTIONS)


@dataclass(frozen=True, slots=True)
class Resume:
    """Where the next step goes on: behind the key `after` of a database."""

    db: str = HISTORY
    after: bytes = b""


@dataclass(frozen=True, slots=True)
class Compacted:
    """What a step did; `resume` is None when nothing more is old enough."""

    trades: int
    actions: int
    kept: int
    resume: Resume | None


class _Sums:
    """The sums of one step, by day and symbol."""

    def __init__(self) -> None:
        self._sums: dict[bytes, DaySummary] = {}

    def add(self, summary: DaySummary) -> None:
        key = number_key(summary.day, field="day") + _stem(summary.symbol)
        known = self._sums.get(key)
        self._sums[key] = summary if known is None else added(known, summary)

    def write(self, change: Change) -> None:
        for key, summary in self._sums.items():
            stored = change.get(DAYS, key)
            whole = summary if stored is None else added(day_from(stored), summary)
            change.put(DAYS, key, day_fields(whole))


def compact(change: Change, before: float, resume: Resume, limit: int = STEP) -> Compacted:
    """Compact up to `limit` records from before a moment (UTC epoch seconds).

    Raises Damaged or FolderRefused for a record that cannot be read; then
    nothing has changed.
    """
    rows = change.walk(
        resume.db,
        low=resume.after + b"\0" if resume.after else b"",
        high=moment_key(before, field="before"),
    )
    found = list(islice(rows, limit))
    doubtful = _doubtful(change)
    sums = _Sums()
    gone = 0
    for place, fields in found:
        day = _day(place)
        if resume.db == HISTORY:
            trade = trade_from(fields)
            if _open(change, trade.identifier, doubtful):
                continue
            sums.add(of_trade(trade, day))
            forget_trade(change, place, trade.identifier, trade.ticket)
        else:
            action = action_from(fields)
            if _open(change, action.identifier, doubtful) or _archived(change, action.identifier):
                continue
            sums.add(of_action(action, day))
            forget_action(change, place, action.id, action.ticket)
        gone += 1
    sums.write(change)
    is_trade = resume.db == HISTORY
    return Compacted(
        trades=gone if is_trade else 0,
        actions=0 if is_trade else gone,
        kept=len(found) - gone,
        resume=_next(resume.db, [place for place, _ in found], limit),
    )


def forget_trade(change: Change, place: bytes, identifier: int, ticket: int) -> None:
    """Delete an archived trade with what points at it."""
    change.delete(HISTORY, place)
    change.delete(HISTORY_IDS, number_key(identifier, field="identifier") + place)
    change.delete(HISTORY_TICKETS, number_key(ticket, field="ticket") + place)


def forget_action(change: Change, place: bytes, action_id: str, ticket: int) -> None:
    """Delete an action with what points at it."""
    change.delete(ACTIONS, place)
    change.delete(ACTION_IDS, text_key(action_id, field="id"))
    change.delete(ACTION_TICKETS, number_key(ticket, field="ticket") + place)


def _next(db: str, places: list[bytes], limit: int) -> Resume | None:
    if len(places) == limit:
        return Resume(db, places[-1])
    return Resume(ACTIONS) if db == HISTORY else None


def _day(place: bytes) -> int:
    """Return the UTC day of a place, whose first 8 bytes are microseconds (`moment_key`)."""
    return int.from_bytes(place[:8], "big") // (DAY * 1_000_000)


def _doubtful(view: View) -> frozenset[int]:
    return frozenset(pending_from(fields).intent.identifier for _, fields in view.items(INTENTS))


def _open(view: View, identifier: int, doubtful: Iterable[int]) -> bool:
    return identifier in doubtful or view.has(TRADES, number_key(identifier, field="identifier"))


def _archived(view: View, identifier: int) -> bool:
    prefix = number_key(identifier, field="identifier")
    return view.newest_key(HISTORY_IDS, prefix) is not None


def _stem(symbol: str) -> bytes:
    return symbol[:_SYMBOL].encode("utf-8", "surrogatepass")
