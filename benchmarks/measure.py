"""Numbers out of samples: percentiles, medians over rounds and their spread."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Protocol


@dataclass(frozen=True, slots=True)
class Options:
    """How a benchmark is run. `folder` is on the disk that is measured; it exists and is empty."""

    folder: Path
    quick: bool = False

    def size(self, *, quick: int, full: int) -> int:
        """Return a size for this run."""
        return quick if self.quick else full


@dataclass(frozen=True, slots=True)
class Round:
    """One round of one contender: how long it took, and each call's latency, both in seconds."""

    took: float
    latencies: Sequence[float]
    done: int

    @property
    def rate(self) -> float:
        """Records a second."""
        return self.done / self.took if self.took > 0 else 0.0


class Spread(NamedTuple):
    """A median over rounds, with the least and the most."""

    middle: float
    least: float
    most: float


def spread(values: Iterable[float]) -> Spread:
    """Return median, least and most of at least one value."""
    found = sorted(values)
    return Spread(statistics.median(found), found[0], found[-1])


def percentile(samples: Sequence[float], share: float) -> float:
    """Return the smallest sample that at least `share` (0 to 1) of them do not exceed."""
    found = sorted(samples)
    return found[min(len(found) - 1, max(0, -(-int(share * 1e6) * len(found) // 10**6) - 1))]


class Contender(Protocol):
    """One way to store acknowledged records."""

    name: str

    def prepare(self, count: int) -> None:
        """Do what is not to be timed, before a round of `count` records."""

    def store(self, nth: int) -> None:
        """Store the `nth` record of the round; durable when it returns. From any thread."""

    def tidy(self) -> None:
        """Undo what `prepare` did; not timed."""

    def close(self) -> None:
        """End for good."""


def timed(contender: Contender, callers: int, count: int) -> Round:
    """Have `callers` threads store `count` records; each sends its next when the last is done."""
    contender.prepare(count)
    start = threading.Barrier(callers + 1)
    shares = [range(first, count, callers) for first in range(callers)]
    latencies: list[list[float]] = [[] for _ in shares]
    failures: list[BaseException] = []

    def caller(mine: range, into: list[float]) -> None:
        start.wait()
        try:
            for nth in mine:
                began = time.perf_counter()
                contender.store(nth)
                into.append(time.perf_counter() - began)
        except BaseException as error:  # noqa: BLE001 - raised again below, on the main thread
            failures.append(error)

    threads = [
        threading.Thread(target=caller, args=pair, daemon=True)
        for pair in zip(shares, latencies, strict=True)
    ]
    for thread in threads:
        thread.start()
    start.wait()
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    took = time.perf_counter() - began
    contender.tidy()
    if failures:
        raise failures[0]
    return Round(took, list(chain.from_iterable(latencies)), count)


def interleaved(
    contenders: Sequence[Contender], rounds: int, one: Callable[[Contender], Round]
) -> dict[str, list[Round]]:
    """Give each contender its turn in every round, in turning order: a drifting disk hits all."""
    found: dict[str, list[Round]] = {contender.name: [] for contender in contenders}
    for nth in range(rounds):
        turn = nth % len(contenders)
        for contender in (*contenders[turn:], *contenders[:turn]):
            found[contender.name].append(one(contender))
    return found


def ratios(ours: Sequence[Round], theirs: Sequence[Round]) -> Spread:
    """Return ours over theirs, round by round: what hit both drops out."""
    return spread(a.rate / b.rate for a, b in zip(ours, theirs, strict=True))
