"""Positions and orders as the simulated broker holds them: by ticket, and by symbol."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Generic, Protocol, TypeVar

T = TypeVar("T")
_EMPTY: Final[dict[int, Any]] = {}
_NOT_GIVEN: Final = object()


class OfSymbol(Protocol):
    """What belongs to a symbol."""

    @property
    def symbol(self) -> str:
        """The symbol's name."""


S = TypeVar("S", bound=OfSymbol)


class Held(dict[int, S]):
    """A dict by ticket that knows the rows of each symbol too, and when they changed.

    `version(symbol)` is another one after every change of that symbol's rows: those
    made through the dict are noticed, those made inside a row are told with `touch`.
    """

    def __init__(self, rows: Mapping[int, S] | None = None) -> None:
        """Take over some rows."""
        super().__init__()
        self._of: dict[str, dict[int, S]] = {}
        self._versions: dict[str, int] = {}
        self._all = 0
        if rows is not None:
            self.update(rows)

    @property
    def symbols(self) -> Iterable[str]:
        """The symbols that have rows."""
        return self._of.keys()

    def of(self, symbol: str) -> Mapping[int, S]:
        """Return the rows of a symbol by ticket, oldest first; not to be changed."""
        rows = self._of.get(symbol)
        return _EMPTY if rows is None else rows

    def version(self, symbol: str) -> tuple[int, int]:
        """Return what differs whenever the symbol's rows do."""
        return self._all, self._versions.get(symbol, 0)

    def touch(self, symbol: str | None) -> None:
        """Note that a row of a symbol, or with None of any, is no longer what it was."""
        if symbol is None:
            self._all += 1
        else:
            self._versions[symbol] = self._versions.get(symbol, 0) + 1

    def __setitem__(self, ticket: int, row: S) -> None:
        """Put a row in its place."""
        old = self.get(ticket)
        if old is not None and old.symbol != row.symbol:
            self._forget(ticket, old.symbol)
        super().__setitem__(ticket, row)
        self._of.setdefault(row.symbol, {})[ticket] = row
        self.touch(row.symbol)

    def __delitem__(self, ticket: int) -> None:
        """Take a row out; raise KeyError if it is not there."""
        symbol = self[ticket].symbol
        super().__delitem__(ticket)
        self._forget(ticket, symbol)

    def _forget(self, ticket: int, symbol: str) -> None:
        rows = self._of[symbol]
        del rows[ticket]
        if not rows:
            del self._of[symbol]
        self.touch(symbol)

    def pop(self, ticket: int, default: Any = _NOT_GIVEN, /) -> Any:
        """Take a row out and return it, or the default; raise KeyError without one."""
        if ticket not in self:
            if default is _NOT_GIVEN:
                raise KeyError(ticket)
            return default
        row = self[ticket]
        del self[ticket]
        return row

    def clear(self) -> None:
        """Take everything out."""
        for ticket in list(self):
            del self[ticket]

    def update(self, *rows: Any, **named: S) -> None:
        """Put several rows in their places."""
        for ticket, row in dict(*rows, **named).items():
            self[ticket] = row

    def setdefault(self, ticket: int, row: Any = None, /) -> Any:
        """Return the row that is there, or put this one in its place."""
        if ticket not in self:
            self[ticket] = row
        return self[ticket]

    def popitem(self) -> tuple[int, S]:
        """Take the newest row out; raise KeyError if there is none."""
        ticket = next(reversed(self))
        return ticket, self.pop(ticket)


class Index(Generic[T]):
    """The rows of a growing list by a number; catches up when it is asked."""

    def __init__(self, rows: list[T], key: Callable[[T], int]) -> None:
        """Watch a list. Rows that belong to nothing have number 0, and are found by it."""
        self._rows = rows
        self._key = key
        self.forget()

    def forget(self) -> None:
        """Begin anew: the list was changed otherwise than by appending."""
        self._seen = 0
        self._found: dict[int, list[T]] = {}

    def get(self, number: int) -> tuple[T, ...]:
        """Return the rows with that number, oldest first."""
        rows = self._rows
        if len(rows) < self._seen:
            self.forget()
        for row in rows[self._seen :]:
            self._found.setdefault(self._key(row), []).append(row)
        self._seen = len(rows)
        return tuple(self._found.get(number, ()))
