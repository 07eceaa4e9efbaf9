"""A terminal whose call hangs is released by killing the call, if the terminal can do that."""

from __future__ import annotations

import threading
from typing import Any

from guard_kit import GuardKit, kinds

from actors.events import Kind
from actors.threads import ThreadRuntime
from supervisors import Trade
from terminals.sim.generated import GeneratedMarket
from terminals.sim.terminal import SimulatedTerminal


class HangingTerminal(SimulatedTerminal):
    """Hangs in the calls named in `hangs`, until `abort`, as a worker process that is stuck."""

    def __init__(self, runtime: ThreadRuntime) -> None:
        super().__init__(
            market=GeneratedMarket(seed=1, start=1_700_000_000.0),
            now=runtime.clock.wall,
            speed=0.0,
            step=0.001,
            demo=False,
        )
        self.hangs: set[str] = set()
        self.aborted = threading.Event()
        self.aborts = 0

    def positions_get(self, *args: Any, **kwargs: Any) -> Any:
        """Hang once, if told so; then fail, as a call whose worker was killed."""
        if "positions_get" in self.hangs:
            self.hangs.clear()
            assert self.aborted.wait(20.0)
            return None
        return super().positions_get(*args, **kwargs)


class AbortableTerminal(HangingTerminal):
    """It can be told to end what is under way."""

    def abort(self) -> None:
        """End the call that hangs."""
        self.aborts += 1
        self.aborted.set()


def hung(kit: GuardKit, terminal: HangingTerminal, runtime: ThreadRuntime) -> Any:
    """Return a guard whose connector hung and was replaced."""
    guard = kit.start(runtime=runtime, terminal=terminal, hang_after=0.3, startup_timeout=30.0)
    ticket = terminal.open_position("EURUSD", "BUY", 0.1, sl=1.0)
    guard.register(Trade(ticket=ticket))
    terminal.hangs.add("positions_get")
    kit.until(lambda: bool(kinds(guard, Kind.FENCED, child="connector")))
    kit.until(lambda: len(kinds(guard, Kind.READY, child="connector")) == 2)
    return guard


def test_a_hung_call_is_ended_and_no_thread_stays_behind(kit: GuardKit) -> None:
    runtime = ThreadRuntime()
    terminal = AbortableTerminal(runtime)
    guard = hung(kit, terminal, runtime)
    assert terminal.aborts == 1
    kit.until(lambda: guard.status()["leaked_threads"] == 0)
    kit.until(lambda: guard.health().ready)
    assert guard.trades()


def test_without_a_way_to_end_it_the_thread_is_counted(kit: GuardKit) -> None:
    runtime = ThreadRuntime()
    terminal = HangingTerminal(runtime)
    guard = hung(kit, terminal, runtime)
    kit.until(lambda: guard.status()["leaked_threads"] == 1)
    kit.until(lambda: guard.health().ready)
    terminal.aborted.set()
    kit.until(lambda: guard.status()["leaked_threads"] == 0)
    assert [event.facts["ended"] for event in kinds(guard, Kind.LEAKED)] == [False, True]
