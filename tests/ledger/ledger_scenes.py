"""What a session of the ledger is played on: symbols, recordings, terms, operations.

All of it follows from a number. Operations are plain numbers too: what they
mean is read when their turn comes, from the state of the moment, so that a
list of operations stays playable when some are left out.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import NamedTuple

from ledger_market import Tick
from ledger_terms import (
    CFD,
    CFD_LEVERAGE,
    EXCH_FUTURES,
    EXCHANGE,
    HEDGING,
    INSTANT,
    LONG_ONLY,
    NETTING,
    ON_EXCHANGE,
    SHORT_ONLY,
    ZERO,
    Account,
    Symbol,
    Terms,
)

D = Decimal
DAY_S = 86_400

SYMBOLS = (
    Symbol(
        name="EURUSD",
        digits=5,
        base="EUR",
        profit="USD",
        swap_long=D("-6.5"),
        swap_short=D("2.1"),
        depth=D("0.5"),
    ),
    Symbol(
        name="USDJPY",
        digits=3,
        base="USD",
        profit="JPY",
        filling_mask=1,
        swap_long=D("8.5"),
        swap_short=D("-17.2"),
        volume_limit=D("2.5"),
    ),
    Symbol(
        name="GBPUSD",
        digits=5,
        base="GBP",
        profit="USD",
        stops_level=0,
        freeze_level=15,
        swap_mode=2,
        swap_long=D("-4.15"),
        swap_short=D("0.95"),
    ),
    Symbol(
        name="EURGBP",
        digits=5,
        base="EUR",
        profit="GBP",
        margin_rate=D("0.5"),
        swap_mode=3,
        swap_long=D("-3.3"),
        swap_short=D("-1.7"),
        depth=D("0.3"),
    ),
    Symbol(
        name="XAUUSD",
        digits=2,
        base="XAU",
        profit="USD",
        contract_size=D(100),
        filling_mask=2,
        stops_level=30,
        freeze_level=40,
        calc_mode=CFD_LEVERAGE,
        volume_max=D(50),
        swap_mode=5,
        swap_long=D("-5.5"),
        swap_short=D("1.25"),
        triple_day=5,
        depth=D("0.25"),
    ),
    Symbol(
        name="US500",
        digits=1,
        base="USD",
        profit="USD",
        contract_size=D(1),
        execution=INSTANT,
        calc_mode=CFD,
        margin_rate=D("0.05"),
        volume_min=D("0.1"),
        volume_step=D("0.1"),
        swap_mode=6,
        swap_long=D("-7.9"),
        swap_short=D("0.6"),
        triple_day=5,
        depth=D(4),
    ),
    Symbol(
        name="BTCUSD",
        digits=2,
        base="BTC",
        profit="USD",
        contract_size=D(1),
        calc_mode=CFD_LEVERAGE,
        margin_rate=D("0.5"),
        swap_mode=4,
        swap_long=D("-12.35"),
        swap_short=D("-4.05"),
        weekends=True,
        volume_limit=D("1.5"),
    ),
    Symbol(
        name="MDAX",
        digits=0,
        base="USD",  # in which its margin is told
        profit="EUR",
        contract_size=D(5),
        execution=ON_EXCHANGE,
        calc_mode=EXCH_FUTURES,
        margin_initial=D(450),
        volume_min=D(1),
        volume_step=D(1),
        swap_mode=0,
        depth=D(2),
    ),
)
# Price at the beginning, size of a usual step and of a jump, in points.
WALKS = {
    "EURUSD": (D("1.08500"), 12, 600),
    "USDJPY": (D("150.000"), 15, 900),
    "GBPUSD": (D("1.27000"), 14, 700),
    "EURGBP": (D("0.85500"), 8, 400),
    "XAUUSD": (D("2350.00"), 60, 2500),
    "US500": (D("5200.0"), 20, 900),
    "BTCUSD": (D("60000.00"), 3000, 150_000),
    "MDAX": (D(18000), 6, 250),
}
# Weekdays and nights of all kinds; New York changes its clocks on 10 March and 3 November 2024.
BEGINNINGS = (
    1_709_596_800,  # Tuesday, 5 March 2024
    1_709_769_600,  # Thursday, 7 March 2024
    1_718_064_000,  # Tuesday, 11 June 2024
    1_730_332_800,  # Thursday, 31 October 2024
    1_730_592_000,  # Sunday, 3 November 2024
)


class Op(NamedTuple):
    """One operation: how long to wait before it (ms), what it is, and a number for the rest."""

    wait: int
    kind: str
    number: int


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Where a session is played."""

    name: str
    symbols: tuple[Symbol, ...]
    ticks: tuple[Tick, ...]
    account: Account
    terms: Terms
    deposit: Decimal = ZERO  # paid in (or out) after the first 10,000
    seed: int = 1

    @property
    def length(self) -> int:
        """Milliseconds from the first moment at which all symbols have prices to the last."""
        return self.ticks[-1].time - self.begin

    @property
    def begin(self) -> int:
        firsts: dict[str, int] = {}
        for tick in self.ticks:
            firsts.setdefault(tick.symbol, tick.time)
        return max(firsts.values())


