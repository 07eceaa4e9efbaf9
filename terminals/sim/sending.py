"""The simulated terminal's functions for orders: check, calculate, send."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, Final

from terminals import constants as mt5
from terminals.protocol import Permit, Request
from terminals.sim.asking import Asking
from terminals.sim.broker import NOTHING, Executed
from terminals.sim.calls import INVALID_PARAMS, FailError
from terminals.sim.checks import COMMENTS
from terminals.sim.money import cents
from terminals.sim.wall import utc_seconds
from terminals.structs import OrderCheckResult, OrderSendResult, TradeRequest, changed

# Requests whose answer has a price, and those whose answer has the quote.
SENT_KEPT: Final = 10_000  # requests; a broker may run for months
_PRICED: Final = (mt5.TRADE_ACTION_DEAL, mt5.TRADE_ACTION_CLOSE_BY)
_QUOTED: Final = (*_PRICED, mt5.TRADE_ACTION_PENDING)
_EXECUTED: Final = (
    mt5.TRADE_RETCODE_DONE,
    mt5.TRADE_RETCODE_DONE_PARTIAL,
    mt5.TRADE_RETCODE_PLACED,
)
# The terminal itself refuses: the request was never on its way and has no number.
_HERE: Final = (mt5.TRADE_RETCODE_CLIENT_DISABLES_AT, mt5.TRADE_RETCODE_CONNECTION)


class Sending(Asking):
    """Asking the broker to do something, or what it would do."""

    _sent: deque[dict[str, Any]]
    _requests: int

    @property
    def orders_sent(self) -> list[dict[str, Any]]:
        """The newest requests that met the broker, each with its "retcode"; for tests."""
        return list(self._sent)

    def order_check(self, *request: Any, **fields: Any) -> OrderCheckResult | None:
        """Say whether a request would be accepted, and what the account would be after it."""
        asked = self._asked("order_check", request, fields)
        if asked is None:
            return None
        echo = TradeRequest(**asked.unnamed[0])

        def answer(retcode: int) -> OrderCheckResult:
            comment = COMMENTS.get(retcode, "")
            if retcode not in (0, mt5.TRADE_RETCODE_NO_MONEY):
                return OrderCheckResult(retcode=retcode, comment=comment, request=echo)
            money = self._broker.projected(self._inside(echo))
            return OrderCheckResult(
                retcode=retcode,
                balance=cents(money.equity - money.profit),
                equity=money.equity,
                profit=money.profit,
                margin=money.margin,
                margin_free=money.margin_free,
                margin_level=money.margin_level,
                comment=comment,
                request=echo,
            )

        def work() -> OrderCheckResult:
            return answer(self._barred() or self._broker.check(self._inside(echo)))

        return self._call("order_check", work, None, answer=answer)

    def order_calc_margin(self, *arguments: Any) -> float | None:
        """Return the margin of a deal in account currency; positions do not count."""
        asked = self._asked("order_calc_margin", arguments, {})
        if asked is None:
            return None
        action, symbol, volume, price = asked.unnamed

        def work() -> float:
            _check(volume > 0.0 and price > 0.0)
            return _known(self._broker.calc_margin(action, symbol, volume, price))

        return self._call("order_calc_margin", work, None)

    def order_calc_profit(self, *arguments: Any) -> float | None:
        """Return the profit of a deal from one price to another, in account currency."""
        asked = self._asked("order_calc_profit", arguments, {})
        if asked is None:
            return None
        action, symbol, volume, price_open, price_close = asked.unnamed

        def work() -> float:
            _check(volume > 0.0)
            prices = price_open, price_close
            return _known(self._broker.calc_profit(action, symbol, volume, *prices))

        return self._call("order_calc_profit", work, None)

    def order_send(self, *request: Any, **fields: Any) -> OrderSendResult | None:
        """Send an order, without any permit."""
        return self._send(nullcontext(), request, fields)

    def send_under(self, permit: Permit, request: Request) -> OrderSendResult | None:
        """Send an order; scripted waits are over, or not begun, while the permit is held."""
        return self._send(permit, (dict(request),), {})

    def _send(
        self, permit: Permit, request: tuple[Any, ...], fields: Mapping[str, Any]
    ) -> OrderSendResult | None:
        asked = self._asked("order_send", request, fields)
        if asked is None:
            return None
        raw = dict(request[0]) if request else dict(fields)
        echo = TradeRequest(**asked.unnamed[0])

        def answer(
            retcode: int, done: Executed | None = None, symbol: str = echo.symbol
        ) -> OrderSendResult:
            filled = NOTHING if done is None else done.filled
            quoted = retcode == mt5.TRADE_RETCODE_REQUOTE or (
                retcode in _EXECUTED and echo.action in _QUOTED
            )
            named = symbol in self.market.specs  # a close-by need not name its symbol
            price = self._broker.price(symbol) if quoted and named else None
            if retcode not in _HERE:
                self._requests += 1
            return OrderSendResult(
                retcode=retcode,
                deal=filled.deal,
                order=filled.order,
                volume=filled.volume,
                price=filled.price if echo.action in _PRICED else 0.0,
                bid=0.0 if price is None else price.bid,
                ask=0.0 if price is None else price.ask,
                comment=COMMENTS.get(retcode, ""),
                request_id=0 if retcode in _HERE else self._requests,
                request=echo,
            )

        def work() -> OrderSendResult:
            barred = self._barred()
            inside = self._broker.completed(self._inside(echo))
            done = Executed(barred, NOTHING) if barred else self._execute(inside)
            self._sent.append({**raw, "retcode": done.retcode})
            return answer(done.retcode, done, inside.symbol)

        return self._call("order_send", work, None, permit=permit, answer=answer)

    def _inside(self, request: TradeRequest) -> TradeRequest:
        """Return a request as the broker wants it: its expiry in UTC."""
        if not request.expiration or self._zone.name == "UTC":
            return request
        expiration = utc_seconds(request.expiration, self._zone)
        return changed(request, expiration=expiration)

    def _barred(self) -> int:
        """Return the retcode with which the terminal itself refuses, or 0."""
        if not self._autotrading:
            return mt5.TRADE_RETCODE_CLIENT_DISABLES_AT
        return 0 if self._connected else mt5.TRADE_RETCODE_CONNECTION


def _known(found: float | None) -> float:
    if found is None:
        raise FailError(INVALID_PARAMS)
    return found


def _check(fits: bool) -> None:
    if not fits:
        raise FailError(INVALID_PARAMS)
