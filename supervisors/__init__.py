"""Supervision, and Guard, the embeddable face of DTMS.

    from supervisors import Guard, Settings, Trade

The packages of DTMS have plain names, so another package of the same name may
be in the way; importing this one checks that, and names the path if so.
"""

from __future__ import annotations

from supervisors.siblings import check_siblings

check_siblings()

from defence.errors import (  # noqa: E402 - after the check, which explains a wrong sibling
    DtmsError,
    NotReady,
    Refused,
    StartRefused,
    Stopped,
    TryAgain,
)
from defence.trade import Registration, Trade, TradeRecord  # noqa: E402
from supervisors.guard import Guard  # noqa: E402
from supervisors.settings import Settings  # noqa: E402

__all__ = [
    "DtmsError",
    "Guard",
    "NotReady",
    "Refused",
    "Registration",
    "Settings",
    "StartRefused",
    "Stopped",
    "Trade",
    "TradeRecord",
    "TryAgain",
]
