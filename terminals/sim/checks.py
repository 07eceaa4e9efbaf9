"""Why the simulated broker would refuse a request. Pure: no state is touched here."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from terminals import constants as mt5
from terminals.sim.book import EPSILON, OpenPosition, SimAccount
from terminals.sim.market import Price
from terminals.sim.symbols import SymbolSpec
from terminals.structs import TradeOrder, TradeRequest

ACCEPTED: Final = 0
_MARKET_TYPES: Final = (mt5.ORDER_TYPE_BUY, mt5.ORDER_TYPE_SELL)
_PENDING_TYPES: Final = (
    mt5.ORDER_TYPE_BUY_LIMIT,
    mt5.ORDER_TYPE_SELL_LIMIT,
    mt5.ORDER_TYPE_BUY_STOP,
    mt5.ORDER_TYPE_SELL_STOP,
)
LONG_TYPES: Final = (mt5.ORDER_TYPE_BUY, mt5.ORDER_TYPE_BUY_LIMIT, mt5.ORDER_TYPE_BUY_STOP)

COMMENTS: Final = {
    0: "Done",
    mt5.TRADE_RETCODE_PLACED: "Request placed",
    mt5.TRADE_RETCODE_DONE: "Request executed",
    mt5.TRADE_RETCODE_INVALID: "Invalid request",
    mt5.TRADE_RETCODE_INVALID_VOLUME: "Invalid volume",
    mt5.TRADE_RETCODE_INVALID_PRICE: "Invalid price",
    mt5.TRADE_RETCODE_INVALID_STOPS: "Invalid stops",
    mt5.TRADE_RETCODE_TRADE_DISABLED: "Trade disabled",
    mt5.TRADE_RETCODE_MARKET_CLOSED: "Market closed",
    mt5.TRADE_RETCODE_NO_MONEY: "No money",
    mt5.TRADE_RETCODE_PRICE_OFF: "No prices",
    mt5.TRADE_RETCODE_INVALID_EXPIRATION: "Invalid expiration",
    mt5.TRADE_RETCODE_NO_CHANGES: "No changes",
    mt5.TRADE_RETCODE_SERVER_DISABLES_AT: "AutoTrading disabled by server",
    mt5.TRADE_RETCODE_CLIENT_DISABLES_AT: "AutoTrading disabled by client",
    mt5.TRADE_RETCODE_FROZEN: "Position frozen",
    mt5.TRADE_RETCODE_INVALID_FILL: "Unsupported filling mode",
    mt5.TRADE_RETCODE_CONNECTION: "No connection",
    mt5.TRADE_RETCODE_INVALID_ORDER: "Invalid order",
    mt5.TRADE_RETCODE_POSITION_CLOSED: "Position doesn't exist",
    mt5.TRADE_RETCODE_INVALID_CLOSE_VOLUME: "Invalid close volume",
    mt5.TRADE_RETCODE_LONG_ONLY: "Long positions only",
    mt5.TRADE_RETCODE_SHORT_ONLY: "Short positions only",
    mt5.TRADE_RETCODE_CLOSE_ONLY: "Close only",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What a request meets at the broker."""

    account: SimAccount
    spec: SymbolSpec | None  # None for an unknown symbol
    price: Price | None
    open: bool  # the symbol trades now
    selected: bool  # in Market Watch
    position: OpenPosition | None  # the one the request names
    netted: OpenPosition | None  # on a netting account, the symbol's position
    order: TradeOrder | None  # the working order the request names
    margin_free: float
    margin_per_lot: float


