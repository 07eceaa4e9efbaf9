"""What the simulated broker says of its symbols.

The catalogue holds typical conditions of retail brokers (docs/market.md). They
differ from symbol to symbol on purpose (filling mask, stops level, digits),
because a program that treats all symbols alike should fail here and not on a
live account.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from terminals import constants as mt5
from terminals.sim.sessions import Week, five_days

CALC_EXCH_FUTURES: Final = 33  # SYMBOL_CALC_MODE_EXCH_FUTURES
EXCHANGE_MODES: Final = 32  # SYMBOL_CALC_MODE_EXCH_STOCKS, the first of them
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
    swap_mode: int = 1  # SYMBOL_SWAP_MODE_*: 0 none, 1 points, 2 to 4 money, 5 and 6 interest
    swap_long: float = 0.0
    swap_short: float = 0.0
    swap_rollover3days: int = 3  # the weekday (0 is Sunday) whose end is charged three times
    # When it trades: minutes since Monday 00:00 of the broker's wall time, each span half-open,
    # in order. None is always.
    week: Week | None = None
    book_levels: int = 10  # of depth of market, each side; 0 is none

    @property
    def exchange(self) -> bool:
        """Whether it is traded at an exchange: ticks have a last price and a volume."""
        return self.calc_mode >= EXCHANGE_MODES

    @property
    def point(self) -> float:
        """The smallest price step."""
        return float(f"1e-{self.digits}")

    def price(self, value: float) -> float:
        """Return a price rounded to the symbol's digits."""
        return round(value, self.digits)


_DAY: Final = five_days(opens=5)  # 00:05 to 24:00: shut for five minutes at the rollover
_METALS: Final = five_days(opens=60)  # 01:00 to 24:00: shut for an hour, as COMEX is
_EUREX: Final = five_days(opens=130, closes=23 * 60)  # 01:10 to 22:00 in Frankfurt
POINTS, INTEREST = 1, 5  # SYMBOL_SWAP_MODE_POINTS, SYMBOL_SWAP_MODE_INTEREST_CURRENT
FRIDAY: Final = 5


def _pair(
    name: str,
    description: str,
    price: float,
    spread: int,
    volatility: float,
    swaps: tuple[float, float],
    **rest: Any,
) -> SymbolSpec:
    """Return a currency pair: lots of 100,000, swaps in points, triple on Wednesday."""
    yen = name.endswith("JPY")
    return SymbolSpec(
        name=name,
        description=description,
        digits=3 if yen else 5,
        base=name[:3],
        profit=name[3:],
        contract_size=100_000.0,
        typical_price=price,
        typical_spread=spread,
        daily_volatility=volatility,
        swap_mode=POINTS,
        swap_long=swaps[0],
        swap_short=swaps[1],
        week=_DAY,
        **{"depth": 50.0, **rest},
    )


