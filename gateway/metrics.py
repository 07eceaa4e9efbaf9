"""GET /metrics: the guard's numbers for Prometheus, made anew for each scrape.

No label names a ticket: labels are for what is few.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.face import Guarded
from supervisors.slot import ChildState

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_METHODS = frozenset({"GET", "HEAD", "POST", "DELETE", "PUT", "PATCH", "OPTIONS"})
_MODES = ("observe", "armed")


class Traffic:
    """Counts answered requests by method, route and status. Used on the event loop."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str, str]] = Counter()

    def count(self, method: str, route: str, status: int) -> None:
        """Count one answer; `route` is the pattern, never the path."""
        # Clients may invent methods, and each would be a time series.
        self._counts[method if method in _METHODS else "other", route, str(status)] += 1

    def items(self) -> list[tuple[tuple[str, str, str], int]]:
        """Return the counts."""
        return list(self._counts.items())


def exposition(guard: Guarded, traffic: Traffic) -> bytes:
    """Return the text format for one scrape; a registry of its own, none is global."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Scrape(guard, traffic))
    return generate_latest(registry)


class _Scrape(Collector):
    """Everything that one scrape tells."""

    def __init__(self, guard: Guarded, traffic: Traffic) -> None:
        self._guard = guard
        self._traffic = traffic

    def collect(self) -> Iterable[Metric]:
        """Yield the metrics; never waits for an actor."""
        status = self._guard.status()
        yield from self._guard_metrics(status)
        yield from _cycle(_mapping(status.get("cycle")))
        yield from _moment(
            "dtms_last_backup_timestamp_seconds",
            "When the newest backup was taken, UTC epoch.",
            _mapping(status.get("backup")).get("at"),
        )
        yield from _children(_mapping(status.get("children")))
        yield from self._mailboxes()
        requests = CounterMetricFamily(
            "dtms_http_requests",
            "Requests that the gateway has answered.",
            labels=["method", "route", "status"],
        )
        for labels, count in self._traffic.items():
            requests.add_metric(labels, count)
        yield requests

    def _guard_metrics(self, status: Mapping[str, Any]) -> Iterator[Metric]:
        health = self._guard.health()
        yield _gauge("dtms_ready", "Whether the guard is ready (1) or not (0).", health.ready)
        yield _gauge(
            "dtms_initialized", "Whether the guard has ever been ready.", health.initialized
        )
        yield _gauge(
            "dtms_monitoring_active",
            "Whether trades are being evaluated.",
            health.monitoring_active,
        )
        yield _gauge("dtms_active_trades", "Trades that are watched.", health.active_trades)
        yield _gauge(
            "dtms_observed_trades",
            "Trades that are watched and never touched.",
            status.get("observed_trades"),
        )
        yield _gauge(
            "dtms_orders_in_doubt",
            "Orders of which it is not known what became of them.",
            status.get("orders_in_doubt"),
        )
        mode = GaugeMetricFamily("dtms_mode", "The mode that is set (1).", labels=["mode"])
        for name in _MODES:
            mode.add_metric([name], status.get("mode") == name)
        yield mode
        yield _gauge(
            "dtms_leaked_threads",
            "Threads of replaced children that hang still.",
            status.get("leaked_threads"),
        )
        yield _gauge("dtms_paused", "Whether ops has paused it.", bool(status.get("paused")))
        terminal = _mapping(status.get("terminal"))
        if terminal:
            info = GaugeMetricFamily(
                "dtms_terminal_info", "The terminal that is connected.", labels=["terminal", "real"]
            )
            info.add_metric(
                [str(terminal.get("terminal")), str(bool(terminal.get("real"))).lower()], 1
            )
            yield info

    def _mailboxes(self) -> Iterator[Metric]:
        counts = self._guard.counts()
        totals = {
            "accepted": "Letters that a mailbox took.",
            "handled": "Letters that were handled.",
            "failed": "Letters whose handling failed.",
            "dead": "Letters that became dead letters.",
            "refused": "Letters that were refused because the mailbox was full.",
            "merged": "Letters that were merged with one that waited.",
        }
        for name, text in totals.items():
            total = CounterMetricFamily(f"dtms_mailbox_{name}", text, labels=["child"])
            for child, one in counts.items():
                total.add_metric([child], getattr(one, name))
            yield total
        for name, text in (("waiting", "Letters that wait."), ("in_hand", "Letters in hand.")):
            gauge = GaugeMetricFamily(f"dtms_mailbox_{name}", text, labels=["child"])
            for child, one in counts.items():
                gauge.add_metric([child], getattr(one, name))
            yield gauge


def _cycle(cycle: Mapping[str, Any]) -> Iterator[Metric]:
    cycles = CounterMetricFamily("dtms_cycles", "Monitoring cycles that were completed.")
    cycles.add_metric([], cycle.get("number") or 0)
    yield cycles
    yield from _moment(
        "dtms_last_cycle_timestamp_seconds",
        "When the last cycle was completed, UTC epoch.",
        cycle.get("at"),
    )
    yield _gauge("dtms_cycle_duration_seconds", "How long the last cycle took.", cycle.get("took"))
    yield _gauge("dtms_cycle_evaluated_trades", "Trades that it evaluated.", cycle.get("evaluated"))
    yield _gauge(
        "dtms_cycle_skipped_trades",
        "Trades that it skipped, for whatever reason.",
        sum(_mapping(cycle.get("skipped")).values()),
    )
    yield _gauge("dtms_cycle_intents", "Orders that it decided.", cycle.get("intents"))


def _children(children: Mapping[str, Any]) -> Iterator[Metric]:
    state = GaugeMetricFamily(
        "dtms_child_state", "The state that a child is in (1).", labels=["child", "state"]
    )
    numbers = {
        "incarnation": GaugeMetricFamily(
            "dtms_child_incarnation", "Which incarnation of a child lives.", labels=["child"]
        ),
        "restarts_in_window": GaugeMetricFamily(
            "dtms_child_restarts_in_window",
            "Restarts that are charged to its budget now.",
            labels=["child"],
        ),
        "budget_left": GaugeMetricFamily(
            "dtms_child_budget_left", "Restarts that its budget still allows.", labels=["child"]
        ),
    }
    poison = CounterMetricFamily(
        "dtms_child_poison",
        "Messages that were set aside because they crashed the child twice.",
        labels=["child"],
    )
    for name, child in children.items():
        for one in ChildState:
            state.add_metric([name, one.value], child["state"] == one.value)
        for key, gauge in numbers.items():
            gauge.add_metric([name], child[key])
        poison.add_metric([name], child["poisoned"])
    yield state
    yield from numbers.values()
    yield poison


def _moment(name: str, text: str, at: str | None) -> Iterator[Metric]:
    if at is not None:
        yield _gauge(name, text, datetime.fromisoformat(at).timestamp())


def _gauge(name: str, text: str, value: object) -> Metric:
    """Return a gauge; without a value there is no sample, which is not zero."""
    gauge = GaugeMetricFamily(name, text)
    if isinstance(value, bool | int | float):
        gauge.add_metric([], value)
    return gauge


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
