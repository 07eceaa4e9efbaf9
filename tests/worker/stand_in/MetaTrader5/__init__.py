# ruff: noqa: N999 - the package has this name
"""A stand-in for the official package, of a version that has never been: more fields, other order.

It is loaded in a worker only. The folder of `path` says how it behaves.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections import namedtuple
from pathlib import Path
from typing import Any

_state: dict[str, Any] = {"error": (-10004, "No IPC connection"), "path": "", "sent": 0}

Account = namedtuple(
    "Account",
    "newest login server currency leverage margin_mode trade_allowed trade_expert balance equity "
    "margin margin_free profit credit margin_level",
)
Terminal = namedtuple(
    "Terminal", "build connected trade_allowed tradeapi_disabled something_else name company path"
)
Position = namedtuple(
    "Position",
    "symbol ticket identifier type volume price_open sl tp price_current magic time time_msc "
    "time_update_msc swap profit comment unheard_of",
)
Tick = namedtuple("Tick", "ask bid time time_msc last volume flags volume_real")
Result = namedtuple(
    "Result", "retcode order deal volume price bid ask comment request_id retcode_external request"
)
Request = namedtuple("Request", "action position sl tp symbol")


def _ok(value: Any) -> Any:
    _state["error"] = (1, "Success")
    return value


def initialize(**options: Any) -> bool:
    _state["path"] = mode = Path(options["path"]).parent.name
    if mode == "refuses":
        _state["error"] = (-6, "Terminal: Authorization failed")
        return False
    if mode == "says":
        print("a library prints on standard output, password", options.get("password"))
        os.write(1, b"and writes to it\n")
        sys.stderr.write("and complains\n")
    if mode == "dies":
        os._exit(9)
    if mode == "crashes":
        ctypes.string_at(0)
    return bool(_ok(True))


def shutdown() -> bool:
    return bool(_ok(True))


def last_error() -> tuple[int, str]:
    return tuple(_state["error"])  # type: ignore[return-value]


def account_info() -> Any:
    login = 77 if _state["path"] == "other" and _state["sent"] else 5
    return _ok(
        Account("new", login, "S", "USD", 100, 2, True, True, 1e4, 1e4, 0.0, 1e4, 0.0, 0.0, 0.0)
    )


def terminal_info() -> Any:
    return _ok(Terminal(5000, True, True, False, "x", "MetaTrader 5", "Broker", ""))


def symbol_info_tick(symbol: str) -> Any:
    return _ok(Tick(1.2, 1.1, int(time.time()), int(time.time() * 1000), 0.0, 0, 6, 0.0))


def positions_get(**filters: Any) -> Any:
    if _state["path"] == "gil":
        # As the real package does: in native code, with the GIL held, for ever.
        ctypes.PyDLL(None).sleep(100_000)
    if _state["path"] == "garbage":
        for pipe in range(3, 20):  # a library that writes where it must not
            try:
                os.write(pipe, b"garbage in the pipe, and a lot of it")
            except OSError:
                continue
    if _state["path"] == "odd":
        return _ok((Position("EURUSD", object(), *[0] * 15),))
    return _ok(
        (
            Position(
                "EURUSD", 7, 8, 0, 0.5, 1.1, 1.0, 0.0, 1.15, 0, 1, 1000, 1000, 0.0, 2.5, "c", "?"
            ),
        )
    )


def order_send(request: dict[str, Any]) -> Any:
    _state["sent"] += 1
    named = {name: request.get(name, 0) for name in Request._fields}
    return _ok(Result(10009, 1, 2, 0.5, 1.1, 1.1, 1.2, "done", 1, 0, Request(**named)))
