"""The event stream as server-sent events (DESIGN, HTTP: GET /dtms/events).

An actor that publishes does no more here than append to a list: a reader can
be slow, but never slows the guard. One that falls too far behind is dropped;
it comes back with Last-Event-ID and has missed nothing that is still kept.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from actors.events import Event
from defence.errors import MailboxFull
from defence.trade import iso
from gateway.bodies import dumps, plain
from gateway.face import Events

HEARTBEAT: Final = 15.0  # seconds between signs of life
SEND_WITHIN: Final = 10.0  # seconds that a client may take to accept a piece
LOOK: Final = 1.0  # seconds between looks at whether the guard is over
PIECE: Final = 200  # events that go out at once
_GAP: Final = 256  # events held back for a missing one before the stream is read again


def public_event(event: Event) -> dict[str, object]:
    """Return the shape of an event in `GET /dtms/events`."""
    return {
        "seq": event.seq,
        "at": iso(event.at),
        "kind": event.kind.value,
        "child": event.child,
        "incarnation": event.incarnation,
        "facts": plain(event.facts),
    }


def frame(event: Event) -> bytes:
    """Return an event as a server-sent event."""
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (
        event.seq,
        event.kind.value.encode("ascii"),
        dumps(public_event(event)),
    )


def _note(name: str, **facts: object) -> bytes:
    """Return a message of the stream about itself; it has no id and moves no position."""
    return b"event: %s\ndata: %s\n\n" % (name.encode("ascii"), dumps(facts))


class Reader:
    """One client's place in the stream. Lives on the event loop."""

    def __init__(self, backlog: list[Event], notes: list[bytes], most: int) -> None:
        self.wake = asyncio.Event()
        self.dropped = False
        self._notes = notes
        self._backlog = deque(backlog)  # kept events, shared: they cost nothing
        self._live: deque[bytes] = deque()
        self._most = most

    def put(self, piece: bytes) -> None:
        """Add a frame, or drop the reader that has not taken the ones before."""
        if self.dropped:
            return
        if len(self._live) >= self._most:
            self.dropped = True
            self._live.clear()
            self._backlog.clear()
        else:
            self._live.append(piece)
        self.wake.set()

    def take(self) -> bytes:
        """Return the next piece to send, empty if there is none."""
        pieces, self._notes = self._notes, []
        while self._backlog and len(pieces) < PIECE:
            pieces.append(frame(self._backlog.popleft()))
        while self._live and len(pieces) < PIECE:
            pieces.append(self._live.popleft())
        return b"".join(pieces)


