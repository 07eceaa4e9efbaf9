"""A process's way to the terminal: every call is an effect, every order is witnessed."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from terminals.protocol import Permit
from terminals.sim.terminal import SimulatedTerminal
from tests.simulation.strikes import Strikes


class Door:
    """The `Terminal` of one process; the broker behind it outlives the process."""

    name = "simulated"
    real = False

    def __init__(
        self, terminal: SimulatedTerminal, strikes: Strikes, witness: OrderWitness
    ) -> None:
        self._terminal = terminal
        self._strikes = strikes
        self._witness = witness

    def __getattr__(self, name: str) -> Any:
        call, strikes = getattr(self._terminal, name), self._strikes

        def through(*args: Any, **options: Any) -> Any:
            strikes.effect(name, "before")
            answer = call(*args, **options)
            strikes.effect(name, "after")
            return answer

        setattr(self, name, through)
        return through

    def last_error(self) -> tuple[int, str]:
        return self._terminal.last_error()

    def send_under(self, permit: Permit, request: Any) -> Any:
        self._strikes.effect("order_send", "before")
        watched = Watched(permit, self._strikes, self._witness, request)
        answer = self._terminal.send_under(watched, request)
        self._strikes.effect("order_send", "after")
        return answer

    def close(self) -> None:
        """The process lets go of the terminal; the broker goes on."""
        self._terminal.shutdown()


class OrderWitness:
    """Is there when an order takes effect."""

    def before_order(self, request: Any) -> None:
        """The permit is held; the order has not met the broker."""

    def after_order(self, request: Any) -> None:
        """The order has met the broker; the permit is held."""


class Watched:
    """A permit with somebody looking on."""

    def __init__(
        self, permit: Permit, strikes: Strikes, witness: OrderWitness, request: Any
    ) -> None:
        self._permit = permit
        self._strikes = strikes
        self._witness = witness
        self._request = request

    def __enter__(self) -> None:
        self._permit.__enter__()
        try:
            self._strikes.effect("in_order", "before")
            self._witness.before_order(self._request)
        except BaseException as error:
            self._permit.__exit__(type(error), error, None)
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._witness.after_order(self._request)
        try:
            self._strikes.effect("in_order", "after")
        finally:
            self._permit.__exit__(kind, error, trace)
