"""An order in a worker: under the permit until nothing can happen any more, for this account."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from worker_kit import InCall, Workers, alive, stopped, until

from defence.errors import BrokerUnknown, Fenced
from defence.orders import OutcomeKind
from terminals.answers import without_result
from terminals.lease import Lease, Permit
from terminals.reading import account_check
from terminals.sim.faults import Effect, Fault
from terminals.worker.office import SimulatedWorker


def stop_at(ticket: int, sl: float) -> dict[str, Any]:
    return {"action": 6, "position": ticket, "symbol": "EURUSD", "sl": sl, "tp": 0.0}


class Noted:
    """A permit that notes whether the worker lived when it was left."""

    def __init__(self, terminal: SimulatedWorker) -> None:
        self.pid = terminal.pid or 0
        self.entered = False
        self.alive_at_the_end: bool | None = None
        self._terminal = terminal

    def __enter__(self) -> None:
        self.entered = True

    def __exit__(self, *_: object) -> None:
        self.alive_at_the_end = alive(self.pid)


@pytest.fixture
def terminal(workers: Workers) -> SimulatedWorker:
    return workers.connected(call_timeout=0.5)


def outcome(terminal: SimulatedWorker) -> OutcomeKind:
    code, text = terminal.last_error()
    return without_result(code, text, "i", 0.0).kind


def test_an_order_under_its_permit(terminal: SimulatedWorker) -> None:
    ticket, permit = terminal.open_position("EURUSD", "BUY", 0.1), Noted(terminal)
    result = terminal.send_under(permit, stop_at(ticket, 0.5))
    assert result is not None
    assert result.retcode == 10009
    assert result.request.position == ticket
    assert permit.alive_at_the_end is True
    assert len(terminal.orders_sent) == 1


@pytest.mark.parametrize("how", ["deadline", "kill", "abort", "close"])
def test_the_permit_is_left_when_the_worker_is_dead(terminal: SimulatedWorker, how: str) -> None:
    terminal.add_fault(Fault(call="order_send", effect=Effect.HANG))
    permit = Noted(terminal)
    worker = terminal._host._worker
    assert worker is not None
    out = InCall(lambda: (terminal.send_under(permit, stop_at(1, 0.5)), outcome(terminal)))
    until(lambda: worker.notes.get("faults") == ())
    assert permit.entered
    assert permit.alive_at_the_end is None
    {
        "deadline": lambda: None,
        "kill": lambda: os.kill(permit.pid, signal.SIGKILL),
        "abort": terminal.abort,
        "close": terminal.close,
    }[how]()
    assert out.result() == (None, OutcomeKind.UNKNOWN)
    assert permit.alive_at_the_end is False


def test_an_interrupt_leaves_no_order_behind(workers: Workers) -> None:
    terminal = workers.connected()
    terminal.add_fault(Fault(call="order_send", effect=Effect.HANG))
    permit = Noted(terminal)
    worker = terminal._host._worker
    assert worker is not None

    def interrupt() -> None:
        until(lambda: worker.notes.get("faults") == ())
        signal.pthread_kill(main, signal.SIGINT)

    main = threading.main_thread().ident or 0
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        threading.Thread(target=interrupt, daemon=True).start()
        with pytest.raises(KeyboardInterrupt):
            terminal.send_under(permit, stop_at(1, 0.5))
    finally:
        signal.signal(signal.SIGINT, before)
    assert permit.alive_at_the_end is False


def test_a_revoked_lease_sends_nothing(terminal: SimulatedWorker) -> None:
    lease = Lease("connector", 1)
    lease.revoke(0.0)
    with pytest.raises(Fenced):
        terminal.send_under(Permit(lease), stop_at(1, 0.5))
    assert terminal.orders_sent == []
    assert terminal.account_info() is not None  # the turn was given back


def test_a_lease_cannot_be_revoked_while_its_order_is_out(terminal: SimulatedWorker) -> None:
    lease = Lease("connector", 1)
    terminal.add_fault(Fault(call="order_send", effect=Effect.HANG))
    worker = terminal._host._worker
    assert worker is not None
    out = InCall(lambda: terminal.send_under(Permit(lease), stop_at(1, 0.5)))
    until(lambda: worker.notes.get("faults") == ())
    assert lease.revoke(0.0) is False
    terminal.abort()
    assert lease.revoke(30.0) is True
    assert not alive(worker.pid or 0)
    assert out.result() is None


def test_the_permit_is_entered_after_the_wait_for_the_turn(workers: Workers) -> None:
    terminal = workers.connected()
    terminal.add_fault(Fault(call="positions_get", effect=Effect.HANG))
    worker = terminal._host._worker
    assert worker is not None
    first = InCall(terminal.positions_get)
    until(lambda: worker.notes.get("faults") == ())
    permit = Noted(terminal)
    order = InCall(lambda: (terminal.send_under(permit, stop_at(1, 0.5)), outcome(terminal)))
    assert not permit.entered
    terminal.abort()
    assert first.result() is None
    assert order.result() == (None, OutcomeKind.NOT_SENT)
    assert permit.entered


# -- the account, once more, right before the order


def ours(terminal: SimulatedWorker) -> Callable[[], None]:
    account = terminal.account_info()
    assert account is not None
    return account_check(terminal, expected_login=account.login, expected_server=account.server)


def test_another_account_before_the_permit_is_refused_by_it(terminal: SimulatedWorker) -> None:
    check = ours(terminal)
    terminal.switch_account(77, "Elsewhere")
    with pytest.raises(BrokerUnknown):
        terminal.send_under(Permit(Lease("connector", 1), check=check), stop_at(1, 0.5))
    assert terminal.orders_sent == []


@pytest.mark.parametrize(("login", "server"), [(77, "Simulated-Demo"), (5_001_000, "Elsewhere")])
def test_another_account_after_the_permit_is_refused_by_the_worker(
    terminal: SimulatedWorker, login: int, server: str
) -> None:
    check = ours(terminal)

    @contextmanager
    def permit() -> Iterator[None]:
        check()
        terminal.switch_account(login, server)  # a person at the terminal, at just this moment
        yield

    assert terminal.send_under(permit(), stop_at(1, 0.5)) is None
    code, text = terminal.last_error()
    assert code == -10_004
    assert "expected" in text
    assert outcome(terminal) is OutcomeKind.NOT_SENT
    assert terminal.orders_sent == []


def test_an_account_that_cannot_be_read_at_the_order_is_refused(terminal: SimulatedWorker) -> None:
    check = ours(terminal)

    @contextmanager
    def permit() -> Iterator[None]:
        check()
        terminal.add_fault(Fault(call="account_info", effect=Effect.UNKNOWN))
        yield

    assert terminal.send_under(permit(), stop_at(1, 0.5)) is None
    assert outcome(terminal) is OutcomeKind.NOT_SENT
    assert terminal.orders_sent == []


def test_without_a_look_of_the_permit_the_plan_s_account_counts(workers: Workers) -> None:
    terminal = workers.connected(login=5_001_000, server="Simulated-Demo")
    ticket = terminal.open_position("EURUSD", "BUY", 0.1)
    assert terminal.send_under(Noted(terminal), stop_at(ticket, 0.5)) is not None
    terminal.switch_account(77, "Elsewhere")
    assert terminal.send_under(Noted(terminal), stop_at(ticket, 0.6)) is None
    assert outcome(terminal) is OutcomeKind.NOT_SENT


def test_the_look_is_after_the_wait(workers: Workers, tmp_path: Path) -> None:
    """An order that waits in the terminal is looked at when it goes out, not when it came."""
    state = tmp_path / "broker.json"
    terminal = workers.connected(state=state, reload_state=True)
    ticket, check = terminal.open_position("EURUSD", "BUY", 0.1), ours(terminal)
    terminal.add_fault(Fault(call="order_send", effect=Effect.DELAY, seconds=0.5))
    worker = terminal._host._worker
    assert worker is not None

    def log_in_elsewhere() -> None:
        until(lambda: worker.notes.get("faults") == ())
        books = json.loads(state.read_text())
        books["account"]["login"] = 77
        state.write_text(json.dumps(books))

    meanwhile = InCall(log_in_elsewhere)
    assert terminal.send_under(Permit(Lease("c", 1), check=check), stop_at(ticket, 0.5)) is None
    meanwhile.result()
    assert "77" in terminal.last_error()[1]
    assert outcome(terminal) is OutcomeKind.NOT_SENT


def test_an_order_into_a_stopped_process_is_unknown(terminal: SimulatedWorker) -> None:
    permit = Noted(terminal)
    os.kill(permit.pid, signal.SIGSTOP)
    until(lambda: stopped(permit.pid))
    assert terminal.send_under(permit, stop_at(1, 0.5)) is None
    assert outcome(terminal) is OutcomeKind.UNKNOWN
    assert permit.alive_at_the_end is False
