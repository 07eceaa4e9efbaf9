"""The one stream of facts that the log, health, metrics, traces and tests read.

Every number that DTMS shows is a fold of this stream (DESIGN, The actors).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from actors.clock import Clock
from actors.log import log


class Kind(StrEnum):
    """What can happen. The value is what logs and programs see."""

    # the guard
    STAGE = "stage"  # a step of the start or the stop was taken
    GUARD_READY = "guard_ready"
    START_REFUSED = "start_refused"
    STOPPING = "stopping"
    STOPPED = "stopped"
    DIED = "died"
    HOST_PAUSED = "host_paused"
    # a child's life
    STARTED = "started"
    READY = "ready"
    PARKED = "parked"
    UNPARKED = "unparked"
    EXITED = "exited"
    FENCED = "fenced"
    CHARGED = "charged"
    RESTARTING = "restarting"
    ESCALATED = "escalated"
    BUDGET = "budget"
    BUDGET_RESET = "budget_reset"
    STALE_REPORT = "stale_report"
    POISONED = "poisoned"
    LEAKED = "leaked"  # a hung thread stayed behind, or has ended at last; `threads` counts them
    DEAD_LETTER = "dead_letter"
    # the terminal
    CONNECTING = "connecting"
    CONNECT_FAILED = "connect_failed"
    CONNECTED = "connected"
    TERMINAL_LOST = "terminal_lost"
    TERMINAL_BACK = "terminal_back"
    SNAPSHOT = "snapshot"
    CANNOT_ACT = "cannot_act"
    FROZEN = "frozen"  # whether the Connector was told to send nothing
    TERMINAL_UPDATED = "terminal_updated"  # it came back, or went on, with another build
    # the trades
    REGISTERED = "registered"
    RELEASED = "released"
    TRADE_CHANGED = "trade_changed"
    BOOK = "book"
    RECONCILED = "reconciled"
    CYCLE = "cycle"
    WOULD = "would"
    INTENT = "intent"
    OUTCOME = "outcome"
    # people
    ALERT = "alert"
    ACKNOWLEDGED = "acknowledged"
    COMMAND = "command"
    CONTROL = "control"
    SET_ASIDE = "set_aside"
    BACKUP = "backup"
    BACKUP_FAILED = "backup_failed"
    STORE_FAILS = "store_fails"  # it takes no writes
    STORE_WORKS = "store_works"  # it takes them again


@dataclass(frozen=True, slots=True)
class Event:
    """One fact. `at` is UTC epoch seconds; `facts` holds plain values only."""

    seq: int
    at: float
    kind: Kind
    child: str | None = None
    incarnation: int | None = None
    facts: Mapping[str, object] = field(default_factory=dict)

    def line(self) -> str:
        """Return the event as one readable line, the same for the same event."""
        who = "guard" if self.child is None else self.child
        if self.incarnation is not None:
            who = f"{who}#{self.incarnation}"
        words = " ".join(f"{name}={value}" for name, value in self.facts.items())
        return f"{who} {self.kind.value} {words}".rstrip()


class Fold(Protocol):
    """Something that is computed from the stream, event by event."""

    def apply(self, event: Event) -> None:
        """Take one event into account; quick, and never raises."""
        ...


class EventStream:
    """Numbers events, folds them, keeps the newest and hands them on.

    Folds are applied under the stream's lock, so they see every event once
    and in order. Listeners are called outside of it, because they may be the
    host's code; a listener that raises is reported and never harms the caller.
    """

    def __init__(self, clock: Clock, keep: int = 20_000) -> None:
        self._clock = clock
        self._lock = threading.RLock()
        self._seq = 0
        self._recent: deque[Event] = deque(maxlen=keep)
        self._folds: list[Fold] = []
        self._listeners: list[Callable[[Event], None]] = []

    def add_fold(self, fold: Fold) -> None:
        """Apply every later event to `fold`."""
        with self._lock:
            self._folds.append(fold)

    def listen(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Call `listener` with every later event; return the way to end that."""
        with self._lock:
            self._listeners = [*self._listeners, listener]

        def forget() -> None:
            with self._lock:
                self._listeners = [one for one in self._listeners if one is not listener]

        return forget

    def publish(
        self,
        kind: Kind,
        child: str | None = None,
        incarnation: int | None = None,
        /,
        **facts: object,
    ) -> Event:
        """Add a fact to the stream and return it. A fact may have any name, `child` too."""
        with self._lock:
            self._seq += 1
            event = Event(self._seq, self._clock.wall(), kind, child, incarnation, facts)
            self._recent.append(event)
            for fold in self._folds:
                fold.apply(event)
            listeners = self._listeners
        for listener in listeners:
            try:
                listener(event)
            except BaseException as error:  # a host's listener must not harm an actor
                here = threading.current_thread() is threading.main_thread()
                if here and not isinstance(error, Exception):
                    raise  # the host's own Ctrl-C, or its end
                log.opt(exception=True).error("an event listener failed on {}", event.kind)
        return event

    def since(self, seq: int = 0) -> list[Event]:
        """Return the kept events that came after number `seq`, oldest first."""
        with self._lock:
            return [event for event in self._recent if event.seq > seq]

    @property
    def newest(self) -> int:
        """Return the number of the newest event."""
        with self._lock:
            return self._seq
