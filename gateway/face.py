"""What the gateway needs of a guard; `supervisors.Guard` is one, the tests have others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, Unpack

from actors.events import Event
from actors.mailbox import Counts
from defence.alerts import Alert
from defence.days import DaySummary
from defence.errors import DtmsError
from defence.history import Asked, Page
from defence.orders import Action
from defence.poison import PoisonRecord
from defence.trade import Registration, Trade, TradeRecord
from supervisors.overview import Health
from supervisors.settings import Settings


class Events(Protocol):
    """The guard's one stream of facts (`actors.events.EventStream`)."""

    @property
    def newest(self) -> int:
        """The number of the newest event."""
        ...

    def since(self, seq: int = 0) -> list[Event]:
        """Return the kept events after number `seq`, oldest first."""
        ...

    def listen(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Call `listener` with every later event; return the way to end that."""
        ...


class Guarded(Protocol):
    """A guard, as the gateway sees it. Only the methods with a `timeout` may block."""

    @property
    def settings(self) -> Settings:
        """The guard's settings."""
        ...

    @property
    def events(self) -> Events:
        """The guard's events."""
        ...

    @property
    def over(self) -> bool:
        """Whether the guard has stopped or died."""
        ...

    def token(self) -> str:
        """Return the bearer token; raises `NotReady` before the start."""
        ...

    def health(self) -> Health:
        """Judge health; never waits for an actor."""
        ...

    def monitoring_health(self) -> dict[str, object]:
        """Judge the Monitor (`ok`), and have it looked at; never waits for an actor."""
        ...

    def status(self) -> dict[str, object]:
        """Return everything at a glance; never waits for an actor."""
        ...

    def counts(self) -> dict[str, Counts]:
        """Return the mailbox counts of every child; never waits for an actor."""
        ...

    def register_many(
        self,
        trades: Sequence[Trade],
        *,
        request_ids: Sequence[str | None] | None = None,
        timeout: float = 10.0,
    ) -> list[Registration | DtmsError]:
        """Register several trades on one read of the broker."""
        ...

    def register_fields(
        self, fields: Mapping[str, object], request_id: str | None = None, timeout: float = 10.0
    ) -> dict[str, object]:
        """Register one trade; return the body of `POST /dtms/trade/enable`."""
        ...

    def release(self, ticket: int, *, by: str = "host", timeout: float = 10.0) -> TradeRecord:
        """Give a trade back to its user."""
        ...

    def trades(self, *, timeout: float = 5.0) -> tuple[TradeRecord, ...]:
        """Return the trades that are watched."""
        ...

    def trade(self, ticket: int, *, timeout: float = 5.0) -> TradeRecord:
        """Return one trade; raises `NotFound`."""
        ...

    def action_page(self, *, timeout: float = 5.0, **asked: Unpack[Asked]) -> Page[Action]:
        """Return a page of actions; raises `Invalid`."""
        ...

    def history(self, *, timeout: float = 5.0, **asked: Unpack[Asked]) -> Page[TradeRecord]:
        """Return a page of archived trades; raises `Invalid`."""
        ...

    def history_days(self, *, timeout: float = 5.0, **asked: Unpack[Asked]) -> Page[DaySummary]:
        """Return a page of the sums by day; raises `Invalid`."""
        ...

    def alerts(self, *, timeout: float = 5.0) -> tuple[Alert, ...]:
        """Return the alerts, newest first."""
        ...

    def poison(self, limit: int = 100, *, timeout: float = 5.0) -> tuple[PoisonRecord, ...]:
        """Return the newest messages that were set aside, newest first; raises `Invalid`."""
        ...

    def admin(
        self, command: str, *, by: str = "host", timeout: float = 10.0, **arguments: object
    ) -> dict[str, object]:
        """Carry out a control command."""
        ...
