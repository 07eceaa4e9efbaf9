"""The circuit breaker: closed, open, half-open with one probe."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import httpx2
import pytest
from client_fakes import DROP, HANG, Clock, FakeApi, FakeGuard, Says, accepted
from hypothesis import given
from hypothesis import strategies as st

from gateway.client import BREAKER_COOLDOWN, BREAKER_FAILURES, Breaker, Client, RegistrationResult

Register = Callable[..., RegistrationResult]


def opened(clock: Clock) -> Breaker:
    breaker = Breaker(clock)
    for _ in range(BREAKER_FAILURES):
        era = breaker.enter()
        assert era is not None
        breaker.leave(era, False)
    return breaker


def test_it_opens_after_five_failures_in_a_row(
    api: FakeApi, clock: Clock, register: Register
) -> None:
    api.default = DROP
    assert register(7).attempts == 3
    second = register(7)
    assert second.code == "circuit_open"
    assert second.attempts == 2, "the fifth failure opens it in the middle of a call"
    third = register(7)
    assert (third.ok, third.code, third.attempts) == (False, "circuit_open", 0)
    assert len(api.seen) == 5


def test_one_answer_between_starts_the_count_anew(
    api: FakeApi, clock: Clock, register: Register
) -> None:
    api.script = [Says(503)] * 2 + [Says(404)] + [Says(503)] * 2 + [Says(429)]
    assert register(7).status == 404
    assert register(7).status == 429
    assert register(7).ok


def test_half_open_lets_one_probe_through_and_closes_on_success(
    api: FakeApi, clock: Clock, register: Register
) -> None:
    api.default = Says(500)
    register(7)
    register(7)
    clock.now += BREAKER_COOLDOWN - 1
    assert register(7).code == "circuit_open"
    clock.now += 1
    api.default = accepted()
    assert register(7).ok
    assert register(7).ok


def test_a_probe_that_fails_opens_it_for_the_whole_time_again(
    api: FakeApi, clock: Clock, register: Register
) -> None:
    api.default = Says(500)
    register(7)
    register(7)
    clock.now += BREAKER_COOLDOWN
    assert register(7).attempts == 1
    assert len(api.seen) == 6
    clock.now += BREAKER_COOLDOWN - 2
    assert register(7).attempts == 0


def test_an_open_breaker_does_not_keep_from_the_local_guard(
    api: FakeApi, client: Client, register: Register
) -> None:
    api.default = DROP
    register(7)
    register(7)
    client.use_local(FakeGuard())
    assert register(7).ok


def test_of_64_threads_one_probes(clock: Clock) -> None:
    breaker = opened(clock)
    clock.now += BREAKER_COOLDOWN
    barrier = threading.Barrier(64)
    passes: list[int | None] = []

    def enter() -> None:
        barrier.wait(10)
        passes.append(breaker.enter())

    threads = [threading.Thread(target=enter) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(passes) == 64
    assert sum(era is not None for era in passes) == 1


def test_a_probe_that_was_cut_short_gives_its_place_to_another(
    api: FakeApi, client: Client, clock: Clock
) -> None:
    api.default = Says(500)
    client.register_trade(7)
    client.register_trade(7)
    clock.now += BREAKER_COOLDOWN
    api.default = HANG
    asked = len(api.seen)

    async def main() -> None:
        task = asyncio.create_task(client.register_trade_async(7))
        await asyncio.to_thread(api.wait_for, asked + 1)
        assert (await client.register_trade_async(7)).code == "circuit_open"
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    api.default = accepted()
    assert client.register_trade(7).ok


def test_a_verdict_from_before_the_change_is_dropped(clock: Clock) -> None:
    breaker = Breaker(clock)
    late = [breaker.enter() for _ in range(BREAKER_FAILURES + 2)]
    for era in late[:BREAKER_FAILURES]:
        assert era is not None
        breaker.leave(era, False)
    assert breaker.enter() is None
    assert late[-1] is not None
    breaker.leave(late[-1], True)
    assert breaker.enter() is None, "an old success does not close it"
    clock.now += BREAKER_COOLDOWN
    probe = breaker.enter()
    assert probe is not None
    assert late[-2] is not None
    breaker.leave(late[-2], False)
    assert breaker.enter() is None, "an old failure does not end the probe"
    breaker.leave(probe, True)
    assert breaker.enter() is not None


@given(st.lists(st.tuples(st.sampled_from([True, False, None]), st.floats(0, 40)), max_size=60))
def test_it_is_what_the_rule_says(steps: list[tuple[bool | None, float]]) -> None:
    """One request at a time against the rule written down a second time."""
    clock = Clock()
    breaker = Breaker(clock)
    failures, opened_at = 0, None
    for good, pause in steps:
        expected = opened_at is None or clock.now - opened_at >= 30.0
        era = breaker.enter()
        assert (era is not None) == expected
        if era is not None:
            breaker.leave(era, good)
            if good:
                failures, opened_at = 0, None
            elif good is False:
                failures += 1
                if opened_at is not None or failures >= 5:
                    opened_at = clock.now
        clock.now += pause


def test_the_readers_ask_in_spite_of_an_open_breaker(api: FakeApi, client: Client) -> None:
    api.default = Says(500)
    client.register_trade(7)
    client.register_trade(7)
    assert client.get("/dtms/status")[0] == 500


def test_a_lack_of_free_connections_is_not_the_apis_failure(
    api: FakeApi, client: Client, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crowded(*_: object, **__: object) -> None:
        raise httpx2.PoolTimeout("all in use")

    with monkeypatch.context() as patch:
        patch.setattr(httpx2.Client, "request", crowded)
        patch.setattr(httpx2.AsyncClient, "request", crowded)
        for _ in range(3):
            result = register(7)
            assert (result.attempts, result.code) == (3, "unreachable")
            assert "no free connection" in str(result.error)
    assert register(7)
