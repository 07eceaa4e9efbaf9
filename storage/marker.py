"""The marker file `dtms.json`: this folder is a data folder of DTMS, for this account.

It repeats the account that the trade store is bound to, so that a damaged
trade store does not make the folder free for another account.
"""

from __future__ import annotations

import datetime as dt
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from defence.errors import AccountRefused, Damaged, FolderRefused
from storage.files import refused, write_whole

MARKER: Final = "dtms.json"
FORMAT: Final = 1  # of the folder: which sub-folders and files there are


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """What the marker says. `made` is true once all stores have been made."""

    login: int | None = None
    server: str | None = None
    made: bool = False

    @property
    def account(self) -> tuple[int, str] | None:
        """Login and server the folder belongs to, None while it is new."""
        if self.login is None or self.server is None:
            return None
        return self.login, self.server

    def bound(self, login: int, server: str) -> Marker:
        """Return the marker bound to an account; AccountRefused if it has another."""
        if self.account is not None and self.account != (login, server):
            raise AccountRefused(
                f"the data folder belongs to {self.login} on {self.server!r}, "
                f"not to {login} on {server!r}",
                field="data_dir",
                value=f"{login} on {server}",
                remedy="choose another data folder for this account",
            )
        return replace(self, login=login, server=server)


def read_marker(folder: Path) -> Marker | None:
    """Return the folder's marker, None if there is none.

    Raises Damaged if it is not what was written, FolderRefused if it cannot be
    read or a newer version wrote it.
    """
    path = folder / MARKER
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise refused(error, path, "reading the marker") from error
    try:
        said = json.loads(content)
        body = {name: said[name] for name in ("format", "login", "server", "made")}
        if said["crc"] != _crc(body):
            raise _damaged(path, "it does not match its checksum")
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise _damaged(path, f"it cannot be read: {type(error).__name__}") from error
    if body["format"] > FORMAT:
        raise FolderRefused(
            f"the data folder has format {body['format']}; this program knows {FORMAT}",
            field="data_dir",
            value=str(folder),
            remedy="run the newer DTMS that made it, or use another data folder",
        )
    return Marker(login=body["login"], server=body["server"], made=body["made"])


def write_marker(folder: Path, marker: Marker) -> None:
    """Write the marker, whole and durable; StoreFull or FolderRefused if that fails."""
    body = {
        "format": FORMAT,
        "login": marker.login,
        "server": marker.server,
        "made": marker.made,
    }
    content = json.dumps({**body, "crc": _crc(body)}, indent=2) + "\n"
    write_whole(folder / MARKER, content.encode())


def keep_damaged(folder: Path, reason: str, now: float) -> str:
    """Keep what a damaged marker holds, with the reason, beside it; return its name there.

    Copied, not renamed: a folder without a marker would be a foreign one.
    Raises StoreFull or FolderRefused; done again after a cut, it is one copy.
    """
    path = folder / MARKER
    try:
        content = path.read_bytes()
    except OSError as error:
        raise refused(error, path, "reading the marker") from error
    name = f"{MARKER}.damaged-{zlib.crc32(content):08x}"
    moment = dt.datetime.fromtimestamp(now, dt.UTC).isoformat()
    write_whole(folder / name, content)
    write_whole(folder / f"{name}.txt", f"{MARKER} was damaged at {moment}: {reason}\n".encode())
    return name


def _crc(body: Mapping[str, object]) -> int:
    return zlib.crc32(json.dumps(body, sort_keys=True).encode())


def _damaged(path: Path, reason: str) -> Damaged:
    return Damaged(
        f"the marker {path} is damaged: {reason}",
        field="data_dir",
        value=str(path),
        remedy="set it aside; the account is known from the trade store",
    )
