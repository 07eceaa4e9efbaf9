"""The last look at a position before it is closed, and what of a close may still be filled."""

from __future__ import annotations

from typing import Any

import pytest
from fake_terminal import FakeTerminal, position
from order_samples import QUOTE, facts, intent

from defence.broker import Deal, Direction, History, Known, OrderFate, Position
from defence.orders import IntentKind
from terminals import constants as mt5
from terminals.lastlook import objection
from terminals.order_fates import Expected, with_order_fates
from terminals.structs import TradeOrder

CLOSE, PART = IntentKind.CLOSE, IntentKind.CLOSE_PART
INEXACT = 0.1 + 0.2  # a little above 0.3, as sums of volumes are


def held(volume: float) -> Position:
    return Position(
        identifier=11,
        ticket=11,
        symbol="EURUSD",
        direction=Direction.BUY,
        volume=volume,
        price_open=1.1,
        stop_loss=1.095,
        take_profit=1.12,
        price_current=1.101,
        profit=0.0,
        swap=0.0,
        magic=7,
        comment="",
        time=0,
        time_update_msc=0,
    )


def against(kind: IntentKind, volume: float, wanted: float, before: float) -> str | None:
    decided = intent(kind, volume=wanted, volume_before=before)
    return objection(decided, {"volume": wanted}, held(volume), QUOTE, facts())


@pytest.mark.parametrize("kind", [CLOSE, PART])
def test_volumes_that_are_not_exact_are_the_same(kind: IntentKind) -> None:
    assert held(0.3).volume < INEXACT
    assert against(kind, 0.3, INEXACT, INEXACT) is None
    assert against(kind, INEXACT, 0.3, 0.3) is None


@pytest.mark.parametrize("kind", [CLOSE, PART])
def test_a_step_less_is_another_volume(kind: IntentKind) -> None:
    assert "has only 0.29" in (against(kind, 0.29, 0.3, 0.3) or "")


def test_a_part_of_what_somebody_has_reduced_meanwhile_is_not_closed() -> None:
    assert against(PART, 0.3, 0.1, INEXACT) is None
    assert "volume was reduced from 0.3 to 0.29" in (against(PART, 0.29, 0.1, 0.3) or "")
    assert against(CLOSE, 0.29, 0.1, 0.3) is None


OPENING = Deal(
    ticket=1,
    order=11,
    position_id=11,
    symbol="EURUSD",
    direction=Direction.BUY,
    entry=0,
    volume=1.0,
    price=1.1,
    profit=0.0,
    commission=0.0,
    swap=0.0,
    fee=0.0,
    reason=3,
    time=0.0,
    comment="",
)


@pytest.mark.parametrize(
    ("at_work", "fate"),
    [
        ({"position_id": 11}, OrderFate.WAITING),
        ({"position_id": 0}, OrderFate.WAITING),
        ({"position_id": 0, "type": mt5.ORDER_TYPE_BUY}, OrderFate.WAITING),
        ({"position_id": 0, "symbol": "GBPUSD"}, None),
        ({"position_id": 12}, None),
        ({"position_id": 0, "type": mt5.ORDER_TYPE_SELL_LIMIT}, None),
    ],
)
def test_an_order_at_work_that_names_no_position_yet_counts_for_its_symbol(
    at_work: dict[str, Any], fate: OrderFate | None
) -> None:
    terminal = FakeTerminal(position(11))
    fields = {"type": mt5.ORDER_TYPE_SELL, "symbol": "EURUSD", **at_work}
    terminal.orders = {501: TradeOrder(ticket=501, **fields)}
    account = terminal.account_info()
    assert account is not None
    read = Known(History(identifier=11, deals=(OPENING,)))
    found = with_order_fates(terminal, {11: read}, Expected(account.login, account.server))
    assert found == {11: Known(History(identifier=11, deals=(OPENING,), order=fate))}
