"""What became of orders that waited: the evidence for a deletion whose answer was lost.

The list of positions says nothing of them, and a deleted order leaves no deal.
What is left of it is a line among the finished orders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from defence.broker import Direction, Empty, History, Known, OrderFate, Read
from terminals.constants import (
    ORDER_STATE_CANCELED,
    ORDER_STATE_EXPIRED,
    ORDER_STATE_REJECTED,
    ORDER_TYPE_BUY,
    ORDER_TYPE_SELL,
)
from terminals.framing import frame, rows_of
from terminals.protocol import Terminal
from terminals.rows import Unreadable, text, whole

_MARKET_ORDERS: Final = (ORDER_TYPE_BUY, ORDER_TYPE_SELL)
_FATES: Final = {
    ORDER_STATE_CANCELED: OrderFate.DELETED,
    ORDER_STATE_EXPIRED: OrderFate.ENDED,
    ORDER_STATE_REJECTED: OrderFate.ENDED,
}


@dataclass(frozen=True, slots=True)
class Expected:
    """The account that must be logged in before and after a read."""

    login: int
    server: str


def with_order_fates(
    terminal: Terminal, histories: Mapping[int, Read[History]], expected: Expected
) -> Mapping[int, Read[History]]:
    """Return the histories, with the fate of the order for each that has no deals.

    A position's identifier is the ticket of the order that opens it (MT5.md):
    where there are no deals, the number may be that of an order that never was
    filled. Two calls for each of those. For all that have deals, one call says
    whether a market order is still at work on them (`OrderFate.WAITING`): a
    close that was accepted and may be filled yet. Where orders cannot be read,
    those histories say so (`OrderFate.UNREAD`): half of the evidence must settle
    no doubt, but a closing deal that was read is one.
    """
    bare = [number for number, read in histories.items() if isinstance(read, Empty)]
    dealt = [
        read.value for read in histories.values() if isinstance(read, Known) and read.value.deals
    ]
    if not bare and not dealt:
        return histories
    try:
        frame(terminal, expected.login, expected.server, "before the read")
        fates = {number: fate_of(terminal, number) for number in bare}
        worked_on = _worked_on(terminal, dealt) if dealt else {}
        frame(terminal, expected.login, expected.server, "after the read")
    except Unreadable:
        unread = {
            history.identifier: Known(replace(history, order=OrderFate.UNREAD)) for history in dealt
        }
        return {**histories, **unread}
    known = {
        number: Known(History(identifier=number, deals=(), order=fate))
        for number, fate in fates.items()
        if fate is not None
    }
    return {**histories, **known, **worked_on}


def _worked_on(terminal: Terminal, dealt: Sequence[History]) -> dict[int, Known[History]]:
    """Return those histories on whose positions a market order is still at work.

    Before it is filled an order may not name its position yet (0; not
    verified on a live terminal): then any of its symbol counts.
    """
    at_work = _at_work(terminal)
    return {
        history.identifier: Known(replace(history, order=OrderFate.WAITING))
        for history in dealt
        if any(
            order.position == history.identifier
            or (order.position == 0 and any(deal.symbol == order.symbol for deal in history.deals))
            for order in at_work
        )
    }


@dataclass(frozen=True, slots=True)
class _AtWork:
    """A market order that is not filled yet, or not to its end."""

    ticket: int
    type: int
    position: int
    symbol: str


def _at_work(terminal: Terminal) -> list[_AtWork]:
    rows = rows_of(terminal, "orders_get", terminal.orders_get)
    return [
        _AtWork(
            ticket=whole(row, "ticket", "order"),
            type=whole(row, "type", "order"),
            position=whole(row, "position_id", "order"),
            symbol=text(row, "symbol", "order"),
        )
        for row in rows
        if whole(row, "type", "order") in _MARKET_ORDERS
    ]


def reducing(terminal: Terminal, symbol: str, direction: Direction) -> tuple[int, ...]:
    """Return the market orders at work that would reduce a symbol's position, by ticket.

    For accounts that keep one position a symbol: there each part of such an
    order meets the symbol's position of its moment, whatever position the
    order names, and where there is none any more it opens the opposite one.
    Not framed. Raises `Unreadable`.
    """
    against = ORDER_TYPE_SELL if direction is Direction.BUY else ORDER_TYPE_BUY
    return tuple(
        order.ticket
        for order in _at_work(terminal)
        if order.type == against and order.symbol == symbol
    )


def is_listed(terminal: Terminal, ticket: int) -> bool:
    """Return whether an order is waiting or at work. Not framed. Raises `Unreadable`."""
    rows = rows_of(terminal, "orders_get", lambda: terminal.orders_get(ticket=ticket))
    return any(_is(row, ticket) for row in rows)


def fate_of(terminal: Terminal, ticket: int) -> OrderFate | None:
    """Return what became of an order; None if nothing shows it. Not framed. Raises `Unreadable`."""
    if is_listed(terminal, ticket):
        return OrderFate.WAITING
    past = rows_of(
        terminal, "history_orders_get", lambda: terminal.history_orders_get(ticket=ticket)
    )
    for row in past:
        if _is(row, ticket):
            return _FATES.get(whole(row, "state", f"order {ticket}"))
    return None


def _is(row: object, ticket: int) -> bool:
    # A wrapper that drops the filter answers with every order.
    return whole(row, "ticket", "order") == ticket
