"""A terminal for these tests: a small broker whose every answer can be scripted.

It is not the simulated terminal: it knows no market. It does what the test
says, call by call, and counts the calls.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from terminals.constants import (
    RES_S_OK,
    TRADE_ACTION_DEAL,
    TRADE_ACTION_REMOVE,
    TRADE_ACTION_SLTP,
    TRADE_RETCODE_DONE,
)
from terminals.structs import (
    AccountInfo,
    OrderSendResult,
    SymbolInfo,
    TerminalInfo,
    Tick,
    TradeDeal,
    TradeOrder,
    TradePosition,
)

LOGIN, SERVER = 5001000, "Simulated-Demo"


class Fails:
    """A scripted failure: the call answers None and leaves this in `last_error`."""

    def __init__(self, code: int, text: str = "scripted") -> None:
        self.error = (code, text)


def row(kind: type, base: Any = None, **changes: Any) -> Any:
    """Return a result row: `base` with changes, of the type that the terminal gives."""
    values = {} if base is None else base._asdict()
    return kind(**{**values, **changes})


def position(ticket: int = 11, **changes: Any) -> TradePosition:
    """Return a BUY of one lot EURUSD with a stop and a target."""
    values: dict[str, Any] = {
        "ticket": ticket,
        "identifier": ticket,
        "time": 1_700_000_000,
        "time_update_msc": 1_700_000_000_000,
        "type": 0,
        "magic": 7,
        "volume": 1.0,
        "price_open": 1.1000,
        "sl": 1.0950,
        "tp": 1.1200,
        "price_current": 1.1010,
        "symbol": "EURUSD",
        "comment": "",
    }
    return TradePosition(**{**values, **changes})


def deal(ticket: int, **changes: Any) -> TradeDeal:
    """Return an opening deal of position 11."""
    values: dict[str, Any] = {
        "ticket": ticket,
        "order": 11,
        "time": 1_700_000_000,
        "time_msc": 1_700_000_000_250,
        "type": 0,
        "entry": 0,
        "position_id": 11,
        "volume": 1.0,
        "price": 1.1,
        "symbol": "EURUSD",
    }
    return TradeDeal(**{**values, **changes})


class FakeTerminal:
    """One hedging account, connected, with whatever positions the test puts in."""

    name = "fake"
    real = False

    def __init__(self, *positions: TradePosition) -> None:
        self.positions = {each.ticket: each for each in positions}
        self.orders: dict[int, TradeOrder] = {}
        self.deals: list[TradeDeal] = []
        self.old_orders: list[TradeOrder] = []
        self.bid, self.ask = 1.1010, 1.1012
        self.login, self.server, self.connected = LOGIN, SERVER, True
        self.error: tuple[int, str] = (RES_S_OK, "Success")
        self.calls: Counter[str] = Counter()
        self.trail: list[str] = []
        self.sent: list[dict[str, Any]] = []
        self.effects = 0
        self.script: dict[tuple[str, int], Any] = {}
        self.always: dict[str, Any] = {}
        self.replies: list[Any] = []  # what each send answers: a retcode, a row, Fails, an error

    def on(self, call: str, answer: Any, nth: int | None = None) -> None:
        """Script a call: its `nth` time (from 1), or always."""
        if nth is None:
            self.always[call] = answer
        else:
            self.script[call, nth] = answer

    def _do(self, call: str, usual: Callable[[], Any]) -> Any:
        self.calls[call] += 1
        self.trail.append(call)
        nothing = object()
        answer = self.script.get((call, self.calls[call]), self.always.get(call, nothing))
        self.error = (RES_S_OK, "Success")
        if isinstance(answer, BaseException):
            raise answer
        if isinstance(answer, Fails):
            self.error = answer.error
            return None
        if answer is nothing:
            return usual()
        return answer() if callable(answer) else answer

    def initialize(self) -> bool:
        return True

    def shutdown(self) -> bool:
        return True

    def close(self) -> None:
        pass

    def last_error(self) -> tuple[int, str]:
        self.calls["last_error"] += 1
        self.trail.append("last_error")
        answer = self.always.get("last_error")
        if isinstance(answer, BaseException):
            raise answer
        return self.error

    def account_info(self) -> AccountInfo | None:
        return self._do(
            "account_info",
            lambda: AccountInfo(
                login=self.login,
                server=self.server,
                margin_mode=2,
                trade_allowed=True,
                trade_expert=True,
                balance=10_000.0,
                equity=10_010.0,
                currency="USD",
            ),
        )

    def terminal_info(self) -> TerminalInfo | None:
        return self._do(
            "terminal_info",
            lambda: TerminalInfo(
                connected=self.connected,
                trade_allowed=True,
                tradeapi_disabled=False,
                build=5000,
                name="Fake",
            ),
        )

    def symbol_info(self, symbol: str, /) -> SymbolInfo | None:
        return self._do(
            "symbol_info",
            lambda: SymbolInfo(
                name=symbol,
                digits=5,
                point=0.00001,
                trade_tick_size=0.00001,
                trade_tick_value=1.0,
                trade_contract_size=100_000.0,
                volume_min=0.01,
                volume_max=100.0,
                volume_step=0.01,
                trade_stops_level=0,
                trade_freeze_level=0,
                trade_mode=4,
                filling_mode=3,
                trade_exemode=2,
            ),
        )

    def symbol_info_tick(self, symbol: str, /) -> Tick | None:
        return self._do(
            "symbol_info_tick",
            lambda: Tick(
                time=1_700_000_100, time_msc=1_700_000_100_500, bid=self.bid, ask=self.ask
            ),
        )

    def symbol_select(self, symbol: str, enable: bool = True, /) -> bool:
        return True

    def positions_get(self, **chosen: Any) -> tuple[TradePosition, ...] | None:
        def usual() -> tuple[TradePosition, ...]:
            rows = self.positions.values()
            return tuple(r for r in rows if chosen.get("ticket", r.ticket) == r.ticket)

        return self._do("positions_get", usual)

    def orders_get(self, **chosen: Any) -> tuple[TradeOrder, ...] | None:
        def usual() -> tuple[TradeOrder, ...]:
            rows = self.orders.values()
            return tuple(r for r in rows if chosen.get("ticket", r.ticket) == r.ticket)

        return self._do("orders_get", usual)

    def history_deals_get(self, *_: Any, **chosen: Any) -> tuple[TradeDeal, ...] | None:
        def usual() -> tuple[TradeDeal, ...]:
            return tuple(
                r
                for r in self.deals
                if chosen.get("position", r.position_id) == r.position_id
                and chosen.get("ticket", r.order) == r.order
            )

        return self._do("history_deals_get", usual)

    def history_orders_get(self, *_: Any, **chosen: Any) -> tuple[TradeOrder, ...] | None:
        def usual() -> tuple[TradeOrder, ...]:
            return tuple(
                r
                for r in self.old_orders
                if chosen.get("position", r.position_id) == r.position_id
                and chosen.get("ticket", r.ticket) == r.ticket
            )

        return self._do("history_orders_get", usual)

    def copy_rates_from_pos(self, *_: Any) -> None:
        return None

    def order_check(self, request: Mapping[str, Any], /) -> None:
        return None

    def order_send(self, request: Mapping[str, Any], /) -> OrderSendResult | None:
        return self._do("order_send", lambda: self._carry_out(dict(request)))

    def send_under(self, permit: Any, request: Mapping[str, Any]) -> OrderSendResult | None:
        with permit:
            return self.order_send(request)

    def _carry_out(self, request: dict[str, Any]) -> OrderSendResult | None:
        """Answer with the next scripted reply; the effect follows only from DONE."""
        self.sent.append(request)
        reply = self.replies.pop(0) if self.replies else TRADE_RETCODE_DONE
        if isinstance(reply, BaseException):
            raise reply
        if isinstance(reply, Fails):
            self.error = reply.error
            return None
        if not isinstance(reply, int):
            return reply
        if reply != TRADE_RETCODE_DONE:
            return OrderSendResult(retcode=reply)
        self.effects += 1
        self._apply(request)
        volume, price = request.get("volume", 0.0), request.get("price", 0.0)
        return OrderSendResult(
            retcode=reply, volume=volume, price=price, order=501, deal=601, comment="Done"
        )

    def _apply(self, request: dict[str, Any]) -> None:
        if request["action"] == TRADE_ACTION_REMOVE:
            del self.orders[request["order"]]
            return
        ticket = request["position"]
        held = self.positions[ticket]
        if request["action"] == TRADE_ACTION_SLTP:
            self.positions[ticket] = row(TradePosition, held, sl=request["sl"], tp=request["tp"])
        elif request["action"] == TRADE_ACTION_DEAL:
            left = round(held.volume - request["volume"], 8)
            if left > 0:
                self.positions[ticket] = row(TradePosition, held, volume=left)
            else:
                del self.positions[ticket]
