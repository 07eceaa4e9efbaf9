"""A guard with a hosted terminal: it outlives it, knows what it does not know, and ends it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from loguru import logger
from worker_kit import LONG, ROOT, Workers, alive, children, until, worker_of

from actors.events import Event, Kind
from actors.simulated import SimulatedRuntime
from defence.errors import Invalid, StartRefused, TerminalRefused
from supervisors import Guard, Settings, Trade, house
from supervisors.terminal_choice import make_terminal
from terminals.sim.faults import Effect, Fault, plain_fault
from terminals.worker import process
from terminals.worker.hosted import WorkerTerminal
from terminals.worker.office import SimulatedWorker

Make = Callable[..., tuple[Guard, SimulatedWorker]]


@pytest.fixture(autouse=True)
def empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No dtms.toml of the developer's may be read."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def make(tmp_path: Path, workers: Workers) -> Iterator[Make]:
    """Start guards whose terminal is hosted, with a market that stands still."""
    guards: list[Guard] = []

    def start(call_timeout: float = 0.5, **options: Any) -> tuple[Guard, SimulatedWorker]:
        settings: dict[str, Any] = {
            "data_dir": tmp_path / "data",
            "state_dir": tmp_path / "state",
            "interval": 0.05,
            "check_every": 0.05,
            "backoff_first": 0.01,
            "quote_stale_after": 1e9,
            "adoption": "ignore",
            **options,
        }
        terminal = workers.make(call_timeout=call_timeout)
        guard = Guard(Settings(**settings), terminal=terminal)
        guards.append(guard)
        return guard.start(), terminal

    yield start
    for guard in guards:
        guard.stop()


def seen(guard: Guard, *wanted: Kind, child: str | None = None) -> list[Event]:
    return [
        event
        for event in guard.events.since()
        if event.kind in wanted and child in (None, event.child)
    ]


def lost_and_back(guard: Guard, times: int) -> bool:
    return len(seen(guard, Kind.TERMINAL_BACK)) >= times and guard.health().ready


def test_a_read_that_hangs_is_an_outage_and_nobody_s_fault(make: Make) -> None:
    guard, terminal = make()
    first = terminal.pid
    terminal.add_fault(Fault(call="positions_get", effect=Effect.HANG))
    until(lambda: lost_and_back(guard, 1))
    assert terminal.pid != first
    assert terminal.restarts == 1
    assert [event.facts["reason"] for event in seen(guard, Kind.TERMINAL_LOST)]
    assert seen(guard, Kind.CHARGED, Kind.FENCED, Kind.LEAKED) == []
    cycles = len(seen(guard, Kind.CYCLE))
    until(lambda: len(seen(guard, Kind.CYCLE)) > cycles + 2)


def test_kills_of_the_worker_again_and_again(make: Make, rounds: Callable[..., int]) -> None:
    guard, terminal = make(call_timeout=LONG / 2)
    ticket = terminal.open_position("EURUSD", "BUY", 0.1)
    guard.register(Trade(ticket=ticket), timeout=LONG)
    for nth in range(1, rounds(ci=2, long=100) + 1):
        os.kill(terminal.pid or 0, signal.SIGKILL)
        until(lambda nth=nth: lost_and_back(guard, nth))
    assert [one.ticket for one in guard.trades(timeout=LONG)] == [ticket]
    assert seen(guard, Kind.CHARGED, Kind.FENCED) == []


@pytest.mark.parametrize("how", ["deadline", "kill"])
def test_an_order_in_flight_is_unknown_until_the_books_tell(make: Make, how: str) -> None:
    guard, terminal = make(call_timeout=0.5 if how == "deadline" else LONG / 2)
    terminal.set_price("EURUSD", 1.0999, 1.1000)
    ticket = terminal.open_position("EURUSD", "BUY", 0.2, sl=1.09)
    guard.register(Trade(ticket=ticket), timeout=LONG)
    # The broker does it, and the worker never comes back to say so.
    terminal.add_fault(Fault(call="order_send", effect=Effect.HANG, when="after"))
    worker = terminal._host._worker
    assert worker is not None
    terminal.set_price("EURUSD", 1.0945, 1.0946)
    if how == "kill":
        until(lambda: worker.notes.get("faults") == ())
        # The fault is told before the broker does it, so its books are asked as well.
        books = Path(terminal._folder or "") / "broker.json"
        until(lambda: [one["sl"] for one in json.loads(books.read_text())["positions"]] > [1.09])
        os.kill(worker.pid or 0, signal.SIGKILL)
    until(lambda: seen(guard, Kind.OUTCOME))
    first = seen(guard, Kind.OUTCOME)[0]
    assert first.facts["outcome"] == "unknown"
    assert ("IPC timeout" if how == "deadline" else "IPC recv failed") in str(first.facts["detail"])
    until(lambda: any(e.facts["outcome"] == "done" for e in seen(guard, Kind.OUTCOME)))
    until(lambda: guard.health().ready)
    stop = (terminal.positions_get(ticket=ticket) or ())[0].sl
    assert stop > 1.09
    until(lambda: guard.trade(ticket, timeout=LONG).stop_loss == pytest.approx(stop))
    assert len(seen(guard, Kind.INTENT)) == 1
    assert terminal.orders_sent == []  # of the new worker: it was never sent again


def test_a_connector_that_hangs_is_freed_by_ending_its_worker(make: Make) -> None:
    """A terminal whose own deadline is too long: supervision aborts it."""
    guard, terminal = make(call_timeout=LONG, hang_after=0.5)
    threads = threading.active_count()
    terminal.add_fault(Fault(call="positions_get", effect=Effect.HANG))
    pid = terminal.pid or 0
    until(lambda: seen(guard, Kind.FENCED, child="connector"))
    until(lambda: not alive(pid))
    until(lambda: terminal.restarts == 1 and guard.health().ready)
    until(lambda: threading.active_count() <= threads + 1)


def test_stopping_while_a_call_hangs_ends_the_worker(make: Make) -> None:
    guard, terminal = make(call_timeout=LONG, stop_timeout=0.3)
    before = children()
    pid = terminal.pid or 0
    terminal.add_fault(Fault(call="positions_get", effect=Effect.HANG, count=None))
    worker = terminal._host._worker
    assert worker is not None
    until(lambda: "faults" in worker.notes and len(seen(guard, Kind.SNAPSHOT)) >= 1)
    guard.stop()
    assert not alive(pid)
    assert children() < before
    assert guard.over


# -- settings


def test_native_is_hosted_unless_told_and_simulated_only_when_told() -> None:
    assert [Settings(terminal=kind).isolated for kind in ("simulated", "native")] == [False, True]
    assert not Settings(terminal="native", isolate=False).isolated
    assert Settings(isolate=True).isolated


def test_calls_are_cut_before_their_connector_is_judged() -> None:
    assert Settings().worker_timeout == 9.0
    assert Settings(hang_after=3.0).worker_timeout == 0.9
    assert Settings(hang_after=300.0).worker_timeout == 20.0
    assert Settings(call_timeout=5.0).worker_timeout == 5.0
    assert Settings(call_timeout=9.0, isolate=True).worker_timeout == 9.0
    assert Settings(call_timeout=0.9, hang_after=3.0, isolate=True).worker_timeout == 0.9
    for value in (9.1, 14.0, 30.0):
        with pytest.raises(Invalid) as caught:
            Settings(call_timeout=value, isolate=True)
        assert caught.value.field == "call_timeout"
        assert "at most 9, three tenths of hang_after" in str(caught.value)
    assert Settings(call_timeout=30.0).worker_timeout == 30.0  # nothing is hosted


def test_a_terminal_that_is_slow_to_connect_is_no_hang_of_the_connector(make: Make) -> None:
    """One call nearly too slow, and the next one too slow: an outage, and no charge."""
    limit = Settings(hang_after=4.0).worker_timeout
    guard, terminal = make(call_timeout=limit, hang_after=4.0)
    slow = [
        Fault(call="terminal_info", effect=Effect.DELAY, seconds=0.75 * limit),
        Fault(call="account_info", effect=Effect.HANG),
    ]
    options = {**terminal._plan.options, "faults": [plain_fault(one) for one in slow]}
    terminal._plan = replace(terminal._plan, options=options)
    os.kill(terminal.pid or 0, signal.SIGKILL)
    until(lambda: terminal.restarts == 2 and lost_and_back(guard, 1))
    assert seen(guard, Kind.CHARGED, Kind.FENCED, Kind.LEAKED) == []


# -- a guard that stops while its worker starts


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers that never come up."""
    monkeypatch.setattr(process, "_BOOT", "import time; time.sleep(600)")


