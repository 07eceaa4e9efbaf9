"""Buy, Sell and Close, which the MetaTrader5 package has in Python above its C functions.

They behave as the package's own do, rough edges included: deviation 10, fill
or kill, up to ten tries while the answer is REQUOTE or PRICE_OFF, and an
exception of Python's where a quote or the list of positions cannot be had.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from terminals import constants as mt5

Functions: TypeAlias = Mapping[str, Callable[..., Any]]

TRIES: Final = 10
DEVIATION: Final = 10
_AGAIN: Final = frozenset({mt5.TRADE_RETCODE_REQUOTE, mt5.TRADE_RETCODE_PRICE_OFF})


def helpers_over(functions: Functions) -> dict[str, Callable[..., Any]]:
    """Return Buy, Sell and Close over the functions of a module."""

    def order(
        kind: int, symbol: str, volume: float, price: float, comment: str | None, ticket: int | None
    ) -> Any:
        request: dict[str, Any] = {
            "action": mt5.TRADE_ACTION_DEAL,
            "symbol": symbol,
            "volume": volume,
            "type": kind,
            "price": price,
            "deviation": DEVIATION,
        }
        if comment is not None:
            request["comment"] = comment
        if ticket is not None:
            request["position"] = ticket
        return functions["order_send"](request)

    def deal(
        kind: int,
        symbol: str,
        volume: float,
        price: float | None,
        comment: str | None,
        ticket: int | None,
    ) -> Any:
        if price is not None:
            return order(kind, symbol, volume, price, comment, ticket)
        side = "ask" if kind == mt5.ORDER_TYPE_BUY else "bid"
        result = None
        for _ in range(TRIES):
            price = getattr(functions["symbol_info_tick"](symbol), side)
            result = order(kind, symbol, volume, price, comment, ticket)
            if result is None or result.retcode not in _AGAIN:
                break
        return result

    def Buy(  # noqa: N802 - the package's name
        symbol: str,
        volume: float,
        price: float | None = None,
        *,
        comment: str | None = None,
        ticket: int | None = None,
    ) -> Any:
        """Buy at the market, or at `price` with one try; return the last answer."""
        return deal(mt5.ORDER_TYPE_BUY, symbol, volume, price, comment, ticket)

    def Sell(  # noqa: N802 - the package's name
        symbol: str,
        volume: float,
        price: float | None = None,
        *,
        comment: str | None = None,
        ticket: int | None = None,
    ) -> Any:
        """Sell at the market, or at `price` with one try; return the last answer."""
        return deal(mt5.ORDER_TYPE_SELL, symbol, volume, price, comment, ticket)

    def Close(  # noqa: N802 - the package's name
        symbol: str, *, comment: str | None = None, ticket: int | None = None
    ) -> bool | str | None:
        """Close a symbol's positions, or the one with a ticket.

        True if all were closed, "Partially" if some, False if none (none open
        counts so), None when a quote or an answer could not be had.
        """
        chosen = {"symbol": symbol} if ticket is None else {"ticket": ticket}
        tried = done = 0
        for one in functions["positions_get"](**chosen):
            if one.type not in (mt5.POSITION_TYPE_BUY, mt5.POSITION_TYPE_SELL):
                continue
            tried += 1
            long = one.type == mt5.POSITION_TYPE_BUY
            kind = mt5.ORDER_TYPE_SELL if long else mt5.ORDER_TYPE_BUY
            for _ in range(TRIES):
                quote = functions["symbol_info_tick"](symbol)
                if quote is None:
                    return None
                price = quote.bid if long else quote.ask
                result = order(kind, symbol, one.volume, price, comment, one.ticket)
                if result is None:
                    return None
                if result.retcode not in _AGAIN:
                    done += result.retcode == mt5.TRADE_RETCODE_DONE
                    break
        if not done:
            return False
        return True if done == tried else "Partially"

    made: dict[str, Callable[..., Any]] = {"Buy": Buy, "Sell": Sell, "Close": Close}
    for name, helper in made.items():
        helper.__qualname__ = name
        helper.__module__ = "MetaTrader5"
    return made
