"""Letters: what is put into a mailbox, in which lane, and how it can end."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any

from pykka import Future
from pykka._envelope import Envelope  # the type that pykka's refs put into an inbox


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
    happen twice; it outlives a crash, because the letter does. `passed_on` is
    set when another child has been given the asker.
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
        "passed_on",
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
        self.passed_on = False
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
