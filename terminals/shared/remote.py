"""A guard's terminal that is the broker's of another process, which bots use at the same time.

    terminal = RemoteTerminal(find, call_timeout=9.0, log=log)
    terminal.initialize()       connects; False with a cause if no broker answers
    terminal.abort("why")       from any thread: ends the connection; whoever waits goes on
    terminal.close()            for good

The rules are those of a hosted terminal (terminals/worker): a call past its
time ends the connection and is unknown (-10005; -10002 if the connection ended
by itself), -10004 is only said when no byte has left, and each order has the
account looked at again in the same call. The next `initialize` connects anew.
"""

from __future__ import annotations

from collections.abc import Callable

from defence.errors import NotReady, TerminalRefused
from terminals.constants import RES_E_INTERNAL_FAIL_CONNECT
from terminals.shared.address import START, Address
from terminals.shared.line import Line
from terminals.worker.host import CALL_TIMEOUT, CONNECT_TIMEOUT
from terminals.worker.office import RemoteOffice
from terminals.worker.parting import Parting
from terminals.worker.plan import SIMULATED, Plan
from terminals.worker.process import Log


class RemoteTerminal(RemoteOffice):
    """The whole `Terminal`, of a broker in another process; its office where the broker lets us."""

    def __init__(
        self,
        find: Callable[[], Address],
        *,
        login: int | None = None,
        password: str | None = None,
        server: str | None = None,
        call_timeout: float = CALL_TIMEOUT,
        connect_timeout: float = CONNECT_TIMEOUT,
        log: Log | None = None,
    ) -> None:
        """Connect to nothing yet. `find` says where the broker is, each time anew.

        `call_timeout` is how long any call may take, in seconds. Raises
        Invalid for a time that is not above 0.
        """
        given = {"login": login, "password": password, "server": server}
        super().__init__(
            Plan(SIMULATED, given),
            call_timeout=call_timeout,
            connect_timeout=connect_timeout,
            log=log,
            spawn=lambda plan, _: Line(find, plan.options, wait=call_timeout),
            noun="broker",
            parting=_Soon(),
        )

    def initialize(self) -> bool:
        """Connect; False, with a cause in `last_error`, if no broker answers.

        That a connection has ended while nobody used it is noticed only now, so
        there is a second try.
        """
        if super().initialize():
            return True
        return self.last_error()[0] == RES_E_INTERNAL_FAIL_CONNECT and super().initialize()

    def start(self) -> None:
        """Connect, without `initialize`. Raises NotReady if no broker answers."""
        try:
            super().start()
        except TerminalRefused as error:
            raise NotReady(error.message, field="broker", remedy=START) from error


class _Soon(Parting):
    """A try costs next to nothing: the broker may be back at any time, and the caller waits."""

    def wait(self, now: float) -> float:
        """Return that there is nothing to wait for."""
        return 0.0
