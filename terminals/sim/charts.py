"""The simulated terminal's functions for prices: bars, ticks, depth of market."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

from terminals.protocol import Rates
from terminals.sim.asking import CALL_FAILED, NONE_OPEN, Asking
from terminals.sim.calls import INVALID_PARAMS, NOT_FOUND, SUCCESS, FailError
from terminals.sim.rates import (
    RATES,
    TICKS,
    TIMEFRAMES,
    Rows,
    bars_from,
    bars_from_pos,
    bars_range,
    ticks_from,
    ticks_range,
)
from terminals.structs import BookInfo

_COPY: Final = {-1, 1, 2}  # COPY_TICKS_ALL, COPY_TICKS_INFO, COPY_TICKS_TRADE


class Charts(Asking):
    """Reading prices of the past, and the depth of market."""

    # -- bars

    def copy_rates_from_pos(self, *arguments: Any) -> Rates | None:
        """Return bars of the bid as a structured array, oldest first."""

        def work(symbol: str, timeframe: int, start_pos: int, count: int) -> Rows:
            _check(timeframe in TIMEFRAMES and start_pos >= 0 and count > 0)
            at, zone = self._broker.at_msc, self._zone
            return bars_from_pos(self.market, symbol, timeframe, start_pos, count, at, zone)

        return self._copied("copy_rates_from_pos", arguments, work, RATES)

    def copy_rates_from(self, *arguments: Any) -> Rates | None:
        """Return the bars that opened at a date or before it, the newest `count` of them."""

        def work(symbol: str, timeframe: int, date_from: float, count: int) -> Rows:
            _check(timeframe in TIMEFRAMES and count > 0)
            at, zone = self._broker.at_msc, self._zone
            return bars_from(self.market, symbol, timeframe, date_from, count, at, zone)

        return self._copied("copy_rates_from", arguments, work, RATES)

    def copy_rates_range(self, *arguments: Any) -> Rates | None:
        """Return the bars that opened between two dates."""

        def work(symbol: str, timeframe: int, date_from: float, date_to: float) -> Rows:
            _check(timeframe in TIMEFRAMES)
            at, zone = self._broker.at_msc, self._zone
            return bars_range(self.market, symbol, timeframe, date_from, date_to, at, zone)

        return self._copied("copy_rates_range", arguments, work, RATES)

    # -- ticks

    def copy_ticks_from(self, *arguments: Any) -> Rates | None:
        """Return the first `count` ticks from a date on."""

        def work(symbol: str, date_from: float, count: int, flags: int) -> Rows:
            _check(count > 0 and flags in _COPY)
            at, zone = self._broker.at_msc, self._zone
            return ticks_from(self.market, symbol, date_from, count, flags, at, zone)

        return self._copied("copy_ticks_from", arguments, work, TICKS)

    def copy_ticks_range(self, *arguments: Any) -> Rates | None:
        """Return the ticks between two dates."""

        def work(symbol: str, date_from: float, date_to: float, flags: int) -> Rows:
            _check(flags in _COPY)
            at, zone = self._broker.at_msc, self._zone
            return ticks_range(self.market, symbol, date_from, date_to, flags, at, zone)

        return self._copied("copy_ticks_range", arguments, work, TICKS)

    def _copied(
        self, name: str, arguments: tuple[Any, ...], copy: Callable[..., Rows], dtype: np.dtype[Any]
    ) -> Rates | None:
        asked = self._asked(name, arguments, {})
        if asked is None:
            return None
        symbol, *rest = asked.unnamed

        def work() -> Rates:
            return copy(self._known(symbol), *rest)

        return self._call(name, work, None, empty=np.zeros(0, dtype=dtype), about=symbol)

    # -- depth of market

    def market_book_add(self, *symbol: str) -> bool | None:
        """Subscribe to a symbol's depth of market."""

        def work(name: str) -> bool:
            if not self.market.book(self._in_watch(name), self._broker.at_msc):
                raise FailError(CALL_FAILED)
            self._subscribed.add(name)
            return True

        return self._on_book("market_book_add", symbol, work)

    def market_book_release(self, *symbol: str) -> bool | None:
        """End the subscription to a symbol's depth of market."""

        def work(name: str) -> bool:
            if name not in self._subscribed:
                raise FailError(CALL_FAILED)
            self._subscribed.discard(name)
            return True

        return self._on_book("market_book_release", symbol, work)

    def market_book_get(self, *symbol: str) -> tuple[BookInfo, ...] | None:
        """Return a subscribed symbol's depth of market, the highest price first."""
        asked = self._asked("market_book_get", symbol, {})
        if asked is None:
            return None
        (name,) = asked.unnamed

        def work() -> tuple[BookInfo, ...]:
            if name not in self._subscribed:
                raise FailError(CALL_FAILED)
            levels = self.market.book(self._known(name), self._broker.at_msc)
            return tuple(
                BookInfo(type=kind, price=price, volume=round(volume), volume_dbl=volume)
                for kind, price, volume in levels
            )

        return self._call("market_book_get", work, None, empty=NONE_OPEN)

    def _on_book(
        self, name: str, symbol: tuple[str, ...], work: Callable[[str], bool]
    ) -> bool | None:
        asked = self._asked(name, symbol, {})
        if asked is None:
            return None
        (chosen,) = asked.unnamed
        done = self._call(name, lambda: work(chosen), False)
        if not done:
            with self._lock:
                self._error = SUCCESS  # these two functions of the package never say why
        return done

    def _in_watch(self, symbol: str) -> str:
        if self._known(symbol) not in self._broker.selected:
            raise FailError(NOT_FOUND)
        return symbol


def _check(fits: bool) -> None:
    if not fits:
        raise FailError(INVALID_PARAMS)
