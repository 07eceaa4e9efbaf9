"""The trade store: trades, their history, pending intents and the actions.

The Registry is its only writer. One `commit` is one durable transaction, made
of as many batches as the mailbox held: a batch is what one message changes,
and batches apply in their order. Everything is idempotent by id, because after
a kill some commits are durable though nobody was told (LMDB.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from defence.days import DaySummary
from defence.errors import AccountRefused, Fault
from defence.history import Page, Query
from defence.orders import Action, Intent, Outcome, OutcomeKind, PendingIntent, action_of
from defence.trade import TradeRecord
from storage.compaction import STEP, Compacted, Resume, compact, forget_trade
from storage.environment import MAP_SIZE, Environment
from storage.fields import (
    action_fields,
    action_from,
    pending_fields,
    pending_from,
    trade_fields,
    trade_from,
)
from storage.history import NUMBER, action_page, day_page, indexed, trade_page
from storage.keys import moment_key, number_key, text_key
from storage.layout import (
    ACCOUNT_KEY,
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
from storage.reading import number, text, whole
from storage.view import Change, View

DATABASES: Final = (
    TRADES,
    HISTORY,
    HISTORY_IDS,
    HISTORY_TICKETS,
    DAYS,
    INTENTS,
    ACTIONS,
    ACTION_IDS,
    ACTION_TICKETS,
)

_COMPACTED: Final = b"compacted"  # when compaction last came to its end


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one message changes. Applied in the order of the fields.

    `archived` moves a trade from the active ones into the history. An outcome
    ends its intent, unless it is UNKNOWN: that one stays pending until it is
    resolved; either way the action with id = intent's id tells of it.
    """

    trades: Sequence[TradeRecord] = ()
    archived: Sequence[TradeRecord] = ()
    intents: Sequence[PendingIntent] = ()
    outcomes: Sequence[Outcome] = ()
    actions: Sequence[Action] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """What a commit did: `sequence` grows by one with every commit.

    `unmatched` are outcomes without a pending intent: settled before, or
    never journalled. They changed nothing.
    """

    sequence: int
    unmatched: tuple[str, ...] = ()


