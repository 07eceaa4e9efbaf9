"""A host as its author would write it, and a fingerprint of everything that is its own.

Used in process by tests/guard, and by the host program of tests/processes.
"""

from __future__ import annotations

import asyncio
import atexit
import decimal
import faulthandler
import gc
import locale
import logging
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pykka
from loguru import logger

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGCHLD", "SIGPIPE", "SIGALRM")
PATIENCE = 10.0  # seconds


class Counter(pykka.ThreadingActor):
    """An actor of the host that counts what it hears."""

    use_daemon_thread = True

    def __init__(self) -> None:
        super().__init__()
        self.heard = 0

    def on_receive(self, message: object) -> int:
        self.heard += 1
        return self.heard


class Beat:
    """An asyncio loop of the host on a thread of its own, with a task that goes on and on."""

    def __init__(self) -> None:
        self.beats = 0
        self.troubles: list[dict[str, Any]] = []
        self.loop = asyncio.new_event_loop()
        self.loop.set_exception_handler(lambda _, context: self.troubles.append(context))
        self.thread = threading.Thread(target=self._run, name="host-loop", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.create_task(self._beat())
        self.loop.run_forever()

    async def _beat(self) -> None:
        while True:
            self.beats += 1
            await asyncio.sleep(0.005)

    def close(self) -> None:
        async def end() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self.loop).result(PATIENCE)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(PATIENCE)
        self.loop.close()


class Host:
    """Sets everything up in a way of its own; puts it back at the end."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.lines: list[str] = []
        self.troubles: list[object] = []  # what came to a hook of the host's
        self.signals: list[int] = []
        self.said = 0
        self.beat: Beat
        self._undo: list[Callable[[], object]] = []

    def __enter__(self) -> Self:
        self._hooks()
        self._settings()
        if threading.current_thread() is threading.main_thread():
            self._signals()
        self.counters = [Counter.start() for _ in range(3)]
        self.sink = logger.add(
            self.lines.append,
            level="DEBUG",
            format="HOST {level} {extra[host_app]} {message}",
            filter=lambda record: "host_app" in record["extra"],
            catch=False,
        )
        self.beat = Beat()
        self.say()
        self.before = self.fingerprint()
        self.open_before = open_files()
        self.threads_before = set(threading.enumerate())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for counter in self.counters:
            counter.stop(timeout=PATIENCE)
        self.beat.close()
        logger.remove(self.sink)
        for undo in reversed(self._undo):
            undo()

    def _set(self, place: Any, name: str, value: object) -> None:
        old = getattr(place, name)
        self._undo.append(lambda: setattr(place, name, old))
        setattr(place, name, value)

    def _hooks(self) -> None:
        def hook(*what: object) -> None:
            self.troubles.append(what)

        for place, name in (
            (sys, "excepthook"),
            (sys, "unraisablehook"),
            (threading, "excepthook"),
        ):
            self._set(place, name, hook)
        hook_at_exit: Callable[[], None] = lambda: None  # noqa: E731 - a thing of its own
        atexit.register(hook_at_exit)
        self._undo.append(lambda: atexit.unregister(hook_at_exit))

    def _settings(self) -> None:
        caught = warnings.catch_warnings()
        caught.__enter__()
        self._undo.append(lambda: caught.__exit__(None, None, None))
        warnings.filterwarnings("once", message="the host's own")
        context = decimal.getcontext().copy()
        self._undo.append(lambda: decimal.setcontext(context))
        decimal.setcontext(decimal.Context(prec=17, rounding=decimal.ROUND_FLOOR))
        mask = os.umask(0o002)
        self._undo.append(lambda: os.umask(mask))
        here = Path.cwd()
        self._undo.append(lambda: os.chdir(here))
        os.chdir(self.home)
        threshold = gc.get_threshold()
        self._undo.append(lambda: gc.set_threshold(*threshold))
        gc.set_threshold(701, 11, 9)
        interval = sys.getswitchinterval()
        self._undo.append(lambda: sys.setswitchinterval(interval))
        sys.setswitchinterval(0.004)
        limit = sys.getrecursionlimit()
        self._undo.append(lambda: sys.setrecursionlimit(limit))
        sys.setrecursionlimit(limit + 7)
        os.environ["HOSTS_OWN"] = "yes"
        self._undo.append(lambda: os.environ.pop("HOSTS_OWN", None))
        level = logging.getLogger().level
        self._undo.append(lambda: logging.getLogger().setLevel(level))
        logging.getLogger().setLevel(logging.ERROR)
        timeout = socket.getdefaulttimeout()
        self._undo.append(lambda: socket.setdefaulttimeout(timeout))
        socket.setdefaulttimeout(33.0)
        random.seed(7)

    def _signals(self) -> None:
        def note(number: int, _: object) -> None:
            self.signals.append(number)

        for name in SIGNALS:
            number = getattr(signal, name, None)
            if number is None or name in ("SIGPIPE", "SIGCHLD"):
                continue
            old = signal.signal(number, note)
            self._undo.append(lambda number=number, old=old: signal.signal(number, old))

    # -- looking

    def fingerprint(self) -> dict[str, object]:
        """Return all that nobody but the host may change, while the guard is there or gone."""
        root = logging.getLogger()
        return {
            "signals": {name: _handler(name) for name in SIGNALS},
            "blocked": _blocked(),
            "wakeup": _wakeup(),
            "timer": signal.getitimer(signal.ITIMER_REAL) if hasattr(signal, "getitimer") else 0,
            "hooks": (sys.excepthook, sys.unraisablehook, threading.excepthook, sys.displayhook),
            "trace": (sys.gettrace(), sys.getprofile(), threading.gettrace()),
            "streams": (sys.stdin, sys.stdout, sys.stderr),
            "warnings": list(warnings.filters),
            "atexit": atexit._ncallbacks(),
            "locale": locale.setlocale(locale.LC_ALL),
            "decimal": repr(decimal.getcontext()),
            "umask": _umask(),
            "cwd": Path.cwd(),
            "environ": _environ(),
            "gc": (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count(), gc.get_debug()),
            "faulthandler": faulthandler.is_enabled(),
            "switch": sys.getswitchinterval(),
            "recursion": sys.getrecursionlimit(),
            "stack": threading.stack_size(),
            "random": random.getstate(),
            "sockets": socket.getdefaulttimeout(),
            "temp": tempfile.tempdir,
            "path": list(sys.path),
            "logging": (root.level, list(root.handlers), logging.raiseExceptions, root.disabled),
            "sinks": sorted(logger._core.handlers),  # type: ignore[attr-defined]
            "loop policy": asyncio.get_event_loop_policy(),
            "handler of the loop": self.beat.loop.get_exception_handler(),
            "actors": {ref.actor_urn for ref in pykka.ActorRegistry.get_all()},
        }

    def say(self) -> None:
        """Tell and ask the host's own actors; each has heard exactly what was sent."""
        self.said += 1
        for counter in self.counters:
            assert counter.ask("how many?", timeout=PATIENCE) == self.said
        before = len(self.lines)
        logger.bind(host_app="mine").info("line {}", self.said)
        assert self.lines[before:] == [f"HOST INFO mine line {self.said}\n"]

    def untouched(self, when: str = "") -> None:
        """Fail if anything of the host has changed, or does not work any more."""
        now = self.fingerprint()
        names = [name for name in now if now[name] != self.before[name]]
        changed = [
            f"{name}: {str(self.before[name])[:300]} -> {str(now[name])[:300]}" for name in names
        ]
        assert names == [], f"{when}: {changed}"
        assert self.troubles == [], when
        assert self.beat.troubles == [], when
        assert self.signals == [], when
        beats = self.beat.beats
        self.say()
        pykka.ActorRegistry.broadcast("to everybody of the host")
        self.said += 1
        self.say()
        waited = threading.Event()
        for _ in range(1000):
            if self.beat.beats > beats:
                break
            waited.wait(0.005)
        assert self.beat.beats > beats, f"the host's loop stands still {when}"

    def gone(self, when: str = "") -> None:
        """Fail if a thread, a file or a process of the guard is left. Threads have a moment."""
        waited = threading.Event()
        left: set[threading.Thread] = set()
        for _ in range(400):
            left = set(threading.enumerate()) - self.threads_before
            if not left:
                break
            waited.wait(0.01)
        assert left == set(), when
        assert open_files() == self.open_before, when
        assert children() == [], when


