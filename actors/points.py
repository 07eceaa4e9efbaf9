"""Crash points: named places where a test, or chaos, may strike.

They are a permanent, public test seam. A production guard has none armed, and
reaching a point then costs one look at an empty dict.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

# Where a death can part an order from its journal, in the order of their coming.
# `registry.*` come twice: with the intent, and with its outcome.
AROUND_AN_ORDER: Final = (
    "registry.before_commit",
    "registry.in_commit",
    "registry.after_commit",
    "registry.before_execute",
    "registry.before_reply",
    "connector.before_send",
    "connector.after_send",
    "connector.before_reply",
)


class Killed(BaseException):
    """An incarnation was killed from outside; no message is to blame."""


class Skipped(Exception):  # noqa: N818 - not an error: the step at this point is left out
    """Raised by an armed action so that what comes at the point does not happen."""


class Points:
    """Which points are armed, and what happens there."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: dict[str, tuple[Callable[[], None], int]] = {}
        self.reached: dict[str, int] = {}

    def arm(self, name: str, action: Callable[[], None], times: int = 1) -> None:
        """Run `action` at the next `times` passes of point `name`."""
        with self._lock:
            self._armed[name] = (action, times)

    def disarm(self, name: str) -> None:
        """Let the point pass again."""
        with self._lock:
            self._armed.pop(name, None)

    def kill_at(self, name: str, times: int = 1) -> None:
        """Kill whoever reaches `name`."""

        def kill() -> None:
            raise Killed(f"killed at {name}")

        self.arm(name, kill, times)

    def reach(self, name: str) -> None:
        """Be at point `name`: run the armed action, if any."""
        if not self._armed:
            return
        with self._lock:
            armed = self._armed.get(name)
            if armed is None:
                return
            action, times = armed
            if times <= 1:
                del self._armed[name]
            else:
                self._armed[name] = (action, times - 1)
            self.reached[name] = self.reached.get(name, 0) + 1
        action()

    def passes(self, name: str) -> bool:
        """Be at a point that can be left out; False when it is to be left out."""
        try:
            self.reach(name)
        except Skipped:
            return False
        return True
