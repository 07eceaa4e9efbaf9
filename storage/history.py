"""Pages of history: actions, archived trades, and the sums by day.

Every question walks an index from where the page begins and stops where it is
full, so its cost is that of the page, not of the store. A cursor is the place
of the last record in hexadecimal: records that come in, or are compacted, in
between neither repeat nor shift what follows.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final, TypeVar

from defence.days import DAY, DaySummary
from defence.errors import Damaged, Invalid
from defence.history import Page, Query
from defence.orders import Action
from defence.trade import TradeRecord
from storage.fields import action_from, day_from, trade_from
from storage.keys import moment_key, number_key
from storage.layout import ACTION_TICKETS, ACTIONS, DAYS, HISTORY, HISTORY_IDS, HISTORY_TICKETS
from storage.records import Fields
from storage.view import TOP, View

T = TypeVar("T")

NUMBER: Final = 8  # bytes of a ticket, an identifier or a day in a key
_ACTION_PLACE: Final = 24  # bytes: time, sequence, number
_TRADE_PLACE: Final = 16  # bytes: time, identifier

Row = tuple[bytes, Fields]
Range = tuple[bytes, bytes]  # from, up to and without


def action_page(view: View, query: Query) -> Page[Action]:
    """Return actions, of one ticket if asked. Raises Invalid for another question's cursor."""
    span = _span(query, _ACTION_PLACE)
    if query.ticket is None:
        rows = view.walk(ACTIONS, low=span[0], high=span[1], newest_first=not query.oldest_first)
    else:
        places = _index(view, ACTION_TICKETS, query.ticket, span, query)
        rows = _rows(view, ACTIONS, places)
    return _page(rows, query, action_from)


def trade_page(view: View, query: Query) -> Page[TradeRecord]:
    """Return archived trades, of one ticket or identifier if asked. Raises Invalid.

    A ticket finds the trade that has it last, and the one that began with it:
    MetaTrader 5 makes the first ticket the identifier.
    """
    span = _span(query, _TRADE_PLACE)
    newest_first = not query.oldest_first
    if query.ticket is not None:
        by_ticket = _index(view, HISTORY_TICKETS, query.ticket, span, query)
        by_number = _index(view, HISTORY_IDS, query.ticket, span, query)
        both = heapq.merge(by_ticket, by_number, reverse=newest_first)
        rows = _rows(view, HISTORY, _once(both))
    elif query.identifier is not None:
        rows = _rows(view, HISTORY, _index(view, HISTORY_IDS, query.identifier, span, query))
    else:
        rows = view.walk(HISTORY, low=span[0], high=span[1], newest_first=newest_first)
    return _page(rows, query, trade_from)


def day_page(view: View, query: Query) -> Page[DaySummary]:
    """Return the summaries of whole days, by day and symbol. Raises Invalid."""
    for field, value in (("ticket", query.ticket), ("identifier", query.identifier)):
        if value is not None:
            raise Invalid(
                "is unknown to the sums by day",
                field=field,
                value=value,
                remedy="leave it out, or ask for the trades",
            )
    low = b"" if query.since is None else _day_key(math.floor(query.since / DAY))
    high = TOP if query.until is None else _day_key(math.ceil(query.until / DAY))
    low, high = _behind(query, low, high, None)
    rows = view.walk(DAYS, low=low, high=high, newest_first=not query.oldest_first)
    return _page(rows, query, day_from)


def _day_key(day: int) -> bytes:
    return number_key(day, field="day")


def _span(query: Query, length: int) -> Range:
    """Return the places that a question asks for."""
    low = b"" if query.since is None else moment_key(query.since, field="since")
    high = TOP if query.until is None else moment_key(query.until, field="until")
    return _behind(query, low, high, length)


def _behind(query: Query, low: bytes, high: bytes, length: int | None) -> Range:
    """Narrow a range to what lies behind the cursor."""
    if query.cursor is None:
        return low, high
    last = _place(query.cursor, length)
    if query.oldest_first:
        return max(low, last + b"\0"), high  # the least key above it
    return low, min(high, last)


def _place(cursor: str, length: int | None) -> bytes:
    try:
        place = bytes.fromhex(cursor) if cursor.isascii() and " " not in cursor else b""
    except ValueError:
        place = b""
    if len(place) != length if length is not None else not NUMBER < len(place) <= 511:
        raise Invalid(
            "is no cursor of this list",
            field="cursor",
            value=cursor[:64],
            remedy="give `next` of the page before, or leave it out",
        )
    return place


def _index(view: View, db: str, number: int, span: Range, query: Query) -> Iterator[bytes]:
    """Walk the places that an index has under a number."""
    prefix = number_key(number, field="ticket")
    newest_first = not query.oldest_first
    keys = view.walk(db, low=prefix + span[0], high=prefix + span[1], newest_first=newest_first)
    for key, _ in keys:
        yield key[NUMBER:]


def _once(places: Iterable[bytes]) -> Iterator[bytes]:
    last = None
    for place in places:
        if place != last:
            yield place
        last = place


def _rows(view: View, db: str, places: Iterable[bytes]) -> Iterator[Row]:
    for place in places:
        yield place, indexed(view, db, place)


def indexed(view: View, db: str, place: bytes) -> Fields:
    """Return the record that an index points at. Raises Damaged if there is none."""
    fields = view.get(db, place)
    if fields is None:
        raise Damaged(
            f"an index of {db!r} points at {place.hex()}, where nothing is",
            field=db,
            value=place.hex(),
            remedy="set the environment aside and restore the newest backup",
        )
    return fields


def _page(rows: Iterable[Row], query: Query, read: Callable[[Fields], T]) -> Page[T]:
    found = list(islice(rows, query.limit + 1))
    shown = found[: query.limit]
    more = shown[-1][0].hex() if len(found) > query.limit else None
    return Page(tuple(read(fields) for _, fields in shown), more)
