"""The terminal's rows, checked and copied into the plain types of `defence.broker`.

Nothing of the terminal's own types leaves this module: they do not pickle,
their numbers may be numpy's, and over a bridge every attribute read is a
round trip. A value that cannot be right raises `Unreadable`, which the
readers turn into `Unknown`: a row that makes no sense is not a fact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real

from defence.broker import (
    Account,
    Deal,
    Direction,
    MarginMode,
    Position,
    Quote,
    SymbolFacts,
    TerminalState,
)
from defence.shape import MAX_ULONG
from terminals.constants import (
    ACCOUNT_MARGIN_MODE_EXCHANGE,
    ACCOUNT_MARGIN_MODE_RETAIL_HEDGING,
    ACCOUNT_MARGIN_MODE_RETAIL_NETTING,
    DEAL_TYPE_BUY,
    DEAL_TYPE_SELL,
    ORDER_TYPE_BUY_LIMIT,
    ORDER_TYPE_SELL_STOP_LIMIT,
    POSITION_TYPE_BUY,
    POSITION_TYPE_SELL,
)

_LEAST_WHOLE = -(2**63)

_MARGIN_MODES = {
    ACCOUNT_MARGIN_MODE_RETAIL_NETTING: MarginMode.NETTING,
    ACCOUNT_MARGIN_MODE_EXCHANGE: MarginMode.EXCHANGE,
    ACCOUNT_MARGIN_MODE_RETAIL_HEDGING: MarginMode.HEDGING,
}
_POSITION_DIRECTIONS = {POSITION_TYPE_BUY: Direction.BUY, POSITION_TYPE_SELL: Direction.SELL}
_DEAL_DIRECTIONS = {DEAL_TYPE_BUY: Direction.BUY, DEAL_TYPE_SELL: Direction.SELL}


class Unreadable(Exception):  # noqa: N818 - says what the row is, and never leaves this package
    """The terminal's answer is missing or makes no sense; the text says which and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingOrder:
    """An order that waits for its price. Volume in lots, price in the quote currency."""

    ticket: int
    symbol: str
    type: int  # ORDER_TYPE_BUY_LIMIT to ORDER_TYPE_SELL_STOP_LIMIT
    volume: float
    price: float
    magic: int
    comment: str


def real(row: object, name: str, what: str) -> float:
    """Return a finite float. Raises `Unreadable` naming `what` and the field."""
    value = getattr(row, name, None)
    # numpy's floats are registered as Real; bool is one too, and never a price.
    if type(value) is not float:
        if isinstance(value, bool) or not isinstance(value, Real):
            raise Unreadable(f"{what}: {name} is {value!r}, not a number")
        try:
            value = float(value)
        except OverflowError:
            # Without the value: it may have more digits than Python prints.
            raise Unreadable(f"{what}: {name} is beyond any number that is dealt in") from None
    if not math.isfinite(value):
        raise Unreadable(f"{what}: {name} is {value!r}, not finite")
    return value


def whole(row: object, name: str, what: str) -> int:
    """Return a plain int of at most 64 bits. Raises `Unreadable` naming `what` and the field."""
    value = getattr(row, name, None)
    if type(value) is not int:
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise Unreadable(f"{what}: {name} is {value!r}, not a whole number")
        value = int(value)
    if not _LEAST_WHOLE <= value <= MAX_ULONG:
        # The terminal has none, and neither division nor the store takes it.
        raise Unreadable(f"{what}: {name} has more than 64 bits")
    return value


def flag(row: object, name: str, what: str) -> bool:
    """Return a bool; the terminal gives True and False, a bridge may give 1 and 0."""
    value = getattr(row, name, None)
    if value is None or value not in (True, False):
        raise Unreadable(f"{what}: {name} is {value!r}, neither true nor false")
    return bool(value)


def text(row: object, name: str, what: str) -> str:
    """Return a plain str. Raises `Unreadable` naming `what` and the field."""
    value = getattr(row, name, None)
    if not isinstance(value, str):
        raise Unreadable(f"{what}: {name} is {value!r}, not text")
    return str(value)


def _named(row: object, name: str, what: str) -> str:
    value = text(row, name, what)
    if not value:
        raise Unreadable(f"{what}: {name} is empty")
    return value


def _above_zero(row: object, name: str, what: str) -> float:
    value = real(row, name, what)
    if value <= 0:
        raise Unreadable(f"{what}: {name} is {value!r}, not above zero")
    return value


def _from_zero(row: object, name: str, what: str) -> float:
    value = real(row, name, what)
    if value < 0:
        raise Unreadable(f"{what}: {name} is {value!r}, below zero")
    return value


def _number_of(row: object, name: str, what: str) -> int:
    value = whole(row, name, what)
    if value <= 0:
        raise Unreadable(f"{what}: {name} is {value!r}, not above zero")
    return value


def account_from(row: object) -> Account:
    """Return the account. Raises `Unreadable`; login 0 means that nobody is logged in."""
    what = "account"
    mode = whole(row, "margin_mode", what)
    if mode not in _MARGIN_MODES:
        raise Unreadable(f"{what}: margin_mode is {mode}, which is not known")
    return Account(
        login=_number_of(row, "login", what),
        server=_named(row, "server", what),
        currency=text(row, "currency", what),
        balance=real(row, "balance", what),
        equity=real(row, "equity", what),
        margin_mode=_MARGIN_MODES[mode],
        trade_allowed=flag(row, "trade_allowed", what),
        trade_expert=flag(row, "trade_expert", what),
    )


