"""Health as a fold of the event stream: asking never waits for an actor."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from actors.events import Event, Kind
from actors.monitor import ARMED, OBSERVE
from actors.names import MONITOR, START_ORDER
from supervisors.slot import ChildState


@dataclass(frozen=True, slots=True)
class ChildView:
    """What is known of a child."""

    state: ChildState = ChildState.PENDING
    incarnation: int = 0
    restarts_in_window: int = 0
    budget_left: int = 0
    last_exit: str | None = None
    parked: str | None = None
    failures: tuple[str, ...] = ()
    poisoned: int = 0  # messages set aside since the start of the process


@dataclass(frozen=True, slots=True)
class Seen:
    """All that is folded. Times are UTC epoch seconds of the guard's clock."""

    phase: str = "starting"  # starting, ready, refused, stopping, stopped, died
    cause: str | None = None
    children: Mapping[str, ChildView] = field(default_factory=dict)
    account: Mapping[str, object] | None = None
    terminal: Mapping[str, object] | None = None
    lost: str | None = None
    cannot_act: str | None = None
    snapshot_at: float | None = None
    connect_error: str | None = None
    told: str = OBSERVE  # by the Monitor
    frozen: bool = False  # so the Connector
    paused: str | None = None
    active_trades: int = 0
    observed: int = 0
    in_doubt: int = 0
    cycle: int = 0
    cycle_at: float | None = None
    cycle_facts: Mapping[str, object] = field(default_factory=dict)
    reconciled_at: float | None = None
    backup: Mapping[str, Any] | None = None  # the newest: when, and where
    paused_host_at: float | None = None
    leaked_threads: int = 0  # of hung incarnations, that have not ended yet
    failing: Mapping[str, str] = field(default_factory=dict)  # store -> why it takes no writes

    @property
    def mode(self) -> str:
        """What happens to decisions: they are sent only if Monitor and Connector both do so."""
        return OBSERVE if self.frozen else self.told


_STATES: dict[Kind, ChildState] = {
    Kind.STARTED: ChildState.STARTING,
    Kind.READY: ChildState.READY,
    Kind.RESTARTING: ChildState.BACKOFF,
    Kind.ESCALATED: ChildState.ESCALATED,
}

VITAL_STORES = ("trades",)
_ENDINGS = (Kind.STOPPING, Kind.STOPPED)


class Overview:
    """Folds the stream into `Seen`; `apply` is called under the stream's lock."""

    def __init__(self, children: tuple[str, ...] = START_ORDER) -> None:
        self._lock = threading.Lock()
        self._seen = Seen(children={name: ChildView() for name in children})

    @property
    def seen(self) -> Seen:
        """Everything, as of the newest event."""
        with self._lock:
            return self._seen

    def apply(self, event: Event) -> None:
        """Take one event into account."""
        with self._lock:
            self._seen = _fold(self._seen, event)


def _fold(seen: Seen, event: Event) -> Seen:
    name = event.child
    if name is not None and name in seen.children:
        view = _fold_child(seen.children[name], event)
        if view is not seen.children[name]:
            seen = replace(seen, children={**seen.children, name: view})
    if event.kind in (Kind.STORE_FAILS, Kind.STORE_WORKS):
        return replace(seen, failing=_failing(seen.failing, event))
    change = _CHANGES.get(event.kind)
    if change is None or (event.kind in _ENDINGS and seen.phase in ("refused", "died")):
        return seen  # how it ended matters more than that it was tidied up
    return replace(seen, **change(event))


def _failing(failing: Mapping[str, str], event: Event) -> Mapping[str, str]:
    facts: Mapping[str, Any] = event.facts
    others = {store: why for store, why in failing.items() if store != facts["store"]}
    if event.kind is Kind.STORE_WORKS:
        return others
    why = f"{facts['code']}: the store {facts['store']!r} takes no writes: {facts['reason']}"
    return {**others, facts["store"]: why}


def _fold_child(view: ChildView, event: Event) -> ChildView:
    facts: Mapping[str, Any] = event.facts
    kind = event.kind
    if kind in _STATES:
        view = replace(view, state=_STATES[kind])
    if kind is Kind.STARTED:
        view = replace(view, incarnation=event.incarnation or 0, parked=None)
    elif kind is Kind.EXITED:
        last = f"{facts['how']}: {facts['error']}".rstrip(": ")
        view = replace(view, last_exit=last, state=ChildState.STOPPED, parked=None)
    elif kind is Kind.ESCALATED:
        view = replace(view, failures=tuple(facts["failures"]))
    elif kind in (Kind.CHARGED, Kind.BUDGET, Kind.BUDGET_RESET):
        view = replace(
            view,
            restarts_in_window=facts["restarts_in_window"],
            budget_left=facts["budget_left"],
        )
    elif kind is Kind.PARKED:
        view = replace(view, parked=facts["reason"])
    elif kind is Kind.UNPARKED:
        view = replace(view, parked=None)
    elif kind is Kind.POISONED:
        view = replace(view, poisoned=view.poisoned + 1)
    return view


