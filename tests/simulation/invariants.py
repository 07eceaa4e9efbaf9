"""The names of what must hold; `witness.py` and `books.py` judge, `mutants.py` breaks each."""

from __future__ import annotations

from typing import Final

RESTARTS: Final = "at most 3 automatic restarts in any hour"
ALERTED: Final = "the 4th failure is escalated and alerted"
ACKNOWLEDGED: Final = "what was acknowledged is there"
ONE_TICKET: Final = "each ticket once"
BALANCE: Final = "mailbox counts balance"
ONE_OUTCOME: Final = "exactly one outcome for each order"
FENCED: Final = "a fenced incarnation sends no order"
ONE_ORDER: Final = "at most one order per decision"
STOPS: Final = "no stop is ever widened"
UNKNOWN: Final = "nothing is removed on an unknown read"
READY: Final = "ready is only said when reconciled and monitored"
IN_ORDER: Final = "stop ends everything in order"
LIVENESS: Final = "liveness"
TIMERS: Final = "timers do not pile up"
ONE_EXIT: Final = "one life, one exit report"
ONE_START: Final = "one life, one start"
RETRIED: Final = "an escalated child is tried again in time"

ALL: Final = frozenset(
    {
        RESTARTS,
        ALERTED,
        ACKNOWLEDGED,
        ONE_TICKET,
        BALANCE,
        ONE_OUTCOME,
        FENCED,
        ONE_ORDER,
        STOPS,
        UNKNOWN,
        READY,
        IN_ORDER,
        LIVENESS,
        TIMERS,
        ONE_EXIT,
        ONE_START,
        RETRIED,
    }
)
