"""Poison: a message that is set aside because two incarnations ended over it, and it alone."""

from __future__ import annotations

import datetime as dt
import decimal
import enum
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from itertools import islice
from typing import Final, TypeVar

from actors.events import EventStream, Kind
from actors.letters import Letter
from actors.life import Poison

LONGEST: Final = 500  # characters of a shown message, and of an error
DEEPEST: Final = 3
MOST: Final = 12  # items of a collection, and fields of an object
HUGE: Final = 10**50
SECRETS: Final = ("token", "password", "passwd", "secret")
HIDDEN: Final = "'***'"

_Item = TypeVar("_Item")


def condemn(
    letter: Letter, child: str, incarnation: int, error: str, events: EventStream, at: float
) -> Poison:
    """Say in the stream that a letter is poison, and return the record of it.

    `at` is UTC epoch seconds.
    """
    name = type(letter.message).__name__
    events.publish(Kind.POISONED, child, incarnation, message=name, id=letter.id, error=error)
    return Poison(
        message=name,
        id=letter.id,
        error=cut(error),
        shown=shown(letter.message),
        lane=letter.lane.name.lower(),
        at=at,
    )


def shown(message: object) -> str:
    """Return a message in words, at most `LONGEST` characters, without secrets. Never raises.

    No code of the message runs but attribute access: a `repr` may raise, or
    hang, and this is called where neither may be.
    """
    return cut(_show(message, 0))


def cut(text: str) -> str:
    """Return at most `LONGEST` characters of `text`, saying where it was cut."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _show(value: object, depth: int) -> str:
    try:
        return _plain(value) or _built(value, depth)
    except Exception:  # noqa: BLE001 - somebody's property may raise anything
        return f"<{type(value).__name__} that cannot be shown>"


def _plain(value: object) -> str | None:
    """Return what needs no look inside: the built-in kinds, and no subclass but enums."""
    kind = type(value)
    if isinstance(value, str | bytes) and kind in (str, bytes):
        return repr(value[:LONGEST])
    if isinstance(value, int) and kind is int:
        # Python refuses to print an integer of thousands of digits.
        return repr(value) if -HUGE < value < HUGE else "<a huge int>"
    if isinstance(value, type):
        return f"<class {value.__name__}>"
    if value is None or kind in (bool, float, complex, decimal.Decimal):
        return repr(value)
    if kind in (dt.datetime, dt.date, dt.time, dt.timedelta):
        return str(value)
    if isinstance(value, enum.Enum):
        return f"{kind.__name__}.{value._name_}"
    return None


def _built(value: object, depth: int) -> str:
    """Return a collection or an object, its parts one level deeper."""
    name = type(value).__name__
    if depth >= DEEPEST:
        return f"<{name}>"
    if isinstance(value, Mapping):
        parts = (f"{_show(k, depth + 1)}: {_part(k, v, depth)}" for k, v in _first(value.items()))
        return f"{{{', '.join(parts)}}}"
    if isinstance(value, BaseException):
        return f"{name}({', '.join(_show(one, depth + 1) for one in value.args[:MOST])})"
    named = getattr(type(value), "_fields", None)  # a named tuple
    if isinstance(value, list | tuple | set | frozenset) and named is None:
        inside = ", ".join(_show(one, depth + 1) for one in _first(value))
        return f"[{inside}]" if isinstance(value, list) else f"{name}({inside})"
    if named is None and is_dataclass(value):
        named = [field.name for field in fields(value) if field.repr]
    if named is None:
        named = list(getattr(value, "__dict__", ()))
    parts = (f"{one}={_part(one, getattr(value, one), depth)}" for one in _first(named))
    return f"{name}({', '.join(parts)})"


def _part(name: object, value: object, depth: int) -> str:
    """Return the value of a field, unless its name says that it is nobody's business."""
    secret = isinstance(name, str) and any(word in name.lower() for word in SECRETS)
    return HIDDEN if secret else _show(value, depth + 1)


def _first(items: Iterable[_Item]) -> Iterator[_Item]:
    return islice(items, MOST)
