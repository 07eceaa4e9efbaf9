"""Reading one field of a stored record, its type checked.

A field whose record is sound but that makes no sense here (an unknown state,
a text for a number) was written by another version. That is FolderRefused,
not Damaged, so that nothing is set aside.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final, NoReturn, TypeVar

from defence.errors import FolderRefused
from storage.records import Fields

E = TypeVar("E", bound=StrEnum)
_MISSING: Final = object()


def refuse(name: str, value: object) -> NoReturn:
    """Raise the error for a sound record that this version cannot understand."""
    raise FolderRefused(
        f"a stored record has {name} = {value!r}, which this version does not know",
        field=name,
        value=value,
        remedy="run the DTMS version that wrote it, or use another data folder",
    )


def number(fields: Fields, name: str, default: object = _MISSING) -> float:
    """Return a number; whole numbers stay whole, as they were written."""
    value = fields.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        refuse(name, None if value is _MISSING else value)
    return value


def number_or_none(fields: Fields, name: str) -> float | None:
    """Return a number, or None where it is None or missing."""
    return None if fields.get(name) is None else number(fields, name)


def whole(fields: Fields, name: str, default: object = _MISSING) -> int:
    """Return a whole number."""
    value = fields.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int):
        refuse(name, None if value is _MISSING else value)
    return value


def whole_or_none(fields: Fields, name: str) -> int | None:
    """Return a whole number, or None where it is None or missing."""
    return None if fields.get(name) is None else whole(fields, name)


def text(fields: Fields, name: str, default: object = _MISSING) -> str:
    """Return a text."""
    value = fields.get(name, default)
    if not isinstance(value, str):
        refuse(name, None if value is _MISSING else value)
    return value


def text_or_none(fields: Fields, name: str) -> str | None:
    """Return a text, or None where it is None or missing."""
    return None if fields.get(name) is None else text(fields, name)


def flag(fields: Fields, name: str, *, default: object = _MISSING) -> bool:
    """Return a truth value."""
    value = fields.get(name, default)
    if not isinstance(value, bool):
        refuse(name, None if value is _MISSING else value)
    return value


def member(kind: type[E], value: Any, name: str) -> E:
    """Return the enum member with that value."""
    try:
        return kind(value)
    except ValueError:
        refuse(name, value)


def member_or_none(kind: type[E], fields: Fields, name: str) -> E | None:
    """Return an enum member, or None where it is None or missing."""
    value = fields.get(name)
    return None if value is None else member(kind, value, name)


def items(fields: Fields, name: str) -> list[Any]:
    """Return a list; a missing one is empty."""
    value = fields.get(name, [])
    if not isinstance(value, list):
        refuse(name, value)
    return value


def inner(fields: Fields, name: str) -> Fields | None:
    """Return a map within the map, or None where it is None or missing."""
    value = fields.get(name)
    if value is None or isinstance(value, dict):
        return value
    refuse(name, value)
