"""Health, probes: the table of DESIGN, HTTP."""

from __future__ import annotations

import httpx2
import pytest
from gateway_fakes import FakeGuard

from supervisors.overview import Health

# state, status of /health, word, /readyz, /startupz
TABLE = [
    pytest.param(Health(200, True, True, True, 3, ()), 200, "ready", 200, 200, id="ready"),
    pytest.param(
        Health(200, True, True, False, 3, ("paused by ops",)), 200, "ready", 200, 200, id="paused"
    ),
    pytest.param(
        Health(503, False, False, False, 0, ("starting",)),
        503,
        "not_ready",
        503,
        503,
        id="starting",
    ),
    pytest.param(
        Health(503, False, True, False, 3, ("monitor escalated",)),
        503,
        "not_ready",
        503,
        200,
        id="escalated",
    ),
    pytest.param(
        Health(503, False, True, False, 3, ("cannot_act: investor",)),
        503,
        "not_ready",
        503,
        200,
        id="cannot_act",
    ),
    pytest.param(
        Health(500, False, False, False, 0, ("initialisation failed: no",)),
        500,
        "failed",
        503,
        503,
        id="refused",
    ),
]


@pytest.mark.parametrize(("judged", "status", "word", "ready", "started"), TABLE)
def test_status_code_is_the_responses_own(
    guard: FakeGuard,
    client: httpx2.Client,
    judged: Health,
    status: int,
    word: str,
    ready: int,
    started: int,
) -> None:
    guard.judged = judged
    expected = {
        "status": word,
        "initialized": judged.initialized,
        "ready": judged.ready,
        "monitoring_active": judged.monitoring_active,
        "active_trades": judged.active_trades,
        "reasons": list(judged.reasons),
    }
    for path, code in {
        "/health": status,
        "/dtms/health": status,
        "/readyz": ready,
        "/startupz": started,
    }.items():
        answer = client.get(path)
        assert (path, answer.status_code, answer.json()) == (path, code, expected)


def test_monitoring_health(guard: FakeGuard, client: httpx2.Client) -> None:
    assert client.get("/dtms/monitoring/health").status_code == 200
    guard.monitoring = {"ok": False, "state": "backoff", "reasons": ["no cycle for 99 s"]}
    answer = client.get("/dtms/monitoring/health")
    assert (answer.status_code, answer.json()) == (503, guard.monitoring)
    assert guard.calls.count(("monitoring_health", ())) == 2  # asking is also a check


def test_livez_says_only_whether_it_lives(guard: FakeGuard, client: httpx2.Client) -> None:
    guard.judged = Health(503, False, True, False, 0, ("terminal lost",))
    assert client.get("/livez").status_code == 200
    guard.over = True
    answer = client.get("/livez")
    assert (answer.status_code, answer.json()) == (503, {"alive": False})
    assert guard.calls == []  # it never touches the broker


@pytest.mark.parametrize("path", ["/health", "/readyz", "/livez", "/startupz"])
def test_probes_answer_head(guard: FakeGuard, client: httpx2.Client, path: str) -> None:
    answer = client.head(path)
    assert (answer.status_code, answer.content) == (200, b"")
