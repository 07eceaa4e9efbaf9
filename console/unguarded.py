"""An armed guard that only observes a trade does nothing for it: the log says so."""

from __future__ import annotations

import threading

from loguru import logger

from actors.events import Event, Kind
from actors.monitor import ARMED


class Unguarded:
    """A listener on the event stream. Called from the actors' threads; asks nobody.

    It speaks once the guard is ready, again when there are more such trades
    than it has told, and again when the guard is armed anew.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._ready = self._armed = self._frozen = False
        self._watched = self._observed = self._told = 0

    def __call__(self, event: Event) -> None:
        """Take one event into account; write the warning if it is due."""
        with self._lock:
            if not self._news(event):
                return
            observed, watched = self._observed, self._watched
        logger.bind(child="guard").warning(
            "armed, but {} of {} trades are only observed, and nothing is sent for them: "
            "register them (POST /dtms/trade/enable); "
            "--adoption adopt is for positions that are found after a start with it",
            observed,
            watched,
        )

    def _news(self, event: Event) -> bool:
        facts = event.facts
        if event.kind is Kind.GUARD_READY:
            self._ready = True
        elif event.kind is Kind.CONTROL:
            self._armed = facts.get("mode") == ARMED
        elif event.kind is Kind.FROZEN:
            self._frozen = bool(facts.get("frozen"))
        elif event.kind is Kind.BOOK:
            self._watched = _number(facts.get("active"))
            self._observed = _number(facts.get("observed"))
        else:
            return False
        if self._frozen or not (self._ready and self._armed):
            self._told = 0
            return False
        before, self._told = self._told, self._observed
        return self._observed > before


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0
