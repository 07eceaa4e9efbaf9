"""The house of a guard: locks, stores, terminal, root and watchdog; opened and closed in order."""

from __future__ import annotations

import os
import threading
from typing import Any

from loguru import logger
from pykka import Future, Timeout

from actors.actor import Context, Vitals
from actors.events import EventStream, Kind
from actors.incarnation import Incarnation
from actors.life import Begin, ExitReport, ShutDown, Stop
from actors.mailbox import Counts, Lane, Mailbox
from actors.messages import Raise, Reconcile
from actors.names import ALERT, MONITOR, RECOVERY, ROOT
from actors.points import Points
from actors.post import Address, Post, current_child
from actors.runtime import Runtime
from actors.threads import ThreadRuntime
from defence.alerts import Notice
from defence.errors import (
    DeadlinePassed,
    DtmsError,
    NotReady,
    StartRefused,
    Stopped,
)
from storage.folder import Stores
from supervisors.children import Surroundings, child_specs
from supervisors.keeper import Keeper, KeeperSettings
from supervisors.overview import Overview
from supervisors.owner import RootSettings
from supervisors.premises import MakePremises
from supervisors.root import RootSupervisor
from supervisors.settings import Settings
from supervisors.slot import ChildSlot
from supervisors.terminal_choice import make_terminal
from supervisors.watchdog import Watchdog
from terminals.lease import Lease
from terminals.protocol import Terminal

ROOT_STUCK_AFTER = 15.0  # seconds


