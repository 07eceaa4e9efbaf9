"""Letters: what is put into a mailbox, in which lane, and how it can end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, Final

from pykka import Future
from pykka._envelope import Envelope  # the type that pykka's refs put into an inbox


class Lane(IntEnum):
    """Which letters go first, and which can be refused."""

    CONTROL = 0
    REPLY = 1
    DATA = 2


DATA: Final = Lane.DATA  # an enum's member costs several times a global's look-up


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
    happen twice; it outlives a crash, because the letter does. `passed_on` is
    set when another child has been given the asker. `begun` is set when an
    incarnation takes it: from then on nobody may say that it was not done.

    Every message costs one of these. So an id may be given as the way to get
    one, which few letters go.
    """

    __slots__ = (
        "_id",
        "alone",
        "answer_to",
        "attempted",
        "begun",
        "crashes",
        "deadline",
        "lane",
        "merge",
        "passed_on",
        "sender",
    )

    def __init__(
        self,
        message: object,
        *,
        id: str | Callable[[], str],  # noqa: A002 - the field's name everywhere
        lane: Lane = DATA,
        reply_to: Future[Any] | None = None,
        answer_to: ReturnAddress | None = None,
        sender: Sender | None = None,
        deadline: float | None = None,
        merge: str | None = None,
    ) -> None:
        self.message = message
        self.reply_to = reply_to
        self._id = id
        self.lane = lane
        self.deadline = deadline
        self.answer_to = answer_to
        self.sender = sender
        self.merge = merge
        self.crashes = 0
        self.attempted = self.passed_on = self.begun = False
        self.alone = False  # never again in a batch: one of its batch failed

    @property
    def id(self) -> str:
        """What no other message is called."""
        if not isinstance(self._id, str):
            self._id = self._id()
        return self._id


def answer(letter: Letter, value: object, error: BaseException | None = None) -> None:
    """Give the asker of a letter, if somebody waits, a value or an error."""
    if letter.reply_to is None:
        return
    if error is None:
        letter.reply_to.set(value)
    else:
        letter.reply_to.set_exception((type(error), error, error.__traceback__))


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
