"""What the root tells: noted for whoever waits, and handed on to the owner."""

from __future__ import annotations

import threading
from collections.abc import Callable

from actors.events import EventStream, Kind
from actors.log import log
from actors.names import ROOT
from defence.errors import DtmsError
from supervisors.owner import ChargeUnwritten, Escalated, Leaked, Owner, Poisoned


class Relay:
    """Stands between root and owner: the owner may be anybody's code, and may raise.

    `refused` is called when a refused start has been cleaned up, `dead` when
    the root cannot go on.
    """

    def __init__(
        self,
        owner: Owner,
        events: EventStream,
        *,
        refused: Callable[[], None],
        dead: Callable[[str], None],
    ) -> None:
        self.ready = False
        self.cause: DtmsError | None = None  # why the start was refused
        self.stopped = threading.Event()
        self._owner = owner
        self._events = events
        self._refused = refused
        self._dead = dead

    def all_ready(self) -> None:
        """Every child is ready for the first time."""
        self._tell(self._owner.all_ready)
        self.ready = True

    def start_refused(self, cause: DtmsError) -> None:
        """The first start failed."""
        self._events.publish(Kind.START_REFUSED, cause=str(cause), code=cause.code)
        self._tell(lambda: self._owner.start_refused(cause))
        self.cause = cause

    def all_stopped(self) -> None:
        """Every child has ended or is fenced."""
        self.stopped.set()
        self._tell(self._owner.all_stopped)
        if self.cause is not None:
            self._refused()

    def cannot_go_on(self, cause: str) -> None:
        """Nothing can be kept safe any more."""
        self._dead(cause)

    def died(self, cause: str) -> None:
        """Hand on the verdict, whoever came to it."""
        self._tell(lambda: self._owner.cannot_go_on(cause))

    def host_paused(self, seconds: float) -> None:
        """The machine slept, or its clock jumped."""
        self._tell(lambda: self._owner.host_paused(seconds))

    def escalated(self, fact: Escalated) -> None:
        """A child is down."""
        self._tell(lambda: self._owner.escalated(fact))

    def charge_unwritten(self, fact: ChargeUnwritten) -> None:
        """The ledger took no charge."""
        self._tell(lambda: self._owner.charge_unwritten(fact))

    def poisoned(self, fact: Poisoned) -> None:
        """A message was set aside."""
        self._tell(lambda: self._owner.poisoned(fact))

    def leaked(self, fact: Leaked) -> None:
        """The number of hung threads changed."""
        self._tell(lambda: self._owner.leaked(fact))

    def _tell(self, say: Callable[[], None]) -> None:
        try:
            say()
        except Exception:  # noqa: BLE001 - a host's owner must not harm its children
            log.bind(child=ROOT).opt(exception=True).error("the owner failed to take a fact")
