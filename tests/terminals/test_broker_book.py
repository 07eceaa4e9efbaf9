"""The broker's book finds things by symbol, by order and by position, however it was filled."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from terminals.sim.book import Book, SimAccount
from terminals.sim.held import Held, Index
from terminals.structs import TradeDeal, TradeOrder


class Row(NamedTuple):
    symbol: str
    number: int


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["set", "del", "pop", "popitem", "setdefault", "update", "clear"]),
        st.integers(1, 6),
        st.sampled_from(["A", "B", "C"]),
        st.integers(0, 3),
    ),
    max_size=40,
)


def step(rows: dict[int, Row], what: str, ticket: int, row: Row) -> Any:
    """Do the same to any dict."""
    if what == "set":
        rows[ticket] = row
    elif what == "del" and ticket in rows:
        del rows[ticket]
    elif what == "pop":
        return rows.pop(ticket, None)
    elif what == "popitem" and rows:
        return rows.popitem()
    elif what == "setdefault":
        return rows.setdefault(ticket, row)
    elif what == "update":
        rows.update({ticket: row, ticket + 1: row})
    elif what == "clear":
        rows.clear()
    return None


@given(steps=STEPS)
def test_what_is_held_is_a_dict_that_knows_its_symbols(
    steps: list[tuple[str, int, str, int]],
) -> None:
    held: Held[Row] = Held()
    plain: dict[int, Row] = {}
    for what, ticket, symbol, number in steps:
        before = {name: (dict(held.of(name)), held.version(name)) for name in "ABC"}
        row = Row(symbol, number)
        assert step(held, what, ticket, row) == step(plain, what, ticket, row)
        assert list(held.items()) == list(plain.items())
        assert set(held.symbols) == {one.symbol for one in plain.values()}
        for name in "ABC":
            now = {t: one for t, one in plain.items() if one.symbol == name}
            assert held.of(name) == now
            if now != before[name][0]:
                assert held.version(name) != before[name][1]


def test_taking_out_what_is_not_there() -> None:
    held = Held({1: Row("A", 1)})
    with pytest.raises(KeyError):
        held.pop(2)
    with pytest.raises(KeyError):
        del held[2]
    assert held.pop(2, None) is None


def test_a_change_inside_a_row_is_told() -> None:
    held = Held({1: Row("A", 1), 2: Row("B", 1)})
    before = held.version("A"), held.version("B")
    held.touch("A")
    assert (held.version("A") != before[0], held.version("B")) == (True, before[1])
    held.touch(None)
    assert held.version("B") != before[1]


@given(steps=st.lists(st.tuples(st.booleans(), st.integers(0, 4)), max_size=30))
def test_an_index_catches_up(steps: list[tuple[bool, int]]) -> None:
    rows: list[Row] = []
    index = Index(rows, lambda row: row.number)
    for taken, number in steps:
        if taken and rows:
            rows.pop()
            assert index.get(99) == ()  # looked at after every change but appending
        else:
            rows.append(Row("A", number))
        for wanted in range(5):
            assert index.get(wanted) == tuple(row for row in rows if row.number == wanted)


def test_another_past_is_found_too() -> None:
    book = Book(account=SimAccount())
    book.deals.append(TradeDeal(ticket=1, order=7, position_id=5))
    book.past_orders.append(TradeOrder(ticket=7, position_id=5))
    assert len(book.deals_of_order(7)) == len(book.deals_of_position(5)) == 1
    book.replace_history([TradeOrder(ticket=8, position_id=6)], [TradeDeal(order=8, position_id=6)])
    assert book.deals_of_order(7) == book.deals_of_position(5) == ()
    assert book.orders_of_position(5) == ()
    assert book.order_of(7) is None
    assert [one.order for one in book.deals_of_position(6)] == [8]
    assert book.order_of(8) is not None


def test_a_ticket_is_never_given_twice() -> None:
    book = Book(account=SimAccount())
    given_out = [book.ticket() for _ in range(3)]
    book.orders[given_out[-1] + 50] = TradeOrder(ticket=given_out[-1] + 50, symbol="A")
    book.renumber()
    assert book.ticket() == given_out[-1] + 51
