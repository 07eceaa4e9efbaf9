"""Concurrent registration: stored once, answered all, also when the Registry is killed."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from guard_kit import GuardKit, kinds

from actors.events import Kind
from actors.messages import Register
from actors.names import REGISTRY
from actors.points import Points
from defence.errors import Conflict, Invalid, MailboxFull, NotFound
from defence.trade import Registration, Standing
from supervisors import Guard, Trade

STRIKES = [
    "registry.before_commit",
    "registry.in_commit",
    "registry.after_commit",
    "registry.before_reply",
]


def observed(kit: GuardKit, **options: object) -> Guard:
    """Return a guard that leaves positions for the caller to register."""
    return kit.start(adoption="ignore", **options)


def balanced(guard: Guard) -> None:
    """Check that every accepted message is accounted for."""
    for name, counts in guard.counts().items():
        assert counts.balanced, (name, counts)


def test_64_threads_and_overlapping_tickets(kit: GuardKit) -> None:
    guard = observed(kit, interval=0.2)
    tickets = [kit.terminal.open_position("EURUSD", "BUY", 0.1, sl=1.0) for _ in range(40)]
    start = threading.Barrier(64)

    def caller(n: int) -> list[tuple[int, bool, str]]:
        start.wait()
        mine = [tickets[(n * 7 + k) % len(tickets)] for k in range(10)]
        answers = []
        for ticket in mine:
            answer = guard.register(Trade(ticket=ticket), timeout=30)
            answers.append((ticket, answer.created, answer.trade.created_by))
        return answers

    with ThreadPoolExecutor(64) as pool:
        answers = [answer for part in pool.map(caller, range(64)) for answer in part]
    assert len(answers) == 640
    asked = {ticket for ticket, _, _ in answers}
    created = Counter(ticket for ticket, new, _ in answers if new)
    assert created == dict.fromkeys(asked, 1)
    for ticket in asked:
        assert len({by for t, _, by in answers if t == ticket}) == 1
    stored = [trade.ticket for trade in guard.trades()]
    assert sorted(stored) == sorted(asked)
    balanced(guard)
    guard.stop()
    balanced(guard)
    assert all(c.waiting == c.in_hand == 0 for c in guard.counts().values())


@pytest.mark.parametrize("point", STRIKES)
def test_one_ticket_many_callers_and_the_registry_is_killed(both: GuardKit, point: str) -> None:
    """Exactly one caller sees `created`, whenever the Registry dies."""
    points = Points()
    guard = observed(both, points=points)
    ticket = both.terminal.open_position("EURUSD", "BUY", 0.1, sl=1.0)
    snapshot = guard.snapshot()
    registry = guard._house.address(REGISTRY)
    points.kill_at(point, times=2)
    trade = Trade(ticket=ticket)
    futures = [
        registry.ask_later(Register(f"caller-{n}", trade, snapshot), timeout=60) for n in range(32)
    ]
    answers: list[Registration] = [guard._house.wait(f, 60, "registry") for f in futures]
    assert sum(answer.created for answer in answers) == 1
    assert len({answer.trade for answer in answers}) == 1
    winner = next(n for n, answer in enumerate(answers) if answer.created)
    assert answers[0].trade.created_by == f"caller-{winner}"
    # After a commit the second life finds it done, and commits nothing more.
    deaths = 1 if point == "registry.after_commit" else 2
    assert points.reached[point] == deaths
    assert len(kinds(guard, Kind.EXITED, child="registry")) == deaths
    assert [trade.ticket for trade in guard.trades()] == [ticket]
    assert len(kinds(guard, Kind.REGISTERED)) <= 1
    balanced(guard)


@pytest.mark.parametrize("seed", range(25))
def test_kills_anywhere_in_a_storm_of_registrations(sim: GuardKit, seed: int) -> None:
    points = Points()
    guard = observed(sim, seed=seed, points=points)
    rng = sim.runtime.random
    tickets = [sim.terminal.open_position("EURUSD", "BUY", 0.1, sl=1.0) for _ in range(5)]
    snapshot = guard.snapshot()
    registry = guard._house.address(REGISTRY)
    futures = []
    for n in range(60):
        ticket = tickets[n % 5]
        message = Register(f"c{n}", Trade(ticket=ticket), snapshot)
        futures.append((ticket, registry.ask_later(message, timeout=600)))
        if rng.random() < 0.15:
            points.kill_at(rng.choice(STRIKES))
        if rng.random() < 0.3:
            sim.runtime.run_for(0.0)  # type: ignore[attr-defined]  # the simulated runtime
    answers = [(t, guard._house.wait(f, 600, "registry")) for t, f in futures]
    created = Counter(t for t, answer in answers if answer.created)
    assert created == dict.fromkeys(tickets, 1)
    for ticket in tickets:
        assert len({a.trade.created_by for t, a in answers if t == ticket}) == 1
    balanced(guard)


def test_the_same_request_again_is_created_again(both: GuardKit) -> None:
    guard = observed(both)
    ticket = both.terminal.open_position("EURUSD", "BUY", 0.1)
    first = guard.register(Trade(ticket=ticket), request_id="r1")
    again = guard.register(Trade(ticket=ticket), request_id="r1")
    other = guard.register(Trade(ticket=ticket), request_id="r2")
    assert (first.created, again.created, other.created) == (True, True, False)
    assert first.trade == again.trade == other.trade


def test_it_is_durable_when_it_returns(kit: GuardKit) -> None:
    guard = observed(kit)
    ticket = kit.terminal.open_position("EURUSD", "BUY", 0.1)
    guard.register(Trade(ticket=ticket, managed_by="bot"))
    stored, _ = guard._house.premises.stores.trades.load()
    assert [trade.ticket for trade in stored.values()] == [ticket]
    assert next(iter(stored.values())).managed_by == "bot"


def test_a_released_trade_is_not_adopted_again(both: GuardKit) -> None:
    guard = both.start(adoption="adopt")
    ticket = both.terminal.open_position("EURUSD", "BUY", 0.1)
    both.until(lambda: len(guard.trades()) == 1, 120)
    guard.release(ticket)
    before = kinds(guard, Kind.CYCLE)[-1].facts["cycle"]
    both.until(
        lambda: int(str(kinds(guard, Kind.CYCLE)[-1].facts["cycle"])) > int(str(before)) + 3, 300
    )
    assert guard.trades() == ()
    assert guard.trade(ticket).standing is Standing.RELEASED
    assert guard.register(Trade(ticket=ticket)).created
    assert len(guard.trades()) == 1


BAD = [
    ({"ticket": 0}, Invalid, "ticket"),
    ({"ticket": -1}, Invalid, "ticket"),
    ({"ticket": "12"}, Invalid, "ticket"),
    ({"ticket": True}, Invalid, "ticket"),
    ({"ticket": 999_999}, NotFound, "ticket"),
    ({"volume": -0.1}, Invalid, "volume"),
    ({"volume": float("nan")}, Invalid, "volume"),
    ({"volume": float("inf")}, Invalid, "volume"),
    ({"volume": 99.0}, Invalid, "volume"),
    ({"entry_price": float("nan")}, Invalid, "entry_price"),
    ({"stop_loss": float("inf")}, Invalid, "stop_loss"),
    ({"stop_loss": 99.0}, Invalid, "stop_loss"),
    ({"take_profit": 0.0001}, Invalid, "take_profit"),
    ({"symbol": "NOSUCH"}, Invalid, "symbol"),
    ({"symbol": 5}, Invalid, "symbol"),
    ({"direction": "SELL"}, Invalid, "direction"),
    ({"direction": "UP"}, Invalid, "direction"),
    ({"magic": -1}, Invalid, "magic"),
    ({"managed_by": "x" * 500}, Invalid, "managed_by"),
    ({"surprise": 1}, Invalid, "surprise"),
]


@pytest.mark.parametrize(("fields", "error", "field"), BAD, ids=[str(row[0]) for row in BAD])
def test_bad_input_names_the_field_and_the_remedy(
    shared_guard: tuple[Guard, int], fields: dict[str, object], error: type, field: str
) -> None:
    guard, ticket = shared_guard
    with pytest.raises(error) as caught:
        guard.register_fields({"ticket": ticket, **fields})
    assert caught.value.field == field
    assert caught.value.remedy
    assert guard.trades() == ()
    assert not kinds(guard, Kind.EXITED)


def test_a_conflict_with_what_is_registered(both: GuardKit) -> None:
    guard = observed(both)
    ticket = both.terminal.open_position("EURUSD", "BUY", 0.1)
    guard.register(Trade(ticket=ticket, managed_by="one"))
    with pytest.raises(Conflict) as caught:
        guard.register(Trade(ticket=ticket, managed_by="two"))
    assert caught.value.field == "managed_by"
    assert guard.trades()[0].managed_by == "one"


def test_a_full_mailbox_refuses_at_once_and_loses_nothing(sim: GuardKit) -> None:
    guard = observed(sim)
    ticket = sim.terminal.open_position("EURUSD", "BUY", 0.1)
    snapshot = guard.snapshot()
    registry = guard._house.address(REGISTRY)
    accepted, refused = [], 0
    for n in range(10_050):
        try:
            accepted.append(
                registry.ask_later(Register(f"x{n}", Trade(ticket=ticket), snapshot), timeout=900)
            )
        except MailboxFull:
            refused += 1
    assert refused == 50
    assert sum(guard._house.wait(f, 900, "registry").created for f in accepted) == 1
    balanced(guard)
