"""Errors on their way out: one status each, and one shape (DESIGN, HTTP).

The classes here are what only a web server can refuse with; everything else
comes from the tree in `defence.errors`.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Mapping
from typing import ClassVar

from loguru import logger
from starlette.responses import Response

from defence.errors import (
    Conflict,
    DtmsError,
    FolderRefused,
    Forbidden,
    Invalid,
    MailboxFull,
    NotFound,
    Refused,
    StartRefused,
    Stopped,
    StoreFull,
    TryAgain,
)
from gateway.bodies import Json


class PortRefused(StartRefused):
    """The gateway cannot have this port."""

    code = "port_refused"


class HostRefused(StartRefused):
    """The gateway cannot, or must not, be bound to this host."""

    code = "host_refused"


class HttpRefused(Refused):
    """Refused by the web server, before the guard heard of it."""

    status: ClassVar[int] = 400
    headers: ClassVar[Mapping[str, str]] = {}


class Unauthorized(HttpRefused):
    """The bearer token is missing or wrong."""

    code, status = "unauthorized", 401
    headers: ClassVar[Mapping[str, str]] = {"WWW-Authenticate": 'Bearer realm="dtms"'}


class ForeignOrigin(HttpRefused):
    """A browser sent this for another site."""

    code, status = "foreign_origin", 403


class NoRoute(HttpRefused):
    """There is nothing at this path; a missing trade is `NotFound`."""

    code, status = "no_route", 404


class WrongMethod(HttpRefused):
    """The path exists, for other methods; `value` names them."""

    code, status = "method_not_allowed", 405


class TooSlow(HttpRefused):
    """The request's body did not arrive in time."""

    code, status = "request_timeout", 408
    headers: ClassVar[Mapping[str, str]] = {"Connection": "close"}


class TooLarge(HttpRefused):
    """The request's body is larger than `max_body`."""

    code, status = "too_large", 413
    headers: ClassVar[Mapping[str, str]] = {"Connection": "close"}


class NotJson(HttpRefused):
    """The request's body is not declared as JSON."""

    code, status = "unsupported_media_type", 415


class ForeignHost(HttpRefused):
    """The request is meant for another host (DNS rebinding)."""

    code, status = "foreign_host", 421


class TooMany(TryAgain):
    """The client sends more than `rate_limit` allows; `wait` is in seconds."""

    code = "rate_limited"

    def __init__(self, message: str, *, wait: float, remedy: str) -> None:
        super().__init__(message, remedy=remedy)
        self.wait = wait


_STATUS: dict[type[BaseException], int] = {
    Invalid: 422,
    NotFound: 404,
    Conflict: 409,
    Forbidden: 403,
    Refused: 400,
    MailboxFull: 429,
    TooMany: 429,
    StoreFull: 507,
    FolderRefused: 507,  # the disk under the running guard lets nothing be written
    TryAgain: 503,
    Stopped: 503,
}

INTERNAL = {
    "error": "internal",
    "message": "the guard failed inside",
    "field": None,
    "remedy": "see its log",
}


def status_of(error: BaseException) -> int:
    """Return the response's status for an error; 500 for what nobody foresaw."""
    if isinstance(error, HttpRefused):
        return error.status
    return next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)


def retry_after(error: BaseException) -> int | None:
    """Return after how many seconds to try again; None where that would not help."""
    if isinstance(error, TooMany):
        return max(1, math.ceil(error.wait))
    if isinstance(error, StoreFull | FolderRefused):
        return 30  # disks are not tidied up within a second
    return 1 if isinstance(error, TryAgain | Stopped) else None


def body_of(error: BaseException) -> dict[str, object]:
    """Return the body for an error; nothing of an internal one is shown."""
    if isinstance(error, DtmsError) and status_of(error) != 500:
        return error.body()
    return dict(INTERNAL)


def answer(error: BaseException) -> Response:
    """Return the response for an error; an internal one goes to the log."""
    status, headers = status_of(error), {}
    if status == 500:
        # As text: a log that shows the variables of a traceback would show the token.
        text = "".join(traceback.format_exception(error))
        logger.bind(child="gateway").error("a request failed inside: {}", text)
    if isinstance(error, HttpRefused):
        headers = dict(error.headers)
    if isinstance(error, WrongMethod):
        headers["Allow"] = str(error.value)
    wait = retry_after(error)
    if wait is not None:
        headers["Retry-After"] = str(wait)
    return Json(body_of(error), status, headers)
