"""What supervision costs: a death to the next message, a hang, an ask, a tell, a start.

Beside raw pykka, which supervises nothing, and Thespian, which does, each
message between processes.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import pykka
from loguru import logger

from actors.life import Hang, Kill
from actors.mailbox import Lane
from benchmarks import thespian_side
from benchmarks.measure import Options, percentile, spread
from benchmarks.report import Table, milliseconds, rate
from benchmarks.small_house import WITHIN, Echo, Echoing, SmallHouse, Wait, house

CHILD: Final = "child"
HANG_AFTER: Final = 0.2  # seconds


class RawEcho(pykka.ThreadingActor):
    """Raw pykka's actor that answers."""

    use_daemon_thread = True

    def on_receive(self, message: Any) -> Any:
        """Answer an `Echo`."""
        return message.value


def run(options: Options) -> list[Table]:
    """Measure; four tables, and Thespian's."""
    with _to_nowhere():
        return [
            _deaths(options),
            _hangs(options),
            _messages(options),
            _starts(options),
            thespian_side.table(options),
        ]


@contextmanager
def _to_nowhere() -> Iterator[None]:
    """Have log lines formatted and written as ever, but not on the screen."""
    logger.remove()
    with open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123 - it is no file
        logger.add(nowhere, level="WARNING")
        try:
            yield
        finally:
            logger.remove()
            logger.add(sys.stderr, level="WARNING")


# -- deaths


def _deaths(options: Options) -> Table:
    count = options.size(quick=10, full=1000)
    crowd = options.size(quick=500, full=10_000)
    table = Table(
        "From the kill to the replacement's first handled message",
        ("waiting messages", "deaths", "p50", "p90", "p99", "worst"),
    )
    with house() as made:
        for _ in range(min(20, count)):
            _one_death(made, 0)  # warm
        _add_spread(table, "none but one", [_one_death(made, 0) for _ in range(count)])
        few = max(5, count // 10)
        _add_spread(table, f"{crowd:,}", [_one_death(made, crowd) for _ in range(few)])
    table.notes.append("killed by a message; the log line of the death is written; to nowhere")
    table.notes.append("to reach: p99 under 20 ms")
    return table


def _add_spread(table: Table, name: str, took: Sequence[float]) -> None:
    shares = (0.5, 0.9, 0.99, 1.0)
    cells = [milliseconds(percentile(took, share)) for share in shares]
    table.add(name, f"{len(took):,}", *cells)


def _one_death(made: SmallHouse, waiting: int) -> float:
    """Kill it once, with so many messages waiting; return the seconds to the first one handled."""
    address, lives = made.address(CHILD), made.made[CHILD]
    number = len(lives)
    gate = threading.Event()
    address.tell(Wait(gate), lane=Lane.CONTROL)
    for _ in range(max(1, waiting)):
        address.tell(Echo())
    address.tell(Kill(), lane=Lane.CONTROL)
    began = time.perf_counter()
    gate.set()
    successor = _next_life(lives, number)
    _until(lambda: successor.first_at is not None)
    if waiting:
        address.ask(Echo(), timeout=WITHIN)  # behind all the others
    assert successor.first_at is not None
    return successor.first_at - began


def _next_life(lives: list[Echoing], number: int) -> Echoing:
    _until(lambda: len(lives) > number)
    return lives[number]


def _until(condition: Callable[[], bool]) -> None:
    end = time.perf_counter() + WITHIN
    while not condition():
        if time.perf_counter() > end:
            raise RuntimeError("the replacement did not come")
        time.sleep(0.0005)


# -- hangs


def _hangs(options: Options) -> Table:
    count = options.size(quick=2, full=40)
    table = Table(
        f"From a hang to the replacement's first message, beyond hang_after ({HANG_AFTER} s)",
        ("looks every", "hangs", "p50", "p90", "p99", "worst"),
    )
    for every in (0.05,) if options.quick else (1.0, 0.05):
        with house(check_every=every, hang_after=HANG_AFTER) as made:
            took = []
            for nth in range(count):
                time.sleep(every * nth / count)  # at every moment between two looks
                took.append(_one_hang(made))
            _add_spread(table, f"{every:g} s", took)
    table.notes.append(
        "a hang is seen at a look: at most one interval later, half of it on average"
    )
    return table


def _one_hang(made: SmallHouse) -> float:
    address, lives = made.address(CHILD), made.made[CHILD]
    number = len(lives)
    address.tell(Hang(3 * HANG_AFTER + 2.0), lane=Lane.CONTROL)  # it ends by itself, later
    began = time.perf_counter()
    address.tell(Echo())
    successor = _next_life(lives, number)
    _until(lambda: successor.first_at is not None)
    assert successor.first_at is not None
    return successor.first_at - began - HANG_AFTER


# -- messages


def _messages(options: Options) -> Table:
    asks = options.size(quick=50, full=4000)
    tells = options.size(quick=200, full=40_000)
    rounds = options.size(quick=2, full=9)
    table = Table(
        "Messages, against raw pykka in the same run",
        ("what", "DTMS", "pykka", "DTMS takes", "least", "most"),
    )
    raw, last = RawEcho.start(), Echo()
    try:
        with house() as made:
            address = made.address(CHILD)
            pairs: list[tuple[str, Callable[[], float], Callable[[], float]]] = [
                (
                    "ask",
                    lambda: _timed(asks, lambda: address.ask(Echo(7), timeout=5.0)),
                    lambda: _timed(asks, lambda: raw.ask(Echo(7))),
                ),
                (
                    "ask, both with a time-out",
                    lambda: _timed(asks, lambda: address.ask(Echo(7), timeout=5.0)),
                    lambda: _timed(asks, lambda: raw.ask(Echo(7), timeout=5.0)),
                ),
                (
                    "tell, until all are handled",
                    lambda: _flood(
                        tells, address.tell, lambda: address.ask(Echo(), timeout=WITHIN)
                    ),
                    lambda: _flood(tells, raw.tell, lambda: raw.ask(last)),
                ),
            ]
            for name, ours, theirs in pairs:
                _compare(table, name, ours, theirs, rounds)
    finally:
        raw.stop()
    table.notes.append(f"medians of {rounds} rounds that take turns; ratios round by round")
    table.notes.append("to reach: an ask at most 1.3 times raw pykka's")
    return table


def _compare(
    table: Table, name: str, ours: Callable[[], float], theirs: Callable[[], float], rounds: int
) -> None:
    """Add a row of seconds a message, and how they relate."""
    ours(), theirs()  # warm
    pairs: list[tuple[float, float]] = []
    for nth in range(rounds):
        if nth % 2:
            second = theirs()
            pairs.append((ours(), second))
        else:
            pairs.append((ours(), theirs()))
    ratio = spread(a / b for a, b in pairs)
    cells = (
        _microseconds(spread(a for a, _ in pairs).middle),
        _microseconds(spread(b for _, b in pairs).middle),
    )
    table.add(name, *cells, *(f"{value:.2f} x" for value in ratio))


def _timed(count: int, call: Callable[[], object]) -> float:
    """Return the seconds that one of `count` calls takes."""
    began = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - began) / count


