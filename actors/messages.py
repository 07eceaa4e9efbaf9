"""Every message of the guard: frozen, so that it can be shared between threads.

An actor raises `UnknownMessage` for one that it does not list. Messages with
an `id` are idempotent by it: handled again, they change nothing and are
answered as the first time. Those of supervision are in `actors.life`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from actors.life import Poison
from defence.alerts import Notice
from defence.broker import Empty, Glance, History, Known, Snapshot, Unknown
from defence.history import Query
from defence.orders import Intent, Outcome
from defence.trade import Trade, TradeRecord
from terminals.sim.faults import Fault


class Journey:
    """How far the orders of one message have come on their way through the journal.

    It lives as long as the message, and so longer than an incarnation of the
    Registry: the one thing in a message that is written, by its reader alone.
    """

    __slots__ = ("_told", "drafted")

    def __init__(self) -> None:
        self.drafted: set[str] = set()  # ids that this message has put before a commit
        self._told: dict[str, object] = {}

    def tell(self, intent_id: str) -> bool:
        """Claim the telling of an order to the connector; True for the first claim only."""
        claim = object()
        return self._told.setdefault(intent_id, claim) is claim

    def untold(self, intent_id: str) -> bool:
        """Whether this message made an order durable, or tried to, that nobody was told of."""
        return intent_id in self.drafted and intent_id not in self._told


# -- the connector


@dataclass(frozen=True, slots=True)
class Connect:
    """Try to connect to the terminal."""


@dataclass(frozen=True, slots=True)
class TakeSnapshot:
    """Read account, positions and quotes. Answer: `Snapshot` or `Unknown`."""


@dataclass(frozen=True, slots=True)
class Enlist:
    """Look at the trade's position, then have the registry guard it: the way of a registration.

    Answered by the registry (`Register`), or with `BrokerUnknown` if there is nothing to look at.
    """

    id: str
    trade: Trade


@dataclass(frozen=True, slots=True)
class EnlistMany:
    """Several at once, on one look. Answered by the registry (`RegisterMany`)."""

    items: tuple[Enlist, ...]


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
class InjectFault:
    """Let something go wrong at the simulated terminal (chaos)."""

    fault: Fault


@dataclass(frozen=True, slots=True)
class ClearFaults:
    """Let nothing go wrong at the simulated terminal any more (chaos)."""


@dataclass(frozen=True, slots=True)
class Flatten:
    """Close all positions and delete all pending orders of the account.

    Answered once, with what became of each. Its orders are journalled before
    they are sent, unless the registry refuses or does not answer in time.
    """

    by: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FlattenPlan:
    """What one flatten is to send. Only one letter at a time carries it, with its asker.

    `id` is the plan's own: a command that is given twice has two.
    """

    id: str
    intents: tuple[Intent, ...]
    hedging: bool
    orders_unknown: bool  # the waiting orders could not be read
    journey: Journey = field(default_factory=Journey, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class FlattenLate:
    """The registry has not answered `asked_by`, an incarnation of the connector, in time."""

    plan: FlattenPlan
    asked_by: int


@dataclass(frozen=True, slots=True)
class Held:
    """An order of a flatten that must not go out, and why.

    `outcome` is that of the same order, sent before; None while it, or
    another close of the same position, is in doubt.
    """

    intent: Intent
    outcome: Outcome | None
    why: str


@dataclass(frozen=True, slots=True)
class FlattenJournalled:
    """The registry's word: all orders of a flatten are durable, save those held back."""

    id: str
    held: tuple[Held, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FlattenOn:
    """Send the next order of a flatten: one a letter, so that each is attempted once.

    `journalled` is "before", "afterwards" or "not".
    """

    plan: FlattenPlan
    journalled: str
    held: tuple[Held, ...] = ()
    results: tuple[tuple[Intent, Outcome], ...] = ()


# -- the registry


@dataclass(frozen=True, slots=True)
class Register:
    """Guard a trade; `snapshot` was read after the caller asked, and looked for this trade.

    Answer: `Registration`, or the refusal.
    """

    id: str
    trade: Trade
    snapshot: Snapshot | Glance


@dataclass(frozen=True, slots=True)
class RegisterMany:
    """Guard several trades in one transaction. Answer: for each a `Registration` or its refusal."""

    items: tuple[Register, ...]


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
    journey: Journey = field(default_factory=Journey, compare=False, repr=False)


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
    """Orders of a flatten: those about to be sent (None), or what became of them.

    Those about to be sent are answered by `FlattenJournalled`, once durable. On
    an account that is not `hedging` a close in doubt holds another one back.
    """

    id: str
    pairs: tuple[tuple[Intent, Outcome | None], ...]
    hedging: bool = True
    journey: Journey = field(default_factory=Journey, compare=False, repr=False)


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
class FindActions:
    """Answer: a `Page` of actions."""

    query: Query = field(default_factory=Query)


@dataclass(frozen=True, slots=True)
class FindHistory:
    """Answer: a `Page` of archived trades."""

    query: Query = field(default_factory=Query)


@dataclass(frozen=True, slots=True)
class FindDays:
    """Answer: a `Page` of sums by day, of what was compacted."""

    query: Query = field(default_factory=Query)


@dataclass(frozen=True, slots=True)
class Compact:
    """Time for a step of compaction."""


# -- the monitor


@dataclass(frozen=True, slots=True)
class Tick:
    """Begin a cycle."""


@dataclass(frozen=True, slots=True)
class TickSoon:
    """Something happened that is worth a cycle now."""


@dataclass(frozen=True, slots=True)
class Overdue:
    """A cycle's answer should have come by now; `given_up`: it is no longer waited for."""

    cycle: int
    given_up: bool = False


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


@dataclass(frozen=True, slots=True)
class WriteAgain:
    """Time to try once more to write what a store did not take (alert and admin)."""


# -- admin


@dataclass(frozen=True, slots=True)
class NotePoison:
    """A message crashed its handler twice and was set aside: keep that for ops."""

    child: str
    incarnation: int
    poison: Poison


@dataclass(frozen=True, slots=True)
class ListPoison:
    """Answer: the newest `PoisonRecord`s, newest first. Not audited: it is only looked at."""

    limit: int = 100


@dataclass(frozen=True, slots=True)
class Command:
    """A control message from ops, audited before it is done."""

    id: str
    command: str
    by: str
    arguments: Mapping[str, object] = field(default_factory=dict)
