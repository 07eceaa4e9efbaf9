"""The broker's grids: prices move in ticks, volumes in steps; and what a price is."""

from __future__ import annotations

import math

_NEAR = 1e-6  # share of a grid step that counts as rounding noise of binary floats
_DECIMALS = 10  # finer than any broker's tick or volume step
VOLUME_NOISE = 1e-8  # lots; differences below are rounding noise
_PRICE_NOISE = 1e-9  # share of a price; used where the tick is not known


def is_price(value: float | None) -> bool:
    """Whether `value` can be a price: there, finite and above zero."""
    return value is not None and math.isfinite(value) and value > 0


def floor_to(value: float, step: float) -> float:
    """Return the largest multiple of `step` (above 0) that is not above `value`."""
    return _floor(value, step)


def ceil_to(value: float, step: float) -> float:
    """Return the smallest multiple of `step` (above 0) that is not below `value`."""
    return -_floor(-value, step)


def _floor(value: float, step: float) -> float:
    count = value / step
    if not math.isfinite(count):
        return value
    nearest = round(count)
    whole = nearest if abs(count - nearest) < _NEAR else math.floor(count)
    return round(whole * step, _DECIMALS)


def same_price(one: float | None, other: float | None, tick: float | None) -> bool:
    """Whether two prices are equal within half a tick; None equals only None.

    Without a tick (None, or not above 0) they are equal within rounding noise.
    """
    if one is None or other is None:
        return one is other
    if tick is not None and math.isfinite(tick) and tick > 0:
        return abs(one - other) < tick / 2
    return math.isclose(one, other, rel_tol=_PRICE_NOISE)


def same_volume(one: float, other: float) -> bool:
    """Whether two volumes (lots) are equal up to rounding noise."""
    return abs(one - other) < VOLUME_NOISE


def clean_volume(value: float) -> float:
    """Return a computed volume (lots) without rounding noise, never below 0."""
    return max(0.0, round(value, 8))
