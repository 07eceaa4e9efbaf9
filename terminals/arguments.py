"""What the MetaTrader5 package makes of its arguments before it asks the terminal. Pure.

Read from the code of the wheel's binary, function by function (docs/module.md):
it wants exact types, looks at a dictionary of keywords for the names that it
knows, and says what is wrong through `last_error()` rather than by raising.
What is right is handed on as plain values, in one form for each function, so
that a terminal in another process can be asked the same.

Reading is idempotent: what has been read can be read again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from terminals import constants as mt5
from terminals.c_values import (
    INVALID,
    NAME_MAX,
    BadArgumentError,
    expiration_of,
    invalid,
    moment_of,
    name_of,
    parsed,
    real_of,
    text_of,
    unsigned,
)
from terminals.functions import FORMATS, KEYWORDS, NOARGS

Unnamed: TypeAlias = tuple[Any, ...]
Named: TypeAlias = Mapping[str, Any]

SECRET_MAX: Final = 253  # server and password, in UTF-16 units, as everything below
PATH_MAX: Final = 257
GROUP_MAX: Final = 1997
INVALID_COUNT: Final = "Invalid number of arguments"
UNNAMED: Final = "Unnamed arguments not allowed"


class Asked(NamedTuple):
    """A call's arguments as plain values."""

    unnamed: Unnamed = ()
    named: dict[str, Any] = {}  # noqa: RUF012 - a default that nobody writes to


def broken_call(name: str, cause: Exception) -> SystemError:
    """Return what Python raises for a C function that answers and leaves an exception behind."""
    error = SystemError(f"<built-in function {name}> returned a result with an exception set")
    error.__cause__ = cause
    return error


def read(name: str, unnamed: Unnamed, named: Named) -> Asked:
    """Return a call's arguments as the terminal is asked with them.

    Raises TypeError where Python itself refuses a C function's call, and
    BadArgumentError where the package does.
    """
    where = f"MetaTrader5._core.{name}()"
    if named and name not in KEYWORDS:
        raise TypeError(f"{where} takes no keyword arguments")
    if name in NOARGS:
        if unnamed:
            raise TypeError(f"{where} takes no arguments ({len(unnamed)} given)")
        return Asked()
    return READERS[name](unnamed, named)


def _symbol(unnamed: Unnamed, _: Named) -> Asked:
    if len(unnamed) != 1:
        raise BadArgumentError(INVALID)
    return Asked((name_of(unnamed[0]),))


def _select(unnamed: Unnamed, _: Named) -> Asked:
    if len(unnamed) not in (1, 2):
        raise BadArgumentError(INVALID)
    enable = True if len(unnamed) == 1 else bool(unnamed[1])
    return Asked((name_of(unnamed[0]), enable))


def _series(name: str, *dates: int) -> Callable[[Unnamed, Named], Asked]:
    """Return the reader of a copy: a symbol, numbers, and dates at some places."""

    def reader(unnamed: Unnamed, _: Named) -> Asked:
        found = parsed(FORMATS[name], unnamed)
        found[0] = name_of(found[0])
        for place in dates:
            found[place] = moment_of(found[place])
        return Asked(tuple(found))

    return reader


def _calculation(name: str) -> Callable[[Unnamed, Named], Asked]:
    def reader(unnamed: Unnamed, _: Named) -> Asked:
        action, symbol, *numbers = parsed(FORMATS[name], unnamed)
        return Asked((action, name_of(symbol), *numbers))

    return reader


def _open(unnamed: Unnamed, named: Named) -> Asked:
    """Positions and working orders: the first of these filters that is there, and no other."""
    if unnamed:
        raise BadArgumentError(UNNAMED)
    if "ticket" in named:
        ticket = unsigned(named["ticket"], 64, 'Invalid "ticket" argument')
        return Asked(named={"ticket": ticket})
    if "symbol" in named:
        return Asked(named={"symbol": text_of(named["symbol"], NAME_MAX, invalid("symbol"))})
    if "group" in named:
        return Asked(named={"group": _group(named["group"])})
    return Asked()


def _group(value: object) -> str:
    return text_of(value, GROUP_MAX, invalid("group"))


def _past(unnamed: Unnamed, named: Named) -> Asked:
    """Read two dates and perhaps a group; or no date and a ticket or a position."""
    if len(unnamed) == 2:
        dates = (moment_of(unnamed[0]), moment_of(unnamed[1]))
        return Asked(dates, {"group": _group(named["group"])} if "group" in named else {})
    for key in ("ticket", "position"):
        if key in named:
            if unnamed:
                raise BadArgumentError(UNNAMED)
            return Asked(named={key: unsigned(named[key], 64, f'Invalid "{key}" argument')})
    raise BadArgumentError(INVALID)


def _past_total(unnamed: Unnamed, _: Named) -> Asked:
    if len(unnamed) != 2:
        raise BadArgumentError(INVALID)
    return Asked((moment_of(unnamed[0]), moment_of(unnamed[1])))