class TradeStore:
    """The environment `trades`. Made by `TradeStore.open`; it has one owner."""

    def __init__(
        self, environment: Environment, on_bind: Callable[[int, str], None] | None = None
    ) -> None:
        self._env = environment
        self._on_bind = on_bind

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        on_bind: Callable[[int, str], None] | None = None,
        map_size: int = MAP_SIZE,
    ) -> TradeStore:
        """Open or make the store in the folder `path`; errors as `Environment.open`.

        `on_bind` is told login and server before the store is bound to them.
        """
        opened = Environment.open(path, name="trades", databases=DATABASES, map_size=map_size)
        return cls(opened, on_bind)

    @property
    def environment(self) -> Environment:
        """The environment, for backups and checks."""
        return self._env

    def account(self) -> tuple[int, str] | None:
        """Return login and server that the store belongs to, None if it is new."""
        with self._env.read() as view:
            return _account(view)

    def bind(self, login: int, server: str) -> None:
        """Make the store belong to an account for ever; AccountRefused if it has another."""

        def work(change: Change) -> bool:
            bound = _account(change)
            if bound is not None and bound != (login, server):
                raise AccountRefused(
                    f"the store belongs to {bound[0]} on {bound[1]!r}, "
                    f"not to {login} on {server!r}",
                    field="data_dir",
                    value=str(self._env.path),
                    remedy="choose another data folder for this account",
                )
            if bound is None:
                change.put(META, ACCOUNT_KEY, {"login": login, "server": server})
            return bound is None

        with self._env.read() as view:
            free = _account(view) is None
        if free and self._on_bind is not None:
            # the folder first: should the process die between, the next start
            # binds the store to what the folder says
            self._on_bind(login, server)
        self._env.run(work)

    def sequence(self) -> int:
        """Return the number of the newest commit, 0 for a new store."""
        return self._env.sequence

    def load(self) -> tuple[dict[int, TradeRecord], dict[str, PendingIntent]]:
        """Return trades by identifier (active and released) and pending intents by id."""
        with self._env.read() as view:
            trades = [trade_from(fields) for _, fields in view.items(TRADES)]
            intents = [pending_from(fields) for _, fields in view.items(INTENTS)]
        return (
            {trade.identifier: trade for trade in trades},
            {pending.intent.id: pending for pending in intents},
        )

    def commit(self, *batches: Batch) -> Committed:
        """Write the batches, in their order, in one transaction; durable at return.

        Raises StoreFull, Invalid or Damaged; then nothing was written.
        """

        def work(change: Change) -> Committed:
            unmatched = [
                missing for batch in batches for missing in _apply(change, batch, change.sequence)
            ]
            return Committed(sequence=change.sequence, unmatched=tuple(unmatched))

        return self._env.run(work)

    def actions(self, limit: int = 100, ticket: int | None = None) -> list[Action]:
        """Return the newest actions, newest first, of one ticket if asked."""
        with self._env.read() as view:
            if ticket is None:
                rows = (fields for _, fields in view.items(ACTIONS, newest_first=True))
            else:
                prefix = number_key(ticket, field="ticket")
                keys = view.items(ACTION_TICKETS, prefix=prefix, newest_first=True)
                rows = (indexed(view, ACTIONS, key[NUMBER:]) for key, _ in keys)
            return [action_from(fields) for fields in islice(rows, max(0, limit))]

    def find_actions(self, query: Query) -> Page[Action]:
        """Return a page of actions. Raises Invalid for another question's cursor."""
        with self._env.read() as view:
            return action_page(view, query)

    def find_history(self, query: Query) -> Page[TradeRecord]:
        """Return a page of archived trades. Raises Invalid for another question's cursor."""
        with self._env.read() as view:
            return trade_page(view, query)

    def find_days(self, query: Query) -> Page[DaySummary]:
        """Return a page of the sums by day. Raises Invalid for another question's cursor."""
        with self._env.read() as view:
            return day_page(view, query)

    def action(self, action_id: str) -> Action | None:
        """Return the action with that id (an intent's id for an order), None if there is none."""
        with self._env.read() as view:
            place = _place(view, action_id)
            fields = None if place is None else view.get(ACTIONS, place)
        return None if fields is None else action_from(fields)

    def archived(self, limit: int = 100, identifier: int | None = None) -> list[TradeRecord]:
        """Return archived trades, the newest first, of one identifier if asked."""
        with self._env.read() as view:
            if identifier is None:
                rows = (fields for _, fields in view.items(HISTORY, newest_first=True))
            else:
                prefix = number_key(identifier, field="identifier")
                keys = view.items(HISTORY_IDS, prefix=prefix, newest_first=True)
                rows = (indexed(view, HISTORY, key[NUMBER:]) for key, _ in keys)
            return [trade_from(fields) for fields in islice(rows, max(0, limit))]

    def find_archived(self, identifier: int) -> TradeRecord | None:
        """Return the newest archived trade of an identifier, None if there is none."""
        prefix = number_key(identifier, field="identifier")
        with self._env.read() as view:  # asked at every registration: no more than one step
            key = view.newest_key(HISTORY_IDS, prefix)
            fields = None if key is None else indexed(view, HISTORY, key[NUMBER:])
        return None if fields is None else trade_from(fields)

    def find_archived_ticket(self, ticket: int) -> TradeRecord | None:
        """Return the newest archived trade with that ticket (or identifier), None if none."""
        return next(iter(self.find_history(Query(limit=1, ticket=ticket)).items), None)

    def compact(self, before: float, resume: Resume | None = None, limit: int = STEP) -> Compacted:
        """Compact up to `limit` records from before a moment, in one durable transaction.

        `before` in UTC epoch seconds; `resume` is where the last step ended.
        Raises StoreFull, Damaged or FolderRefused; then nothing has changed.
        """
        return self._env.run(lambda change: compact(change, before, resume or Resume(), limit))

    def compacted_at(self) -> float | None:
        """Return when compaction last came to its end (UTC epoch seconds), None if never."""
        with self._env.read() as view:
            fields = view.get(META, _COMPACTED)
        return None if fields is None else number(fields, "at")

    def note_compacted(self, at: float) -> None:
        """Write when compaction came to its end; durable at return."""
        self._env.run(lambda change: change.put(META, _COMPACTED, {"at": at}))

    def close(self) -> None:
        """Close; a second time does nothing."""
        self._env.close()


