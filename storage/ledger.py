"""The restart ledger: what each child was charged, kept over process restarts.

It has an environment of its own, so that losing another store never refills a
budget (DESIGN, Supervision). The window is judged by its reader: a charge at
`t` counts in `[t, t + period)`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from defence.errors import Invalid
from storage.environment import Environment
from storage.keys import moment_key, number_key, text_key
from storage.layout import CHARGES, charge_from
from storage.view import Change

DATABASES: Final = (CHARGES,)

_SEPARATOR: Final = b"\x00"


class LedgerStore:
    """The environment `ledger`. Made by `LedgerStore.open`; it has one owner."""

    def __init__(self, environment: Environment) -> None:
        self._env = environment

    @classmethod
    def open(cls, path: Path) -> LedgerStore:
        """Open or make the store in the folder `path`; errors as `Environment.open`."""
        return cls(Environment.open(path, name="ledger", databases=DATABASES))

    @property
    def environment(self) -> Environment:
        """The environment, for backups and checks."""
        return self._env

    def charges(self, child: str) -> list[float]:
        """Return the wall times (UTC epoch seconds) of the child's charges, oldest first."""
        with self._env.read() as view:
            return [charge_from(fields) for _, fields in view.items(CHARGES, prefix=_child(child))]

    def add(self, child: str, at: float) -> None:
        """Charge the child at wall time `at`; durable at return. Two at one moment are two."""
        prefix = _child(child) + moment_key(at, field="at")

        def work(change: Change) -> None:
            nth = sum(1 for _ in change.items(CHARGES, prefix=prefix))
            key = prefix + number_key(nth, field="at")
            change.put(CHARGES, key, {"child": child, "at": at})

        self._env.run(work)

    def clear(self, child: str) -> None:
        """Forget all charges of the child (ops reset its budget)."""
        self._drop(child, None)

    def prune(self, child: str, before: float) -> None:
        """Forget the child's charges from before that wall time."""
        self._drop(child, before)

    def _drop(self, child: str, before: float | None) -> None:
        prefix = _child(child)

        def work(change: Change) -> None:
            for key, fields in list(change.items(CHARGES, prefix=prefix)):
                if before is None or charge_from(fields) < before:
                    change.delete(CHARGES, key)

        self._env.run(work)

    def close(self) -> None:
        """Close; a second time does nothing."""
        self._env.close()


def _child(child: str) -> bytes:
    key = text_key(child, field="child")
    if _SEPARATOR in key:  # it would run into another child's charges
        raise Invalid("a child's name holds no zero character", field="child", value=child)
    return key + _SEPARATOR
