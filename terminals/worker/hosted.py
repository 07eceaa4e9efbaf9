"""A terminal in a process of its own, offered as if it were here.

    terminal = WorkerTerminal(plan, call_timeout=9.0, connect_timeout=70.0, log=log)
    terminal.start()            starts the worker now, so that a bad plan is known early
    terminal.initialize()       starts the worker if there is none, then connects
    terminal.abort("why")       from any thread: kills the worker; whoever waits for it goes on
    terminal.close()            for good; idempotent, also while a call hangs

A call that has no answer by its deadline ends the worker, and answers None with
a code that says "unknown" (-10005; -10002 if the worker ended by itself). The
next `initialize` starts another one. -10004, "not sent", is only said when no
byte of the request has left, or when the worker looked and did not send.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Any, Final

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
from terminals.worker.host import CALL_TIMEOUT, CONNECT_TIMEOUT, SUCCESS, Expected, Host, Peer
from terminals.worker.parting import Parting
from terminals.worker.plan import Plan
from terminals.worker.process import Log, WorkerProcess

SHUTDOWN_WAIT: Final = 3.0  # seconds; a stop must not wait for a terminal that hangs


class WorkerTerminal:
    """The whole `Terminal`, of a worker process that can be killed and replaced.

    Calls from several threads take turns. `last_error` is each thread's own:
    a thread whose call was cut short cannot put its error under another's.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        call_timeout: float = CALL_TIMEOUT,
        connect_timeout: float = CONNECT_TIMEOUT,
        log: Log | None = None,
        spawn: Callable[[Plan, Log], Peer] = WorkerProcess,
        noun: str = "worker",
        parting: Parting | None = None,
    ) -> None:
        """Start nothing yet: `start` or `initialize` does.

        `call_timeout` is how long any call may take, in seconds;
        `connect_timeout` how long the start, and then connecting, may take
        over several calls of `initialize`. `log(level, text)` is told of starts
        and ends. `spawn`, `noun` and `parting` are those of `Host`. Raises
        Invalid for a time that is not above 0.
        """
        self.name = plan.kind
        self.real = plan.real
        self._plan = plan
        self._account: tuple[int, str] | None = None
        self._host = Host(
            self._next_plan,
            call_timeout=call_timeout,
            connect_timeout=connect_timeout,
            log=log,
            begun=self._begun,
            ended=self._ended,
            spawn=spawn,
            noun=noun,
            parting=parting,
        )

    def __repr__(self) -> str:
        """Name the kind and the process; credentials are not shown."""
        return f"{type(self).__name__}({self.name}, pid={self.pid})"

    # -- the worker's life

    @property
    def pid(self) -> int | None:
        """The worker's process id, None if there is none just now."""
        return self._host.pid

    @property
    def restarts(self) -> int:
        """How many workers were started after the first."""
        return max(0, self._host.started - 1)

    @property
    def connecting(self) -> bool:
        """Whether the next `initialize` waits on for what an earlier one has begun."""
        return self._host.connecting

    def start(self) -> None:
        """Start the worker and have it build its terminal, without connecting.

        Raises what the terminal's constructor raises (`Invalid` for a bad
        file, `TerminalRefused` for a package that is missing), and
        `TerminalRefused` if the worker does not come up in time.
        """
        self._host.start()

    def abort(self, why: str = "aborted") -> None:
        """Kill the worker now, from any thread and without waiting.

        A call that waits for it answers "unknown" as soon as the process is
        gone; the next `initialize` starts another one.
        """
        self._host.abort(why)

    def close(self) -> None:
        """End the worker for good: asked first, then killed. From any thread; idempotent."""
        self._host.close()

    def initialize(self) -> bool:
        """Start the worker if there is none, and connect.

        It returns after `call_timeout` at the latest: False, and the next call
        waits on, until `connect_timeout` is over. Raises what `start` raises.
        """
        return self._host.initialize()

    def shutdown(self) -> bool:
        """Disconnect; the worker stays for the next `initialize`."""
        limit = min(self._host.call_timeout, SHUTDOWN_WAIT)
        self._host.exchange("shutdown", timeout=limit)
        self._host.note_error(*SUCCESS)
        return True

    def last_error(self) -> tuple[int, str]:
        """Return how this thread's newest call ended, any thread's if it has made none."""
        return self._host.last_error()

    # -- reading

    def account_info(self) -> AccountInfo | None:
        """Return the account."""
        with self._host.turn:
            found: AccountInfo | None = self._call("account_info")
            login: Any
            server: Any
            login, server = getattr(found, "login", None), getattr(found, "server", None)
            self._account = None if None in (login, server) else (login, server)
        return found

    def terminal_info(self) -> TerminalInfo | None:
        """Return the terminal's state."""
        found: TerminalInfo | None = self._call("terminal_info")
        return found

    def symbol_info(self, symbol: str, /) -> SymbolInfo | None:
        """Return a symbol's facts."""
        found: SymbolInfo | None = self._call("symbol_info", symbol)
        return found

    def symbol_info_tick(self, symbol: str, /) -> Tick | None:
        """Return a symbol's newest quote."""
        found: Tick | None = self._call("symbol_info_tick", symbol)
        return found

    def symbol_select(self, symbol: str, enable: bool = True, /) -> bool:
        """Show or hide a symbol in Market Watch."""
        return bool(self._call("symbol_select", symbol, enable))

    def positions_get(self, *unnamed: Any, **filters: Any) -> tuple[TradePosition, ...] | None:
        """Return the open positions."""
        found: tuple[TradePosition, ...] | None = self._call("positions_get", *unnamed, **filters)
        return found

    def orders_get(self, *unnamed: Any, **filters: Any) -> tuple[TradeOrder, ...] | None:
        """Return the working orders."""
        found: tuple[TradeOrder, ...] | None = self._call("orders_get", *unnamed, **filters)
        return found

    def history_deals_get(self, *dates: Moment, **filters: Any) -> tuple[TradeDeal, ...] | None:
        """Return deals of the account's history."""
        found: tuple[TradeDeal, ...] | None = self._call("history_deals_get", *dates, **filters)
        return found

    def history_orders_get(self, *dates: Moment, **filters: Any) -> tuple[TradeOrder, ...] | None:
        """Return orders of the account's history."""
        found: tuple[TradeOrder, ...] | None = self._call("history_orders_get", *dates, **filters)
        return found

    def copy_rates_from_pos(
        self, symbol: str, timeframe: int, start_pos: int, count: int, /
    ) -> Rates | None:
        """Return bars, oldest first."""
        found: Rates | None = self._call("copy_rates_from_pos", symbol, timeframe, start_pos, count)
        return found

    # -- orders

    def order_check(self, request: Request, /) -> OrderCheckResult | None:
        """Say whether a request would be accepted."""
        found: OrderCheckResult | None = self._call("order_check", dict(request))
        return found

    def order_send(self, request: Request, /) -> OrderSendResult | None:
        """Send an order, without any permit."""
        return self._order(request, None)

    def send_under(self, permit: Permit, request: Request) -> OrderSendResult | None:
        """Send an order; the permit is held until the answer is there or the worker is gone.

        The worker looks at login and server once more, right before it sends:
        they must be those that the permit found, else those the terminal was
        built with. What differs is answered None with -10004: not sent.
        """
        with self._host.turn:
            self._account = None
            with permit:
                return self._order(request, self._account or self._plan.account)

    def _order(self, request: Request, expected: Expected | None) -> OrderSendResult | None:
        if expected == (None, None):
            expected = None
        found: OrderSendResult | None = self._host.exchange(
            "order_send", (dict(request),), expected=expected
        )
        return found

    # -- inside

    def _call(self, call: str, *args: Any, **named: Any) -> Any:
        return self._host.exchange(
            call,
            tuple(map(_plain, args)),
            {name: _plain(value) for name, value in named.items()},
        )

    def _next_plan(self) -> Plan:
        """Return what the next worker is to host."""
        return self._plan

    def _begun(self) -> None:
        """Do what a new worker needs before anybody uses it."""
        self._account = None

    def _ended(self, notes: Mapping[str, Any]) -> None:
        """Keep what must outlive a worker."""


def _plain(value: Any) -> Any:
    """Return a moment as the epoch seconds that the package would make of it."""
    return value.timestamp() if isinstance(value, dt.datetime) else value
