"""A simulated terminal in a worker: with its broker's back office, and a broker that stays.

The broker lives in the worker, and must outlive it as a real one would: its
books are in a state file (one of its own, in a temporary folder, if none is
given), and what is left of a fault script, the prices that are held and the
Algo Trading button are handed on to the next worker. Market time goes on from
the file; a connection that was lost by `disconnect` is found again.
"""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from defence.broker import Direction
from defence.errors import Invalid, NotReady
from terminals import constants as mt5
from terminals.sim.faults import Fault, plain_fault
from terminals.worker.goods import FAULTS, MARKET_TIME
from terminals.worker.host import CALL_TIMEOUT, CONNECT_TIMEOUT, SUCCESS
from terminals.worker.hosted import WorkerTerminal
from terminals.worker.plan import Plan
from terminals.worker.process import Log

HANDOVER_WAIT: Final = 5.0  # seconds; with the wait for an interpreter below a child's start
UNANSWERED: Final = (
    mt5.RES_E_INTERNAL_FAIL_RECEIVE,
    mt5.RES_E_INTERNAL_FAIL_CONNECT,
    mt5.RES_E_INTERNAL_FAIL_TIMEOUT,
)


class RemoteOffice(WorkerTerminal):
    """A simulated terminal elsewhere, and the back office of its broker.

    The office's methods are those of `SimulatedServer`. They take turns with
    the calls, start the worker if there is none, and raise NotReady if it ends
    meanwhile.
    """

    def open_position(
        self,
        symbol: str,
        direction: Direction | str,
        volume: float,
        sl: float = 0.0,
        tp: float = 0.0,
        magic: int = 0,
        comment: str = "",
    ) -> int:
        """Open a position as a person would; return its ticket."""
        found: int = self._office(
            "open_position", symbol, str(direction), volume, sl, tp, magic, comment
        )
        return found

    def close_position(self, ticket: int, volume: float | None = None) -> None:
        """Close a position, or a part of it, as a person would."""
        self._office("close_position", ticket, volume)

    def modify(self, ticket: int, sl: float | None = None, tp: float | None = None) -> None:
        """Change a position's levels as a person would."""
        self._office("modify", ticket, sl, tp)

    def change_ticket(self, identifier: int, new_ticket: int) -> None:
        """Give a position another ticket."""
        self._office("change_ticket", identifier, new_ticket)

    def vanish(self, ticket: int) -> None:
        """Take a position away without any deal."""
        self._office("vanish", ticket)

    def deposit(self, amount: float) -> None:
        """Pay money in, or out if negative."""
        self._office("deposit", amount)

    def set_price(self, symbol: str, bid: float, ask: float) -> None:
        """Hold a symbol's quote there until `release_price`."""
        self._office("set_price", symbol, bid, ask)

    def release_price(self, symbol: str) -> None:
        """Let the market's own quotes count again."""
        self._office("release_price", symbol)

    def advance(self, seconds: float) -> None:
        """Let market time run on."""
        self._office("advance", seconds)

    def disconnect(self, seconds: float | None = None) -> None:
        """Lose the broker, for so many seconds or until `reconnect`."""
        self._office("disconnect", seconds)

    def reconnect(self) -> None:
        """Find the broker again."""
        self._office("reconnect")

    def switch_account(self, login: int, server: str) -> None:
        """Log the terminal in to another account."""
        self._office("switch_account", login, server)

    def set_autotrading(self, enabled: bool) -> None:
        """Press the Algo Trading button."""
        self._office("set_autotrading", enabled)

    def set_trading(self, *, allowed: bool = True, expert: bool = True) -> None:
        """Say whether the account may trade at all, and by programs."""
        self._office("set_trading", allowed=allowed, expert=expert)

    def add_fault(self, fault: Fault) -> None:
        """Let a call go wrong; a `hang` really hangs the worker."""
        self._office("add_fault", plain_fault(fault))

    def clear_faults(self) -> None:
        """Let nothing go wrong any more."""
        self._office("clear_faults")

    # -- what tests look at

    @property
    def market_time(self) -> float:
        """Market time that the broker has reached, in epoch seconds."""
        return float(self._office("fact", "market_time"))

    @property
    def over(self) -> bool:
        """Whether the recorded prices have been played to their end."""
        return bool(self._office("fact", "over"))

    @property
    def orders_sent(self) -> list[dict[str, Any]]:
        """Requests that met the broker while this worker lives, with "retcode"."""
        return [dict(one) for one in self._office("fact", "orders_sent")]

    @property
    def calls(self) -> Counter[str]:
        """How often each call was made of this worker."""
        return Counter(self._office("fact", "calls"))

    def _office(self, name: str, *args: Any, **named: Any) -> Any:
        host = self._host
        with host.turn:
            kept = host.last_error()
            if self.pid is None:
                self.start()
            host.note_error(*SUCCESS)
            answer = host.exchange(name, args, named)
            code, text = host.last_error()
            # The back office is no part of the module: `last_error` is not its place.
            host.note_error(*kept)
            if code == mt5.RES_E_INVALID_PARAMS:  # the office itself sets no code
                raise Invalid(f"was not sent: {text}", field=name, remedy="shorten what it says")
            if code in UNANSWERED:
                raise NotReady(f"the broker did not answer: {text}", remedy="try again")
        return answer


