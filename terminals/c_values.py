"""Single arguments as the package's C code converts them: exact types, C's ranges. Pure.

Where a conversion of Python's own fails, the package says that the argument is
invalid and leaves Python's exception behind: `BadArgumentError.cause`.
"""

from __future__ import annotations

import datetime as dt
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final

from terminals import constants as mt5

INVALID: Final = "Invalid arguments"
NAME_MAX: Final = mt5.COMMENT_MAX
_LONG: Final = 2**31  # a C long under Windows has 32 bits
_LONG_LONG: Final = 2**63


class BadArgumentError(ValueError):
    """The package refuses: the call fails with -2 and this text.

    `cause` is an exception that the package leaves behind when it does so,
    which Python then reports as a SystemError.
    """

    def __init__(self, text: str, cause: Exception | None = None) -> None:
        """Take the text of `last_error()`."""
        super().__init__(text)
        self.cause = cause

    @property
    def error(self) -> tuple[int, str]:
        """What `last_error()` says."""
        return mt5.RES_E_INVALID_PARAMS, str(self)


def invalid(key: str, cause: Exception | None = None) -> BadArgumentError:
    """Return the refusal of a named argument."""
    return BadArgumentError(f'Invalid "{key}" argument', cause)


def text_of(value: object, most: int, refusal: BadArgumentError) -> str:
    """Return a text of at most `most` UTF-16 units; raise the refusal for anything else."""
    if not isinstance(value, str):
        raise refusal
    if len(value.encode("utf-16-le", "surrogatepass")) > 2 * most:
        raise refusal
    return str(value)


def name_of(value: object) -> str:
    """Return a symbol's name."""
    return text_of(value, NAME_MAX, BadArgumentError(INVALID))


def unsigned(value: object, bits: int, text: str) -> int:
    """Return an int as an unsigned C number; bool is an int, numpy's numbers are not."""
    if not isinstance(value, int):
        raise BadArgumentError(text)
    if value < 0:
        what = "int" if bits == 64 else "value"
        to = "unsigned" if bits == 64 else "unsigned int"
        raise BadArgumentError(text, OverflowError(f"can't convert negative {what} to {to}"))
    if value >= 1 << bits:
        long = "Python int too large to convert to C unsigned long"
        raise BadArgumentError(
            text, OverflowError("int too big to convert" if bits == 64 else long)
        )
    return int(value)


def real_of(value: object, key: str) -> float:
    """Return a float; a whole number is refused, numpy's float64 is a float."""
    if not isinstance(value, float):
        raise invalid(key)
    return float(value)


def moment_of(value: object) -> int | float:
    """Return a date as whole seconds; a naive datetime is taken in this machine's zone.

    The package keeps 32 bits: a larger int leaves an OverflowError behind. What
    becomes of a larger float or datetime there is not known; here it is taken as
    it is, as a float.
    """
    if isinstance(value, int):
        if not -_LONG <= value < _LONG:
            cause = OverflowError("Python int too large to convert to C long")
            raise BadArgumentError(INVALID, cause)
        return int(value)
    if isinstance(value, dt.datetime):
        value = value.timestamp()
    if not isinstance(value, float):
        raise BadArgumentError(INVALID)
    if not math.isfinite(value):
        return -_LONG  # what a conversion of no number gives in C
    whole = math.trunc(value)
    return whole if -_LONG <= whole < _LONG else float(whole)


def _c_int(value: object) -> int:
    try:
        found = operator.index(value)  # type: ignore[arg-type]
    except TypeError as error:
        raise BadArgumentError(INVALID, error) from error
    if -_LONG <= found < _LONG:
        return found
    which = "greater than maximum" if found > 0 else "less than minimum"
    raise BadArgumentError(INVALID, OverflowError(f"signed integer is {which}"))


def _c_double(value: object) -> float:
    kind = type(value).__name__
    if isinstance(value, str | bytes | bytearray) or not (
        hasattr(value, "__float__") or hasattr(value, "__index__")
    ):
        raise BadArgumentError(INVALID, TypeError(f"must be real number, not {kind}"))
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError) as error:
        raise BadArgumentError(INVALID, error) from error


def _c_mask(value: object) -> int:
    if not isinstance(value, int):
        kind = type(value).__name__
        raise BadArgumentError(INVALID, TypeError(f"argument 1 must be int, not {kind}"))
    return value & 0xFFFF_FFFF


def _same(value: object) -> object:
    return value


_C: Final[Mapping[str, Callable[[object], Any]]] = {
    "O": _same,
    "i": _c_int,
    "k": _c_mask,
    "d": _c_double,
}


def parsed(formats: str, unnamed: tuple[Any, ...]) -> list[Any]:
    """Convert by the format that the package gives to Python; all of it comes before names."""
    if len(unnamed) != len(formats):
        raise BadArgumentError(INVALID)
    return [_C[one](value) for one, value in zip(formats, unnamed, strict=True)]


def expiration_of(value: object) -> int:
    """Return the expiry of an order, signed 64 bits."""
    if not isinstance(value, int):
        raise invalid("expiration")
    if not -_LONG_LONG <= value < _LONG_LONG:
        raise invalid("expiration", OverflowError("int too big to convert"))
    return int(value)
