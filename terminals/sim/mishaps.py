"""What a fault script does to the broker, its market, its terminal and its orders.

Events happen at their market time, between the ticks before and after it,
however seldom anybody looks; while the connection is lost, what could not be
seen waits until it is back.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from terminals import constants as mt5
from terminals.sim.back_office import BackOffice
from terminals.sim.book import OpenPosition
from terminals.sim.broker import NOTHING, Broker, Executed
from terminals.sim.dealing import Filled
from terminals.sim.effects import Effect, Sort
from terminals.sim.faults import Fault
from terminals.sim.quotes import Price
from terminals.sim.screen import ON_SCREEN, Screen
from terminals.sim.script import FaultScript, Spell, Turn
from terminals.sim.server import Setup
from terminals.sim.spoiled import SpoiledMarket
from terminals.sim.views import working_order
from terminals.sim.zone import BrokerZone
from terminals.structs import AccountInfo, TradeOrder, TradeRequest, changed

KEPT: Final = 1000  # mishaps that are remembered
_RESERVED: Final = 16  # tickets that an order which waits may need when it is filled
_REFUSALS: Final = {
    "account": mt5.TRADE_RETCODE_TRADE_DISABLED,
    "server": mt5.TRADE_RETCODE_SERVER_DISABLES_AT,
}


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

    def __init__(self, setup: Setup, faults: Sequence[Fault] | FaultScript) -> None:
        """Build the broker on a market that can be spoiled; the script's time begins with its."""
        self._spoiled = SpoiledMarket(setup.market)
        self._script = faults if isinstance(faults, FaultScript) else FaultScript(faults)
        self._bent: Sequence[Fault] = ()  # those that show on the call under way
        self._waiting: list[_Waiting] = []
        self._lagging: list[Spell] = []  # of deals, some of which may not be in the history yet
        self._line = True  # whether there is one to the broker, which may still be restarting
        self._cut_off = False  # the line was lost by a fault
        self._restarts = 0  # that are under way
        self._pressed = True  # the Algo Trading button, by hand
        self._happening = False  # time stands while something happens
        self.mishaps: deque[Mishap] = deque(maxlen=KEPT)
        super().__init__(replace(setup, market=self._spoiled))
        zone = BrokerZone(setup.conditions.zone)
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
            ends = self._script.clear()
            for turn in ends:
                self._turn(turn)
                self._spoiled.end(turn.at_msc)
            self._lagging.clear()
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
            case Effect.RESTART | Effect.FREEZE | Effect.WIDEN:
                self._restarts += 0 if fault.effect is not Effect.RESTART else 1 if on else -1
                if on:
                    self._spoil_market(turn)
            case Effect.LATE_DEALS if on:
                self._lagging.append(Spell(fault, turn.at_msc, turn.until_msc))
            case Effect.SWITCH_ACCOUNT:
                self._switch_as_scripted()
            case _ if fault.sort is Sort.EVENT:
                return self._to_a_position(fault)
        return ""

    # Spells may overlap: what ends with one is looked up among those that are still on.

    @property
    def _connected(self) -> bool:
        return self._line and not self._restarts

    @_connected.setter
    def _connected(self, connected: bool) -> None:
        self._line, self._cut_off = connected, False

    @property
    def _autotrading(self) -> bool:
        return self._pressed and "client" not in self._forbidden()

    @_autotrading.setter
    def _autotrading(self, enabled: bool) -> None:
        self._pressed = enabled

    def _forbidden(self) -> set[str | None]:
        """Return who lets nobody trade, by the script; the account itself knows nothing of it."""
        return {one.fault.who for one in self._script.spells((Effect.NO_TRADING,))}

    def _lose(self, seconds: float | None) -> None:
        until = math.inf if seconds is None else self._now() + seconds
        already = math.inf if self._reconnect_at is None else self._reconnect_at
        if self._line or until > already:
            self._line, self._cut_off = False, True
            self._reconnect_at = None if seconds is None else until

    def _switch_as_scripted(self) -> None:
        """Log in where the newest spell says, or at home when none is on."""
        account = self._home.book.account
        login: int | None = account.login
        server: str | None = account.server
        for one in self._script.spells((Effect.SWITCH_ACCOUNT,)):
            login, server = one.fault.login, one.fault.server
        if login is not None and server is not None:
            self._switch(login, server)

    def _spoil_market(self, turn: Turn) -> None:
        fault = turn.fault
        if fault.effect is Effect.WIDEN and fault.factor is not None:
            self._spoiled.widen(fault.symbol, fault.factor, turn.at_msc, turn.until_msc)
        else:
            self._spoiled.freeze(fault.symbol, turn.at_msc, turn.until_msc)

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
        at = self._broker.at_msc
        if isinstance(answer, AccountInfo) and (off := self._refusals()):
            answer = changed(
                answer,
                trade_allowed=answer.trade_allowed and mt5.TRADE_RETCODE_TRADE_DISABLED not in off,
                trade_expert=answer.trade_expert
                and mt5.TRADE_RETCODE_SERVER_DISABLES_AT not in off,
            )
        if self._lagging:  # a deal of the spell's last moment is late beyond its end
            self._lagging = [one for one in self._lagging if not one.ends_by(at - _lag_ms(one))]
        spells = [*self._script.spells(ON_SCREEN), *self._lagging]
        return self._screen.show(answer, about, spells, at) if spells else answer

    # -- orders ------------------------------------------------------------

    def _refusals(self) -> list[int]:
        """Return the retcodes with which the server refuses orders, by the script."""
        forbidden = self._forbidden() if self._broker is self._home else ()
        return [code for who, code in _REFUSALS.items() if who in forbidden]

    def _execute(self, request: TradeRequest) -> Executed:
        """Have the broker execute a request, bent as the faults of this call say."""
        for retcode in self._refusals():
            return Executed(retcode, NOTHING)
        for spell in self._script.spells((Effect.COMMENT,)):
            request = changed(request, comment=_comment(request.comment, spell.fault))
        for fault in self._bent:
            if fault.effect is Effect.PLACED:
                return self._accept(request, fault)
            deals = request.action == mt5.TRADE_ACTION_DEAL
            if fault.effect is not Effect.PARTIAL or fault.volume is None or not deals:
                continue
            part = self._tradable(request.symbol, fault.volume)
            if part < request.volume:
                done = self._broker.execute(changed(request, volume=part))
                if done.retcode == mt5.TRADE_RETCODE_DONE:
                    return Executed(mt5.TRADE_RETCODE_DONE_PARTIAL, done.filled)
                return done
        return self._broker.execute(request)

    def _tradable(self, symbol: str, volume: float) -> float:
        """Return lots that the symbol trades: so many, or the next more."""
        spec = self.market.specs.get(symbol)
        if spec is None:
            return volume
        steps = math.ceil(round(max(volume, spec.volume_min) / spec.volume_step, 6))
        return round(steps * spec.volume_step, 8)

    def _accept(self, request: TradeRequest, fault: Fault) -> Executed:
        """Accept an order and leave it unfilled, unless the broker refuses it at once."""
        refused = self._broker.check(request)
        if refused:
            return Executed(refused, NOTHING)
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
            if done.retcode in (mt5.TRADE_RETCODE_DONE, mt5.TRADE_RETCODE_DONE_PARTIAL):
                part = "" if done.retcode == mt5.TRADE_RETCODE_DONE else " in part"
                self._note("placed", f"order {order.ticket} is filled{part}")
                return
        at = broker.at_msc
        ended = changed(
            working_order(broker, order),  # it shows the market of its end
            state=mt5.ORDER_STATE_REJECTED,
            time_done=at // 1000,
            time_done_msc=at,
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


def _lag_ms(spell: Spell) -> int:
    return round((spell.fault.lag or 0.0) * 1000.0)


def _comment(comment: str, fault: Fault) -> str:
    return comment[: fault.length] if fault.text is None else fault.text
