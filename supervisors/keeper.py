"""The keeper of backups: on a schedule and on demand, one at a time, the newest few kept.

Not an actor: a copy may take longer than `hang_after`, touches no actor's
state, and is read by another process from the stores' own files.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pykka import Future

from actors.actor import keep_promise
from actors.events import EventStream, Kind
from actors.runtime import Runtime, Timer
from defence.alerts import Notice, Severity
from defence.errors import DtmsError, Stopped, TryAgain
from storage.backups import BackupSet, prune, sets, take
from storage.environment import Environment

FIRST_AFTER = 60.0  # seconds after the start: first the guard has other things to do
AGAIN_AFTER = 300.0  # seconds after a backup that failed
FAILED = "backup_failed"  # the alert's key


@dataclass(frozen=True, slots=True, kw_only=True)
class KeeperSettings:
    """Where sets go, how many are kept, and the seconds between two (0: on demand only)."""

    folder: Path
    keep: int
    every: float


class Keeper:
    """Takes backups aside. `start` it once the stores are open; `stop` before they close."""

    def __init__(
        self,
        settings: KeeperSettings,
        environments: Callable[[], Sequence[Environment]],
        runtime: Runtime,
        events: EventStream,
        notify: Callable[[Notice], None],
    ) -> None:
        self._settings = settings
        self._environments = environments
        self._runtime = runtime
        self._events = events
        self._notify = notify
        self._lock = threading.Lock()
        self._waiting: list[Future[Any]] = []
        self._busy = False
        self._over = False
        self._failing = False
        self._idle = threading.Event()
        self._idle.set()
        self._timer: Timer | None = None

    def start(self) -> None:
        """Plan the first backup: soon, or when the newest one is old enough."""
        newest = None
        try:
            newest = next(iter(sets(self._settings.folder)), None)
        except DtmsError as error:  # a guard without backups is better than none
            self._tell_failed(f"the backups cannot be read: {error}")
        if newest is not None:
            self._publish(newest, by="before", gone=[])
        every = self._settings.every
        if every > 0:
            age = every if newest is None else self._runtime.clock.wall() - newest.at
            self._plan(max(FIRST_AFTER, every - max(0.0, age)))

    def ask(self, by: str, reply_to: Future[Any] | None = None) -> None:
        """Take a backup, or join the one under way; the asker is answered when it is done."""
        with self._lock:
            if self._over:
                keep_promise(reply_to, Stopped("the guard is stopping", remedy="start a new one"))
                return
            if reply_to is not None:
                self._waiting.append(reply_to)
            if self._busy:
                return
            self._busy = True
            self._idle.clear()
        try:
            self._runtime.aside(self._take, lambda result: self._done(result, by))
        except RuntimeError as error:
            self._done(TryAgain(f"no thread for a backup: {error}", remedy="try again"), by)

    def stop(self, timeout: float) -> None:
        """Plan no more, and wait at most `timeout` seconds for the one under way.

        Who asked for it is told at once.

        A copy that goes on after that harms nothing: it gets no name.
        """
        with self._lock:
            self._over = True
            if self._timer is not None:
                self._timer.cancel()
            waiting, self._waiting = self._waiting, []
        for reply_to in waiting:
            keep_promise(reply_to, Stopped("the guard is stopping", remedy="start a new one"))
        if not self._idle.is_set():
            self._runtime.wait_until(self._idle.is_set, timeout)

    def _take(self) -> BackupSet:
        folder = self._settings.folder
        if folder.is_dir():
            with suppress(DtmsError):  # it is tried again, and told, after the backup
                prune(folder, self._settings.keep)  # too many may be why there is no room
        return take(folder, self._environments(), self._runtime.clock.wall())

    def _done(self, result: object, by: str) -> None:
        """Tell everybody; then plan the next one."""
        try:
            if isinstance(result, BackupSet):
                self._finish(result, by)
            elif isinstance(result, BaseException):
                self._tell_failed(str(result) if isinstance(result, DtmsError) else repr(result))
        finally:  # or no backup would ever be taken again, and nobody be answered
            with self._lock:
                waiting, self._waiting = self._waiting, []
                self._busy = False
                self._idle.set()
            for reply_to in waiting:
                keep_promise(reply_to, _answer(result))
            if self._settings.every > 0:
                failed = isinstance(result, BaseException)
                every = self._settings.every
                self._plan(min(AGAIN_AFTER, every) if failed else every)

    def _finish(self, made: BackupSet, by: str) -> None:
        """Keep the newest few; say what was not right, or that all is well again."""
        gone: list[str] = []
        wrong: list[str] = []
        try:
            gone = prune(self._settings.folder, self._settings.keep)
        except DtmsError as error:
            wrong.append(f"old backups cannot be removed: {error}")
        self._publish(made, by=by, gone=gone)
        if made.failed:
            listed = "; ".join(f"{name}: {reason}" for name, reason in made.failed.items())
            wrong.append(f"no copy of {listed}. Restart the guard: it checks its stores")
        if wrong:
            self._tell_failed("; ".join(wrong))
        elif self._failing:
            self._failing = False
            self._notify(
                Notice(
                    key="backup_works",
                    severity=Severity.INFO,
                    title="Backups work again",
                    text=f"{made.name} holds {', '.join(made.copies)}.",
                    ends=FAILED,
                )
            )

    def _tell_failed(self, why: str) -> None:
        self._failing = True
        self._events.publish(Kind.BACKUP_FAILED, None, None, reason=why)
        self._notify(
            Notice(
                key=FAILED,
                severity=Severity.WARNING,
                title="A backup failed",
                text=f"{why}. Older backups are kept.",
            )
        )

    def _publish(self, made: BackupSet, *, by: str, gone: Sequence[str]) -> None:
        self._events.publish(
            Kind.BACKUP,
            None,
            None,
            path=str(made.path),
            taken_at=made.at,
            number=made.number,
            stores=list(made.copies),
            by=by,
            removed=list(gone),
        )

    def _plan(self, delay: float) -> None:
        with self._lock:
            if self._over:
                return
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._runtime.call_later(delay, lambda: self.ask("schedule"))


def _answer(result: object) -> object:
    if not isinstance(result, BackupSet):
        return result
    trades = result.copies.get("trades")
    return {
        "backup": str(result.path),
        "number": result.number,
        "stores": list(result.copies),
        "failed": dict(result.failed),
        "trades": 0 if trades is None else trades.counts.get("trades", 0),
    }
