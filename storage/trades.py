"""The trade store: trades, their history, pending intents and the actions.

The Registry is its only writer. One `commit` is one durable transaction, made
of as many batches as the mailbox held: a batch is what one message changes,
and batches apply in their order. Everything is idempotent by id, because after
a kill some commits are durable though nobody was told (LMDB.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from defence.errors import AccountRefused, Fault
from defence.orders import Action, Intent, Outcome, OutcomeKind, PendingIntent
from defence.trade import TradeRecord
from storage.environment import MAP_SIZE, Change, Environment, View
from storage.fields import (
    action_fields,
    action_from,
    pending_fields,
    pending_from,
    trade_fields,
    trade_from,
)
from storage.keys import moment_key, number_key, text_key
from storage.layout import (
    ACTION_IDS,
    ACTION_TICKETS,
    ACTIONS,
    APPLIED,
    APPLIED_ORDER,
    HISTORY,
    HISTORY_IDS,
    INTENTS,
    META,
    TRADES,
)
from storage.reading import text, whole

DATABASES: Final = (
    TRADES,
    HISTORY,
    HISTORY_IDS,
    INTENTS,
    ACTIONS,
    ACTION_IDS,
    ACTION_TICKETS,
    APPLIED,
    APPLIED_ORDER,
)
APPLIED_KEPT: Final = 4096  # newest ids of applied messages; retries are minutes apart, not days

_ACCOUNT: Final = b"account"
_SEQUENCE: Final = b"sequence"


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
    applied: Sequence[str] = ()  # ids of messages whose effect is in this batch


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
                change.put(META, _ACCOUNT, {"login": login, "server": server})
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
        with self._env.read() as view:
            return _sequence(view)

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
            sequence = _sequence(change) + 1
            change.put(META, _SEQUENCE, {"n": sequence})
            unmatched = [
                missing for batch in batches for missing in _apply(change, batch, sequence)
            ]
            return Committed(sequence=sequence, unmatched=tuple(unmatched))

        return self._env.run(work)

    def was_applied(self, message_id: str) -> bool:
        """Whether a message is among the newest APPLIED_KEPT ones that were applied."""
        with self._env.read() as view:
            return view.has(APPLIED, text_key(message_id, field="message_id"))

    def actions(self, limit: int = 100, ticket: int | None = None) -> list[Action]:
        """Return the newest actions, newest first, of one ticket if asked."""
        found: list[Action] = []
        if limit <= 0:
            return found
        with self._env.read() as view:
            if ticket is None:
                for _, fields in view.items(ACTIONS, newest_first=True):
                    found.append(action_from(fields))
                    if len(found) == limit:
                        break
                return found
            prefix = number_key(ticket, field="ticket")
            for key, _ in view.items(ACTION_TICKETS, prefix=prefix, newest_first=True):
                fields_or_none = view.get(ACTIONS, key[len(prefix) :])
                if fields_or_none is not None:
                    found.append(action_from(fields_or_none))
                if len(found) == limit:
                    break
        return found

    def action(self, action_id: str) -> Action | None:
        """Return the action with that id (an intent's id for an order), None if there is none."""
        with self._env.read() as view:
            place = _place(view, action_id)
            fields = None if place is None else view.get(ACTIONS, place)
        return None if fields is None else action_from(fields)

    def archived(self, limit: int = 100, identifier: int | None = None) -> list[TradeRecord]:
        """Return archived trades, the newest first, of one identifier if asked."""
        found: list[TradeRecord] = []
        with self._env.read() as view:
            if identifier is None:
                rows = (fields for _, fields in view.items(HISTORY, newest_first=True))
                for fields in rows:
                    if len(found) >= limit:
                        break
                    found.append(trade_from(fields))
                return found
            prefix = number_key(identifier, field="identifier")
            for key, _ in view.items(HISTORY_IDS, prefix=prefix, newest_first=True):
                if len(found) >= limit:
                    break
                kept = view.get(HISTORY, key[len(prefix) :] + prefix)
                if kept is not None:
                    found.append(trade_from(kept))
        return found

    def find_archived(self, identifier: int) -> TradeRecord | None:
        """Return the newest archived trade of an identifier, None if there is none."""
        return next(iter(self.archived(1, identifier)), None)

    def backup(self, target: Path) -> None:
        """Write a verified copy into the new folder `target`; see `Environment.backup`."""
        self._env.backup(target)

    def close(self) -> None:
        """Close; a second time does nothing."""
        self._env.close()


def _account(view: View) -> tuple[int, str] | None:
    fields = view.get(META, _ACCOUNT)
    return None if fields is None else (whole(fields, "login"), text(fields, "server"))


def _sequence(view: View) -> int:
    fields = view.get(META, _SEQUENCE)
    return 0 if fields is None else whole(fields, "n")


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
    for message_id in batch.applied:
        _remember(change, message_id)
    return unmatched


def _archive(change: Change, trade: TradeRecord) -> None:
    number = number_key(trade.identifier, field="identifier")
    at = moment_key(
        trade.updated_at if trade.closed_at is None else trade.closed_at, field="closed_at"
    )
    newest = next(change.items(HISTORY_IDS, prefix=number, newest_first=True), None)
    if newest is not None:
        place = newest[0][len(number) :] + number
        fields = change.get(HISTORY, place)
        # the same registration archived twice is one line of history
        if fields is not None and _same_registration(trade_from(fields), trade):
            change.delete(HISTORY, place)
            change.delete(HISTORY_IDS, newest[0])
    change.put(HISTORY, at + number, trade_fields(trade))
    change.put(HISTORY_IDS, number + at, {})
    change.delete(TRADES, number)


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
    action = Action(
        id=intent.id,
        at=intent.decided_at,
        identifier=intent.identifier,
        ticket=intent.ticket,
        symbol=intent.symbol,
        kind=intent.kind.value,
        detail=intent.reason,
        intent=intent,
        outcome=outcome,
    )
    _record(change, action, sequence)
    return True


def _record(change: Change, action: Action, sequence: int) -> None:
    place = _place(change, action.id)
    if place is not None:  # told again, or resolved: the same line says the newest
        old = change.get(ACTIONS, place)
        if old is not None:
            ticket = number_key(action_from(old).ticket, field="ticket")
            change.delete(ACTION_TICKETS, ticket + place)
    else:
        # the number keeps apart what has the same microsecond
        nth = change.count(ACTIONS)
        place = moment_key(action.at, field="at") + number_key(sequence, field="sequence")
        place += number_key(nth, field="at")
        change.put(ACTION_IDS, text_key(action.id, field="id"), {"key": place})
    change.put(ACTIONS, place, action_fields(action))
    change.put(ACTION_TICKETS, number_key(action.ticket, field="ticket") + place, {})


def _remember(change: Change, message_id: str) -> None:
    key = text_key(message_id, field="applied")
    if change.has(APPLIED, key):
        return
    newest = next(change.items(APPLIED_ORDER, newest_first=True), None)
    nth = 0 if newest is None else int.from_bytes(newest[0], "big") + 1
    change.put(APPLIED_ORDER, number_key(nth, field="applied"), {"id": message_id})
    change.put(APPLIED, key, {"n": nth})
    while change.count(APPLIED) > APPLIED_KEPT:
        oldest, fields = next(change.items(APPLIED_ORDER))
        change.delete(APPLIED_ORDER, oldest)
        change.delete(APPLIED, text_key(text(fields, "id"), field="applied"))
