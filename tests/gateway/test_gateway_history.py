"""History over HTTP and on the command line: what is asked reaches the guard, or is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from gateway_fakes import HOSTILE, TICKET, FakeGuard

from console.main import main
from gateway.client import close_http_client
from gateway.page import PAGE, SCRIPT
from gateway.server import Gateway

NEXT = "00" * 16


def test_the_shapes(guard: FakeGuard, client: httpx2.Client) -> None:
    guard.next = NEXT
    history = client.get("/dtms/history").json()
    (trade,) = history["history"]
    assert (trade["ticket"], trade["close_profit"], trade["close_reason"]) == (TICKET, -2.5, "sl")
    assert history["next"] == NEXT
    days = client.get("/dtms/history/days").json()
    assert days == {
        "days": [
            {
                "day": "2023-11-14",
                "symbol": HOSTILE,
                "closed": 2,
                "won": 1,
                "lost": 0,
                "unexplained": 0,
                "profit": 0.0,
                "volume": 0.0,
                "r_sum": 0.0,
                "r_count": 0,
                "actions": {"move_stop": {"done": 3}},
            }
        ],
        "next": NEXT,
    }
    assert client.get("/dtms/actions").json()["next"] == NEXT
    guard.next = None
    assert client.get("/dtms/actions").json()["next"] is None


ASKED = [
    ("", {}),
    ("limit=7", {"limit": 7}),
    ("since=2026-11-01&until=2026-11-22", {"since": "2026-11-01", "until": "2026-11-22"}),
    ("since=2026-11-01T10:00:00%2B02:00", {"since": "2026-11-01T10:00:00+02:00"}),
    ("since=2026-11-01T10:00:00+02:00", {"since": "2026-11-01T10:00:00+02:00"}),
    (f"cursor={NEXT}&order=newest", {"cursor": NEXT}),
    ("order=oldest", {"oldest_first": True}),
]


@pytest.mark.parametrize(("query", "expected"), ASKED)
@pytest.mark.parametrize("path", ["history", "history/days"])
def test_what_is_asked_reaches_the_guard(
    guard: FakeGuard, client: httpx2.Client, path: str, query: str, expected: dict[str, Any]
) -> None:
    assert client.get(f"/dtms/{path}?{query}").status_code == 200
    assert guard.calls == [(path.replace("/", "_"), (expected,))]


@pytest.mark.parametrize(
    ("query", "expected"), [("ticket=5", {"ticket": 5}), ("identifier=6", {"identifier": 6})]
)
def test_by_number(
    guard: FakeGuard, client: httpx2.Client, query: str, expected: dict[str, Any]
) -> None:
    assert client.get(f"/dtms/history?{query}").status_code == 200
    assert guard.calls == [("history", (expected,))]


@pytest.mark.parametrize("path", ["actions", "history", "history/days"])
@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=5&limit=6", "limit"),
        ("since=yesterday", "since"),
        ("since=", "since"),
        ("since=2026-02-30", "since"),
        ("since=1969-12-31", "since"),
        ("since=1700000000", "since"),
        ("until=2026-11-22T24:61", "until"),
        ("until=9999-12-31", "until"),
        ("since=2026-11-22&until=2026-11-20", "since"),
        ("order=sideways", "order"),
        ("sinse=2026-11-22", "sinse"),
        ("since=" + "2026-11-22" * 500, "since"),
    ],
)
def test_a_bad_question_is_refused_by_name(
    guard: FakeGuard, client: httpx2.Client, path: str, query: str, field: str
) -> None:
    answer = client.get(f"/dtms/{path}?{query}")
    assert answer.status_code == 422
    body = answer.json()
    assert (body["error"], body["field"]) == ("invalid", field)
    assert body["remedy"]
    assert len(answer.content) < 1000
    assert guard.calls == []


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("actions?identifier=5", "identifier"),
        ("history/days?ticket=5", "ticket"),
        ("history/days?identifier=5", "identifier"),
        ("history?ticket=5&identifier=5", "identifier"),
        ("history?identifier=0", "identifier"),
        ("history?ticket=x", "ticket"),
    ],
)
def test_what_a_list_cannot_be_asked_by(client: httpx2.Client, path: str, field: str) -> None:
    answer = client.get(f"/dtms/{path}")
    assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_the_page_shows_history(guard: FakeGuard, client: httpx2.Client) -> None:
    assert 'id="history"' in PAGE
    start = SCRIPT.index('show("/dtms/history')
    path, name = SCRIPT[start + 5 : SCRIPT.index(")", start)].split(", ")
    rows = client.get(json.loads(path)).json()[json.loads(name)]
    columns = SCRIPT[SCRIPT.index("  history: [") :]
    named = json.loads(columns[columns.index("[") : columns.index("]") + 1])
    assert set(named) <= set(rows[0])


# -- the command line


@pytest.fixture(autouse=True)
def _connections_end() -> Iterator[None]:
    """Close what a command leaves to the end of its process."""
    yield
    close_http_client()


def said(gateway: Gateway, capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> str:
    capsys.readouterr()
    assert main([*words, "--port", str(gateway.port)]) == status
    told = capsys.readouterr()
    return told.out if status == 0 else told.err


def test_the_commands_ask_what_they_are_told(
    guard: FakeGuard, gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    times = ("--since", "2026-11-01", "--until", "2026-11-22T10:00:00+02:00")
    asked = {"since": "2026-11-01", "until": "2026-11-22T10:00:00+02:00"}
    said(gateway, capsys, "history", *times, "--ticket", "5", "--limit", "9")
    said(gateway, capsys, "history", "--identifier", "6", "--oldest-first")
    said(gateway, capsys, "history", "--days", *times, "--cursor", NEXT)
    said(gateway, capsys, "actions", *times, "--ticket", "5", "--limit", "9")
    assert guard.calls == [
        ("history", ({**asked, "ticket": 5, "limit": 9},)),
        ("history", ({"identifier": 6, "oldest_first": True},)),
        ("history_days", ({**asked, "cursor": NEXT},)),
        ("actions", (9, 5)),
    ]


def test_the_tables(guard: FakeGuard, gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    guard.next = NEXT
    for words, shown in (
        (("history",), (str(TICKET), "-2.5", "sl", "closed", "2023-11-14 22:13:20")),
        (("history", "--days"), ("2023-11-14", HOSTILE, "3 move_stop done")),
        (("actions",), ("registered", str(TICKET))),
    ):
        text = said(gateway, capsys, *words)
        for part in (*shown, f"--cursor {NEXT}"):
            assert part in text
    guard.next = None
    assert "--cursor" not in said(gateway, capsys, "history")
    body = json.loads(said(gateway, capsys, "history", "--json"))
    assert [one["ticket"] for one in body["history"]] == [TICKET]


def test_a_bad_date_is_one_line(
    guard: FakeGuard, gateway: Gateway, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in ("history", "actions"):
        text = said(gateway, capsys, command, "--since", "soon", status=1)
        assert text.count("\n") == 1
        assert "since" in text
        assert "'soon'" in text
        assert "2026-11-22" in text
    assert guard.calls == []
