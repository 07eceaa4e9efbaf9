"""Rows, arrays and errors as plain data, and back.

A row crosses as the bare sequence of its values, many rows as columns, whose
numbers need no packing one by one: the worker names the fields
once a type, so that a newer package with more fields, or with the same ones in
another order, still arrives field by field. A row whose fields are the known
ones becomes the known type; any other gets a type with just its own fields,
and a field that it lacks is missed by whoever reads it, not taken for 0.
"""

from __future__ import annotations

import builtins
import struct
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

import msgpack  # type: ignore[import-untyped]  # it has no stubs

from defence.errors import DtmsError, Invalid
from terminals.structs import (
    AccountInfo,
    BookInfo,
    OrderCheckResult,
    OrderSendResult,
    Struct,
    SymbolInfo,
    TerminalInfo,
    Tick,
    TradeDeal,
    TradeOrder,
    TradePosition,
    TradeRequest,
)

Shape: TypeAlias = tuple[tuple[str, ...], tuple[str, ...] | None]  # fields; and its request's
Build: TypeAlias = Callable[[Sequence[Any]], Any]

ONE: Final[dict[str, type[Struct]]] = {
    "account_info": AccountInfo,
    "terminal_info": TerminalInfo,
    "symbol_info": SymbolInfo,
    "symbol_info_tick": Tick,
    "order_check": OrderCheckResult,
    "order_send": OrderSendResult,
}
MANY: Final[dict[str, type[Struct]]] = {
    "positions_get": TradePosition,
    "orders_get": TradeOrder,
    "history_deals_get": TradeDeal,
    "history_orders_get": TradeOrder,
    "symbols_get": SymbolInfo,
    "market_book_get": BookInfo,
}
# What a worker tells without being asked.
FAULTS: Final = "faults"  # what is left of a script
MARKET_TIME: Final = "market_time"
_REQUEST: Final = "request"
_ARRAY: Final = 1  # msgpack's codes of extensions: an array of numpy's,
_FLOATS: Final = 2  # a column of floats, eight bytes each as this machine has them,
_INTS: Final = 3  # and one of whole numbers
_ITEM: Final = 8
MOST_ROWS: Final = 1_000_000  # of one answer; a damaged number must not fill the memory


# -- the worker's side


class Packing:
    """Turns answers into plain data; names the fields of each call's rows when they are new."""

    def __init__(self) -> None:
        self._told: dict[str, type] = {}

    def pack(self, call: str, answer: Any) -> tuple[Any, Shape | None]:
        """Return what crosses, and the fields of its rows if they were not told yet."""
        if answer is None or isinstance(answer, bool):
            return answer, None
        if call in ONE:
            return answer, self._shape(call, answer)
        if call in MANY:
            rows = tuple(answer)
            return _columns(rows), self._shape(call, rows[0]) if rows else None
        if hasattr(answer, "dtype"):
            return _packed_array(answer), None
        return answer, None

    def _shape(self, call: str, row: Any) -> Shape | None:
        if self._told.get(call) is type(row):
            return None
        self._told[call] = type(row)
        names = _names(row)
        nested = getattr(row, _REQUEST, None) if _REQUEST in names else None
        return names, None if nested is None else _names(nested)


def _names(row: Any) -> tuple[str, ...]:
    """Return the fields of a row in the order of its values."""
    # The package adds `_asdict` to its own types, as ours have it; C's have the other.
    names = row._asdict() if hasattr(row, "_asdict") else type(row).__match_args__
    return tuple(names)[: len(row)]


def _columns(rows: Sequence[Any]) -> tuple[Any, ...]:
    """Return rows of one length as columns. Raises ValueError for another length."""
    return tuple(map(_column, zip(*rows, strict=True)))


