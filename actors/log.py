"""The log as actors use it: a sink of the host's that raises must not end one of them.

loguru hands what a sink added with `catch=False` raises to whoever logs. That
is the host's choice for its own code; on a guard's thread it would be a crash.
"""

from __future__ import annotations

import traceback
from contextlib import suppress
from typing import Final

from loguru import logger


def words_of(error: BaseException) -> str:
    """Return an exception in one line, as a trace ends with it. Never raises.

    Somebody's exception may raise itself when it is put into words, and so may
    any other when there is no memory left; then there is its type's name.
    """
    try:
        return "".join(traceback.format_exception_only(error)).strip()
    except BaseException:  # noqa: BLE001 - a death must be reported, with whatever words
        return type(error).__name__


class Log:
    """loguru's logger with names bound; its methods never raise an `Exception`."""

    __slots__ = ("_bound", "_error")

    def __init__(self, error: BaseException | bool | None = None, **bound: object) -> None:
        self._bound = bound
        self._error = error

    def bind(self, **names: object) -> Log:
        """Return one that says these names too."""
        return Log(self._error, **{**self._bound, **names})

    def opt(self, *, exception: BaseException | bool | None = None) -> Log:
        """Return one that shows the trace of an error; True for the one being handled."""
        return Log(exception, **self._bound)

    def log(self, level: str, text: str, *values: object) -> None:
        """Say it; `{}` in the text are the values."""
        self._say(level, text, *values)

    def debug(self, text: str, *values: object) -> None:
        """Say it at this level."""
        self._say("DEBUG", text, *values)

    def info(self, text: str, *values: object) -> None:
        """Say it at this level."""
        self._say("INFO", text, *values)

    def warning(self, text: str, *values: object) -> None:
        """Say it at this level."""
        self._say("WARNING", text, *values)

    def error(self, text: str, *values: object) -> None:
        """Say it at this level."""
        self._say("ERROR", text, *values)

    def critical(self, text: str, *values: object) -> None:
        """Say it at this level."""
        self._say("CRITICAL", text, *values)

    def _say(self, level: str, text: str, *values: object) -> None:
        with suppress(Exception):  # where would it be told? the log itself has failed
            bound = logger.bind(**self._bound)
            bound.opt(depth=2, exception=self._error).log(level, text, *values)


log: Final = Log()