def refusal(request: TradeRequest, at: Situation) -> int:
    """Return the retcode of the first thing that is wrong, or ACCEPTED."""
    if not at.account.trade_allowed:
        return mt5.TRADE_RETCODE_TRADE_DISABLED
    if not at.account.trade_expert:
        return mt5.TRADE_RETCODE_SERVER_DISABLES_AT
    if request.action == mt5.TRADE_ACTION_REMOVE:
        return ACCEPTED if at.order is not None else mt5.TRADE_RETCODE_INVALID
    if at.spec is None:
        return mt5.TRADE_RETCODE_INVALID
    if at.spec.trade_mode == mt5.SYMBOL_TRADE_MODE_DISABLED:
        return mt5.TRADE_RETCODE_TRADE_DISABLED
    if request.action == mt5.TRADE_ACTION_SLTP:
        return _refuse_stops(request, at, at.spec)
    if request.action == mt5.TRADE_ACTION_DEAL:
        return _refuse_deal(request, at, at.spec)
    if request.action == mt5.TRADE_ACTION_PENDING:
        return _refuse_pending(request, at, at.spec)
    return mt5.TRADE_RETCODE_INVALID


def _refuse_stops(request: TradeRequest, at: Situation, spec: SymbolSpec) -> int:
    one = at.position
    if one is None:
        return mt5.TRADE_RETCODE_POSITION_CLOSED
    if one.symbol != request.symbol:
        return mt5.TRADE_RETCODE_INVALID
    if not at.open:
        return mt5.TRADE_RETCODE_MARKET_CLOSED
    if at.price is None:
        return mt5.TRADE_RETCODE_PRICE_OFF
    if not (_level(request.sl) and _level(request.tp)):
        return mt5.TRADE_RETCODE_INVALID_STOPS
    sl, tp = spec.price(request.sl), spec.price(request.tp)
    if sl == spec.price(one.sl) and tp == spec.price(one.tp):
        return mt5.TRADE_RETCODE_NO_CHANGES
    frozen = spec.freeze_level * spec.point - EPSILON
    closing = at.price.bid if one.sign > 0 else at.price.ask
    if spec.freeze_level and any(
        level and abs(closing - level) <= frozen for level in (one.sl, one.tp)
    ):
        return mt5.TRADE_RETCODE_FROZEN
    # A level that stays where it is may stand nearer than a new one could.
    return _refuse_levels(
        sl if sl != spec.price(one.sl) else 0.0,
        tp if tp != spec.price(one.tp) else 0.0,
        one.sign,
        closing,
        spec,
    )


def _refuse_deal(request: TradeRequest, at: Situation, spec: SymbolSpec) -> int:
    if request.type not in _MARKET_TYPES:
        return mt5.TRADE_RETCODE_INVALID_ORDER
    closing = bool(request.position)
    one = at.position
    if closing:
        if one is None:
            return mt5.TRADE_RETCODE_POSITION_CLOSED
        if one.symbol != request.symbol or one.type == request.type:
            return mt5.TRADE_RETCODE_INVALID
    if not at.selected or at.price is None:
        return mt5.TRADE_RETCODE_PRICE_OFF
    if not at.open:
        return mt5.TRADE_RETCODE_MARKET_CLOSED
    if not _volume(request.volume, spec):
        return mt5.TRADE_RETCODE_INVALID_VOLUME
    if not _level(request.price):
        return mt5.TRADE_RETCODE_INVALID_PRICE
    if not _fills(request.type_filling, spec):
        return mt5.TRADE_RETCODE_INVALID_FILL
    if closing and one is not None:
        too_much = request.volume > one.volume + EPSILON
        return mt5.TRADE_RETCODE_INVALID_CLOSE_VOLUME if too_much else ACCEPTED
    return _refuse_opening(request, at, spec, at.price)


def _refuse_opening(request: TradeRequest, at: Situation, spec: SymbolSpec, price: Price) -> int:
    sign = 1 if request.type == mt5.ORDER_TYPE_BUY else -1
    against = at.netted is not None and at.netted.sign != sign
    reduces = against and at.netted is not None and request.volume <= at.netted.volume + EPSILON
    if not reduces:
        barred = _barred(sign, spec)
        if barred != ACCEPTED:
            return barred
    if not (_level(request.sl) and _level(request.tp)):
        return mt5.TRADE_RETCODE_INVALID_STOPS
    closing = price.bid if sign > 0 else price.ask
    wrong = _refuse_levels(request.sl, request.tp, sign, closing, spec)
    if wrong != ACCEPTED:
        return wrong
    added = request.volume
    if against and at.netted is not None:
        added = max(0.0, request.volume - 2.0 * at.netted.volume)
    if added * at.margin_per_lot > at.margin_free:
        return mt5.TRADE_RETCODE_NO_MONEY
    return ACCEPTED


