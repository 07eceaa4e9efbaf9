"""Admin: the ops' door. Every command is checked, audited, then handed to who does it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pykka import Future

from actors.actor import Context, Forwarded, GuardActor, Promised
from actors.events import Kind
from actors.life import ResetBudget, RestartChild, StrikeChild
from actors.mailbox import Lane
from actors.messages import (
    Acknowledge,
    ClearFaults,
    Command,
    Flatten,
    Freeze,
    InjectFault,
    ListPoison,
    NotePoison,
    Raise,
    Reconcile,
    ResolveIntent,
    SetControl,
    WriteAgain,
)
from actors.monitor import ARMED, OBSERVE
from actors.names import ALERT, CONNECTOR, MONITOR, RECOVERY, REGISTRY, ROOT, START_ORDER
from actors.poison_book import PoisonBook
from actors.trouble import Trouble, Unwritten, end_the_guard
from defence.alerts import Notice, Severity
from defence.errors import Conflict, DtmsError, Fault, Forbidden, Invalid, NotFound, StoreLost
from defence.poison import public_poison
from storage.audit import AuditStore
from storage.audited import AuditEntry, ControlState
from terminals.sim.faults import fault_from


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminSettings:
    """The store, the control state at start, and what is allowed."""

    store: AuditStore
    control: SetControl
    chaos: bool
    login: Callable[[], int | None]
    shut_down: Callable[[str], None]
    back_up: Callable[[str, Future[Any] | None], None]
    since: float = 0.0  # wall time of the guard's start
    allow_armed: bool = True
    children: tuple[str, ...] = field(default=START_ORDER)
    # what the store has not taken yet: entries, and a freeze; they outlive an incarnation
    unwritten: Unwritten[AuditEntry] = field(default_factory=lambda: Unwritten(_audit_trouble()))
    unstored: list[SetControl] = field(default_factory=list)  # one at most


def _audit_trouble() -> Trouble:
    return Trouble(
        "audit",
        Severity.WARNING,
        "Commands are done all the same; their entries are kept in memory and written when there "
        "is room.",
    )


class Admin(GuardActor):
    """Owns the audit and the control state (mode, pause)."""

    def __init__(self, context: Context, settings: AdminSettings) -> None:
        super().__init__(context)
        self._settings = settings
        self._control = settings.control
        self._poison = PoisonBook(settings.store, settings.unwritten)
        self._commands: Mapping[str, Callable[[Command], object]] = {
            "restart": self._restart,
            "reset-budget": self._reset_budget,
            "pause": self._pause,
            "resume": self._resume,
            "set-mode": self._set_mode,
            "reconcile": self._reconcile,
            "backup": self._backup,
            "resolve": self._resolve,
            "acknowledge": self._acknowledge,
            "poison": self._list_poison,
            "freeze": self._freeze,
            "flatten": self._flatten,
            "shutdown": self._shutdown,
            "kill": self._strike,
            "hang": self._strike,
            "fault": self._fault,
            "clear-faults": self._clear_faults,
        }

    def on_start(self) -> None:
        """After a restart, take over what a forerunner stored since the guard's start.

        What was stored before that start has been weighed against the flag; it
        counts only where it is the more restrictive, as it did then. A freeze
        that could not be stored is newer than anything in the store.
        """
        self._settings.unwritten.trouble.plan(self)
        if self._settings.unstored:
            self._control = self._settings.unstored[0]
            return
        stored = self._settings.store.control()
        if self.context.incarnation == 1 or stored.mode is None or stored.at is None:
            return
        by, why = stored.by or "", stored.why or ""
        if stored.at >= self._settings.since:
            self._control = SetControl(stored.mode, stored.paused, by, why)
        elif stored.mode == OBSERVE or stored.paused:
            paused = stored.paused or self._control.paused
            self._control = SetControl(
                OBSERVE if stored.mode == OBSERVE else self._control.mode, paused, by, why
            )

    def receive(self, message: object) -> object:
        """See DESIGN, Control."""
        match message:
            case Command():
                return self._carry_out(message)
            case NotePoison():
                self._poison.note(message, lambda key, entry: self._write({key: entry}))
            case ListPoison():
                return self._poison.newest(message.limit)
            case WriteAgain():
                if not self._write():
                    self._settings.unwritten.trouble.plan(self)
            case _:
                return super().receive(message)
        return None

    def _carry_out(self, message: Command) -> object:
        do = self._commands.get(message.command)
        try:
            if do is None:
                raise NotFound(
                    f"there is no command {message.command!r}",
                    field="command",
                    value=message.command,
                    remedy=f"one of {', '.join(self._commands)}",
                )
            result = do(message)
        except DtmsError as error:
            self._audit(message, f"refused: {error}")
            raise
        self._audit(message, "accepted")
        self.emit(Kind.COMMAND, command=message.command, by=message.by, **message.arguments)
        return result

    def _audit(self, message: Command, result: str) -> None:
        entry = AuditEntry(
            at=self.clock.wall(),
            command=message.command,
            by=message.by,
            arguments={key: str(value) for key, value in message.arguments.items()},
            result=result,
        )
        # Ops must be able to freeze and flatten when the disk is full.
        self._write({message.id: entry})

    def _write(self, new: Mapping[str, AuditEntry] | None = None) -> bool:
        written = self._settings.unwritten.write(self, self._settings.store.append, new)
        return written and self._store_again()

    def _store_again(self) -> bool:
        """Store a freeze that could not be stored when it was asked for."""
        if not self._settings.unstored:
            return True
        try:
            self._keep(self._settings.unstored[0])
        except Fault:
            raise
        except StoreLost as lost:
            end_the_guard(self, lost)
            return False
        except DtmsError as error:
            self._settings.unwritten.trouble.fails(self, error)
            return False
        return True

    # -- the commands

    def _restart(self, message: Command) -> Forwarded:
        return self.forward(ROOT, RestartChild(self._child(message), message.by, message.id))

    def _reset_budget(self, message: Command) -> Forwarded:
        return self.forward(ROOT, ResetBudget(self._child(message), message.by, message.id))

    def _strike(self, message: Command) -> Forwarded:
        self._must_be_chaos(message)
        seconds = message.arguments.get("seconds")
        if seconds is not None and (
            isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0
        ):
            raise Invalid("must be a number above 0", field="seconds", value=seconds)
        strike = StrikeChild(
            self._child(message),
            message.command,
            None if seconds is None else float(seconds),
            message.id,
        )
        return self.forward(ROOT, strike)

    def _fault(self, message: Command) -> Forwarded:
        """Straight to the connector, whose terminal it is."""
        self._must_be_chaos(message)
        entry = {name: value for name, value in message.arguments.items() if name != "why"}
        return self.forward(CONNECTOR, InjectFault(fault_from(entry)))

    def _clear_faults(self, message: Command) -> Forwarded:
        self._must_be_chaos(message)
        return self.forward(CONNECTOR, ClearFaults())

    def _must_be_chaos(self, message: Command) -> None:
        if not self._settings.chaos:
            raise Forbidden(
                f"{message.command} is for chaos tests",
                field="command",
                value=message.command,
                remedy="start the guard with --chaos",
            )

    def _pause(self, message: Command) -> Forwarded:
        return self._set_control(message, paused=True)

    def _resume(self, message: Command) -> Forwarded:
        return self._set_control(message, paused=False)

    def _set_mode(self, message: Command) -> Forwarded:
        mode = message.arguments.get("mode")
        if mode not in (ARMED, OBSERVE):
            raise Invalid("unknown mode", field="mode", value=mode, remedy=f"{OBSERVE} or {ARMED}")
        forwarded = self._set_control(message, mode=str(mode))
        if mode == ARMED:  # only once it is stored
            freeze = Freeze(False, message.by)
            self.context.post.send(CONNECTOR, freeze, lane=Lane.CONTROL, sticky=True)
        return forwarded

    def _set_control(
        self, message: Command, *, mode: str | None = None, paused: bool | None = None
    ) -> Forwarded:
        control = SetControl(
            mode=self._control.mode if mode is None else mode,
            paused=self._control.paused if paused is None else paused,
            by=message.by,
            why=str(message.arguments.get("why", "")),
        )
        self._keep(control)
        return Forwarded(MONITOR, control, Lane.CONTROL, sticky=True)

    def _keep(self, control: SetControl) -> None:
        state = ControlState(
            mode=control.mode,
            paused=control.paused,
            by=control.by,
            why=control.why,
            at=self.clock.wall(),
        )
        with self.context.lease.hold():
            self._settings.store.set_control(state)
        self._control = control
        if self._settings.unstored:
            self._settings.unstored.clear()
            self._tell_stored(control)

    def _tell_stored(self, control: SetControl) -> None:
        """End the alert of a freeze that could not be stored, be it that one or a newer state."""
        notice = Notice(
            key="freeze_stored",
            severity=Severity.INFO,
            title="Mode and pause are stored again",
            text=f"The mode {control.mode} (by {control.by}) is kept over a restart of the guard.",
            ends="freeze_not_stored",
        )
        self.tell(ALERT, Raise(notice))

    def _reconcile(self, message: Command) -> Forwarded:
        return self.forward(RECOVERY, Reconcile(f"asked by {message.by}"), lane=Lane.REPLY)

    def _backup(self, message: Command) -> Promised:
        back_up, by = self._settings.back_up, message.by
        return Promised(lambda reply_to: back_up(by, reply_to))

    def _resolve(self, message: Command) -> Forwarded:
        intent, done = message.arguments.get("intent"), message.arguments.get("done")
        if not isinstance(intent, str) or not intent:
            raise Invalid(
                "must be an intent's id", field="intent", value=intent, remedy="see the actions"
            )
        if not isinstance(done, bool):
            raise Invalid("must be true or false", field="done", value=done)
        return self.forward(REGISTRY, ResolveIntent(intent, done, message.by), lane=Lane.REPLY)

    def _acknowledge(self, message: Command) -> Forwarded:
        alert = message.arguments.get("alert")
        if alert is not None and not isinstance(alert, str):
            raise Invalid("must be an alert's id or key", field="alert", value=alert)
        return self.forward(ALERT, Acknowledge(alert, message.by), lane=Lane.REPLY)

    def _list_poison(self, message: Command) -> object:
        found = self._poison.newest(message.arguments.get("limit", 100))
        return {"poison": [public_poison(one) for one in found]}

    def _freeze(self, message: Command) -> Forwarded:
        """Straight to the connector: it must work without monitor and store.

        The mode becomes observe too, so that a restart does not thaw it.
        """
        why = str(message.arguments.get("why", ""))
        control = SetControl(OBSERVE, self._control.paused, message.by, why)
        self._control = control
        try:
            self._keep(control)
        except Fault:
            raise  # replaced: the successor has the command, and its word counts
        except DtmsError as error:
            self._settings.unstored[:] = [control]
            notice = Notice(
                key="freeze_not_stored",
                severity=Severity.CRITICAL,
                title="Frozen, but it cannot be stored",
                text=f"{error}. A restart of the guard before there is room would thaw it.",
            )
            self.tell(ALERT, Raise(notice))
        self.context.post.send(MONITOR, control, lane=Lane.CONTROL, sticky=True)
        return Forwarded(CONNECTOR, Freeze(True, message.by, why), Lane.CONTROL, sticky=True)

    def _flatten(self, message: Command) -> Forwarded:
        confirm, login = message.arguments.get("confirm"), self._settings.login()
        if login is None:
            raise Conflict("the account is not known yet", remedy="wait until it is connected")
        if isinstance(confirm, bool) or confirm != login:
            raise Invalid(
                "must be the login of the account that is to be closed",
                field="confirm",
                value=confirm,
                remedy='send {"confirm": <login>}',
            )
        return self.forward(CONNECTOR, Flatten(message.by, message.id))

    def _shutdown(self, message: Command) -> object:
        self._settings.shut_down(message.by)
        return {"stopping": True}

    def _child(self, message: Command) -> str:
        child = message.arguments.get("child")
        if child not in self._settings.children:
            raise NotFound(
                f"there is no child {child!r}",
                field="child",
                value=child,
                remedy=f"one of {', '.join(self._settings.children)}",
            )
        return str(child)
