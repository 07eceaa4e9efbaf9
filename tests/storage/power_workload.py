"""The process whose power is cut: work on a trade store, recorded. Run as a script.

Arguments: data folder, log, journal, seed, number of commits, engine (`durable`,
`no sync`, `no metasync`; `damaged` is durable and spoils the store in the middle,
`restored` too, with a backup taken before).
Prints as JSON what the recorder saw.
"""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import lmdb
from power_oracle import plain_batch
from power_recorder import Recorder
from storage_samples import T0, action, intent, trade

from defence.orders import Outcome, OutcomeKind, PendingIntent
from defence.trade import TradeRecord
from storage import preflight
from storage.backups import take
from storage.folder import DataFolder, open_stores
from storage.layout import DATA_FILE, LOCK_FILE
from storage.trades import Batch, TradeStore

ENGINES: dict[str, dict[str, bool]] = {
    "durable": {},
    "damaged": {},
    "restored": {},
    "no sync": {"sync": False},
    "no metasync": {"metasync": False},
}
MAP_SIZE = 128 * 1024  # small, so that the map grows in the middle
SYMBOLS = ("EURUSD", "XAUUSD", "GER40", "BTCUSD")


class Work:
    """Seeded commits, each of one batch or many."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.active: dict[int, TradeRecord] = {}
        self.pending: dict[str, PendingIntent] = {}
        self.count = 0

    def batches(self) -> list[Batch]:
        """Return the next commit: mostly small, now and then a storm."""
        size = self.chance.choice((1, 1, 2, 3, 5, 8, 13, 40))
        return [self._batch() for _ in range(size)]

    def _batch(self) -> Batch:
        self.count += 1
        steps = [self._register, self._register]
        if self.active:
            steps += [self._update, self._archive, self._intend]
        if self.pending:
            steps += [self._settle, self._settle]
        return self.chance.choice(steps)()

    def _register(self) -> Batch:
        number = 50_000_000 + self.count
        made = trade(
            number,
            symbol=self.chance.choice(SYMBOLS),
            volume=self.chance.randint(1, 500) / 100,
            entry_price=self.chance.uniform(1, 2000),
            managed_by="b" * self.chance.randint(0, 60),
            registered_at=T0 + self.count,
            updated_at=T0 + self.count,
            created_by=f"request-{self.count}",
        )
        self.active[number] = made
        line = action(
            f"request-{self.count}", at=T0 + self.count, identifier=number, ticket=number,
            symbol=made.symbol, kind="registered", detail="by bot",
        )  # fmt: skip
        return Batch(trades=(made,), actions=(line,))

    def _any(self) -> TradeRecord:
        return self.active[self.chance.choice(sorted(self.active))]

    def _changed(self, old: TradeRecord, **facts: Any) -> TradeRecord:
        fields = {name: getattr(old, name) for name in old.__dataclass_fields__}
        fields |= {"revision": old.revision + 1, "updated_at": T0 + self.count, **facts}
        return TradeRecord(**fields)

    def _update(self) -> Batch:
        old = self._any()
        new = self._changed(old, result_r=self.chance.uniform(-1, 3), peak_r=3.0)
        self.active[old.identifier] = new
        return Batch(trades=(new,))

    def _archive(self) -> Batch:
        old = self._any()
        del self.active[old.identifier]
        gone = self._changed(
            old, closed_at=T0 + self.count, close_profit=self.chance.uniform(-9, 9)
        )
        line = action(
            f"closed-{self.count}", at=T0 + self.count, identifier=old.identifier,
            ticket=old.ticket, symbol=old.symbol, kind="closed", detail="",
        )  # fmt: skip
        return Batch(archived=(gone,), actions=(line,))

    def _intend(self) -> Batch:
        old = self._any()
        wanted = intent(
            f"intent-{self.count}", identifier=old.identifier, ticket=old.ticket,
            symbol=old.symbol, decided_at=T0 + self.count, reason="r" * self.chance.randint(0, 90),
        )  # fmt: skip
        held = PendingIntent(intent=wanted)
        self.pending[wanted.id] = held
        return Batch(intents=(held,))

    def _settle(self) -> Batch:
        name = self.chance.choice(sorted(self.pending))
        kind = self.chance.choice((OutcomeKind.DONE, OutcomeKind.NOT_DONE, OutcomeKind.UNKNOWN))
        if kind is not OutcomeKind.UNKNOWN:
            del self.pending[name]
        outcome = Outcome(intent_id=name, kind=kind, at=T0 + self.count, retcode=10009)
        return Batch(outcomes=(outcome,))


def weaken(engine: str) -> None:
    """Let the engine be opened without its barriers: for the control of the proof."""
    flags, durable = ENGINES[engine], lmdb.open
    if flags:

        def weak(*arguments: Any, **options: Any) -> Any:
            return durable(*arguments, **{**options, **flags})

        lmdb.open = weak  # type: ignore[assignment]  # a function in a class's place


def damage(data: Path) -> None:
    """Spoil the store's file, durably."""
    with data.open("r+b") as file:
        file.write(bytes(16 * 1024))
        file.flush()
        os.fsync(file.fileno())