class House:
    """Owns what outlives every actor, and answers to the root (see `root.Owner`)."""

    def __init__(
        self,
        settings: Settings,
        runtime: Runtime,
        events: EventStream,
        points: Points,
        terminal: Terminal | None,
        overview: Overview,
        premises: MakePremises,
    ) -> None:
        self.settings = settings
        self.ready = False
        self.over = False
        self.cause: DtmsError | None = None  # why the start was refused
        self.died: str | None = None
        self._runtime = runtime
        self._events = events
        self._points = points
        self._terminal = terminal
        self._overview = overview
        self.premises = premises(settings, runtime.clock, events)
        self._post = Post(runtime, events)
        self._slots: list[ChildSlot] = []
        self._root_box: Mailbox | None = None
        self._root: Incarnation | None = None
        self._keeper: Keeper | None = None
        self._watchdog: Watchdog | None = None
        self._all_stopped = threading.Event()
        self._closing = threading.Lock()
        self._closer: threading.Thread | None = None
        self._opened = False
        self._began = 0.0
        self._process = os.getpid()

    # -- opening

    def open(self) -> None:
        """Take locks, open stores, start the root; returns before anybody is ready."""
        if self._opened:
            raise StartRefused("a guard starts once", remedy="make a new Guard")
        self._opened = True
        self._began = self._runtime.clock.monotonic()
        try:
            self.premises.take()
            self._start_root()
        except BaseException as error:
            refusal = error if isinstance(error, DtmsError) else StartRefused(repr(error))
            self.start_refused(refusal)
            self._release()
            self.over = True
            if isinstance(error, DtmsError) and not isinstance(error, StartRefused):
                raise StartRefused(str(error)) from error
            raise

    def _start_root(self) -> None:
        stores, control = self.premises.stores, self.premises.control_at_start()
        self._keeper = keeper = self._make_keeper()
        around = Surroundings(
            stores=stores,
            terminal=self._make_terminal,
            admit_account=self.premises.admit,
            login=self._login,
            shut_down=self._shut_down_by_ops,
            back_up=keeper.ask,
            control=control,
            since=self._runtime.clock.wall(),
        )
        clock = self._runtime.clock
        for spec in child_specs(self.settings, around):
            box = Mailbox(spec.name, now=clock.monotonic, data_limit=spec.data_limit)
            self._post.add(box)
            self._slots.append(ChildSlot(spec, box))
        self._put(MONITOR, control, sticky=True)
        self._root_box = Mailbox(ROOT, now=clock.monotonic)
        self._post.add(self._root_box)
        self._root = self._make_root(self._root_box, stores)
        self._root_box.open_for(1)
        self._runtime.run(self._root)
        if isinstance(self._runtime, ThreadRuntime):
            stuck_after = max(ROOT_STUCK_AFTER, 3 * self.settings.check_every)
            self._watchdog = Watchdog(
                self._root, clock, self._declare_dead, stuck_after=stuck_after
            )
            self._watchdog.start()
        self._put(ROOT, Begin())
        keeper.start()

    def _make_keeper(self) -> Keeper:
        settings = KeeperSettings(
            folder=self.premises.folder.backups,
            keep=self.settings.backups_kept,
            every=self.settings.backup_every,
        )
        environments = self.premises.environments
        return Keeper(settings, environments, self._runtime, self._events, self.notify)

    def _make_root(self, box: Mailbox, stores: Stores) -> Incarnation:
        context = Context(
            name=ROOT,
            incarnation=1,
            mailbox=box,
            post=self._post,
            runtime=self._runtime,
            events=self._events,
            lease=Lease(ROOT, 1),
            points=self._points,
            vitals=Vitals(self._runtime.clock.monotonic()),
            announce=lambda _: None,
            lease_of=lambda _child, _number: None,
        )
        # What locks and stores took is part of the time that the start may take.
        spent = self._runtime.clock.monotonic() - self._began
        times = RootSettings(
            startup_timeout=max(0.1, self.settings.timeout - spent),
            check_every=self.settings.check_every,
        )
        actor = RootSupervisor(context, self._slots, stores.ledger, self, times)
        return Incarnation(actor, self._root_ended)

    def _make_terminal(self) -> Terminal:
        if self._terminal is None:
            self._terminal = make_terminal(self.settings, self._runtime)
        return self._terminal

    # -- what the root says (root.Owner)

    def all_ready(self) -> None:
        """Every child is ready for the first time."""
        self._stage("ready")
        self._events.publish(Kind.GUARD_READY, active_trades=self._overview.seen.active_trades)
        self.ready = True

    def start_refused(self, cause: DtmsError) -> None:
        """The first start failed; remember why."""
        self._events.publish(Kind.START_REFUSED, cause=str(cause), code=cause.code)
        self.cause = cause

    def all_stopped(self) -> None:
        """Every child has ended or is fenced."""
        self._all_stopped.set()
        if self.cause is not None:
            self._close_soon()

    def cannot_go_on(self, cause: str) -> None:
        """Nothing can be kept safe any more: the guard dies."""
        self._declare_dead(cause)

    def host_paused(self, seconds: float) -> None:
        """After a pause everything known of the broker is old: reconcile first."""
        reason = f"the host paused for {seconds:.0f} s"
        self._post.send(RECOVERY, Reconcile(reason), lane=Lane.REPLY, merge="reconcile")

    def notify(self, notice: Notice) -> None:
        """Tell people, through the Alert actor."""
        self._post.send(ALERT, Raise(notice), lane=Lane.REPLY)

    def _root_ended(self, report: ExitReport) -> None:
        if not report.normal:
            self._declare_dead(f"the root supervisor {report.how}: {report.error}")

    def _declare_dead(self, cause: str) -> None:
        """Let nothing act unsupervised, and let the host know."""
        if self.over or self.died is not None:
            return
        self.died = cause
        self._events.publish(Kind.DIED, cause=cause)
        logger.bind(child="guard").critical("the guard has died: {}", cause)
        for slot in self._slots:
            if slot.lease is not None:
                slot.lease.revoke(0.0)
            slot.mailbox.close()
        if self._root_box is not None:
            self._root_box.close()  # a root that wakes after this verdict starts nobody
        if not self.ready and self.cause is None:
            self.cause = StartRefused(cause)
        self.over = True

    # -- closing

    def close(self) -> None:
        """Stop children, root, watchdog, terminal, stores, locks; each step timed."""
        if os.getpid() != self._process:
            return  # a fork's child has none of the threads; terminal and locks are its parent's
        if not self._opened:
            self._runtime.close()
            return
        if current_child() is not None:
            self._close_soon()  # an actor's thread cannot wait for its own end
            return
        with self._closing:
            if self._watchdog is not None:
                self._watchdog.stop()
            if self._keeper is not None:
                self._keeper.stop(self.settings.stop_timeout)
            if self._root is not None and not self._root.done and self.died is None:
                self._stop_children()
                self._stop_root()
            self._release()
            self.over = True
        if self._closer is not None and self._closer is not threading.current_thread():
            self._closer.join(5.0)

    def _stop_children(self) -> None:
        self._put(ROOT, ShutDown())
        limit = sum(slot.spec.stop_timeout + 1.0 for slot in self._slots)
        if not self._runtime.wait_until(self._no_more_to_stop, limit):
            logger.bind(child="guard").error("the children did not stop within {} s", limit)

    def _no_more_to_stop(self) -> bool:
        return self._all_stopped.is_set() or self.died is not None

    def _stop_root(self) -> None:
        self._put(ROOT, Stop())
        root = self._root
        if root is not None:
            self._runtime.wait_until(lambda: root.done or self.died is not None, 5.0)

    def _release(self) -> None:
        """Let go of everything. What a stuck thread may still write to stays open and locked."""
        if not self.premises.held:
            self._runtime.close()
            return
        if self._terminal is not None:
            try:
                self._terminal.close()
            except Exception as error:  # noqa: BLE001 - a stop goes on past a step that fails
                logger.bind(child="guard").error("the terminal did not close: {!r}", error)
        self._runtime.close()
        stuck = self._runtime.alive() if isinstance(self._runtime, ThreadRuntime) else []
        if stuck:
            logger.bind(child="guard").error(
                "still running: {}; stores and locks stay held until the process ends", stuck
            )
            return
        if self._root_box is not None:
            self._root_box.close()
        self.premises.give_back()
        if self.died is None and self.cause is None:
            self._events.publish(Kind.STOPPED)

    def _shut_down_by_ops(self, by: str) -> None:
        """Stop from a thread of its own: whoever asks is one of those to be stopped."""
        logger.bind(child="guard").info("shutdown asked by {}", by)
        self._put(ROOT, ShutDown(by))
        self._close_soon()

    def _close_soon(self) -> None:
        """Close from a thread of its own: the one that asks is among those that end.

        In the simulated runtime whoever drives it calls `close`.
        """
        if isinstance(self._runtime, ThreadRuntime):
            self._closer = threading.Thread(target=self.close, name="dtms-stop", daemon=True)
            self._closer.start()

    # -- used by the guard

    def address(self, child: str) -> Address:
        """Return a child's address; raises `NotReady` before the start, `Stopped` after the end."""
        if self.over:
            raise Stopped(self.died or "the guard is over", remedy="start a new one")
        if not self._slots:
            raise NotReady("the guard has not been started", remedy="start it")
        return self._post.address(child)

    def ask(self, child: str, message: object, timeout: float, *, lane: Lane = Lane.DATA) -> Any:
        """Ask a child from outside the actors."""
        return self.address(child).ask(message, timeout=timeout, lane=lane)

    def wait(self, future: Future[Any], timeout: float, child: str) -> Any:
        """Wait for the future of `ask_later`."""
        try:
            return self._runtime.wait(future, timeout)
        except Timeout:
            raise DeadlinePassed(
                f"{child} gave no answer within {timeout:g} s; it may still be done",
                remedy="ask again with the same request id",
            ) from None

    def tell_root(self, message: object) -> None:
        """Send to the root, if there is one."""
        if self._root_box is not None and not self.over:
            self._post.send(ROOT, message, lane=Lane.CONTROL, merge="asked")

    def counts(self) -> dict[str, Counts]:
        """Return the mailbox counts of every child and the root."""
        boxes = {slot.name: slot.mailbox for slot in self._slots}
        if self._root_box is not None:
            boxes[ROOT] = self._root_box
        return {name: box.counts() for name, box in boxes.items()}

    def count(self, child: str) -> Counts | None:
        """Return the mailbox counts of one child, None before the start."""
        return next((s.mailbox.counts() for s in self._slots if s.name == child), None)

    # -- small help

    def _login(self) -> int | None:
        account = self._overview.seen.account
        login = None if account is None else account["login"]
        return login if isinstance(login, int) else None

    def _stage(self, stage: str, what: str = "done", **facts: object) -> None:
        self._events.publish(Kind.STAGE, None, None, stage=stage, what=what, **facts)

    def _put(self, child: str, message: object, *, sticky: bool = False) -> None:
        self._post.send(child, message, lane=Lane.CONTROL, sticky=sticky)
