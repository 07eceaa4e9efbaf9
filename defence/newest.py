"""Which quote of a symbol is the newest, and since when the guard has known it.

A terminal may show a quote again, and an older one after a newer one. The
broker's clock is its own: it may be hours from ours, and may be set. So quotes
are compared by the broker's time with each other, never with our clock.
"""

from __future__ import annotations

from dataclasses import replace

from defence.broker import Quote


class NewestQuotes:
    """Follows the quotes of each symbol from look to look."""

    def __init__(self) -> None:
        """Have seen nothing yet."""
        self._newest: dict[str, Quote] = {}
        self._older: dict[str, float] = {}  # broker time of the last one that was held back

    def follow(self, quote: Quote, now: float) -> Quote:
        """Return the quote to go by, with `seen_at`: when this one was first seen, on our clock.

        One that is older than the newest is held back, and that one, which
        ages, stands for it. Two older ones in a row of which the second is
        newer than the first are a clock that was set back: that is the time
        from then on.
        """
        newest, older = self._newest.get(quote.symbol), self._older.get(quote.symbol)
        if newest is not None:
            if (newest.bid, newest.ask, newest.time) == (quote.bid, quote.ask, quote.time):
                self._older.pop(quote.symbol, None)  # the next older one is the first of a row
                return newest
            if quote.time < newest.time and (older is None or quote.time <= older):
                self._older[quote.symbol] = quote.time
                return newest
        self._older.pop(quote.symbol, None)
        seen = self._newest[quote.symbol] = replace(quote, seen_at=now)
        return seen
