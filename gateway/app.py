"""The HTTP interface of a guard (DESIGN, HTTP)."""

from __future__ import annotations

import time
from collections.abc import Callable

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from defence.errors import DtmsError, Invalid
from gateway.changing import change_routes
from gateway.door import Door
from gateway.errors import HttpRefused, NoRoute, WrongMethod, answer
from gateway.face import Guarded
from gateway.limits import Lane, TokenBuckets
from gateway.looking import look_routes
from gateway.metrics import Traffic
from gateway.security import Bound
from gateway.stream import Hub
from supervisors.settings import Settings

PATIENCE = 10.0  # seconds that a request may wait for a thread


class Backstage:
    """What an app holds besides its routes: threads and streams. Whoever serves it closes it."""

    def __init__(self, guard: Guarded, settings: Settings, clock: Callable[[], float]) -> None:
        # Sixty-four bots may register at once; looking and ops never queue behind them.
        self.trades = Lane("trades", 64, 1024, PATIENCE, clock)
        self.looks = Lane("looks", 8, 256, PATIENCE, clock)
        self.control = Lane("control", 4, 64, PATIENCE, clock)
        self.buckets = TokenBuckets(settings.rate_limit, clock)
        self.hub = Hub(guard.events, lambda: guard.over)
        self.traffic = Traffic()

    def close(self) -> None:
        """End the streams, and the threads when they are idle; idempotent, from any thread."""
        self.hub.close()
        for lane in (self.trades, self.looks, self.control):
            lane.close()


def make_app(
    guard: Guarded,
    *,
    token: Callable[[], str] | None = None,
    settings: Settings | None = None,
    bound: Bound | None = None,
    backstage: Backstage | None = None,
    clock: Callable[[], float] = time.monotonic,
    openapi: bool = False,
) -> FastAPI:
    """Return the app for a guard; `app.state.backstage.close()` ends its threads and streams.

    `token` returns the bearer token (the guard's), `settings` has `rate_limit`
    and `max_body` (the guard's), `bound` says where it will listen, `clock`
    gives monotonic seconds. `openapi` serves /openapi.json, which nothing needs.
    """
    settings = settings or guard.settings
    backstage = backstage or Backstage(guard, settings, clock)
    app = FastAPI(
        title="DTMS",
        openapi_url="/openapi.json" if openapi else None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.backstage = backstage
    look_routes(app, guard, backstage.looks, backstage.hub, backstage.traffic)
    direct = change_routes(
        app,
        guard,
        trades=backstage.trades,
        control=backstage.control,
        buckets=backstage.buckets,
        max_body=settings.max_body,
    )
    app.add_exception_handler(DtmsError, _dtms_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_middleware(
        Door,
        bound=bound or Bound(),
        token=token or guard.token,
        traffic=backstage.traffic,
        direct=direct,
    )
    return app


async def _dtms_error(_: Request, error: Exception) -> Response:
    return answer(error)


async def _validation_error(_: Request, error: Exception) -> Response:
    """Bring the web framework's own refusals into the one shape."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it alone
    first = error.errors()[0]
    place = [str(part) for part in first["loc"][1:]] or ["body"]
    return answer(Invalid(first["msg"], field=".".join(place), remedy="see the documentation"))


async def _http_error(request: Request, error: Exception) -> Response:
    """Bring what routing refuses into the one shape."""
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for it alone
    path = request.url.path[:100]
    if error.status_code == 405:
        allowed = ", ".join(sorted(_allowed(request)))
        return answer(
            WrongMethod(
                f"{path} does not know {request.method[:20]}",
                field="method",
                value=allowed,
                remedy=f"use {allowed}",
            )
        )
    if error.status_code == 404:
        return answer(NoRoute(f"there is nothing at {path}", field="path", remedy="see GET /"))
    refused = HttpRefused(str(error.detail))
    response = answer(refused)
    response.status_code = error.status_code
    return response


def _allowed(request: Request) -> set[str]:
    """Return the methods that the path knows, over all routes that have it."""
    found: set[str] = set()
    for route in request.app.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            found |= getattr(route, "methods", None) or set()
    return found
