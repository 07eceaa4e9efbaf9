"""Guards as real processes: start, talk over HTTP, kill, look at what is left."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import httpx2

ROOT = Path(__file__).resolve().parents[2]
LOGIN = 5_000_123


def free_port() -> int:
    """Return a port that nobody uses just now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def accepts(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as caller:
        caller.settimeout(0.5)
        return caller.connect_ex(("127.0.0.1", port)) == 0


def broker_file(path: Path, tickets: list[int], login: int = LOGIN) -> Path:
    """Write a simulated broker's books: one BUY of EURUSD a ticket."""
    positions = [
        {
            "ticket": ticket,
            "identifier": ticket,
            "symbol": "EURUSD",
            "type": 0,
            "volume": 0.01,
            "price_open": 1.1,
            "sl": 0.9,
        }
        for ticket in tickets
    ]
    account = {"login": login, "server": "Test-Demo", "balance": 100_000.0}
    path.write_text(json.dumps({"account": account, "positions": positions}), encoding="utf-8")
    return path


class Process:
    """A guard's process, its log, and a client for it."""

    def __init__(self, folder: Path, *flags: str, **environ: str) -> None:
        self.folder = folder
        self.data = folder / "data"
        env = {
            **{k: v for k, v in os.environ.items() if not k.startswith("DTMS_")},
            "DTMS_STATE_DIR": str(folder / "state"),
            "DTMS_ADOPTION": "ignore",
            "PYTHONUNBUFFERED": "1",
            **environ,
        }
        command = [sys.executable, str(ROOT / "run.py"), "run", "--data-dir", str(self.data)]
        self.began = time.monotonic()
        self.popen = subprocess.Popen(
            [*command, *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            cwd=folder,
            text=True,
        )
        self.lines: list[str] = []
        self.said: list[str] = []  # on stdout
        self._readers = [
            threading.Thread(target=self._read, args=(self.popen.stderr, self.lines), daemon=True),
            threading.Thread(target=self._read, args=(self.popen.stdout, self.said), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream: IO[str], lines: list[str]) -> None:
        for line in stream:
            lines.append(line.rstrip("\n"))  # noqa: PERF401 - others look at it meanwhile

    def finish(self) -> None:
        """Read to the end and close the pipes."""
        for reader in self._readers:
            reader.join(5)
        for stream in (self.popen.stdout, self.popen.stderr):
            if stream is not None:
                stream.close()

    @property
    def log(self) -> str:
        """Everything it said so far."""
        return "\n".join(self.lines)

    def until(self, condition: Callable[[], bool], timeout: float = 30.0) -> None:
        """Wait; fail with the log."""
        end = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < end, self.log
            time.sleep(0.02)

    def ready(self) -> Process:
        """Wait until it said `ready`."""
        self.until(lambda: bool(self._url()) or self.popen.poll() is not None)
        assert self._url(), self.log
        self.url = self._url()
        token = (self.data / "token").read_text(encoding="utf-8").strip()
        self.client = httpx2.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=30,
            trust_env=False,
        )
        return self

    def _url(self) -> str:
        found = re.search(r"^ready (http://\S+)$", "\n".join(self.said), re.MULTILINE)
        return found.group(1) if found else ""

    def get(self, path: str) -> tuple[int, Any]:
        """Return status and body."""
        answer = self.client.get(path)
        return answer.status_code, answer.json()

    def post(self, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        """Return status and body."""
        answer = self.client.post(path, json=body or {}, headers=headers)
        return answer.status_code, answer.json()

    def child(self, name: str) -> dict[str, Any]:
        """Return a child's line of the status."""
        line: dict[str, Any] = self.get("/dtms/status")[1]["children"][name]
        return line

    def wait(self, timeout: float = 30.0) -> int:
        """Wait for its end, and return the exit status."""
        status = self.popen.wait(timeout)
        for reader in self._readers:
            reader.join(5)
        return status

    def interrupt(self) -> int:
        """Press Ctrl-C, and return the exit status."""
        self.popen.send_signal(signal.SIGINT)
        return self.wait()

    def kill(self) -> None:
        """Kill it as the machine would."""
        self.popen.kill()
        self.wait()

    def children(self) -> list[int]:
        """Return the pids of its child processes (Linux)."""
        listed = Path(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children")
        return [int(pid) for pid in listed.read_text().split()] if listed.exists() else []
