"""The premises of a guard: its data folder, the locks and the stores. Taken, bound, given back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from actors.clock import Clock
from actors.events import EventStream, Kind
from actors.messages import SetControl
from actors.monitor import OBSERVE
from defence.broker import Account
from defence.errors import AccountRefused, Damaged, NotReady
from storage.audited import ControlState
from storage.environment import Environment
from storage.folder import DataFolder, Stores, open_stores
from storage.home import settle
from storage.locks import AccountLock, FolderLock
from storage.swap import Swap, told
from supervisors.aftermath import alert_of, needs_person
from supervisors.settings import Settings


class Premises:
    """One folder and one account belong to one running guard (DESIGN, promise 1)."""

    def __init__(self, settings: Settings, clock: Clock, events: EventStream) -> None:
        self._settings = settings
        self._clock = clock
        self._events = events
        self._folder: DataFolder | None = None
        self._folder_lock: FolderLock | None = None
        self._account_lock: AccountLock | None = None
        self._stores: Stores | None = None

    def take(self) -> None:
        """Lock the folder, then check and open its stores; raises `StartRefused`."""
        path = self._settings.folder
        self._folder = DataFolder(path, parents=self._settings.data_dir is None)
        self._folder_lock = FolderLock(self._folder.path)
        self._folder_lock.acquire()
        self._stage("locks", "done", folder=str(self._folder.path))
        self._folder.claim()
        self._folder.token()
        self._refuse_other_account()  # before anything is recovered or migrated
        self._stores = open_stores(self._folder, self._clock.wall())
        for _, swap in self._folder.untold():
            self._events.publish(Kind.SET_ASIDE, **_facts(swap))
        self._stage("stores", "done")

    def _refuse_other_account(self) -> None:
        """Refuse settings that name another account than the folder's."""
        try:
            bound = self.folder.account()
        except Damaged:  # it is made anew; `admit` compares with the terminal
            return
        wanted = (self._settings.login, self._settings.server)
        names = ("login", "server")
        for field, expected, found in zip(names, wanted, bound or (None, None), strict=True):
            if None not in (expected, found) and expected != found:
                raise AccountRefused(
                    f"the data folder belongs to {found!r}, the settings say {expected!r}",
                    field=field,
                    value=expected,
                    remedy="change the setting, or use another data folder",
                )

    @property
    def folder(self) -> DataFolder:
        """The data folder; raises `NotReady` before `take`."""
        if self._folder is None:
            raise NotReady("the guard has not been started", remedy="start it")
        return self._folder

    @property
    def stores(self) -> Stores:
        """The open stores; raises `NotReady` before `take` and after `give_back`."""
        if self._stores is None:
            raise NotReady("the stores are not open", remedy="start the guard")
        return self._stores

    def environments(self) -> tuple[Environment, ...]:
        """Return the open environments; raises `NotReady` when they are not."""
        stores = self.stores
        return (
            stores.trades.environment,
            stores.ledger.environment,
            stores.outbox.environment,
            stores.audit.environment,
        )

    @property
    def path(self) -> Path:
        """The data folder's path, absolute."""
        return self._settings.folder.absolute() if self._folder is None else self._folder.path

    @property
    def held(self) -> bool:
        """Whether there is anything to give back."""
        return self._stores is not None or self._folder_lock is not None

    def admit(self, account: Account) -> None:
        """Let the guard run on this account, or raise `StartRefused`. Idempotent.

        Nothing is changed before the account is known to be the right one.
        """
        wanted = (self._settings.login, self._settings.server)
        shown = (account.login, account.server)
        for field, expected, found in zip(("login", "server"), wanted, shown, strict=True):
            if expected is not None and expected != found:
                raise AccountRefused(
                    f"the terminal shows {found!r}, the settings say {expected!r}",
                    field=field,
                    value=found,
                    remedy="log the terminal in to that account, or change the setting",
                )
        bound = self.folder.account()
        if bound is not None and bound != shown:
            raise AccountRefused(
                f"the data folder belongs to {bound[0]} on {bound[1]}, "
                f"the terminal shows {account.login} on {account.server}",
                field="data_dir",
                value=str(self.path),
                remedy="log in to that account, or use another data folder",
            )
        if self._account_lock is None:
            lock = AccountLock(self._settings.locks_dir, account.server, account.login)
            lock.acquire()
            self._account_lock = lock
        settle(self._settings.locks_dir, self.path, account.login, account.server)
        self.stores.trades.bind(account.login, account.server)
        self._stage("account", "done", login=account.login, server=account.server)

    def control_at_start(self) -> SetControl:
        """Return mode and pause: of stored and flag the more restrictive wins.

        After a trade or audit store gave way to another, the mode is observe
        until a person confirms. That, and what people must know of it, is
        durable before the notes of it are removed.
        """
        stores, now = self.stores, self._clock.wall()
        stored, wanted = stores.audit.control(), self._settings.wanted_mode
        untold = self.folder.untold()
        doubtful = any(needs_person(swap) for _, swap in untold)
        mode = wanted if stored.mode in (None, wanted) and not doubtful else OBSERVE
        by, why = stored.by or "settings", stored.why or ""
        if doubtful:
            by, why = "recovery", "a store gave way to another; a person must confirm"
            stores.audit.set_control(
                ControlState(mode=mode, paused=stored.paused, by=by, why=why, at=now)
            )
        stores.outbox.put(
            *(alert for note, swap in untold if (alert := alert_of(swap, note, now)) is not None)
        )
        for note, _ in untold:
            told(note)
        return SetControl(mode, stored.paused, by, why)

    def token(self) -> str:
        """Return the configured bearer token, else the data folder's."""
        if self._settings.token is not None:
            return self._settings.token.get_secret_value()
        return self.folder.token()

    def give_back(self) -> None:
        """Close the stores, then release the locks; a second time does nothing."""
        try:
            if self._stores is not None:
                stores, self._stores = self._stores, None
                stores.close()
                self._stage("stores", "closed")
        finally:
            if self._folder_lock is not None:
                for lock in (self._account_lock, self._folder_lock):
                    if lock is not None:
                        lock.release()
                self._account_lock = self._folder_lock = None
                self._stage("locks", "released")

    def _stage(self, stage: str, what: str, **facts: object) -> None:
        self._events.publish(Kind.STAGE, None, None, stage=stage, what=what, **facts)


MakePremises: TypeAlias = Callable[[Settings, Clock, EventStream], Premises]


def _facts(swap: Swap) -> dict[str, object]:
    return {
        "store": swap.name,
        "why": swap.why.value,
        "reason": swap.reason,
        "path": swap.aside,
        "source": swap.source,
        "missing": swap.missing,
    }
