"""Hours of kills: does anything grow? Ten virtual hours, then ten real minutes on threads.

A whole guard with trades, orders and registrations, whose children are killed,
crashed and hung one after the other. `python -m benchmarks.soak --minutes 3`
makes the real part shorter or longer.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import threading
import time
import tracemalloc
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from loguru import logger
from rich.console import Console

from actors.names import START_ORDER
from actors.points import Points
from actors.simulated import SimulatedRuntime
from actors.threads import ThreadRuntime
from benchmarks.measure import Options
from benchmarks.report import Table, show
from defence.errors import DtmsError, NotFound
from supervisors import Guard, Settings, Trade
from supervisors.slot import ChildState
from terminals.sim.generated import GeneratedMarket
from terminals.sim.terminal import SimulatedTerminal

BETWEEN: Final = 240.0  # virtual seconds between two ends: each child's own are 24 minutes apart
EVENTS: Final = 1000  # kept here, instead of 20,000: full within the first virtual hour
TRADES: Final = 12  # open at a time
WAKES: Final = 2.0  # real seconds that a hang lasts
HUNG: Final = 1.0  # real seconds after which a handler is hung
WITHIN: Final = 60.0  # seconds for anything that must come
DEATHS: Final = ("kill", "crash", "kill", "crash", "kill", "crash", "kill", "hang")


def run(options: Options) -> list[Table]:
    """Soak; two tables of the virtual hours, one of the real minutes."""
    hours = 2 if options.quick else 10
    seconds = 2.0 if options.quick else 600.0
    return [*virtual(options.folder / "virtual", hours), *real(options.folder / "real", seconds)]


# -- what is looked at


@dataclass(frozen=True, slots=True)
class Look:
    """What a process has. Bytes; -1 where the system does not say."""

    resident: int
    traced: int
    objects: Counter[str]
    threads: int
    files: int


def look() -> Look:
    """Take a look, after the garbage is out."""
    for _ in range(3):
        gc.collect()
    objects = Counter(type(one).__name__ for one in gc.get_objects())
    traced = tracemalloc.get_traced_memory()[0] if tracemalloc.is_tracing() else -1
    return Look(_resident(), traced, objects, threading.active_count(), _files())


def _resident() -> int:
    """Return the process's own resident bytes: pages of a store's file are the system's cache."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return -1
    found = (line.split()[1] for line in lines if line.startswith("RssAnon:"))
    return int(next(found, "-1")) * 1024


def _files() -> int:
    try:
        return len(list(Path("/proc/self/fd").iterdir()))
    except OSError:
        return -1


def grown(first: Look, last: Look, deaths: int) -> Table:
    """Return which types there are more of, most first."""
    table = Table("What there is more of", ("type", "first", "last", "more, for a death"))
    more = Counter({name: n - first.objects[name] for name, n in last.objects.items()})
    for name, n in more.most_common(8):
        if n > 0:
            shown = f"{n / max(1, deaths):.2f}"
            table.add(name, f"{first.objects[name]:,}", f"{last.objects[name]:,}", shown)
    if not table.rows:
        table.add("nothing", "-", "-", "-")
    return table


def where(first: tracemalloc.Snapshot, last: tracemalloc.Snapshot) -> Table:
    """Return which files' lines hold more memory than before, most first."""
    table = Table("Where the memory came from", ("file", "more, KiB", "in pieces"))
    own = [tracemalloc.Filter(inclusive=False, filename_pattern=tracemalloc.__file__)]
    own.append(tracemalloc.Filter(inclusive=False, filename_pattern=__file__))
    found = last.filter_traces(own).compare_to(first.filter_traces(own), "filename")
    for one in found[:8]:
        if one.size_diff > 0:
            place = Path(one.traceback[0].filename)
            name = "/".join(place.parts[-2:])
            table.add(name, f"{one.size_diff / 1024:.1f}", f"{one.count_diff:,}")
    if not table.rows:
        table.add("nowhere", "-", "-")
    return table


# -- a guard that works, and is struck


