"""GET /dtms/events: order, resume, heartbeats, ends, slow readers."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest
from gateway_fakes import HOSTILE, FakeGuard, hung_up, raw, serving

from actors.clock import VirtualClock
from actors.events import Event, EventStream, Kind
from defence.errors import MailboxFull
from gateway import stream as stream_module
from gateway.server import Gateway
from gateway.stream import EventResponse, Hub, frame


def messages(response: httpx2.Response) -> Iterator[dict[str, Any]]:
    """Yield the stream's messages as a client sees them; a comment is `{"comment": ...}`."""
    now: dict[str, Any] = {}
    for line in response.iter_lines():
        if not line:
            if now:
                yield now
            now = {}
            continue
        name, _, value = line.partition(":")
        now[name or "comment"] = value.strip()


def events(response: httpx2.Response) -> Iterator[dict[str, Any]]:
    for message in messages(response):
        if "id" in message:
            event = json.loads(message["data"])
            assert message["id"] == str(event["seq"])
            assert message["event"] == event["kind"]
            yield event


@pytest.fixture
def fresh() -> Iterator[tuple[FakeGuard, Gateway, httpx2.Client]]:
    guard = FakeGuard()
    with (
        serving(guard) as gateway,
        httpx2.Client(base_url=gateway.url, trust_env=False, timeout=5) as client,
    ):
        yield guard, gateway, client


Fresh = tuple[FakeGuard, Gateway, httpx2.Client]


def until(condition: Callable[[], bool]) -> None:
    limit = time.monotonic() + 8
    while not condition():
        assert time.monotonic() < limit, "it did not come to that"
        threading.Event().wait(0.005)


def hub_of(gateway: Gateway) -> Hub:
    assert gateway._backstage is not None
    return gateway._backstage.hub


def publish(guard: FakeGuard, count: int, **facts: object) -> None:
    for n in range(count):
        guard.events.publish(Kind.CYCLE, "monitor", 3, cycle=n, **facts)


def test_the_shape_of_an_event(fresh: Fresh) -> None:
    guard, _, client = fresh
    guard.events.publish(Kind.EXITED, "monitor", 2, how="crashed", error=HOSTILE + "\n\nid: 9")
    with client.stream("GET", "/dtms/events?since=0") as response:
        assert response.headers["content-type"] == "text/event-stream"
        assert next(events(response)) == {
            "seq": 1,
            "at": "2023-11-14T22:13:20.000+00:00",
            "kind": "exited",
            "child": "monitor",
            "incarnation": 2,
            "facts": {"how": "crashed", "error": HOSTILE + "\n\nid: 9"},
        }


def test_without_since_only_what_is_new(fresh: Fresh) -> None:
    guard, gateway, client = fresh
    publish(guard, 5)
    with client.stream("GET", "/dtms/events") as response:
        until(lambda: hub_of(gateway).readers == 1)
        publish(guard, 1)
        assert next(events(response))["seq"] == 6


@pytest.mark.parametrize(
    ("query", "header", "first"),
    [("?since=3", None, 4), ("", "3", 4), ("?since=0", "4", 5), ("?since=0", None, 1)],
)
def test_resume(fresh: Fresh, query: str, header: str | None, first: int) -> None:
    guard, _, client = fresh
    publish(guard, 6)
    headers = {} if header is None else {"Last-Event-ID": header}
    with client.stream("GET", f"/dtms/events{query}", headers=headers) as response:
        stream = events(response)
        seen = [next(stream)["seq"]]
        publish(guard, 2)
        while seen[-1] < 8:
            seen.append(next(stream)["seq"])
    assert seen == list(range(first, 9))


def test_what_cannot_be_had_any_more_is_told() -> None:
    guard = FakeGuard()
    guard.events = EventStream(VirtualClock(), keep=3)
    publish(guard, 10)
    with serving(guard) as gateway, httpx2.Client(base_url=gateway.url, trust_env=False) as client:
        with client.stream("GET", "/dtms/events?since=2") as response:
            stream = (one for one in messages(response) if "event" in one)
            note = next(stream)
            assert (note["event"], json.loads(note["data"])) == ("missed", {"first": 3, "last": 7})
            assert "id" not in note
            assert [next(stream)["id"] for _ in range(3)] == ["8", "9", "10"]
        with client.stream("GET", "/dtms/events?since=10") as response:
            publish(guard, 1)
            assert next(events(response))["seq"] == 11  # nothing was missed


