"""The reference ledger: a broker in plain steps, tick by tick (docs/broker.md).

`advance` plays the recording up to a moment; `send` does what a request asks
and answers with the trade server's return code.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, NamedTuple

from ledger_book import Book
from ledger_market import Tape
from ledger_rules import check, completed, due_at, expiration_of, levels_of, number, price_of
from ledger_terms import (
    BUY,
    BUY_LIMIT,
    BUY_STOP_LIMIT,
    BY_SL,
    BY_SO,
    BY_TP,
    CANCELED,
    CLOSE_BY,
    CLOSE_BY_TYPE,
    DAY_MS,
    DEAL,
    EXPIRED,
    FOK,
    HEDGING,
    INSTANT,
    IOC,
    LIMITS,
    MODIFY,
    PARTIAL,
    PENDING,
    REJECTED,
    REMOVE,
    REQUEST,
    SELL,
    SELL_LIMIT,
    SLTP,
    STOP_LIMITS,
    STOPS,
    ZERO,
    Account,
    No,
    Order,
    Position,
    Symbol,
    cents,
)

DONE, DONE_PARTIAL = 10009, 10010
REQUOTE = 10004


class Answer(NamedTuple):
    """What the trade server says: its code, and how much was dealt."""

    code: int
    order: int = 0
    volume: Decimal = ZERO


class Ledger(Book):
    """A broker with one account."""

    def __init__(self, account: Account, tape: Tape, deposit: Decimal) -> None:
        super().__init__(account, tape)
        for moment in tape.moments_until(-1, tape.begin):
            tape.play(moment)
        self.pay(deposit, "deposit")

    # -- time --------------------------------------------------------------

    def advance(self, until: int) -> None:
        """Let the market run on: swaps, then expiry, then ticks, moment by moment."""
        until = min(until, self.tape.end)
        ticks = set(self.tape.moments_until(self.now, until))
        midnights = set(self.tape.midnights(self.now, until))
        due = {one.due for one in self.working.values() if one.due is not None}
        for moment in sorted(ticks | midnights | {at for at in due if at <= until}):
            self.now = moment
            if moment in midnights:
                self._charge_swaps()
            self._expire()
            for symbol in self.tape.play(moment):
                self._tick(symbol)
        self.now = max(self.now, until)

    def _charge_swaps(self) -> None:
        """Charge the night that ends now (docs/broker.md, Balance, commission, swap)."""
        if not self.tape.terms.swaps:
            return
        # 1970 began on a Thursday, day 4 of a week that begins on Sunday.
        ended = ((self.tape.wall(self.now) // DAY_MS - 1) + 4) % 7
        for one in self.positions.values():
            symbol = self.tape.symbols[one.symbol]
            nights = 3 if ended == symbol.triple_day else 1
            if ended in (0, 6):
                nights = 0
            if symbol.weekends:
                nights = 1
            one.swap += cents(self._night(one, symbol) * nights)

    def _night(self, one: Position, symbol: Symbol) -> Decimal:
        """Return one night's swap in account money, unrounded."""
        each = symbol.swap_long if one.side == BUY else symbol.swap_short
        rate = self.rate(symbol)
        contracts = symbol.contract_size * one.volume
        if symbol.swap_mode == 1:
            return each * symbol.point * contracts * rate
        if symbol.swap_mode in (2, 3):
            return each * one.volume * self.tape.rate(symbol.base, self.account.currency)
        if symbol.swap_mode == 4:
            return each * one.volume
        if symbol.swap_mode == 5:
            price = self.closing_price(one.symbol, one.side)
            return each / 100 / 360 * price * contracts * rate
        if symbol.swap_mode == 6:
            return each / 100 / 360 * one.price_open * contracts * rate
        return ZERO

    def _expire(self) -> None:
        for order in sorted(self.working.values(), key=lambda one: one.ticket):
            if order.due is not None and order.due <= self.now:
                self.end(order, EXPIRED)

    def _tick(self, symbol: str) -> None:
        for order in sorted(self.working.values(), key=lambda one: one.ticket):
            if order.symbol == symbol:
                self._meet(order)
        for one in sorted(self.positions.values(), key=lambda one: one.ticket):
            if one.symbol == symbol:
                self._stop_or_target(one)
        self._stop_out()

    def _meet(self, order: Order) -> None:
        """Do what a tick means to a working order: nothing, a fill, or a limit from a stop."""
        side = BUY if order.buys else SELL
        price = self.opening_price(order.symbol, side)
        up = 1 if side == BUY else -1
        beyond = (price - order.price) * up  # how far the price is above a buy's, below a sell's
        if order.type in LIMITS:
            if beyond <= 0:
                self._activate(order, side, price, slips=False)
        elif order.type in STOP_LIMITS:
            if beyond >= 0:
                order.type = BUY_LIMIT if order.type == BUY_STOP_LIMIT else SELL_LIMIT
                order.price = order.stoplimit
        elif beyond >= 0 or order.state == PARTIAL or order.type not in STOPS:
            self._activate(order, side, price, slips=True)

    def _activate(self, order: Order, side: int, price: Decimal, slips: bool) -> None:
        """Fill a working order, or as much of it as the market takes."""
        symbol = self.tape.symbols[order.symbol]
        volume = self._deep_enough(symbol, order.left)
        one = None
        if order.left < order.volume and self.account.mode == HEDGING:
            one = self.known(order.position_id)  # where its first part went
            if one is None:
                self.end(order, CANCELED)
                return
            if one.side != side:
                volume = min(volume, one.volume)
        shallow = volume < order.left and order.filling == FOK
        begins = order.left == order.volume
        if shallow or (begins and self.too_dear(symbol, side, order.left, price)):
            self.end(order, REJECTED)
            return
        if slips:
            price = self._slipped(symbol, side, price)
        self.fill(order, side, volume, price, one)
        self._rest(order)

    def _rest(self, order: Order) -> None:
        """Say what becomes of an order after a fill."""
        if not order.left:
            self.filled(order)
        elif order.filling == IOC:
            self.finish(order, CANCELED)
        else:
            order.state = PARTIAL
            self.working[order.ticket] = order

    def _deep_enough(self, symbol: Symbol, volume: Decimal) -> Decimal:
        """Return how much of a volume the market takes at one time."""
        limited = self.tape.terms.depth and symbol.depth
        return min(volume, symbol.depth) if limited else volume

    def _slipped(self, symbol: Symbol, side: int, price: Decimal) -> Decimal:
        return self.slip(len(self.deals), symbol, side, price)

    def _stop_or_target(self, one: Position) -> None:
        price = self.closing_price(one.symbol, one.side)
        gained, digits = (price - one.sl) * one.sign, self.tape.symbols[one.symbol].digits
        side = SELL if one.side == BUY else BUY
        if one.sl and one.sl_set < self.now and gained <= 0:
            slipped = self._slipped(self.tape.symbols[one.symbol], side, price)
            self._close_whole(one, slipped, BY_SL, f"[sl {one.sl:.{digits}f}]")
        elif one.tp and one.tp_set < self.now and (price - one.tp) * one.sign >= 0:
            self._close_whole(one, price, BY_TP, f"[tp {one.tp:.{digits}f}]")

    def _close_whole(self, one: Position, price: Decimal, reason: int, comment: str) -> None:
        order = self.closing_order(one, reason, comment)
        self.fill(order, order.type, one.volume, price, one)
        self.filled(order)

    def _stop_out(self) -> None:
        """Close the worst position while the margin level is too low."""
        while True:
            money = self.money()
            if not money.margin or money.level >= self.account.stop_out_level:
                return
            trading = [p for p in self.positions.values() if self.tape.is_open(p.symbol, self.now)]
            if not trading:
                return
            worst = min(trading, key=lambda one: (self.profit(one), one.ticket))
            price = self.closing_price(worst.symbol, worst.side)
            self._close_whole(worst, price, BY_SO, f"[so {money.level:.2f}%]")

    # -- requests ----------------------------------------------------------

    def send(self, request: Mapping[str, Any]) -> Answer:
        """Do what a request asks, or say why not."""
        request = completed(self, request)
        try:
            check(self, request)
            return self._do(request)
        except No as answer:
            return Answer(answer.code)

    def check(self, request: Mapping[str, Any]) -> int:
        """Return the code with which a request would be refused; 0 if it would not."""
        try:
            check(self, completed(self, request))
        except No as answer:
            return answer.code
        return 0

    def _do(self, request: Mapping[str, Any]) -> Answer:
        action = request["action"]
        if action == SLTP:
            one = self.positions[request["position"]]
            sl, tp = levels_of(self.tape.symbols[one.symbol], request)
            if sl != one.sl:
                one.sl, one.sl_set = sl, self.now
            if tp != one.tp:
                one.tp, one.tp_set = tp, self.now
            one.updated = self.now
            return Answer(DONE)
        if action == REMOVE:
            order = self.working[request["order"]]
            self.end(order, CANCELED)
            return Answer(DONE, order.ticket)
        if action == MODIFY:
            return self._modify(request)
        if action == PENDING:
            return self._place(request)
        if action == CLOSE_BY:
            return self._cancel_out(request)
        assert action == DEAL
        return self._deal_now(request)

    def _modify(self, request: Mapping[str, Any]) -> Answer:
        order = self.working[request["order"]]
        symbol = self.tape.symbols[order.symbol]
        order.price = price_of(symbol, request, "price")
        order.stoplimit = price_of(symbol, request, "stoplimit")
        order.sl, order.tp = levels_of(symbol, request)
        order.life = request.get("type_time", 0)
        order.expiration = expiration_of(self, request)
        order.due = due_at(self, request)
        return Answer(DONE, order.ticket)

    def _place(self, request: Mapping[str, Any]) -> Answer:
        symbol = self.tape.symbols[request["symbol"]]
        sl, tp = levels_of(symbol, request)
        order = self._order(request)
        order.price = price_of(symbol, request, "price")
        order.stoplimit = price_of(symbol, request, "stoplimit")
        order.sl, order.tp = sl, tp
        order.life = request.get("type_time", 0)
        order.expiration = expiration_of(self, request)
        order.due = due_at(self, request)
        self.working[order.ticket] = order
        return Answer(DONE, order.ticket, order.volume)

    def _order(self, request: Mapping[str, Any]) -> Order:
        volume = number(request.get("volume", 0))
        return Order(
            ticket=self.ticket(),
            symbol=request["symbol"],
            type=request["type"],
            volume=volume,
            left=volume,
            price=ZERO,
            magic=request.get("magic", 0),
            comment=request.get("comment", ""),
            filling=request.get("type_filling", FOK),
            setup=self.now,
        )

    def _cancel_out(self, request: Mapping[str, Any]) -> Answer:
        one = self.positions[request["position"]]
        other = self.positions[request["position_by"]]
        order = self._order({**request, "symbol": one.symbol, "type": CLOSE_BY_TYPE})
        order.position_id, order.position_by_id = one.identifier, other.identifier
        self.close_by(one, other, order)
        self.filled(order)
        return Answer(DONE, order.ticket, order.volume)

    def _deal_now(self, request: Mapping[str, Any]) -> Answer:
        symbol = self.tape.symbols[request["symbol"]]
        volume = self._deep_enough(symbol, number(request["volume"]))
        order = self._order(request)
        if symbol.execution in (INSTANT, REQUEST):
            order.filling = FOK
        if not request.get("position"):
            order.sl, order.tp = levels_of(symbol, request)
        price = self.opening_price(symbol.name, order.type)
        if symbol.execution not in (INSTANT, REQUEST):
            price = self._slipped(symbol, order.type, price)
        self.fill(order, order.type, volume, price, self.positions.get(request.get("position", 0)))
        self._rest(order)
        return Answer(DONE if not order.left else DONE_PARTIAL, order.ticket, volume)
