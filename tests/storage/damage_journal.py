"""The test's own journal of what a guard was told is durable, commit by commit.

It listens where the actors hand their changes to the stores and keeps, in
plain dictionaries, what each store must hold after each commit. It knows
nothing of pages, keys, records or checksums: what a store serves is compared
with it, and a store never judges itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Final, TypeAlias

from defence.orders import Action, OutcomeKind
from defence.trade import TradeRecord
from storage.audit import AuditStore
from storage.audited import ControlState
from storage.folder import Stores
from storage.ledger import LedgerStore
from storage.outbox import OutboxStore
from storage.trades import Batch, TradeStore

STORES: Final = ("trades", "ledger", "outbox", "audit")
CHILDREN: Final = ("connector", "registry", "recovery", "monitor", "alert", "admin")
ALL: Final = 1_000_000

State: TypeAlias = Mapping[str, Any]
Step: TypeAlias = Callable[[State], State]  # what one commit makes of a state

EMPTY: Final[Mapping[str, State]] = {
    "trades": {"trades": {}, "pending": {}, "actions": {}, "history": {}},
    "ledger": {"charges": {}},
    "outbox": {"alerts": {}},
    "audit": {"entries": (), "control": ControlState()},
}


@dataclass
class Tape:
    """The commits since the recording began, by store."""

    steps: dict[str, list[Step]] = field(default_factory=lambda: defaultdict(list))

    def after(self, name: str, state: State) -> State:
        """Return what the recorded commits make of a state."""
        for step in self.steps[name]:
            state = step(state)
        return state


class Recorder:
    """Listens to every store of this process; `tape` is what is recorded to."""

    def __init__(self) -> None:
        self.tape = Tape()
        self._listen(TradeStore, "trades", commit=_committed)
        self._listen(LedgerStore, "ledger", add=_charged, clear=_cleared, prune=_pruned)
        self._listen(OutboxStore, "outbox", put=_put, prune=_forgotten)
        self._listen(AuditStore, "audit", append=_entered, set_control=_controlled)

    def _listen(self, kind: type[Any], name: str, **methods: Callable[..., Step]) -> None:
        for method, note in methods.items():
            original = getattr(kind, method)
            setattr(kind, method, self._noted(original, name, note))

    def _noted(self, original: Any, name: str, note: Callable[..., Step]) -> Any:
        @wraps(original)
        def call(store: Any, *args: Any, **options: Any) -> Any:
            done = original(store, *args, **options)
            # only now: what raised was not acknowledged
            self.tape.steps[name].append(note(*args, **options))
            return done

        return call


# -- what each commit means, in plain dictionaries


def history_key(trade: TradeRecord) -> tuple[int, str, float]:
    """Return what makes a line of history: one registration of one position."""
    return trade.identifier, trade.created_by, trade.registered_at


def _committed(*batches: Batch) -> Step:
    def step(state: State) -> State:
        new = {name: dict(part) for name, part in state.items()}
        for batch in batches:
            _batch(new, batch)
        return new

    return step


def _batch(new: dict[str, dict[Any, Any]], batch: Batch) -> None:
    for trade in batch.trades:
        new["trades"][trade.identifier] = trade
    for trade in batch.archived:
        new["history"][history_key(trade)] = trade
        new["trades"].pop(trade.identifier, None)
    for pending in batch.intents:
        new["pending"][pending.intent.id] = pending
    for outcome in batch.outcomes:
        doubt = new["pending"].get(outcome.intent_id)
        if doubt is None:
            continue
        if outcome.kind is not OutcomeKind.UNKNOWN:
            del new["pending"][outcome.intent_id]
        intent = doubt.intent
        new["actions"][intent.id] = Action(
            id=intent.id,
            at=intent.decided_at,
            identifier=intent.identifier,
            ticket=intent.ticket,
            symbol=intent.symbol,
            kind=intent.kind.value,
            detail=intent.reason,
            intent=intent,
            outcome=outcome,
        )
    for action in batch.actions:
        new["actions"][action.id] = action


def _charged(child: str, at: float) -> Step:
    return lambda state: _with_charges(state, child, sorted([*_charges(state, child), at]))


def _cleared(child: str) -> Step:
    return lambda state: _with_charges(state, child, [])


def _pruned(child: str, before: float) -> Step:
    return lambda state: _with_charges(
        state, child, [at for at in _charges(state, child) if at >= before]
    )


def _charges(state: State, child: str) -> list[float]:
    return list(state["charges"].get(child, []))


def _with_charges(state: State, child: str, charges: list[float]) -> State:
    others = {name: each for name, each in state["charges"].items() if name != child}
    return {"charges": {**others, child: charges} if charges else others}


def _put(*alerts: Any) -> Step:
    return lambda state: {"alerts": {**state["alerts"], **{each.id: each for each in alerts}}}


def _forgotten(before: float) -> Step:
    def step(state: State) -> State:
        return {
            "alerts": {
                key: alert
                for key, alert in state["alerts"].items()
                if alert.acknowledged_at is None or alert.acknowledged_at >= before
            }
        }

    return step


def _entered(entry: Any) -> Step:
    return lambda state: {**state, "entries": (*state["entries"], entry)}


def _controlled(control: ControlState) -> Step:
    return lambda state: {**state, "control": control}


# -- what the stores serve


def served(stores: Stores) -> dict[str, State]:
    """Read all that the open stores serve, by every way there is to it."""
    trades, pending = stores.trades.load()
    actions = {action.id: action for action in stores.trades.actions(ALL)}
    history = {history_key(trade): trade for trade in stores.trades.archived(ALL)}
    for ticket in {action.ticket for action in actions.values()}:
        by_ticket = {action.id for action in stores.trades.actions(ALL, ticket=ticket)}
        wanted = {each.id for each in actions.values() if each.ticket == ticket}
        assert by_ticket == wanted, f"the actions of {ticket} by its index"
    for action in actions.values():
        assert stores.trades.action(action.id) == action, f"action {action.id} by its index"
    for trade in history.values():
        assert trade in stores.trades.archived(ALL, trade.identifier), "history by identifier"
        assert stores.trades.find_archived_ticket(trade.ticket) is not None, "history by ticket"
    charges = {child: stores.ledger.charges(child) for child in CHILDREN}
    return {
        "trades": {"trades": trades, "pending": pending, "actions": actions, "history": history},
        "ledger": {"charges": {child: list(each) for child, each in charges.items() if each}},
        "outbox": {"alerts": stores.outbox.load()},
        "audit": {
            "entries": tuple(reversed(stores.audit.tail(ALL))),
            "control": stores.audit.control(),
        },
    }
