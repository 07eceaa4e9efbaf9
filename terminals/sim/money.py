"""How the simulated broker counts money: rounding, margin of a lot, swap of a night. Pure.

The rules are those of docs/broker.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from terminals import constants as mt5
from terminals.sim.symbols import SymbolSpec

Array: TypeAlias = npt.NDArray[np.float64]
Rate: TypeAlias = Callable[[str], float]  # account money for one unit of a currency

# Halves go away from zero; what is below a half by that little of the last place counts as one.
# Odd numbers: an amount of few decimals that lay on the edge itself would be decided by a double's
# error after all.
_HALF: Final = 0.5 + 0.9555555e-4
_LEVEL_ERROR: Final = 1e-9  # percent; two amounts in cents differ by more, or not at all
_HALF_OF_PRICE: Final = 0.5 + 0.9555555e-2  # of the 8th decimal: a double of some 1e5 knows no more
_LEVERAGED: Final = (mt5.SYMBOL_CALC_MODE_FOREX, mt5.SYMBOL_CALC_MODE_CFDLEVERAGE)
_FUTURES: Final = (mt5.SYMBOL_CALC_MODE_FUTURES, mt5.SYMBOL_CALC_MODE_EXCH_FUTURES)

DAY_MS: Final = 86_400_000
SUNDAY, SATURDAY = 0, 6  # as the platform counts weekdays
_THURSDAY: Final = 4  # 1 January 1970
_WEEKEND: Final = 5 * 1440  # minutes from Monday 00:00 to Saturday 00:00


class Money(NamedTuple):
    """The account's numbers at the present prices, in its currency; the level in percent.

    The level is not rounded, as published outputs of the package show it
    (`margin_level=133.45308121101692`, the vendor's page of order_check).
    """

    profit: float
    equity: float
    margin: float
    margin_free: float
    margin_level: float

    @classmethod
    def of(cls, balance: float, profit: float, margin: float) -> Money:
        """Return the numbers that follow from these three, money rounded."""
        floating, taken = cents(profit), cents(margin)
        equity = cents(balance + floating)
        level = equity / taken * 100.0 if taken else 0.0
        return cls(floating, equity, taken, cents(equity - taken), level)

    def under(self, percent: float) -> bool:
        """Whether there is margin, and the level is less, by more than an error of doubles."""
        return bool(self.margin) and self.margin_level < percent - _LEVEL_ERROR


def cents(value: float) -> float:
    """Return money rounded to the cent, halves away from zero."""
    whole = math.floor(abs(value) * 100.0 + _HALF) / 100.0
    return -whole if value < 0.0 and whole else whole


def cents_of(values: Array) -> Array:
    """Round each as `cents` does."""
    whole: Array = np.floor(np.abs(values) * 100.0 + _HALF) / 100.0
    return np.copysign(whole, values) + 0.0  # the sum makes 0.0 of -0.0


def average_price(paid: float, volume: float) -> float:
    """Return the price of a lot where `volume` lots cost `paid`, to 8 decimals."""
    return math.floor(paid / volume * 1e8 + _HALF_OF_PRICE) / 1e8


def margin_of_lot(
    spec: SymbolSpec, price: float, *, currency: str, leverage: int, rate: Rate
) -> float:
    """Return the margin that a lot dealt at `price` takes, unrounded, in account money."""
    if spec.calc_mode in _FUTURES:
        return spec.margin_initial * rate(spec.base)
    divisor = leverage if spec.calc_mode in _LEVERAGED else 1
    each = spec.contract_size * spec.margin_rate / divisor
    if spec.calc_mode != mt5.SYMBOL_CALC_MODE_FOREX:
        return each * price * rate(spec.profit)
    # It arises in the base currency. Where the pair itself converts that into the account's,
    # the deal's price does.
    return each * (price if spec.profit == currency else rate(spec.base))


def weekday_before(wall_msc: int) -> int:
    """Return the weekday (0 is Sunday) that ends at a midnight of wall time."""
    return ((wall_msc - 1) // DAY_MS + _THURSDAY) % 7


def nights(spec: SymbolSpec, weekday: int) -> int:
    """Return how many times the swap is charged at the end of a weekday (0 is Sunday)."""
    if spec.swap_mode == mt5.SYMBOL_SWAP_MODE_DISABLED:
        return 0
    if spec.week is None or any(end > _WEEKEND for _, end in spec.week):
        return 1
    if weekday in (SUNDAY, SATURDAY):
        return 0
    return 3 if weekday == spec.swap_rollover3days else 1


def swap_of_night(
    spec: SymbolSpec, *, long: bool, volume: float, price: float, price_open: float, rate: Rate
) -> float:
    """Return a night's swap, unrounded. `price` values the position.

    A mode that is not simulated charges nothing.
    """
    each = spec.swap_long if long else spec.swap_short
    lots = spec.contract_size * volume
    match spec.swap_mode:
        case mt5.SYMBOL_SWAP_MODE_POINTS:
            return each * spec.point * lots * rate(spec.profit)
        case mt5.SYMBOL_SWAP_MODE_CURRENCY_SYMBOL | mt5.SYMBOL_SWAP_MODE_CURRENCY_MARGIN:
            return each * volume * rate(spec.base)
        case mt5.SYMBOL_SWAP_MODE_CURRENCY_DEPOSIT:
            return each * volume
        case mt5.SYMBOL_SWAP_MODE_INTEREST_CURRENT:
            return each / 100.0 / 360.0 * price * lots * rate(spec.profit)
        case mt5.SYMBOL_SWAP_MODE_INTEREST_OPEN:
            return each / 100.0 / 360.0 * price_open * lots * rate(spec.profit)
    return 0.0
