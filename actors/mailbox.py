"""The mailbox: it belongs to the child slot and outlives every incarnation.

Lanes: control first, then replies, intents and outcomes, then data from
outside. Only the data lane is bounded. Every accepted letter ends as exactly
one of handled, failed, dead-lettered; the counts balance at every moment:

    accepted == handled + failed + dead + waiting + in_hand

This module and the lease are the places where locks are right: a mailbox is
what makes them needless everywhere else.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from pykka._envelope import Envelope  # the type that pykka's refs put into an inbox

from actors.letters import Counts, End, Lane, Letter, ReturnAddress, Sender, answer
from defence.errors import DeadlinePassed, MailboxFull, Stopped

HANDLED: Final = End.HANDLED  # an enum's member costs several times a global's look-up
FAILED: Final = End.FAILED

__all__ = ["Counts", "End", "Lane", "Letter", "Mailbox", "ReturnAddress", "Sender"]


class Mailbox:
    """Two bounded promises: a `put` is accepted or raises; a letter ends once."""

    def __init__(self, name: str, *, now: Callable[[], float], data_limit: int = 10_000) -> None:
        self.name: Final = name
        self.data_limit: Final = data_limit
        self._now = now
        self._lock = threading.Lock()
        self._sleepers: list[threading.Lock] = []  # each held until its thread is to wake
        self._lanes: tuple[deque[Letter], ...] = tuple(deque() for _ in Lane)
        self._control, self._replies, self._data = self._lanes
        self._merge_waiting: Counter[str] = Counter()  # how many wait to be merged with
        self._in_hand: dict[int, Letter] = {}  # by id(letter), in the order taken
        self._sticky: dict[type, Letter] = {}
        self._holder: int | None = None  # the incarnation that may take and settle
        self._closed = False
        self._resting = False  # closed, but not for good
        self._handled = 0
        self._failed = 0
        self._dead = 0
        self._accepted = 0
        self._refused = 0
        self._merged = 0

    # -- senders

    def put(self, envelope: Envelope[Any], /) -> None:
        """Accept a letter, or merge it with one that waits.

        Raises `Stopped` once the mailbox is closed and `MailboxFull` when the
        data lane is full. A plain pykka envelope (from a ref) is data.
        """
        letter = envelope if isinstance(envelope, Letter) else _adopt(envelope)
        lane = self._lanes[letter.lane]
        with self._lock:
            if self._closed:
                self._refused += 1
                raise self._stopped()
            if letter.merge is not None:
                owed = letter.reply_to is not None or letter.answer_to is not None
                if self._merge_waiting[letter.merge] and not owed:
                    self._merged += 1
                    return
            if lane is self._data and len(lane) >= self.data_limit:
                self._refused += 1
                raise self._full()
            self._accepted += 1
            lane.append(letter)
            if letter.merge is not None:
                self._merge_waiting[letter.merge] += 1
            sleepers = self._wake()
        for sleeper in sleepers:  # outside of the lock, which they take first
            sleeper.release()

    def put_many(self, letters: Sequence[Letter]) -> list[tuple[Letter, Stopped | MailboxFull]]:
        """Accept letters in their order, under one lock; return those refused, with the reason.

        None of them may be meant to be merged.
        """
        refused: list[tuple[Letter, Stopped | MailboxFull]] = []
        with self._lock:
            for letter in letters:
                lane = self._lanes[letter.lane]
                if self._closed:
                    refused.append((letter, self._stopped()))
                elif lane is self._data and len(lane) >= self.data_limit:
                    refused.append((letter, self._full()))
                else:
                    self._accepted += 1
                    lane.append(letter)
            self._refused += len(refused)
            sleepers = self._wake()
        for sleeper in sleepers:
            sleeper.release()
        return refused

    def put_sticky(self, letter: Letter) -> None:
        """Accept a letter that every later incarnation is given again, newest of its type."""
        with self._lock:
            self._sticky.pop(type(letter.message), None)  # the newest goes last
            self._sticky[type(letter.message)] = letter
        self.put(letter)

    # -- the incarnation that holds the box

    def open_for(self, incarnation: int) -> None:
        """Let `incarnation`, and no other, take and settle.

        What its forerunner had in hand returns to the head, in order; sticky
        letters that it has not got waiting are put before everything else.
        """
        with self._lock:
            if self._resting:
                self._closed = self._resting = False
            self._holder = incarnation
            self._return_in_hand()
            if incarnation > 1:
                self._repeat_sticky()
            for sleeper in self._wake():
                sleeper.release()

    def take(self, incarnation: int, limit: int = 1) -> list[Letter]:
        """Take the next letter, or up to `limit` of the data lane together.

        A letter whose batch failed before is taken alone. Letters
        whose deadline has passed end here, as failed.
        """
        late: list[Letter] = []
        taken: list[Letter] = []
        with self._lock:
            now: float | None = None
            while self._holder == incarnation and (lane := self._first_lane()) is not None:
                letter = lane[0]
                alone = lane is not self._data or letter.alone
                if taken and alone:
                    break
                lane.popleft()
                if letter.merge is not None:
                    self._merge_waiting[letter.merge] -= 1
                if letter.deadline is not None:
                    now = self._now() if now is None else now
                    if letter.deadline <= now:
                        self._failed += 1
                        late.append(letter)
                        continue
                letter.begun = True
                self._in_hand[id(letter)] = letter
                taken.append(letter)
                if alone or len(taken) >= limit:
                    break
        for letter in late:
            answer(letter, None, _too_late(letter))
        return taken

    def settle(
        self,
        letter: Letter,
        incarnation: int,
        *,
        value: object = None,
        error: BaseException | None = None,
        end: End | None = None,
    ) -> bool:
        """End a letter in hand and answer its asker; False if that is no longer allowed.

        A fenced incarnation settles nothing: its letter has gone back to the
        head, and its successor's answer is the one that counts.
        """
        with self._lock:
            if self._holder != incarnation or id(letter) not in self._in_hand:
                return False
            del self._in_hand[id(letter)]
            if end is None:
                end = HANDLED if error is None else FAILED
            self._count(end)
        if letter.reply_to is not None:
            answer(letter, value, error)
        return True

    def settle_many(self, answered: Sequence[tuple[Letter, object]], incarnation: int) -> bool:
        """End letters in hand and answer their askers; False, and none, if that is not allowed."""
        with self._lock:
            if not self._all_in_hand([letter for letter, _ in answered], incarnation):
                return False
            for letter, value in answered:
                del self._in_hand[id(letter)]
                self._count(FAILED if isinstance(value, BaseException) else HANDLED)
        for letter, value in answered:
            if isinstance(value, BaseException):
                answer(letter, None, value)
            else:
                answer(letter, value, None)
        return True

    def hand_over(self, letters: Sequence[Letter], incarnation: int) -> bool:
        """End letters in hand whose askers another child will answer; False if not allowed."""
        with self._lock:
            if not self._all_in_hand(letters, incarnation):
                return False
            for letter in letters:
                del self._in_hand[id(letter)]
            self._handled += len(letters)
        return True

    def give_back(self, incarnation: int) -> None:
        """Put what `incarnation` has in hand back to the head, to be taken one by one."""
        with self._lock:
            if self._holder == incarnation:
                for letter in self._in_hand.values():
                    letter.alone = True
                self._return_in_hand()

    def holds(self, letter: Letter, incarnation: int) -> bool:
        """Whether `incarnation` has the letter in hand and may settle it."""
        with self._lock:
            return self._holder == incarnation and id(letter) in self._in_hand

    def might_serve(self, incarnation: int) -> bool:
        """Whether `incarnation` may take and something waits; a look without the lock.

        For a scheduler that runs one at a time: elsewhere it is out of date at once.
        """
        return self._holder == incarnation and any(self._lanes)

    def held_by(self, incarnation: int) -> bool:
        """Whether `incarnation` is the one that may take and settle."""
        with self._lock:
            return self._holder == incarnation

    def wait(self, incarnation: int, timeout: float) -> bool:
        """Wait until there may be something to take, at most `timeout` seconds.

        False if `incarnation` is not the one that may take, or no longer.
        """
        with self._lock:
            if self._holder != incarnation:
                return False
            if self._first_lane() is not None:
                return True
            sleeper = threading.Lock()
            sleeper.acquire()  # given back by whoever wakes this thread
            self._sleepers.append(sleeper)
        if not sleeper.acquire(timeout=timeout):
            with self._lock:
                if sleeper in self._sleepers:
                    self._sleepers.remove(sleeper)
        return self._holder == incarnation

    # -- the supervisor

    def fence(self) -> None:
        """Let nobody take or settle until the next `open_for`; letters in hand go back."""
        with self._lock:
            self._fence()

    def fence_hung(self) -> Letter | None:
        """Do as `fence`, and return what the handler that hangs is to be blamed for, if anything.

        That is a letter over which, and it alone, a handler has failed
        before. It ends here, as failed; whoever fences answers its asker.
        """
        with self._lock:
            in_hand = list(self._in_hand.values()) if self._holder is not None else []
            for letter in in_hand:
                letter.alone = True  # a batch that hung is taken singly from now on
            guilty = None
            if len(in_hand) == 1:
                (suspect,) = in_hand
                suspect.crashes += 1
                if suspect.crashes > 1:
                    guilty = self._in_hand.pop(id(suspect))
                    self._failed += 1
            self._fence()
        return guilty

    def close(self, *, until_opened: bool = False) -> list[Letter]:
        """Accept nothing more; what had not ended is dead-lettered and returned.

        `until_opened`: the next `open_for` opens it again, else it is for good.
        """
        with self._lock:
            self._resting = until_opened and (self._resting or not self._closed)
            if self._closed:
                return []
            self._closed = True
            self._fence()
            left = [letter for lane in self._lanes for letter in lane]
            for lane in self._lanes:
                lane.clear()
            self._merge_waiting.clear()
            self._dead += len(left)
        for letter in left:
            answer(letter, None, Stopped(f"{self.name} stopped before it got to this message"))
        return left

    def counts(self) -> Counts:
        """Return the counts of this moment; they always balance."""
        with self._lock:
            return Counts(
                accepted=self._accepted,
                handled=self._handled,
                failed=self._failed,
                dead=self._dead,
                waiting=sum(len(lane) for lane in self._lanes),
                in_hand=len(self._in_hand),
                refused=self._refused,
                merged=self._merged,
            )

    # -- the rest of pykka's inbox protocol

    def get(self) -> Envelope[Any]:
        """Refuse: pykka's own loop must never run on a DTMS mailbox."""
        raise RuntimeError("a DTMS mailbox is emptied by step(), not by pykka's loop")

    def empty(self) -> bool:
        """Whether nothing waits."""
        with self._lock:
            return self._first_lane() is None

    # -- inside the lock

    def _stopped(self) -> Stopped:
        return Stopped(f"{self.name} no longer takes messages", remedy="start a new guard")

    def _full(self) -> MailboxFull:
        return MailboxFull(
            f"{self.name} has {self.data_limit} requests waiting",
            remedy="send it again in a moment",
        )

    def _all_in_hand(self, letters: Sequence[Letter], incarnation: int) -> bool:
        return self._holder == incarnation and all(id(one) in self._in_hand for one in letters)

    def _first_lane(self) -> deque[Letter] | None:
        return self._control or self._replies or self._data or None

    def _wake(self) -> list[threading.Lock]:
        """Return those to be woken: whoever calls gives their locks back."""
        sleepers = self._sleepers
        if sleepers:
            self._sleepers = []
        return sleepers

    def _fence(self) -> None:
        self._holder = None
        self._return_in_hand()
        for sleeper in self._wake():
            sleeper.release()

    def _count(self, end: End) -> None:
        if end is HANDLED:
            self._handled += 1
        elif end is FAILED:
            self._failed += 1
        else:
            self._dead += 1

    def _return_in_hand(self) -> None:
        for letter in reversed(self._in_hand.values()):
            self._lanes[letter.lane].appendleft(letter)
            if letter.merge is not None:
                self._merge_waiting[letter.merge] += 1
        self._in_hand.clear()

    def _repeat_sticky(self) -> None:
        for kind, letter in reversed(self._sticky.items()):  # each goes before the last
            if any(type(one.message) is kind for lane in self._lanes for one in lane):
                continue
            copy = Letter(letter.message, id=f"{letter.id}+", lane=Lane.CONTROL)
            self._accepted += 1
            self._control.appendleft(copy)


def _adopt(envelope: Envelope[Any]) -> Letter:
    return Letter(envelope.message, id=f"ref-{id(envelope):x}", reply_to=envelope.reply_to)


def _too_late(letter: Letter) -> DeadlinePassed:
    """Say whether it is sure that nothing was done: a handler may have died after the effect."""
    if letter.begun:
        return DeadlinePassed(
            "its handler ended before it had answered, and its time is over; it may be done",
            remedy="ask again with the same request id",
        )
    return DeadlinePassed("nobody got to it in time; it was not done")
