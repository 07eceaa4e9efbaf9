# ruff: noqa: N999 - the package has this name
"""A stand-in for the official package: a whole simulated broker behind C struct sequences.

It is loaded in a worker only. What happens to "the terminal" is written by the
test into `terminal.json` in the folder of the executable, and read anew at every
call; the broker's books are in `broker.json` beside it, so that they outlive a
worker. Every name of a call goes into `calls.txt`, with the options of
`initialize` and the requests of orders.

    up         false: the program is gone or restarts; calls fail as they do then
    starting   how many times `initialize` fails once it is up again, -10005
    build, login, server, prices, autotrading, trading, real, path    what it shows
    silent     true: nobody can ask for its state
    deviates   names of ways in which it is not as everybody assumes
"""

from __future__ import annotations

import ctypes
import itertools
import json
import time
from pathlib import Path
from typing import Any

from terminals.sim.generated import GeneratedMarket
from terminals.sim.terminal import SimulatedTerminal
from terminals.structs import Struct

GONE = ((-10001, "IPC send failed"), (-10002, "IPC recv failed"), (-10004, "No IPC connection"))
GONE = (*GONE, (-10005, "IPC timeout"))


class _Field(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("doc", ctypes.c_char_p))


class _Description(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("doc", ctypes.c_char_p),
        ("fields", ctypes.POINTER(_Field)),
        ("count", ctypes.c_int),
    )


class _State:
    folder = Path()
    terminal: SimulatedTerminal | None = None
    connected = False
    error = (-10004, "No IPC connection")
    failures = itertools.cycle(GONE)
    started = 0
    looks = 0
    kinds: dict[tuple[str, tuple[str, ...]], Any] = {}  # noqa: RUF012 - there is one
    kept: list[Any] = []  # noqa: RUF012 - C holds on to them


def _kind(name: str, fields: tuple[str, ...]) -> Any:
    """Return a type as the package has them: made in C, without `_fields`, not to be pickled."""
    if (name, fields) not in _State.kinds:
        ends = _Field(None, None)
        listed = (_Field * (len(fields) + 1))(*(_Field(one.encode(), None) for one in fields), ends)
        described = _Description(f"builtins.{name}".encode(), None, listed, len(fields))
        make = ctypes.pythonapi.PyStructSequence_NewType
        make.restype, make.argtypes = ctypes.py_object, [ctypes.POINTER(_Description)]
        made = make(ctypes.byref(described))
        made._asdict = lambda self: {one: getattr(self, one) for one in fields}
        _State.kept.append((listed, described))
        _State.kinds[name, fields] = made
    return _State.kinds[name, fields]


def _row(row: Any, **changes: Any) -> Any:
    fields = {**row._asdict(), **changes}
    values = [_row(one) if isinstance(one, Struct) else one for one in fields.values()]
    return _kind(type(row).__name__, tuple(fields))(values)


def _orders(found: dict[str, Any]) -> tuple[str, ...]:
    return tuple(found.get("deviates", ()))


def _now() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((_State.folder / "terminal.json").read_text())
    return found


def _note(name: str, what: Any = None) -> None:
    with (_State.folder / "calls.txt").open("a") as file:
        file.write(f"{json.dumps([name, what])}\n")


def _call(name: str, *given: Any, **named: Any) -> Any:
    """Make a call of the simulated terminal if there is a connection just now."""
    found, terminal = _now(), _State.terminal
    _note(name)
    if not found.get("up", True):
        _State.connected = False
    if not _State.connected or terminal is None:
        _State.error = next(_State.failures) if not found.get("up", True) else GONE[2]
        return None
    for symbol, (bid, ask) in found.get("prices", {}).items():
        terminal.set_price(symbol, bid, ask)
    terminal.set_autotrading(found.get("autotrading", True))
    terminal.set_trading(**found.get("trading", {}))
    account = terminal.account_info()
    wanted = (found.get("login"), found.get("server", "Stand-In"))
    if account is not None and wanted[0] is not None and (account.login, account.server) != wanted:
        terminal.switch_account(*wanted)
    answer = getattr(terminal, name)(*given, **named)
    _State.error = terminal.last_error()
    return answer


