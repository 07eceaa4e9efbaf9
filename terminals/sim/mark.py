"""Where a market stood when a broker's state was written, and where its prices came from."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from terminals.sim.document import Document

_KEYS: Final = ("name", "time_msc", "wall", "prices", "walks")
_WALK: Final = ("draw", "start_msc", "anchor", "mid")
_LEAST: Final = 1e-9  # of a price


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a generated symbol's prices began: all of them follow from it.

    `draw` names the seed and the terms; another draw makes other prices of the
    same beginning.
    """

    draw: str
    start_msc: int
    anchor: float  # mid price at the start


Origins: TypeAlias = Mapping[str, Origin]  # by symbol
NO_ORIGINS: Final[Origins] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketMark:
    """Where the market stood when the file was written.

    `origins` has the symbols whose prices can be made again as they were; one
    whose price was set by hand, here or in the file, begins anew at that price.
    """

    name: str
    time_msc: int
    wall: float
    prices: Mapping[str, float]  # mid prices
    origins: Origins

    def plain(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "name": self.name,
            "time_msc": self.time_msc,
            "wall": self.wall,
            "prices": dict(self.prices),
            "walks": {
                symbol: {
                    "draw": one.draw,
                    "start_msc": one.start_msc,
                    "anchor": one.anchor,
                    "mid": self.prices[symbol],
                }
                for symbol, one in self.origins.items()
                if symbol in self.prices
            },
        }


def mark_from(document: Document, value: object, symbols: Collection[str]) -> MarketMark | None:
    """Return what the file says of the market. Raises Invalid naming the place."""
    if value is None:
        return None
    given = document.mapping("market", value, _KEYS)
    prices = {
        symbol: document.number(f"market.prices.{symbol}", price, _LEAST)
        for symbol, price in _named(document, "market.prices", given.get("prices")).items()
        if symbol in symbols
    }
    origins = {}
    for symbol, walk in _named(document, "market.walks", given.get("walks")).items():
        place = f"market.walks.{symbol}"
        fields = document.mapping(place, walk, _WALK)
        mid = document.number(f"{place}.mid", fields.get("mid", 0.0))
        origin = Origin(
            draw=document.text(f"{place}.draw", fields.get("draw", "")),
            start_msc=document.whole(f"{place}.start_msc", fields.get("start_msc", 0)),
            anchor=document.number(f"{place}.anchor", fields.get("anchor", 1.0), _LEAST),
        )
        if prices.get(symbol) == mid:  # else somebody has moved the price
            origins[symbol] = origin
    return MarketMark(
        name=document.text("market.name", given.get("name", "")),
        time_msc=document.whole("market.time_msc", given.get("time_msc", 0)),
        wall=document.number("market.wall", given.get("wall", 0.0)),
        prices=prices,
        origins=origins,
    )


def _named(document: Document, place: str, value: object) -> Mapping[str, Any]:
    if value is not None and not isinstance(value, dict):
        document.refuse(place, value, f"{value!r:.40} is no object", "write {...}")
    return value or {}
