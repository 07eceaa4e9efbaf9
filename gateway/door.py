"""The door that every request passes: who may come in, and what every answer carries.

What comes in by the hundreds a second (`direct`) goes from here to its handler:
the web framework's way there costs several times what the handler does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from loguru import logger
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from defence.errors import DtmsError, Stopped
from gateway.errors import answer
from gateway.metrics import Traffic
from gateway.security import HEADERS, Bound, check_host, check_origin, check_token, needs_token

_CUT_OFF = Stopped(
    "the gateway is stopping; it may still be done", remedy="ask again with the same request id"
)

_HEADERS: Final = [
    (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in HEADERS.items()
]

Handler = Callable[[Request], Awaitable[Response]]


class Place:
    """Where a direct handler stands, for whoever counts by route."""

    def __init__(self, path: str) -> None:
        self.path = path


class Door:
    """ASGI middleware: Host, origin, token; security headers; nothing unforeseen gets out.

    `direct` are handlers by method and path that are called from here. What
    they raise is answered as anywhere.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        bound: Bound,
        token: Callable[[], str],
        traffic: Traffic,
        direct: Mapping[tuple[str, str], Handler] | None = None,
    ) -> None:
        self._app = app
        self._bound = bound
        self._token = token
        self._traffic = traffic
        self._direct = {key: (handler, Place(key[1])) for key, handler in (direct or {}).items()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let one request in, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0

        async def sealed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                given = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(pair for pair in _HEADERS if pair[0] not in given),
                ]
                # Counted here: a stream of events has no end to wait for.
                self._note(scope, status)
            await send(message)

        try:
            refusal = self._refusal(scope)
            direct = self._direct.get((scope["method"], scope["path"]))
            if refusal is not None:
                await answer(refusal)(scope, receive, sealed)
            elif direct is not None:
                handler, scope["route"] = direct
                response = await handler(Request(scope, receive))
                await response(scope, receive, sealed)
            else:
                await self._app(scope, receive, sealed)
        except ClientDisconnect:
            logger.bind(child="gateway").debug("a client went away in the middle of its request")
        except asyncio.CancelledError:
            # The server is stopping and waits no longer; the guard's answer may still come.
            if status:
                raise
            await answer(_CUT_OFF)(scope, receive, sealed)
        except Exception as error:
            response = answer(error)  # it logs the error
            if status:
                raise  # half an answer is out: the server must break it off
            await response(scope, receive, sealed)

    def _refusal(self, scope: Scope) -> DtmsError | None:
        headers = Headers(scope=scope)
        method, path = scope["method"], scope["path"]
        try:
            check_host(self._bound, headers.get("host"))
            check_origin(method, headers)
            if needs_token(method, path, exposed=self._bound.exposed):
                given = [value for name, value in scope["headers"] if name == b"authorization"]
                check_token(self._token(), given)
        except DtmsError as error:
            return error
        return None

    def _note(self, scope: Scope, status: int) -> None:
        method = scope["method"]
        route = getattr(scope.get("route"), "path", "none")
        self._traffic.count(method, route, status)
        if method != "GET" or status >= 400:  # what is polled would drown the log
            raw = scope.get("raw_path", b"").decode("ascii", "backslashreplace")
            logger.bind(child="gateway").debug("{} {} {}", method, raw[:200], status)
