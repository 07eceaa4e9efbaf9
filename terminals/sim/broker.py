"""The simulated broker: what it answers to requests (docs/broker.md).

It knows nothing of terminals, calls or faults. It is made of layers, each a
class over the one before: what the account is worth (`valuation`), how orders
are filled (`desk`), how time passes (`passage`), and here what clients ask.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from random import Random
from typing import Final, NamedTuple

from terminals import constants as mt5
from terminals.sim.book import Book, OpenPosition
from terminals.sim.checks import refusal
from terminals.sim.conditions import IDEAL, Conditions
from terminals.sim.dealing import Filled, Wish
from terminals.sim.market import Market, Price
from terminals.sim.money import Money
from terminals.sim.passage import Passage
from terminals.sim.rules import ACCEPTED, AGREED, Room, Sides, Situation, filling_of
from terminals.sim.waiting import prices_of
from terminals.sim.working import LONG_TYPES, due_of, expiration_of
from terminals.structs import TradeOrder, TradeRequest, changed

__all__ = ["NOTHING", "Broker", "Executed", "Money"]


class Executed(NamedTuple):
    """The trade server's answer."""

    retcode: int
    filled: Filled


NOTHING: Final = Filled(0, 0, 0.0, 0.0)
_NO_ROOM: Final = Room(None, (0.0, 0.0), 0.0, 0.0, 0.0)


