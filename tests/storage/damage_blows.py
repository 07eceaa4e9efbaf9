"""What befalls a data folder at rest: every kind of damage, seeded in place and size."""

from __future__ import annotations

import random
import shutil
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeAlias

from damage_journal import STORES
from damage_world import Copy, World

PAGE: Final = 4096
_DELETE: Final = b""
Bytes: TypeAlias = Callable[[random.Random, bytearray], None]


@dataclass
class Damage:
    """What was done; `could_be` are journal places that a store may be at now, by store.

    `spoilt` are the stores whose `data.mdb` is not what it was, `unmarked`
    those whose watermark is not, `marker` whether `dtms.json` is not,
    `refusal` whether the guard may refuse to start.
    """

    kinds: list[str] = field(default_factory=list)
    spoilt: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)  # nothing of it is left to be read
    could_be: dict[str, set[int]] = field(default_factory=dict)
    unmarked: set[str] = field(default_factory=set)
    backups: set[tuple[str, str]] = field(default_factory=set)  # set and store whose copy is spoilt
    marker: bool = False
    refusal: bool = False


# -- the bytes of one file


def _flip(rng: random.Random, data: bytearray) -> None:
    for _ in range(rng.choice([1, 1, 4, 64])):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def _flip_meta(rng: random.Random, data: bytearray) -> None:
    at = rng.choice([0, PAGE])
    for _ in range(rng.choice([1, 1, 3])):
        data[at + rng.randrange(16, 152)] ^= 1 << rng.randrange(8)


def _zero_meta(rng: random.Random, data: bytearray) -> None:
    at = rng.choice([0, PAGE])
    data[at : at + PAGE] = bytes(PAGE)


def _garbage_meta(rng: random.Random, data: bytearray) -> None:
    at = rng.choice([0, PAGE])
    data[at : at + 200] = rng.randbytes(200)


def _swap_metas(rng: random.Random, data: bytearray) -> None:
    data[0:PAGE], data[PAGE : 2 * PAGE] = data[PAGE : 2 * PAGE], data[0:PAGE]


def _old_meta(rng: random.Random, data: bytearray) -> None:
    """Make the newest meta page invalid: the engine would go on from the one before."""
    numbers = [struct.unpack_from("<Q", data, at + 16 + 128)[0] for at in (0, PAGE)]
    at = 0 if numbers[0] > numbers[1] else PAGE
    data[at + 16 + 128 : at + 16 + 136] = bytes(8)  # its transaction's number