@pytest.mark.usefixtures("deaf")
def test_stopping_while_the_worker_starts_ends_it(tmp_path: Path) -> None:
    before, places = children(), {"data_dir": tmp_path / "data", "state_dir": tmp_path / "state"}
    guard = Guard(Settings(isolate=True, stop_timeout=0.3, **places))
    guard.start(block=False)
    until(lambda: children() > before)
    (pid,) = children() - before
    guard.stop()
    assert not alive(pid)
    assert children() <= before
    assert guard.over


@pytest.mark.parametrize("when", ["chosen", "published"])
def test_a_guard_that_stops_before_its_worker_has_a_process_starts_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """The stop comes exactly between two steps of the start: it wins in both places."""
    before, reached, goes_on = children(), threading.Event(), threading.Event()
    name = {"chosen": "choose_terminal", "published": "start_terminal"}[when]
    real: Callable[..., Any] = getattr(house, name)
    failed: list[BaseException] = []

    def held(*arguments: Any) -> Any:
        made = real(*arguments) if when == "chosen" else None
        reached.set()
        assert goes_on.wait(LONG)
        try:
            return made if when == "chosen" else real(*arguments)
        except BaseException as error:
            failed.append(error)
            raise

    monkeypatch.setattr(house, name, held)
    settings = Settings(
        isolate=True,
        stop_timeout=0.1,
        data_dir=tmp_path / "data",
        state_dir=tmp_path / "state",
    )
    guard = Guard(settings)
    guard.start(block=False)
    assert reached.wait(LONG)
    guard.stop()
    terminal = guard._house._terminal
    goes_on.set()
    until(lambda: not [one for one in threading.enumerate() if "connector" in one.name])
    assert children() <= before
    if when == "published":
        assert isinstance(terminal, WorkerTerminal)
        assert [type(error) for error in failed] == [TerminalRefused]


