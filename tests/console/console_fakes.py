"""A guard, a gateway and a clock that do what a test tells them; and real processes."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any

from actors.clock import SystemClock
from actors.events import EventStream, Kind
from defence.errors import DtmsError
from supervisors.settings import Settings

HOME = Path(__file__).resolve().parents[2]
PATIENCE = 30.0  # seconds for a step of a process; a busy machine is slow


class FakeClock:
    """Seconds that pass only by sleeping; `at` does something when they have passed."""

    def __init__(self) -> None:
        self.now = 100.0
        self._plans: list[tuple[float, Callable[[], None]]] = []

    def __call__(self) -> float:
        return self.now

    def at(self, seconds: float, what: Callable[[], None]) -> None:
        self._plans.append((100.0 + seconds, what))
        self._plans.sort(key=lambda plan: plan[0])

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        while self._plans and self._plans[0][0] <= self.now:
            self._plans.pop(0)[1]()


class FakeGuard:
    """A guard as `run` sees it; writes what is done to it into `deeds`."""

    def __init__(self, settings: Settings, deeds: list[str]) -> None:
        self.settings = settings
        self.events = EventStream(SystemClock())
        self.over = False
        self.died: str | None = None
        self.refusal: DtmsError | None = None
        self.when_started: Callable[[], None] = self.become_ready
        self.when_stopped: Callable[[], None] = lambda: None
        self._deeds = deeds
        self.data_dir = Path("data")

    def start(self, *, block: bool = True) -> FakeGuard:
        assert not block
        self._deeds.append("guard.start")
        self.when_started()
        return self

    def become_ready(self) -> None:
        self.events.publish(Kind.GUARD_READY, active_trades=0)

    def refuse(self, error: DtmsError) -> None:
        self.refusal = error
        self.events.publish(Kind.START_REFUSED, cause=str(error), code=error.code)

    def die(self, cause: str) -> None:
        self.died, self.over = cause, True
        self.events.publish(Kind.DIED, cause=cause)

    def wait_ready(self) -> None:
        if self.refusal is not None:
            raise self.refusal

    def wait(self, timeout: float | None = None) -> str | None:
        assert timeout == 0
        return self.died

    def stop(self) -> None:
        self._deeds.append("guard.stop")
        self.when_stopped()

    def token(self) -> str:
        return "the-token-of-the-guard"

    def status(self) -> dict[str, object]:
        return {"mode": "armed", "paused": None, "reasons": [], "account": None}

    def trades(self, *, timeout: float = 5.0) -> tuple[Any, ...]:
        return ()


class FakeDoor:
    """A gateway as `run` sees it."""

    def __init__(self, deeds: list[str], error: DtmsError | None = None) -> None:
        self.url = "http://127.0.0.1:4711"
        self._deeds = deeds
        self._error = error

    def bind(self, host: str, port: int) -> None:
        self._deeds.append(f"bind {host}:{port}")
        if self._error is not None:
            raise self._error

    def start(self) -> None:
        self._deeds.append("listen")

    def stop(self) -> None:
        self._deeds.append("door.stop")


class Process:
    """A real `run.py`, its two outputs read as they come."""

    def __init__(self, folder: Path, arguments: Iterable[str], more: dict[str, str]) -> None:
        self.folder = folder
        own = {name: value for name, value in os.environ.items() if not name.startswith("DTMS_")}
        state = {"DTMS_STATE_DIR": str(folder / "state"), "PYTHONUTF8": "1"}
        flags = getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0)
        self._child = subprocess.Popen(
            [sys.executable, str(HOME / "run.py"), *arguments],
            cwd=folder,
            env={**own, **state, **more},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            creationflags=flags,
        )
        self._said: queue.Queue[str | None] = queue.Queue()
        self.out: list[str] = []
        self.err: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(stream, lines), daemon=True)
            for stream, lines in ((self._child.stdout, self.out), (self._child.stderr, self.err))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: IO[str], lines: list[str]) -> None:
        for line in stream:
            lines.append(line.rstrip("\n"))
            self._said.put(lines[-1])
        self._said.put(None)

    @property
    def log(self) -> str:
        return "\n".join(self.err)

    def until(self, text: str) -> str:
        """Wait until a line holds `text`, and return it."""
        for line in [*self.out, *self.err]:
            if text in line:
                return line
        while (line_or_end := self._said.get(timeout=PATIENCE)) is not None:
            if text in line_or_end:
                return line_or_end
        raise AssertionError(f"it ended without saying {text!r}:\n{self.log}")

    def ready(self) -> str:
        """Wait until it is ready; return its URL."""
        return self.until("ready http").removeprefix("ready ")

    @property
    def port(self) -> int:
        return int(self.ready().rpartition(":")[2])

    def interrupt(self) -> None:
        """What Ctrl-C does (Ctrl-Break where a single process cannot be sent a Ctrl-C)."""
        ctrl_break = getattr(signal, "CTRL_BREAK_EVENT", signal.SIGINT)
        self._child.send_signal(ctrl_break)

    def terminate(self) -> None:
        self._child.terminate()

    def ended(self) -> int:
        """Wait for the end; return the exit status."""
        status = self._child.wait(PATIENCE)
        for reader in self._readers:
            reader.join(PATIENCE)
        return status

    def end(self) -> None:
        if self._child.poll() is None:
            self._child.kill()
        self.ended()
        for stream in (self._child.stdout, self._child.stderr):
            assert stream is not None
            stream.close()


def start(folder: Path, *arguments: str, **more: str) -> Process:
    """Start `run.py` in `folder`, with its account locks there too."""
    return Process(folder, arguments, more)


class FakeApi:
    """An HTTP server with one answer for everything; keeps what it was asked."""

    def __init__(self, status: int, body: str, kind: str = "application/json") -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.keys: list[str | None] = []  # the header with the token, of each request
        api = self

        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                size = int(self.headers.get("Content-Length", 0))
                sent = self.rfile.read(size)
                api.keys.append(self.headers.get("Authorization"))
                api.asked.append((self.command, self.path, json.loads(sent) if sent else None))
                raw = body.encode()
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            do_GET = do_POST = _answer  # noqa: N815 - the names that http.server calls

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
