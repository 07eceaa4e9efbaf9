"""A guard for measuring: at a simulated broker whose answers cost what a terminal's do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from defence.trade import Trade
from supervisors import Guard, Settings
from terminals.constants import RES_S_OK
from terminals.sim.generated import GeneratedMarket
from terminals.sim.terminal import SimulatedTerminal
from terminals.structs import AccountInfo, TradePosition

SYMBOL: Final = "EURUSD"
START: Final = 1_700_000_000.0  # market time, seconds: a Tuesday


class QuickTerminal(SimulatedTerminal):
    """The simulated terminal, answering the reads of a registration from memory, as terminals do.

    The simulated one values positions anew, all of them, for each look at the
    account, and walks them for one ticket. What the simulation costs is not
    what the guard costs. The market stands still here, so what was answered
    once is kept until the book changes. All else is the simulated terminal's own.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._revision = -1
        self._shown: AccountInfo | None = None
        self._rows: dict[int, TradePosition] = {}

    def account_info(self) -> AccountInfo | None:
        """Return the account; its numbers are kept until the book changes."""
        with self._lock:
            if not self._kept() or self._shown is None:
                self._shown = super().account_info()
            return self._shown

    def positions_get(self, *unnamed: object, **filters: Any) -> tuple[TradePosition, ...] | None:
        """Return the open positions, all or one; what was answered is kept."""
        if unnamed or not filters.keys() <= {"ticket"}:
            return super().positions_get(*unnamed, **filters)
        with self._lock:
            if not self._kept() or not self._rows:
                everything = super().positions_get()
                if everything is None:
                    return None
                self._rows = {row.ticket: row for row in everything}
            if not filters:
                return tuple(self._rows.values())
            row = self._rows.get(filters["ticket"])
            return () if row is None else (row,)

    def _kept(self) -> bool:
        """Whether what was kept still holds; the call that it answers has succeeded."""
        revision = self._broker.book.revision
        if not self._initialized or self._revision != revision:
            self._revision, self._shown, self._rows = revision, None, {}
            return False
        self._error = (RES_S_OK, "Success")
        return True

    def open_many(self, count: int) -> list[int]:
        """Open positions; return their tickets."""
        return [self.open_position(SYMBOL, "BUY", 0.01, sl=1.0) for _ in range(count)]

    def close_many(self, tickets: list[int]) -> None:
        """Close positions."""
        for ticket in tickets:
            self.close_position(ticket)


def terminal(state: Path | None = None) -> QuickTerminal:
    """Return a terminal with money for any number of positions, whose market stands still.

    With `state` it has the account and the positions of that file.
    """
    made = QuickTerminal(
        market=GeneratedMarket(seed=1, start=START),
        now=lambda: START,
        # At speed 0 nothing but an unfiltered look moves the time, here by a millisecond.
        speed=0.0,
        step=0.001,
        demo=False,
        state=state,
    )
    if state is None:
        made.deposit(1e9)
    return made


def settings(folder: Path, **changes: Any) -> Settings:
    """Return settings under which nothing but what is measured happens."""
    return Settings(
        **{
            "data_dir": folder / "data",
            "state_dir": folder / "state",
            "adoption": "ignore",
            "interval": 3600.0,
            "stale_after": 86_400.0,
            "reconcile_every": 86_400.0,
            "rate_limit": 0.0,
            "port": 0,
            "quote_stale_after": 1e9,
            **changes,
        }
    )


@contextmanager
def guarding(folder: Path, at: QuickTerminal, **changes: Any) -> Iterator[Guard]:
    """Give a guard that is ready."""
    folder.mkdir(parents=True, exist_ok=True)
    with Guard(settings(folder, **changes), terminal=at) as guard:
        yield guard


class Registering:
    """The guard as a contender: positions are opened and closed outside of the timed part."""

    name = "DTMS"

    def __init__(self, guard: Guard, at: QuickTerminal) -> None:
        self._guard = guard
        self._at = at
        self._tickets: list[int] = []

    def prepare(self, count: int) -> None:
        """Open the positions of a round."""
        self._tickets = self._at.open_many(count)
        self._at.positions_get()  # the terminal has them in memory

    def store(self, nth: int) -> None:
        """Register one."""
        trade = Trade(ticket=self._tickets[nth], managed_by="bench", magic=0)
        if not self._guard.register(trade, timeout=60.0).created:
            raise AssertionError("a new position was registered already")

    def tidy(self) -> None:
        """Close them again."""
        self._at.close_many(self._tickets)
        self._tickets = []

    def close(self) -> None:
        """Do nothing: the guard has an owner."""