def initialize(*path: str, **options: Any) -> bool:
    _State.folder = Path(path[0] if path else options["path"]).parent
    found = _now()
    _note("initialize", {name: [type(one).__name__, one] for name, one in options.items()})
    if not found.get("up", True):
        _State.error = (-10003, "IPC initialize failed, Process create failed")
        return False
    if "incompatible" in _orders(found):
        _State.error = (-5, "Incompatible versions, please install the latest version")
        return False
    if _State.started < found.get("starting", 0):
        _State.started += 1
        _State.error = (-10005, "IPC timeout")
        return False
    _State.started = 0
    if _State.terminal is None:
        _State.terminal = SimulatedTerminal(
            market=GeneratedMarket(seed=1, start=1_700_000_000.0),
            now=time.time,
            speed=0.0,
            step=0.001,
            state=_State.folder / "broker.json",
            reload_state=True,
        )
    _State.connected = bool(_State.terminal.initialize())
    _State.error = _State.terminal.last_error()
    return _State.connected


def shutdown() -> bool:
    _note("shutdown")
    _State.connected, _State.error = False, (1, "Success")
    return True


def last_error() -> tuple[int, str]:
    return _State.error


def account_info() -> Any:
    row = _call("account_info")
    if row is None:
        return None
    found = _now()
    more = {"newest_field": 1} if "more-fields" in _orders(found) else {}
    mode = 2 if found.get("real") else 0
    return _row(row, trade_mode=mode, name="Jane Doe", company="Broker Ltd", **more)


def terminal_info() -> Any:
    row, found = _call("terminal_info"), _now()
    if row is not None and found.get("silent"):
        _State.error = GONE[3]
        return None
    if row is None:
        return None
    return _row(row, build=found.get("build", 5000), path=found.get("path", str(_State.folder)))


def symbol_info(symbol: str, /) -> Any:
    row = _call("symbol_info", symbol)
    return None if row is None else _row(row)


def symbol_info_tick(symbol: str, /) -> Any:
    row = _call("symbol_info_tick", symbol)
    if row is None or "crossed" not in _orders(_now()):
        return None if row is None else _row(row)
    return _row(row, bid=row.ask, ask=row.bid)


def symbol_select(symbol: str, enable: bool = True, /) -> bool:
    return bool(_call("symbol_select", symbol, enable))


def _rows(name: str, *dates: Any, **filters: Any) -> Any:
    rows = _call(name, *dates, **filters)
    return None if rows is None else tuple(_row(row) for row in rows)


def positions_get(**filters: Any) -> Any:
    rows, ways = _rows("positions_get", **filters), _orders(_now())
    if rows == () and "none-for-nothing" in ways:
        return None
    if rows and "late" in ways:
        _State.looks += 1
        if _State.looks < 3:
            return ()
    if rows and "ticket-ignored" in ways and "ticket" in filters:
        return _rows("positions_get")
    if rows and "comment-cut" in ways:
        return tuple(_row(row, comment=row.comment[:10]) for row in rows)
    if "slow" in ways:
        time.sleep(0.3)
    return rows


def orders_get(**filters: Any) -> Any:
    return _rows("orders_get", **filters)


def history_deals_get(*dates: Any, **filters: Any) -> Any:
    if "deal-tickets" in _orders(_now()) and "ticket" in filters:
        return ()  # as if ticket= were that of the deal
    return _rows("history_deals_get", *dates, **filters)


def history_orders_get(*dates: Any, **filters: Any) -> Any:
    return _rows("history_orders_get", *dates, **filters)


def order_check(request: dict[str, Any], /) -> Any:
    row = _call("order_check", request)
    if row is not None and row.retcode == 0 and "check-done" in _orders(_now()):
        return _row(row, retcode=10009)
    return None if row is None else _row(row)


def order_send(request: dict[str, Any], /) -> Any:
    _note("request", {name: [type(one).__name__, one] for name, one in request.items()})
    ways = _orders(_now())
    if "silent" in ways:
        _call("account_info")
        _State.error = (-8, "Auto-Trading using Python API disabled in Terminal")
        return None
    sticks = request.get("action") == 1 and "position" in request and "sticky" in ways
    row = _call("order_send", {**request, "volume": 0.0} if sticks else request)
    if row is not None and row.retcode == 10025 and "same-is-done" in ways:
        return _row(row, retcode=10009)
    return None if row is None else _row(row)


def copy_rates_from_pos(symbol: str, timeframe: int, start: int, count: int, /) -> Any:
    bars = _call("copy_rates_from_pos", symbol, timeframe, start, count)
    return bars[::-1].copy() if "bars-reversed" in _orders(_now()) else bars
