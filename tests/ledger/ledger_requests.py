"""What an operation asks for, read from the reference's state of the moment."""

from __future__ import annotations

import random
from decimal import ROUND_DOWN, Decimal
from typing import Any

from ledger_broker import Ledger
from ledger_scenes import Op
from ledger_terms import (
    BUY,
    BUYS,
    CLOSE_BY,
    DEAL,
    FOK,
    GTC,
    HEDGING,
    INSTANT,
    IOC,
    LIMITS,
    MODIFY,
    ON_EXCHANGE,
    PENDING,
    REMOVE,
    RETURN,
    SELL,
    SLTP,
    SPECIFIED,
    SPECIFIED_DAY,
    STOP_LIMITS,
    TODAY,
    Position,
    Symbol,
)

Request = dict[str, Any]


def request_of(op: Op, book: Ledger) -> Request | None:
    """Return the request of an operation, with the reference's tickets; None for none."""
    dice = random.Random(op.number)
    makers = {
        "open": _open,
        "close": _close,
        "levels": _levels,
        "place": _place,
        "modify": _modify,
        "remove": _remove,
        "close_by": _close_by,
        "nonsense": _nonsense,
    }
    maker = makers.get(op.kind)
    return None if maker is None else maker(dice, book)


def _symbol(dice: random.Random, book: Ledger) -> Symbol:
    return dice.choice(list(book.tape.symbols.values()))


def _volume(dice: random.Random, symbol: Symbol) -> float:
    """Return a volume that is neither a trifle nor too much for an account of 10,000."""
    lots = dice.choice((1, 2, 3, 7, 10, 20, 33, 50, 100, 170, 500))
    if symbol.volume_step < 1:
        return float(max(symbol.volume_min, lots * symbol.volume_step))
    return float(1 + lots % 5)


def _near(dice: random.Random, symbol: Symbol, price: Decimal, up: int, wide: int = 8) -> float:
    """Return a price some way off, mostly far enough, sometimes too near or crossed."""
    least = max(symbol.stops_level, 1)
    points = least + int(dice.expovariate(1.0 / (least * wide + 200)))
    if dice.random() < 0.08:
        points = dice.randint(-3, least)
    return float(price + up * points * symbol.point)


def _stops(dice: random.Random, symbol: Symbol, side: int, price: Decimal) -> Request:
    up = 1 if side == BUY else -1
    found = {}
    if dice.random() < 0.5:
        found["sl"] = _near(dice, symbol, price, -up)
    if dice.random() < 0.4:
        found["tp"] = _near(dice, symbol, price, up)
    return found


def _filling(dice: random.Random, symbol: Symbol, waits: bool) -> int:
    if dice.random() < 0.03:
        return dice.choice((FOK, IOC, RETURN))
    if symbol.execution == INSTANT and not waits:
        return dice.choice((FOK, IOC, RETURN))
    allowed = [mode for mode, bit in ((FOK, 1), (IOC, 2)) if symbol.filling_mask & bit]
    if waits or symbol.execution == ON_EXCHANGE:
        allowed += [RETURN, RETURN]
    return dice.choice(allowed)


def _asked_price(dice: random.Random, book: Ledger, symbol: Symbol, side: int) -> Request:
    price = book.opening_price(symbol.name, side)
    if symbol.execution != INSTANT:
        return {"price": float(price)} if dice.random() < 0.3 else {}
    off = dice.choice((0, 0, 0, 1, -3, 25))
    return {"price": float(price + off * symbol.point), "deviation": dice.choice((0, 3, 10))}


def _open(dice: random.Random, book: Ledger) -> Request:
    symbol = _symbol(dice, book)
    side = dice.choice((BUY, SELL))
    request = {
        "action": DEAL,
        "symbol": symbol.name,
        "type": side,
        "volume": _volume(dice, symbol),
        "magic": dice.choice((0, 7, 123456)),
        "comment": dice.choice(("", "a", "second one")),
        "type_filling": _filling(dice, symbol, waits=False),
    }
    request |= _asked_price(dice, book, symbol, side)
    return request | _stops(dice, symbol, side, book.closing_price(symbol.name, side))


def _one(dice: random.Random, book: Ledger) -> Position | None:
    return dice.choice(list(book.positions.values())) if book.positions else None


def _close(dice: random.Random, book: Ledger) -> Request | None:
    one = _one(dice, book)
    if one is None:
        return None
    symbol = book.tape.symbols[one.symbol]
    volume = one.volume
    chance = dice.random()
    if chance < 0.5:
        part = one.volume * Decimal(dice.randint(1, 99)) / 100
        volume = part.quantize(symbol.volume_step, ROUND_DOWN)
    elif chance < 0.55:
        volume = one.volume + symbol.volume_step
    side = SELL if one.side == BUY else BUY
    request = {
        "action": DEAL,
        "symbol": one.symbol,
        "position": one.ticket,
        "type": side if dice.random() < 0.97 else one.side,
        "volume": float(volume),
        "type_filling": _filling(dice, symbol, waits=False),
        "magic": dice.choice((0, 9)),
    }
    request |= _asked_price(dice, book, symbol, side)
    return _terse(dice, book, request)


