"""The functions of the MetaTrader5 package: their names, and how Python may call them.

Names, order and signatures are those of the table in the wheel's binary
(tests/contract compares them); the explanations are ours.
"""

from __future__ import annotations

from typing import Final

# (name, signature, what it does), in the order of the package's table.
TABLE: Final = (
    (
        "initialize",
        'initialize([path],[server="SERVER"],[login=LOGIN],[password="PASSWORD"])',
        "Connect to a terminal, and log in if credentials are given.",
    ),
    ("shutdown", "shutdown()", "Leave the terminal."),
    (
        "login",
        'login(login,[server="SERVER"],[password="PASSWORD"])',
        "Log the terminal in to an account.",
    ),
    ("version", "version()", "Return the terminal's version, build and date of release."),
    ("terminal_info", "terminal_info()", "Return the terminal's switches and places."),
    ("account_info", "account_info()", "Return the account that is logged in."),
    (
        "copy_ticks_from",
        "copy_ticks_from(symbol, date_from, count, flags)",
        "Return ticks from a date on.",
    ),
    (
        "copy_ticks_range",
        "copy_ticks_range(symbol, date_from, date_to, flags)",
        "Return the ticks between two dates.",
    ),
    (
        "copy_rates_from",
        "copy_rates_from(symbol, timeframe, date_from, count)",
        "Return bars up to a date.",
    ),
    (
        "copy_rates_from_pos",
        "copy_rates_from_pos(symbol, timeframe, start_pos, count)",
        "Return bars up to a position counted back from now.",
    ),
    (
        "copy_rates_range",
        "copy_rates_range(symbol, timeframe, date_from, date_to)",
        "Return the bars that opened between two dates.",
    ),
    ("positions_total", "positions_total()", "Count the open positions."),
    (
        "positions_get",
        'positions_get([symbol="SYMBOL"],[ticket=TICKET],[group="GROUP"])',
        "Return the open positions, all or some.",
    ),
    ("orders_total", "orders_total()", "Count the working orders."),
    (
        "orders_get",
        'orders_get([symbol="SYMBOL"],[ticket=TICKET],[group="GROUP"])',
        "Return the working orders, all or some.",
    ),
    (
        "history_orders_total",
        "history_orders_total(date_from, date_to)",
        "Count the past orders between two dates.",
    ),
    (
        "history_orders_get",
        (
            'history_orders_get([date_from, date_to, [group="GROUP"]],'
            "[position=POSITION],[ticket=TICKET])"
        ),
        "Return past orders.",
    ),
    (
        "history_deals_total",
        "history_deals_total(date_from, date_to)",
        "Count the deals between two dates.",
    ),
    (
        "history_deals_get",
        (
            'history_deals_get([date_from, date_to, [group="GROUP"]],'
            "[position=POSITION],[ticket=TICKET])"
        ),
        "Return deals; a ticket is the order's that made them.",
    ),
    (
        "order_check",
        "order_check(request)",
        "Say whether an order would be accepted, and what the account would be after it.",
    ),
    ("order_send", "order_send(request)", "Send an order."),
    (
        "order_calc_margin",
        "order_calc_margin(action, symbol, volume, price,)",
        "Return the margin that a deal would take, in account currency.",
    ),
    (
        "order_calc_profit",
        "order_calc_profit(action, symbol, volume, price_open, price_close)",
        "Return the profit of a deal closed at a price, in account currency.",
    ),
    ("symbol_info", "symbol_info(symbol)", "Return everything that is known of a symbol."),
    ("symbol_info_tick", "symbol_info_tick(symbol)", "Return a symbol's newest quote."),
    (
        "symbol_select",
        "symbol_select(symbol,[enable])",
        "Put a symbol into Market Watch, or take it out.",
    ),
    ("symbols_total", "symbols_total()", "Count the symbols."),
    ("symbols_get", 'symbols_get([group="GROUP"])', "Return all symbols, or those of a group."),
    ("market_book_add", "market_book_add(symbol)", "Subscribe to a symbol's depth of market."),
    (
        "market_book_release",
        "market_book_release(symbol)",
        "End the subscription to a symbol's depth of market.",
    ),
    ("market_book_get", "market_book_get(symbol)", "Return a symbol's depth of market."),
    ("last_error", "last_error()", "Return code and text of how the newest call ended."),
)
# What `help()` says of each.
FUNCTIONS: Final = {name: f"{signature}\n\n{doc}" for name, signature, doc in TABLE}

# Those that take no argument at all, and those that take keywords; the others take none.
NOARGS: Final = frozenset(
    {
        "shutdown",
        "version",
        "terminal_info",
        "account_info",
        "positions_total",
        "orders_total",
        "symbols_total",
        "last_error",
    }
)
KEYWORDS: Final = frozenset(
    {
        "initialize",
        "login",
        "positions_get",
        "orders_get",
        "history_orders_get",
        "history_deals_get",
        "order_check",
        "order_send",
        "symbols_get",
    }
)
# How Python converts the arguments of those that let it: O is any object, i an int, k an int of
# which 32 bits count, d a float, p a truth value. All of it comes before the package looks.
FORMATS: Final = {
    "copy_ticks_from": "OOii",
    "copy_ticks_range": "OOOi",
    "copy_rates_from": "OiOi",
    "copy_rates_from_pos": "Oiii",
    "copy_rates_range": "OiOO",
    "order_calc_margin": "kOdd",
    "order_calc_profit": "kOddd",
    "symbol_select": "Op",
}
# What a function answers when it refuses its arguments, where that is not None.
_REFUSED_FALSE: Final = frozenset({"initialize", "login", "symbol_select", "symbols_get"})


def refused_value(name: str) -> bool | None:
    """Return what a function answers when it refuses its arguments."""
    return False if name in _REFUSED_FALSE else None
