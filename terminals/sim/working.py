"""What a working order waits for: a price, and the end of its life. Pure."""

from __future__ import annotations

from typing import Final

from terminals import constants as mt5
from terminals.sim.zone import BrokerZone
from terminals.structs import TradeOrder

PENDING_TYPES: Final = (
    mt5.ORDER_TYPE_BUY_LIMIT,
    mt5.ORDER_TYPE_SELL_LIMIT,
    mt5.ORDER_TYPE_BUY_STOP,
    mt5.ORDER_TYPE_SELL_STOP,
    mt5.ORDER_TYPE_BUY_STOP_LIMIT,
    mt5.ORDER_TYPE_SELL_STOP_LIMIT,
)
LONG_TYPES: Final = (
    mt5.ORDER_TYPE_BUY,
    mt5.ORDER_TYPE_BUY_LIMIT,
    mt5.ORDER_TYPE_BUY_STOP,
    mt5.ORDER_TYPE_BUY_STOP_LIMIT,
)
LIMITS: Final = (mt5.ORDER_TYPE_BUY_LIMIT, mt5.ORDER_TYPE_SELL_LIMIT)
STOPS: Final = (mt5.ORDER_TYPE_BUY_STOP, mt5.ORDER_TYPE_SELL_STOP)
# A stop limit that is reached becomes a limit of the same side.
LIMIT_OF: Final = {
    mt5.ORDER_TYPE_BUY_STOP_LIMIT: mt5.ORDER_TYPE_BUY_LIMIT,
    mt5.ORDER_TYPE_SELL_STOP_LIMIT: mt5.ORDER_TYPE_SELL_LIMIT,
}
# These wait for the price to come up to theirs; the others wait for it to come down.
ABOVE: Final = (
    mt5.ORDER_TYPE_BUY_STOP,
    mt5.ORDER_TYPE_SELL_LIMIT,
    mt5.ORDER_TYPE_BUY_STOP_LIMIT,
)


def works_as_market(order: TradeOrder) -> bool:
    """Whether an order goes on at any price: the rest of a market order, or of a stop."""
    partial = order.state == mt5.ORDER_STATE_PARTIAL
    return order.type <= mt5.ORDER_TYPE_SELL or (partial and order.type in STOPS)


def reached(order: TradeOrder, bid: float, ask: float) -> bool:
    """Whether a quote fills a working order, or makes a limit of a stop limit."""
    if works_as_market(order):
        return True
    price = ask if order.type in LONG_TYPES else bid
    return price >= order.price_open if order.type in ABOVE else price <= order.price_open


def expiration_of(type_time: int, given: int, at_msc: int, zone: BrokerZone) -> int:
    """Return an order's `time_expiration` (UTC seconds) from what the request gave at a time.

    That of a day is where the day begins: so a live account's orders show it
    (one broker's, published: set up at 11:06 of the wall, expiring at 00:00).
    """
    if type_time == mt5.ORDER_TIME_GTC:
        return 0  # whatever was given: it means nothing, and may be no time at all
    if type_time == mt5.ORDER_TIME_DAY:
        return zone.midnight(at_msc) // 1000
    return given


def due_of(type_time: int, expiration: int, zone: BrokerZone) -> int | None:
    """Return when an order's life is over (UTC ms); None is never. `expiration`: UTC seconds."""
    if type_time == mt5.ORDER_TIME_SPECIFIED:
        return expiration * 1000
    if type_time in (mt5.ORDER_TIME_DAY, mt5.ORDER_TIME_SPECIFIED_DAY):
        return zone.next_midnight(expiration * 1000)
    return None
