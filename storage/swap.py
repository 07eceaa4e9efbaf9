"""Putting one environment in another's place, in steps that may each be cut.

    1  the new one is built in `dtms.NAME.new`, verified, durable    (the caller)
    2  the note `dtms.NAME.swap` says what is to happen
    3  NAME is renamed to its name aside, its reason beside it
    4  `dtms.NAME.new` is renamed to NAME
    5  the watermark is that of the new one
    6  the note becomes `dtms.NAME.told-STAMP`: what people must still hear of

Cut before step 2, nothing has happened; cut after it, the next start goes on
where it was cut. Nothing is ever deleted but a copy that was not finished.
"""

from __future__ import annotations

import datetime as dt
import json
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self

from defence.errors import FolderRefused
from storage.files import refused, sync_folder, write_whole
from storage.layout import DATA_FILE
from storage.marks import Mark, write_mark

_TRIES: Final = 1000


class Why(StrEnum):
    """Why a store gives way to another."""

    DAMAGED = "damaged"
    ROLLED_BACK = "rolled-back"
    RESTORED = "restored"  # a person asked for it
    MIGRATED = "migrated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Swap:
    """What happened to a store. Times are UTC epoch seconds.

    `source` is the backup set that came in its place, the store's own name for
    what was sound of itself, None for an empty one. `sequence` is that of what
    came, `reached` how far the store is known to have come; None: not known.
    """

    name: str
    why: Why
    reason: str
    at: float
    aside: str | None  # the folder's new name; None: there was nothing
    source: str | None = None
    source_at: float | None = None
    birth: str | None = None
    sequence: int | None = None
    reached: int | None = None

    @property
    def missing(self) -> int | None:
        """How many commits are known to be missing; None: not known."""
        if self.reached is None or self.sequence is None:
            return None
        return max(0, self.reached - self.sequence)

    def plain(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return {
            "name": self.name,
            "why": self.why.value,
            "reason": self.reason,
            "at": self.at,
            "aside": self.aside,
            "source": self.source,
            "source_at": self.source_at,
            "birth": self.birth,
            "sequence": self.sequence,
            "reached": self.reached,
        }

    @classmethod
    def of_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Return what `plain` wrote; LookupError, TypeError or ValueError if it is not that."""
        return cls(**{**plain, "why": Why(plain["why"])})


def built(store: Path) -> Path:
    """Return where the new environment of a store is built."""
    return store.with_name(f"dtms.{store.name}.new")


def new_folder(store: Path) -> Path:
    """Return where the new environment of a store is built. What was left there is removed.

    Call `finish` first: an unfinished swap still needs it.
    """
    folder = built(store)
    try:
        if folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        raise refused(error, folder, "removing an unfinished copy") from error
    return folder


def begin(store: Path, swap: Swap) -> Swap:
    """Put what was built in the store's place (steps 2 to 6); return the swap with its name aside.

    Raises StoreFull or FolderRefused; the next start goes on from there.
    """
    folder, stamp = store.parent, _stamp(swap.at)
    if _filled(store):
        swap = replace(swap, aside=_free(store, f"{store.name}.{swap.why.value}-{stamp}"))
    write_whole(_note(store), _sealed(swap))
    finish(folder, store.name)
    return swap


def finish(folder: Path, name: str) -> Swap | None:
    """Go on with the swap of a store that was cut, if there is one (steps 3 to 6)."""
    store, note = folder / name, _note(folder / name)
    swap = _read(note)
    if swap is None:
        return None
    new = built(store)
    # once the new one is in place, it must not be taken for the one that gives way
    begun = swap.source is None or new.exists()
    try:
        if begun and swap.aside is not None and not (folder / swap.aside).exists():
            write_whole(folder / f"{swap.aside}.txt", _reason(swap))
            if store.exists():
                store.rename(folder / swap.aside)
                sync_folder(folder)
        if begun and swap.source is not None:
            _clear_empty(store)
            new.rename(store)
            sync_folder(folder)
        if swap.birth is not None and swap.sequence is not None:
            write_mark(store, Mark(swap.birth, swap.sequence))
        note.replace(_told_note(folder, swap))
        sync_folder(folder)
    except OSError as error:
        raise refused(error, store, "putting a store in another's place") from error
    return swap


def tell(folder: Path, swap: Swap) -> None:
    """Leave a note for people without a swap, durable. Raises StoreFull or FolderRefused."""
    write_whole(_told_note(folder, swap), _sealed(swap))


def untold(folder: Path) -> list[tuple[Path, Swap]]:
    """Return the swaps that people have not been told of, with their notes, oldest first."""
    found = []
    for note in folder.glob("dtms.*.told-*"):
        if note.suffix == ".tmp":  # one that was cut while it was written: it is written anew
            continue
        try:
            swap = _read(note)
        except FolderRefused as error:
            # what it said is lost, that there was something is not
            name = note.name.split(".")[1]
            at = note.stat().st_mtime
            swap = Swap(name=name, why=Why.DAMAGED, reason=str(error), at=at, aside=None)
        if swap is not None:
            found.append((note, swap))
    return sorted(found, key=lambda each: (each[1].at, each[0].name))


def told(note: Path) -> None:
    """Remove the note of a swap: it stands in the outbox now."""
    try:
        note.unlink(missing_ok=True)
        sync_folder(note.parent)
    except OSError as error:
        raise refused(error, note, "removing a note") from error


def _told_note(folder: Path, swap: Swap) -> Path:
    mark = zlib.crc32(_sealed(swap))
    return folder / f"dtms.{swap.name}.told-{_stamp(swap.at)}-{mark:08x}"


def _note(store: Path) -> Path:
    return store.with_name(f"dtms.{store.name}.swap")


def _filled(store: Path) -> bool:
    """Whether there is something to set aside: a file in place, or a folder that holds one."""
    return store.is_file() or (store / DATA_FILE).exists() or (store.is_dir() and _others(store))


def _others(store: Path) -> bool:
    return any(True for _ in store.iterdir())


def _clear_empty(store: Path) -> None:
    """Renaming onto a folder fails on some systems, also where it is empty."""
    if store.is_dir():
        store.rmdir()  # fails if there is anything in it: nothing is overwritten


def _free(store: Path, wanted: str) -> str:
    for number in range(_TRIES):
        name = f"{wanted}{f'-{number}' * bool(number)}"
        if not store.with_name(name).exists() and not store.with_name(f"{name}.txt").exists():
            return name
    raise FolderRefused(
        f"no free name beside {store}",
        field="data_dir",
        value=str(store),
        remedy="move the stores that were set aside to another folder",
    )


def _stamp(at: float) -> str:
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y%m%dT%H%M%SZ")


def _reason(swap: Swap) -> bytes:
    moment = dt.datetime.fromtimestamp(swap.at, dt.UTC).isoformat()
    came = "an empty one" if swap.source is None else swap.source
    lines = (
        f"{swap.name} was set aside at {moment} ({swap.why.value})\n"
        f"reason: {swap.reason}\nin its place: {came}\n"
    )
    return lines.encode("utf-8", "backslashreplace")


def _sealed(swap: Swap) -> bytes:
    body = json.dumps(swap.plain(), sort_keys=True)
    return json.dumps({"swap": body, "crc": zlib.crc32(body.encode())}).encode()


def _read(note: Path) -> Swap | None:
    """Return what a note says; None if there is none. Raises FolderRefused if it is damaged."""
    try:
        content = note.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise refused(error, note, "reading a note") from error
    try:
        sealed = json.loads(content)
        body = sealed["swap"]
        if zlib.crc32(body.encode()) != sealed["crc"]:
            raise ValueError("it does not match its checksum")
        return Swap.of_plain(json.loads(body))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise FolderRefused(
            f"the note {note} is damaged: {error}",
            field="data_dir",
            value=str(note),
            remedy="look at the stores named like it, put the right one in place, remove the note",
        ) from error
