"""Faults from a number: `seed:7`, or `seed:7:30` for 30 mishaps an hour of market time.

The same number gives the same schedule. Each sort of mishap is one entry that
repeats, with jitter, so that the schedule is short enough to be read and to be
put into a file. Nothing of it lasts longer than two minutes, and nothing needs
a person: what the guard must do by itself, it must do here.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from defence.errors import Invalid
from terminals import constants as mt5
from terminals.sim.faults import Fault, fault_from, load_faults, plain_fault

SEED: Final = "seed:"
RATE: Final = 12.0  # mishaps an hour
_FORM: Final = "write seed:NUMBER or seed:NUMBER:MISHAPS_AN_HOUR, as in seed:7:30"

Draw: TypeAlias = Callable[[random.Random], dict[str, Any]]

_READS: Final = (
    "positions_get",
    "account_info",
    "terminal_info",
    "symbol_info_tick",
    "symbol_info",
    "history_deals_get",
)
_REFUSALS: Final = (
    mt5.TRADE_RETCODE_REQUOTE,
    mt5.TRADE_RETCODE_REJECT,
    mt5.TRADE_RETCODE_TIMEOUT,
    mt5.TRADE_RETCODE_PRICE_CHANGED,
    mt5.TRADE_RETCODE_PRICE_OFF,
    mt5.TRADE_RETCODE_TOO_MANY_REQUESTS,
    mt5.TRADE_RETCODE_LOCKED,
    mt5.TRADE_RETCODE_FROZEN,
    mt5.TRADE_RETCODE_CONNECTION,
)


def _spell(effect: str, shortest: float, longest: float, **more: Any) -> Draw:
    return lambda dice: {
        "effect": effect,
        "seconds": round(dice.uniform(shortest, longest), 1),
        **more,
    }


_KINDS: Final[Sequence[Draw]] = (
    lambda dice: {"effect": "unknown", "call": dice.choice(_READS), "count": dice.randint(1, 3)},
    lambda dice: {"effect": "empty", "call": "positions_get"},
    lambda dice: {"effect": "raise", "call": dice.choice(_READS)},
    lambda dice: {"effect": "delay", "call": dice.choice(_READS), "seconds": dice.randint(1, 5)},
    lambda dice: {"effect": "slow", "seconds": 0.2, "count": dice.randint(5, 20)},
    lambda dice: {"effect": "wrong_account", "count": dice.randint(1, 4)},
    lambda dice: {"effect": "retcode", "call": "order_send", "retcode": dice.choice(_REFUSALS)},
    lambda dice: {"effect": "unknown", "call": "order_send", "when": "after"},
    lambda dice: {"effect": "unknown", "call": "order_send"},
    lambda dice: {
        "effect": "placed",
        "seconds": dice.randint(1, 20),
        "then": dice.choice(("filled", "rejected")),
    },
    lambda _: {"effect": "partial", "volume": 0.01},
    lambda dice: {"effect": "disconnect", "seconds": dice.randint(5, 60)},
    lambda _: {"effect": "change_ticket"},
    lambda _: {"effect": "close", "volume": 0.01},
    lambda _: {"effect": "change_stops", "sl": 0},
    _spell("restart", 5, 90),
    _spell("switch_account", 5, 60, login=999_999, server="Elsewhere"),
    _spell("no_trading", 10, 120, who="server"),
    _spell("no_trading", 10, 120, who="client"),
    _spell("comment", 30, 120, length=5),
    _spell("late_deals", 60, 120, lag=30),
    _spell("freeze", 10, 120),
    _spell("widen", 30, 120, factor=8),
    _spell("zero", 5, 60),
    _spell("crossed", 5, 60),
    _spell("repeat", 30, 120),
    _spell("reorder", 30, 120, lag=10),
    _spell("skew", 30, 120, offset=-3600),
    _spell("skew", 30, 120, offset=86_400),
)


def seeded_faults(seed: int, rate: float = RATE) -> list[Fault]:
    """Return the schedule of a seed: about `rate` mishaps an hour of market time."""
    dice = random.Random(f"faults {seed}")
    period = 3600.0 * len(_KINDS) / rate
    faults = []
    for place, draw in enumerate(_KINDS):
        every = max(1.0, round(period * dice.uniform(0.6, 1.4), 1))
        timing = {
            "at": round(dice.uniform(0.0, every), 1),
            "every": every,
            "jitter": round(every / 2.0, 1),
            "seed": seed * len(_KINDS) + place,
        }
        faults.append(fault_from({**draw(dice), **timing}))
    return faults


def chosen_faults(source: Path) -> list[Fault]:
    """Return the faults of a file, or those of `seed:...`. Raises Invalid for a bad one."""
    words = str(source)
    if not words.startswith(SEED):
        return load_faults(source)
    number, _, rate = words.removeprefix(SEED).partition(":")
    try:
        seed, often = int(number), float(rate) if rate else RATE
    except ValueError:
        seed, often = -1, RATE
    if seed < 0 or not (math.isfinite(often) and 0.0 < often <= 3600.0):
        raise Invalid(
            f"{words!r} names no seed, or more than 3600 mishaps an hour",
            field="sim_faults",
            value=words,
            remedy=_FORM,
        )
    return seeded_faults(seed, often)


def as_json(faults: Sequence[Fault]) -> str:
    """Return faults as the list that a file would hold."""
    return json.dumps([plain_fault(one) for one in faults])
