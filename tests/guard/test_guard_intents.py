"""Every order is journalled before and after; whatever is lost, the books have the last word.

A recorder stands before the simulated broker: it notes each order it is handed
and what was durable at that moment, and loses answers by script. In the end
each intent has one outcome, the broker's books agree with it, and no order was
sent twice.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from guard_kit import GuardKit, kinds
from intents_kit import Fate, Scene, Sent, kill_nth, scene
from test_guard_acting import let_pass, price

from actors.events import Kind
from actors.points import AROUND_AN_ORDER
from defence.orders import IntentKind, OutcomeKind

KINDS = [IntentKind.MOVE_STOP, IntentKind.CLOSE_PART, IntentKind.CLOSE]
LOTS = {IntentKind.MOVE_STOP: 0.0, IntentKind.CLOSE_PART: 0.1, IntentKind.CLOSE: 0.2}
LOST = [fate for fate in Fate if fate is not Fate.ANSWERED]
COMMENTS: dict[str, Callable[[str], str]] = {
    "kept": str,
    "cut": lambda comment: comment[:9],
    "replaced": lambda _: "[broker]",
    "none": lambda _: "",
}


def sent_with(made: Scene, kind: IntentKind, fate: Fate) -> None:
    """Have the guard send one order of a kind, with that fate."""
    made.terminal.fates = [fate]
    made.decide(made.intent(kind))


@pytest.mark.parametrize(
    ("kind", "fate", "comment"),
    [
        *((kind, fate, "kept") for kind in KINDS for fate in Fate),
        # A comment shows only in deals.
        *(
            (kind, fate, comment)
            for kind in KINDS[1:]
            for fate in (Fate.EXECUTED_ANSWER_LOST, Fate.EXECUTED_LATER, Fate.PART_ANSWER_LOST)
            for comment in ("cut", "replaced", "none")
        ),
    ],
)
def test_the_outcome_agrees_with_the_brokers_books(
    sim: GuardKit, kind: IntentKind, fate: Fate, comment: str
) -> None:
    made = scene(sim)
    made.terminal.comment = COMMENTS[comment]
    sent_with(made, kind, fate)
    began = made.terminal.runtime.clock.wall()
    if fate is Fate.ANSWERED:
        assert made.pending() == {}
    else:
        assert set(made.pending()) == {"intent-1"}
        # Frozen: the journal takes no other order for the ticket.
        assert not made.may_send(made.intent(kind, "intent-2"))
    made.settle()
    made.agrees("intent-1", LOTS[kind])
    made.all_were_durable()
    outcome = made.outcome("intent-1")
    assert outcome is not None
    if fate is not Fate.ANSWERED and outcome.kind is OutcomeKind.NOT_DONE:
        assert outcome.at - began >= 30.0
    assert len(made.terminal.sent) == 1


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("point", AROUND_AN_ORDER)
@pytest.mark.parametrize("kind", KINDS)
def test_a_death_around_the_order(sim: GuardKit, kind: IntentKind, point: str, nth: int) -> None:
    made = scene(sim)
    kill_nth(made.points, point, nth)
    sent_with(made, kind, Fate.ANSWERED)
    made.settle()
    made.agrees("intent-1", LOTS[kind])
    made.all_were_durable()


SENT_BY_THEN = ("connector.after_send", "connector.before_reply")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("point", "fate"),
    [
        *((point, Fate.ANSWERED) for point in AROUND_AN_ORDER if point not in SENT_BY_THEN),
        *((point, fate) for point in SENT_BY_THEN for fate in Fate),
    ],
)
def test_the_process_dies_around_the_order(
    sim: GuardKit, kind: IntentKind, point: str, fate: Fate
) -> None:
    made = scene(sim)
    over = die_at(made, point, 1)
    made.terminal.fates = [fate]
    made.guard._house.address("registry").tell(made.evaluated(made.intent(kind)))
    made.terminal.runtime.wait_until(lambda: bool(over), 10.0)
    assert over
    pending = set(made.pending())
    before = len(made.terminal.sent)
    made.die()
    made.settle()
    # What was durable has its outcome; what was not has never been sent.
    if pending or made.outcome("intent-1"):
        made.agrees("intent-1", LOTS[kind])
    else:
        assert before == 0
    assert len(made.terminal.sent) == before  # the new process sends nothing of the old one's


def die_at(made: Scene, point: str, nth: int) -> list[bool]:
    """Have the process stop at a point: whoever gets there goes no further. True is added then."""
    over: list[bool] = []
    left = [nth]

    def count() -> None:
        left[0] -= 1
        if left[0] == 0:
            over.append(True)
            made.points.kill_at(point)
            made.points.reach(point)

    made.points.arm(point, count, times=1_000_000)
    return over


@pytest.mark.parametrize("lots", [0.05, 0.1], ids=["another volume", "the same volume"])
@pytest.mark.parametrize("first", [True, False], ids=["before it", "after it"])
@pytest.mark.parametrize("fate", LOST)
@pytest.mark.parametrize("comment", ["kept", "replaced"])
def test_a_person_closes_a_part_in_the_same_second(
    sim: GuardKit, fate: Fate, first: bool, lots: float, comment: str
) -> None:
    made = scene(sim)
    made.terminal.comment = COMMENTS[comment]

    def by_hand() -> None:
        made.terminal.close_position(made.ticket, lots)

    if first:
        made.terminal.after_send = by_hand
    sent_with(made, IntentKind.CLOSE_PART, fate)
    if not first:
        by_hand()
    made.settle()
    executed = made.terminal.sent[0].executed
    outcome = made.outcome("intent-1")
    assert outcome is not None
    if executed != 0.1 and lots + (executed or 0.0) >= 0.1:
        # The volume fell by as much as ours was to close: it counts as done, for
        # the position is where the order would have brought it, or beyond.
        assert (outcome.kind, outcome.volume) == (OutcomeKind.DONE, 0.1)
    else:
        made.agrees("intent-1", 0.1)
    assert len(made.terminal.sent) == 1


@pytest.mark.parametrize("fate", LOST)
@pytest.mark.parametrize("kind", [IntentKind.CLOSE_PART, IntentKind.CLOSE])
def test_a_person_closes_the_whole_position_meanwhile(
    sim: GuardKit, kind: IntentKind, fate: Fate
) -> None:
    made = scene(sim)
    made.terminal.comment = COMMENTS["replaced"]
    sent_with(made, kind, fate)
    if made.terminal.positions_get(ticket=made.ticket):
        made.terminal.close_position(made.ticket)
    made.settle()
    made.agrees("intent-1", LOTS[kind])


@pytest.mark.parametrize("fate", [*Fate, None])
def test_a_deleted_order_is_told_from_its_own_fate(sim: GuardKit, fate: Fate | None) -> None:
    made = scene(sim)
    made.terminal.close_position(made.ticket)
    order = made.place()
    made.terminal.fates = [Fate.NOT_EXECUTED_ANSWER_LOST if fate is None else fate]
    made.flatten()
    if fate is None:
        price(sim, 1.0400)  # it is filled before anybody looks
        price(sim, ENTRY_BID)
    (intent_id,) = [e.facts["id"] for e in kinds(made.guard, Kind.INTENT)]
    made.settle()
    made.agrees(str(intent_id), 0.0)
    assert (order in {one.ticket for one in made.terminal.orders_get() or ()}) == (
        fate is Fate.NOT_EXECUTED_ANSWER_LOST
    )


ENTRY_BID = 1.0999


@pytest.mark.parametrize("point", ["registry.after_commit", "registry.before_execute"])
def test_an_order_that_was_never_told_is_told_by_the_next_registry(
    sim: GuardKit, point: str
) -> None:
    made = scene(sim)
    made.points.kill_at(point)
    sent_with(made, IntentKind.MOVE_STOP, Fate.ANSWERED)
    let_pass(sim, 5.0)
    assert len(made.terminal.sent) == 1
    assert len(kinds(made.guard, Kind.INTENT)) == 1
    assert made.pending() == {}
    outcome = made.outcome("intent-1")
    assert outcome is not None
    assert (outcome.kind, outcome.resolved_by) == (OutcomeKind.DONE, "broker")


def test_an_old_decision_is_not_told_late(sim: GuardKit) -> None:
    made = scene(sim, backoff_first=20.0)
    made.guard.admin("kill", child="registry")  # the second death waits for its backoff
    let_pass(sim, 60.0)
    made.points.kill_at("registry.after_commit")
    sent_with(made, IntentKind.MOVE_STOP, Fate.ANSWERED)
    made.settle()
    assert made.terminal.sent == []
    made.agrees("intent-1", 0.0)


def test_a_told_order_is_not_told_again(sim: GuardKit) -> None:
    made = scene(sim)
    made.points.kill_at("registry.before_reply")
    sent_with(made, IntentKind.CLOSE_PART, Fate.NOT_EXECUTED_ANSWER_LOST)
    made.settle()
    assert len(made.terminal.sent) == 1
    assert len(kinds(made.guard, Kind.INTENT)) == 1
    made.agrees("intent-1", 0.1)


@pytest.mark.parametrize("block", range(12))
def test_many_lives(sim: GuardKit, rounds: Callable[..., int], block: int) -> None:
    """Seeded: the guard's own decisions, deaths, lost answers, hands, and a flatten at the end."""
    folder = sim.folder
    for seed in range(block, block + 12 * rounds(ci=1, long=25), 12):
        sim.folder = folder / str(seed)
        sim.folder.mkdir()
        one_life(sim, random.Random(seed), seed)


