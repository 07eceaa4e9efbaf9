"""Sample trades, positions and looks at the broker, plain and without I/O."""

from __future__ import annotations

from typing import Any

from defence.broker import (
    Account,
    Deal,
    Direction,
    Empty,
    History,
    Known,
    MarginMode,
    Position,
    Quote,
    Snapshot,
    SymbolFacts,
    TerminalState,
)
from defence.orders import Intent, IntentKind
from defence.trade import Standing, Step, TradeRecord, TradeState

NOW = 1_000_000.0

ACCOUNT = Account(
    login=7,
    server="Demo",
    currency="EUR",
    balance=10_000,
    equity=10_000,
    margin_mode=MarginMode.HEDGING,
    trade_allowed=True,
    trade_expert=True,
)
TERMINAL = TerminalState(connected=True, trade_allowed=True, build=5000, name="Test")


def facts(**changes: Any) -> SymbolFacts:
    values: dict[str, Any] = {
        "symbol": "EURUSD",
        "digits": 5,
        "point": 1e-5,
        "tick_size": 1e-5,
        "tick_value": 1.0,
        "contract_size": 100_000,
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


def quote(bid: float, ask: float | None = None, **changes: Any) -> Quote:
    values: dict[str, Any] = {
        "symbol": "EURUSD",
        "bid": bid,
        "ask": round(bid + 1e-4, 5) if ask is None else ask,
        "time": 0.0,
    }
    return Quote(**{**values, **changes})


def position(**changes: Any) -> Position:
    """A BUY of 1 lot at 1.10000 with its stop 100 pips below: 1 R is 0.01."""
    values: dict[str, Any] = {
        "identifier": 1,
        "ticket": 1,
        "symbol": "EURUSD",
        "direction": Direction.BUY,
        "volume": 1.0,
        "price_open": 1.1,
        "stop_loss": 1.09,
        "take_profit": 1.15,
        "price_current": 1.1,
        "profit": 0.0,
        "swap": 0.0,
        "magic": 5,
        "comment": "",
        "time": 0,
        "time_update_msc": 0,
    }
    return Position(**{**values, **changes})


def record(**changes: Any) -> TradeRecord:
    values: dict[str, Any] = {
        "identifier": 1,
        "ticket": 1,
        "symbol": "EURUSD",
        "direction": Direction.BUY,
        "volume": 1.0,
        "entry_price": 1.1,
        "stop_loss": 1.09,
        "take_profit": 1.15,
        "magic": 5,
        "managed_by": "bot",
        "standing": Standing.GUARDED,
        "state": TradeState.HEALTHY,
        "registered_at": NOW - 10_000,
        "updated_at": NOW - 10_000,
        "created_by": "message-1",
        "initial_volume": 1.0,
        "initial_stop": 1.09,
        "initial_stop_fixed": True,
        "commission_per_lot": 0.0,
    }
    return TradeRecord(**{**values, **changes})


def snapshot(*positions: Position, at: float = NOW, **changes: Any) -> Snapshot:
    values: dict[str, Any] = {
        "id": f"snapshot-{at}",
        "asked_at": at,
        "taken_at": at + 0.01,
        "account": ACCOUNT,
        "terminal": TERMINAL,
        "positions": Known(positions) if positions else Empty(),
        "quotes": {"EURUSD": quote(1.1)},
        "symbols": {"EURUSD": facts()},
    }
    return Snapshot(**{**values, **changes})


def deal(**changes: Any) -> Deal:
    """A deal that opens the BUY of 1 lot; `closing` has its counterpart."""
    values: dict[str, Any] = {
        "ticket": 100,
        "order": 1,
        "position_id": 1,
        "symbol": "EURUSD",
        "direction": Direction.BUY,
        "entry": 0,
        "volume": 1.0,
        "price": 1.1,
        "profit": 0.0,
        "commission": -3.5,
        "swap": 0.0,
        "fee": 0.0,
        "reason": 3,
        "time": 10.0,
        "comment": "",
    }
    return Deal(**{**values, **changes})


def closing(**changes: Any) -> Deal:
    values: dict[str, Any] = {
        "ticket": 200,
        "order": 20,
        "direction": Direction.SELL,
        "entry": 1,
        "price": 1.09,
        "profit": -1000.0,
        "swap": -2.0,
        "fee": -0.5,
        "reason": 4,
        "time": 20.0,
    }
    return deal(**{**values, **changes})


def history(*deals: Deal, opening_stop: float | None = None) -> Known[History]:
    return Known(History(identifier=1, deals=deals, opening_stop=opening_stop))


def intent(kind: IntentKind = IntentKind.MOVE_STOP, **changes: Any) -> Intent:
    values: dict[str, Any] = {
        "id": "intent-0001",
        "identifier": 1,
        "ticket": 1,
        "symbol": "EURUSD",
        "direction": Direction.BUY,
        "kind": kind,
        "step": Step.L1_STOP if kind is IntentKind.MOVE_STOP else Step.L2_HALF,
        "volume": 0.0 if kind is IntentKind.MOVE_STOP else 0.5,
        "volume_before": 1.0,
        "stop_loss": 1.095,
        "take_profit": 1.15,
        "stop_before": 1.09,
        "price_seen": 1.1,
        "reason": "",
        "magic": 5,
        "decided_at": NOW - 100,
        "snapshot_at": NOW - 101,
        "decided_by": 1,
    }
    return Intent(**{**values, **changes})
