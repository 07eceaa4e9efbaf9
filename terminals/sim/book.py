"""The simulated broker's book: one account, its positions, orders and deals."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from terminals import constants as mt5
from terminals.structs import TradeDeal, TradeOrder

FIRST_TICKET: Final = 50_000_001
EPSILON: Final = 1e-9  # volumes are sums of steps; they are compared with this tolerance


@dataclass(slots=True, kw_only=True)
class SimAccount:
    """The account. Money in `currency`; commission for one lot in and out again."""

    login: int = 5_001_000
    server: str = "Simulated-Demo"
    balance: float = 10_000.0
    leverage: int = 100
    margin_mode: int = mt5.ACCOUNT_MARGIN_MODE_RETAIL_HEDGING
    currency: str = "USD"
    company: str = "Simulated Broker"
    name: str = "Demo"
    trade_allowed: bool = True
    trade_expert: bool = True
    commission_per_lot: float = 0.0
    stop_out_level: float = 50.0  # margin level in percent at which positions are closed

    @property
    def hedging(self) -> bool:
        """Whether every deal opens a position of its own."""
        return self.margin_mode == mt5.ACCOUNT_MARGIN_MODE_RETAIL_HEDGING


@dataclass(slots=True, kw_only=True)
class OpenPosition:
    """An open position. Times are milliseconds of market time."""

    ticket: int
    identifier: int
    symbol: str
    type: int
    volume: float
    price_open: float
    time_msc: int
    time_update_msc: int
    sl: float = 0.0
    tp: float = 0.0
    magic: int = 0
    reason: int = mt5.POSITION_REASON_EXPERT
    swap: float = 0.0
    comment: str = ""
    external_id: str = ""
    price_current: float = 0.0
    profit: float = 0.0
    seen_msc: int = 0  # its stops have been compared with every tick up to this time

    @property
    def sign(self) -> int:
        """+1 for a long position, -1 for a short one."""
        return 1 if self.type == mt5.POSITION_TYPE_BUY else -1


@dataclass(slots=True, kw_only=True)
class Book:
    """All that the broker remembers. `revision` grows with every change worth saving."""

    account: SimAccount
    positions: dict[int, OpenPosition] = field(default_factory=dict)  # by ticket
    orders: dict[int, TradeOrder] = field(default_factory=dict)  # working ones, by ticket
    past_orders: list[TradeOrder] = field(default_factory=list)
    deals: list[TradeDeal] = field(default_factory=list)
    next_ticket: int = FIRST_TICKET
    revision: int = 0

    def ticket(self) -> int:
        """Return a ticket that was never given before."""
        self.next_ticket += 1
        return self.next_ticket - 1

    def changed(self) -> None:
        """Note that the book is worth saving."""
        self.revision += 1

    def position_of(self, symbol: str) -> OpenPosition | None:
        """Return the oldest position of a symbol: the only one on a netting account."""
        return next((one for one in self.positions.values() if one.symbol == symbol), None)

    def by_identifier(self, identifier: int) -> OpenPosition | None:
        """Return the open position with that identifier."""
        return next((p for p in self.positions.values() if p.identifier == identifier), None)

    def renumber(self) -> None:
        """Let new tickets begin above all that exist."""
        used = [FIRST_TICKET - 1, self.next_ticket - 1, *self.positions, *self.orders]
        used += [one.identifier for one in self.positions.values()]
        used += [one.ticket for one in self.past_orders]
        used += [one.ticket for one in self.deals]
        self.next_ticket = max(used) + 1

    def explain(self, at_msc: int) -> bool:
        """Give the history what it lacks to explain the present; return whether it lacked.

        Positions without an opening order get one, with their present stop,
        and a deal; money without a deal gets a balance operation. So the
        balance is always the sum of the deals.
        """
        before = len(self.deals) + len(self.past_orders)
        self.renumber()
        known = {one.position_id for one in self.past_orders}
        for one in self.positions.values():
            if one.identifier not in known:
                self._explain_position(one)
        booked = round(sum(d.profit + d.commission + d.swap + d.fee for d in self.deals), 2)
        missing = round(self.account.balance - booked, 2)
        if missing:
            deal = TradeDeal(
                ticket=self.ticket(),
                time=at_msc // 1000,
                time_msc=at_msc,
                type=mt5.DEAL_TYPE_BALANCE,
                profit=missing,
                comment="deposit" if not before else "correction",
            )
            self.deals.append(deal)
        return len(self.deals) + len(self.past_orders) > before

    def _explain_position(self, one: OpenPosition) -> None:
        order = TradeOrder(
            ticket=one.identifier,
            time_setup=one.time_msc // 1000,
            time_setup_msc=one.time_msc,
            time_done=one.time_msc // 1000,
            time_done_msc=one.time_msc,
            type=one.type,
            state=mt5.ORDER_STATE_FILLED,
            magic=one.magic,
            position_id=one.identifier,
            reason=one.reason,
            volume_initial=one.volume,
            sl=one.sl,
            tp=one.tp,
            price_open=one.price_open,
            price_current=one.price_open,
            symbol=one.symbol,
            comment=one.comment,
        )
        self.past_orders.append(order)
        deal = TradeDeal(
            ticket=self.ticket(),
            order=one.identifier,
            time=one.time_msc // 1000,
            time_msc=one.time_msc,
            type=one.type,
            entry=mt5.DEAL_ENTRY_IN,
            magic=one.magic,
            position_id=one.identifier,
            reason=one.reason,
            volume=one.volume,
            price=one.price_open,
            symbol=one.symbol,
            comment=one.comment,
        )
        self.deals.append(deal)
