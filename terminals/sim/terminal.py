"""The simulated terminal: the MetaTrader5 module's functions over a simulated broker.

It answers as the package does (docs/module.md): None or False with
`last_error()` on failure, `()` for nothing, the same fields in the same order.
It never touches money. Inside, market time is UTC; what programs see and give
is the broker's wall time, as everywhere in the package. Neither is the
caller's time.

Wrong arguments are refused here as by the package. What Python itself refuses
(keywords, too many arguments) is `terminals.module`'s.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from terminals.sim.calls import SUCCESS, UNAUTHORISED, FailError
from terminals.sim.charts import Charts
from terminals.sim.conditions import IDEAL, Conditions
from terminals.sim.faults import Fault
from terminals.sim.histories import Histories
from terminals.sim.looking import Looking
from terminals.sim.market import Market
from terminals.sim.script import FaultScript
from terminals.sim.sending import SENT_KEPT, Sending
from terminals.sim.server import Setup
from terminals.sim.zone import BrokerZone

Credentials: TypeAlias = tuple[int, str, str]


class SimulatedTerminal(Looking, Histories, Charts, Sending):
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
        conditions: Conditions = IDEAL,
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
        logs in with. `conditions` are how the broker deals. Raises Invalid for a bad state file.
        """
        setup = Setup(
            market=market,
            now=now,
            speed=speed,
            step=step,
            state=state,
            reload_state=reload_state,
            demo=demo,
            conditions=conditions,
        )
        super().__init__(setup, faults, hang)
        self._zone = BrokerZone(conditions.zone)
        self._subscribed = set()
        self._sent = deque(maxlen=SENT_KEPT)
        self._credentials = credentials
        self._given = {"login": login, "password": password, "server": server}
        self._requests = 0
        self._met = False

    def __repr__(self) -> str:
        """Name the account; credentials are not shown."""
        account = self._broker.book.account
        return f"SimulatedTerminal(login={account.login}, server={account.server!r})"

    # -- connecting

    def initialize(self, *path: str, **options: Any) -> bool:
        """Connect; with `login` (or one given at construction) authorise too.

        As in the package, an older connection is left first, so that failing
        ends it. `path`, `timeout` and `portable` are read, and mean nothing here.
        """
        asked = self._asked("initialize", path, options)
        if asked is None:
            return False

        def work() -> bool:
            self._initialized = False
            given = {**self._given, **asked.named}
            if given["login"]:
                self._authorise(given["login"], given["password"], given["server"])
            self._initialized = self._met = True
            return True

        return self._call("initialize", work, False, connects=True)

    def login(self, *unnamed: Any, **named: Any) -> bool:
        """Log in to an account that this terminal has had; failing changes nothing."""
        asked = self._asked("login", unnamed, named)
        if asked is None:
            return False
        given = {"password": None, "server": None, **asked.named}

        def work() -> bool:
            self._authorise(given["login"], given["password"], given["server"])
            return True

        return self._call("login", work, False)

    def _authorise(self, login: int, password: object, server: object) -> None:
        """Go to an account that this terminal has had, the present one first; else change nothing.

        Where there are credentials, no others will do.
        """
        known = (self._broker, *self._brokers.values())
        fitting = (
            broker
            for broker in known
            if broker.book.account.login == login
            and server in (None, "", broker.book.account.server)
        )
        found = next(fitting, None)
        if self._credentials is None:
            refused = found is None
        else:
            refused = (login, password, server) != self._credentials
        if refused:
            raise FailError(UNAUTHORISED)
        self._broker = found or self._broker

    def shutdown(self) -> bool:
        """Disconnect; the broker goes on."""
        with self._lock:
            self.calls["shutdown"] += 1
            self._initialized = False
            self._subscribed.clear()
            self._error = SUCCESS
        return True

    def last_error(self) -> tuple[int, str]:
        """Return how the newest call of any thread ended."""
        with self._lock:
            return self._error
