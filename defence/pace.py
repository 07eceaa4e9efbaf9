"""How soon the next monitoring cycle is due: faster in high volatility."""

from __future__ import annotations

import math
from collections.abc import Mapping

from defence.errors import Invalid

MOVE = 0.25  # R; a trade that moved more than this within a cycle is volatile
SPEED_UP = 3  # so many times faster
SHORTEST = 0.001  # seconds; played prices may run as fast as the cycles go


def next_interval(
    base: float, before: Mapping[int, float | None], after: Mapping[int, float | None]
) -> float:
    """Return the seconds to the next cycle.

    `before` and `after` are the trades' results in R (by identifier) at the
    last cycle and at this one. If any trade moved more than 0.25 R in between,
    the next cycle comes after a third of `base`, else after `base`; never under
    1 ms. Trades without a result in both, and those that came or went, say
    nothing. Raises `Invalid` if `base` is not a number of seconds above 0.
    """
    if isinstance(base, bool) or not math.isfinite(base) or base <= 0:
        raise Invalid(
            "is not an interval", field="interval", value=base, remedy="give seconds above 0"
        )
    moved = any(_moved(before.get(key), result) for key, result in after.items())
    return max(SHORTEST, base / SPEED_UP if moved else base)


def _moved(before: float | None, after: float | None) -> bool:
    if before is None or after is None:
        return False
    # A move that is not a number compares as false: it says nothing.
    return abs(after - before) > MOVE
