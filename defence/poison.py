"""Poison: a message that crashed its handler twice and was set aside. What ops see of it."""

from __future__ import annotations

from dataclasses import dataclass

from defence.trade import iso


@dataclass(frozen=True, slots=True, kw_only=True)
class PoisonRecord:
    """One message that was set aside. `at` is UTC epoch seconds; nothing here holds a secret."""

    at: float
    child: str  # whose handler it crashed
    incarnation: int  # the last one that it crashed
    message: str  # its type's name
    id: str
    error: str
    shown: str  # the message as text, cut short
    lane: str


def public_poison(record: PoisonRecord) -> dict[str, object]:
    """Return the shape of an entry of `GET /dtms/poison`."""
    return {
        "at": iso(record.at),
        "child": record.child,
        "incarnation": record.incarnation,
        "message": record.message,
        "id": record.id,
        "error": record.error,
        "shown": record.shown,
        "lane": record.lane,
    }
