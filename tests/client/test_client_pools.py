"""The pooled clients: when they are made, how many, and when they go."""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import os
import subprocess
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from client_fakes import FakeApi, accepted

from gateway import client as module
from gateway.client import Client

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """Count the constructions of both kinds."""
    module.close_http_client()
    counts = {"sync": 0, "async": 0}
    guard = threading.Lock()

    def counting(kind: str, original: Callable[..., None]) -> Callable[..., None]:
        def construct(self: Any, **options: Any) -> None:
            with guard:
                counts[kind] += 1
            original(self, **options)

        return construct

    for kind, made_class in (("sync", httpx2.Client), ("async", httpx2.AsyncClient)):
        monkeypatch.setattr(made_class, "__init__", counting(kind, made_class.__init__))
    yield counts
    module.close_http_client()


def together(count: int, work: Callable[[], Any]) -> list[Any]:
    """Do `work` in so many threads that begin at once; return what each returned."""
    barrier, results = threading.Barrier(count), []

    def run() -> None:
        barrier.wait(10)
        results.append(work())

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(results) == count
    return results


def test_64_threads_at_once_make_one(made: dict[str, int]) -> None:
    clients = together(64, module.get_sync_http_client)
    assert made == {"sync": 1, "async": 0}
    assert len({id(client) for client in clients}) == 1


def test_8_loops_at_once_make_8(made: dict[str, int]) -> None:
    async def main() -> httpx2.AsyncClient:
        first = module.get_http_client()
        await asyncio.sleep(0)
        assert module.get_http_client() is first
        return first

    clients = together(8, lambda: asyncio.run(main()))
    assert made == {"sync": 0, "async": 8}
    assert len({id(client) for client in clients}) == 8


def test_64_tasks_of_one_loop_share_one(made: dict[str, int]) -> None:
    async def one() -> httpx2.AsyncClient:
        await asyncio.sleep(0)
        return module.get_http_client()

    async def main() -> None:
        clients = await asyncio.gather(*(one() for _ in range(64)))
        assert len(set(map(id, clients))) == 1

    asyncio.run(main())
    assert made["async"] == 1


def test_outside_of_a_loop_it_says_what_to_use(made: dict[str, int]) -> None:
    with pytest.raises(module.NoRunningLoop, match=r"get_sync_http_client\(\)"):
        module.get_http_client()
    assert made == {"sync": 0, "async": 0}


