"""An answer that never comes does not stop monitoring or reconciliation for good."""

from __future__ import annotations

from typing import Any

import pytest
from guard_kit import GuardKit, kinds

from actors.events import Kind
from actors.life import Answer
from actors.messages import TakeSnapshot
from actors.names import CONNECTOR, MONITOR, RECOVERY
from actors.simulated import SimulatedRuntime
from supervisors import Guard


def lose_answers(guard: Guard, child: str, how_many: int) -> list[Answer]:
    """Let the next answers to `child` get lost on their way; return those that did."""
    post: Any = guard._house._post
    send, lost = post.send, []

    def losing(to: str, message: object, **options: Any) -> None:
        if to == child and isinstance(message, Answer) and len(lost) < how_many:
            lost.append(message)
        else:
            send(to, message, **options)

    post.send = losing
    return lost


def pass_time(kit: GuardKit, seconds: float) -> None:
    assert isinstance(kit.runtime, SimulatedRuntime)
    kit.runtime.run_for(seconds)


def cycles(guard: Guard) -> int:
    return len(kinds(guard, Kind.CYCLE))


@pytest.mark.parametrize("in_a_row", [1, 2])
def test_the_monitor_asks_anew(sim: GuardKit, in_a_row: int) -> None:
    guard = sim.start(interval=30.0)
    before = cycles(guard)
    lost = lose_answers(guard, MONITOR, in_a_row)
    pass_time(sim, 45.0)  # a cycle was begun, an answer is overdue
    assert lost
    assert cycles(guard) == before
    pass_time(sim, 75.0 * in_a_row)
    assert cycles(guard) > before
    assert guard.health().ready
    assert not kinds(guard, Kind.CHARGED, child=MONITOR)  # nobody was to blame


def test_recovery_asks_anew(sim: GuardKit) -> None:
    guard = sim.start(reconcile_every=100.0)
    before = len(kinds(guard, Kind.RECONCILED))
    lost = lose_answers(guard, RECOVERY, 1)
    pass_time(sim, 150.0)
    assert len(lost) == 1
    assert len(kinds(guard, Kind.RECONCILED)) == before
    pass_time(sim, 60.0)
    assert len(kinds(guard, Kind.RECONCILED)) > before


def test_a_late_answer_to_what_was_given_up_changes_nothing(sim: GuardKit) -> None:
    guard = sim.start(interval=30.0)
    (lost,) = _lose_one(sim, guard)
    pass_time(sim, 120.0)
    seen = cycles(guard)
    guard._house._post.send(MONITOR, lost)
    pass_time(sim, 1.0)
    assert cycles(guard) == seen
    assert not kinds(guard, Kind.EXITED, child=MONITOR)


def _lose_one(sim: GuardKit, guard: Guard) -> list[Answer]:
    lost = lose_answers(guard, MONITOR, 1)
    pass_time(sim, 40.0)
    return lost


def test_what_was_given_up_is_not_done_late(sim: GuardKit) -> None:
    """Looks do not pile up at a connector that hangs: one that nobody waits for is dropped."""
    guard = sim.start(interval=30.0, hang_after=1e6, stale_after=1e6)
    box = next(s.mailbox for s in guard._house._slots if s.name == CONNECTOR)
    holder = box._holder
    box._holder = None  # nobody takes: as if it hung for ever
    pass_time(sim, 600.0)
    waiting = [letter for lane in box._lanes for letter in lane]
    assert len([one for one in waiting if isinstance(one.message, TakeSnapshot)]) >= 5
    box._holder = holder
    failed = box.counts().failed
    pass_time(sim, 5.0)
    assert box.counts().failed >= failed + 4


def test_an_answer_that_came_leaves_no_timer_behind(sim: GuardKit) -> None:
    """The wait for it is over: nobody is woken later to find that out."""
    guard = sim.start(interval=30.0, reconcile_every=100.0)
    pass_time(sim, 300.0)
    assert cycles(guard) > 5
    assert isinstance(sim.runtime, SimulatedRuntime)
    assert not [line for line in sim.runtime.trace if " Overdue " in line]
