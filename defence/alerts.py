"""What people are told: a notice is raised, an alert is the record of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from defence.trade import iso


class Severity(StrEnum):
    """How soon a person should look."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something people must know. Equal `key`s are one alert, counted.

    An all-clear names in `ends` the key of the alert that is over with it.
    """

    key: str
    severity: Severity
    title: str
    text: str
    ends: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A notice as the outbox keeps it. Times are UTC epoch seconds."""

    id: str
    key: str
    severity: Severity
    title: str
    text: str
    raised_at: float
    last_at: float  # newest notice with this key
    count: int = 1
    told_at: float | None = None  # newest delivery
    told: int = 0
    acknowledged_at: float | None = None
    acknowledged_by: str | None = None


def public_alert(alert: Alert) -> dict[str, object]:
    """Return the shape of an alert in `GET /dtms/alerts`."""
    return {
        "id": alert.id,
        "key": alert.key,
        "severity": alert.severity.value,
        "title": alert.title,
        "text": alert.text,
        "raised_at": iso(alert.raised_at),
        "last_at": iso(alert.last_at),
        "count": alert.count,
        "told": alert.told,
        "told_at": iso(alert.told_at),
        "acknowledged_at": iso(alert.acknowledged_at),
        "acknowledged_by": alert.acknowledged_by,
    }
