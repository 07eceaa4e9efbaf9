"""What the tests of the shared broker have in common: a broker here, one in a process, programs."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import msgpack  # type: ignore[import-untyped]  # it has no stubs

from terminals.module import module_functions
from terminals.shared.address import Address
from terminals.shared.module import PackageTerminal
from terminals.shared.proof import challenged, check_welcome, hello, new_token, nonce
from terminals.shared.remote import RemoteTerminal
from terminals.shared.server import BrokerServer, Limits
from terminals.shared.terminal import SharedTerminal
from terminals.sim.generated import GeneratedMarket
from terminals.worker.frames import Frames, frame

ROOT = Path(__file__).resolve().parents[2]
AS_MODULE = ROOT / "terminals" / "as_module"
START = 1_700_000_000.0
LONG = 60.0  # seconds that a loaded machine may take for what is usually at once


def until(condition: Callable[[], object], timeout: float = LONG) -> None:
    """Wait; fail if it does not come."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it did not come to that in time"
        time.sleep(0.01)


def buy(volume: float = 0.1, symbol: str = "EURUSD", **more: Any) -> dict[str, Any]:
    """Return a market order."""
    return {"action": 1, "symbol": symbol, "volume": volume, "type": 0, "type_filling": 1, **more}


def descriptors() -> int:
    """How many files this process has open (Linux)."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the listing's own is counted alike


def of_clients() -> list[threading.Thread]:
    """Return the broker's threads that have not ended; a client is forgotten a moment earlier."""
    return [each for each in threading.enumerate() if each.name == "dtms-broker-client"]


def in_fork(work: Callable[[], object]) -> bool:
    """Whether a fork's child finds that it works. It never outlives the test, or goes on as it."""
    pid = os.fork()
    if pid == 0:
        works = False
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # a time limit of the tests has its own
            signal.alarm(20)
            works = bool(work())
        finally:
            os._exit(0 if works else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


class InCall:
    """A call on a thread of its own, and what came of it."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._answers: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread = threading.Thread(
            target=lambda: self._answers.put(call()), daemon=True, name="in-call"
        )
        self._thread.start()

    @property
    def over(self) -> bool:
        """Whether it has returned."""
        return not self._thread.is_alive()

    def result(self) -> Any:
        """Return its answer."""
        return self._answers.get(timeout=LONG)


class Here:
    """A broker in this process whose market moves by a millisecond a look."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.token = new_token()
        self.environ: dict[str, str] = {}
        self._open: list[Any] = []
        self.terminal = SharedTerminal(
            market=GeneratedMarket(1, START), now=lambda: START, speed=0.0, step=0.001
        )
        self.serve()

    def serve(self, *, limits: Limits | None = None, office: bool = True, port: int = 0) -> None:
        """Serve, anew if it does already."""
        if hasattr(self, "server"):
            self.server.close()
        self.server = BrokerServer(
            self.terminal, self.token, port=port, office=office, limits=limits, log=self._note
        )
        self.server.start()
        self.environ.update(
            DTMS_BROKER=str(self.server.address), DTMS_BROKER_TOKEN=self.server.address.token
        )

    def _note(self, level: str, text: str) -> None:
        self.said.append(f"{level} {text}")

    def remote(self, *, connected: bool = True, **options: Any) -> RemoteTerminal:
        """Return a guard's terminal."""
        options = {"call_timeout": LONG, **options}
        made = RemoteTerminal(lambda: self.server.address, log=self._note, **options)
        self._open.append(made)
        if connected:
            assert made.initialize(), made.last_error()
        return made

    def bot(self, *, connected: bool = True) -> Any:
        """Return the functions of the package, as a program would have them."""
        terminal = PackageTerminal(self.environ)
        self._open.append(terminal)
        functions = Functions(module_functions(terminal))
        if connected:
            assert functions.initialize(), functions.last_error()
        return functions

    def stranger(self) -> Stranger:
        """Return a bare connection that has not greeted."""
        made = Stranger(self.server.address)
        self._open.append(made)
        return made

    def close(self) -> None:
        """End all."""
        for one in self._open:
            (one.shutdown if isinstance(one, PackageTerminal) else one.close)()
        self.server.close()
        self.terminal.close()


class Functions:
    """The functions as attributes; unlike in a class of their own they could not bind anyway."""

    def __init__(self, functions: Mapping[str, Any]) -> None:
        self.__dict__.update(functions)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


class Stranger:
    """A connection that speaks bytes and frames, right or wrong."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.line = socket.create_connection((address.host, address.port), LONG)
        self.frames = Frames()
        self.messages: list[Any] = []

    def say(self, message: Any) -> None:
        """Send a message as a frame."""
        self.line.sendall(frame(message))

    def raw(self, data: bytes) -> None:
        """Send bytes."""
        self.line.sendall(data)

    def hear(self) -> Any:
        """Return the next message, None at the end."""
        while not self.messages:
            try:
                piece = self.line.recv(65_536)
            except ConnectionError:
                return None
            if not piece:
                return None
            self.messages += self.frames.feed(piece)
        return self.messages.pop(0)

    def greet(self, token: str | None = None) -> Any:
        """Prove a token; return the broker's answer."""
        theirs, mine = challenged(self.hear()), nonce()
        self.say(hello(token or self.address.token, theirs, mine))
        answer = self.hear()
        if answer is not None and answer[1]:
            check_welcome(self.address.token, theirs, mine, answer[2])
        return answer

    def close(self) -> None:
        """Hang up."""
        self.line.close()


def bare(body: bytes) -> bytes:
    """Return a frame of any bytes."""
    return struct.pack(">I", len(body)) + body


def packed(value: Any) -> bytes:
    """Return a value as msgpack."""
    data: bytes = msgpack.packb(value)
    return data


# -- processes


class Program:
    """A process whose output is read as it comes."""

    def __init__(self, command: list[str], cwd: Path, environ: Mapping[str, str]) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("DTMS_")}
        kept.pop("PYTHONPATH", None)
        self.popen = subprocess.Popen(
            command,
            cwd=cwd,
            env={**kept, "PYTHONUNBUFFERED": "1", **environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []
        self.lines: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=pair, daemon=True)
            for pair in ((self.popen.stdout, self.said), (self.popen.stderr, self.lines))
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream: IO[str], lines: list[str]) -> None:
        for line in stream:
            lines.append(line.rstrip("\n"))  # noqa: PERF401 - others look at it meanwhile

    @property
    def log(self) -> str:
        """What it said."""
        return "\n".join([*self.said, *self.lines])

    def until(self, condition: Callable[[], object]) -> None:
        """Wait; fail with the log, or when it has ended."""
        end = time.monotonic() + LONG
        while not condition():
            assert self.popen.poll() is None, self.log
            assert time.monotonic() < end, self.log
            time.sleep(0.01)

    def ended(self) -> int:
        """Wait for its end, and return the exit status."""
        status = self.popen.wait(LONG)
        for reader in self._readers:
            reader.join(5)
        return status

    def kill(self) -> None:
        """Kill it as the machine would."""
        self.popen.kill()
        self.ended()

    def interrupt(self) -> int:
        """Press Ctrl-C, and return the exit status."""
        self.popen.send_signal(signal.SIGINT)
        return self.ended()

    def close(self) -> None:
        """End it, and close its pipes."""
        if self.popen.poll() is None:
            self.popen.kill()
        self.ended()
        for stream in (self.popen.stdin, self.popen.stdout, self.popen.stderr):
            if stream is not None:
                stream.close()


