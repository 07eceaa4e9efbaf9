"""What is left of an order that waited, read from a terminal."""

from __future__ import annotations

from typing import Any

import pytest
from defence_samples import deal

from defence.broker import Empty, History, Known, OrderFate, Unknown
from terminals.constants import (
    ORDER_STATE_CANCELED,
    ORDER_STATE_EXPIRED,
    ORDER_STATE_FILLED,
    ORDER_STATE_REJECTED,
)
from terminals.order_fates import Expected, with_order_fates
from terminals.sim.faults import fault_from
from terminals.sim.generated import GeneratedMarket
from terminals.sim.terminal import SimulatedTerminal
from terminals.structs import TradeOrder


def terminal() -> SimulatedTerminal:
    made = SimulatedTerminal(
        market=GeneratedMarket(seed=1, start=1_700_000_000.0), now=lambda: 0.0, speed=0.0
    )
    assert made.initialize()
    return made


def here(made: SimulatedTerminal) -> Expected:
    info = made.account_info()
    assert info is not None
    return Expected(info.login, info.server)


def put(made: SimulatedTerminal, state: int | None, ticket: int = 7) -> None:
    """Put an order into the book (None), or into history with a state."""
    book = made._broker.book
    order = TradeOrder(ticket=ticket, symbol="EURUSD", type=2, state=1 if state is None else state)
    if state is None:
        book.orders[ticket] = order
    else:
        book.past_orders.append(order)


@pytest.mark.parametrize(
    ("state", "fate"),
    [
        (None, OrderFate.WAITING),
        (ORDER_STATE_CANCELED, OrderFate.DELETED),
        (ORDER_STATE_EXPIRED, OrderFate.ENDED),
        (ORDER_STATE_REJECTED, OrderFate.ENDED),
    ],
)
def test_an_order_without_deals_has_its_fate(state: int | None, fate: OrderFate) -> None:
    made = terminal()
    put(made, state)
    put(made, ORDER_STATE_CANCELED, ticket=8)
    found = with_order_fates(made, {7: Empty()}, here(made))
    assert found == {7: Known(History(identifier=7, deals=(), order=fate))}


def test_what_has_deals_or_is_unknown_stays_as_it_is() -> None:
    made = terminal()
    reads: dict[int, Any] = {7: Known(History(identifier=7, deals=())), 8: Unknown("busy")}
    before = dict(made.calls)
    assert with_order_fates(made, reads, here(made)) == reads
    after = {name: count for name, count in made.calls.items() if name != "account_info"}
    assert after == {name: count for name, count in before.items() if name != "account_info"}


@pytest.mark.parametrize("state", [ORDER_STATE_FILLED, "nothing at all"])
def test_no_fate_stays_empty(state: object) -> None:
    made = terminal()
    if isinstance(state, int):
        put(made, state)
    assert with_order_fates(made, {7: Empty()}, here(made)) == {7: Empty()}


@pytest.mark.parametrize(
    "fault",
    [
        {"call": "orders_get", "effect": "unknown"},
        {"call": "history_orders_get", "effect": "unknown"},
        {"call": "account_info", "effect": "unknown"},
        {"call": "account_info", "effect": "unknown", "after": 1},
    ],
)
def test_what_cannot_be_read_proves_nothing(fault: dict[str, object]) -> None:
    made = terminal()
    put(made, ORDER_STATE_CANCELED)
    expected = here(made)
    made.add_fault(fault_from(fault))
    assert with_order_fates(made, {7: Empty()}, expected) == {7: Empty()}


@pytest.mark.parametrize("call", ["orders_get", "account_info"])
def test_deals_without_the_orders_at_work_settle_no_doubt(call: str) -> None:
    made = terminal()
    expected = here(made)
    reads: dict[int, Any] = {
        7: Known(History(identifier=7, deals=(deal(),))),
        8: Known(History(identifier=8, deals=())),
        9: Empty(),
    }
    assert with_order_fates(made, reads, expected) == reads
    made.add_fault(fault_from({"call": call, "effect": "unknown"}))
    found = with_order_fates(made, reads, expected)
    unread = History(identifier=7, deals=(deal(),), order=OrderFate.UNREAD)
    assert found == {**reads, 7: Known(unread)}  # the deals are as true as they were
    assert unread.at_work
    assert with_order_fates(made, reads, expected) == reads


def test_another_account_proves_nothing() -> None:
    made = terminal()
    put(made, ORDER_STATE_CANCELED)
    assert with_order_fates(made, {7: Empty()}, Expected(1, "Elsewhere")) == {7: Empty()}
