"""Every fact of the contract, on the simulated terminal."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from contract_rows import ROWS, run
from contract_sources import CODE, WHEEL
from rows_calling import UNCONNECTED

from terminals import GeneratedMarket, SimulatedTerminal
from terminals.functions import FUNCTIONS
from terminals.module import module_functions

START = 1_700_000_000.0
SOURCES = (WHEEL, "https://www.mql5.com/en/docs/", "https://www.mql5.com/en/book", "github.com/")

Functions = Mapping[str, Callable[..., Any]]


@pytest.fixture(scope="module")
def market() -> GeneratedMarket:
    """One market for all rows: making its past takes longer than a row."""
    return GeneratedMarket(7, START, ("EURUSD", "USDJPY"))


@pytest.fixture
def terminal(market: GeneratedMarket) -> SimulatedTerminal:
    """A terminal of its own for each row, at a time that stands still."""
    return SimulatedTerminal(market=market, now=lambda: START)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.fact)
def test_through_the_modules_functions(row: Any, terminal: SimulatedTerminal) -> None:
    run(row, module_functions(terminal))


@pytest.mark.parametrize(
    "row", [row for row in ROWS if not row.python and row.error], ids=lambda row: row.fact
)
def test_as_the_guard_calls_the_terminal(row: Any, terminal: SimulatedTerminal) -> None:
    run(row, {name: getattr(terminal, name) for name in FUNCTIONS})


def test_no_fact_is_without_a_source() -> None:
    without = [row.fact for row in ROWS if not row.source.startswith(SOURCES)]
    assert without == []


def test_no_fact_stands_twice() -> None:
    facts = [row.fact for row in ROWS]
    assert [fact for fact in facts if facts.count(fact) > 1] == []


def test_every_function_is_in_the_table() -> None:
    assert set(CODE) == set(FUNCTIONS)
    assert {*UNCONNECTED, "initialize"} == set(FUNCTIONS)