# Typical of public specifications: hours of currencies and lot sizes, freshforex.com and
# fx-gam.com; swaps in points and triple on Wednesday, interest and triple on Friday for what is
# no currency, fibogroup.com; the break of metals, fx-gam.com; the future's contract, eurex.com
# (Micro-DAX, 1 EUR a point). Swaps and margins change daily at a broker: these are round values.
CATALOGUE: Final[Mapping[str, SymbolSpec]] = {
    spec.name: spec
    for spec in (
        _pair("EURUSD", "Euro vs US Dollar", 1.085, 8, 0.005, (-6.5, 2.1)),
        _pair("GBPUSD", "Great Britain Pound vs US Dollar", 1.27, 11, 0.006, (-3.2, -1.5)),
        _pair(
            "USDJPY",
            "US Dollar vs Japanese Yen",
            150.0,
            9,
            0.006,
            (8.5, -17.2),
            filling_mode=mt5.SYMBOL_FILLING_FOK,
        ),
        _pair("USDCHF", "US Dollar vs Swiss Franc", 0.89, 12, 0.005, (6.2, -11.5)),
        _pair("AUDUSD", "Australian Dollar vs US Dollar", 0.66, 10, 0.007, (-2.4, -0.9)),
        _pair(
            "USDCAD",
            "US Dollar vs Canadian Dollar",
            1.37,
            13,
            0.0045,
            (1.1, -5.4),
            execution=mt5.SYMBOL_TRADE_EXECUTION_INSTANT,
            freeze_level=5,
        ),
        _pair(
            "NZDUSD", "New Zealand Dollar vs US Dollar", 0.61, 14, 0.007, (-1.9, -1.3), depth=20.0
        ),
        _pair("EURJPY", "Euro vs Japanese Yen", 163.0, 16, 0.006, (4.8, -13.6), depth=20.0),
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
            depth=10.0,
            swap_mode=POINTS,
            swap_long=-42.0,
            swap_short=21.0,
            week=_METALS,
        ),
        SymbolSpec(
            name="US500",
            description="US 500 Index",
            digits=2,
            base="USD",
            profit="USD",
            contract_size=1.0,
            typical_price=5_800.0,
            typical_spread=45,
            daily_volatility=0.01,
            stops_level=100,
            filling_mode=mt5.SYMBOL_FILLING_IOC,
            volume_min=0.1,
            volume_max=250.0,
            volume_step=0.1,
            calc_mode=mt5.SYMBOL_CALC_MODE_CFD,
            margin_rate=0.05,
            depth=100.0,
            swap_mode=INTEREST,
            swap_long=-7.2,
            swap_short=1.2,
            swap_rollover3days=FRIDAY,
            week=_METALS,
        ),
        SymbolSpec(
            name="FDXS",
            description="Micro-DAX Future",
            digits=0,
            base="EUR",
            profit="EUR",
            contract_size=1.0,
            typical_price=19_000.0,
            typical_spread=2,
            daily_volatility=0.011,
            stops_level=0,
            volume_min=1.0,
            volume_max=500.0,
            volume_step=1.0,
            volume_limit=1_000.0,
            calc_mode=CALC_EXCH_FUTURES,
            execution=mt5.SYMBOL_TRADE_EXECUTION_EXCHANGE,
            margin_initial=1_900.0,
            depth=40.0,
            swap_mode=0,
            week=_EUREX,
        ),
        SymbolSpec(
            name="BTCUSD",
            description="Bitcoin vs US Dollar",
            digits=2,
            base="BTC",
            profit="USD",
            contract_size=1.0,
            typical_price=60_000.0,
            typical_spread=1_800,
            daily_volatility=0.03,
            stops_level=500,
            filling_mode=FOK_OR_IOC,
            volume_max=10.0,
            calc_mode=mt5.SYMBOL_CALC_MODE_CFD,
            margin_rate=0.1,
            depth=2.0,
            swap_mode=INTEREST,
            swap_long=-20.0,
            swap_short=-5.0,
            swap_rollover3days=FRIDAY,
        ),
        SymbolSpec(
            name="ETHUSD",
            description="Ethereum vs US Dollar",
            digits=2,
            base="ETH",
            profit="USD",
            contract_size=1.0,
            typical_price=3_000.0,
            typical_spread=160,
            daily_volatility=0.04,
            stops_level=50,
            filling_mode=mt5.SYMBOL_FILLING_IOC,
            volume_max=100.0,
            calc_mode=mt5.SYMBOL_CALC_MODE_CFD,
            margin_rate=0.1,
            depth=20.0,
            swap_mode=INTEREST,
            swap_long=-20.0,
            swap_short=-5.0,
            swap_rollover3days=FRIDAY,
        ),
    )
}


def known_symbol(name: str) -> str | None:
    """Return the name of the catalogue, or the six letters, that a symbol stands for, else None.

    A broker's suffix after a dot (`GBPUSD.m`) does not matter.
    """
    stem = name.split(".", 1)[0].upper()
    if stem in CATALOGUE:
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
    if stem is not None and stem in CATALOGUE:
        spec = CATALOGUE[stem]
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
