"""The Registry's eye on its store: does it take writes, and is it still where it was?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from actors.actor import GuardActor
from actors.events import Kind
from actors.messages import Raise, RecordFlattened, RecordOutcome, WriteAgain
from actors.names import ALERT
from actors.runtime import Timer
from actors.trouble import RAREST, TRY_AGAIN, Trouble, end_the_guard
from defence.alerts import Notice, Severity
from defence.errors import Damaged, DtmsError, FolderRefused, StoreFull, StoreLost
from storage.room import no_room, try_store
from storage.trades import TradeStore

CANNOT_WRITE: Final = (StoreFull, FolderRefused)  # the disk's answers: no room, no right
CHECK_EVERY: Final = 300.0  # seconds between two looks for room while all is well


def trades_trouble() -> Trouble:
    """Return what the trade store's owner keeps in mind of it."""
    return Trouble(
        "trades",
        Severity.CRITICAL,
        "New registrations are refused, and a decision that cannot be journalled sends no order; "
        "what was acknowledged is safe. Freeze and flatten work. It goes on by itself when the "
        "store takes writes again.",
    )


class Room:
    """Notices, tells, and tries until the store takes writes again."""

    def __init__(self, owner: GuardActor, store: TradeStore, trouble: Trouble) -> None:
        self._owner = owner
        self._store = store
        self._trouble = trouble
        self._looked_at: float | None = None
        self._lock_told = False

    def refused(self, error: DtmsError) -> None:
        """The store did not take a commit."""
        self._trouble.fails(self._owner, error)

    def lost(self, error: StoreLost) -> None:
        """Let the guard die."""
        end_the_guard(self._owner, error)

    def damaged(self, error: Damaged, *, writing: bool = False) -> None:
        """Tell that the store under the running guard failed a check: a start mends it.

        A damaged old record is no reason to leave the trades alone, so the guard
        goes on; but one that cannot write is not ready.
        """
        if writing:
            self._owner.emit(
                Kind.STORE_FAILS, store="trades", code=error.code, reason=error.message
            )
        notice = Notice(
            key="store_damaged:trades",
            severity=Severity.CRITICAL,
            title="The trade store is damaged",
            text=f"{error.message}. The trades are watched from memory. Restart the guard: the "
            "start sets the damaged store aside and puts the newest good backup in its place.",
        )
        self._owner.tell(ALERT, Raise(notice))

    def plan(self) -> None:
        """After a restart of the owner: go on trying, if there is trouble."""
        self._trouble.plan(self._owner)

    def try_again(self) -> bool:
        """Whether the store takes writes, tried if it did not; plans the next try."""
        if self._trouble.since is None:
            return True
        try:
            refusal = self._guarded(lambda: try_store(self._store.environment, self._wall))
        except StoreLost as lost:
            self.lost(lost)
            return False
        if refusal is None:
            self._trouble.over(self._owner)
            return True
        self._trouble.plan(self._owner)
        return False

    def look(self) -> None:
        """With each look at the broker: are the files in place, and now and then, is there room?

        A store that nobody writes to would otherwise call itself ready on a
        full disk, and find out with the order that matters.
        """
        files = self._store.environment.files
        try:
            files.must_be_there()
        except StoreLost as lost:
            self.lost(lost)
            return
        self._tell_lock(files.lock_lost())
        now = self._owner.clock.monotonic()
        if self._looked_at is not None and now - self._looked_at < CHECK_EVERY:
            return
        self._looked_at = now
        if self._trouble.since is None:
            full = self._guarded(lambda: no_room(self._store.environment))
            if full is not None:
                self.refused(full)

    @property
    def _wall(self) -> float:
        return self._owner.clock.wall()

    def _guarded(self, attempt: Callable[[], DtmsError | None]) -> DtmsError | None:
        """Try under the lease and marked as a commit: a disk that hangs ends the guard."""
        with self._owner.critical(), self._owner.context.lease.hold():
            return attempt()

    def _tell_lock(self, lost: str | None) -> None:
        if lost is not None and not self._lock_told:
            notice = Notice(
                key="lock_lost:trades",
                severity=Severity.WARNING,
                title="The lock file of the trade store is gone",
                text=f"{lost}. Trades are guarded and written as before, but no backup can be "
                "made. Restart the guard at a quiet moment.",
            )
            self._owner.tell(ALERT, Raise(notice))
        self._lock_told = lost is not None


class Owed:
    """Facts that the store did not take: unlike a request, nobody will tell them again.

    `facts` outlives an incarnation. `write` returns the answer, a refusal among them.
    """

    def __init__(
        self, owner: GuardActor, facts: list[object], write: Callable[[object], object]
    ) -> None:
        self._owner = owner
        self._facts = facts
        self._write = write
        self._pause = TRY_AGAIN
        self._timer: Timer | None = None

    def keep(self, message: object, error: DtmsError) -> None:
        """Keep what was refused with that error, if it is a fact."""
        if not isinstance(message, RecordOutcome | RecordFlattened):
            return
        if message not in self._facts:
            self._facts.append(message)
        if not isinstance(error, CANNOT_WRITE):  # for those `Room` plans the next try
            self.plan()

    def plan(self) -> None:
        """Have one next try planned by this incarnation, if anything waits; ever more rarely."""
        if self._timer is not None:
            self._timer.cancel()
        if self._facts:
            self._timer = self._owner.later(self._pause, WriteAgain(), merge="write again")
            self._pause = min(2 * self._pause, RAREST)

    def write(self) -> None:
        """Write them, the oldest first; each goes only after it was written.

        After a death in between one is written twice, which changes nothing.
        """
        for message in tuple(self._facts):
            answer = self._write(message)
            if not isinstance(answer, DtmsError):
                self._facts.remove(message)
                self._pause = TRY_AGAIN
            elif isinstance(answer, CANNOT_WRITE):
                return  # `Room` has planned the next try
            else:
                self._owner.context.log.warning("an outcome is not written yet: {}", answer)
                self.plan()
