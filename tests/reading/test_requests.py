"""From intent to request: plain types, whole steps, and never more than was decided."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from order_samples import QUOTE, facts, intent

from defence.broker import Direction, MarginMode, Quote
from defence.errors import Invalid
from defence.orders import IntentKind
from terminals import constants
from terminals.requests import comment_for, filling_modes, request_for

HEDGING = MarginMode.HEDGING
FOK, IOC, RETURN = 0, 1, 2


def test_a_stop_change_sets_both_stop_and_target() -> None:
    assert request_for(intent(IntentKind.MOVE_STOP), facts(), QUOTE, HEDGING) == {
        "action": constants.TRADE_ACTION_SLTP,
        "position": 11,
        "symbol": "EURUSD",
        "sl": 1.0980,
        "tp": 1.1200,
    }


def test_a_stop_change_without_target_says_so_with_zero() -> None:
    bare = intent(IntentKind.MOVE_STOP, take_profit=None)
    assert request_for(bare, facts(), QUOTE, HEDGING)["tp"] == 0.0


@pytest.mark.parametrize("mode", list(MarginMode))
@pytest.mark.parametrize(
    ("direction", "kind", "price"),
    [
        (Direction.BUY, constants.ORDER_TYPE_SELL, 1.1010),
        (Direction.SELL, constants.ORDER_TYPE_BUY, 1.1012),
    ],
)
def test_a_close_is_an_opposite_deal_that_names_its_position(
    mode: MarginMode, direction: Direction, kind: int, price: float
) -> None:
    part = intent(IntentKind.CLOSE_PART, direction=direction)
    assert request_for(part, facts(), QUOTE, mode, deviation=30) == {
        "action": constants.TRADE_ACTION_DEAL,
        "position": 11,
        "symbol": "EURUSD",
        "volume": 0.5,
        "type": kind,
        "price": price,
        "deviation": 30,
        "magic": 7,
        "comment": "dtms intent-0001",
        "type_time": constants.ORDER_TIME_GTC,
        "type_filling": FOK,
    }


def test_deleting_an_order_names_only_the_order() -> None:
    request = request_for(intent(IntentKind.DELETE_ORDER, ticket=31), facts(), QUOTE, HEDGING)
    assert request == {"action": constants.TRADE_ACTION_REMOVE, "order": 31}


@pytest.mark.parametrize(
    ("mask", "execution", "modes"),
    [
        (0, 2, (FOK, IOC, RETURN)),  # a mask that allows nothing: try what there is
        (1, 2, (FOK, IOC, RETURN)),
        (2, 2, (IOC, FOK, RETURN)),  # the mask's 2 is IOC, not the enum's RETURN
        (3, 2, (FOK, IOC, RETURN)),
        (0, 3, (RETURN, FOK, IOC)),
        (1, 1, (FOK, RETURN, IOC)),
        (2, 0, (IOC, RETURN, FOK)),
        (7, 2, (FOK, IOC, RETURN)),  # bits that we do not know
    ],
)
def test_filling_mask_becomes_an_enum(mask: int, execution: int, modes: tuple[int, ...]) -> None:
    of_symbol = facts(filling_mode=mask, execution_mode=execution)
    assert filling_modes(of_symbol) == modes
    part = intent(IntentKind.CLOSE_PART)
    assert request_for(part, of_symbol, QUOTE, HEDGING)["type_filling"] == modes[0]
    again = request_for(part, of_symbol, QUOTE, HEDGING, filling=modes[1])
    assert again["type_filling"] == modes[1]


REFUSED: list[tuple[str, IntentKind, dict[str, Any], dict[str, Any], str]] = [
    ("no stop", IntentKind.MOVE_STOP, {"stop_loss": None}, {}, "stop_loss"),
    ("stop 0", IntentKind.MOVE_STOP, {"stop_loss": 0.0}, {}, "stop_loss"),
    ("stop NaN", IntentKind.MOVE_STOP, {"stop_loss": math.nan}, {}, "stop_loss"),
    ("stop rounds to 0", IntentKind.MOVE_STOP, {"stop_loss": 0.2}, {"tick_size": 1.0}, "stop_loss"),
    ("target 0", IntentKind.MOVE_STOP, {"take_profit": 0.0}, {}, "take_profit"),
    ("target infinite", IntentKind.MOVE_STOP, {"take_profit": math.inf}, {}, "take_profit"),
    ("volume 0", IntentKind.CLOSE, {"volume": 0.0}, {}, "volume"),
    ("volume NaN", IntentKind.CLOSE, {"volume": math.nan}, {}, "volume"),
    ("under the minimum", IntentKind.CLOSE_PART, {"volume": 0.05}, {"volume_min": 0.1}, "volume"),
    ("floor is under", IntentKind.CLOSE_PART, {"volume": 0.19}, {"volume_step": 0.2}, "volume"),
    ("more than it has", IntentKind.CLOSE, {"volume": 1.5}, {}, "volume"),
    ("one step more", IntentKind.CLOSE, {"volume": 1.01}, {}, "volume"),
    ("other symbol", IntentKind.CLOSE, {"symbol": "USDJPY"}, {}, "facts"),
]


@pytest.mark.parametrize(
    ("kind", "changes", "of_symbol", "field"),
    [case[1:] for case in REFUSED],
    ids=[case[0] for case in REFUSED],
)
def test_what_no_request_can_do_is_refused(
    kind: IntentKind, changes: dict[str, Any], of_symbol: dict[str, Any], field: str
) -> None:
    with pytest.raises(Invalid) as caught:
        request_for(intent(kind, **changes), facts(**of_symbol), QUOTE, HEDGING)
    assert caught.value.field == field
    assert caught.value.remedy


def test_a_quote_of_another_symbol_is_refused() -> None:
    other = Quote(symbol="USDJPY", bid=150.0, ask=150.1, time=1.0)
    with pytest.raises(Invalid, match="quote"):
        request_for(intent(IntentKind.CLOSE), facts(), other, HEDGING)


@pytest.mark.parametrize("mode", [MarginMode.NETTING, MarginMode.EXCHANGE])
def test_on_netting_accounts_too_much_would_reverse(mode: MarginMode) -> None:
    with pytest.raises(Invalid, match="open the opposite position"):
        request_for(intent(IntentKind.CLOSE, volume=2.0), facts(), QUOTE, mode)


def test_volume_is_capped_at_the_symbols_maximum() -> None:
    request = request_for(intent(IntentKind.CLOSE), facts(volume_max=0.3), QUOTE, HEDGING)
    assert request["volume"] == 0.3


@pytest.mark.parametrize(
    ("wanted", "step", "volume"),
    [
        (0.3, 0.1, 0.3),  # 0.3 / 0.1 is 2.9999999999999996
        (0.7 - 0.4, 0.1, 0.3),  # 0.29999999999999993
        (0.1 + 0.2, 0.1, 0.3),
        (0.29, 0.1, 0.2),
        (0.999, 0.01, 0.99),
        (1.0, 1.0, 1.0),
        (1 / 3, 0.001, 0.333),
    ],
)
def test_volume_is_rounded_down_to_the_step(wanted: float, step: float, volume: float) -> None:
    part = intent(IntentKind.CLOSE_PART, volume=wanted, volume_before=1.0)
    request = request_for(part, facts(volume_step=step, volume_min=step), QUOTE, HEDGING)
    assert request["volume"] == volume


def test_comments_are_short_and_plain() -> None:
    assert comment_for("0123456789" * 4) == "dtms 01234567890123456789"
    assert comment_for("ä\n€x") == "dtms x"


steps = st.sampled_from([0.001, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0])
ticks = st.sampled_from([(0.00001, 5), (0.001, 3), (0.01, 2), (0.25, 2), (0.5, 1), (1.0, 0)])
kinds = st.sampled_from([IntentKind.MOVE_STOP, IntentKind.CLOSE_PART, IntentKind.CLOSE])


@settings(deadline=None)
@given(
    kind=kinds,
    direction=st.sampled_from(Direction),
    mode=st.sampled_from(MarginMode),
    before=st.floats(0.001, 500.0),
    share=st.floats(0.0, 1.0),
    step=steps,
    least=st.integers(1, 20),
    most=st.integers(20, 1000),
    tick=ticks,
    stop=st.floats(0.5, 200_000.0),
    target=st.none() | st.floats(0.5, 200_000.0),
    bid=st.floats(0.5, 200_000.0),
    mask=st.integers(0, 7),
    execution=st.integers(0, 3),
    name=st.text(st.characters(codec="utf-8"), max_size=60),
)
def test_every_request_is_one_that_the_terminal_takes(
    kind: IntentKind,
    direction: Direction,
    mode: MarginMode,
    before: float,
    share: float,
    step: float,
    least: int,
    most: int,
    tick: tuple[float, int],
    stop: float,
    target: float | None,
    bid: float,
    mask: int,
    execution: int,
    name: str,
) -> None:
    of_symbol = facts(
        volume_step=step,
        volume_min=float(Decimal(str(step)) * least),
        volume_max=float(Decimal(str(step)) * most),
        tick_size=tick[0],
        digits=tick[1],
        filling_mode=mask,
        execution_mode=execution,
    )
    wanted = intent(
        kind,
        id=name,
        direction=direction,
        volume=before if kind is IntentKind.CLOSE else before * share,
        volume_before=before,
        stop_loss=stop,
        take_profit=target,
    )
    quote = Quote(symbol="EURUSD", bid=bid, ask=bid + tick[0], time=1.0)
    try:
        request = request_for(wanted, of_symbol, quote, mode)
    except Invalid:
        # Only for want of volume, or of a price that is above zero on this grid.
        if kind is IntentKind.MOVE_STOP:
            assert min(stop, stop if target is None else target) <= tick[0]
        else:
            assert wanted.volume < of_symbol.volume_min + 1e-9
        return
    assert all(type(value) in (int, float, str) for value in request.values())
    assert all(type(key) is str for key in request)
    assert request["position"] == wanted.ticket

    def on_grid(price: Any) -> bool:
        return Decimal(repr(price)) % Decimal(repr(tick[0])) == 0

    if kind is IntentKind.MOVE_STOP:
        assert on_grid(request["sl"])
        assert abs(float(request["sl"]) - stop) <= tick[0] * 0.5000001
        assert request["sl"] != 0
        assert on_grid(request["tp"])
        assert (request["tp"] == 0) == (target is None)
        return
    volume = request["volume"]
    assert isinstance(volume, float)
    assert Decimal(repr(volume)) % Decimal(repr(step)) == 0
    assert of_symbol.volume_min <= volume <= of_symbol.volume_max
    assert volume <= wanted.volume + 1e-9
    assert volume > min(wanted.volume, of_symbol.volume_max) - step - 1e-9  # no more than needed
    assert on_grid(request["price"])
    assert request["type_filling"] in (FOK, IOC, RETURN)
    comment = request["comment"]
    assert isinstance(comment, str)
    assert len(comment) <= constants.COMMENT_MAX
    assert len(comment.encode()) == len(comment)


@settings(deadline=None)
@given(mask=st.integers(0, 255), execution=st.integers(0, 3))
def test_filling_modes_are_each_once_and_the_allowed_first(mask: int, execution: int) -> None:
    assume(mask & 3)
    modes = filling_modes(facts(filling_mode=mask, execution_mode=execution))
    assert sorted(modes) == [FOK, IOC, RETURN]
    assert mask & {FOK: 1, IOC: 2}[modes[0]]
