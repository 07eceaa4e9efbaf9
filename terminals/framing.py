"""The frame around every read: who is logged in, before and after, and what a call answered.

`last_error` is one variable of the terminal's process and is overwritten by
every call: it is read right after the call that failed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from defence.broker import Account, TerminalState
from terminals.constants import RES_S_OK
from terminals.protocol import Terminal
from terminals.rows import Unreadable, account_from, terminal_from

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Frame:
    """Who is logged in, and whether the terminal reaches the broker."""

    account: Account
    terminal: TerminalState
    rows: tuple[object, object] = (None, None)  # what they were read from


def frame(
    terminal: Terminal,
    login: int | None,
    server: str | None,
    when: str,
    *,
    like: Frame | None = None,
) -> Frame:
    """Read who is logged in; raise `Unreadable` naming what differs from the expected.

    A row that equals the one of the frame `like` is not checked and copied again.
    """
    rows = (
        answer_of(terminal, "account_info", terminal.account_info),
        answer_of(terminal, "terminal_info", terminal.terminal_info),
    )
    if like is not None and rows == like.rows:
        account, state = like.account, like.terminal
    else:
        account, state = account_from(rows[0]), terminal_from(rows[1])
    if login is not None and account.login != login:
        raise Unreadable(f"login {when} is {account.login}, expected {login}")
    if server is not None and account.server != server:
        raise Unreadable(f"server {when} is {account.server!r}, expected {server!r}")
    if not state.connected:
        raise Unreadable(f"the terminal is not connected to the broker {when}")
    return Frame(account, state, rows)


def read_account(terminal: Terminal) -> Account:
    """Return the account that is logged in. Raises `Unreadable`."""
    return account_from(answer_of(terminal, "account_info", terminal.account_info))


def read_state(terminal: Terminal) -> TerminalState:
    """Return the terminal's switches. Raises `Unreadable`."""
    return terminal_from(answer_of(terminal, "terminal_info", terminal.terminal_info))


def answer_of(terminal: Terminal, name: str, call: Callable[[], T | None]) -> T:
    """Return what a call answered; `None` and exceptions become `Unreadable`."""
    try:
        answer = call()
    except Exception as problem:
        raise Unreadable(f"{name} raised {type(problem).__name__}: {problem}") from problem
    if answer is None:
        raise Unreadable(f"{name} failed: {last_error_of(terminal)[1]}")
    return answer


def rows_of(terminal: Terminal, name: str, call: Callable[[], Sequence[T] | None]) -> tuple[T, ...]:
    """Return the rows of a call; nothing but a confirmed `()` is empty."""
    rows = answer_of(terminal, name, call)
    if not isinstance(rows, tuple | list):
        raise Unreadable(f"{name} answered with {type(rows).__name__}, not with rows")
    if not rows:
        # "Nothing" is the one answer on which trades are given up, so the
        # terminal's own word that the call succeeded is asked for as well.
        code, said = last_error_of(terminal)
        if code != RES_S_OK:
            raise Unreadable(f"{name} answered with nothing, and {said}")
    return tuple(rows)


def last_error_of(terminal: Terminal) -> tuple[int | None, str]:
    """Return the code (None if it cannot be read) and a text with both parts of `last_error`."""
    try:
        code, message = terminal.last_error()
        return int(code), f"last_error {int(code)}: {message}"
    except Exception as problem:  # noqa: BLE001 - the text carries it, the code says unknown
        return None, f"last_error raised {type(problem).__name__}: {problem}"
