"""`doctor --terminal ...`: connect, read the account, disconnect. No order, no store."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from console.checks import Check, Verdict, told_as_check
from defence.errors import DtmsError
from defence.permission import why_cannot_act
from storage.marker import read_marker
from terminals.rows import Unreadable, account_from, terminal_from

if TYPE_CHECKING:
    from supervisors.settings import Settings
    from terminals.protocol import Terminal

NAME: Final = "terminal"
SPARE: Final = 15.0  # seconds beyond `terminal_timeout`, in which the terminal itself gives up


def check_terminal(
    settings: Settings,
    patience: float,
    make: Callable[[], Terminal] | None = None,
) -> Check:
    """Whether the terminal answers within `patience` seconds, and for the right account.

    One that is still starting or connecting may go on for as long as a
    guard's may. In a thread of its own: a terminal that never answers must
    not keep the doctor. `make` is a seam for tests.
    """
    found: list[Check] = []
    connecting = threading.Event()

    def look() -> None:
        try:
            found.append(_look(settings, make or maker(settings), connecting))
        except DtmsError as error:
            found.append(told_as_check(NAME, error))

    thread = threading.Thread(target=look, name="dtms-doctor", daemon=True)
    thread.start()
    thread.join(patience)
    what = f"answer within {patience:g} s"
    if connecting.is_set():
        thread.join(max(0.0, settings.terminal_timeout + SPARE - patience))
        what = f"connect within {settings.terminal_timeout:g} s"
    if found:
        return found[0]
    if thread.is_alive():
        return Check(
            NAME,
            Verdict.BAD,
            f"the {settings.terminal} terminal does not {what}",
            "look at the terminal's window; a dialogue may wait there",
        )
    return Check(NAME, Verdict.BAD, "the look at the terminal failed; its trace is above")


def still_connects(terminal: Terminal) -> bool:
    """Whether a hosted terminal, or a bridge, has to be waited for: its own time is not over."""
    return bool(getattr(terminal, "connecting", False))


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


def _look(settings: Settings, make: Callable[[], Terminal], connecting: threading.Event) -> Check:
    terminal = make()
    try:
        while not terminal.initialize():
            if not still_connects(terminal):
                return _no(terminal, "does not connect")
            connecting.set()  # a hosted one waits on, until its own time is over
        try:
            rows = terminal.account_info(), terminal.terminal_info()
            if rows[0] is None or rows[1] is None:
                return _no(terminal, "shows no account")
            account, state = account_from(rows[0]), terminal_from(rows[1])
        except Unreadable as problem:
            text = f"{terminal.name} shows an account that makes no sense: {problem}"
            return Check(NAME, Verdict.BAD, text, "look whether package and terminal fit")
        finally:
            terminal.shutdown()
    finally:
        terminal.close()
    login, server = account.login, account.server
    text = f"{terminal.name}: account {login} on {server}"
    wanted = (settings.login or login, settings.server or server)
    if wanted != (login, server):
        remedy = "log the terminal in to it, or change --login and --server"
        return Check(NAME, Verdict.BAD, f"{text}, not {wanted[0]} on {wanted[1]}", remedy)
    owner = _owner(settings)
    if owner is not None and owner != (login, server):
        text = f"{text}, but the data folder belongs to {owner[0]} on {owner[1]}"
        return Check(NAME, Verdict.BAD, text, "choose another --data-dir, or that account")
    if not state.connected:
        return Check(NAME, Verdict.BAD, f"{text}, not connected to its server", "wait, or log in")
    why = why_cannot_act(account, state)
    if why is not None:
        remedy = "switch Algo Trading on, and log in with the trading password"
        return Check(NAME, Verdict.NOTE, f"{text}; orders are not allowed: {why}", remedy)
    return Check(NAME, Verdict.OK, f"{text}; orders are allowed")


def _no(terminal: Terminal, what: str) -> Check:
    code, text = terminal.last_error()
    remedy = "start the terminal, check login, password, server"
    return Check(NAME, Verdict.BAD, f"{terminal.name} {what}: {text} ({code})", remedy)


def _owner(settings: Settings) -> tuple[int, str] | None:
    try:
        marker = read_marker(settings.folder)
    except DtmsError:
        return None  # the check of the folder has said so
    return None if marker is None else marker.account
