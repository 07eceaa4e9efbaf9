"""The simulated broker: the market, the book, and time that passes for both.

It knows nothing of terminals, calls or faults. As time moves on, every tick in
between is seen: a stop triggers at the tick that reaches it, not at the price
of the moment of looking. Swaps are not charged. The margin of a symbol is that
of its larger side.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from terminals import constants as mt5
from terminals.sim.book import Book, OpenPosition
from terminals.sim.checks import ACCEPTED, LONG_TYPES, Situation, refusal
from terminals.sim.dealing import Dealer, Filled, Wish
from terminals.sim.market import Market, Price, Ticks
from terminals.sim.symbols import SymbolSpec, conversion, known_symbol
from terminals.sim.triggers import Extremes, Touch, extremes, touch_order, touch_position
from terminals.structs import TradeOrder, TradeRequest

_NOTES: Final = {mt5.DEAL_REASON_SL: "sl", mt5.DEAL_REASON_TP: "tp"}


class Money(NamedTuple):
    """The account's numbers at the present prices, in its currency; the level in percent."""

    profit: float
    equity: float
    margin: float
    margin_free: float
    margin_level: float


class Executed(NamedTuple):
    """The trade server's answer."""

    retcode: int
    filled: Filled


NOTHING: Final = Filled(0, 0, 0.0, 0.0)


