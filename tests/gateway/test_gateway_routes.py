"""Every route: what it asks of the guard, and what it answers."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from gateway_fakes import AUTH, HOSTILE, TICKET, FakeGuard, a_record

from defence.errors import BrokerUnknown, Conflict, DtmsError, Invalid, MailboxFull, NotFound
from defence.trade import Standing, Trade, public_trade


def test_status_trades_alerts_actions(guard: FakeGuard, client: httpx2.Client) -> None:
    assert client.get("/dtms/status").json() == guard.status()
    trades = client.get("/dtms/trades").json()
    assert trades == {"trades": [public_trade(a_record(symbol=HOSTILE))]}
    assert client.get("/dtms/alerts").json()["alerts"][0]["title"] == HOSTILE
    assert client.get("/dtms/actions").json()["actions"][0]["id"] == "a1"
    assert guard.calls[-1] == ("actions", (100, None))


def test_poison(guard: FakeGuard, client: httpx2.Client) -> None:
    (found,) = client.get("/dtms/poison").json()["poison"]
    assert (found["child"], found["id"], found["shown"]) == ("registry", "p1", HOSTILE)
    assert found["at"] == "2023-11-14T22:13:20.000+00:00"
    assert client.get("/dtms/poison?limit=1000").status_code == 200
    assert guard.calls == [("poison", (100,)), ("poison", (1000,))]
    for query, field in (("limit=0", "limit"), ("limit=1001", "limit"), ("ticket=1", "ticket")):
        answer = client.get(f"/dtms/poison?{query}")
        assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_one_trade(guard: FakeGuard, client: httpx2.Client) -> None:
    assert client.get(f"/dtms/trade/{TICKET}").json() == public_trade(a_record())
    assert client.get("/dtms/trade/1").status_code == 404


@pytest.mark.parametrize(
    ("query", "expected"),
    [("limit=1", (1, None)), ("limit=1000&ticket=5", (1000, 5)), ("ticket=5", (100, 5))],
)
def test_actions_query(
    guard: FakeGuard, client: httpx2.Client, query: str, expected: tuple[int, int | None]
) -> None:
    assert client.get(f"/dtms/actions?{query}").status_code == 200
    assert guard.calls == [("actions", expected)]


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/dtms/actions?limit=0", "limit"),
        ("/dtms/actions?limit=1001", "limit"),
        ("/dtms/actions?limit=1_0", "limit"),
        ("/dtms/actions?limit=ten", "limit"),
        ("/dtms/actions?limit=", "limit"),
        ("/dtms/actions?limit=5&limit=6", "limit"),
        ("/dtms/actions?ticket=-1", "ticket"),
        ("/dtms/actions?ticket=enable", "ticket"),
        ("/dtms/trade/0", "ticket"),
        ("/dtms/trade/18446744073709551616", "ticket"),
        ("/dtms/trade/%D9%A1", "ticket"),  # a digit, but not of ours
        ("/dtms/trade/" + "9" * 5000, "ticket"),
        ("/dtms/events?since=x", "since"),
    ],
)
def test_bad_numbers_are_named(
    guard: FakeGuard, client: httpx2.Client, path: str, field: str
) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.json()["field"]) == (422, field)
    assert guard.calls == []


def test_enable_one(guard: FakeGuard, ops: httpx2.Client) -> None:
    fields = {"ticket": TICKET, "stop_loss": 1.09}
    answer = ops.post("/dtms/trade/enable", json=fields, headers={"Idempotency-Key": "k-1"})
    assert (answer.status_code, answer.json()["created"]) == (200, True)
    assert answer.json()["trade"]["ticket"] == TICKET
    assert ("register_fields", (fields, "k-1")) in guard.calls


def test_enable_without_a_key_leaves_the_id_to_the_guard(
    guard: FakeGuard, ops: httpx2.Client
) -> None:
    ops.post("/dtms/trade/enable", json={"ticket": TICKET})
    assert ("register_fields", ({"ticket": TICKET}, None)) in guard.calls


@pytest.mark.parametrize("key", ["", "a b", "x" * 201, "tab\there"])
def test_unusable_key(guard: FakeGuard, ops: httpx2.Client, key: str) -> None:
    answer = ops.post("/dtms/trade/enable", json={"ticket": 1}, headers={"Idempotency-Key": key})
    assert (answer.status_code, answer.json()["field"]) == (422, "Idempotency-Key")


def test_batch_rides_on_one_read(guard: FakeGuard, ops: httpx2.Client) -> None:
    guard.per_item = [None, Conflict("is another's", field="managed_by")]
    batch = [{"ticket": 1}, {"tikcet": 2}, 3, {"ticket": 4}]
    answer = ops.post(
        "/dtms/trade/enable", json={"trades": batch}, headers={"Idempotency-Key": "k"}
    )
    assert answer.status_code == 200
    first, second, third, fourth = answer.json()["results"]
    assert first == {"created": True, "trade": public_trade(a_record(1))}
    assert (second["error"], second["field"], second["status"]) == ("invalid", "tikcet", 422)
    assert (third["error"], third["field"], third["status"]) == ("invalid", "trades", 422)
    assert fourth == {
        "error": "conflict",
        "message": "is another's",
        "field": "managed_by",
        "remedy": None,
        "status": 409,
    }
    calls = [what for name, what in guard.calls if name == "register_many"]
    assert calls == [((Trade(ticket=1), Trade(ticket=4)), ("k:0", "k:3"))]


BATCH = {"trades": [{"ticket": 1}, {"ticket": 2}]}


@pytest.mark.parametrize(
    ("items", "status"),
    [
        ([MailboxFull("full"), MailboxFull("full")], 429),
        ([BrokerUnknown("no"), BrokerUnknown("no")], 503),
        ([MailboxFull("full"), BrokerUnknown("no")], 200),
        ([NotFound("no"), NotFound("no")], 200),
        ([MailboxFull("full"), None], 200),
    ],
)
def test_a_batch_that_met_one_temporary_error_answers_it(
    guard: FakeGuard, ops: httpx2.Client, items: list[DtmsError | None], status: int
) -> None:
    guard.per_item = items
    answer = ops.post("/dtms/trade/enable", json=BATCH)
    assert answer.status_code == status
    assert ("Retry-After" in answer.headers) == (status != 200)
    assert ("results" in answer.json()) == (status == 200)


def test_what_concerns_a_whole_batch_is_its_status(guard: FakeGuard, ops: httpx2.Client) -> None:
    guard.errors["register_many"] = BrokerUnknown("the broker cannot be read")
    assert ops.post("/dtms/trade/enable", json=BATCH).status_code == 503


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"trades": {}}, "trades"),
        ({"trades": None}, "trades"),
        ({"trades": [], "ticket": 1}, "ticket"),
        ({"trades": [{"ticket": 1}] * 501}, "trades"),
    ],
)
def test_bad_batches(guard: FakeGuard, ops: httpx2.Client, body: Any, field: str) -> None:
    answer = ops.post("/dtms/trade/enable", json=body)
    assert (answer.status_code, answer.json().get("field")) == (422, field)
    assert all(name == "token" for name, _ in guard.calls)


def test_empty_batch(guard: FakeGuard, ops: httpx2.Client) -> None:
    answer = ops.post("/dtms/trade/enable", json={"trades": []})
    assert (answer.status_code, answer.json()) == (200, {"results": []})


def test_release(guard: FakeGuard, ops: httpx2.Client) -> None:
    answer = ops.delete(f"/dtms/trade/{TICKET}")
    record = a_record(standing=Standing.RELEASED)
    assert answer.json() == {"released": True, "trade": public_trade(record)}
    assert ("release", (TICKET, "http 127.0.0.1")) in guard.calls


def test_admin_hands_arguments_on(guard: FakeGuard, ops: httpx2.Client) -> None:
    answer = ops.post("/dtms/admin/reset-budget", json={"child": "monitor"})
    assert (answer.status_code, answer.json()) == (200, {"command": "reset-budget", "odd": None})
    expected = ("admin", ("reset-budget", "http 127.0.0.1", {"child": "monitor"}))
    assert guard.calls[-1] == expected


def test_admin_without_a_body(guard: FakeGuard, ops: httpx2.Client) -> None:
    assert ops.post("/dtms/admin/pause").status_code == 200
    assert guard.calls[-1] == ("admin", ("pause", "http 127.0.0.1", {}))


def test_admin_may_say_who(guard: FakeGuard, ops: httpx2.Client) -> None:
    ops.post("/dtms/admin/pause", json={"by": "kim"})
    assert guard.calls[-1] == ("admin", ("pause", "kim (http 127.0.0.1)", {}))


@pytest.mark.parametrize("body", [{"by": 1}, {"by": "a\nb"}, {"by": "x" * 65}])
def test_admin_by_must_be_text(guard: FakeGuard, ops: httpx2.Client, body: Any) -> None:
    answer = ops.post("/dtms/admin/pause", json=body)
    assert (answer.status_code, answer.json()["field"]) == (422, "by")


@pytest.mark.parametrize("name", ["timeout", "command", "self"])
def test_admin_refuses_the_names_of_the_call(
    guard: FakeGuard, ops: httpx2.Client, name: str
) -> None:
    answer = ops.post("/dtms/admin/pause", json={name: 1})
    assert (answer.status_code, answer.json()["field"]) == (422, name)


def test_sixty_four_register_at_once_and_ops_get_through(
    guard: FakeGuard, ops: httpx2.Client, client: httpx2.Client
) -> None:
    guard.gate.clear()
    limits = httpx2.Limits(max_connections=64)
    with (
        httpx2.Client(
            base_url=ops.base_url, headers=AUTH, limits=limits, trust_env=False, timeout=10
        ) as bots,
        ThreadPoolExecutor(64) as pool,
    ):
        answers = [
            pool.submit(bots.post, "/dtms/trade/enable", json={"ticket": n}) for n in range(1, 65)
        ]
        try:
            _until(lambda: guard.inside == 64)
            assert client.get("/health").status_code == 200
            assert client.get("/dtms/trades").status_code == 200
            assert ops.post("/dtms/admin/freeze").status_code == 200
        finally:
            guard.gate.set()
        tickets = {answer.result().json()["trade"]["ticket"] for answer in answers}
    assert tickets == set(range(1, 65))


def test_what_blocks_has_threads_and_what_does_not_has_none(
    guard: FakeGuard, ops: httpx2.Client
) -> None:
    for path in ("status", "trades", f"trade/{TICKET}", "actions", "alerts", "monitoring/health"):
        assert ops.get(f"/dtms/{path}").status_code == 200
    ops.post("/dtms/trade/enable", json={"ticket": 1})
    ops.post("/dtms/trade/enable", json=BATCH)
    ops.delete("/dtms/trade/1")
    ops.post("/dtms/admin/freeze")
    lanes = {method: name.rpartition("_")[0] or name for method, name in guard.threads.items()}
    assert lanes == {
        "token": "dtms-http",
        "status": "dtms-http",
        "monitoring_health": "dtms-http",
        "trades": "dtms-http-looks",
        "trade": "dtms-http-looks",
        "actions": "dtms-http-looks",
        "alerts": "dtms-http-looks",
        "register_fields": "dtms-http-trades",
        "register_many": "dtms-http-trades",
        "release": "dtms-http-trades",
        "admin": "dtms-http-control",
    }


def _until(condition: Any) -> None:
    limit = time.monotonic() + 8
    while not condition():
        assert time.monotonic() < limit, "it did not come to that"
        threading.Event().wait(0.005)


def test_openapi_and_docs_are_not_served(client: httpx2.Client) -> None:
    for path in ("/openapi.json", "/docs", "/redoc"):
        assert client.get(path).status_code == 404


def test_invalid_names_field_and_remedy(guard: FakeGuard, ops: httpx2.Client) -> None:
    guard.errors["register_fields"] = Invalid("is wrong", field="volume", value=1, remedy="mend")
    answer = ops.post("/dtms/trade/enable", json={"ticket": 1})
    assert answer.status_code == 422
    assert answer.json() == {
        "error": "invalid",
        "message": "is wrong",
        "field": "volume",
        "remedy": "mend",
    }
