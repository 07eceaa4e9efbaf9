"""The simulated terminal: the MetaTrader5 module's functions over a simulated broker.

It answers as the package does (MT5.md): None or False with `last_error()` on
failure, `()` for nothing, the same fields in the same order. It never touches
money. Market time is the broker's wall time, as everywhere in the package; it
is not the caller's time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np

from terminals import constants as mt5
from terminals.protocol import Permit, Rates, Request
from terminals.sim.broker import NOTHING, Executed
from terminals.sim.calls import (
    INVALID_PARAMS,
    NOT_FOUND,
    SUCCESS,
    UNAUTHORISED,
    UNNAMED,
    Calls,
    FailError,
    error_of,
)
from terminals.sim.checks import COMMENTS
from terminals.sim.faults import Fault, FaultScript
from terminals.sim.market import Market
from terminals.sim.rates import RATES, TIMEFRAMES, bars
from terminals.sim.request import BadArgumentError, parse_request
from terminals.sim.state import position_struct
from terminals.sim.views import (
    account_struct,
    chosen,
    done_between,
    filters_of,
    moment,
    symbol_struct,
    terminal_struct,
    tick_struct,
    whole,
)
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
    TradeRequest,
)

Credentials: TypeAlias = tuple[int, str, str]
NONE_OPEN: Final[tuple[Any, ...]] = ()


class SimulatedTerminal(Calls):
    """A terminal of which everything is known: for any machine, for tests, for demonstrations."""

    name = "simulated"
    real = False

    def __init__(
        self,
        *,
        market: Market,
        now: Callable[[], float],
        speed: float = 1.0,
        step: float = 30.0,
        hang: Callable[[float | None], None] | None = None,
        state: Path | None = None,
        faults: Sequence[Fault] | FaultScript = (),
        reload_state: bool = False,
        demo: bool = False,
        credentials: Credentials | None = None,
        login: int | None = None,
        password: str | None = None,
        server: str | None = None,
    ) -> None:
        """Build the terminal and its broker; `initialize` connects.

        `now` gives seconds of the clock the caller lives by. `speed` is how
        fast market time runs beside it; with 0 each unfiltered `positions_get`
        moves the market on by `step` seconds and nothing else does.
        `hang(seconds)` does the waiting of scripted faults (None: for ever);
        the default waits on a thread until `close`. `credentials` are what the
        broker accepts; `login`, `password`, `server` are what the terminal
        logs in with. Raises Invalid for a bad state file.
        """
        super().__init__(
            market=market,
            now=now,
            speed=speed,
            step=step,
            state=state,
            reload_state=reload_state,
            demo=demo,
            faults=faults,
            hang=hang,
        )
        self.orders_sent: list[dict[str, Any]] = []  # requests that met the broker, and "retcode"
        self._credentials = credentials
        self._given = {"login": login, "password": password, "server": server}
        self._requests = 0

    def __repr__(self) -> str:
        """Name the account; credentials are not shown."""
        account = self._broker.book.account
        return f"SimulatedTerminal(login={account.login}, server={account.server!r})"

    # -- connecting --------------------------------------------------------

    def initialize(self, *path: str, **options: Any) -> bool:
        """Connect; with `login` (or one given at construction) authorise too."""

        def work() -> bool:
            given = {**self._given, **{k: v for k, v in options.items() if k in self._given}}
            if len(path) > 1:
                raise FailError(INVALID_PARAMS)
            login = given["login"]
            if login is not None:
                if type(login) is not int:
                    raise FailError((mt5.RES_E_INVALID_PARAMS, 'Invalid "login" argument'))
                self._authorise(login, given["password"], given["server"])
            self._initialized = True
            return True

        return self._call("initialize", work, False, connects=True)

    def _authorise(self, login: int, password: object, server: object) -> None:
        if self._credentials is not None:
            if (login, password, server) != self._credentials:
                raise FailError(UNAUTHORISED)
            return
        account = self._broker.book.account
        if login != account.login or server not in (None, "", account.server):
            raise FailError(UNAUTHORISED)

    def shutdown(self) -> bool:
        """Disconnect; the broker goes on."""
        with self._lock:
            self.calls["shutdown"] += 1
            self._initialized = False
            self._error = SUCCESS
        return True

    def last_error(self) -> tuple[int, str]:
        """Return how the newest call of any thread ended."""
        with self._lock:
            return self._error

    # -- reading -----------------------------------------------------------

    def account_info(self) -> AccountInfo | None:
        """Return the account with its numbers at the present prices."""
        return self._call("account_info", lambda: account_struct(self._broker), None)

    def terminal_info(self) -> TerminalInfo | None:
        """Return the terminal's switches."""
        return self._call(
            "terminal_info", lambda: terminal_struct(self._connected, self._autotrading), None
        )

    def symbol_info(self, symbol: str, /) -> SymbolInfo | None:
        """Return a symbol's facts and quote."""
        return self._call(
            "symbol_info", lambda: symbol_struct(self._broker, self._known(symbol)), None
        )

    def symbol_info_tick(self, symbol: str, /) -> Tick | None:
        """Return a symbol's newest quote."""

        def work() -> Tick:
            price = self._broker.price(self._known(symbol))
            if price is None:
                raise FailError(NOT_FOUND)
            return tick_struct(price)

        return self._call("symbol_info_tick", work, None)

    def symbol_select(self, symbol: str, enable: bool = True, /) -> bool:
        """Show or hide a symbol in Market Watch; one with positions stays."""

        def work() -> bool:
            failed = (mt5.RES_E_FAIL, "Terminal: Call failed")
            if symbol not in self.market.specs:
                raise FailError(failed)
            if enable:
                self._broker.selected.add(symbol)
            elif self._broker.book.position_of(symbol) is not None:
                raise FailError(failed)
            else:
                self._broker.selected.discard(symbol)
            return True

        return self._call("symbol_select", work, False)

    def positions_get(self, *unnamed: object, **filters: Any) -> tuple[TradePosition, ...] | None:
        """Return the open positions, all or by `symbol`, `group` or `ticket`."""

        def work() -> tuple[TradePosition, ...]:
            named = _filters(unnamed, filters)
            found = []
            for one in self._broker.book.positions.values():
                if chosen(one.symbol, one.ticket, named):
                    self._broker.value(one)
                    found.append(position_struct(one))
            return tuple(found)

        steps = not unnamed and not any(key in filters for key in ("symbol", "group", "ticket"))
        return self._call("positions_get", work, None, empty=NONE_OPEN, steps=steps)

    def orders_get(self, *unnamed: object, **filters: Any) -> tuple[TradeOrder, ...] | None:
        """Return the working orders, all or by `symbol`, `group` or `ticket`."""

        def work() -> tuple[TradeOrder, ...]:
            named = _filters(unnamed, filters)
            orders = self._broker.book.orders.values()
            return tuple(one for one in orders if chosen(one.symbol, one.ticket, named))

        return self._call("orders_get", work, None, empty=NONE_OPEN)

    def history_deals_get(self, *dates: Any, **filters: Any) -> tuple[TradeDeal, ...] | None:
        """Return deals between two moments, by order `ticket`, or by `position` identifier."""

        def work() -> tuple[TradeDeal, ...]:
            deals = self._broker.book.deals
            if "ticket" in filters:
                wanted = whole("ticket", filters["ticket"])
                return tuple(one for one in deals if one.order == wanted)
            if "position" in filters:
                wanted = whole("position", filters["position"])
                return tuple(one for one in deals if one.position_id == wanted)
            since, until = _dates(dates, filters)
            named = _filters((), filters)
            return tuple(
                one
                for one in deals
                if done_between(one.time_msc, since, until) and chosen(one.symbol, 0, named)
            )

        return self._call("history_deals_get", work, None, empty=NONE_OPEN)

    def history_orders_get(self, *dates: Any, **filters: Any) -> tuple[TradeOrder, ...] | None:
        """Return finished orders between two moments, by `ticket`, or by `position` identifier."""

        def work() -> tuple[TradeOrder, ...]:
            orders = self._broker.book.past_orders
            if "ticket" in filters:
                wanted = whole("ticket", filters["ticket"])
                return tuple(one for one in orders if one.ticket == wanted)
            if "position" in filters:
                wanted = whole("position", filters["position"])
                return tuple(one for one in orders if one.position_id == wanted)
            since, until = _dates(dates, filters)
            named = _filters((), filters)
            return tuple(
                one
                for one in orders
                if done_between(one.time_done_msc, since, until) and chosen(one.symbol, 0, named)
            )

        return self._call("history_orders_get", work, None, empty=NONE_OPEN)

    def copy_rates_from_pos(
        self, symbol: str, timeframe: int, start_pos: int, count: int, /
    ) -> Rates | None:
        """Return bars of the bid as a structured array, oldest first."""

        def work() -> Rates:
            spec = self.market.specs[self._known(symbol)]
            if timeframe not in TIMEFRAMES or start_pos < 0 or count <= 0:
                raise FailError(INVALID_PARAMS)
            at = self._broker.at_msc
            found = bars(self.market.ticks(symbol, 0, at), timeframe, start_pos, count, spec.point)
            if not len(found):
                raise FailError(NOT_FOUND)
            return found

        return self._call("copy_rates_from_pos", work, None, empty=np.zeros(0, dtype=RATES))

    def _known(self, symbol: object) -> str:
        if not isinstance(symbol, str) or symbol not in self.market.specs:
            raise FailError(NOT_FOUND)
        return symbol

    # -- orders ------------------------------------------------------------

    def order_check(self, *request: Any, **fields: Any) -> OrderCheckResult | None:
        """Say whether a request would be accepted, without doing anything."""
        asked = self._parse("order_check", request, fields)
        if asked is None:
            return None

        def answer(retcode: int) -> OrderCheckResult:
            money = self._broker.money()
            return OrderCheckResult(
                retcode=retcode,
                balance=self._broker.book.account.balance,
                equity=money.equity,
                profit=money.profit,
                margin=money.margin,
                margin_free=money.margin_free,
                margin_level=money.margin_level,
                comment=COMMENTS.get(retcode, ""),
                request=asked,
            )

        def work() -> OrderCheckResult:
            return answer(self._barred() or self._broker.check(asked))

        return self._call("order_check", work, None, answer=answer)

    def order_send(self, *request: Any, **fields: Any) -> OrderSendResult | None:
        """Send an order, without any permit."""
        return self._send(nullcontext(), request, fields)

    def send_under(self, permit: Permit, request: Request) -> OrderSendResult | None:
        """Send an order; scripted waits are over, or not begun, while the permit is held."""
        return self._send(permit, (request,), {})

    def _send(
        self, permit: Permit, request: tuple[Any, ...], fields: Mapping[str, Any]
    ) -> OrderSendResult | None:
        asked = self._parse("order_send", request, fields)
        if asked is None:
            return None
        raw = dict(request[0]) if request else dict(fields)

        def answer(retcode: int, done: Executed | None = None) -> OrderSendResult:
            filled = NOTHING if done is None else done.filled
            price = self._broker.price(asked.symbol) if asked.symbol in self.market.specs else None
            self._requests += 1
            return OrderSendResult(
                retcode=retcode,
                deal=filled.deal,
                order=filled.order,
                volume=filled.volume,
                price=filled.price,
                bid=0.0 if price is None else price.bid,
                ask=0.0 if price is None else price.ask,
                comment=COMMENTS.get(retcode, ""),
                request_id=self._requests,
                request=asked,
            )

        def work() -> OrderSendResult:
            barred = self._barred()
            done = Executed(barred, NOTHING) if barred else self._broker.execute(asked)
            self.orders_sent.append({**raw, "retcode": done.retcode})
            return answer(done.retcode, done)

        return self._call("order_send", work, None, permit=permit, answer=answer)

    def _barred(self) -> int:
        """Return the retcode with which the terminal itself refuses, or 0."""
        if not self._autotrading:
            return mt5.TRADE_RETCODE_CLIENT_DISABLES_AT
        return 0 if self._connected else mt5.TRADE_RETCODE_CONNECTION

    def _parse(
        self, name: str, request: tuple[Any, ...], fields: Mapping[str, Any]
    ) -> TradeRequest | None:
        """Read a request; the package does so before it looks for its connection."""
        try:
            if request and fields:
                raise FailError(UNNAMED)
            asked = request[0] if len(request) == 1 else dict(fields)
            if not isinstance(asked, Mapping) or len(request) > 1 or not (request or fields):
                raise FailError(INVALID_PARAMS)
            return parse_request(asked)
        except (FailError, BadArgumentError) as error:
            with self._lock:
                self.calls[name] += 1
                self._error = error_of(error)
            return None


def _filters(unnamed: Sequence[object], given: Mapping[str, Any]) -> dict[str, Any]:
    if unnamed:
        raise FailError(UNNAMED)
    return filters_of(given)


def _dates(dates: Sequence[Any], given: Mapping[str, Any]) -> tuple[float, float]:
    names = ("date_from", "date_to")  # positional or by name
    found = [*dates, *(given[name] for name in names[len(dates) :] if name in given)]
    if len(found) != len(names):
        raise FailError(INVALID_PARAMS)
    since, until = (moment(name, value) for name, value in zip(names, found, strict=True))
    return since, until