def _column(values: tuple[Any, ...]) -> Any:
    """Return a column as bytes where it is one of floats or of whole numbers, by its first.

    One whose values are all the same, as of most fields of most accounts, is
    that value and how often.
    """
    size, first = len(values), values[0]
    kind = type(first)
    try:
        if kind is float:
            data = struct.pack(f"{size}d", *values)
            same = data == data[:_ITEM] * size  # by the bits: 0.0 is not -0.0
            return {size: first} if same else msgpack.ExtType(_FLOATS, data)
        if kind is int:
            data = struct.pack(f"{size}q", *values)
            same = data == data[:_ITEM] * size
            return {size: first} if same else msgpack.ExtType(_INTS, data)
    except (struct.error, OverflowError):  # mixed, or a number of more than 63 bits: one by one
        return values
    return {size: first} if kind is str and values.count(first) == size else values


def _packed_array(found: Any) -> Any:
    if found.dtype.hasobject:
        raise TypeError("an array of Python objects cannot be sent")
    described = tuple((one[0], one[1]) for one in found.dtype.descr)
    return msgpack.ExtType(_ARRAY, msgpack.packb((described, found.tobytes())))


def packed_error(error: Exception) -> tuple[Any, ...]:
    """Return an exception as plain data."""
    if isinstance(error, DtmsError):
        value = error.value if isinstance(error.value, str | int | float) else None
        return (error.code, error.message, error.field, value, error.remedy)
    return (type(error).__name__, str(error))


# -- the guard's side


class Unpacking:
    """Turns plain data into answers of the known types. Raises Invalid for what is none."""

    def __init__(self) -> None:
        self._builds: dict[str, Build] = {}
        self._sizes: dict[str, int] = {}

    def learn(self, call: str, shape: Shape) -> None:
        """Remember the fields of a call's rows."""
        known = ONE.get(call) or MANY.get(call)
        if known is None or not isinstance(shape, tuple) or len(shape) != 2:
            raise _bad(call, shape)
        names, nested = shape
        if not isinstance(names, tuple):
            raise _bad(call, shape)
        self._sizes[call] = len(names)
        kind = _kind(known, names)
        if call in MANY:
            self._builds[call] = partial(tuple.__new__, kind)
        else:
            self._builds[call] = _builder(kind, names, nested)

    def unpack(self, call: str, value: Any) -> Any:
        """Return the answer of a call."""
        if value is None or isinstance(value, bool):
            return value
        if call in ONE:
            return self._build(call)(value)
        if call in MANY:
            if not isinstance(value, tuple):
                raise _bad(call, value)
            return self._many(call, value) if value else ()
        if isinstance(value, msgpack.ExtType):
            return _array(value)
        return value

    def _many(self, call: str, columns: tuple[Any, ...]) -> tuple[Any, ...]:
        build = self._build(call)
        found = [_values(call, one) for one in columns]
        if len(found) != self._sizes[call] or len(set(map(len, found))) != 1:
            raise _bad(call, columns)
        return tuple(map(build, zip(*found, strict=True)))

    def _build(self, call: str) -> Build:
        build = self._builds.get(call)
        if build is None:
            raise Invalid(f"rows of {call} came without the names of their fields", field="frame")
        return build


def _values(call: str, column: Any) -> Sequence[Any]:
    """Return the values of a column."""
    if isinstance(column, msgpack.ExtType) and column.code in (_FLOATS, _INTS):
        if len(column.data) % _ITEM:
            raise _bad(call, column)
        size, kind = len(column.data) // _ITEM, "d" if column.code == _FLOATS else "q"
        return struct.unpack(f"{size}{kind}", column.data)
    if isinstance(column, dict) and len(column) == 1:
        ((size, value),) = column.items()
        if type(size) is int and 0 < size <= MOST_ROWS:
            return (value,) * size
    if not isinstance(column, tuple):
        raise _bad(call, column)
    return column


