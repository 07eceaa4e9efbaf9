"""What the broker says, as plain frozen data, and the three values of a read.

A read of the broker is `Known`, `Empty` or `Unknown` (DESIGN, Reconciliation).
Nothing is ever removed on `Unknown`; that is why the types tell them apart.

Times are seconds. `taken_at` and the like are the guard's clock (UTC epoch);
`Quote.time` and `Deal.time` are the broker's wall time written as an epoch
(MT5.md), so the two are never compared with each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Known(Generic[T]):
    """The broker answered, and this is what it said."""

    value: T


@dataclass(frozen=True, slots=True)
class Empty:
    """The broker answered, and there is nothing."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """The broker did not answer, or not for the account we guard."""

    reason: str


Read: TypeAlias = Known[T] | Empty | Unknown


class Direction(StrEnum):
    """Which way a trade earns money."""

    BUY = "BUY"
    SELL = "SELL"

    @property
    def sign(self) -> int:
        """+1 for BUY, -1 for SELL: the sign of a favourable price move."""
        return 1 if self is Direction.BUY else -1


class MarginMode(StrEnum):
    """How the account keeps positions (`account_info().margin_mode`)."""

    NETTING = "netting"
    EXCHANGE = "exchange"
    HEDGING = "hedging"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """The account as the terminal shows it. Money in the account's currency."""

    login: int
    server: str
    currency: str
    balance: float
    equity: float
    margin_mode: MarginMode
    trade_allowed: bool  # the broker lets this login trade (false: investor password)
    trade_expert: bool  # the broker lets programs trade


@dataclass(frozen=True, slots=True, kw_only=True)
class TerminalState:
    """The terminal's own switches."""

    connected: bool
    trade_allowed: bool  # the Algo Trading button, and the option that lets Python trade
    build: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """An open position. Prices in the symbol's quote currency, volume in lots.

    `stop_loss` and `take_profit` are None where the broker has 0.
    """

    identifier: int
    ticket: int
    symbol: str
    direction: Direction
    volume: float
    price_open: float
    stop_loss: float | None
    take_profit: float | None
    price_current: float
    profit: float
    swap: float
    magic: int
    comment: str
    time: int
    time_update_msc: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """The newest price of one symbol; `time` is broker wall time, seconds.

    `seen_at` is the guard's clock when a tick with this `time` was first seen;
    None where nobody follows it. Only `seen_at` can tell a stale price, because
    broker time is never compared with ours.
    """

    symbol: str
    bid: float
    ask: float
    time: float
    seen_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolFacts:
    """What the rules need to know of a symbol (`symbol_info`)."""

    symbol: str
    digits: int
    point: float
    tick_size: float
    tick_value: float  # account currency per tick and lot
    contract_size: float
    volume_min: float
    volume_max: float
    volume_step: float
    stops_level: int  # points
    freeze_level: int  # points
    trade_mode: int  # 4 is full access
    filling_mode: int  # bit mask
    execution_mode: int
    session_open: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """One consistent look at the broker.

    It exists only if login, server and `connected` were the expected ones
    before and after the read. `positions` is never `Unknown` here: a read
    that failed gives `Unknown` in place of the whole snapshot. `refusal` says
    why the newest order was refused to programs as such although account and
    terminal allow it; while `probing`, orders are tried again all the same.
    """

    id: str
    asked_at: float  # guard's clock, when the read began
    taken_at: float  # guard's clock, when it ended
    account: Account
    terminal: TerminalState
    positions: Known[tuple[Position, ...]] | Empty
    quotes: Mapping[str, Quote] = field(default_factory=dict)
    symbols: Mapping[str, SymbolFacts] = field(default_factory=dict)
    refusal: str | None = None
    probing: bool = False

    def open_positions(self) -> tuple[Position, ...]:
        """Return the positions; an empty account has none."""
        return self.positions.value if isinstance(self.positions, Known) else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """A look at some positions only: enough to register them, never to reconcile.

    It is no `Snapshot` and has no list of positions, so nothing can be taken
    for gone because it is not in here. `by_ticket` has one read for each ticket
    that was asked for and no other; `by_identifier` those positions that were
    found under a number that was asked for, while all were looked through.
    Framed as a snapshot is: same login, server and `connected` before and after.
    """

    asked_at: float  # guard's clock, when the read began
    taken_at: float  # guard's clock, when it ended
    account: Account
    terminal: TerminalState
    by_ticket: Mapping[int, Known[Position] | Empty | Unknown]
    by_identifier: Mapping[int, Position] = field(default_factory=dict)
    quotes: Mapping[str, Quote] = field(default_factory=dict)
    symbols: Mapping[str, SymbolFacts] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deal:
    """One deal of the account's history. `time` is broker wall time, seconds."""

    ticket: int
    order: int
    position_id: int
    symbol: str
    direction: Direction | None  # None for balance operations
    entry: int  # 0 in, 1 out, 2 reversal, 3 close-by
    volume: float
    price: float
    profit: float
    commission: float
    swap: float
    fee: float
    reason: int  # 4 stop loss, 5 take profit, 6 stop-out, 0..2 a person, 3 a program
    time: float
    comment: str

    @property
    def closes(self) -> bool:
        """Whether the deal takes volume out of its position."""
        return self.entry in (1, 2, 3)


class OrderFate(StrEnum):
    """What became of an order that was not filled, or whether one is at work."""

    WAITING = "waiting"  # for its price, or it is at work on the position
    DELETED = "deleted"
    ENDED = "ended"  # expired, or rejected when its price came
    UNREAD = "unread"  # it may be at work: the orders could not be read


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All deals of one position, and the stop of the order that opened it.

    Where there are none, the number may be that of an order which never became
    a position: `order` then says what it came to, None if it is not known. Where
    there are some, WAITING says that a market order is still at work on it, UNREAD
    that this cannot be told; what the deals say is as true as without it.
    """

    identifier: int
    deals: tuple[Deal, ...]
    opening_stop: float | None = None
    order: OrderFate | None = None

    @property
    def at_work(self) -> bool:
        """Whether a market order may still be at work on the position."""
        return self.order in (OrderFate.WAITING, OrderFate.UNREAD)
