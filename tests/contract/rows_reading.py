"""The contract: symbols, positions, orders, and the past."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import numpy as np
from contract_kit import (
    COUNT,
    FAILED,
    INVALID,
    MANY,
    NOT_FOUND,
    SUCCESS,
    UNNAMED,
    Module,
    Row,
    a,
    answers,
    asked,
    broken,
    rows_of,
    wrong,
)
from contract_sources import DATES, FAILURE_TEXTS, GROUPS, PROGRAMMING, aiomql, code, docs

FIRST: Final = (-2, "Invalid 1st unnamed argument")
SYMBOLS: Final = (
    answers(
        "symbol_info",
        lambda m: m.symbol_info("EURUSD").name,
        "EURUSD",
        docs("mt5symbolinfo_py"),
    ),
    asked("symbol_info", "NOPE", error=NOT_FOUND, source=FAILURE_TEXTS),
    asked("symbol_info", "eurusd", error=NOT_FOUND, source=FAILURE_TEXTS),
    asked("symbol_info", 5),
    asked("symbol_info", b"EURUSD"),
    asked("symbol_info", "E" * 29, error=NOT_FOUND),
    asked("symbol_info", "E" * 30),
    answers(
        "symbol_info_tick",
        lambda m: m.symbol_info_tick("EURUSD").ask > 0,
        True,
        docs("mt5symbolinfotick_py"),
    ),
    asked("symbol_info_tick", "NOPE", error=NOT_FOUND, source=FAILURE_TEXTS),
    asked("symbol_info_tick", None),
    asked("symbol_select", "EURUSD", answer=True, error=SUCCESS, source=docs("mt5symbolselect_py")),
    asked(
        "symbol_select",
        "EURUSD",
        True,
        answer=True,
        error=SUCCESS,
        source=aiomql("test_symbol_select"),
    ),
    asked("symbol_select", "EURUSD", "no", answer=True, error=SUCCESS),
    asked("symbol_select", 5, answer=False),
    asked("symbol_select", "NOPE", True, answer=False, error=FAILED, source=FAILURE_TEXTS),
    answers(
        "a symbol that is put away is not selected",
        lambda m: (m.symbol_select("USDJPY", False), m.symbol_info("USDJPY").select),
        (True, False),
        docs("mt5symbolselect_py"),
    ),
    answers(
        "a symbol with a position cannot be put away",
        lambda m: m.symbol_select("EURUSD", False),
        False,
        docs("mt5symbolselect_py"),
        "holding",
        error=FAILED,
    ),
    answers(
        "symbols_total counts what symbols_get has",
        lambda m: m.symbols_total() == len(m.symbols_get()),
        True,
        docs("mt5symbolstotal_py"),
    ),
    asked("symbols_get", answer=MANY, error=SUCCESS, source=docs("mt5symbolsget_py")),
    asked("symbols_get", "EURUSD", answer=rows_of(1), error=SUCCESS),
    asked("symbols_get", group="*URUSD", answer=rows_of(1), error=SUCCESS),
    asked("symbols_get", "*", group="EURUSD", answer=rows_of(1), error=SUCCESS),
    asked("symbols_get", symbol="EURUSD", answer=MANY, error=SUCCESS),
    asked("symbols_get", group="", answer=MANY, error=SUCCESS),
    asked("symbols_get", group="NOPE", answer=(), error=SUCCESS),
    asked("symbols_get", "*", "*", answer=False, error=COUNT),
    asked("symbols_get", 5, answer=False, error=FIRST),
    asked("symbols_get", group=5, answer=False, error=wrong("group")),
)
BOOK: Final = (
    asked(
        "market_book_add",
        "EURUSD",
        answer=True,
        error=SUCCESS,
        source=aiomql("test_market_book_add"),
    ),
    asked("market_book_add", "NOPE", answer=False, error=SUCCESS),
    asked("market_book_release", "EURUSD", answer=False, error=SUCCESS),
    asked("market_book_add", 5),
    answers(
        "market_book_get after market_book_add",
        lambda m: (m.market_book_add("EURUSD"), m.market_book_get("EURUSD"))[1],
        MANY,
        aiomql("test_market_book_get"),
    ),
    asked("market_book_get", "EURUSD", error=FAILED, source=docs("mt5marketbookget_py")),
    answers(
        "market_book_release after market_book_add",
        lambda m: (m.market_book_add("EURUSD"), m.market_book_release("EURUSD"))[1],
        True,
        aiomql("test_market_book_release"),
    ),
)


def _of_open(name: str) -> tuple[Row, ...]:
    return (
        asked(name, "EURUSD", error=UNNAMED),
        asked(name, nonsense=1, answer=(), error=SUCCESS),
        asked(name, ticket="1", error=wrong("ticket")),
        asked(name, ticket=1.0, error=wrong("ticket")),
        asked(name, ticket=np.int64(1), error=wrong("ticket")),
        asked(name, ticket=None, error=wrong("ticket")),
        asked(name, ticket=True, answer=(), error=SUCCESS),
        asked(name, ticket=1, answer=(), error=SUCCESS),
        broken(name, OverflowError, ticket=-1, error=wrong("ticket")),
        broken(name, OverflowError, ticket=2**64, error=wrong("ticket")),
        asked(name, symbol=None, error=wrong("symbol")),
        asked(name, symbol="E" * 30, error=wrong("symbol")),
        asked(name, group=1, error=wrong("group")),
        asked(name, group="*" * 1998, error=wrong("group")),
        asked(name, group="*" * 1997, answer=(), error=SUCCESS),
    )


def _held(fact: str, answer: object, source: str, **filters: Any) -> Row:
    """A look at the one position of EURUSD."""
    return answers(fact, lambda m: m.positions_get(**filters), answer, source, "holding")


def _ticket(m: Any) -> int:
    return int(m.positions_get()[0].ticket)


GET: Final = docs("mt5positionsget_py")
OPEN: Final = (
    asked("positions_total", answer=0, error=SUCCESS, source=docs("mt5positionstotal_py")),
    asked("orders_total", answer=0, error=SUCCESS, source=docs("mt5orderstotal_py")),
    asked("positions_get", answer=(), error=SUCCESS, source=aiomql("test_positions_get")),
    asked("orders_get", answer=(), error=SUCCESS, source=aiomql("test_orders_get")),
    *_of_open("positions_get"),
    *_of_open("orders_get"),
    answers("one is counted", lambda m: m.positions_total(), 1, GET, "holding"),
    _held("by symbol", rows_of(1), GET, symbol="EURUSD"),
    _held("by another symbol", (), GET, symbol="USDJPY"),
    _held("by a group", rows_of(1), GET, group="*EUR*"),
    _held("by a group with an exclusion", (), GET, group="*,!*USD*"),
    _held("an exclusion counts wherever it stands", (), GROUPS, group="!*USD*,*"),
    _held("exclusions alone choose nothing", (), GROUPS, group="!*JPY*"),
    _held("spaces around masks do not count", rows_of(1), GROUPS, group=" X* , EUR* "),
    _held("a mask without a star is the whole name", (), GROUPS, group="EUR"),
    _held("a question mark is no wildcard", (), GROUPS, group="EUR???"),
    _held("letters of masks count as they are", (), GROUPS, group="*eur*"),
    _held("an exclamation mark alone takes all out", (), GROUPS, group="*,!"),
    _held(
        "the symbol counts, not the group",
        rows_of(1),
        code("positions_get"),
        group="USDJPY",
        symbol="EURUSD",
    ),
    answers(
        "by ticket",
        lambda m: m.positions_get(ticket=_ticket(m)),
        rows_of(1),
        GET,
        "holding",
    ),
    answers(
        "the ticket counts, and nobody looks at the symbol",
        lambda m: m.positions_get(symbol=5, ticket=_ticket(m)),
        rows_of(1),
        code("positions_get"),
        "holding",
    ),
    answers(
        "the identifier is the ticket of the order that opened",
        lambda m: [one.identifier == one.ticket for one in m.positions_get()],
        [True],
        GET,
        "holding",
    ),
)

UTC: Final = dt.UTC
NAIVE: Final = dt.datetime(1980, 1, 1)  # noqa: DTZ001 - the zone is the machine's, on purpose
AWARE: Final = dt.datetime(1980, 1, 2, tzinfo=UTC)
HISTORY: Final = docs("mt5historydealsget_py")


def _now(m: Any) -> int:
    return int(m.symbol_info_tick("EURUSD").time) + 60


def _of_past(name: str) -> tuple[Row, ...]:
    return (
        asked(name),
        asked(name, 1),
        asked(name, 1, 2, 3),
        asked(name, date_from=1, date_to=2),
        asked(name, group="*"),
        asked(name, 1, "2024-01-01", source=DATES),
        asked(name, 1, dt.date(2024, 1, 1), source=DATES),
        asked(name, 1, np.int64(5), source=DATES),
        asked(name, None, 1, source=DATES),
        asked(name, 1, np.float64(9), answer=(), error=SUCCESS, source=DATES),
        asked(name, True, True, answer=(), error=SUCCESS, source=DATES),
        asked(name, NAIVE, AWARE, answer=(), error=SUCCESS, source=DATES),
        broken(name, OverflowError, 1, 2**31, error=None, source=DATES),
        asked(name, 1, 2, group=3, error=wrong("group")),
        asked(name, ticket=1, answer=(), error=SUCCESS),
        asked(name, position=1, answer=(), error=SUCCESS),
        asked(name, ticket="1", error=wrong("ticket")),
        asked(name, position=1.0, error=wrong("position")),
        broken(name, OverflowError, position=-1, error=wrong("position")),
        asked(name, 1, ticket=1, error=UNNAMED),
        asked(name, 1, position=1, error=UNNAMED),
        asked(name, 1, 2, ticket="x", answer=(), error=SUCCESS),
        asked(name, ticket=1, position="x", answer=(), error=SUCCESS),
        answers(
            f"{name} by position",
            lambda m: getattr(m, name)(position=m.positions_get()[0].identifier),
            rows_of(1),
            HISTORY,
            "holding",
        ),
        answers(
            f"{name} by the ticket of the order",
            lambda m: getattr(m, name)(ticket=_ticket(m)),
            rows_of(1),
            HISTORY,
            "holding",
        ),
        answers(
            f"{name} by dates and group",
            lambda m: getattr(m, name)(1, _now(m), group="EUR*"),
            rows_of(1),
            HISTORY,
            "holding",
        ),
    )


def _cancelled(m: Module) -> object:
    order = m.order_send(
        {"action": 5, "symbol": "EURUSD", "volume": 0.1, "type": 2, "price": 1.0}
    ).order
    m.order_send({"action": 8, "order": order})
    return [(one.ticket == order, one.state) for one in m.history_orders_get(position=0)]


PAST: Final = (
    *_of_past("history_orders_get"),
    *_of_past("history_deals_get"),
    answers(
        "a cancelled order is one of position 0",
        _cancelled,
        [(True, 2)],
        PROGRAMMING,
        "holding",
    ),
    answers(
        "money paid in has no symbol, and fits * and what is not excluded",
        lambda m: [d.type for d in m.history_deals_get(0, _now(m), group="*,!*EUR*,!*GBP*")],
        [2],
        PROGRAMMING,
        "holding",
    ),
    answers(
        "a deal's own ticket is none that history_deals_get knows",
        lambda m: m.history_deals_get(ticket=m.history_deals_get(position=_ticket(m))[0].ticket),
        (),
        HISTORY,
        "holding",
    ),
    *(
        answers(
            f"{name} counts",
            lambda m, name=name: getattr(m, name)(1, _now(m)),  # type: ignore[misc]
            a(int),
            aiomql(f"test_{name}"),
        )
        for name in ("history_orders_total", "history_deals_total")
    ),
    asked(
        "history_deals_total", 1, 2, answer=0, error=SUCCESS, source=docs("mt5historydealstotal_py")
    ),
    asked("history_deals_total", "1", 2, error=INVALID, source=DATES),
)

ROWS: Final[tuple[Row, ...]] = (*SYMBOLS, *BOOK, *OPEN, *PAST)
