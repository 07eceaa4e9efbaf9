"""The contract: how functions are called, and what they answer without a connection."""

from __future__ import annotations

from typing import Any, Final

from contract_kit import (
    BUY,
    COUNT,
    INVALID,
    NO_IPC,
    NOT_FOUND,
    OLD,
    SUCCESS,
    Row,
    answers,
    asked,
    broken,
    convention,
    wrong,
)
from contract_sources import FAILURE_TEXTS, aiomql, code, docs

NOARGS: Final = (
    "shutdown",
    "version",
    "terminal_info",
    "account_info",
    "positions_total",
    "orders_total",
    "symbols_total",
    "last_error",
)
POSITIONAL: Final[dict[str, tuple[Any, ...]]] = {
    "symbol_info": ("EURUSD",),
    "symbol_info_tick": ("EURUSD",),
    "symbol_select": ("EURUSD", True),
    "copy_rates_from": ("EURUSD", 1, 1, 1),
    "copy_rates_from_pos": ("EURUSD", 1, 0, 1),
    "copy_rates_range": ("EURUSD", 1, 1, 2),
    "copy_ticks_from": ("EURUSD", 1, 1, -1),
    "copy_ticks_range": ("EURUSD", 1, 2, -1),
    "order_calc_margin": (0, "EURUSD", 0.1, 1.1),
    "order_calc_profit": (0, "EURUSD", 0.1, 1.1, 1.2),
    "history_orders_total": (1, 2),
    "history_deals_total": (1, 2),
    "market_book_add": ("EURUSD",),
    "market_book_release": ("EURUSD",),
    "market_book_get": ("EURUSD",),
}
# What each function answers before there is a connection, to arguments that are in order.
UNCONNECTED: Final[dict[str, tuple[tuple[Any, ...], object, tuple[int, str]]]] = {
    **{name: (arguments, None, NO_IPC) for name, arguments in POSITIONAL.items()},
    **dict.fromkeys(NOARGS, ((), None, NO_IPC)),
    "symbol_select": (("EURUSD",), False, NO_IPC),
    "market_book_add": (("EURUSD",), False, SUCCESS),
    "market_book_release": (("EURUSD",), False, SUCCESS),
    "positions_get": ((), None, NO_IPC),
    "orders_get": ((), None, NO_IPC),
    "history_orders_get": ((1, 2), None, NO_IPC),
    "history_deals_get": ((1, 2), None, NO_IPC),
    "order_check": ((BUY,), None, NO_IPC),
    "order_send": ((BUY,), None, NO_IPC),
    "login": ((1,), False, NO_IPC),
    "symbols_total": ((), None, OLD),
    "symbols_get": ((), None, OLD),
    "shutdown": ((), True, SUCCESS),
    "last_error": ((), SUCCESS, SUCCESS),
}


def _of_positional(name: str, arguments: tuple[Any, ...]) -> tuple[Row, ...]:
    failed = False if name == "symbol_select" else None
    return (
        convention(name, "takes no keyword arguments", *arguments, symbol="EURUSD"),
        asked(name, answer=failed),
        asked(name, *arguments, 1, 2, answer=failed),
    )