class SimulatedWorker(RemoteOffice):
    """A hosted simulated terminal, whose broker stays when its worker ends."""

    def __init__(
        self,
        plan: Plan,
        *,
        call_timeout: float = CALL_TIMEOUT,
        connect_timeout: float = CONNECT_TIMEOUT,
        log: Log | None = None,
    ) -> None:
        """Start nothing yet. A state file of its own is made if the plan names none."""
        self._folder: str | None = None
        if plan.options["state"] is None:
            self._folder = tempfile.mkdtemp(prefix="dtms-broker-")
            state = str(Path(self._folder) / "broker.json")
            plan = Plan(plan.kind, {**plan.options, "state": state})
        super().__init__(plan, call_timeout=call_timeout, connect_timeout=connect_timeout, log=log)
        self._pinned: dict[str, tuple[float, float]] = {}
        self._autotrading = True
        self._market_time = float("-inf")

    def close(self) -> None:
        """End the worker for good, and forget a broker that had no file of its user's."""
        super().close()
        if self._folder is not None and self.pid is None:
            shutil.rmtree(self._folder, ignore_errors=True)

    # -- from one worker to the next

    def _begun(self) -> None:
        super()._begun()
        # Part of a start: after the first that takes longer the worker is gone.
        limit = min(self._host.call_timeout, HANDOVER_WAIT)

        def hand_over(name: str, *args: Any) -> Any:
            return self._host.exchange(name, args, timeout=limit)

        for symbol, (bid, ask) in self._pinned.items():
            hand_over("set_price", symbol, bid, ask)
        if not self._autotrading:
            hand_over("set_autotrading", False)
        behind = self._market_time - (hand_over("fact", MARKET_TIME) or 0.0)
        if behind > 0:
            hand_over("advance", behind + 0.001)  # what it counts in, rounded down

    def _ended(self, notes: Mapping[str, Any]) -> None:
        self._market_time = float(notes.get(MARKET_TIME, self._market_time))
        if FAULTS in notes:
            options = {**self._plan.options, "faults": list(notes[FAULTS])}
            self._plan = replace(self._plan, options=options)

    # -- what the next worker must know

    def set_price(self, symbol: str, bid: float, ask: float) -> None:
        """Hold a symbol's quote there until `release_price`."""
        super().set_price(symbol, bid, ask)
        self._pinned[symbol] = (bid, ask)

    def release_price(self, symbol: str) -> None:
        """Let the market's own quotes count again."""
        self._pinned.pop(symbol, None)
        super().release_price(symbol)

    def set_autotrading(self, enabled: bool) -> None:
        """Press the Algo Trading button."""
        super().set_autotrading(enabled)
        self._autotrading = enabled
