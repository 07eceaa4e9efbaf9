"""The base of every DTMS actor: pykka's actor without pykka's loop.

`start()` is bypassed: it captures the inbox early, registers with the host's
registry and runs a loop that cannot be stepped (TRAPS.md, 1 to 8 and 31). An
actor here is made by an `Incarnation`, which steps it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pykka

from actors.clock import Clock
from actors.events import EventStream, Kind
from actors.life import Answer
from actors.log import Log, log
from actors.mailbox import Lane, Letter, Mailbox, ReturnAddress, Sender
from actors.points import Points
from actors.post import Post
from actors.runtime import Runtime, Timer
from defence.errors import Fault, UnknownMessage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from terminals.lease import Lease


class Vitals:
    """What a supervisor may read of a running incarnation without asking it.

    Single values, each written by one thread only.
    """

    __slots__ = ("busy_since", "busy_with", "critical", "excused", "progress_at", "ready")

    def __init__(self, now: float) -> None:
        self.busy_since: float | None = None
        self.busy_with: str = ""
        self.critical = False  # inside an effect that becomes durable when it wakes
        self.excused: str | None = None  # why no progress is to be expected
        self.progress_at = now
        self.ready = False


@dataclass(slots=True)
class Context:
    """All that an incarnation is given of the world."""

    name: str
    incarnation: int
    mailbox: Mailbox
    post: Post
    runtime: Runtime
    events: EventStream
    lease: Lease
    points: Points
    vitals: Vitals
    announce: Callable[[object], None]  # to the supervisor
    lease_of: Callable[[str, int], Lease | None]
    log: Log = field(init=False)

    def __post_init__(self) -> None:
        self.log = log.bind(child=self.name, incarnation=self.incarnation)


class GuardActor(pykka.ThreadingActor):
    """Base class. Subclasses override `on_start`, `receive` and `on_stop`.

    `__init__` runs in the supervisor's thread and must be cheap; work belongs
    into `on_start`, which runs in the actor's own.
    """

    use_daemon_thread: ClassVar[bool] = True
    batch_limit: ClassVar[int] = 1
    ready_on_start: ClassVar[bool] = True

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context
        self.actor_inbox = context.mailbox
        self._actor_ref = pykka.ActorRef(self)
        self.letter: Letter | None = None  # the one in hand

    @classmethod
    def start(cls, *args: Any, **kwargs: Any) -> pykka.ActorRef[Self]:
        """Refuse: DTMS actors are started by their supervisor alone."""
        raise Fault(f"{cls.__name__} is started by its supervisor", remedy="use a child spec")

    # -- what subclasses override

    def receive(self, message: object) -> object:
        """Handle one message and return the answer; unknown ones raise."""
        raise UnknownMessage(f"{self.context.name} does not know {type(message).__name__}")

    def receive_batch(self, letters: Sequence[Letter]) -> list[object]:
        """Handle several data letters together; an exception in the list is that one's answer."""
        raise Fault(f"{self.context.name} takes no batches")

    def on_answer(self, answer: Answer) -> None:
        """Take the answer to one of this incarnation's own requests."""

    # -- what they use

    @property
    def clock(self) -> Clock:
        """The runtime's clock."""
        return self.context.runtime.clock

    def tell(
        self, to: str, message: object, *, lane: Lane = Lane.REPLY, merge: str | None = None
    ) -> None:
        """Send to another child without waiting."""
        self.context.post.send(to, message, lane=lane, sender=self._sender(), merge=merge)

    def request(
        self, to: str, message: object, *, lane: Lane = Lane.REPLY, within: float | None = None
    ) -> str:
        """Send and have the answer come back as an `Answer`; return the request's id.

        What nobody has begun to handle `within` seconds is not done, and not answered.
        """
        request_id = self.context.runtime.new_id()
        self.context.post.send(
            to,
            message,
            lane=lane,
            sender=self._sender(),
            answer_to=ReturnAddress(self.context.name, self.context.incarnation, request_id),
            deadline=None if within is None else self.clock.monotonic() + within,
            id=request_id,
        )
        return request_id

    def forward(self, to: str, message: object, *, lane: Lane = Lane.CONTROL) -> Forwarded:
        """Hand the present letter's asker on to another child, which will answer it."""
        return Forwarded(to, message, lane)

    def later(self, delay: float, message: object, *, merge: str | None = None) -> Timer:
        """Send `message` to this child, whatever its incarnation then, after `delay` seconds."""
        post, name, sender = self.context.post, self.context.name, self._sender()
        return self.context.runtime.call_later(
            delay,
            lambda: post.send(name, message, lane=Lane.REPLY, sender=sender, merge=merge),
        )

    def emit(self, kind: Kind, /, **facts: object) -> None:
        """Add a fact to the stream."""
        self.context.events.publish(kind, self.context.name, self.context.incarnation, **facts)

    def ready(self) -> None:
        """Tell the supervisor that this incarnation does its job (once)."""
        if not self.context.vitals.ready:
            self.context.vitals.ready = True
            self.progress()
            self.context.announce("ready")

    def park(self, reason: str | None) -> None:
        """Say that no progress is to be expected, and why; None ends it."""
        before = self.context.vitals.excused
        self.context.vitals.excused = reason
        if before != reason:
            self.progress()
            if reason is None:
                self.emit(Kind.UNPARKED)
            elif before is None:
                self.emit(Kind.PARKED, reason=reason)

    def progress(self) -> None:
        """Note that a unit of the child's real work is done."""
        self.context.vitals.progress_at = self.clock.monotonic()

    @contextmanager
    def critical(self) -> Iterator[None]:
        """Mark an effect that would become durable even after a fence."""
        self.context.vitals.critical = True
        try:
            yield
        finally:
            self.context.vitals.critical = False

    def _sender(self) -> Sender:
        return Sender(self.context.name, self.context.incarnation)


@dataclass(frozen=True, slots=True)
class Forwarded:
    """Returned by a handler whose asker another child will answer."""

    to: str
    message: object
    lane: Lane
    sticky: bool = False


@dataclass(frozen=True, slots=True)
class Promised:
    """Returned by a handler whose asker is answered later, by somebody who is no actor.

    `start` gets the asker's future, None if nobody waits, and must not block;
    whoever took it answers with `keep_promise`. A death of this child in
    between changes nothing for the asker.
    """

    start: Callable[[pykka.Future[Any] | None], None]


def keep_promise(reply_to: pykka.Future[Any] | None, value: object) -> None:
    """Answer an asker; an exception is raised there."""
    if reply_to is None:
        return
    if isinstance(value, BaseException):
        reply_to.set_exception((type(value), value, None))
    else:
        reply_to.set(value)
