"""Injecting a fault into a running terminal: possible with a simulated one, wherever it lives."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from defence.errors import Conflict
from terminals.protocol import Terminal
from terminals.sim.faults import Fault


@runtime_checkable
class Spoilable(Protocol):
    """A terminal that can be told to go wrong."""

    def add_fault(self, fault: Fault) -> None:
        """Let something go wrong; `after` and `at` count from now."""

    def clear_faults(self) -> None:
        """Let nothing go wrong any more."""


def spoilable(terminal: Terminal) -> Spoilable:
    """Return the terminal as one that can be spoiled. Raises Conflict if it is real."""
    if terminal.real or not isinstance(terminal, Spoilable):
        raise Conflict(
            f"the terminal is {terminal.name}, and a fault can only be put into a simulated one",
            field="terminal",
            value=terminal.name,
            remedy="run a guard with --terminal simulated for this",
        )
    return terminal
