"""What needs orders: one position of twice the smallest volume, and one waiting order.

On a demo account only. Every order goes the guard's way: the account is looked
at in the same call of the worker, also for the one that is to be refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from console.deep.probe import Probe, shown
from console.deep.reading import COMMENT, MAGIC, Ground, opening
from console.deep.table import ASSUMPTIONS
from console.deep.tidying import Broom, closing
from defence.broker import SymbolFacts
from defence.errors import BrokerUnknown
from terminals import constants as mt5
from terminals.lease import Lease, Permit
from terminals.reading import account_check
from terminals.requests import OrderRequest, on_tick
from terminals.rows import Unreadable, position_from
from terminals.structs import OrderSendResult, TradeDeal, TradeOrder, TradePosition

DONE: Final = mt5.TRADE_RETCODE_DONE
PLACED: Final = mt5.TRADE_RETCODE_PLACED
NO_CHANGES: Final = mt5.TRADE_RETCODE_NO_CHANGES
INVALID: Final = mt5.TRADE_RETCODE_INVALID
_DISABLED: Final = (10_026, 10_027)
_FAR: Final = 0.02  # of the price: where stop, target and the waiting order are
PATIENCE: Final = 10.0  # seconds until what an order did must be seen
TRADES: Final = tuple(one.id for one in ASSUMPTIONS.values() if one.trades)


class Session:
    """The trials, one after the other: each stands on what the ones before have left."""

    def __init__(
        self,
        probe: Probe,
        on: Ground,
        broom: Broom,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """`broom` is told of every order."""
        self._probe = probe
        self._on = on
        self._broom = broom
        self._pause = pause
        self._permit = Permit(
            Lease("doctor", 1),
            check=account_check(
                probe.terminal,
                expected_login=on.account.login,
                expected_server=on.account.server,
            ),
        )
        self._identifier = 0

    def run(self) -> None:
        """Carry out all trials; what cannot be tried says why."""
        probe, on = self._probe, self._on
        if not on.rows["terminal"].trade_allowed or on.rows["terminal"].tradeapi_disabled:
            probe.attempt(self._switched_off, "off")
            probe.skip("trading is switched off in the terminal", *TRADES)
            return
        probe.skip("trading is switched on: switch it off and run this once more", "off")
        facts = on.facts
        if facts is None or on.quote is None:
            probe.skip(f"{on.symbol} cannot be traded just now: give another --symbol", *TRADES)
            return
        if not on.hedging and probe.call("positions_get", symbol=on.symbol) != ():
            probe.skip(f"there is a position in {on.symbol}: give another --symbol", *TRADES)
            return
        volume = round(2 * facts.volume_min, 8)
        probe.attempt(lambda: self._waiting(facts), "wait", "fields-order", "remove")
        probe.attempt(lambda: self._open(volume), "open", "fill", "visible", "ids")
        row = self._position()
        if row is None:
            probe.skip("no position could be opened", *TRADES)
            return
        probe.attempt(lambda: self._deals(row), "deal", "deal-by-order", "order-past")
        probe.attempt(lambda: self._levels(row, facts), "levels", "levels-same", "levels-lost")
        probe.attempt(lambda: self._part(facts), "part", "too-much")
        probe.attempt(self._close, "close", "close-deals", "closed-twice")

    # -- sending and looking

    def _send(self, request: OrderRequest) -> Any:
        return self._broom.send(
            request, lambda: self._probe.call("send_under", self._permit, request)
        )

    def _said(self, result: Any) -> str:
        if result is None:
            return f"None, {self._probe.error[0]} {self._probe.error[1]}"
        return f"{result.retcode} {result.comment}"

    def _market_closed(self, result: Any, *names: str) -> bool:
        """Whether nothing can be tried for that alone; noted then."""
        closed = getattr(result, "retcode", None) == mt5.TRADE_RETCODE_MARKET_CLOSED
        if closed:
            self._probe.skip(f"{self._said(result)}: try it while the market is open", *names)
        return closed

    def _position(self) -> Any:
        rows = self._probe.call("positions_get", symbol=self._on.symbol) or ()
        return next((row for row in rows if row.identifier == self._identifier), None)

    def _soon(self, name: str, look: Callable[[], bool], what: str) -> bool:
        """Note whether something is seen at once; wait for it if not."""
        began, looks = time.monotonic(), 1
        while not look():
            looks += 1
            if time.monotonic() - began > PATIENCE:
                return self._probe.saw(name, False, f"{what}: not within {PATIENCE:g} s")
            self._pause(0.05)
        late = (time.monotonic() - began) * 1000
        return self._probe.saw(name, looks == 1, f"{what}: look {looks}, {late:.1f} ms")

    # -- trials

    def _switched_off(self) -> None:
        if self._on.facts is None or self._on.quote is None:
            self._probe.skip(f"{self._on.symbol} has no price just now", "off")
            return
        # Not under the permit that looks at the switches: what the terminal says is looked for.
        request, permit = opening(self._on, self._on.facts.volume_min), self._broom.permit
        try:
            result = self._broom.send(
                request, lambda: self._probe.call("send_under", permit, request)
            )
        except BrokerUnknown:
            why = "not sent: the account could not be read at the order, or is another one"
            self._probe.skip(why, "off")
            return
        if result is None:
            self._probe.saw("off", self._probe.error[0] == -8, self._said(result))
            return
        self._probe.saw("off", result.retcode in _DISABLED, self._said(result))

    def _open(self, volume: float) -> None:
        probe = self._probe
        result = self._send(opening(self._on, volume))
        retcode = getattr(result, "retcode", None)
        if self._market_closed(result, "open", "fill"):
            return
        probe.saw("fill", retcode != mt5.TRADE_RETCODE_INVALID_FILL, self._said(result))
        if result is None or retcode not in (DONE, PLACED, mt5.TRADE_RETCODE_DONE_PARTIAL):
            probe.saw("open", False, self._said(result))
            return
        probe.fields("fields-result", result, OrderSendResult)
        whole = (
            retcode == DONE
            and result.volume == volume
            and min(result.order, result.deal, result.price)
        )
        text = f"volume {result.volume}, price {'given' if result.price else 0}"
        probe.saw("open", bool(whole), f"{self._said(result)}, {text}")
        self._identifier = result.order
        self._soon("visible", lambda: self._position() is not None, "the position")
        row = self._position()
        if row is None:
            return
        probe.fields("fields-position", row, TradePosition)
        position_from(row)
        probe.saw("ids", row.ticket == row.identifier == result.order, "compared")
        probe.saw("comment", row.comment == COMMENT, f"{row.comment!r}, sent {COMMENT!r}")
        probe.saw("magic", row.magic == MAGIC, row.magic)
        probe.saw("reason", row.reason == mt5.POSITION_REASON_EXPERT, row.reason)
        alone = probe.call("positions_get", ticket=row.ticket)
        probe.saw(
            "filter-ticket", [one.ticket for one in alone or ()] == [row.ticket], shown(alone)
        )
        same = probe.call("positions_get", symbol=row.symbol) or ()
        probe.saw("filter-symbol", {one.symbol for one in same} == {row.symbol}, shown(same))

    def _deals(self, row: Any) -> None:
        probe, found = self._probe, self._of_position
        if not self._soon("deal", lambda: bool(found("history_deals_get")), "the deal"):
            return
        deal = found("history_deals_get")[0]
        probe.fields("fields-deal", deal, TradeDeal)
        text = f"entry {deal.entry}, reason {deal.reason}"
        ours = deal.position_id == row.identifier
        as_assumed = (deal.entry, deal.reason) == (mt5.DEAL_ENTRY_IN, mt5.DEAL_REASON_EXPERT)
        probe.saw("deal-in", ours and as_assumed, f"{text}, of the position {ours}")
        by_order = probe.call("history_deals_get", ticket=deal.order) or ()
        tickets = [one.ticket for one in by_order]
        probe.saw("deal-by-order", tickets == [deal.ticket], shown(by_order))
        tick = probe.call("symbol_info_tick", self._on.symbol)
        apart = None if tick is None else tick.time - deal.time
        probe.saw("same-clock", apart is not None and abs(apart) <= 120, f"{apart} s apart")
        states = [one.state for one in found("history_orders_get")]
        probe.saw("order-past", states == [mt5.ORDER_STATE_FILLED], f"states {states}")

    def _of_position(self, call: str) -> tuple[Any, ...]:
        return tuple(self._probe.call(call, position=self._identifier) or ())

    def _levels(self, row: Any, facts: SymbolFacts) -> None:
        probe = self._probe
        stop = on_tick(row.price_open * (1 - _FAR), facts)
        target = on_tick(row.price_open * (1 + _FAR), facts)
        request: OrderRequest = {
            "action": mt5.TRADE_ACTION_SLTP,
            "position": row.ticket,
            "symbol": row.symbol,
            "sl": stop,
            "tp": target,
        }
        result = self._send(request)
        now = self._position()
        there = now is not None and (now.sl, now.tp) == (stop, target)
        retcode = getattr(result, "retcode", None)
        probe.saw("levels", there and retcode == DONE, f"{self._said(result)}, read back {there}")
        again = self._send(request)
        probe.saw("levels-same", getattr(again, "retcode", 0) == NO_CHANGES, self._said(again))
        wrong = self._send({**request, "sl": on_tick(row.price_open * (1 + _FAR / 2), facts)})
        after = self._position()
        kept = after is not None and after.sl == stop
        refused = getattr(wrong, "retcode", 0) == mt5.TRADE_RETCODE_INVALID_STOPS
        probe.saw("levels-wrong", refused and kept, f"{self._said(wrong)}, kept {kept}")
        lost = self._send({name: value for name, value in request.items() if name != "tp"})
        after = self._position()
        gone = after is not None and (after.sl, after.tp) == (stop, 0.0)
        probe.saw("levels-lost", gone, f"{self._said(lost)}, gone {gone}")

    def _part(self, facts: SymbolFacts) -> None:
        probe, row = self._probe, self._need()
        request = closing(probe, row, facts.volume_min)
        result = None if request is None else self._send(request)
        after = self._position()
        left = None if after is None else round(row.volume - after.volume, 8)
        same = after is not None and after.ticket == row.ticket
        as_assumed = getattr(result, "retcode", None) == DONE and same and left == facts.volume_min
        text = f"{self._said(result)}, closed {left}, same ticket {same}"
        probe.saw("part", as_assumed, text)
        if not self._on.hedging:
            probe.skip("on this account it would reverse the position", "too-much")
            return
        request = closing(probe, self._need(), round(row.volume + facts.volume_min, 8))
        result = None if request is None else self._send(request)
        refused = getattr(result, "retcode", DONE) not in (DONE, PLACED)
        probe.saw("too-much", refused and self._position() is not None, self._said(result))

    def _close(self) -> None:
        probe, row = self._probe, self._need()
        request = closing(probe, row, row.volume)
        if request is None:
            probe.skip("no price", "close", "close-deals", "closed-twice")
            return
        result = self._send(request)
        gone = probe.call("positions_get", ticket=row.ticket) == ()
        retcode = getattr(result, "retcode", None)
        probe.saw("close", retcode == DONE and gone, f"{self._said(result)}, gone {gone}")
        if not gone:
            return
        deals = self._of_position("history_deals_get")
        way_in = sum(one.volume for one in deals if one.entry == mt5.DEAL_ENTRY_IN)
        way_out = sum(one.volume for one in deals if one.entry == mt5.DEAL_ENTRY_OUT)
        text = f"{len(deals)} deals, in {way_in:g}, out {way_out:g}"
        probe.saw("close-deals", abs(way_in - way_out) < 1e-8 < way_in, text)
        if not self._on.hedging:
            probe.skip("on this account it could open a position", "closed-twice")
            return
        again = self._send(request)
        codes = (mt5.TRADE_RETCODE_POSITION_CLOSED, INVALID)
        probe.saw("closed-twice", getattr(again, "retcode", 0) in codes, self._said(again))

    def _waiting(self, facts: SymbolFacts) -> None:
        probe, request = self._probe, opening(self._on, facts.volume_min)
        request |= {
            "action": mt5.TRADE_ACTION_PENDING,
            "type": mt5.ORDER_TYPE_BUY_LIMIT,
            "price": on_tick(float(request["price"]) * (1 - _FAR), facts),
            "type_filling": mt5.ORDER_FILLING_RETURN,
        }
        result = self._send(request)
        ticket = getattr(result, "order", 0)
        if self._market_closed(result, "wait", "fields-order", "remove"):
            return
        rows: Any = probe.call("orders_get", ticket=ticket) if ticket else ()
        waits = [one.ticket for one in rows or ()] == [ticket]
        accepted = getattr(result, "retcode", None) in (DONE, PLACED)
        if not probe.saw("wait", accepted and waits, f"{self._said(result)}, waits {waits}"):
            return
        probe.fields("fields-order", rows[0], TradeOrder)
        removal: OrderRequest = {"action": mt5.TRADE_ACTION_REMOVE, "order": ticket}
        result = self._send(removal)
        gone = probe.call("orders_get", ticket=ticket) == ()
        done = getattr(result, "retcode", None) == DONE
        probe.saw("remove", done and gone, f"{self._said(result)}, gone {gone}")
        past = probe.call("history_orders_get", ticket=ticket) or ()
        states = [one.state for one in past]
        probe.saw("removed-past", states == [mt5.ORDER_STATE_CANCELED], f"states {states}")
        again = self._send(removal)
        refused = getattr(again, "retcode", DONE) not in (DONE, PLACED)
        probe.saw("removed-twice", again is not None and refused, self._said(again))

    def _need(self) -> Any:
        row = self._position()
        if row is None:
            raise Unreadable("the position cannot be found any more")
        return row