# Answers one line of Python after another, so that a test can say what the bot does next.
BOT = """
import sys
import MetaTrader5 as mt5
def plain(value):
    if hasattr(value, "_asdict"):
        return {name: plain(each) for name, each in value._asdict().items()}
    if isinstance(value, (tuple, list)):
        return [plain(each) for each in value]
    return value
import json
print("imported")
for line in sys.stdin:
    print("= " + json.dumps(plain(eval(line))))
"""


class Bot(Program):
    """A program that imports MetaTrader5 and does what it is told."""

    def __init__(self, folder: Path, environ: Mapping[str, str], text: str = BOT) -> None:
        path = {"PYTHONPATH": str(AS_MODULE), **environ}
        super().__init__([sys.executable, "-W", "error", "-c", text], folder, path)
        self._heard = 0

    def tell(self, line: str) -> None:
        """Have it evaluate a line; the answer may come later."""
        assert self.popen.stdin is not None
        self.popen.stdin.write(line + "\n")
        self.popen.stdin.flush()

    def heard(self) -> Any:
        """Return its next answer."""

        def answers() -> list[str]:
            return [one for one in self.said if one.startswith("= ")]

        self.until(lambda: len(answers()) > self._heard)
        self._heard += 1
        return json.loads(answers()[self._heard - 1][2:])

    def ask(self, line: str) -> Any:
        """Have it evaluate a line, and return the answer."""
        self.tell(line)
        return self.heard()


class Programs:
    """A broker's process, its file, and the programs that use it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "broker.json"
        self.state = folder / "books.json"
        self._made: list[Any] = []

    def broker(self, *flags: str, wait: bool = True) -> Program:
        """Start a broker whose account is kept in a file, and whose market stands still."""
        words = [
            "--broker",
            str(self.file),
            "--sim-state",
            str(self.state),
            "--chaos",
            "--speed",
            "0.001",
            *flags,
        ]
        made = self._run("broker", *words)
        if wait:
            made.until(lambda: any(line.startswith("export DTMS_BROKER") for line in made.said))
        return made

    def guard(self, *flags: str, **environ: str) -> Program:
        """Start a guard beside the bots; return it when it is ready."""
        words = ["--broker", str(self.file), "--data-dir", str(self.folder / "data")]
        words += ["--state-dir", str(self.folder / "state"), "--port", "0", "--interval", "0.1"]
        words += ["--check-every", "0.2", "--quote-stale-after", "1000000"]
        made = self._run("run", *words, *flags, **environ)
        made.until(lambda: re.search(r"^ready http", "\n".join(made.said), re.MULTILINE))
        return made

    def _run(self, command: str, *words: str, **environ: str) -> Program:
        # With an end of its own, should the tests be killed.
        words = ("--duration", "300", *words)
        line = [sys.executable, "-W", "error", str(ROOT / "run.py"), command, *words]
        made = Program(line, self.folder, environ)
        self._made.append(made)
        return made

    def bot(self, *, connected: bool = True, **environ: str) -> Bot:
        """Start a bot."""
        made = Bot(self.folder, {"DTMS_BROKER": str(self.file), **environ})
        self._made.append(made)
        made.until(lambda: "imported" in made.said)
        if connected:
            assert made.ask("mt5.initialize()") is True
        return made

    def office(self) -> RemoteTerminal:
        """Return the broker's back office."""
        from terminals.shared.address import read

        made = RemoteTerminal(lambda: read(self.file), call_timeout=LONG)
        self._made.append(made)
        assert made.initialize(), made.last_error()
        return made

    def close(self) -> None:
        """End all, the broker last."""
        for one in reversed(self._made):
            one.close()
