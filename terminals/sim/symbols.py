"""What the simulated broker says of its symbols.

The catalogue holds typical retail conditions. They differ from symbol to
symbol on purpose (filling mask, stops level, digits), because a program that
treats all symbols alike should fail here and not on a live account.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from terminals import constants as mt5

FOK_OR_IOC: Final = mt5.SYMBOL_FILLING_FOK | mt5.SYMBOL_FILLING_IOC

# Rough dollars per unit of a currency: used only where the market has no quote to convert by.
DOLLARS: Final = {
    "USD": 1.0,
    "EUR": 1.1,
    "GBP": 1.28,
    "JPY": 0.0067,
    "CHF": 1.12,
    "AUD": 0.66,
    "NZD": 0.61,
    "CAD": 0.73,
    "SEK": 0.095,
    "NOK": 0.094,
    "DKK": 0.147,
    "PLN": 0.25,
    "CZK": 0.043,
    "HUF": 0.0028,
    "TRY": 0.03,
    "ZAR": 0.055,
    "MXN": 0.055,
    "SGD": 0.75,
    "HKD": 0.128,
    "CNH": 0.14,
    "XAU": 2350.0,
    "XAG": 28.0,
    "BTC": 60_000.0,
    "ETH": 3_000.0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolSpec:
    """The fixed facts of a symbol. Levels and spread in points, volumes in lots."""

    name: str
    description: str
    digits: int
    base: str
    profit: str  # currency in which the price is quoted and profit arises
    contract_size: float
    typical_price: float
    typical_spread: int
    daily_volatility: float  # relative, one standard deviation a day
    stops_level: int = 10
    freeze_level: int = 0
    filling_mode: int = FOK_OR_IOC
    volume_min: float = 0.01
    volume_max: float = 100.0
    volume_step: float = 0.01
    trade_mode: int = mt5.SYMBOL_TRADE_MODE_FULL
    calc_mode: int = mt5.SYMBOL_CALC_MODE_FOREX
    execution: int = mt5.SYMBOL_TRADE_EXECUTION_MARKET
    volume_limit: float = 0.0  # lots of one side, positions and orders together; 0 is none
    depth: float = 0.0  # lots that one fill takes at most, where depth is limited; 0 is no limit
    margin_rate: float = 1.0  # the part of the contract's value that margin is taken of
    margin_initial: float = 0.0  # futures: margin of a lot, in the margin currency
    swap_mode: int = 1  # SYMBOL_SWAP_MODE_*: 0 none, 1 points, 4 deposit currency, 5 and 6 interest
    swap_long: float = 0.0
    swap_short: float = 0.0
    swap_rollover3days: int = 3  # the weekday (0 is Sunday) whose end is charged three times
    # When it trades: minutes since Monday 00:00 of the broker's wall time, each span half-open,
    # in order. None is always.
    week: tuple[tuple[int, int], ...] | None = None

    @property
    def always_open(self) -> bool:
        """Whether it trades at weekends too, as cryptocurrencies do."""
        return self.week is None

    @property
    def point(self) -> float:
        """The smallest price step."""
        return float(f"1e-{self.digits}")

    def price(self, value: float) -> float:
        """Return a price rounded to the symbol's digits."""
        return round(value, self.digits)


_KNOWN: Final = {
    spec.name: spec
    for spec in (
        SymbolSpec(
            name="EURUSD",
            description="Euro vs US Dollar",
            digits=5,
            base="EUR",
            profit="USD",
            contract_size=100_000.0,
            typical_price=1.085,
            typical_spread=8,
            daily_volatility=0.005,
        ),
        SymbolSpec(
            name="GBPUSD",
            description="Great Britain Pound vs US Dollar",
            digits=5,
            base="GBP",
            profit="USD",
            contract_size=100_000.0,
            typical_price=1.27,
            typical_spread=11,
            daily_volatility=0.006,
        ),
        SymbolSpec(
            name="USDJPY",
            description="US Dollar vs Japanese Yen",
            digits=3,
            base="USD",
            profit="JPY",
            contract_size=100_000.0,
            typical_price=150.0,
            typical_spread=9,
            daily_volatility=0.006,
            filling_mode=mt5.SYMBOL_FILLING_FOK,
        ),
        SymbolSpec(
            name="XAUUSD",
            description="Gold vs US Dollar",
            digits=2,
            base="XAU",
            profit="USD",
            contract_size=100.0,
            typical_price=2350.0,
            typical_spread=22,
            daily_volatility=0.01,
            stops_level=30,
            filling_mode=mt5.SYMBOL_FILLING_IOC,
            volume_max=50.0,
            calc_mode=mt5.SYMBOL_CALC_MODE_CFDLEVERAGE,
        ),
    )
}


def known_symbol(name: str) -> str | None:
    """Return the six letters of a symbol that has a known meaning, else None.

    A broker's suffix after a dot (`GBPUSD.m`) does not matter.
    """
    stem = name.split(".", 1)[0].upper()
    if stem in _KNOWN:
        return stem
    if len(stem) == 6 and stem[:3] in DOLLARS and stem[3:] in DOLLARS and stem[:3] != stem[3:]:
        return stem
    return None


def spec_for(name: str, *, digits: int | None = None, price: float | None = None) -> SymbolSpec:
    """Return the facts of a symbol: the catalogue's, else derived from its name and prices.

    `digits` and `price` are what recorded prices show; they widen, never
    narrow, what the catalogue says.
    """
    stem = known_symbol(name)
    if stem is not None and stem in _KNOWN:
        spec = _KNOWN[stem]
        wanted = max(spec.digits, digits or 0)
        return _renamed(spec, name, wanted, price)
    if stem is not None:
        base, profit = stem[:3], stem[3:]
        plain = 3 if profit == "JPY" else 5
        metal = base in {"XAU", "XAG", "BTC", "ETH"}
        return SymbolSpec(
            name=name,
            description=f"{base} vs {profit}",
            digits=digits if digits is not None else (2 if metal else plain),
            base=base,
            profit=profit,
            contract_size=(100.0 if base == "XAU" else 1.0) if metal else 100_000.0,
            typical_price=price or DOLLARS[base] / DOLLARS[profit],
            typical_spread=15,
            daily_volatility=0.006,
        )
    return SymbolSpec(
        name=name,
        description=name,
        digits=2 if digits is None else digits,
        base="USD",
        profit="USD",
        contract_size=1.0,
        typical_price=price or 100.0,
        typical_spread=10,
        daily_volatility=0.012,
        volume_min=0.1,
        volume_step=0.1,
        calc_mode=mt5.SYMBOL_CALC_MODE_CFDLEVERAGE,
    )


def _renamed(spec: SymbolSpec, name: str, digits: int, price: float | None) -> SymbolSpec:
    return replace(spec, name=name, digits=digits, typical_price=price or spec.typical_price)


def conversion(currency: str, account_currency: str, mid: Callable[[str], float | None]) -> float:
    """Return how much account currency one unit of `currency` is worth.

    `mid(symbol)` gives the market's mid price or None. A direct quote is
    preferred to an inverse one; without either, the table of rough values
    serves, so that money never becomes meaningless, only imprecise.
    """
    if currency == account_currency:
        return 1.0
    direct = mid(currency + account_currency)
    if direct:
        return direct
    inverse = mid(account_currency + currency)
    if inverse:
        return 1.0 / inverse
    return DOLLARS.get(currency, 1.0) / DOLLARS.get(account_currency, 1.0)