def _page(rng: random.Random, data: bytearray) -> int:
    return rng.randrange(2, max(3, len(data) // PAGE)) * PAGE


def _zero_page(rng: random.Random, data: bytearray) -> None:
    at = _page(rng, data)
    data[at : at + PAGE] = bytes(len(data[at : at + PAGE]))


def _garbage_page(rng: random.Random, data: bytearray) -> None:
    at = _page(rng, data)
    data[at : at + PAGE] = rng.randbytes(len(data[at : at + PAGE]))


def _swap_pages(rng: random.Random, data: bytearray) -> None:
    one, two = _page(rng, data), _page(rng, data)
    first, second = bytes(data[one : one + PAGE]), bytes(data[two : two + PAGE])
    data[one : one + PAGE], data[two : two + PAGE] = second, first


def _same_page(rng: random.Random, data: bytearray) -> None:
    """Write an older content of a page over it, as a disk does that loses a write."""
    one, two = _page(rng, data), _page(rng, data)
    number = data[one : one + 8]
    data[one : one + PAGE] = data[two : two + PAGE]
    data[one : one + 8] = number


def _page_header(rng: random.Random, data: bytearray) -> None:
    at = _page(rng, data)
    for _ in range(rng.choice([1, 2])):
        place = at + rng.randrange(16)
        if place < len(data):
            data[place] ^= 1 << rng.randrange(8)


def _free_list(rng: random.Random, data: bytearray) -> None:
    """Strike the root of the list of free pages, that no reader looks at."""
    newest = max((0, PAGE), key=lambda at: struct.unpack_from("<Q", data, at + 16 + 128)[0])
    root = struct.unpack_from("<Q", data, newest + 16 + 24 + 40)[0]
    at = root * PAGE
    if not 2 * PAGE <= at < len(data):
        at = _page(rng, data)
    for _ in range(rng.choice([1, 8])):
        data[min(len(data) - 1, at + rng.randrange(PAGE))] ^= 1 << rng.randrange(8)


_WORDS: Final = (
    b"managed_by", b"stop_loss", b"volume", b"EURUSD", b"identifier", b"detail", b"command",
    b"sequence", b"birth", b"monitor", b"mode", b"armed", b"text", b"account", b"at",
)  # fmt: skip


def _record(rng: random.Random, data: bytearray) -> None:
    """Change a byte of some record, beside a word that stands in it."""
    places = [at for word in _WORDS if (at := data.find(word, 2 * PAGE)) >= 0]
    if not places:
        _flip(rng, data)
        return
    word = rng.choice(_WORDS)
    found, at = [], data.find(word, 2 * PAGE)
    while at >= 0:
        found.append(at)
        at = data.find(word, at + 1)
    place = rng.choice(found or places) + rng.randrange(-8, 24)
    data[place % len(data)] ^= 1 << rng.randrange(8)


def _cut(rng: random.Random, data: bytearray) -> None:
    length = len(data)
    lengths = (
        0, 1, 63, 64, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE - 1, 2 * PAGE, 2 * PAGE + 1, 3 * PAGE,
        length // 2, length // 2 // PAGE * PAGE, length - PAGE, length - 1, length - PAGE - 1,
        rng.randrange(length),
    )  # fmt: skip
    del data[max(0, rng.choice(lengths)) :]


def _grow(rng: random.Random, data: bytearray) -> None:
    data += rng.randbytes(rng.choice([1, PAGE - 1, PAGE, 10_000]))


def _garbage(rng: random.Random, data: bytearray) -> None:
    data[:] = rng.randbytes(len(data))


def _holes(rng: random.Random, data: bytearray) -> None:
    """Lose several stretches of 512 bytes, as a dying disk does."""
    for _ in range(rng.choice([1, 2, 5])):
        at = rng.randrange(len(data) // 512) * 512
        data[at : at + 512] = bytes(len(data[at : at + 512]))


BYTES: Final[Mapping[str, Bytes]] = {
    "flip": _flip,
    "flip_meta": _flip_meta,
    "zero_meta": _zero_meta,
    "garbage_meta": _garbage_meta,
    "swap_metas": _swap_metas,
    "old_meta": _old_meta,
    "zero_page": _zero_page,
    "garbage_page": _garbage_page,
    "swap_pages": _swap_pages,
    "same_page": _same_page,
    "page_header": _page_header,
    "free_list": _free_list,
    "record": _record,
    "cut": _cut,
    "grow": _grow,
    "garbage": _garbage,
    "holes": _holes,
}


# -- a whole folder


class Blows:
    """Strikes a world's folder and keeps count of what was done."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world, self.rng = world, rng
        self.data = world.folder / "data"
        self.damage = Damage()

    def strike(self, kind: str) -> None:
        """Do one kind of damage to a store of the generator's choice."""
        name = self.rng.choice(["trades", "trades", "trades", *STORES])
        getattr(self, f"_{kind}", self._bytes)(kind, name)
        self.damage.kinds.append(f"{kind}:{name}")

    def _bytes(self, kind: str, name: str) -> None:
        path = self.data / name / "data.mdb"
        self._spoil(path, BYTES[kind])
        self._note(name, {self.world.last[name], max(0, self.world.last[name] - 1)})

    def _spoil(self, path: Path, how: Bytes) -> None:
        if not path.is_file():
            return  # another blow took it away
        content = bytearray(path.read_bytes())
        if len(content) > 2 * PAGE:
            how(self.rng, content)
            path.write_bytes(content)

    def _note(self, name: str, places: set[int]) -> None:
        self.damage.spoilt.add(name)
        self.damage.could_be.setdefault(name, set()).update(places)

    def _old_copy(self, kind: str, name: str) -> None:
        old: Copy = self.rng.choice(self.world.olds)
        folder = self.data / name
        if self._can_lie(name):
            (folder / "data.mdb").write_bytes(old.data[name])
            self.damage.lost.discard(name)
            self._note(name, {old.index[name]})

    def _old_copy_and_mark(self, kind: str, name: str) -> None:
        """Put back file and watermark of one moment: then nobody can tell."""
        old: Copy = self.rng.choice(self.world.olds)
        folder = self.data / name
        if self._can_lie(name):
            (folder / "data.mdb").write_bytes(old.data[name])
            self.damage.lost.discard(name)
            self._note(name, {old.index[name]})
            self.damage.unmarked.add(name)
            mark = self.data / f"dtms.{name}.mark"
            mark.write_bytes(old.marks.get(name, _DELETE))

    def _others_file(self, kind: str, name: str) -> None:
        other = self.rng.choice([each for each in STORES if each != name])
        source = self.data / other / "data.mdb"
        if self._can_lie(name) and source.is_file():
            shutil.copyfile(source, self.data / name / "data.mdb")
            self.damage.lost.discard(name)
            self._note(name, set())

    def _no_file(self, kind: str, name: str) -> None:
        if self._can_lie(name):
            (self.data / name / "data.mdb").unlink(missing_ok=True)
            self._lose(name)

    def _can_lie(self, name: str) -> bool:
        """Whether a data file can lie there: no other blow has put something in its place."""
        return (self.data / name).is_dir() and not (self.data / name / "data.mdb").is_dir()

    def _no_folder(self, kind: str, name: str) -> None:
        if (self.data / name).is_dir():
            shutil.rmtree(self.data / name)
        self._lose(name)

    def _file_for_folder(self, kind: str, name: str) -> None:
        if (self.data / name).is_dir():
            shutil.rmtree(self.data / name)
            (self.data / name).write_bytes(b"not a folder")
            self._lose(name)

    def _folder_for_file(self, kind: str, name: str) -> None:
        path = self.data / name / "data.mdb"
        if self._can_lie(name):
            path.unlink(missing_ok=True)
            path.mkdir(exist_ok=True)
            self._lose(name)

    def _no_folders(self, kind: str, name: str) -> None:
        for each in STORES:
            self._no_folder(kind, each)

    def _lose(self, name: str) -> None:
        self._note(name, set())
        self.damage.lost.add(name)

    def _lock_file(self, kind: str, name: str) -> None:
        """Spoil what LMDB makes anew by itself."""
        path = self.data / name / "lock.mdb"
        if path.is_file():
            path.write_bytes(self.rng.choice([b"", self.rng.randbytes(8192), b"\xff" * 100]))

    def _marker(self, kind: str, name: str) -> None:
        path = self.data / "dtms.json"
        if not path.exists():
            return
        content = bytearray(path.read_bytes())
        how = self.rng.choice(["flip", "empty", "cut", "garbage", "nested"])
        if how == "flip":
            # a bit may change a blank and nothing that it says; this one says another account
            content = bytearray(content.replace(b'"made": true', b'"made": false'))
        elif how == "empty":
            content = bytearray()
        elif how == "cut":
            del content[self.rng.randrange(1, len(content) - 1) :]
        elif how == "garbage":
            content = bytearray(self.rng.randbytes(200))
        else:
            content = bytearray(b"[" * 100_000)
        path.write_bytes(content)
        self.damage.marker = True

    def _no_marker(self, kind: str, name: str) -> None:
        (self.data / "dtms.json").unlink(missing_ok=True)
        self.damage.marker = True

    def _mark(self, kind: str, name: str) -> None:
        path = self.data / f"dtms.{name}.mark"
        content = bytearray(path.read_bytes() if path.exists() else b"\0" * 32)
        how = self.rng.choice(["flip", "cut", "garbage", "others", "none"])
        if how == "flip" and content:
            content[self.rng.randrange(len(content))] ^= 1 << self.rng.randrange(8)
        elif how == "cut":
            del content[self.rng.randrange(max(1, len(content))) :]
        elif how == "garbage":
            content = bytearray(self.rng.randbytes(self.rng.choice([32, 100])))
        elif how == "others":
            other = self.data / f"dtms.{self.rng.choice(STORES)}.mark"
            content = bytearray(other.read_bytes() if other.exists() else b"")
        path.write_bytes(content)
        if how == "none":
            path.unlink()
        self.damage.unmarked.add(name)

    def _backup(self, kind: str, name: str) -> None:
        """Damage a store and its copy in the newest set too."""
        self._bytes(self.rng.choice(["cut", "garbage", "zero_page", "record"]), name)
        if not self.world.sets:
            return
        newest = self.world.sets[-1].name
        how = self.rng.choice([*BYTES.values(), None])
        path = self.data / "backups" / newest
        if how is not None:
            self._spoil(path / name / "data.mdb", how)
            self.damage.backups.add((newest, name))
        else:
            manifest = path / "manifest.json"
            manifest.write_bytes(self.rng.choice([b"", b"{}", b"[1]", manifest.read_bytes()[:-9]]))
            self.damage.backups.update((newest, each) for each in STORES)


WHOLE: Final = (
    "old_copy",
    "old_copy_and_mark",
    "others_file",
    "no_file",
    "no_folder",
    "file_for_folder",
    "folder_for_file",
    "no_folders",
    "lock_file",
    "marker",
    "no_marker",
    "mark",
    "backup",
)
KINDS: Final = (*BYTES, *WHOLE)


def strike(world: World, seed: int) -> Damage:
    """Damage the folder as `seed` says: the kinds come in turn, then in combinations."""
    rng = random.Random(f"blow {seed}")
    blows = Blows(world, rng)
    blows.strike(KINDS[seed % len(KINDS)])
    while rng.random() < 0.3:
        blows.strike(rng.choice([*KINDS, "old_copy", "old_copy", "mark", "backup"]))
    return blows.damage