def test_another_guards_numbers(fresh: Fresh) -> None:
    guard, _, client = fresh
    publish(guard, 2)
    with client.stream("GET", "/dtms/events", headers={"Last-Event-ID": "900"}) as response:
        stream = (one for one in messages(response) if "event" in one)
        note = next(stream)
        assert note["event"] == "reset"
        assert json.loads(note["data"]) == {"asked": 900, "newest": 2}
        assert [next(stream)["id"] for _ in range(2)] == ["1", "2"]


def test_heartbeats(fresh: Fresh) -> None:
    _, gateway, client = fresh
    hub_of(gateway).heartbeat = 0.02
    with client.stream("GET", "/dtms/events") as response:
        comments = [one["comment"] for one, _ in zip(messages(response), range(3), strict=False)]
    assert comments == ["dtms", "beat", "beat"]


def test_the_stream_ends_when_the_guard_is_over_and_misses_nothing(fresh: Fresh) -> None:
    guard, gateway, client = fresh
    with client.stream("GET", "/dtms/events?since=0") as response:
        until(lambda: hub_of(gateway).readers == 1)
        publish(guard, 500)
        guard.over = True
        guard.events.publish(Kind.STOPPED)
        kinds = [event["kind"] for event in events(response)]
    assert kinds == ["cycle"] * 500 + ["stopped"]
    until(lambda: hub_of(gateway).readers == 0)
    with client.stream("GET", "/dtms/events?since=500") as response:
        assert [event["kind"] for event in events(response)] == ["stopped"]


def test_stop_ends_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "LOOK", 60.0)  # they are woken, they do not find out
    guard = FakeGuard()
    with (
        serving(guard) as gateway,
        httpx2.Client(base_url=gateway.url, trust_env=False) as client,
        client.stream("GET", "/dtms/events") as response,
    ):
        hub = hub_of(gateway)
        until(lambda: any(reader.wake._waiters for reader in hub._readers))  # it waits
        began = time.monotonic()
        gateway.stop(5.0)
        assert time.monotonic() - began < 2.0
        assert list(events(response)) == []


def test_nothing_is_listened_to_without_readers(fresh: Fresh) -> None:
    guard, _, client = fresh
    with client.stream("GET", "/dtms/events"):
        until(lambda: len(guard.events._listeners) == 1)
    until(lambda: guard.events._listeners == [])
    publish(guard, 1)
    with client.stream("GET", "/dtms/events?since=0") as response:
        assert next(events(response))["seq"] == 1  # and again


def test_many_threads_publish_and_each_reader_sees_all_in_order(fresh: Fresh) -> None:
    guard, gateway, client = fresh
    threads = [threading.Thread(target=publish, args=(guard, 100)) for _ in range(8)]
    with (
        client.stream("GET", "/dtms/events") as one,
        client.stream("GET", "/dtms/events?since=0") as other,
    ):
        until(lambda: hub_of(gateway).readers == 2)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for response in (one, other):
            stream = events(response)
            assert [next(stream)["seq"] for _ in range(800)] == list(range(1, 801))


