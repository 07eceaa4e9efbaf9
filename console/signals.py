"""Ctrl-C and its kin, noted and no more: the command decides what follows.

A handler only counts. It runs between any two instructions of the main thread,
so whatever took a lock in it could wait for itself.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Final, Self

NAMES: Final = ("SIGINT", "SIGTERM", "SIGBREAK")  # the last one is Windows' Ctrl-Break


class Signals:
    """Notes the signals that ask to stop, while it is entered; then all is as before.

    Outside of the main thread no handler can be installed: nothing is noted.
    """

    def __init__(self) -> None:
        self.count = 0
        self.name: str | None = None  # of the first
        self._before: dict[int, Any] = {}

    @property
    def asked(self) -> bool:
        """Whether a stop was asked for."""
        return self.count > 0

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.count += 1
        if self.name is None:
            self.name = signal.Signals(number).name

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for name in NAMES:
                number = getattr(signal, name, None)
                if number is not None:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        while self._before:
            number, before = self._before.popitem()
            # None: it was installed by something else than Python, and cannot be put back
            signal.signal(number, signal.SIG_DFL if before is None else before)
