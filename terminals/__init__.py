"""Terminals: the MetaTrader5 module's functions, real or simulated, behind one protocol."""

from __future__ import annotations

from terminals.faults import Effect, Fault, load_faults
from terminals.generated import GeneratedMarket
from terminals.market import Market, RecordedMarket
from terminals.native import NativeTerminal
from terminals.prices import Series, load_prices
from terminals.protocol import Terminal
from terminals.simulated import SimulatedTerminal
from terminals.symbols import SymbolSpec, spec_for

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
