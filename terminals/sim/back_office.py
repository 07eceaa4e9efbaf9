"""The back office of the simulated broker, and the person at its terminal.

The methods here are no part of the MetaTrader5 module. They are for tests, for
chaos, and for whoever plays the one or the other. Any thread may call them.
"""

from __future__ import annotations

import math

from defence.broker import Direction
from defence.errors import Invalid, NotFound
from terminals import constants as mt5
from terminals.sim.book import Book, OpenPosition, SimAccount
from terminals.sim.broker import Broker
from terminals.sim.dealing import Wish
from terminals.sim.document import LARGEST
from terminals.sim.market import Market
from terminals.sim.quotes import Price
from terminals.sim.server import SimulatedServer


class BackOffice(SimulatedServer):
    """What people can do to the broker and at the terminal."""

    def open_position(
        self,
        symbol: str,
        direction: Direction | str,
        volume: float,
        sl: float = 0.0,
        tp: float = 0.0,
        magic: int = 0,
        comment: str = "",
    ) -> int:
        """Open a position at the market as a person would, unchecked; return its ticket.

        Raises Invalid for an unknown symbol or direction, a volume that is
        not above 0, or a symbol without a price.
        """
        with self._lock:
            self._refresh()
            price = self._price(symbol)
            sides = {"BUY": mt5.ORDER_TYPE_BUY, "SELL": mt5.ORDER_TYPE_SELL}
            if direction not in sides:
                raise Invalid(
                    f"{direction!r} is no direction",
                    field="direction",
                    value=direction,
                    remedy="BUY or SELL",
                )
            if not (math.isfinite(volume) and round(volume, 8) > 0.0):
                raise Invalid(
                    f"{volume!r} is no volume", field="volume", value=volume, remedy="above 0"
                )
            side = sides[direction]
            wish = Wish(
                symbol=symbol,
                type=side,
                volume=round(volume, 8),
                price=price.ask if side == mt5.ORDER_TYPE_BUY else price.bid,
                sl=sl,
                tp=tp,
                magic=magic,
                comment=comment,
                reason=mt5.DEAL_REASON_CLIENT,
            )
            order = self._broker.deal(wish).order
            self._save()
            if order in self._broker.book.positions:
                return order
            one = self._broker.book.position_of(symbol)  # netted into an older one, or gone
            return order if one is None else one.ticket

    def close_position(self, ticket: int, volume: float | None = None) -> None:
        """Close a position, or a part of it, as a person would. Raises NotFound."""
        with self._lock:
            self._refresh()
            one = self._position(ticket)
            part = one.volume if volume is None else min(volume, one.volume)
            self._broker.close(one, part, reason=mt5.DEAL_REASON_CLIENT)
            self._save()

    def modify(self, ticket: int, sl: float | None = None, tp: float | None = None) -> None:
        """Change a position's levels as a person would; None leaves one, 0 removes it."""
        with self._lock:
            self._refresh()
            one = self._position(ticket)
            self._broker.set_levels(one, one.sl if sl is None else sl, one.tp if tp is None else tp)
            self._save()

    def change_ticket(self, identifier: int, new_ticket: int) -> None:
        """Give a position another ticket, as brokers do at a rollover. Raises NotFound, Invalid."""
        with self._lock:
            self._refresh()
            book = self._broker.book
            one = book.by_identifier(identifier)
            if one is None:
                raise NotFound(f"no position with identifier {identifier}", field="identifier")
            if not 0 < new_ticket < LARGEST:
                what = f"{new_ticket} is no ticket"
                raise Invalid(what, field="new_ticket", value=new_ticket, remedy="above 0")
            if new_ticket in book.positions and new_ticket != one.ticket:
                raise Invalid(f"ticket {new_ticket} exists", field="new_ticket", value=new_ticket)
            book.positions.pop(one.ticket)
            one.ticket = new_ticket
            book.positions[new_ticket] = one
            book.renumber()
            book.changed()
            self._save()

    def vanish(self, ticket: int) -> None:
        """Take a position away without any deal, as no broker should. Raises NotFound."""
        with self._lock:
            self._refresh()
            self._position(ticket)
            del self._broker.book.positions[ticket]
            self._broker.book.changed()
            self._save()

    def deposit(self, amount: float) -> None:
        """Pay money in, or out if negative, by a balance operation."""
        with self._lock:
            self._refresh()
            book = self._broker.book
            book.account.balance = round(book.account.balance + amount, 2)
            book.explain(self._broker.at_msc)
            book.changed()
            self._save()

    def set_price(self, symbol: str, bid: float, ask: float) -> None:
        """Hold a symbol's quote there until `release_price`; it triggers what it reaches."""
        with self._lock:
            self._refresh()
            if symbol not in self.market.specs:
                raise _unknown_symbol(symbol, self.market)
            if not (math.isfinite(ask) and 0.0 < bid <= ask):
                raise Invalid(
                    f"bid {bid!r}, ask {ask!r} are no quote",
                    field="bid",
                    value=bid,
                    remedy="give 0 < bid <= ask",
                )
            self._held[symbol] = (bid, ask)
            for broker in self._brokers.values():
                broker.pin(symbol, bid, ask)
            self._save()

    def release_price(self, symbol: str) -> None:
        """Let the market's own quotes count again."""
        with self._lock:
            self._refresh()  # the quote was held until now: what the market did meanwhile is over
            self._held.pop(symbol, None)
            for broker in self._brokers.values():
                broker.unpin(symbol)

    def advance(self, seconds: float) -> None:
        """Let market time run on by so many seconds."""
        with self._lock:
            self._clock.advance(seconds)
            self._refresh()

    def disconnect(self, seconds: float | None = None) -> None:
        """Lose the broker: `connected` is false and what is seen stands still.

        For so many seconds of the caller's clock, or until `reconnect`. The
        broker itself goes on, which shows when the connection is back.
        """
        with self._lock:
            self._refresh()
            self._connected = False
            self._reconnect_at = None if seconds is None else self._now() + seconds

    def reconnect(self) -> None:
        """Find the broker again."""
        with self._lock:
            self._connected = True
            self._reconnect_at = None
            self._refresh()

    def switch_account(self, login: int, server: str) -> None:
        """Log the terminal in to another account, as a person at the terminal can.

        An account that was never seen is empty, with the demonstration's money.
        The state file stays that of the first account.
        """
        with self._lock:
            self._refresh()
            self._switch(login, server)

    def set_autotrading(self, enabled: bool) -> None:
        """Press the Algo Trading button; without it orders get 10027."""
        with self._lock:
            self._autotrading = enabled

    def set_trading(self, *, allowed: bool = True, expert: bool = True) -> None:
        """Say whether the account may trade at all (10017) and by programs (10026)."""
        with self._lock:
            account = self._broker.book.account
            account.trade_allowed, account.trade_expert = allowed, expert
            self._broker.book.changed()
            self._save()

    # -- inside

    def _switch(self, login: int, server: str) -> None:
        key = (login, server)
        if key not in self._brokers:
            at = self._broker.at_msc
            book = Book(account=SimAccount(login=login, server=server))
            book.explain(at)
            self._brokers[key] = broker = Broker(book, self.market, at, self.conditions)
            for symbol, (bid, ask) in self._held.items():
                broker.pin(symbol, bid, ask)
        self._broker = self._brokers[key]

    def _position(self, ticket: int) -> OpenPosition:
        one = self._broker.book.positions.get(ticket)
        if one is None:
            raise NotFound(f"no open position with ticket {ticket}", field="ticket", value=ticket)
        return one

    def _price(self, symbol: str) -> Price:
        if symbol not in self.market.specs:
            raise _unknown_symbol(symbol, self.market)
        price = self._broker.price(symbol)
        if price is None:
            raise Invalid(f"{symbol} has no price yet", field="symbol", value=symbol)
        return price


def _unknown_symbol(symbol: str, market: Market) -> Invalid:
    return Invalid(
        f"{symbol!r} is no symbol of this market",
        field="symbol",
        value=symbol,
        remedy=f"one of {', '.join(sorted(market.specs))}",
    )
