"""What a fault script does to the broker, its market, its terminal and its orders.

Events happen at their market time, between the ticks before and after it,
however seldom anybody looks; while the connection is lost, what could not be
seen waits until it is back.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from terminals import constants as mt5
from terminals.sim.back_office import BackOffice
from terminals.sim.book import OpenPosition
from terminals.sim.broker import Broker, Executed
from terminals.sim.conditions import IDEAL, Conditions
from terminals.sim.dealing import Filled
from terminals.sim.effects import Effect, Sort
from terminals.sim.faults import Fault
from terminals.sim.market import Market
from terminals.sim.quotes import Price
from terminals.sim.screen import ON_SCREEN, Screen, changed
from terminals.sim.script import FaultScript, Turn
from terminals.sim.spoiled import Span, SpoiledMarket
from terminals.sim.zone import BrokerZone
from terminals.structs import TradeOrder, TradeRequest

KEPT: Final = 1000  # mishaps that are remembered
_RESERVED: Final = 16  # tickets that an order which waits may need when it is filled


class Mishap(NamedTuple):
    """Something that went wrong, for whoever looks: market time in epoch seconds, and what."""

    at: float
    effect: str
    what: str


@dataclass(frozen=True, slots=True)
class _Waiting:
    """An order that was accepted and not filled."""

    broker: Broker
    order: TradeOrder
    request: TradeRequest
    due_msc: int
    then: str


class Mishaps(BackOffice):
    """A broker to which things happen."""

    def __init__(
        self,
        *,
        market: Market,
        now: Callable[[], float],
        speed: float,
        step: float,
        state: Path | None,
        reload_state: bool,
        demo: bool,
        faults: Sequence[Fault] | FaultScript,
        conditions: Conditions = IDEAL,
    ) -> None:
        """Build the broker on a market that can be spoiled; the script's time begins with its."""
        self._spoiled = SpoiledMarket(market)
        self._script = faults if isinstance(faults, FaultScript) else FaultScript(faults)
        self._spans: dict[int, Span] = {}  # of the spells that are on, by the fault's id()
        self._bent: Sequence[Fault] = ()  # those that show on the call under way
        self._waiting: list[_Waiting] = []
        self._cut_off = False  # the connection was lost by a fault
        self._happening = False  # time stands while something happens
        self.mishaps: deque[Mishap] = deque(maxlen=KEPT)
        super().__init__(
            market=self._spoiled,
            now=now,
            speed=speed,
            step=step,
            state=state,
            reload_state=reload_state,
            demo=demo,
            conditions=conditions,
        )
        zone = BrokerZone(conditions.zone)
        self._script.begin(self._broker.at_msc, zone)
        self._screen = Screen(
            quote=self._quote_before,
            made=lambda: {one.ticket: one.time_msc for one in self._broker.book.deals},
            to_wall=zone.to_wall_msc,
        )

    # -- faults ------------------------------------------------------------

    def add_fault(self, fault: Fault) -> None:
        """Let something go wrong; `after` and `at` count from now."""
        with self._lock:
            self._refresh()
            self._script.add(fault)
            self._refresh()  # what is due at once happens now, though nobody may look soon

    def clear_faults(self) -> None:
        """Let nothing go wrong any more: the script is forgotten, and what lasts is over."""
        with self._lock:
            self._refresh()
            for turn in self._script.clear():
                self._turn(turn)
            if self._cut_off:
                self.reconnect()
            self._refresh()

    # -- time; the caller holds the lock -----------------------------------

    def _pass_time(self, upto_msc: int) -> None:
        if self._happening:
            return
        self._script.reach(upto_msc)
        while True:
            order = min(self._waiting, key=lambda one: one.due_msc, default=None)
            turn = None
            if self._script.timed:
                turn = self._script.due_by(
                    upto_msc if order is None else min(upto_msc, order.due_msc),
                    connected=self._connected,
                )
            if turn is not None:
                super()._pass_time(turn.at_msc)
                self._turn(turn)
            elif order is not None and order.due_msc <= upto_msc and self._connected:
                super()._pass_time(order.due_msc)
                self._finish_waiting(order)
            else:
                break
        super()._pass_time(upto_msc)

    def _happens(self, fault: Fault) -> None:
        """Let an event happen, or a spell begin, at a call."""
        with self._lock:
            self._refresh()
            at = self._broker.at_msc
            spell = fault.sort is Sort.SPELL
            self._turn(self._script.lasts(fault, at) if spell else Turn(at, fault, on=True))
            self._save()

    def _turn(self, turn: Turn) -> None:
        """Do what an event does, or what a spell's begin or end does; note it."""
        fault = turn.fault
        self._happening = True
        try:
            what = self._do(turn, fault, on=turn.on)
        finally:
            self._happening = False
        words = what or ("" if fault.sort is Sort.EVENT else "begins" if turn.on else "ends")
        self.mishaps.append(Mishap(turn.at_msc / 1000.0, str(fault.effect), words))

    def _do(self, turn: Turn, fault: Fault, *, on: bool) -> str:
        match fault.effect:
            case Effect.DISCONNECT:
                self._lose(fault.seconds)
            case Effect.RESTART:
                self._restart(turn)
            case Effect.FREEZE | Effect.WIDEN:
                self._spoil_market(turn)
            case Effect.SWITCH_ACCOUNT:
                account = self._home.book.account
                login, server = (
                    (fault.login, fault.server) if on else (account.login, account.server)
                )
                if login is not None and server is not None:
                    self._switch(login, server)
            case Effect.NO_TRADING:
                self._let_trade(fault, on=on)
            case _ if fault.sort is Sort.EVENT:
                return self._to_a_position(fault)
        return ""

    def _lose(self, seconds: float | None) -> None:
        self._connected, self._cut_off = False, True
        self._reconnect_at = None if seconds is None else self._now() + seconds

    def _restart(self, turn: Turn) -> None:
        """Lose the broker and its quotes, or find it again."""
        self._spoil_market(turn)
        self._connected, self._reconnect_at, self._cut_off = not turn.on, None, turn.on

    def _spoil_market(self, turn: Turn) -> None:
        fault = turn.fault
        if not turn.on:
            span = self._spans.pop(id(fault), None)
            if span is not None:
                self._spoiled.end(span, turn.at_msc)
            return
        if fault.effect is Effect.WIDEN and fault.factor is not None:
            span = self._spoiled.widen(fault.symbol, fault.factor, turn.at_msc, turn.until_msc)
        else:
            span = self._spoiled.freeze(fault.symbol, turn.at_msc, turn.until_msc)
        self._spans[id(fault)] = span

    def _let_trade(self, fault: Fault, *, on: bool) -> None:
        still = {one.fault.who for one in self._script.spells((Effect.NO_TRADING,))}
        if not on and fault.who in still:
            return  # another spell goes on
        account = self._home.book.account
        if fault.who == "client":
            self._autotrading = not on
        elif fault.who == "server":
            account.trade_expert = not on
        else:
            account.trade_allowed = not on
        self._home.book.changed()

    def _to_a_position(self, fault: Fault) -> str:
        """Do to a position what the fault says; return what was done, in words."""
        one = self._chosen(fault)
        if one is None:
            return "there is no such position"
        broker, book = self._broker, self._broker.book
        match fault.effect:
            case Effect.CHANGE_TICKET:
                before, after = one.ticket, book.ticket()
                self.change_ticket(one.identifier, after)
                return f"position {before} has ticket {after}"
            case Effect.VANISH:
                self.vanish(one.ticket)
                return f"position {one.ticket} is gone"
            case Effect.CLOSE:
                part = one.volume if fault.volume is None else min(fault.volume, one.volume)
                broker.close(one, part, reason=mt5.DEAL_REASON_CLIENT)
                return f"{part:g} lots of position {one.ticket} were closed by a person"
            case _:
                sl = 0.0 if fault.sl is None and fault.tp is None else fault.sl
                tp = fault.tp
                broker.set_levels(one, one.sl if sl is None else sl, one.tp if tp is None else tp)
                return f"levels of position {one.ticket} were set by a person"

    def _chosen(self, fault: Fault) -> OpenPosition | None:
        """Return the position that is meant: by ticket, or the lowest of the symbol's."""
        positions = self._broker.book.positions
        mine = (
            one
            for one in positions.values()
            if fault.ticket in (None, one.ticket) and fault.symbol in (None, one.symbol)
        )
        return min(mine, key=lambda one: one.ticket, default=None)

    # -- what is shown -----------------------------------------------------

    def _quote_before(self, symbol: str, lag: float) -> Price | None:
        if lag == 0.0:
            return self._broker.price(symbol)
        return self.market.price(symbol, self._broker.at_msc - round(lag * 1000.0))

    def _show(self, answer: Any, about: str | None) -> Any:
        """Return an answer as the terminal shows it."""
        spells = self._script.spells(ON_SCREEN)
        if not spells:
            return answer
        return self._screen.show(answer, about, spells, self._broker.at_msc)

    # -- orders ------------------------------------------------------------

    def _execute(self, request: TradeRequest) -> Executed:
        """Have the broker execute a request, bent as the faults of this call say."""
        for spell in self._script.spells((Effect.COMMENT,)):
            request = changed(request, comment=_comment(request.comment, spell.fault))
        for fault in self._bent:
            if fault.effect is Effect.PLACED:
                return self._accept(request, fault)
            part = fault.volume if fault.effect is Effect.PARTIAL else None
            deals = request.action == mt5.TRADE_ACTION_DEAL
            if part is not None and deals and part < request.volume:
                done = self._broker.execute(changed(request, volume=part))
                if done.retcode == mt5.TRADE_RETCODE_DONE:
                    return Executed(mt5.TRADE_RETCODE_DONE_PARTIAL, done.filled)
                return done
        return self._broker.execute(request)

    def _accept(self, request: TradeRequest, fault: Fault) -> Executed:
        """Accept an order and leave it unfilled, unless the broker refuses it at once."""
        refused = self._broker.check(request)
        if refused:
            return Executed(refused, Filled(0, 0, 0.0, 0.0))
        book, at = self._broker.book, self._broker.at_msc
        ticket = book.ticket()
        book.next_ticket += _RESERVED
        one = book.positions.get(request.position)
        order = TradeOrder(
            ticket=ticket,
            time_setup=at // 1000,
            time_setup_msc=at,
            type=request.type,
            type_filling=request.type_filling,
            state=mt5.ORDER_STATE_STARTED,
            magic=request.magic,
            position_id=0 if one is None else one.identifier,
            reason=mt5.ORDER_REASON_EXPERT,
            volume_initial=request.volume,
            volume_current=request.volume,
            sl=request.sl,
            tp=request.tp,
            symbol=request.symbol,
            comment=request.comment,
        )
        due = at + round((fault.seconds or 0.0) * 1000.0)
        self._waiting.append(_Waiting(self._broker, order, request, due, fault.then))
        return Executed(mt5.TRADE_RETCODE_PLACED, Filled(0, ticket, 0.0, 0.0))

    def _finish_waiting(self, waiting: _Waiting) -> None:
        """Fill an order that waits, under the ticket it was given, or reject it."""
        self._waiting.remove(waiting)
        broker, order = waiting.broker, waiting.order
        book = broker.book
        if waiting.then == "filled":
            after, book.next_ticket = book.next_ticket, order.ticket
            done = broker.execute(waiting.request)
            book.next_ticket = max(after, book.next_ticket)
            if done.retcode == mt5.TRADE_RETCODE_DONE:
                self._note("placed", f"order {order.ticket} is filled")
                return
        at = broker.at_msc
        ended = changed(
            order, state=mt5.ORDER_STATE_REJECTED, time_done=at // 1000, time_done_msc=at
        )
        book.past_orders.append(ended)
        book.changed()
        self._note("placed", f"order {order.ticket} is rejected")

    def _working_orders(self) -> list[TradeOrder]:
        """Return the broker's working orders and those that were accepted and wait."""
        accepted = [one.order for one in self._waiting if one.broker is self._broker]
        return [*self._broker.book.orders.values(), *accepted]

    def _note(self, effect: str, what: str) -> None:
        self.mishaps.append(Mishap(self._broker.at_msc / 1000.0, effect, what))


def _comment(comment: str, fault: Fault) -> str:
    return comment[: fault.length] if fault.text is None else fault.text
