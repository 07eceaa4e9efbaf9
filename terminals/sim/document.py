"""A JSON document in a file: checking its values, naming the place of each; replacing it."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from defence.errors import Invalid
from terminals.structs import Struct

S = TypeVar("S", bound=Struct)
LARGEST: Final = 2**63
_LARGEST_OF: Final = {"magic": 2**64}  # the one number that programs choose in all 64 bits
_REPLACE_TRIES: Final = 10
_REPLACE_PAUSE: Final = 0.02


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

    def whole(self, place: str, value: object, least: int = 0, below: int = LARGEST) -> int:
        """Return a whole number."""
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value < below:
            what = f"{_short(value)} is no whole number of at least {least} and below {below}"
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
                most = _LARGEST_OF.get(name, LARGEST)
                checked[name] = self.whole(where, item, below=most)
            elif isinstance(default, float):
                checked[name] = self.number(where, item)
            else:
                checked[name] = self.text(where, item)
        return checked

    def structs(self, place: str, value: object, kind: type[S]) -> list[S]:
        """Return a list of structs; fields that are not given are neutral."""
        rows = enumerate(self.items(place, value))
        return [kind(**self.fields(f"{place}[{index}]", row, kind)) for index, row in rows]


def lines_of(rows: Iterable[Mapping[str, object]]) -> str:
    """Return a list of objects as JSON, each on a line of its own."""
    return _listed(map(json.dumps, rows))


class GrownLines:
    """A list that only grows, as JSON with a line for each struct; each is made into one once."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._lines: list[str] = []
        self._newest: Struct | None = None

    def text(self, rows: Sequence[Struct]) -> str:
        """Return the list as JSON; one that is not the last one grown is written out anew."""
        done = len(self._lines)
        if done and (done > len(rows) or rows[done - 1] is not self._newest):
            self._lines.clear()
            done = 0
        self._lines += [json.dumps(row._asdict()) for row in rows[done:]]
        self._newest = rows[-1] if rows else None
        return _listed(self._lines)


def _listed(lines: Iterable[str]) -> str:
    return "[\n" + ",\n".join(lines) + "\n]"


def replace_text(path: Path, text: str) -> None:
    """Replace a file in one step. Raises OSError if the disk or the folder refuse."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        draft.write_text(text, encoding="utf-8")
        _replace(draft, path)
    except OSError:
        with suppress(OSError):
            draft.unlink()
        raise


def _replace(draft: Path, path: Path) -> None:
    """Rename over the old file; Windows refuses that for as long as somebody reads it."""
    for attempt in range(_REPLACE_TRIES):
        try:
            draft.replace(path)
        except PermissionError:
            if attempt == _REPLACE_TRIES - 1:
                raise
            time.sleep(_REPLACE_PAUSE)
        else:
            return


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
