"""The official MetaTrader5 package, on Windows, with a terminal beside it.

Written from the package's own tables (MT5.md); it was never tried on a live
terminal (docs/native.md lists what that leaves open). Every call of the package
holds Python's GIL for as long as it lasts, so this belongs into a process of
its own that can be killed.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType
from typing import Any

from defence.errors import Invalid, TerminalRefused
from terminals import constants as mt5
from terminals.installed import check, same_folder, terminal_at
from terminals.plain import Plain, plain, plain_filters
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

    Arguments reach the package as plain values, whatever they came as; a
    request that has another is answered None and -2, as the package does.
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
        """Import the package, and find the terminal. Starts and connects nothing yet.

        `path` is the terminal's executable (None: the only one that is
        installed), `timeout_ms` how long connecting may take. The terminal is
        logged in only if both `login` and `password` are given; otherwise its
        account stays as it is, and whoever reads it checks it. Raises
        TerminalRefused where the package is not installed, and for a path that
        is no terminal (`terminals.installed.terminal_at`).
        """
        self._module: Any = _module()
        self._path = terminal_at(path, os.environ)
        self._login = login
        self._password = password
        self._server = server
        self._portable = portable
        self._timeout_ms = timeout_ms
        self._began = False
        self._refusal: tuple[int, str] | None = None  # of the newest call, if it is ours

    def __repr__(self) -> str:
        """Name terminal and account; never the password."""
        return f"NativeTerminal(path={self._path!r}, login={self._login}, server={self._server!r})"

    def initialize(self) -> bool:
        """Start or find the terminal at the path, and log in if credentials were given.

        False and -10003 also if the executable is not there just now (an
        update replaces it), and if the terminal that answers shows another
        folder than the one that was asked for. One that connects and then
        cannot be asked is let go too, with the code of that.
        """
        try:
            check(self._path)
        except TerminalRefused as gone:
            return self._fail(mt5.RES_E_INTERNAL_FAIL_INIT, f"IPC initialize failed, {gone}")
        if self._began:
            self._call("shutdown")  # let go of a pipe that may be broken
        self._began = True
        if not self._call("initialize", **self._options()):
            return False
        info = self._call("terminal_info")
        shown = getattr(info, "path", "")
        if info is None:
            # It answered, and now it does not: it may be any. The cause is not ours to guess.
            code, text = self.last_error()
            code = mt5.RES_E_INTERNAL_FAIL_INIT if code == mt5.RES_S_OK else code
            text = f"{text}, which terminal answers cannot be told"
        elif shown and not same_folder(shown, self._path):
            code = mt5.RES_E_INTERNAL_FAIL_INIT
            text = f"IPC initialize failed, the terminal in {shown} answers, not {self._path}"
        else:
            return True
        self._call("shutdown")
        return self._fail(code, text)

    def _options(self) -> dict[str, Plain]:
        # What is not given is left out: the package takes None for a wrong argument.
        given: dict[str, object] = {
            "path": self._path,
            "timeout": self._timeout_ms,
            "portable": self._portable,
        }
        if self._login is not None and self._password is not None:
            given |= {"login": self._login, "password": self._password, "server": self._server}
        return plain_filters(given)

    def shutdown(self) -> bool:
        """Disconnect."""
        return bool(self._call("shutdown"))

    def last_error(self) -> tuple[int, str]:
        """Return code and text of the newest call."""
        if self._refusal is not None:
            return self._refusal
        code, text = self._module.last_error()
        return int(code), str(text)

    def account_info(self) -> AccountInfo | None:
        """Return the account."""
        found: AccountInfo | None = self._call("account_info")
        return found

    def terminal_info(self) -> TerminalInfo | None:
        """Return the terminal's state."""
        found: TerminalInfo | None = self._call("terminal_info")
        return found

    def symbol_info(self, symbol: str, /) -> SymbolInfo | None:
        """Return a symbol's facts."""
        found: SymbolInfo | None = self._call("symbol_info", plain("symbol", symbol))
        return found

    def symbol_info_tick(self, symbol: str, /) -> Tick | None:
        """Return a symbol's newest quote."""
        found: Tick | None = self._call("symbol_info_tick", plain("symbol", symbol))
        return found

    def symbol_select(self, symbol: str, enable: bool = True, /) -> bool:
        """Show or hide a symbol in Market Watch."""
        return bool(self._call("symbol_select", plain("symbol", symbol), bool(enable)))

    def positions_get(self, **filters: Any) -> tuple[TradePosition, ...] | None:
        """Return the open positions."""
        found: tuple[TradePosition, ...] | None = self._filtered("positions_get", filters)
        return found

    def orders_get(self, **filters: Any) -> tuple[TradeOrder, ...] | None:
        """Return the working orders."""
        found: tuple[TradeOrder, ...] | None = self._filtered("orders_get", filters)
        return found

    def order_check(self, request: Request, /) -> OrderCheckResult | None:
        """Say whether a request would be accepted."""
        found: OrderCheckResult | None = self._request("order_check", request)
        return found

    def order_send(self, request: Request, /) -> OrderSendResult | None:
        """Send an order."""
        found: OrderSendResult | None = self._request("order_send", request)
        return found

    def history_deals_get(self, *dates: Moment, **filters: Any) -> tuple[TradeDeal, ...] | None:
        """Return deals of the account's history."""
        found: tuple[TradeDeal, ...] | None = self._filtered("history_deals_get", filters, *dates)
        return found

    def history_orders_get(self, *dates: Moment, **filters: Any) -> tuple[TradeOrder, ...] | None:
        """Return orders of the account's history."""
        found: tuple[TradeOrder, ...] | None = self._filtered("history_orders_get", filters, *dates)
        return found

    def copy_rates_from_pos(
        self, symbol: str, timeframe: int, start_pos: int, count: int, /
    ) -> Rates | None:
        """Return bars, oldest first."""
        names = ("symbol", "timeframe", "start_pos", "count")
        given = zip(names, (symbol, timeframe, start_pos, count), strict=True)
        found: Rates | None = self._call(
            "copy_rates_from_pos", *(plain(name, value) for name, value in given)
        )
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
        self._call("shutdown")

    # -- inside

    def _call(self, name: str, /, *given: Plain, **named: Plain) -> Any:
        self._refusal = None
        return getattr(self._module, name)(*given, **named)

    def _filtered(self, name: str, filters: dict[str, object], *dates: Moment) -> Any:
        moments = (plain("date", date) for date in dates)
        return self._call(name, *moments, **plain_filters(filters))

    def _request(self, name: str, request: Request) -> Any:
        try:
            fields = plain_filters(request)
        except Invalid as problem:
            # As the package says it, so that it is known that nothing was sent.
            text = f'Invalid "{problem.field}" argument: {problem.value}'
            self._fail(mt5.RES_E_INVALID_PARAMS, text)
            return None
        self._refusal = None
        # One dict: the request as keywords would lose what the package does not know.
        return getattr(self._module, name)(fields)

    def _fail(self, code: int, text: str) -> bool:
        self._refusal = (code, text)
        return False


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