def stopped_by_a_gap(made: Scene, one: Sent) -> bool:
    """Whether a stop was moved, and price then jumped past it and the old one as well.

    Or something else closed the position. Nothing at the broker says then
    whether the stop had been moved.
    """
    intent = one.intent
    if intent is None or intent.kind is not IntentKind.MOVE_STOP:
        return False
    deals = made.terminal.history_deals_get(position=intent.identifier) or ()
    ends = [deal for deal in deals if deal.entry == 1]
    gone = not made.terminal.positions_get(ticket=intent.ticket)
    if not gone or intent.stop_before is None or intent.stop_loss is None:
        return False
    reach = intent.stop_before + (intent.stop_loss - intent.stop_before) / 4
    return ends[-1].reason != 4 or ends[-1].price <= reach


def one_life(sim: GuardKit, chance: random.Random, seed: int) -> None:
    made = scene(sim, seed=seed, netting=chance.random() < 0.3)
    made.terminal.comment = COMMENTS[chance.choice(list(COMMENTS))]
    flattened: list[str] = []
    for _ in range(chance.randint(3, 6)):
        made.terminal.fates = [chance.choice(list(Fate)) for _ in range(2)]
        price(sim, chance.choice([1.0945, 1.0999, 1.1300, 1.1210]))
        if chance.random() < 0.5:
            kill_nth(made.points, chance.choice(AROUND_AN_ORDER), chance.randint(1, 3))
        act = chance.random()
        if act < 0.2:
            over = die_at(made, chance.choice(AROUND_AN_ORDER), chance.randint(1, 2))
            made.terminal.runtime.wait_until(lambda over=over: bool(over), 40.0)
            made.die()
        elif act < 0.4:
            flattened.append(made.flatten()["journalled"])
        let_pass(sim, chance.uniform(1.0, 90.0))
    made.terminal.fates = []
    made.settle(900.0)
    sent: dict[str, list[float | None]] = {}
    for one in made.terminal.sent:
        if one.intent is None:
            assert set(flattened) - {"before"}, f"seed {seed}: sent without an intent"
            continue
        sent.setdefault(one.intent.id, []).append(one.executed)
    assert all(len(found) == 1 for found in sent.values()), f"seed {seed}: sent twice"
    for one in made.terminal.sent:
        if one.intent is not None and not stopped_by_a_gap(made, one):
            made.agrees(one.intent.id, one.intent.volume)
    made.guard.stop()
    sim.guards.clear()
