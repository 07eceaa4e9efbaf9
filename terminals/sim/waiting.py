"""Why the simulated broker would refuse to place or to change a working order. Pure."""

from __future__ import annotations

from typing import Final

from terminals import constants as mt5
from terminals.sim.book import EPSILON
from terminals.sim.market import Price
from terminals.sim.rules import (
    ACCEPTED,
    Situation,
    barred,
    fills,
    frozen,
    on_grid,
    right_volume,
    too_much,
    wrong_levels,
)
from terminals.sim.symbols import SymbolSpec
from terminals.sim.working import LIMIT_OF, LIMITS, LONG_TYPES, PENDING_TYPES
from terminals.structs import TradeRequest

_LIVES: Final = (
    mt5.ORDER_TIME_GTC,
    mt5.ORDER_TIME_DAY,
    mt5.ORDER_TIME_SPECIFIED,
    mt5.ORDER_TIME_SPECIFIED_DAY,
)


def refuse_pending(request: TradeRequest, at: Situation, spec: SymbolSpec) -> int:
    """Return why an order cannot be placed, or ACCEPTED."""
    if request.type not in PENDING_TYPES:
        return mt5.TRADE_RETCODE_INVALID_ORDER
    if not at.selected or at.price is None:
        return mt5.TRADE_RETCODE_PRICE_OFF
    if not at.open:
        return mt5.TRADE_RETCODE_MARKET_CLOSED
    if not right_volume(request.volume, spec):
        return mt5.TRADE_RETCODE_INVALID_VOLUME
    if not fills(request.type_filling, spec, waits=True):
        return mt5.TRADE_RETCODE_INVALID_FILL
    if not _lives(request, at):
        return mt5.TRADE_RETCODE_INVALID_EXPIRATION
    sign = 1 if request.type in LONG_TYPES else -1
    wrong = barred(sign, spec, at) or _wrong_prices(request, request.type, at.price, spec)
    if wrong != ACCEPTED:
        return wrong
    if at.account.limit_orders and at.working >= at.account.limit_orders:
        return mt5.TRADE_RETCODE_LIMIT_ORDERS
    beyond = too_much(at.sides, spec, sign, request.volume)
    return mt5.TRADE_RETCODE_LIMIT_VOLUME if beyond else ACCEPTED


def refuse_modify(request: TradeRequest, at: Situation, spec: SymbolSpec) -> int:
    """Return why a working order cannot be changed, or ACCEPTED."""
    order = at.order
    if order is None or order.type not in PENDING_TYPES:
        return mt5.TRADE_RETCODE_INVALID_ORDER
    if at.price is None:
        return mt5.TRADE_RETCODE_PRICE_OFF
    if not at.open:
        return mt5.TRADE_RETCODE_MARKET_CLOSED
    if not _lives(request, at):
        return mt5.TRADE_RETCODE_INVALID_EXPIRATION
    wrong = _wrong_prices(request, order.type, at.price, spec)
    if wrong != ACCEPTED:
        return wrong
    asked = prices_of(request, spec)
    present = (order.price_open, order.price_stoplimit, order.sl, order.tp)
    life = (request.type_time, at.expiration)
    if asked == present and life == (order.type_time, order.time_expiration):
        return mt5.TRADE_RETCODE_NO_CHANGES
    return mt5.TRADE_RETCODE_FROZEN if frozen(order, at.price, spec) else ACCEPTED


def prices_of(request: TradeRequest, spec: SymbolSpec) -> tuple[float, float, float, float]:
    """Return price, stop limit price, stop loss and take profit, exactly on the symbol's grid."""
    price, stoplimit = spec.price(request.price), spec.price(request.stoplimit)
    return price, stoplimit, spec.price(request.sl), spec.price(request.tp)


def _lives(request: TradeRequest, at: Situation) -> bool:
    known = request.type_time in _LIVES
    return known and (at.due_msc is None or at.due_msc > at.now_msc)


def _wrong_prices(request: TradeRequest, kind: int, now: Price, spec: SymbolSpec) -> int:
    if not (on_grid(request.price, spec) and on_grid(request.stoplimit, spec)):
        return mt5.TRADE_RETCODE_INVALID_PRICE
    price, stoplimit = spec.price(request.price), spec.price(request.stoplimit)
    sign = 1 if kind in LONG_TYPES else -1
    entry = now.ask if sign > 0 else now.bid
    away = (entry - price) * sign * (1 if kind in LIMITS else -1)
    if price == 0.0 or away < max(spec.stops_level, 1) * spec.point - EPSILON:
        return mt5.TRADE_RETCODE_INVALID_PRICE
    if kind in LIMIT_OF and (stoplimit == 0.0 or (stoplimit - price) * sign > EPSILON):
        return mt5.TRADE_RETCODE_INVALID_PRICE
    if not (on_grid(request.sl, spec) and on_grid(request.tp, spec)):
        return mt5.TRADE_RETCODE_INVALID_STOPS
    sl, tp = spec.price(request.sl), spec.price(request.tp)
    return wrong_levels(sl, tp, sign, stoplimit if kind in LIMIT_OF else price, spec)
