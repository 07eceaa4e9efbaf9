"""Terminals: the MetaTrader5 module's functions, real or simulated, behind one protocol.

The public names can be had from here, and are loaded when they are first
asked for, so that what needs no market does not load numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from terminals.native import NativeTerminal
    from terminals.protocol import Terminal
    from terminals.sim.faults import Effect, Fault, load_faults
    from terminals.sim.generated import GeneratedMarket
    from terminals.sim.market import Market, RecordedMarket
    from terminals.sim.prices import Series, load_prices
    from terminals.sim.symbols import SymbolSpec, spec_for
    from terminals.sim.terminal import SimulatedTerminal

_HOMES: Final = {
    "Effect": "sim.faults",
    "Fault": "sim.faults",
    "GeneratedMarket": "sim.generated",
    "Market": "sim.market",
    "NativeTerminal": "native",
    "RecordedMarket": "sim.market",
    "Series": "sim.prices",
    "SimulatedTerminal": "sim.terminal",
    "SymbolSpec": "sim.symbols",
    "Terminal": "protocol",
    "load_faults": "sim.faults",
    "load_prices": "sim.prices",
    "spec_for": "sim.symbols",
}

__all__ = [
    "Effect",
    "Fault",
    "GeneratedMarket",
    "Market",
    "NativeTerminal",
    "RecordedMarket",
    "Series",
    "SimulatedTerminal",
    "SymbolSpec",
    "Terminal",
    "load_faults",
    "load_prices",
    "spec_for",
]


def __getattr__(name: str) -> Any:
    """Load a public name's module."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'terminals' has no attribute {name!r}")
    return getattr(import_module(f"terminals.{home}"), name)
