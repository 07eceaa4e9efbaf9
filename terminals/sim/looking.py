"""The simulated terminal's functions that look: account, symbols, quotes, positions, orders."""

from __future__ import annotations

from typing import Any

from terminals.masks import in_group
from terminals.sim.asking import CALL_FAILED, NONE_OPEN, OLD_TERMINAL, Asking
from terminals.sim.calls import NOT_FOUND, FailError
from terminals.sim.state import position_struct
from terminals.sim.views import (
    VERSION,
    account_struct,
    chosen,
    symbol_struct,
    terminal_struct,
    tick_struct,
    working_order,
)
from terminals.sim.wall import rows_on_the_wall
from terminals.structs import (
    AccountInfo,
    SymbolInfo,
    TerminalInfo,
    Tick,
    TradeOrder,
    TradePosition,
)


class Looking(Asking):
    """Reading what there is now."""

    def version(self) -> tuple[int, int, str] | None:
        """Return version, build and date of the terminal."""
        return self._call("version", lambda: VERSION, None)

    def account_info(self) -> AccountInfo | None:
        """Return the account with its numbers at the present prices."""
        return self._call("account_info", lambda: account_struct(self._broker), None)

    def terminal_info(self) -> TerminalInfo | None:
        """Return the terminal's switches."""
        return self._call(
            "terminal_info", lambda: terminal_struct(self._connected, self._autotrading), None
        )

    # -- symbols

    def symbols_total(self) -> int | None:
        """Count the broker's symbols; the answer of one that never connected is another error."""
        if self._never_met("symbols_total"):
            return None
        return self._call("symbols_total", lambda: len(self.market.specs), None)

    def symbols_get(self, *unnamed: Any, **named: Any) -> tuple[SymbolInfo, ...] | bool | None:
        """Return all symbols, or those of a `group`; False for wrong arguments."""
        asked = self._asked("symbols_get", unnamed, named)
        if asked is None:
            return False
        if self._never_met("symbols_get"):
            return None

        def work() -> tuple[SymbolInfo, ...]:
            group = asked.named.get("group", "*")
            names = (name for name in self.market.specs if in_group(name, group))
            return tuple(symbol_struct(self._broker, name, self._zone) for name in names)

        return self._call("symbols_get", work, None, empty=NONE_OPEN)

    def symbol_info(self, *symbol: str) -> SymbolInfo | None:
        """Return a symbol's facts and quote."""
        asked = self._asked("symbol_info", symbol, {})
        if asked is None:
            return None
        (name,) = asked.unnamed
        return self._call(
            "symbol_info",
            lambda: symbol_struct(self._broker, self._known(name), self._zone),
            None,
            about=name,
        )

    def symbol_info_tick(self, *symbol: str) -> Tick | None:
        """Return the newest quote of a symbol in Market Watch."""
        asked = self._asked("symbol_info_tick", symbol, {})
        if asked is None:
            return None
        (name,) = asked.unnamed

        def work() -> Tick:
            price = self._broker.price(self._known(name))
            if price is None or name not in self._broker.selected:
                raise FailError(NOT_FOUND)
            return tick_struct(self._broker, name, price, self._zone)

        return self._call("symbol_info_tick", work, None, about=name)

    def symbol_select(self, *symbol: Any) -> bool:
        """Show or hide a symbol in Market Watch; one that is in use stays."""
        asked = self._asked("symbol_select", symbol, {})
        if asked is None:
            return False
        name, enable = asked.unnamed

        def work() -> bool:
            if name not in self.market.specs:
                raise FailError(CALL_FAILED)
            if enable:
                self._broker.selected.add(name)
                return True
            book = self._broker.book
            working = any(order.symbol == name for order in book.orders.values())
            if working or book.position_of(name) is not None:
                raise FailError(CALL_FAILED)
            self._broker.selected.discard(name)
            self._subscribed.discard(name)
            return True

        return self._call("symbol_select", work, False)

    # -- positions and orders

    def positions_total(self) -> int | None:
        """Count the open positions."""
        return self._call("positions_total", lambda: len(self._broker.book.positions), None)

    def positions_get(self, *unnamed: Any, **filters: Any) -> tuple[TradePosition, ...] | None:
        """Return the open positions, all or by `ticket`, `symbol` or `group`: the first given."""
        asked = self._asked("positions_get", unnamed, filters)
        if asked is None:
            return None

        def work() -> tuple[TradePosition, ...]:
            if "ticket" in asked.named:
                return self._position_row(asked.named["ticket"])
            rows = self._broker.rows()
            if not asked.named:
                return rows
            return tuple(row for row in rows if chosen(row.symbol, row.ticket, asked.named))

        return self._call("positions_get", work, None, empty=NONE_OPEN, steps=not asked.named)

    def orders_total(self) -> int | None:
        """Count the working orders."""
        return self._call("orders_total", lambda: len(self._working_orders()), None)

    def orders_get(self, *unnamed: Any, **filters: Any) -> tuple[TradeOrder, ...] | None:
        """Return the working orders, all or by `ticket`, `symbol` or `group`: the first given."""
        asked = self._asked("orders_get", unnamed, filters)
        if asked is None:
            return None

        def work() -> tuple[TradeOrder, ...]:
            orders = self._working_orders()
            found = tuple(one for one in orders if chosen(one.symbol, one.ticket, asked.named))
            shown = tuple(working_order(self._broker, one) for one in found)
            return rows_on_the_wall(shown, self._zone)

        return self._call("orders_get", work, None, empty=NONE_OPEN)

    def _position_row(self, ticket: int) -> tuple[TradePosition, ...]:
        """Return the position with a ticket, without valuing the others."""
        one = self._broker.book.positions.get(ticket)
        if one is None:
            return ()
        self._broker.value(one)
        return rows_on_the_wall((position_struct(one),), self._zone)

    def _never_met(self, name: str) -> bool:
        """Whether there was no connection yet: these functions want to know the build first."""
        with self._lock:
            if self._met:
                return False
            self.calls[name] += 1
            self._error = OLD_TERMINAL
            return True
