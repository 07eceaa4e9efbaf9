"""Where the broker is: a small file that its process writes, and that clients find.

A client is told by the variable DTMS_BROKER (the guard by its setting `broker`):

    a path             that file
    HOST:PORT          this machine's port, with the token of DTMS_BROKER_TOKEN
    nothing            `broker.json` in the user's state folder for DTMS

The file holds the token, so only its owner may read it. It is read at each
connection: a broker that was started anew has another port and another token.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from defence.errors import Invalid, NotReady
from defence.state_folder import state_dir
from terminals.bridge.place import Place

VARIABLE: Final = "DTMS_BROKER"
TOKEN_VARIABLE: Final = "DTMS_BROKER_TOKEN"  # noqa: S105 - the name of a variable
NAME: Final = "broker.json"
START: Final = "start one with: python run.py broker"
_HOST_PORT: Final = re.compile(r"(?:\[([0-9a-fA-F:]+)\]|([\w.-]{2,})):(\d{1,5})")
_TOKEN: Final = re.compile(r"[\x21-\x7e]{16,200}")
_LONGEST: Final = 4096  # bytes of the file
_FIELD: Final = "broker"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a broker listens. Raises Invalid for what is no address of this machine."""

    host: str
    port: int
    token: str = field(repr=False)
    pid: int | None = None

    def __post_init__(self) -> None:
        """Check each part; the token is in no message."""
        if not isinstance(self.host, str) or not self._place.near:
            raise Invalid(
                f"{self.host!r} is not this machine: orders would cross a network in the clear",
                field=_FIELD,
                value=self.host,
                remedy="use 127.0.0.1, through a tunnel if the broker is elsewhere",
            )
        if type(self.port) is not int or not 0 < self.port < 65_536:
            raise Invalid("is no port", field=_FIELD, value=self.port, remedy="1 to 65535")
        if not isinstance(self.token, str) or not _TOKEN.fullmatch(self.token):
            raise Invalid(
                "has no token, or one that no broker has written",
                field=_FIELD,
                remedy=f"name the broker's file, or set {TOKEN_VARIABLE}",
            )
        if self.pid is not None and type(self.pid) is not int:
            raise Invalid("is no process", field=_FIELD, value=self.pid, remedy="a whole number")

    @property
    def _place(self) -> Place:
        # A port that is none is told by the check below, in this setting's name.
        port = self.port if type(self.port) is int and 0 < self.port < 65_536 else 1
        return Place(self.host, port, remote=True)

    def connect(self, timeout: float) -> socket.socket:
        """Return a connected socket. Raises OSError, also if the name leads to another machine."""
        return Place(self.host, self.port).connect(timeout)

    def __str__(self) -> str:
        """Return HOST:PORT."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def text(self) -> str:
        """Return what the file holds."""
        about = {"address": str(self), "token": self.token, "pid": self.pid}
        return json.dumps(about, indent=1) + "\n"


def default_file() -> Path:
    """Return the file that is meant when none is named."""
    return state_dir() / NAME


def is_address(where: str) -> bool:
    """Whether a text is HOST:PORT, and not the name of a file."""
    return _HOST_PORT.fullmatch(where) is not None


def find(where: str | None, token: str | None = None) -> Address:
    """Return the address that is meant by a path, by HOST:PORT, or by nothing.

    Raises NotReady if there is no such file, and Invalid for one that cannot
    be trusted or makes no sense; both name the remedy.
    """
    if where and is_address(where):
        return Address(*_host_port(where), token or "")
    return read(Path(where) if where else default_file())


def read(path: Path) -> Address:
    """Return what a broker's file says; see `find`."""
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        with os.fdopen(handle, "rb") as file:
            _check_owner(path, os.fstat(file.fileno()))
            content = file.read(_LONGEST + 1)
    except FileNotFoundError as error:
        raise NotReady(
            f"no broker runs here: there is no file {path}", field=_FIELD, remedy=START
        ) from error
    except OSError as error:
        raise Invalid(
            f"{path} cannot be read: {error.strerror or error}",
            field=_FIELD,
            value=str(path),
            remedy="name the file that the broker has written",
        ) from error
    try:
        said = json.loads(content)
        host, port = _host_port(said["address"])
        return Address(host, port, said["token"], said.get("pid"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Invalid(
            f"{path} was not written by a broker: {error}",
            field=_FIELD,
            value=str(path),
            remedy="name the file that the broker has written",
        ) from error


def _check_owner(path: Path, found: os.stat_result) -> None:
    """Refuse a file that others can read, or that somebody else has put there."""
    if sys.platform == "win32":  # its rights are not in the mode; a profile is its user's
        return
    if found.st_uid not in (os.getuid(), 0) or found.st_mode & 0o077:
        raise Invalid(
            f"{path} can be read by others, or belongs to somebody else",
            field=_FIELD,
            value=str(path),
            remedy=f"chmod 600 {path}, if it is yours; else start a broker of your own",
        )


def _host_port(text: str) -> tuple[str, int]:
    found = _HOST_PORT.fullmatch(text)
    if found is None:
        raise Invalid(f"{text!r} is no HOST:PORT", field=_FIELD, value=text)
    return found[1] or found[2], int(found[3])
