"""The conversation with a worker: turns, deadlines, deaths and new beginnings.

Kept apart from what a terminal is: here are only calls by name, and what
`last_error` says of one that was cut short.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Protocol

from defence.errors import DtmsError, Invalid, TerminalRefused
from terminals import constants as mt5
from terminals.worker.goods import Unpacking, error_of, last_error_of
from terminals.worker.hearing import EndedError
from terminals.worker.parting import Parting
from terminals.worker.plan import Plan
from terminals.worker.process import Log, WorkerProcess

# Seconds; three calls in a row, as connecting makes, are over before the 30 after
# which the guard calls its Connector hung.
CALL_TIMEOUT: Final = 9.0
CONNECT_TIMEOUT: Final = 70.0  # seconds; above the package's own 60
START_WAIT: Final = 20.0  # seconds for an interpreter to come up; below the 30 of a child's start
CLOSE_WAIT: Final = 2.0
DEATH_WAIT: Final = 5.0  # seconds for a killed process to be gone

SUCCESS: Final = (mt5.RES_S_OK, "Success")
_INIT: Final = mt5.RES_E_INTERNAL_FAIL_INIT
_NO_IPC: Final = mt5.RES_E_INTERNAL_FAIL_CONNECT
_ORDER: Final = "order_send"
_BOOLEAN: Final = ("initialize", "shutdown", "symbol_select")  # they fail with False, not None
_LOST: Final = {
    mt5.RES_E_INTERNAL_FAIL_TIMEOUT: "IPC timeout",
    mt5.RES_E_INTERNAL_FAIL_RECEIVE: "IPC recv failed",
}

Expected = tuple[int | None, str | None]  # login and server; None accepts any


@dataclass(frozen=True, slots=True)
class _Awaited:
    """An answer that may take longer than one call may: of the start, or of connecting."""

    number: int
    until: float
    what: str


class Peer(Protocol):
    """Who answers: a worker's process, or a connection; see `WorkerProcess` for what each does."""

    pid: int | None
    gone: threading.Event
    why: str
    notes: dict[str, Any]
    killed: bool
    began_at: float
    ended_at: float

    def send(self, message: Sequence[Any]) -> bool:
        """Send a message; False if no byte of it has left."""

    def answer(self, number: int, until: float) -> tuple[Any, ...] | None:
        """Return an answer, None if there is none yet. Raises EndedError."""

    def kill(self, why: str) -> None:
        """End it now, from any thread."""

    def hang_up(self) -> None:
        """Ask it to end, by closing what leads to it."""


