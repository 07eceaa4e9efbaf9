"""A guard that says what a test wants, and small ways to talk to a gateway."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from actors.clock import VirtualClock
from actors.events import EventStream
from actors.mailbox import Counts
from defence.alerts import Alert, Severity
from defence.broker import Direction
from defence.days import DaySummary
from defence.errors import DtmsError, NotFound
from defence.history import Page
from defence.orders import Action
from defence.poison import PoisonRecord
from defence.trade import Registration, Standing, Trade, TradeRecord, TradeState, public_trade
from gateway.server import Gateway
from supervisors.guard import trade_from
from supervisors.overview import Health
from supervisors.settings import Settings

TOKEN = "t0ken-of-this-guard"
AUTH = {"Authorization": f"Bearer {TOKEN}"}
HOSTILE = "<img src=x onerror=alert(1)>"
READY = Health(200, True, True, True, 1, ())
TICKET = 8_675_309


def a_record(ticket: int = TICKET, **changes: Any) -> TradeRecord:
    fields: dict[str, Any] = {
        "identifier": ticket,
        "ticket": ticket,
        "symbol": "EURUSD",
        "direction": Direction.BUY,
        "volume": 0.1,
        "entry_price": 1.1,
        "stop_loss": 1.09,
        "take_profit": None,
        "magic": 7,
        "managed_by": "bot",
        "standing": Standing.GUARDED,
        "state": TradeState.HEALTHY,
        "registered_at": 1_700_000_000.0,
        "updated_at": 1_700_000_000.0,
        "created_by": "m1",
        "initial_volume": 0.1,
    }
    return TradeRecord(**{**fields, **changes})


class FakeGuard:
    """Answers at once, fails with `errors[method]`, waits in `register_*` while `gate` is shut."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or fake_settings()
        self.clock = VirtualClock()
        self.events = EventStream(self.clock, keep=50_000)
        self.reset()

    def reset(self) -> None:
        self.over = False
        self.judged = READY
        self.monitoring = {"ok": True, "state": "ready", "reasons": []}
        self.errors: dict[str, BaseException] = {}
        self.per_item: list[DtmsError | None] = []
        self.calls: list[tuple[str, Any]] = []
        self.threads: dict[str, str] = {}
        self.how_many = 1
        self.next: str | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.inside = 0
        self._count = threading.Lock()

    def _called(self, method: str, *what: Any) -> None:
        self.calls.append((method, what))
        self.threads[method] = threading.current_thread().name
        if method in self.errors:
            raise self.errors[method]

    def token(self) -> str:
        self._called("token")
        return TOKEN

    def health(self) -> Health:
        return self.judged

    def monitoring_health(self) -> dict[str, object]:
        self._called("monitoring_health")
        return dict(self.monitoring)

    def status(self) -> dict[str, object]:
        self._called("status")
        child = {
            "state": "ready",
            "incarnation": 2,
            "restarts_in_window": 1,
            "budget_left": 2,
            "mailbox": 0,
            "last_exit": None,
            "parked": None,
            "poisoned": 3,
        }
        return {
            "ready": self.judged.ready,
            "reasons": list(self.judged.reasons),
            "mode": "armed",
            "paused": None,
            "terminal": {"terminal": "simulated", "real": False, "build": 5000},
            "account": {"login": 1, "server": HOSTILE},
            "active_trades": 1,
            "observed_trades": 0,
            "orders_in_doubt": 0,
            "leaked_threads": 2,
            "cycle": {
                "number": 9,
                "at": "2026-01-02T03:04:05.000+00:00",
                "evaluated": 1,
                "skipped": {f"ticket {TICKET} has no quote": 2},
                "intents": 0,
                "took": 0.25,
            },
            "backup": {"at": "2026-01-02T03:00:00.000+00:00", "path": "/b/1"},
            "children": {"monitor": child, "registry": {**child, "state": "escalated"}},
        }

    def counts(self) -> dict[str, Counts]:
        return {"monitor": Counts(10, 6, 1, 1, 1, 1, 3, 4)}

    def register_many(
        self,
        trades: Sequence[Trade],
        *,
        request_ids: Sequence[str | None] | None = None,
        timeout: float = 10.0,
    ) -> list[Registration | DtmsError]:
        self._called("register_many", tuple(trades), tuple(request_ids or ()))
        errors = self.per_item or [None] * len(trades)
        return [
            Registration(created=True, trade=a_record(trade.ticket)) if error is None else error
            for trade, error in zip(trades, errors, strict=True)
        ]

    def register_fields(
        self, fields: Mapping[str, object], request_id: str | None = None, timeout: float = 10.0
    ) -> dict[str, object]:
        trade = trade_from(fields)
        with self._count:
            self.inside += 1
        try:
            if not self.gate.wait(10):
                raise AssertionError("nobody opened the gate")
            self._called("register_fields", dict(fields), request_id)
        finally:
            with self._count:
                self.inside -= 1
        return {"created": True, "trade": public_trade(a_record(trade.ticket))}

    def release(self, ticket: int, *, by: str = "host", timeout: float = 10.0) -> TradeRecord:
        self._called("release", ticket, by)
        return a_record(ticket, standing=Standing.RELEASED)

    def trades(self, *, timeout: float = 5.0) -> tuple[TradeRecord, ...]:
        self._called("trades")
        return (a_record(symbol=HOSTILE),) * self.how_many

    def trade(self, ticket: int, *, timeout: float = 5.0) -> TradeRecord:
        self._called("trade", ticket)
        if ticket != TICKET:
            raise NotFound("no such trade", field="ticket", value=ticket)
        return a_record()

    def action_page(self, *, timeout: float = 5.0, **asked: Any) -> Page[Action]:
        self._called("actions", asked.get("limit", 100), asked.get("ticket"))
        action = Action(
            id="a1",
            at=1_700_000_000.0,
            identifier=TICKET,
            ticket=TICKET,
            symbol="EURUSD",
            kind="registered",
            detail=HOSTILE,
        )
        return Page((action,), self.next)

    def history(self, *, timeout: float = 5.0, **asked: Any) -> Page[TradeRecord]:
        self._called("history", asked)
        closed = a_record(
            symbol=HOSTILE,
            standing=Standing.CLOSED,
            closed_at=1_700_000_000.0,
            close_reason="sl",
            close_profit=-2.5,
        )
        return Page((closed,), self.next)

    def history_days(self, *, timeout: float = 5.0, **asked: Any) -> Page[DaySummary]:
        self._called("history_days", asked)
        summary = DaySummary(
            day=19_675, symbol=HOSTILE, closed=2, won=1, actions={"move_stop": {"done": 3}}
        )
        return Page((summary,), self.next)

    def alerts(self, *, timeout: float = 5.0) -> tuple[Alert, ...]:
        self._called("alerts")
        return (
            Alert(
                id="x1",
                key="k",
                severity=Severity.CRITICAL,
                title=HOSTILE,
                text="text",
                raised_at=1_700_000_000.0,
                last_at=1_700_000_000.0,
            ),
        )

    def poison(self, limit: int = 100, *, timeout: float = 5.0) -> tuple[PoisonRecord, ...]:
        self._called("poison", limit)
        return (
            PoisonRecord(
                at=1_700_000_000.0,
                child="registry",
                incarnation=2,
                message="Register",
                id="p1",
                error=HOSTILE,
                shown=HOSTILE,
                lane="data",
            ),
        )

    def admin(
        self, command: str, *, by: str = "host", timeout: float = 10.0, **arguments: object
    ) -> dict[str, object]:
        self._called("admin", command, by, arguments)
        return {"command": command, "odd": float("nan")}


