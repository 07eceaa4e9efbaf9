"""Why the simulated broker would refuse a request. Pure: no state is touched here.

What is looked at first is laid down in docs/broker.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from terminals import constants as mt5
from terminals.sim.book import EPSILON, OpenPosition
from terminals.sim.market import Price
from terminals.sim.rules import (
    ACCEPTED,
    AGREED,
    Situation,
    barred,
    filling_of,
    fills,
    frozen,
    level,
    near,
    on_grid,
    right_volume,
    too_dear,
    too_much,
    wrong_levels,
)
from terminals.sim.symbols import SymbolSpec
from terminals.sim.waiting import refuse_modify, refuse_pending
from terminals.structs import TradeRequest

_Rule: TypeAlias = Callable[[TradeRequest, Situation, SymbolSpec], int]
_MARKET_TYPES: Final = (mt5.ORDER_TYPE_BUY, mt5.ORDER_TYPE_SELL)

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
    mt5.TRADE_RETCODE_CLOSE_ORDER_EXIST: "Close order already exists",
    mt5.TRADE_RETCODE_LONG_ONLY: "Long positions only",
    mt5.TRADE_RETCODE_SHORT_ONLY: "Short positions only",
    mt5.TRADE_RETCODE_CLOSE_ONLY: "Close only",
    mt5.TRADE_RETCODE_LIMIT_ORDERS: "Orders limit reached",
    mt5.TRADE_RETCODE_LIMIT_VOLUME: "Volume limit reached",
    mt5.TRADE_RETCODE_REQUOTE: "Requote",
    mt5.TRADE_RETCODE_REJECT: "Request rejected",
    mt5.TRADE_RETCODE_DONE_PARTIAL: "Request executed partially",
    mt5.TRADE_RETCODE_FIFO_CLOSE: "Position closing by FIFO only",
    mt5.TRADE_RETCODE_HEDGE_PROHIBITED: "Opposite positions are prohibited",
}


def refusal(request: TradeRequest, at: Situation) -> int:
    """Return the retcode of the first thing that is wrong, or ACCEPTED."""
    if not at.account.trade_allowed:
        return mt5.TRADE_RETCODE_TRADE_DISABLED
    if not at.account.trade_expert:
        return mt5.TRADE_RETCODE_SERVER_DISABLES_AT
    if request.action in (mt5.TRADE_ACTION_REMOVE, mt5.TRADE_ACTION_MODIFY) and at.order is None:
        return mt5.TRADE_RETCODE_INVALID
    if request.action == mt5.TRADE_ACTION_REMOVE and at.order is not None:
        late = at.spec is not None and frozen(at.order, at.price, at.spec)
        return mt5.TRADE_RETCODE_FROZEN if late else ACCEPTED
    if request.action == mt5.TRADE_ACTION_CLOSE_BY:
        return _refuse_close_by(at)
    if at.spec is None:
        return mt5.TRADE_RETCODE_INVALID
    if at.spec.trade_mode == mt5.SYMBOL_TRADE_MODE_DISABLED:
        return mt5.TRADE_RETCODE_TRADE_DISABLED
    refuse = _BY_ACTION.get(request.action)
    return mt5.TRADE_RETCODE_INVALID if refuse is None else refuse(request, at, at.spec)


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
    if not (on_grid(request.sl, spec) and on_grid(request.tp, spec)):
        return mt5.TRADE_RETCODE_INVALID_STOPS
    sl, tp = spec.price(request.sl), spec.price(request.tp)
    if sl == spec.price(one.sl) and tp == spec.price(one.tp):
        return mt5.TRADE_RETCODE_NO_CHANGES
    closing = at.price.bid if one.sign > 0 else at.price.ask
    if near(closing, one.sl, spec) or near(closing, one.tp, spec):
        return mt5.TRADE_RETCODE_FROZEN
    # A level that stays where it is may stand nearer than a new one could.
    return wrong_levels(
        sl if sl != spec.price(one.sl) else 0.0,
        tp if tp != spec.price(one.tp) else 0.0,
        one.sign,
        closing,
        spec,
    )


def _refuse_close_by(at: Situation) -> int:
    one, other = at.position, at.other
    if not at.account.hedging:
        return mt5.TRADE_RETCODE_INVALID
    if one is None or other is None:
        return mt5.TRADE_RETCODE_POSITION_CLOSED
    if one.type == other.type or one.symbol != other.symbol:
        return mt5.TRADE_RETCODE_INVALID
    if at.price is None:
        return mt5.TRADE_RETCODE_PRICE_OFF
    return ACCEPTED if at.open else mt5.TRADE_RETCODE_MARKET_CLOSED


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
    if not right_volume(request.volume, spec):
        return mt5.TRADE_RETCODE_INVALID_VOLUME
    agreed = spec.execution in AGREED
    if not level(request.price) or (agreed and not request.price):
        return mt5.TRADE_RETCODE_INVALID_PRICE
    if not fills(request.type_filling, spec, waits=False):
        return mt5.TRADE_RETCODE_INVALID_FILL
    if closing and one is not None:
        wrong = _refuse_closing(request, at, one)
    else:
        wrong = _refuse_opening(request, at, spec, at.price)
    if wrong != ACCEPTED:
        return wrong
    price = at.price.ask if request.type == mt5.ORDER_TYPE_BUY else at.price.bid
    if agreed and abs(request.price - price) > request.deviation * spec.point + EPSILON:
        return mt5.TRADE_RETCODE_REQUOTE
    whole = filling_of(request, spec) == mt5.ORDER_FILLING_FOK
    if whole and request.volume > at.depth + EPSILON:
        return mt5.TRADE_RETCODE_REJECT
    return ACCEPTED


def _refuse_closing(request: TradeRequest, at: Situation, one: OpenPosition) -> int:
    if request.volume > one.volume + EPSILON:
        return mt5.TRADE_RETCODE_INVALID_CLOSE_VOLUME
    if at.closing and at.closing + request.volume > one.volume + EPSILON:
        return mt5.TRADE_RETCODE_CLOSE_ORDER_EXIST
    if at.account.fifo_close and at.oldest != one.ticket:
        return mt5.TRADE_RETCODE_FIFO_CLOSE
    return ACCEPTED


def _refuse_opening(request: TradeRequest, at: Situation, spec: SymbolSpec, price: Price) -> int:
    sign = 1 if request.type == mt5.ORDER_TYPE_BUY else -1
    opens = request.volume
    if at.netted is not None and at.netted.sign != sign:
        opens = request.volume - at.netted.volume
    if opens > EPSILON:
        wrong = barred(sign, spec, at)
        if wrong != ACCEPTED:
            return wrong
    if not (on_grid(request.sl, spec) and on_grid(request.tp, spec)):
        return mt5.TRADE_RETCODE_INVALID_STOPS
    closing = price.bid if sign > 0 else price.ask
    sl, tp = spec.price(request.sl), spec.price(request.tp)
    wrong = wrong_levels(sl, tp, sign, closing, spec)
    if wrong != ACCEPTED:
        return wrong
    if opens > EPSILON and too_much(at.sides, spec, sign, opens):
        return mt5.TRADE_RETCODE_LIMIT_VOLUME
    return mt5.TRADE_RETCODE_NO_MONEY if too_dear(at.room, sign, request.volume) else ACCEPTED


_BY_ACTION: Final[dict[int, _Rule]] = {
    mt5.TRADE_ACTION_DEAL: _refuse_deal,
    mt5.TRADE_ACTION_PENDING: refuse_pending,
    mt5.TRADE_ACTION_SLTP: _refuse_stops,
    mt5.TRADE_ACTION_MODIFY: refuse_modify,
}