def _refuse_pending(request: TradeRequest, at: Situation, spec: SymbolSpec) -> int:
    if request.type not in _PENDING_TYPES:
        return mt5.TRADE_RETCODE_INVALID_ORDER
    if not at.selected or at.price is None:
        return mt5.TRADE_RETCODE_PRICE_OFF
    if not at.open:
        return mt5.TRADE_RETCODE_MARKET_CLOSED
    if not _volume(request.volume, spec):
        return mt5.TRADE_RETCODE_INVALID_VOLUME
    if request.type_time != mt5.ORDER_TIME_GTC or request.expiration:
        return mt5.TRADE_RETCODE_INVALID_EXPIRATION
    sign = 1 if request.type in LONG_TYPES else -1
    barred = _barred(sign, spec)
    if barred != ACCEPTED:
        return barred
    if not _level(request.price) or request.price == 0.0:
        return mt5.TRADE_RETCODE_INVALID_PRICE
    limit = request.type in (mt5.ORDER_TYPE_BUY_LIMIT, mt5.ORDER_TYPE_SELL_LIMIT)
    entry = at.price.ask if sign > 0 else at.price.bid
    away = (entry - request.price) * sign * (1 if limit else -1)
    if away < max(spec.stops_level, 1) * spec.point - EPSILON:
        return mt5.TRADE_RETCODE_INVALID_PRICE
    if not (_level(request.sl) and _level(request.tp)):
        return mt5.TRADE_RETCODE_INVALID_STOPS
    return _refuse_levels(request.sl, request.tp, sign, request.price, spec)


def _barred(sign: int, spec: SymbolSpec) -> int:
    if spec.trade_mode == mt5.SYMBOL_TRADE_MODE_CLOSEONLY:
        return mt5.TRADE_RETCODE_CLOSE_ONLY
    if spec.trade_mode == mt5.SYMBOL_TRADE_MODE_LONGONLY and sign < 0:
        return mt5.TRADE_RETCODE_LONG_ONLY
    if spec.trade_mode == mt5.SYMBOL_TRADE_MODE_SHORTONLY and sign > 0:
        return mt5.TRADE_RETCODE_SHORT_ONLY
    return ACCEPTED


def _refuse_levels(sl: float, tp: float, sign: int, closing: float, spec: SymbolSpec) -> int:
    """Check distance and side of new levels; 0 is none. `closing` is the price that closes."""
    least = max(spec.stops_level, 1) * spec.point - EPSILON
    if sl and (closing - sl) * sign < least:
        return mt5.TRADE_RETCODE_INVALID_STOPS
    if tp and (tp - closing) * sign < least:
        return mt5.TRADE_RETCODE_INVALID_STOPS
    return ACCEPTED


def _level(value: float) -> bool:
    return math.isfinite(value) and value >= 0.0


def _volume(volume: float, spec: SymbolSpec) -> bool:
    if not math.isfinite(volume):
        return False
    if not spec.volume_min - EPSILON <= volume <= spec.volume_max + EPSILON:
        return False
    steps = volume / spec.volume_step
    return abs(steps - round(steps)) < 1e-6


def _fills(filling: int, spec: SymbolSpec) -> bool:
    """Whether the mask allows the enum; RETURN is never allowed with market execution."""
    if filling == mt5.ORDER_FILLING_FOK:
        return bool(spec.filling_mode & mt5.SYMBOL_FILLING_FOK)
    if filling == mt5.ORDER_FILLING_IOC:
        return bool(spec.filling_mode & mt5.SYMBOL_FILLING_IOC)
    return False
