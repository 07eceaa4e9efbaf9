"""MT5Connector: owns the terminal, all of it. No one else calls MT5."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from actors.actor import Context, GuardActor
from actors.events import Kind
from actors.mailbox import Letter
from actors.messages import (
    Connect,
    Execute,
    Flatten,
    Freeze,
    LookUpHistory,
    Reconcile,
    RecordFlattened,
    RecordOutcome,
    TakeSnapshot,
)
from actors.names import MONITOR, RECOVERY, REGISTRY
from actors.runtime import Timer
from defence.broker import Account, Known, MarginMode, Position, Quote, Snapshot, Unknown
from defence.errors import DtmsError, Fault, StartRefused, TerminalRefused
from defence.orders import Intent, IntentKind, Outcome, OutcomeKind
from terminals.lease import Lease, Permit
from terminals.ordering import delete_pending, execute
from terminals.protocol import Terminal
from terminals.reading import (
    SymbolCache,
    account_check,
    account_of,
    pending_orders,
    quote_of,
    read_histories,
    take_snapshot,
    terminal_state_of,
)

AUTHORIZATION_FAILED = -6  # last_error; trying again with the same credentials is no use


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorSettings:
    """How the terminal is reached. Times in seconds.

    `admit_account` is called with the account before anything is changed; it
    raises `StartRefused` if the guard must not run on it.
    """

    terminal: Callable[[], Terminal]
    admit_account: Callable[[Account], None]
    retry_first: float = 0.5
    retry_limit: float = 15.0
    retry_jitter: float = 0.25


class MT5Connector(GuardActor):
    """Reads snapshots, looks up history, sends orders under a lease."""

    batch_limit: ClassVar[int] = 256
    ready_on_start: ClassVar[bool] = False

    def __init__(self, context: Context, settings: ConnectorSettings) -> None:
        super().__init__(context)
        self._settings = settings
        self._symbols = SymbolCache()
        self._attempt = 0
        self._account: Account | None = None
        self._lost: str | None = None
        self._reconnecting = False
        self._next_try: Timer | None = None
        self._frozen: str | None = None
        # A later incarnation says it anew, whatever its forerunner said last.
        self._cannot_act: str | None = None if context.incarnation == 1 else ""
        self._seen: dict[str, Quote] = {}
        self._terminal: Terminal | None = None

    def on_start(self) -> None:
        """Begin to connect; ready once the terminal answers for the right account."""
        self._terminal = self._settings.terminal()
        self.park("connecting to the terminal")
        self.tell(self.context.name, Connect())

    def on_stop(self) -> None:
        """Disconnect from the terminal."""
        if self._terminal is not None:
            self._terminal.shutdown()

    @property
    def terminal(self) -> Terminal:
        """The terminal, once `on_start` has run."""
        if self._terminal is None:
            raise Fault("the connector has no terminal before on_start")
        return self._terminal

    def receive(self, message: object) -> object:
        """See `actors.messages`, the connector."""
        match message:
            case TakeSnapshot():
                return self._snapshot()
            case Execute():
                self._execute(message.intent)
            case LookUpHistory():
                return self._histories(message.identifiers)
            case Connect():
                self._connect()
            case Freeze():
                self._frozen = f"frozen by {message.by}" if message.frozen else None
                return {"frozen": message.frozen}
            case Flatten():
                return self._flatten(message)
            case _:
                return super().receive(message)
        return None

    def receive_batch(self, letters: Sequence[Letter]) -> list[object]:
        """Answer all callers that wait for a snapshot with one read of the broker."""
        shared: Snapshot | Unknown | None = None
        answers: list[object] = []
        for letter in letters:
            if isinstance(letter.message, TakeSnapshot):
                if shared is None:
                    shared = self._snapshot()
                answers.append(shared)
            else:
                self.letter = letter
                try:
                    answers.append(self.receive(letter.message))
                except DtmsError as error:
                    if isinstance(error, Fault):
                        raise
                    answers.append(error)
        return answers

    # -- connecting

    def _connect(self) -> None:
        self._reconnecting = False
        self._attempt += 1
        self.emit(Kind.CONNECTING, attempt=self._attempt, terminal=self.terminal.name)
        first = self.context.incarnation == 1 and not self.context.vitals.ready
        try:
            problem = self._try_to_connect()
        except StartRefused as refusal:
            if first:
                raise  # a start is refused at once; later it is an outage like any other
            problem = str(refusal)
        except Exception as error:  # noqa: BLE001 - whatever the terminal raises, it is tried again
            problem = f"{type(error).__name__}: {error}"
        if problem is not None:
            self._retry(problem)
            return
        self._attempt = 0
        if self.context.vitals.ready:
            self.tell(RECOVERY, Reconcile("the terminal is back"), merge="reconcile")
        self.park(None)
        self.ready()

    def _try_to_connect(self) -> str | None:
        """Return why it is not connected, None if it is; raises `StartRefused` for good."""
        if not self.terminal.initialize():
            code, text = self.terminal.last_error()
            if code == AUTHORIZATION_FAILED:
                raise TerminalRefused(
                    f"the terminal refused the login: {text} ({code})",
                    field="login",
                    remedy="check login, password and server",
                )
            return f"{text} ({code})"
        state, account = terminal_state_of(self.terminal), account_of(self.terminal)
        if isinstance(state, Unknown):
            return state.reason
        if isinstance(account, Unknown):
            return account.reason
        if not state.connected:
            return "the terminal is not connected to its server"
        self._settings.admit_account(account)
        self._account = account
        self._note_lost(None)
        self.emit(
            Kind.CONNECTED,
            login=account.login,
            server=account.server,
            currency=account.currency,
            margin_mode=account.margin_mode.value,
            terminal=self.terminal.name,
            real=self.terminal.real,
            build=state.build,
        )
        return None

    def _retry(self, problem: str) -> None:
        settings = self._settings
        delay = min(settings.retry_limit, settings.retry_first * 2 ** min(self._attempt - 1, 20))
        delay *= 1 + settings.retry_jitter * self.context.runtime.random.random()
        self.emit(
            Kind.CONNECT_FAILED, attempt=self._attempt, error=problem, retry_in=round(delay, 2)
        )
        self._connect_later(delay)

    def _connect_later(self, delay: float) -> None:
        """Have one next try planned, whatever timers a forerunner left."""
        if self._next_try is not None:
            self._next_try.cancel()
        self._reconnecting = True
        self._next_try = self.later(delay, Connect(), merge="connect")

    def _note_lost(self, reason: str | None) -> None:
        if reason is not None and self._lost is None:
            self.emit(Kind.TERMINAL_LOST, reason=reason)
        elif reason is None and self._lost is not None:
            self.emit(Kind.TERMINAL_BACK)
            self.tell(RECOVERY, Reconcile("the terminal is back"), merge="reconcile")
        self._lost = reason

    # -- reading

    def _snapshot(self) -> Snapshot | Unknown:
        if self._account is None:
            return Unknown("not connected to the terminal")
        read = take_snapshot(
            self.terminal,
            snapshot_id=self.context.runtime.new_id(),
            expected_login=self._account.login,
            expected_server=self._account.server,
            now=self.clock.wall,
            symbols=self._symbols,
        )
        if isinstance(read, Unknown):
            self._note_lost(read.reason)
            self._reconnect_if_gone()
            return read
        self._note_lost(None)
        self._account = read.account
        self._note_permission(read)
        quotes = {name: self._dated(quote) for name, quote in read.quotes.items()}
        self.emit(Kind.SNAPSHOT, positions=len(read.open_positions()), equity=read.account.equity)
        return replace(read, quotes=quotes)

    def _dated(self, quote: Quote) -> Quote:
        """Note since when, on our clock, the quote has not moved: the broker's clock is its own."""
        before = self._seen.get(quote.symbol)
        same = before is not None and (before.bid, before.ask, before.time) == (
            quote.bid,
            quote.ask,
            quote.time,
        )
        if before is None or not same:
            before = replace(quote, seen_at=self.clock.wall())
            self._seen[quote.symbol] = before
        return before

    def _reconnect_if_gone(self) -> None:
        if self._reconnecting:
            return
        state = terminal_state_of(self.terminal)
        if isinstance(state, Unknown) or not state.connected:
            self._connect_later(self._settings.retry_first)

    def _note_permission(self, snapshot: Snapshot) -> None:
        account, terminal = snapshot.account, snapshot.terminal
        reason = None
        if not terminal.trade_allowed:
            reason = "trading by programs is switched off in the terminal (Algo Trading button)"
        elif not account.trade_allowed:
            reason = "the broker lets this login look, not trade (investor password?)"
        elif not account.trade_expert:
            reason = "the broker does not let programs trade on this account"
        if reason != self._cannot_act:
            self._cannot_act = reason
            self.emit(Kind.CANNOT_ACT, reason=reason)

    def _histories(self, identifiers: tuple[int, ...]) -> object:
        if self._account is None:
            return dict.fromkeys(identifiers, Unknown("not connected to the terminal"))
        return read_histories(
            self.terminal,
            identifiers,
            expected_login=self._account.login,
            expected_server=self._account.server,
        )

    # -- acting

    def _execute(self, intent: Intent) -> None:
        letter = self.letter
        if letter is not None and letter.attempted:
            # A forerunner died while it sent this. Nobody knows what became of
            # it, so it is not sent again: reconciliation finds out.
            self._tell_outcome(self._outcome(intent, OutcomeKind.UNKNOWN, "died while sending"))
            return
        decider = self.context.lease_of(MONITOR, intent.decided_by)
        if self._frozen is not None:
            self._tell_outcome(self._outcome(intent, OutcomeKind.NOT_SENT, self._frozen))
        elif decider is None:
            detail = f"fenced: decided by monitor #{intent.decided_by}, which was replaced"
            self._tell_outcome(self._outcome(intent, OutcomeKind.NOT_SENT, detail))
        else:
            self.context.points.reach("connector.before_send")
            if letter is not None:
                letter.attempted = True
            outcome = self._send(intent, self.context.lease, decider)
            self.context.points.reach("connector.after_send")
            self._tell_outcome(outcome)

    def _send(self, intent: Intent, *leases: Lease) -> Outcome:
        account = self._account
        if account is None:
            return self._outcome(intent, OutcomeKind.NOT_SENT, "not connected to the terminal")
        quote = quote_of(self.terminal, intent.symbol)
        facts = self._symbols.facts(self.terminal, intent.symbol, self.clock.wall())
        if quote is None or facts is None:
            return self._outcome(intent, OutcomeKind.NOT_SENT, "no price for the symbol")
        return execute(
            self.terminal,
            self._permit(account, *leases),
            intent,
            facts=facts,
            quote=quote,
            margin_mode=account.margin_mode,
            now=self.clock.wall,
        )

    def _permit(self, account: Account, *leases: Lease) -> Permit:
        check = account_check(
            self.terminal, expected_login=account.login, expected_server=account.server
        )
        return Permit(*leases, check=check)

    def _tell_outcome(self, outcome: Outcome) -> None:
        self.tell(REGISTRY, RecordOutcome(outcome))

    def _outcome(self, intent: Intent, kind: OutcomeKind, detail: str) -> Outcome:
        return Outcome(intent_id=intent.id, kind=kind, at=self.clock.wall(), detail=detail)

    def _flatten(self, message: Flatten) -> object:
        """Close every position and delete every order, under this incarnation's lease alone.

        The journal is written afterwards: this must work when the store is
        full. Done again, it closes what is still open and nothing else.
        """
        read = self._snapshot()
        if isinstance(read, Unknown):
            raise TerminalRefused(f"cannot flatten: {read.reason}", remedy="close in the terminal")
        pairs: list[tuple[Intent, Outcome]] = []
        for position in read.open_positions():
            intent = self._closing(position, message, read.account.margin_mode)
            pairs.append((intent, self._send(intent, self.context.lease)))
        orders = pending_orders(self.terminal)
        deleted: list[Outcome] = []
        if isinstance(orders, Known):
            permit = self._permit(read.account, self.context.lease)
            deleted.extend(
                delete_pending(
                    self.terminal,
                    permit,
                    order.ticket,
                    intent_id=f"{message.id}-order-{order.ticket}",
                    now=self.clock.wall,
                )
                for order in orders.value
            )
        self.tell(REGISTRY, RecordFlattened(message.id, tuple(pairs)))
        failed = [
            {"ticket": intent.ticket, "outcome": outcome.kind.value, "detail": outcome.detail}
            for intent, outcome in pairs
            if outcome.kind is not OutcomeKind.DONE
        ]
        return {
            "closed": len(pairs) - len(failed),
            "orders_deleted": sum(one.kind is OutcomeKind.DONE for one in deleted),
            "orders_not_deleted": sum(one.kind is not OutcomeKind.DONE for one in deleted),
            "orders_unknown": isinstance(orders, Unknown),
            "failed": failed,
        }

    def _closing(self, position: Position, message: Flatten, mode: MarginMode) -> Intent:
        now = self.clock.wall()
        return Intent(
            id=f"{message.id}-{position.ticket}",
            identifier=position.identifier,
            ticket=position.ticket,
            symbol=position.symbol,
            direction=position.direction,
            kind=IntentKind.CLOSE,
            step=None,
            volume=position.volume,
            volume_before=position.volume,
            stop_loss=position.stop_loss,
            take_profit=position.take_profit,
            stop_before=position.stop_loss,
            price_seen=position.price_current,
            reason=f"flatten by {message.by} ({mode.value} account)",
            magic=position.magic,
            decided_at=now,
            snapshot_at=now,
            decided_by=self.context.incarnation,
        )
