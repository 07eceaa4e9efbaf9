"""The simulated broker alone: ticks a second, calls in the process, prices made and read."""

from __future__ import annotations

import gzip
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.measure import Options, percentile, spread
from benchmarks.report import Table, microseconds
from terminals import constants as mt5
from terminals.sim.conditions import IDEAL, TYPICAL, Conditions
from terminals.sim.generated import GeneratedMarket
from terminals.sim.market import RecordedMarket
from terminals.sim.prices import Series, load_prices
from terminals.sim.symbols import spec_for
from terminals.sim.terminal import SimulatedTerminal

START: Final = 1_700_000_000.0  # market time, seconds
STEP: Final = 30.0  # seconds of market time between two looks, as a guard takes them
PER_SECOND: Final = 10  # ticks of the synthetic recording
TARGET: Final = 500_000  # recorded ticks a second on one core
POSITIONS: Final = (0, 10, 1_000)
SYMBOL: Final = "EURUSD"
STEPS: Final = 5_000  # at most, in one round
FOREVER: Final = 1e9  # seconds


def run(options: Options) -> list[Table]:
    """Play, call, make; nothing else runs in this process."""
    series = _synthetic(options.size(quick=20_000, full=1_000_000))
    return [
        _playing(series),
        _calls(options),
        _making(options),
    ]


