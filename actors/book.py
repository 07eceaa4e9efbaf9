"""The Registry's memory, and the draft of one transaction on it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property

from defence.orders import OutcomeKind, PendingIntent
from defence.trade import Standing, TradeRecord
from storage.trades import Batch

PEAK_STEP = 0.01  # R; a smaller move of the best result is not worth a write of its own


class Book:
    """Trades by identifier and pending intents by id; never changed, only replaced.

    `watched` and `observed` are how many trades are watched, and how many of
    them only observed; left out, they are counted.
    """

    def __init__(
        self,
        trades: Mapping[int, TradeRecord],
        pending: Mapping[str, PendingIntent],
        *,
        watched: int | None = None,
        observed: int | None = None,
    ) -> None:
        self.trades = trades
        self.pending = pending
        if watched is None or observed is None:
            watched = sum(trade.active for trade in trades.values())
            observed = sum(trade.standing is Standing.OBSERVED for trade in trades.values())
        self.watched = watched
        self.observed = observed

    @cached_property
    def active(self) -> list[TradeRecord]:
        """The trades that are watched, guarded or observed, by identifier."""
        return [self.trades[key] for key in sorted(self.trades) if self.trades[key].active]

    @cached_property
    def frozen(self) -> frozenset[int]:
        """Identifiers with an order in doubt."""
        return frozenset(doubt.intent.identifier for doubt in self.pending.values())

    @property
    def size(self) -> tuple[int, int, int]:
        """How many trades are watched, how many of them only observed, and intents open."""
        return self.watched, self.observed, len(self.pending)

    @cached_property
    def _tickets(self) -> dict[int, int]:
        return {record.ticket: key for key, record in self.trades.items()}

    def by_ticket(self, ticket: int) -> TradeRecord | None:
        """Return the trade with that ticket, else with that identifier."""
        return self.trades.get(self._tickets.get(ticket, ticket))


class Draft:
    """What one transaction will change: the book after it, and what comes after the commit.

    `put` does to the book in memory what the store's commit does to the file.
    The dictionaries are copied once a transaction, whatever it holds.
    """

    def __init__(self, book: Book) -> None:
        self.batches: list[Batch] = []
        self.effects: list[Callable[[], None]] = []
        self._book = book
        # Kept as they change: counting thousands of trades for each commit is not free.
        self._watched, self._observed = book.watched, book.observed
        self._trades: dict[int, TradeRecord] | None = None
        self._pending: dict[str, PendingIntent] | None = None

    @property
    def book(self) -> Book:
        """The book as it will be after the commit."""
        return self._book

    def put(self, *batches: Batch) -> None:
        """Add batches, in their order."""
        self.batches.extend(batches)
        for batch in batches:
            if batch.trades or batch.archived:
                trades = self._own_trades()
                for trade in batch.trades:
                    self._count(trades.get(trade.identifier), trade)
                    trades[trade.identifier] = trade
                for gone in batch.archived:
                    self._count(trades.pop(gone.identifier, None), None)
            if batch.intents or batch.outcomes:
                pending = self._own_pending()
                pending.update({doubt.intent.id: doubt for doubt in batch.intents})
                for outcome in batch.outcomes:
                    if outcome.kind is not OutcomeKind.UNKNOWN:
                        pending.pop(outcome.intent_id, None)
        self._renew()

    def remember(self, records: Iterable[TradeRecord]) -> None:
        """Take over records that differ in memory only: nothing of them is worth a write."""
        trades = self._own_trades()
        for record in records:
            self._count(trades.get(record.identifier), record)
            trades[record.identifier] = record
        self._renew()

    def then(self, effect: Callable[[], None]) -> None:
        """Do this after the commit."""
        self.effects.append(effect)

    def _own_trades(self) -> dict[int, TradeRecord]:
        if self._trades is None:
            self._trades = dict(self._book.trades)
        return self._trades

    def _own_pending(self) -> dict[str, PendingIntent]:
        if self._pending is None:
            self._pending = dict(self._book.pending)
        return self._pending

    def _count(self, before: TradeRecord | None, after: TradeRecord | None) -> None:
        for trade, by in ((before, -1), (after, 1)):
            if trade is not None and trade.active:
                self._watched += by
                self._observed += by if trade.standing is Standing.OBSERVED else 0

    def _renew(self) -> None:
        trades = self._book.trades if self._trades is None else self._trades
        pending = self._book.pending if self._pending is None else self._pending
        self._book = Book(trades, pending, watched=self._watched, observed=self._observed)


def worth_writing(stored: TradeRecord, record: TradeRecord) -> bool:
    """Whether a cycle's result must survive a restart, or only the next cycle.

    The result itself is measured anew each cycle; a best result is written
    when it crosses a line of a grid of `PEAK_STEP`, so that it cannot creep.
    """
    return _line(stored.peak_r) != _line(record.peak_r) or record != replace(
        stored,
        result_r=record.result_r,
        peak_r=record.peak_r,
        updated_at=record.updated_at,
        revision=record.revision,
    )


def _line(peak: float | None) -> int | None:
    return None if peak is None else math.floor(peak / PEAK_STEP)
