"""What the reference refuses, in the order of docs/broker.md."""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from ledger_book import Book
from ledger_terms import (
    BUY,
    BUYS,
    CLOSE_BY,
    CLOSE_ONLY,
    DAY_MS,
    DEAL,
    DISABLED,
    FOK,
    GTC,
    HEDGING,
    INSTANT,
    IOC,
    LIMITS,
    LONG_ONLY,
    MODIFY,
    ON_EXCHANGE,
    PENDING,
    REMOVE,
    REQUEST,
    RETURN,
    SELL,
    SHORT_ONLY,
    SLTP,
    SPECIFIED,
    SPECIFIED_DAY,
    STOP_LIMITS,
    TODAY,
    ZERO,
    No,
    Order,
    Position,
    Symbol,
    exact,
)


def number(value: Any) -> Decimal:
    """Return a number of a request as a decimal; 10013 is not for this to say."""
    return exact(value)


def price_of(symbol: Symbol, request: Mapping[str, Any], name: str) -> Decimal:
    """Return a price of a request on the symbol's grid; 0 where it is left out."""
    return exact(request.get(name, 0.0)).quantize(symbol.point, ROUND_HALF_EVEN)


def levels_of(symbol: Symbol, request: Mapping[str, Any]) -> tuple[Decimal, Decimal]:
    """Return stop loss and take profit of a request."""
    return price_of(symbol, request, "sl"), price_of(symbol, request, "tp")


def expiration_of(book: Book, request: Mapping[str, Any]) -> int:
    """Return an order's `time_expiration`: what was given, if the order's life goes by it.

    For a day it is its beginning; wall seconds.

    A time that the wall leaves out is shown as what it is taken for.
    """
    if request.get("type_time", 0) == TODAY:
        wall = book.tape.wall(book.now)
        return (wall - wall % DAY_MS) // 1000
    given = int(request.get("expiration", 0)) if request.get("type_time", 0) != GTC else 0
    return book.tape.wall(book.tape.utc(given * 1000)) // 1000 if given else 0


def due_at(book: Book, request: Mapping[str, Any]) -> int | None:
    """Return when an order's life is over; None is never."""
    life, until = request.get("type_time", 0), request.get("expiration", 0)
    if life == TODAY:
        return book.tape.next_midnight(book.now)
    if life == SPECIFIED:
        return book.tape.utc(until * 1000)
    if life == SPECIFIED_DAY:
        wall = until * 1000
        return book.tape.utc(wall - wall % DAY_MS + DAY_MS)
    return None


