"""How a command ends: its exit status, and the one line that says why."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection
from typing import Final

from defence.errors import DtmsError

DONE: Final = 0
FAILED: Final = 1  # start refused, the guard died, or a request was refused
USAGE: Final = 2
NO_GUARD: Final = 3
INTERRUPTED: Final = 130  # before the guard was ready

LONGEST: Final = 2000  # characters of one line


class Ended(Exception):  # noqa: N818 - not a fault of the program: a command that has an end
    """A command is over with this status; `text` goes to standard error."""

    def __init__(self, status: int, text: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.text = one_line(text)


class Usage(Ended):
    """Wrong usage: names the flag, the value and the remedy."""

    def __init__(self, text: str) -> None:
        super().__init__(USAGE, text)


def one_line(text: str) -> str:
    """Return `text` as one printable line: what others wrote cannot forge a second one."""
    shown = " ".join(text.split())
    if len(shown) > LONGEST:
        shown = f"{shown[:LONGEST]}..."
    return "".join(letter if letter.isprintable() else "?" for letter in shown)


def mute_output() -> None:
    """Lead standard output nowhere: its reader has gone, and Python would complain at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def flag_of(field: str) -> str:
    """Return the flag of a setting."""
    return f"--{field.replace('_', '-')}"


def told(error: DtmsError, given: Collection[str] = ()) -> str:
    """Return an error as one line: field, what is wrong, value, remedy.

    A field that was `given` as a flag is named by its flag.
    """
    text = error.message
    if error.value is not None and str(error.value) not in text:
        text = f"{text} (got {error.value!r})"
    if error.field is not None:
        text = f"{flag_of(error.field) if error.field in given else error.field}: {text}"
    if error.remedy:
        text = f"{text}; {error.remedy}"
    return one_line(text)
