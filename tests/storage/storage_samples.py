"""Sample data, hypothesis strategies and child processes for the tests of storage."""

from __future__ import annotations

import os
import subprocess
import sys
import types
import typing
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from defence.alerts import Alert, Severity
from defence.broker import Direction
from defence.orders import Action, Intent, IntentKind
from defence.trade import Standing, TradeRecord, TradeState

ROOT = Path(__file__).resolve().parents[2]
T0 = 1_700_000_000.0

# a busy machine is no fault of the code
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def trade(identifier: int = 1, **changes: Any) -> TradeRecord:
    given: dict[str, Any] = {
        "identifier": identifier,
        "ticket": identifier,
        "symbol": "EURUSD",
        "direction": Direction.BUY,
        "volume": 0.1,
        "entry_price": 1.1,
        "stop_loss": 1.09,
        "take_profit": None,
        "magic": 7,
        "managed_by": "bot",
        "standing": Standing.GUARDED,
        "state": TradeState.HEALTHY,
        "registered_at": T0,
        "updated_at": T0,
        "created_by": f"m{identifier}",
        "initial_volume": 0.1,
    }
    return TradeRecord(**{**given, **changes})


def intent(intent_id: str = "i1", **changes: Any) -> Intent:
    given: dict[str, Any] = {
        "id": intent_id,
        "identifier": 1,
        "ticket": 1,
        "symbol": "EURUSD",
        "direction": Direction.BUY,
        "kind": IntentKind.MOVE_STOP,
        "step": None,
        "volume": 0.0,
        "volume_before": 0.1,
        "stop_loss": 1.095,
        "take_profit": None,
        "stop_before": 1.09,
        "price_seen": 1.098,
        "reason": "near the stop",
        "magic": 7,
        "decided_at": T0 + 10,
        "snapshot_at": T0 + 9,
        "decided_by": 1,
    }
    return Intent(**{**given, **changes})


def action(action_id: str = "a1", **changes: Any) -> Action:
    given: dict[str, Any] = {
        "id": action_id,
        "at": T0,
        "identifier": 1,
        "ticket": 1,
        "symbol": "EURUSD",
        "kind": "registered",
        "detail": "",
    }
    return Action(**{**given, **changes})


def alert(alert_id: str = "x1", **changes: Any) -> Alert:
    given: dict[str, Any] = {
        "id": alert_id,
        "key": "k",
        "severity": Severity.WARNING,
        "title": "t",
        "text": "words",
        "raised_at": T0,
        "last_at": T0,
    }
    return Alert(**{**given, **changes})


SIMPLE: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(-(2**63), 2**64 - 1),
    float: st.floats(allow_nan=False),
    bool: st.booleans(),
    str: st.text(st.characters(), max_size=20),  # lone surrogates too
    type(None): st.none(),
}


def strategy(kind: Any) -> st.SearchStrategy[Any]:
    """Return values of a type of our records, every field drawn (no default is left alone)."""
    if kind in SIMPLE:
        return SIMPLE[kind]
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        return st.one_of([strategy(part) for part in typing.get_args(kind)])
    if origin is tuple:
        return st.lists(strategy(typing.get_args(kind)[0]), max_size=4).map(tuple)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from(list(kind))
    hints = typing.get_type_hints(kind)
    return st.builds(kind, **{each.name: strategy(hints[each.name]) for each in fields(kind)})


def python(script: str, *arguments: object, **options: Any) -> subprocess.Popen[bytes]:
    """Start a script that can import the project and this module."""
    path = os.pathsep.join((str(ROOT), str(Path(__file__).parent)))
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        **options,
    )


def finished(child: subprocess.Popen[bytes], timeout: float = 60) -> tuple[int, str, str]:
    """Wait for a child; return exit status, what it wrote, and its errors."""
    out, err = child.communicate(timeout=timeout)
    return child.returncode, out.decode(), err.decode()
