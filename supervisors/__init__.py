"""Supervision, and Guard, the embeddable face of DTMS.

    from supervisors import Guard, Settings, Trade           # a guard
    from supervisors import ChildSpec, Restart, Supervisor   # supervision alone

The names can be had from here, and are loaded when they are first asked for,
so that a program which only wants supervision loads no store and no terminal.

The packages of DTMS have plain names, so another package of the same name may
be in the way; importing this one checks that, and names the path if so.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from supervisors.siblings import check_siblings

check_siblings()

if TYPE_CHECKING:
    from defence.errors import DtmsError, NotReady, Refused, StartRefused, Stopped, TryAgain
    from defence.trade import Registration, Trade, TradeRecord
    from supervisors.guard import Guard
    from supervisors.owner import MemoryLedger, RememberingOwner, RootSettings
    from supervisors.settings import Settings
    from supervisors.spec import Backoff, ChildSpec, Escalation, Restart
    from supervisors.tree import Supervisor

_HOMES: Final = {
    "Backoff": "supervisors.spec",
    "ChildSpec": "supervisors.spec",
    "DtmsError": "defence.errors",
    "Escalation": "supervisors.spec",
    "Guard": "supervisors.guard",
    "MemoryLedger": "supervisors.owner",
    "NotReady": "defence.errors",
    "Refused": "defence.errors",
    "Registration": "defence.trade",
    "RememberingOwner": "supervisors.owner",
    "Restart": "supervisors.spec",
    "RootSettings": "supervisors.owner",
    "Settings": "supervisors.settings",
    "StartRefused": "defence.errors",
    "Stopped": "defence.errors",
    "Supervisor": "supervisors.tree",
    "Trade": "defence.trade",
    "TradeRecord": "defence.trade",
    "TryAgain": "defence.errors",
}

__all__ = [
    "Backoff",
    "ChildSpec",
    "DtmsError",
    "Escalation",
    "Guard",
    "MemoryLedger",
    "NotReady",
    "Refused",
    "Registration",
    "RememberingOwner",
    "Restart",
    "RootSettings",
    "Settings",
    "StartRefused",
    "Stopped",
    "Supervisor",
    "Trade",
    "TradeRecord",
    "TryAgain",
]


def __getattr__(name: str) -> Any:
    """Load a public name's module, and keep the name."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'supervisors' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(home), name)
    return value


def __dir__() -> list[str]:
    """Return the public names, loaded or not."""
    return sorted({*globals(), *__all__})
