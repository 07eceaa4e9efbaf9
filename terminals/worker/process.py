"""One child process, from its start to its end; a worker is one of these after another.

Two or three threads belong to it, and end with it. One starts the process, waits for
its end and reaps it: it must be the one that starts it, because Linux sends
the parent-death signal when the starting THREAD ends (ties.py). One reads what
the child prints; a third reads answers, where whoever asks cannot (hearing.py).
"""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeAlias

from defence.errors import Invalid, TerminalRefused
from terminals.worker.frames import HEAD_SIZE, frame
from terminals.worker.goods import check_note
from terminals.worker.hearing import (
    CAN_POLL,
    DRAIN,
    Answer,
    EndedError,
    Hearing,
    Polled,
    Threaded,
)
from terminals.worker.murmur import Murmur
from terminals.worker.plan import Plan

Log: TypeAlias = Callable[[str, str], None]  # level as loguru names it, text without secrets

# -c and not -m: with -I nothing of the host is imported (its folder, its
# PYTHON* variables, its site customisation), so the packages are named here.
_BOOT: Final = (
    "import sys, json; sys.path += json.loads(sys.argv[1]); "
    "from terminals.worker.child import main; sys.exit(main(sys.argv[2:]))"
)
_LIBRARIES: Final = ("msgpack", "numpy", "MetaTrader5")
# Bytes of a frame. No more than any system's pipe holds (4 KB on Windows, and on
# Linux for a user who has many), and one is under way at most: no write waits.
_REQUEST_LIMIT: Final = 4096


