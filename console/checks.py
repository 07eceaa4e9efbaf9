"""What `doctor` looks at on this machine. Nothing is made and nothing is changed.

(The one exception is the lock file of a data folder that exists: whether it is
free can only be told by taking it for a moment.)
"""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from console.ends import Ended, told
from console.ops import Place, address, ask
from defence.errors import AlreadyGuarded, Damaged, DtmsError
from gateway.client import Client
from storage.examine import Finding
from storage.folder import ENVIRONMENTS, TOKEN
from storage.locks import FolderLock
from storage.marker import MARKER, read_marker
from storage.recovery import survey
from supervisors.siblings import check_siblings

if TYPE_CHECKING:
    from supervisors.settings import Settings

OLDEST_PYTHON: Final = (3, 11)
PACKAGES: Final = (
    *("console", "gateway", "supervisors", "actors", "storage"),
    *("terminals", "defence"),
)


class Verdict(StrEnum):
    """What a check comes to. Only BAD keeps a guard from starting."""

    OK = "ok"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at, and what to do if it is not well."""

    name: str
    verdict: Verdict
    text: str
    remedy: str = ""


def _bad(name: str, error: DtmsError) -> Check:
    text = error.message if error.field is None else f"{error.field}: {error.message}"
    return Check(name, Verdict.BAD, text, error.remedy or "")


def check_python(version: tuple[int, ...] = tuple(sys.version_info[:3])) -> Check:
    """Whether Python is new enough."""
    shown = ".".join(str(part) for part in version)
    if version[:2] >= OLDEST_PYTHON:
        return Check("python", Verdict.OK, f"{shown} at {sys.executable}")
    wanted = ".".join(map(str, OLDEST_PYTHON))
    return Check("python", Verdict.BAD, f"{shown} is too old", f"use Python {wanted} or newer")


def check_packages(names: Sequence[str] = PACKAGES, home: Path | None = None) -> Check:
    """Whether every package of ours comes from where this one does."""
    ours = home or Path(__file__).resolve().parent.parent
    try:
        check_siblings(names, ours)
    except ImportError as error:
        return Check("packages", Verdict.BAD, str(error), "mend sys.path, or rename the other")
    return Check("packages", Verdict.OK, f"all {len(names)} from {ours}")


def check_folder(folder: Path) -> list[Check]:
    """What the data folder is, and the state of its stores (not while a guard has it)."""
    name = "data folder"
    try:
        if not folder.exists():
            return [_new_folder(folder)]
        marker = read_marker(folder)
    except Damaged as error:
        return [Check(name, Verdict.NOTE, error.message, "the next start sets it aside")]
    except DtmsError as error:
        return [_bad(name, error)]
    except OSError as error:
        return [Check(name, Verdict.BAD, f"{folder}: {error.strerror}", "give this user the right")]
    if marker is None:
        return [_without_marker(folder)]
    owner = (
        "no account yet" if marker.account is None else "account {} on {}".format(*marker.account)
    )
    lock = FolderLock(folder)
    try:
        lock.acquire()
    except AlreadyGuarded as error:
        return [
            Check(name, Verdict.OK, f"{folder}, {owner}"),
            Check("stores", Verdict.NOTE, f"not looked at: {error.message}"),
        ]
    except DtmsError as error:
        return [_bad(name, error)]
    try:
        return [
            Check(name, Verdict.OK, f"{folder}, {owner}, not in use"),
            check_stores(folder, made=marker.made),
        ]
    finally:
        lock.release()


def _new_folder(folder: Path) -> Check:
    name = "data folder"
    if folder.absolute().parent.is_dir():
        return Check(name, Verdict.OK, f"{folder} will be made")
    return Check(
        name,
        Verdict.NOTE,
        f"{folder} does not exist, nor does the folder above it",
        "make it, mount its disk, or choose another --data-dir",
    )


def _without_marker(folder: Path) -> Check:
    name = "data folder"
    if not folder.is_dir():
        return Check(name, Verdict.BAD, f"{folder} is no folder", "choose another --data-dir")
    try:
        found = next(iter(sorted(entry.name for entry in folder.iterdir())), None)
    except OSError as error:
        return Check(name, Verdict.BAD, f"{folder}: {error.strerror}", "give this user the right")
    if found is None:
        return Check(name, Verdict.OK, f"{folder} is empty and will be used")
    return Check(
        name,
        Verdict.NOTE,
        f"{folder} holds {found!r} and no {MARKER}: the start refuses another program's folder",
        "choose an empty folder, or one that DTMS has made",
    )


def check_stores(folder: Path, *, made: bool) -> Check:
    """Whether the stores are sound. Hold the folder's lock."""
    try:
        found = survey(folder, ENVIRONMENTS, made=made)
    except DtmsError as error:
        return _bad("stores", error)
    refused = [
        f"{name}: {verdict.reason}"
        for name, (verdict, _) in found.items()
        if verdict.finding is Finding.REFUSED
    ]
    faults = [f"{name}: {fault.reason}" for name, (_, fault) in found.items() if fault is not None]
    if refused:
        remedy = "give this user the right to it, or run the version that wrote it"
        return Check("stores", Verdict.BAD, "; ".join(refused + faults), remedy)
    if faults:
        remedy = "the next start sets it aside and puts the newest good backup in its place"
        return Check("stores", Verdict.BAD, "; ".join(faults), remedy)
    return Check("stores", Verdict.OK, f"{', '.join(found)} are sound" if made else "not made yet")