def _handler(name: str) -> object:
    number = getattr(signal, name, None)
    return None if number is None else signal.getsignal(number)


def _blocked() -> object:
    mask = getattr(signal, "pthread_sigmask", None)
    return None if mask is None else mask(signal.SIG_BLOCK, [])


def _wakeup() -> int:
    if threading.current_thread() is not threading.main_thread():
        return -1
    found = signal.set_wakeup_fd(-1)
    if found != -1:
        signal.set_wakeup_fd(found)
    return found


def _environ() -> frozenset[int]:
    """Return a mark for each variable, not its value: a failing test prints it."""
    pairs = os.environ.items()
    return frozenset(hash(pair) for pair in pairs if pair[0] != "PYTEST_CURRENT_TEST")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def open_files() -> list[str]:
    """Return what this process has open; nothing where that cannot be seen."""
    folder = Path("/proc/self/fd")
    found = []
    for one in folder.iterdir() if folder.is_dir() else ():
        try:
            found.append(str(one.readlink()))
        except OSError:  # the folder's own, which is closed by now
            continue
    return sorted(found)


def children() -> list[int]:
    """Return the pids of this process's children (Linux)."""
    found: list[int] = []
    for listed in Path("/proc/self/task").glob("*/children"):
        found += [int(pid) for pid in listed.read_text().split()]
    return found


def ours() -> list[str]:
    """Return the names of the guard's threads."""
    return sorted(one.name for one in threading.enumerate() if one.name.startswith("dtms-"))
