"""The mailbox against a plain model, and its atomic close under fire."""

from __future__ import annotations

import threading
from typing import Any

import hypothesis.strategies as st
import pykka
import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from pykka._envelope import Envelope
from runtime_kit import STEADY, refused

from actors.mailbox import End, Lane, Letter, Mailbox, ReturnAddress
from actors.simulated import is_set
from defence.errors import DeadlinePassed, Invalid, MailboxFull, Stopped

LIMIT = 4
LETTERS = st.tuples(
    st.sampled_from([*Lane, Lane.DATA, Lane.DATA]),
    st.booleans(),  # is it asked
    st.sampled_from([None, None, 0, 1, 2, 3]),  # seconds to its deadline
    st.sampled_from([None, None, "tick", "tock"]),  # merged with those that wait
)
SELDOM = st.sampled_from([False, False, False, True])


class MailboxModel(RuleBasedStateMachine):
    """Every letter is in exactly one place; the plain lists here say which."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.box = Mailbox("box", now=lambda: self.now, data_limit=LIMIT)
        self.lanes: dict[Lane, list[Letter]] = {lane: [] for lane in Lane}
        self.in_hand: list[Letter] = []
        self.box.open_for(1)
        self.holder: int | None = 1
        self.number = 1
        self.closed = False
        self.ended: dict[str, End] = {}
        self.owed: list[Letter] = []  # asked, accepted, not ended
        self.refused = 0
        self.merged = 0
        self.ids = 0

    @rule(letters=st.lists(LETTERS, min_size=1, max_size=4))
    def put(self, letters: list[tuple[Lane, bool, int | None, str | None]]) -> None:
        for lane, asked, within, merge in letters:
            self._put(lane, asked, within, merge)

    def _put(self, lane: Lane, asked: bool, within: int | None, merge: str | None) -> None:
        self.ids += 1
        letter = Letter(
            "message",
            id=f"m{self.ids}",
            lane=lane,
            reply_to=pykka.ThreadingFuture() if asked else None,
            deadline=None if within is None else self.now + within,
            merge=merge,
        )
        waiting = [one for lane_ in self.lanes.values() for one in lane_]
        if self.closed:
            assert isinstance(refused(lambda: self.box.put(letter)), Stopped)
            self.refused += 1
        elif merge and not asked and any(one.merge == merge for one in waiting):
            self.box.put(letter)
            self.merged += 1
        elif lane is Lane.DATA and len(self.lanes[lane]) >= LIMIT:
            assert isinstance(refused(lambda: self.box.put(letter)), MailboxFull)
            self.refused += 1
        else:
            self.box.put(letter)
            self.lanes[lane].append(letter)
            self.owed += [letter] if asked else []

    @rule(limit=st.integers(1, 3), stale=SELDOM)
    def take(self, limit: int, stale: bool) -> None:
        number = self.number - 1 if stale else self.number
        expected: list[Letter] = []
        late: list[Letter] = []
        while self.holder == number:
            lane = next((one for one in Lane if self.lanes[one]), None)
            if lane is None:
                break
            letter = self.lanes[lane][0]
            alone = letter.alone or lane is not Lane.DATA
            if expected and alone:
                break
            self.lanes[lane].pop(0)
            if letter.deadline is not None and letter.deadline <= self.now:
                late.append(letter)
                continue
            expected.append(letter)
            if alone or len(expected) == limit:
                break
        assert self.box.take(number, limit) == expected
        self.in_hand += expected
        for letter in late:
            self._end(letter, End.FAILED, DeadlinePassed)

    def _end(self, letter: Letter, end: End, error: type[Exception] | None) -> None:
        """Note how it ended; its asker must have been told by now."""
        self.ended[letter.id] = end
        if letter.reply_to is None:
            return
        self.owed.remove(letter)
        future = letter.reply_to
        if error is None:
            assert future.get(timeout=0) == 1
        else:
            assert type(refused(lambda: future.get(timeout=0))) is error

    @precondition(lambda self: self.in_hand)
    @rule(data=st.data(), stale=st.booleans(), bad=SELDOM, dead=SELDOM)
    def settle(self, data: st.DataObject, stale: bool, bad: bool, dead: bool) -> None:
        letter = data.draw(st.sampled_from(self.in_hand))
        number = self.number - 1 if stale else self.number
        error = Invalid("bad") if bad else None
        done = self.box.settle(letter, number, value=1, error=error, end=End.DEAD if dead else None)
        assert done is (self.holder == number)
        if done:
            self.in_hand.remove(letter)
            end = End.DEAD if dead else End.FAILED if bad else End.HANDLED
            self._end(letter, end, Invalid if bad else None)
            assert not self.box.settle(letter, number, value=2)  # once only

    @rule(what=st.sampled_from(["open", "open", "fence", "give back"]))
    def disturb(self, what: str) -> None:
        if what == "open" and not self.closed:
            self.number += 1
            self.box.open_for(self.number)
            self.holder = self.number
            self._return()
        elif what == "fence":
            self.box.fence()
            self.holder = None
            self._return()
        elif what == "give back":
            self.box.give_back(self.number)
            if self.holder == self.number:
                for letter in self.in_hand:
                    letter.alone = True
                self._return()

    @rule(seconds=st.integers(0, 2))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @precondition(lambda self: self.ids > 20)
    @rule()
    def close(self) -> None:
        left = self.box.close()
        if self.closed:
            assert left == []
            return
        self.closed, self.holder = True, None
        self._return()
        assert left == [letter for lane in Lane for letter in self.lanes[lane]]
        for letter in left:
            self._end(letter, End.DEAD, Stopped)
        self.lanes = {lane: [] for lane in Lane}

    def _return(self) -> None:
        for letter in reversed(self.in_hand):
            self.lanes[letter.lane].insert(0, letter)
        self.in_hand.clear()

    @invariant()
    def counts_balance(self) -> None:
        counts = self.box.counts()
        ends = list(self.ended.values())
        assert counts.balanced
        assert counts.accepted == self.ids - self.refused - self.merged
        assert (counts.handled, counts.failed, counts.dead) == tuple(map(ends.count, End))
        assert counts.waiting == sum(map(len, self.lanes.values()))
        assert counts.in_hand == len(self.in_hand)
        assert (counts.refused, counts.merged) == (self.refused, self.merged)

    @invariant()
    def nobody_is_answered_too_early(self) -> None:
        assert not any(is_set(one.reply_to) for one in self.owed if one.reply_to is not None)

    @invariant()
    def it_says_who_holds_it(self) -> None:
        waiting = any(self.lanes.values())
        assert self.box.empty() is not waiting
        assert self.box.held_by(self.number) is (self.holder == self.number)
        assert self.box.might_serve(self.number) is (waiting and self.holder == self.number)
        for letter in self.in_hand:
            assert self.box.holds(letter, self.number) is (self.holder == self.number)


TestMailboxModel = MailboxModel.TestCase
TestMailboxModel.settings = settings(
    STEADY, max_examples=60, stateful_step_count=40, phases=[Phase.generate]
)  # for a small example add Phase.shrink: it takes minutes


def box(limit: int = 10) -> Mailbox:
    return Mailbox("box", now=lambda: 0.0, data_limit=limit)


def letter(name: str, lane: Lane = Lane.DATA, **more: Any) -> Letter:
    return Letter(name, id=name, lane=lane, **more)


def test_what_was_in_hand_returns_to_the_head_in_order() -> None:
    mail = box()
    mail.open_for(1)
    for name in "abcd":
        mail.put(letter(name))
    assert [one.id for one in mail.take(1, 3)] == ["a", "b", "c"]
    mail.open_for(2)
    assert mail.take(1, 9) == []
    assert [one.id for one in mail.take(2, 9)] == ["a", "b", "c", "d"]


def test_only_the_holder_settles_even_what_both_have_had_in_hand() -> None:
    mail = box()
    mail.open_for(1)
    future: pykka.ThreadingFuture[str] = pykka.ThreadingFuture()
    mail.put(letter("a", reply_to=future))
    (had,) = mail.take(1)
    mail.fence()
    assert not mail.settle(had, 1, value="while nobody holds it")
    mail.open_for(2)
    (has,) = mail.take(2)
    assert has is had
    assert not mail.settle(had, 1, value="from the grave")
    assert mail.settle(has, 2, value="from the successor")
    assert future.get(timeout=0) == "from the successor"


def test_a_batch_given_back_is_taken_one_by_one() -> None:
    mail = box()
    mail.open_for(1)
    for name in "abc":
        mail.put(letter(name))
    mail.take(1, 2)
    mail.give_back(1)
    assert [[one.id for one in mail.take(1, 9)] for _ in range(3)] == [["a"], ["b"], ["c"]]


def test_a_tick_is_merged_with_the_one_that_waits_only() -> None:
    mail = box()
    mail.open_for(1)
    for _ in range(3):
        mail.put(letter("tick", Lane.REPLY, merge="tick"))
    assert (mail.counts().waiting, mail.counts().merged) == (1, 2)
    mail.take(1)
    mail.put(letter("tick", Lane.REPLY, merge="tick"))
    assert mail.counts().waiting == 1  # the other one is in hand: not the one that waits


def test_a_tick_that_returns_from_a_crash_still_merges() -> None:
    mail = box()
    mail.open_for(1)
    mail.put(letter("t1", Lane.REPLY, merge="tick"))
    mail.take(1)
    mail.open_for(2)
    mail.put(letter("t2", Lane.REPLY, merge="tick"))
    assert (mail.counts().waiting, mail.counts().merged) == (1, 1)


def test_taking_one_of_two_ticks_does_not_end_the_merging_with_the_other() -> None:
    mail = box()
    mail.open_for(1)
    mail.put(letter("t1", Lane.REPLY, merge="tick"))
    mail.take(1)
    mail.put(letter("t2", Lane.REPLY, merge="tick"))
    mail.open_for(2)  # now both wait
    assert [one.id for one in mail.take(2)] == ["t1"]
    mail.put(letter("t3", Lane.REPLY, merge="tick"))
    assert (mail.counts().waiting, mail.counts().merged) == (1, 1)


@pytest.mark.parametrize("owed", ["reply_to", "answer_to"])
def test_a_letter_whose_answer_is_owed_is_never_merged_away(owed: str) -> None:
    where: object = (
        pykka.ThreadingFuture[int]() if owed == "reply_to" else ReturnAddress("me", 1, "r")
    )
    mail = box()
    mail.open_for(1)
    mail.put(letter("a", merge="tick"))
    more: dict[str, Any] = {owed: where}
    mail.put(letter("b", merge="tick", **more))
    assert [one.id for one in mail.take(1, 9)] == ["a", "b"]


def test_a_plain_envelope_is_data() -> None:
    mail = box(1)
    mail.open_for(1)
    mail.put(Envelope("from a ref"))
    assert isinstance(refused(lambda: mail.put(Envelope("one too many"))), MailboxFull)
    (one,) = mail.take(1)
    assert (one.message, one.lane) == ("from a ref", Lane.DATA)


def test_pykkas_loop_is_refused() -> None:
    assert "step()" in str(refused(box().get))


def test_waiting_ends_when_mail_comes_and_when_the_box_is_fenced() -> None:
    for stir in ("put", "fence", "close"):
        mail = box()
        mail.open_for(1)
        waiter = threading.Thread(target=mail.wait, args=(1, 30.0))
        waiter.start()
        if stir == "put":
            mail.put(letter("a"))
        else:
            getattr(mail, stir)()
        waiter.join(5.0)
        assert not waiter.is_alive(), stir


@pytest.mark.parametrize("limit", [50, 10_000])
def test_closing_is_atomic_under_fire(limit: int) -> None:
    """Threads put while others take and one closes: accepted or refused, and all answered."""
    senders, each = 4, 300
    mail = box(limit)
    mail.open_for(1)
    futures: list[pykka.ThreadingFuture[object]] = []
    outcomes: list[str] = []
    started = threading.Barrier(senders + 2)

    def send(who: int) -> None:
        started.wait()
        for n in range(each):
            future: pykka.ThreadingFuture[object] = pykka.ThreadingFuture()
            try:
                mail.put(letter(f"{who}-{n}", reply_to=future))
            except (Stopped, MailboxFull) as error:
                outcomes.append(type(error).__name__)
            else:
                outcomes.append("accepted")
                futures.append(future)

    def handle() -> None:
        started.wait()
        while mail.held_by(1):
            for one in mail.take(1, 7):
                mail.settle(one, 1, value="done")

    threads = [threading.Thread(target=send, args=(who,)) for who in range(senders)]
    threads.append(threading.Thread(target=handle))
    for thread in threads:
        thread.start()
    started.wait()
    while mail.counts().handled < 20:
        pass
    left = mail.close()
    for thread in threads:
        thread.join(5.0)
    counts = mail.counts()
    assert len(outcomes) == senders * each
    assert counts.accepted == outcomes.count("accepted") == len(futures)
    assert counts.refused == len(outcomes) - len(futures)
    assert counts.balanced
    assert (counts.waiting, counts.in_hand, counts.dead) == (0, 0, len(left))
    values = [one.get(timeout=0) for one in futures if _is_value(one)]
    assert len(values) == counts.handled
    assert len(futures) - len(values) == counts.dead


def _is_value(future: pykka.ThreadingFuture[object]) -> bool:
    try:
        future.get(timeout=0)  # a Timeout here is an asker who was forgotten
    except Stopped:
        return False
    return True
