"""Poison and hung threads on the command line."""

from __future__ import annotations

import pytest

from console import show

CHILD = {
    "state": "ready",
    "incarnation": 3,
    "restarts_in_window": 2,
    "budget_left": 1,
    "mailbox": 0,
    "last_exit": "crashed: a bug",
}


def test_status_shows_poison_by_child_and_hung_threads(capsys: pytest.CaptureFixture[str]) -> None:
    body = {"ready": True, "children": {"registry": {**CHILD, "poisoned": 77}}}
    show.status({**body, "leaked_threads": 4})
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split() == ["hung", "threads", "4"] for line in lines)
    head = next(line for line in lines if line.strip().startswith("child"))
    row = next(line for line in lines if line.strip().startswith("registry"))
    assert head.index("poison") + len("poison") == row.index("77") + len("77")
    assert "crashed: a bug" in row
    show.status({**body, "leaked_threads": 0})
    assert "hung threads" not in capsys.readouterr().out


def test_status_of_an_older_guard_has_no_poison(capsys: pytest.CaptureFixture[str]) -> None:
    show.status({"ready": True, "children": {"registry": CHILD}})
    row = next(line for line in capsys.readouterr().out.splitlines() if "registry" in line)
    assert "-" in row


def test_poison_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    entry = {
        "at": "2026-01-02T03:04:05.000+00:00",
        "child": "registry",
        "incarnation": 2,
        "message": "Register",
        "id": "p1",
        "error": "[red]ValueError[/red]: \u001b[31mbad",
        "shown": "Register(trade=...)",
        "lane": "data",
    }
    show.poison({"poison": [entry]})
    out = capsys.readouterr().out
    assert "1 messages that were set aside" in out
    assert "2026-01-02 03:04:05" in out
    assert "[red]ValueError[/red]" in out  # no markup is read
    assert "\u001b" not in out
    show.poison({"poison": []})
    assert "0 messages" in capsys.readouterr().out
