"""Registering: who is asked in which order, what is tried again, what it says."""

from __future__ import annotations

import asyncio
import email.utils
import enum
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from client_fakes import (
    DROP,
    ENABLE,
    HANG,
    Clock,
    FakeApi,
    FakeGuard,
    Says,
    Told,
    accepted,
    refusal,
)
from hypothesis import given
from hypothesis import strategies as st

from gateway import client as module
from gateway.client import Client, RegistrationResult

Register = Callable[..., RegistrationResult]


def test_the_api_gets_the_fields_the_key_and_the_token(api: FakeApi, register: Register) -> None:
    result = register(7, symbol="EURUSD", stop_loss=1.095, take_profit=None)
    assert result == RegistrationResult(True, True, {"ticket": 7}, "api", None, 200, 1)
    (seen,) = api.seen
    assert (seen.method, seen.path) == ("POST", ENABLE)
    assert seen.body == {
        "ticket": 7,
        "symbol": "EURUSD",
        "stop_loss": 1.095,
        "take_profit": None,
    }
    assert seen.headers["authorization"] == "Bearer s3cret-of-the-guard"
    assert len(seen.key) == 36


def test_a_trade_that_was_known_is_ok_and_not_created(api: FakeApi, register: Register) -> None:
    api.script = [accepted(created=False)]
    result = register(7)
    assert result.ok
    assert result.created is False


def test_the_local_guard_is_asked_first(api: FakeApi, client: Client, register: Register) -> None:
    guard = FakeGuard()
    client.use_local(guard)
    result = register(7, volume=0.1)
    assert result == RegistrationResult(True, True, {"ticket": 7}, "local", None, 200, 1)
    assert not api.seen
    ((fields, request_id, timeout),) = guard.calls
    assert fields == {"ticket": 7, "volume": 0.1}
    assert len(request_id) == 36
    assert timeout == 5.0


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("invalid", 422),
        ("not_found", 404),
        ("conflict", 409),
        ("forbidden", 403),
        ("refused", 400),
        ("unknown_message", 400),
        ("asked_inside", None),
        ("fault", None),
    ],
)
def test_a_local_refusal_is_final(
    api: FakeApi, client: Client, register: Register, code: str, status: int | None
) -> None:
    client.use_local(FakeGuard(Told(code)))
    result = register(7)
    assert not result.ok
    assert (result.via, result.code, result.status, result.attempts) == ("local", code, status, 1)
    assert result.error == f"the guard says {code}"
    assert not api.seen


@pytest.mark.parametrize(
    "fault",
    [
        *(Told(code) for code in ("stopped", "not_ready", "broker_unknown", "mailbox_full")),
        *(Told(code) for code in ("deadline_passed", "store_full", "damaged")),
        RuntimeError("a mistake in the host"),
        "no body at all",
        {"created": "yes"},
    ],
    ids=repr,
)
def test_a_local_guard_that_cannot_leaves_it_to_the_api(
    api: FakeApi, client: Client, register: Register, fault: Any
) -> None:
    guard = FakeGuard(fault)
    client.use_local(guard)
    result = register(7)
    assert result.ok
    assert result.via == "api"
    assert api.seen[0].key == guard.calls[0][1], "both doors must know it for one request"


def test_both_reasons_are_told_when_both_doors_stay_shut(
    api: FakeApi, client: Client, register: Register
) -> None:
    api.default = Says(503)
    client.use_local(FakeGuard(Told("stopped")))
    result = register(7)
    assert result.error == ("local guard: Told: the guard says stopped; API: the API answered 503")


def test_a_local_guard_that_does_not_return_in_time_does_not_hold_the_loop(api: FakeApi) -> None:
    release = threading.Event()

    class Stuck:
        def register_fields(self, fields: object, request_id: str, timeout: float) -> Any:
            release.wait(10)

    client = Client(api.url, "t", timeout=0.2)
    client.use_local(Stuck())

    async def main() -> RegistrationResult:
        try:
            return await client.register_trade_async(7)
        finally:
            release.set()

    assert asyncio.run(main()).via == "api"


TRANSIENT = [
    DROP,
    Says(429),
    refusal(503, "not_ready"),
    refusal(507, "store_full"),
    Says(500),
    Says(502),
]


@pytest.mark.parametrize("first", TRANSIENT, ids=repr)
def test_what_may_pass_is_tried_again_under_one_key(
    api: FakeApi, clock: Clock, register: Register, first: Any
) -> None:
    api.script = [first, first]
    result = register(7)
    assert result.ok
    assert result.attempts == 3
    assert len({seen.key for seen in api.seen}) == 1
    assert len(api.seen) == 3
    assert 0.2 <= clock.slept[0] <= 0.3
    assert 0.6 <= clock.slept[1] <= 0.9


