"""Every message of DTMS: frozen, so that it can be shared between threads.

An actor raises `UnknownMessage` for one that it does not list. Messages with
an `id` are idempotent by it: handled again, they change nothing and are
answered as the first time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from defence.alerts import Notice
from defence.broker import Empty, History, Known, Snapshot, Unknown
from defence.orders import Intent, Outcome
from defence.trade import Trade, TradeRecord

# -- any actor


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a request that one actor sent to another."""

    request_id: str
    incarnation: int  # of the one that asked
    child: str  # that answers
    value: object = None
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Stop:
    """Run `on_stop` and end. Meant for one incarnation, or for whoever gets it."""

    incarnation: int | None = None


@dataclass(frozen=True, slots=True)
class Kill:
    """Die at once (chaos)."""

    reason: str = "killed"


@dataclass(frozen=True, slots=True)
class Hang:
    """Hang in the handler (chaos): for ever, or for `seconds`."""

    seconds: float | None = None


# -- the root supervisor


@dataclass(frozen=True, slots=True)
class ExitReport:
    """How an incarnation ended; there is exactly one for each."""

    child: str
    incarnation: int
    how: str  # crashed, killed, failed to start, hung, silent, stopped
    error: str
    normal: bool = False
    cause: BaseException | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class ChildReady:
    """A child does its job."""

    child: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class Begin:
    """Start the children, in order."""


@dataclass(frozen=True, slots=True)
class CheckHealth:
    """Look for hung and silent children."""

    by: str = "timer"


@dataclass(frozen=True, slots=True)
class StartChild:
    """A backoff, or an escalation, is over. Void if the child's `epoch` has moved on."""

    child: str
    epoch: int


@dataclass(frozen=True, slots=True)
class StartTimedOut:
    """An incarnation had `start_timeout` to become ready."""

    child: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class StopTimedOut:
    """An incarnation had `stop_timeout` to end."""

    child: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class RestartChild:
    """Restart a child by hand: not charged."""

    child: str
    by: str = "host"
    id: str = ""


@dataclass(frozen=True, slots=True)
class ResetBudget:
    """Forget a child's charges; an escalated child is started again."""

    child: str
    by: str = "host"
    id: str = ""


@dataclass(frozen=True, slots=True)
class StrikeChild:
    """Chaos: `kill` or `hang` a child."""

    child: str
    what: str
    seconds: float | None = None
    id: str = ""


@dataclass(frozen=True, slots=True)
class ShutDown:
    """Stop the children in reverse order, then end."""

    by: str = "host"


# -- the connector


@dataclass(frozen=True, slots=True)
class Connect:
    """Try to connect to the terminal."""


@dataclass(frozen=True, slots=True)
class TakeSnapshot:
    """Read account, positions and quotes. Answer: `Snapshot` or `Unknown`."""


@dataclass(frozen=True, slots=True)
class LookUpHistory:
    """Read all deals of some positions. Answer: a mapping of reads."""

    identifiers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Execute:
    """Send a journalled order; the outcome goes to the registry."""

    intent: Intent


@dataclass(frozen=True, slots=True)
class Freeze:
    """Send no order until told otherwise. Works without monitor and store."""

    frozen: bool
    by: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Flatten:
    """Close all positions and delete all pending orders of the account."""

    by: str
    id: str


# -- the registry


@dataclass(frozen=True, slots=True)
class Register:
    """Guard a trade; `snapshot` was read after the caller asked."""

    id: str
    trade: Trade
    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class Release:
    """Give a trade back to its user."""

    ticket: int
    by: str = "host"


@dataclass(frozen=True, slots=True)
class Observe:
    """Compare the book with the broker and write what differs."""

    snapshot: Snapshot | Unknown
    histories: Mapping[int, Known[History] | Empty | Unknown] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Observed:
    """The book after an `Observe`."""

    trades: tuple[TradeRecord, ...]  # guarded and observed
    frozen: frozenset[int]  # identifiers with an order in doubt
    needs_history: frozenset[int]
    waiting: frozenset[int]  # a further known read will decide
    changes: int
    unknown: str | None


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What a cycle came to: new results, and the orders it decided."""

    records: tuple[TradeRecord, ...]
    bases: Mapping[int, int]  # revisions on which the records rest, by identifier
    intents: tuple[Intent, ...]


@dataclass(frozen=True, slots=True)
class Journalled:
    """The results and intents of a cycle are durable."""

    intents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Would:
    """In observe mode: what would have been sent."""

    intents: tuple[Intent, ...]


@dataclass(frozen=True, slots=True)
class RecordOutcome:
    """An order has come to something."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class RecordFlattened:
    """Orders that ops sent around the journal (flatten), written afterwards."""

    id: str
    pairs: tuple[tuple[Intent, Outcome], ...]


@dataclass(frozen=True, slots=True)
class ResolveIntent:
    """Ops says what became of an order in doubt."""

    intent_id: str
    done: bool
    by: str


@dataclass(frozen=True, slots=True)
class ListTrades:
    """Answer: the active trades."""


@dataclass(frozen=True, slots=True)
class GetTrade:
    """Answer: one trade, archived ones included; `NotFound` otherwise."""

    ticket: int


@dataclass(frozen=True, slots=True)
class ListActions:
    """Answer: actions, newest first."""

    limit: int = 100
    ticket: int | None = None


@dataclass(frozen=True, slots=True)
class BackUp:
    """Write a verified copy of the trade store. Answer: its path."""


# -- the monitor


@dataclass(frozen=True, slots=True)
class Tick:
    """Begin a cycle."""


@dataclass(frozen=True, slots=True)
class TickSoon:
    """Something happened that is worth a cycle now."""


@dataclass(frozen=True, slots=True)
class Overdue:
    """A cycle's read should have been answered by now."""

    cycle: int


@dataclass(frozen=True, slots=True)
class SetControl:
    """Mode and pause, as they stand."""

    mode: str
    paused: bool
    by: str = ""
    why: str = ""


# -- recovery


@dataclass(frozen=True, slots=True)
class Reconcile:
    """Reconcile the book with the broker, history included."""

    reason: str = "asked"


# -- alert


@dataclass(frozen=True, slots=True)
class Raise:
    """Tell people."""

    notice: Notice


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """A person has seen it. `key` None acknowledges all."""

    alert_id: str | None = None
    by: str = "ops"


@dataclass(frozen=True, slots=True)
class ListAlerts:
    """Answer: all alerts of the outbox, newest first."""


@dataclass(frozen=True, slots=True)
class Repeat:
    """Time to tell again what nobody has acknowledged."""


# -- admin


@dataclass(frozen=True, slots=True)
class Command:
    """A control message from ops, audited before it is done."""

    id: str
    command: str
    by: str
    arguments: Mapping[str, object] = field(default_factory=dict)
