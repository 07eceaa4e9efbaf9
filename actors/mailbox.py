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
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, Final

from pykka import Future
from pykka._envelope import Envelope  # the type that pykka's refs put into an inbox

from defence.errors import DeadlinePassed, MailboxFull, Stopped


class Lane(IntEnum):
    """Which letters go first, and which can be refused."""

    CONTROL = 0
    REPLY = 1
    DATA = 2


class End(StrEnum):
    """How a letter ended."""

    HANDLED = "handled"
    FAILED = "failed"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Sender:
    """Which incarnation sent a letter."""

    child: str
    incarnation: int


@dataclass(frozen=True, slots=True)
class ReturnAddress:
    """Where an answer goes that is sent as a message: nobody waits for it."""

    child: str
    incarnation: int
    request_id: str


class Letter(Envelope[Any]):
    """A message on its way: pykka's envelope, and what DTMS adds to it.

    `attempted` is set by a handler just before an effect that must not
    happen twice; it outlives a crash, because the letter does.
    """

    __slots__ = (
        "alone",
        "answer_to",
        "attempted",
        "crashes",
        "deadline",
        "id",
        "lane",
        "merge",
        "sender",
    )

    def __init__(
        self,
        message: object,
        *,
        id: str,  # noqa: A002 - the field's name everywhere
        lane: Lane = Lane.DATA,
        reply_to: Future[Any] | None = None,
        answer_to: ReturnAddress | None = None,
        sender: Sender | None = None,
        deadline: float | None = None,
        merge: str | None = None,
    ) -> None:
        super().__init__(message, reply_to)
        self.id = id
        self.lane = lane
        self.answer_to = answer_to
        self.sender = sender
        self.deadline = deadline
        self.merge = merge
        self.crashes = 0
        self.attempted = False
        self.alone = False  # never again in a batch: one of its batch failed


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the letters of one mailbox."""

    accepted: int
    handled: int
    failed: int
    dead: int
    waiting: int
    in_hand: int
    refused: int
    merged: int

    @property
    def balanced(self) -> bool:
        """Whether every accepted letter is accounted for."""
        ended = self.handled + self.failed + self.dead
        return self.accepted == ended + self.waiting + self.in_hand


class Mailbox:
    """Two bounded promises: a `put` is accepted or raises; a letter ends once."""

    def __init__(self, name: str, *, now: Callable[[], float], data_limit: int = 10_000) -> None:
        self.name: Final = name
        self.data_limit: Final = data_limit
        self._now = now
        self._changed = threading.Condition()
        self._lanes: tuple[deque[Letter], ...] = tuple(deque() for _ in Lane)
        self._merge_waiting: Counter[str] = Counter()  # how many wait to be merged with
        self._in_hand: dict[int, Letter] = {}  # by id(letter), in the order taken
        self._sticky: dict[type, Letter] = {}
        self._holder: int | None = None  # the incarnation that may take and settle
        self._closed = False
        self._ends = dict.fromkeys(End, 0)
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
        with self._changed:
            if self._closed:
                self._refused += 1
                raise Stopped(f"{self.name} no longer takes messages", remedy="start a new guard")
            owed = letter.reply_to is not None or letter.answer_to is not None
            if letter.merge is not None and self._merge_waiting[letter.merge] and not owed:
                self._merged += 1
                return
            lane = self._lanes[letter.lane]
            if letter.lane is Lane.DATA and len(lane) >= self.data_limit:
                self._refused += 1
                raise MailboxFull(
                    f"{self.name} has {self.data_limit} requests waiting",
                    remedy="send it again in a moment",
                )
            self._accepted += 1
            lane.append(letter)
            self._note_merge(letter)
            self._changed.notify_all()

    def put_sticky(self, letter: Letter) -> None:
        """Accept a letter that every later incarnation is given again, newest of its type."""
        with self._changed:
            self._sticky.pop(type(letter.message), None)  # the newest goes last
            self._sticky[type(letter.message)] = letter
        self.put(letter)

    # -- the incarnation that holds the box

    def open_for(self, incarnation: int) -> None:
        """Let `incarnation`, and no other, take and settle.

        What its forerunner had in hand returns to the head, in order; sticky
        letters that it has not got waiting are put before everything else.
        """
        with self._changed:
            self._holder = incarnation
            self._return_in_hand()
            if incarnation > 1:
                self._repeat_sticky()
            self._changed.notify_all()

    def take(self, incarnation: int, limit: int = 1) -> list[Letter]:
        """Take the next letter, or up to `limit` of the data lane together.

        A letter whose batch failed before is taken alone. Letters
        whose deadline has passed end here, as failed.
        """
        late: list[Letter] = []
        taken: list[Letter] = []
        with self._changed:
            while self._holder == incarnation and (lane := self._first_lane()) is not None:
                letter = self._lanes[lane][0]
                alone = lane is not Lane.DATA or letter.alone
                if taken and alone:
                    break
                self._lanes[lane].popleft()
                self._forget_merge(letter)
                if letter.deadline is not None and letter.deadline <= self._now():
                    self._ends[End.FAILED] += 1
                    late.append(letter)
                    continue
                self._in_hand[id(letter)] = letter
                taken.append(letter)
                if alone or len(taken) >= limit:
                    break
        for letter in late:
            _answer(letter, None, DeadlinePassed("nobody got to it in time; it was not done"))
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
        with self._changed:
            if self._holder != incarnation or id(letter) not in self._in_hand:
                return False
            del self._in_hand[id(letter)]
            self._ends[end or (End.FAILED if error else End.HANDLED)] += 1
        _answer(letter, value, error)
        return True

    def give_back(self, incarnation: int) -> None:
        """Put what `incarnation` has in hand back to the head, to be taken one by one."""
        with self._changed:
            if self._holder == incarnation:
                for letter in self._in_hand.values():
                    letter.alone = True
                self._return_in_hand()

    def holds(self, letter: Letter, incarnation: int) -> bool:
        """Whether `incarnation` has the letter in hand and may settle it."""
        with self._changed:
            return self._holder == incarnation and id(letter) in self._in_hand

    def held_by(self, incarnation: int) -> bool:
        """Whether `incarnation` is the one that may take and settle."""
        with self._changed:
            return self._holder == incarnation

    def wait(self, incarnation: int, timeout: float) -> None:
        """Wait until there may be something to take, at most `timeout` seconds."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._holder != incarnation or self._first_lane() is not None, timeout
            )

    # -- the supervisor

    def fence(self) -> None:
        """Let nobody take or settle until the next `open_for`; letters in hand go back."""
        with self._changed:
            self._holder = None
            self._return_in_hand()
            self._changed.notify_all()

    def close(self) -> list[Letter]:
        """Accept nothing more; what had not ended is dead-lettered and returned."""
        with self._changed:
            if self._closed:
                return []
            self._closed = True
            self._holder = None
            self._return_in_hand()
            left = [letter for lane in self._lanes for letter in lane]
            for lane in self._lanes:
                lane.clear()
            self._merge_waiting.clear()
            self._ends[End.DEAD] += len(left)
            self._changed.notify_all()
        for letter in left:
            _answer(letter, None, Stopped("the guard stopped before it got to this message"))
        return left

    def counts(self) -> Counts:
        """Return the counts of this moment; they always balance."""
        with self._changed:
            return Counts(
                accepted=self._accepted,
                handled=self._ends[End.HANDLED],
                failed=self._ends[End.FAILED],
                dead=self._ends[End.DEAD],
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
        with self._changed:
            return self._first_lane() is None

    def has_mail_for(self, incarnation: int) -> bool:
        """Whether `incarnation` could take something now."""
        with self._changed:
            return self._holder == incarnation and self._first_lane() is not None

    # -- inside the lock

    def _first_lane(self) -> Lane | None:
        return next((lane for lane in Lane if self._lanes[lane]), None)

    def _note_merge(self, letter: Letter) -> None:
        if letter.merge is not None:
            self._merge_waiting[letter.merge] += 1

    def _forget_merge(self, letter: Letter) -> None:
        if letter.merge is not None:
            self._merge_waiting[letter.merge] -= 1

    def _return_in_hand(self) -> None:
        for letter in reversed(self._in_hand.values()):
            self._lanes[letter.lane].appendleft(letter)
            self._note_merge(letter)
        self._in_hand.clear()

    def _repeat_sticky(self) -> None:
        for kind, letter in reversed(self._sticky.items()):  # each goes before the last
            if any(type(one.message) is kind for lane in self._lanes for one in lane):
                continue
            copy = Letter(letter.message, id=f"{letter.id}+", lane=Lane.CONTROL)
            self._accepted += 1
            self._lanes[Lane.CONTROL].appendleft(copy)


def _adopt(envelope: Envelope[Any]) -> Letter:
    return Letter(envelope.message, id=f"ref-{id(envelope):x}", reply_to=envelope.reply_to)


def _answer(letter: Letter, value: object, error: BaseException | None) -> None:
    if letter.reply_to is None:
        return
    if error is None:
        letter.reply_to.set(value)
    else:
        letter.reply_to.set_exception((type(error), error, error.__traceback__))