def _builder(kind: type[Struct], names: tuple[str, ...], nested: Any) -> Build:
    if nested is None or _REQUEST not in names:
        return partial(_row, kind, len(names))
    place, request = names.index(_REQUEST), _kind(TradeRequest, nested)
    size, inner = len(names), len(nested)

    def build(values: Sequence[Any]) -> Any:
        row = list(values)
        if len(row) == size and isinstance(row[place], tuple):
            row[place] = _row(request, inner, row[place])
        return _row(kind, size, row)

    return build


def _row(kind: type[Struct], size: int, values: Any) -> Struct:
    if not isinstance(values, tuple | list) or len(values) != size:
        raise _bad(kind.__name__, values)
    return tuple.__new__(kind, values)


def _kind(known: type[Struct], names: Any) -> type[Struct]:
    """Return the known type, or one with just these fields."""
    if names == tuple(known.__annotations__):
        return known
    if not isinstance(names, tuple) or not all(map(_plain_name, names)):
        raise _bad(known.__name__, names)
    if len(set(names)) != len(names):
        raise _bad(known.__name__, names)
    fields = dict.fromkeys(names)  # no neutral value: every row has all of them
    body = {"__slots__": (), "__annotations__": dict.fromkeys(names, Any), **fields}
    return type(known.__name__, (Struct,), body)


def _plain_name(name: Any) -> bool:
    """Whether it can be a field: nothing that a row has of itself, such as `count`, is hidden."""
    return (
        isinstance(name, str)
        and name.isidentifier()
        and not name.startswith("_")
        and not hasattr(Struct, name)
    )


def _array(packed: Any) -> Any:
    import numpy as np  # late: whoever only reads positions and sends orders does not need it

    try:
        described, data = msgpack.unpackb(packed.data, use_list=False)
        fields = [(str(name), str(form)) for name, form in described]
        kind = np.lib.format.descr_to_dtype(fields)
        # A copy, because what a terminal gives may be written to.
        return np.frombuffer(data, dtype=kind).copy()
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise Invalid(f"holds no array: {error}", field="frame") from error


def error_of(packed: Any) -> Exception:
    """Return the exception that was packed, of its own type if that is ours or Python's.

    Raises Invalid for what is none.
    """
    if not isinstance(packed, tuple) or len(packed) not in (2, 5):
        raise _bad("an error", packed)
    code, message, *more = packed
    if not isinstance(code, str) or not isinstance(message, str):
        raise _bad("an error", packed)
    if more:
        field, value, remedy = more
        for kind in _family(DtmsError):
            if (
                kind.code == code
                and isinstance(field, str | None)
                and isinstance(remedy, str | None)
            ):
                return kind(message, field=field, value=value, remedy=remedy)
        raise _bad("an error", packed)
    known = getattr(builtins, code, None)
    if isinstance(known, type) and issubclass(known, OSError | TypeError | ValueError):
        try:
            return known(message)
        except TypeError:  # such as UnicodeDecodeError, which is made of five things
            pass
    return RuntimeError(f"the terminal raised {code}: {message}")


def last_error_of(packed: Any) -> tuple[int, str]:
    """Return the code and the text that go with an answer. Raises Invalid for anything else."""
    if isinstance(packed, tuple) and len(packed) == 2:
        code, text = packed
        if type(code) is int and isinstance(text, str):
            return code, text
    raise _bad("last_error", packed)


def check_note(name: Any, value: Any) -> str:
    """Return the name of a note that the guard knows. Raises Invalid for any other."""
    if name == MARKET_TIME and isinstance(value, int | float):
        return MARKET_TIME
    if name == FAULTS and isinstance(value, tuple) and all(isinstance(one, dict) for one in value):
        return FAULTS
    raise _bad(f"a note {name!r:.40}", value)


def _family(kind: type[DtmsError]) -> Iterator[type[DtmsError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _family(child)


def _bad(what: str, value: object) -> Invalid:
    return Invalid(
        f"holds no answer of {what}: {value!r:.80}",
        field="frame",
        remedy="the worker is not of this version, or its pipe is damaged: start it anew",
    )
