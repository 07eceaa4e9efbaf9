"""What a trade retcode means for a guard (MT5.md, "Trade retcodes").

One table, in the order of the document. A code that is not in the table is
`OUTCOME_UNKNOWN`: the safe side, because an unknown outcome is never sent
again blindly but looked up at the broker.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType


class Meaning(StrEnum):
    """What to do when the broker answers with a code."""

    DONE = "done"
    PARTIAL = "partial"  # done for less than the asked volume
    PLACED = "placed"  # accepted, not filled yet: read back
    NO_CHANGES = "no_changes"  # it is already so: success
    RETRY_FRESH_TICK = "retry_fresh_tick"  # refused over the price: a few times, with a new one
    OUTCOME_UNKNOWN = "outcome_unknown"  # it may or may not have happened
    WAIT = "wait"  # refused for now: a later cycle may try
    CANNOT_ACT = "cannot_act"  # programs may not trade: a person must switch it on
    CHANGE_REQUEST = "change_request"  # refused over the request's form
    ALREADY_GONE = "already_gone"  # the position is closed already
    NEVER = "never"  # refused; the same request will be refused again


_TABLE: tuple[tuple[int, str, Meaning], ...] = (
    # Done
    (10009, "DONE", Meaning.DONE),
    (10010, "DONE_PARTIAL", Meaning.PARTIAL),
    (10008, "PLACED", Meaning.PLACED),
    (10025, "NO_CHANGES", Meaning.NO_CHANGES),
    # Retry with a fresh tick, few times
    (10004, "REQUOTE", Meaning.RETRY_FRESH_TICK),
    (10020, "PRICE_CHANGED", Meaning.RETRY_FRESH_TICK),
    (10021, "PRICE_OFF", Meaning.RETRY_FRESH_TICK),
    # Outcome unknown: read positions, orders and history first
    (10012, "TIMEOUT", Meaning.OUTCOME_UNKNOWN),
    (10031, "CONNECTION", Meaning.OUTCOME_UNKNOWN),
    (10011, "ERROR", Meaning.OUTCOME_UNKNOWN),
    # Wait, then retry
    (10024, "TOO_MANY_REQUESTS", Meaning.WAIT),
    (10028, "LOCKED", Meaning.WAIT),
    (10029, "FROZEN", Meaning.WAIT),
    (10018, "MARKET_CLOSED", Meaning.WAIT),
    (10026, "SERVER_DISABLES_AT", Meaning.CANNOT_ACT),
    (10027, "CLIENT_DISABLES_AT", Meaning.CANNOT_ACT),
    # Change the request, then once more
    (10030, "INVALID_FILL", Meaning.CHANGE_REQUEST),
    (10016, "INVALID_STOPS", Meaning.CHANGE_REQUEST),
    (10014, "INVALID_VOLUME", Meaning.CHANGE_REQUEST),
    (10015, "INVALID_PRICE", Meaning.CHANGE_REQUEST),
    (10038, "INVALID_CLOSE_VOLUME", Meaning.CHANGE_REQUEST),
    (10039, "CLOSE_ORDER_EXIST", Meaning.CHANGE_REQUEST),
    # Already gone
    (10036, "POSITION_CLOSED", Meaning.ALREADY_GONE),
    # Rules of the account or symbol: keep the stop, tell people
    (10045, "FIFO_CLOSE", Meaning.NEVER),
    (10044, "CLOSE_ONLY", Meaning.NEVER),
    (10042, "LONG_ONLY", Meaning.NEVER),
    (10043, "SHORT_ONLY", Meaning.NEVER),
    # Never retry as is
    (10006, "REJECT", Meaning.NEVER),
    (10007, "CANCEL", Meaning.NEVER),
    (10013, "INVALID", Meaning.NEVER),
    (10017, "TRADE_DISABLED", Meaning.NEVER),
    (10019, "NO_MONEY", Meaning.NEVER),
    (10022, "INVALID_EXPIRATION", Meaning.NEVER),
    (10032, "ONLY_REAL", Meaning.NEVER),
    (10033, "LIMIT_ORDERS", Meaning.NEVER),
    (10034, "LIMIT_VOLUME", Meaning.NEVER),
    (10035, "INVALID_ORDER", Meaning.NEVER),
    (10040, "LIMIT_POSITIONS", Meaning.NEVER),
)

MEANINGS: MappingProxyType[int, Meaning] = MappingProxyType(
    {code: meaning for code, _, meaning in _TABLE}
)
_NAMES = MappingProxyType({code: name for code, name, _ in _TABLE})


def classify(retcode: int) -> Meaning:
    """Return what `retcode` means; `OUTCOME_UNKNOWN` for a code that is not in the table."""
    return MEANINGS.get(retcode, Meaning.OUTCOME_UNKNOWN)


def name_of(retcode: int) -> str:
    """Return the code's name as the terminal's constants have it, or "UNLISTED"."""
    return _NAMES.get(retcode, "UNLISTED")
