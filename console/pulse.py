"""A sign of life in the log: what is watched and how it stands, at most every 30 s."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

from loguru import logger

from console.log import RunningLog
from console.words import count
from defence.errors import DtmsError
from defence.trade import TradeRecord

EVERY: Final = 30.0  # seconds of real time
PATIENCE: Final = 1.0  # seconds to wait for the trades


class Watched(Protocol):
    """What the pulse needs of a guard."""

    def trades(self, *, timeout: float = ...) -> tuple[TradeRecord, ...]:
        """Return the trades that are watched."""

    def status(self) -> dict[str, object]:
        """Return everything at a glance."""


def summary(
    cycle: int | None,
    trades: Sequence[TradeRecord] | None,
    equity: float | None,
    status: Mapping[str, object],
) -> str:
    """Return the line: cycle, trades, their range of R, equity, mode and what is wrong.

    `trades` is None where they could not be had in time.
    """
    parts = ["no cycle yet" if cycle is None else f"cycle {cycle}"]
    if trades is None:
        parts.append("the trades could not be read in time")
    else:
        parts.append(count(len(trades), "trade"))
        results = [trade.result_r for trade in trades if trade.result_r is not None]
        if results:
            parts.append(f"R {min(results):+.2f} to {max(results):+.2f}")
    if equity is not None:
        account = status.get("account")
        currency = account.get("currency") if isinstance(account, Mapping) else None
        parts.append(f"equity {equity:.2f} {currency or ''}".rstrip())
    parts.append(str(status.get("paused") or status.get("mode")))
    reasons = status.get("reasons")
    if isinstance(reasons, Sequence) and reasons:
        parts.append(f"NOT READY: {'; '.join(map(str, reasons))}")
    return ", ".join(parts)


class Pulse:
    """Writes the summary when it is time and a new cycle was seen, or something is wrong."""

    def __init__(
        self, guard: Watched, log: RunningLog, clock: Callable[[], float], every: float = EVERY
    ) -> None:
        self._guard = guard
        self._log = log
        self._clock = clock
        self._every = every
        self._last = clock() - every  # the first cycle is told at once
        self._seen = 0

    def beat(self) -> None:
        """Call often; asks the guard at most once in `every` seconds."""
        now = self._clock()
        if now - self._last < self._every:
            return
        seen, cycle, equity = self._log.newest
        status = self._guard.status()
        if seen == self._seen and not status.get("reasons"):
            return
        self._last, self._seen = now, seen
        try:
            trades = self._guard.trades(timeout=PATIENCE)
        except DtmsError:
            trades = None  # the line says so
        logger.bind(child="guard").info("{}", summary(cycle, trades, equity, status))