def _flood(count: int, tell: Callable[[Echo], None], barrier: Callable[[], object]) -> float:
    """Return the seconds a message from the first tell until the last is handled."""
    message = Echo()
    began = time.perf_counter()
    for _ in range(count):
        tell(message)
    barrier()
    return (time.perf_counter() - began) / count


def _microseconds(seconds: float) -> str:
    return f"{seconds * 1e6:.1f} us"


# -- starts


def _starts(options: Options) -> Table:
    rounds = options.size(quick=2, full=30)
    table = Table(
        "A supervised start until ready, against raw pykka starts until each has answered",
        ("children", "DTMS", "pykka", "DTMS takes", "children a second"),
    )
    for children in (1, 10):
        pairs = [(_our_start(children), _raw_start(children)) for _ in range(rounds)]
        ours = spread(a for a, _ in pairs).middle
        theirs = spread(b for _, b in pairs).middle
        ratio = spread(a / b for a, b in pairs).middle
        table.add(
            f"{children}",
            milliseconds(ours),
            milliseconds(theirs),
            f"{ratio:.2f} x",
            rate(children / ours),
        )
    table.notes.append(
        "DTMS starts a root too, and each child after the one before it is ready; "
        f"medians of {rounds} rounds"
    )
    return table


def _our_start(children: int) -> float:
    made = SmallHouse([f"child{nth}" for nth in range(children)])
    began = time.perf_counter()
    made.start()
    took = time.perf_counter() - began
    made.stop()
    return took


def _raw_start(children: int) -> float:
    began = time.perf_counter()
    refs = []
    for _ in range(children):
        refs.append(RawEcho.start())
        refs[-1].ask(Echo())  # `start` returns before it runs (TRAPS, 4)
    took = time.perf_counter() - began
    for ref in refs:
        ref.stop()
    return took
