"""Supervisor: children, their root and its watchdog as one thing that starts and stops.

    from supervisors import ChildSpec, Supervisor

    with Supervisor([ChildSpec(name="counter", factory=Counter)]) as tree:
        tree.ask("counter", Add(1), timeout=5.0)

It knows nothing of guards and trades. It takes nothing from its host: no
signal handler, no log sink, no exit, no actor but its own.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

from actors.actor import Context, Vitals
from actors.events import EventStream, Kind
from actors.incarnation import Incarnation
from actors.life import Begin, ExitReport, ResetBudget, RestartChild, ShutDown, Stop
from actors.log import log
from actors.mailbox import Counts, Lane, Mailbox
from actors.names import ROOT
from actors.points import Points
from actors.post import Address, Post, current_child
from actors.runtime import Runtime
from actors.threads import ThreadRuntime
from defence.errors import DtmsError, StartRefused, Stopped
from supervisors.ends import RELEASE_WAIT, RELEASES, REVOKE_WAIT
from supervisors.owner import Ledger, MemoryLedger, Owner, RememberingOwner, RootSettings
from supervisors.relay import Relay
from supervisors.root import RootSupervisor
from supervisors.slot import ChildSlot, ChildState
from supervisors.spec import ChildSpec, check_names
from supervisors.watchdog import Watchdog
from terminals.lease import Lease

ROOT_STUCK_AFTER: Final = 15.0  # seconds
CLEANING_UP: Final = 10.0  # seconds beyond the time-out of the start until nobody waits any more


class Supervisor:
    """A supervised tree of actors. Use it as a context manager, or `start` and `stop`; once.

    `specs` are in the order of the start; the stop is its reverse. What is
    left out is made: threads, a ledger in memory, an owner that remembers
    what it is told. A runtime that is handed in is its maker's to close.
    Raises `Invalid` for two children of one name.
    """

    def __init__(
        self,
        specs: Sequence[ChildSpec],
        *,
        runtime: Runtime | None = None,
        ledger: Ledger | None = None,
        owner: Owner | None = None,
        settings: RootSettings | None = None,
        events: EventStream | None = None,
        points: Points | None = None,
    ) -> None:
        check_names(specs)
        self.runtime: Runtime = ThreadRuntime() if runtime is None else runtime
        self.events = EventStream(self.runtime.clock) if events is None else events
        self.points = Points() if points is None else points
        self.owner: Owner = RememberingOwner() if owner is None else owner
        self.ledger: Ledger = MemoryLedger() if ledger is None else ledger
        self.settings = settings or RootSettings()
        self.post = Post(self.runtime, self.events)
        self.over = False
        self.died: str | None = None
        self._own_runtime = runtime is None
        self._verdict = threading.Lock()  # held for good by whoever declares it dead
        self._closing = threading.RLock()  # a listener may stop what is stopping
        self._closer: threading.Thread | None = None
        self._begun = False
        self._process = os.getpid()
        self._watchdog: Watchdog | None = None
        now = self.runtime.clock.monotonic
        self.slots: tuple[ChildSlot, ...] = tuple(
            ChildSlot(spec, Mailbox(spec.name, now=now, data_limit=spec.data_limit))
            for spec in specs
        )
        self._box = Mailbox(ROOT, now=now)
        for box in (*(slot.mailbox for slot in self.slots), self._box):
            self.post.add(box)
        self._relay = Relay(
            self.owner, self.events, refused=self.stop_soon, dead=self._declare_dead
        )
        self.actor = RootSupervisor(
            self._context(), self.slots, self.ledger, self._relay, self.settings
        )
        self.root = Incarnation(self.actor, self._root_ended)

    def _context(self) -> Context:
        return Context(
            name=ROOT,
            incarnation=1,
            mailbox=self._box,
            post=self.post,
            runtime=self.runtime,
            events=self.events,
            lease=Lease(ROOT, 1),
            points=self.points,
            vitals=Vitals(self.runtime.clock.monotonic()),
            announce=lambda _: None,
            lease_of=lambda _child, _number: None,
        )

    @property
    def ready(self) -> bool:
        """Whether every child has been ready."""
        return self._relay.ready

    @property
    def cause(self) -> DtmsError | None:
        """Why the start was refused, None if it was not."""
        return self._relay.cause

    # -- life

    def start(self, *, block: bool = True) -> Self:
        """Start the children in order; with `block` return when all are ready.

        Raises `StartRefused` with the cause when one fails; then what was
        started is stopped first. Without `block` it returns at once:
        `wait_ready` and the owner tell the rest, and a refused start is
        cleaned up by itself.
        """
        if self._begun:
            raise StartRefused("a supervisor starts once", remedy="make a new one")
        self._begun = True
        self.root.context.vitals.progress_at = self.runtime.clock.monotonic()
        try:
            self._box.open_for(1)
            self.runtime.run(self.root)
            self._watch()
            self._to_root(Begin())
        except BaseException as error:
            self._declare_dead(f"it cannot be started: {error!r}")
            self.stop()
            raise
        if block:
            try:
                self.wait_ready()
            except BaseException:  # a Ctrl-C in the wait too: `__exit__` will not run
                self.stop()
                raise
        return self

    def _watch(self) -> None:
        if not isinstance(self.runtime, ThreadRuntime):
            return  # its one thread cannot be watched by another
        stuck_after = max(ROOT_STUCK_AFTER, 3 * self.settings.check_every)
        self._watchdog = Watchdog(
            self.root, self.runtime.clock, self._declare_dead, stuck_after=stuck_after
        )
        self._watchdog.start()

    def wait_ready(self) -> None:
        """Wait until ready; raises `StartRefused` with the cause if that cannot be."""
        # The root refuses a start that takes too long; the rest is for cleaning up.
        limit = self.settings.startup_timeout + CLEANING_UP
        self.runtime.wait_until(lambda: self.ready or self.cause is not None or self.over, limit)
        if self.ready:
            return
        cause = self.cause or StartRefused("the start came to no end", remedy="see the log")
        self.stop()
        raise cause if isinstance(cause, StartRefused) else StartRefused(str(cause))

    def stop(self) -> None:
        """Stop the children in reverse order, then the root; each step timed. Idempotent.

        On an actor's own thread it returns at once: that thread is among
        those that have to end.
        """
        if os.getpid() != self._process:
            return  # a fork's child has none of the threads
        if current_child() is not None:
            self.stop_soon()
            return
        with self._closing:
            if self._watchdog is not None:
                self._watchdog.stop()
            if self._begun and not self.root.done and self.died is None:
                self._stop_children()
                self._stop_root()
            if self._own_runtime:
                self.runtime.close()
            self._close_boxes()
            self.over = True
        closer = self._closer
        if closer is not None and closer is not threading.current_thread():
            closer.join(5.0)

    def stop_soon(self) -> None:
        """Stop from a thread of its own. In the simulated runtime its driver has to `stop`."""
        if isinstance(self.runtime, ThreadRuntime):
            self._closer = threading.Thread(target=self.stop, name="dtms-stop-tree", daemon=True)
            self._closer.start()

    def _stop_children(self) -> None:
        self._to_root(ShutDown())
        limit = sum(stopping_time(slot.spec) for slot in self.slots)
        if not self.runtime.wait_until(self._no_more_to_stop, limit):
            log.bind(child=ROOT).error("the children did not stop within {} s", limit)

    def _no_more_to_stop(self) -> bool:
        return self._relay.stopped.is_set() or self.died is not None

    def _stop_root(self) -> None:
        self._to_root(Stop())
        self.runtime.wait_until(lambda: self.root.done or self.died is not None, 5.0)

    def _close_boxes(self) -> None:
        for slot in self.slots:
            slot.mailbox.close()
        self._box.close()

    def wait(self, timeout: float | None = None) -> str | None:
        """Wait until it is over, at most `timeout` seconds.

        Returns the cause if it has died, None if it was stopped or still runs
        (`over` tells which).
        """
        self.runtime.wait_until(lambda: self.over, 1e9 if timeout is None else timeout)
        return self.died

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # -- the children

    def address(self, child: str) -> Address:
        """Return a child's address; raises `Stopped` after the end, `NotFound`."""
        if self.over:
            raise Stopped(self.died or "the supervisor is over", remedy="start a new one")
        return self.post.address(child)

    def ask(self, child: str, message: object, timeout: float, *, lane: Lane = Lane.DATA) -> Any:
        """Ask a child from outside the actors; see `Address.ask`."""
        return self.address(child).ask(message, timeout=timeout, lane=lane)

    def tell(self, child: str, message: object, *, lane: Lane = Lane.DATA) -> None:
        """Send without waiting; raises `Stopped` or `MailboxFull`."""
        self.address(child).tell(message, lane=lane)

    def restart(self, child: str, *, by: str = "host", timeout: float = 5.0) -> None:
        """Restart a child by hand: not charged. Raises `NotFound`, `Conflict`."""
        self.ask(ROOT, RestartChild(child, by), timeout, lane=Lane.CONTROL)

    def reset_budget(self, child: str, *, by: str = "host", timeout: float = 5.0) -> None:
        """Forget a child's charges, and start it if it is escalated."""
        self.ask(ROOT, ResetBudget(child, by), timeout, lane=Lane.CONTROL)

    def tell_root(self, message: object, *, merge: str | None = None) -> None:
        """Send the root an order; nothing before the start and once all is over."""
        if self._begun and not self.over:
            self.post.send(ROOT, message, lane=Lane.CONTROL, merge=merge)

    def states(self) -> dict[str, ChildState]:
        """Return where each child is in its life, in the order of the start."""
        return {slot.name: slot.state for slot in self.slots}

    def counts(self) -> dict[str, Counts]:
        """Return the mailbox counts of every child and the root; they balance."""
        boxes = {slot.name: slot.mailbox for slot in self.slots} | {ROOT: self._box}
        return {name: box.counts() for name, box in boxes.items()}

    # -- the end of the root

    def _root_ended(self, report: ExitReport) -> None:
        if not report.normal:
            self._declare_dead(f"the root supervisor {report.how}: {report.error}")

    def _declare_dead(self, cause: str) -> None:
        """Let nothing act unsupervised, and let the host know."""
        if self.over or not self._verdict.acquire(blocking=False):
            return
        if not self.ready and self.cause is None:
            self._relay.cause = StartRefused(cause)
        self.died = cause
        self.events.publish(Kind.DIED, cause=cause)
        log.bind(child=ROOT).critical("nothing is supervised any more: {}", cause)
        for slot in self.slots:
            if slot.lease is not None:
                slot.lease.revoke(0.0)
        self._close_boxes()  # a root that wakes after this verdict starts nobody
        self.over = True
        self._relay.died(cause)

    def _to_root(self, message: object) -> None:
        self.post.send(ROOT, message, lane=Lane.CONTROL)


def stopping_time(spec: ChildSpec) -> float:
    """Return the seconds after which a child has ended or is fenced, with some to spare."""
    releasing = 0.0 if spec.release is None else RELEASES * (RELEASE_WAIT + REVOKE_WAIT)
    return spec.stop_timeout + 1.0 + releasing
