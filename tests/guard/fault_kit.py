"""What the tests of faults share: docs/faults.md as data, and a guard on a market that moves."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from guard_kit import GuardKit

from actors.simulated import SimulatedRuntime
from actors.threads import ThreadRuntime
from supervisors import Guard, Trade
from terminals import RecordedMarket, Series, SimulatedTerminal, spec_for
from terminals.sim.faults import Fault, fault_from
from terminals.sim.market import Market

DOCS = Path(__file__).parents[2] / "docs" / "faults.md"
START = 1_700_000_000.0  # market time; a Tuesday, 22:13:20 UTC
ENTRY, STOP = 1.10000, 1.09000  # a risk of 100 pips
PIP = 0.0001
T = TypeVar("T", bound=Callable[..., Any])


def table(title: str) -> list[list[str]]:
    """Return the rows of the table under a heading of docs/faults.md."""
    text = DOCS.read_text(encoding="utf-8").split(f"## {title}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in text.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


MISHAPS: dict[str, Fault] = {
    name: fault_from(json.loads(entry.strip("`"))) for name, entry, _ in table("Mishaps")
}


def meets(*names: str) -> Callable[[T], T]:
    """Say which rows of the table of mishaps a test is about."""

    def note(test: T) -> T:
        assert set(names) <= MISHAPS.keys(), names
        test.meets = names  # type: ignore[attr-defined]  # read by the test of the table
        return test

    return note


def moving(path: Sequence[tuple[float, float]], hours: float = 3.0) -> RecordedMarket:
    """Return a market of EURUSD: a tick a second, its bid as of (second, bid) in the path."""
    seconds = np.arange(0.0, hours * 3600.0)
    bids = np.zeros(len(seconds))
    for at, bid in path:
        bids[seconds >= at] = bid
    series = Series(
        symbol="EURUSD",
        spec=spec_for("EURUSD"),
        time_msc=np.round((START + seconds) * 1000.0).astype(np.int64),
        bid=bids,
        ask=np.round(bids + PIP, 5),
    )
    return RecordedMarket({"EURUSD": series})


class Meeting:
    """A guard that guards one BUY of EURUSD at 1.1000 with its stop at 1.0900."""

    def __init__(self, kit: GuardKit, market: Market | None = None, **settings: Any) -> None:
        simulated = kit.make_runtime is SimulatedRuntime
        runtime = SimulatedRuntime(0) if simulated else ThreadRuntime()
        self.runtime = runtime
        self._began = runtime.clock.wall()
        self.terminal = SimulatedTerminal(
            market=market or moving([(0, ENTRY - PIP)]),
            now=runtime.clock.wall,
            hang=runtime.hang if isinstance(runtime, SimulatedRuntime) else None,
        )
        settings.setdefault("adoption", "ignore")
        self.guard: Guard = kit.start(runtime=runtime, terminal=self.terminal, **settings)
        self._open()
        if simulated:
            self.rest(31.0)

    def _open(self) -> None:
        self.ticket = self.terminal.open_position("EURUSD", "BUY", 0.2, sl=STOP)
        self.guard.register(Trade(ticket=self.ticket))
        self._before = len(self.terminal.orders_sent)

    def next_trade(self) -> None:
        """Close the present trade, if it is open, and guard another one."""
        self.terminal.clear_faults()
        self.price(ENTRY - PIP)
        if self.position is not None:
            self.terminal.close_position(self.position.ticket)
        self._open()
        self.rest(31.0)

    @property
    def second(self) -> float:
        """Market time now, in seconds since its start."""
        return self.runtime.clock.wall() - self._began

    def rest(self, seconds: float) -> None:
        """Let virtual time pass."""
        assert isinstance(self.runtime, SimulatedRuntime)
        self.runtime.run_for(seconds)

    def rest_until(self, second: float) -> None:
        """Let virtual time pass until that second of the market."""
        self.rest(second - self.second)

    def inject(self, name: str, *, second: float | None = None, **changes: Any) -> None:
        """Let a mishap of the table happen, at that second of the market."""
        if second is not None:
            changes["at"] = second - self.second
        row = next(entry for mishap, entry, _ in table("Mishaps") if mishap == name)
        self.terminal.add_fault(fault_from({**json.loads(row.strip("`")), **changes}))

    def price(self, bid: float) -> None:
        """Hold EURUSD there."""
        self.terminal.set_price("EURUSD", bid, round(bid + PIP, 5))

    @property
    def done(self) -> list[dict[str, Any]]:
        """The guard's orders for the present trade that took effect at the broker."""
        sent = self.terminal.orders_sent[self._before :]
        return [one for one in sent if one["retcode"] in (10009, 10010)]

    @property
    def sent(self) -> int:
        """How many orders left the guard."""
        return self.terminal.calls["order_send"]

    @property
    def position(self) -> Any:
        """The broker's position, whatever the terminal shows; None if it is gone."""
        return next(iter(self.terminal._broker.book.positions.values()), None)

    @property
    def record(self) -> Any:
        """What the guard knows of the trade."""
        return self.guard.trade(self.ticket)

    def skipped(self) -> dict[str, int]:
        """Return why the newest cycle evaluated no trade, or decided nothing."""
        return dict(self.guard.status()["cycle"]["skipped"])  # type: ignore[index]

    def alerts(self) -> list[str]:
        """Return the keys of the alerts that people were sent."""
        return [one.key for one in self.guard.alerts()]
