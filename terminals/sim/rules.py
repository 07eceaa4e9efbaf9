"""The single rules by which the simulated broker refuses requests. Pure.

A rule about several things returns the retcode, or ACCEPTED; one about a single
thing says whether it is in order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

from terminals import constants as mt5
from terminals.sim.book import EPSILON, OpenPosition, SimAccount
from terminals.sim.market import Price
from terminals.sim.money import cents
from terminals.sim.symbols import SymbolSpec
from terminals.sim.working import LONG_TYPES
from terminals.structs import TradeOrder, TradeRequest

ACCEPTED: Final = 0
# Where the client names the price that he accepts.
AGREED: Final = (mt5.SYMBOL_TRADE_EXECUTION_REQUEST, mt5.SYMBOL_TRADE_EXECUTION_INSTANT)


_FILLINGS: Final = (mt5.ORDER_FILLING_FOK, mt5.ORDER_FILLING_IOC, mt5.ORDER_FILLING_RETURN)
_OFF_GRID: Final = 1e-9  # of a price: what sums of doubles may be beside the grid


class Sides(NamedTuple):
    """What there is of a symbol on its two sides, long and short, in lots."""

    held: tuple[float, float] = (0.0, 0.0)  # by positions
    waiting: tuple[float, float] = (0.0, 0.0)  # by working orders


class Room(NamedTuple):
    """What decides whether the account can afford a deal; account money, unrounded but `free`."""

    netted: OpenPosition | None  # on a netting account, the symbol's position
    margins: tuple[float, float]  # of the symbol's long and short side
    elsewhere: float  # margin of the other symbols
    lot: float  # margin of a lot dealt now
    free: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What a request meets at the broker."""

    account: SimAccount
    spec: SymbolSpec | None  # None for an unknown symbol
    price: Price | None
    open: bool  # the symbol trades now
    selected: bool  # in Market Watch
    position: OpenPosition | None  # the one the request names
    other: OpenPosition | None  # the opposite one that it names
    opposed: bool  # the symbol has positions against the request's side
    oldest: int  # ticket of the symbol's oldest position; 0 without any
    netted: OpenPosition | None  # on a netting account, the symbol's position
    order: TradeOrder | None  # the working order the request names
    working: int  # how many orders work
    closing: float  # lots that working orders are about to close of the position
    sides: Sides
    room: Room
    depth: float  # lots that the market takes at one time; inf is any number
    now_msc: int
    expiration: int  # the `time_expiration` that the request's order would have
    due_msc: int | None  # when that order's life would be over; None is never


def margin_added(room: Room, sign: int, volume: float) -> float:
    """Return by how much a deal would raise the account's margin."""
    long, short = room.margins
    taken, one = room.lot * volume, room.netted
    if one is not None and one.sign != sign:
        after = room.lot * (volume - one.volume)  # what a reversal leaves
    else:
        after = max(long + taken, short) if sign > 0 else max(long, short + taken)
    return cents(cents(room.elsewhere + after) - cents(room.elsewhere + max(long, short)))


def too_dear(room: Room, sign: int, volume: float) -> bool:
    """Whether a deal would add more margin than is free; one that only reduces never does."""
    one = room.netted
    if one is not None and one.sign != sign and volume <= one.volume + EPSILON:
        return False
    return margin_added(room, sign, volume) > room.free + EPSILON


def too_much(sides: Sides, spec: SymbolSpec, sign: int, opens: float) -> bool:
    """Whether the symbol's `volume_limit` of a side would be passed."""
    side = 0 if sign > 0 else 1
    there = sides.held[side] + sides.waiting[side]
    return bool(spec.volume_limit) and there + opens > spec.volume_limit + EPSILON


def barred(sign: int, spec: SymbolSpec, at: Situation) -> int:
    """Say whether symbol or account forbid opening on a side."""
    if spec.trade_mode == mt5.SYMBOL_TRADE_MODE_CLOSEONLY:
        return mt5.TRADE_RETCODE_CLOSE_ONLY
    if spec.trade_mode == mt5.SYMBOL_TRADE_MODE_LONGONLY and sign < 0:
        return mt5.TRADE_RETCODE_LONG_ONLY
    if spec.trade_mode == mt5.SYMBOL_TRADE_MODE_SHORTONLY and sign > 0:
        return mt5.TRADE_RETCODE_SHORT_ONLY
    if at.account.hedging and at.account.hedge_prohibited and at.opposed:
        return mt5.TRADE_RETCODE_HEDGE_PROHIBITED
    return ACCEPTED


def wrong_levels(sl: float, tp: float, sign: int, closing: float, spec: SymbolSpec) -> int:
    """Check distance and side of new levels; 0 is none. `closing` is the price that closes."""
    least = max(spec.stops_level, 1) * spec.point - EPSILON
    if sl and (closing - sl) * sign < least:
        return mt5.TRADE_RETCODE_INVALID_STOPS
    if tp and (tp - closing) * sign < least:
        return mt5.TRADE_RETCODE_INVALID_STOPS
    return ACCEPTED


def frozen(order: TradeOrder, price: Price | None, spec: SymbolSpec) -> bool:
    """Whether a working order is so near to its fill that it can no longer be changed."""
    if price is None:
        return False
    entry = price.ask if order.type in LONG_TYPES else price.bid
    return near(entry, order.price_open, spec)


def near(price: float, level: float, spec: SymbolSpec) -> bool:
    """Whether a level is within the freeze level; 0 is no level."""
    if not (spec.freeze_level and level):
        return False
    return abs(price - level) <= spec.freeze_level * spec.point + EPSILON


def level(value: float) -> bool:
    """Whether a number can be a price; 0 is none."""
    return math.isfinite(value) and value >= 0.0


def on_grid(value: float, spec: SymbolSpec) -> bool:
    """Whether a number can be a price that is written with the symbol's digits; 0 is none."""
    return level(value) and abs(value - spec.price(value)) <= _OFF_GRID * max(1.0, value)


def filling_of(request: TradeRequest, spec: SymbolSpec) -> int:
    """Return how a market order is filled: at an agreed price, whole or not at all."""
    return mt5.ORDER_FILLING_FOK if spec.execution in AGREED else request.type_filling


def right_volume(volume: float, spec: SymbolSpec) -> bool:
    """Whether a volume is within the symbol's limits and on its steps."""
    if not math.isfinite(volume):
        return False
    if not spec.volume_min - EPSILON <= volume <= spec.volume_max + EPSILON:
        return False
    steps = volume / spec.volume_step
    return abs(steps - round(steps)) < 1e-6


def fills(filling: int, spec: SymbolSpec, *, waits: bool) -> bool:
    """Whether symbol and execution allow the enum; `waits`: the order is a pending one."""
    if spec.execution in AGREED and not waits:
        return filling in _FILLINGS  # it means nothing: the whole volume or none is filled
    if filling == mt5.ORDER_FILLING_FOK:
        return bool(spec.filling_mode & mt5.SYMBOL_FILLING_FOK)
    if filling == mt5.ORDER_FILLING_IOC:
        return bool(spec.filling_mode & mt5.SYMBOL_FILLING_IOC)
    if filling == mt5.ORDER_FILLING_RETURN:
        return waits or spec.execution == mt5.SYMBOL_TRADE_EXECUTION_EXCHANGE
    return False
