"""How the simulated broker turns decisions into orders, deals and positions.

Nothing is checked here (see `terminals.sim.checks`); what is asked for is
booked. Money is rounded to cents once, in the deal, and the balance moves by
the deal's sum, so that the balance is the sum of the deals to the cent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from terminals import constants as mt5
from terminals.sim.book import EPSILON, Book, OpenPosition
from terminals.structs import TradeDeal, TradeOrder


class Filled(NamedTuple):
    """What a deal became: tickets of deal and order, volume and price."""

    deal: int
    order: int
    volume: float
    price: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A market order that is to be booked. `reason` is of ENUM_DEAL_REASON (as ORDER_REASON)."""

    symbol: str
    type: int
    volume: float
    price: float
    sl: float = 0.0
    tp: float = 0.0
    magic: int = 0
    comment: str = ""
    reason: int = mt5.DEAL_REASON_EXPERT
    filling: int = mt5.ORDER_FILLING_FOK
    order: TradeOrder | None = None  # the pending order that is being filled


class Dealer:
    """Books deals. `profit(position, price, volume)` gives account money, unrounded."""

    def __init__(self, book: Book, profit: Callable[[OpenPosition, float, float], float]) -> None:
        """Work on a book."""
        self.book = book
        self._profit = profit

    def deal(self, wish: Wish, at_msc: int) -> Filled:
        """Open, or on a netting account add to, reduce or reverse the symbol's position."""
        present = None if self.book.account.hedging else self.book.position_of(wish.symbol)
        if present is None:
            return self._open(wish, at_msc)
        if present.type == wish.type:
            return self._add(present, wish, at_msc)
        if wish.volume <= present.volume + EPSILON:
            return self.close(present, wish, at_msc)
        return self._reverse(present, wish, at_msc)

    def close(self, one: OpenPosition, wish: Wish, at_msc: int) -> Filled:
        """Close a position, or the part of it that `wish.volume` says."""
        order = self._order(wish, at_msc, one.identifier)
        done = self._book_out(one, wish, order, at_msc, mt5.DEAL_ENTRY_OUT, wish.volume)
        left = round(one.volume - wish.volume, 8)
        if left <= EPSILON:
            del self.book.positions[one.ticket]
        else:
            one.volume = left
            one.time_update_msc = at_msc
        self.book.changed()
        return done

    def _open(self, wish: Wish, at_msc: int) -> Filled:
        ticket = wish.order.ticket if wish.order is not None else self.book.ticket()
        self._order(wish, at_msc, ticket, ticket)
        one = OpenPosition(
            ticket=ticket,
            identifier=ticket,
            symbol=wish.symbol,
            type=wish.type,
            volume=wish.volume,
            price_open=wish.price,
            time_msc=at_msc,
            time_update_msc=at_msc,
            sl=wish.sl,
            tp=wish.tp,
            magic=wish.magic,
            reason=wish.reason,
            comment=wish.comment,
            price_current=wish.price,
            seen_msc=at_msc,
        )
        self.book.positions[ticket] = one
        return self._book_in(one, wish, ticket, at_msc)

    def _add(self, one: OpenPosition, wish: Wish, at_msc: int) -> Filled:
        total = round(one.volume + wish.volume, 8)
        paid = one.price_open * one.volume + wish.price * wish.volume
        order = self._order(wish, at_msc, one.identifier)
        one.price_open = round(paid / total, 8)
        one.volume = total
        # The last order's levels win; an order without levels leaves them alone.
        one.sl = wish.sl or one.sl
        one.tp = wish.tp or one.tp
        one.time_update_msc = at_msc
        return self._book_in(one, wish, order, at_msc)

    def _reverse(self, one: OpenPosition, wish: Wish, at_msc: int) -> Filled:
        order = self._order(wish, at_msc, one.identifier)
        done = self._book_out(one, wish, order, at_msc, mt5.DEAL_ENTRY_INOUT, one.volume)
        del self.book.positions[one.ticket]
        # The identifier stays for a position's life; the ticket is that of the reversing order.
        self.book.positions[order] = replace(
            one,
            ticket=order,
            type=wish.type,
            volume=round(wish.volume - one.volume, 8),
            price_open=wish.price,
            sl=wish.sl,
            tp=wish.tp,
            time_update_msc=at_msc,
            seen_msc=at_msc,
        )
        self.book.changed()
        return done

    def _order(self, wish: Wish, at_msc: int, position_id: int, ticket: int | None = None) -> int:
        """Put the filled order into history; return its ticket."""
        pending = wish.order
        if ticket is None:
            ticket = pending.ticket if pending is not None else self.book.ticket()
        setup = at_msc if pending is None else pending.time_setup_msc
        order = TradeOrder(
            ticket=ticket,
            time_setup=setup // 1000,
            time_setup_msc=setup,
            time_done=at_msc // 1000,
            time_done_msc=at_msc,
            type=wish.type if pending is None else pending.type,
            type_filling=wish.filling,
            state=mt5.ORDER_STATE_FILLED,
            magic=wish.magic,
            position_id=position_id,
            reason=wish.reason,
            volume_initial=wish.volume,
            sl=wish.sl,
            tp=wish.tp,
            price_open=wish.price if pending is None else pending.price_open,
            price_current=wish.price,
            symbol=wish.symbol,
            comment=wish.comment,
        )
        self.book.past_orders.append(order)
        self.book.orders.pop(ticket, None)
        return ticket

    def _book_in(self, one: OpenPosition, wish: Wish, order: int, at_msc: int) -> Filled:
        return self._book(one, wish, order, at_msc, entry=mt5.DEAL_ENTRY_IN, profit=0.0, swap=0.0)

    def _book_out(
        self,
        one: OpenPosition,
        wish: Wish,
        order: int,
        at_msc: int,
        entry: int,
        closed: float,
    ) -> Filled:
        swap = round(one.swap * closed / one.volume, 2)
        one.swap = round(one.swap - swap, 2)
        profit = round(self._profit(one, wish.price, closed), 2)
        return self._book(one, wish, order, at_msc, entry=entry, profit=profit, swap=swap)

    def _book(
        self,
        one: OpenPosition,
        wish: Wish,
        order: int,
        at_msc: int,
        *,
        entry: int,
        profit: float,
        swap: float,
    ) -> Filled:
        account = self.book.account
        # Half of the commission is due on the way in, half on the way out.
        commission = round(-account.commission_per_lot * wish.volume / 2.0, 2)
        deal = TradeDeal(
            ticket=self.book.ticket(),
            order=order,
            time=at_msc // 1000,
            time_msc=at_msc,
            type=wish.type,
            entry=entry,
            magic=wish.magic,
            position_id=one.identifier,
            reason=wish.reason,
            volume=wish.volume,
            price=wish.price,
            commission=commission or 0.0,
            swap=swap,
            profit=profit,
            symbol=wish.symbol,
            comment=wish.comment,
        )
        self.book.deals.append(deal)
        account.balance = round(account.balance + profit + swap + commission, 2)
        self.book.changed()
        return Filled(deal.ticket, order, wish.volume, wish.price)
