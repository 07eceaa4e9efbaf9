"""Deals and opening stops by position: three-valued, and framed by the account."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
from fake_terminal import LOGIN, SERVER, Fails, FakeTerminal, deal

from defence.broker import Direction, Empty, History, Known, Unknown
from terminals.reading import pending_orders, read_histories
from terminals.structs import TradeOrder


def read(terminal: FakeTerminal, *identifiers: int) -> Mapping[int, Any]:
    return read_histories(terminal, identifiers, expected_login=LOGIN, expected_server=SERVER)


def closed() -> FakeTerminal:
    """Position 11, opened by order 11 with a stop, closed by its stop loss."""
    terminal = FakeTerminal()
    terminal.deals = [
        deal(21),
        deal(22, order=12, type=1, entry=1, reason=4, profit=-50.0, commission=-3.0, fee=-0.5,
             swap=-1.0, price=1.095, comment="[sl 1.095]"),
    ]  # fmt: skip
    terminal.old_orders = [
        TradeOrder(ticket=12, position_id=11, sl=9.9),
        TradeOrder(ticket=11, position_id=11, sl=1.095),
    ]
    return terminal


def test_a_closed_position() -> None:
    history = read(closed(), 11)[11].value
    assert isinstance(history, History)
    opened, out = history.deals
    assert (opened.direction, opened.closes) == (Direction.BUY, False)
    assert (out.direction, out.closes, out.reason) == (Direction.SELL, True, 4)
    assert (out.profit, out.commission, out.fee, out.swap) == (-50.0, -3.0, -0.5, -1.0)
    assert out.time == 1_700_000_000.25
    assert history.opening_stop == 1.095


@pytest.mark.parametrize(
    ("kind", "direction"),
    [(0, Direction.BUY), (1, Direction.SELL), (2, None), (3, None), (6, None), (17, None)],
)
def test_every_kind_of_deal_is_mapped(kind: int, direction: Direction | None) -> None:
    terminal = FakeTerminal()
    terminal.deals = [deal(21, type=kind)]
    assert read(terminal, 11)[11].value.deals[0].direction is direction


@pytest.mark.parametrize("entry", [0, 1, 2, 3])
def test_every_kind_of_entry_is_kept(entry: int) -> None:
    terminal = FakeTerminal()
    terminal.deals = [deal(21, entry=entry)]
    assert read(terminal, 11)[11].value.deals[0].entry == entry


def test_the_opening_order_is_that_of_the_first_deal_in() -> None:
    terminal = closed()
    terminal.deals[0] = deal(21, order=15)
    terminal.old_orders.append(TradeOrder(ticket=15, position_id=11, sl=1.0901))
    assert read(terminal, 11)[11].value.opening_stop == 1.0901


def test_without_a_deal_in_the_opening_order_is_named_by_the_identifier() -> None:
    terminal = closed()
    del terminal.deals[0]
    assert read(terminal, 11)[11].value.opening_stop == 1.095


@pytest.mark.parametrize("orders", [[], [TradeOrder(ticket=11, position_id=11, sl=0.0)]])
def test_no_opening_stop(orders: list[TradeOrder]) -> None:
    terminal = closed()
    terminal.old_orders = orders
    assert read(terminal, 11)[11].value.opening_stop is None


def test_no_deals_is_empty_and_one_failure_is_only_its_own() -> None:
    terminal = closed()
    terminal.on("history_deals_get", Fails(-10001), nth=2)
    found = read(terminal, 99, 98, 11, 11)
    assert found[99] == Empty()
    assert isinstance(found[98], Unknown)
    assert isinstance(found[11], Known)
    assert terminal.calls["history_deals_get"] == 3  # asked for twice, read once


def test_nothing_asked_nothing_called() -> None:
    terminal = closed()
    assert read(terminal) == {}
    assert not terminal.calls


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("call", ["account_info", "terminal_info"])
def test_a_frame_that_fails_makes_all_unknown(call: str, nth: int) -> None:
    terminal = closed()
    terminal.on(call, Fails(-10004), nth)
    found = read(terminal, 11, 99)
    assert all(isinstance(each, Unknown) for each in found.values())
    assert set(found) == {11, 99}


def test_another_account_afterwards_makes_all_unknown() -> None:
    terminal = closed()

    def switch() -> tuple[()]:
        terminal.login = 7
        return ()

    terminal.on("history_deals_get", switch)
    found = read(terminal, 11)[11]
    assert isinstance(found, Unknown)
    assert "login after the read is 7" in found.reason


def test_deals_of_another_position_are_unknown_not_ours() -> None:
    terminal = closed()
    terminal.on("history_deals_get", (deal(21, position_id=5),))
    found = read(terminal, 11)[11]
    assert isinstance(found, Unknown)
    assert "belongs to 5" in found.reason


@pytest.mark.parametrize("answer", [Fails(-10002), EOFError("closed"), False])
@pytest.mark.parametrize("call", ["history_deals_get", "history_orders_get"])
def test_a_failing_read_is_unknown(call: str, answer: Any) -> None:
    terminal = closed()
    terminal.on(call, answer)
    assert isinstance(read(terminal, 11)[11], Unknown)


@pytest.mark.parametrize("field", ["profit", "volume", "price", "commission", "swap", "fee"])
def test_a_deal_with_nonsense_is_unknown(field: str) -> None:
    terminal = closed()
    terminal.deals[1] = deal(22, **{field: math.nan})
    found = read(terminal, 11)[11]
    assert isinstance(found, Unknown)
    assert f"deal 22: {field}" in found.reason


def test_pending_orders() -> None:
    terminal = FakeTerminal()
    assert pending_orders(terminal) == Empty()
    kinds = {31: 2, 32: 7, 33: 0, 34: 8}  # limit, stop limit; a market order; a close-by
    for ticket, kind in kinds.items():
        terminal.orders[ticket] = TradeOrder(
            ticket=ticket, type=kind, symbol="EURUSD", volume_current=0.5, price_open=1.05
        )
    found = pending_orders(terminal, expected_login=LOGIN, expected_server=SERVER)
    assert isinstance(found, Known)
    assert [(order.ticket, order.volume, order.price) for order in found.value] == [
        (31, 0.5, 1.05),
        (32, 0.5, 1.05),
    ]
    assert isinstance(pending_orders(terminal, expected_login=7), Unknown)
    assert isinstance(pending_orders(terminal, expected_server="X"), Unknown)
    terminal.on("account_info", Fails(-10004), nth=terminal.calls["account_info"] + 2)
    assert isinstance(pending_orders(terminal), Unknown)  # the account is lost after the read
    terminal.on("orders_get", Fails(-10001))
    assert isinstance(pending_orders(terminal), Unknown)
