"""How trades come under guard: from the caller, over the connector, to the registry and back.

The connector looks at the broker once for all who wait, and hands the askers
on; the registry commits what waits there as one, and answers. So a caller
waits once, whatever else is under way.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from actors.messages import Enlist, EnlistMany
from actors.names import CONNECTOR, REGISTRY
from actors.runtime import Runtime
from defence.errors import BrokerUnknown, DeadlinePassed, DtmsError, NotReady, Stopped
from defence.registration import check_shape
from defence.trade import Registration, Trade
from supervisors.children import VITAL
from supervisors.house import House
from supervisors.overview import Overview, Seen
from supervisors.slot import ChildState


class Enlisting:
    """Registers trades for the guard's face. Used from any thread but an actor's."""

    def __init__(self, house: House, overview: Overview, runtime: Runtime) -> None:
        self._house = house
        self._overview = overview
        self._runtime = runtime
        self._accepting: Seen | None = None  # as of which registrations were accepted last

    def one(self, trade: Trade, request_id: str | None, timeout: float) -> Registration:
        """Register one; see `Guard.register`."""
        self.must_accept()
        message = Enlist(request_id or self._runtime.new_id(), check_shape(trade))
        registration: Registration = self._ask(message, timeout)
        return registration

    def many(
        self, trades: Sequence[Trade], request_ids: Sequence[str | None] | None, timeout: float
    ) -> list[Registration | DtmsError]:
        """Register several; see `Guard.register_many`."""
        self.must_accept()
        ids = request_ids or [None] * len(trades)
        answers: list[Registration | DtmsError | None] = [None] * len(trades)
        items: list[Enlist] = []
        places: list[int] = []
        for place, (trade, request_id) in enumerate(zip(trades, ids, strict=True)):
            try:
                items.append(Enlist(request_id or self._runtime.new_id(), check_shape(trade)))
                places.append(place)
            except DtmsError as error:
                answers[place] = error
        if items:
            for place, answer in zip(places, self._ask_many(items, timeout), strict=True):
                answers[place] = answer
        return [one for one in answers if one is not None]

    def _ask_many(
        self, items: Sequence[Enlist], timeout: float
    ) -> Sequence[Registration | DtmsError]:
        """Return an answer for each; raises `BrokerUnknown`, which concerns more than these."""
        try:
            found: Sequence[Registration | DtmsError] = self._ask(EnlistMany(tuple(items)), timeout)
        except BrokerUnknown:
            raise
        except DtmsError as error:
            return [error] * len(items)
        return found

    def _ask(self, message: Enlist | EnlistMany, timeout: float) -> Any:
        address = self._house.address(CONNECTOR)
        letter, future = address.send_asking(message, timeout=timeout)
        try:
            return self._house.wait(future, timeout, REGISTRY)
        except DeadlinePassed as error:
            if letter.passed_on:
                raise
            # It never got beyond the terminal, and its time is over: it will not be done.
            raise terminal_silent(error) from None

    def must_accept(self) -> None:
        """Refuse while nobody may be told that a trade is guarded.

        A child that is being restarted is no reason: its mailbox is open, and
        the answer comes from its next incarnation. Raises `NotReady`, `Stopped`.
        """
        seen = self._overview.seen
        if seen is self._accepting and not self._house.over:
            return  # judged before, and nothing has happened since
        if self._house.over or seen.phase in ("stopping", "stopped", "died", "refused"):
            raise Stopped(
                f"the guard is over: {seen.cause or seen.phase}", remedy="start a new one"
            )
        if seen.phase != "ready":
            raise NotReady(f"the guard is {seen.phase}", remedy="try again when it is ready")
        down = [n for n in VITAL if seen.children[n].state is ChildState.ESCALATED]
        if down:
            raise NotReady(
                f"{', '.join(down)} is down", remedy=f"ctl reset-budget {down[0]}, then try again"
            )
        self._accepting = seen


def terminal_silent(error: DeadlinePassed) -> BrokerUnknown:
    """Return what a caller is told whose time was over before the terminal answered."""
    return BrokerUnknown(
        f"the terminal does not answer: {error.message}", remedy="try again in a moment"
    )
