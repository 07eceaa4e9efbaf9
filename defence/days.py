"""Daily sums: what is left of trades and actions once their details are compacted.

One summary a UTC day and symbol. The day is that of the record's time: of a
trade when it was archived, of an action when it happened.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from defence.grid import clean_volume
from defence.orders import Action
from defence.trade import Standing, TradeRecord

DAY: Final = 86_400  # seconds
NO_OUTCOME: Final = "none"  # of actions that are facts, not orders
_PLACES: Final = 8  # decimals of a sum, so that rounding noise does not add up


@dataclass(frozen=True, slots=True, kw_only=True)
class DaySummary:
    """What happened to one symbol on one UTC day, as far as it was compacted.

    `day` counts days since 1970-01-01. `closed` trades have a closing deal;
    of those whose end was never seen only the number is known. Profit in the
    account's currency, net; volume in lots that were closed; `r_sum` over the
    `r_count` trades whose result in R was known. `actions` counts by kind and
    outcome.
    """

    day: int
    symbol: str
    closed: int = 0
    won: int = 0
    lost: int = 0
    unexplained: int = 0
    profit: float = 0.0
    volume: float = 0.0
    r_sum: float = 0.0
    r_count: int = 0
    actions: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def of_trade(trade: TradeRecord, day: int) -> DaySummary:
    """Return the summary of one archived trade; numbers that are none count as not known."""
    profit = trade.close_profit
    known = profit is not None and math.isfinite(profit)
    result = trade.result_r
    has_result = result is not None and math.isfinite(result)
    seen = trade.standing is Standing.CLOSED
    return DaySummary(
        day=day,
        symbol=trade.symbol,
        closed=int(seen),
        won=int(known and (profit or 0.0) > 0),
        lost=int(known and (profit or 0.0) < 0),
        unexplained=int(not seen),
        profit=round(profit, _PLACES) if known and profit is not None else 0.0,
        volume=clean_volume(trade.closed_volume) if math.isfinite(trade.closed_volume) else 0.0,
        r_sum=round(result, _PLACES) if has_result and result is not None else 0.0,
        r_count=int(has_result),
    )


def of_action(action: Action, day: int) -> DaySummary:
    """Return the summary of one action."""
    outcome = NO_OUTCOME if action.outcome is None else action.outcome.kind.value
    return DaySummary(day=day, symbol=action.symbol, actions={action.kind: {outcome: 1}})


def added(one: DaySummary, other: DaySummary) -> DaySummary:
    """Return the sum of two summaries of one day and symbol."""
    return DaySummary(
        day=one.day,
        symbol=one.symbol,
        closed=one.closed + other.closed,
        won=one.won + other.won,
        lost=one.lost + other.lost,
        unexplained=one.unexplained + other.unexplained,
        profit=round(one.profit + other.profit, _PLACES),
        volume=clean_volume(one.volume + other.volume),
        r_sum=round(one.r_sum + other.r_sum, _PLACES),
        r_count=one.r_count + other.r_count,
        actions=_counts(one.actions, other.actions),
    )


def _counts(
    one: Mapping[str, Mapping[str, int]], other: Mapping[str, Mapping[str, int]]
) -> Mapping[str, Mapping[str, int]]:
    if not one or not other:
        return one or other
    counts = {kind: dict(outcomes) for kind, outcomes in one.items()}
    for kind, outcomes in other.items():
        into = counts.setdefault(kind, {})
        for outcome, count in outcomes.items():
            into[outcome] = into.get(outcome, 0) + count
    return counts


def public_day(summary: DaySummary) -> dict[str, object]:
    """Return the shape of a summary in `GET /dtms/history/days`."""
    return {
        "day": (dt.date(1970, 1, 1) + dt.timedelta(days=summary.day)).isoformat(),
        "symbol": summary.symbol,
        "closed": summary.closed,
        "won": summary.won,
        "lost": summary.lost,
        "unexplained": summary.unexplained,
        "profit": summary.profit,
        "volume": summary.volume,
        "r_sum": round(summary.r_sum, 4),
        "r_count": summary.r_count,
        "actions": {kind: dict(outcomes) for kind, outcomes in summary.actions.items()},
    }
