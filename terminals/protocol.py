"""What every terminal offers: the functions of the MetaTrader5 module, and two of ours.

A call that fails answers None (False for `initialize`, `shutdown` and
`symbol_select`) and leaves the cause in `last_error()`, which belongs to the
whole terminal and is overwritten by every call of every thread: read it right
after the call that failed. An empty tuple is an answer; None is not (MT5.md).

The result types are those of `terminals.structs`. The native package has its
own types with the same fields.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, runtime_checkable

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

if TYPE_CHECKING:  # whoever only reads positions and sends orders does not need numpy
    import numpy as np
    import numpy.typing as npt

Request: TypeAlias = Mapping[str, Any]  # plain int, float and str; absent keys, never None
Permit: TypeAlias = AbstractContextManager[Any]
Moment: TypeAlias = int | float | dt.datetime  # broker wall time; a naive datetime is local time
Rates: TypeAlias = "npt.NDArray[np.void]"  # fields time, open, high, low, close, tick_volume, ...

# The functions of the module that a terminal offers: those that a script may spoil, and that a
# worker answers.
CALLS: Final = (
    "initialize",
    "shutdown",
    "account_info",
    "terminal_info",
    "symbol_info",
    "symbol_info_tick",
    "symbol_select",
    "positions_get",
    "orders_get",
    "order_check",
    "order_send",
    "history_deals_get",
    "history_orders_get",
    "copy_rates_from_pos",
)


class Terminal(Protocol):
    """One connection to one trading account."""

    @property
    def name(self) -> str:
        """The kind of terminal: `simulated`, `native`, `bridge`."""

    @property
    def real(self) -> bool:
        """Whether orders reach a broker and can move money."""

    def initialize(self) -> bool:
        """Connect, with the path and the credentials the terminal was built with."""

    def shutdown(self) -> bool:
        """Disconnect; always True."""

    def last_error(self) -> tuple[int, str]:
        """Return code and text of the newest call's outcome; (1, "Success") is none."""

    def account_info(self) -> AccountInfo | None:
        """Return the account that is logged in."""

    def terminal_info(self) -> TerminalInfo | None:
        """Return the terminal's own state: `connected`, `trade_allowed`, build."""

    def symbol_info(self, symbol: str, /) -> SymbolInfo | None:
        """Return what the broker says of a symbol."""

    def symbol_info_tick(self, symbol: str, /) -> Tick | None:
        """Return the newest quote of a symbol."""

    def symbol_select(self, symbol: str, enable: bool = True, /) -> bool:
        """Put a symbol into Market Watch, or take it out."""

    def positions_get(
        self, *, symbol: str = ..., group: str = ..., ticket: int = ...
    ) -> tuple[TradePosition, ...] | None:
        """Return the open positions; None when that is not known."""

    def orders_get(
        self, *, symbol: str = ..., group: str = ..., ticket: int = ...
    ) -> tuple[TradeOrder, ...] | None:
        """Return the working (pending) orders; None when that is not known."""

    def order_check(self, request: Request, /) -> OrderCheckResult | None:
        """Say whether a request would be accepted; `retcode` 0 is yes."""

    def order_send(self, request: Request, /) -> OrderSendResult | None:
        """Send an order. None with -10001, -10002 or -10005 means the outcome is unknown."""

    def history_deals_get(
        self,
        date_from: Moment = ...,
        date_to: Moment = ...,
        /,
        *,
        group: str = ...,
        ticket: int = ...,
        position: int = ...,
    ) -> tuple[TradeDeal, ...] | None:
        """Return deals between two moments, of an order's ticket, or of a position's identifier."""

    def history_orders_get(
        self,
        date_from: Moment = ...,
        date_to: Moment = ...,
        /,
        *,
        group: str = ...,
        ticket: int = ...,
        position: int = ...,
    ) -> tuple[TradeOrder, ...] | None:
        """Return finished orders, chosen as in `history_deals_get`."""

    def copy_rates_from_pos(
        self, symbol: str, timeframe: int, start_pos: int, count: int, /
    ) -> Rates | None:
        """Return bars, oldest first; position 0 is the bar that is not finished."""

    def send_under(self, permit: Permit, request: Request) -> OrderSendResult | None:
        """Send an order while `permit` is held.

        The permit is entered at the very moment of the effect, after any wait
        of the terminal, and left when the effect has happened. If entering it
        raises, nothing was done and the exception goes to the caller.
        """

    def close(self) -> None:
        """End for good and release every thread that is stuck in a call; idempotent."""


@runtime_checkable
class Abortable(Protocol):
    """A terminal whose calls can be ended from outside: one in a process of its own."""

    def abort(self) -> None:
        """End at once the call that is under way; it fails. From any thread, and quick."""