def _terse(dice: random.Random, book: Ledger, request: Request) -> Request:
    """Leave out what a server may know by itself, now and then."""
    if dice.random() < 0.2:
        del request["symbol" if book.account.mode == HEDGING else "position"]
    return request


def _levels(dice: random.Random, book: Ledger) -> Request | None:
    one = _one(dice, book)
    if one is None:
        return None
    symbol = book.tape.symbols[one.symbol]
    request = {"action": SLTP, "symbol": one.symbol, "position": one.ticket}
    if dice.random() < 0.1:
        return request | {"sl": float(one.sl), "tp": float(one.tp)}
    request = _terse(dice, book, request)
    return request | _stops(dice, symbol, one.side, book.closing_price(one.symbol, one.side))


def _prices(dice: random.Random, book: Ledger, symbol: Symbol, kind: int) -> Request:
    """Return price, stop limit price and levels for a working order."""
    side = BUY if kind in BUYS else SELL
    up = 1 if side == BUY else -1
    away = -up if kind in LIMITS else up
    price = Decimal(repr(_near(dice, symbol, book.opening_price(symbol.name, side), away, 4)))
    request: Request = {"price": float(price)}
    base = price
    if kind in STOP_LIMITS:
        base = price - up * dice.randint(-2, 300) * symbol.point
        request["stoplimit"] = float(base)
    return request | _stops(dice, symbol, side, base)


def _life(dice: random.Random, book: Ledger) -> Request:
    life = dice.choice((GTC, GTC, TODAY, SPECIFIED, SPECIFIED_DAY))
    if life in (GTC, TODAY):
        return {"type_time": life}
    wall = book.tape.wall(book.now) // 1000
    return {"type_time": life, "expiration": wall + dice.randint(-3600, 2 * 86_400)}


def _place(dice: random.Random, book: Ledger) -> Request:
    symbol = _symbol(dice, book)
    kind = dice.randint(2, 7)
    request = {
        "action": PENDING,
        "symbol": symbol.name,
        "type": kind,
        "volume": _volume(dice, symbol),
        "magic": dice.choice((0, 11)),
        "comment": dice.choice(("", "waits")),
        "type_filling": _filling(dice, symbol, waits=True),
    }
    return request | _life(dice, book) | _prices(dice, book, symbol, kind)


def _modify(dice: random.Random, book: Ledger) -> Request | None:
    if not book.working:
        return None
    order = dice.choice(list(book.working.values()))
    symbol = book.tape.symbols[order.symbol]
    request = {"action": MODIFY, "order": order.ticket, "symbol": order.symbol}
    if dice.random() < 0.2:
        return request | {
            "price": float(order.price),
            "stoplimit": float(order.stoplimit),
            "sl": float(order.sl),
            "tp": float(order.tp),
            "type_time": order.life,
            "expiration": order.expiration,
        }
    return request | _life(dice, book) | _prices(dice, book, symbol, order.type)


def _remove(dice: random.Random, book: Ledger) -> Request | None:
    if not book.working:
        return None
    return {"action": REMOVE, "order": dice.choice(list(book.working))}


def _close_by(dice: random.Random, book: Ledger) -> Request | None:
    pairs = [
        (one.ticket, other.ticket)
        for one in book.positions.values()
        for other in book.positions.values()
        if one.symbol == other.symbol and one.side != other.side
    ]
    if pairs and dice.random() < 0.9:
        one, other = dice.choice(pairs)
    elif len(book.positions) > 1:
        one, other = dice.sample(list(book.positions), 2)
    else:
        return None
    return {"action": CLOSE_BY, "position": one, "position_by": other, "magic": 3}


def _nonsense(dice: random.Random, book: Ledger) -> Request | None:
    symbol = _symbol(dice, book)
    request = _open(dice, book)
    wrong: Request = dice.choice(
        (
            {"volume": 0.0},
            {"volume": float(symbol.volume_min) / 2},
            {"volume": 5000.0},
            {"symbol": "NOPE"},
            {"type": 8},
            {"type": 2},
            {"action": 99},
            {"position": 10**15},
            {"sl": -1.0},
            {"tp": float("inf")},
            {"volume": 40.0},
            {"action": SLTP, "position": 10**15},
            {"action": PENDING, "type": 0},
            {"action": PENDING, "type": 2, "price": 0.0},
            {"action": MODIFY, "order": 10**15},
            {"action": REMOVE, "order": 10**15},
            {"price": -1.0},
            {"sl": 0.123456789},
            {"action": PENDING, "type": 2, "price": 0.123456789},
            {"action": PENDING, "type": 6, "stoplimit": 1.123456789},
        )
    )
    return request | wrong