class Hub:
    """Hands the guard's events to any number of readers; listens only while there are some.

    Listeners are called outside of the stream's lock, so events of different
    threads may arrive out of order. They are put in order here: each waits for
    the one before it.
    """

    def __init__(
        self,
        events: Events,
        over: Callable[[], bool],
        *,
        readers: int = 32,
        behind: int = 2_000,
        heartbeat: float = HEARTBEAT,
        send_within: float = SEND_WITHIN,
    ) -> None:
        self.heartbeat = heartbeat
        self.send_within = send_within
        self.over = over
        self._events = events
        self._most_readers = readers
        self._behind = behind
        self._lock = threading.Lock()  # of the inbox, which actors' threads fill
        self._inbox: list[Event] = []
        self._called = False
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._forget: Callable[[], None] | None = None
        self._readers: set[Reader] = set()
        self._last = 0
        self._held: dict[int, Event] = {}

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self._closed or self.over()

    @property
    def readers(self) -> int:
        """How many clients read."""
        return len(self._readers)

    def subscribe(self, since: int | None) -> Reader:
        """Return a reader from after number `since`, or from now on. On the event loop.

        Raises `MailboxFull` if there are too many. Notes in the stream tell
        what cannot be had any more (`missed`), and that the numbers are another
        guard's (`reset`), in which case everything kept is sent.
        """
        if len(self._readers) >= self._most_readers:
            raise MailboxFull(
                f"{self._most_readers} clients read the events already",
                remedy="close one of them, or ask GET /dtms/status",
            )
        self._loop = asyncio.get_running_loop()
        if self._forget is None:
            self._listen()
        notes = [b": dtms\nretry: 2000\n\n"]
        backlog: list[Event] = []
        if since is not None:
            if since > self._last:
                notes.append(_note("reset", asked=since, newest=self._last))
                since = 0
            backlog = [one for one in self._events.since(since) if one.seq <= self._last]
            first = backlog[0].seq if backlog else self._last + 1
            if first > since + 1:
                notes.append(_note("missed", first=since + 1, last=first - 1))
        reader = Reader(backlog, notes, self._behind)
        self._readers.add(reader)
        return reader

    def unsubscribe(self, reader: Reader) -> None:
        """Forget a reader; without any, nothing is listened to."""
        self._readers.discard(reader)
        if not self._readers and self._forget is not None:
            self._forget()
            self._forget = None

    def close(self) -> None:
        """End all streams. May be called from any thread."""
        self._closed = True
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # the loop is closed: nobody reads
                loop.call_soon_threadsafe(self._wake_all)

    def resync(self) -> None:
        """Read the stream again if an event has been missing for too long."""
        if self._held:
            self.catch_up()

    def catch_up(self) -> None:
        """Hand on what has been published, without waiting to hear of it."""
        self._held.clear()
        self._deliver(self._events.since(self._last))

    def _listen(self) -> None:
        with self._lock:
            self._inbox, self._called = [], False
        self._held = {}
        self._forget = self._events.listen(self._hear)
        # Everything up to here is in the backlog; whatever comes later is heard.
        self._last = self._events.newest

    def _hear(self, event: Event) -> None:
        """Take an event over from the thread that published it."""
        with self._lock:
            self._inbox.append(event)
            called, self._called = self._called, True
        if not called and self._loop is not None:
            with suppress(RuntimeError):  # the loop is closed: nobody reads
                self._loop.call_soon_threadsafe(self._drain)

    def _drain(self) -> None:
        with self._lock:
            inbox, self._inbox, self._called = self._inbox, [], False
        self._held.update((one.seq, one) for one in inbox if one.seq > self._last)
        ready: list[Event] = []
        while (one := self._held.pop(self._last + len(ready) + 1, None)) is not None:
            ready.append(one)
        self._deliver(ready)
        if len(self._held) > _GAP:
            self.resync()

    def _deliver(self, events: list[Event]) -> None:
        for event in events:
            self._last = event.seq
            piece = frame(event)
            for reader in self._readers:
                reader.put(piece)

    def _wake_all(self) -> None:
        for reader in self._readers:
            reader.wake.set()


class EventResponse(Response):
    """A response that lasts until the guard is over, the client goes, or is too slow."""

    def __init__(self, hub: Hub, since: int | None) -> None:
        super().__init__()
        self._hub = hub
        self._reader = hub.subscribe(since)
        self._gone = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until there is an end."""
        watch = asyncio.create_task(self._watch(receive))
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [
                        (b"content-type", b"text/event-stream"),
                        (b"x-accel-buffering", b"no"),
                    ],
                }
            )
            await self._pump(send)
            async with asyncio.timeout(self._hub.send_within):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except (TimeoutError, asyncio.CancelledError):
            # The client takes nothing, or the server's patience is over: what is
            # buffered for it would hold the connection.
            abort = scope.get("state", {}).get("abort")
            if abort is not None:
                abort()
                await asyncio.sleep(0)
        finally:
            self._hub.unsubscribe(self._reader)
            watch.cancel()

    async def _pump(self, send: Send) -> None:
        """Raises `TimeoutError` for a client that does not read."""
        hub, reader = self._hub, self._reader
        clock = asyncio.get_running_loop().time
        spoke = clock()
        while not self._gone:
            reader.wake.clear()
            ending = hub.ended
            if ending:
                hub.catch_up()  # the last event came before the end, and may not have been heard
            piece = reader.take()
            if not piece and not ending and clock() - spoke >= hub.heartbeat:
                piece = b": beat\n\n"
            if piece:
                async with asyncio.timeout(hub.send_within):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
                spoke = clock()
            elif ending or reader.dropped:
                return
            else:
                await self._wait(min(LOOK, max(0.0, spoke + hub.heartbeat - clock())))

    async def _wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._reader.wake.wait()
        except TimeoutError:
            self._hub.resync()

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._gone = True
        self._reader.wake.set()
