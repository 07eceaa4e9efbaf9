"""The house of a guard: locks, stores, terminal and children; opened and closed in order."""

from __future__ import annotations

import os
import threading
from typing import Any

from pykka import Future, Timeout

from actors.events import EventStream, Kind
from actors.life import ShutDown
from actors.log import log
from actors.mailbox import Counts, Lane
from actors.messages import NotePoison, Raise, Reconcile
from actors.names import ADMIN, ALERT, MONITOR, RECOVERY
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
from supervisors import wording
from supervisors.children import Surroundings, child_specs
from supervisors.keeper import Keeper, KeeperSettings
from supervisors.overview import Overview
from supervisors.owner import ChargeUnwritten, Escalated, Leaked, Poisoned, RootSettings
from supervisors.premises import MakePremises
from supervisors.settings import Settings
from supervisors.slot import ChildSlot
from supervisors.terminal_choice import choose_terminal, start_terminal
from supervisors.tree import Supervisor
from terminals.protocol import Abortable, Terminal


class House:
    """Owns what outlives every actor, and is told by supervision (see `owner.Owner`)."""

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
        self._over = False
        self._cause: DtmsError | None = None  # why the start was refused
        self._runtime = runtime
        self._events = events
        self._points = points
        self._terminal = terminal
        self._unstarted = False  # made here, and its worker has not been up yet
        self._let_go = False  # whatever terminal comes now is closed at once
        self._choosing = threading.Lock()  # of these three; held for moments only
        self._overview = overview
        self.premises = premises(settings, runtime.clock, events)
        self._tree: Supervisor | None = None
        self._keeper: Keeper | None = None
        self._closing = threading.RLock()  # a listener may stop what is stopping
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
            self._start_children()
        except BaseException as error:
            refusal = error if isinstance(error, DtmsError) else StartRefused(repr(error))
            self._events.publish(Kind.START_REFUSED, cause=str(refusal), code=refusal.code)
            self._cause = refusal
            if self._tree is not None:
                self._tree.stop()
            self._release()
            self._over = True
            if isinstance(error, DtmsError) and not isinstance(error, StartRefused):
                raise StartRefused(str(error)) from error
            raise

    def _start_children(self) -> None:
        stores, control = self.premises.stores, self.premises.control_at_start()
        self._keeper = keeper = self._make_keeper()
        around = Surroundings(
            stores=stores,
            terminal=self._make_terminal,
            free_terminal=self._free_terminal,
            admit_account=self.premises.admit,
            login=self._login,
            shut_down=self._shut_down_by_ops,
            back_up=keeper.ask,
            control=control,
            since=self._runtime.clock.wall(),
        )
        # What locks and stores took is part of the time that the start may take.
        spent = self._runtime.clock.monotonic() - self._began
        self._tree = tree = Supervisor(
            child_specs(self.settings, around),
            runtime=self._runtime,
            ledger=stores.ledger,
            owner=self,
            settings=RootSettings(
                startup_timeout=max(0.1, self.settings.timeout - spent),
                check_every=self.settings.check_every,
            ),
            events=self._events,
            points=self._points,
        )
        tree.post.send(MONITOR, control, lane=Lane.CONTROL, sticky=True)
        tree.start(block=False)
        keeper.start()

    def _make_keeper(self) -> Keeper:
        settings = KeeperSettings(
            folder=self.premises.folder.backups,
            keep=self.settings.backups_kept,
            every=self.settings.backup_every,
        )
        environments = self.premises.environments
        return Keeper(settings, environments, self._runtime, self._events, self.notify)

    def _make_terminal(self) -> Terminal:
        terminal = self._terminal
        if terminal is None:
            made = choose_terminal(self.settings, self._runtime)
            # Known here before it has a process: a stop or a fence meanwhile reaches it.
            with self._choosing:
                if self._terminal is None:
                    self._terminal, self._unstarted = made, True
                terminal, closed = self._terminal, self._let_go
            if closed or terminal is not made:  # an incarnation that was fenced had one first
                made.close()
            if closed:
                raise Stopped("the guard is over", remedy="start a new one")
        if self._unstarted:
            start_terminal(terminal, self.settings)
            self._unstarted = False
        return terminal

    def _free_terminal(self) -> None:
        """End what the connector is stuck in, if the terminal can."""
        terminal: object = self._terminal
        if isinstance(terminal, Abortable):
            terminal.abort()

    # -- what supervision says (owner.Owner)

    def all_ready(self) -> None:
        """Every child is ready for the first time."""
        self._stage("ready")
        self._events.publish(Kind.GUARD_READY, active_trades=self._overview.seen.active_trades)

    def start_refused(self, cause: DtmsError) -> None:
        """The first start failed; remember why."""
        self._cause = cause

    def all_stopped(self) -> None:
        """Every child has ended or is fenced."""
        if self._cause is not None:
            self._close_soon()

    def cannot_go_on(self, cause: str) -> None:
        """Nothing is supervised any more: the guard has died, which `died` says."""

    def host_paused(self, seconds: float) -> None:
        """After a pause everything known of the broker is old: reconcile first."""
        reason = f"the host paused for {seconds:.0f} s"
        self._send(RECOVERY, Reconcile(reason), merge="reconcile")

    def escalated(self, fact: Escalated) -> None:
        """Tell people that a child is down."""
        self.notify(wording.escalated(fact))

    def charge_unwritten(self, fact: ChargeUnwritten) -> None:
        """Tell people that a restart counts in memory only."""
        self.notify(wording.charge_unwritten(fact))

    def poisoned(self, fact: Poisoned) -> None:
        """Keep a message that was set aside for ops, and tell people."""
        kind = fact.poison.message
        # What cannot be noted, or told, for being poison itself, is not tried for ever.
        if (fact.child, kind) != (ADMIN, NotePoison.__name__):
            self._send(ADMIN, NotePoison(fact.child, fact.incarnation, fact.poison))
        if (fact.child, kind) != (ALERT, Raise.__name__):
            self.notify(wording.poisoned(fact))

    def leaked(self, fact: Leaked) -> None:
        """The stream has it, and health counts it: too many of them escalate by themselves."""

    def notify(self, notice: Notice) -> None:
        """Tell people, through the Alert actor."""
        self._send(ALERT, Raise(notice))

    def _send(self, child: str, message: object, *, merge: str | None = None) -> None:
        if self._tree is not None:
            self._post.send(child, message, lane=Lane.REPLY, merge=merge)

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
            if self._keeper is not None:
                self._keeper.stop(self.settings.stop_timeout)
            if self._tree is not None:
                self._tree.stop()
            self._release()
            self._over = True
        if self._closer is not None and self._closer is not threading.current_thread():
            self._closer.join(5.0)

    def _release(self) -> None:
        """Let go of everything. What a stuck thread may still write to stays open and locked."""
        if not self.premises.held:
            self._runtime.close()
            return
        with self._choosing:
            terminal, self._let_go = self._terminal, True
        if terminal is not None:
            try:
                terminal.close()
            except Exception as error:  # noqa: BLE001 - a stop goes on past a step that fails
                log.bind(child="guard").error("the terminal did not close: {!r}", error)
        self._runtime.close()
        stuck = self._runtime.alive() if isinstance(self._runtime, ThreadRuntime) else []
        if stuck:
            log.bind(child="guard").error(
                "still running: {}; stores and locks stay held until the process ends", stuck
            )
            return
        self.premises.give_back()
        if self.died is None and self.cause is None:
            self._events.publish(Kind.STOPPED)

    def _shut_down_by_ops(self, by: str) -> None:
        """Stop from a thread of its own: whoever asks is one of those to be stopped."""
        log.bind(child="guard").info("shutdown asked by {}", by)
        if self._tree is not None:
            self._tree.tell_root(ShutDown(by))
        self._close_soon()

    def _close_soon(self) -> None:
        """Close from a thread of its own: the one that asks is among those that end.

        In the simulated runtime whoever drives it calls `close`.
        """
        if isinstance(self._runtime, ThreadRuntime):
            self._closer = threading.Thread(target=self.close, name="dtms-stop", daemon=True)
            self._closer.start()

    # -- used by the guard

    @property
    def ready(self) -> bool:
        """Whether every child has been ready."""
        return self._tree is not None and self._tree.ready

    @property
    def died(self) -> str | None:
        """Why nothing is supervised any more, None while it is."""
        return None if self._tree is None else self._tree.died

    @property
    def over(self) -> bool:
        """Whether the guard has stopped or died."""
        return self._over or self.died is not None

    @property
    def cause(self) -> DtmsError | None:
        """Why the start was refused, None if it was not."""
        return self._cause or (None if self._tree is None else self._tree.cause)

    def address(self, child: str) -> Address:
        """Return a child's address; raises `NotReady` before the start, `Stopped` after the end."""
        if self.over:
            raise Stopped(self.died or "the guard is over", remedy="start a new one")
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
        """Send to the root, if there is one; merged with what it was told and has not got to."""
        if self._tree is not None:
            self._tree.tell_root(message, merge="asked")

    def counts(self) -> dict[str, Counts]:
        """Return the mailbox counts of every child and the root."""
        return {} if self._tree is None else self._tree.counts()

    def count(self, child: str) -> Counts | None:
        """Return the mailbox counts of one child, None before the start."""
        return next((slot.mailbox.counts() for slot in self._slots if slot.name == child), None)

    # -- small help

    @property
    def _post(self) -> Post:
        if self._tree is None:
            raise NotReady("the guard has not been started", remedy="start it")
        return self._tree.post

    @property
    def _slots(self) -> tuple[ChildSlot, ...]:
        return () if self._tree is None else self._tree.slots

    def _login(self) -> int | None:
        account = self._overview.seen.account
        login = None if account is None else account["login"]
        return login if isinstance(login, int) else None

    def _stage(self, stage: str, what: str = "done", **facts: object) -> None:
        self._events.publish(Kind.STAGE, None, None, stage=stage, what=what, **facts)
