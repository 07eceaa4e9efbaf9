"""The broker's wall time is not UTC, and is set back in autumn: the guard does the same things."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from guard_kit import GuardKit

from actors.simulated import SimulatedRuntime
from defence.trade import TradeState
from supervisors import Trade
from terminals.sim.conditions import NEW_YORK_CLOSE, UTC, Conditions
from terminals.sim.generated import GeneratedMarket
from terminals.sim.terminal import SimulatedTerminal

CHANGE = 1_699_164_000.0  # 2023-11-05 06:00 UTC: New York sets its clocks back
STEADY = CHANGE + 30 * 86_400.0


def defended(folder: Path, zone: str, start: float) -> tuple[list[dict[str, Any]], list[Any]]:
    """Let a guard tighten a stop and close a position; return its orders and all deals."""
    folder.mkdir()
    kit = GuardKit(folder, SimulatedRuntime)
    runtime = SimulatedRuntime(0)
    kit.runtime = runtime
    terminal = SimulatedTerminal(
        market=GeneratedMarket(seed=1, start=start - 120.0),
        now=runtime.clock.wall,
        speed=0.0,
        step=0.001,
        hang=runtime.hang,
        conditions=Conditions(zone=zone),
    )

    def price(bid: float, minutes: float) -> None:
        terminal.advance(60.0)
        terminal.set_price("EURUSD", bid, round(bid + 0.0001, 5))
        runtime.run_for(minutes * 60.0)

    try:
        guard = kit.make(
            terminal=terminal, runtime=runtime, adoption="ignore", quote_stale_after=3600.0
        ).start()
        price(1.0999, 0.1)
        ticket = terminal.open_position("EURUSD", "BUY", 0.2, sl=1.09)
        guard.register(Trade(ticket=ticket))
        price(1.1001, 1.0)  # the clock is set back here
        price(1.0945, 5.0)
        assert guard.trade(ticket).state is TradeState.WARNING_L1
        price(1.0915, 5.0)
        left = terminal.positions_get()
        record = guard.trade(ticket)
        assert (record.state is TradeState.CLOSED) == (left == ())
        return terminal.orders_sent, list(terminal.history_deals_get(0, 2_000_000_000) or ())
    finally:
        kit.stop_all()


@pytest.mark.parametrize("start", [CHANGE, STEADY], ids=["set back", "steady"])
def test_orders_do_not_depend_on_the_brokers_clock(tmp_path: Path, start: float) -> None:
    here, here_deals = defended(tmp_path / "utc", UTC, start)
    there, there_deals = defended(tmp_path / "there", NEW_YORK_CLOSE, start)
    assert here
    plain = [{**one, "comment": ""} for one in here]
    assert [{**one, "comment": ""} for one in there] == plain
    assert [one.profit for one in there_deals] == [one.profit for one in here_deals]
    ahead = {theirs.time - ours.time for theirs, ours in zip(there_deals, here_deals, strict=True)}
    assert ahead == ({3 * 3600, 2 * 3600} if start == CHANGE else {2 * 3600})
