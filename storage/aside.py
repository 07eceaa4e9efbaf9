"""Setting a damaged store aside: renamed, explained, never deleted."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import Final

from defence.errors import FolderRefused
from storage.files import OWNER_FILE, refused, sync_folder

_TRIES: Final = 1000


def set_aside(folder: Path, reason: str, now: float) -> Path:
    """Rename a folder (or file) beside itself and write why; return its new path.

    The name gets the moment `now` (UTC epoch seconds); the reason stands in a
    text file beside it. Raises FolderRefused if it cannot be renamed, StoreFull
    without room for the reason; then nothing has moved.
    """
    moment = dt.datetime.fromtimestamp(now, dt.UTC)
    stamp = moment.strftime("%Y%m%dT%H%M%SZ")
    lines = f"{folder.name} was set aside at {moment.isoformat()}\nreason: {reason}\n"
    try:
        for number in range(_TRIES):
            target = folder.with_name(f"{folder.name}.damaged-{stamp}{f'-{number}' * bool(number)}")
            note = target.with_name(f"{target.name}.txt")
            # the note is made first and exclusively: it reserves the name,
            # because renaming onto an empty folder would silently replace it
            if target.exists() or not _reserve(note, lines):
                continue
            try:
                folder.rename(target)
            except OSError:
                note.unlink(missing_ok=True)
                raise
            sync_folder(folder.parent)
            return target
    except OSError as error:
        raise refused(error, folder, "setting a damaged store aside") from error
    raise FolderRefused(
        f"no free name beside {folder}",
        field="data_dir",
        value=str(folder),
        remedy="move the stores that were set aside to another folder",
    )


def _reserve(note: Path, lines: str) -> bool:
    try:
        handle = os.open(note, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_FILE)
    except FileExistsError:
        return False
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        note.unlink(missing_ok=True)
        raise
    return True