class WorkerProcess:
    """One child, its pipes and its threads. Starts at once; `gone` when it has been reaped."""

    def __init__(self, plan: Plan, log: Log) -> None:
        """Start it, in the background. Raises TerminalRefused if no child can be started here."""
        if not available():
            raise TerminalRefused(
                "no child process can be started: this program has no Python interpreter",
                field="isolate",
                value=True,
                remedy="use --no-isolate, or run DTMS with an interpreter",
            )
        self.pid: int | None = None
        self.gone = threading.Event()  # reaped, or never started
        self.why = ""  # it was ended, or has ended by itself
        self.notes: dict[str, Any] = {}  # what the child told without being asked
        self.killed = False
        self.ended_at = 0.0
        self._exited = threading.Event()  # it runs no more; not reaped yet
        self.began_at = time.monotonic()
        self._plan = plan
        self._murmur = Murmur(log, plan.secrets)
        self._hearing: Hearing | None = None
        self._log_reader: threading.Thread | None = None
        self._begun = threading.Event()  # there is somebody to hear, or never will be
        self._asked = {0}  # numbers without an answer; the first message has 0
        self._lock = threading.Lock()  # of the process's life; held for moments only
        self._pipe = threading.Lock()  # of the pipe to it; a write may wait, so `kill` needs it not
        self._process: subprocess.Popen[bytes] | None = None
        self._job: int | None = None  # of Windows
        self._owner = os.getpid()
        threading.Thread(target=self._live, name="dtms-worker", daemon=True).start()

    # -- used by the caller, one at a time

    def send(self, message: Sequence[Any]) -> bool:
        """Send a message; False if no byte of it has left. Raises Invalid if it cannot be one.

        True says that it may have arrived.
        """
        data = memoryview(frame(message, _REQUEST_LIMIT - HEAD_SIZE))
        with self._pipe:
            process = self._process
            if process is None or process.stdin is None or process.stdin.closed:
                return False
            if self._hearing is None or self._hearing.deaf():
                return False
            self._asked.add(message[0])
            return _write(process.stdin.fileno(), data)

    def answer(self, number: int, until: float) -> Answer | None:
        """Return the answer with this number, None if there is none `until` (monotonic).

        Raises EndedError if the process has ended.
        """
        if self._hearing is None and not self._begun.wait(max(0.0, until - time.monotonic())):
            return None
        if self._hearing is None:
            raise EndedError(self.why)
        while True:
            found = self._hearing.get(until)
            if found is None or found[0] == number:  # another answers a call that was given up
                return found

    # -- used by anybody

    def kill(self, why: str) -> None:
        """End it now; from any thread, and without waiting."""
        if os.getpid() != self._owner:
            return  # a fork's child: the process is its parent's, and the lock may be held for ever
        with self._lock:
            self.why = self.why or why
            self.killed = True
            process = self._process
            # The lock and `gone`: its number may be somebody else's once it is reaped.
            if process is not None and not self.gone.is_set():
                with suppress(OSError):  # it has just ended by itself
                    process.kill()

    def runs_no_more(self, within: float) -> bool:
        """Whether it has ended, after so many seconds at most."""
        return self._exited.wait(within)

    def take(self, message: Any) -> Answer | None:
        """Return an answer that was asked for; keep a note. Raises Invalid for anything else."""
        if not isinstance(message, tuple) or not message:
            raise Invalid(f"holds no answer: {message!r:.80}", field="frame")
        if message[0] is None and len(message) == 3:
            # One place a name, of two that there are: notes cannot pile up.
            self.notes[check_note(message[1], message[2])] = message[2]
            return None
        if len(message) == 5 and type(message[0]) is int and message[0] in self._asked:
            self._asked.discard(message[0])  # one answer a question: they cannot either
            return message
        raise Invalid(f"holds no answer: {message!r:.80}", field="frame")

    def hang_up(self) -> None:
        """Close the pipe to it, which asks it to end; not under a write that waits."""
        if self._process is not None:
            self._close_pipe(self._process)

    def _close_pipe(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdin is not None and self._pipe.acquire(timeout=DRAIN):
            try:
                with suppress(OSError):
                    process.stdin.close()
            finally:
                self._pipe.release()

    # -- its threads

    def _live(self) -> None:
        """Start it, wait until it ends, reap it. Whatever fails, its end is told."""
        try:
            process = self._spawn()
        except Exception as error:  # noqa: BLE001 - whoever waits is told, whatever it was
            with self._lock:
                self._over(f"it could not be started: {error}")
            return
        try:
            self._use(process)
        except Exception as error:  # noqa: BLE001 - no thread, no descriptor, no frame to be had
            self._give_up(process, error)
        finally:
            self._see_off(process)

    def _use(self, process: subprocess.Popen[bytes]) -> None:
        """Listen to it, let others use it, and send the first message."""
        if sys.platform == "win32":
            self._job = self._tie(int(process._handle))  # type: ignore[attr-defined] # noqa: SLF001
        stdout, stderr = process.stdout, process.stderr
        assert stdout is not None and stderr is not None  # noqa: S101, PT018 - both are pipes
        self._hearing = (Polled if CAN_POLL else Threaded)(stdout, self)
        murmur = threading.Thread(
            target=self._murmur.drain, args=(stderr,), name="dtms-worker-log", daemon=True
        )
        murmur.start()
        self._log_reader = murmur
        with self._lock:
            self._process = process
            self.pid = process.pid
            if self.killed:
                process.kill()
        self._begun.set()
        self._greet()

    def _give_up(self, process: subprocess.Popen[bytes], error: Exception) -> None:
        """Kill it, and close what nobody reads."""
        with self._lock:
            self.why = self.why or f"it could not be used: {error}"
            with suppress(OSError):  # it has just ended by itself
                process.kill()
        if self._hearing is None and process.stdout is not None:
            process.stdout.close()
        if self._log_reader is None and process.stderr is not None:
            process.stderr.close()

    def _see_off(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for its end, and for what it still said; reap it; tell."""
        _await_exit(process)
        self._exited.set()
        if self._hearing is not None:
            self._hearing.close()
        if self._log_reader is not None:
            self._log_reader.join(DRAIN)
        if sys.platform == "win32" and self._job is not None:
            from terminals.worker.job import untie

            untie(self._job)
        self._close_pipe(process)
        with self._lock:
            status = process.wait()
            self._over(_how(status) + self._murmur.last)
        if self._hearing is not None:
            self._hearing.over()

    def _over(self, how: str) -> None:
        """Let everybody see that it is gone; who sees it sees why."""
        self.why = self.why or how
        self.ended_at = time.monotonic()
        self.gone.set()
        self._begun.set()

    def _spawn(self) -> subprocess.Popen[bytes]:
        python = [sys.executable, "-I", "-S", "-B", "-X", "utf8", "-c", _BOOT]
        return subprocess.Popen(  # noqa: S603 - our own interpreter and our own text
            # JSON is plain ASCII: a path in any encoding reaches the child unchanged
            [*python, json.dumps(_roots()), str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            close_fds=True,
            env={k: v for k, v in os.environ.items() if not k.upper().startswith("DTMS_")},
            # a session of its own: a Ctrl-C in the guard's window is the guard's
            start_new_session=sys.platform != "win32",
            creationflags=_windows_flags(),
        )

    def _tie(self, handle: int) -> int | None:
        """Windows: let the system end it with us; without that the pipe's end still does."""
        if sys.platform == "win32":
            from terminals.worker.job import tie

            try:
                return tie(handle)
            except OSError as error:
                self._murmur.say("WARNING", f"the worker is in no job object: {error}")
        return None

    def _greet(self) -> None:
        """Send the first message. From this thread: it may be large, and a write may wait."""
        hello = memoryview(frame((0, "hello", self._plan.kind, dict(self._plan.options))))
        with self._lock:
            process = self._process
            if process is None or process.stdin is None or process.stdin.closed:
                return
            # A descriptor of its own: nobody can close it under a write that waits.
            pipe = os.dup(process.stdin.fileno())
        try:
            _write(pipe, hello)
        finally:
            os.close(pipe)


def _await_exit(process: subprocess.Popen[bytes]) -> None:
    """Wait until it runs no more, without reaping it where that can be told apart.

    Until it is reaped its number is nobody else's, and `kill` is safe.
    """
    if sys.platform != "win32" and hasattr(os, "waitid"):
        with suppress(OSError):  # the host reaps its children itself
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    else:
        process.wait()


def available() -> bool:
    """Whether a child can be started: not in a frozen program, whose executable is itself."""
    return bool(sys.executable) and not getattr(sys, "frozen", False)


def _write(pipe: int, data: memoryview) -> bool:
    """Write all of it; False if nothing was taken. A part that was taken may have arrived.

    A write to a process that has ended must be an error, and never the end of
    the host: Python ignores SIGPIPE, but a host may have given it back to the
    system, as command lines do.
    """
    if sys.platform != "win32" and signal.getsignal(signal.SIGPIPE) is signal.SIG_DFL:
        with _sigpipe_held():
            return _write_all(pipe, data)
    return _write_all(pipe, data)


def _write_all(pipe: int, data: memoryview) -> bool:
    size = len(data)
    try:
        while data:
            data = data[os.write(pipe, data) :]
    except OSError:
        return len(data) < size
    return True


@contextmanager
def _sigpipe_held() -> Iterator[None]:
    """Hold SIGPIPE back on this thread, and take the one that a write of ours brings."""
    if sys.platform == "win32":  # it has no such signal
        yield
    else:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGPIPE})
        try:
            yield
        finally:
            if signal.SIGPIPE not in before:
                if signal.SIGPIPE in signal.sigpending():
                    signal.sigwait({signal.SIGPIPE})
                signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _roots() -> list[str]:
    """Return the folders from which our packages and the libraries come. Nothing is imported."""
    roots = [str(Path(__file__).resolve().parents[2])]
    for name in _LIBRARIES:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            continue  # the child says what it misses
        if spec is not None:
            places = spec.submodule_search_locations or [spec.origin or ""]
            roots += [str(Path(place).resolve().parent) for place in places if place]
    return list(dict.fromkeys(roots))


def _windows_flags() -> int:
    if sys.platform == "win32":
        return subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP
    else:  # noqa: RET505 - seen from Windows, a line after this would be unreachable
        return 0


def _how(status: int) -> str:
    if status < 0:
        try:
            return f"it was ended by {signal.Signals(-status).name}"
        except ValueError:
            return f"it was ended by signal {-status}"
    return f"it ended with status {status}" if status < 256 else f"it ended with {status:#x}"
