"""Admin's book of poison: the audit keeps it, and ops read it here.

A message that was set aside is an entry of the audit like a command is, with
`by` the child whose handler it crashed. So it is kept over restarts, hidden
and bounded as the rest of the audit, and needs no format of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from actors.messages import NotePoison
from actors.trouble import Unwritten
from defence.errors import DtmsError, Invalid
from defence.history import MAX_PAGE
from defence.poison import PoisonRecord
from storage.audit import AuditStore
from storage.audited import AuditEntry

COMMAND: Final = "poison"
SET_ASIDE: Final = "set aside"  # the result; it tells poison from the command that lists it
KEPT: Final = MAX_PAGE  # the newest that can be listed; older ones stay in the audit
_LONGEST: Final = 2000  # characters of a text; an error may quote whatever it was given


class PoisonBook:
    """The newest poison, newest first. Made anew by each incarnation, read when first needed."""

    def __init__(self, store: AuditStore, unwritten: Unwritten[AuditEntry]) -> None:
        self._store = store
        self._unwritten = unwritten
        self._read: list[PoisonRecord] | None = None

    def note(self, note: NotePoison, write: Callable[[str, AuditEntry], object]) -> bool:
        """Write it, unless a forerunner has done so already; return whether it is new.

        `write` gets a key and the entry, and keeps what cannot be written yet.
        """
        entry = self._store.hidden(entry_of(note))
        record = record_of(entry)
        known: list[PoisonRecord] = []
        with suppress(DtmsError):  # twice written is better than lost, where it cannot be read
            known = self._records()
        if record in known:
            return False
        write(f"{COMMAND}:{note.child}:{note.incarnation}:{note.poison.id}", entry)
        known.insert(0, record)
        del known[KEPT:]
        return True

    def newest(self, limit: object) -> tuple[PoisonRecord, ...]:
        """Return the newest `limit`, newest first. Raises `Invalid`."""
        if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= KEPT:
            raise Invalid(
                f"must be a whole number from 1 to {KEPT}",
                field="limit",
                value=limit,
                remedy="leave it out for the newest 100",
            )
        return tuple(self._records()[:limit])

    def _records(self) -> list[PoisonRecord]:
        if self._read is None:
            waiting = _of_poison(tuple(self._unwritten.waiting.values()))
            stored = self._store.newest(COMMAND, SET_ASIDE, KEPT)
            entries = [*reversed(waiting), *stored]
            self._read = [record_of(entry) for entry in entries][:KEPT]
        return self._read


def _of_poison(entries: Sequence[AuditEntry]) -> list[AuditEntry]:
    return [one for one in entries if one.command == COMMAND and one.result == SET_ASIDE]


def entry_of(note: NotePoison) -> AuditEntry:
    """Return the audit's entry for a message that was set aside."""
    poison = note.poison
    return AuditEntry(
        at=poison.at,
        command=COMMAND,
        by=note.child,
        arguments={
            "incarnation": note.incarnation,
            "message": _cut(poison.message),
            "id": _cut(poison.id),
            "error": _cut(poison.error),
            "shown": _cut(poison.shown),
            "lane": _cut(poison.lane),
        },
        result=SET_ASIDE,
    )


def record_of(entry: AuditEntry) -> PoisonRecord:
    """Return what ops see of an entry; whatever it lacks is empty."""
    said = entry.arguments
    incarnation = said.get("incarnation")
    return PoisonRecord(
        at=entry.at,
        child=entry.by,
        incarnation=incarnation if isinstance(incarnation, int) else 0,
        message=str(said.get("message", "")),
        id=str(said.get("id", "")),
        error=str(said.get("error", "")),
        shown=str(said.get("shown", "")),
        lane=str(said.get("lane", "")),
    )


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} ..."
