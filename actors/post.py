"""Addresses: a name that always reaches the current incarnation."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from pykka import Future, Timeout

from actors.events import EventStream, Kind
from actors.mailbox import Lane, Letter, Mailbox, ReturnAddress, Sender
from actors.runtime import Runtime
from defence.errors import AskedInside, DeadlinePassed, MailboxFull, NotFound, Stopped

here = threading.local()  # `child`: the actor whose handler runs on this thread


def current_child() -> str | None:
    """Return the actor whose handler runs on this thread, or None."""
    child: str | None = getattr(here, "child", None)
    return child


class Post:
    """Knows the mailbox of every child, whatever incarnation holds it."""

    def __init__(self, runtime: Runtime, events: EventStream) -> None:
        self.runtime = runtime
        self.events = events
        self._boxes: dict[str, Mailbox] = {}

    def add(self, mailbox: Mailbox) -> None:
        """Make a mailbox reachable by its name."""
        self._boxes[mailbox.name] = mailbox

    def address(self, child: str) -> Address:
        """Return the address of a child; raises `NotFound` for an unknown name."""
        if child not in self._boxes:
            names = ", ".join(sorted(self._boxes))
            raise NotFound(
                f"there is no child {child!r}", field="child", value=child, remedy=f"one of {names}"
            )
        return Address(self._boxes[child], self)

    def send(
        self,
        to: str,
        message: object,
        *,
        lane: Lane = Lane.REPLY,
        sender: Sender | None = None,
        answer_to: ReturnAddress | None = None,
        reply_to: Future[Any] | None = None,
        merge: str | None = None,
        sticky: bool = False,
        deadline: float | None = None,
        id: str | None = None,  # noqa: A002
    ) -> None:
        """Send from one actor to another; to a closed mailbox it becomes a dead letter.

        An asker whose letter is not accepted is told so: nobody else would.
        Raises `MailboxFull` on the data lane when there is no asker.
        """
        letter = Letter(
            message,
            id=id or self.runtime.new_id,
            lane=lane,
            sender=sender,
            answer_to=answer_to,
            reply_to=reply_to,
            merge=merge,
            deadline=deadline,
        )
        try:
            box = self._boxes[to]
            if sticky:
                box.put_sticky(letter)
            else:
                box.put(letter)
        except MailboxFull as error:
            if reply_to is None:
                raise
            reply_to.set_exception((MailboxFull, error, None))
        except (Stopped, KeyError) as error:
            if reply_to is not None:
                stopped = Stopped(str(error))
                reply_to.set_exception((Stopped, stopped, None))
            self.events.publish(
                Kind.DEAD_LETTER, to, message=type(message).__name__, why=type(error).__name__
            )

    def pass_on(self, to: str, letters: Sequence[Letter]) -> None:
        """Send letters on whose askers wait; whoever's letter is not accepted is told so."""
        box = self._boxes.get(to)
        refused: Sequence[tuple[Letter, Stopped | MailboxFull]]
        if box is None:
            refused = [(letter, Stopped(f"there is no child {to!r}")) for letter in letters]
        else:
            refused = box.put_many(letters)
        for letter, error in refused:
            if letter.reply_to is not None:
                letter.reply_to.set_exception((type(error), error, None))
            if isinstance(error, Stopped):
                self.events.publish(
                    Kind.DEAD_LETTER, to, message=type(letter.message).__name__, why="Stopped"
                )


class Address:
    """Where a child is written to. It never goes stale; the child behind it may change."""

    def __init__(self, mailbox: Mailbox, post: Post) -> None:
        self._mailbox = mailbox
        self._runtime = post.runtime
        self._new_id = post.runtime.new_id

    @property
    def name(self) -> str:
        """The child's name."""
        return self._mailbox.name

    def __repr__(self) -> str:
        return f"<Address of {self.name}>"

    def tell(self, message: object, *, lane: Lane = Lane.DATA) -> None:
        """Send without waiting; raises `Stopped` or `MailboxFull`."""
        self._mailbox.put(Letter(message, id=self._new_id, lane=lane))

    def ask_later(self, message: object, *, timeout: float, lane: Lane = Lane.DATA) -> Future[Any]:
        """Send, and return the future of the answer; see `send_asking`."""
        return self.send_asking(message, timeout=timeout, lane=lane)[1]

    def send_asking(
        self, message: object, *, timeout: float, lane: Lane = Lane.DATA
    ) -> tuple[Letter, Future[Any]]:
        """Send, and return the letter and the future of the answer.

        If nobody has begun to handle the message after `timeout` seconds it
        is not done at all, so that sending it again is safe.
        """
        child = current_child()
        if child is not None:
            raise AskedInside(
                f"{child} asked {self.name}; an actor never waits for another",
                remedy="tell, and take the answer as a message",
            )
        runtime = self._runtime
        future = runtime.new_future()
        letter = Letter(
            message,
            id=self._new_id,
            lane=lane,
            reply_to=future,
            deadline=runtime.clock.monotonic() + timeout,
        )
        self._mailbox.put(letter)
        return letter, future

    def ask(self, message: object, *, timeout: float, lane: Lane = Lane.DATA) -> Any:
        """Send and wait for the answer; for callers outside the actors only.

        Raises what the handler refused with, `DeadlinePassed` when there is
        no answer in `timeout` seconds, `AskedInside` on an actor's thread.
        """
        _, future = self.send_asking(message, timeout=timeout, lane=lane)
        try:
            return self._runtime.wait(future, timeout)
        except Timeout:
            raise DeadlinePassed(
                f"{self.name} gave no answer within {timeout:g} s; it may still be done",
                remedy="ask again with the same request id",
            ) from None
