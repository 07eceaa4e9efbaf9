"""What the tests of the simulated broker share: a broker on given ticks, and requests to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from terminals import RecordedMarket, Series, spec_for
from terminals import constants as mt5
from terminals.sim.book import Book, OpenPosition, SimAccount
from terminals.sim.broker import Broker
from terminals.sim.conditions import IDEAL, Conditions
from terminals.structs import TradeDeal, TradeOrder, TradeRequest

START = 1_699_833_600_000  # Monday, 2023-11-13 00:00 UTC
SECOND, HOUR, DAY = 1_000, 3_600_000, 86_400_000
BUY, SELL = mt5.ORDER_TYPE_BUY, mt5.ORDER_TYPE_SELL
HEDGING = mt5.ACCOUNT_MARGIN_MODE_RETAIL_HEDGING
NETTING = mt5.ACCOUNT_MARGIN_MODE_RETAIL_NETTING
EXCHANGE = mt5.ACCOUNT_MARGIN_MODE_EXCHANGE
FOK, IOC, RETURN = mt5.ORDER_FILLING_FOK, mt5.ORDER_FILLING_IOC, mt5.ORDER_FILLING_RETURN

Rows = Sequence[tuple[float, float, float]]  # seconds from START, bid, ask


def market_of(
    rows: Mapping[str, Rows], specs: Mapping[str, Mapping[str, Any]] | None = None
) -> RecordedMarket:
    """A market of ticks; `specs` changes facts of symbols."""
    series = {}
    for symbol, ticks in rows.items():
        times = [START + round(at * 1000) for at, _, _ in ticks]
        series[symbol] = Series(
            symbol=symbol,
            spec=replace(spec_for(symbol), **(specs or {}).get(symbol, {})),
            time_msc=np.array(times, dtype=np.int64),
            bid=np.array([bid for _, bid, _ in ticks]),
            ask=np.array([ask for _, _, ask in ticks]),
        )
    return RecordedMarket(series)


class At:
    """A broker, and what a client asks of it."""

    def __init__(
        self,
        market: RecordedMarket,
        *,
        conditions: Conditions = IDEAL,
        mode: int = HEDGING,
        kind: type[Broker] = Broker,
        **account: Any,
    ) -> None:
        book = Book(account=SimAccount(margin_mode=mode, **account))
        book.explain(market.start_msc)
        self.broker = kind(book, market, market.start_msc, conditions)

    @property
    def book(self) -> Book:
        return self.broker.book

    @property
    def positions(self) -> list[OpenPosition]:
        return list(self.book.positions.values())

    @property
    def one(self) -> OpenPosition:
        (found,) = self.positions
        return found

    @property
    def orders(self) -> list[TradeOrder]:
        return list(self.book.orders.values())

    def deals(self) -> list[TradeDeal]:
        """All deals but the deposit."""
        return [one for one in self.book.deals if one.symbol]

    def past(self, ticket: int) -> TradeOrder:
        found = self.book.order_of(ticket)
        assert found is not None
        return found

    def go(self, seconds: float) -> None:
        """Let the market run on to so many seconds after START."""
        self.broker.advance_to(START + round(seconds * 1000))

    def ask(self, action: int, symbol: str = "EURUSD", **fields: Any) -> tuple[int, int]:
        """Send a request; return retcode and order ticket."""
        request = TradeRequest(action=action, symbol=symbol, **fields)
        checked = self.broker.check(request)
        before = self.book.revision
        done = self.broker.execute(request)
        assert checked in (0, done.retcode) or done.retcode == mt5.TRADE_RETCODE_REQUOTE
        if done.retcode not in (10009, 10010):
            assert self.book.revision == before, "a refused request changes nothing"
        return done.retcode, done.filled.order

    def deal(self, side: int, volume: float, **fields: Any) -> tuple[int, int]:
        """Send a market order."""
        return self.ask(mt5.TRADE_ACTION_DEAL, type=side, volume=volume, **fields)

    def place(self, kind: int, price: float, volume: float = 0.1, **fields: Any) -> tuple[int, int]:
        """Place a pending order, which may be filled in parts."""
        fields = {"type_filling": RETURN, **fields}
        action = mt5.TRADE_ACTION_PENDING
        return self.ask(action, type=kind, price=price, volume=volume, **fields)

    def fails(self, wanted: int, **fields: Any) -> None:
        """Assert that a market order is refused so."""
        code, _ = self.deal(fields.pop("side", BUY), fields.pop("volume", 0.1), **fields)
        assert code == wanted

    def adds_up(self) -> None:
        """Assert that the balance is the deals, and that each position is explained by its own."""
        deals = self.book.deals
        booked = sum(d.profit + d.commission + d.swap + d.fee for d in deals)
        assert abs(self.book.account.balance - booked) < 0.005
        for one in self.positions:
            own = self.book.deals_of_position(one.identifier)
            assert own
            assert self.book.by_identifier(one.identifier) is one
            signed = sum(d.volume * (1 if d.type == BUY else -1) for d in own)
            by = [d for d in own if d.entry == mt5.DEAL_ENTRY_OUT_BY]
            assert abs(signed - one.sign * one.volume) < 1e-6, (own, by)
        for order in self.book.past_orders:
            filled = sum(d.volume for d in self.book.deals_of_order(order.ticket))
            if order.type != mt5.ORDER_TYPE_CLOSE_BY:
                assert abs(order.volume_initial - order.volume_current - filled) < 1e-6
