"""An order that was accepted and works on: it is told, and nothing is sent on top of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fake_terminal import Fails, FakeTerminal, position, row
from order_samples import QUOTE, facts, intent

from defence.broker import Direction, MarginMode, Snapshot
from defence.orders import Intent, IntentKind, Outcome, OutcomeKind
from defence.outcomes import HELD_UP
from terminals import RecordedMarket, Series, spec_for
from terminals import constants as mt5
from terminals.lease import Lease, Permit
from terminals.ordering import execute
from terminals.reading import SymbolCache, take_snapshot
from terminals.sim.conditions import Conditions
from terminals.sim.terminal import SimulatedTerminal
from terminals.structs import OrderSendResult, TradeOrder

DONE, PARTIAL = OutcomeKind.DONE, OutcomeKind.PARTIAL
NOT_SENT, UNKNOWN = OutcomeKind.NOT_SENT, OutcomeKind.UNKNOWN
CLOSE, PART, MOVE = IntentKind.CLOSE, IntentKind.CLOSE_PART, IntentKind.MOVE_STOP
NETTING, EXCHANGE, HEDGING = MarginMode.NETTING, MarginMode.EXCHANGE, MarginMode.HEDGING
HALF = OrderSendResult(retcode=10010, volume=0.5, price=1.1, order=501, deal=601)
RETURNING = {"filling_mode": 0, "execution_mode": 3}  # as an exchange has it


def run(terminal: Any, wanted: Intent, mode: MarginMode = HEDGING, **symbol: Any) -> Outcome:
    return execute(
        terminal,
        Permit(Lease("connector", 1)),
        wanted,
        facts=facts(**symbol),
        quote=QUOTE,
        margin_mode=mode,
        now=lambda: 1234.5,
    )


def working(ticket: int = 501, **changes: Any) -> TradeOrder:
    values = {"type": mt5.ORDER_TYPE_SELL, "symbol": "EURUSD", "position_id": 11}
    return TradeOrder(ticket=ticket, **{**values, **changes})


def answering(reply: OrderSendResult, *orders: TradeOrder) -> FakeTerminal:
    """Answer the order with `reply`; then these orders are at work."""
    terminal = FakeTerminal(position(11))

    def accept() -> OrderSendResult:
        terminal.orders = {order.ticket: order for order in orders}
        return reply

    terminal.on("order_send", accept)
    return terminal


def test_a_part_whose_rest_is_at_work_is_unknown() -> None:
    outcome = run(answering(HALF, working()), intent(CLOSE))
    assert (outcome.kind, outcome.volume, outcome.order) == (UNKNOWN, 0.5, 501)
    assert "closed 0.5 of 1 lots so far; order 501 is still at work" in outcome.detail
    assert run(answering(HALF, working(502)), intent(CLOSE)).kind is PARTIAL  # another order is
    assert run(answering(HALF), intent(CLOSE)).kind is PARTIAL
    assert run(answering(row(OrderSendResult, HALF, order=0)), intent(CLOSE)).kind is PARTIAL


def test_a_part_of_an_order_that_keeps_its_rest_is_unknown_though_nothing_is_listed_yet() -> None:
    for reply in (HALF, row(OrderSendResult, HALF, order=0)):
        outcome = run(answering(reply), intent(CLOSE), **RETURNING)
        assert outcome.kind is UNKNOWN
        assert "the rest stays at work" in outcome.detail
    whole = row(OrderSendResult, HALF, retcode=10009, volume=1.0)
    assert run(answering(whole), intent(CLOSE), **RETURNING).kind is DONE


def test_a_part_of_which_the_rest_cannot_be_read_is_unknown() -> None:
    terminal = answering(HALF)
    terminal.on("orders_get", Fails(-10001))
    outcome = run(terminal, intent(CLOSE))
    assert outcome.kind is UNKNOWN
    assert "cannot be read" in outcome.detail


@pytest.mark.parametrize("mode", [NETTING, EXCHANGE])
@pytest.mark.parametrize("kind", [CLOSE, PART])
@pytest.mark.parametrize("named", [11, 0, 99])
def test_nothing_is_closed_while_an_order_against_it_is_at_work(
    mode: MarginMode, kind: IntentKind, named: int
) -> None:
    terminal = FakeTerminal(position(11))
    terminal.orders = {501: working(position_id=named)}
    outcome = run(terminal, intent(kind), mode)
    assert outcome.kind is NOT_SENT
    # as `defence.outcomes` knows it: waiting for that order costs the step no try
    assert outcome.detail.startswith(f"{HELD_UP}: order 501 is still at work on EURUSD")
    assert not terminal.sent


@pytest.mark.parametrize(
    "order",
    [
        working(type=mt5.ORDER_TYPE_BUY),
        working(type=mt5.ORDER_TYPE_SELL_LIMIT),
        working(symbol="GBPUSD"),
    ],
)
def test_orders_that_cannot_reverse_it_do_not_hold_a_close_up(order: TradeOrder) -> None:
    terminal = FakeTerminal(position(11))
    terminal.orders = {501: order}
    assert run(terminal, intent(CLOSE), NETTING).kind is DONE


def test_a_sell_is_held_up_by_a_buy() -> None:
    terminal = FakeTerminal(position(11, type=1))
    terminal.orders = {501: working(type=mt5.ORDER_TYPE_BUY)}
    assert run(terminal, intent(CLOSE, direction=Direction.SELL), NETTING).kind is NOT_SENT


def test_stops_and_hedging_accounts_are_not_held_up() -> None:
    terminal = FakeTerminal(position(11))
    terminal.orders = {501: working()}
    assert run(terminal, intent(MOVE), NETTING).kind is DONE
    assert run(terminal, intent(CLOSE), HEDGING).kind is DONE


def test_orders_at_work_that_cannot_be_read_hold_a_close_up() -> None:
    terminal = FakeTerminal(position(11))
    terminal.on("orders_get", Fails(-10001))
    outcome = run(terminal, intent(CLOSE), NETTING)
    assert outcome.kind is NOT_SENT
    assert "the orders at work cannot be read" in outcome.detail


def test_no_answer_can_make_a_sent_order_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd:
        @property
        def retcode(self) -> int:
            raise OverflowError("no such number")

    terminal = FakeTerminal(position(11))
    terminal.on("order_send", Odd)
    outcome = run(terminal, intent(CLOSE))
    assert outcome.kind is UNKNOWN
    assert "OverflowError" in outcome.detail

    def breaks(*_: object) -> None:
        raise EOFError("the row is gone")

    monkeypatch.setattr("terminals.ordering.position_of", breaks)
    monkeypatch.setattr("terminals.ordering._position_look", lambda *_: lambda: None)
    outcome = run(FakeTerminal(position(11)), intent(MOVE))
    assert (outcome.kind, outcome.retcode) == (UNKNOWN, 10009)
    assert "EOFError" in outcome.detail


def test_numbers_that_are_none_beside_a_retcode_do_not_raise() -> None:
    huge: Any = {"volume": 10**400, "price": 10**400, "order": 10**400}
    outcome = run(answering(OrderSendResult(retcode=10009, **huge)), intent(CLOSE))
    assert (outcome.kind, outcome.volume, outcome.order) == (DONE, 1.0, None)


def test_on_an_exchange_a_second_close_does_not_reverse_the_position() -> None:
    clock = [0.0]
    series = Series(
        symbol="EURUSD",
        spec=replace(spec_for("EURUSD"), execution=3, filling_mode=0, depth=0.5),
        time_msc=1_699_833_600_000 + 10_000 * np.arange(10, dtype=np.int64),
        bid=np.full(10, 1.1),
        ask=np.full(10, 1.1),
    )
    terminal = SimulatedTerminal(
        market=RecordedMarket({"EURUSD": series}),
        now=lambda: clock[0],
        conditions=Conditions(depth=True),
    )
    terminal._broker.book.account.margin_mode = mt5.ACCOUNT_MARGIN_MODE_EXCHANGE
    assert terminal.initialize()

    def go() -> list[tuple[int, float]]:
        clock[0] += 10
        rows = terminal.positions_get()
        assert rows is not None
        return [(row.type, row.volume) for row in rows]

    def close() -> Outcome:
        look = take_snapshot(
            terminal,
            snapshot_id="s",
            expected_login=None,
            expected_server=None,
            now=lambda: clock[0],
            symbols=SymbolCache(),
        )
        assert isinstance(look, Snapshot)
        (held,) = look.open_positions()
        wanted = intent(
            CLOSE,
            ticket=held.ticket,
            identifier=held.identifier,
            volume=held.volume,
            volume_before=held.volume,
        )
        return execute(
            terminal,
            Permit(Lease("connector", 1)),
            wanted,
            facts=look.symbols["EURUSD"],
            quote=look.quotes["EURUSD"],
            margin_mode=look.account.margin_mode,
            now=lambda: clock[0],
        )

    buy = {"action": mt5.TRADE_ACTION_DEAL, "symbol": "EURUSD", "volume": 1.0, "type": 0}
    assert terminal.order_send({**buy, "type_filling": mt5.ORDER_FILLING_RETURN})
    while go() != [(0, 1.0)]:
        assert clock[0] < 90
    assert close().kind is UNKNOWN
    assert close().kind is NOT_SENT
    assert go() == []
    assert go() == []