class Broker(Passage):
    """One account at one market. Not safe for threads; its owner holds a lock.

    Times are UTC inside: a request's `expiration` is UTC seconds too. Only `rows` are made for
    the outside.
    """

    def __init__(
        self, book: Book, market: Market, at_msc: int, conditions: Conditions = IDEAL
    ) -> None:
        """Begin at a market time. Raises Invalid for a zone that this machine does not know."""
        super().__init__(book, market, at_msc, conditions)
        self._offers = 0  # deals at a named price that were looked at: each may get a requote

    def check(self, request: TradeRequest) -> int:
        """Return the retcode with which a request would be refused; 0 if it would not."""
        request = self.completed(request)
        return refusal(request, self._situation(request))

    def execute(self, request: TradeRequest, *, reason: int = mt5.DEAL_REASON_EXPERT) -> Executed:
        """Do what a request asks, or refuse it with a retcode."""
        request = self.completed(request)
        refused = self.check(request)
        if refused == ACCEPTED and self._requoted(request):
            refused = mt5.TRADE_RETCODE_REQUOTE
        if refused != ACCEPTED:
            return Executed(refused, NOTHING)
        return self._carry_out(request, reason)

    def projected(self, request: TradeRequest) -> Money:
        """Return the account as it would be after a request; as it is, if that is refused.

        The request is carried out on a copy of the account and of its symbol's positions. What
        it opens is worth nothing yet: the platform's own check leaves the spread out (published
        outputs of order_check show equity and profit unchanged).
        """
        now, request = self.money(), self.completed(request)
        if request.action != mt5.TRADE_ACTION_DEAL or self.check(request) != ACCEPTED:
            return now
        book = Book(account=replace(self.book.account))
        book.next_ticket = self.book.next_ticket
        for one in self.book.positions.of(request.symbol).values():
            book.positions[one.ticket] = replace(one)
        twin = Broker(book, self.market, self.at_msc, self.conditions)
        twin._pins = self._pins
        before = twin._floating()
        twin._carry_out(request, mt5.DEAL_REASON_EXPERT)
        after = twin._floating()
        own = max(twin.margins(request.symbol)[0])
        profit = now.profit + sum(_released(one, after.get(at)) for at, one in before.items())
        margin = own + self.margins(request.symbol)[1]
        return Money.of(book.account.balance, profit, margin)

    def completed(self, request: TradeRequest) -> TradeRequest:
        """Return a request with the symbol or the position that it may leave to the server.

        A hedging account's positions are named by ticket, others by their symbol.
        """
        if request.action not in (mt5.TRADE_ACTION_DEAL, mt5.TRADE_ACTION_SLTP):
            return request
        if self.book.account.hedging:
            one = self.book.positions.get(request.position)
            if one is not None and not request.symbol:
                return changed(request, symbol=one.symbol)
        elif request.action == mt5.TRADE_ACTION_SLTP and not request.position:
            one = self.book.position_of(request.symbol)
            if one is not None:
                return changed(request, position=one.ticket)
        return request

    # -- inside ------------------------------------------------------------

    def _floating(self) -> dict[int, _Floats]:
        positions = self.book.positions
        for one in positions.values():
            self.value(one)
        return {
            at: _Floats(one.sign * one.volume, one.profit + one.swap)
            for at, one in positions.items()
        }

    def _situation(self, request: TradeRequest) -> Situation:
        book, account = self.book, self.book.account
        order = book.orders.get(request.order)
        one = book.positions.get(request.position)
        symbol = request.symbol
        if request.action in (mt5.TRADE_ACTION_REMOVE, mt5.TRADE_ACTION_MODIFY):
            symbol = "" if order is None else order.symbol
        elif request.action == mt5.TRADE_ACTION_CLOSE_BY:
            symbol = "" if one is None else one.symbol
        spec = self.market.specs.get(symbol)
        price = None if spec is None else self.price(symbol)
        sign = 1 if request.type in LONG_TYPES else -1
        held = book.positions.of(symbol)
        expiration = expiration_of(request.type_time, request.expiration, self.at_msc, self.zone)
        return Situation(
            account=account,
            spec=spec,
            price=price,
            open=spec is not None and self.is_open(symbol),
            selected=symbol in self.selected,
            position=one,
            other=book.positions.get(request.position_by),
            opposed=any(other.sign != sign for other in held.values()),
            oldest=_oldest(held.values()) if account.fifo_close else 0,
            netted=None if account.hedging else book.position_of(symbol),
            order=order,
            working=len(book.orders),
            closing=0.0 if one is None or not account.hedging else self._closing(one),
            sides=self._sides(symbol),
            room=_NO_ROOM if price is None else self.room(symbol, sign, price),
            depth=float("inf") if spec is None else self.depth(spec),
            now_msc=self.at_msc,
            expiration=expiration,
            due_msc=due_of(request.type_time, expiration, self.zone),
        )

    def _sides(self, symbol: str) -> Sides:
        held, waiting = [0.0, 0.0], [0.0, 0.0]
        for one in self.book.positions.of(symbol).values():
            held[0 if one.sign > 0 else 1] += one.volume
        for order in self.book.orders.of(symbol).values():
            waiting[0 if order.type in LONG_TYPES else 1] += order.volume_current
        return Sides((held[0], held[1]), (waiting[0], waiting[1]))

    def _closing(self, one: OpenPosition) -> float:
        """Return how many lots of a position working orders are about to close."""
        return sum(
            order.volume_current
            for order in self.book.orders.of(one.symbol).values()
            if order.position_id == one.identifier and (order.type in LONG_TYPES) != (one.sign > 0)
        )

    def _requoted(self, request: TradeRequest) -> bool:
        """Whether the price has moved on while the client agreed to it, as the seed draws."""
        if request.action != mt5.TRADE_ACTION_DEAL or not self.conditions.requotes:
            return False
        if self.market.specs[request.symbol].execution != mt5.SYMBOL_TRADE_EXECUTION_INSTANT:
            return False
        self._offers += 1
        of = f"requote {self.conditions.seed} {self.book.next_ticket} {self._offers}"
        return Random(of).random() < self.conditions.requotes

    def _carry_out(self, request: TradeRequest, reason: int) -> Executed:
        done = mt5.TRADE_RETCODE_DONE
        if request.action == mt5.TRADE_ACTION_SLTP:
            spec = self.market.specs[request.symbol]
            one = self.book.positions[request.position]
            self.set_levels(one, spec.price(request.sl), spec.price(request.tp))
            return Executed(done, NOTHING)
        if request.action == mt5.TRADE_ACTION_REMOVE:
            order = self.book.orders[request.order]
            self.finish(order, mt5.ORDER_STATE_CANCELED)
            return Executed(done, Filled(0, order.ticket, 0.0, 0.0))
        if request.action == mt5.TRADE_ACTION_MODIFY:
            return Executed(done, self._modify(request))
        if request.action == mt5.TRADE_ACTION_PENDING:
            return Executed(done, self._place(request, reason))
        if request.action == mt5.TRADE_ACTION_CLOSE_BY:
            return Executed(done, self._close_by(request, reason))
        return self._deal(request, reason)

    def _deal(self, request: TradeRequest, reason: int) -> Executed:
        spec = self.market.specs[request.symbol]
        quote = self._quote(request.symbol)
        sign = 1 if request.type == mt5.ORDER_TYPE_BUY else -1
        price = quote.ask if sign > 0 else quote.bid
        ticket = self.book.ticket()
        if spec.execution not in AGREED:
            price = self.slipped(spec, price, sign, ticket)
        asked = round(request.volume, 8)
        volume = min(asked, self.depth(spec))
        one = self.book.positions[request.position] if request.position else None
        filling = filling_of(request, spec)
        wish = Wish(
            symbol=request.symbol,
            type=request.type,
            volume=volume,
            price=price,
            sl=0.0 if one is not None else spec.price(request.sl),
            tp=0.0 if one is not None else spec.price(request.tp),
            magic=request.magic,
            comment=request.comment,
            reason=reason,
            filling=filling,
            ticket=ticket,
            left=round(asked - volume, 8),
            keep=filling == mt5.ORDER_FILLING_RETURN,
        )
        if one is None:
            filled = self._dealer.deal(wish, self.at_msc)
        else:
            filled = self._dealer.close(one, wish, self.at_msc)
        self.await_anew(ticket)
        partial = mt5.TRADE_RETCODE_DONE_PARTIAL
        return Executed(partial if wish.left else mt5.TRADE_RETCODE_DONE, filled)

    def _close_by(self, request: TradeRequest, reason: int) -> Filled:
        one = self.book.positions[request.position]
        other = self.book.positions[request.position_by]
        wish = Wish(
            symbol=one.symbol,
            type=other.type,
            volume=min(one.volume, other.volume),
            price=other.price_open,
            magic=request.magic,
            comment=request.comment,
            reason=reason,
        )
        return self._dealer.close_by(one, other, wish, self.at_msc)

    def _place(self, request: TradeRequest, reason: int) -> Filled:
        spec = self.market.specs[request.symbol]
        price, stoplimit, sl, tp = prices_of(request, spec)
        volume = round(request.volume, 8)
        order = TradeOrder(
            ticket=self.book.ticket(),
            time_setup=self.at_msc // 1000,
            time_setup_msc=self.at_msc,
            time_expiration=self._expiration(request),
            type=request.type,
            type_time=request.type_time,
            type_filling=request.type_filling,
            state=mt5.ORDER_STATE_PLACED,
            magic=request.magic,
            reason=reason,
            volume_initial=volume,
            volume_current=volume,
            price_open=price,
            price_stoplimit=stoplimit,
            sl=sl,
            tp=tp,
            symbol=request.symbol,
            comment=request.comment,
        )
        self.book.orders[order.ticket] = order
        self.book.changed(order.symbol)
        return Filled(0, order.ticket, volume, order.price_open)

    def _modify(self, request: TradeRequest) -> Filled:
        order = self.book.orders[request.order]
        price, stoplimit, sl, tp = prices_of(request, self.market.specs[order.symbol])
        self.replace_order(
            order,
            {
                "price_open": price,
                "price_stoplimit": stoplimit,
                "sl": sl,
                "tp": tp,
                "type_time": request.type_time,
                "time_expiration": self._expiration(request),
            },
        )
        return Filled(0, order.ticket, 0.0, price)

    def _expiration(self, request: TradeRequest) -> int:
        return expiration_of(request.type_time, request.expiration, self.at_msc, self.zone)

    def _quote(self, symbol: str) -> Price:
        price = self.price(symbol)
        assert price is not None  # noqa: S101 - checked: no price is refused with 10021
        return price


class _Floats(NamedTuple):
    """A position's lots (short below 0) and what floats in it, swap included."""

    lots: float
    worth: float


def _released(before: _Floats, after: _Floats | None) -> float:
    """Return by how much a deal changes what floats in a position; what it opened is not counted.

    A part that is closed takes its part along; a reversal all.
    """
    if after is None or before.lots * after.lots < 0.0:
        return -before.worth
    return after.worth - before.worth if abs(after.lots) < abs(before.lots) else 0.0


def _oldest(held: Iterable[OpenPosition]) -> int:
    """Return the ticket of the position that is open for longest; 0 without any."""
    # Tickets alone do not tell: a broker may change them, and a pending order's is old.
    ages = ((one.time_msc, one.ticket) for one in held)
    return min(ages, default=(0, 0))[1]
