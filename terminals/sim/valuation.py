"""What the simulated broker's account is worth: quotes, conversion, profit and margin.

Revaluing costs by the symbol, not by the position (see `terminals.sim.lines`).
"""

from __future__ import annotations

from typing import Final

from terminals import constants as mt5
from terminals.sim.book import Book, OpenPosition
from terminals.sim.conditions import IDEAL, Conditions
from terminals.sim.lines import Line, plain_row
from terminals.sim.market import Market, Price
from terminals.sim.money import Money, cents, margin_of_lot
from terminals.sim.symbols import SymbolSpec, conversion, known_symbol
from terminals.sim.working import PENDING_TYPES
from terminals.sim.zone import BrokerZone
from terminals.structs import TradePosition

_SIDES: Final = (mt5.ORDER_TYPE_BUY, mt5.ORDER_TYPE_SELL)
_MOST: Final = 1e15  # beyond it a double knows no cents


class Valuation:
    """An account at a market, at a market time (`at_msc`, UTC)."""

    def __init__(
        self, book: Book, market: Market, at_msc: int, conditions: Conditions = IDEAL
    ) -> None:
        """Begin at a market time. Raises Invalid for a zone that this machine does not know."""
        self.book = book
        self.market = market
        self.at_msc = at_msc
        self.conditions = conditions
        self.zone = BrokerZone(conditions.zone)
        self.selected: set[str] = set(market.specs)
        self._pins: dict[str, Price] = {}
        self._by_stem = {known_symbol(name) or name: name for name in market.specs}
        self._lines: dict[str, tuple[tuple[int, int], Line]] = {}
        self._shown: tuple[list[list[TradePosition]], tuple[TradePosition, ...]] = ([], ())

    # -- prices ------------------------------------------------------------

    def price(self, symbol: str) -> Price | None:
        """Return the newest quote: the pinned one, else the market's."""
        return self._pins.get(symbol) or self.market.price(symbol, self.at_msc)

    def is_open(self, symbol: str) -> bool:
        """Whether the symbol trades now; a pinned quote trades."""
        return symbol in self._pins or self.market.is_open(symbol, self.at_msc)

    def pinned(self, symbol: str) -> bool:
        """Whether somebody has set the symbol's price."""
        return symbol in self._pins

    def mid(self, stem: str) -> float | None:
        """Return the mid price of a symbol by its six letters, to convert money by."""
        symbol = self._by_stem.get(stem)
        price = None if symbol is None else self.price(symbol)
        return None if price is None else price.mid

    def rate(self, spec: SymbolSpec) -> float:
        """Return what one unit of the symbol's profit currency is worth in the account's."""
        return self.rate_of(spec.profit)

    def rate_of(self, currency: str) -> float:
        """Return what one unit of a currency is worth in the account's."""
        return conversion(currency, self.book.account.currency, self.mid)

    # -- one position, one lot ---------------------------------------------

    def profit_of(self, one: OpenPosition, price: float, volume: float) -> float:
        """Return what a volume of a position gains at a price, unrounded."""
        spec = self.market.specs[one.symbol]
        return _gain(spec, one.sign * volume, one.price_open, price, self.rate(spec))

    def value(self, one: OpenPosition) -> None:
        """Bring a position's price and floating profit up to date."""
        price = self.price(one.symbol)
        if price is not None:
            one.price_current = price.bid if one.sign > 0 else price.ask
            one.profit = cents(self.profit_of(one, one.price_current, one.volume))

    def lot_margin(self, symbol: str, price: float) -> float:
        """Return the margin that a lot dealt at a price takes, unrounded."""
        account = self.book.account
        return margin_of_lot(
            self.market.specs[symbol],
            price,
            currency=account.currency,
            leverage=account.leverage,
            rate=self.rate_of,
        )

    def calc_margin(self, action: int, symbol: str, volume: float, price: float) -> float | None:
        """Return the margin of a deal by itself; None for an unknown symbol or type, or no sum.

        `action` is a market or a pending type, one as good as the other: as if it were dealt at
        `price` now. What is open already means nothing.
        """
        if symbol not in self.market.specs or action not in (*_SIDES, *PENDING_TYPES):
            return None
        return _plain(volume * self.lot_margin(symbol, price))

    def calc_profit(
        self, action: int, symbol: str, volume: float, price_open: float, price_close: float
    ) -> float | None:
        """Return the profit of a deal that opens and one that closes; None as `calc_margin`.

        `action` is ORDER_TYPE_BUY or ORDER_TYPE_SELL.
        """
        spec = self.market.specs.get(symbol)
        if spec is None or action not in _SIDES:
            return None
        size = volume if action == mt5.ORDER_TYPE_BUY else -volume
        return _plain(_gain(spec, size, price_open, price_close, self.rate(spec)))

    # -- the account -------------------------------------------------------

    def line(self, symbol: str) -> Line:
        """Return the positions of a symbol, of which there is one at least."""
        positions = self.book.positions
        version = positions.version(symbol)
        known = self._lines.get(symbol)
        if known is not None and known[0] == version:
            return known[1]
        rows = tuple(positions.of(symbol).values())
        for one in rows:
            if not one.margin:  # put into the book by hand: as if it were dealt now at its price
                one.margin = self.lot_margin(symbol, one.price_open)
        line = Line(self.market.specs[symbol], rows)
        self._lines[symbol] = version, line
        return line

    def money(self) -> Money:
        """Return the account's numbers now."""
        profit = margin = 0.0
        for symbol in self.book.positions.symbols:
            line, price = self.line(symbol), self.price(symbol)
            margin += line.margin
            profit += line.swap
            if price is not None:
                profit += line.worth(price, self.rate(line.spec)).profit
        return Money.of(self.book.account.balance, profit, margin)

    def margins(self, symbol: str) -> tuple[tuple[float, float], float]:
        """Return the margin of a symbol's two sides, and that of all others; unrounded."""
        own, elsewhere = (0.0, 0.0), 0.0
        for name in self.book.positions.symbols:
            if name == symbol:
                own = self.line(name).margins
            else:
                elsewhere += self.line(name).margin
        return own, elsewhere

    def rows(self) -> tuple[TradePosition, ...]:
        """Return the open positions as a terminal shows them, with times of the broker's wall."""
        wall = self.zone.to_wall_msc
        parts = []
        for symbol in self.book.positions.symbols:
            line, price = self.line(symbol), self.price(symbol)
            if price is None:
                parts.append([plain_row(one, wall) for one in line.positions])
            else:
                parts.append(line.rows(price, self.rate(line.spec), wall))
        known, shown = self._shown
        if len(parts) != len(known) or any(a is not b for a, b in zip(parts, known, strict=True)):
            by_ticket = {row[0]: row for part in parts for row in part}
            shown = tuple(map(by_ticket.__getitem__, self.book.positions))
            self._shown = parts, shown
        return shown


def _plain(money: float) -> float | None:
    """Return calculated money rounded; None for what is no number, or none that has cents."""
    return cents(money) if abs(money) < _MOST else None


def _gain(spec: SymbolSpec, size: float, opened: float, closed: float, rate: float) -> float:
    return (closed - opened) * size * spec.contract_size * rate
