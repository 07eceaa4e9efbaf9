"""Where the facts of the contract come from."""

from __future__ import annotations

from typing import Final

WHEEL: Final = "MetaTrader5-5.0.6231-cp311-cp311-win_amd64.whl"
TABLE: Final = f"{WHEEL}: table of functions in _core.cp311-win_amd64.pyd"
STRUCTS: Final = f"{WHEEL}: PyStructSequence tables in _core.cp311-win_amd64.pyd"
PYTHON: Final = f"{WHEEL}: MetaTrader5/__init__.py"

# Where the code of each function begins in the binary; the wheel test compares it with the table.
CODE: Final = {
    "initialize": 0x180009A60,
    "shutdown": 0x18000AFD0,
    "login": 0x18000A9E0,
    "version": 0x18000B050,
    "terminal_info": 0x18000F9A0,
    "account_info": 0x180010160,
    "copy_ticks_from": 0x18000B240,
    "copy_ticks_range": 0x18000B5F0,
    "copy_rates_from": 0x18000BA80,
    "copy_rates_from_pos": 0x18000BE30,
    "copy_rates_range": 0x18000C120,
    "positions_total": 0x18000C5A0,
    "positions_get": 0x18000C680,
    "orders_total": 0x18000CE00,
    "orders_get": 0x18000CEF0,
    "history_orders_total": 0x18000D690,
    "history_orders_get": 0x18000D850,
    "history_deals_total": 0x18000E020,
    "history_deals_get": 0x18000E1E0,
    "order_check": 0x18000E980,
    "order_send": 0x18000EC70,
    "order_calc_margin": 0x18000EFA0,
    "order_calc_profit": 0x18000F1E0,
    "symbol_info": 0x18000FEE0,
    "symbol_info_tick": 0x18000F460,
    "symbol_select": 0x18000F730,
    "symbols_total": 0x180010650,
    "symbols_get": 0x180010750,
    "market_book_add": 0x180010C30,
    "market_book_release": 0x180010E10,
    "market_book_get": 0x180010FF0,
    "last_error": 0x180010C10,
}


def code(function: str) -> str:
    """Cite the code of a function in the wheel's binary."""
    return f"{WHEEL}: code of {function} at {CODE[function]:#x} in _core.cp311-win_amd64.pyd"


def part(what: str, address: int) -> str:
    """Cite another part of the binary's code."""
    return f"{WHEEL}: {what} at {address:#x} in _core.cp311-win_amd64.pyd"


def docs(page: str) -> str:
    """Cite a page of the vendor's documentation."""
    return f"https://www.mql5.com/en/docs/python_metatrader5/{page}"


def aiomql(test: str) -> str:
    """Cite a test that aiomql runs against a live terminal."""
    return (
        "github.com/Ichinga-Samuel/aiomql at 43f1062e, "
        f"tests/live/unit/sync/test_meta_trader.py::TestMetaTraderSync::{test}"
    )


PROGRAMMING: Final = (
    "https://www.mql5.com/en/book: MQL5 Programming for Traders, Advanced language tools, Python, "
    '"Reading the history of orders and deals": published output'
)
REQUEST_PARSER: Final = part("reading of a trade request", 0x1800093C0)
NUMBERS: Final = part("conversion of a number", 0x1800079B0)
DATES: Final = part("conversion of a date", 0x180007640)
TEXTS: Final = part("conversion of a text", 0x180012310)
GROUPS: Final = part("matching of a group", 0x180001460)
FAILURE_TEXTS: Final = part("texts of failures", 0x180007870)
AS_DICT: Final = part("_asdict", 0x180009180)
