"""GET /metrics."""

from __future__ import annotations

import httpx2
import prometheus_client
import pytest
from gateway_fakes import AUTH, TICKET, FakeGuard, fake_settings, serving
from prometheus_client.parser import text_string_to_metric_families

from gateway.metrics import Traffic, exposition
from supervisors.overview import Health

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: str) -> Samples:
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation, family.name
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found
            found[key] = sample.value
    return found


def test_the_numbers(guard: FakeGuard, client: httpx2.Client) -> None:
    answer = client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = samples(answer.text)
    monitor = (("child", "monitor"),)
    expected: Samples = {
        ("dtms_ready", ()): 1,
        ("dtms_initialized", ()): 1,
        ("dtms_monitoring_active", ()): 1,
        ("dtms_active_trades", ()): 1,
        ("dtms_orders_in_doubt", ()): 0,
        ("dtms_leaked_threads", ()): 2,
        ("dtms_paused", ()): 0,
        ("dtms_mode", (("mode", "armed"),)): 1,
        ("dtms_mode", (("mode", "observe"),)): 0,
        ("dtms_terminal_info", (("real", "false"), ("terminal", "simulated"))): 1,
        ("dtms_cycles_total", ()): 9,
        ("dtms_last_cycle_timestamp_seconds", ()): 1767323045,
        ("dtms_last_backup_timestamp_seconds", ()): 1767322800,
        ("dtms_cycle_duration_seconds", ()): 0.25,
        ("dtms_cycle_skipped_trades", ()): 2,
        ("dtms_child_state", (("child", "monitor"), ("state", "ready"))): 1,
        ("dtms_child_state", (("child", "monitor"), ("state", "escalated"))): 0,
        ("dtms_child_state", (("child", "registry"), ("state", "escalated"))): 1,
        ("dtms_child_incarnation", monitor): 2,
        ("dtms_child_restarts_in_window", monitor): 1,
        ("dtms_child_budget_left", monitor): 2,
        ("dtms_child_poison_total", monitor): 3,
        ("dtms_mailbox_accepted_total", monitor): 10,
        ("dtms_mailbox_handled_total", monitor): 6,
        ("dtms_mailbox_failed_total", monitor): 1,
        ("dtms_mailbox_dead_total", monitor): 1,
        ("dtms_mailbox_refused_total", monitor): 3,
        ("dtms_mailbox_merged_total", monitor): 4,
        ("dtms_mailbox_waiting", monitor): 1,
        ("dtms_mailbox_in_hand", monitor): 1,
    }
    assert {key: found.get(key) for key in expected} == expected


def test_not_ready(guard: FakeGuard, client: httpx2.Client) -> None:
    guard.judged = Health(503, False, False, False, 0, ("starting",))
    found = samples(client.get("/metrics").text)
    assert found["dtms_ready", ()] == found["dtms_initialized", ()] == 0


def test_no_label_by_ticket_and_no_invented_one() -> None:
    guard = FakeGuard(fake_settings())
    with serving(guard) as gateway, httpx2.Client(base_url=gateway.url, trust_env=False) as client:
        client.get(f"/dtms/trade/{TICKET}")
        client.get(f"/dtms/trade/{TICKET + 1}")
        client.delete(f"/dtms/trade/{TICKET}", headers=AUTH)
        client.get(f"/nope/{TICKET}")
        client.request("BREW", f"/{TICKET}", headers=AUTH)
        text = client.get("/metrics").text
    assert str(TICKET)[:6] not in text
    found = samples(text)
    one = "/dtms/trade/{ticket}"

    def asked(method: str, route: str, status: int) -> float | None:
        labels = (("method", method), ("route", route), ("status", str(status)))
        return found.get(("dtms_http_requests_total", labels))

    assert asked("GET", one, 200) == 1
    assert asked("GET", one, 404) == 1
    assert asked("DELETE", one, 200) == 1
    assert asked("GET", "none", 404) == 1
    assert asked("other", "none", 404) == 1


def test_no_global_registry(guard: FakeGuard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus_client.REGISTRY, "register", pytest.fail)
    before = set(prometheus_client.REGISTRY._names_to_collectors)
    assert exposition(guard, Traffic()) == exposition(guard, Traffic())
    assert set(prometheus_client.REGISTRY._names_to_collectors) == before
