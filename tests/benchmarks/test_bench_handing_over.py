"""From the connector to the registry: nobody's answer is lost, whoever dies between."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from queue import Full
from typing import Any

import pytest
from bench_kit import Rig
from hypothesis import given
from hypothesis import strategies as st
from pykka import Timeout

from actors.book import Book, Draft
from actors.events import EventStream, Kind
from actors.mailbox import Lane, Letter, Mailbox
from actors.messages import Enlist
from actors.names import CONNECTOR
from actors.post import Post
from actors.replies import Reply
from actors.simulated import SimulatedRuntime
from actors.threads import ThreadRuntime
from defence.broker import Direction
from defence.errors import BrokerUnknown, DeadlinePassed, Invalid, MailboxFull, Stopped
from defence.trade import Registration, Standing, Trade, TradeRecord, TradeState
from storage.trades import Batch
from terminals.sim.faults import Effect
from terminals.sim.faults import Fault as Spoil

STRIKES = [
    "connector.before_reply",
    "connector.handing_over",
    "registry.before_commit",
    "registry.after_commit",
    "registry.before_reply",
]


# -- whoever dies


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("point", STRIKES)
def test_a_death_between_loses_no_answer(rig: Rig, point: str, times: int) -> None:
    tickets = rig.terminal.open(8)
    address = rig.guard._house.address(CONNECTOR)
    rig.points.kill_at(point, times=times)
    futures = [
        (ticket, address.ask_later(Enlist(f"{ticket}-{n}", Trade(ticket=ticket)), timeout=60.0))
        for n in range(4)
        for ticket in tickets
    ]
    answers = [(t, rig.guard._house.wait(one, 60.0, CONNECTOR)) for t, one in futures]
    assert all(isinstance(one, Registration) for _, one in answers)
    assert Counter(t for t, one in answers if one.created) == dict.fromkeys(tickets, 1)
    assert rig.points.reached[point] >= 1
    rig.balanced()


@pytest.mark.parametrize("seed", range(12))
def test_a_storm_with_deaths_anywhere(make: Any, seed: int) -> None:
    rig = make(threads=False, seed=seed).start()
    rng = rig.runtime.random
    tickets = rig.terminal.open(6)
    address = rig.guard._house.address(CONNECTOR)
    futures = []
    for n in range(60):
        ticket = tickets[n % 6]
        message = Enlist(f"c{n}", Trade(ticket=ticket))
        futures.append((ticket, address.ask_later(message, timeout=600.0)))
        if rng.random() < 0.15:
            rig.points.kill_at(rng.choice(STRIKES))
        if rng.random() < 0.3:
            rig.runtime.run_for(0.0)  # type: ignore[attr-defined]  # the simulated runtime
    answers = [(t, rig.guard._house.wait(one, 600.0, CONNECTOR)) for t, one in futures]
    assert Counter(t for t, one in answers if one.created) == dict.fromkeys(tickets, 1)
    rig.balanced()


def test_many_threads_while_both_die(make: Any) -> None:
    rig = make(threads=True).start()
    tickets = rig.terminal.open(32)
    for point in STRIKES[1:3]:
        rig.points.kill_at(point)
    start = threading.Barrier(16)

    def caller(n: int) -> list[Registration]:
        start.wait()
        return [
            rig.guard.register(Trade(ticket=tickets[(n * 5 + k) % 32]), timeout=60.0)
            for k in range(8)
        ]

    with ThreadPoolExecutor(16) as pool:
        answers = [one for part in pool.map(caller, range(16)) for one in part]
    created = Counter(one.trade.ticket for one in answers if one.created)
    assert created == dict.fromkeys({one.trade.ticket for one in answers}, 1)
    rig.balanced()


# -- who comes too late


def test_a_terminal_that_hangs_is_unknown_and_nothing_is_done_later(make: Any) -> None:
    rig = make(threads=True).start()
    (ticket,) = rig.terminal.open(1)
    rig.terminal.add_fault(Spoil(call="positions_get", effect=Effect.DELAY, seconds=0.6))
    with pytest.raises(BrokerUnknown, match="does not answer"):
        rig.guard.register(Trade(ticket=ticket), timeout=0.2)
    assert rig.guard.counts()["connector"].in_hand == 1
    # The one behind it is only looked for when the terminal is back.
    assert rig.guard.register(Trade(ticket=ticket), request_id="again").trade.created_by == "again"
    rig.balanced()


def test_a_letter_that_is_late_is_not_done(sim: Rig) -> None:
    (ticket,) = sim.terminal.open(1)
    sim.terminal.add_fault(Spoil(call="positions_get", effect=Effect.DELAY, seconds=8.0))
    with pytest.raises(DeadlinePassed, match="it was not done"):
        sim.guard.register(Trade(ticket=ticket), timeout=5.0)
    assert sim.guard.trades() == ()
    sim.balanced()
    assert sim.guard.register(Trade(ticket=ticket)).created


def test_a_registry_that_is_slow_may_still_have_done_it(sim: Rig) -> None:
    (ticket,) = sim.terminal.open(1)
    clock = sim.runtime.clock
    sim.points.arm("registry.in_commit", lambda: clock.advance(8.0))  # type: ignore[attr-defined]
    message = Enlist("r1", Trade(ticket=ticket))
    # Nobody in virtual time gives up while a handler runs: the answer is there, late.
    assert sim.guard._house.ask(CONNECTOR, message, 5.0).created
    assert sim.guard.register(Trade(ticket=ticket), request_id="r1").created


# -- mailboxes


def letters(count: int, lane: Lane = Lane.DATA) -> list[Letter]:
    return [Letter(n, id=str(n), lane=lane, reply_to=Reply()) for n in range(count)]


def post_with(box: Mailbox) -> Post:
    runtime = SimulatedRuntime()
    post = Post(runtime, EventStream(runtime.clock))
    post.add(box)
    return post


def told(letter: Letter) -> BaseException | None:
    assert letter.reply_to is not None
    try:
        letter.reply_to.get(timeout=0)
    except Timeout:
        return None
    except Exception as error:  # noqa: BLE001 - that is what is asked for
        return error
    raise AssertionError("it was answered with a value")


def test_what_does_not_fit_is_refused_and_its_asker_told() -> None:
    box = Mailbox("box", now=lambda: 0.0, data_limit=3)
    post = post_with(box)
    sent = letters(5)
    post.pass_on("box", sent)
    assert [type(told(one)) for one in sent] == [type(None)] * 3 + [MailboxFull] * 2
    counts = box.counts()
    assert (counts.accepted, counts.refused, counts.waiting) == (3, 2, 3)
    assert counts.balanced
    post.pass_on("box", control := letters(2, Lane.CONTROL))
    assert [told(one) for one in control] == [None, None]


def test_a_closed_box_and_an_unknown_child_tell_every_asker() -> None:
    box = Mailbox("box", now=lambda: 0.0)
    post = post_with(box)
    box.close()
    for to in ("box", "nobody"):
        sent = letters(2)
        post.pass_on(to, sent)
        assert all(isinstance(told(one), Stopped) for one in sent)
    assert [e.kind for e in post.events.since()] == [Kind.DEAD_LETTER] * 4


def test_the_holder_alone_settles_many() -> None:
    box = Mailbox("box", now=lambda: 0.0)
    box.open_for(1)
    for one in (sent := letters(3)):
        box.put(one)
    taken = box.take(1, 10)
    assert not box.settle_many([(one, "x") for one in taken], 2)
    assert not box.hand_over(taken, 2)
    assert box.counts().in_hand == 3
    assert box.settle_many([(taken[0], "x"), (taken[1], Invalid("no"))], 1)
    assert not box.settle_many([(taken[0], "x"), (taken[2], "y")], 1)  # one has ended
    assert not box.hand_over(taken, 1)
    assert box.hand_over(taken[2:], 1)
    counts = box.counts()
    assert (counts.handled, counts.failed, counts.in_hand) == (2, 1, 0)
    assert sent[0].reply_to is not None
    assert sent[0].reply_to.get(timeout=0) == "x"
    assert isinstance(told(sent[1]), Invalid)
    assert told(sent[2]) is None  # another child will


# -- replies and ids


def test_a_reply_is_set_once_and_read_often() -> None:
    reply = Reply()
    with pytest.raises(Timeout):
        reply.get(timeout=0)
    reply.set(7)
    assert [reply.get(), reply.get(timeout=0)] == [7, 7]
    with pytest.raises(Full):
        reply.set(8)
    with pytest.raises(Full):
        reply.set_exception((Invalid, Invalid("x"), None))
    assert reply.get() == 7


def test_a_reply_raises_what_it_was_given() -> None:
    reply = Reply()
    error = DeadlinePassed("late")
    reply.set_exception((DeadlinePassed, error, None))
    for _ in range(2):
        with pytest.raises(DeadlinePassed) as caught:
            reply.get(timeout=1)
        assert caught.value is error
    other = Reply()
    try:
        raise Invalid("here")
    except Invalid:
        other.set_exception()
    with pytest.raises(Invalid, match="here"):
        other.get()


def test_a_reply_wakes_who_waits() -> None:
    reply = Reply()
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(lambda: reply.get(timeout=10)) for _ in range(4)]
        reply.set("there")
        assert [one.result(10) for one in waiting] == ["there"] * 4


def test_a_reply_can_be_mapped() -> None:
    reply = Reply()
    doubled = reply.map(lambda number: number * 2)
    reply.set(21)
    assert doubled.get(timeout=0) == 42


def test_no_two_ids_are_the_same() -> None:
    one, two = ThreadRuntime(), ThreadRuntime()
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda n: (one if n % 2 else two).new_id(), range(4000)))
    assert len(set(made)) == 4000
    one.close()
    two.close()


# -- the book's counts

STANDINGS = st.sampled_from(list(Standing))
CHANGES = st.lists(
    st.tuples(st.sampled_from(["put", "archive", "remember"]), st.integers(1, 6), STANDINGS),
    max_size=25,
)


def a_trade(identifier: int, standing: Standing) -> TradeRecord:
    return TradeRecord(
        identifier=identifier,
        ticket=identifier,
        symbol="EURUSD",
        direction=Direction.BUY,
        volume=0.1,
        entry_price=1.1,
        stop_loss=None,
        take_profit=None,
        magic=0,
        managed_by="",
        standing=standing,
        state=TradeState.HEALTHY,
        registered_at=1.0,
        updated_at=1.0,
        created_by="m",
        initial_volume=0.1,
    )


@given(CHANGES, CHANGES)
def test_the_counts_are_those_of_the_trades(
    before: list[tuple[str, int, Standing]], after: list[tuple[str, int, Standing]]
) -> None:
    book = Book({}, {})
    for changes in (before, after):
        draft = Draft(book)
        for what, identifier, standing in changes:
            trade = a_trade(identifier, standing)
            if what == "put":
                draft.put(Batch(trades=(trade,)))
            elif what == "archive":
                draft.put(Batch(archived=(trade,)))
            else:
                draft.remember([trade])
            counted = Book(draft.book.trades, {})
            assert draft.book.size == counted.size
            assert counted.watched == len(counted.active)
        assert Book(book.trades, {}).size == book.size  # a draft changes nothing
        book = draft.book
