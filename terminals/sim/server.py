"""The simulated trade server: brokers by account, time, the state file, and the back office.

The methods here are no part of the MetaTrader5 module. They are for tests,
for chaos, and for whoever plays the broker's back office or the person at the
terminal. Any thread may call them.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from defence.broker import Direction
from defence.errors import Invalid, NotFound
from terminals import constants as mt5
from terminals.sim.book import Book, OpenPosition, SimAccount
from terminals.sim.broker import Broker
from terminals.sim.clock import MarketClock
from terminals.sim.dealing import Wish
from terminals.sim.demo import open_demo
from terminals.sim.market import Market, Price
from terminals.sim.state import Loaded, MarketMark, StateFile, restore

CATCH_UP_S: Final = 300.0  # for how long the market runs on while nobody is there, at most


class SimulatedServer:
    """What stands behind a simulated terminal."""

    def __init__(
        self,
        *,
        market: Market,
        now: Callable[[], float],
        speed: float,
        step: float,
        state: Path | None,
        reload_state: bool,
        demo: bool,
    ) -> None:
        """Load the state file or open a fresh account. Raises Invalid for a bad file or place."""
        self.market = market
        self._now = now
        self._lock = threading.RLock()
        self._clock = MarketClock(now, speed=speed, step=step)
        self._file = None if state is None else StateFile(state, market.specs)
        self._reload = reload_state
        self._connected = True
        self._reconnect_at: float | None = None
        self._autotrading = True
        self._trouble: str | None = None  # why the state file cannot be trusted or written
        self._saved: tuple[int, int] | None = None
        loaded = None if self._file is None else self._file.read()
        self._broker = self._begin(loaded)
        self._home = self._broker
        self._brokers = {self._key(self._broker): self._broker}
        if loaded is None and demo:
            open_demo(self._broker)
        self._save_first()

    # -- what tests look at ------------------------------------------------

    @property
    def market_time(self) -> float:
        """Market time that the broker has reached, in epoch seconds."""
        with self._lock:
            return self._broker.at_msc / 1000.0

    @property
    def over(self) -> bool:
        """Whether the recorded prices have been played to their end."""
        with self._lock:
            return self.market.over

    # -- the back office ---------------------------------------------------

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
            if not (math.isfinite(volume) and volume > 0.0):
                raise Invalid(
                    f"{volume!r} is no volume", field="volume", value=volume, remedy="above 0"
                )
            side = sides[direction]
            wish = Wish(
                symbol=symbol,
                type=side,
                volume=volume,
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
            self._broker.pin(symbol, bid, ask)
            self._save()

    def release_price(self, symbol: str) -> None:
        """Let the market's own quotes count again."""
        with self._lock:
            self._broker.unpin(symbol)

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
            key = (login, server)
            if key not in self._brokers:
                book = Book(account=SimAccount(login=login, server=server))
                book.explain(self._broker.at_msc)
                self._brokers[key] = Broker(book, self.market, self._broker.at_msc)
            self._broker = self._brokers[key]

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

    # -- inside; the caller holds the lock ---------------------------------

    def _refresh(self) -> None:
        """Take in what happened since the last look: edits of the file, time, connection."""
        if self._reconnect_at is not None and self._now() >= self._reconnect_at:
            self._connected, self._reconnect_at = True, None
        if self._reload and self._file is not None and self._file.changed():
            self._read_again(self._file)
        if self._connected:
            at, end = self._clock.msc, self.market.end_msc
            # A recording that is over stays at its end, so that it can be taken up there.
            at = at if end is None else min(at, end)
            for broker in self._brokers.values():
                broker.advance_to(at)
        self._save()

    def _begin(self, loaded: Loaded | None) -> Broker:
        """Start market and clock, and put the file's content into a book."""
        market = self.market
        mark = None if loaded is None else loaded.mark
        start = market.start_msc
        if mark is not None and mark.name == market.name:
            start = mark.time_msc
        if loaded is not None:
            start = market.begin(start, loaded.anchors())
        self._clock.begin(start)
        if mark is not None and start == mark.time_msc:
            away = min(max(0.0, self._now() - mark.wall), CATCH_UP_S)
            self._clock.advance(away * self._clock.speed)
        book = Book(account=SimAccount())
        broker = Broker(book, market, start)
        if loaded is None:
            book.explain(start)
        else:
            restore(book, loaded, self._quotes(broker), start)
        return broker

    def _quotes(self, broker: Broker) -> Mapping[str, Price | None]:
        return {symbol: broker.price(symbol) for symbol in self.market.specs}

    def _read_again(self, file: StateFile) -> None:
        """Take over what somebody else wrote; a file that makes no sense makes calls fail."""
        home = self._home
        try:
            loaded = file.read()
        except Invalid as error:
            self._trouble = str(error)
            return
        self._trouble = None
        if loaded is None:
            return
        old = self._key(home)
        restore(home.book, loaded, self._quotes(home), home.at_msc)
        home.book.changed()
        if self._key(home) != old:
            self._brokers[self._key(home)] = self._brokers.pop(old)

    def _save(self) -> None:
        """Write the home account's file if something in it changed; a failure is told by calls."""
        file, book = self._file, self._home.book
        state = (book.revision, len(book.deals))
        if file is None or state == self._saved or (self._reload and file.changed()):
            return  # a file that somebody else has just written is read before it is replaced
        try:
            self._write(file)
        except OSError as error:
            self._trouble = f"{file.path} cannot be written: {error}"
            return
        self._saved, self._trouble = state, None

    def _save_first(self) -> None:
        if self._file is None:
            return
        try:
            self._write(self._file)
        except OSError as error:
            raise Invalid(
                f"{self._file.path} cannot be written: {error}",
                field="sim_state",
                remedy="name a file in a folder that exists and can be written",
            ) from error
        self._saved = (self._home.book.revision, len(self._home.book.deals))

    def _write(self, file: StateFile) -> None:
        home = self._home
        for one in home.book.positions.values():
            home.value(one)
        quotes = self._quotes(home)
        prices = {symbol: price.mid for symbol, price in quotes.items() if price is not None}
        wall = self._now()
        file.write(
            home.book,
            MarketMark(name=self.market.name, time_msc=home.at_msc, wall=wall, prices=prices),
        )

    def _key(self, broker: Broker) -> tuple[int, str]:
        return broker.book.account.login, broker.book.account.server

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
