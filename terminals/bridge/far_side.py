"""What runs in the mt5linux server: one call of the package each time, answered in plain bytes.

This text is sent to the server once a connection and runs there, under any
Python from 3.8 on (Wine's is often old), with the standard library alone. It
is no part of the guard's process. `packed.py` reads what it writes:

    4 bytes   length of the head, little endian
    head      JSON: [ok, answer, last error, the server's clocks]
    the rest  numbers of the answer, as bytes, column after column
"""

from __future__ import annotations

import functools
import json
import os
import struct
import sys
import time
from typing import Any

MT5LINUX_FOLDER = "C:\\mt5libs"  # where mt5linux's own client looks for the package, too
NOT_SENT = -10004  # "No IPC connection": the one code that says so
UNDER_WAY = "_dtms_orders_under_way"  # kept at the package: all connections see it


class NotSentError(Exception):
    """The order was not sent; the text says why."""


class FarSide:
    """One guard's connection, at the server's end."""

    def __init__(self) -> None:
        self._package: Any = None
        self._told: dict[str, type] = {}

    def answer(self, message: str) -> bytes:
        """Do one call: JSON of [call, arguments, named, expected account, latest start]."""
        call, arguments, named, expected, latest = json.loads(message)
        rest = b""
        try:
            if call == "hello":
                found, error = self._hello(), (1, "Success")
            elif call == "order_send":
                found, error = self._order(arguments, named, expected, latest)
            else:
                found, error = self._do(call, arguments, named)
            told, rest = self._packed(call, found)
            head = _head(True, told, error)
        except NotSentError as problem:
            head = _head(True, ["plain", None], (NOT_SENT, str(problem)))
        except Exception as problem:  # noqa: BLE001 - the guard is told, whatever it was
            # Here, and not in RPyC: its log and its answers hold traces, and those arguments.
            raised = [type(problem).__name__, str(problem)]
            head, rest = _head(False, raised, self._last_error()), b""
        return struct.pack("<I", len(head)) + head + rest

    def _hello(self) -> dict[str, Any]:
        try:
            import MetaTrader5
        except ImportError:
            sys.path.append(MT5LINUX_FOLDER)
            import MetaTrader5
        self._package = MetaTrader5
        return {
            "package": str(getattr(MetaTrader5, "__version__", "?")),
            "python": sys.version.split()[0],
            "process": os.getpid(),
            "orders": len(self._under_way()),
        }

    def _do(self, call: str, arguments: Any, named: Any) -> Any:
        # `last_error` is one for the whole process, and another client's call on another
        # thread may come in between. Python changes threads between steps of its own only,
        # and `map` over two C calls is none: the package holds the GIL throughout.
        work = functools.partial(getattr(self._package, call), *arguments, **named)
        return list(
            map(functools.partial.__call__, (work, functools.partial(self._package.last_error)))
        )

    def _order(self, arguments: Any, named: Any, expected: Any, latest: Any) -> Any:
        mine, under_way = object(), self._under_way()
        under_way.append(mine)  # first, so that no new connection can pass by what is still checked
        try:
            if expected is not None:
                self._check_account(expected)
            if latest is not None and _passed(latest):
                # Its sender has given it up and may have decided anew.
                raise NotSentError("not sent: the order came too late")
            return self._do("order_send", arguments, named)
        finally:
            under_way.remove(mine)

    def _check_account(self, expected: Any) -> None:
        found = self._package.account_info()
        if found is None:
            raise NotSentError("not sent: the account cannot be read at the order")
        for name, wanted in zip(("login", "server"), expected):  # noqa: B905 - new in Python 3.10
            shown = getattr(found, name)
            if wanted is not None and shown != wanted:
                raise NotSentError(f"not sent: {name} is {shown!r}, expected {wanted!r}")

    def _under_way(self) -> list[object]:
        found: list[object] = vars(self._package).setdefault(UNDER_WAY, [])
        return found

    def _last_error(self) -> Any:
        return (1, "Success") if self._package is None else self._package.last_error()

    # -- answers as plain data

    def _packed(self, call: str, found: Any) -> Any:
        if hasattr(found, "dtype"):
            fields = [[name, form] for name, form in found.dtype.descr]
            return ["array", fields], found.tobytes()
        if _is_row(found):
            return ["row", self._names(call, found), _flat(found)], b""
        if not isinstance(found, tuple) or (found and not any(map(_is_row, found))):
            return ["plain", found], b""  # a tuple of plain values becomes a list on the way
        if not found:
            return ["rows", None, 0, []], b""
        if len(set(map(type, found))) != 1 or len(set(map(len, found))) != 1:
            raise TypeError(f"the rows of {call} are not of one kind")
        columns, parts = [], []
        for values in zip(*found):  # noqa: B905
            form, part = _column(values)
            columns.append(form)
            parts.append(part)
        return ["rows", self._names(call, found[0]), len(found), columns], b"".join(parts)

    def _names(self, call: str, row: Any) -> Any:
        """Return the fields of a call's rows and of their request, None if they were told."""
        if self._told.get(call) is type(row):
            return None
        self._told[call] = type(row)
        names = _fields(row)
        nested = [_fields(value) for value in row if isinstance(value, tuple)]
        return [names, nested[0] if nested else None]


def _head(ok: bool, told: Any, error: Any) -> bytes:
    code, text = error
    return json.dumps([ok, told, [code, text], _clocks()]).encode("ascii")


def _clocks() -> list[float]:
    """Return a clock that nobody sets, and one that goes on while the machine sleeps."""
    return [time.monotonic(), time.time()]


def _passed(latest: Any) -> bool:
    return any(now > then for now, then in zip(_clocks(), latest))  # noqa: B905


def _is_row(value: Any) -> bool:
    named = hasattr(value, "_asdict") or hasattr(type(value), "n_sequence_fields")
    return isinstance(value, tuple) and named


def _fields(row: Any) -> list[str]:
    # The package adds `_asdict` to its types; C's own name their fields from Python 3.10 on.
    names = row._asdict() if hasattr(row, "_asdict") else type(row).__match_args__
    return list(names)[: len(row)]


def _flat(row: Any) -> list[Any]:
    return [list(value) if isinstance(value, tuple) else value for value in row]


def _column(values: Any) -> Any:
    """Return ("q" or "d", bytes) for numbers of one kind, else (the list, nothing)."""
    kinds = set(map(type, values))
    if kinds == {float}:
        return "d", struct.pack(f"<{len(values)}d", *values)
    if kinds == {int}:
        try:
            return "q", struct.pack(f"<{len(values)}q", *values)
        except struct.error:
            pass  # one of them has more than 64 bits, or is above the signed ones
    return list(values), b""


dtms_far_side = FarSide().answer