def _synthetic(count: int) -> dict[str, Series]:
    """Return a recording of one symbol that never trends far."""
    random = np.random.default_rng(1)
    spec = spec_for(SYMBOL)
    times = round(START * 1000) + np.cumsum(random.integers(1, 2_000 // PER_SECOND, count))
    points = np.round(4_000 * np.sin(np.arange(count) / 40_000) + random.normal(0, 5, count))
    bid = np.round(1.085 + points * spec.point, spec.digits)
    ask = np.round(bid + random.uniform(5, 15, count) * spec.point, spec.digits)
    return {
        SYMBOL: Series(symbol=SYMBOL, spec=spec, time_msc=times.astype(np.int64), bid=bid, ask=ask)
    }


def _books(path: Path, positions: int) -> Path:
    """Write a broker's books: positions whose stops and targets are far away."""
    rows = [
        {
            "ticket": 1_000_000 + nth,
            "symbol": SYMBOL,
            "type": nth % 2,
            "volume": 0.01,
            "price_open": 1.085,
            "sl": 1.385 if nth % 2 else 0.785,
            "tp": 0.785 if nth % 2 else 1.385,
        }
        for nth in range(positions)
    ]
    path.write_text(json.dumps({"account": {"balance": 1e9}, "positions": rows}))
    return path


# -- playing -----------------------------------------------------------------


def _playing(series: dict[str, Series]) -> Table:
    table = Table(
        "Recorded ticks a second, on one core, without the guard",
        (
            "recording",
            "positions with stops",
            f"a step of {STEP:g} s each",
            "the same, and looked at",
            "in one go",
        ),
    )
    recordings = {"synthetic": series, **_recorded()}
    for name, found in recordings.items():
        ticks = sum(len(one.bid) for one in found.values())
        for positions in POSITIONS if name == "synthetic" else POSITIONS[:2]:
            stepped, looked, whole = (
                spread(_play(found, positions, step, looks=looks) for _ in range(3)).middle
                for step, looks in ((STEP, False), (STEP, True), (FOREVER, False))
            )
            # Without positions nothing has to be looked up in one go: that is no rate.
            last = f"{whole:,.0f}" if positions else "-"
            table.add(name, f"{positions:,}", f"{stepped:,.0f}", f"{looked:,.0f}", last)
            if name == "synthetic" and positions == 10:
                reached = "reached" if stepped >= TARGET else "NOT reached"
                table.notes.append(f"to reach: {TARGET:,} a second, stepped: {reached}")
        spans = (int(one.time_msc[-1] - one.time_msc[0]) for one in found.values())
        hours = max(spans) / 3_600_000
        table.notes.append(f"{name}: {ticks:,} ticks in {hours:,.1f} hours of market time")
    table.notes.append(
        "looked at: positions_get and account_info after each step, as a guard does. A recording "
        "of bars has four ticks a bar: few are in a step, whose own cost is then all there is."
    )
    return table


def _play(series: dict[str, Series], positions: int, step: float, *, looks: bool) -> float:
    """Play a recording, to its end or for so many steps; return ticks a second."""
    market = RecordedMarket(series)
    terminal = SimulatedTerminal(market=market, now=lambda: 0.0)
    try:
        terminal.initialize()
        terminal.deposit(1e9)
        for nth in range(positions):
            symbol = tuple(series)[nth % len(series)]
            price = series[symbol].bid[0]
            side, away = ("SELL", 0.3) if nth % 2 else ("BUY", -0.3)
            terminal.open_position(symbol, side, 0.01, sl=price * (1 + away), tp=price * (1 - away))
        begins = terminal.market_time
        began = time.perf_counter()
        for _ in range(STEPS):
            terminal.advance(step)
            if looks:
                terminal.positions_get()
                terminal.account_info()
            if terminal.over:
                break
        took = time.perf_counter() - began
        played = [
            len(market.ticks(symbol, round(begins * 1000), round(terminal.market_time * 1000)).bid)
            for symbol in series
        ]
        left = len(terminal.positions_get() or ())
        if left != positions:
            raise RuntimeError(f"{positions - left} positions were closed on the way")
    finally:
        terminal.close()
    return sum(played) / took


def _recorded() -> dict[str, dict[str, Series]]:
    """Return the recordings in the folder that DTMS_DATA names; none without it."""
    folder = Path(os.environ.get("DTMS_DATA", ""))
    found: dict[str, list[Path]] = {}
    if os.environ.get("DTMS_DATA") and folder.is_dir():
        for path in sorted(folder.glob("*.csv.gz")):
            found.setdefault(path.name.split("-")[0], []).append(path)
    return {symbol: load_prices(paths) for symbol, paths in found.items()}


# -- calls -------------------------------------------------------------------


def _calls(options: Options) -> Table:
    table = Table("Calls in the process", ("call", "p50", "p99"))
    blocks = options.size(quick=3, full=30)
    few, many = (
        _terminal(options.folder, IDEAL, positions, str(positions)) for positions in (1, 1_000)
    )
    try:
        for name, terminal, call, size in _questions(few, many):
            samples: list[float] = []
            for _ in range(blocks):
                for _ in range(size):
                    began = time.perf_counter()
                    call(terminal)
                    samples.append(time.perf_counter() - began)
            table.add(
                name,
                microseconds(percentile(samples, 0.5)),
                microseconds(percentile(samples, 0.99)),
            )
    finally:
        few.close()
        many.close()
    table.notes.append("the market stands still, so that nothing but the call is measured")
    return table


def _questions(few: Any, many: Any) -> list[tuple[str, Any, Callable[[Any], Any], int]]:
    return [
        ("symbol_info_tick", few, lambda t: t.symbol_info_tick(SYMBOL), 300),
        ("symbol_info", few, lambda t: t.symbol_info(SYMBOL), 50),
        ("account_info, 1 position", few, lambda t: t.account_info(), 100),
        ("account_info, 1,000 positions", many, lambda t: t.account_info(), 20),
        ("positions_get, 1 position", few, lambda t: t.positions_get(), 100),
        ("positions_get, 1,000 positions", many, lambda t: t.positions_get(), 10),
        ("positions_get by ticket, of 1,000", many, _one_position, 50),
        ("copy_rates_from_pos, 100 of M1", few, _bars(mt5.TIMEFRAME_M1, 100), 50),
        ("copy_rates_from_pos, 500 of H1", few, _bars(mt5.TIMEFRAME_H1, 500), 20),
        ("copy_rates_from_pos, 200 of D1", few, _bars(mt5.TIMEFRAME_D1, 200), 20),
        ("copy_ticks_from, 1,000", few, _some_ticks, 20),
        ("market_book_get", few, lambda t: t.market_book_get(SYMBOL), 50),
    ]


def _one_position(terminal: Any) -> Any:
    return terminal.positions_get(ticket=1_000_005)


def _some_ticks(terminal: Any) -> Any:
    return terminal.copy_ticks_from(SYMBOL, int(START) - 3600, 1000, -1)


def _bars(timeframe: int, count: int) -> Callable[[Any], Any]:
    return lambda terminal: terminal.copy_rates_from_pos(SYMBOL, timeframe, 0, count)


def _terminal(folder: Path, conditions: Conditions, positions: int, name: str) -> SimulatedTerminal:
    terminal = SimulatedTerminal(
        market=GeneratedMarket(1, START, conditions=conditions),
        now=lambda: START,
        state=_books(folder / f"{name}.json", positions),
        conditions=conditions,
    )
    terminal.initialize()
    terminal.market_book_add(SYMBOL)
    return terminal


# -- making and reading ------------------------------------------------------


def _making(options: Options) -> Table:
    table = Table("Prices", ("what", "a second"))
    days = options.size(quick=1, full=20)
    for name, conditions in (("ideal", IDEAL), ("typical", TYPICAL)):
        rates = []
        for seed in range(3):
            market = GeneratedMarket(seed, START, (SYMBOL,), conditions=conditions)
            begin = market.start_msc
            market.price(SYMBOL, begin)
            began = time.perf_counter()
            made = len(market.ticks(SYMBOL, begin, begin + days * 86_400_000).bid)
            rates.append(made / (time.perf_counter() - began))
        table.add(f"generated ticks, {name} conditions", f"{spread(rates).middle:,.0f}")
    market = GeneratedMarket(1, START)
    began = time.perf_counter()
    steps = days * 2_000
    for nth in range(steps):
        market.price(SYMBOL, market.start_msc + nth * 30_000)
    took = time.perf_counter() - began
    table.add("newest quote of generated prices, a step of 30 s each", f"{steps / took:,.0f}")
    began = time.perf_counter()
    again = market.start_msc + steps * 30_000
    for _ in range(steps * 10):
        market.price(SYMBOL, again)
    took = time.perf_counter() - began
    table.add("newest quote, asked for again", f"{steps * 10 / took:,.0f}")
    path = options.folder / "EURUSD_ticks.csv.gz"
    count = options.size(quick=5_000, full=200_000)
    one = _synthetic(count)[SYMBOL]
    stamps = one.time_msc.astype("datetime64[ms]").astype(str)
    lines = [f"{a},{b:.5f},{c:.5f}" for a, b, c in zip(stamps, one.bid, one.ask, strict=True)]
    path.write_bytes(gzip.compress("\n".join(["timestamp,bid,ask", *lines]).encode()))
    began = time.perf_counter()
    load_prices([path])
    table.add("ticks read from a compressed file", f"{count / (time.perf_counter() - began):,.0f}")
    return table