WRONG_OPTIONS: Final[tuple[tuple[str, Any], ...]] = (
    ("login", "5001000"),
    ("login", None),
    ("login", 5.0),
    ("server", 5),
    ("server", "s" * 254),
    ("password", b"x"),
    ("timeout", 1.5),
    ("path", None),
    ("path", "p" * 258),
)
INITIALIZE: Final = (
    asked("initialize", answer=True, error=SUCCESS, source=docs("mt5initialize_py"), state="fresh"),
    asked("initialize", "a", "b", answer=False, error=COUNT, state="fresh"),
    asked("initialize", 5, answer=False, error=(-2, "Invalid 1st unnamed argument"), state="fresh"),
    *(
        asked("initialize", answer=False, error=wrong(key), state="fresh", **{key: value})
        for key, value in WRONG_OPTIONS
    ),
    asked("initialize", server=5, login="x", answer=False, error=wrong("login"), state="fresh"),
    asked("initialize", nonsense=1, answer=True, error=SUCCESS, state="fresh"),
    asked("initialize", portable=[], answer=True, error=SUCCESS, state="fresh"),
    broken("initialize", OverflowError, login=-1, error=wrong("login")),
    broken("initialize", OverflowError, timeout=2**32, error=wrong("timeout")),
    answers(
        "initialize leaves the old connection before it looks at its arguments",
        lambda m: (m.initialize(5), m.account_info()),
        (False, None),
        code("initialize"),
        error=NO_IPC,
    ),
    answers(
        "initialize that the server refuses ends the connection",
        lambda m: (m.initialize(login=999_999_999, password="wrong"), m.account_info()),
        (False, None),
        code("initialize"),
        error=NO_IPC,
    ),
    answers(
        "initialize while connected connects anew",
        lambda m: (m.initialize(), m.positions_total()),
        (True, 0),
        code("initialize"),
    ),
)
LEAVING: Final = (
    asked("shutdown", answer=True, error=SUCCESS),
    answers(
        "shutdown forgets the last error",
        lambda m: (m.symbol_info("NOPE"), m.shutdown()),
        (None, True),
        code("shutdown"),
    ),
    answers(
        "after shutdown there is no connection",
        lambda m: (m.shutdown(), m.account_info()),
        (True, None),
        code("account_info"),
        error=NO_IPC,
    ),
    answers(
        "the terminal's build stays known after shutdown",
        lambda m: (m.shutdown(), m.symbols_total()),
        (True, None),
        code("symbols_total"),
        error=NO_IPC,
    ),
)
LOGIN: Final = (
    asked("login", answer=False, error=wrong("login")),
    asked("login", 0, answer=False, error=wrong("login")),
    asked("login", "1", answer=False, error=(-2, "Invalid 1st unnamed argument")),
    asked("login", 1, 2, answer=False, error=(-2, "Invalid 2nd unnamed argument")),
    asked("login", 1, "x", 2, answer=False, error=(-2, "Invalid 3rd unnamed argument")),
    asked("login", 1, "", "", 4, answer=False, error=COUNT),
    asked("login", 1, timeout="x", answer=False, error=wrong("timeout")),
    asked("login", 1, server=None, answer=False, error=wrong("server")),
    asked("login", login=1, password=5, answer=False, error=wrong("password")),
    broken("login", OverflowError, 2**64, error=(-2, "Invalid 1st unnamed argument")),
    asked(
        "login",
        999_999_999,
        password="wrong",
        server="Nowhere",
        answer=False,
        error=(-6, "Terminal: Authorization failed"),
        source=FAILURE_TEXTS,
    ),
    answers(
        "a login that is refused leaves the connection",
        lambda m: (m.login(999_999_999), m.positions_total()),
        (False, 0),
        code("login"),
    ),
    answers(
        "a login by keyword",
        lambda m: m.login(login=m.account_info().login),
        True,
        docs("mt5login_py"),
    ),
)
ERRORS: Final = (
    asked("last_error", answer=SUCCESS, error=SUCCESS, source=aiomql("test_last_error")),
    answers(
        "last_error does not change what it tells",
        lambda m: (m.symbol_info("NOPE"), m.last_error(), m.last_error())[1:],
        (NOT_FOUND, NOT_FOUND),
        code("last_error"),
        error=NOT_FOUND,
    ),
    answers(
        "a call that succeeds forgets the error before it",
        lambda m: (m.symbol_info("NOPE"), m.symbol_info(5), m.positions_total())[:2],
        (None, None),
        code("positions_total"),
    ),
    answers(
        "what Python refuses leaves the last error",
        lambda m: (m.symbol_info(5), _raised(lambda: m.account_info(1)))[1],
        "TypeError",
        code("account_info"),
        error=INVALID,
    ),
    answers(
        "version is two numbers and a text",
        lambda m: [type(one) for one in m.version()],
        [int, int, str],
        docs("mt5version_py"),
    ),
)


def _raised(call: Any) -> str:
    try:
        call()
    except TypeError as error:
        return type(error).__name__
    return "nothing"


ROWS: Final[tuple[Row, ...]] = (
    *(convention(name, "takes no arguments (1 given)", 1) for name in NOARGS),
    *(convention(name, "takes no keyword arguments", symbol=1) for name in NOARGS),
    *(one for name, arguments in POSITIONAL.items() for one in _of_positional(name, arguments)),
    *(
        asked(name, *arguments, answer=answer, error=error, state="fresh")
        for name, (arguments, answer, error) in UNCONNECTED.items()
    ),
    *INITIALIZE,
    *LEAVING,
    *LOGIN,
    *ERRORS,
)
