"""The audit of control commands, and the control state that outlives the process."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice
from pathlib import Path
from typing import Final

from storage.audited import (
    AuditEntry,
    ControlState,
    control_fields,
    control_from,
    entry_fields,
    entry_from,
)
from storage.environment import Environment
from storage.keys import number_key
from storage.layout import CONTROL, ENTRIES
from storage.view import Change

DATABASES: Final = (ENTRIES, CONTROL)

__all__ = ["AuditEntry", "AuditStore", "ControlState"]

ENTRIES_KEPT: Final = 100_000  # the newest; some 30 MB. Years of a person, a day of a mad program

_CONTROL_KEY: Final = b"control"
_AT_ONCE: Final = 2  # old entries that go with a new one: more than come, so the bound is reached


class AuditStore:
    """The environment `audit`. Made by `AuditStore.open`; it has one owner.

    `secrets` are texts that must not be written, whatever field they come in;
    fields named like a secret (token, password) are hidden anyway.
    """

    def __init__(self, environment: Environment, secrets: Collection[str] = ()) -> None:
        self._env = environment
        self._secrets = tuple(secrets)

    @classmethod
    def open(cls, path: Path, *, secrets: Collection[str] = ()) -> AuditStore:
        """Open or make the store in the folder `path`; errors as `Environment.open`."""
        opened = Environment.open(path, name="audit", databases=DATABASES)
        return cls(opened, secrets)

    @property
    def environment(self) -> Environment:
        """The environment, for backups and checks."""
        return self._env

    def append(self, entry: AuditEntry) -> None:
        """Write an entry behind the newest; durable at return. Secrets are left out.

        Beyond `ENTRIES_KEPT` the oldest go, in the same transaction. By number
        and not by age: no clock that is wrong can empty an audit.
        """
        fields = entry_fields(entry, self._secrets)

        def work(change: Change) -> None:
            newest = next(change.items(ENTRIES, newest_first=True), None)
            nth = 0 if newest is None else int.from_bytes(newest[0], "big") + 1
            change.put(ENTRIES, number_key(nth, field="entry"), fields)
            _forget(change, ENTRIES_KEPT, _AT_ONCE)

        self._env.run(work)

    def tail(self, n: int = 100) -> list[AuditEntry]:
        """Return the newest `n` entries, the newest first."""
        found: list[AuditEntry] = []
        with self._env.read() as view:
            for _, fields in view.items(ENTRIES, newest_first=True):
                if len(found) >= n:
                    break
                found.append(entry_from(fields))
        return found

    def newest(self, command: str, result: str, n: int) -> list[AuditEntry]:
        """Return the newest `n` entries of one command with one result, the newest first.

        Walks the whole audit where there are fewer: a fifth of a second when it is full.
        """
        with self._env.read() as view:
            found = (
                fields
                for _, fields in view.items(ENTRIES, newest_first=True)
                if fields.get("command") == command and fields.get("result") == result
            )
            return [entry_from(fields) for fields in islice(found, n)]

    def hidden(self, entry: AuditEntry) -> AuditEntry:
        """Return the entry as it is written: without secrets."""
        return entry_from(entry_fields(entry, self._secrets))

    def control(self) -> ControlState:
        """Return the stored mode and pause; nothing set for a new store."""
        with self._env.read() as view:
            fields = view.get(CONTROL, _CONTROL_KEY)
        return ControlState() if fields is None else control_from(fields)

    def set_control(self, control: ControlState) -> None:
        """Store mode and pause with who, when and why; durable at return."""
        fields = control_fields(control)
        self._env.run(lambda change: change.put(CONTROL, _CONTROL_KEY, fields))

    def close(self) -> None:
        """Close; a second time does nothing."""
        self._env.close()


def _forget(change: Change, keep: int, limit: int) -> None:
    beyond = min(limit, change.count(ENTRIES) - keep)
    if beyond <= 0:
        return
    oldest = [key for key, _ in islice(change.items(ENTRIES), beyond)]
    for key in oldest:
        change.delete(ENTRIES, key)
