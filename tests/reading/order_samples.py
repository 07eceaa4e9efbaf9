"""Intents and facts that the order tests share."""

from __future__ import annotations

from typing import Any

from defence.broker import Direction, Quote, SymbolFacts
from defence.orders import Intent, IntentKind

QUOTE = Quote(symbol="EURUSD", bid=1.1010, ask=1.1012, time=1.0)


def facts(**changes: Any) -> SymbolFacts:
    """Return EURUSD, five digits, lots of 0.01, fill or kill and immediate or cancel."""
    values: dict[str, Any] = {
        "symbol": "EURUSD",
        "digits": 5,
        "point": 0.00001,
        "tick_size": 0.00001,
        "tick_value": 1.0,
        "contract_size": 100_000.0,
        "volume_min": 0.01,
        "volume_max": 100.0,
        "volume_step": 0.01,
        "stops_level": 0,
        "freeze_level": 0,
        "trade_mode": 4,
        "filling_mode": 3,
        "execution_mode": 2,
    }
    return SymbolFacts(**{**values, **changes})


def intent(kind: IntentKind, **changes: Any) -> Intent:
    """Return an intent for the fake terminal's position 11 (BUY 1 lot, stop 1.0950)."""
    values: dict[str, Any] = {
        "id": "intent-0001",
        "identifier": 11,
        "ticket": 11,
        "symbol": "EURUSD",
        "direction": Direction.BUY,
        "kind": kind,
        "step": None,
        "volume": {IntentKind.CLOSE: 1.0, IntentKind.CLOSE_PART: 0.5}.get(kind, 0.0),
        "volume_before": 1.0,
        "stop_loss": 1.0980,
        "take_profit": 1.1200,
        "stop_before": 1.0950,
        "price_seen": 1.1010,
        "reason": "test",
        "magic": 7,
        "decided_at": 1000.0,
        "snapshot_at": 999.0,
        "decided_by": 1,
    }
    return Intent(**{**values, **changes})
