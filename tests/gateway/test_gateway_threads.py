"""Threads that never keep a process from ending."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from typing import Any

import pytest

from gateway.threads import DaemonThreads

PATIENCE = 10.0


@pytest.fixture
def threads() -> Iterator[DaemonThreads]:
    made = DaemonThreads(3, "test-lane")
    yield made
    made.shutdown(wait=True, cancel_futures=True)


def names() -> set[str]:
    return {one.name for one in threading.enumerate() if one.name.startswith("test-lane")}


def test_values_and_errors_come_back(threads: DaemonThreads) -> None:
    assert threads.submit(divmod, 7, 2).result(PATIENCE) == (3, 1)
    assert threads.submit(int, "11", base=2).result(PATIENCE) == 3
    with pytest.raises(ZeroDivisionError):
        threads.submit(divmod, 1, 0).result(PATIENCE)

    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        threads.submit(leave).result(PATIENCE)
    assert threads.submit(int, "1").result(PATIENCE) == 1  # the thread lives on


def test_as_many_as_allowed_run_at_once_and_no_more(threads: DaemonThreads) -> None:
    gate, inside = threading.Event(), threading.Semaphore(0)

    def hold() -> str:
        inside.release()
        assert gate.wait(PATIENCE)
        return threading.current_thread().name

    futures = [threads.submit(hold) for _ in range(5)]
    for _ in range(3):
        assert inside.acquire(timeout=PATIENCE)
    assert not inside.acquire(timeout=0.05)
    assert names() == {"test-lane_0", "test-lane_1", "test-lane_2"}
    assert all(one.daemon for one in threading.enumerate() if one.name in names())
    gate.set()
    assert {one.result(PATIENCE) for one in futures} <= names()


def test_an_idle_thread_is_used_again(threads: DaemonThreads) -> None:
    for _ in range(20):
        threads.submit(int).result(PATIENCE)
        while threads._idle._value == 0:  # it calls itself idle a moment after the answer
            pass
    assert names() == {"test-lane_0"}


def test_what_has_not_begun_is_cancelled_at_the_end(threads: DaemonThreads) -> None:
    gate = threading.Event()
    running = [threads.submit(gate.wait, PATIENCE) for _ in range(3)]
    waiting: list[Future[Any]] = [threads.submit(int) for _ in range(4)]
    while not all(one.running() for one in running):
        pass
    threads.shutdown(wait=False, cancel_futures=True)
    threads.shutdown(wait=False, cancel_futures=True)
    for one in waiting:
        with pytest.raises(CancelledError):
            one.result(0)
    with pytest.raises(RuntimeError):
        threads.submit(int)
    gate.set()
    assert all(one.result(PATIENCE) for one in running)
    threads.shutdown(wait=True)
    assert names() == set()


def test_without_a_thread_it_says_so_and_with_one_it_does(
    threads: DaemonThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none_left)
        with pytest.raises(RuntimeError, match="start new thread"):
            threads.submit(int)
    gate = threading.Event()
    first = threads.submit(gate.wait, PATIENCE)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", none_left)
        second = threads.submit(int)
    gate.set()
    assert first.result(PATIENCE)
    assert second.result(PATIENCE) == 0


def test_a_thread_that_waits_keeps_nothing_of_its_last_call(threads: DaemonThreads) -> None:
    class Big:
        def __call__(self) -> None:
            """Do nothing."""

    big = Big()
    seen = weakref.ref(big)
    threads.submit(big).result(PATIENCE)
    while threads._idle._value == 0:
        pass
    del big
    gc.collect()
    assert seen() is None