class Struck:
    """A guard at a simulated terminal, in whose market trades come and go."""

    def __init__(self, folder: Path, runtime: SimulatedRuntime | ThreadRuntime) -> None:
        folder.mkdir(parents=True)
        virtual = isinstance(runtime, SimulatedRuntime)
        self.runtime, self.points = runtime, Points()
        self.terminal = SimulatedTerminal(
            market=GeneratedMarket(seed=1, start=1_700_000_000.0),
            now=runtime.clock.wall,
            speed=0.0,
            step=0.001,
            hang=runtime.hang,
        )
        self.terminal.set_price("EURUSD", 1.1, 1.1001)
        self.terminal.deposit(1e9)
        values: dict[str, Any] = {
            "data_dir": folder / "data",
            "state_dir": folder / "state",
            "adoption": "ignore",
            "chaos": True,
            "quote_stale_after": 1e9,
            "rate_limit": 0.0,
        }
        if not virtual:
            values |= {"interval": 0.05, "check_every": 0.05, "hang_after": HUNG}
            values |= {"backoff_first": 0.0, "max_restarts": 1_000_000}
        self.guard = Guard(
            Settings(**values), runtime=runtime, terminal=self.terminal, points=self.points
        )
        self.guard.events._recent = deque(maxlen=EVENTS)  # noqa: SLF001 - see EVENTS
        self.guard.start()
        self.deaths = 0
        self.registered = 0
        self._open: deque[int] = deque()

    def work(self, nth: int) -> None:
        """Let a trade come, the oldest go, and the price swing by what makes orders."""
        bid = (1.1, 1.0946, 1.13, 1.1211)[nth % 4]
        self.terminal.set_price("EURUSD", bid, round(bid + 0.0001, 5))
        ticket = self.terminal.open_position("EURUSD", "BUY", 0.2, sl=round(bid - 0.01, 5))
        while True:
            try:
                self.guard.register(Trade(ticket=ticket), timeout=20.0)
            except NotFound:
                return  # its stop was hit
            except DtmsError:
                self.pause(0.05)  # a child is between two lives; the same again
            else:
                break
        self.registered += 1
        self._open.append(ticket)
        while len(self._open) > TRADES:
            try:
                self.terminal.close_position(self._open.popleft())
            except NotFound:
                continue  # the market, or the guard, has closed it

    def strike(self, nth: int) -> None:
        """End one life, and wait until the next one is ready."""
        name, how = START_ORDER[nth % len(START_ORDER)], DEATHS[(nth // 6) % len(DEATHS)]
        slot = next(one for one in self.guard._house._slots if one.name == name)  # noqa: SLF001 - its number
        number = slot.number
        if how == "crash":
            self.points.arm(f"{name}.before_reply", _crash)
            with suppress(DtmsError):  # there is no such alert; but they come by that point
                self.guard.admin("acknowledge", alert="none", timeout=WITHIN)
            self.guard.admin("reconcile", timeout=WITHIN)
        elif how == "hang":
            self.guard.admin("hang", child=name, seconds=WAKES, timeout=WITHIN)
            if isinstance(self.runtime, SimulatedRuntime):
                # Two virtual seconds are no hang there: its handlers are judged by 30.
                self.guard.admin("kill", child=name, timeout=WITHIN)
        else:
            self.guard.admin("kill", child=name, timeout=WITHIN)
        self.until(lambda: slot.number > number and slot.state is ChildState.READY)
        self.points.disarm(f"{name}.before_reply")
        self.deaths += 1

    def until(self, condition: Any) -> None:
        """Wait; raises if it does not come to that."""
        if not self.runtime.wait_until(condition, 400.0):
            raise RuntimeError(f"it did not come to that: {self.guard.status()}")

    def pause(self, seconds: float) -> None:
        """Let time pass."""
        if isinstance(self.runtime, SimulatedRuntime):
            self.runtime.run_for(seconds)
        else:
            time.sleep(seconds)


def _crash() -> None:
    raise RuntimeError("struck by the soak")


@contextmanager
def _in_silence() -> Iterator[None]:
    """Have no log lines: thousands of deaths are no news here."""
    for name in ("actors", "supervisors"):
        logger.disable(name)
    try:
        yield
    finally:
        for name in ("actors", "supervisors"):
            logger.enable(name)


# -- virtual hours


@dataclass(frozen=True, slots=True)
class Soaked:
    """What virtual hours of ends came to: a look an hour, memory by file at the first and last."""

    looks: list[Look]
    shots: list[tracemalloc.Snapshot]
    deaths: list[int]  # until each look
    registered: int


def soak(folder: Path, hours: int, *, trace: bool = True) -> Soaked:
    """Let so many virtual hours pass, with an end each four minutes; `trace` memory, or go fast."""
    soaked = Soaked([], [], [], 0)
    with _in_silence():
        runtime = SimulatedRuntime(1, keep=1000)
        struck = Struck(folder, runtime)
        if trace:
            tracemalloc.start(1)
        try:
            began, nth = runtime.clock.monotonic(), 0
            for hour in range(1, hours + 1):
                while runtime.clock.monotonic() < began + 3600.0 * hour:
                    at = runtime.clock.monotonic()
                    struck.work(nth)
                    struck.strike(nth)
                    nth += 1
                    runtime.run_for(max(0.0, at + BETWEEN - runtime.clock.monotonic()))
                soaked.looks.append(look())
                soaked.deaths.append(struck.deaths)
                if trace and hour in (1, hours):
                    soaked.shots.append(tracemalloc.take_snapshot())
        finally:
            tracemalloc.stop()
            struck.guard.stop()
    return replace(soaked, registered=struck.registered)


def virtual(folder: Path, hours: int) -> list[Table]:
    """Return what grew in so many virtual hours."""
    table = Table(
        f"{hours} virtual hours of ends, one each {BETWEEN:g} s",
        ("hour", "ends", "traced", "own memory", "objects", "threads", "files"),
    )
    soaked = soak(folder, hours)
    for hour, (one, deaths) in enumerate(zip(soaked.looks, soaked.deaths, strict=True), 1):
        table.add(f"{hour}", f"{deaths:,}", *_cells(one))
    table.notes.append(f"{soaked.registered} trades came and went; {EVENTS} events were kept")
    table.notes.append("TradeDeal and TradeOrder are the simulated broker's books, not the guard's")
    more = grown(soaked.looks[0], soaked.looks[-1], soaked.deaths[-1] - soaked.deaths[0])
    places = where(soaked.shots[0], soaked.shots[-1])
    places.notes.append("terminals: the simulated broker's books; collections: the counts above")
    return [table, more, places]


def _cells(one: Look) -> tuple[str, ...]:
    return (
        "-" if one.traced < 0 else f"{one.traced / 2**20:.2f} MiB",
        "unknown" if one.resident < 0 else f"{one.resident / 2**20:.1f} MiB",
        f"{one.objects.total():,}",
        f"{one.threads}",
        "unknown" if one.files < 0 else f"{one.files}",
    )


# -- real minutes


def real(folder: Path, seconds: float) -> list[Table]:
    """Kill on real threads for so long, as fast as the children get ready again."""
    table = Table(
        f"{seconds:g} real seconds of ends on threads",
        ("second", "ends", "traced", "own memory", "objects", "threads", "files"),
    )
    before = threading.active_count()
    with _in_silence():
        struck = Struck(folder, ThreadRuntime())
        try:
            began, nth, looked, seen = time.monotonic(), 0, 0, list[tuple[Look, int]]()
            looks = 10
            while (spent := time.monotonic() - began) < seconds:
                if spent >= seconds * looked / looks:
                    _rest(struck)
                    seen.append((look(), struck.deaths))
                    table.add(f"{spent:.0f}", f"{struck.deaths:,}", *_cells(seen[-1][0]))
                    looked += 1
                struck.work(nth)
                if nth % 24 == 0:
                    for name in START_ORDER:
                        struck.guard.admin("reset-budget", child=name, timeout=WITHIN)
                struck.strike(nth)
                nth += 1
            _rest(struck)
            seen.append((look(), struck.deaths))
            table.add(f"{time.monotonic() - began:.0f}", f"{struck.deaths:,}", *_cells(seen[-1][0]))
        finally:
            struck.guard.stop()
    table.notes.append("looked at when those that hung had woken up and gone")
    more = threading.active_count() - before
    table.notes.append(f"threads more than before, when the guard has stopped: {more}")
    # Not from the first look: until the events are at their cap, they are what grows.
    (first, deaths), (last, all_deaths) = seen[len(seen) // 2], seen[-1]
    kinds = grown(first, last, all_deaths - deaths)
    kinds.notes.append("TradeDeal, TradeOrder, TradeRequest: the simulated broker's books")
    return [table, kinds]


def _rest(struck: Struck) -> None:
    """Let those that hung wake up and end."""
    children = {f"dtms-{one.name}-{one.number}" for one in struck.guard._house._slots}  # noqa: SLF001 - who lives

    def only_the_living() -> bool:
        names = {one.name for one in threading.enumerate() if one.name.startswith("dtms-")}
        old = {name for name in names - children if name.rpartition("-")[2].isdigit()}
        return not old - {"dtms-root-1"}

    struck.until(only_the_living)


def main() -> None:
    """Soak by hand."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--hours", type=int, default=10, help="virtual hours; 0 is none")
    parser.add_argument("--minutes", type=float, default=10.0, help="real minutes; 0 is none")
    given = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 130)
    with tempfile.TemporaryDirectory(prefix="dtms-soak-") as folder:
        if given.hours:
            for table in virtual(Path(folder) / "virtual", given.hours):
                show(console, table)
        if given.minutes:
            for table in real(Path(folder) / "real", given.minutes * 60.0):
                show(console, table)


if __name__ == "__main__":
    main()
