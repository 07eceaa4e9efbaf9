"""The simulated broker's book: one account, its positions, orders and deals."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from terminals import constants as mt5
from terminals.sim.held import Held, Index
from terminals.sim.money import cents
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
    margin_call_level: float = 100.0  # margin level in percent under which a margin call is told
    stop_out_level: float = 50.0  # margin level in percent under which positions are closed
    limit_orders: int = 200  # working orders at one time, at most; 0 is no limit
    fifo_close: bool = False  # positions of a symbol close in the order of their opening only
    hedge_prohibited: bool = False  # no position against an open one of the symbol

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
    margin: float = 0.0  # of one lot, account currency, as it was when the lots were dealt
    sl_msc: int = 0  # when the stop was set: later ticks count against it
    tp_msc: int = 0

    @property
    def sign(self) -> int:
        """+1 for a long position, -1 for a short one."""
        return 1 if self.type == mt5.POSITION_TYPE_BUY else -1


def _order_of_deal(deal: TradeDeal) -> int:
    return deal.order


def _position_of_deal(deal: TradeDeal) -> int:
    return deal.position_id


def _position_of_order(order: TradeOrder) -> int:
    return order.position_id


def _ticket_of_order(order: TradeOrder) -> int:
    return order.ticket


class Book:
    """All that the broker remembers. `revision` grows with every change worth saving.

    Whoever changes a position in place says so with `changed`.
    """

    def __init__(self, *, account: SimAccount) -> None:
        """Begin with an account and nothing else."""
        self.account = account
        self.positions: Held[OpenPosition] = Held()  # by ticket
        self.orders: Held[TradeOrder] = Held()  # working ones, by ticket
        self.past_orders: list[TradeOrder] = []
        self.deals: list[TradeDeal] = []
        self.next_ticket = FIRST_TICKET
        self.revision = 0
        self._deals_by_order = Index(self.deals, _order_of_deal)
        self._deals_by_position = Index(self.deals, _position_of_deal)
        self._orders_by_position = Index(self.past_orders, _position_of_order)
        self._orders_by_ticket = Index(self.past_orders, _ticket_of_order)

    # -- history -----------------------------------------------------------

    def deals_of_order(self, ticket: int) -> tuple[TradeDeal, ...]:
        """Return the deals that an order came to, in the order of time."""
        return self._deals_by_order.get(ticket)

    def deals_of_position(self, identifier: int) -> tuple[TradeDeal, ...]:
        """Return the deals of a position, open or closed."""
        return self._deals_by_position.get(identifier)

    def orders_of_position(self, identifier: int) -> tuple[TradeOrder, ...]:
        """Return the finished orders of a position, open or closed."""
        return self._orders_by_position.get(identifier)

    def order_of(self, ticket: int) -> TradeOrder | None:
        """Return a finished order; None for an unknown ticket or one that still works."""
        found = self._orders_by_ticket.get(ticket)
        return found[-1] if found else None

    def replace_history(self, orders: Iterable[TradeOrder], deals: Iterable[TradeDeal]) -> None:
        """Let the past be another one."""
        self.past_orders[:] = orders
        self.deals[:] = deals
        for index in (
            self._deals_by_order,
            self._deals_by_position,
            self._orders_by_position,
            self._orders_by_ticket,
        ):
            index.forget()

    # -- present -----------------------------------------------------------

    def ticket(self) -> int:
        """Return a ticket that was never given before."""
        self.next_ticket += 1
        return self.next_ticket - 1

    def changed(self, symbol: str | None = None) -> None:
        """Note that the book is worth saving, and whose positions or orders are other ones.

        None is any symbol's.
        """
        self.revision += 1
        self.positions.touch(symbol)
        self.orders.touch(symbol)

    def position_of(self, symbol: str) -> OpenPosition | None:
        """Return the oldest position of a symbol: the only one on a netting account."""
        return next(iter(self.positions.of(symbol).values()), None)

    def by_identifier(self, identifier: int) -> OpenPosition | None:
        """Return the open position with that identifier."""
        one = self.positions.get(identifier)  # most keep the ticket that they were opened with
        if one is not None and one.identifier == identifier:
            return one
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
        working = {order.position_id for order in self.orders.values()}
        for one in self.positions.values():
            if one.identifier not in working and not self.orders_of_position(one.identifier):
                self._explain_order(one)
            if not self.deals_of_position(one.identifier):
                self._explain_deal(one)
        booked = cents(sum(d.profit + d.commission + d.swap + d.fee for d in self.deals))
        missing = cents(self.account.balance - booked)
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

    def _explain_order(self, one: OpenPosition) -> None:
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

    def _explain_deal(self, one: OpenPosition) -> None:
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
