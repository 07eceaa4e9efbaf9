"""A terminal behind an mt5linux server, offered as if it were here.

    terminal = BridgeTerminal(Place(), login=..., password=..., server=..., log=log)
    terminal.initialize()     a fresh connection if there is none, then the package's own
    terminal.abort("why")     from any thread: cuts the connection; whoever waits goes on

How a call goes is that of a hosted terminal (`worker.hosted`): one at a time,
each with a deadline; what has no answer by then is unknown (-10005; -10002 if
the connection ended), and the connection is dropped. -10004, "not sent", is
only said when no byte of the request has left, or when the far side looked and
did not send.

Unlike a worker, the server cannot be killed from here, so a call that was given
up may still run there. For an order that means: it does not begin any more once
its sender has given it up (the far side looks at the clock right before it
sends), and while one is under way no new connection is accepted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Final

from terminals.bridge.connection import Connection, far_side_text
from terminals.bridge.place import Place
from terminals.bridge.rpc import Language
from terminals.worker.host import CALL_TIMEOUT, CONNECT_TIMEOUT, SUCCESS
from terminals.worker.hosted import WorkerTerminal
from terminals.worker.parting import Parting
from terminals.worker.plan import Plan
from terminals.worker.process import Log

BRIDGE: Final = "bridge"


@dataclass(frozen=True, slots=True)
class BridgePlan(Plan):
    """What the package at the server is given. It crosses as arguments of `initialize` only."""

    def __post_init__(self) -> None:
        """Accept the kind, which no worker can host: a connection needs no process."""


class BridgeTerminal(WorkerTerminal):
    """The whole `Terminal`, of an mt5linux server. One server is one terminal and account."""

    def __init__(
        self,
        place: Place,
        *,
        path: str | None = None,
        login: int | None = None,
        password: str | None = None,
        server: str | None = None,
        portable: bool = False,
        timeout_ms: int = 60_000,
        call_timeout: float = CALL_TIMEOUT,
        connect_timeout: float = CONNECT_TIMEOUT,
        log: Log | None = None,
    ) -> None:
        """Connect nothing yet: `initialize` does. The rest is as for `NativeTerminal`.

        `path` is the terminal's executable as the server's Windows knows it.
        Times in seconds, but for `timeout_ms`. Raises TerminalRefused where
        RPyC is not installed, Invalid for a time that is not above 0 and for a
        program without its sources.
        """
        options = {
            "path": path,
            "login": login,
            "password": password,
            "server": server,
            "portable": portable,
            "timeout_ms": timeout_ms,
        }
        self._place = place
        super().__init__(
            BridgePlan(BRIDGE, options),
            call_timeout=call_timeout,
            connect_timeout=connect_timeout,
            log=log,
            spawn=partial(
                Connection,
                place=place,
                language=Language(),
                far_side=far_side_text(),
                call_timeout=call_timeout,
                connect_timeout=connect_timeout,
            ),
            noun=BRIDGE,
            parting=NoPause(),
        )

    def __repr__(self) -> str:
        """Name the server; credentials are not shown."""
        return f"BridgeTerminal({self._place})"

    def shutdown(self) -> bool:
        """Disconnect from the server.

        The package's own connection stays: it belongs to the server's process,
        and another program may trade through it.
        """
        with self._host.turn:
            self._host.abort("disconnected")
            self._host.note_error(*SUCCESS)
        return True


class NoPause(Parting):
    """The Connector waits between its tries; a connection that failed costs nobody anything."""

    __slots__ = ()

    def wait(self, now: float) -> float:
        """Return 0: at once."""
        return 0.0
