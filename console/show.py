"""Tables for people. What the guard says is printed as it is: no markup, no control codes."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from console.ends import one_line

PIPE_WIDTH: Final = 200  # columns, where nobody looks at a screen
_GOOD: Final = frozenset({"ready", "armed", "done", "HEALTHY", "ok", "sound"})
_BAD: Final = frozenset(
    {"escalated", "WARNING_L2", "critical", "unknown", "not ready", "bad", "damaged"}
)
_SO_SO: Final = frozenset({"backoff", "starting", "WARNING_L1", "warning", "observe", "partial"})


def console() -> Console:
    """Return a console on standard output; colours on a terminal only."""
    screen = sys.stdout.isatty()
    return Console(file=sys.stdout, width=None if screen else PIPE_WIDTH, highlight=False)


def cell(value: object) -> Text:
    """Return a value as it stands in a table."""
    if value is None or value == "":
        return Text("-", style="dim")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, float):
        return Text(f"{value:.10g}")
    text = one_line(str(value))
    style = "green" if text in _GOOD else "red" if text in _BAD else ""
    return Text(text, style=style or ("yellow" if text in _SO_SO else ""))


def moment(value: object) -> str | None:
    """Return an ISO 8601 time to the second, as people read it; it is UTC."""
    return None if value is None else str(value)[:19].replace("T", " ")


def table(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a table; numbers to the right."""
    drawn = Table(title=Text(title), box=box.SIMPLE, title_justify="left", pad_edge=False)
    lines = [list(row) for row in rows]
    for place, head in enumerate(heads):
        numbers = all(isinstance(line[place], int | float | None) for line in lines)
        right = numbers and bool(lines)
        drawn.add_column(head, justify="right" if right else "left", overflow="fold")
    for line in lines:
        drawn.add_row(*map(cell, line))
    return drawn


