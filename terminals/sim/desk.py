"""The simulated broker's dealing desk: at which price, how much, and what becomes of the rest."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from random import Random
from typing import Final, NamedTuple

from terminals import constants as mt5
from terminals.sim.book import Book, OpenPosition
from terminals.sim.conditions import IDEAL, Conditions
from terminals.sim.dealing import Dealer, Filled, Pricing, Wish
from terminals.sim.market import Market, Price
from terminals.sim.money import Money
from terminals.sim.rules import Room, too_dear
from terminals.sim.symbols import SymbolSpec
from terminals.sim.valuation import Valuation
from terminals.sim.working import LIMIT_OF, LIMITS, LONG_TYPES
from terminals.structs import TradeOrder, changed

_NOTES: Final = {mt5.DEAL_REASON_SL: "sl", mt5.DEAL_REASON_TP: "tp"}
JOURNAL: Final = 1000  # events that are kept
COMMENT_LENGTH: Final = 31  # characters of a comment that a server keeps


class Event(NamedTuple):
    """Something that the broker did by itself."""

    at_msc: int
    kind: str  # margin call, stop out, stop, expired, rejected, cancelled or rollover
    text: str


class Desk(Valuation):
    """Fills orders at the present quotes."""

    def __init__(
        self, book: Book, market: Market, at_msc: int, conditions: Conditions = IDEAL
    ) -> None:
        """Begin at a market time. Raises Invalid for a zone that this machine does not know."""
        super().__init__(book, market, at_msc, conditions)
        self.journal: deque[Event] = deque(maxlen=JOURNAL)
        self._dealer = Dealer(book, Pricing(self.profit_of, self.lot_margin))
        # Since when a working order waits as it is now, where that is not since it was placed.
        self._waits_since: dict[int, int] = {}

    def deal(self, wish: Wish) -> Filled:
        """Book a market order as it is, unchecked."""
        return self._dealer.deal(wish, self.at_msc)

    def close(
        self,
        one: OpenPosition,
        volume: float,
        *,
        reason: int,
        comment: str = "",
        price: float | None = None,
    ) -> Filled:
        """Close a position or a part, at the market or at a given price, unchecked."""
        if price is None:
            self.value(one)
            price = one.price_current or one.price_open
        wish = Wish(
            symbol=one.symbol,
            type=mt5.ORDER_TYPE_SELL if one.sign > 0 else mt5.ORDER_TYPE_BUY,
            volume=round(volume, 8),
            price=price,
            magic=one.magic,
            comment=comment,
            reason=reason,
        )
        return self._dealer.close(one, wish, self.at_msc)

    def set_levels(self, one: OpenPosition, sl: float, tp: float) -> None:
        """Set both levels of a position; ticks after this moment count against them."""
        one.sl, one.tp = sl, tp
        one.time_update_msc = one.sl_msc = one.tp_msc = self.at_msc
        self.book.changed(one.symbol)

    def depth(self, spec: SymbolSpec) -> float:
        """Return how many lots the market takes at one time."""
        return spec.depth if self.conditions.depth and spec.depth else math.inf

    def slipped(self, spec: SymbolSpec, price: float, sign: int, ticket: int) -> float:
        """Return a market fill's price: worse than the quote by what the order's ticket draws."""
        if not self.conditions.slippage:
            return price
        draw = Random(f"slip {self.conditions.seed} {ticket}")
        points = draw.randint(0, self.conditions.slippage)
        return spec.price(max(price + sign * points * spec.point, spec.point))

    def room(self, symbol: str, sign: int, price: Price) -> Room:
        """Return what decides whether the account can afford a deal at a quote."""
        margins, elsewhere = self.margins(symbol)
        hedging = self.book.account.hedging
        return Room(
            netted=None if hedging else self.book.position_of(symbol),
            margins=margins,
            elsewhere=elsewhere,
            lot=self.lot_margin(symbol, price.ask if sign > 0 else price.bid),
            free=self.money().margin_free,
        )

    # -- what a tick does --------------------------------------------------

    def waits_since(self, order: TradeOrder) -> int:
        """Return since when a working order waits as it is: later ticks count."""
        return self._waits_since.get(order.ticket, order.time_setup_msc)

    def activate(self, order: TradeOrder, quote: Price) -> None:
        """Do what a tick that reaches a working order's price means to it."""
        spec = self.market.specs[order.symbol]
        if order.type in LIMIT_OF:
            limit = {"type": LIMIT_OF[order.type], "price_open": order.price_stoplimit}
            self.replace_order(order, limit)
            return
        sign = 1 if order.type in LONG_TYPES else -1
        side = mt5.ORDER_TYPE_BUY if sign > 0 else mt5.ORDER_TYPE_SELL
        hedging = self.book.account.hedging
        named = order.position_id
        target = self.book.by_identifier(named) if named else None
        if hedging and named and target is None:
            self.finish(order, mt5.ORDER_STATE_CANCELED)
            return
        closed = target if hedging and target is not None and target.type != side else None
        asked = order.volume_current
        first = order.state != mt5.ORDER_STATE_PARTIAL
        if first and too_dear(self.room(order.symbol, sign, quote), sign, asked):
            self.finish(order, mt5.ORDER_STATE_REJECTED)
            return
        volume = min(asked, self.depth(spec))
        if volume < asked and order.type_filling == mt5.ORDER_FILLING_FOK:
            self.finish(order, mt5.ORDER_STATE_REJECTED)
            return
        if closed is not None:
            volume = min(volume, closed.volume)
        price = quote.ask if sign > 0 else quote.bid
        if order.type not in LIMITS:
            price = self.slipped(spec, price, sign, order.ticket)
        wish = Wish(
            symbol=order.symbol,
            type=side,
            volume=volume,
            price=price,
            sl=order.sl,
            tp=order.tp,
            magic=order.magic,
            comment=order.comment,
            reason=order.reason,
            filling=order.type_filling,
            ticket=order.ticket,
            order=order,
            left=round(asked - volume, 8),
            keep=order.type_filling == mt5.ORDER_FILLING_RETURN,
        )
        if closed is None:
            self._dealer.deal(wish, self.at_msc)
        else:
            self._dealer.close(closed, wish, self.at_msc)
        self.await_anew(order.ticket)

    def replace_order(self, order: TradeOrder, fields: Mapping[str, object]) -> None:
        """Let a working order be another one; it waits anew."""
        self.book.orders[order.ticket] = changed(order, **fields)
        self.book.changed(order.symbol)
        self.await_anew(order.ticket)

    def await_anew(self, ticket: int) -> None:
        """Let only later ticks count for a working order; forget one that works no more."""
        if ticket in self.book.orders:
            self._waits_since[ticket] = self.at_msc
        else:
            self._waits_since.pop(ticket, None)

    def await_all_anew(self) -> None:
        """Let only later ticks count for every working order: the book came from elsewhere.

        When its orders were placed may lie in this market's future.
        """
        self._waits_since = dict.fromkeys(self.book.orders, self.at_msc)

    def finish(self, order: TradeOrder, state: int, at_msc: int | None = None) -> None:
        """Take a working order from the book into history, with what is left of it.

        `price_current` is that of this moment: nothing is filled by this.
        """
        at = self.at_msc if at_msc is None else at_msc
        self.book.orders.pop(order.ticket, None)
        self._waits_since.pop(order.ticket, None)
        done = changed(order, state=state, time_done=at // 1000, time_done_msc=at)
        price = self.price(order.symbol)
        if price is not None:
            now = price.ask if order.type in LONG_TYPES else price.bid
            done = changed(done, price_current=now)
        self.book.past_orders.append(done)
        self.book.changed(order.symbol)
        if state in _TOLD:
            self.tell(_TOLD[state], f"order {order.ticket} of {order.symbol}", at)

    def hit(self, one: OpenPosition, reason: int, price: float) -> None:
        """Close a position whose stop or target (DEAL_REASON_*) was reached at a tick's price."""
        spec = self.market.specs[one.symbol]
        level = one.sl if reason == mt5.DEAL_REASON_SL else one.tp
        if reason == mt5.DEAL_REASON_SL:
            price = self.slipped(spec, price, -one.sign, self.book.next_ticket)
        comment = f"[{_NOTES[reason]} {level:.{spec.digits}f}]"
        self.close(one, one.volume, reason=reason, comment=comment, price=price)

    def close_worst(self, money: Money) -> bool:
        """Close the position with the largest loss; False if none of them trades now."""
        worst: tuple[float, int] | None = None
        for symbol in self.book.positions.symbols:
            price = self.price(symbol)
            if price is None or not self.is_open(symbol):
                continue
            line = self.line(symbol)
            profits = line.worth(price, self.rate(line.spec)).profits.tolist()
            tickets = (one.ticket for one in line.positions)
            found = min(zip(profits, tickets, strict=True))
            worst = found if worst is None else min(worst, found)
        if worst is None:
            return False
        one = self.book.positions[worst[1]]
        note = f"[so {money.margin_level:.2f}%/{money.equity:.2f}/{money.margin:.2f}]"
        self.tell("stop out", f"position {one.ticket} at {money.margin_level:.2f} %")
        comment = note[:COMMENT_LENGTH]
        self.close(one, one.volume, reason=mt5.DEAL_REASON_SO, comment=comment)
        return True

    def tell(self, kind: str, text: str, at_msc: int | None = None) -> None:
        """Note an event in the journal."""
        self.journal.append(Event(self.at_msc if at_msc is None else at_msc, kind, text))


_TOLD: Final = {mt5.ORDER_STATE_REJECTED: "rejected", mt5.ORDER_STATE_EXPIRED: "expired"}
