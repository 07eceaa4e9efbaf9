"""What a terminal shows wrongly, while its broker knows better.

Quotes of zero, crossed, shown twice or out of order; a server clock that is
wrong; another account's name; deals that have not reached the history yet.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from terminals.sim.effects import Effect
from terminals.sim.faults import Fault
from terminals.sim.quotes import Price
from terminals.sim.script import Spell
from terminals.structs import AccountInfo, Struct, SymbolInfo, Tick, TradeDeal, changed

# What is shown wrongly for as long as its spell lasts; late deals are late beyond its end.
ON_SCREEN: Final = (
    Effect.ZERO,
    Effect.CROSSED,
    Effect.REPEAT,
    Effect.REORDER,
    Effect.SKEW,
)
# Stamps of the server's clock, in seconds and in milliseconds.
_SECONDS: Final = ("time", "time_update", "time_setup", "time_done")
_MILLIS: Final = ("time_msc", "time_update_msc", "time_setup_msc", "time_done_msc")


def of_another_account(account: AccountInfo, fault: Fault) -> AccountInfo:
    """Return the account under another name: the fault's, else the next login."""
    login = account.login + 1 if fault.login is None else fault.login
    return changed(account, login=login, server=fault.server or account.server)


class Screen:
    """Shows answers as spells have them; remembers what it has shown.

    `quote(symbol, lag)` gives the quote of `lag` seconds ago, `made()` the
    market time at which each deal was made, by ticket, and `to_wall(msc)` what
    the server's clock shows.
    """

    def __init__(
        self,
        *,
        quote: Callable[[str, float], Price | None],
        made: Callable[[], Mapping[int, int]],
        to_wall: Callable[[int], int],
    ) -> None:
        """Have shown nothing yet."""
        self._quote = quote
        self._made = made
        self._to_wall = to_wall
        self._shown: dict[str, Tick] = {}
        self._looks: dict[tuple[Effect, str], int] = {}

    def show(self, answer: Any, about: str | None, spells: Sequence[Spell], at_msc: int) -> Any:
        """Return an answer as it is shown; `about` is the symbol that was asked for."""
        for one in spells:
            answer = self._spoil(answer, about, one, at_msc)
        if isinstance(answer, Tick) and about is not None:
            self._shown[about] = answer
        return answer

    def _spoil(self, answer: Any, about: str | None, spell: Spell, at_msc: int) -> Any:
        fault = spell.fault
        if fault.effect is Effect.SKEW:
            return self._skewed(answer, fault.offset or 0.0, spell.since_msc)
        if fault.effect is Effect.LATE_DEALS:
            return self._without_late(answer, spell, at_msc)
        if about is None and isinstance(answer, tuple) and not isinstance(answer, Struct):
            return tuple(
                self._spoil(row, row.name, spell, at_msc) if isinstance(row, SymbolInfo) else row
                for row in answer
            )
        if about is None or fault.symbol not in (None, about):
            return answer
        if isinstance(answer, Tick | SymbolInfo):
            return self._quoted(answer, about, fault)
        if isinstance(answer, np.ndarray) and "flags" in (answer.dtype.names or ()):
            return _array(answer, fault.effect)
        return answer

    def _quoted(self, row: Tick | SymbolInfo, symbol: str, fault: Fault) -> Tick | SymbolInfo:
        if fault.effect is Effect.ZERO:
            return changed(row, bid=0.0, ask=0.0)
        if fault.effect is Effect.CROSSED:
            return changed(row, bid=row.ask, ask=row.bid)
        if not isinstance(row, Tick) or not self._every_second_look(fault.effect, symbol):
            return row
        if fault.effect is Effect.REPEAT:
            return self._shown.get(symbol, row)
        newest, older = self._quote(symbol, 0.0), self._quote(symbol, fault.lag or 0.0)
        if newest is None or older is None:
            return row
        back = newest.time_msc - older.time_msc
        msc = row.time_msc - back
        return changed(row, bid=older.bid, ask=older.ask, time=msc // 1000, time_msc=msc)

    def _every_second_look(self, effect: Effect, symbol: str) -> bool:
        looks = self._looks[effect, symbol] = self._looks.get((effect, symbol), 0) + 1
        return looks % 2 == 0

    def _skewed(self, answer: Any, offset: float, since_msc: int) -> Any:
        """Move the stamps that the server has made since its clock went wrong."""
        since, by = self._to_wall(since_msc), round(offset * 1000.0)

        def row_of(row: Struct) -> Struct:
            stamps = row._asdict()
            found = {name: stamps[name] + by for name in _MILLIS if stamps.get(name, 0) >= since}
            found |= {
                name: stamps[name] + by // 1000
                for name in _SECONDS
                if stamps.get(name, 0) * 1000 >= since
            }
            return changed(row, **found) if found else row

        if isinstance(answer, Struct):
            return row_of(answer)
        if isinstance(answer, tuple):
            return tuple(map(row_of, answer))
        if isinstance(answer, np.ndarray) and "time_msc" in (answer.dtype.names or ()):
            moved = answer.copy()
            late = moved["time_msc"] >= since
            moved["time_msc"][late] += by
            moved["time"][late] += by // 1000
            return moved
        return answer

    def _without_late(self, answer: Any, spell: Spell, at_msc: int) -> Any:
        if not isinstance(answer, tuple) or not any(isinstance(one, TradeDeal) for one in answer):
            return answer
        made, lag_ms = self._made(), (spell.fault.lag or 0.0) * 1000.0

        def is_late(deal: TradeDeal) -> bool:
            when = made.get(deal.ticket, 0)
            during = when >= spell.since_msc and not spell.ends_by(when)
            return during and at_msc < when + lag_ms

        return tuple(deal for deal in answer if not is_late(deal))


def _array(ticks: Any, effect: Effect) -> Any:
    """Return an array of ticks as spoiled as single ones are."""
    if effect is Effect.REPEAT:
        return np.repeat(ticks, 2)
    spoiled = ticks.copy()
    if effect is Effect.ZERO:
        spoiled["bid"] = spoiled["ask"] = 0.0
    elif effect is Effect.CROSSED:
        spoiled["bid"], spoiled["ask"] = ticks["ask"], ticks["bid"]
    elif effect is Effect.REORDER:
        pairs = len(ticks) // 2 * 2
        spoiled[0:pairs:2], spoiled[1:pairs:2] = ticks[1:pairs:2], ticks[0:pairs:2]
    return spoiled
