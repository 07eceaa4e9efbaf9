"""Checking values of a JSON document, with the place of each in the message."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from defence.errors import Invalid
from terminals.structs import Struct

S = TypeVar("S", bound=Struct)
_LARGEST: Final = 2**63


class Document:
    """A JSON document that came from a file; every check raises Invalid naming file and place."""

    def __init__(self, path: Path) -> None:
        """Remember the file for the messages."""
        self.path = path

    def refuse(self, place: str, value: object, what: str, remedy: str) -> NoReturn:
        """Raise Invalid."""
        raise Invalid(
            f"{self.path}: {place}: {what}", field="sim_state", value=value, remedy=remedy
        )

    def mapping(self, place: str, value: object, known: Collection[str]) -> Mapping[str, Any]:
        """Return an object all of whose keys are known; null is an empty one."""
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.refuse(place, value, f"{_short(value)} is no object", "write {...}")
        for name in value:
            if name not in known:
                fields = ", ".join(sorted(known))
                self.refuse(f"{place}.{name}", value[name], "unknown field", f"known are {fields}")
        return value

    def items(self, place: str, value: object) -> list[Any]:
        """Return a list; null is an empty one."""
        if value is None:
            return []
        if not isinstance(value, list):
            self.refuse(place, value, f"{_short(value)} is no list", "write [...]")
        return value

    def whole(self, place: str, value: object, least: int = 0) -> int:
        """Return a whole number."""
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value < _LARGEST:
            what = f"{_short(value)} is no whole number of at least {least}"
            self.refuse(place, value, what, "correct the value")
        return value

    def number(self, place: str, value: object, least: float = -math.inf) -> float:
        """Return a finite number."""
        if (
            not isinstance(value, int | float)
            or isinstance(value, bool)
            or not math.isfinite(value)
            or value < least
        ):
            beyond = "" if least == -math.inf else f" of at least {least:g}"
            what = f"{_short(value)} is no finite number{beyond}"
            self.refuse(place, value, what, "correct the value")
        return float(value)

    def text(self, place: str, value: object) -> str:
        """Return a string."""
        if not isinstance(value, str):
            self.refuse(place, value, f"{_short(value)} is no text", "write it in quotes")
        return value

    def flag(self, place: str, value: object) -> bool:
        """Return true or false."""
        if not isinstance(value, bool):
            self.refuse(place, value, f"{_short(value)} is not true or false", "correct the value")
        return value

    def fields(self, place: str, value: object, kind: type[Struct]) -> dict[str, Any]:
        """Return the given fields of a struct, each with its type checked; null is not given."""
        neutral = kind()._asdict()
        given = self.mapping(place, value, neutral)
        checked: dict[str, Any] = {}
        for name, item in given.items():
            if item is None:
                continue
            where, default = f"{place}.{name}", neutral[name]
            if isinstance(default, bool):
                checked[name] = self.flag(where, item)
            elif isinstance(default, int):
                checked[name] = self.whole(where, item)
            elif isinstance(default, float):
                checked[name] = self.number(where, item)
            else:
                checked[name] = self.text(where, item)
        return checked

    def structs(self, place: str, value: object, kind: type[S]) -> list[S]:
        """Return a list of structs; fields that are not given are neutral."""
        rows = enumerate(self.items(place, value))
        return [kind(**self.fields(f"{place}[{index}]", row, kind)) for index, row in rows]


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
