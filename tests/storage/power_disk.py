"""What a disk may hold after the power was cut: the images of a recorded log.

The model is a disk behind a page cache. A sector (512 bytes) is whole; each one
that was written since its last barrier may be there in any of its versions, or
not at all, whatever became of its neighbours. A barrier makes what was written
to its file before it durable; a write to a descriptor opened with O_DSYNC is a
barrier for its own sectors alone. The size of a file, and the names in a folder,
are durable from their own barriers on (names in their order, as journals keep them).
"""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

SECTOR = 512
PAGE = 4096
_META_PAGES = 2

Event = dict[str, Any]


class Keep(StrEnum):
    """Which of the sectors that no barrier covers have reached the disk."""

    COIN = "coin"  # each by itself, in any of its versions
    ALL = "all"
    NONE = "none"
    LAST = "last"  # those of the last write alone
    META = "meta"  # those of LMDB's two meta pages alone
    NOT_META = "not meta"
    TORN = "torn"  # all but some of one page; files below a sector are torn by bytes


@dataclass
class File:
    """One file: what its readers see, and what of it is surely on the disk."""

    seen: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    size: int = 0  # that is durable
    sizes: list[int] = field(default_factory=list)  # since then
    # by number of sector: what was written since its last barrier, oldest first
    loose: dict[int, list[bytes]] = field(default_factory=dict)
    last: set[int] = field(default_factory=set)  # sectors of the last write that is loose

    def write(self, at: int, data: bytes, *, synced: bool) -> None:
        """Write; `synced` is a barrier for these sectors, and for a size they need."""
        end = at + len(data)
        if end > len(self.seen):
            self.seen.extend(bytes(end - len(self.seen)))
            self.sizes.append(end)
        self.seen[at:end] = data
        touched = range(at // SECTOR, (end + SECTOR - 1) // SECTOR)
        for sector in touched:
            self.loose.setdefault(sector, []).append(self.sector(sector))
        self.last = set(touched)
        if synced:
            self._settle(touched)
            if end > self.size:
                self.size = end

    def sector(self, number: int) -> bytes:
        """Return a sector as readers see it; behind the end it is zeros."""
        return bytes(self.seen[number * SECTOR : (number + 1) * SECTOR]).ljust(SECTOR, b"\0")

    def resize(self, size: int) -> None:
        """Cut, or grow with zeros."""
        if size < len(self.seen):
            del self.seen[size:]
            for sector in range(size // SECTOR, len(self.durable) // SECTOR + 1):
                self.loose.setdefault(sector, []).append(self.sector(sector))
        self.seen.extend(bytes(size - len(self.seen)))
        self.sizes.append(size)

    def barrier(self) -> None:
        """Make all of it durable."""
        self._settle(list(self.loose))
        self.size = len(self.seen)
        self.sizes = []
        self.last = set()

    def _settle(self, sectors: Any) -> None:
        for number in sectors:
            start = number * SECTOR
            self.durable.extend(bytes(max(0, start + SECTOR - len(self.durable))))
            self.durable[start : start + SECTOR] = self.sector(number)
            self.loose.pop(number, None)
            self.last.discard(number)

    def image(self, keep: Keep, chance: random.Random) -> bytes:
        """Return what a reader finds after the cut."""
        content = bytearray(self.durable)
        torn = chance.choice(sorted(self.loose)) * SECTOR // PAGE if self.loose else -1
        for number, versions in self.loose.items():
            start = number * SECTOR
            kept = self._kept(number, versions, keep, torn, chance)
            if keep is Keep.TORN and len(self.seen) < SECTOR:
                # no disk does that, a file system that keeps small files apart might
                old = bytes(self.durable[start : start + SECTOR]).ljust(SECTOR, b"\0")
                old, new = chance.choices([old, *versions], k=2)
                place = chance.randint(0, len(self.seen))
                kept = new[:place] + old[place:]
            if kept is not None:
                content.extend(bytes(max(0, start + SECTOR - len(content))))
                content[start : start + SECTOR] = kept
        sizes = [self.size, *self.sizes]
        if keep in (Keep.ALL, Keep.TORN):
            size = sizes[-1]
        elif keep is Keep.NONE:
            size = sizes[0]
        else:
            size = chance.choice(sizes)
        content.extend(bytes(max(0, size - len(content))))
        return bytes(content[:size])

    def _kept(
        self, number: int, versions: list[bytes], keep: Keep, torn: int, chance: random.Random
    ) -> bytes | None:
        newest = versions[-1]
        meta = number * SECTOR < _META_PAGES * PAGE
        if keep is Keep.COIN or (keep is Keep.TORN and number * SECTOR // PAGE == torn):
            return chance.choice([None, *versions])
        stays = {
            Keep.ALL: True,
            Keep.TORN: True,
            Keep.NONE: False,
            Keep.LAST: number in self.last,
            Keep.META: meta,
            Keep.NOT_META: not meta,
        }
        return newest if stays[keep] else None


@dataclass
class Names:
    """The names in one folder: what its readers see, and what of it is surely on the disk."""

    seen: dict[str, int] = field(default_factory=dict)  # name: node
    durable: dict[str, int] = field(default_factory=dict)
    loose: list[Event] = field(default_factory=list)  # since its last barrier, in their order

    def change(self, event: Event) -> None:
        """Give, move or take away a name."""
        _rename(self.seen, event)
        self.loose.append(event)

    def barrier(self) -> None:
        """Make all of it durable."""
        self.durable, self.loose = dict(self.seen), []

    def image(self, keep: Keep, chance: random.Random) -> dict[str, int]:
        """Return the names after the cut: the loose ones up to one of them."""
        whole = {Keep.ALL: len(self.loose), Keep.TORN: len(self.loose), Keep.NONE: 0}
        reached = whole.get(keep, chance.randint(0, len(self.loose)))
        names = dict(self.durable)
        for event in self.loose[:reached]:
            _rename(names, event)
        return names


def _rename(names: dict[str, int], event: Event) -> None:
    if event["kind"] == "unlink":
        names.pop(event["last"], None)
    elif event["kind"] == "rename":
        names[event["new"]] = names.pop(event["last"])
    else:
        names[event["last"]] = event["node"]


class Disk:
    """A folder on that disk, played forward event by event."""

    def __init__(self, log: Path) -> None:
        with log.open(encoding="utf-8") as lines:
            self.events: list[Event] = [json.loads(line) for line in lines]
        self._bytes = log.with_suffix(".bytes").read_bytes()
        self.played = 0
        # nodes have the number of the event that made them, counted from 1; 0 is the root
        self._files: dict[int, File] = {}
        self._folders: dict[int, Names] = {0: Names()}
        self._by_inode: dict[int, int] = {}

    def play(self, until: int) -> None:
        """Let the events before number `until` happen."""
        while self.played < until:
            self._happen(self.events[self.played], done=True)
            self.played += 1

    def in_the_middle(self) -> Disk:
        """Return a copy in which the next event has begun: written in part, or no barrier yet."""
        other = copy.copy(self)
        if self.played < len(self.events):
            event = self.events[self.played]
            other._files, other._folders = {**self._files}, copy.deepcopy(self._folders)
            other._by_inode = {**self._by_inode}
            if event["kind"] in ("write", "size"):
                node = self._by_inode[event["inode"]]
                other._files[node] = copy.deepcopy(self._files[node])
            other._happen(event, done=False)
        return other

    def _happen(self, event: Event, *, done: bool) -> None:
        kind = event["kind"]
        if kind == "write":
            data = self._bytes[event["place"] : event["place"] + event["size"]]
            self._file(event).write(event["at"], data, synced=bool(event["synced"]) and done)
        elif kind == "size":
            self._file(event).resize(event["size"])
        elif kind in ("sync", "sync_folder"):
            if done:
                held = self._file(event) if kind == "sync" else self._folders[self._find(event)]
                held.barrier()
        else:
            self._name(event)

    def _name(self, event: Event) -> None:
        above, _, last = event["name"].rpartition("/")
        node, made = self.played + 1, {**event, "last": last}
        if event["kind"] == "create":
            self._files[node], self._by_inode[event["inode"]] = File(), node
        elif event["kind"] == "folder":
            self._folders[node] = Names()
        elif event["kind"] == "rename":
            beside, _, made["new"] = event["target"].rpartition("/")
            if beside != above:
                raise ValueError(f"a move between folders is not modelled: {event}")
        self._folders[self._find({"name": above})].change({**made, "node": node})

    def _find(self, event: Event) -> int:
        """Return the node of a folder by its path."""
        node = 0
        for part in filter(None, event["name"].split("/")):
            node = self._folders[node].seen[part]
        return node

    def _file(self, event: Event) -> File:
        return self._files[self._by_inode[event["inode"]]]

    def seen(self, node: int = 0, path: str = "") -> Iterator[tuple[str, bytes]]:
        """Walk the files as readers see them: what the folder must hold if nothing was missed."""
        for name, below in self._folders[node].seen.items():
            if below in self._files:
                yield f"{path}{name}", bytes(self._files[below].seen)
            else:
                yield from self.seen(below, f"{path}{name}/")

    def write_image(self, target: Path, keep: Keep, chance: random.Random, node: int = 0) -> None:
        """Write what the power cut leaves into the new folder `target`."""
        target.mkdir()
        for name, below in sorted(self._folders[node].image(keep, chance).items()):
            if below in self._files:
                (target / name).write_bytes(self._files[below].image(keep, chance))
            else:
                self.write_image(target / name, keep, chance, below)