CONDITIONS = {
    "ideal": Terms(),
    "costs": Terms(swaps=True, new_york=True),
    "shallow": Terms(depth=True, swaps=True),
    "slipping": Terms(slippage=5, requotes=True, swaps=True, depth=True, new_york=True),
}
MODES = {"hedging": HEDGING, "netting": NETTING, "exchange": EXCHANGE}
KINDS = {
    "open": 26,
    "close": 12,
    "levels": 12,
    "place": 16,
    "modify": 8,
    "remove": 4,
    "close_by": 5,
    "nonsense": 6,
    "pay": 2,
    "ask": 6,
    "idle": 4,
}


def scene(mode: str, conditions: str, seed: int, days: float = 5.0) -> Scene:
    """Return the scene that belongs to a number."""
    dice = random.Random(f"{mode} {conditions} {seed}")
    terms = CONDITIONS[conditions]
    chosen = dice.sample(SYMBOLS, 5)
    if mode == "exchange" and all(one.name != "MDAX" for one in chosen):
        chosen[0] = SYMBOLS[-1]
    costly = conditions != "ideal"
    account = Account(
        mode=MODES[mode],
        currency=dice.choice(("USD", "USD", "USD", "EUR", "JPY")),
        leverage=D(dice.choice((30, 100, 500))),
        commission_per_lot=D(dice.choice(("7", "3.5", "0.37"))) if costly else D(0),
        stop_out_level=D(dice.choice((20, 50, 90))),
        limit_orders=dice.choice((0, 5, 200)),
        fifo=seed % 3 == 1,
    )
    if dice.random() < 0.3:
        chosen[1] = replace(chosen[1], trade_mode=dice.choice((LONG_ONLY, SHORT_ONLY)))
    symbols = tuple(chosen)
    return Scene(
        name=f"{mode} {conditions} {seed}",
        symbols=symbols,
        ticks=recording(dice, symbols, dice.choice(BEGINNINGS), days),
        account=account,
        terms=terms,
        deposit=dice.choice((D(0), D(-9_200))) + D(account.currency == "JPY") * 1_490_000,
        seed=seed,
    )


def recording(
    dice: random.Random, symbols: Sequence[Symbol], begin_s: int, days: float
) -> tuple[Tick, ...]:
    """Return ticks: random walks with jumps, pauses, and moments that symbols share."""
    ticks = []
    for symbol in symbols:
        start, step, jump = WALKS[symbol.name]
        price = int(start.scaleb(symbol.digits))
        at, end = begin_s * 1000 + dice.randrange(60_000), begin_s * 1000 + int(days * DAY_S * 1000)
        while at < end:
            chance = dice.random()
            price += dice.randint(-step, step)
            if chance < 0.02:
                price += dice.choice((-1, 1)) * dice.randint(jump // 4, jump)
            spread = 0 if chance > 0.95 else dice.randint(1, 2 * step)
            bid = Decimal(price).scaleb(-symbol.digits)
            ask = Decimal(price + spread).scaleb(-symbol.digits)
            ticks.append(Tick(at, symbol.name, bid, ask))
            at += dice.randint(30_000, 1_500_000)
            if 0.02 <= chance < 0.03:
                at += dice.randint(1, 5) * 3_600_000  # long enough to be a closed market
            if chance > 0.7:
                at -= at % 600_000  # a moment that other symbols' ticks share
                at += 600_000
    return tuple(sorted(ticks))


def operations(mode: str, conditions: str, seed: int, count: int, length: int) -> list[Op]:
    """Return random operations, spread over the length (ms) of a recording."""
    dice = random.Random(f"operations {mode} {conditions} {seed}")
    kinds, weights = list(KINDS), list(KINDS.values())
    mean = length / count
    found = []
    for _ in range(count):
        wait = 0 if dice.random() < 0.15 else int(dice.expovariate(1.0 / mean))
        kind = dice.choices(kinds, weights)[0]
        found.append(Op(wait, kind, dice.randrange(1 << 30)))
    return found
