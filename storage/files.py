"""Small files written so that a power cut leaves the old or the new one, whole."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Final

from defence.errors import DtmsError, FolderRefused, StoreFull

OWNER_FOLDER: Final = 0o700
OWNER_FILE: Final = 0o600

_PASSING: Final = ("dtms.", ".tmp")  # how the name of a file begins and ends while it is written

ROOM: Final = 1 << 20  # bytes that must fit
PLENTY: Final = 64 << 20  # bytes; with fewer free a large transaction may not have fit

# no room: the disk, the quota, or the largest file that is allowed. The second
# set are Windows' own numbers, which LMDB hands out there (disk full, handle disk full)
NO_ROOM: Final = frozenset(
    {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
    | ({112, 39} if os.name == "nt" else set())
)


def refused(error: OSError, path: Path, doing: str) -> DtmsError:
    """Return our error for an operating system's one: StoreFull or FolderRefused."""
    if error.errno in NO_ROOM or getattr(error, "winerror", None) in NO_ROOM:
        return StoreFull(
            f"no room for {doing}: {error.strerror}",
            field="data_dir",
            value=str(path),
            remedy="free some space on that disk",
        )
    return FolderRefused(
        f"{doing} at {path} failed: {error.strerror or error}",
        field="data_dir",
        value=str(path),
        remedy="give this user the right to read and write there, or choose another folder",
    )


def make_folder(path: Path, *, parents: bool = False) -> None:
    """Make a folder for its owner only; one that exists is left as it is.

    Raises FolderRefused if the parent is missing (a disk that is not mounted
    must not be replaced by an empty folder), a file is in place, or the right
    to write is; StoreFull if there is no room.
    """
    try:
        path.mkdir(mode=OWNER_FOLDER, parents=parents, exist_ok=True)
    except FileNotFoundError as error:
        raise FolderRefused(
            f"the parent folder of {path} does not exist",
            field="data_dir",
            value=str(path),
            remedy="make the parent folder, mount its disk, or choose another folder",
        ) from error
    except (FileExistsError, NotADirectoryError) as error:
        raise FolderRefused(
            f"{path} is a file, or inside one; a folder is needed",
            field="data_dir",
            value=str(path),
            remedy="choose another folder, or move the file away",
        ) from error
    except OSError as error:
        raise refused(error, path, "making the folder") from error


def write_whole(path: Path, content: bytes) -> None:
    """Replace a small file atomically and durably, readable by its owner only.

    Raises StoreFull or FolderRefused; the old file is whole then.
    """
    # a name of our own ("dtms.") lets a killed first start be told from a foreign folder
    passing = path.with_name(f"{_PASSING[0]}{path.name}.{secrets.token_hex(4)}{_PASSING[1]}")
    try:
        try:
            handle = os.open(passing, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_FILE)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            passing.replace(path)
        except OSError:
            passing.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)
    except OSError as error:
        raise refused(error, path, "writing a file") from error


def sweep(folder: Path) -> None:
    """Remove what cut `write_whole`s left in a folder; the caller is alone in it.

    What cannot be removed is left: it is in nobody's way.
    """
    begins, ends = _PASSING
    with suppress(OSError):
        for left in folder.glob(f"{begins}*{ends}"):
            if left.is_dir():
                shutil.rmtree(left, ignore_errors=True)
            else:
                left.unlink(missing_ok=True)


def has_room(folder: Path) -> bool:
    """Whether the folder's disk takes another ROOM bytes from us (tried, not believed)."""
    try:
        if shutil.disk_usage(folder).free < PLENTY:
            return False
    except OSError:  # such as a folder that is gone: no question of room
        return True
    # quotas and limits do not show in the free space
    return not isinstance(try_to_write(folder, ROOM), StoreFull)


def try_to_write(folder: Path, size: int) -> DtmsError | None:
    """Write `size` bytes into the folder, durably, and delete them again.

    Returns why that cannot be done, StoreFull or FolderRefused; None if it can.
    Call it from one thread a folder.
    """
    # always the same name: what a kill in the middle leaves behind, the next try takes away
    probe = folder / "dtms.room.tmp"
    try:
        try:
            handle = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, OWNER_FILE)
            with os.fdopen(handle, "wb") as file:
                file.write(bytes(size))
                file.flush()
                os.fsync(file.fileno())
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        return refused(error, folder, "writing a file")
    return None


def sync_folder(path: Path) -> None:
    """Make new names in a folder durable, where the platform lets us."""
    if os.name == "nt":  # NTFS journals its names; a folder cannot be opened for fsync
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
