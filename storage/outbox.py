"""The alert outbox: what people must know, until they have said that they do."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from defence.alerts import Alert
from storage.environment import Environment
from storage.fields import alert_fields, alert_from
from storage.keys import text_key
from storage.layout import ALERTS
from storage.view import Change

DATABASES: Final = (ALERTS,)


class OutboxStore:
    """The environment `outbox`. Made by `OutboxStore.open`; it has one owner."""

    def __init__(self, environment: Environment) -> None:
        self._env = environment

    @classmethod
    def open(cls, path: Path) -> OutboxStore:
        """Open or make the store in the folder `path`; errors as `Environment.open`."""
        return cls(Environment.open(path, name="outbox", databases=DATABASES))

    @property
    def environment(self) -> Environment:
        """The environment, for backups and checks."""
        return self._env

    def load(self) -> dict[str, Alert]:
        """Return all alerts by id."""
        with self._env.read() as view:
            alerts = [alert_from(fields) for _, fields in view.items(ALERTS)]
        return {alert.id: alert for alert in alerts}

    def put(self, *alerts: Alert) -> None:
        """Write alerts, over older ones with their ids, in one transaction; durable at return."""

        def work(change: Change) -> None:
            for alert in alerts:
                change.put(ALERTS, text_key(alert.id, field="id"), alert_fields(alert))

        self._env.run(work)

    def prune(self, before: float) -> int:
        """Forget alerts acknowledged before that time (UTC epoch seconds); return how many.

        One that nobody acknowledged is never forgotten, however old.
        """

        def work(change: Change) -> int:
            old = [
                key
                for key, fields in change.items(ALERTS)
                if (at := alert_from(fields).acknowledged_at) is not None and at < before
            ]
            for key in old:
                change.delete(ALERTS, key)
            return len(old)

        return self._env.run(work)

    def close(self) -> None:
        """Close; a second time does nothing."""
        self._env.close()