class Broker:
    """One account at one market. Not safe for threads; its owner holds a lock."""

    def __init__(self, book: Book, market: Market, at_msc: int) -> None:
        """Begin at a market time."""
        self.book = book
        self.market = market
        self.at_msc = at_msc
        self.selected: set[str] = set(market.specs)
        self._pins: dict[str, Price] = {}
        self._dealer = Dealer(book, self._profit)
        self._by_stem = {known_symbol(name) or name: name for name in market.specs}

    # -- prices ------------------------------------------------------------

    def price(self, symbol: str) -> Price | None:
        """Return the newest quote: the pinned one, else the market's."""
        return self._pins.get(symbol) or self.market.price(symbol, self.at_msc)

    def is_open(self, symbol: str) -> bool:
        """Whether the symbol trades now; a pinned quote trades."""
        return symbol in self._pins or self.market.is_open(symbol, self.at_msc)

    def pin(self, symbol: str, bid: float, ask: float) -> None:
        """Hold a quote until `unpin`, and let it trigger what it reaches."""
        self.at_msc += 1  # a new quote is a new moment, also for what was placed just now
        self._pins[symbol] = Price(self.at_msc, bid, ask)
        one = Ticks(np.array([self.at_msc]), np.array([bid]), np.array([ask]))
        self._walk({symbol: one})
        self._stop_out()

    def unpin(self, symbol: str) -> None:
        """Let the market's quotes count again, from now on."""
        self._pins.pop(symbol, None)

    def mid(self, stem: str) -> float | None:
        """Return the mid price of a symbol by its six letters, to convert money by."""
        symbol = self._by_stem.get(stem)
        price = None if symbol is None else self.price(symbol)
        return None if price is None else price.mid

    def rate(self, spec: SymbolSpec) -> float:
        """Return what one unit of the symbol's profit currency is worth in the account's."""
        return conversion(spec.profit, self.book.account.currency, self.mid)

    # -- money -------------------------------------------------------------

    def _profit(self, one: OpenPosition, price: float, volume: float) -> float:
        spec = self.market.specs[one.symbol]
        move = (price - one.price_open) * one.sign
        return move * volume * spec.contract_size * self.rate(spec)

    def value(self, one: OpenPosition) -> None:
        """Bring a position's price and floating profit up to date."""
        price = self.price(one.symbol)
        if price is not None:
            one.price_current = price.bid if one.sign > 0 else price.ask
            one.profit = round(self._profit(one, one.price_current, one.volume), 2)

    def money(self) -> Money:
        """Return the account's numbers now."""
        account = self.book.account
        profit = 0.0
        sides: dict[str, list[float]] = {}
        for one in self.book.positions.values():
            self.value(one)
            profit += one.profit + one.swap
            sides.setdefault(one.symbol, [0.0, 0.0])[one.type] += one.volume
        margin = round(sum(self.margin_per_lot(s) * max(v) for s, v in sides.items()), 2)
        equity = round(account.balance + profit, 2)
        level = round(equity / margin * 100.0, 2) if margin else 0.0
        return Money(round(profit, 2), equity, margin, round(equity - margin, 2), level)

    def margin_per_lot(self, symbol: str) -> float:
        """Return the margin of one lot in account currency; 0 without a price."""
        spec = self.market.specs[symbol]
        price = self.price(symbol)
        if price is None:
            return 0.0
        return spec.contract_size * price.mid * self.rate(spec) / self.book.account.leverage

    # -- time --------------------------------------------------------------

    def advance_to(self, at_msc: int) -> None:
        """Let the market run on to a time and do what its ticks trigger."""
        if at_msc <= self.at_msc:
            return
        symbols = {one.symbol for one in self.book.positions.values()}
        symbols |= {one.symbol for one in self.book.orders.values()}
        symbols -= self._pins.keys()
        spans = {s: self.market.ticks(s, self.at_msc, at_msc) for s in symbols}
        self._walk({symbol: ticks for symbol, ticks in spans.items() if len(ticks.time_msc)})
        self.at_msc = at_msc
        self.market.play(at_msc)
        self._stop_out()

    def _walk(self, spans: dict[str, Ticks]) -> None:
        """Do everything the spans trigger, in the order of time."""
        outer = {symbol: extremes(ticks) for symbol, ticks in spans.items()}
        while (found := self._earliest(spans, outer)) is not None:
            touch, one = found
            self.at_msc = max(self.at_msc, touch.time_msc)
            if isinstance(one, OpenPosition):
                self._trigger(one, touch)
            else:
                self._activate(one, touch)

    def _earliest(
        self, spans: dict[str, Ticks], outer: dict[str, Extremes]
    ) -> tuple[Touch, OpenPosition | TradeOrder] | None:
        best: tuple[Touch, OpenPosition | TradeOrder] | None = None
        for one in self.book.positions.values():
            ticks = spans.get(one.symbol)
            if ticks is None or not (one.sl or one.tp):
                continue
            touch = touch_position(one, ticks, outer[one.symbol])
            if touch is not None and (best is None or touch.time_msc < best[0].time_msc):
                best = touch, one
        for order in self.book.orders.values():
            ticks = spans.get(order.symbol)
            if ticks is None:
                continue
            touch = touch_order(order, ticks, outer[order.symbol], order.time_setup_msc)
            if touch is not None and (best is None or touch.time_msc < best[0].time_msc):
                best = touch, order
        return best

    def _trigger(self, one: OpenPosition, touch: Touch) -> None:
        kind = _NOTES[touch.reason]
        level = one.sl if touch.reason == mt5.DEAL_REASON_SL else one.tp
        digits = self.market.specs[one.symbol].digits
        self.close(
            one,
            one.volume,
            reason=touch.reason,
            comment=f"[{kind} {level:.{digits}f}]",
            price=touch.price,
        )

    def _activate(self, order: TradeOrder, touch: Touch) -> None:
        sign_type = mt5.ORDER_TYPE_BUY if order.type in LONG_TYPES else mt5.ORDER_TYPE_SELL
        wish = Wish(
            symbol=order.symbol,
            type=sign_type,
            volume=order.volume_initial,
            price=touch.price,
            sl=order.sl,
            tp=order.tp,
            magic=order.magic,
            comment=order.comment,
            reason=order.reason,
            filling=order.type_filling,
            order=order,
        )
        if order.volume_initial * self.margin_per_lot(order.symbol) > self.money().margin_free:
            self._finish(order, mt5.ORDER_STATE_REJECTED)
        else:
            self._dealer.deal(wish, self.at_msc)

    def _finish(self, order: TradeOrder, state: int) -> None:
        """Take a pending order from the book into history, unfilled."""
        self.book.orders.pop(order.ticket, None)
        done = {"state": state, "time_done": self.at_msc // 1000, "time_done_msc": self.at_msc}
        self.book.past_orders.append(TradeOrder(**{**order._asdict(), **done}))
        self.book.changed()

    def _stop_out(self) -> None:
        """Close the worst position while the margin level is under the account's limit."""
        while self.book.positions:
            money = self.money()
            if not money.margin or money.margin_level >= self.book.account.stop_out_level:
                return
            trading = [p for p in self.book.positions.values() if self.is_open(p.symbol)]
            if not trading:
                return
            worst = min(trading, key=lambda one: one.profit)
            note = f"[so {money.margin_level:.2f}%]"
            self.close(worst, worst.volume, reason=mt5.DEAL_REASON_SO, comment=note)

    # -- orders ------------------------------------------------------------

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
        magic: int | None = None,
        filling: int = mt5.ORDER_FILLING_FOK,
    ) -> Filled:
        """Close a position or a part, at the market or at a given price."""
        if price is None:
            self.value(one)
            price = one.price_current or one.price_open
        wish = Wish(
            symbol=one.symbol,
            type=mt5.ORDER_TYPE_SELL if one.sign > 0 else mt5.ORDER_TYPE_BUY,
            volume=volume,
            price=price,
            magic=one.magic if magic is None else magic,
            comment=comment,
            reason=reason,
            filling=filling,
        )
        return self._dealer.close(one, wish, self.at_msc)

    def check(self, request: TradeRequest) -> int:
        """Return the retcode with which a request would be refused; 0 if it would not."""
        spec = self.market.specs.get(request.symbol)
        known = spec is not None
        netting = not self.book.account.hedging
        situation = Situation(
            account=self.book.account,
            spec=spec,
            price=self.price(request.symbol) if known else None,
            open=known and self.is_open(request.symbol),
            selected=request.symbol in self.selected,
            position=self.book.positions.get(request.position),
            netted=self.book.position_of(request.symbol) if netting else None,
            order=self.book.orders.get(request.order),
            margin_free=self.money().margin_free,
            margin_per_lot=self.margin_per_lot(request.symbol) if known else 0.0,
        )
        return refusal(request, situation)

    def execute(self, request: TradeRequest, *, reason: int = mt5.DEAL_REASON_EXPERT) -> Executed:
        """Do what a request asks, or refuse it with a retcode."""
        refused = self.check(request)
        if refused != ACCEPTED:
            return Executed(refused, NOTHING)
        if request.action == mt5.TRADE_ACTION_SLTP:
            spec = self.market.specs[request.symbol]
            one = self.book.positions[request.position]
            self.set_levels(one, spec.price(request.sl), spec.price(request.tp))
            return Executed(mt5.TRADE_RETCODE_DONE, NOTHING)
        if request.action == mt5.TRADE_ACTION_REMOVE:
            order = self.book.orders[request.order]
            self._finish(order, mt5.ORDER_STATE_CANCELED)
            return Executed(mt5.TRADE_RETCODE_DONE, Filled(0, order.ticket, 0.0, 0.0))
        if request.action == mt5.TRADE_ACTION_PENDING:
            return Executed(mt5.TRADE_RETCODE_DONE, self._place(request, reason))
        return Executed(mt5.TRADE_RETCODE_DONE, self._deal(request, reason))

    def set_levels(self, one: OpenPosition, sl: float, tp: float) -> None:
        """Set both levels of a position; ticks after this one count against them."""
        one.sl, one.tp = sl, tp
        one.time_update_msc = one.seen_msc = self.at_msc
        self.book.changed()

    def _deal(self, request: TradeRequest, reason: int) -> Filled:
        if request.position:
            return self.close(
                self.book.positions[request.position],
                request.volume,
                reason=reason,
                comment=request.comment,
                magic=request.magic,
                filling=request.type_filling,
            )
        spec = self.market.specs[request.symbol]
        price = self.price(request.symbol)
        assert price is not None  # noqa: S101 - checked: no price is refused with 10021
        wish = Wish(
            symbol=request.symbol,
            type=request.type,
            volume=request.volume,
            price=price.ask if request.type == mt5.ORDER_TYPE_BUY else price.bid,
            sl=spec.price(request.sl),
            tp=spec.price(request.tp),
            magic=request.magic,
            comment=request.comment,
            reason=reason,
            filling=request.type_filling,
        )
        return self._dealer.deal(wish, self.at_msc)

    def _place(self, request: TradeRequest, reason: int) -> Filled:
        spec = self.market.specs[request.symbol]
        order = TradeOrder(
            ticket=self.book.ticket(),
            time_setup=self.at_msc // 1000,
            time_setup_msc=self.at_msc,
            type=request.type,
            type_filling=request.type_filling,
            state=mt5.ORDER_STATE_PLACED,
            magic=request.magic,
            reason=reason,
            volume_initial=request.volume,
            volume_current=request.volume,
            price_open=spec.price(request.price),
            sl=spec.price(request.sl),
            tp=spec.price(request.tp),
            symbol=request.symbol,
            comment=request.comment,
        )
        self.book.orders[order.ticket] = order
        self.book.changed()
        return Filled(0, order.ticket, request.volume, order.price_open)