def _list(body: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    found = body.get(name)
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def _map(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = body.get(name)
    return found if isinstance(found, Mapping) else {}


def status(body: Mapping[str, Any]) -> None:
    """Show `GET /dtms/status`."""
    account, terminal, cycle = (_map(body, name) for name in ("account", "terminal", "cycle"))
    who = f"{account.get('login')} on {account.get('server')}" if account else None
    skipped = _map(cycle, "skipped")
    rows: list[Sequence[object]] = [
        ("guard", "ready" if body.get("ready") else "not ready"),
        *(("reason", reason) for reason in body.get("reasons") or ()),
        ("mode", body.get("mode")),
        *((("paused", body["paused"]),) if body.get("paused") else ()),
        ("account", who),
        ("terminal", terminal.get("terminal")),
        ("trades", body.get("active_trades")),
        ("only observed", body.get("observed_trades")),
        ("orders in doubt", body.get("orders_in_doubt")),
        ("cycle", cycle.get("number")),
        ("last cycle (UTC)", moment(cycle.get("at"))),
        *((("skipped", f"{number} {why}") for why, number in skipped.items())),
        ("reconciled (UTC)", moment(body.get("reconciled_at"))),
        ("backup (UTC)", moment(_map(body, "backup").get("at"))),
        *((("hung threads", leaked),) if (leaked := body.get("leaked_threads")) else ()),
    ]
    out = console()
    shown = Table(box=None, show_header=False, pad_edge=False)
    for name, value in rows:
        shown.add_row(Text(str(name), style="bold"), cell(value))
    out.print(shown)
    names = (
        *("state", "incarnation", "restarts_in_window", "budget_left", "mailbox"),
        *("poisoned", "last_exit"),
    )
    heads = ("child", "state", "incarnation", "restarts", "budget left", "mailbox", "poison")
    out.print(
        table(
            "",
            (*heads, "last exit"),
            (
                (name, *(child.get(one) for one in names))
                for name, child in _map(body, "children").items()
                if isinstance(child, Mapping)
            ),
        )
    )


def trades(body: Mapping[str, Any]) -> None:
    """Show `GET /dtms/trades`."""
    names = (
        *("ticket", "symbol", "direction", "volume", "entry_price", "stop_loss"),
        *("take_profit", "result_r", "state", "standing", "managed_by"),
    )
    heads = ("ticket", "symbol", "side", "lots", "entry", "stop", "target", "R", "state")
    found = _list(body, "trades")
    rows = ([one.get(name) for name in names] for one in found)
    console().print(table(f"{len(found)} trades", (*heads, "standing", "managed by"), rows))


def actions(body: Mapping[str, Any]) -> None:
    """Show `GET /dtms/actions`."""
    found = _list(body, "actions")
    names = ("ticket", "symbol", "kind", "step", "outcome", "detail")
    rows = ([moment(one.get("at")), *(one.get(name) for name in names)] for one in found)
    out = console()
    out.print(table(f"{len(found)} actions, UTC", ("at", *names), rows))
    _more(out, body)


def history(body: Mapping[str, Any]) -> None:
    """Show `GET /dtms/history`."""
    found = _list(body, "history")
    names = (
        *("ticket", "symbol", "direction", "initial_volume", "entry_price", "close_price"),
        *("close_profit", "result_r", "standing", "close_reason", "managed_by"),
    )
    heads = ("ticket", "symbol", "side", "lots", "entry", "closed at", "profit", "R", "standing")
    rows = ([moment(one.get("closed_at")), *(one.get(name) for name in names)] for one in found)
    out = console()
    out.print(table(f"{len(found)} trades, UTC", ("at", *heads, "reason", "managed by"), rows))
    _more(out, body)


def days(body: Mapping[str, Any]) -> None:
    """Show `GET /dtms/history/days`."""
    found = _list(body, "days")
    names = ("day", "symbol", "closed", "won", "lost", "unexplained", "profit", "volume", "r_sum")
    rows = ([*(one.get(name) for name in names), _kinds(_map(one, "actions"))] for one in found)
    heads = ("day", "symbol", "closed", "won", "lost", "unexplained", "profit", "lots", "R")
    out = console()
    out.print(table(f"{len(found)} sums, UTC days", (*heads, "actions"), rows))
    _more(out, body)


def _kinds(counts: Mapping[str, Any]) -> str:
    """Return counts by kind and outcome as one line."""
    return ", ".join(
        f"{count} {kind}" + ("" if outcome == "none" else f" {outcome}")
        for kind, outcomes in counts.items()
        if isinstance(outcomes, Mapping)
        for outcome, count in outcomes.items()
    )


def _more(out: Console, body: Mapping[str, Any]) -> None:
    """Say how to go on, if there is more."""
    if body.get("next"):
        out.print(Text(f"more: the same with --cursor {one_line(str(body['next']))}", style="dim"))


def alerts(body: Mapping[str, Any]) -> None:
    """Show `GET /dtms/alerts`."""
    found = _list(body, "alerts")
    rows = (
        [
            moment(one.get("last_at")),
            one.get("severity"),
            one.get("count"),
            one.get("acknowledged_by") or ("yes" if one.get("acknowledged_at") else None),
            one.get("title"),
            one.get("text"),
            one.get("id"),
        ]
        for one in found
    )
    heads = ("last (UTC)", "severity", "times", "acknowledged", "title", "text", "id")
    console().print(table(f"{len(found)} alerts", heads, rows))


def poison(body: Mapping[str, Any]) -> None:
    """Show `GET /dtms/poison`."""
    found = _list(body, "poison")
    names = ("child", "incarnation", "message", "error", "shown", "lane", "id")
    rows = ([moment(one.get("at")), *(one.get(name) for name in names)] for one in found)
    title = f"{len(found)} messages that were set aside, UTC"
    console().print(table(title, ("at", *names), rows))


def answer(body: Mapping[str, Any]) -> None:
    """Show any answer as names and values."""
    shown = Table(box=None, show_header=False, pad_edge=False)
    for name, value in body.items():
        plain = "; ".join(map(str, value)) if isinstance(value, list) else value
        if isinstance(value, Mapping):
            plain = ", ".join(f"{key}={one}" for key, one in value.items())
        shown.add_row(Text(one_line(str(name)), style="bold"), cell(plain))
    console().print(shown)


def stores(body: Mapping[str, Any]) -> None:
    """Show what `verify`, `backup` and `restore` found or did."""
    rows = _list(body, "stores")
    answer({name: value for name, value in body.items() if name != "stores"})
    heads = list(rows[0]) if rows else []
    console().print(table("", heads, ([row.get(head) for head in heads] for row in rows)))
