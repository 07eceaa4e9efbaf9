"""Alert: the outbox, and telling people until somebody has acknowledged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from actors.actor import Context, GuardActor
from actors.events import Kind
from actors.messages import Acknowledge, ListAlerts, Raise, Repeat, WriteAgain
from actors.runtime import Timer
from actors.trouble import Trouble, Unwritten, end_the_guard, is_trouble
from defence.alerts import Alert, Notice, Severity
from defence.errors import DtmsError, Fault, NotFound, StoreLost
from storage.outbox import OutboxStore

KEEP = 90 * 86_400.0  # seconds that an acknowledged alert is kept


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertSettings:
    """Times in seconds. `deliver` brings an alert to people beyond log and gateway, or is None.

    It must return soon: an actor that hangs in it is replaced. `unwritten` is
    what the outbox has not taken yet; it outlives an incarnation.
    """

    store: OutboxStore
    repeat_after: float = 300.0
    deliver: Callable[[Alert], None] | None = None
    unwritten: Unwritten[Alert] = field(default_factory=lambda: Unwritten(_outbox_trouble()))


def _outbox_trouble() -> Trouble:
    return Trouble(
        "outbox",
        Severity.WARNING,
        "Alerts are told as before and kept in memory; they are written when there is room.",
    )


class AlertActor(GuardActor):
    """Owns the alert outbox."""

    def __init__(self, context: Context, settings: AlertSettings) -> None:
        super().__init__(context)
        self._settings = settings
        self._alerts: dict[str, Alert] = {}
        self._timer: Timer | None = None

    def on_start(self) -> None:
        """Load the outbox and go on telling what nobody has acknowledged."""
        try:
            with self.context.lease.hold():
                self._settings.store.prune(self.clock.wall() - KEEP)
        except Fault:
            raise
        except StoreLost as lost:
            end_the_guard(self, lost)
        except DtmsError as error:  # to tell people matters more than to tidy up
            self.context.log.error("old alerts cannot be forgotten: {}", error)
        unwritten = self._settings.unwritten
        self._alerts = {**self._settings.store.load(), **unwritten.waiting}
        unwritten.trouble.plan(self)
        now = self.clock.wall()
        if self.context.incarnation == 1:
            # The process before could not end them; what still holds is raised anew.
            for key in sorted({a.key for a in self._alerts.values() if is_trouble(a.key)}):
                self._settle(key, "a new start", now)
        for alert in list(self._alerts.values()):
            if alert.acknowledged_at is not None:
                continue
            if alert.told_at is None:  # written, and the one who was to tell it died
                self._tell_people(alert, now)
            else:
                self._emit(alert, told=False)
        self._plan_repeat()

    def receive(self, message: object) -> object:
        """See `actors.messages`, alert."""
        match message:
            case Raise():
                self._raise(message.notice)
            case Acknowledge():
                return self._acknowledge(message)
            case ListAlerts():
                return tuple(sorted(self._alerts.values(), key=lambda a: -a.last_at))
            case Repeat():
                self._repeat()
            case WriteAgain():
                if not self._write():
                    self._settings.unwritten.trouble.plan(self)
            case _:
                return super().receive(message)
        return None

    def _raise(self, notice: Notice) -> None:
        now = self.clock.wall()
        known = next(
            (a for a in self._alerts.values() if a.key == notice.key and a.acknowledged_at is None),
            None,
        )
        if known is None:
            alert = Alert(
                id=self.context.runtime.new_id(),
                key=notice.key,
                severity=notice.severity,
                title=notice.title,
                text=notice.text,
                raised_at=now,
                last_at=now,
            )
        else:
            alert = replace(known, text=notice.text, last_at=now, count=known.count + 1)
        if known is None or notice.ends is not None or self._due(alert, now):
            self._tell_people(alert, now)
        else:
            self._keep(alert)
        if notice.ends is not None:
            self._settle(notice.ends, notice.key, now)

    def _settle(self, key: str, by: str, now: float) -> None:
        """Acknowledge what an all-clear has ended: it is not told again."""
        for alert in list(self._alerts.values()):
            if alert.key == key and alert.acknowledged_at is None:
                self._keep(replace(alert, acknowledged_at=now, acknowledged_by=by))
                self.emit(Kind.ACKNOWLEDGED, key=key, by=by)

    def _due(self, alert: Alert, now: float) -> bool:
        if alert.told_at is None or alert.told_at > now:  # never, or the clock was set back
            return True
        return now - alert.told_at >= self._settings.repeat_after

    def _tell_people(self, alert: Alert, now: float) -> None:
        alert = replace(alert, told_at=now, told=alert.told + 1)
        self._keep(alert)
        self._emit(alert, told=True)
        if self._settings.deliver is not None:
            try:
                self._settings.deliver(alert)
            except Exception as error:  # noqa: BLE001 - a broken channel must not stop the others
                self.context.log.error("alert {} could not be delivered: {}", alert.key, error)

    def _keep(self, alert: Alert) -> None:
        # Telling people matters more than remembering that they were told: what
        # cannot be written is kept in memory, and written when it can be.
        self._write({alert.id: alert})
        self._alerts[alert.id] = alert

    def _write(self, new: Mapping[str, Alert] | None = None) -> bool:
        return self._settings.unwritten.write(self, self._settings.store.put, new)

    def _emit(self, alert: Alert, *, told: bool) -> None:
        self.emit(
            Kind.ALERT,
            key=alert.key,
            severity=alert.severity.value,
            title=alert.title,
            text=alert.text,
            count=alert.count,
            told=told,
        )

    def _repeat(self) -> None:
        now = self.clock.wall()
        for alert in list(self._alerts.values()):
            waits = alert.acknowledged_at is None and alert.severity is not Severity.INFO
            if waits and self._due(alert, now):
                self._tell_people(alert, now)
        self._plan_repeat()

    def _plan_repeat(self) -> None:
        """Have one next look planned, whatever timers a forerunner left."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.later(self._settings.repeat_after / 4, Repeat(), merge="repeat")

    def _acknowledge(self, message: Acknowledge) -> object:
        wanted = [
            alert
            for alert in self._alerts.values()
            if alert.acknowledged_at is None and message.alert_id in (None, alert.id, alert.key)
        ]
        if not wanted and message.alert_id is not None:
            raise NotFound(
                "no open alert has this id or key",
                field="alert",
                value=message.alert_id,
                remedy="see the list of alerts",
            )
        for alert in wanted:
            now = self.clock.wall()
            self._keep(replace(alert, acknowledged_at=now, acknowledged_by=message.by))
            self.emit(Kind.ACKNOWLEDGED, key=alert.key, by=message.by)
        return {"acknowledged": len(wanted)}
