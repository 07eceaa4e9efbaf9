"""A trade: what a caller registers, and the record that DTMS keeps of it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from enum import StrEnum

from defence.broker import Direction


class TradeState(StrEnum):
    """How much danger a trade is in (the policy decides)."""

    HEALTHY = "HEALTHY"
    WARNING_L1 = "WARNING_L1"
    WARNING_L2 = "WARNING_L2"
    CLOSED = "CLOSED"


class Standing(StrEnum):
    """What DTMS may do with a trade."""

    GUARDED = "guarded"  # watched and defended
    OBSERVED = "observed"  # watched, never touched
    RELEASED = "released"  # the user took it back; never adopted again
    CLOSED = "closed"  # closing deal seen
    UNEXPLAINED = "unexplained"  # gone from the broker without a closing deal


class Step(StrEnum):
    """One act of defence; each happens at most once a trade."""

    L1_STOP = "l1_stop"
    L2_HALF = "l2_half"
    L2_STOP = "l2_stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """A registration. Only `ticket` is required; the rest comes from the position.

    Volume in lots; prices in the symbol's quote currency. `stop_loss` is the
    stop from which the initial risk is measured.
    """

    ticket: int
    identifier: int | None = None
    symbol: str | None = None
    direction: Direction | str | None = None
    volume: float | None = None
    entry_price: float | None = None
    stop_loss: float | None = None
    take_profit: float | None = None
    magic: int | None = None
    managed_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TradeRecord:
    """A trade as the Registry keeps it, keyed by the position's `identifier`.

    Times are UTC epoch seconds of the guard's clock. `result_r` and `peak_r`
    are multiples of the initial risk, None while the risk is unknown.
    """

    identifier: int
    ticket: int
    symbol: str
    direction: Direction
    volume: float
    entry_price: float
    stop_loss: float | None
    take_profit: float | None
    magic: int
    managed_by: str
    standing: Standing
    state: TradeState
    registered_at: float
    updated_at: float
    created_by: str  # id of the message that created the record
    initial_volume: float
    initial_stop: float | None = None
    result_r: float | None = None
    peak_r: float | None = None
    steps: tuple[Step, ...] = ()  # acts of defence that are done
    attempts: int = 0  # failed tries of the next step
    retry_at: float = 0.0  # no new try before this time
    last_outcome_at: float = 0.0  # no order from a snapshot older than this
    missing_since: float | None = None  # first known read without the position
    hold_until: float = 0.0  # a manual change is respected until then
    contradictions: tuple[float, ...] = ()  # times of manual changes against ours
    closed_volume: float = 0.0
    closed_at: float | None = None
    close_reason: str | None = None
    close_price: float | None = None
    close_profit: float | None = None
    risk_alerted: bool = False
    revision: int = 1
    attempt_step: Step | None = None  # the step whose failed tries `attempts` counts
    initial_stop_fixed: bool = False  # registered, read in history or computed anew
    commission_per_lot: float | None = None  # at opening, negative is paid; None: history not read

    @property
    def active(self) -> bool:
        """Whether the position is believed open and is ours to watch."""
        return self.standing in (Standing.GUARDED, Standing.OBSERVED)


@dataclass(frozen=True, slots=True)
class Registration:
    """The answer to a registration, durable when it is given."""

    created: bool
    trade: TradeRecord


def iso(moment: float | None) -> str | None:
    """Return an epoch time as UTC ISO 8601, or None."""
    if moment is None:
        return None
    return dt.datetime.fromtimestamp(moment, dt.UTC).isoformat(timespec="milliseconds")


def public_trade(record: TradeRecord) -> dict[str, object]:
    """Return the shape of a trade that programs rely on (DESIGN, HTTP)."""
    return {
        "ticket": record.ticket,
        "identifier": record.identifier,
        "symbol": record.symbol,
        "direction": record.direction.value,
        "volume": record.volume,
        "entry_price": record.entry_price,
        "stop_loss": record.stop_loss,
        "take_profit": record.take_profit,
        "magic": record.magic,
        "managed_by": record.managed_by,
        "state": record.state.value,
        "standing": record.standing.value,
        "result_r": None if record.result_r is None else round(record.result_r, 4),
        "initial_stop": record.initial_stop,
        "initial_volume": record.initial_volume,
        "steps": [step.value for step in record.steps],
        "registered_at": iso(record.registered_at),
        "updated_at": iso(record.updated_at),
        "closed_at": iso(record.closed_at),
        "close_reason": record.close_reason,
        "close_price": record.close_price,
        "close_profit": record.close_profit,
    }
