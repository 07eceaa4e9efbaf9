"""The reference's book: positions, orders, deals, and what they are worth."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import NamedTuple, Self

from ledger_market import Tape
from ledger_terms import (
    BALANCE,
    BUY,
    CFD_LEVERAGE,
    EXCH_FUTURES,
    FILLED,
    FOREX,
    FUTURES,
    HEDGING,
    IN,
    INOUT,
    OUT,
    OUT_BY,
    PARTIAL,
    SELL,
    ZERO,
    Account,
    Deal,
    Money,
    Order,
    Position,
    Symbol,
    average,
    cents,
)

# Says at which price a fill that may slip was done: (number of the deal, symbol, side, quote).
Slip = Callable[[int, Symbol, int, Decimal], Decimal]


class Lots(NamedTuple):
    """Volume on one side of a symbol, and the margin of each of its lots."""

    symbol: str
    side: int
    volume: Decimal
    lot_margin: Decimal


def as_quoted(number: int, symbol: Symbol, side: int, quote: Decimal) -> Decimal:
    """Fill at the quote: no slippage."""
    del number, symbol, side
    return quote


class Book:
    """One account."""

    def __init__(self, account: Account, tape: Tape) -> None:
        self.account = account
        self.tape = tape
        self.now = tape.begin
        self.positions: dict[int, Position] = {}
        self.working: dict[int, Order] = {}
        self.past: list[Order] = []
        self.deals: list[Deal] = []
        self.slip: Slip = as_quoted
        self._tickets = 0

    def ticket(self) -> int:
        self._tickets += 1
        return self._tickets

    # -- what it is worth --------------------------------------------------

    def rate(self, symbol: Symbol) -> Decimal:
        """Return what one unit of the symbol's profit currency is worth to the account."""
        return self.tape.rate(symbol.profit, self.account.currency)

    def closing_price(self, symbol: str, side: int) -> Decimal:
        """Return the price that values and closes a position of that side."""
        quote = self.tape.quotes[symbol]
        return quote.bid if side == BUY else quote.ask

    def opening_price(self, symbol: str, side: int) -> Decimal:
        """Return the price that a market order of that side pays."""
        quote = self.tape.quotes[symbol]
        return quote.ask if side == BUY else quote.bid

    def gain(
        self, symbol: Symbol, side: int, volume: Decimal, opened: Decimal, price: Decimal
    ) -> Decimal:
        """Return profit in account money, rounded."""
        move = price - opened if side == BUY else opened - price
        return cents(move * volume * symbol.contract_size * self.rate(symbol))

    def profit(self, one: Position) -> Decimal:
        """Return what floats in a position, without its swap."""
        price = self.closing_price(one.symbol, one.side)
        symbol = self.tape.symbols[one.symbol]
        return self.gain(symbol, one.side, one.volume, one.price_open, price)

    def lot_margin(self, symbol: Symbol, price: Decimal) -> Decimal:
        """Return the margin of one lot that is dealt at a price, unrounded."""
        currency, leverage = self.account.currency, self.account.leverage
        if symbol.calc_mode in (FUTURES, EXCH_FUTURES):
            return symbol.margin_initial * self.tape.rate(symbol.base, currency)
        if symbol.calc_mode == FOREX:
            converts_itself = symbol.profit == currency
            rate = price if converts_itself else self.tape.rate(symbol.base, currency)
            return symbol.contract_size * symbol.margin_rate * rate / leverage
        whole = symbol.contract_size * price * self.rate(symbol) * symbol.margin_rate
        return whole / leverage if symbol.calc_mode == CFD_LEVERAGE else whole

    def lots(self) -> list[Lots]:
        """Return the open volume, position by position."""
        every = self.positions.values()
        return [Lots(one.symbol, one.side, one.volume, one.lot_margin) for one in every]

    def money(self) -> Money:
        """Return the account's numbers."""
        return self._money(self._floating(self.positions.values()))

    def money_to_be(self, before: Self) -> Money:
        """Return the numbers of a twin that has carried out a request, as order_check tells them.

        What was opened floats at nothing; what is left of the others floats as it does.
        """
        left: list[Position] = []
        for key, one in before.positions.items():
            now = self.positions.get(key)
            if now is None or now.side != one.side:
                continue  # closed, or reversed: nothing of it floats any more
            left.append(one if now.volume > one.volume else now)
        return self._money(self._floating(left))

    def _floating(self, positions: Iterable[Position]) -> Decimal:
        return sum((self.profit(one) + one.swap for one in positions), ZERO)

    def _money(self, profit: Decimal) -> Money:
        equity = self.account.balance + profit
        taken = margin(self.lots())
        level = equity / taken * 100 if taken else ZERO
        return Money(
            balance=self.account.balance,
            profit=profit,
            equity=equity,
            margin=taken,
            free=equity - taken,
            level=level,
        )

    def too_dear(self, symbol: Symbol, side: int, volume: Decimal, price: Decimal) -> bool:
        """Whether the account has not the free margin for what a deal would add."""
        present = self.netted(symbol.name)
        after = [one for one in self.lots() if present is None or one.symbol != symbol.name]
        each = self.lot_margin(symbol, price)
        if present is None:
            after.append(Lots(symbol.name, side, volume, each))
        elif present.side == side:
            total = present.volume + volume
            mean = (present.lot_margin * present.volume + each * volume) / total
            after.append(Lots(symbol.name, side, total, mean))
        elif volume <= present.volume:
            return False
        else:
            after.append(Lots(symbol.name, side, volume - present.volume, each))
        return margin(after) - margin(self.lots()) > self.money().free

    def netted(self, symbol: str) -> Position | None:
        """Return the one position of a symbol, where the account nets."""
        if self.account.mode == HEDGING:
            return None
        return next((one for one in self.positions.values() if one.symbol == symbol), None)

    def twin(self) -> Self:
        """Return a copy on which a request can be tried; nothing of the past goes along."""
        other = copy.copy(self)
        other.account = copy.copy(self.account)
        other.positions = {key: copy.copy(one) for key, one in self.positions.items()}
        other.working = dict(self.working)
        other.past, other.deals = [], []
        return other

    # -- what is booked ----------------------------------------------------

    def pay(self, amount: Decimal, comment: str) -> None:
        """Pay money in, or out."""
        deal = Deal(
            ticket=self.ticket(),
            order=0,
            time=self.now,
            type=BALANCE,
            entry=IN,
            magic=0,
            position_id=0,
            reason=0,
            volume=ZERO,
            price=ZERO,
            commission=ZERO,
            swap=ZERO,
            profit=amount,
            symbol="",
            comment=comment,
        )
        self._book(deal)

    def fill(
        self, order: Order, side: int, volume: Decimal, price: Decimal, closes: Position | None
    ) -> Deal:
        """Deal a volume for an order: close `closes`, or open, add, reduce, reverse."""
        order.left -= volume
        order.price_last = price
        one = closes or self.netted(order.symbol)
        if one is None:
            return self._open(order, side, volume, price)
        order.position_id = one.identifier
        if one.side == side:
            return self._add(one, order, volume, price)
        if volume <= one.volume:
            return self._reduce(one, order, side, volume, price, OUT)
        return self._reverse(one, order, side, volume, price)

    def finish(self, order: Order, state: int) -> None:
        """Move an order into history."""
        self.working.pop(order.ticket, None)
        order.state = state
        order.done = self.now
        self.past.append(order)

    def end(self, order: Order, state: int) -> None:
        """Let an order end without a fill: what it shows is the market of this moment."""
        order.price_last = self.opening_price(order.symbol, BUY if order.buys else SELL)
        self.finish(order, state)

    def filled(self, order: Order) -> None:
        self.finish(order, FILLED)

    def close_by(self, one: Position, other: Position, order: Order) -> None:
        """Let two opposite positions cancel each other's smaller volume."""
        volume = min(one.volume, other.volume)
        order.volume = volume
        order.price_last = other.price_open
        self._reduce(one, order, other.side, volume, other.price_open, OUT_BY)
        # At its own open price the other gains nothing: the first deal carries the whole profit.
        self._reduce(other, order, one.side, volume, other.price_open, OUT_BY)

    def known(self, identifier: int) -> Position | None:
        """Return the open position with that identifier."""
        same = (one for one in self.positions.values() if one.identifier == identifier)
        return next(same, None)

    def _open(self, order: Order, side: int, volume: Decimal, price: Decimal) -> Deal:
        identifier = order.ticket
        if any(deal.position_id == identifier for deal in self.deals):
            identifier = self.ticket()  # an earlier part opened one that is closed by now
        order.position_id = identifier
        symbol = self.tape.symbols[order.symbol]
        one = Position(
            ticket=identifier,
            identifier=identifier,
            symbol=order.symbol,
            side=side,
            volume=volume,
            price_open=price,
            lot_margin=self.lot_margin(symbol, price),
            sl=order.sl,
            tp=order.tp,
            sl_set=self.now,
            tp_set=self.now,
            opened=self.now,
            updated=self.now,
            magic=order.magic,
            comment=order.comment,
            reason=order.reason,
        )
        self.positions[one.ticket] = one
        return self._deal(one, order, side, volume, price, IN)

    def _add(self, one: Position, order: Order, volume: Decimal, price: Decimal) -> Deal:
        symbol = self.tape.symbols[order.symbol]
        total = one.volume + volume
        paid = one.price_open * one.volume + price * volume
        margins = one.lot_margin * one.volume + self.lot_margin(symbol, price) * volume
        one.price_open = average(paid / total)
        one.lot_margin = margins / total
        one.volume = total
        first = order.state != PARTIAL
        if first and order.sl != one.sl:
            one.sl, one.sl_set = order.sl, self.now
        if first and order.tp != one.tp:
            one.tp, one.tp_set = order.tp, self.now
        one.updated = self.now
        return self._deal(one, order, one.side, volume, price, IN)

    def _reduce(
        self,
        one: Position,
        order: Order,
        side: int,
        volume: Decimal,
        price: Decimal,
        entry: int,
    ) -> Deal:
        symbol = self.tape.symbols[one.symbol]
        profit = self.gain(symbol, one.side, volume, one.price_open, price)
        share = cents(one.swap * volume / one.volume)
        one.swap -= share
        one.volume -= volume
        one.updated = self.now
        if not one.volume:
            del self.positions[one.ticket]
        return self._deal(one, order, side, volume, price, entry, profit, share)

    def _reverse(
        self, one: Position, order: Order, side: int, volume: Decimal, price: Decimal
    ) -> Deal:
        symbol = self.tape.symbols[one.symbol]
        profit = self.gain(symbol, one.side, one.volume, one.price_open, price)
        share, one.swap = one.swap, ZERO
        del self.positions[one.ticket]
        one.ticket = order.ticket
        one.side = side
        one.volume = volume - one.volume
        one.price_open = price
        one.lot_margin = self.lot_margin(symbol, price)
        one.sl, one.tp = order.sl, order.tp
        one.sl_set = one.tp_set = one.updated = self.now
        self.positions[one.ticket] = one
        return self._deal(one, order, side, volume, price, INOUT, profit, share)

    def _deal(
        self,
        one: Position,
        order: Order,
        side: int,
        volume: Decimal,
        price: Decimal,
        entry: int,
        profit: Decimal = ZERO,
        swap: Decimal = ZERO,
    ) -> Deal:
        deal = Deal(
            ticket=self.ticket(),
            order=order.ticket,
            time=self.now,
            type=side,
            entry=entry,
            magic=order.magic,
            position_id=one.identifier,
            reason=order.reason,
            volume=volume,
            price=price,
            commission=-cents(self.account.commission_per_lot * volume / 2),
            swap=swap,
            profit=profit,
            symbol=one.symbol,
            comment=order.comment,
        )
        self._book(deal)
        return deal

    def _book(self, deal: Deal) -> None:
        self.deals.append(deal)
        self.account.balance += deal.total

    def closing_order(self, one: Position, reason: int, comment: str) -> Order:
        """Return the broker's own order to close a position."""
        return Order(
            ticket=self.ticket(),
            symbol=one.symbol,
            type=SELL if one.side == BUY else BUY,
            volume=one.volume,
            left=one.volume,
            price=ZERO,
            magic=one.magic,
            comment=comment,
            setup=self.now,
            reason=reason,
        )


def margin(lots: Iterable[Lots]) -> Decimal:
    """Return what all volume takes: the larger side of each symbol, summed, rounded once."""
    sides: dict[str, list[Decimal]] = {}
    for one in lots:
        side = sides.setdefault(one.symbol, [ZERO, ZERO])
        side[one.side] += one.volume * one.lot_margin
    return cents(sum((max(both) for both in sides.values()), ZERO))
