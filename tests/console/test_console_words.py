"""Every kind of event has a sentence; no fact, however odd, makes the log fail."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.events import Event, Kind
from console.words import SENTENCES, line_of, price

ROWS: list[tuple[Kind, dict[str, Any], str, str]] = [
    (
        Kind.STAGE,
        {"stage": "locks", "what": "done", "folder": "/d"},
        "INFO",
        "data folder /d is ours",
    ),
    (
        Kind.STAGE,
        {"stage": "account", "what": "done", "login": 5, "server": "S"},
        "INFO",
        "account 5 on S is ours",
    ),
    (Kind.STAGE, {"stage": "locks", "what": "released"}, "INFO", "locks released"),
    (Kind.STAGE, {"stage": "monitor", "what": "stopped"}, "INFO", "stopped"),
    (Kind.GUARD_READY, {"active_trades": 1}, "INFO", "ready: 1 trade watched"),
    (
        Kind.START_REFUSED,
        {"cause": "no room", "code": "store_full"},
        "DEBUG",
        "start refused (store_full): no room",
    ),
    (Kind.STOPPING, {"by": "host"}, "INFO", "stopping, asked by host"),
    (Kind.STOPPED, {}, "INFO", "stopped"),
    (Kind.DIED, {"cause": "stuck"}, "CRITICAL", "the guard has died: stuck"),
    (
        Kind.HOST_PAUSED,
        {"late": 61.5, "clock_jump": 0.0},
        "WARNING",
        "the host paused: 61.5 s late, its clock moved by 0.0 s; reconciling first",
    ),
    (Kind.STARTED, {}, "INFO", "started"),
    (Kind.READY, {}, "INFO", "ready"),
    (Kind.PARKED, {"reason": "paused by cli"}, "INFO", "waits: paused by cli"),
    (Kind.UNPARKED, {}, "INFO", "goes on"),
    (
        Kind.EXITED,
        {"how": "killed", "error": "killed by ops"},
        "WARNING",
        "died: killed (killed by ops)",
    ),
    (
        Kind.EXITED,
        {"how": "crashed", "error": "defence.errors.Damaged: crc"},
        "WARNING",
        "died: crashed (Damaged: crc)",
    ),
    (Kind.EXITED, {"how": "stopped", "error": ""}, "DEBUG", "ended"),
    (Kind.FENCED, {"how": "hung"}, "WARNING", "fenced: hung"),
    (
        Kind.CHARGED,
        {"restarts_in_window": 1, "budget_left": 2},
        "WARNING",
        "charged 1 of 3, restarting",
    ),
    (Kind.RESTARTING, {"delay": 1.21, "nth": 2}, "INFO", "next start in 1.21 s"),
    (
        Kind.ESCALATED,
        {"failures": ["crashed: a", "hung"], "retry_in": 12.5},
        "CRITICAL",
        (
            "escalated: restart budget used up; tried again in 12.5 s "
            "(now: ctl reset-budget monitor); failures: crashed: a; hung"
        ),
    ),
    (
        Kind.ESCALATED,
        {"failures": [], "retry_in": None},
        "CRITICAL",
        "escalated: restart budget used up; waits for ops (now: ctl reset-budget monitor)",
    ),
    (
        Kind.BUDGET,
        {"restarts_in_window": 0, "budget_left": 3},
        "DEBUG",
        "restart budget: 0 of 3 used",
    ),
    (
        Kind.BUDGET,
        {"restarts_in_window": 2, "budget_left": 1},
        "INFO",
        "restart budget: 2 of 3 used",
    ),
    (
        Kind.BUDGET_RESET,
        {"by": "cli", "budget_left": 3, "restarts_in_window": 0},
        "INFO",
        "restart budget reset by cli: 3 restarts left",
    ),
    (
        Kind.STALE_REPORT,
        {"of": 1, "how": "crashed"},
        "DEBUG",
        "late report of incarnation 1 ignored: crashed",
    ),
    (
        Kind.LEAKED,
        {"threads": 2, "ended": False},
        "WARNING",
        "its hung thread stays behind, fenced; 2 threads by now",
    ),
    (
        Kind.LEAKED,
        {"threads": 1, "ended": True},
        "INFO",
        "its hung thread has ended; 1 thread left",
    ),
    (
        Kind.POISONED,
        {"message": "Register", "id": "x", "error": "KeyError('a')"},
        "ERROR",
        "message Register set aside: it crashed twice, KeyError('a')",
    ),
    (
        Kind.DEAD_LETTER,
        {"message": "Tick", "why": "stopped"},
        "DEBUG",
        "message Tick was not handled: stopped",
    ),
    (
        Kind.DEAD_LETTER,
        {"message": "Register", "why": "MailboxFull"},
        "WARNING",
        "message Register was not handled: MailboxFull",
    ),
    (
        Kind.CONNECTING,
        {"attempt": 1, "terminal": "native"},
        "INFO",
        "connecting to the native terminal, attempt 1",
    ),
    (
        Kind.CONNECT_FAILED,
        {"attempt": 2, "error": "IPC timeout (-10005)", "retry_in": 1.21},
        "WARNING",
        "connect attempt 2 failed: IPC timeout (-10005); next in 1.21 s",
    ),
    (
        Kind.CONNECTED,
        {
            "login": 5,
            "server": "S",
            "currency": "USD",
            "margin_mode": "hedging",
            "terminal": "native",
            "real": True,
            "build": 5000,
        },
        "INFO",
        (
            "connected to account 5 on S: USD, hedging, native terminal build 5000 "
            "(orders reach a broker)"
        ),
    ),
    (Kind.TERMINAL_LOST, {"reason": "no IPC"}, "WARNING", "the terminal is lost: no IPC"),
    (Kind.TERMINAL_BACK, {}, "INFO", "the terminal is back"),
    (Kind.SNAPSHOT, {"positions": 2, "equity": 9.5}, "DEBUG", "read 2 positions, equity 9.5"),
    (Kind.CANNOT_ACT, {"reason": "switched off"}, "ERROR", "cannot act: switched off"),
    (Kind.CANNOT_ACT, {"reason": None}, "INFO", "orders may be sent again"),
    (
        Kind.FROZEN,
        {"frozen": True, "by": "cli", "why": "news"},
        "WARNING",
        "frozen by cli: news: no order is sent at all",
    ),
    (
        Kind.FROZEN,
        {"frozen": False, "by": "cli", "why": ""},
        "DEBUG",
        "not frozen (by cli): orders are sent as the mode allows",
    ),
    (
        Kind.TERMINAL_UPDATED,
        {"before": 4000, "build": 5000, "terminal": "native", "real": True},
        "INFO",
        "the terminal was updated: build 5000, before it was 4000",
    ),
    (
        Kind.REGISTERED,
        {"ticket": 7, "symbol": "EURUSD", "by": "bot"},
        "INFO",
        "EURUSD #7 registered by bot",
    ),
    (Kind.RELEASED, {"ticket": 7, "by": "cli"}, "INFO", "#7 released by cli"),
    (
        Kind.TRADE_CHANGED,
        {"what": "manual_change", "ticket": 7, "symbol": "X", "detail": "stop 1 is now 2"},
        "WARNING",
        "X #7 manual change: stop 1 is now 2",
    ),
    (
        Kind.TRADE_CHANGED,
        {"what": "adopted", "ticket": 7, "symbol": "X", "detail": "BUY"},
        "INFO",
        "X #7 adopted: BUY",
    ),
    (
        Kind.BOOK,
        {"active": 3, "observed": 1, "in_doubt": 1},
        "DEBUG",
        "3 trades, 1 of them only observed, 1 order without an outcome",
    ),
    (
        Kind.RECONCILED,
        {"reason": "timer", "changes": 0, "left_open": 0},
        "DEBUG",
        "reconciled (timer): 0 changes",
    ),
    (
        Kind.RECONCILED,
        {"reason": "timer", "changes": 1, "left_open": 2},
        "INFO",
        "reconciled (timer): 1 change, 2 left open",
    ),
    (
        Kind.CYCLE,
        {
            "cycle": 4,
            "trades": 3,
            "evaluated": 2,
            "skipped": {"closed market": 1},
            "intents": 1,
            "took": 0.01,
        },
        "DEBUG",
        "cycle 4: 2 of 3 trades evaluated, skipped: 1 closed market, 1 order, took 0.01 s",
    ),
    (
        Kind.WOULD,
        {"ticket": 7, "what": "move_stop", "reason": "gave back"},
        "INFO",
        "#7 would move the stop, but nothing is sent: gave back",
    ),
    (
        Kind.INTENT,
        {
            "ticket": 123456,
            "symbol": "GBPUSD",
            "what": "move_stop",
            "step": "l1_stop",
            "volume": 0.0,
            "stop_loss": 1.5742,
            "stop_before": 1.572,
            "reason": "gave back 0.53 R of a best of 0.00 R",
        },
        "INFO",
        "GBPUSD #123456 WARNING_L1: stop 1.5720 -> 1.5742 (gave back 0.53 R of a best of 0.00 R)",
    ),
    (
        Kind.INTENT,
        {
            "ticket": 1,
            "symbol": "X",
            "what": "close_part",
            "step": "l2_half",
            "volume": 0.05,
            "reason": "r",
        },
        "INFO",
        "X #1 WARNING_L2: close 0.05 lots (r)",
    ),
    (
        Kind.INTENT,
        {
            "ticket": 1,
            "symbol": "X",
            "what": "move_stop",
            "step": None,
            "stop_loss": 2.0,
            "stop_before": None,
            "reason": "r",
        },
        "INFO",
        "X #1: stop none -> 2 (r)",
    ),
    (
        Kind.OUTCOME,
        {"ticket": 1, "outcome": "done", "detail": "10009 DONE", "by": "broker"},
        "INFO",
        "#1 order done: 10009 DONE",
    ),
    (
        Kind.OUTCOME,
        {"ticket": 1, "outcome": "not_done", "detail": "", "by": "ops"},
        "WARNING",
        "#1 order refused by the broker, said by ops",
    ),
    (
        Kind.OUTCOME,
        {"ticket": 1, "outcome": "unknown", "detail": "timeout", "by": "broker"},
        "ERROR",
        "#1 order in doubt, the trade is frozen until it is resolved: timeout",
    ),
    (
        Kind.ALERT,
        {"key": "k", "severity": "critical", "title": "T", "text": "x", "count": 3, "told": True},
        "CRITICAL",
        "ALERT T (3 times): x",
    ),
    (Kind.ACKNOWLEDGED, {"key": "k", "by": "ops"}, "INFO", "alert k acknowledged by ops"),
    (
        Kind.COMMAND,
        {"command": "restart", "by": "cli", "child": "monitor"},
        "INFO",
        "cli says: restart child=monitor",
    ),
    (
        Kind.CONTROL,
        {"mode": "armed", "paused": False, "by": "settings", "why": ""},
        "INFO",
        "mode armed, orders are sent (by settings)",
    ),
    (
        Kind.CONTROL,
        {"mode": "observe", "paused": True, "by": "cli", "why": "news"},
        "INFO",
        "mode observe, paused, nothing is sent (by cli: news)",
    ),
    (
        Kind.SET_ASIDE,
        {
            "store": "trades",
            "why": "damaged",
            "path": "trades.damaged-1",
            "reason": "crc",
            "source": "20261122T180000Z",
            "missing": 2,
        },
        "ERROR",
        (
            "the store 'trades' gave way (damaged): crc; kept as trades.damaged-1; "
            "20261122T180000Z came in its place; 2 commits missing"
        ),
    ),
    (
        Kind.SET_ASIDE,
        {"store": "ledger", "why": "rolled-back", "path": None, "reason": "r", "source": None},
        "ERROR",
        "the store 'ledger' gave way (rolled-back): r",
    ),
    (
        Kind.SET_ASIDE,
        {"store": "trades", "why": "migrated", "path": "t.1", "reason": "format 1 became 2"},
        "INFO",
        "the store 'trades' was migrated: format 1 became 2; the old one is kept as t.1",
    ),
    (Kind.BACKUP, {"path": "/b", "by": "cli"}, "INFO", "backup by cli: /b"),
    (
        Kind.BACKUP,
        {"path": "/b", "by": "schedule", "removed": ["x", "y"]},
        "INFO",
        "backup by schedule: /b; no longer kept: x, y",
    ),
    (Kind.BACKUP, {"path": "/b", "by": "before"}, "DEBUG", "newest backup: /b"),
    (Kind.BACKUP_FAILED, {"reason": "no room"}, "ERROR", "backup failed: no room"),
    (
        Kind.STORE_FAILS,
        {"store": "trades", "code": "store_full", "reason": "no room"},
        "ERROR",
        "the store 'trades' takes no writes: no room",
    ),
    (Kind.STORE_WORKS, {"store": "trades"}, "INFO", "the store 'trades' takes writes again"),
]


def event(kind: Kind, facts: dict[str, Any], incarnation: int | None = 2) -> Event:
    return Event(1, 0.0, kind, "monitor", incarnation, facts)


def test_every_kind_has_a_sentence_and_a_row() -> None:
    assert set(SENTENCES) == set(Kind)
    assert {row[0] for row in ROWS} == set(Kind)


@pytest.mark.parametrize(
    ("kind", "facts", "level", "text"), ROWS, ids=[f"{n}-{row[0]}" for n, row in enumerate(ROWS)]
)
def test_what_the_log_says(kind: Kind, facts: dict[str, Any], level: str, text: str) -> None:
    line = line_of(event(kind, facts))
    assert (line.level, line.text) == (level, text)


@pytest.mark.parametrize(
    ("kind", "facts"),
    [
        (Kind.STARTED, {}),
        (Kind.READY, {}),
        (Kind.CONNECTING, {"attempt": 2, "terminal": "native"}),
    ],
)
def test_what_is_usual_is_quiet(kind: Kind, facts: dict[str, Any]) -> None:
    assert line_of(event(kind, facts, incarnation=1)).level == "DEBUG"


def test_a_child_that_never_lived_does_not_stop_aloud() -> None:
    facts = {"stage": "monitor", "what": "stopped"}
    assert line_of(event(Kind.STAGE, facts, incarnation=0)).level == "DEBUG"


odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
names = sorted({name for row in ROWS for name in row[1]})


@given(st.sampled_from(list(Kind)), st.dictionaries(st.sampled_from(names), odd), st.booleans())
def test_no_facts_make_the_log_fail(kind: Kind, facts: dict[str, Any], child: bool) -> None:
    line = line_of(Event(1, 0.0, kind, "monitor" if child else None, None, facts))
    assert line.text
    assert line.level in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


@pytest.mark.parametrize(
    ("value", "places", "text"),
    [(1.572, 5, "1.57200"), (1.57425, 0, "1.57425"), (150, 0, "150"), (None, 3, "none")],
)
def test_a_price(value: float | None, places: int, text: str) -> None:
    assert price(value, places) == text
