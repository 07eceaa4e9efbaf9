"""The official package in a worker, by a stand-in that misbehaves as native code can."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from worker_kit import LONG, InCall, Workers, alive, connect, python, until

from defence.errors import StartRefused, TerminalRefused
from terminals.lease import Lease, Permit
from terminals.rows import account_from, position_from, quote_from, terminal_from
from terminals.structs import AccountInfo
from terminals.worker.hosted import WorkerTerminal
from terminals.worker.plan import native_plan

STAND_IN = Path(__file__).parent / "stand_in"
Native = Callable[..., WorkerTerminal]


def executable(folder: Path, behaviour: str) -> Path:
    """Return a terminal for the stand-in, which behaves as its folder is called."""
    place = folder / behaviour
    place.mkdir(exist_ok=True)
    (place / "terminal64.exe").touch()
    return place / "terminal64.exe"


@pytest.fixture
def native(workers: Workers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Native]:
    """Make hosted native terminals that behave as they are called."""
    monkeypatch.syspath_prepend(str(STAND_IN))

    def make(behaviour: str = "", call_timeout: float = LONG, **options: Any) -> WorkerTerminal:
        plan = native_plan(path=executable(tmp_path, behaviour or "well"), **options)
        made = WorkerTerminal(plan, call_timeout=call_timeout, log=workers.log)
        workers.made.append(made)
        return made

    yield make
    assert "MetaTrader5" not in sys.modules  # the guard's process never loads it


def test_the_package_of_another_version_is_read_field_by_field(native: Native) -> None:
    terminal = native()
    assert (terminal.name, terminal.real) == ("native", True)
    assert terminal.initialize() is True
    assert account_from(terminal.account_info()).login == 5
    assert terminal_from(terminal.terminal_info()).build == 5000
    row = (terminal.positions_get() or ())[0]
    assert position_from(row).stop_loss == 1.0
    assert row.unheard_of == "?"  # type: ignore[attr-defined]
    quote = quote_from("EURUSD", terminal.symbol_info_tick("EURUSD"))
    assert quote is not None
    assert (quote.bid, quote.ask) == (1.1, 1.2)
    assert not isinstance(terminal.account_info(), AccountInfo)
    result = terminal.send_under(Permit(Lease("c", 1)), {"action": 6, "position": 7})
    assert result is not None
    assert (result.retcode, result.request.position) == (10009, 7)


def test_a_refused_login_is_told_by_its_code(native: Native) -> None:
    terminal = native("refuses", login=5, password="sesame", server="S")
    assert terminal.initialize() is False
    assert terminal.last_error() == (-6, "Terminal: Authorization failed")
    assert terminal.pid is not None


def test_a_function_that_the_package_lacks_is_an_error_of_its_call(native: Native) -> None:
    terminal = native()
    assert terminal.initialize()
    with pytest.raises(RuntimeError, match="AttributeError"):
        terminal.orders_get()
    assert terminal.positions_get()


def test_without_the_package_the_start_is_refused(workers: Workers) -> None:
    terminal = WorkerTerminal(native_plan(), call_timeout=LONG, log=workers.log)
    workers.made.append(terminal)
    for ask in (terminal.start, terminal.initialize):
        with pytest.raises(StartRefused, match="pip install MetaTrader5"):
            ask()
    assert terminal.pid is None


@pytest.mark.skipif(sys.platform == "win32", reason="sleeps by the C library of POSIX")
def test_a_call_that_holds_the_gil_for_ever_stops_only_its_worker(native: Native) -> None:
    terminal = native("gil", call_timeout=0.5)
    connect(terminal)
    pid = terminal.pid or 0
    out = InCall(lambda: (terminal.positions_get(), terminal.last_error()[0]))
    beats, end = 0, time.monotonic() + 0.4
    while time.monotonic() < end:  # this thread lives on, as all of the guard does
        time.sleep(0.01)
        beats += 1
    assert beats > 5
    assert out.result() == (None, -10_005)
    assert not alive(pid)
    connect(terminal)
    assert terminal.account_info() is not None


@pytest.mark.skipif(sys.platform != "linux", reason="the parent-death signal is Linux's")
def test_it_dies_with_a_killed_guard_also_with_the_gil_held(tmp_path: Path) -> None:
    host = python(
        f"""
import sys, threading, time
sys.path.insert(0, {str(STAND_IN)!r})
from pathlib import Path
from terminals.worker.hosted import WorkerTerminal
from terminals.worker.plan import native_plan
terminal = WorkerTerminal(native_plan(path=Path({str(executable(tmp_path, "gil"))!r})))
assert terminal.initialize()
threading.Thread(target=terminal.positions_get, daemon=True).start()
time.sleep(0.2)
print(terminal.pid, flush=True)
time.sleep(600)
"""
    )
    assert host.stdout is not None
    pid = int(host.stdout.readline())
    assert alive(pid)
    host.kill()
    end = time.monotonic() + 2.0
    while alive(pid):
        assert time.monotonic() < end
        time.sleep(0.005)
    host.communicate()


def test_what_libraries_print_damages_no_frame(workers: Workers, native: Native) -> None:
    terminal = native("says", login=5, password="sesame-open")
    assert terminal.initialize()
    assert terminal.positions_get()
    until(lambda: len([line for line in workers.said if "says:" in line]) >= 2)
    terminal.close()
    until(lambda: any("on standard output, password" in line for line in workers.said))
    said = "\n".join(workers.said)
    for text in ("password ***", "and writes to it", "and complains"):
        assert text in said
    assert "sesame" not in said


def test_what_writes_into_the_pipe_itself_ends_the_worker(workers: Workers, native: Native) -> None:
    terminal = native("garbage")
    assert terminal.initialize()
    assert terminal.positions_get() is None
    code, text = terminal.last_error()
    assert code == -10_002
    assert "damaged" in text
    connect(terminal)
    assert terminal.account_info() is not None


def test_a_row_that_cannot_be_sent_is_an_error_of_its_call(native: Native) -> None:
    terminal = native("odd")
    assert terminal.initialize()
    with pytest.raises(Exception, match="cannot be sent"):
        terminal.positions_get()
    assert terminal.account_info() is not None


@pytest.mark.parametrize(("behaviour", "how"), [("dies", "status 9"), ("crashes", "SIGSEGV")])
def test_one_that_dies_while_connecting(
    workers: Workers, native: Native, behaviour: str, how: str
) -> None:
    if sys.platform == "win32" and behaviour == "crashes":
        pytest.skip("another status there")
    terminal = native(behaviour)
    assert terminal.initialize() is False
    code, text = terminal.last_error()
    assert code == -10_003
    assert how in text
    if behaviour == "crashes":
        until(lambda: any("Fatal Python error" in line for line in workers.said))


def test_the_account_is_looked_at_right_before_the_order(native: Native) -> None:
    terminal = native("other", login=5, server="S")
    assert terminal.initialize()
    permit = Permit(Lease("c", 1))
    assert terminal.send_under(permit, {"action": 6}) is not None  # then somebody logs in elsewhere
    assert terminal.send_under(permit, {"action": 6}) is None
    code, text = terminal.last_error()
    assert code == -10_004
    assert "77" in text


def test_start_may_be_refused_by_a_package_that_does_not_load(
    workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "MetaTrader5").mkdir()
    (tmp_path / "MetaTrader5" / "__init__.py").write_text("raise ImportError('DLL load failed')")
    monkeypatch.syspath_prepend(str(tmp_path))
    terminal = WorkerTerminal(native_plan(), call_timeout=LONG)
    with pytest.raises(TerminalRefused, match="DLL load failed"):
        terminal.start()
    terminal.close()
