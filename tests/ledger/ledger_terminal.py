"""The simulated terminal on a scene: the same symbols, ticks, account and terms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from ledger_scenes import Scene
from ledger_terms import Symbol, Terms

from terminals import RecordedMarket, Series, SimulatedTerminal
from terminals.sim.conditions import IDEAL, NEW_YORK_CLOSE, Conditions
from terminals.sim.symbols import SymbolSpec

WEEK = ((0, 5 * 24 * 60),)  # minutes: Monday to Friday


def terminal_of(scene: Scene, now: Callable[[], float]) -> SimulatedTerminal:
    """Return a connected terminal; the broker's account gets the terms of the scene's."""
    series = {}
    for symbol in scene.symbols:
        mine = [one for one in scene.ticks if one.symbol == symbol.name]
        series[symbol.name] = Series(
            symbol=symbol.name,
            spec=spec_of(symbol),
            time_msc=np.array([one.time for one in mine], dtype=np.int64),
            bid=np.array([float(one.bid) for one in mine]),
            ask=np.array([float(one.ask) for one in mine]),
        )
    terminal = SimulatedTerminal(
        market=RecordedMarket(series), now=now, conditions=conditions_of(scene.terms, scene.seed)
    )
    own, given = terminal._broker.book.account, scene.account
    own.margin_mode = given.mode
    own.currency = given.currency
    own.leverage = int(given.leverage)
    own.commission_per_lot = float(given.commission_per_lot)
    own.stop_out_level = float(given.stop_out_level)
    own.limit_orders = given.limit_orders
    own.fifo_close = given.fifo
    assert terminal.initialize()
    return terminal


def spec_of(symbol: Symbol) -> SymbolSpec:
    """Tell the simulated broker of a symbol."""
    return SymbolSpec(
        name=symbol.name,
        description=symbol.name,
        digits=symbol.digits,
        base=symbol.base,
        profit=symbol.profit,
        contract_size=float(symbol.contract_size),
        typical_price=1.0,
        typical_spread=10,
        daily_volatility=0.01,
        stops_level=symbol.stops_level,
        freeze_level=symbol.freeze_level,
        filling_mode=symbol.filling_mask,
        volume_min=float(symbol.volume_min),
        volume_max=float(symbol.volume_max),
        volume_step=float(symbol.volume_step),
        trade_mode=symbol.trade_mode,
        calc_mode=symbol.calc_mode,
        execution=symbol.execution,
        volume_limit=float(symbol.volume_limit),
        depth=float(symbol.depth),
        margin_rate=float(symbol.margin_rate),
        margin_initial=float(symbol.margin_initial),
        swap_mode=symbol.swap_mode,
        swap_long=float(symbol.swap_long),
        swap_short=float(symbol.swap_short),
        swap_rollover3days=symbol.triple_day,
        week=None if symbol.weekends else WEEK,
    )


def conditions_of(terms: Terms, seed: int) -> Conditions:
    """Tell the simulated broker of its conditions."""
    return Conditions(
        seed=seed,
        slippage=terms.slippage,
        requotes=0.2 if terms.requotes else 0.0,
        depth=terms.depth,
        swaps=terms.swaps,
        zone=NEW_YORK_CLOSE if terms.new_york else IDEAL.zone,
    )
