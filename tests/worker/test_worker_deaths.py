"""A worker that hangs, is killed, or dies: the call is unknown, the next one works."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from worker_kit import (
    LONG,
    START,
    InCall,
    Workers,
    alive,
    children,
    connect,
    descriptors,
    stopped,
    until,
)

from defence.errors import Invalid, TerminalRefused
from terminals import constants as mt5
from terminals.protocol import CALLS
from terminals.sim.faults import Effect, Fault
from terminals.worker.host import Host
from terminals.worker.office import SimulatedWorker
from terminals.worker.parting import FIRST, LIMIT, SOON, Parting
from terminals.worker.plan import Plan

TIMEOUT, RECEIVE, NO_IPC, INIT = -10_005, -10_002, -10_004, -10_003
ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "symbol_info": ("EURUSD",),
    "symbol_info_tick": ("EURUSD",),
    "symbol_select": ("EURUSD",),
    "order_check": ({"action": 1},),
    "order_send": ({"action": 1},),
    "history_deals_get": (0, 4e9),
    "history_orders_get": (0, 4e9),
    "copy_rates_from_pos": ("EURUSD", 1, 0, 1),
}
IN_A_CALL = [name for name in CALLS if name not in ("initialize", "shutdown")]


def call(terminal: SimulatedWorker, name: str) -> Any:
    return getattr(terminal, name)(*ARGUMENTS.get(name, ()))


def hang(terminal: SimulatedWorker, name: str = "positions_get", **options: Any) -> None:
    terminal.add_fault(Fault(call=name, effect=Effect.HANG, **options))


def is_in(terminal: SimulatedWorker, left: int = 0) -> Callable[[], bool]:
    """Whether the worker has told that a fault shows: then it is inside of the call."""
    worker = terminal._host._worker
    assert worker is not None
    return lambda: len(worker.notes.get("faults", [None] * 99)) == left


def dead_call(terminal: SimulatedWorker, name: str, answer: Any, code: int) -> None:
    """What must hold after a call whose worker has gone."""
    assert answer is (False if name == "symbol_select" else None)
    assert terminal.pid is None
    assert terminal.account_info() is None
    assert terminal.last_error()[0] == NO_IPC
    assert code in (TIMEOUT, RECEIVE)


@pytest.mark.parametrize("name", IN_A_CALL)
def test_killed_in_a_call(workers: Workers, name: str) -> None:
    terminal = workers.connected()
    ticket = terminal.open_position("EURUSD", "BUY", 0.1)
    hang(terminal, name)
    pid = terminal.pid or 0
    out = InCall(lambda: (call(terminal, name), terminal.last_error()))
    until(is_in(terminal))
    os.kill(pid, signal.SIGKILL)
    answer, (code, text) = out.result()
    assert code == RECEIVE
    assert "SIGKILL" in text
    dead_call(terminal, name, answer, code)
    connect(terminal)
    assert terminal.pid != pid
    assert terminal.restarts == 1
    # The broker has outlived the worker, and the fault has had its day.
    assert [one.ticket for one in terminal.positions_get() or ()] == [ticket]
    call(terminal, name)
    assert terminal.last_error()[0] in (1, -2)


@pytest.mark.parametrize("name", ["positions_get", "order_send", "symbol_select"])
def test_a_call_that_hangs_is_cut_at_its_deadline(workers: Workers, name: str) -> None:
    terminal = workers.connected(call_timeout=0.3)
    hang(terminal, name)
    pid, began = terminal.pid or 0, time.monotonic()
    answer = call(terminal, name)
    took = time.monotonic() - began
    code, text = terminal.last_error()
    assert code == TIMEOUT
    assert "0.3 s" in text
    assert 0.3 <= took < 0.3 + LONG / 4
    assert not alive(pid)
    dead_call(terminal, name, answer, code)
    assert any(f"worker {pid} is gone: no answer to {name}" in line for line in workers.said)
    connect(terminal)
    call(terminal, name)
    assert terminal.last_error()[0] in (1, -2)


def test_a_stopped_process_is_killed_too(workers: Workers) -> None:
    terminal = workers.connected(call_timeout=0.3)
    pid = terminal.pid or 0
    os.kill(pid, signal.SIGSTOP)
    until(lambda: stopped(pid))
    assert terminal.order_send({"action": 1}) is None
    assert terminal.last_error()[0] == TIMEOUT  # never "not sent": the frame lies in the pipe
    assert not alive(pid)


def test_connecting_may_take_longer_than_a_call(workers: Workers) -> None:
    terminal = workers.make(call_timeout=0.2)
    terminal.start()
    pid = terminal.pid
    terminal.add_fault(Fault(call="initialize", effect=Effect.DELAY, seconds=0.7))
    answers = []
    until(
        lambda: answers.append((terminal.initialize(), terminal.last_error()[0])) or answers[-1][0]
    )
    assert len(answers) >= 3
    assert set(answers[:-1]) == {(False, INIT)}
    assert terminal.pid == pid  # the same one: it was waited for, not replaced


def test_while_it_connects_everything_else_is_not_sent(workers: Workers) -> None:
    terminal = workers.make(call_timeout=0.2)
    terminal.start()
    terminal.add_fault(Fault(call="initialize", effect=Effect.DELAY, seconds=0.5))
    assert terminal.initialize() is False
    assert "still connecting" in terminal.last_error()[1]
    assert terminal.order_send({"action": 1}) is None
    assert terminal.last_error()[0] == NO_IPC
    until(terminal.initialize)
    assert terminal.positions_get() == ()


def test_connecting_has_an_end(workers: Workers) -> None:
    terminal = workers.make(call_timeout=0.2)
    terminal.start()
    terminal._host._connect_timeout = 0.5
    hang(terminal, "initialize")
    pid = terminal.pid or 0
    until(lambda: not terminal.initialize() and terminal.last_error()[0] == TIMEOUT)
    assert "connecting took longer than 0.5 s" in terminal.last_error()[1]
    assert not alive(pid)
    terminal._host._connect_timeout = LONG
    connect(terminal)


def test_what_is_left_of_a_script_goes_on_in_the_next_worker(workers: Workers) -> None:
    terminal = workers.connected(
        faults=[
            Fault(call="positions_get", effect=Effect.HANG, after=1, count=2),
            Fault(call="orders_get", effect=Effect.UNKNOWN, count=None),
        ],
        call_timeout=0.3,
    )
    assert terminal.positions_get() == ()
    for _ in range(2):
        assert terminal.positions_get() is None
        assert terminal.last_error()[0] == TIMEOUT
        connect(terminal)
    assert terminal.positions_get() == ()
    assert terminal.orders_get() is None
    assert terminal.last_error()[0] == -10_001


def test_held_prices_and_the_button_outlive_the_worker(workers: Workers) -> None:
    terminal = workers.connected()
    terminal.set_price("EURUSD", 1.5, 1.6)
    terminal.set_price("USDJPY", 100.0, 100.1)
    terminal.release_price("USDJPY")
    terminal.advance(5000.0)  # which no change of the books has put into the file
    terminal.set_autotrading(False)
    before = terminal.market_time
    terminal.abort()
    until(lambda: terminal.pid is None)
    connect(terminal)
    tick, yen = terminal.symbol_info_tick("EURUSD"), terminal.symbol_info_tick("USDJPY")
    assert tick is not None
    assert yen is not None
    assert (tick.bid, tick.ask) == (1.5, 1.6)
    assert yen.bid != 100.0
    assert terminal.terminal_info().trade_allowed is False  # type: ignore[union-attr]
    assert terminal.market_time >= before


def test_an_executed_order_whose_answer_was_lost_is_in_the_books(workers: Workers) -> None:
    terminal = workers.connected(call_timeout=0.3)
    ticket = terminal.open_position("EURUSD", "BUY", 0.1, sl=0.5)
    hang(terminal, "order_send", when="after")
    request = {"action": 6, "position": ticket, "symbol": "EURUSD", "sl": 0.6, "tp": 0.0}
    assert terminal.order_send(request) is None
    assert terminal.last_error()[0] == TIMEOUT
    connect(terminal)
    assert (terminal.positions_get() or ())[0].sl == 0.6


def test_with_a_state_file_the_books_are_there(workers: Workers, tmp_path: Path) -> None:
    state = tmp_path / "broker.json"
    terminal = workers.connected(state=state)
    ticket = terminal.open_position("EURUSD", "BUY", 0.1)
    os.kill(terminal.pid or 0, signal.SIGKILL)
    until(lambda: terminal.pid is None)
    connect(terminal)
    terminal.close_position(ticket)
    deals = terminal.history_deals_get(position=ticket)
    assert deals is not None
    assert len(deals) == 2
    terminal.close()
    assert state.exists()


def test_a_broker_without_a_file_of_its_user_s_leaves_nothing(workers: Workers) -> None:
    terminal = workers.connected()
    folder = Path(terminal._folder or "")
    assert (folder / "broker.json").exists()
    terminal.close()
    assert not folder.exists()


# -- abort and close


def test_abort_ends_a_call_at_once_from_any_thread(workers: Workers) -> None:
    terminal = workers.connected()
    hang(terminal)
    pid = terminal.pid or 0
    out = InCall(lambda: (terminal.positions_get(), terminal.last_error()))
    until(is_in(terminal))
    began = time.monotonic()
    terminal.abort("the connector hangs")
    assert time.monotonic() - began < 1.0
    answer, (code, text) = out.result()
    assert (answer, code) == (None, RECEIVE)
    assert "the connector hangs" in text
    assert not alive(pid)
    connect(terminal)
    assert terminal.positions_get() == ()


def test_abort_without_a_worker_does_nothing(workers: Workers) -> None:
    terminal = workers.make()
    terminal.abort()
    assert terminal.pid is None
    terminal.start()
    terminal.close()
    terminal.abort()


def test_abort_while_it_starts(workers: Workers) -> None:
    terminal = workers.make()
    out = InCall(terminal.initialize)
    until(lambda: terminal._host._worker is not None)
    terminal.abort("no")
    assert out.result() is False
    assert terminal.last_error()[0] == INIT
    connect(terminal)


@pytest.mark.parametrize("state", ["new", "started", "connected", "hung", "dead", "stopped"])
def test_close_in_every_state(workers: Workers, state: str) -> None:
    before = children()
    terminal = workers.make()
    out = None
    if state != "new":
        terminal.start()
    if state not in ("new", "started"):
        connect(terminal)
    pid = terminal.pid or 0
    if state == "hung":
        hang(terminal)
        out = InCall(terminal.positions_get)
        until(is_in(terminal))
    elif state == "dead":
        os.kill(pid, signal.SIGKILL)
    elif state == "stopped":
        os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    closers = [InCall(terminal.close) for _ in range(3)]
    for one in closers:
        one.result()
    assert time.monotonic() - began < LONG / 4
    assert not pid or not alive(pid)
    assert children() <= before
    if out is not None:
        assert out.result() is None
    terminal.close()
    assert terminal.initialize() is False
    assert terminal.last_error() == (INIT, "IPC initialize failed, terminal closed")
    assert terminal.positions_get() is None
    assert terminal.order_send({"action": 1}) is None
    assert terminal.last_error()[0] == NO_IPC
    with pytest.raises(TerminalRefused, match="closed"):
        terminal.deposit(1.0)


def test_it_is_asked_to_close_before_it_is_killed(workers: Workers) -> None:
    terminal = workers.connected()
    worker = terminal._host._worker
    assert worker is not None
    terminal.close()
    assert not worker.killed
    assert worker._process is not None
    assert worker._process.returncode == 0


def test_no_descriptor_thread_or_zombie_is_left(workers: Workers) -> None:
    def cycle(nth: int) -> None:
        terminal = workers.connected()
        if nth % 3 == 0:
            os.kill(terminal.pid or 0, signal.SIGKILL)
            until(lambda: terminal.pid is None)
            connect(terminal)
        elif nth % 3 == 1:
            terminal.abort()
        terminal.close()

    cycle(0)
    files, processes, threads = descriptors(), children(), threading.active_count()
    for nth in range(4):
        cycle(nth)
    until(lambda: threading.active_count() <= threads)
    assert descriptors() <= files
    assert children() <= processes


# -- what is sent, and what is not


def test_with_a_dead_worker_an_order_is_not_sent(workers: Workers) -> None:
    terminal = workers.connected()
    os.kill(terminal.pid or 0, signal.SIGKILL)
    until(lambda: terminal.pid is None)
    assert terminal.order_send({"action": 1}) is None
    assert terminal.last_error()[0] == NO_IPC
    terminal = workers.make()
    assert terminal.order_send({"action": 1}) is None
    assert terminal.last_error()[0] == NO_IPC


@pytest.mark.parametrize("value", [object(), 2**70, "x" * 40_000])
def test_what_cannot_be_sent_is_not_sent(workers: Workers, value: object) -> None:
    terminal = workers.connected()
    assert terminal.order_send({"action": 1, "comment": value}) is None
    assert terminal.last_error()[0] == mt5.RES_E_INVALID_PARAMS
    assert terminal.orders_sent == []


def test_shutdown_does_not_wait_for_a_terminal_that_hangs(workers: Workers) -> None:
    terminal = workers.connected(call_timeout=0.3)
    os.kill(terminal.pid or 0, signal.SIGSTOP)
    assert terminal.shutdown() is True
    assert terminal.last_error() == (1, "Success")
    assert terminal.pid is None
    terminal = workers.connected()
    assert terminal.shutdown() is True
    assert terminal.pid is not None
    assert terminal.positions_get() is None
    connect(terminal)
    assert terminal.positions_get() == ()


# -- beginning anew


def test_who_dies_young_is_not_replaced_at_once() -> None:
    parting = Parting()
    assert parting.wait(0.0) <= 0
    waits = []
    for _ in range(9):
        parting.ended(1.0, 100.0)
        waits.append(parting.wait(100.0))
    assert waits == [0.0, *(min(LIMIT, FIRST * 2**nth) for nth in range(8))]
    assert parting.wait(100.0 + LIMIT) <= 0
    parting.ended(SOON, 200.0)
    assert parting.wait(200.0) <= 0
    for at in (300.0, 400.0):
        parting.ended(SOON - 0.1, at)
    assert parting.wait(400.0) == FIRST


def test_a_worker_that_dies_at_once_does_not_spin(workers: Workers) -> None:
    terminal = workers.make()
    for _ in range(2):
        assert terminal.initialize() is True
        os.kill(terminal.pid or 0, signal.SIGKILL)
        until(lambda: terminal.pid is None)
    assert terminal.initialize() is False
    code, text = terminal.last_error()
    assert code == INIT
    assert "died at once" in text
    assert terminal.restarts == 1
    connect(terminal)
    assert terminal.restarts == 2


def test_those_that_were_killed_here_are_replaced_at_once(workers: Workers) -> None:
    terminal = workers.connected()
    for _ in range(3):
        terminal.abort()
        until(lambda: terminal.pid is None)
        assert terminal.initialize() is True


@pytest.mark.parametrize("value", [0, -1, float("nan")])
@pytest.mark.parametrize("name", ["call_timeout", "connect_timeout"])
def test_a_time_that_makes_no_sense(name: str, value: float) -> None:
    times = {"call_timeout": 1.0, "connect_timeout": 1.0, name: value}
    with pytest.raises(Invalid) as caught:
        Host(lambda: Plan("native", {}), log=None, begun=print, ended=print, **times)
    assert caught.value.field == name


def test_a_plan_for_what_cannot_be_hosted() -> None:
    with pytest.raises(Invalid) as caught:
        Plan("bridge", {})
    assert (caught.value.field, caught.value.value) == ("terminal", "bridge")


def test_a_bad_file_is_told_at_the_start(workers: Workers, tmp_path: Path) -> None:
    state = tmp_path / "broker.json"
    state.write_text("{ nonsense")
    before = children()
    terminal = workers.make(state=state)
    with pytest.raises(Invalid) as caught:
        terminal.start()
    assert caught.value.field == "sim_state"
    assert str(state) in str(caught.value)
    assert terminal.pid is None
    assert children() <= before
    state.unlink()
    connect(terminal)


def test_generated_prices_begin_where_the_plan_says(workers: Workers) -> None:
    assert abs(workers.connected(start=START + 1e6).market_time - START - 1e6) < 60
