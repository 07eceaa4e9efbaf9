"""The simulated trade server: brokers by account, time, and the state file."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from defence.errors import Invalid
from terminals.sim.book import Book, SimAccount
from terminals.sim.broker import Broker
from terminals.sim.clock import MarketClock
from terminals.sim.conditions import Conditions
from terminals.sim.demo import open_demo
from terminals.sim.mark import MarketMark
from terminals.sim.market import Market
from terminals.sim.quotes import Price
from terminals.sim.state import Loaded, StateFile, restore

CATCH_UP_S: Final = 300.0  # for how long the market runs on while nobody is there, at most
# The file says how far the market was. One that dies without a word must not go back by more than
# it catches up, so the file is never older than this, in seconds of the caller's clock.
REWRITE_S: Final = 60.0
# So far all accounts are taken before any goes on: what a leap makes the market remember at once.
STRIDE_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a simulated broker is made of; `SimulatedTerminal` has the meanings."""

    market: Market
    now: Callable[[], float]
    speed: float
    step: float
    state: Path | None
    reload_state: bool
    demo: bool
    conditions: Conditions


class SimulatedServer:
    """What stands behind a simulated terminal."""

    def __init__(self, setup: Setup) -> None:
        """Load the state file or open a fresh account. Raises Invalid for a bad file or place."""
        state = setup.state
        self.market = setup.market
        self.conditions = setup.conditions
        self._now = setup.now
        self._lock = threading.RLock()
        self._clock = MarketClock(setup.now, speed=setup.speed, step=setup.step)
        self._file = None if state is None else StateFile(state, setup.market.specs)
        self._reload = setup.reload_state
        self._connected = True
        self._reconnect_at: float | None = None
        self._autotrading = True
        self._held: dict[str, tuple[float, float]] = {}  # quotes that the back office holds
        self._trouble: str | None = None  # why the state file cannot be trusted or written
        self._saved: tuple[int, int] | None = None
        self._wrote_at = setup.now()
        loaded = None if self._file is None else self._file.read()
        self._broker = self._begin(loaded)
        self._home = self._broker
        self._brokers = {self._key(self._broker): self._broker}
        self._passed_msc = self._broker.at_msc  # every account has seen all until then
        if loaded is None and setup.demo:
            open_demo(self._broker)
        self._save_first()

    # -- what tests look at ------------------------------------------------

    @property
    def market_time(self) -> float:
        """Market time that the broker has reached, in epoch seconds."""
        with self._lock:
            return self._broker.at_msc / 1000.0

    @property
    def account(self) -> tuple[int, str]:
        """Login and server of the account that it begins with; any password does."""
        with self._lock:
            account = self._home.book.account
            return account.login, account.server

    @property
    def over(self) -> bool:
        """Whether the recorded prices have been played to their end."""
        with self._lock:
            return self.market.over

    # -- inside; the caller holds the lock ---------------------------------

    def _refresh(self) -> None:
        """Take in what happened since the last look: edits of the file, time, connection."""
        if self._reconnect_at is not None and self._now() >= self._reconnect_at:
            self._connected, self._reconnect_at = True, None
        if self._reload and self._file is not None and self._file.changed():
            self._read_again(self._file)
        at, end = self._clock.msc, self.market.end_msc
        # A recording that is over stays at its end, so that it can be taken up there.
        self._pass_time(at if end is None else min(at, end))
        self._save()

    def _pass_time(self, upto_msc: int) -> None:
        """Let the brokers go on to a market time; without a connection what is seen stands.

        The market lets go of ticks only when every account has seen them.
        """
        if not self._connected:
            return
        brokers = self._brokers.values()
        while self._passed_msc < upto_msc:
            at = upto_msc
            # A recording is in memory anyhow, and who has nothing open looks at no tick.
            made = self.market.end_msc is None
            if made and any(one.book.positions or one.book.orders for one in brokers):
                at = min(self._passed_msc + STRIDE_MS, upto_msc)
            for broker in brokers:
                broker.advance_to(at)
            self._passed_msc = at
            self.market.play(at)

    def _begin(self, loaded: Loaded | None) -> Broker:
        """Start market and clock, and put the file's content into a book."""
        market = self.market
        mark = None if loaded is None else loaded.mark
        start = market.start_msc
        if mark is not None and mark.name == market.name:
            start = mark.time_msc
        if loaded is not None:
            start = market.begin(start, loaded.anchors(), loaded.origins())
        self._clock.begin(start)
        if mark is not None and start == mark.time_msc:
            away = min(max(0.0, self._now() - mark.wall), CATCH_UP_S)
            self._clock.advance(away * self._clock.speed)
        book = Book(account=SimAccount())
        broker = Broker(book, market, start, self.conditions)
        if loaded is None:
            book.explain(start)
        else:
            restore(book, loaded, self._quotes(broker), start)
            broker.await_all_anew()
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
        home.await_all_anew()
        home.book.changed()
        if self._key(home) != old:
            self._brokers[self._key(home)] = self._brokers.pop(old)

    def _save(self) -> None:
        """Write the home account's file if it is not so any more; a failure is told by calls."""
        file, book = self._file, self._home.book
        if file is None:
            return
        state = (book.revision, len(book.deals))
        # Without a connection market time stands still, and there is nothing newer to write.
        old = self._connected and self._now() - self._wrote_at >= REWRITE_S
        if (state == self._saved and not old) or (self._reload and file.changed()):
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
        origins = self.market.origins()
        mark = MarketMark(
            name=self.market.name,
            time_msc=home.at_msc,
            wall=wall,
            prices=prices,
            origins={at: one for at, one in origins.items() if not home.pinned(at)},
        )
        file.write(home.book, mark)
        self._wrote_at = wall

    def _key(self, broker: Broker) -> tuple[int, str]:
        return broker.book.account.login, broker.book.account.server
