"""Premises without files: the stores lie on a `Disk`, the locks are the disk's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from actors.clock import Clock
from actors.events import EventStream
from defence.broker import Account
from defence.errors import AccountRefused, AlreadyGuarded
from storage.audit import AuditStore
from storage.environment import Environment
from storage.folder import DataFolder, Stores
from storage.ledger import LedgerStore
from storage.outbox import OutboxStore
from storage.swap import Swap
from storage.trades import TradeStore
from supervisors.premises import MakePremises, Premises
from supervisors.settings import Settings
from tests.simulation.disk import Disk


class MemoryFolder:
    """What a guard asks of its data folder."""

    path = Path("/memory")
    backups = Path("/memory/backups")

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def account(self) -> tuple[int, str] | None:
        return self._disk.account

    def bind(self, login: int, server: str) -> None:
        self._disk.account = (login, server)

    def untold(self) -> list[tuple[Path, Swap]]:
        return []

    def token(self) -> str:
        return "no gateway asks for it"


class MemoryPremises(Premises):
    """Takes and gives back a `Disk` instead of a folder; the rules are those of `Premises`."""

    def __init__(self, settings: Settings, clock: Clock, events: EventStream, disk: Disk) -> None:
        super().__init__(settings, clock, events)
        self._disk = disk
        self._mine = False

    def take(self) -> None:
        if self._disk.locked:
            raise AlreadyGuarded("the disk is another guard's")
        self._disk.locked = self._mine = True
        self._folder = cast(DataFolder, MemoryFolder(self._disk))
        self._stage("locks", "done")
        env: Callable[[str], Environment] = cast(Any, self._disk.environment)
        self._stores = Stores(
            trades=TradeStore(env("trades"), self._folder.bind),
            ledger=LedgerStore(env("ledger")),
            outbox=OutboxStore(env("outbox")),
            audit=AuditStore(env("audit")),
        )
        self._stage("stores", "done")

    def admit(self, account: Account) -> None:
        shown = (account.login, account.server)
        if self.folder.account() not in (None, shown):
            raise AccountRefused(f"the disk belongs to {self.folder.account()}, not to {shown}")
        self.stores.trades.bind(*shown)

    def give_back(self) -> None:
        super().give_back()
        if self._mine:
            self._disk.locked = self._mine = False
            self._stage("locks", "released")


def on_disk(disk: Disk) -> MakePremises:
    """Return the seam for `Guard(premises=...)`."""
    return lambda settings, clock, events: MemoryPremises(settings, clock, events, disk)