def _symbols(unnamed: Unnamed, named: Named) -> Asked:
    if len(unnamed) > 1:
        raise BadArgumentError(INVALID_COUNT)
    group = ""
    if unnamed:
        group = text_of(unnamed[0], GROUP_MAX, BadArgumentError("Invalid 1st unnamed argument"))
    if "group" in named:
        group = _group(named["group"])
    return Asked(named={"group": group} if group else {})


def _initialize(unnamed: Unnamed, named: Named) -> Asked:
    if len(unnamed) > 1:
        raise BadArgumentError(INVALID_COUNT)
    found: dict[str, Any] = {}
    if unnamed:
        refusal = BadArgumentError("Invalid 1st unnamed argument")
        found["path"] = text_of(unnamed[0], PATH_MAX, refusal)
    found.update(_credentials(named))
    if "path" in named:
        found["path"] = text_of(named["path"], PATH_MAX, invalid("path"))
    if "portable" in named:
        found["portable"] = bool(named["portable"])
    return Asked(named=found)


def _login(unnamed: Unnamed, named: Named) -> Asked:
    if len(unnamed) > 3:
        raise BadArgumentError(INVALID_COUNT)
    found: dict[str, Any] = {}
    if unnamed:
        found["login"] = unsigned(unnamed[0], 64, "Invalid 1st unnamed argument")
    for place, (key, which) in enumerate((("password", "2nd"), ("server", "3rd")), 1):
        if len(unnamed) > place:
            refusal = BadArgumentError(f"Invalid {which} unnamed argument")
            found[key] = text_of(unnamed[place], SECRET_MAX, refusal)
    found.update(_credentials(named))
    if not found.get("login"):
        raise invalid("login")
    return Asked(named=found)


def _credentials(named: Named) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if "login" in named:
        found["login"] = unsigned(named["login"], 64, 'Invalid "login" argument')
    for key in ("server", "password"):
        if key in named:
            found[key] = text_of(named[key], SECRET_MAX, invalid(key))
    if "timeout" in named:
        found["timeout"] = unsigned(named["timeout"], 32, 'Invalid "timeout" argument')
    return found


def _request(unnamed: Unnamed, named: Named) -> Asked:
    """Read a trade request, in the order in which the package looks at its fields."""
    if named and unnamed:
        raise BadArgumentError(UNNAMED)
    if not named and len(unnamed) != 1:
        raise BadArgumentError(INVALID_COUNT)
    fields = named or unnamed[0]
    if not isinstance(fields, dict):
        raise BadArgumentError(INVALID)
    return Asked(({key: REQUEST[key](fields[key]) for key in REQUEST if key in fields},))


def _field(key: str, bits: int) -> Callable[[object], int]:
    text = f'Invalid "{key}" argument'
    return lambda value: unsigned(value, bits, text)


def _number(key: str) -> Callable[[object], float]:
    return lambda value: real_of(value, key)


def _words(key: str) -> Callable[[object], str]:
    return lambda value: text_of(value, mt5.COMMENT_MAX, invalid(key))


REQUEST: Final[Mapping[str, Callable[[object], Any]]] = {
    "action": _field("action", 32),
    "magic": _field("magic", 64),
    "order": _field("order", 64),
    "symbol": _words("symbol"),
    "volume": _number("volume"),
    "price": _number("price"),
    "stoplimit": _number("stoplimit"),
    "sl": _number("sl"),
    "tp": _number("tp"),
    "deviation": _field("deviation", 64),
    "type": _field("type", 32),
    "type_filling": _field("type_filling", 32),
    "type_time": _field("type_time", 32),
    "expiration": expiration_of,
    "comment": _words("comment"),
    "position": _field("position", 64),
    "position_by": _field("position_by", 64),
}

READERS: Final[Mapping[str, Callable[[Unnamed, Named], Asked]]] = {
    "initialize": _initialize,
    "login": _login,
    "copy_ticks_from": _series("copy_ticks_from", 1),
    "copy_ticks_range": _series("copy_ticks_range", 1, 2),
    "copy_rates_from": _series("copy_rates_from", 2),
    "copy_rates_from_pos": _series("copy_rates_from_pos"),
    "copy_rates_range": _series("copy_rates_range", 2, 3),
    "positions_get": _open,
    "orders_get": _open,
    "history_orders_total": _past_total,
    "history_orders_get": _past,
    "history_deals_total": _past_total,
    "history_deals_get": _past,
    "order_check": _request,
    "order_send": _request,
    "order_calc_margin": _calculation("order_calc_margin"),
    "order_calc_profit": _calculation("order_calc_profit"),
    "symbol_info": _symbol,
    "symbol_info_tick": _symbol,
    "symbol_select": _select,
    "symbols_get": _symbols,
    "market_book_add": _symbol,
    "market_book_release": _symbol,
    "market_book_get": _symbol,
}
