"""The simulated terminal's functions for the past: finished orders, and deals."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from terminals.arguments import Asked
from terminals.masks import in_group
from terminals.sim.asking import NONE_OPEN, Asking
from terminals.sim.wall import rows_on_the_wall
from terminals.structs import TradeDeal, TradeOrder

R = TypeVar("R", TradeOrder, TradeDeal)


class Histories(Asking):
    """Reading what is over."""

    def history_orders_total(self, *dates: Any) -> int | None:
        """Count the orders that were finished between two moments."""
        asked = self._asked("history_orders_total", dates, {})
        if asked is None:
            return None
        return self._call("history_orders_total", lambda: len(self._orders_between(asked)), None)

    def history_orders_get(self, *dates: Any, **filters: Any) -> tuple[TradeOrder, ...] | None:
        """Return finished orders between two moments, by `ticket`, or by `position` identifier."""
        asked = self._asked("history_orders_get", dates, filters)
        if asked is None:
            return None

        def work() -> tuple[TradeOrder, ...]:
            book = self._broker.book
            if "ticket" in asked.named:
                one = book.order_of(asked.named["ticket"])
                found: tuple[TradeOrder, ...] = () if one is None else (one,)
            elif "position" in asked.named:
                found = book.orders_of_position(asked.named["position"])
            else:
                found = self._orders_between(asked)
            return rows_on_the_wall(found, self._zone)

        return self._call("history_orders_get", work, None, empty=NONE_OPEN)

    def history_deals_total(self, *dates: Any) -> int | None:
        """Count the deals that were made between two moments."""
        asked = self._asked("history_deals_total", dates, {})
        if asked is None:
            return None

        def work() -> int:
            return len(self._show(self._deals_between(asked), None))

        return self._call("history_deals_total", work, None)

    def history_deals_get(self, *dates: Any, **filters: Any) -> tuple[TradeDeal, ...] | None:
        """Return deals between two moments, by order `ticket`, or by `position` identifier."""
        asked = self._asked("history_deals_get", dates, filters)
        if asked is None:
            return None

        def work() -> tuple[TradeDeal, ...]:
            book = self._broker.book
            if "ticket" in asked.named:
                found = book.deals_of_order(asked.named["ticket"])
            elif "position" in asked.named:
                found = book.deals_of_position(asked.named["position"])
            else:
                found = self._deals_between(asked)
            return rows_on_the_wall(found, self._zone)

        return self._call("history_deals_get", work, None, empty=NONE_OPEN)

    # -- inside; the caller holds the lock

    def _orders_between(self, asked: Asked) -> tuple[TradeOrder, ...]:
        since, until = self._span(asked)
        orders = self._broker.book.past_orders
        return _grouped((one for one in orders if since <= one.time_done_msc <= until), asked)

    def _deals_between(self, asked: Asked) -> tuple[TradeDeal, ...]:
        since, until = self._span(asked)
        deals = self._broker.book.deals
        return _grouped((one for one in deals if since <= one.time_msc <= until), asked)

    def _span(self, asked: Asked) -> tuple[int, int]:
        """Return two dates in UTC, in milliseconds; the last second counts to its end."""
        since, until = (int(one) * 1000 for one in asked.unnamed)
        return self._zone.to_utc_msc(since), self._zone.to_utc_msc(until) + 999


def _grouped(rows: Iterable[R], asked: Asked) -> tuple[R, ...]:
    if "group" not in asked.named:
        return tuple(rows)
    return tuple(row for row in rows if in_group(row.symbol, asked.named["group"]))
