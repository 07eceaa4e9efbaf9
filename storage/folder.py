"""The data folder: what lies where, who may use it, and opening its stores.

dtms.json      marker: format, account
token          bearer token of the HTTP interface, owner only
guard.lock     the folder's lock (storage.locks)
trades/ ledger/ outbox/ audit/     one LMDB environment an owner
backups/       verified copies
*.damaged-*    what was set aside, with the reason beside it
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol, TypeVar

from defence.errors import Damaged, FolderRefused
from storage.audit import AuditStore
from storage.files import OWNER_FILE, make_folder, refused, sweep, write_whole
from storage.layout import DATA_FILE
from storage.ledger import LedgerStore
from storage.marker import MARKER, Marker, keep_damaged, read_marker, write_marker
from storage.outbox import OutboxStore
from storage.places import refuse_remote
from storage.recovery import make_sound
from storage.swap import Swap, Why, tell, untold
from storage.trades import TradeStore

ENVIRONMENTS: Final = ("trades", "ledger", "outbox", "audit")
BACKUPS: Final = "backups"
TOKEN: Final = "token"  # noqa: S105 - the file's name
_SHORTEST_TOKEN: Final = 16  # characters; what is shorter was not made by us and can be guessed
# ours, or left by the system in any folder: these do not make a folder foreign
_OURS: Final = ("dtms.", "guard.lock")
_NOBODYS: Final = frozenset({".DS_Store", "Thumbs.db", "desktop.ini", "lost+found"})


class _Closable(Protocol):
    def close(self) -> None: ...


S = TypeVar("S", bound=_Closable)


@dataclass(frozen=True, slots=True)
class Stores:
    """The open stores of a folder."""

    trades: TradeStore
    ledger: LedgerStore
    outbox: OutboxStore
    audit: AuditStore

    def close(self) -> None:
        """Close all of them, also if one fails; a second time does nothing."""
        with ExitStack() as closing:
            for store in (self.trades, self.ledger, self.outbox, self.audit):
                closing.callback(store.close)


class DataFolder:
    """A data folder that exists and is ours. Hold its `FolderLock` while using it.

    Made for its owner only; a folder that exists keeps its rights. With
    `parents` the missing folders above it are made too. Raises FolderRefused
    for a folder of something else, a missing parent, a file in place or a
    missing right; StoreFull without room.
    """

    def __init__(self, path: Path, *, parents: bool = False) -> None:
        self.path = Path(path).absolute()
        refuse_remote(self.path)
        make_folder(self.path, parents=parents)
        self._refuse_foreign()
        with suppress(Damaged):  # still a marker: ours. `open_stores` keeps it and says so
            read_marker(self.path)  # one of a newer version is refused

    def claim(self) -> None:
        """Mark a new folder as ours. Hold its lock: without it, a second guard could write
        an empty marker over the first one's, and forget whose the folder is.

        Raises StoreFull or FolderRefused. A marker that was lost is not made here:
        `open_stores` makes it anew, and says so.
        """
        with suppress(Damaged):
            if read_marker(self.path) is None and not _used(self.path):
                write_marker(self.path, Marker())
        make_folder(self.path / BACKUPS)

    @property
    def backups(self) -> Path:
        """The folder of the backups."""
        return self.path / BACKUPS

    def account(self) -> tuple[int, str] | None:
        """Return login and server the folder belongs to, None while it is new."""
        marker = read_marker(self.path)
        return None if marker is None else marker.account

    def untold(self) -> list[tuple[Path, Swap]]:
        """Return what happened to stores and people have not been told of, with its notes.

        `swap.told` removes a note once it stands where it cannot be lost.
        """
        return untold(self.path)

    def bind(self, login: int, server: str) -> None:
        """Write the account into the marker; AccountRefused if it has another."""
        marker = read_marker(self.path) or Marker()
        if marker.account != (login, server):
            write_marker(self.path, marker.bound(login, server))

    def token(self) -> str:
        """Return the bearer token; it is made on the first run, for its owner only.

        Call it while holding the folder's lock: two first runs would make two.
        Raises FolderRefused for a file that holds something short or unreadable.
        """
        self.claim()
        path = self.path / TOKEN
        try:
            if path.exists():
                known = path.read_text(encoding="utf-8").strip()
                if os.name != "nt" and path.stat().st_mode & 0o077:
                    path.chmod(OWNER_FILE)
                if 0 < len(known) < _SHORTEST_TOKEN:
                    raise _bad_token(path, f"{len(known)} characters can be guessed")
                if known:
                    return known
        except UnicodeDecodeError as error:
            raise _bad_token(path, "it is not text") from error
        except OSError as error:
            raise refused(error, path, "reading the token") from error
        made = secrets.token_urlsafe(32)
        write_whole(path, f"{made}\n".encode())
        return made

    def _refuse_foreign(self) -> None:
        try:
            names = [entry.name for entry in self.path.iterdir()]
        except OSError as error:
            raise refused(error, self.path, "reading the data folder") from error
        if MARKER in names or _used(self.path):
            return
        foreign = sorted(
            name for name in names if not name.startswith(_OURS) and name not in _NOBODYS
        )
        if foreign:
            raise FolderRefused(
                f"{self.path} holds {foreign[0]!r} and is no data folder of DTMS",
                field="data_dir",
                value=str(self.path),
                remedy="choose an empty folder, or one that DTMS has made",
            )


def open_stores(folder: DataFolder, now: float) -> Stores:
    """Make all stores sound (`storage.recovery`), then open them.

    `now` in UTC epoch seconds stamps what is set aside. A damaged store never
    takes another with it, and nothing is deleted. `DataFolder.untold` says what
    happened. Raises FolderRefused, AccountRefused, StoreFull or StartRefused;
    then nothing stays open.
    """
    sweep(folder.path)
    folder.claim()
    marker = _marker(folder, now)
    make_sound(
        folder.path,
        ENVIRONMENTS,
        backups=folder.backups,
        made=marker.made,
        account=marker.account,
        now=now,
    )
    with ExitStack() as undo:

        def opened(name: str, opener: Callable[[Path], S]) -> S:
            store = opener(folder.path / name)
            undo.callback(store.close)
            return store

        stores = Stores(
            trades=opened("trades", lambda path: TradeStore.open(path, on_bind=folder.bind)),
            ledger=opened("ledger", LedgerStore.open),
            outbox=opened("outbox", OutboxStore.open),
            audit=opened("audit", lambda path: AuditStore.open(path, secrets=[folder.token()])),
        )
        _agree(folder, stores.trades)
        if not marker.made:
            write_marker(folder.path, replace(read_marker(folder.path) or marker, made=True))
        undo.pop_all()  # all is well: they stay open
    return stores


def _bad_token(path: Path, reason: str) -> FolderRefused:
    # the value is left out: an error never carries a secret
    return FolderRefused(
        f"the token in {path} cannot be used: {reason}",
        field="token",
        remedy="delete that file, and a new token is made at the next start",
    )


def _marker(folder: DataFolder, now: float) -> Marker:
    """Return the marker; one that is damaged or lost is written anew, and told.

    What a damaged one held is kept beside it.
    """
    try:
        known = read_marker(folder.path)
        if known is not None:
            return known
        reason, aside = f"{MARKER} is missing", None
    except Damaged as damage:
        reason, aside = damage.message, keep_damaged(folder.path, damage.message, now)
    # its name says what it held: the same after a cut, and one fact is told once
    if all((swap.name, swap.aside) != ("marker", aside) for _, swap in folder.untold()):
        swap = Swap(name="marker", why=Why.DAMAGED, reason=reason, at=now, aside=aside)
        tell(folder.path, swap)
    # a folder with a marker has most likely been used: a store that is
    # missing as well must be told, not made anew in silence
    marker = Marker(made=True)
    write_marker(folder.path, marker)
    return marker


def _used(path: Path) -> bool:
    """Whether a folder has a token and trades of ours: without a marker, it has lost it."""
    return (path / TOKEN).is_file() and (path / "trades" / DATA_FILE).is_file()


def _agree(folder: DataFolder, trades: TradeStore) -> None:
    """Make marker and trade store name the same account; AccountRefused if they differ."""
    bound, named = trades.account(), folder.account()
    if bound is None and named is not None:
        trades.bind(*named)  # the trade store is new, the folder is not
    elif bound is not None:
        folder.bind(*bound)
