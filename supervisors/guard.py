"""Guard: the embeddable face. Start it, hand trades to it, ask it how it is.

It takes nothing from its host: no signal handler, no log sink, no exit, no
actor but its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields as fields_of
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pykka import Future

from actors.events import EventStream
from actors.mailbox import Counts, Lane
from actors.messages import (
    CheckHealth,
    Command,
    GetTrade,
    ListActions,
    ListAlerts,
    ListTrades,
    Register,
    Release,
    TakeSnapshot,
)
from actors.names import ADMIN, ALERT, CONNECTOR, MONITOR, REGISTRY
from actors.points import Points
from actors.runtime import Runtime
from actors.threads import ThreadRuntime
from defence.alerts import Alert
from defence.broker import Snapshot, Unknown
from defence.errors import (
    BrokerUnknown,
    DeadlinePassed,
    DtmsError,
    Invalid,
    NotReady,
    StartRefused,
    Stopped,
)
from defence.orders import Action
from defence.registration import check_shape
from defence.trade import Registration, Trade, TradeRecord, iso, public_trade
from supervisors.children import VITAL, silence_after
from supervisors.house import House
from supervisors.overview import Health, Overview, Seen, health
from supervisors.settings import Settings
from supervisors.slot import ChildState
from terminals.protocol import Terminal

TRADE_FIELDS = frozenset(field.name for field in fields_of(Trade))


class Guard:
    """One guard of one account. Use it as a context manager, or `start` and `stop`.

    `runtime`, `terminal` and `points` are seams for tests: another runtime,
    a ready terminal, places to strike.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        runtime: Runtime | None = None,
        terminal: Terminal | None = None,
        points: Points | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.points = points or Points()
        self._runtime: Runtime = runtime or ThreadRuntime()
        self.events = EventStream(self._runtime.clock)
        self._overview = Overview()
        self.events.add_fold(self._overview)
        self._house = House(
            self.settings, self._runtime, self.events, self.points, terminal, self._overview
        )

    # -- life

    def start(self, *, block: bool = True) -> Self:
        """Start; with `block` return when ready. Raises `StartRefused`.

        Without `block` it returns at once: `wait_ready` and `health` tell the
        rest, and a refused start is cleaned up by itself.
        """
        self._house.open()
        if block:
            try:
                self.wait_ready()
            except BaseException:  # a Ctrl-C in the wait too: `__exit__` will not run
                self.stop()
                raise
        return self

    def wait_ready(self) -> None:
        """Wait until ready; raises `StartRefused` with the cause if that cannot be."""
        house = self._house
        # The root refuses a start that takes too long; the rest is for cleaning up.
        limit = self.settings.timeout + 10.0
        self._runtime.wait_until(
            lambda: house.ready or house.cause is not None or house.over, limit
        )
        if house.ready:
            return
        cause = house.cause or StartRefused("the start came to no end", remedy="see the log")
        self.stop()
        raise cause if isinstance(cause, StartRefused) else StartRefused(str(cause))

    def stop(self) -> None:
        """Stop everything in order; idempotent, and right in any state."""
        self._house.close()

    def wait(self, timeout: float | None = None) -> str | None:
        """Wait until the guard is over, at most `timeout` seconds.

        Returns the cause if it has died, None if it was stopped or still runs
        (`over` tells which).
        """
        self._runtime.wait_until(lambda: self._house.over, 1e9 if timeout is None else timeout)
        return self._house.died

    @property
    def over(self) -> bool:
        """Whether the guard has stopped or died."""
        return self._house.over

    @property
    def data_dir(self) -> Path:
        """The data folder, absolute."""
        return self._house.premises.path

    def token(self) -> str:
        """Return the bearer token: the configured one, else the data folder's."""
        return self._house.premises.token()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # -- trades

    def register(
        self, trade: Trade, *, request_id: str | None = None, timeout: float = 10.0
    ) -> Registration:
        """Put a trade under guard; durable when it returns. `.created` says whether it was new.

        The same `request_id` again gives the same answer. Raises `Invalid`,
        `NotFound`, `Conflict`; `NotReady`, `BrokerUnknown`, `MailboxFull`,
        `StoreFull` or `DeadlinePassed`, after which it may be sent again.
        """
        answer = self.register_many([trade], request_ids=[request_id], timeout=timeout)[0]
        if isinstance(answer, DtmsError):
            raise answer
        return answer

    def register_many(
        self,
        trades: Sequence[Trade],
        *,
        request_ids: Sequence[str | None] | None = None,
        timeout: float = 10.0,
    ) -> list[Registration | DtmsError]:
        """Register several trades on one read of the broker; a refusal stands in its place."""
        self._must_accept()
        ids = request_ids or [None] * len(trades)
        answers: list[Registration | DtmsError | Future[Any]] = []
        checked: list[Trade | DtmsError] = []
        for trade in trades:
            try:
                checked.append(check_shape(trade))
            except DtmsError as error:
                checked.append(error)
        if not any(isinstance(one, Trade) for one in checked):
            return [one for one in checked if isinstance(one, DtmsError)]
        snapshot = self.snapshot(timeout=timeout)
        registry = self._house.address(REGISTRY)
        for one, request_id in zip(checked, ids, strict=True):
            if isinstance(one, DtmsError):
                answers.append(one)
                continue
            message = Register(request_id or self._runtime.new_id(), one, snapshot)
            try:
                answers.append(registry.ask_later(message, timeout=timeout))
            except DtmsError as error:
                answers.append(error)
        return [self._collect(answer, timeout) for answer in answers]

    def _collect(
        self, answer: Registration | DtmsError | Future[Any], timeout: float
    ) -> Registration | DtmsError:
        if not isinstance(answer, Future):
            return answer
        try:
            registration: Registration = self._house.wait(answer, timeout, REGISTRY)
        except DtmsError as error:
            return error
        return registration

    def register_fields(
        self, fields: Mapping[str, object], request_id: str | None = None, timeout: float = 10.0
    ) -> dict[str, object]:
        """Register from plain fields, and answer in the shape of the HTTP API."""
        registration = self.register(trade_from(fields), request_id=request_id, timeout=timeout)
        return {"created": registration.created, "trade": public_trade(registration.trade)}

    def release(self, ticket: int, *, by: str = "host", timeout: float = 10.0) -> TradeRecord:
        """Give a trade back to its user: it is not touched and not adopted again."""
        self._must_accept()
        record: TradeRecord = self._house.ask(REGISTRY, Release(ticket, by), timeout)
        return record

    def trades(self, *, timeout: float = 5.0) -> tuple[TradeRecord, ...]:
        """Return the trades that are watched."""
        found: tuple[TradeRecord, ...] = self._house.ask(REGISTRY, ListTrades(), timeout)
        return found

    def trade(self, ticket: int, *, timeout: float = 5.0) -> TradeRecord:
        """Return one trade, archived ones included; raises `NotFound`."""
        record: TradeRecord = self._house.ask(REGISTRY, GetTrade(ticket), timeout)
        return record

    def actions(
        self, limit: int = 100, ticket: int | None = None, *, timeout: float = 5.0
    ) -> tuple[Action, ...]:
        """Return the newest actions, newest first."""
        message = ListActions(limit, ticket)
        found: tuple[Action, ...] = self._house.ask(REGISTRY, message, timeout)
        return found

    def alerts(self, *, timeout: float = 5.0) -> tuple[Alert, ...]:
        """Return the alerts of the outbox, newest first."""
        found: tuple[Alert, ...] = self._house.ask(ALERT, ListAlerts(), timeout)
        return found

    def snapshot(self, *, timeout: float = 10.0) -> Snapshot:
        """Read the broker now; raises `BrokerUnknown` if it cannot be read."""
        try:
            read = self._house.ask(CONNECTOR, TakeSnapshot(), timeout)
        except DeadlinePassed as error:
            raise BrokerUnknown(
                f"the terminal does not answer: {error.message}", remedy="try again in a moment"
            ) from None
        if isinstance(read, Unknown):
            raise BrokerUnknown(
                f"the broker cannot be read: {read.reason}", remedy="try again in a moment"
            )
        snapshot: Snapshot = read
        return snapshot

    # -- ops

    def admin(
        self, command: str, *, by: str = "host", timeout: float = 10.0, **arguments: object
    ) -> dict[str, object]:
        """Carry out a control command (DESIGN, Control); audited."""
        message = Command(self._runtime.new_id(), command, by, arguments)
        answer = self._house.ask(ADMIN, message, timeout, lane=Lane.CONTROL)
        return dict(answer) if isinstance(answer, Mapping) else {"result": answer}

    # -- looking

    def health(self) -> Health:
        """Judge health from the event stream; never waits for an actor."""
        return health(
            self._overview.seen,
            now=self._runtime.clock.wall(),
            stale_after=self._stale_after,
            no_cycle_after=self._no_cycle_after,
            vital=VITAL,
        )

    @property
    def _stale_after(self) -> float:
        """Cycles further apart than `stale_after` are no reason to call the broker unread."""
        settings = self.settings
        return max(settings.stale_after, settings.cycle_interval + settings.hang_after)

    @property
    def _no_cycle_after(self) -> float:
        """A short outage leaves the guard ready; a Monitor without a cycle for longer does not."""
        return max(self._stale_after, silence_after(self.settings))

    def monitoring_health(self) -> dict[str, object]:
        """Judge the Monitor, and have the root look at its children now.

        The key `ok` says whether monitoring goes on.
        """
        self._house.tell_root(CheckHealth(by="asked"))
        seen, now = self._overview.seen, self._runtime.clock.wall()
        view = seen.children[MONITOR]
        age = None if seen.cycle_at is None else now - seen.cycle_at
        limit = silence_after(self.settings) if view.parked is None else self._no_cycle_after
        silent = age is None or (abs(age) > limit and seen.paused is None)
        judged = self.health()
        ok = view.state is ChildState.READY and not silent and judged.ready
        reasons = list(judged.reasons)
        if view.state is ChildState.READY and silent:
            reasons.append("no cycle yet" if age is None else f"no cycle for {age:.0f} s")
        return {
            "ok": ok,
            "state": view.state.value,
            "incarnation": view.incarnation,
            "last_cycle_age": None if age is None else round(age, 3),
            "cycle": seen.cycle,
            "restarts_in_window": view.restarts_in_window,
            "budget_left": view.budget_left,
            "last_exit": view.last_exit,
            "reasons": reasons,
        }

    def status(self) -> dict[str, object]:
        """Return everything at a glance (DESIGN, HTTP, shapes)."""
        seen, judged = self._overview.seen, self.health()
        return {
            "ready": judged.ready,
            "reasons": list(judged.reasons),
            "phase": seen.phase,
            "mode": seen.mode,
            "paused": seen.paused,
            "terminal": None if seen.terminal is None else dict(seen.terminal),
            "account": None if seen.account is None else dict(seen.account),
            "active_trades": seen.active_trades,
            "observed_trades": seen.observed,
            "orders_in_doubt": seen.in_doubt,
            "cycle": {
                "number": seen.cycle,
                "at": iso(seen.cycle_at),
                "evaluated": seen.cycle_facts.get("evaluated"),
                "skipped": seen.cycle_facts.get("skipped", {}),
                "intents": seen.cycle_facts.get("intents"),
                "took": seen.cycle_facts.get("took"),
            },
            "reconciled_at": iso(seen.reconciled_at),
            "children": {name: self._child(name, seen) for name in seen.children},
        }

    def counts(self) -> dict[str, Counts]:
        """Return the mailbox counts of every child and the root; they balance."""
        return self._house.counts()

    def _child(self, name: str, seen: Seen) -> dict[str, object]:
        view, counts = seen.children[name], self._house.count(name)
        return {
            "state": view.state.value,
            "incarnation": view.incarnation,
            "restarts_in_window": view.restarts_in_window,
            "budget_left": view.budget_left,
            "mailbox": None if counts is None else counts.waiting + counts.in_hand,
            "last_exit": view.last_exit,
            "parked": view.parked,
        }

    def _must_accept(self) -> None:
        """Refuse while nobody may be told that a trade is guarded.

        A child that is being restarted is no reason: its mailbox is open, and
        the answer comes from its next incarnation.
        """
        seen = self._overview.seen
        if self._house.over or seen.phase in ("stopping", "stopped", "died", "refused"):
            raise Stopped(
                f"the guard is over: {seen.cause or seen.phase}", remedy="start a new one"
            )
        if seen.phase != "ready":
            raise NotReady(f"the guard is {seen.phase}", remedy="try again when it is ready")
        down = [n for n in VITAL if seen.children[n].state is ChildState.ESCALATED]
        if down:
            raise NotReady(
                f"{', '.join(down)} is down", remedy=f"ctl reset-budget {down[0]}, then try again"
            )


def trade_from(fields: Mapping[str, object]) -> Trade:
    """Return a registration from plain fields; raises `Invalid` for a name it does not have."""
    unknown = sorted(set(fields) - TRADE_FIELDS)
    if unknown:
        raise Invalid(
            "there is no such field",
            field=unknown[0],
            value=fields[unknown[0]],
            remedy=f"one of {', '.join(sorted(TRADE_FIELDS))}",
        )
    if "ticket" not in fields:
        raise Invalid("is required", field="ticket", remedy="give the position's ticket")
    return Trade(**fields)  # type: ignore[arg-type]  # check_shape judges the types
