"""A worker dies with its guard, harms no host, and shows no secret."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from worker_kit import LONG, ROOT, InCall, Workers, alive, children, connect, python, until

from defence.errors import TerminalRefused
from terminals.sim.faults import Effect, Fault
from terminals.worker import process
from terminals.worker.frames import frame
from terminals.worker.murmur import LINES, WIDTH, Murmur
from terminals.worker.plan import native_plan
from terminals.worker.process import WorkerProcess

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

# A host: it makes a worker, says its process id, and does with it what it is told.
HOST = """
import os, signal, sys, threading, time
from terminals.sim.faults import Effect, Fault
from terminals.worker.office import SimulatedWorker
from terminals.worker.plan import simulated_plan

terminal = SimulatedWorker(simulated_plan(start=1_700_000_000.0, speed=0.0))
def begin():
    while not terminal.initialize():
        time.sleep(0.01)
what = sys.argv[1]
if what == "thread":
    starter = threading.Thread(target=begin)
    starter.start()
    starter.join()
else:
    begin()
if what in ("hang", "gil"):
    terminal.add_fault(Fault(call="positions_get", effect=Effect.HANG))
    threading.Thread(target=terminal.positions_get, daemon=True).start()
    while terminal._host._worker.notes["faults"] != ():
        time.sleep(0.01)
print(terminal.pid, flush=True)
"""


def killed_within(pid: int, seconds: float) -> float:
    """Wait until a process has gone; return how long it took. Fail after `seconds`."""
    began = time.monotonic()
    while alive(pid):
        assert time.monotonic() - began < seconds, "the worker has outlived its guard"
        time.sleep(0.005)
    return time.monotonic() - began


@LINUX
@pytest.mark.parametrize("what", ["idle", "hang", "thread"])
def test_it_dies_with_a_guard_that_is_killed(what: str) -> None:
    host = python(HOST + "time.sleep(600)", what)
    assert host.stdout is not None
    pid = int(host.stdout.readline())
    # Whoever started it may have ended meanwhile: that alone must not be its death.
    time.sleep(0.1)
    assert alive(pid)
    host.kill()
    killed_within(pid, 2.0)
    host.communicate(timeout=LONG)


@LINUX
def test_it_dies_with_a_host_that_just_ends() -> None:
    host = python(HOST, "hang")
    out, err = host.communicate(timeout=LONG)
    assert (host.returncode, err) == (0, "")
    killed_within(int(out), 2.0)


@LINUX
def test_the_end_of_the_pipe_alone_ends_it_while_it_hangs(workers: Workers) -> None:
    """Where the system has no parent-death signal, the pipe's end is what there is."""
    terminal = workers.connected()
    worker, pid = terminal._host._worker, terminal.pid or 0
    assert worker is not None
    terminal.add_fault(Fault(call="positions_get", effect=Effect.HANG))
    out = InCall(lambda: (terminal.positions_get(), terminal.last_error()[0]))
    until(lambda: worker.notes.get("faults") == ())
    worker.hang_up()
    killed_within(pid, LONG)
    assert out.result() == (None, -10_002)
    assert not worker.killed


def boot(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    """The child by itself, as the guard starts it."""
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", process._BOOT, json.dumps(process._roots()), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


@LINUX
def test_who_has_lost_its_guard_before_it_began_ends_at_once() -> None:
    child = boot("1" if os.getpid() != 1 else "2")
    assert child.communicate(timeout=LONG) == (b"", b"")
    assert child.returncode == 70


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "at most"),
        (b"\x00\x00\x00\x01\xc1", "no message"),
        (frame(("no", "call")), "no call"),
        (frame((1, "account_info", (), {}, None)), "before the first message"),
    ],
)
def test_damage_ends_it_with_a_clear_message(said: bytes, why: str) -> None:
    child = boot(str(os.getpid()))
    assert child.stdin is not None
    child.stdin.write(said)
    child.stdin.flush()
    assert child.wait(LONG) == 65  # by itself: the pipe is still open
    out, err = child.communicate()
    assert out == b""
    assert why in err.decode()
    assert "Traceback" not in err.decode()


def test_a_first_message_that_is_cut_ends_it_quietly() -> None:
    child = boot(str(os.getpid()))
    assert child.communicate(frame((0, "hello", "simulated", {}))[:9], timeout=LONG) == (b"", b"")
    assert child.returncode == 0


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_the_signals_of_the_guard_do_not_end_it(workers: Workers) -> None:
    terminal = workers.connected()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        os.kill(terminal.pid or 0, number)
    assert terminal.positions_get() == ()
    assert os.getsid(terminal.pid or 0) != os.getsid(0)


