"""A guard on a typical broker: it starts while the market is closed, and goes on when it opens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from market_kit import SATURDAY, utc
from terminal_kit import Clock, order

from actors.clock import VirtualClock
from actors.simulated import SimulatedRuntime
from defence.errors import Invalid
from supervisors import Guard, Settings
from supervisors.terminal_choice import broker_plan, choose_terminal
from terminals import constants as mt5
from terminals.sim.conditions import BY_NAME, IDEAL, TYPICAL, conditions_named
from terminals.sim.generated import DEFAULT_SYMBOLS, GeneratedMarket
from terminals.sim.symbols import CATALOGUE
from terminals.sim.terminal import SimulatedTerminal
from terminals.worker.build import simulated

SUNDAY = utc("2023-11-19 21:58")  # 7 minutes before currencies open


Made = tuple[Guard, SimulatedRuntime]


@pytest.fixture
def made(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Made]:
    """A guard on the terminal that the settings choose, at a time of our own."""
    runtime = SimulatedRuntime(1, VirtualClock(request.param / 1000))
    settings = Settings(
        data_dir=tmp_path / "data", state_dir=tmp_path / "state", sim_conditions="typical"
    )
    guard = Guard(settings, runtime=runtime)
    yield guard, runtime
    guard.stop()


@pytest.mark.parametrize("made", [SATURDAY, SUNDAY], indirect=True)
def test_a_guard_becomes_ready_while_the_market_is_closed(made: Made) -> None:
    guard, runtime = made
    guard.start()
    status = guard.status()
    assert status["ready"]
    assert status["active_trades"] == 5
    runtime.wait_until(lambda: False, 300.0)
    cycle = guard.status()["cycle"]
    assert cycle["skipped"] == {"the price is stale": 5}  # the reason that DESIGN promises
    if runtime.clock.wall() * 1000 < SUNDAY:
        return
    # Currencies open at 22:05, gold at 23:00.
    gold = {"the price is stale": 1}
    assert runtime.wait_until(lambda: guard.status()["cycle"]["skipped"] == gold, 600.0)
    assert utc("2023-11-19 22:05") <= runtime.clock.wall() * 1000 <= utc("2023-11-19 22:07")
    assert guard.status()["ready"]


def test_a_closed_market_refuses_and_an_open_one_deals() -> None:
    clock = Clock(SATURDAY / 1000)
    market = GeneratedMarket.under(TYPICAL, start=clock.at)
    terminal = SimulatedTerminal(market=market, now=clock, conditions=TYPICAL, demo=True)
    assert terminal.initialize()
    assert len(terminal.positions_get() or ()) == 5
    refused = terminal.order_send(order())
    assert refused is not None
    assert refused.retcode == mt5.TRADE_RETCODE_MARKET_CLOSED
    crypto = order(symbol="BTCUSD", type_filling=mt5.ORDER_FILLING_IOC)
    done = terminal.order_send(crypto)
    assert done is not None
    assert done.retcode == mt5.TRADE_RETCODE_DONE
    tick = terminal.symbol_info_tick("EURUSD")
    assert tick is not None
    assert tick.time == utc("2023-11-17 23:59:59") // 1000  # Friday midnight of the wall
    before = {one.ticket: one.price_current for one in terminal.positions_get() or ()}
    clock.at = utc("2023-11-20 00:10") / 1000
    opened = terminal.order_send(order())
    assert opened is not None
    assert opened.retcode in {mt5.TRADE_RETCODE_DONE, mt5.TRADE_RETCODE_DONE_PARTIAL}
    after = {one.ticket: one.price_current for one in terminal.positions_get() or ()}
    assert all(after[ticket] != price for ticket, price in before.items() if ticket in after)


def test_both_ways_to_a_terminal_take_the_terms(tmp_path: Path) -> None:
    for name, symbols in (("ideal", DEFAULT_SYMBOLS), ("typical", tuple(CATALOGUE))):
        given: dict[str, Any] = {"data_dir": tmp_path, "sim_conditions": name, "seed": -4}
        settings = Settings(**given)
        here = choose_terminal(settings, SimulatedRuntime(1))
        there = simulated(
            SimulatedTerminal, broker_plan(settings, SATURDAY / 1000, demo=True).options
        )
        wanted = conditions_named(name, seed=-4)
        for terminal in (here, there):
            assert isinstance(terminal, SimulatedTerminal)
            assert terminal.conditions == wanted
            assert tuple(terminal.market.specs) == symbols
            terminal.close()
        assert there.market.is_open("EURUSD", SATURDAY) is (name == "ideal")


def test_terms_by_name() -> None:
    assert {"ideal": IDEAL, "typical": TYPICAL} == BY_NAME
    assert conditions_named("typical", seed=7).seed == 7
    assert conditions_named("ideal", seed=-1).seed >= 0
    with pytest.raises(Invalid) as caught:
        conditions_named("wild")
    assert caught.value.field == "sim_conditions"
    with pytest.raises(Invalid, match="sim_conditions"):
        Settings(sim_conditions="wild")
