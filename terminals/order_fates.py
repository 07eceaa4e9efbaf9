"""What became of orders that waited: the evidence for a deletion whose answer was lost.

The list of positions says nothing of them, and a deleted order leaves no deal.
What is left of it is a line among the finished orders.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from defence.broker import Empty, History, Known, OrderFate, Read
from terminals.constants import (
    ORDER_STATE_CANCELED,
    ORDER_STATE_EXPIRED,
    ORDER_STATE_REJECTED,
)
from terminals.framing import frame, rows_of
from terminals.protocol import Terminal
from terminals.rows import Unreadable, whole

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
    filled. Two calls for each of those, none for the others. What cannot be
    read stays as it was, `Empty`, which proves nothing about an order.
    """
    bare = [number for number, read in histories.items() if isinstance(read, Empty)]
    if not bare:
        return histories
    try:
        frame(terminal, expected.login, expected.server, "before the read")
        fates = {number: _fate(terminal, number) for number in bare}
        frame(terminal, expected.login, expected.server, "after the read")
    except Unreadable:
        return histories
    known = {
        number: Known(History(identifier=number, deals=(), order=fate))
        for number, fate in fates.items()
        if fate is not None
    }
    return {**histories, **known}


def _fate(terminal: Terminal, ticket: int) -> OrderFate | None:
    waiting = rows_of(terminal, "orders_get", lambda: terminal.orders_get(ticket=ticket))
    if any(_is(row, ticket) for row in waiting):
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
