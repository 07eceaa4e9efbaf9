"""Nothing of the doctor's may be left behind, whatever went wrong.

What is the doctor's: a position or an order that was not there before and has
its magic, or came of an order that it sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from console.deep.probe import Probe
from console.deep.reading import MAGIC, Ground
from defence.errors import BrokerUnknown, CannotAct
from defence.retcodes import Meaning, classify
from terminals import constants as mt5
from terminals.framing import frame, rows_of
from terminals.lease import Lease, Permit
from terminals.requests import OrderRequest, filling_modes, on_tick
from terminals.rows import Unreadable, facts_from, quote_from

ROUNDS: Final = 6
LATE: Final = 30.0  # seconds in which an order without an answer may still show its effect
_LOOK_EVERY: Final = 0.5  # seconds
_NEVER_SENT: Final = (
    mt5.RES_E_INVALID_PARAMS,
    mt5.RES_E_AUTO_TRADING_DISABLED,
    mt5.RES_E_INTERNAL_FAIL_CONNECT,
)
_OPENS: Final = (mt5.TRADE_ACTION_DEAL, mt5.TRADE_ACTION_PENDING)
_CODES: Final = (mt5.TRADE_RETCODE_DONE, mt5.TRADE_RETCODE_DONE_PARTIAL, mt5.TRADE_RETCODE_PLACED)


class Broom:
    """Knows what was there before, what was sent, and takes away what came of it.

    `permit` lets an order out to the examined account only, also where trading
    is switched off: what the terminal says then is for the terminal to say.
    """

    def __init__(
        self, probe: Probe, on: Ground, pause: Callable[[float], None] = time.sleep
    ) -> None:
        """Look at what is there now. Raises `Unreadable` if that cannot be told."""
        self._probe = probe
        self._on = on
        self._pause = pause
        self.permit = Permit(Lease("doctor", 1), check=self._same_account)
        self._sent: set[int] = set()  # tickets of orders
        self._unsure = 0  # openings of which nobody knows whether they arrived
        self._found: set[int] = set()  # what is ours although no answer named it
        positions, orders = self._look()
        self._before = {row.identifier for row in positions} | {row.ticket for row in orders}

    def send(self, request: OrderRequest, send: Callable[[], Any]) -> Any:
        """Carry out `send`, which sends the request, and note what may come of it."""
        opens = int(request["action"] in _OPENS and "position" not in request)
        self._unsure += opens  # whatever interrupts it: it may have arrived
        try:
            result = send()
        except (BrokerUnknown, CannotAct):  # the permit refused it
            self._unsure -= opens
            raise
        if result is None:
            known = self._probe.error[0] in _NEVER_SENT
        else:
            known = classify(result.retcode) is not Meaning.OUTCOME_UNKNOWN
            if known and result.order:
                self._sent.add(result.order)
        self._unsure -= opens * known
        return result

    def left(self) -> list[Any] | None:
        """Return what is left of the doctor's, None if that cannot be told."""
        try:
            positions, orders = self._look()
        except Unreadable:
            return None
        return [
            *(row for row in positions if self._is_ours(row.identifier, row.magic)),
            *(row for row in orders if self._is_ours(row.ticket, row.magic)),
        ]

    def sweep(self) -> list[str] | None:
        """Close and delete what is left; return what stayed, None if that cannot be told.

        Nothing there is the end only if no opening of unknown fate is missing:
        one may be filled long after its answer was lost.
        """
        turn, waited = 0, 0.0
        while True:
            rows = self.left()
            if rows == []:
                if len(self._found) >= self._unsure:
                    return []
                if waited >= LATE:
                    return None
                delay = _LOOK_EVERY
            elif turn == ROUNDS:
                break
            else:
                if rows is None:
                    self._probe.call("initialize")
                for row in rows or ():
                    with suppress(BrokerUnknown):  # not sent; the next look says what is left
                        self._take_away(row, turn)
                turn += 1
                delay = 0.2 * turn
            self._pause(delay)
            waited += delay
        return None if rows is None else [f"{type(row).__name__} {row.ticket}" for row in rows]

    def _look(self) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Return positions and orders of the account that is examined. Raises `Unreadable`.

        As carefully as the guard looks: another account has nothing of ours,
        and so seems one whose terminal connects anew just now.
        """
        probe, terminal = self._probe, self._probe.terminal
        login, server = self._on.account.login, self._on.account.server
        frame(terminal, login, server, "before the look")
        positions = rows_of(terminal, "positions_get", lambda: probe.call("positions_get"))
        orders = rows_of(terminal, "orders_get", lambda: probe.call("orders_get"))
        frame(terminal, login, server, "after the look")
        return positions, orders

    def _same_account(self) -> None:
        """Raise `BrokerUnknown` unless the account is still the one that is examined."""
        account = self._on.account
        try:
            frame(self._probe.terminal, account.login, account.server, "at the order")
        except Unreadable as problem:
            raise BrokerUnknown(
                str(problem), field="account", remedy="log in to the examined account"
            ) from problem

    def _is_ours(self, number: int, magic: int) -> bool:
        if number in self._before:
            return False
        if number in self._sent:
            return True
        if magic == MAGIC:
            self._found.add(number)
        return magic == MAGIC

    def _take_away(self, row: Any, round_: int) -> None:
        if not hasattr(row, "identifier"):
            removal = {"action": mt5.TRADE_ACTION_REMOVE, "order": row.ticket}
            self._probe.call("send_under", self.permit, removal)
            return
        request = closing(self._probe, row, row.volume, round_)
        if request is None:
            return
        answer = self._probe.call("send_under", self.permit, request)
        if answer is not None and answer.retcode in _CODES and not self._on.hedging:
            # A second opposite deal would reverse a netted position: let this one be seen first.
            self._pause(0.5)


def closing(probe: Probe, row: Any, volume: float, turn: int = 0) -> OrderRequest | None:
    """Return the request that closes `volume` lots of a position, None without a price.

    `turn` chooses the filling mode: the first that is allowed, then the others.
    """
    try:
        facts = facts_from(row.symbol, probe.call("symbol_info", row.symbol))
    except Unreadable:
        return None
    quote = quote_from(row.symbol, probe.call("symbol_info_tick", row.symbol))
    if quote is None:
        return None
    long = row.type == mt5.POSITION_TYPE_BUY
    modes = filling_modes(facts)
    return {
        "action": mt5.TRADE_ACTION_DEAL,
        "position": row.ticket,
        "symbol": row.symbol,
        "volume": volume,
        "type": mt5.ORDER_TYPE_SELL if long else mt5.ORDER_TYPE_BUY,
        "price": on_tick(quote.bid if long else quote.ask, facts),
        "deviation": 100,
        "magic": MAGIC,
        "comment": "dtms doctor",
        "type_time": mt5.ORDER_TIME_GTC,
        "type_filling": modes[turn % len(modes)],
    }
