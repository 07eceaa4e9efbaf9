"""Numbers that no terminal has, as a bridge may carry them, are unreadable and raise nothing else.

JSON's whole numbers have no bounds. A float takes none beyond 1e308, and the
store none of more than 64 bits.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from fake_terminal import LOGIN, SERVER, FakeTerminal, deal, position, row

from defence.broker import Snapshot, Unknown
from terminals.reading import SymbolCache, read_histories, take_snapshot
from terminals.rows import Unreadable, deal_from, position_from, quote_from, real, whole
from terminals.structs import AccountInfo, TradeDeal, TradePosition

HUGE = 10**400
ENDLESS = 10**5000  # has more digits than Python prints


@pytest.mark.parametrize("value", [HUGE, -HUGE, ENDLESS], ids=["huge", "low", "endless"])
@pytest.mark.parametrize("read", [real, whole])
def test_a_number_beyond_all_is_unreadable(
    read: Callable[[object, str, str], object], value: int
) -> None:
    with pytest.raises(Unreadable, match="thing: number "):
        read(SimpleNamespace(number=value), "number", "thing")


@pytest.mark.parametrize(("value", "fits"), [(2**64 - 1, True), (2**64, False)])
def test_whole_numbers_have_64_bits(value: int, fits: bool) -> None:
    for number, right in ((value, fits), (-(2**63), True), (-(2**63) - 1, False)):
        if right:
            assert whole(SimpleNamespace(n=number), "n", "thing") == number
        else:
            with pytest.raises(Unreadable, match="n has more than 64 bits"):
                whole(SimpleNamespace(n=number), "n", "thing")


@pytest.mark.parametrize("field", ["volume", "sl", "profit", "magic", "identifier", "time"])
def test_a_position(field: str) -> None:
    changes: dict[str, Any] = {field: HUGE}
    with pytest.raises(Unreadable, match=field):
        position_from(row(TradePosition, position(11), **changes))


@pytest.mark.parametrize("field", ["price", "order", "time_msc"])
def test_a_deal(field: str) -> None:
    changes: dict[str, Any] = {field: HUGE}
    with pytest.raises(Unreadable, match=field):
        deal_from(row(TradeDeal, deal(21), **changes))


@pytest.mark.parametrize("field", ["bid", "ask", "time_msc"])
def test_a_tick(field: str) -> None:
    values = {"bid": 1.1, "ask": 1.2, "time": 1, "time_msc": 1000, field: HUGE}
    assert quote_from("EURUSD", SimpleNamespace(**values)) is None


def look(terminal: FakeTerminal) -> Snapshot | Unknown:
    return take_snapshot(
        terminal,
        snapshot_id="s",
        expected_login=LOGIN,
        expected_server=SERVER,
        now=lambda: 0.0,
        symbols=SymbolCache(),
    )


def test_whole_reads_are_unknown() -> None:
    terminal = FakeTerminal(position(11))
    rich: Any = row(AccountInfo, terminal.account_info(), balance=HUGE)
    terminal.on("account_info", lambda: rich)
    assert isinstance(look(terminal), Unknown)
    terminal = FakeTerminal(position(11, magic=HUGE))
    assert isinstance(look(terminal), Unknown)
    terminal = FakeTerminal()
    terminal.deals = [deal(21, time_msc=HUGE)]
    read = read_histories(terminal, [11], expected_login=LOGIN, expected_server=SERVER)
    assert isinstance(read[11], Unknown)
