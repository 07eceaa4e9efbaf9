"""What a reconciliation works with and what it comes to: rules, look, finding, plan."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import TypeAlias

from defence.alerts import Notice
from defence.broker import (
    Account,
    Direction,
    Empty,
    History,
    Known,
    Position,
    Snapshot,
    SymbolFacts,
    Unknown,
)
from defence.errors import AccountRefused, Invalid
from defence.orders import Action, Outcome, PendingIntent
from defence.risk import exit_price, quote_fault, result_at
from defence.rules import Rules
from defence.trade import TradeRecord

HistoryRead: TypeAlias = Known[History] | Empty | Unknown


class Adoption(StrEnum):
    """What is done with a position at the broker that is not stored."""

    ADOPT = "adopt"
    OBSERVE = "observe"
    IGNORE = "ignore"


Override: TypeAlias = tuple[int | None, str | None, Adoption]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileRules:
    """The numbers of reconciliation (DESIGN, Reconciliation). Times in seconds.

    `overrides` are (magic or None, symbol pattern or None, adoption), the first
    that fits wins; patterns are shell globs, upper and lower case count.
    `account` is the (login, server) that the data folder belongs to; None does
    not check. Raises `Invalid`.
    """

    adoption: Adoption = Adoption.OBSERVE
    overrides: tuple[Override, ...] = ()
    manual_hold: float = 3600.0
    missing_wait: float = 60.0
    in_doubt_wait: float = 30.0
    contradiction_limit: int = 3
    contradiction_window: float = 600.0
    account: tuple[int, str] | None = None
    policy: Rules = field(default_factory=Rules)

    def __post_init__(self) -> None:
        """Refuse numbers with which the rules make no sense."""
        for name in ("manual_hold", "missing_wait", "in_doubt_wait", "contradiction_window"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise Invalid("is no time", field=name, value=value, remedy="give seconds")
        if self.contradiction_limit < 1:
            raise Invalid(
                "is too small",
                field="contradiction_limit",
                value=self.contradiction_limit,
                remedy="give 1 or more",
            )

    def adoption_of(self, position: Position) -> Adoption:
        """Return what is done with a position that is not stored."""
        for magic, pattern, adoption in self.overrides:
            if magic is not None and magic != position.magic:
                continue
            if pattern is None or fnmatchcase(position.symbol, pattern):
                return adoption
        return self.adoption


def check_account(expected: tuple[int, str], account: Account) -> None:
    """Raise `AccountRefused` if the terminal shows another account than the folder's."""
    actual = (account.login, account.server)
    if actual != expected:
        raise AccountRefused(
            f"the data folder belongs to {expected[0]} on {expected[1]}, "
            f"the terminal shows {actual[0]} on {actual[1]}",
            field="account",
            value=actual,
            remedy="log the terminal in to that account, or use another data folder",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look at the broker: the known snapshot, the histories read with it, and the rules."""

    snapshot: Snapshot
    histories: Mapping[int, HistoryRead]
    now: float
    rules: ReconcileRules
    plan_id: str

    @property
    def asked_at(self) -> float:
        """When the read of the snapshot began: what it says is not newer."""
        return self.snapshot.asked_at

    def facts(self, symbol: str) -> SymbolFacts | None:
        """Return the symbol's facts, if the snapshot has them."""
        return self.snapshot.symbols.get(symbol)

    def tick(self, symbol: str) -> float | None:
        """Return the symbol's tick size, if the snapshot has it."""
        facts = self.facts(symbol)
        return None if facts is None else facts.tick_size

    def history(self, identifier: int) -> HistoryRead | None:
        """Return what was read of a position's history; None if it was not asked for."""
        return self.histories.get(identifier)

    def result(
        self, direction: Direction, symbol: str, entry: float, initial_stop: float | None
    ) -> float | None:
        """Return a trade's result in R at the snapshot's price; None if it cannot be told."""
        quote = self.snapshot.quotes.get(symbol)
        if quote is None or quote_fault(quote, symbol, self.now, None) is not None:
            return None
        return result_at(direction, entry, initial_stop, exit_price(direction, quote))

    def action(self, record: TradeRecord, kind: str, detail: str) -> Action:
        """Return a line for the history of actions; its id is the same in every run of a plan."""
        return Action(
            id=f"{self.plan_id}:{record.identifier}:{kind}",
            at=self.now,
            identifier=record.identifier,
            ticket=record.ticket,
            symbol=record.symbol,
            kind=kind,
            detail=detail,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a look comes to for one identifier.

    `trade` is the record to be stored (None: as it is), `archived` the one that
    leaves the active store.
    """

    trade: TradeRecord | None = None
    archived: TradeRecord | None = None
    outcomes: tuple[Outcome, ...] = ()
    pending: tuple[PendingIntent, ...] = ()
    actions: tuple[Action, ...] = ()
    notices: tuple[Notice, ...] = ()
    needs_history: bool = False
    waiting: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a reconciliation changes; applying it is the Registry's, in one transaction.

    `trades` are changed and new records (guarded, observed, released),
    `archived` those that leave the active store, to be removed before `trades`
    are put: a reversed position has its old record archived and may have a new
    one under the same identifier. `outcomes` resolve pending intents; each has
    its line in `actions`, whose id is the intent's, and is already in the trade.
    `pending` are intents still in doubt that have changed. `needs_history` asks
    for the histories of identifiers, for another plan on the same snapshot;
    `waiting` names those missing or in doubt, which only a later read settles.
    `unknown` is the reason why nothing could be said; then nothing changes.
    """

    trades: tuple[TradeRecord, ...] = ()
    archived: tuple[TradeRecord, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    pending: tuple[PendingIntent, ...] = ()
    actions: tuple[Action, ...] = ()
    notices: tuple[Notice, ...] = ()
    needs_history: frozenset[int] = frozenset()
    waiting: frozenset[int] = frozenset()
    unknown: str | None = None

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write and nobody to tell."""
        return not (
            self.trades
            or self.archived
            or self.outcomes
            or self.pending
            or self.actions
            or self.notices
        )


def apply(
    plan: Plan, trades: Mapping[int, TradeRecord], pending: Mapping[str, PendingIntent]
) -> tuple[dict[int, TradeRecord], dict[str, PendingIntent]]:
    """Return trades (by identifier) and pending intents (by id) after the plan."""
    gone = {record.identifier for record in plan.archived}
    kept = {key: record for key, record in trades.items() if key not in gone}
    kept.update({record.identifier: record for record in plan.trades})
    resolved = {outcome.intent_id for outcome in plan.outcomes}
    doubts = {key: doubt for key, doubt in pending.items() if key not in resolved}
    doubts.update({doubt.intent.id: doubt for doubt in plan.pending})
    return kept, doubts
