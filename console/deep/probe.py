"""Calls that are timed, and what was seen, assumption by assumption."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Any

from console.deep.table import ASSUMPTIONS
from terminals.protocol import Terminal


class Verdict(StrEnum):
    """What a trial came to."""

    AS_ASSUMED = "as assumed"
    DEVIATES = "deviates"
    NOT_TRIED = "not tried"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was seen of one assumption; why not, if it was not tried."""

    verdict: Verdict
    seen: str


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a call took, in milliseconds."""

    count: int
    p50: float
    p99: float
    longest: float


class Probe:
    """One terminal, the times of its calls, and the findings so far."""

    def __init__(self, terminal: Terminal, clock: Callable[[], float] = time.perf_counter) -> None:
        """`clock` counts seconds."""
        self.terminal = terminal
        self.findings: dict[str, Finding] = {}
        self.folder = ""  # that the terminal showed when it was connected
        self._clock = clock
        self._times: dict[str, list[float]] = {}

    def call(self, name: str, /, *args: Any, **named: Any) -> Any:
        """Make a call of the terminal and note how long it took."""
        began = self._clock()
        try:
            return getattr(self.terminal, name)(*args, **named)
        finally:
            self._times.setdefault(name, []).append(self._clock() - began)

    @property
    def error(self) -> tuple[int, str]:
        """`last_error` of the newest call."""
        return self.terminal.last_error()

    @property
    def said(self) -> str:
        """What `last_error` says of the newest call, for people."""
        code, text = self.error
        return f"{text} ({code})"

    def saw(self, name: str, as_assumed: bool, seen: object) -> bool:
        """Note what was seen; a deviation that was seen before stays."""
        before = self.findings.get(ASSUMPTIONS[name].id)
        if before is None or before.verdict is not Verdict.DEVIATES:
            verdict = Verdict.AS_ASSUMED if as_assumed else Verdict.DEVIATES
            self.findings[name] = Finding(verdict, str(seen))
        return as_assumed

    def skip(self, why: str, *names: str) -> None:
        """Note why assumptions could not be tried, unless something was seen of them."""
        for name in names:
            self.findings.setdefault(ASSUMPTIONS[name].id, Finding(Verdict.NOT_TRIED, why))

    def empty(self, name: str, answer: object) -> None:
        """Note whether `answer` is the confirmed "nothing" on which trades are given up."""
        code, text = self.error
        self.saw(name, answer == () and code == 1, f"{shown(answer)}, {code} {text}")

    def fields(self, name: str, row: Any, known: type) -> None:
        """Note whether a row has exactly the fields that are known, in their order."""
        found, wanted = tuple(row._asdict()), tuple(known.__annotations__)
        if found == wanted:
            self.saw(name, True, f"{len(found)} fields")
            return
        missing = [one for one in wanted if one not in found]
        more = [one for one in found if one not in wanted]
        self.saw(name, False, f"missing {missing}, more {more}" if missing or more else "reordered")

    def attempt(self, trial: Callable[[], object], *names: str) -> None:
        """Carry out a trial; what it raises is what was seen of the rest of `names`."""
        try:
            trial()
        except Exception as error:  # noqa: BLE001 - one broken call must not hide the others
            for name in names:
                if name not in self.findings:
                    self.saw(name, False, f"raised {type(error).__name__}: {error}")

    def timings(self) -> dict[str, Timing]:
        """Return how long each call took, by its name."""
        return {name: _timing(times) for name, times in sorted(self._times.items())}


def shown(answer: object) -> str:
    """Return an answer as a few words: rows are not listed."""
    if isinstance(answer, tuple | list) and answer:
        return f"{len(answer)} rows"
    return f"{answer!r:.60}"


def _timing(seconds: list[float]) -> Timing:
    ordered = sorted(one * 1000 for one in seconds)
    place = min(len(ordered) - 1, int(0.99 * len(ordered)))
    return Timing(len(ordered), median(ordered), ordered[place], ordered[-1])
