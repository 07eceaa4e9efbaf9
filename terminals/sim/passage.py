"""How time passes at the simulated broker: rollovers, ends of orders' lives, and every tick.

A span with nothing to decide is seen by its extremes alone: no level is
reached, and the equity cannot fall (or rise) to where something happens. A
span of which that cannot be said is halved until it can, or until it is short
enough to be walked tick by tick; so what comes of it does not depend on how
the market is stepped through.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from terminals import constants as mt5
from terminals.sim.book import Book, OpenPosition
from terminals.sim.conditions import IDEAL, Conditions
from terminals.sim.desk import Desk
from terminals.sim.lines import Extremes, Gates, extremes, gates
from terminals.sim.market import Market, Price, Ticks
from terminals.sim.money import Money, cents, nights, swap_of_night, weekday_before
from terminals.sim.symbols import SymbolSpec, conversion
from terminals.sim.working import due_of, reached

SHORT: Final = 48  # ticks that are walked one by one without halving their span again
_LEVEL_SLACK: Final = 0.01  # percent: so near to a level every tick is looked at


class Passage(Desk):
    """A broker that lives from one market time to the next."""

    def __init__(
        self, book: Book, market: Market, at_msc: int, conditions: Conditions = IDEAL
    ) -> None:
        """Begin at a market time. Raises Invalid for a zone that this machine does not know."""
        super().__init__(book, market, at_msc, conditions)
        self._midnight = self.zone.next_midnight(at_msc)  # the next rollover
        self._called = False  # the margin call has been told
        self._expiry: tuple[int, int | None] = (-1, None)  # at a revision, the first to come
        self._gates: dict[str, tuple[tuple[int, int, int, int], Gates]] = {}

    def advance_to(self, at_msc: int) -> None:
        """Live on to a market time and do what happens until then.

        The market is not told (`Market.play`): other accounts may still have to see those ticks.
        """
        if at_msc <= self.at_msc:
            return
        while (due := self._next_due()) is not None and due <= at_msc:
            self._run(due - 1)
            if self.conditions.swaps and due == self._midnight:
                self._roll_over(due)
            self._expire(due)
        self._run(at_msc)

    def pin(self, symbol: str, bid: float, ask: float) -> None:
        """Hold a quote until `unpin`, and let it trigger what it reaches."""
        self.advance_to(self.at_msc + 1)  # a new quote is a new moment
        quote = self._pins[symbol] = Price(self.at_msc, bid, ask)
        self._tick(symbol, quote)

    def unpin(self, symbol: str) -> None:
        """Let the market's quotes count again, from now on."""
        self._pins.pop(symbol, None)

    # -- what is due -------------------------------------------------------

    def _next_due(self) -> int | None:
        """Return when the next rollover is, or the end of an order's life."""
        expiry = self._first_expiry()
        if not self.conditions.swaps:
            return expiry
        return self._midnight if expiry is None else min(expiry, self._midnight)

    def _first_expiry(self) -> int | None:
        revision = self.book.revision
        if self._expiry[0] != revision:
            orders = self.book.orders.values()
            ends = [due_of(one.type_time, one.time_expiration, self.zone) for one in orders]
            self._expiry = revision, min((one for one in ends if one is not None), default=None)
        return self._expiry[1]

    def _expire(self, now_msc: int) -> None:
        for order in sorted(self.book.orders.values(), key=lambda one: one.ticket):
            due = due_of(order.type_time, order.time_expiration, self.zone)
            if due is not None and due <= now_msc:
                self.finish(order, mt5.ORDER_STATE_EXPIRED, due)

    def _roll_over(self, midnight: int) -> None:
        """Charge the night that ends; quotes are those before the ticks of midnight."""
        self._midnight = self.zone.next_midnight(midnight)
        weekday = weekday_before(self.zone.to_wall_msc(midnight))
        for symbol in tuple(self.book.positions.symbols):
            spec, price = self.market.specs[symbol], self.price(symbol)
            times = nights(spec, weekday)
            if price is None or not times:
                continue
            for one in self.book.positions.of(symbol).values():
                night = swap_of_night(
                    spec,
                    long=one.sign > 0,
                    volume=one.volume,
                    price=price.bid if one.sign > 0 else price.ask,
                    price_open=one.price_open,
                    rate=self.rate_of,
                )
                one.swap = cents(one.swap + cents(night * times))
            self.book.changed(symbol)
            self.tell("rollover", f"{symbol}: swap of {times} night(s)", midnight)

    # -- ticks -------------------------------------------------------------

    def _run(self, upto_msc: int) -> None:
        """See every tick up to a time, and be there."""
        if upto_msc <= self.at_msc:
            return
        if not (self.book.positions or self.book.orders):
            self.at_msc = upto_msc
            return
        spans = self._spans(self._watched(), upto_msc)
        if self._quiet(spans):
            self.at_msc = upto_msc
            return
        if upto_msc - self.at_msc > 1:
            if sum(len(ticks.time_msc) for ticks in spans.values()) <= SHORT:
                spans = self._spans(set(self.market.specs), upto_msc)
            if sum(len(ticks.time_msc) for ticks in spans.values()) > SHORT:
                self._run((self.at_msc + upto_msc) // 2)
                self._run(upto_msc)
                return
        self._walk(upto_msc)

    def _watched(self) -> set[str]:
        """Return the symbols that positions or orders are in, or whose quotes convert money."""
        positions = self.book.positions.symbols
        watched = {*positions, *self.book.orders.symbols}
        for symbol in positions:
            watched.update(self._converters(self.market.specs[symbol].profit))
        return watched

    def _converters(self, currency: str) -> list[str]:
        own = self.book.account.currency
        if currency == own:
            return []
        names = (self._by_stem.get(currency + own), self._by_stem.get(own + currency))
        return [name for name in names if name is not None]

    def _spans(self, symbols: set[str], upto_msc: int) -> dict[str, Ticks]:
        found = {}
        for symbol in symbols - self._pins.keys():
            ticks = self.market.ticks(symbol, self.at_msc, upto_msc)
            if len(ticks.time_msc):
                found[symbol] = ticks
        return found

    def _quiet(self, spans: Mapping[str, Ticks]) -> bool:
        """Whether nothing can happen in spans of ticks that begin now."""
        outer = {symbol: extremes(ticks) for symbol, ticks in spans.items()}
        for symbol, span in outer.items():
            if not self.gates(symbol).shut(span):
                return False
        return self._margin_holds(outer)

    def gates(self, symbol: str) -> Gates:
        """Return the quotes between which nothing of a symbol triggers."""
        positions, orders = self.book.positions, self.book.orders
        version = (*positions.version(symbol), *orders.version(symbol))
        known = self._gates.get(symbol)
        if known is not None and known[0] == version:
            return known[1]
        found = gates(positions.of(symbol).values(), orders.of(symbol).values())
        self._gates[symbol] = version, found
        return found

    def _margin_holds(self, spans: Mapping[str, Extremes]) -> bool:
        """Whether the margin level stays on its side of margin call and stop-out."""
        account = self.book.account
        low = high = account.balance
        margin = 0.0
        for symbol in self.book.positions.symbols:
            line, price = self.line(symbol), self.price(symbol)
            margin += line.margin
            low, high = low + line.swap, high + line.swap
            span = _with(spans.get(symbol), price)
            if span is None:
                continue
            bounds = line.bounds(span, self._rates(line.spec, spans))
            low, high = low + bounds[0], high + bounds[1]
        margin = cents(margin)
        if not margin:
            return True
        least, most = low / margin * 100.0, high / margin * 100.0
        if least < account.stop_out_level + _LEVEL_SLACK:
            return False
        if self._called:
            return most < account.margin_call_level - _LEVEL_SLACK
        return least >= account.margin_call_level + _LEVEL_SLACK

    def _rates(self, spec: SymbolSpec, spans: Mapping[str, Extremes]) -> tuple[float, float]:
        """Return between what the conversion of a symbol's profit stays."""
        own = self.book.account.currency
        if spec.profit == own:
            return 1.0, 1.0

        def outermost(highest: bool) -> float:
            def mid(stem: str) -> float | None:
                symbol = self._by_stem.get(stem)
                span = None if symbol is None else spans.get(symbol)
                if span is None:
                    return self.mid(stem)
                if highest:
                    return (span.bid_high + span.ask_high) / 2.0
                return (span.bid_low + span.ask_low) / 2.0

            return conversion(spec.profit, own, mid)

        found = self.rate(spec), outermost(False), outermost(True)
        return min(found), max(found)

    def _walk(self, upto_msc: int) -> None:
        """Go through all ticks up to a time, one after the other, as docs/broker.md says."""
        steps: list[tuple[int, str, float, float]] = []
        for symbol, ticks in sorted(self._spans(set(self.market.specs), upto_msc).items()):
            columns = ticks.time_msc.tolist(), ticks.bid.tolist(), ticks.ask.tolist()
            steps += [(at, symbol, bid, ask) for at, bid, ask in zip(*columns, strict=True)]
        steps.sort(key=lambda step: step[0])
        for at, symbol, bid, ask in steps:
            self.at_msc = at
            self._tick(symbol, Price(at, bid, ask))
        self.at_msc = upto_msc

    def _tick(self, symbol: str, quote: Price) -> None:
        bid, ask = quote.bid, quote.ask
        if not self.gates(symbol).shut(Extremes(bid, bid, ask, ask)):
            for ticket in sorted(self.book.orders.of(symbol)):
                order = self.book.orders[ticket]
                if self.waits_since(order) < self.at_msc and reached(order, bid, ask):
                    self.activate(order, quote)
            for ticket in sorted(self.book.positions.of(symbol)):
                self._meet(self.book.positions[ticket], quote)
        if self.book.positions:
            self._watch_margin()

    def _meet(self, one: OpenPosition, quote: Price) -> None:
        """Close a position whose stop or target the quote reaches; the stop counts first."""
        price = quote.bid if one.sign > 0 else quote.ask
        now, sign = self.at_msc, one.sign
        if one.sl and one.sl_msc < now and (price - one.sl) * sign <= 0.0:
            self.hit(one, mt5.DEAL_REASON_SL, price)
        elif one.tp and one.tp_msc < now and (price - one.tp) * sign >= 0.0:
            self.hit(one, mt5.DEAL_REASON_TP, price)

    def _watch_margin(self) -> None:
        account, money = self.book.account, self.money()
        self._tell_call(money)
        while money.under(account.stop_out_level):
            if not self.close_worst(money):
                return
            money = self.money()

    def _tell_call(self, money: Money) -> None:
        called = money.under(self.book.account.margin_call_level)
        if called and not self._called:
            self.tell("margin call", f"margin level {money.margin_level:.2f} %")
        self._called = called


def _with(span: Extremes | None, price: Price | None) -> Extremes | None:
    """Return a span's extremes with a quote that stands before it."""
    if price is None:
        return span
    if span is None:
        return Extremes(price.bid, price.bid, price.ask, price.ask)
    return Extremes(
        min(span.bid_low, price.bid),
        max(span.bid_high, price.bid),
        min(span.ask_low, price.ask),
        max(span.ask_high, price.ask),
    )