@LINUX
def test_no_secret_is_where_others_look(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DTMS_PASSWORD", "sesame-1")
    monkeypatch.setenv("DTMS_TOKEN", "sesame-2")
    terminal = workers.make(login=5_001_000, server="Simulated-Demo", password="sesame-3")
    connect(terminal)
    place = Path(f"/proc/{terminal.pid}")
    shown = [
        (place / "cmdline").read_text(),
        (place / "environ").read_text(),
        repr(terminal),
        repr(terminal._plan),
        str(terminal.__dict__),
        "\n".join(workers.said),
    ]
    assert "PATH=" in shown[1]
    assert all("sesame" not in text for text in shown)
    # What a library prints of it is hidden as well.
    lines: list[str] = []
    murmur = Murmur(lambda _, text: lines.append(text), terminal._plan.secrets)
    murmur._line(b"login with sesame-3 failed")
    assert "sesame" not in lines[0] + murmur.last
    assert "login with *** failed" in lines[0]


def test_an_environment_and_a_folder_of_traps(
    workers: Workers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("json", "msgpack", "terminals", "defence", "sitecustomize", "queue", "numpy"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a trap')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("PYTHONSTARTUP", str(tmp_path / "json.py"))
    monkeypatch.setenv("PYTHONHOME", str(tmp_path))
    assert workers.connected().positions_get() == ()


def test_without_an_interpreter_it_says_so(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    with pytest.raises(TerminalRefused, match="--no-isolate"):
        workers.make().start()


def test_an_interpreter_that_cannot_be_started(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(ROOT / "no-such-python"))
    terminal = workers.make()
    assert terminal.initialize() is False
    assert "could not be started" in terminal.last_error()[1]
    monkeypatch.undo()
    connect(terminal)


@pytest.mark.skipif(sys.platform == "win32", reason="it has no SIGPIPE")
def test_a_host_with_the_system_s_sigpipe_outlives_a_dead_worker() -> None:
    host = python(
        HOST
        + """
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
worker = terminal._host._worker
process = worker._process
os.kill(terminal.pid, signal.SIGKILL)
worker.gone.wait()
reader, writer = os.pipe()
os.close(reader)
from terminals.worker.process import _write
print("sent", _write(writer, memoryview(b"x")), flush=True)
print("blocked", signal.SIGPIPE in signal.pthread_sigmask(signal.SIG_BLOCK, ()), flush=True)
os.write(writer, b"x")
""",
        "idle",
    )
    out, _ = host.communicate(timeout=LONG)
    assert out.split()[1:] == ["sent", "False", "blocked", "False"]
    assert host.returncode == -signal.SIGPIPE  # the host's own writes are the host's


def forked(work: Callable[[], object]) -> int:
    """Return the id of a fork's child that works; it neither hangs nor goes on as the tests."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # a time limit of the tests has its own
            signal.alarm(int(LONG))
            work()
            status = 0
        finally:
            os._exit(status)
    return pid


@LINUX
def test_a_fork_of_the_host_harms_nothing(workers: Workers) -> None:
    terminal = workers.connected()

    def ended() -> None:
        terminal.close()
        terminal.abort()

    pid = forked(ended)
    assert os.waitpid(pid, 0)[1] == 0
    assert terminal.positions_get() == ()


@LINUX
def test_its_end_shows_also_while_a_fork_holds_the_pipes(workers: Workers) -> None:
    terminal = workers.connected()
    pid = forked(lambda: time.sleep(600))
    try:
        os.kill(terminal.pid or 0, signal.SIGKILL)
        until(lambda: terminal.pid is None)
        connect(terminal)
        assert terminal.positions_get() == ()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@LINUX
def test_a_host_that_reaps_all_children_itself(workers: Workers) -> None:
    terminal = workers.connected()
    gone = terminal.pid or 0
    os.kill(gone, signal.SIGKILL)
    try:
        while os.waitpid(-1, 0)[0] != gone:
            pass
    except ChildProcessError:
        pass  # ours was first
    until(lambda: terminal.pid is None)
    connect(terminal)
    terminal.close()
    assert gone not in children()


def test_what_it_says_is_bounded() -> None:
    lines: list[tuple[str, str]] = []
    now = [0.0]
    murmur = Murmur(lambda level, text: lines.append((level, text)), (), lambda: now[0])
    for nth in range(3 * LINES):
        murmur._line(b"%d " % nth + b"x" * 10_000)
    assert len(lines) == LINES
    assert all(len(text) < WIDTH + 40 for _, text in lines)
    now[0] = 61.0
    murmur._line(b"again")
    assert lines[-2][1] == f"the worker said {2 * LINES} lines more"
    assert lines[-1][1].endswith("again")
    assert murmur.last == "; it said: again"


def test_a_line_without_an_end_is_read_to_its_end() -> None:
    reader, writer = os.pipe()
    lines: list[str] = []
    murmur = Murmur(lambda _, text: lines.append(text))
    out = InCall(lambda: murmur.drain(os.fdopen(reader, "rb", 0)))
    for _ in range(100):
        os.write(writer, b"y" * 50_000)
    os.close(writer)
    out.result()
    assert len(lines) == 1
    assert len(lines[0]) < WIDTH + 40


def test_a_log_that_fails_is_the_host_s() -> None:
    def log(_level: str, _text: str) -> None:
        raise ZeroDivisionError

    Murmur(log)._line(b"said")


@pytest.mark.parametrize(("polls", "nth"), [(True, 1), (False, 1), (False, 2)])
def test_without_threads_no_process_is_left(
    workers: Workers, monkeypatch: pytest.MonkeyPatch, polls: bool, nth: int
) -> None:
    monkeypatch.setattr(process, "CAN_POLL", polls)
    before, starts, begin = children(), [0], threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name.startswith("dtms-worker-"):
            starts[0] += 1
            if starts[0] == nth:
                raise RuntimeError("can't start new thread")
        begin(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    terminal = workers.make()
    assert terminal.initialize() is False
    assert "can't start new thread" in terminal.last_error()[1]
    assert children() <= before
    connect(terminal)


def test_one_process_is_killed_before_it_was_started() -> None:
    worker = WorkerProcess(native_plan(), lambda _level, _text: None)
    worker.kill("at once")
    assert worker.gone.wait(LONG)
    assert worker.why == "at once"