@pytest.mark.parametrize("always", TRANSIENT, ids=repr)
def test_three_attempts_and_no_more(api: FakeApi, register: Register, always: Any) -> None:
    api.default = always
    result = register(7)
    assert not result
    assert result.attempts == len(api.seen) == 3
    assert result.error
    assert result.status == (always.status if isinstance(always, Says) else None)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 301, 202])
def test_what_will_not_change_is_not_tried_again(
    api: FakeApi, register: Register, status: int
) -> None:
    api.default = refusal(status, "because", "stop_loss")
    result = register(7)
    assert (result.ok, result.status, result.attempts) == (False, status, 1)
    assert result.code == "because"
    assert result.error is not None
    assert result.error.startswith("stop_loss: told so (do otherwise)")
    assert len(api.seen) == 1


@pytest.mark.parametrize(
    "body", ["<html>hello</html>", {}, [], {"created": 1}, {"trade": {}}, None]
)
def test_a_200_that_acknowledges_nothing_is_no_success(
    api: FakeApi, register: Register, body: Any
) -> None:
    api.default = Says(200, body)
    result = register(7)
    assert (result.ok, result.code, result.status) == (False, "not_a_guard", 200)


def test_two_calls_have_two_keys(api: FakeApi, register: Register) -> None:
    register(7)
    register(7)
    assert len({seen.key for seen in api.seen}) == 2


def test_retry_after_is_honoured(api: FakeApi, clock: Clock, register: Register) -> None:
    api.script = [Says(429, None, (("Retry-After", "3"),))]
    assert register(7).ok
    assert clock.slept == [3.0]


def test_retry_after_is_bounded(api: FakeApi, clock: Clock, register: Register) -> None:
    api.script = [Says(503, None, (("Retry-After", "86400"),))]
    assert register(7).ok
    assert clock.slept == [module.MAX_WAIT]


def test_no_wait_goes_past_the_budget_of_the_call(api: FakeApi, clock: Clock) -> None:
    client = Client(api.url, "t", timeout=1.0, clock=clock, sleep=clock.sleep)
    api.default = Says(503, None, (("Retry-After", "5"),))
    result = client.register_trade(7)
    assert result.attempts == 1
    assert clock.slept == []


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, 0.0),
        ("2", 2.0),
        ("9" * 400, 5.0),
        ("-1", 0.0),
        ("nan", 0.0),
        ("soon", 0.0),
        (email.utils.formatdate(1_700_000_003, usegmt=True), 3.0),
        (email.utils.formatdate(1_600_000_000, usegmt=True), 0.0),
    ],
)
def test_the_forms_of_retry_after(text: str | None, seconds: float) -> None:
    assert module._retry_after(text, 1_700_000_000.0) == seconds


@given(st.text())
def test_no_retry_after_breaks_or_waits_too_long(text: str) -> None:
    assert 0.0 <= module._retry_after(text, 1_700_000_000.0) <= module.MAX_WAIT


def test_nobody_there(clock: Clock, client: Client, api: FakeApi, register: Register) -> None:
    client.configure("http://127.0.0.1:1", "t")
    result = register(7)
    assert (result.ok, result.code, result.attempts) == (False, "unreachable", 3)
    assert "is the guard running?" in str(result.error)


def test_an_answer_that_does_not_come_is_a_time_out(
    api: FakeApi, client: Client, register: Register
) -> None:
    client.configure(api.url, "t", timeout=0.03)
    api.default = HANG
    result = register(7)
    assert (result.ok, result.attempts) == (False, 1), "0.2 s of delay is past the budget"
    assert "did not answer within" in str(result.error)


@pytest.mark.parametrize("ticket", ["7", 7.0, None, True, 0, -1, [7]])
def test_a_wrong_ticket_is_told_not_raised(
    api: FakeApi, client: Client, register: Register, ticket: Any
) -> None:
    guard = FakeGuard()
    client.use_local(guard)
    result = register(ticket)
    assert (result.ok, result.code, result.attempts) == (False, "invalid", 0)
    assert "ticket" in str(result.error)
    assert repr(ticket) in str(result.error)
    assert "give the position's ticket" in str(result.error)
    assert not api.seen
    assert not guard.calls


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"stoploss": 1.0}, "did you mean stop_loss?"),
        ({"qqq": 1.0}, "known: identifier, symbol"),
        ({"volume": float("nan")}, "volume: nan"),
        ({"volume": float("inf")}, "volume: inf"),
        ({"volume": True}, "volume: True"),
        ({"symbol": object}, "symbol: "),
        ({"magic": [1]}, "magic: [1]"),
    ],
)
def test_a_wrong_field_is_told_not_raised(
    api: FakeApi, register: Register, fields: dict[str, Any], told: str
) -> None:
    result = register(7, **fields)
    assert (result.ok, result.code) == (False, "invalid")
    assert told in str(result.error)
    assert not api.seen


