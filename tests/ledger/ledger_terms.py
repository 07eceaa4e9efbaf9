"""The words of the reference ledger: symbols, positions, orders, deals, money.

The reference is written from docs/broker.md alone and shares nothing with the
broker it is held against: not a line of code, not a constant. Money, prices
and volumes are decimals; times are milliseconds UTC. The numbers of the
enumerations are those of the platform (MQL5 reference, "Constants,
Enumerations and Structures").
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

ZERO = Decimal(0)
CENT = Decimal("0.01")
DAY_MS = 86_400_000
HOUR_MS = 3_600_000
QUIET_MS = 30 * 60_000  # a recorded symbol whose ticks pause for longer is closed meanwhile

# Order types: the first two are deals at the market, the next six wait.
BUY, SELL, BUY_LIMIT, SELL_LIMIT, BUY_STOP, SELL_STOP, BUY_STOP_LIMIT, SELL_STOP_LIMIT = range(8)
CLOSE_BY_TYPE = 8
BUYS = (BUY, BUY_LIMIT, BUY_STOP, BUY_STOP_LIMIT)
LIMITS = (BUY_LIMIT, SELL_LIMIT)
STOPS = (BUY_STOP, SELL_STOP)
STOP_LIMITS = (BUY_STOP_LIMIT, SELL_STOP_LIMIT)

# What a request asks for.
DEAL, PENDING, SLTP, MODIFY, REMOVE, CLOSE_BY = 1, 5, 6, 7, 8, 10

FOK, IOC, RETURN = 0, 1, 2  # how a request is to be filled; the symbol's mask has bits 1 and 2
GTC, TODAY, SPECIFIED, SPECIFIED_DAY = range(4)
PLACED, CANCELED, PARTIAL, FILLED, REJECTED, EXPIRED = 1, 2, 3, 4, 5, 6
BY_EXPERT, BY_SL, BY_TP, BY_SO = 3, 4, 5, 6
IN, OUT, INOUT, OUT_BY = range(4)
BALANCE = 2  # the type of a deal that moves money in or out

NETTING, EXCHANGE, HEDGING = range(3)  # what an account does with a second deal
REQUEST, INSTANT, MARKET, ON_EXCHANGE = range(4)  # how a symbol is executed
DISABLED, LONG_ONLY, SHORT_ONLY, CLOSE_ONLY, FULL = range(5)
FOREX, FUTURES, CFD, CFD_INDEX, CFD_LEVERAGE, EXCH_FUTURES = 0, 1, 2, 3, 4, 33


class No(Exception):  # noqa: N818 - it is an answer, not an error
    """The request is refused; `code` says why (the trade server's return codes)."""

    def __init__(self, code: int) -> None:
        super().__init__(str(code))
        self.code = code


def cents(value: Decimal) -> Decimal:
    """Round money: to the cent, halves away from zero.

    A value under the half by no more than 0.00009555555 of a cent counts as the half.
    """
    size = (abs(value) + Decimal("0.9555555e-6")).quantize(CENT, ROUND_HALF_UP)
    return -size if value < 0 else size


def average(value: Decimal) -> Decimal:
    """Round an average price: to 8 decimals, halves away from zero, with the same tolerance."""
    return (value + Decimal("0.9555555e-10")).quantize(Decimal("1e-8"), ROUND_HALF_UP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Symbol:
    """What the broker says of a symbol. Levels in points, volumes in lots."""

    name: str
    digits: int
    base: str
    profit: str
    contract_size: Decimal = Decimal(100_000)
    stops_level: int = 10
    freeze_level: int = 0
    filling_mask: int = 3
    volume_min: Decimal = Decimal("0.01")
    volume_max: Decimal = Decimal(100)
    volume_step: Decimal = Decimal("0.01")
    trade_mode: int = FULL
    calc_mode: int = FOREX
    execution: int = MARKET
    volume_limit: Decimal = ZERO
    depth: Decimal = ZERO
    margin_rate: Decimal = Decimal(1)
    margin_initial: Decimal = ZERO
    swap_mode: int = 1
    swap_long: Decimal = ZERO
    swap_short: Decimal = ZERO
    triple_day: int = 3  # 0 is Sunday
    weekends: bool = False

    @property
    def point(self) -> Decimal:
        return Decimal(1).scaleb(-self.digits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """The broker's conditions."""

    swaps: bool = False
    depth: bool = False
    slippage: int = 0
    requotes: bool = False
    new_york: bool = False  # wall time is GMT+2, GMT+3 in New York's summer; else UTC


@dataclass(slots=True, kw_only=True)
class Account:
    """The account's own terms, and its money."""

    mode: int = HEDGING
    currency: str = "USD"
    leverage: Decimal = Decimal(100)
    commission_per_lot: Decimal = ZERO
    stop_out_level: Decimal = Decimal(50)
    limit_orders: int = 0
    fifo: bool = False
    balance: Decimal = ZERO


@dataclass(slots=True, kw_only=True)
class Position:
    """An open position. `lot_margin` is the margin of one lot as its deals fixed it."""

    ticket: int
    identifier: int
    symbol: str
    side: int
    volume: Decimal
    price_open: Decimal
    lot_margin: Decimal
    sl: Decimal
    tp: Decimal
    sl_set: int
    tp_set: int
    opened: int
    updated: int
    magic: int
    comment: str
    reason: int
    swap: Decimal = ZERO

    @property
    def sign(self) -> int:
        return 1 if self.side == BUY else -1


@dataclass(slots=True, kw_only=True)
class Order:
    """An order, working or done."""

    ticket: int
    symbol: str
    type: int
    volume: Decimal
    left: Decimal
    price: Decimal
    stoplimit: Decimal = ZERO
    sl: Decimal = ZERO
    tp: Decimal = ZERO
    magic: int = 0
    comment: str = ""
    filling: int = FOK
    life: int = GTC
    expiration: int = 0  # as the request gave it, in wall seconds
    due: int | None = None  # when its life is over
    setup: int = 0
    done: int = 0
    state: int = PLACED
    reason: int = BY_EXPERT
    position_id: int = 0
    position_by_id: int = 0
    price_last: Decimal = ZERO  # of its newest fill, or of the market where it ended without one

    @property
    def buys(self) -> bool:
        return self.type in BUYS


@dataclass(frozen=True, slots=True, kw_only=True)
class Deal:
    """What was dealt, and what it moved."""

    ticket: int
    order: int
    time: int
    type: int
    entry: int
    magic: int
    position_id: int
    reason: int
    volume: Decimal
    price: Decimal
    commission: Decimal
    swap: Decimal
    profit: Decimal
    symbol: str
    comment: str

    @property
    def total(self) -> Decimal:
        return self.profit + self.commission + self.swap


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """The account's numbers at the present quotes."""

    balance: Decimal
    profit: Decimal
    equity: Decimal
    margin: Decimal
    free: Decimal
    level: Decimal


def exact(value: Any) -> Decimal:
    """Turn a number as a program writes it into the decimal it means."""
    return value if isinstance(value, Decimal) else Decimal(repr(value))
