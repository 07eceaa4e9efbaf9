"""Which data folder an account was last guarded from: a copy of it must not take its place.

The account's lock refuses a second guard while the first one runs. When none
runs, a copied data folder looks like the real one: a guard started on it would
go on from an old book, and the original would later go on from another. So the
user's state folder remembers, beside the account's lock, the path of the
folder and an id that lies in the folder (and is copied with it): the same id at
another path, while the original is still there, is a copy. Where that cannot
be told (another machine, another user, an original that is gone, which is a
folder that was moved) the start goes on.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Final

from loguru import logger

from defence.errors import FolderRefused
from storage.files import refused, write_whole
from storage.locks import account_name

ID_FILE: Final = "dtms.id"
_SUFFIX: Final = ".home.json"
_LONGEST: Final = 200  # bytes that an id may have; ours have 32


def settle(state_dir: Path, folder: Path, login: int, server: str) -> None:
    """Remember that the account is guarded from this folder, or refuse it as a copy.

    Call it with both locks held. Raises FolderRefused for a copy whose original
    is still there, and for an id that cannot be read; StoreFull without room.
    """
    here, mine = folder.resolve(), _own_id(folder)
    note = state_dir / "accounts" / f"{account_name(login, server)}{_SUFFIX}"
    known = _read(note)
    if known == (str(here), mine):
        return
    if known is not None:
        original = Path(known[0])
        if known[1] == mine and _id_at(original) == mine and not _same(original, here):
            raise FolderRefused(
                f"{here} is a copy of {original}, from which the account {login} on {server!r} "
                "was guarded last",
                field="data_dir",
                value=str(here),
                remedy=f"start with {original}; if the copy shall take its place, rename the "
                "original first",
            )
        if known[1] != mine:
            logger.bind(child="guard").warning(
                "the account {} on {!r} was last guarded from {}; what only that folder knows is "
                "not in {}",
                login,
                server,
                original,
                here,
            )
    write_whole(note, json.dumps({"folder": str(here), "id": mine}).encode())


def _same(one: Path, other: Path) -> bool:
    """Whether two paths lead to one folder, by a bind mount or another spelling too."""
    try:
        return one.samefile(other)
    except OSError:  # not to be told: then by their names
        return one == other


def _own_id(folder: Path) -> str:
    """Return the folder's id; it is made on the first run."""
    try:
        known = _id_in(folder / ID_FILE)
    except OSError as error:
        raise refused(error, folder / ID_FILE, "reading the folder's id") from error
    if known is None:
        known = secrets.token_hex(16)
        write_whole(folder / ID_FILE, f"{known}\n".encode())
    return known


def _id_at(folder: Path) -> str | None:
    """Return the id of another folder, None if it cannot be told."""
    try:
        return _id_in(folder / ID_FILE)
    except OSError:  # not ours to read, or its disk is away: not to be told
        return None


def _id_in(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            text = file.read(_LONGEST).decode("ascii", "replace").strip()
    except FileNotFoundError:
        return None
    return text or None


def _read(note: Path) -> tuple[str, str] | None:
    """Return folder and id of the note; None for one that is missing or spoilt."""
    try:
        said = json.loads(note.read_bytes())
        known = said["folder"], said["id"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return known if isinstance(known[0], str) and isinstance(known[1], str) else None
