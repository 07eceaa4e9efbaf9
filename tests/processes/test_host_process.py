"""A host in a process of its own: its signals, its hooks, its exit and its exit status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

PROGRAM = Path(__file__).with_name("host_program.py")
MOMENT = 5.0  # seconds that an exit may take; a busy machine is slow, a hang is for ever
POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows sends no such signals")


@dataclass
class Ended:
    """How a host ended."""

    status: int
    said: list[str]
    errors: str
    took: float  # seconds from the blow to the end


class Running:
    """A host, and what it has said so far."""

    def __init__(self, folder: Path, mode: str) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith("DTMS_")}
        self.popen = subprocess.Popen(
            [sys.executable, str(PROGRAM), mode, str(folder)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=env,
            cwd=folder,
        )
        self.said: list[str] = []
        self.errors: list[str] = []
        self._readers = [
            threading.Thread(target=_read, args=pair, daemon=True)
            for pair in ((self.popen.stdout, self.said), (self.popen.stderr, self.errors))
        ]
        for reader in self._readers:
            reader.start()

    def until(self, condition: Callable[[], bool], timeout: float = 30.0) -> None:
        """Wait; fail with what it wrote."""
        end = time.monotonic() + timeout
        while not condition() and self.popen.poll() is None:
            assert time.monotonic() < end, "".join(self.errors)[-3000:]
            time.sleep(0.005)

    def ended(self) -> Ended:
        """Wait for its end."""
        began = time.monotonic()
        status = self.popen.wait(60)
        took = time.monotonic() - began
        self.close()
        return Ended(status, self.said, "\n".join(self.errors), took)

    def close(self) -> None:
        """End it, if it has not, and its pipes."""
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait(10)
        for reader in self._readers:
            reader.join(10)
        for stream in (self.popen.stdout, self.popen.stderr):
            if stream is not None:
                stream.close()


def _read(stream: IO[str], lines: list[str]) -> None:
    for line in stream:
        lines.append(line.rstrip("\n"))  # noqa: PERF401 - others look at it meanwhile


class Hosts:
    """Starts hosts in one folder; none outlives its test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: list[Running] = []

    def start(self, mode: str) -> Running:
        self._open.append(Running(self.folder, mode))
        return self._open[-1]

    def run(self, mode: str, *blows: int, until: str = "ready") -> Ended:
        """Run one to its end; the signals are sent a moment apart when it says `until`."""
        host = self.start(mode)
        host.until(lambda: until in host.said)
        for nth, blow in enumerate(blows):
            if nth:
                time.sleep(0.1)
            host.popen.send_signal(blow)
        return host.ended()

    def close(self) -> None:
        for host in self._open:
            host.close()


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    """Hosts in the test's folder."""
    made = Hosts(tmp_path)
    yield made
    made.close()


def clean(ended: Ended) -> None:
    """Nothing but log lines on standard error: no traceback at exit, no fatal error."""
    assert "Fatal Python error" not in ended.errors, ended.errors[-3000:]
    assert "Exception ignored" not in ended.errors, ended.errors[-3000:]
    assert "ResourceWarning" not in ended.errors, ended.errors[-3000:]


def test_everything_of_the_hosts_is_as_before(hosts: Hosts) -> None:
    ended = hosts.run("fingerprint", until="host: at exit")
    assert (ended.status, ended.said) == (0, ["host: untouched", "host: at exit"]), ended.errors


def test_a_host_that_forgets_its_guard_ends_at_once_with_its_own_status(
    hosts: Hosts, rounds: Callable[..., int]
) -> None:
    """Under a storm of kills: every thread is in the middle of something, and logs."""
    for _ in range(rounds(ci=2, long=100)):
        ended = hosts.run("forgets it")
        assert ended.status == 7, ended.errors[-3000:]
        assert ended.said == ["ready", "host: at exit"]
        assert ended.took < MOMENT
        clean(ended)


def test_a_host_that_stops_it_at_exit(hosts: Hosts) -> None:
    ended = hosts.run("stop at exit")
    assert ended.status == 7, ended.errors[-3000:]
    assert ended.said == ["ready", "host: stopped at exit True", "host: at exit"]
    clean(ended)


def test_a_request_that_hangs_does_not_keep_the_host(hosts: Hosts) -> None:
    ended = hosts.run("a request hangs")
    assert ended.status == 7, ended.errors[-3000:]
    assert ended.took < MOMENT, f"it took {ended.took:.1f} s"
    assert ended.said == ["ready", "host: at exit"]


def test_an_error_of_the_hosts_goes_to_its_own_hook(hosts: Hosts) -> None:
    ended = hosts.run("an error")
    assert ended.status == 1
    assert ended.said == ["ready", "host: hook the host's own", "host: at exit"]
    assert ended.took < MOMENT
    clean(ended)


@POSIX
def test_the_hosts_handlers_get_their_signals(hosts: Hosts) -> None:
    ended = hosts.run("signals", signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM)
    assert ended.status == 0, ended.errors[-3000:]
    assert ended.said == ["ready", "host: heard True", "host: True", "host: at exit"]


@POSIX
def test_a_handler_that_stops_the_guard(hosts: Hosts) -> None:
    ended = hosts.run("stop in a handler", signal.SIGTERM)
    assert ended.status == 5, ended.errors[-3000:]
    assert ended.said == ["ready", "host: stopped in the handler", "host: at exit"]
    clean(ended)


@POSIX
def test_a_handler_that_stops_the_guard_while_the_handler_stops_it(hosts: Hosts) -> None:
    ended = hosts.run("stop in a handler", *[signal.SIGTERM] * 3)
    assert ended.status == 5, ended.errors[-3000:]
    assert "host: stopped in the handler" in ended.said
    assert ended.took < 15.0
    clean(ended)


@POSIX
def test_a_ctrl_c_while_it_starts_leaves_nothing(hosts: Hosts, tmp_path: Path) -> None:
    faults = [{"call": "initialize", "effect": "unknown", "count": 1_000_000}]
    (tmp_path / "faults.json").write_text(json.dumps(faults))
    host = hosts.start("ctrl-c in start")
    host.until(lambda: any("connect" in line for line in host.errors) or _begun(tmp_path))
    time.sleep(0.5)
    host.popen.send_signal(signal.SIGINT)
    ended = host.ended()
    assert ended.status == 130, ended.errors[-3000:]
    assert ended.said == ["starting", "host: interrupted, left []", "host: at exit"]
    clean(ended)


def _begun(folder: Path) -> bool:
    return (folder / "data" / "audit" / "data.mdb").exists()


@POSIX
def test_a_ctrl_c_while_it_waits_is_the_hosts(hosts: Hosts) -> None:
    ended = hosts.run("ctrl-c in wait", signal.SIGINT)
    assert ended.status == 130, ended.errors[-3000:]
    assert "host: interrupted, the guard is ready: True" in ended.said
    clean(ended)


@POSIX
def test_a_ctrl_c_while_it_stops_is_the_hosts_and_it_stops_all_the_same(hosts: Hosts) -> None:
    ended = hosts.run("ctrl-c in stop", signal.SIGINT, until="stopping")
    assert ended.status == 130, ended.errors[-3000:]
    assert "host: interrupted, over: True, left []" in ended.said
    clean(ended)


@POSIX
def test_a_host_that_ignores_its_children(hosts: Hosts) -> None:
    """SIGCHLD ignored: nobody learns how a child process ended; stores and backups work."""
    ended = hosts.run("children are ignored")
    assert ended.status == 0, ended.errors[-3000:]
    assert "host: True" in ended.said
