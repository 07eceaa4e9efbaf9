"""Reading an order's request as strictly as the package does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from terminals import constants as mt5
from terminals.structs import TradeRequest

_WHOLE: Final = frozenset(
    {
        "action",
        "magic",
        "order",
        "deviation",
        "type",
        "type_filling",
        "type_time",
        "expiration",
        "position",
        "position_by",
    }
)
_NUMBER: Final = frozenset({"volume", "price", "stoplimit", "sl", "tp"})
_TEXT: Final = frozenset({"symbol", "comment"})
_LARGEST: Final = 2**64


class BadArgumentError(ValueError):
    """A field of the request has a type or a length that cannot be sent."""

    def __init__(self, name: str) -> None:
        """Word it as `last_error()` does."""
        super().__init__(f'Invalid "{name}" argument')


def parse_request(fields: Mapping[str, Any]) -> TradeRequest:
    """Return the request with defaults for what is absent; unknown keys mean nothing.

    Raises BadArgumentError for None, numpy numbers, bool and any other type that
    is not plain int, float or str, and for a comment of more than 31
    characters (MT5.md).
    """
    known: dict[str, Any] = {}
    for name, value in fields.items():
        kind = type(value)
        if name in _WHOLE:
            if kind is not int or not -_LARGEST < value < _LARGEST:
                raise BadArgumentError(name)
            known[name] = value
        elif name in _NUMBER:
            if kind is not int and kind is not float:
                raise BadArgumentError(name)
            known[name] = float(value)
        elif name in _TEXT:
            if kind is not str or (name == "comment" and len(value) > mt5.COMMENT_MAX):
                raise BadArgumentError(name)
            known[name] = value
    return TradeRequest(**known)
