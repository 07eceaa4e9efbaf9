"""Rows in the broker's wall time: inside time is UTC, outside it is what the wall shows."""

from __future__ import annotations

from typing import Final, TypeVar

from terminals.sim.zone import BrokerZone
from terminals.structs import Struct, TradeDeal, TradeOrder, TradePosition

S = TypeVar("S", bound=Struct)

# Pairs of places in a row: a time in seconds, and the same in milliseconds. An expiry stands alone.
_PAIRS: Final[dict[type[Struct], tuple[tuple[int, int | None], ...]]] = {
    TradePosition: ((1, 2), (3, 4)),
    TradeOrder: ((1, 2), (3, 4), (5, None)),
    TradeDeal: ((2, 3),),
}


def on_the_wall(row: S, zone: BrokerZone) -> S:
    """Return a position, an order or a deal with its times as the wall shows them; 0 stays 0."""
    values = list(row)
    for seconds, millis in _PAIRS[type(row)]:
        at_msc = values[seconds] * 1000 if millis is None else values[millis]
        if not at_msc:
            continue
        wall = zone.to_wall_msc(at_msc)
        values[seconds] = wall // 1000
        if millis is not None:
            values[millis] = wall
    return type(row)(tuple(values))


def rows_on_the_wall(rows: tuple[S, ...], zone: BrokerZone) -> tuple[S, ...]:
    """Return rows in wall time; the same ones where that is UTC."""
    if zone.name == "UTC" or not rows:
        return rows
    return tuple(on_the_wall(row, zone) for row in rows)


def utc_seconds(wall_seconds: int, zone: BrokerZone) -> int:
    """Return a moment that a program gave in wall time; 0, which means none, stays 0."""
    return zone.to_utc_msc(wall_seconds * 1000) // 1000 if wall_seconds else 0
