"""Which stop, target or pending order a span of ticks touches first. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from terminals import constants as mt5
from terminals.sim.book import OpenPosition
from terminals.sim.market import Ticks
from terminals.structs import TradeOrder

_ABOVE: Final = (mt5.ORDER_TYPE_BUY_STOP, mt5.ORDER_TYPE_SELL_LIMIT)


class Extremes(NamedTuple):
    """The outermost prices of a span: most spans touch nothing, and this is enough to see it."""

    bid_low: float
    bid_high: float
    ask_low: float
    ask_high: float


class Touch(NamedTuple):
    """A level that was reached: when, at which tick's price, and why (DEAL_REASON_*)."""

    time_msc: int
    price: float
    reason: int


def extremes(ticks: Ticks) -> Extremes:
    """Return the extremes of a span of at least one tick."""
    return Extremes(
        float(ticks.bid.min()),
        float(ticks.bid.max()),
        float(ticks.ask.min()),
        float(ticks.ask.max()),
    )


def touch_position(one: OpenPosition, ticks: Ticks, span: Extremes) -> Touch | None:
    """Return the first touch of a position's stop loss or take profit.

    A long position closes at the bid, a short one at the ask. The fill is
    the tick's own price, so a gap fills beyond the stop. Where one tick
    reaches both levels, the stop counts.
    """
    long = one.sign > 0
    prices = ticks.bid if long else ticks.ask
    low, high = (span.bid_low, span.bid_high) if long else (span.ask_low, span.ask_high)
    stop = bool(one.sl) and (low <= one.sl if long else high >= one.sl)
    target = bool(one.tp) and (high >= one.tp if long else low <= one.tp)
    found = None
    if stop:
        reached = prices <= one.sl if long else prices >= one.sl
        found = _first(reached, ticks, prices, one.seen_msc, mt5.DEAL_REASON_SL)
    if target:
        reached = prices >= one.tp if long else prices <= one.tp
        other = _first(reached, ticks, prices, one.seen_msc, mt5.DEAL_REASON_TP)
        if other is not None and (found is None or other.time_msc < found.time_msc):
            found = other
    return found


def touch_order(one: TradeOrder, ticks: Ticks, span: Extremes, seen_msc: int) -> Touch | None:
    """Return the first tick that fills a pending order, at the tick's price."""
    buys = one.type in (mt5.ORDER_TYPE_BUY_LIMIT, mt5.ORDER_TYPE_BUY_STOP)
    prices = ticks.ask if buys else ticks.bid
    low, high = (span.ask_low, span.ask_high) if buys else (span.bid_low, span.bid_high)
    above = one.type in _ABOVE
    if (high < one.price_open) if above else (low > one.price_open):
        return None
    reached = prices >= one.price_open if above else prices <= one.price_open
    return _first(reached, ticks, prices, seen_msc, mt5.DEAL_REASON_EXPERT)


def _first(
    reached: npt.NDArray[np.bool_],
    ticks: Ticks,
    prices: npt.NDArray[np.float64],
    seen_msc: int,
    reason: int,
) -> Touch | None:
    if seen_msc >= int(ticks.time_msc[0]):
        reached = reached & (ticks.time_msc > seen_msc)
    index = int(np.argmax(reached))
    if not reached[index]:
        return None
    return Touch(int(ticks.time_msc[index]), float(prices[index]), reason)