def _account(view: View) -> tuple[int, str] | None:
    fields = view.get(META, ACCOUNT_KEY)
    return None if fields is None else (whole(fields, "login"), text(fields, "server"))


def _place(view: View, action_id: str) -> bytes | None:
    fields = view.get(ACTION_IDS, text_key(action_id, field="id"))
    if fields is None:
        return None
    key = fields["key"]
    if not isinstance(key, bytes):
        raise Fault(f"the index of action {action_id!r} holds no key", field="id", value=action_id)
    return key


def _apply(change: Change, batch: Batch, sequence: int) -> list[str]:
    """Write one batch; return the ids of outcomes that matched no pending intent."""
    for trade in batch.trades:
        key = number_key(trade.identifier, field="identifier")
        change.put(TRADES, key, trade_fields(trade))
    for trade in batch.archived:
        _archive(change, trade)
    for pending in batch.intents:
        key = text_key(pending.intent.id, field="id")
        change.put(INTENTS, key, pending_fields(pending))
    unmatched = [
        outcome.intent_id for outcome in batch.outcomes if not _settle(change, outcome, sequence)
    ]
    for action in batch.actions:
        _record(change, action, sequence)
    return unmatched


def _archive(change: Change, trade: TradeRecord) -> None:
    identifier = number_key(trade.identifier, field="identifier")
    ticket = number_key(trade.ticket, field="ticket")
    at = trade.updated_at if trade.closed_at is None else trade.closed_at
    newest = change.newest_key(HISTORY_IDS, identifier)
    if newest is not None:
        place = newest[NUMBER:]
        known = trade_from(indexed(change, HISTORY, place))
        # the same registration archived twice is one line of history
        if _same_registration(known, trade):
            forget_trade(change, place, known.identifier, known.ticket)
    place = moment_key(at, field="closed_at") + identifier
    while change.has(HISTORY, place):  # another registration, archived in the same microsecond
        place = _just_after(place[:NUMBER]) + identifier
    change.put(HISTORY, place, trade_fields(trade))
    change.put(HISTORY_IDS, identifier + place, {})
    change.put(HISTORY_TICKETS, ticket + place, {})
    change.delete(TRADES, identifier)


def _just_after(moment: bytes) -> bytes:
    """Return the key of the next microsecond."""
    return number_key(int.from_bytes(moment, "big") + 1, field="closed_at")


def _same_registration(one: TradeRecord, other: TradeRecord) -> bool:
    return (one.created_by, one.registered_at) == (other.created_by, other.registered_at)


def _settle(change: Change, outcome: Outcome, sequence: int) -> bool:
    key = text_key(outcome.intent_id, field="intent_id")
    fields = change.get(INTENTS, key)
    if fields is None:
        return False
    intent: Intent = pending_from(fields).intent
    if outcome.kind is not OutcomeKind.UNKNOWN:
        change.delete(INTENTS, key)
    _record(change, action_of(intent, outcome), sequence)
    return True


def _record(change: Change, action: Action, sequence: int) -> None:
    ticket = number_key(action.ticket, field="ticket")
    at = moment_key(action.at, field="at")
    place = _place(change, action.id)
    if place is not None:  # told again, or resolved: the same line says the newest
        known = action_from(indexed(change, ACTIONS, place))
        change.delete(ACTION_TICKETS, number_key(known.ticket, field="ticket") + place)
        if not place.startswith(at):
            change.delete(ACTIONS, place)
            place = None
    if place is None:
        # the number keeps apart what has the same microsecond
        stem = at + number_key(sequence, field="sequence")
        newest = change.newest_key(ACTIONS, stem)
        nth = 0 if newest is None else int.from_bytes(newest[-NUMBER:], "big") + 1
        place = stem + number_key(nth, field="at")
        change.put(ACTION_IDS, text_key(action.id, field="id"), {"key": place})
    change.put(ACTIONS, place, action_fields(action))
    change.put(ACTION_TICKETS, ticket + place, {})
