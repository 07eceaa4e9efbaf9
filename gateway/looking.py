"""The routes that change nothing: health, status, trades, events, metrics, the ops page."""

from __future__ import annotations

from collections.abc import Collection

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from defence.alerts import public_alert
from defence.days import public_day
from defence.errors import Invalid
from defence.history import MAX_PAGE, Asked, query_of
from defence.orders import public_action
from defence.poison import public_poison
from defence.shape import MAX_ULONG
from defence.trade import public_trade
from gateway.bodies import Json
from gateway.face import Guarded
from gateway.intake import ticket_in_path, ticket_of, whole
from gateway.limits import Lane
from gateway.metrics import CONTENT_TYPE, Traffic, exposition
from gateway.page import PAGE, POLICY, SCRIPT, STYLE
from gateway.stream import EventResponse, Hub
from supervisors.overview import Health

PROBE = ["GET", "HEAD"]  # some orchestrators ask with HEAD
_STATUS_WORDS = {200: "ready", 500: "failed"}


def health_body(health: Health) -> dict[str, object]:
    """Return the body of `GET /health`; the status code is the response's own."""
    return {
        "status": _STATUS_WORDS.get(health.status, "not_ready"),
        "initialized": health.initialized,
        "ready": health.ready,
        "monitoring_active": health.monitoring_active,
        "active_trades": health.active_trades,
        "reasons": list(health.reasons),
    }


def look_routes(app: FastAPI, guard: Guarded, lane: Lane, hub: Hub, traffic: Traffic) -> None:
    """Add the routes. What reads a fold of the events never waits for a thread."""
    _probes(app, guard)
    _page(app)

    @app.get("/dtms/status")
    async def status() -> Response:
        return Json(guard.status())

    @app.get("/dtms/trades")
    async def trades() -> Response:
        found = await lane.run(guard.trades)
        return Json({"trades": [public_trade(one) for one in found]})

    @app.get("/dtms/trade/{ticket}")
    async def trade(ticket: str) -> Response:
        number = ticket_in_path(ticket)
        return Json(public_trade(await lane.run(lambda: guard.trade(number))))

    @app.get("/dtms/actions")
    async def actions(request: Request) -> Response:
        asked = _asked(request, "ticket")
        found = await lane.run(lambda: guard.action_page(**asked))
        return Json({"actions": [public_action(one) for one in found.items], "next": found.next})

    @app.get("/dtms/history")
    async def history(request: Request) -> Response:
        asked = _asked(request, "ticket", "identifier")
        found = await lane.run(lambda: guard.history(**asked))
        return Json({"history": [public_trade(one) for one in found.items], "next": found.next})

    @app.get("/dtms/history/days")
    async def days(request: Request) -> Response:
        asked = _asked(request)
        found = await lane.run(lambda: guard.history_days(**asked))
        return Json({"days": [public_day(one) for one in found.items], "next": found.next})

    @app.get("/dtms/alerts")
    async def alerts() -> Response:
        found = await lane.run(guard.alerts)
        return Json({"alerts": [public_alert(one) for one in found]})

    @app.get("/dtms/poison")
    async def poison(request: Request) -> Response:
        limit = _only_limit(request)
        found = await lane.run(lambda: guard.poison(limit))
        return Json({"poison": [public_poison(one) for one in found]})

    @app.get("/dtms/events")
    async def events(request: Request) -> Response:
        """`Last-Event-ID` wins over `since`: a browser that comes back sends both."""
        header, query = request.headers.get("last-event-id"), _query(request, "since")
        since: int | None = None
        if header is not None:
            since = whole(header, "Last-Event-ID", 0, 2**63)
        elif query is not None:
            since = whole(query, "since", 0, 2**63)
        return EventResponse(hub, since)

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(exposition(guard, traffic), headers={"Content-Type": CONTENT_TYPE})


def _asked(request: Request, *numbers: str) -> Asked:
    """Return what is asked of history, checked; `numbers` are what it can be asked by."""
    asked: Asked = {}
    known = {"limit", "since", "until", "cursor", "order", *numbers}
    _must_know(request, known)
    limit, order = _query(request, "limit"), _query(request, "order")
    if limit is not None:
        asked["limit"] = whole(limit, "limit", 1, MAX_PAGE)
    if "ticket" in known and (ticket := _query(request, "ticket")) is not None:
        asked["ticket"] = ticket_of(ticket)
    if "identifier" in known and (number := _query(request, "identifier")) is not None:
        asked["identifier"] = whole(number, "identifier", 1, MAX_ULONG)
    if (since := _query(request, "since")) is not None:
        asked["since"] = _plus(since)
    if (until := _query(request, "until")) is not None:
        asked["until"] = _plus(until)
    if (cursor := _query(request, "cursor")) is not None:
        asked["cursor"] = cursor
    if order not in (None, "newest", "oldest"):
        raise Invalid(
            "is no order", field="order", value=order[:64], remedy="give newest or oldest"
        )
    if order == "oldest":
        asked["oldest_first"] = True
    query_of(**asked)  # refused here, before it takes a thread
    return asked


def _must_know(request: Request, known: Collection[str]) -> None:
    """Refuse a filter that is misspelt: it must not answer with everything."""
    for name in request.query_params:
        if name not in known:
            raise Invalid(
                "is no part of this question",
                field=name[:64],
                remedy=f"give any of {', '.join(sorted(known))}",
            )


def _only_limit(request: Request) -> int:
    """Return how many are asked for. Raises `Invalid`."""
    _must_know(request, ("limit",))
    limit = _query(request, "limit")
    return 100 if limit is None else whole(limit, "limit", 1, MAX_PAGE)


def _plus(text: str) -> str:
    """Return a time whose zone's plus was not escaped, and so has come as a space."""
    return text.replace(" ", "+") if "T" in text else text


def _query(request: Request, name: str) -> str | None:
    found = request.query_params.getlist(name)
    if len(found) > 1:
        raise Invalid("is given twice", field=name, remedy="give it once")
    return found[0] if found else None


def _probes(app: FastAPI, guard: Guarded) -> None:
    """Add what orchestrators ask; none of it waits for an actor, a thread or the broker."""

    async def health() -> Response:
        judged = guard.health()
        return Json(health_body(judged), judged.status)

    async def monitoring() -> Response:
        body = guard.monitoring_health()
        return Json(body, 200 if body["ok"] else 503)

    async def alive() -> Response:
        over = guard.over
        return Json({"alive": not over}, 503 if over else 200)

    async def ready() -> Response:
        judged = guard.health()
        return Json(health_body(judged), 200 if judged.ready else 503)

    async def started() -> Response:
        judged = guard.health()
        return Json(health_body(judged), 200 if judged.initialized else 503)

    for path, probe in {
        "/health": health,
        "/dtms/health": health,
        "/dtms/monitoring/health": monitoring,
        "/livez": alive,
        "/readyz": ready,
        "/startupz": started,
    }.items():
        app.add_api_route(path, probe, methods=PROBE)


def _page(app: FastAPI) -> None:
    """Add the ops page."""

    async def page() -> Response:
        return Response(PAGE, media_type="text/html", headers={"Content-Security-Policy": POLICY})

    async def style() -> Response:
        return Response(STYLE, media_type="text/css")

    async def script() -> Response:
        return Response(SCRIPT, media_type="text/javascript")

    for path, part in {"/": page, "/page.css": style, "/page.js": script}.items():
        app.add_api_route(path, part, methods=PROBE)