_CHANGES: dict[Kind, Callable[[Event], dict[str, Any]]] = {
    Kind.GUARD_READY: lambda _: {"phase": "ready", "cause": None},
    Kind.START_REFUSED: lambda e: {"phase": "refused", "cause": e.facts["cause"]},
    Kind.STOPPING: lambda _: {"phase": "stopping"},
    Kind.STOPPED: lambda _: {"phase": "stopped"},
    Kind.DIED: lambda e: {"phase": "died", "cause": e.facts["cause"]},
    Kind.CONNECTED: lambda e: {
        "account": {name: e.facts[name] for name in ("login", "server", "currency", "margin_mode")},
        "terminal": {name: e.facts[name] for name in ("terminal", "real", "build")},
        "connect_error": None,
        "lost": None,
    },
    Kind.CONNECT_FAILED: lambda e: {"connect_error": e.facts["error"]},
    Kind.TERMINAL_LOST: lambda e: {"lost": e.facts["reason"]},
    Kind.TERMINAL_BACK: lambda _: {"lost": None},
    Kind.CANNOT_ACT: lambda e: {"cannot_act": e.facts["reason"]},
    Kind.FROZEN: lambda e: {"frozen": e.facts["frozen"]},
    Kind.TERMINAL_UPDATED: lambda e: {
        "terminal": {name: e.facts[name] for name in ("terminal", "real", "build")}
    },
    Kind.SNAPSHOT: lambda e: {"snapshot_at": e.at},
    Kind.CONTROL: lambda e: {
        "told": e.facts["mode"],
        "paused": f"paused by {e.facts['by']}" if e.facts["paused"] else None,
    },
    Kind.BOOK: lambda e: {
        "active_trades": e.facts["active"],
        "observed": e.facts["observed"],
        "in_doubt": e.facts["in_doubt"],
    },
    Kind.CYCLE: lambda e: {
        "cycle": e.facts["cycle"],
        "cycle_at": e.at,
        "cycle_facts": e.facts,
    },
    Kind.RECONCILED: lambda e: {"reconciled_at": e.at},
    Kind.BACKUP: lambda e: {"backup": {"at": e.facts["taken_at"], "path": e.facts["path"]}},
    Kind.HOST_PAUSED: lambda e: {"paused_host_at": e.at},
    Kind.LEAKED: lambda e: {"leaked_threads": e.facts["threads"]},
}


@dataclass(frozen=True, slots=True)
class Health:
    """Whether people may be told "ready", and why not. `status` is the HTTP status."""

    status: int
    ready: bool
    initialized: bool
    monitoring_active: bool
    active_trades: int
    reasons: tuple[str, ...]


def health(
    seen: Seen, *, now: float, stale_after: float, no_cycle_after: float, vital: tuple[str, ...]
) -> Health:
    """Judge health: 200 ready, 503 not initialised or not ready, 500 initialisation failed.

    Times in seconds. Ages count by their size: after the clock was set back,
    what carries a later time says nothing of now either.
    """
    reasons = list(_reasons(seen, now, stale_after, vital))
    if seen.phase == "ready" and not reasons and seen.paused is None:
        age = None if seen.cycle_at is None else abs(now - seen.cycle_at)
        if age is None or age > no_cycle_after:
            parked = seen.children.get(MONITOR, ChildView()).parked
            why = f" ({parked})" if parked else ""
            reasons.append(f"no cycle for {age or 0.0:.0f} s{why}")
    initialized = seen.phase in ("ready", "stopping")
    ready = seen.phase == "ready" and not reasons
    monitor = seen.children.get(MONITOR, ChildView())
    active = ready and monitor.state is ChildState.READY and seen.paused is None
    if seen.paused is not None:
        reasons.append(seen.paused)
    reasons.extend(
        f"{name} is escalated (degraded)"
        for name, view in seen.children.items()
        if name not in vital and view.state is ChildState.ESCALATED
    )
    reasons.extend(
        f"{why} (degraded)" for store, why in seen.failing.items() if store not in VITAL_STORES
    )
    status = 500 if seen.phase == "refused" else 200 if ready else 503
    return Health(status, ready, initialized, active, seen.active_trades, tuple(reasons))


def _reasons(seen: Seen, now: float, stale_after: float, vital: tuple[str, ...]) -> list[str]:
    if seen.phase == "starting":
        waiting = next(
            (n for n, view in seen.children.items() if view.state is not ChildState.READY), None
        )
        error = f": {seen.connect_error}" if seen.connect_error else ""
        return [f"starting, waiting for {waiting}{error}" if waiting else "starting"]
    if seen.phase != "ready":
        words = {"refused": "initialisation failed", "died": "the guard has died"}
        text = words.get(seen.phase, seen.phase)
        return [f"{text}: {seen.cause}" if seen.cause else text]
    reasons: list[str] = []
    for name in vital:
        view = seen.children[name]
        if view.state is ChildState.ESCALATED:
            last = view.failures[-1] if view.failures else view.last_exit
            reasons.append(f"{name} escalated: restart budget used up; last failure: {last}")
        elif view.state is not ChildState.READY:
            why = view.parked or view.last_exit
            reasons.append(f"{name} is {view.state.value}" + (f" ({why})" if why else ""))
    age = None if seen.snapshot_at is None else abs(now - seen.snapshot_at)
    if age is None or age > stale_after:
        known = "never" if age is None else f"{age:.0f} s ago"
        why = f" ({seen.lost})" if seen.lost else ""
        reasons.append(f"the broker was last read {known}{why}")
    # What cannot be journalled is not sent, and nothing new is accepted.
    reasons.extend(why for store, why in seen.failing.items() if store in VITAL_STORES)
    if seen.cannot_act is not None and seen.mode == ARMED:
        reasons.append(f"cannot_act: {seen.cannot_act}")
    return reasons
