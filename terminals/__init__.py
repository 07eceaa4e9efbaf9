"""Terminals: the MetaTrader5 module's functions, real or simulated, behind one protocol.

The public names can be had from here, and are loaded when they are first
asked for, so that what needs no market does not load numpy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from terminals.faults import Effect, Fault, load_faults
    from terminals.generated import GeneratedMarket
    from terminals.market import Market, RecordedMarket
    from terminals.native import NativeTerminal
    from terminals.prices import Series, load_prices
    from terminals.protocol import Terminal
    from terminals.simulated import SimulatedTerminal
    from terminals.symbols import SymbolSpec, spec_for

_HOMES: Final = {
    "Effect": "faults",
    "Fault": "faults",
    "GeneratedMarket": "generated",
    "Market": "market",
    "NativeTerminal": "native",
    "RecordedMarket": "market",
    "Series": "prices",
    "SimulatedTerminal": "simulated",
    "SymbolSpec": "symbols",
    "Terminal": "protocol",
    "load_faults": "faults",
    "load_prices": "prices",
    "spec_for": "symbols",
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