def test_a_reader_that_does_not_read_is_broken_off_and_slows_nobody(fresh: Fresh) -> None:
    guard, gateway, client = fresh
    hub = hub_of(gateway)
    hub.send_within, hub.heartbeat = 0.1, 0.05
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", gateway.port))
        slow.sendall(b"GET /dtms/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: hub.readers == 1)
        longest = 0.0
        for _ in range(60):
            began = time.perf_counter()
            publish(guard, 1, text="x" * 200_000)
            longest = max(longest, time.perf_counter() - began)
        until(lambda: hub.readers == 0)
        assert gateway._server is not None
        connections = gateway._server.server_state.connections
        until(lambda: not connections)  # although what was buffered for it has not been read
        assert longest < 0.5
        assert client.get("/health").status_code == 200
        slow.settimeout(5)
        assert hung_up(slow)


def test_a_reader_that_does_not_read_does_not_hold_up_the_stop() -> None:
    guard = FakeGuard()
    with serving(guard) as gateway, socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", gateway.port))
        slow.sendall(b"GET /dtms/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        until(lambda: hub_of(gateway).readers == 1)
        publish(guard, 60, text="x" * 200_000)
        until(lambda: guard.events.newest == hub_of(gateway)._last)
        assert gateway._server is not None
        gateway.stop(0.3)
        assert gateway._server.server_state.connections == set()


def test_too_many_readers(fresh: Fresh) -> None:
    _, gateway, client = fresh
    hub_of(gateway)._most_readers = 1
    with client.stream("GET", "/dtms/events"):
        until(lambda: hub_of(gateway).readers == 1)
        status, head, body = raw(gateway, b"GET /dtms/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (status, json.loads(body)["error"]) == (429, "mailbox_full")
        assert b"retry-after" in head.lower()


# -- the hub by itself


class Events:
    """A stream whose order of arrival the test decides."""

    def __init__(self) -> None:
        self.kept: list[Event] = []
        self.hear: Callable[[Event], None] | None = None

    @property
    def newest(self) -> int:
        return self.kept[-1].seq if self.kept else 0

    def since(self, seq: int = 0) -> list[Event]:
        return [one for one in self.kept if one.seq > seq]

    def listen(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        self.hear = listener
        return lambda: None

    def make(self, count: int) -> list[Event]:
        made = [Event(self.newest + n + 1, 0.0, Kind.CYCLE) for n in range(count)]
        self.kept += made
        return made


def heard(stream: Events, arrivals: list[Event], **options: Any) -> tuple[Hub, bytes]:
    """Return what a reader has to take after events arrived in this order."""

    async def go() -> tuple[Hub, bytes]:
        hub = Hub(stream, lambda: False, **options)
        stream.kept = stream.kept[:2]
        reader = hub.subscribe(None)
        reader.take()
        stream.kept = everything
        assert stream.hear is not None
        for event in arrivals:
            stream.hear(event)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return hub, reader.take()

    everything = list(stream.kept)
    return asyncio.run(go())


def test_events_that_arrive_out_of_order_go_out_in_order() -> None:
    stream = Events()
    made = stream.make(6)
    _, out = heard(stream, [made[1], made[4], made[3], made[2], made[5]])
    assert out == b"".join(frame(one) for one in made[2:])


def test_an_event_that_never_arrives_is_read_again() -> None:
    stream = Events()
    made = stream.make(5)

    async def go() -> bytes:
        stream.kept = made[:2]
        hub = Hub(stream, lambda: False)
        reader = hub.subscribe(None)
        reader.take()
        stream.kept = made
        assert stream.hear is not None
        stream.hear(made[4])
        await asyncio.sleep(0)
        assert reader.take() == b""
        hub.resync()
        return reader.take()

    assert asyncio.run(go()) == b"".join(frame(one) for one in made[2:])


def test_a_long_gap_is_read_again_by_itself() -> None:
    stream = Events()
    made = stream.make(2 + 1 + 257)
    _, out = heard(stream, made[3:])
    assert out.startswith(frame(made[2]))


def test_the_end_waits_for_what_has_not_been_heard() -> None:
    """The last event may be published, and the guard over, before the loop hears of it."""
    stream = Events()
    made = stream.make(5)
    out: list[bytes] = []

    async def send(message: Any) -> None:
        out.append(message.get("body", b""))

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def go() -> Hub:
        stream.kept = made[:2]
        hub = Hub(stream, lambda: True)
        response = EventResponse(hub, None)
        stream.kept = made
        await response({"type": "http"}, receive, send)
        assert stream.hear is not None
        hub._drain()  # what was heard too late is not kept
        stream.hear(made[3])
        hub._drain()
        return hub

    hub = asyncio.run(go())
    assert b"".join(out).endswith(b"".join(frame(one) for one in made[2:]))
    assert hub._held == {}


def test_a_reader_too_far_behind_is_dropped() -> None:
    stream = Events()
    made = stream.make(2 + 11)

    async def go() -> None:
        stream.kept = made[:2]
        hub = Hub(stream, lambda: False, behind=10)
        slow, quick = hub.subscribe(None), hub.subscribe(None)
        stream.kept = made
        assert stream.hear is not None
        for event in made[2:]:
            stream.hear(event)
            await asyncio.sleep(0)
            quick.take()
        assert (slow.dropped, quick.dropped) == (True, False)
        assert frame(made[2]) not in slow.take()

    asyncio.run(go())


def test_the_hub_refuses_one_too_many() -> None:
    async def go() -> None:
        hub = Hub(Events(), lambda: False, readers=1)
        first = hub.subscribe(None)
        with pytest.raises(MailboxFull):
            hub.subscribe(None)
        hub.unsubscribe(first)
        hub.subscribe(None)

    asyncio.run(go())


def test_closing_from_any_thread_at_any_time() -> None:
    hub = Hub(Events(), lambda: False)
    hub.close()

    async def go() -> None:
        hub.subscribe(None)

    asyncio.run(go())
    hub.close()  # the loop is closed
    assert hub.ended
