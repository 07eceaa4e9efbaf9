"""`run`: a guard and its gateway, from the first lock to the last.

The order is DESIGN's, chapter Listening: bind the port (in use: nothing else
has begun), start the guard, listen when it is ready, say so; then wait for
Ctrl-C, `--duration`, `ctl shutdown` or the guard's death, and stop in reverse.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol

from loguru import logger

from console.collector import calm
from console.ends import DONE, FAILED, INTERRUPTED, Ended, Usage, mute_output, told
from console.settings import load
from console.signals import Signals
from console.unguarded import Unguarded
from defence.errors import DtmsError, Invalid, StartRefused
from storage.marker import MARKER

if TYPE_CHECKING:
    from console.log import Log, RunningLog
    from supervisors.guard import Guard
    from supervisors.settings import Settings

POLL: Final = 0.05  # seconds; how soon a signal is noticed
CHILDREN: Final = 6
SPARE: Final = 15.0  # seconds beyond the children's stop time-outs, for root, terminal, stores


class Door(Protocol):
    """What `run` needs of a gateway."""

    @property
    def url(self) -> str:
        """Where it is."""

    def bind(self, host: str, port: int) -> object:
        """Take the port, without listening."""

    def start(self) -> object:
        """Listen."""

    def stop(self) -> object:
        """End all connections."""


class Runner:
    """One run. `sleep` and `clock` (monotonic seconds) are seams for tests."""

    def __init__(
        self,
        guard: Guard,
        door: Door,
        signals: Signals,
        running: RunningLog,
        *,
        log: Log | None = None,
        announce: Callable[[str], None] | None = None,
        given: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._guard = guard
        self._door = door
        self._signals = signals
        self._running = running
        self._log = log
        self._announce = announce or say
        self._given = given
        self._clock = clock
        self._sleep = sleep
        self._settings: Settings = guard.settings
        self._who = logger.bind(child="dtms")

    def run(self) -> int:
        """Run until something ends it; return the exit status. Raises `Ended`, with the cause."""
        status = FAILED
        try:
            self._door.bind(self._settings.host, self._settings.port)
            status = self._start()
            if status == DONE:
                with calm():
                    status = self._stay()
        except DtmsError as error:
            raise Ended(FAILED, f"start refused: {told(error, self._given)}") from None
        finally:
            stopped = self._stop()
        return status if stopped else FAILED

    # -- starting

    def _start(self) -> int:
        """Start the guard, then listen; INTERRUPTED if a signal came first."""
        listeners = (self._running, Unguarded())
        forget = [self._guard.events.listen(listener) for listener in listeners]
        self._say_new_broker()
        limit = self._clock() + self._settings.timeout + 1.0
        try:
            self._guard.start(block=False)
        except BaseException:
            for end in forget:
                end()
            raise
        if self._log is not None:
            self._log.hide([self._guard.token()])
        while not self._running.settled.is_set():
            if self._signals.asked:
                self._who.warning("{} before it was ready", self._signals.name)
                return INTERRUPTED
            if self._clock() > limit:
                raise StartRefused(
                    f"not ready within {self._settings.timeout:g} s, and nobody says why",
                    remedy="see the log, or raise --startup-timeout",
                )
            self._sleep(POLL)
        self._guard.wait_ready()  # it is, or this raises the cause
        if self._signals.asked:
            return INTERRUPTED
        self._door.start()
        token = "in its file token" if self._settings.token is None else "the configured one"
        self._who.info("data folder {}; the bearer token is {}", self._guard.data_dir, token)
        self._announce(f"ready {self._door.url}")
        return DONE

    def _say_new_broker(self) -> None:
        """Say why the trades of an earlier run may be found changed by nobody."""
        settings = self._settings
        kept = settings.sim_state is not None or settings.broker is not None
        if settings.simulated and not kept and (settings.folder / MARKER).is_file():
            self._who.info(
                "a new simulated broker: trades that an earlier run has stored are not its, "
                "whatever their tickets (--sim-state FILE keeps a broker)"
            )

    # -- staying

    def _stay(self) -> int:
        """Wait for an end; return the exit status. Raises `Ended` if the guard died."""
        from console.pulse import Pulse

        duration = self._settings.duration
        end = None if duration is None else self._clock() + duration
        pulse = Pulse(self._guard, self._running, self._clock)
        while True:
            if self._guard.over:
                break
            if self._signals.asked:
                self._who.info("{}: stopping", self._signals.name)
                return DONE
            if end is not None and self._clock() >= end:
                self._who.info("{:g} s are over: stopping", duration)
                return DONE
            pulse.beat()
            self._sleep(POLL)
        cause = self._guard.wait(0)
        if cause is not None:
            raise Ended(FAILED, f"the guard has died: {cause}")
        return DONE  # ctl shutdown

    # -- stopping

    def _stop(self) -> bool:
        """Stop the gateway, then the guard; False if that did not come to an end.

        In a thread of its own, so that another Ctrl-C is answered meanwhile and
        what is stuck cannot keep the process.
        """
        failures: list[Exception] = []

        def close() -> None:
            for step in (self._door.stop, self._guard.stop):
                try:
                    step()
                except Exception as error:  # noqa: BLE001 - the next step must still be taken
                    logger.opt(exception=error).error("stopping: {}", error)
                    failures.append(error)

        thread = threading.Thread(target=close, name="dtms-closing", daemon=True)
        told_of = self._signals.count
        limit = self._clock() + CHILDREN * (self._settings.stop_timeout + 1.0) + SPARE
        thread.start()
        while thread.is_alive():
            if self._signals.count > told_of:
                told_of = self._signals.count
                self._who.warning("stopping already; it takes at most a few seconds a step")
            if self._clock() > limit:
                self._who.error("not everything stopped in time; the process ends now")
                return False
            thread.join(POLL)
        return not failures


def say(text: str) -> None:
    """Print for programs that wait for it; a reader that has gone must not end a guard."""
    try:
        print(text, flush=True)  # noqa: T201 - standard output is the command's own
    except OSError as error:
        mute_output()
        logger.bind(child="dtms").warning("standard output is closed: {}", error)


def run(given: Mapping[str, Any], *, verbose: bool = False) -> int:
    """Run a guard with these flags; return the exit status. Raises `Ended`."""
    with Signals() as signals:
        # late: from here on, not before, a Ctrl-C is counted instead of raised,
        # and loading the house takes most of a second
        from console.log import RunningLog, configure
        from gateway.server import Gateway
        from supervisors import Guard
        from supervisors.terminal_choice import check_choice

        settings = load(given)
        try:
            check_choice(settings)
        except Invalid as error:
            raise Usage(told(error, given)) from None
        log = configure(sys.stderr, verbose=verbose, patient=False)
        log.hide(
            secret.get_secret_value()
            for secret in (
                settings.token,
                settings.password,
                settings.broker_token,
                *settings.alert_urls,
            )
            if secret is not None
        )
        guard = Guard(settings)
        runner = Runner(
            guard,
            Gateway(guard),
            signals,
            RunningLog(),
            log=log,
            given=given,
        )
        try:
            return runner.run()
        finally:
            log.close()
