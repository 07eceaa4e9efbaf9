"""Arguments for the official package: nothing but plain `int`, `float`, `str` and `bool`.

The package answers None and -2 to a NumPy number or a None in a request, and
its positional functions take no None either (MT5.md); an enum of Python passes
or does not, by the way it was made. So everything is converted here, and what
is None is left out.
"""

from __future__ import annotations

import datetime as dt
import math
import os
from collections.abc import Mapping
from enum import Enum
from typing import Any, TypeAlias

from defence.errors import Invalid

Plain: TypeAlias = bool | int | float | str

_KINDS = (bool, int, float, str)


def plain(name: str, value: object) -> Plain:
    """Return `value` as exactly one of the four types; `name` is the argument's.

    A datetime becomes the epoch seconds that the package would make of it (its
    `timestamp()`, MT5.md), a path its text, a NumPy scalar what it holds.
    Raises `Invalid` for anything else, and for a number that is not finite.
    """
    if type(value) not in _KINDS:
        value = _unwrapped(value)
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        raise _bad(name, value, "a finite number")
    raise _bad(name, value, "a plain int, float, str or bool")


def plain_filters(filters: Mapping[str, object]) -> dict[str, Plain]:
    """Return keyword arguments; those that are None are left out. Raises `Invalid`."""
    return {name: plain(name, value) for name, value in filters.items() if value is not None}


def _unwrapped(value: Any) -> object:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dt.datetime):
        return value.timestamp()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    # NumPy's scalars and arrays of one value; NumPy itself need not be there.
    if hasattr(value, "dtype") and hasattr(value, "item") and getattr(value, "size", 1) == 1:
        return value.item()
    return value


def _bad(name: str, value: object, wanted: str) -> Invalid:
    return Invalid(
        f"the terminal's package does not take a {type(value).__name__} ({value!r:.40})",
        field=name,
        value=f"{value!r:.40}",
        remedy=f"give {wanted}",
    )
