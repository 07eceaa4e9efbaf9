"""The demonstration account's open positions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from terminals import constants as mt5
from terminals.sim.broker import Broker
from terminals.sim.dealing import Wish
from terminals.sim.symbols import SymbolSpec

BUY, SELL = mt5.ORDER_TYPE_BUY, mt5.ORDER_TYPE_SELL
MAGIC: Final = 7_001
MOST: Final = 6  # positions


class _Row(NamedTuple):
    """One position: the stop's distance as a part of the symbol's usual daily move."""

    symbol: str
    type: int
    volume: float
    stop: float
    target: float  # in multiples of the stop's distance; 0 is none


# Near enough that on generated prices something happens within minutes.
_GENERATED: Final = (
    _Row("EURUSD", BUY, 0.10, 0.15, 2.0),
    _Row("GBPUSD", SELL, 0.10, 0.16, 1.5),
    _Row("USDJPY", BUY, 0.20, 0.45, 0.0),
    _Row("XAUUSD", SELL, 0.02, 0.14, 2.0),
    _Row("EURUSD", SELL, 0.30, 0.60, 1.5),
)
# On GBPUSD some 15, 25, 40 and 60 pips, on what a market does within hours.
_RECORDED: Final = (
    (BUY, 0.10, 0.16, 2.0),
    (SELL, 0.20, 0.27, 1.5),
    (BUY, 0.30, 0.43, 0.0),
    (SELL, 0.05, 0.64, 1.0),
)


def open_demo(broker: Broker) -> list[int]:
    """Open the demonstration's positions at the present prices; return their tickets."""
    specs = broker.market.specs
    if broker.market.name == "generated" and {one.symbol for one in _GENERATED} <= set(specs):
        rows: Sequence[_Row] = _GENERATED
    else:
        each = max(2, MOST // max(1, len(specs))) if len(specs) > 1 else len(_RECORDED)
        rows = [_Row(symbol, *one) for symbol in specs for one in _RECORDED[:each]][:MOST]
    tickets = []
    for row in rows:
        price = broker.price(row.symbol)
        if price is None:
            continue
        spec = specs[row.symbol]
        long = row.type == BUY
        entry = price.ask if long else price.bid
        away = _distance(row, spec, entry, price.ask - price.bid)
        sign = 1 if long else -1
        wish = Wish(
            symbol=row.symbol,
            type=row.type,
            volume=max(spec.volume_min, row.volume),
            price=entry,
            sl=spec.price(entry - sign * away),
            tp=spec.price(entry + sign * away * row.target) if row.target else 0.0,
            magic=MAGIC,
            comment="demo",
            reason=mt5.DEAL_REASON_CLIENT,
        )
        tickets.append(broker.deal(wish).order)
    return tickets


def _distance(row: _Row, spec: SymbolSpec, entry: float, spread: float) -> float:
    """Return the stop's distance in price, well outside of the spread and the stops level."""
    least = 3.0 * spread + spec.stops_level * spec.point
    return max(least, row.stop * spec.daily_volatility * entry)
