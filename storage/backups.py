"""Backups: sets of compact, verified copies, one a moment, the newest few kept.

A set is a folder `backups/20261122T183640Z/` with a copy of each environment
and `manifest.json`. It gets its name when all of it is durable; what was cut
before that is called `....part` and is removed at the next backup.
"""

from __future__ import annotations

import datetime as dt
import json
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import filelock

from defence.errors import Damaged, FolderRefused, StoreFull, TryAgain
from storage import preflight
from storage.environment import Environment
from storage.examine import Facts, Finding, Verdict
from storage.files import OWNER_FILE, PLENTY, make_folder, refused, sync_folder, write_whole
from storage.layout import DATA_FILE

MANIFEST: Final = "manifest.json"
FORMAT: Final = 1  # of the set
_PART: Final = ".part"
_LOCK: Final = "dtms.backup.lock"
# what a file that is no manifest can trip its reader over
_NO_SET: Final = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    RecursionError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupSet:
    """One set: when (UTC epoch seconds), the how manieth, and what each copy holds."""

    path: Path
    number: int
    at: float
    copies: Mapping[str, Facts]
    failed: Mapping[str, str] = field(default_factory=dict)  # stores without a copy, and why

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def account(self) -> tuple[int, str] | None:
        """Login and server of the trades in it; None if it has none."""
        trades = self.copies.get("trades")
        return None if trades is None else trades.account


def take(folder: Path, sources: Sequence[Environment] | Sequence[Path], at: float) -> BackupSet:
    """Copy environments into a new set below `folder`; return it.

    Sources are the open environments of this process, or paths: at rest if
    the caller holds the data folder's lock, else of a process that runs; both
    are read as a reader that the writer knows of. A store whose copy fails its
    check is left out, and `failed` says why; raises Damaged if that is so for
    all, TryAgain while another backup is under way, StoreFull, FolderRefused or
    StartRefused (no child could do it); then there is no new set.
    """
    for source in sources:
        if isinstance(source, Environment):
            source.files.must_be_locked()
    make_folder(folder)
    with _alone(folder):
        _sweep(folder)
        _must_fit(folder, sources)
        part = folder / f"{_free(folder, at)}{_PART}"
        make_folder(part)
        try:
            return _fill(folder, part, sources, at)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise


def _fill(
    folder: Path, part: Path, sources: Sequence[Environment] | Sequence[Path], at: float
) -> BackupSet:
    made, failed = _copies(part, sources)
    if not made:
        raise Damaged(
            "no store passed the check of its copy: "
            + "; ".join(f"{name}: {reason}" for name, reason in failed.items()),
            field="data_dir",
            remedy="restart the guard: it checks every store before it opens it",
        )
    number = 1 + max((each.number for each in sets(folder)), default=0)
    write_whole(part / MANIFEST, _manifest(number, at, made, failed))
    target = part.with_name(part.name.removesuffix(_PART))
    try:
        part.rename(target)
        sync_folder(folder)
    except OSError as error:
        raise refused(error, target, "naming the backup") from error
    return BackupSet(path=target, number=number, at=at, copies=made, failed=failed)


def sets(folder: Path) -> list[BackupSet]:
    """Return the sets below `folder`, the newest first; what is no set is passed over."""
    try:
        names = [entry for entry in folder.iterdir() if entry.is_dir() and entry.suffix != _PART]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise refused(error, folder, "reading the backups") from error
    found = []
    for path in names:
        try:
            found.append(read_set(path))
        except (Damaged, FolderRefused):
            continue  # damaged, or a newer version's: `verify` names it, a restore takes another
    return sorted(found, key=lambda each: (each.number, each.at), reverse=True)


def read_set(path: Path) -> BackupSet:
    """Return the set in the folder `path`; Damaged if its manifest is not what was written.

    Raises FolderRefused for a newer version's.
    """
    try:
        sealed = json.loads((path / MANIFEST).read_bytes())
        body = sealed["backup"]
        if zlib.crc32(body.encode()) != sealed["crc"]:
            raise ValueError("it does not match its checksum")
        said: dict[str, Any] = json.loads(body)
        if said["format"] > FORMAT:
            raise FolderRefused(
                f"the backup has format {said['format']}; this program knows {FORMAT}",
                field="backup",
                value=str(path),
                remedy="use the newer DTMS that made it",
            )
        return BackupSet(
            path=path,
            number=int(said["number"]),
            at=float(said["at"]),
            copies={name: Facts.of_plain(plain) for name, plain in said["copies"].items()},
            failed=dict(said["failed"]),
        )
    except _NO_SET as error:
        raise Damaged(
            f"{path} is no backup set: {error}",
            field="backup",
            value=str(path),
            remedy="choose another one; `verify` lists them",
        ) from error