def fake_settings(**changes: Any) -> Settings:
    return Settings(**{"port": 0, "rate_limit": 0, "max_body": 16_384, **changes})


@contextmanager
def serving(guard: Any, settings: Settings | None = None, **options: Any) -> Iterator[Gateway]:
    gateway = Gateway(guard, settings or guard.settings, **options).bind()
    try:
        yield gateway.listen()
    finally:
        gateway.stop(2.0)


def raw(gateway: Gateway, request: bytes, *, buffer: int = 0) -> tuple[int, bytes, bytes]:
    """Send bytes as they are; return status, head and body of the answer.

    With a small `buffer` nothing is sent that the other side does not read.
    """
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=5) as talk:
        if buffer:
            talk.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
        talk.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += _more(talk)
        head, _, body = answer.partition(b"\r\n\r\n")
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
                while len(body) < length:
                    body += _more(talk)
                body = body[:length]  # another answer may follow
    return int(head.split(b" ")[1]), head, body


def _more(talk: socket.socket) -> bytes:
    piece = talk.recv(65_536)
    if not piece:
        raise ConnectionError("the gateway hung up")
    return piece


def hung_up(talk: socket.socket) -> bool:
    """Read on; return whether the other side ends the connection, in whatever way, in time."""
    try:
        while talk.recv(1 << 20):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True
