"""MT5Connector: owns the terminal, all of it. No one else calls MT5."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Final

from actors.actor import Context, Forwarded, GuardActor
from actors.events import Kind
from actors.flattening import Flattening
from actors.life import Answer
from actors.mailbox import Lane, Letter
from actors.messages import (
    ClearFaults,
    Connect,
    Enlist,
    EnlistMany,
    Execute,
    Flatten,
    FlattenJournalled,
    FlattenLate,
    FlattenOn,
    Freeze,
    InjectFault,
    LookUpHistory,
    Reconcile,
    Register,
    RegisterMany,
    TakeSnapshot,
)
from actors.names import RECOVERY, REGISTRY
from actors.runtime import Timer
from actors.sending import Sending
from actors.terminal_news import Build, TerminalNews
from defence.broker import (
    Account,
    Glance,
    Quote,
    Snapshot,
    TerminalState,
    Unknown,
)
from defence.errors import BrokerUnknown, DtmsError, Fault, StartRefused, TerminalRefused
from defence.newest import NewestQuotes
from defence.orders import Intent, Outcome
from terminals.constants import RES_E_AUTH_FAILED, RES_E_INVALID_VERSION
from terminals.glancing import Pace, glance
from terminals.order_fates import Expected, with_order_fates
from terminals.protocol import Terminal
from terminals.reading import (
    SymbolCache,
    account_of,
    read_histories,
    take_snapshot,
    terminal_state_of,
)
from terminals.sim.faults import plain_fault
from terminals.spoiling import spoilable

# By `last_error`, when trying again is no use before a person has changed something:
# what it means, the setting that it is about, and what to do.
_FOR_GOOD: Final = {
    RES_E_AUTH_FAILED: (
        "the terminal refused the login",
        "login",
        "check login, password and server",
    ),
    RES_E_INVALID_VERSION: (
        "the terminal and its Python package do not fit",
        "terminal",
        "pip install --upgrade MetaTrader5, and let the terminal update itself",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectorSettings:
    """How the terminal is reached. Times in seconds.

    `admit_account` is called with the account before anything is changed; it
    raises `StartRefused` if the guard must not run on it. `build` outlives an
    incarnation.
    """

    terminal: Callable[[], Terminal]
    admit_account: Callable[[Account], None]
    retry_first: float = 0.5
    retry_limit: float = 15.0
    retry_jitter: float = 0.25
    build: Build = field(default_factory=Build)


class MT5Connector(GuardActor):
    """Reads snapshots, looks up history, sends orders under a lease."""

    batch_limit: ClassVar[int] = 256
    ready_on_start: ClassVar[bool] = False

    def __init__(self, context: Context, settings: ConnectorSettings) -> None:
        super().__init__(context)
        self._settings = settings
        self._symbols = SymbolCache()
        self._pace = Pace()
        self._attempt = 0
        self._account: Account | None = None
        self._lost: str | None = None
        self._reconnecting = False
        self._next_try: Timer | None = None
        self._news = TerminalNews(self, settings.build)
        self._quotes = NewestQuotes()
        self._terminal: Terminal | None = None
        self._sending = Sending(
            self,
            terminal=lambda: self.terminal,
            account=lambda: self._account,
            symbols=self._symbols,
            news=self._news,
        )
        self._flattening = Flattening(self, look=self._look_for_ops, send=self._send_for_ops)

    def on_start(self) -> None:
        """Begin to connect; ready once the terminal answers for the right account."""
        self._terminal = self._settings.terminal()
        self.park("connecting to the terminal")
        self.tell(self.context.name, Connect())

    def on_stop(self) -> None:
        """Disconnect from the terminal; a flatten that waits is left to whoever comes next."""
        self._flattening.stop()
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
            case Enlist() | EnlistMany():
                return self._enlist([message])[0]
            case Execute():
                self._sending.execute(message.intent)
            case LookUpHistory():
                return self._histories(message.identifiers)
            case Connect():
                self._connect()
            case Freeze():
                return self._freeze(message)
            case InjectFault():
                spoilable(self.terminal).add_fault(message.fault)
                return {"injected": plain_fault(message.fault)}
            case ClearFaults():
                spoilable(self.terminal).clear_faults()
                return {"cleared": True}
            case Flatten():
                return self._flattening.begin(message, self.terminal)
            case FlattenLate():
                return self._flattening.late(message)
            case FlattenJournalled():
                self._flattening.journalled(message)
            case FlattenOn():
                return self._flattening.step(message)
            case _:
                return super().receive(message)
        return None

    def _freeze(self, message: Freeze) -> dict[str, object]:
        """Told before it is answered: who froze sees it, also while no Monitor lives.

        Always: a forerunner may have been frozen, and may not have lived to be thawed.
        """
        self.emit(Kind.FROZEN, frozen=message.frozen, by=message.by, why=message.why)
        self._sending.frozen = f"frozen by {message.by}" if message.frozen else None
        return {"frozen": message.frozen}

    def on_answer(self, answer: Answer) -> None:
        """Take the Registry's word about the orders of a flatten."""
        self._flattening.answered(answer)

    def receive_batch(self, letters: Sequence[Letter]) -> list[object]:
        """Answer all callers that wait for a look with one read of the broker."""
        asked = [one.message for one in letters if isinstance(one.message, Enlist | EnlistMany)]
        if len(asked) == len(letters):
            return self._enlist(asked)
        enlisted = iter(self._enlist(asked))
        shared: Snapshot | Unknown | None = None
        answers: list[object] = []
        for letter in letters:
            if isinstance(letter.message, Enlist | EnlistMany):
                answers.append(next(enlisted))
            elif isinstance(letter.message, TakeSnapshot):
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
            if code in _FOR_GOOD:
                what, field, remedy = _FOR_GOOD[code]
                raise TerminalRefused(f"{what}: {text} ({code})", field=field, remedy=remedy)
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
        self._tell_news(account, state)
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
            self._note_unread(read)
            return read
        self._note_read(read.account, read.terminal)
        quotes = self._dated(read.quotes)
        self._pace.open = len(read.open_positions())
        self.emit(Kind.SNAPSHOT, positions=self._pace.open, equity=read.account.equity)
        news = self._news
        return replace(read, quotes=quotes, refusal=news.refusal, probing=news.probing)

    def _enlist(self, asked: Sequence[Enlist | EnlistMany]) -> list[object]:
        """Look once for all that is asked, and hand the askers on to the registry."""
        if not asked:
            return []
        items = [
            item for one in asked for item in (one.items if isinstance(one, EnlistMany) else (one,))
        ]
        look = self._glance([(one.trade.ticket, one.trade.identifier) for one in items])
        if isinstance(look, Unknown):
            unknown = BrokerUnknown(
                f"the broker cannot be read: {look.reason}", remedy="try again in a moment"
            )
            return [unknown for _ in asked]
        # In the data lane: bounded, and the registry commits what waits there as one.
        return [Forwarded(REGISTRY, _registration(one, look), Lane.DATA) for one in asked]

    def _glance(self, wanted: Sequence[tuple[int, int | None]]) -> Glance | Unknown:
        if self._account is None:
            return Unknown("not connected to the terminal")
        read = glance(
            self.terminal,
            wanted,
            expected_login=self._account.login,
            expected_server=self._account.server,
            now=self.clock.wall,
            monotonic=self.clock.monotonic,
            symbols=self._symbols,
            pace=self._pace,
        )
        if isinstance(read, Unknown):
            self._note_unread(read)
            return read
        self._note_read(read.account, read.terminal)
        quotes = self._dated(read.quotes)
        return replace(read, quotes=quotes)

    def _note_unread(self, unknown: Unknown) -> None:
        self._note_lost(unknown.reason)
        self._reconnect_if_gone()

    def _note_read(self, account: Account, terminal: TerminalState) -> None:
        self._note_lost(None)
        self._account = account
        self._tell_news(account, terminal)

    def _tell_news(self, account: Account, state: TerminalState) -> None:
        self._news.read(account, state, self.terminal.name, real=self.terminal.real)

    def _dated(self, quotes: Mapping[str, Quote]) -> dict[str, Quote]:
        now = self.clock.wall()
        return {name: self._quotes.follow(quote, now) for name, quote in quotes.items()}

    def _reconnect_if_gone(self) -> None:
        if self._reconnecting:
            return
        state = terminal_state_of(self.terminal)
        if isinstance(state, Unknown) or not state.connected:
            self._connect_later(self._settings.retry_first)

    def _histories(self, identifiers: tuple[int, ...]) -> object:
        if self._account is None:
            return dict.fromkeys(identifiers, Unknown("not connected to the terminal"))
        login, server = self._account.login, self._account.server
        read = read_histories(
            self.terminal, identifiers, expected_login=login, expected_server=server
        )
        return with_order_fates(self.terminal, read, Expected(login, server))

    # -- acting

    def _connect_for_ops(self) -> None:
        """Connect now: a flatten does not wait behind the letter that will, after a restart."""
        if self._account is None and self.context.incarnation > 1:
            self._connect()

    def _look_for_ops(self) -> Snapshot | Unknown:
        self._connect_for_ops()
        return self._snapshot()

    def _send_for_ops(self, intent: Intent) -> Outcome:
        self._connect_for_ops()
        return self._sending.for_ops(intent)


def _registration(asked: Enlist | EnlistMany, look: Glance) -> Register | RegisterMany:
    """Return what the registry is asked, with the look that was taken for it."""
    if isinstance(asked, EnlistMany):
        return RegisterMany(tuple(Register(one.id, one.trade, look) for one in asked.items))
    return Register(asked.id, asked.trade, look)
