"""Intents and outcomes: an order before it is sent, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from defence.broker import Direction
from defence.trade import Step, iso

LATEST: Final = 30.0  # seconds after its decision at which an order may still be sent
MARK: Final = "dtms "  # how the comment of an order of ours begins; its id follows


class IntentKind(StrEnum):
    """What an order is to do."""

    MOVE_STOP = "move_stop"
    CLOSE_PART = "close_part"
    CLOSE = "close"
    DELETE_ORDER = "delete_order"


class OutcomeKind(StrEnum):
    """What became of an intent. Only UNKNOWN leaves it in doubt."""

    DONE = "done"
    PARTIAL = "partial"  # done for less than the asked volume
    NOT_DONE = "not_done"  # the broker said no: it is sure that nothing happened
    NOT_SENT = "not_sent"  # refused on our side before it left
    UNKNOWN = "unknown"  # resolved by reconciliation, never sent again blindly


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """One order, journalled before it is sent. Volume in lots.

    `decided_by` is the incarnation of the Monitor that decided it; the order
    goes out only while that incarnation holds its lease. `stop_loss` and
    `take_profit` are the values to be set, both of them, because the
    terminal sets both (MT5.md, Closing).
    """

    id: str
    identifier: int
    ticket: int
    symbol: str
    direction: Direction  # of the trade, not of the order
    kind: IntentKind
    step: Step | None
    volume: float  # to close; 0 for a stop change
    volume_before: float
    stop_loss: float | None
    take_profit: float | None
    stop_before: float | None
    price_seen: float
    reason: str
    magic: int
    decided_at: float
    snapshot_at: float  # the read on which the decision rests began then
    decided_by: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingIntent:
    """An intent without an outcome: its trade is frozen until it is resolved.

    `first_read_at` is when the first known read after the intent began, on the
    guard's clock; None until there was one. `told` is whether people have been
    told that it could not be resolved in time.
    """

    intent: Intent
    first_read_at: float | None = None
    told: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of an intent."""

    intent_id: str
    kind: OutcomeKind
    at: float
    retcode: int | None = None
    detail: str = ""
    price: float | None = None
    volume: float | None = None
    order: int | None = None
    deal: int | None = None
    resolved_by: str = "broker"  # broker, reconciliation, ops


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A line of the history of actions: an intent with its outcome, or a fact."""

    id: str
    at: float
    identifier: int
    ticket: int
    symbol: str
    kind: str  # an intent's kind, or adopted, registered, released, closed, manual_change ...
    detail: str
    intent: Intent | None = None
    outcome: Outcome | None = None


def action_of(
    intent: Intent, outcome: Outcome, *, at: float | None = None, detail: str | None = None
) -> Action:
    """Return the line of history of an order: as it was decided, or as it was found out.

    `at` in UTC epoch seconds, by default the decision's; `detail` by default its reason.
    """
    return Action(
        id=intent.id,
        at=intent.decided_at if at is None else at,
        identifier=intent.identifier,
        ticket=intent.ticket,
        symbol=intent.symbol,
        kind=intent.kind.value,
        detail=intent.reason if detail is None else detail,
        intent=intent,
        outcome=outcome,
    )


def public_action(action: Action) -> dict[str, object]:
    """Return the shape of an action in `GET /dtms/actions`."""
    intent, outcome = action.intent, action.outcome
    return {
        "id": action.id,
        "at": iso(action.at),
        "ticket": action.ticket,
        "identifier": action.identifier,
        "symbol": action.symbol,
        "kind": action.kind,
        "detail": action.detail,
        "step": None if intent is None or intent.step is None else intent.step.value,
        "volume": None if intent is None else intent.volume,
        "stop_loss": None if intent is None else intent.stop_loss,
        "stop_before": None if intent is None else intent.stop_before,
        "price_seen": None if intent is None else intent.price_seen,
        "outcome": None if outcome is None else outcome.kind.value,
        "retcode": None if outcome is None else outcome.retcode,
        "price": None if outcome is None else outcome.price,
    }
