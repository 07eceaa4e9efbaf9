"""What can go wrong with the simulated broker: every effect, what it needs and what it takes.

The rows are those of docs/faults.md, which says what each of them means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Effect(StrEnum):
    """What goes wrong."""

    # what a call answers
    UNKNOWN = "unknown"
    EMPTY = "empty"
    HANG = "hang"
    DELAY = "delay"
    SLOW = "slow"
    RAISE = "raise"
    RETCODE = "retcode"
    PLACED = "placed"
    PARTIAL = "partial"
    WRONG_ACCOUNT = "wrong_account"
    # what happens at one moment
    DISCONNECT = "disconnect"
    CHANGE_TICKET = "change_ticket"
    VANISH = "vanish"
    CLOSE = "close"
    CHANGE_STOPS = "change_stops"
    # what lasts
    RESTART = "restart"
    SWITCH_ACCOUNT = "switch_account"
    NO_TRADING = "no_trading"
    COMMENT = "comment"
    LATE_DEALS = "late_deals"
    FREEZE = "freeze"
    WIDEN = "widen"
    ZERO = "zero"
    CROSSED = "crossed"
    REPEAT = "repeat"
    REORDER = "reorder"
    SKEW = "skew"


class Sort(StrEnum):
    """How an effect relates to time."""

    ANSWER = "answer"  # it spoils the answer of a call
    EVENT = "event"  # it happens at a call or at a time
    SPELL = "spell"  # it begins at a call or at a time, and lasts


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What an entry of an effect must have and may have beside its trigger.

    `calls`: the only calls it can spoil, all if empty; where it is one, the
    entry need not name it. `any_call`: without a call it is for every one.
    """

    sort: Sort
    needs: tuple[str, ...] = ()
    takes: tuple[str, ...] = ()
    calls: tuple[str, ...] = ()
    any_call: bool = False


WITH_EMPTY_ANSWERS: Final = (
    "positions_get",
    "orders_get",
    "history_deals_get",
    "history_orders_get",
    "copy_rates_from_pos",
    "copy_rates_from",
    "copy_rates_range",
    "copy_ticks_from",
    "copy_ticks_range",
    "symbols_get",
    "market_book_get",
)
_ORDERS: Final = ("order_send", "order_check")
_ONE: Final = ("ticket", "symbol")  # which position; the one with the lowest ticket without
OF_ANY_CALL: Final = ("seconds", "error", "when")

SHAPES: Final[Mapping[Effect, Shape]] = {
    Effect.UNKNOWN: Shape(sort=Sort.ANSWER, takes=OF_ANY_CALL),
    Effect.EMPTY: Shape(sort=Sort.ANSWER, takes=OF_ANY_CALL, calls=WITH_EMPTY_ANSWERS),
    Effect.HANG: Shape(sort=Sort.ANSWER, takes=OF_ANY_CALL),
    Effect.DELAY: Shape(sort=Sort.ANSWER, needs=("seconds",), takes=OF_ANY_CALL),
    Effect.SLOW: Shape(sort=Sort.ANSWER, needs=("seconds",), any_call=True),
    Effect.RAISE: Shape(sort=Sort.ANSWER, takes=OF_ANY_CALL),
    Effect.RETCODE: Shape(sort=Sort.ANSWER, needs=("retcode",), takes=OF_ANY_CALL, calls=_ORDERS),
    Effect.PLACED: Shape(
        sort=Sort.ANSWER, needs=("seconds",), takes=("then",), calls=("order_send",)
    ),
    Effect.PARTIAL: Shape(sort=Sort.ANSWER, needs=("volume",), calls=("order_send",)),
    Effect.WRONG_ACCOUNT: Shape(
        sort=Sort.ANSWER, takes=("login", "server"), calls=("account_info",)
    ),
    Effect.DISCONNECT: Shape(sort=Sort.EVENT, takes=OF_ANY_CALL),
    Effect.CHANGE_TICKET: Shape(sort=Sort.EVENT, takes=("when", *_ONE)),
    Effect.VANISH: Shape(sort=Sort.EVENT, takes=("when", *_ONE)),
    Effect.CLOSE: Shape(sort=Sort.EVENT, takes=("when", "volume", *_ONE)),
    Effect.CHANGE_STOPS: Shape(sort=Sort.EVENT, takes=("when", "sl", "tp", *_ONE)),
    Effect.RESTART: Shape(sort=Sort.SPELL, needs=("seconds",), takes=("when",)),
    Effect.SWITCH_ACCOUNT: Shape(
        sort=Sort.SPELL, needs=("login", "server"), takes=("when", "seconds")
    ),
    Effect.NO_TRADING: Shape(sort=Sort.SPELL, needs=("who",), takes=("when", "seconds")),
    Effect.COMMENT: Shape(sort=Sort.SPELL, takes=("when", "seconds", "text", "length")),
    Effect.LATE_DEALS: Shape(sort=Sort.SPELL, needs=("lag",), takes=("when", "seconds")),
    Effect.FREEZE: Shape(sort=Sort.SPELL, takes=("when", "seconds", "symbol")),
    Effect.WIDEN: Shape(sort=Sort.SPELL, needs=("factor",), takes=("when", "seconds", "symbol")),
    Effect.ZERO: Shape(sort=Sort.SPELL, takes=("when", "seconds", "symbol")),
    Effect.CROSSED: Shape(sort=Sort.SPELL, takes=("when", "seconds", "symbol")),
    Effect.REPEAT: Shape(sort=Sort.SPELL, takes=("when", "seconds", "symbol")),
    Effect.REORDER: Shape(sort=Sort.SPELL, needs=("lag",), takes=("when", "seconds", "symbol")),
    Effect.SKEW: Shape(sort=Sort.SPELL, needs=("offset",), takes=("when", "seconds")),
}