def small(opener: Any) -> Any:
    """Return an opener of the trade store whose map has to grow."""
    return staticmethod(lambda *arguments, **more: opener(*arguments, map_size=MAP_SIZE, **more))


def main() -> None:
    """Record the work."""
    root, log, journal = (Path(argument) for argument in sys.argv[1:4])
    seed, commits, engine = int(sys.argv[4]), int(sys.argv[5]), sys.argv[6]
    weaken(engine)
    TradeStore.open = small(TradeStore.open)  # type: ignore[method-assign]
    preflight.available = lambda: False  # a child's writes would not be recorded
    work, recorder = Work(seed), Recorder(root, log)
    found = recorder.attach()
    again = dict.fromkeys(work.chance.sample(range(3, commits), 2), "open")
    if engine in ("damaged", "restored"):
        again[commits // 2] = "damage"
    back_to, kept = 0, Work(seed)
    if engine == "restored":
        back_to = commits // 3
        again[back_to] = "back up"
    with journal.open("w", encoding="utf-8") as said:

        def say(kind: str, **facts: object) -> None:
            line = {"kind": kind, "position": recorder.position, **facts}
            said.write(json.dumps(line) + "\n")

        folder = DataFolder(root)
        folder.token()
        stores = open_stores(folder, T0)
        stores.trades.bind(7, "Test-Demo")
        say("made")
        for number in range(1, commits + 1):
            match again.get(number):
                case None:
                    batches = work.batches()
                    say("begin", commit=number, batches=[plain_batch(batch) for batch in batches])
                    stores.trades.commit(*batches)
                case "open":
                    stores.close()
                    say("begin", commit=number, batches=[])
                    stores = open_stores(folder, T0)
                case "back up":
                    say("begin", commit=number, batches=[])
                    take(folder.backups, [stores.trades.environment], T0)
                    kept = copy.deepcopy(work)
                case _:
                    stores.close()
                    say("damage", commit=number, batches=[], back_to=back_to)
                    damage(root / "trades" / DATA_FILE)
                    stores = open_stores(folder, T0)
                    # on from there, and nowhere twice the same
                    work, work.count, work.chance = kept, 1_000, random.Random(-seed)
            say("acknowledged", commit=number)
        # the locks are written through the map, unseen; this is what a dead process leaves there
        shutil.copyfile(root / "trades" / LOCK_FILE, log.with_suffix(".lock"))
        grown = (root / "trades" / DATA_FILE).stat().st_size > MAP_SIZE
        stores.close()
    recorder.finish()
    facts = {
        "slots": {library: sorted(names) for library, names in found.items()},
        "calls": recorder.calls,
        "failures": recorder.failures,
        "grown": grown,
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
