"""How long a new worker waits after some that died at once: pure. Not at all, then growing."""

from __future__ import annotations

from typing import Final

SOON: Final = 30.0  # seconds; whoever lived longer did not die at once
FIRST: Final = 0.5  # after the second of them
LIMIT: Final = 30.0


class Parting:
    """Counts workers that died young, one after another. Times in seconds, of one clock."""

    __slots__ = ("_failures", "_next")

    def __init__(self) -> None:
        self._failures = 0
        self._next = float("-inf")

    def ended(self, lived: float, at: float) -> None:
        """Take in that a worker ended by itself after `lived` seconds."""
        self._failures = 0 if lived >= SOON else self._failures + 1
        waits = FIRST * 2.0 ** min(self._failures - 2, 10) if self._failures > 1 else 0.0
        self._next = at + min(LIMIT, waits)

    def wait(self, now: float) -> float:
        """Return for how long no new one may be started; 0.0 or less for not at all."""
        return self._next - now
