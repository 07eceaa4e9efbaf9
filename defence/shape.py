"""What can be said of a registration without asking the broker."""

from __future__ import annotations

import math
from dataclasses import replace

from defence.broker import Direction
from defence.errors import Invalid
from defence.trade import Trade

MAX_ULONG = 2**64 - 1  # tickets, identifiers and magic numbers are 64-bit, unsigned
MAX_TEXT = 64  # characters


def check_shape(trade: Trade) -> Trade:
    """Return the registration with its direction as `Direction`.

    Checks types and values, one field at a time and none against another;
    values may come from JSON, so types are not trusted. Raises `Invalid`.
    """
    _whole("ticket", trade.ticket, least=1)
    if trade.identifier is not None:
        _whole("identifier", trade.identifier, least=1)
    if trade.magic is not None:
        _whole("magic", trade.magic, least=0)
    if trade.symbol is not None:
        _text("symbol", trade.symbol, empty=False)
    if trade.managed_by is not None:
        _text("managed_by", trade.managed_by, empty=True)
    if trade.volume is not None:
        _above_zero("volume", trade.volume)
    if trade.entry_price is not None:
        _above_zero("entry_price", trade.entry_price)
    if trade.stop_loss is not None:
        _above_zero("stop_loss", trade.stop_loss)
    if trade.take_profit is not None:
        _above_zero("take_profit", trade.take_profit)
    direction = _direction(trade.direction)
    return trade if direction is trade.direction else replace(trade, direction=direction)


def _whole(field: str, value: object, *, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise Invalid("is not a whole number", field=field, value=value, remedy="give an integer")
    if not least <= value <= MAX_ULONG:
        raise Invalid(
            "is out of range",
            field=field,
            value=value,
            remedy=f"give an integer from {least} to {MAX_ULONG}",
        )


def _above_zero(field: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Invalid("is not a number", field=field, value=value, remedy="give a number")
    try:
        number = float(value)
    except OverflowError as error:
        raise Invalid("is too large", field=field, value="...", remedy="give a number") from error
    if not math.isfinite(number) or number <= 0:
        raise Invalid(
            "is not a finite number above zero",
            field=field,
            value=value,
            remedy="give a number above 0, or leave the field out",
        )


def _text(field: str, value: object, *, empty: bool) -> None:
    if not isinstance(value, str):
        raise Invalid("is not text", field=field, value=value, remedy="give text")
    if len(value) > MAX_TEXT:
        raise Invalid(
            "is too long",
            field=field,
            value=value[:MAX_TEXT],
            remedy=f"give at most {MAX_TEXT} characters",
        )
    if not value.isprintable() or (not empty and not value.strip()):
        raise Invalid(
            "is not readable text", field=field, value=value, remedy="give printable characters"
        )


def _direction(value: object) -> Direction | None:
    if value is None:
        return None
    if isinstance(value, str) and value in tuple(Direction):
        return Direction(value)
    raise Invalid("is no direction", field="direction", value=value, remedy="give BUY or SELL")
