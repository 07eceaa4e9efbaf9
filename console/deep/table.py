"""What this project assumes about a terminal, each with an id. docs/native.md refers to them."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Assumption:
    """One assumption. `trades` says that it needs orders.

    `basis` is where it is from (MT5.md): B, the package's binary; D, the
    vendor's documentation; T, a third party's tests on a live terminal; C,
    common practice; "ours", what this project builds on it.
    """

    id: str
    assumed: str
    tried: str
    basis: str
    trades: bool = False


_READING: Final = (
    ("connect", "initialize answers True, and last_error is 1", "initialize", "B"),
    (
        "connect-path",
        "the terminal that answers shows the folder of the executable that was given",
        "terminal_info().path",
        "D",
    ),
    ("account", "login, server, margin mode and both switches can be read", "account_info", "B"),
    ("switches", "connected, trade_allowed, tradeapi_disabled and build", "terminal_info", "B"),
    ("fields-account", "AccountInfo has the 28 fields of 5.0.6231", "account_info", "B"),
    ("fields-terminal", "TerminalInfo has the 22 fields of 5.0.6231", "terminal_info", "B"),
    ("fields-symbol", "SymbolInfo has the 96 fields of 5.0.6231", "symbol_info", "B"),
    ("fields-tick", "Tick has the 8 fields of 5.0.6231", "symbol_info_tick", "B"),
    ("fields-check", "OrderCheckResult has the 9 fields of 5.0.6231", "order_check", "B"),
    ("success", "after a call that worked last_error is (1, ...)", "after account_info", "B"),
    ("no-symbol", "an unknown symbol is None and a code below 0", "symbol_info", "B"),
    ("no-tick", "the tick of an unknown symbol is None, code below 0", "symbol_info_tick", "B"),
    ("no-select", "an unknown symbol cannot be selected: False", "symbol_select", "B"),
    ("select", "selecting a known symbol is True, also the second time", "symbol_select", "D"),
    ("empty-ticket", "no such position is () and last_error 1", "positions_get(ticket=1)", "T"),
    ("empty-orders", "no such order is () and last_error 1", "orders_get(ticket=1)", "T"),
    ("empty-all", "nothing open is () and last_error 1", "positions_get()", "T"),
    (
        "no-deals",
        "a position that never was has no deals: ()",
        "history_deals_get(position=1)",
        "T",
    ),
    ("no-past", "an order that never was has no past: ()", "history_orders_get(ticket=1)", "T"),
    ("dates", "dates may be whole numbers of epoch seconds", "history_deals_get(from, to)", "B"),
    ("symbol", "digits, steps, levels, filling and modes can be read", "symbol_info", "B"),
    ("tick", "0 < bid <= ask, and time is time_msc in seconds", "symbol_info_tick", "D"),
    (
        "wall-time",
        "times are the server's wall time: off from UTC by whole quarters of an hour",
        "the newest tick against this machine's clock",
        "C",
    ),
    ("bars-kind", "bars have the names and widths of 5.0.6231", "copy_rates_from_pos", "C"),
    ("bars-order", "bars come oldest first, position 0 is the newest", "copy_rates_from_pos", "D"),
    ("check", "order_check of a good request is retcode 0, and sends nothing", "order_check", "D"),
    ("check-volume", "volume 0 is refused with 10014 or 10013", "order_check", "D"),
    ("check-fill", "a filling mode that is not allowed is 10030", "order_check", "C"),
    ("comment-long", "a comment of 32 characters is None and -2", "order_check", "C"),
    ("snapshot", "the guard's own look at the broker succeeds", "take_snapshot", "ours"),
    ("timing", "99 of 100 reads take less than a quarter of a second", "100 of each", "ours"),
    ("shutdown", "shutdown is True", "shutdown", "B"),
    ("after-shutdown", "a call after it is None and -10004", "account_info", "B"),
    ("again", "a second initialize finds the same account and build", "initialize", "C"),
)

_TRADING: Final = (
    ("off", "while trading is off an order is 10026, 10027, or None and -8", "order_send", "B"),
    ("open", "a deal is 10009 with order, deal, volume and price", "order_send", "D"),
    ("fields-result", "OrderSendResult has the 11 fields of 5.0.6231", "order_send", "B"),
    ("fill", "the first allowed filling mode is taken", "order_send", "C"),
    ("visible", "the position is there when order_send has returned", "positions_get", "ours"),
    ("fields-position", "TradePosition has the 19 fields of 5.0.6231", "positions_get", "B"),
    ("ids", "the position's ticket and identifier are the order's ticket", "positions_get", "D"),
    ("comment", "the comment of 20 characters comes back whole", "positions_get", "C"),
    ("magic", "the magic comes back", "positions_get", "D"),
    ("reason", "the position's reason is 3, a program", "positions_get", "D"),
    ("filter-ticket", "positions_get(ticket=) has that position alone", "positions_get", "D"),
    ("filter-symbol", "positions_get(symbol=) has only that symbol", "positions_get", "D"),
    ("deal", "the deal is in history at once, by position", "history_deals_get(position=)", "ours"),
    ("fields-deal", "TradeDeal has the 18 fields of 5.0.6231", "history_deals_get", "B"),
    ("deal-by-order", "ticket= means the order's ticket", "history_deals_get(ticket=)", "B"),
    ("deal-in", "it has entry 0, reason 3, and the position's identifier", "its deal", "D"),
    ("order-past", "the opening order is in history: filled", "history_orders_get(position=)", "D"),
    ("same-clock", "the deal's time is that of the ticks, within 2 minutes", "its deal", "C"),
    ("levels", "SLTP sets both levels, to the tick", "order_send, positions_get", "D"),
    ("levels-same", "the same levels again are 10025", "order_send", "C"),
    ("levels-lost", "SLTP without tp removes the target", "order_send, positions_get", "D"),
    ("levels-wrong", "a stop on the wrong side is 10016, nothing changes", "order_send", "D"),
    ("part", "a part closed by position=: same ticket, less volume", "order_send", "D"),
    ("too-much", "closing more than there is is refused (hedging)", "order_send", "C"),
    ("wait", "a limit order far away is 10009 or 10008, and waits", "order_send, orders_get", "D"),
    ("fields-order", "TradeOrder has the 24 fields of 5.0.6231", "orders_get", "B"),
    ("remove", "REMOVE is 10009, and orders_get has it no more", "order_send, orders_get", "D"),
    (
        "removed-past",
        "it is in history with state 2, canceled",
        "history_orders_get(ticket=)",
        "ours",
    ),
    ("removed-twice", "removing it again is a refusal that says so", "order_send", "C"),
    ("close", "the close by position= is 10009, the position is gone", "order_send", "D"),
    (
        "close-deals",
        "deals out have the volume of the deal in",
        "history_deals_get(position=)",
        "ours",
    ),
    ("closed-twice", "closing it again is 10036, or 10013", "order_send", "C"),
    ("left-nothing", "no position and no order of the doctor is left", "both lists", "ours"),
)

ASSUMPTIONS: Final = MappingProxyType(
    {
        row[0]: Assumption(*row, trades=trades)
        for rows, trades in ((_READING, False), (_TRADING, True))
        for row in rows
    }
)
