"""The names on disk: which databases hold what. Names are for ever once released."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from storage.audited import control_from, entry_from
from storage.fields import action_from, alert_from, pending_from, trade_from
from storage.reading import number
from storage.records import Fields

DATA_FILE: Final = "data.mdb"
LOCK_FILE: Final = "lock.mdb"

META: Final = "meta"  # in every environment: its format, and single facts
FORMAT_KEY: Final = b"format"
FORMAT: Final = 1  # of the databases and keys; records carry a schema of their own

TRADES: Final = "trades"  # identifier -> trade, active or released
HISTORY: Final = "history"  # time archived, identifier -> trade
HISTORY_IDS: Final = "history_ids"  # identifier, time archived -> {}
INTENTS: Final = "intents"  # id -> pending intent
ACTIONS: Final = "actions"  # time, number -> action
ACTION_IDS: Final = "action_ids"  # id -> key in actions
ACTION_TICKETS: Final = "action_tickets"  # ticket, key in actions -> {}
APPLIED: Final = "applied"  # id of a message -> its number
APPLIED_ORDER: Final = "applied_order"  # number -> id of a message

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
    ALERTS: alert_from,
    CHARGES: charge_from,
    ENTRIES: entry_from,
    CONTROL: control_from,
}
