"""A message about an order that is set aside as poison leaves the order in doubt, never settled.

Reconciliation then asks the broker's books, which have the last word.
"""

from __future__ import annotations

import pytest
from guard_kit import GuardKit, kinds
from intents_kit import Scene, scene
from test_guard_acting import let_pass

from actors.events import Kind
from actors.names import CONNECTOR, REGISTRY
from defence.orders import IntentKind, OutcomeKind

LOTS = {IntentKind.MOVE_STOP: 0.0, IntentKind.CLOSE: 0.2}


def strike(made: Scene, child: str, point: str, message: str, how: str) -> list[str]:
    """Fail at `point` whenever `child` has a message of that type in hand; note each time."""
    struck: list[str] = []

    def action() -> None:
        slot = next(one for one in made.guard._house._slots if one.name == child)
        assert slot.incarnation is not None
        letter = slot.incarnation.actor.letter
        if letter is None or type(letter.message).__name__ != message:
            return
        struck.append(letter.id)
        if how == "hangs":
            made.terminal.runtime.hang()
        raise RuntimeError(f"struck at {point}")

    made.points.arm(point, action, times=1_000_000)
    return struck


def poisons(made: Scene) -> list[tuple[str | None, object]]:
    return [(event.child, event.facts["message"]) for event in kinds(made.guard, Kind.POISONED)]


@pytest.mark.parametrize("how", ["crashes", "hangs"])
@pytest.mark.parametrize("kind", list(LOTS))
@pytest.mark.parametrize("message", ["Evaluated", "RecordOutcome"])
def test_poison_in_the_journal(sim: GuardKit, kind: IntentKind, message: str, how: str) -> None:
    made = scene(sim)
    point = "registry.before_commit"
    struck = strike(made, REGISTRY, point, message, how)
    made.decide(made.intent(kind))
    let_pass(made.kit, 130.0)
    assert (REGISTRY, message) in poisons(made)
    assert len(struck) >= 2
    assert struck[0] == struck[1], "the same message, again"
    made.points.disarm(point)
    made.settle()
    made.all_were_durable()
    if made.outcome("intent-1") is None:
        assert made.of("intent-1") == []  # it never got as far as the journal
        assert message == "Evaluated"
    else:
        made.agrees("intent-1", LOTS[kind])
    assert made.guard.health().ready, made.guard.health()
    if made.guard.trades():  # nothing is frozen for good
        assert made.may_send(made.intent(IntentKind.MOVE_STOP, "intent-2"))


@pytest.mark.parametrize("how", ["crashes", "hangs"])
@pytest.mark.parametrize("kind", list(LOTS))
def test_an_order_that_fails_twice_before_it_goes_out(
    sim: GuardKit, kind: IntentKind, how: str
) -> None:
    made = scene(sim)
    strike(made, CONNECTOR, "connector.before_send", "Execute", how)
    made.decide(made.intent(kind))
    let_pass(made.kit, 100.0)
    # Once a handler has hung over it, the market has moved on: it is too late to be sent.
    assert poisons(made) == ([(CONNECTOR, "Execute")] if how == "crashes" else [])
    made.points.disarm("connector.before_send")
    made.settle()
    assert made.of("intent-1") == []
    outcome = made.outcome("intent-1")
    assert outcome is not None
    assert outcome.kind in (OutcomeKind.NOT_DONE, OutcomeKind.NOT_SENT)


@pytest.mark.parametrize("how", ["crashes", "hangs"])
@pytest.mark.parametrize("kind", list(LOTS))
def test_an_order_that_may_have_gone_out_is_answered_unknown_and_is_no_poison(
    sim: GuardKit, kind: IntentKind, how: str
) -> None:
    made = scene(sim)
    struck = strike(made, CONNECTOR, "connector.after_send", "Execute", how)
    made.decide(made.intent(kind))
    let_pass(made.kit, 100.0)
    assert poisons(made) == []
    assert len(struck) == 1
    made.points.disarm("connector.after_send")
    made.settle()
    assert len(made.of("intent-1")) == 1
    made.agrees("intent-1", LOTS[kind])
