"""The names on disk: which databases hold what. Names are for ever once released."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from storage.audited import control_from, entry_from
from storage.fields import action_from, alert_from, day_from, pending_from, trade_from
from storage.reading import number
from storage.records import Fields

DATA_FILE: Final = "data.mdb"
LOCK_FILE: Final = "lock.mdb"

META: Final = "meta"  # in every environment: its format, and single facts
FORMAT_KEY: Final = b"format"
BIRTH_KEY: Final = b"birth"  # a random id: which environment this is, copies included
SEQUENCE_KEY: Final = b"sequence"  # how many commits it has seen
ACCOUNT_KEY: Final = b"account"
# of the databases and keys, by environment; records carry a schema of their own
FORMATS: Final[Mapping[str, int]] = {"trades": 2, "ledger": 1, "outbox": 1, "audit": 1}

TRADES: Final = "trades"  # identifier -> trade, active or released
HISTORY: Final = "history"  # time archived, identifier -> trade
HISTORY_IDS: Final = "history_ids"  # identifier, key in history -> {}
HISTORY_TICKETS: Final = "history_tickets"  # ticket, key in history -> {}
DAYS: Final = "days"  # UTC day, symbol -> summary of what was compacted
INTENTS: Final = "intents"  # id -> pending intent
ACTIONS: Final = "actions"  # time, number -> action
ACTION_IDS: Final = "action_ids"  # id -> key in actions
ACTION_TICKETS: Final = "action_tickets"  # ticket, key in actions -> {}

CHARGES: Final = "charges"  # child, 0, time, number -> charge

ALERTS: Final = "alerts"  # id -> alert

ENTRIES: Final = "entries"  # number -> audit entry
CONTROL: Final = "control"  # one record: mode and pause


def charge_from(fields: Fields) -> float:
    """Return the wall time of a stored charge, UTC epoch seconds."""
    return number(fields, "at")


# how a check reads each database, beyond the checksum
PARSERS: Final[Mapping[str, Callable[[Fields], object]]] = {
    TRADES: trade_from,
    HISTORY: trade_from,
    INTENTS: pending_from,
    ACTIONS: action_from,
    DAYS: day_from,
    ALERTS: alert_from,
    CHARGES: charge_from,
    ENTRIES: entry_from,
    CONTROL: control_from,
}
