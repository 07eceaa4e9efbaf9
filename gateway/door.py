"""The door that every request passes: who may come in, and what every answer carries."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from loguru import logger
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from defence.errors import DtmsError, Stopped
from gateway.errors import answer
from gateway.metrics import Traffic
from gateway.security import HEADERS, Bound, check_host, check_origin, check_token, needs_token

_CUT_OFF = Stopped(
    "the gateway is stopping; it may still be done", remedy="ask again with the same request id"
)


class Door:
    """ASGI middleware: Host, origin, token; security headers; nothing unforeseen gets out."""

    def __init__(
        self, app: ASGIApp, *, bound: Bound, token: Callable[[], str], traffic: Traffic
    ) -> None:
        self._app = app
        self._bound = bound
        self._token = token
        self._traffic = traffic

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
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                # Counted here: a stream of events has no end to wait for.
                self._note(scope, status)
            await send(message)

        try:
            refusal = self._refusal(scope)
            if refusal is None:
                await self._app(scope, receive, sealed)
            else:
                await answer(refusal)(scope, receive, sealed)
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