def prune(folder: Path, keep: int) -> list[str]:
    """Remove the oldest sets beyond the newest `keep`; return their names.

    A set that holds the newest copy of any store stays, however old. Raises
    FolderRefused if one cannot be removed, TryAgain while a backup is under way.
    """
    with _alone(folder):
        found = sets(folder)
        newest = {name: each.path for each in reversed(found) for name in each.copies}
        gone = [each.path for each in found[max(keep, 1) :] if each.path not in newest.values()]
        for path in gone:
            # first its name: a set that is half removed must not pass for one
            doomed = path.with_name(f"{path.name}{_PART}")
            try:
                path.rename(doomed)
                shutil.rmtree(doomed)
            except OSError as error:
                raise refused(error, path, "removing an old backup") from error
    return [path.name for path in gone]


def _must_fit(folder: Path, sources: Sequence[Environment] | Sequence[Path]) -> None:
    """Refuse a backup that could fill the disk: the trades need it more."""
    paths = [each.path if isinstance(each, Environment) else each for each in sources]
    try:
        files = [path / DATA_FILE for path in paths]
        size = sum(file.stat().st_size for file in files if file.exists())
        free = shutil.disk_usage(folder).free
    except OSError:  # not to be told: the copies will find out
        return
    if free < size + PLENTY:
        raise StoreFull(
            f"a backup of up to {size >> 20} MB would leave less than {PLENTY >> 20} MB",
            field="backup",
            value=str(folder),
            remedy="free some space on that disk, or keep fewer backups",
        )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Let one backup at a time write below `folder`, of all processes."""
    lock = filelock.FileLock(folder / _LOCK, mode=OWNER_FILE, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise TryAgain(
            f"another backup into {folder} is under way", field="backup", remedy="try again later"
        ) from error
    except OSError as error:
        raise refused(error, folder, "locking the backups") from error
    try:
        yield
    finally:
        lock.release()


def _copies(
    part: Path, sources: Sequence[Environment] | Sequence[Path]
) -> tuple[dict[str, Facts], dict[str, str]]:
    made: dict[str, Facts] = {}
    failed: dict[str, str] = {}
    verdicts = _verdicts(part, sources)
    for each in sources:
        path = each.path if isinstance(each, Environment) else each
        if path.name not in verdicts:
            failed[path.name] = f"{DATA_FILE} is missing"
    for name, verdict in verdicts.items():
        if verdict.finding is Finding.SOUND and verdict.facts is not None:
            made[name] = verdict.facts
        else:
            failed[name] = verdict.reason or "it holds nothing yet"
            shutil.rmtree(part / name, ignore_errors=True)
    return made, failed


def _verdicts(part: Path, sources: Sequence[Environment] | Sequence[Path]) -> dict[str, Verdict]:
    """Copy into `part`; return what the check of each copy said, by store."""
    own = [each for each in sources if isinstance(each, Environment)]
    if own and not preflight.available():
        # a frozen program has no child, and cannot open what it has open
        targets = {each.name: part / each.path.name for each in own}
        for each in own:
            each.copy_here(targets[each.name])
        looked = preflight.look(targets.values())
        return {name: looked[target] for name, target in targets.items()}
    paths = [each.path if isinstance(each, Environment) else each for each in sources]
    pairs = {path: part / path.name for path in paths if (path / DATA_FILE).exists()}
    try:
        verdicts = preflight.copy(pairs, live=True)
    finally:
        for each in own:
            each.free_readers()  # the copying process may have been killed
    return {path.name: verdict for path, verdict in verdicts.items()}


def _manifest(
    number: int, at: float, made: Mapping[str, Facts], failed: Mapping[str, str]
) -> bytes:
    body = json.dumps(
        {
            "format": FORMAT,
            "number": number,
            "at": at,
            "copies": {name: facts.plain() for name, facts in made.items()},
            "failed": dict(failed),
        },
        sort_keys=True,
    )
    return json.dumps({"backup": body, "crc": zlib.crc32(body.encode())}, indent=1).encode()


def _free(folder: Path, at: float) -> str:
    stamp = dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y%m%dT%H%M%SZ")
    number = 0
    while (folder / (name := f"{stamp}{f'-{number}' * bool(number)}")).exists():
        number += 1
    return name


def _sweep(folder: Path) -> None:
    """Remove what cut backups and removals left; the caller is alone."""
    for left in folder.glob(f"*{_PART}"):
        shutil.rmtree(left, ignore_errors=True)
