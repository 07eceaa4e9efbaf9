"""Rate limit and lanes."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress

import httpx2
import pytest
from gateway_fakes import AUTH, FakeGuard, fake_settings, serving
from hypothesis import given, settings
from hypothesis import strategies as st

from defence.errors import DeadlinePassed, MailboxFull, Stopped
from gateway import limits
from gateway.errors import TooMany
from gateway.limits import Lane, TokenBuckets


class Hand:
    """A clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_over_the_wire_with_a_clock_that_stands() -> None:
    clock, guard = Hand(), FakeGuard(fake_settings(rate_limit=2))
    with (
        serving(guard, clock=clock) as gateway,
        httpx2.Client(base_url=gateway.url, headers=AUTH, trust_env=False) as bot,
    ):

        def enable() -> httpx2.Response:
            return bot.post("/dtms/trade/enable", json={"ticket": 1})

        assert [enable().status_code for _ in range(3)] == [200, 200, 429]
        refused = enable()
        assert refused.headers["Retry-After"] == "1"
        assert refused.json()["error"] == "rate_limited"
        assert bot.delete("/dtms/trade/1").status_code == 429
        # Looking and ops are never counted; neither are those without the token.
        assert bot.get("/dtms/trades").status_code == 200
        assert bot.post("/dtms/admin/freeze").status_code == 200
        assert bot.post("/x", headers={"Authorization": "no"}).status_code == 401
        clock.now += 0.5
        assert [enable().status_code for _ in range(2)] == [200, 429]


def test_clients_do_not_share_a_bucket() -> None:
    buckets = TokenBuckets(1, Hand())
    buckets.take("a")
    buckets.take("b")
    with pytest.raises(TooMany):
        buckets.take("a")


def test_less_than_one_a_second() -> None:
    clock = Hand()
    buckets = TokenBuckets(0.1, clock)
    buckets.take("a")
    with pytest.raises(TooMany) as caught:
        buckets.take("a")
    assert caught.value.wait == pytest.approx(10)
    clock.now += 10.01
    buckets.take("a")


def test_zero_is_no_limit() -> None:
    buckets = TokenBuckets(0, Hand())
    for _ in range(10_000):
        buckets.take("a")


def test_the_table_of_clients_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CLIENTS", 3)
    buckets = TokenBuckets(1, Hand())
    for name in "abc":
        buckets.take(name)
    with pytest.raises(TooMany):
        buckets.take("a")
    buckets.take("d")  # the one unseen longest is forgotten
    for name in "ad":
        with pytest.raises(TooMany):
            buckets.take(name)
    buckets.take("b")


@settings(deadline=None, max_examples=50)
@given(st.floats(0.5, 50), st.lists(st.floats(0, 2), max_size=200))
def test_never_more_than_the_rate_and_a_second_of_burst(rate: float, pauses: list[float]) -> None:
    clock = Hand()
    buckets, passed, start = TokenBuckets(rate, clock), 0, clock.now
    for pause in pauses:
        clock.now += pause
        with suppress(TooMany):
            buckets.take("a")
            passed += 1
    assert passed <= rate * (clock.now - start) + max(1.0, rate) + 1e-6


# -- lanes


def test_a_lane_refuses_what_is_too_much_and_gives_up_what_waits_too_long() -> None:
    clock, gate, began = Hand(), threading.Event(), threading.Event()
    lane = Lane("x", threads=1, waiting=1, patience=5.0, clock=clock)
    done: list[str] = []

    def slow() -> str:
        began.set()
        assert gate.wait(5)
        return "slow"

    async def go() -> None:
        first = asyncio.create_task(lane.run(slow))
        second = asyncio.create_task(lane.run(lambda: done.append("second")))
        await asyncio.sleep(0)
        await asyncio.get_running_loop().run_in_executor(None, began.wait, 5)
        with pytest.raises(MailboxFull):
            await lane.run(lambda: done.append("third"))
        clock.now += 6.0
        gate.set()
        assert await first == "slow"
        with pytest.raises(DeadlinePassed):
            await second
        assert await lane.run(lambda: "fourth") == "fourth"
        lane.close()
        with pytest.raises(Stopped):
            await lane.run(lambda: done.append("fifth"))

    asyncio.run(go())
    assert done == []


def test_a_lane_raises_what_the_call_raises() -> None:
    lane = Lane("x", 1, 1, 5.0, Hand())

    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        asyncio.run(lane.run(fail))
    lane.close()
