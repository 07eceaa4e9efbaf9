"""The official MetaTrader5 package, on Windows, with a terminal beside it.

Written from the package's own tables (MT5.md); it was never tried on a live
terminal. Every call of the package holds Python's GIL for as long as it
lasts, so this belongs into a process of its own that can be killed.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import Any

from defence.errors import TerminalRefused
from terminals.protocol import Moment, Permit, Rates, Request
from terminals.structs import (
    AccountInfo,
    OrderCheckResult,
    OrderSendResult,
    SymbolInfo,
    TerminalInfo,
    Tick,
    TradeDeal,
    TradeOrder,
    TradePosition,
)


class NativeTerminal:
    """One real terminal. The package is one connection a process, and so is this.

    Results are the package's own types; they have the fields of
    `terminals.structs` and do not pickle.
    """

    name = "native"
    real = True

    def __init__(
        self,
        path: str | None = None,
        login: int | None = None,
        password: str | None = None,
        server: str | None = None,
        portable: bool = False,
        timeout_ms: int = 60_000,
    ) -> None:
        """Import the package. Raises TerminalRefused where it is not installed.

        `path` is the terminal's executable (None: the one the package finds),
        `timeout_ms` how long connecting may take. Without `login` the
        terminal's own account is used.
        """
        self._module: Any = _module()
        self._path = path
        self._login = login
        self._password = password
        self._server = server
        self._portable = portable
        self._timeout_ms = timeout_ms

    def __repr__(self) -> str:
        """Name terminal and account; never the password."""
        return f"NativeTerminal(path={self._path!r}, login={self._login}, server={self._server!r})"

    def initialize(self) -> bool:
        """Start or find the terminal, and log in if credentials were given."""
        # What is not given is left out: the package takes None for a wrong argument.
        options: dict[str, Any] = {"timeout": self._timeout_ms, "portable": self._portable}
        if self._path is not None:
            options["path"] = self._path
        if self._login is not None:
            options["login"] = self._login
            if self._password is not None:
                options["password"] = self._password
            if self._server is not None:
                options["server"] = self._server
        return bool(self._module.initialize(**options))

    def shutdown(self) -> bool:
        """Disconnect."""
        return bool(self._module.shutdown())

    def last_error(self) -> tuple[int, str]:
        """Return code and text of the newest call."""
        code, text = self._module.last_error()
        return int(code), str(text)

    def account_info(self) -> AccountInfo | None:
        """Return the account."""
        found: AccountInfo | None = self._module.account_info()
        return found

    def terminal_info(self) -> TerminalInfo | None:
        """Return the terminal's state."""
        found: TerminalInfo | None = self._module.terminal_info()
        return found

    def symbol_info(self, symbol: str, /) -> SymbolInfo | None:
        """Return a symbol's facts."""
        found: SymbolInfo | None = self._module.symbol_info(symbol)
        return found

    def symbol_info_tick(self, symbol: str, /) -> Tick | None:
        """Return a symbol's newest quote."""
        found: Tick | None = self._module.symbol_info_tick(symbol)
        return found

    def symbol_select(self, symbol: str, enable: bool = True, /) -> bool:
        """Show or hide a symbol in Market Watch."""
        return bool(self._module.symbol_select(symbol, enable))

    def positions_get(self, **filters: Any) -> tuple[TradePosition, ...] | None:
        """Return the open positions."""
        found: tuple[TradePosition, ...] | None = self._module.positions_get(**filters)
        return found

    def orders_get(self, **filters: Any) -> tuple[TradeOrder, ...] | None:
        """Return the working orders."""
        found: tuple[TradeOrder, ...] | None = self._module.orders_get(**filters)
        return found

    def order_check(self, request: Request, /) -> OrderCheckResult | None:
        """Say whether a request would be accepted."""
        found: OrderCheckResult | None = self._module.order_check(dict(request))
        return found

    def order_send(self, request: Request, /) -> OrderSendResult | None:
        """Send an order."""
        found: OrderSendResult | None = self._module.order_send(dict(request))
        return found

    def history_deals_get(self, *dates: Moment, **filters: Any) -> tuple[TradeDeal, ...] | None:
        """Return deals of the account's history."""
        found: tuple[TradeDeal, ...] | None = self._module.history_deals_get(*dates, **filters)
        return found

    def history_orders_get(self, *dates: Moment, **filters: Any) -> tuple[TradeOrder, ...] | None:
        """Return orders of the account's history."""
        found: tuple[TradeOrder, ...] | None = self._module.history_orders_get(*dates, **filters)
        return found

    def copy_rates_from_pos(
        self, symbol: str, timeframe: int, start_pos: int, count: int, /
    ) -> Rates | None:
        """Return bars, oldest first."""
        found: Rates | None = self._module.copy_rates_from_pos(symbol, timeframe, start_pos, count)
        return found

    def send_under(self, permit: Permit, request: Request) -> OrderSendResult | None:
        """Send an order; the permit is held until the terminal has answered.

        The package cannot tell when an order takes effect within the call, so
        the whole call is under the permit.
        """
        with permit:
            return self.order_send(request)

    def close(self) -> None:
        """Disconnect. A call that hangs holds the GIL; only ending the process releases it."""
        self._module.shutdown()


def _module() -> ModuleType:
    try:
        return importlib.import_module("MetaTrader5")
    except ImportError as error:
        raise TerminalRefused(
            f"the MetaTrader5 package cannot be imported: {error}",
            field="terminal",
            value="native",
            remedy="on Windows: pip install MetaTrader5; elsewhere: --terminal simulated",
        ) from error