def check_token(folder: Path, *, posix: bool = os.name != "nt") -> Check:
    """Whether the token is readable by its owner only."""
    path = folder / TOKEN
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return Check("token", Verdict.OK, "made at the first start")
    except OSError as error:
        return Check("token", Verdict.BAD, f"{path}: {error.strerror}", "run as the guard's user")
    if not posix:
        return Check("token", Verdict.NOTE, f"{path}: who may read it is not checked on Windows")
    if mode & 0o077:
        return Check(
            "token",
            Verdict.BAD,
            f"{path} can be read by others (mode {mode & 0o777:o})",
            f"chmod 600 {path}; the next start does it as well",
        )
    return Check("token", Verdict.OK, f"{path} is its owner's only")


def check_port(settings: Settings, patience: float) -> Check:
    """Whether the port is free, or a guard is what has it."""
    host, port = settings.host, settings.port
    if port == 0:
        return Check("port", Verdict.OK, "0: a free one is taken at the start")
    try:
        family, kind, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            if os.name == "posix":  # as the gateway does: one in TIME_WAIT is free
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            return _who_has_it(host, port, patience)
        text = f"{host}:{port}: {error.strerror or error}"
        return Check("port", Verdict.BAD, text, "choose another --host or --port")
    return Check("port", Verdict.OK, f"{host}:{port} is free")


def _who_has_it(host: str, port: int, patience: float) -> Check:
    url = address(host, port)
    try:
        code, body = ask(
            Place(url, Client(url)), lambda client: client.get("/dtms/health", timeout=patience)
        )
    except Ended:
        text = f"{host}:{port} is in use, and no guard answers there"
        return Check("port", Verdict.BAD, text, "choose another --port, or end what has it")
    state = "ready" if body.get("ready") is True else f"not ready (HTTP {code})"
    return Check("port", Verdict.NOTE, f"a guard answers at {url}: {state}")


def check_settings(problem: Ended | None) -> Check:
    """Whether flags, environment and dtms.toml make sense together."""
    if problem is None:
        return Check("settings", Verdict.OK, "flags, environment and dtms.toml are in order")
    return Check("settings", Verdict.BAD, problem.text)


def told_as_check(name: str, error: DtmsError) -> Check:
    """Return an error as a check that failed."""
    return Check(name, Verdict.BAD, told(error))
