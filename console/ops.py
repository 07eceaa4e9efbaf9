"""Talking to the running guard over HTTP, and how its answers become exit statuses.

0 done; 1 the guard refused or failed, 3 there is none to talk to (DESIGN, The
command line). Where the guard is, and the token, come from the same settings
as for `run`.
"""

from __future__ import annotations

import ipaddress
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from console.ends import DONE, FAILED, NO_GUARD, Ended, Usage, one_line
from console.settings import load
from gateway.client import Client, ClientError, Misconfigured, Unreachable

if TYPE_CHECKING:
    from supervisors.settings import Settings

Body = dict[str, Any]
_WRONG_TOKEN: Final = 401
_FLAGS: Final = (
    "a guard of a real terminal has a folder by account: give --terminal, --login and --server "
    "(and --state-dir) as to run, or --data-dir"
)
_EVERYWHERE: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - not bound, asked


class Talk(Protocol):
    """What the commands need of `gateway.client.Client`."""

    def get(
        self, path: str, params: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> tuple[int, Any]:
        """Return status and body."""

    def post(self, path: str, json: Any = None, *, timeout: float | None = None) -> tuple[int, Any]:
        """Return status and body."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a guard is, and a way to talk to it."""

    url: str
    client: Talk
    key: str = ""  # where its token was looked for


def address(host: str, port: int) -> str:
    """Return the URL at which this machine reaches a guard that was bound so."""
    host = _EVERYWHERE.get(host, host)
    try:
        six = ipaddress.ip_address(host).version == 6
    except ValueError:  # a name
        six = False
    return f"http://[{host}]:{port}" if six else f"http://{host}:{port}"


def find(given: Mapping[str, Any]) -> Place:
    """Return the guard's place by flags, environment and dtms.toml. Raises `Usage`."""
    settings = load(given)
    if settings.port == 0:
        raise Usage("--port: 0 is no port to talk to; give the one that the guard said")
    token = None if settings.token is None else settings.token.get_secret_value()
    url = address(settings.host, settings.port)
    try:
        return Place(url, Client(url, token, data_dir=settings.folder), _key(settings))
    except Misconfigured as error:
        raise Usage(str(error)) from None


def _key(settings: Settings) -> str:
    """Return where the token comes from: by whose folder, of all guards that there may be."""
    if settings.token is not None:
        return "the token is that of DTMS_TOKEN, or of token in dtms.toml"
    path = settings.folder.absolute() / "token"
    found = "" if path.is_file() else ", and there is none"
    return f"the token was looked for in {path}{found}"


def ask(place: Place, call: Callable[[Talk], tuple[int, Any]]) -> tuple[int, Body]:
    """Return status and body of one request. Raises `Ended`: NO_GUARD, or FAILED for our side."""
    try:
        status, body = call(place.client)
    except Unreachable as error:
        raise Ended(
            NO_GUARD,
            f"no guard to talk to: {error.message}; is it running? "
            "--host and --port say where, dtms run starts one",
        ) from None
    except Misconfigured as error:
        raise Usage(_misconfigured(error)) from None
    except ClientError as error:
        raise Ended(FAILED, str(error)) from None
    if not isinstance(body, dict):
        raise Ended(
            NO_GUARD,
            f"no guard to talk to: {place.url} answered {status}, but not as a guard does; "
            "is something else listening there? --port says where the guard is",
        )
    return status, body


def _misconfigured(error: Misconfigured) -> str:
    if error.field == "base_url":
        return f"--host: {error.message}; run the command on the guard's machine, or in a tunnel"
    return str(error)


def refusal(status: int, body: Mapping[str, Any], place: Place | None = None) -> str:
    """Return a refused request's error as one line: what, field, remedy.

    For a wrong token that is whose token it was, and how the right one is named:
    the guard cannot know in which folder it was looked for.
    """
    text = str(body.get("message") or f"the guard answered {status}")
    if body.get("field"):
        text = f"{body['field']}: {text}"
    if body.get("remedy"):
        text = f"{text}; {body['remedy']}"
    if status == _WRONG_TOKEN and place is not None and place.key:
        text = f"{text}; {place.key}; {_FLAGS}"
    return one_line(f"{text} (HTTP {status})")


def finish(
    status: int,
    body: Body,
    *,
    as_json: bool,
    show: Callable[[Body], None],
    always: bool = False,
    place: Place | None = None,
) -> int:
    """Print an answer and return the exit status. Raises `Ended` for a refusal.

    `always`: the body is worth showing whatever the status (health).
    """
    good = status < 400
    if as_json:
        sys.stdout.write(json.dumps(body, indent=2) + "\n")
    elif good or always:
        show(body)
    if good:
        return DONE
    raise Ended(FAILED, "" if always and not as_json else refusal(status, body, place))
