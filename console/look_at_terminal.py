"""`doctor --terminal ...`: connect, read the account, disconnect. No order, no store."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from console.checks import Check, Verdict, told_as_check
from defence.errors import DtmsError
from storage.marker import read_marker

if TYPE_CHECKING:
    from supervisors.settings import Settings
    from terminals.protocol import Terminal

NAME = "terminal"


def check_terminal(
    settings: Settings,
    patience: float,
    make: Callable[[], Terminal] | None = None,
) -> Check:
    """Whether the terminal answers within `patience` seconds, and for the right account.

    In a thread of its own: a terminal that never answers must not keep the
    doctor. `make` is a seam for tests.
    """
    found: list[Check] = []

    def look() -> None:
        try:
            found.append(_look(settings, make or maker(settings)))
        except DtmsError as error:
            found.append(told_as_check(NAME, error))

    thread = threading.Thread(target=look, name="dtms-doctor", daemon=True)
    thread.start()
    thread.join(patience)
    if found:
        return found[0]
    if thread.is_alive():
        return Check(
            NAME,
            Verdict.BAD,
            f"the {settings.terminal} terminal does not answer within {patience:g} s",
            "look at the terminal's window; a dialogue may wait there",
        )
    return Check(NAME, Verdict.BAD, "the look at the terminal failed; its trace is above")


def maker(settings: Settings) -> Callable[[], Terminal]:
    """Return what makes the chosen terminal."""
    from actors.threads import ThreadRuntime
    from supervisors.terminal_choice import make_terminal

    def make() -> Terminal:
        runtime = ThreadRuntime()
        try:
            return make_terminal(settings, runtime)
        finally:
            runtime.close()

    return make


def _look(settings: Settings, make: Callable[[], Terminal]) -> Check:
    terminal = make()
    try:
        if not terminal.initialize():
            return _no(terminal, "does not connect")
        try:
            account, state = terminal.account_info(), terminal.terminal_info()
            if account is None or state is None:
                return _no(terminal, "shows no account")
            login, server = account.login, account.server
            allowed = bool(account.trade_allowed and account.trade_expert and state.trade_allowed)
            connected = bool(state.connected)
        finally:
            terminal.shutdown()
    finally:
        terminal.close()
    text = f"{terminal.name}: account {login} on {server}"
    wanted = (settings.login or login, settings.server or server)
    if wanted != (login, server):
        remedy = "log the terminal in to it, or change --login and --server"
        return Check(NAME, Verdict.BAD, f"{text}, not {wanted[0]} on {wanted[1]}", remedy)
    owner = _owner(settings.folder)
    if owner is not None and owner != (login, server):
        text = f"{text}, but the data folder belongs to {owner[0]} on {owner[1]}"
        return Check(NAME, Verdict.BAD, text, "choose another --data-dir, or that account")
    if not connected:
        return Check(NAME, Verdict.BAD, f"{text}, not connected to its server", "wait, or log in")
    if not allowed:
        remedy = "switch Algo Trading on, and log in with the trading password"
        return Check(NAME, Verdict.NOTE, f"{text}; orders are not allowed", remedy)
    return Check(NAME, Verdict.OK, f"{text}; orders are allowed")


def _no(terminal: Terminal, what: str) -> Check:
    code, text = terminal.last_error()
    remedy = "start the terminal, check login, password, server"
    return Check(NAME, Verdict.BAD, f"{terminal.name} {what}: {text} ({code})", remedy)


def _owner(folder: Path) -> tuple[int, str] | None:
    try:
        marker = read_marker(folder)
    except DtmsError:
        return None  # the check of the folder has said so
    return None if marker is None else marker.account