def test_numpy_and_enums_travel(api: FakeApi, register: Register) -> None:
    class Side(enum.Enum):
        BUY = "BUY"

    assert register(
        np.int64(2**53 + 1), volume=np.float32(0.5), magic=np.int32(3), direction=Side.BUY
    ).ok
    assert api.seen[0].body == {
        "ticket": 2**53 + 1,
        "volume": 0.5,
        "magic": 3,
        "direction": "BUY",
    }


junk = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.lists(st.integers(), max_size=2),
    st.complex_numbers(),
)


@given(junk, st.dictionaries(st.sampled_from([*module.OPTIONAL_FIELDS, "x", ""]), junk))
def test_no_argument_makes_it_raise(ticket: Any, fields: dict[str, Any]) -> None:
    guard = FakeGuard()
    client = Client("http://127.0.0.1:1", "t")
    client.use_local(guard)
    result = client.register_trade(ticket, **fields)
    assert isinstance(result, RegistrationResult)
    assert result.ok == bool(guard.calls), "either it is wrong and told, or it arrived"
    assert result.ok or result.code == "invalid"


def test_an_error_nobody_thought_of_is_told_not_raised(
    client: Client, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(module.httpx2.Client, "request", broken)
    monkeypatch.setattr(module.httpx2.AsyncClient, "request", broken)
    result = register(7)
    assert (result.ok, result.code) == (False, "client_fault")
    assert result.error == "ZeroDivisionError: a fault of ours"


def test_cancelling_cancels(api: FakeApi, client: Client) -> None:
    api.default = HANG

    async def main() -> None:
        task = asyncio.create_task(client.register_trade_async(7))
        await asyncio.to_thread(api.wait_for, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_the_loop_goes_on_while_the_local_guard_thinks(client: Client) -> None:
    ticked = threading.Event()

    class Slow(FakeGuard):
        def register_fields(self, fields: Any, request_id: str, timeout: float) -> dict[str, Any]:
            assert ticked.wait(5), "the loop stood still"
            return super().register_fields(fields, request_id, timeout)

    client.use_local(Slow())

    async def main() -> RegistrationResult:
        task = asyncio.create_task(client.register_trade_async(7))
        await asyncio.sleep(0)
        ticked.set()
        return await task

    assert asyncio.run(main()).via == "local"


def test_the_module_functions_are_one_client(api: FakeApi) -> None:
    module.configure(api.url, "t")
    assert module.register_trade(7).via == "api"
    module.use_local(FakeGuard())
    module.configure(api.url, "t")
    assert module.register_trade(7).via == "local", "configure keeps the local guard"
    assert asyncio.run(module.register_trade_async(7)).via == "local"


def test_a_local_guard_must_be_able_to_register() -> None:
    with pytest.raises(module.Misconfigured, match="guard: object has no register_fields"):
        module.use_local(object())  # type: ignore[arg-type]


def test_real_time_is_the_default(api: FakeApi) -> None:
    api.script = [Says(503)]
    client = Client(api.url, "t")
    began = time.monotonic()
    assert client.register_trade(7).attempts == 2
    assert time.monotonic() - began >= 0.2


def test_what_the_local_guard_used_up_is_not_there_for_the_api(
    api: FakeApi, client: Client, clock: Clock, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_time: list[float] = []
    for kind in (module.httpx2.Client, module.httpx2.AsyncClient):

        def spy(self: Any, original: Any = kind.request, **request: Any) -> Any:
            given_time.append(request["timeout"])
            return original(self, **request)

        monkeypatch.setattr(kind, "request", spy)

    class Slow(FakeGuard):
        def register_fields(self, fields: Any, request_id: str, timeout: float) -> dict[str, Any]:
            clock.now += 12.0
            raise Told("deadline_passed")

    client.use_local(Slow())
    assert register(7)
    assert given_time == [3.0], "three times 5 s, less 12"


def test_trusted_authorities_are_not_read_on_the_loop(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    readers: list[int] = []
    original = module.httpx2.create_ssl_context

    def reading(**options: Any) -> Any:
        readers.append(threading.get_ident())
        return original(**options)

    monkeypatch.setattr(module.httpx2, "create_ssl_context", reading)
    module._tls.cache_clear()
    assert asyncio.run(client.register_trade_async(7))
    assert len(readers) == 1
    assert readers[0] != threading.get_ident()
