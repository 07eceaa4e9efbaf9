"""The main line with a real guard: start, register, look, kill, stop."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

import gateway
from defence.errors import StartRefused
from gateway.client import Client, close_sync_http_client
from gateway.server import Gateway
from supervisors import Guard, Settings


def settings(folder: Path, **changes: Any) -> Settings:
    options = {
        "data_dir": folder / "data",
        "state_dir": folder / "state",
        "port": 0,
        "interval": 0.2,
        "rate_limit": 0,
    }
    return Settings(**{**options, **changes})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("guard")


@pytest.fixture(scope="module")
def real(folder: Path) -> Iterator[tuple[Guard, Gateway]]:
    guard = Guard(settings(folder, chaos=True))
    bound = Gateway(guard).bind()
    try:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", bound.port), timeout=2)
        with guard, bound.listen():
            yield guard, bound
    finally:
        bound.stop()


@pytest.fixture
def http(real: tuple[Guard, Gateway]) -> Iterator[httpx2.Client]:
    guard, bound = real
    with httpx2.Client(
        base_url=bound.url,
        headers={"Authorization": f"Bearer {guard.token()}"},
        trust_env=False,
        timeout=20,
        limits=httpx2.Limits(max_connections=64),
    ) as made:
        yield made


def test_ready_from_the_first_answer(http: httpx2.Client) -> None:
    for path in ("/health", "/dtms/health", "/livez", "/readyz", "/startupz"):
        assert http.get(path).status_code == 200
    body = http.get("/health").json()
    assert (body["ready"], body["monitoring_active"], body["reasons"]) == (True, True, [])
    assert body["active_trades"] == len(http.get("/dtms/trades").json()["trades"]) > 0
    monitoring = http.get("/dtms/monitoring/health")
    assert (monitoring.status_code, monitoring.json()["budget_left"]) == (200, 3)


def test_status_has_the_shape(http: httpx2.Client) -> None:
    body = http.get("/dtms/status").json()
    keys = {"ready", "reasons", "mode", "terminal", "account", "active_trades", "cycle", "children"}
    assert keys <= set(body)
    children = {"connector", "registry", "recovery", "monitor", "alert", "admin"}
    assert set(body["children"]) == children
    facts = {"state", "incarnation", "restarts_in_window", "budget_left", "mailbox", "last_exit"}
    assert all(facts <= set(child) for child in body["children"].values())


def test_enable_is_idempotent_and_release_lets_go(http: httpx2.Client) -> None:
    ticket = http.get("/dtms/trades").json()["trades"][0]["ticket"]

    def enable(key: str) -> httpx2.Response:
        return http.post(
            "/dtms/trade/enable", json={"ticket": ticket}, headers={"Idempotency-Key": key}
        )

    assert [enable(key).json()["created"] for key in ("a", "a", "b")] == [True, True, False]
    other = http.post("/dtms/trade/enable", json={"ticket": ticket, "managed_by": "other"})
    assert (other.status_code, other.json()["field"]) == (409, "managed_by")
    released = http.delete(f"/dtms/trade/{ticket}")
    assert (released.status_code, released.json()["trade"]["standing"]) == (200, "released")
    assert http.get(f"/dtms/trade/{ticket}").json()["standing"] == "released"
    kinds = [one["kind"] for one in http.get(f"/dtms/actions?ticket={ticket}").json()["actions"]]
    assert kinds[:2] == ["released", "registered"]


def test_refusals_of_the_guard(http: httpx2.Client) -> None:
    assert http.post("/dtms/trade/enable", json={"ticket": 4}).status_code == 404
    assert http.get("/dtms/trade/4").status_code == 404
    assert http.delete("/dtms/trade/4").status_code == 404
    for body, field in (
        ({}, "ticket"),
        ({"ticket": "4"}, "ticket"),
        ({"ticket": 4, "volume": -1}, "volume"),
        ({"ticket": 4, "lots": 1}, "lots"),
    ):
        answer = http.post("/dtms/trade/enable", json=body)
        assert (answer.status_code, answer.json()["field"]) == (422, field)
    unknown = http.post("/dtms/admin/dance")
    assert (unknown.status_code, unknown.json()["field"]) == (404, "command")
    flatten = http.post("/dtms/admin/flatten", json={"confirm": 1})
    assert (flatten.status_code, flatten.json()["field"]) == (422, "confirm")


def test_batch(http: httpx2.Client) -> None:
    tickets = [one["ticket"] for one in http.get("/dtms/trades").json()["trades"]][-2:]
    batch = [{"ticket": tickets[0]}, {"ticket": 4}, {"ticket": tickets[1]}]
    for created in (True, True):  # the same batch, the same answers
        answer = http.post(
            "/dtms/trade/enable", json={"trades": batch}, headers={"Idempotency-Key": "batch"}
        )
        results = answer.json()["results"]
        assert answer.status_code == 200
        assert [one.get("created") for one in results] == [created, None, created]
        assert results[1]["status"] == 404


def test_sixty_four_connections(http: httpx2.Client) -> None:
    tickets = [one["ticket"] for one in http.get("/dtms/trades").json()["trades"]]
    barrier = threading.Barrier(64)

    def enable(n: int) -> int:
        barrier.wait(10)
        body = {"ticket": tickets[n % len(tickets)]}
        return http.post("/dtms/trade/enable", json=body).status_code

    with ThreadPoolExecutor(64) as pool:
        assert set(pool.map(enable, range(64))) == {200}


def test_the_client_and_the_gateway_agree(real: tuple[Guard, Gateway], folder: Path) -> None:
    guard, bound = real
    client = Client()
    client.configure(base_url=bound.url, data_dir=folder / "data")
    ticket = client.get("/dtms/trades")[1]["trades"][-1]["ticket"]
    result = client.register_trade(ticket)
    assert (result.ok, result.via, result.status) == (True, "api", 200)
    refused = client.register_trade(4)
    assert (refused.ok, refused.status, refused.code) == (False, 404, "not_found")
    assert client.post("/dtms/admin/reconcile")[0] == 200
    client.use_local(guard)
    client.use_remote_only()  # the API says that it is ready
    close_sync_http_client()


def test_kill_is_seen_in_the_stream(http: httpx2.Client) -> None:
    with http.stream("GET", "/dtms/events") as response:
        killed = http.post("/dtms/admin/kill", json={"child": "alert"})
        assert killed.status_code == 200
        for line in response.iter_lines():
            if line.startswith("data: ") and '"alert"' in line and '"kind":"ready"' in line:
                break
    status = http.get("/dtms/status").json()["children"]["alert"]
    assert status["restarts_in_window"] >= 1
    assert http.get("/health").status_code == 200


def test_metrics_of_a_real_guard(http: httpx2.Client) -> None:
    text = http.get("/metrics").text
    names = {family.name for family in text_string_to_metric_families(text)}
    assert {"dtms_ready", "dtms_child_state", "dtms_mailbox_handled"} <= names
    for trade in http.get("/dtms/trades").json()["trades"]:
        assert str(trade["ticket"]) not in text


def test_kill_without_chaos_is_forbidden_and_shutdown_ends_it(tmp_path: Path) -> None:
    with (
        Guard(settings(tmp_path)) as guard,
        gateway.serve(guard) as served,
        httpx2.Client(
            base_url=served.url,
            headers={"Authorization": f"Bearer {guard.token()}"},
            trust_env=False,
            timeout=20,
        ) as http,
    ):
        for command in ("kill", "hang"):
            answer = http.post(f"/dtms/admin/{command}", json={"child": "monitor"})
            assert (answer.status_code, answer.json()["error"]) == (403, "forbidden")
        with http.stream("GET", "/dtms/events?since=0") as response:
            assert http.post("/dtms/admin/shutdown").status_code == 200
            kinds = [line for line in response.iter_lines() if line.startswith("event: ")]
        assert kinds[-1] == "event: stopped"
        assert guard.wait(timeout=5) is None
        assert (http.get("/livez").status_code, http.get("/health").status_code) == (503, 503)
        assert http.post("/dtms/trade/enable", json={"ticket": 1}).status_code == 503


def test_serving_from_the_call_on(tmp_path: Path) -> None:
    """A start that does not block: 503 while it starts, then 200."""
    gate = threading.Event()
    guard = Guard(settings(tmp_path))

    def later() -> None:
        assert gate.wait(10)

    guard.points.arm("monitor.on_start", later)
    guard.start(block=False)
    try:
        with gateway.serve(guard) as served:
            starting = httpx2.get(f"{served.url}/health", trust_env=False)
            assert (starting.status_code, starting.json()["ready"]) == (503, False)
            assert httpx2.get(f"{served.url}/livez", trust_env=False).status_code == 200
            refused = httpx2.post(
                f"{served.url}/dtms/trade/enable",
                json={"ticket": 1},
                headers={"Authorization": f"Bearer {guard.token()}"},
                trust_env=False,
            )
            assert (refused.status_code, refused.json()["error"]) == (503, "not_ready")
            gate.set()
            guard.wait_ready()
            assert httpx2.get(f"{served.url}/health", trust_env=False).status_code == 200
    finally:
        gate.set()
        guard.stop()


def test_a_refused_start_is_500(tmp_path: Path) -> None:
    guard = Guard(settings(tmp_path, login=4))  # the simulated account is another
    guard.start(block=False)
    try:
        with gateway.serve(guard) as served:
            with pytest.raises(StartRefused):
                guard.wait_ready()
            answer = httpx2.get(f"{served.url}/health", trust_env=False)
            assert (answer.status_code, answer.json()["status"]) == (500, "failed")
            assert answer.json()["initialized"] is False
    finally:
        guard.stop()
