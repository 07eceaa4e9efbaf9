"""Real mt5linux servers in processes of their own, with the simulated package on their path."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from terminals import GeneratedMarket, SimulatedTerminal
from terminals.bridge.place import Place
from terminals.bridge.terminal import BridgeTerminal
from terminals.bridge.wire import HEAD

ROOT = Path(__file__).resolve().parents[2]
START = 1_700_000_000.0
LONG = 60.0  # seconds that a loaded machine may take for what is usually at once
LOGIN, SERVER = 5_000_123, "Simulated-Demo"

# The package under the server. What can be made to happen in a call, and when, is in `spoilt`.
PACKAGE = f"""
import os, threading
from pathlib import Path
from terminals import GeneratedMarket, SimulatedTerminal
from terminals.module import CONSTANTS, TYPES, VERSION, module_functions

__version__ = VERSION
globals().update(CONSTANTS)
globals().update(TYPES)
state = os.environ.get("KIT_STATE")
terminal = SimulatedTerminal(
    market=GeneratedMarket(1, {START}),
    now=lambda: {START},
    speed=0.0,
    step=0.001,
    demo=not state,
    state=None if state is None else Path(state),
)
spoilt, seen, released = {{}}, [], threading.Event()
functions = module_functions(terminal)


def happen(what):
    if what == "hang":
        released.wait()
    elif what == "die":
        os._exit(1)
    elif what == "raise":
        raise RuntimeError("it broke: " + repr(seen[-1]))
    elif what == "junk":
        terminal.last_error = lambda: "junk"


def spoil(name, call):
    def spoiled(*unnamed, **named):
        seen.append((name, unnamed, named))
        when, what = spoilt.pop(name, ("", ""))
        if when == "before":
            happen(what)
        answer = call(*unnamed, **named)
        if when == "after":
            happen(what)
        return answer

    return spoiled


for name, call in functions.items():
    globals()[name] = call if name == "last_error" else spoil(name, call)
"""


class Server:
    """`python -m mt5linux` on a port of its own, which it keeps when it is started again."""

    def __init__(self, folder: Path, state: Path | None = None, package: str = PACKAGE) -> None:
        self.folder = folder
        self.port = free_port()
        self.log = folder / "server.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._state = state
        (folder / "MetaTrader5").mkdir(parents=True)
        (folder / "MetaTrader5" / "__init__.py").write_text(package)
        self._hands: Any = None

    @property
    def place(self) -> Place:
        """Where it is."""
        return Place(port=self.port)

    def start(self) -> Server:
        """Start it, or start it again."""
        environment = {k: v for k, v in os.environ.items() if not k.startswith("DTMS_")}
        environment["PYTHONPATH"] = os.pathsep.join((str(self.folder), str(ROOT)))
        if self._state is not None:
            environment["KIT_STATE"] = str(self._state)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "mt5linux", "--host", "127.0.0.1", "-p", str(self.port)],
                env=environment,
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )
        until(self._listens)
        return self

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log.read_text()
        with socket.socket() as caller:
            caller.settimeout(0.5)
            return caller.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        """Kill it as a crash does."""
        self.let_go()
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def let_go(self) -> None:
        """Take the test's hands out of it."""
        if self._hands is not None:
            self._hands.close()
            self._hands = None

    @property
    def package(self) -> Any:
        """The package under it, over a connection of RPyC's own: the test's hands in there."""
        if self._hands is None:
            import rpyc

            self._hands = rpyc.classic.connect("127.0.0.1", self.port)
        return self._hands.modules["MetaTrader5"]

    def spoil(self, call: str, when: str, what: str) -> None:
        """Let a call go wrong once: `before` or `after` it is done; hang, die, raise."""
        self.package.spoilt[call] = (when, what)


class Bridges:
    """Makes terminals and servers, and ends them all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self._made: list[BridgeTerminal] = []
        self._servers: list[Server] = []

    def server(self, **options: Any) -> Server:
        """Return a server that listens."""
        made = Server(self.folder / f"server-{len(self._servers)}", **options)
        self._servers.append(made)
        return made.start()

    def terminal(self, place: Place, call_timeout: float = LONG, **options: Any) -> BridgeTerminal:
        """Return a terminal that is not connected."""
        made = BridgeTerminal(place, call_timeout=call_timeout, log=self.log, **options)
        self._made.append(made)
        return made

    def connected(self, server: Server, **options: Any) -> BridgeTerminal:
        """Return one that is connected."""
        made = self.terminal(server.place, **options)
        assert made.initialize(), made.last_error()
        return made

    @contextmanager
    def visit(self) -> Iterator[None]:
        """End the terminals that a test makes, and take its hands out of the servers."""
        before = len(self._made)
        try:
            yield
        finally:
            for one in self._made[before:]:
                one.close()
            del self._made[before:]
            for server in self._servers:
                server.let_go()

    def log(self, level: str, text: str) -> None:
        """Keep what was logged."""
        self.said.append(f"{level} {text}")

    def close(self) -> None:
        """End all."""
        for one in self._made:
            one.close()
        for server in self._servers:
            server.kill()


def twin(**options: Any) -> SimulatedTerminal:
    """Return the same terminal as under a server, in this process, connected."""
    made = SimulatedTerminal(
        market=GeneratedMarket(1, START), now=lambda: START, speed=0.0, step=0.001, **options
    )
    assert made.initialize()
    return made


def compressed(data: bytes, cut: int = 0) -> bytes:
    """Return a frame as RPyC sends long ones; without its last bytes if `cut`."""
    body = zlib.compress(data)
    body = body[: len(body) - cut]
    return HEAD.pack(len(body), 1) + body + b"\n"


def free_port() -> int:
    """Return a port that nobody uses just now."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def until(condition: Callable[[], object], timeout: float = LONG) -> None:
    """Wait; fail if it does not come."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it did not come to that in time"
        time.sleep(0.01)


class InCall:
    """A call on a thread of its own, and what came of it."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._found: list[Any] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._found.append(self._call())

    def result(self, timeout: float = LONG) -> Any:
        """Return its answer."""
        self._thread.join(timeout)
        assert self._found, "the call did not return"
        return self._found[0]
