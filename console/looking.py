"""`status`, `trades`, `alerts`, `poison`, `health` and so on: looking at the running guard."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from console import show
from console.ops import Body, Talk, ask, find, finish

Place = Mapping[str, Any]  # the flags that say where the guard is
Asked = Mapping[str, Any]  # the flags that say which records, by their names


def _look(
    given: Place,
    path: str,
    draw: Callable[[Body], None],
    *,
    as_json: bool,
    patience: float,
    params: Mapping[str, Any] | None = None,
    always: bool = False,
) -> int:
    def call(client: Talk) -> tuple[int, Any]:
        return client.get(path, params, timeout=patience)

    place = find(given)
    code, body = ask(place, call)
    return finish(code, body, as_json=as_json, show=draw, always=always, place=place)


def status(given: Place, *, as_json: bool, patience: float) -> int:
    """Show everything at a glance."""
    return _look(given, "/dtms/status", show.status, as_json=as_json, patience=patience)


def trades(given: Place, *, as_json: bool, patience: float) -> int:
    """Show the trades that are watched."""
    return _look(given, "/dtms/trades", show.trades, as_json=as_json, patience=patience)


def actions(given: Place, asked: Asked, *, as_json: bool, patience: float) -> int:
    """Show what was done and what happened, newest first."""
    return _look(
        given,
        "/dtms/actions",
        show.actions,
        as_json=as_json,
        patience=patience,
        params=_params(asked),
    )


def history(given: Place, asked: Asked, *, days: bool, as_json: bool, patience: float) -> int:
    """Show the trades that are over, or the sums by day of those that were compacted."""
    return _look(
        given,
        "/dtms/history/days" if days else "/dtms/history",
        show.days if days else show.history,
        as_json=as_json,
        patience=patience,
        params=_params(asked),
    )


def _params(asked: Asked) -> dict[str, Any]:
    """Return the question as the guard reads it; what was not given is left out."""
    names = ("limit", "ticket", "identifier", "since", "until", "cursor")
    params = {name: asked[name] for name in names if asked.get(name) is not None}
    return {**params, "order": "oldest"} if asked.get("oldest_first") else params


def alerts(given: Place, *, as_json: bool, patience: float) -> int:
    """Show what people were told."""
    return _look(given, "/dtms/alerts", show.alerts, as_json=as_json, patience=patience)


def poison(given: Place, limit: int | None, *, as_json: bool, patience: float) -> int:
    """Show the messages that were set aside, newest first."""
    return _look(
        given,
        "/dtms/poison",
        show.poison,
        as_json=as_json,
        patience=patience,
        params=_params({"limit": limit}),
    )


def health(given: Place, *, monitoring: bool, as_json: bool, patience: float) -> int:
    """Show whether the guard is ready; the status is 1 if it is not."""
    path = "/dtms/monitoring/health" if monitoring else "/dtms/health"
    return _look(given, path, show.answer, as_json=as_json, patience=patience, always=True)
