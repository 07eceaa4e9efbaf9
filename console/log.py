"""The running log: the event stream and what the code logs, one line each, on one sink.

Only the command `run` calls `configure`; a host that embeds DTMS keeps its own
handlers and hears of everything through `guard.events`.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, TextIO

from loguru import logger

from actors.events import Event, Kind
from console.ends import one_line
from console.words import DEBUG, INFO, line_of
from console.writer import Writer
from defence.errors import DtmsError

if TYPE_CHECKING:
    from loguru import Record

HIDDEN: Final = "***"
WHO_WIDTH: Final = 12
_SHORTEST_SECRET: Final = 4  # characters; hiding less would garble the log

# What these functions log is an event as well, and the event's sentence says more.
_TOLD_BY_EVENTS: Final = frozenset(
    {
        ("actors.incarnation", "_die"),
        ("supervisors.house", "_declare_dead"),
        ("supervisors.house", "_shut_down_by_ops"),
    }
)


class Log:
    """The sink, and the secrets that never reach it."""

    def __init__(self, writer: Writer | None = None) -> None:
        self._secrets: tuple[str, ...] = ()
        self._writer = writer

    def close(self) -> None:
        """Write what waits, and log no more."""
        logger.remove()
        if self._writer is not None:
            self._writer.close()

    def hide(self, secrets: Iterable[str | None]) -> None:
        """Write `***` in place of these texts from now on."""
        found = {one for one in secrets if one is not None and len(one) >= _SHORTEST_SECRET}
        self._secrets = tuple(sorted({*self._secrets, *found}, key=len, reverse=True))

    def clean(self, text: str) -> str:
        """Return `text` without secrets."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text

    def format(self, record: Record) -> str:
        """Return loguru's template of one record: a line, and the trace of a real fault."""
        extra = record["extra"]
        who, number = extra.get("child", "dtms"), extra.get("incarnation")
        extra["who"] = who if not number else f"{who}#{number}"
        extra["line"] = self.clean(one_line(record["message"]))
        trace = _trace(record)
        extra["trace"] = self.clean(trace)
        head = "{time:YYYY-MM-DD HH:mm:ss.SSS!UTC}Z <level>{level: <8}</level>"
        tail = "{extra[trace]}" if trace else ""
        return f"{head} {{extra[who]: <{WHO_WIDTH}}} <level>{{extra[line]}}</level>\n{tail}"


def _trace(record: Record) -> str:
    """Return the trace of an error that nobody foresaw, "" for ours."""
    failure = record["exception"]
    if failure is None or failure.value is None or isinstance(failure.value, DtmsError):
        return ""
    return "".join(traceback.format_exception(failure.value))


def _wanted(record: Record) -> bool:
    told = (record["name"], record["function"]) in _TOLD_BY_EVENTS
    return not told or bool(_trace(record))


def configure(stream: TextIO | None, *, verbose: bool = False, patient: bool = True) -> Log:
    """Make `stream` the one sink of this process, DEBUG too if `verbose`; return the log.

    Colours on a terminal only. Unless `patient`, a thread writes, and whoever
    logs never waits for the stream. None (a program without a window) writes
    nothing.
    """
    logger.remove()
    if stream is None:
        return Log()
    writer = None if patient else Writer(stream)
    log = Log(writer)
    logger.add(
        stream if writer is None else writer,
        level=DEBUG if verbose else INFO,
        format=log.format,
        filter=_wanted,
        colorize=stream.isatty(),
        backtrace=False,
        diagnose=False,  # it would print the values of variables, secrets among them
    )
    return log


class RunningLog:
    """A listener on the event stream: writes each event's sentence, remembers the newest look.

    Called from the actors' threads, so it is quick and never asks an actor.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._symbols: dict[object, object] = {}
        self._equity: float | None = None
        self._cycle: int | None = None
        self._cycle_seq = 0
        self.settled = threading.Event()  # ready, refused or dead

    def __call__(self, event: Event) -> None:
        """Write one event."""
        self._remember(event)
        line = line_of(self._with_symbol(event))
        child = "guard" if event.child is None else event.child
        who = logger.bind(child=child, incarnation=event.incarnation)
        who.log(line.level, "{}", line.text)
        if event.kind in (Kind.GUARD_READY, Kind.START_REFUSED, Kind.DIED):
            self.settled.set()

    @property
    def newest(self) -> tuple[int, int | None, float | None]:
        """How many cycles were seen, the newest one's number, the newest equity."""
        with self._lock:
            return self._cycle_seq, self._cycle, self._equity

    def _remember(self, event: Event) -> None:
        facts = event.facts
        with self._lock:
            if event.kind is Kind.SNAPSHOT:
                equity = facts.get("equity")
                self._equity = equity if isinstance(equity, float) else None
            elif event.kind is Kind.CYCLE:
                cycle = facts.get("cycle")
                self._cycle = cycle if isinstance(cycle, int) else None
                self._cycle_seq += 1
            if facts.get("symbol") is not None and "ticket" in facts:
                self._symbols[facts["ticket"]] = facts["symbol"]

    def _with_symbol(self, event: Event) -> Event:
        """Return the event with its trade's symbol, where an earlier one has told it."""
        ticket = event.facts.get("ticket")
        if ticket is None or "symbol" in event.facts:
            return event
        with self._lock:
            symbol = self._symbols.get(ticket)
        if symbol is None:
            return event
        facts = {**event.facts, "symbol": symbol}
        return Event(event.seq, event.at, event.kind, event.child, event.incarnation, facts)
