"""What the child prints on standard error: into the log, bounded, without secrets."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO, Final

WIDTH: Final = 500  # characters of a line
LINES: Final = 60  # in a minute
MINUTE: Final = 60.0
HIDDEN: Final = "***"
_PIECE: Final = 8192


class Murmur:
    """Reads until the stream ends, whatever comes: a child must never wait for its reader."""

    def __init__(
        self,
        log: Callable[[str, str], None],
        secrets: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Give lines to `log(level, text)`, with `secrets` hidden."""
        self._log = log
        self._secrets = secrets
        self._clock = clock
        self._newest = ""
        self._minute = clock()
        self._lines = 0

    @property
    def last(self) -> str:
        """The newest line, to be put behind a sentence; "" if there was none."""
        return f"; it said: {self._newest}" if self._newest else ""

    def clean(self, text: str) -> str:
        """Return a text without the secrets."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text

    def say(self, level: str, text: str) -> None:
        """Log a line of the guard's side."""
        # A log that fails is the host's; the terminal goes on.
        with suppress(Exception):
            self._log(level, self.clean(text))

    def drain(self, stream: IO[bytes]) -> None:
        """Read to the end, then close."""
        rest = b""
        with stream, suppress(OSError):
            while piece := os.read(stream.fileno(), _PIECE):
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    self._line(line)
                rest = rest[: 4 * WIDTH]  # of a line without an end only the beginning is kept
        self._line(rest)

    def _line(self, raw: bytes) -> None:
        text = self.clean(raw.decode("utf-8", "replace").strip())[:WIDTH]
        if not text:
            return
        self._newest = text
        now = self._clock()
        if now - self._minute >= MINUTE:
            if self._lines > LINES:
                self.say("WARNING", f"the worker said {self._lines - LINES} lines more")
            self._minute, self._lines = now, 0
        self._lines += 1
        if self._lines <= LINES:
            self.say("WARNING", f"the worker says: {text}")