class Host:
    """Asks one worker after another. Every call takes the turn; `abort` and `close` do not."""

    def __init__(
        self,
        plan: Callable[[], Plan],
        *,
        call_timeout: float,
        connect_timeout: float,
        log: Log | None,
        begun: Callable[[], None],
        ended: Callable[[Mapping[str, Any]], None],
        spawn: Callable[[Plan, Log], Peer] = WorkerProcess,
        noun: str = "worker",
        parting: Parting | None = None,
    ) -> None:
        """Start nothing yet. Raises Invalid for a time that is not above 0.

        `plan` says what the next worker is to host; `begun` is called when one
        has its terminal, `ended` with the notes of one that is gone. `spawn`
        makes the next worker, `noun` is what messages call it, and `parting`
        how long one waits after another that died.
        """
        for name, value in (("call_timeout", call_timeout), ("connect_timeout", connect_timeout)):
            if not value > 0:
                raise Invalid("must be seconds above 0", field=name, value=value)
        self.call_timeout = call_timeout
        # Re-entrant: a permit looks at the account before the order that holds the turn.
        self.turn = threading.RLock()
        self.started = 0
        self._connect_timeout = max(connect_timeout, call_timeout)
        self._plan = plan
        self._log = log
        self._on_begun = begun
        self._on_ended = ended
        self._spawner = spawn
        self._noun = noun
        self._worker: Peer | None = None
        self._awaited: _Awaited | None = None
        self._unpacking = Unpacking()
        self._parting = Parting() if parting is None else parting
        self._numbers = 0
        self._errors = threading.local()
        self._newest_error: tuple[int, str] = SUCCESS
        self._closed = False
        self._owner = os.getpid()

    # -- looking

    @property
    def pid(self) -> int | None:
        """The worker's process id, None if there is none just now."""
        worker = self._worker
        return None if worker is None or worker.gone.is_set() else worker.pid

    @property
    def connecting(self) -> bool:
        """Whether a start, or a connection, is under way: the next `initialize` waits on for it."""
        return self._awaited is not None

    def last_error(self) -> tuple[int, str]:
        """Return how this thread's newest call ended, any thread's if it has made none."""
        found: tuple[int, str] = getattr(self._errors, "newest", self._newest_error)
        return found

    def note_error(self, code: int, text: str) -> None:
        """Say how this thread's newest call ended."""
        self._errors.newest = self._newest_error = (code, text)

    # -- one call

    def exchange(
        self,
        call: str,
        args: tuple[Any, ...] = (),
        named: Mapping[str, Any] | None = None,
        *,
        expected: Expected | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Do a call and return its answer; None or False, and `last_error`, without one.

        Raises what the terminal raised. When it returns or raises, an order
        either has its answer or the process that had it is gone.
        """
        with self.turn:
            worker, failed = self._worker, False if call in _BOOLEAN else None
            if worker is None or worker.gone.is_set() or self._awaited is not None:
                still = "" if self._awaited is None else f": still {self._awaited.what}"
                return self._fail(failed, _NO_IPC, f"No IPC connection{still}")
            limit = self.call_timeout if timeout is None else timeout
            self._numbers += 1
            message = (self._numbers, call, args, dict(named or {}), expected)
            answer, over, why = None, False, f"interrupted in {call}"
            try:
                if not worker.send(message):
                    over = True
                    return self._fail(failed, _NO_IPC, "No IPC connection")
                answer = worker.answer(self._numbers, time.monotonic() + limit)
                over, why = answer is not None, f"no answer to {call} within {limit:g} s"
            except Invalid as error:
                over = True
                return self._fail(failed, mt5.RES_E_INVALID_PARAMS, f"Invalid argument: {error}")
            except EndedError:
                over = True
                return self._lost(worker, failed, call, mt5.RES_E_INTERNAL_FAIL_RECEIVE)
            finally:
                # Also after an interrupt: nothing of a call may happen once its caller goes on.
                if not over:
                    worker.kill(why)
                    if not _surely_gone(worker, call):
                        self._say("ERROR", f"the terminal's worker {worker.pid} does not die")
            if answer is None:
                return self._lost(worker, failed, call, mt5.RES_E_INTERNAL_FAIL_TIMEOUT)
            return self._taken(worker, call, answer)

    def _taken(self, worker: Peer, call: str, answer: tuple[Any, ...]) -> Any:
        """Return what an answer says. Raises what the terminal raised, or Invalid for damage."""
        _, ok, value, error, shape = answer
        found: Any = None
        raised: Exception | None = None
        try:
            code, text = last_error_of(error)
            if shape is not None:  # also with an error: the worker tells them only once
                self._unpacking.learn(call, shape)
            if ok:
                found = self._unpacking.unpack(call, value)
            else:
                raised = error_of(value)
        except Invalid as damage:
            worker.kill(f"its answer to {call} is damaged: {damage}")
            self.note_error(mt5.RES_E_INTERNAL_FAIL_RECEIVE, f"IPC recv failed: {damage}")
            raise
        self.note_error(code, text)
        if raised is not None:
            raise raised
        return found

    def _lost(self, worker: Peer, failed: Any, call: str, code: int) -> Any:
        """Answer a call whose worker has ended or was killed: nobody knows what became of it."""
        self._bury(worker)
        return self._fail(
            failed, code, f"{_LOST[code]}: the {self._noun} ended in {call}: {worker.why}"
        )

    def _fail(self, failed: Any, code: int, text: str) -> Any:
        self.note_error(code, text)
        return failed

    # -- starting and connecting

    def start(self) -> None:
        """Start a worker if there is none; see `WorkerTerminal.start`."""
        with self.turn:
            # Not `call_timeout`, which may be above what the start of a child may take.
            if self._begun(time.monotonic() + START_WAIT):
                return
            code, text = self.last_error()
            raise TerminalRefused(
                f"the terminal's {self._noun} does not start: {text} ({code})",
                field="terminal",
                value=self._plan().kind,
                remedy="see the log for what it said",
            )

    def initialize(self) -> bool:
        """Start a worker if there is none, and connect; see `WorkerTerminal.initialize`."""
        with self.turn:
            patience = time.monotonic() + self.call_timeout
            return self._begun(patience) and self._connected(patience)

    def _begun(self, patience: float) -> bool:
        """Whether there is a worker with its terminal; start one, and wait until `patience`."""
        if self._closed:
            return bool(self._fail(False, _INIT, "IPC initialize failed, terminal closed"))
        worker = self._worker
        if worker is not None and worker.killed:
            # Two of them must not be at one account.
            worker.gone.wait(max(0.0, patience - time.monotonic()))
            if not worker.gone.is_set():
                text = f"IPC initialize failed, the old {self._noun} does not die"
                return bool(self._fail(False, _INIT, text))
        if worker is not None and worker.gone.is_set():
            self._bury(worker)
            worker = None
        if worker is None:
            wait = self._parting.wait(time.monotonic())
            if wait > 0:
                why = f"the {self._noun} died at once; next try in {wait:.1f} s"
                text = f"IPC initialize failed, {why}"
                return bool(self._fail(False, _INIT, text))
            worker = self._spawn()
        if self._awaited is None or self._awaited.number != 0:
            return True
        return self._greeted(worker, patience)

    def _spawn(self) -> Peer:
        self._unpacking = Unpacking()
        self._worker = worker = self._spawner(self._plan(), self._say)
        self.started += 1
        self._awaited = _Awaited(0, time.monotonic() + self._connect_timeout, "starting")
        if self._closed:  # meanwhile, by a thread that has not seen this one
            worker.kill("closed")
        return worker

    def _greeted(self, worker: Peer, patience: float) -> bool:
        """Wait for the answer to the first message. Raises what the terminal's making raised."""
        answer = self._answer_awaited(worker, patience)
        if answer is None:
            return False
        if not answer[1]:
            worker.kill("its terminal could not be made")
            worker.gone.wait(DEATH_WAIT)
            self._worker = None
            raise error_of(answer[2])
        again = f" again (number {self.started})" if self.started > 1 else ""
        self._say("INFO", f"the terminal's {self._noun} runs{again}, process {worker.pid}")
        self._on_begun()
        return True

    def _connected(self, patience: float) -> bool:
        worker = self._worker
        if worker is None:
            return bool(self._fail(False, _NO_IPC, "No IPC connection"))
        if self._awaited is None:
            self._numbers += 1
            if not worker.send((self._numbers, "initialize", (), {}, None)):
                return bool(self._fail(False, _NO_IPC, "No IPC connection"))
            until = time.monotonic() + self._connect_timeout
            self._awaited = _Awaited(self._numbers, until, "connecting")
        answer = self._answer_awaited(worker, patience)
        if answer is None:
            return False
        try:
            return bool(self._taken(worker, "initialize", answer))
        except DtmsError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a terminal raises, it did not connect
            return bool(self._fail(False, _INIT, f"{type(error).__name__}: {error}"))

    def _answer_awaited(self, worker: Peer, patience: float) -> tuple[Any, ...] | None:
        """Return the awaited answer; None, with `last_error`, if it is not there yet or never."""
        awaited = self._awaited
        if awaited is None:
            return None
        try:
            answer = worker.answer(awaited.number, min(patience, awaited.until))
        except EndedError:
            self._bury(worker)
            why = f"IPC initialize failed, the {self._noun} ended: {worker.why}"
            self._fail(None, _INIT, why)
            return None
        if answer is not None:
            self._awaited = None
        elif time.monotonic() < awaited.until:
            self._fail(None, _INIT, f"IPC initialize failed, still {awaited.what}")
        else:
            worker.kill(f"{awaited.what} took longer than {self._connect_timeout:g} s")
            worker.gone.wait(DEATH_WAIT)
            self._bury(worker)
            self._fail(None, mt5.RES_E_INTERNAL_FAIL_TIMEOUT, f"IPC timeout: {worker.why}")
        return answer

    # -- ending

    def abort(self, why: str) -> None:
        """Kill the worker; see `WorkerTerminal.abort`."""
        worker = self._worker
        if worker is not None:
            worker.kill(why)

    def close(self) -> None:
        """End the worker for good; see `WorkerTerminal.close`."""
        self._closed = True
        worker = self._worker
        if worker is None or os.getpid() != self._owner:
            return  # a fork's child has nothing to close: the worker is its parent's
        # Whoever has the turn longer is in a call that may never end.
        if self._awaited is None and self.turn.acquire(timeout=0.1):
            try:
                if not worker.gone.is_set() and worker.send((-1, "close", (), {}, None)):
                    worker.gone.wait(CLOSE_WAIT)
            finally:
                self.turn.release()
            worker.hang_up()
            worker.gone.wait(0.2)
        if not worker.gone.is_set():
            worker.kill("closed")
            if not worker.gone.wait(DEATH_WAIT):
                self._say("ERROR", f"the terminal's worker {worker.pid} does not die")

    def _bury(self, worker: Peer) -> None:
        """Note how a worker ended, once."""
        if worker is not self._worker or not worker.gone.is_set():
            return
        self._worker = self._awaited = None
        if not worker.killed:
            self._parting.ended(worker.ended_at - worker.began_at, worker.ended_at)
        if not self._closed and worker.pid is not None:  # of one that never ran `initialize` tells
            self._say("WARNING", f"the terminal's {self._noun} {worker.pid} is gone: {worker.why}")
        self._on_ended(worker.notes)

    def _say(self, level: str, text: str) -> None:
        if self._log is not None:
            with suppress(Exception):  # a log that fails is the host's; the terminal goes on
                self._log(level, text)


def _surely_gone(worker: Peer, call: str) -> bool:
    """Wait for a killed worker's end: an order's for as long as it takes, others' a while.

    An order's permit must not be left while the order may still go out from here.
    """
    while not worker.gone.is_set():
        with suppress(
            KeyboardInterrupt
        ):  # it was one that brought us here, perhaps; once is enough
            if not worker.gone.wait(DEATH_WAIT) and call != _ORDER:
                return False
    return True
