"""Holding the reference's rows against the terminal's, field by field."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from functools import cache
from operator import attrgetter
from typing import Any

from ledger_broker import Ledger
from ledger_requests import Request
from ledger_terms import BUY, LIMITS, SELL, STOP_LIMITS, STOPS, Deal, Money, Order, Position

Row = dict[str, Any]
Named = Callable[[int], int]
Wall = Callable[[int], int]
PENDING_TYPES = (*LIMITS, *STOPS, *STOP_LIMITS)
UNKNOWN = -1  # a ticket of the reference that the terminal has none for


@cache
def getter(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """Return what reads these fields of a row, all at once."""
    return attrgetter(*names)


class Tickets:
    """Which ticket of the terminal is which of the reference, by the order of their birth."""

    def __init__(self) -> None:
        self._named: dict[int, int] = {}  # reference to terminal
        self._taken: set[int] = set()
        self._all: set[int] = set()
        self._read = self._past = 0  # how many deals and past orders are in `_all`

    def named(self, ticket: int) -> int:
        return self._named.get(ticket, UNKNOWN) if ticket else 0

    def missing(self, book: Ledger) -> bool:
        """Whether the reference has orders that are not matched yet."""
        return len(self._born(book)) > len(self._named)

    def learn(self, book: Ledger, tickets: Iterable[int]) -> None:
        """Match the new orders of both, oldest first."""
        mine = self._born(book) - self._named.keys()
        theirs = set(tickets) - self._taken
        for one, other in zip(sorted(mine), sorted(theirs), strict=False):
            self._named[one] = other
            self._taken.add(other)

    def translated(self, request: Request) -> Request:
        """Return a request with the terminal's tickets; a made up one stays."""
        changed = dict(request)
        for name in ("position", "position_by", "order"):
            if name in changed:
                changed[name] = self._named.get(changed[name], changed[name])
        return changed

    def _born(self, book: Ledger) -> set[int]:
        """Return all tickets of orders, and of positions that are not named by an order."""
        for deal in book.deals[self._read :]:
            self._all |= {deal.order, deal.position_id} - {0}
        self._read = len(book.deals)
        for order in book.past[self._past :]:
            self._all.add(order.ticket)
        self._past = len(book.past)
        return self._all | book.working.keys()


def compare_money(money: Money, info: Any) -> list[str]:
    """Return what differs in an account's numbers; all are exact to the cent."""
    pairs = (
        ("balance", money.balance, info.balance),
        ("profit", money.profit, info.profit),
        ("equity", money.equity, info.equity),
        ("margin", money.margin, info.margin),
        ("margin_free", money.free, info.margin_free),
        ("margin_level", money.level, info.margin_level),
    )
    return [f"{name}: {got!r}, expected {want}" for name, want, got in pairs if not same(want, got)]


def compare_rows(what: str, expected: Mapping[int, Row], got: Mapping[int, Any]) -> list[str]:
    """Return what differs between rows of the same number."""
    found = [
        f"{what} {key} is missing: {expected[key]}" for key in expected if got.get(key) is None
    ]
    found += [f"{what} {key} should not be: {got[key]}" for key in got if key not in expected]
    for key, row in expected.items():
        other = got.get(key)
        # Almost always all is equal at once; where it is not, each field is looked at.
        if other is None or getter(tuple(row))(other) == tuple(row.values()):
            continue
        for name, want in row.items():
            value = getattr(other, name)
            if not same(want, value):
                found.append(f"{what} {key}: {name} is {value!r}, expected {want!r}")
    return found


def same(want: Any, got: Any) -> bool:
    """Whether a value is the expected one; numbers that are not whole, to a billionth."""
    if isinstance(want, (Decimal, float)):
        return bool(abs(float(want) - got) < 1e-9 * max(1.0, abs(got)))
    if isinstance(want, tuple):
        return isinstance(got, str) and got.startswith(want[0])
    return bool(want == got)


def position_row(one: Position, book: Ledger, named: Named, wall: Wall) -> Row:
    """Return a position as the module shows it."""
    return {
        "identifier": named(one.identifier),
        "time": wall(one.opened) // 1000,
        "time_msc": wall(one.opened),
        "time_update": wall(one.updated) // 1000,
        "time_update_msc": wall(one.updated),
        "type": one.side,
        "magic": one.magic,
        "reason": one.reason,
        "volume": float(one.volume),
        "price_open": float(one.price_open),
        "sl": float(one.sl),
        "tp": float(one.tp),
        "price_current": float(book.closing_price(one.symbol, one.side)),
        "swap": float(one.swap),
        "profit": float(book.profit(one)),
        "symbol": one.symbol,
        "comment": one.comment,
        "external_id": "",
    }


def _comment(text: str) -> str | tuple[str]:
    """Return a comment; of a stop-out's only the beginning counts, up to the level."""
    return (text[:-1],) if text.startswith("[so") else text


def order_row(one: Order, book: Ledger, named: Named, wall: Wall) -> Row:
    """Return an order, working or done, as the module shows it."""
    now = book.opening_price(one.symbol, BUY if one.buys else SELL)
    price = {"price_current": float(one.price_last if one.done else now)}
    if one.type in PENDING_TYPES:
        price["price_open"] = float(one.price)
    return {
        **price,
        "time_setup": wall(one.setup) // 1000,
        "time_setup_msc": wall(one.setup),
        "time_done": wall(one.done) // 1000 if one.done else 0,
        "time_done_msc": wall(one.done) if one.done else 0,
        "time_expiration": one.expiration,
        "type": one.type,
        "type_time": one.life,
        "type_filling": one.filling,
        "state": one.state,
        "magic": one.magic,
        "position_id": named(one.position_id),
        "position_by_id": named(one.position_by_id),
        "reason": one.reason,
        "volume_initial": float(one.volume),
        "volume_current": float(one.left),
        "sl": float(one.sl),
        "tp": float(one.tp),
        "price_stoplimit": float(one.stoplimit),
        "symbol": one.symbol,
        "comment": _comment(one.comment),
    }


def deal_row(one: Deal, named: Named, wall: Wall) -> Row:
    """Return a deal as the module shows it."""
    return {
        "order": named(one.order),
        "time": wall(one.time) // 1000,
        "time_msc": wall(one.time),
        "type": one.type,
        "entry": one.entry,
        "magic": one.magic,
        "position_id": named(one.position_id),
        "reason": one.reason,
        "volume": float(one.volume),
        "price": float(one.price),
        "commission": float(one.commission),
        "swap": float(one.swap),
        "profit": float(one.profit),
        "fee": 0.0,
        "symbol": one.symbol,
        "comment": _comment(one.comment),
    }
