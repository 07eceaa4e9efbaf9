"""What was handed in and acknowledged, kept apart from the store; and what a store holds.

The journal is plain JSON lines. The rules of a commit are written out here once
more, on purpose: an oracle that used the store's code would share its faults.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from defence.orders import Action, Outcome, PendingIntent
from defence.trade import TradeRecord
from storage.trades import Batch, TradeStore

Plain = dict[str, Any]
ALL = 10**9  # more than any store here holds
SECTIONS = ("trades", "history", "pending", "actions")


def plain(record: TradeRecord | PendingIntent | Action | Outcome) -> Plain:
    """Return a record as JSON reads it back."""
    made: Plain = json.loads(json.dumps(asdict(record)))
    return made


def plain_batch(batch: Batch) -> Plain:
    """Return what a batch says, for the journal."""
    return {
        "trades": [plain(one) for one in batch.trades],
        "archived": [plain(one) for one in batch.archived],
        "intents": [plain(one) for one in batch.intents],
        "outcomes": [plain(one) for one in batch.outcomes],
        "actions": [plain(one) for one in batch.actions],
    }


@dataclass
class State:
    """All that a store is to hold, by section and key."""

    sections: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {name: {} for name in SECTIONS}
    )

    def apply(self, batch: Plain) -> None:
        """Do what a batch says."""
        trades, history, pending, actions = (self.sections[name] for name in SECTIONS)
        for trade in batch["trades"]:
            trades[str(trade["identifier"])] = trade
        for trade in batch["archived"]:
            trades.pop(str(trade["identifier"]), None)
            history[f"{trade['identifier']} {trade['created_by']}"] = trade
        for one in batch["intents"]:
            pending[one["intent"]["id"]] = one
        for outcome in batch["outcomes"]:
            if (held := pending.get(outcome["intent_id"])) is None:
                continue
            intent = held["intent"]
            if outcome["kind"] != "unknown":
                del pending[intent["id"]]
            actions[intent["id"]] = {
                "id": intent["id"],
                "at": intent["decided_at"],
                **{name: intent[name] for name in ("identifier", "ticket", "symbol", "kind")},
                "detail": intent["reason"],
                "intent": intent,
                "outcome": outcome,
            }
        for action in batch["actions"]:
            actions[action["id"]] = action

    def digests(self) -> tuple[str, ...]:
        """Return a digest of each section: equal states, equal digests."""
        return tuple(_digest(self.sections[name]) for name in SECTIONS)


def _digest(section: Mapping[str, Any]) -> str:
    text = json.dumps(section, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def held(store: TradeStore) -> State:
    """Read a store by every way it offers; ValueError where two ways disagree."""
    state = State()
    trades, pending = store.load()
    history, actions = store.archived(ALL), store.actions(ALL)
    rows = state.sections
    rows["trades"] = {str(identifier): plain(trade) for identifier, trade in trades.items()}
    rows["history"] = {f"{one.identifier} {one.created_by}": plain(one) for one in history}
    rows["pending"] = {name: plain(one) for name, one in pending.items()}
    rows["actions"] = {one.id: plain(one) for one in actions}
    by_ticket = {ticket: store.actions(ALL, ticket) for ticket in {one.ticket for one in actions}}
    checks = {
        "an action twice": len(actions) == len(rows["actions"]),
        "actions by time": all(a.at >= b.at for a, b in itertools.pairwise(actions)),
        "actions by ticket": sum(map(len, by_ticket.values())) == len(actions)
        and all(one.ticket == ticket for ticket, found in by_ticket.items() for one in found),
        "actions by id": all(store.action(one.id) == one for one in actions[:5]),
        "an archived trade twice": len(history) == len(rows["history"]),
        "history by identifier": all(
            store.find_archived(one.identifier) is not None for one in history
        ),
    }
    wrong = [name for name, good in checks.items() if not good]
    if wrong:
        raise ValueError(f"the store contradicts itself: {', '.join(wrong)}")
    return state


@dataclass(frozen=True)
class Commit:
    """One line of the journal: when a commit began and ended, as positions in the log."""

    number: int
    began: int
    ended: int | None  # None: never acknowledged
    digests: tuple[str, ...]


@dataclass(frozen=True)
class Story:
    """The journal of one run, with positions in the log.

    `made`: from then on the store was open. `damaged`: when the test damaged it
    by its own hand, after which a start is to tell of damage.
    """

    made: int
    damaged: int | None
    commits: tuple[Commit, ...]

    def acknowledged(self, cut: int) -> int:
        """Return the newest commit that was acknowledged before the event number `cut`."""
        return max(
            (one.number for one in self.commits if one.ended is not None and one.ended <= cut),
            default=0,
        )

    def begun(self, cut: int) -> int:
        """Return the newest commit of which something may have been written by then."""
        return max((one.number for one in self.commits if one.began <= cut), default=0)

    def numbers(self, digests: tuple[str, ...]) -> list[int]:
        """Return the commits after which the store is in that state; none: it never was."""
        return [one.number for one in self.commits if one.digests == digests]


def read_story(journal: Path) -> Story:
    """Read a journal, and work out the state after each commit.

    Damage counts as a commit that leaves what a backup had, or nothing.
    """
    state, made, damaged = State(), 0, None
    states = {0: State()}
    began: dict[int, tuple[int, tuple[str, ...]]] = {0: (0, state.digests())}
    ended: dict[int, int] = {0: 0}
    with journal.open(encoding="utf-8") as lines:
        for line in lines:
            said = json.loads(line)
            if said["kind"] == "made":
                made = said["position"]
            elif said["kind"] == "acknowledged":
                ended[said["commit"]] = said["position"]
            else:
                if said["kind"] == "damage":
                    state, damaged = copy.deepcopy(states[said["back_to"]]), said["position"]
                for batch in said["batches"]:
                    state.apply(batch)
                states[said["commit"]] = copy.deepcopy(state)
                began[said["commit"]] = (said["position"], state.digests())
    commits = tuple(
        Commit(number, position, ended.get(number), digests)
        for number, (position, digests) in began.items()
    )
    return Story(made, damaged, commits)
