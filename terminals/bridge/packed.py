"""The far side's plain answers, taken apart: what comes in is data, and nothing of it is run."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from defence.errors import Invalid
from terminals.worker.goods import Shape

_LENGTH: Final = struct.Struct("<I")
_NUMBERS: Final = ("q", "d")
_SHORT: Final = 18  # characters of a whole number that has 64 bits at most, whatever its digits
Told: TypeAlias = tuple[Any, Shape | None]  # a value, and the fields of its rows if they are new


@dataclass(frozen=True, slots=True)
class Packed:
    """One answer, as `worker.host` takes it, and the server's clocks, in seconds."""

    ok: bool
    value: Any
    error: tuple[Any, ...]
    shape: Shape | None
    clocks: tuple[float, ...]


def unpacked(data: object) -> Packed:
    """Return the answer in these bytes. Raises Invalid for anything else."""
    if not isinstance(data, bytes) or len(data) < _LENGTH.size:
        raise _damage("is no answer of the far side")
    end = _LENGTH.size + int(_LENGTH.unpack_from(data)[0])
    try:
        head = json.loads(data[_LENGTH.size : end], parse_int=_whole)
    except (ValueError, RecursionError) as problem:
        raise _damage(f"has no head: {type(problem).__name__}") from problem
    if not isinstance(head, list) or len(head) != 4 or len(data) < end:
        raise _damage("has no head")
    ok, *lists = head
    if type(ok) is not bool or {type(one) for one in lists} != {list}:
        raise _damage("has no head")
    told, error, clocks = lists
    if [type(one) for one in clocks] != [float, float] or not all(map(math.isfinite, clocks)):
        raise _damage("has no clocks")
    value, shape = _value(told, data[end:]) if ok else _raised(told)
    return Packed(ok, value, tuple(error), shape, tuple(clocks))


def _whole(text: str) -> int:
    """Return a whole number. Raises ValueError for one that no field of the package can have."""
    value = int(text)
    if len(text) > _SHORT and not -(1 << 63) <= value < 1 << 64:
        raise ValueError("it has more than 64 bits")
    return value


def _raised(told: list[Any]) -> Told:
    if [type(one) for one in told] != [str, str]:
        raise _damage("has no exception")
    return tuple(told), None


def _value(told: list[Any], rest: bytes) -> Told:
    kind, *parts = told or [None]
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    if reader is None or len(parts) != reader[0]:
        raise _damage("has no value")
    return reader[1](rest, *parts)


def _plain(rest: bytes, value: Any) -> Told:
    if rest:
        raise _damage("has more than a plain value")
    return tuple(value) if isinstance(value, list) else value, None


def _row(rest: bytes, names: Any, values: Any) -> Told:
    if rest or not isinstance(values, list):
        raise _damage("has no row")
    row = tuple(tuple(one) if isinstance(one, list) else one for one in values)
    return row, _shape(names)


def _rows(rest: bytes, names: Any, count: Any, columns: Any) -> Told:
    """Return the columns of many rows, as `goods.Unpacking` puts rows together."""
    if type(count) is not int or count < 0 or not isinstance(columns, list):
        raise _damage("has no rows")
    if bool(count) != bool(columns):
        raise _damage("has no rows")
    values: list[Sequence[Any]] = []
    at = 0
    for column in columns:
        if isinstance(column, list):
            values.append(column)
            continue
        if column not in _NUMBERS or len(rest) < at + 8 * count:
            raise _damage("has no column of numbers")
        values.append(struct.unpack_from(f"<{count}{column}", rest, at))
        at += 8 * count
    if at != len(rest) or any(len(one) != count for one in values):
        raise _damage("has columns of other lengths than it says")
    return tuple(map(tuple, values)), _shape(names)


def _array(rest: bytes, fields: Any) -> Told:
    import numpy as np  # late: whoever only reads positions and sends orders does not need it

    try:
        kind = np.lib.format.descr_to_dtype([(str(name), str(form)) for name, form in fields])
        # A copy, because what a terminal gives may be written to. (Objects are refused: they
        # would be pointers.)
        return np.frombuffer(rest, dtype=kind).copy(), None
    except (ValueError, TypeError) as error:
        raise _damage(f"has no array: {error}") from error


def _shape(names: Any) -> Shape | None:
    """Return the fields as `worker.goods` learns them; it checks what they are called."""
    if names is None:
        return None
    if not isinstance(names, list) or len(names) != 2:
        raise _damage("has no names of fields")
    fields, nested = names
    if not isinstance(fields, list) or not isinstance(nested, list | None):
        raise _damage("has no names of fields")
    return tuple(fields), None if nested is None else tuple(nested)


_READERS: Final[dict[str, tuple[int, Callable[..., Told]]]] = {
    "plain": (1, _plain),
    "row": (2, _row),
    "rows": (3, _rows),
    "array": (1, _array),
}


def _damage(what: str) -> Invalid:
    return Invalid(
        f"the answer {what}",
        field="answer",
        remedy="the far side is not of this version, or the connection is damaged: connect anew",
    )
