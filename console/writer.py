"""Writes the log's lines from a thread of its own, so that no actor waits for a screen.

A terminal can stop reading for as long as somebody likes: text is selected in
a Windows console, a pager waits, Ctrl-S was pressed. Whoever writes there then
stands still, and that must not be the Monitor. Beyond `room` lines the newest
are dropped, and their number is told when writing goes on.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Final, TextIO

ROOM: Final = 20_000  # lines
PATIENCE: Final = 2.0  # seconds that the end waits for a screen


class Writer:
    """A sink for loguru. Never blocks its caller, never raises."""

    def __init__(self, stream: TextIO, room: int = ROOM) -> None:
        self._stream = stream
        self._room = room
        self._lines: deque[str] = deque()
        self._lost = 0
        self._closing = False
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._write, name="dtms-log", daemon=True)
        self._thread.start()

    def __call__(self, line: str) -> None:
        """Take one line."""
        with self._wake:
            if len(self._lines) >= self._room:
                self._lost += 1
                return
            self._lines.append(line)
            self._wake.notify()

    def close(self, patience: float = PATIENCE) -> bool:
        """Write what waits, for at most `patience` seconds; whether all was written."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(patience)
        return not self._thread.is_alive()

    def _write(self) -> None:
        while True:
            with self._wake:
                while not self._lines and not self._closing:
                    self._wake.wait()
                if not self._lines:
                    return
                text, lost = "".join(self._lines), self._lost
                self._lines.clear()
                self._lost = 0
            if lost:
                text += f"({lost} lines of the log were dropped: nobody read them)\n"
            try:
                self._stream.write(text)
                self._stream.flush()
            except (OSError, ValueError):
                # The reader has gone, or the stream was closed. There is nobody
                # left to tell, and the guard goes on guarding.
                continue
