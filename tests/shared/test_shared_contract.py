"""Every fact of the contract (tests/contract), over the process border as a program has it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from shared_kit import START

from terminals.module import module_functions
from terminals.shared.module import PackageTerminal
from terminals.shared.proof import new_token
from terminals.shared.server import BrokerServer
from terminals.shared.terminal import SharedTerminal
from terminals.sim.generated import GeneratedMarket

sys.path.append(str(Path(__file__).resolve().parents[1] / "contract"))

from contract_rows import ROWS, run


@pytest.fixture(scope="module")
def market() -> GeneratedMarket:
    """One market for all rows: making its past takes longer than a row."""
    return GeneratedMarket(7, START, ("EURUSD", "USDJPY"))


@pytest.fixture
def terminal(market: GeneratedMarket) -> Iterator[PackageTerminal]:
    """A broker of its own for each row, at a time that stands still, and a program at it."""
    simulated = SharedTerminal(market=market, now=lambda: START)
    server = BrokerServer(simulated, new_token())
    server.start()
    address = server.address
    made = PackageTerminal({"DTMS_BROKER": str(address), "DTMS_BROKER_TOKEN": address.token})
    yield made
    made.shutdown()
    server.close()
    simulated.close()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.fact)
def test_over_the_border(row: Any, terminal: PackageTerminal) -> None:
    run(row, module_functions(terminal))