def completed(book: Book, request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a request with what it may leave out: see docs/broker.md, Orders."""
    action = request.get("action", 0)
    if book.account.mode == HEDGING:
        one = book.positions.get(request.get("position", 0))
        if action in (DEAL, SLTP) and one is not None and not request.get("symbol"):
            return {**request, "symbol": one.symbol}
    elif action == SLTP and not request.get("position"):
        one = book.netted(request.get("symbol", ""))
        if one is not None:
            return {**request, "position": one.ticket}
    return request


def check(book: Book, request: Mapping[str, Any]) -> None:
    """Raise No with the first thing that is wrong."""
    action = request.get("action", 0)
    if action in (REMOVE, MODIFY):
        order = book.working.get(request.get("order", 0))
        if order is None:
            raise No(10013)
        if action == REMOVE:
            _not_frozen(book, order)
        else:
            _check_modify(book, order, request)
        return
    if action == CLOSE_BY:
        _check_close_by(book, request)
        return
    symbol = book.tape.symbols.get(request.get("symbol", ""))
    if symbol is None:
        raise No(10013)
    if symbol.trade_mode == DISABLED:
        raise No(10017)
    if action == SLTP:
        _check_levels(book, symbol, request)
    elif action == DEAL:
        _check_deal(book, symbol, request)
    elif action == PENDING:
        _check_pending(book, symbol, request)
    else:
        raise No(10013)


def _check_levels(book: Book, symbol: Symbol, request: Mapping[str, Any]) -> None:
    one = book.positions.get(request.get("position", 0))
    if one is None:
        raise No(10036)
    if one.symbol != symbol.name:
        raise No(10013)
    _open_market(book, symbol)
    _on_grid(symbol, request, 10016, "sl", "tp")
    sl, tp = levels_of(symbol, request)
    if (sl, tp) == (one.sl, one.tp):
        raise No(10025)
    closing = book.closing_price(symbol.name, one.side)
    frozen = symbol.freeze_level * symbol.point
    if any(frozen and level and abs(closing - level) <= frozen for level in (one.sl, one.tp)):
        raise No(10029)
    _far_enough(
        symbol, one.side, closing, sl if sl != one.sl else ZERO, tp if tp != one.tp else ZERO
    )


def _check_deal(book: Book, symbol: Symbol, request: Mapping[str, Any]) -> None:
    side = request.get("type", 0)
    if side not in (BUY, SELL):
        raise No(10035)
    one = None
    if request.get("position"):
        one = book.positions.get(request["position"])
        if one is None:
            raise No(10036)
        if one.symbol != symbol.name or one.side == side:
            raise No(10013)
    _open_market(book, symbol)
    volume = _volume(symbol, request)
    _sane(request, 10015, "price")
    asked = symbol.execution in (REQUEST, INSTANT)
    if asked and not request.get("price"):
        raise No(10015)
    _filling(symbol, request, waits=False)
    price = book.opening_price(symbol.name, side)
    if one is not None:
        if volume > one.volume:
            raise No(10038)
        _not_being_closed(book, one, volume)
        _first_in_first_out(book, one)
    else:
        _check_opening(book, symbol, side, volume, price, request)
    if asked:
        away = abs(exact(request["price"]) - price)
        if away > request.get("deviation", 0) * symbol.point:
            raise No(10004)
    limited = book.tape.terms.depth and symbol.depth and volume > symbol.depth
    if limited and (asked or request.get("type_filling", FOK) == FOK):
        raise No(10006)


def _check_opening(
    book: Book,
    symbol: Symbol,
    side: int,
    volume: Decimal,
    price: Decimal,
    request: Mapping[str, Any],
) -> None:
    present = book.netted(symbol.name)
    opens = volume
    if present is not None and present.side != side:
        opens = volume - present.volume
    if opens > 0:
        _direction(symbol, side)
    _on_grid(symbol, request, 10016, "sl", "tp")
    closing = book.closing_price(symbol.name, side)
    _far_enough(symbol, side, closing, *levels_of(symbol, request))
    if opens > 0:
        _volume_limit(book, symbol, side, opens)
    if book.too_dear(symbol, side, volume, price):
        raise No(10019)


def _check_pending(book: Book, symbol: Symbol, request: Mapping[str, Any]) -> None:
    kind = request.get("type", 0)
    if kind not in range(2, 8):
        raise No(10035)
    _open_market(book, symbol)
    volume = _volume(symbol, request)
    _filling(symbol, request, waits=True)
    _expiration(book, request)
    side = BUY if kind in BUYS else SELL
    _direction(symbol, side)
    _place(book, symbol, kind, request)
    if book.account.limit_orders and len(book.working) >= book.account.limit_orders:
        raise No(10033)
    _volume_limit(book, symbol, side, volume)


def _check_modify(book: Book, order: Order, request: Mapping[str, Any]) -> None:
    if order.type in (BUY, SELL):
        raise No(10035)
    symbol = book.tape.symbols[order.symbol]
    _open_market(book, symbol)
    _expiration(book, request)
    _place(book, symbol, order.type, request)
    sl, tp = levels_of(symbol, request)
    asked = (
        price_of(symbol, request, "price"),
        price_of(symbol, request, "stoplimit"),
        sl,
        tp,
        request.get("type_time", 0),
        expiration_of(book, request),
    )
    present = (order.price, order.stoplimit, order.sl, order.tp, order.life, order.expiration)
    if asked == present:
        raise No(10025)
    _not_frozen(book, order)


def _check_close_by(book: Book, request: Mapping[str, Any]) -> None:
    if book.account.mode != HEDGING:
        raise No(10013)
    one = book.positions.get(request.get("position", 0))
    other = book.positions.get(request.get("position_by", 0))
    if one is None or other is None:
        raise No(10036)
    if one.side == other.side or one.symbol != other.symbol:
        raise No(10013)
    _open_market(book, book.tape.symbols[one.symbol])


# -- single rules ----------------------------------------------------------


def _open_market(book: Book, symbol: Symbol) -> None:
    if symbol.name not in book.tape.quotes:
        raise No(10021)
    if not book.tape.is_open(symbol.name, book.now):
        raise No(10018)


def _sane(request: Mapping[str, Any], code: int, *names: str) -> None:
    for name in names:
        value = request.get(name, 0.0)
        if not math.isfinite(value) or value < 0:
            raise No(code)


def _on_grid(symbol: Symbol, request: Mapping[str, Any], code: int, *names: str) -> None:
    _sane(request, code, *names)
    for name in names:
        value = exact(request.get(name, 0.0))
        beside = abs(value - price_of(symbol, request, name))
        if beside > Decimal("1e-9") * max(Decimal(1), value):
            raise No(code)


def _volume(symbol: Symbol, request: Mapping[str, Any]) -> Decimal:
    asked = request.get("volume", 0.0)
    if not math.isfinite(asked):
        raise No(10014)
    volume = exact(asked)
    if not symbol.volume_min <= volume <= symbol.volume_max or volume % symbol.volume_step:
        raise No(10014)
    return volume


def _filling(symbol: Symbol, request: Mapping[str, Any], waits: bool) -> None:
    filling = request.get("type_filling", FOK)
    if symbol.execution in (REQUEST, INSTANT) and not waits:
        if filling not in (FOK, IOC, RETURN):
            raise No(10030)
        return
    returns = waits or symbol.execution == ON_EXCHANGE
    allowed = {FOK: bool(symbol.filling_mask & 1), IOC: bool(symbol.filling_mask & 2)}
    allowed[RETURN] = returns
    if not allowed.get(filling, False):
        raise No(10030)


def _direction(symbol: Symbol, side: int) -> None:
    if symbol.trade_mode == CLOSE_ONLY:
        raise No(10044)
    if symbol.trade_mode == LONG_ONLY and side == SELL:
        raise No(10042)
    if symbol.trade_mode == SHORT_ONLY and side == BUY:
        raise No(10043)


def _far_enough(symbol: Symbol, side: int, price: Decimal, sl: Decimal, tp: Decimal) -> None:
    least = max(symbol.stops_level, 1) * symbol.point
    up = 1 if side == BUY else -1
    if sl and (price - sl) * up < least:
        raise No(10016)
    if tp and (tp - price) * up < least:
        raise No(10016)


def _expiration(book: Book, request: Mapping[str, Any]) -> None:
    due = due_at(book, request)
    if due is not None and due <= book.now:
        raise No(10022)


def _place(book: Book, symbol: Symbol, kind: int, request: Mapping[str, Any]) -> None:
    """Check the prices of a working order."""
    _on_grid(symbol, request, 10015, "price", "stoplimit")
    price, stoplimit = (
        price_of(symbol, request, "price"),
        price_of(symbol, request, "stoplimit"),
    )
    side = BUY if kind in BUYS else SELL
    up = 1 if side == BUY else -1
    least = max(symbol.stops_level, 1) * symbol.point
    beyond = (price - book.opening_price(symbol.name, side)) * up
    away = -beyond if kind in LIMITS else beyond
    if not price or away < least:
        raise No(10015)
    if kind in STOP_LIMITS and (not stoplimit or (stoplimit - price) * up > 0):
        raise No(10015)
    _on_grid(symbol, request, 10016, "sl", "tp")
    _far_enough(
        symbol, side, stoplimit if kind in STOP_LIMITS else price, *levels_of(symbol, request)
    )


def _volume_limit(book: Book, symbol: Symbol, side: int, opens: Decimal) -> None:
    held = [
        one.volume
        for one in book.positions.values()
        if (one.symbol, one.side) == (symbol.name, side)
    ]
    waiting = [
        one.left
        for one in book.working.values()
        if one.symbol == symbol.name and one.buys == (side == BUY)
    ]
    if symbol.volume_limit and sum(held + waiting, opens) > symbol.volume_limit:
        raise No(10034)


def _not_being_closed(book: Book, one: Position, volume: Decimal) -> None:
    closing = [
        order.left
        for order in book.working.values()
        if order.position_id == one.identifier and order.buys != (one.side == BUY)
    ]
    if book.account.mode == HEDGING and closing and sum(closing) + volume > one.volume:
        raise No(10039)


def _first_in_first_out(book: Book, one: Position) -> None:
    same = [other for other in book.positions.values() if other.symbol == one.symbol]
    if book.account.fifo and any(_age(other) < _age(one) for other in same):
        raise No(10045)


def _age(one: Position) -> tuple[int, int]:
    return one.opened, one.ticket


def _not_frozen(book: Book, order: Order) -> None:
    symbol = book.tape.symbols[order.symbol]
    frozen = symbol.freeze_level * symbol.point
    price = book.opening_price(order.symbol, BUY if order.buys else SELL)
    if frozen and abs(price - order.price) <= frozen:
        raise No(10029)
