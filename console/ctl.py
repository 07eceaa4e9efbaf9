"""`ctl`: steering the running guard."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

import typer

from console import show
from console.control import BY, arguments_of
from console.ends import Ended, Usage
from console.ops import Place, ask, find, finish, refusal


def ctl(
    given: Mapping[str, Any],
    command: str,
    options: Mapping[str, Any],
    *,
    as_json: bool,
    patience: float,
    question: Callable[[str], str] | None = None,
) -> int:
    """Send one control command; return the exit status. Raises `Ended`.

    `question` asks a person; None where there is none (no terminal).
    """
    arguments = arguments_of(command, options)
    place = find(given)
    if command == "flatten" and "confirm" not in arguments:
        arguments["confirm"] = _confirmed(place, question)
    body = {**arguments, "by": BY}
    code, answer = ask(
        place, lambda client: client.post(f"/dtms/admin/{command}", body, timeout=patience)
    )
    return finish(code, answer, as_json=as_json, show=show.answer, place=place)


def _confirmed(place: Place, question: Callable[[str], str] | None) -> int:
    """Return the login that a person has typed. Raises `Usage` if it is not the account's."""
    if question is None:
        raise Usage("--confirm: flatten needs it; give the account's login")
    code, body = ask(place, lambda client: client.get("/dtms/status"))
    if code >= 400:
        raise Ended(1, refusal(code, body, place))
    account = body.get("account") or {}
    login, server = account.get("login"), account.get("server")
    said = question(
        f"This closes every position of account {login} on {server} and deletes its pending "
        f"orders. Type the login to go on"
    ).strip()
    if not said or said != str(login):
        raise Usage(f"--confirm: {said!r} is not the login {login}; nothing was done")
    return int(said)


def person() -> Callable[[str], str] | None:
    """Return the way to ask whoever sits at the terminal; None if nobody does."""
    if not sys.stdin.isatty():
        return None

    def question(text: str) -> str:
        return str(typer.prompt(text, err=True))

    return question
