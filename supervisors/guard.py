"""Guard: the embeddable face. Start it, hand trades to it, ask it how it is.

It takes nothing from its host: no signal handler, no log sink, no exit, no
actor but its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields as fields_of
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack

from actors.events import EventStream
from actors.life import CheckHealth
from actors.mailbox import Counts, Lane
from actors.messages import (
    Command,
    FindActions,
    FindDays,
    FindHistory,
    GetTrade,
    ListAlerts,
    ListPoison,
    ListTrades,
    Release,
    TakeSnapshot,
)
from actors.names import ADMIN, ALERT, CONNECTOR, MONITOR, REGISTRY
from actors.points import Points
from actors.runtime import Runtime
from actors.threads import ThreadRuntime
from defence.alerts import Alert
from defence.broker import Snapshot, Unknown
from defence.days import DaySummary
from defence.errors import (
    BrokerUnknown,
    DeadlinePassed,
    DtmsError,
    Invalid,
    StartRefused,
)
from defence.history import Asked, Page, query_of
from defence.orders import Action
from defence.poison import PoisonRecord
from defence.trade import Registration, Trade, TradeRecord, iso, public_trade
from storage.folder import TOKEN
from supervisors.children import VITAL, silence_after
from supervisors.enlisting import Enlisting, terminal_silent
from supervisors.house import House
from supervisors.overview import Health, Overview, Seen, health
from supervisors.premises import MakePremises, Premises
from supervisors.settings import Settings
from supervisors.slot import ChildState
from terminals.protocol import Terminal

TRADE_FIELDS = frozenset(field.name for field in fields_of(Trade))


class Guard:
    """One guard of one account. Use it as a context manager, or `start` and `stop`.

    `runtime`, `terminal`, `points` and `premises` are seams for tests: another
    runtime, a ready terminal, places to strike, stores that are no files.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        runtime: Runtime | None = None,
        terminal: Terminal | None = None,
        points: Points | None = None,
        premises: MakePremises = Premises,
    ) -> None:
        self.settings = settings or Settings()
        self.points = points or Points()
        self._runtime: Runtime = runtime or ThreadRuntime()
        self.events = EventStream(self._runtime.clock)
        self._overview = Overview()
        self._token: tuple[tuple[int, ...], str] | None = None
        self.events.add_fold(self._overview)
        self._house = House(
            self.settings,
            self._runtime,
            self.events,
            self.points,
            terminal,
            self._overview,
            premises,
        )
        self._enlisting = Enlisting(self._house, self._overview, self._runtime)

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
        """Stop everything in order; idempotent, and right in any state.

        Not from a signal handler that may interrupt a call of this guard: it
        runs inside the very lock it needs. Set a flag there, and stop outside.
        """
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
        """Return the bearer token: the configured one, else the data folder's.

        Asked for with each request: the file is read again only when it has changed.
        """
        if self.settings.token is not None:
            return self.settings.token.get_secret_value()
        premises = self._house.premises
        shape = shape_of(premises.folder.path / TOKEN)
        kept = self._token
        if kept is not None and shape is not None and kept[0] == shape:
            return kept[1]
        token = premises.token()
        self._token = None if shape is None else (shape, token)
        return token

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
        return self._enlisting.one(trade, request_id, timeout)

    def register_many(
        self,
        trades: Sequence[Trade],
        *,
        request_ids: Sequence[str | None] | None = None,
        timeout: float = 10.0,
    ) -> list[Registration | DtmsError]:
        """Register several trades on one read of the broker; a refusal stands in its place."""
        return self._enlisting.many(trades, request_ids, timeout)

    def register_fields(
        self, fields: Mapping[str, object], request_id: str | None = None, timeout: float = 10.0
    ) -> dict[str, object]:
        """Register from plain fields, and answer in the shape of the HTTP API."""
        registration = self.register(trade_from(fields), request_id=request_id, timeout=timeout)
        return {"created": registration.created, "trade": public_trade(registration.trade)}

    def release(self, ticket: int, *, by: str = "host", timeout: float = 10.0) -> TradeRecord:
        """Give a trade back to its user: it is not touched and not adopted again."""
        self._enlisting.must_accept()
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
        return self.action_page(limit=limit, ticket=ticket, timeout=timeout).items

    def action_page(self, *, timeout: float = 5.0, **asked: Unpack[Asked]) -> Page[Action]:
        """Return a page of actions; `asked` as `defence.history.query_of` takes it."""
        message = FindActions(query_of(**asked))
        found: Page[Action] = self._house.ask(REGISTRY, message, timeout)
        return found

    def history(self, *, timeout: float = 5.0, **asked: Unpack[Asked]) -> Page[TradeRecord]:
        """Return a page of archived trades; `asked` as `defence.history.query_of` takes it."""
        message = FindHistory(query_of(**asked))
        found: Page[TradeRecord] = self._house.ask(REGISTRY, message, timeout)
        return found

    def history_days(self, *, timeout: float = 5.0, **asked: Unpack[Asked]) -> Page[DaySummary]:
        """Return a page of the sums by day of what was compacted, newest day first."""
        found: Page[DaySummary] = self._house.ask(REGISTRY, FindDays(query_of(**asked)), timeout)
        return found

    def alerts(self, *, timeout: float = 5.0) -> tuple[Alert, ...]:
        """Return the alerts of the outbox, newest first."""
        found: tuple[Alert, ...] = self._house.ask(ALERT, ListAlerts(), timeout)
        return found

    def poison(self, limit: int = 100, *, timeout: float = 5.0) -> tuple[PoisonRecord, ...]:
        """Return the newest messages that were set aside, newest first; at most 1000."""
        found: tuple[PoisonRecord, ...] = self._house.ask(ADMIN, ListPoison(limit), timeout)
        return found

    def snapshot(self, *, timeout: float = 10.0) -> Snapshot:
        """Read the broker now; raises `BrokerUnknown` if it cannot be read."""
        try:
            read = self._house.ask(CONNECTOR, TakeSnapshot(), timeout)
        except DeadlinePassed as error:
            raise terminal_silent(error) from None
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
            "backup": None
            if seen.backup is None
            else {"at": iso(seen.backup["at"]), "path": seen.backup["path"]},
            "leaked_threads": seen.leaked_threads,
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
            "poisoned": view.poisoned,
        }


def shape_of(path: Path) -> tuple[int, ...] | None:
    """Return what differs when a file was written anew, None if it is not there."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino, stat.st_mode


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
