"""The routes that change something: enable, release, and the ops' commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from defence.errors import DtmsError, Invalid, TryAgain
from defence.shape import MAX_TEXT
from defence.trade import Registration, Trade, public_trade
from gateway.bodies import Json, plain
from gateway.door import Handler
from gateway.errors import answer, body_of, status_of
from gateway.face import Guarded
from gateway.intake import client_of, idempotency_key, read_json, ticket_in_path
from gateway.limits import Lane, TokenBuckets
from supervisors.guard import trade_from

MAX_BATCH: Final = 500  # trades; all of them ride on one read of the broker
COMMAND_WITHIN: Final = 30.0  # seconds; a backup or a flatten takes its time
# The names of `Guard.admin`'s own parameters cannot be arguments of a command.
_RESERVED: Final = ("command", "self", "timeout")

Answer = Registration | DtmsError


def change_routes(
    app: FastAPI,
    guard: Guarded,
    *,
    trades: Lane,
    control: Lane,
    buckets: TokenBuckets,
    max_body: int,
) -> dict[tuple[str, str], Handler]:
    """Add the routes; return those that the door may hand to their handlers itself.

    Trades are counted against the rate limit, the ops' commands never: no
    flood of registrations keeps a person from freezing the guard.
    """

    @app.post("/dtms/trade/enable")
    async def enable(request: Request) -> Response:
        buckets.take(client_of(request))
        key = idempotency_key(request)
        fields = await read_json(request, max_body)
        if "trades" in fields:
            items = _items(fields)
            answers = await trades.run(lambda: register_batch(guard, items, key))
            return batch_answer(answers)
        return Json(await trades.run(lambda: guard.register_fields(fields, key)))

    @app.delete("/dtms/trade/{ticket}")
    async def release(request: Request, ticket: str) -> Response:
        buckets.take(client_of(request))
        number, by = ticket_in_path(ticket), _who(request, None)
        record = await trades.run(lambda: guard.release(number, by=by))
        return Json({"released": True, "trade": public_trade(record)})

    @app.post("/dtms/admin/{command}")
    async def admin(request: Request, command: str) -> Response:
        arguments = await read_json(request, max_body, empty=True)
        by = _who(request, arguments.pop("by", None))
        for name in _RESERVED:
            if name in arguments:
                raise Invalid("is no argument", field=name, remedy="leave it out")
        done = await control.run(
            lambda: guard.admin(command, by=by, timeout=COMMAND_WITHIN, **arguments)
        )
        return Json(plain(done))

    return {("POST", "/dtms/trade/enable"): enable}


def _who(request: Request, name: object) -> str:
    """Return who acts, for the audit: where from, and the name that was given."""
    where = f"http {client_of(request)}".rstrip()
    if name is None:
        return where
    if not isinstance(name, str) or not name.isprintable() or len(name) > MAX_TEXT:
        raise Invalid(
            "is not readable text",
            field="by",
            value=name,
            remedy=f"give at most {MAX_TEXT} printable characters",
        )
    return f"{name} ({where})"


def _items(fields: Mapping[str, Any]) -> list[object]:
    """Return the items of a batch. Raises `Invalid`."""
    other = sorted(set(fields) - {"trades"})
    if other:
        raise Invalid(
            "does not belong beside `trades`", field=other[0], remedy="put it into each trade"
        )
    items = fields["trades"]
    if not isinstance(items, list):
        raise Invalid("is not a list", field="trades", remedy="give a list of trades")
    if len(items) > MAX_BATCH:
        raise Invalid(
            f"has {len(items)} trades",
            field="trades",
            value=len(items),
            remedy=f"give at most {MAX_BATCH} at a time",
        )
    return items


def register_batch(guard: Guarded, items: Sequence[object], key: str | None) -> list[Answer]:
    """Register all items on one read of the broker; each has its own answer.

    An item's request id is the batch's with its place, so that the same batch
    sent again gives the same answers. Raises what concerns all of them.
    """
    answers: list[Trade | DtmsError] = [_trade(item) for item in items]
    places = [place for place, one in enumerate(answers) if isinstance(one, Trade)]
    done = guard.register_many(
        [one for one in answers if isinstance(one, Trade)],
        request_ids=[None if key is None else f"{key}:{place}" for place in places],
    )
    by_place = dict(zip(places, done, strict=True))
    return [by_place[place] if isinstance(one, Trade) else one for place, one in enumerate(answers)]


def _trade(item: object) -> Trade | DtmsError:
    if not isinstance(item, dict):
        return Invalid("is not an object", field="trades", remedy="give each trade as {...}")
    try:
        return trade_from(item)
    except DtmsError as error:
        return error


def batch_answer(answers: Sequence[Answer]) -> Response:
    """Return 200 with an answer for each item, or the one temporary error that all of them met."""
    kinds = {type(one) for one in answers}
    if len(kinds) == 1 and isinstance(answers[0], TryAgain):
        return answer(answers[0])
    return Json({"results": [_result(one) for one in answers]})


def _result(one: Answer) -> dict[str, object]:
    if isinstance(one, Registration):
        return {"created": one.created, "trade": public_trade(one.trade)}
    return {**body_of(one), "status": status_of(one)}