def terminal_from(row: object) -> TerminalState:
    """Return the terminal's switches. Raises `Unreadable`.

    `tradeapi_disabled` forbids this very API to trade, so it counts as
    trading switched off.
    """
    what = "terminal"
    return TerminalState(
        connected=flag(row, "connected", what),
        trade_allowed=flag(row, "trade_allowed", what) and not flag(row, "tradeapi_disabled", what),
        build=whole(row, "build", what),
        name=text(row, "name", what),
    )


def position_from(row: object) -> Position:
    """Return a position; a stop or target of 0 is None. Raises `Unreadable` naming the ticket."""
    what = f"position {getattr(row, 'ticket', None)!r}"
    kind = whole(row, "type", what)
    if kind not in _POSITION_DIRECTIONS:
        raise Unreadable(f"{what}: type is {kind}, neither BUY nor SELL")
    return Position(
        identifier=_number_of(row, "identifier", what),
        ticket=_number_of(row, "ticket", what),
        symbol=_named(row, "symbol", what),
        direction=_POSITION_DIRECTIONS[kind],
        volume=_above_zero(row, "volume", what),
        price_open=_above_zero(row, "price_open", what),
        stop_loss=_from_zero(row, "sl", what) or None,
        take_profit=_from_zero(row, "tp", what) or None,
        # The terminal shows 0 until the symbol's first quote has arrived.
        price_current=_from_zero(row, "price_current", what),
        profit=real(row, "profit", what),
        swap=real(row, "swap", what),
        magic=whole(row, "magic", what),
        comment=text(row, "comment", what),
        time=whole(row, "time", what),
        time_update_msc=whole(row, "time_update_msc", what),
    )


def quote_from(symbol: str, row: object) -> Quote | None:
    """Return the quote, or None where there is none that a rule could use.

    No quote is a normal state (a symbol without ticks yet, a closed market),
    so a bid or ask that is not above zero, not finite or crossed is None and
    not an error. How old a quote may be is for its reader to judge: the API
    tells nothing of sessions, and a quiet market looks like a dead one.
    """
    what = f"tick of {symbol}"
    try:
        bid, ask = _above_zero(row, "bid", what), _above_zero(row, "ask", what)
        milliseconds = whole(row, "time_msc", what)
        moment = milliseconds / 1000 if milliseconds > 0 else float(whole(row, "time", what))
    except Unreadable:
        return None
    return Quote(symbol=symbol, bid=bid, ask=ask, time=moment) if ask >= bid else None


def facts_from(symbol: str, row: object) -> SymbolFacts:
    """Return what the rules need of a symbol. Raises `Unreadable`.

    Some brokers leave `trade_tick_size` at 0; then a tick is a point.
    """
    what = f"symbol {symbol}"
    point = _above_zero(row, "point", what)
    digits = whole(row, "digits", what)
    if not 0 <= digits <= 15:
        raise Unreadable(f"{what}: digits is {digits}, not within 0 to 15")
    return SymbolFacts(
        symbol=symbol,
        digits=digits,
        point=point,
        tick_size=_from_zero(row, "trade_tick_size", what) or point,
        tick_value=_from_zero(row, "trade_tick_value", what),
        contract_size=_from_zero(row, "trade_contract_size", what),
        volume_min=_above_zero(row, "volume_min", what),
        volume_max=_above_zero(row, "volume_max", what),
        volume_step=_above_zero(row, "volume_step", what),
        stops_level=whole(row, "trade_stops_level", what),
        freeze_level=whole(row, "trade_freeze_level", what),
        trade_mode=whole(row, "trade_mode", what),
        filling_mode=whole(row, "filling_mode", what),
        execution_mode=whole(row, "trade_exemode", what),
    )


def deal_from(row: object) -> Deal:
    """Return a deal of any kind. Raises `Unreadable` naming its ticket."""
    what = f"deal {getattr(row, 'ticket', None)!r}"
    milliseconds = whole(row, "time_msc", what)
    return Deal(
        ticket=whole(row, "ticket", what),
        order=whole(row, "order", what),
        position_id=whole(row, "position_id", what),
        symbol=text(row, "symbol", what),
        direction=_DEAL_DIRECTIONS.get(whole(row, "type", what)),
        entry=whole(row, "entry", what),
        volume=_from_zero(row, "volume", what),
        price=real(row, "price", what),
        profit=real(row, "profit", what),
        commission=real(row, "commission", what),
        swap=real(row, "swap", what),
        fee=real(row, "fee", what),
        reason=whole(row, "reason", what),
        time=milliseconds / 1000 if milliseconds > 0 else float(whole(row, "time", what)),
        comment=text(row, "comment", what),
    )


def pending_from(row: object) -> PendingOrder | None:
    """Return a waiting order; None for a market order that is being worked on."""
    what = f"order {getattr(row, 'ticket', None)!r}"
    kind = whole(row, "type", what)
    if not ORDER_TYPE_BUY_LIMIT <= kind <= ORDER_TYPE_SELL_STOP_LIMIT:
        return None
    return PendingOrder(
        ticket=_number_of(row, "ticket", what),
        symbol=_named(row, "symbol", what),
        type=kind,
        volume=_from_zero(row, "volume_current", what),
        price=_from_zero(row, "price_open", what),
        magic=whole(row, "magic", what),
        comment=text(row, "comment", what),
    )
