"""A whole guard on real threads and LMDB, struck again and again while it works."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from guard_kit import GuardKit
from guard_storm import Callers, JudgingTerminal, Ops, budgets_hold, slot_of
from loguru import logger

from actors.events import Event, Kind
from actors.names import MONITOR, START_ORDER
from actors.points import Points
from storage.trades import TradeStore
from supervisors import Guard
from supervisors.children import OTHERS_RESTARTS

Rounds = Callable[..., int]
HUNG = 1.0  # seconds; a commit must never take that long here
MONITORS = 100_000  # restarts in an hour


@pytest.fixture
def _quiet() -> Iterator[None]:
    """Hundreds of deaths make many lines."""
    logger.disable("actors")
    logger.disable("supervisors")
    yield
    logger.enable("actors")
    logger.enable("supervisors")


@pytest.mark.timeout(1800)
@pytest.mark.usefixtures("_quiet")
def test_a_guard_in_a_storm(kit: GuardKit, rounds: Rounds, tmp_path: Path) -> None:
    kills, hangs = rounds(ci=120, long=1000), rounds(ci=6, long=100)
    terminal, points, events = JudgingTerminal(), Points(), list[Event]()
    terminal.set_price("EURUSD", 1.1, 1.1001)
    terminal.deposit(1e9)
    threads = threading.active_count()
    guard = kit.make(
        terminal=terminal,
        points=points,
        adoption="ignore",
        hang_after=HUNG,
        backoff_first=0.0,
        max_restarts=MONITORS,
        rate_limit=0.0,
    )
    guard.events.listen(events.append)
    guard.start()
    terminal.slots = {slot.name: slot for slot in guard._house._slots}
    terminal.durable = lambda: dict(guard._house.premises.stores.trades.load()[1])
    callers = Callers(guard, terminal, 8, seed=1)
    ops = [Ops(guard, points, name, seed=1) for name in START_ORDER]
    strikers = [
        threading.Thread(target=one.run, args=(-(-kills // 6), -(-hangs // 6), HUNG + 0.8))
        for one in ops
    ]
    for striker in strikers:
        striker.start()
    for striker in strikers:
        striker.join()
    callers.end()
    done = sum((one.done for one in ops), Counter[str]())
    print(f"{dict(done)}; {dict(callers.heard)}; {len(terminal.sent)} orders")
    assert [fault for one in ops for fault in one.faults] == []
    assert callers.faults == []
    assert terminal.faults == []
    kit.until(lambda: guard.health().ready, 30.0)
    for name, counts in guard.counts().items():
        assert counts.balanced, (name, counts)
    judge_lives(events)
    judge_orders(events, terminal)
    escalate_at_last(kit, guard, events)
    guard.stop()
    judge_store(kit.folder, callers)
    assert threading.active_count() == threads
    assert done["kill"] >= kills
    assert done["hang"] >= hangs
    assert len(callers.acknowledged) > 20
    assert len(terminal.sent) > 3


def judge_lives(events: list[Event]) -> None:
    """One end for every life but the present ones, each charged or by hand; budgets hold."""
    started = Counter((e.child, e.incarnation) for e in events if e.kind is Kind.STARTED)
    exited = Counter((e.child, e.incarnation) for e in events if e.kind is Kind.EXITED)
    assert set(started.values()) == {1}
    assert set(exited.values()) == {1}
    assert len(started) - len(exited) == len(START_ORDER)
    assert sum(e.kind is Kind.CHARGED for e in events) == len(exited)
    assert [e.line() for e in events if e.kind is Kind.STALE_REPORT] == []
    limits = dict.fromkeys(START_ORDER, OTHERS_RESTARTS) | {MONITOR: MONITORS}
    assert budgets_hold(events, limits) == []


def judge_orders(events: list[Event], terminal: JudgingTerminal) -> None:
    """At most one order a decision, and at most one final outcome."""
    decided = {event.facts["id"] for event in events if event.kind is Kind.INTENT}
    sent = Counter(one["intent"] for one in terminal.sent)
    assert set(sent) <= decided
    assert all(n == 1 for n in sent.values()), "one decision was sent twice"
    comments = Counter(one["comment"] for one in terminal.sent if one.get("comment"))
    assert all(n == 1 for n in comments.values()), "a broker could not tell two orders apart"
    final = Counter(
        event.facts["id"]
        for event in events
        if event.kind is Kind.OUTCOME and event.facts["outcome"] != "unknown"
    )
    assert all(n == 1 for n in final.values()), "one decision has two outcomes"


def escalate_at_last(kit: GuardKit, guard: Guard, events: list[Event]) -> None:
    """With nobody to reset its budget, a child escalates where it must, and is told."""
    guard.admin("reset-budget", child="alert")
    slot = slot_of(guard, "alert")
    for _ in range(OTHERS_RESTARTS):
        number = slot.number
        guard.admin("kill", child="alert")
        kit.until(lambda number=number: slot.number > number and slot.state.value == "ready")
    guard.admin("kill", child="alert")
    kit.until(lambda: slot.state.value == "escalated")
    assert guard.health().ready, "without alerts it is degraded, not down"
    judge_budget = dict.fromkeys(START_ORDER, OTHERS_RESTARTS) | {MONITOR: MONITORS}
    assert budgets_hold(events, judge_budget) == []
    guard.admin("reset-budget", child="alert")
    kit.until(lambda: slot.state.value == "ready")


def judge_store(folder: Path, callers: Callers) -> None:
    """What was acknowledged is there, once, under the request that heard so."""
    store = TradeStore.open(folder / "data" / "trades")
    try:
        trades, _ = store.load()
        active = Counter(trade.ticket for trade in trades.values())
        assert set(active.values()) <= {1}
        lost = []
        for ticket, request in callers.acknowledged.items():
            archived = store.find_archived_ticket(ticket)
            found = next((t for t in trades.values() if t.ticket == ticket), archived)
            if found is None or found.created_by != request:
                lost.append(ticket)
            assert archived is None or ticket not in active, f"{ticket} is there twice"
        assert lost == []
    finally:
        store.close()