def test_importing_makes_nothing_and_loads_nothing_else_of_dtms() -> None:
    code = """
import sys, httpx2
made = []
for kind in (httpx2.Client, httpx2.AsyncClient):
    kind.__init__ = lambda self, *a, **k: made.append(self)
import threading
before = threading.active_count()
import gateway.client
ours = {"run", "console", "supervisors", "actors", "storage", "terminals", "defence"}
loaded = ours & {name.partition(".")[0] for name in sys.modules}
heavy = {"fastapi", "uvicorn", "pydantic", "lmdb", "numpy", "pykka"} & set(sys.modules)
others = {n for n in sys.modules if n.startswith("gateway.")} - {"gateway.client"}
assert not (made or loaded or heavy or others), (made, loaded, heavy, others)
assert threading.active_count() == before
print("clean")
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert (done.stdout.strip(), done.returncode) == ("clean", 0), done.stderr


def test_limits_and_environment(made: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[dict[str, Any]] = []
    for kind in (httpx2.Client, httpx2.AsyncClient):
        original = kind.__init__

        def construct(self: Any, original: Any = original, **options: Any) -> None:
            seen.append(options)
            original(self, **options)

        monkeypatch.setattr(kind, "__init__", construct)

    async def main() -> None:
        module.get_http_client()

    module.get_sync_http_client()
    asyncio.run(main())
    assert len(seen) == 2
    for options in seen:
        limits = options["limits"]
        assert (limits.max_connections, limits.max_keepalive_connections) == (10, 5)
        assert options["trust_env"] is False
        assert options["follow_redirects"] is False


def test_no_more_than_10_connections_at_once(api: FakeApi) -> None:
    entered = threading.Semaphore(0)
    go, count, most = threading.Event(), [0], [0]
    guard = threading.Lock()

    def slow(_: Any) -> Any:
        with guard:
            count[0] += 1
            most[0] = max(most[0], count[0])
        entered.release()
        go.wait(10)
        with guard:
            count[0] -= 1
        return accepted()

    api.default = slow
    client = Client(api.url, "t")

    async def main() -> None:
        tasks = [asyncio.create_task(client.register_trade_async(7)) for _ in range(25)]
        for _ in range(10):
            assert await asyncio.to_thread(entered.acquire, timeout=10)
        go.set()
        assert all(await asyncio.gather(*tasks))

    asyncio.run(main())
    assert most[0] == 10
    assert len(api.seen) == 25


def test_connections_are_reused(api: FakeApi) -> None:
    client = Client(api.url, "t")
    for _ in range(5):
        assert client.register_trade(7)
    assert api.connections == 1

    async def main() -> None:
        for _ in range(5):
            assert await client.register_trade_async(7)

    asyncio.run(main())
    assert api.connections == 2


def test_it_works_again_after_closing(api: FakeApi, made: dict[str, int]) -> None:
    client = Client(api.url, "t")
    assert client.register_trade(7)
    first = module.get_sync_http_client()
    module.close_sync_http_client()
    assert first.is_closed
    assert client.register_trade(7)
    module.close_sync_http_client()
    module.close_sync_http_client()

    async def main() -> None:
        assert await client.register_trade_async(7)
        mine = module.get_http_client()
        await module.close_http_client()
        assert mine.is_closed
        await module.close_http_client()
        assert await client.register_trade_async(7)
        module.close_http_client()  # not awaited: closed all the same
        await asyncio.sleep(0.01)
        assert await client.register_trade_async(7)
        await module.get_http_client().aclose()  # behind our back
        assert await client.register_trade_async(7)

    asyncio.run(main())
    assert made == {"sync": 2, "async": 4}


def test_in_a_loop_it_leaves_the_shared_client_alone() -> None:
    shared = module.get_sync_http_client()

    async def main() -> None:
        await module.close_http_client()

    asyncio.run(main())
    assert not shared.is_closed
    module.close_http_client()
    assert shared.is_closed


def test_from_plain_code_it_closes_this_threads_idle_loops_only(api: FakeApi) -> None:
    client = Client(api.url, "t")

    async def use() -> httpx2.AsyncClient:
        assert await client.register_trade_async(7)
        return module.get_http_client()

    used, leave = threading.Event(), threading.Event()
    other: list[httpx2.AsyncClient] = []

    def elsewhere() -> None:
        async def stay() -> None:
            other.append(await use())
            used.set()
            await asyncio.to_thread(leave.wait, 10)
            assert not other[0].is_closed, "a loop of another thread keeps its client"
            assert await use() is other[0]

        asyncio.run(stay())

    thread = threading.Thread(target=elsewhere)
    thread.start()
    assert used.wait(10)
    loop = asyncio.new_event_loop()
    mine = loop.run_until_complete(use())
    module.close_http_client()
    assert mine.is_closed
    assert not other[0].is_closed
    leave.set()
    thread.join(10)
    assert other[0].is_closed
    loop.close()


def test_a_loop_that_ends_properly_leaves_no_connection_behind(api: FakeApi) -> None:
    client = Client(api.url, "t")
    kept: list[httpx2.AsyncClient] = []

    async def main() -> None:
        assert await client.register_trade_async(7)
        kept.append(module.get_http_client())

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(main())
        assert kept[0].is_closed
        gc.collect()


def test_a_collected_loop_leaves_no_entry(api: FakeApi) -> None:
    """With a kept-alive connection, which refers to its loop."""
    client = Client(api.url, "t")
    pools = module._pools

    async def main() -> None:
        assert await client.register_trade_async(7)

    gc.collect()
    before = len(pools._by_loop)
    asyncio.run(main())
    gc.collect()
    assert len(pools._by_loop) == before

    # The old style: closed without the farewell that asyncio.run gives.
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    assert len(pools._by_loop) == before + 1
    gone = weakref.ref(loop)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # the host left a connection open
        loop.close()
        del loop
        gc.collect()
    assert gone() is None
    assert len(pools._by_loop) == before


def test_the_entry_is_by_the_loop_itself_not_by_its_address() -> None:
    """Loops made one after another may have one id; each gets a client that works."""

    async def main() -> httpx2.AsyncClient:
        return module.get_http_client()

    clients = []
    for _ in range(20):
        clients.append(asyncio.run(main()))
        gc.collect()
    assert len({id(client) for client in clients}) == 20


def test_a_loop_that_takes_no_attribute_is_served_too(monkeypatch: pytest.MonkeyPatch) -> None:
    class Strict(asyncio.SelectorEventLoop):
        def __setattr__(self, name: str, value: object) -> None:
            if name == module._Pools.ATTRIBUTE:
                raise AttributeError(name)
            super().__setattr__(name, value)

    async def main() -> None:
        mine = module.get_http_client()
        gc.collect()
        assert module.get_http_client() is mine
        await module.close_http_client()
        assert mine.is_closed

    with asyncio.Runner(loop_factory=Strict) as runner:
        runner.run(main())


def _child(answer: Any, parent: int) -> None:
    answer.send(id(module.get_sync_http_client()) != parent)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_a_forked_child_does_not_use_its_parents_connections() -> None:
    parent = module.get_sync_http_client()
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # fork beside threads, from 3.12 on
        process = context.Process(target=_child, args=(sender, id(parent)))
        process.start()
    assert receiver.poll(10)
    assert receiver.recv() is True
    process.join(10)
    receiver.close()
    sender.close()
    assert not parent.is_closed


def test_closing_under_requests_harms_nobody(api: FakeApi, made: dict[str, int]) -> None:
    client = Client(api.url, "t", timeout=2.0)
    results: list[Any] = []

    def work() -> None:
        results.extend(client.register_trade(7) for _ in range(15))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    closed = 0
    while any(thread.is_alive() for thread in threads):
        module.close_sync_http_client()
        closed += 1
        threads[0].join(0.002)
    assert closed > 1
    assert made["sync"] > 1
    assert [(result.ok, result.attempts) for result in results] == [(True, 1)] * 60


def test_a_client_in_use_is_closed_by_its_last_user(api: FakeApi) -> None:
    entered, go = threading.Event(), threading.Event()

    def slow(_: Any) -> Any:
        entered.set()
        go.wait(10)
        return accepted()

    api.default = slow
    client = Client(api.url, "t")
    results: list[Any] = []
    thread = threading.Thread(target=lambda: results.append(client.register_trade(7)))
    thread.start()
    assert entered.wait(10)
    first = module.get_sync_http_client()
    module.close_sync_http_client()
    assert not first.is_closed
    assert module.get_sync_http_client() is not first
    go.set()
    thread.join(10)
    assert results[0].attempts == 1
    assert first.is_closed
    assert not module.get_sync_http_client().is_closed