@pytest.fixture
def chosen(tmp_path: Path) -> Iterator[Callable[..., SimulatedWorker]]:
    """Make the terminal that settings ask for."""
    from actors.threads import ThreadRuntime

    runtime, made = ThreadRuntime(), []

    def choose(**options: Any) -> SimulatedWorker:
        terminal = make_terminal(Settings(isolate=True, **options), runtime)
        assert isinstance(terminal, SimulatedWorker)
        made.append(terminal)
        return terminal

    yield choose
    for one in made:
        one.close()
    runtime.close()


def test_everything_of_the_simulation_passes_through(
    chosen: Callable[..., SimulatedWorker], tmp_path: Path
) -> None:
    faults = tmp_path / "faults.json"
    faults.write_text('[{"call": "orders_get", "effect": "unknown", "error": [-10002, "lost"]}]')
    prices = tmp_path / "EURUSD.csv"
    rows = "".join(f"2024-01-02 00:{at:02d}:00,1.1,1.2,1.0,1.1,5\n" for at in range(30))
    prices.write_text("time,open,high,low,close,tick_volume\n" + rows)
    state = tmp_path / "broker.json"
    state.write_text('{"account": {"login": 42, "server": "Mine", "balance": 7}}')
    terminal = chosen(
        sim_faults=faults, prices=(prices,), sim_state=state, speed=0.0, login=42, server="Mine"
    )
    assert terminal.initialize()
    account = terminal.account_info()
    assert account is not None
    assert (account.login, account.balance) == (42, 7.0)
    assert terminal.orders_get() is None
    assert terminal.last_error() == (-10_002, "lost")
    assert terminal.symbol_info("EURUSD") is not None
    assert terminal.symbol_info("GBPUSD") is None
    assert terminal._host.call_timeout == 9.0


def test_what_becomes_of_a_worker_is_logged_in_the_connector_s_name(
    chosen: Callable[..., SimulatedWorker],
) -> None:
    said: list[tuple[Any, str]] = []
    sink = logger.add(
        lambda message: said.append((message.record["extra"].get("child"), str(message)))
    )
    try:
        terminal = chosen()
        assert any(who == "connector" and f"{terminal.pid}" in text for who, text in said)
    finally:
        logger.remove(sink)


def test_virtual_time_hosts_nobody(tmp_path: Path) -> None:
    with pytest.raises(Invalid) as caught:
        make_terminal(Settings(isolate=True), SimulatedRuntime(0))
    assert caught.value.field == "isolate"


def test_a_terminal_that_cannot_be_had_refuses_the_start(tmp_path: Path) -> None:
    before = children()
    settings = Settings(terminal="native", data_dir=tmp_path / "data", state_dir=tmp_path / "state")
    with pytest.raises(StartRefused, match="MetaTrader5"):
        Guard(settings).start()
    assert children() <= before


def test_it_can_be_aborted_by_supervision() -> None:
    from terminals.protocol import Abortable

    assert issubclass(WorkerTerminal, Abortable)


# -- real processes


class Run:
    """`python run.py --isolate` in a group of its own, as in a terminal's window."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.popen = subprocess.Popen(
            [
                *(sys.executable, str(ROOT / "run.py"), "run", "--isolate", "--port", "0"),
                *("--data-dir", str(folder / "data"), "--interval", "0.2", *flags),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**os.environ, "DTMS_STATE_DIR": str(folder / "state"), "PYTHONUNBUFFERED": "1"},
            start_new_session=True,
        )
        assert self.popen.stdout is not None
        self.said = self.popen.stdout.readline()
        if not re.match(r"ready http://", self.said):
            self.popen.kill()
            raise AssertionError(self.popen.communicate()[1])
        self.worker = worker_of(self.popen.pid)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_group_stops_in_order(tmp_path: Path, number: int) -> None:
    run = Run(tmp_path)
    assert alive(run.worker)
    os.killpg(run.popen.pid, number)
    os.kill(run.worker, number)  # a service manager's reaches every process of the service
    _, log = run.popen.communicate(timeout=LONG)
    assert run.popen.returncode == 0, log
    assert "WARNING" not in log, log
    assert "ERROR" not in log, log
    assert log.rstrip().endswith("stopped")
    assert not alive(run.worker)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_no_worker_outlives_a_killed_guard(tmp_path: Path, rounds: Callable[..., int]) -> None:
    for _ in range(rounds(ci=1, long=20)):
        run = Run(tmp_path)
        assert alive(run.worker)
        run.popen.kill()
        run.popen.communicate(timeout=LONG)
        until(lambda run=run: not alive(run.worker), 2.0)
