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
from terminals.sim.money import average_price, cents
from terminals.structs import TradeDeal, TradeOrder, changed


class Filled(NamedTuple):
    """What a deal became: tickets of deal and order, volume and price."""

    deal: int
    order: int
    volume: float
    price: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A deal that is to be booked. `reason` is of ENUM_DEAL_REASON (as ORDER_REASON)."""

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
    ticket: int = 0  # of the order, where it was given before; 0 gives a new one
    order: TradeOrder | None = None  # the working order that is being filled
    left: float = 0.0  # what the order asks for beyond this deal's volume
    keep: bool = False  # whether the rest goes on as a working order

    @property
    def side(self) -> int:
        """+1 for buying, -1 for selling."""
        return 1 if self.type == mt5.ORDER_TYPE_BUY else -1


@dataclass(frozen=True, slots=True)
class Pricing:
    """What a dealer has to ask: both in account money, unrounded."""

    profit: Callable[[OpenPosition, float, float], float]  # position, price, volume
    margin: Callable[[str, float], float]  # of a lot: symbol, price


class Dealer:
    """Books deals."""

    def __init__(self, book: Book, pricing: Pricing) -> None:
        """Work on a book."""
        self.book = book
        self._pricing = pricing

    def deal(self, wish: Wish, at_msc: int) -> Filled:
        """Open, or on a netting account add to, reduce or reverse the symbol's position."""
        present = self._present(wish)
        if present is None:
            return self._open(wish, at_msc)
        if present.type == wish.type:
            return self._add(present, wish, at_msc)
        if wish.volume <= present.volume + EPSILON:
            return self.close(present, wish, at_msc)
        return self._reverse(present, wish, at_msc)

    def _present(self, wish: Wish) -> OpenPosition | None:
        if not self.book.account.hedging:
            return self.book.position_of(wish.symbol)
        if wish.order is None or not wish.order.position_id:
            return None
        return self.book.by_identifier(wish.order.position_id)  # where the first part went

    def close(self, one: OpenPosition, wish: Wish, at_msc: int) -> Filled:
        """Close a position, or the part of it that `wish.volume` says."""
        order = self._order(wish, at_msc, one.identifier)
        profit = cents(self._pricing.profit(one, wish.price, wish.volume))
        swap = self._share_of_swap(one, wish.volume)
        done = self._book(
            one, wish, order, at_msc, entry=mt5.DEAL_ENTRY_OUT, profit=profit, swap=swap
        )
        self._take_from(one, wish.volume, at_msc)
        return done

    def close_by(self, one: OpenPosition, other: OpenPosition, wish: Wish, at_msc: int) -> Filled:
        """Let two opposite positions cancel `wish.volume` of each other.

        `wish.price` is the open price of `other`, at which `one` is closed;
        that deal carries the profit. `other` closes at its own, for nothing.
        """
        order = changed(
            self._past(wish, at_msc, self.book.ticket(), one.identifier),
            type=mt5.ORDER_TYPE_CLOSE_BY,
            position_by_id=other.identifier,
        )
        self.book.past_orders.append(order)
        entry = mt5.DEAL_ENTRY_OUT_BY
        profit = cents(self._pricing.profit(one, wish.price, wish.volume))
        swap = self._share_of_swap(one, wish.volume)
        done = self._book(one, wish, order.ticket, at_msc, entry=entry, profit=profit, swap=swap)
        back = replace(wish, type=one.type, price=other.price_open)
        swap = self._share_of_swap(other, wish.volume)
        self._book(other, back, order.ticket, at_msc, entry=entry, profit=0.0, swap=swap)
        self._take_from(one, wish.volume, at_msc)
        self._take_from(other, wish.volume, at_msc)
        return done

    def _open(self, wish: Wish, at_msc: int) -> Filled:
        ticket = wish.ticket or self.book.ticket()
        identifier = ticket
        if self.book.deals_of_position(ticket):
            # Netting: an earlier part of this order has opened one that is closed by now.
            identifier = self.book.ticket()
        self._order(replace(wish, ticket=ticket), at_msc, identifier)
        one = OpenPosition(
            ticket=identifier,
            identifier=identifier,
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
            margin=self._pricing.margin(wish.symbol, wish.price),
            sl_msc=at_msc,
            tp_msc=at_msc,
        )
        self.book.positions[identifier] = one
        return self._book(one, wish, ticket, at_msc, entry=mt5.DEAL_ENTRY_IN)

    def _add(self, one: OpenPosition, wish: Wish, at_msc: int) -> Filled:
        total = round(one.volume + wish.volume, 8)
        paid = one.price_open * one.volume + wish.price * wish.volume
        # One that came without its margin, and was not looked at yet, takes that of its open price.
        each = one.margin or self._pricing.margin(one.symbol, one.price_open)
        taken = each * one.volume
        taken += self._pricing.margin(wish.symbol, wish.price) * wish.volume
        order = self._order(wish, at_msc, one.identifier)
        one.price_open = average_price(paid, total)
        one.margin = taken / total
        one.volume = total
        # The platform's rule: the newest order's levels replace the older ones, also by none.
        first = wish.order is None or wish.order.state != mt5.ORDER_STATE_PARTIAL
        if first and wish.sl != one.sl:
            one.sl, one.sl_msc = wish.sl, at_msc
        if first and wish.tp != one.tp:
            one.tp, one.tp_msc = wish.tp, at_msc
        one.time_update_msc = at_msc
        return self._book(one, wish, order, at_msc, entry=mt5.DEAL_ENTRY_IN)

    def _reverse(self, one: OpenPosition, wish: Wish, at_msc: int) -> Filled:
        order = self._order(wish, at_msc, one.identifier)
        profit = cents(self._pricing.profit(one, wish.price, one.volume))
        swap = self._share_of_swap(one, one.volume)
        done = self._book(
            one, wish, order, at_msc, entry=mt5.DEAL_ENTRY_INOUT, profit=profit, swap=swap
        )
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
            margin=self._pricing.margin(wish.symbol, wish.price),
            sl_msc=at_msc,
            tp_msc=at_msc,
        )
        return done

    def _share_of_swap(self, one: OpenPosition, volume: float) -> float:
        """Take the part of a position's swap that goes with a part of its volume."""
        swap = cents(one.swap * volume / one.volume)
        one.swap = cents(one.swap - swap)
        return swap

    def _take_from(self, one: OpenPosition, volume: float, at_msc: int) -> None:
        left = round(one.volume - volume, 8)
        if left <= EPSILON:
            del self.book.positions[one.ticket]
        else:
            one.volume = left
            one.time_update_msc = at_msc
        self.book.changed(one.symbol)

    def _order(self, wish: Wish, at_msc: int, position_id: int) -> int:
        """Put the order into history, or its rest among the working ones; return its ticket."""
        ticket = wish.ticket or self.book.ticket()
        order = self._past(wish, at_msc, ticket, position_id)
        if wish.left and wish.keep:
            self.book.orders[ticket] = changed(order, time_done=0, time_done_msc=0)
        else:
            self.book.orders.pop(ticket, None)
            self.book.past_orders.append(order)
        return ticket

    @staticmethod
    def _past(wish: Wish, at_msc: int, ticket: int, position_id: int) -> TradeOrder:
        pending = wish.order
        setup = at_msc if pending is None else pending.time_setup_msc
        asked = round(wish.volume + wish.left, 8)
        state = mt5.ORDER_STATE_FILLED
        if wish.left:
            state = mt5.ORDER_STATE_PARTIAL if wish.keep else mt5.ORDER_STATE_CANCELED
        return TradeOrder(
            ticket=ticket,
            time_setup=setup // 1000,
            time_setup_msc=setup,
            time_done=at_msc // 1000,
            time_done_msc=at_msc,
            time_expiration=0 if pending is None else pending.time_expiration,
            type=wish.type if pending is None else pending.type,
            type_time=mt5.ORDER_TIME_GTC if pending is None else pending.type_time,
            type_filling=wish.filling,
            state=state,
            magic=wish.magic,
            position_id=position_id,
            reason=wish.reason,
            volume_initial=asked if pending is None else pending.volume_initial,
            volume_current=wish.left,
            sl=wish.sl,
            tp=wish.tp,
            price_open=wish.price if pending is None else pending.price_open,
            price_current=wish.price,
            price_stoplimit=0.0 if pending is None else pending.price_stoplimit,
            symbol=wish.symbol,
            comment=wish.comment,
        )

    def _book(
        self,
        one: OpenPosition,
        wish: Wish,
        order: int,
        at_msc: int,
        *,
        entry: int,
        profit: float = 0.0,
        swap: float = 0.0,
    ) -> Filled:
        account = self.book.account
        # Half of the commission is due on the way in, half on the way out.
        commission = cents(-account.commission_per_lot * wish.volume / 2.0)
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
            commission=commission,
            swap=swap,
            profit=profit,
            symbol=wish.symbol,
            comment=wish.comment,
        )
        self.book.deals.append(deal)
        account.balance = cents(account.balance + profit + swap + commission)
        self.book.changed(wish.symbol)
        return Filled(deal.ticket, order, wish.volume, wish.price)
