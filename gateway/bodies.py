"""JSON in and out: strict about what comes in, plain in what goes out."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Any

from starlette.responses import Response

from defence.errors import Invalid

MAX_DEPTH = 16  # levels; the deepest body that is asked for has 3


class Json(Response):
    """A JSON response in ASCII, so that no text can break the encoding."""

    media_type = "application/json"

    def __init__(
        self, content: object, status_code: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(content, status_code, headers)

    def render(self, content: Any) -> bytes:
        """Return the bytes; raises `ValueError` for NaN, which is no JSON."""
        return dumps(content)


def dumps(content: object) -> bytes:
    """Return compact JSON."""
    return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


def plain(value: object) -> object:
    """Return a value as JSON can say it; what it cannot say becomes text, NaN becomes null."""
    if isinstance(value, Enum):
        return plain(value.value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in value]
    return str(value)


def parse(raw: bytes) -> dict[str, Any]:
    """Return the object that a request's body holds. Raises `Invalid` naming the field.

    Stricter than `json.loads`: no NaN, no Infinity, no name twice, no half of
    a surrogate pair, no endless nesting.
    """
    try:
        found = json.loads(raw.decode("utf-8"), object_pairs_hook=_once)
    except UnicodeDecodeError:
        raise Invalid("is not UTF-8", field="body", remedy="send JSON in UTF-8") from None
    except RecursionError:
        raise _too_deep() from None
    except json.JSONDecodeError as error:
        raise Invalid(
            f"is not JSON: {error.msg} at line {error.lineno}, column {error.colno}",
            field="body",
            remedy="send one JSON object",
        ) from None
    except ValueError as error:  # a number with thousands of digits
        raise Invalid(f"is not usable: {error}", field="body", remedy="send numbers") from None
    if not isinstance(found, dict):
        raise Invalid("is not an object", field="body", remedy="send one JSON object, {...}")
    _check(found, "", 1)
    return found


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise Invalid("is given twice", field=_shown(name), remedy="give it once")
        found[name] = value
    return found


def _check(value: object, path: str, depth: int) -> None:
    """Refuse what only looks like JSON; `path` is where in the body we are."""
    if depth > MAX_DEPTH:
        raise _too_deep()
    if isinstance(value, dict):
        for name, one in value.items():
            _check_text(name, _shown(name))
            _check(one, f"{path}.{name}" if path else name, depth + 1)
    elif isinstance(value, list):
        for place, one in enumerate(value):
            _check(one, f"{path}[{place}]", depth + 1)
    elif isinstance(value, str):
        _check_text(value, path)
    elif isinstance(value, float) and not math.isfinite(value):
        raise Invalid(
            "is not a finite number", field=path, value=value, remedy="give a number, or leave out"
        )


def _check_text(text: str, field: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise Invalid(
            "is not readable text", field=field, remedy="give whole Unicode characters"
        ) from None


def _shown(name: str) -> str:
    return name[:64].encode("ascii", "backslashreplace").decode("ascii")


def _too_deep() -> Invalid:
    return Invalid(
        f"is nested more than {MAX_DEPTH} levels deep", field="body", remedy="send a flat object"
    )
