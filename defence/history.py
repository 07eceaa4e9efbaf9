"""What can be asked of history: which records, how many, and where the last page ended."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass
from typing import Final, Generic, TypeAlias, TypedDict, TypeVar, Unpack

from defence.errors import Invalid
from defence.shape import MAX_ULONG

T = TypeVar("T")

MAX_PAGE: Final = 1000  # records a page, so that no question holds up a registration
MOMENT_MAX: Final = 1e11  # seconds; the year 5138, far beyond any sane clock

# UTC epoch seconds, a date or date-time of Python, or an ISO 8601 text. What
# says no zone is UTC.
Moment: TypeAlias = float | dt.date | str


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some records; `next` is the cursor of the page behind them, None at the end."""

    items: tuple[T, ...]
    next: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One question, in checked form. Times are UTC epoch seconds.

    From `since` on, up to and without `until`. `cursor` is the `next` of the
    page before, of the same order: records that come in meanwhile neither
    repeat nor shift what follows. Raises `Invalid`.
    """

    limit: int = 100
    ticket: int | None = None
    identifier: int | None = None
    since: float | None = None
    until: float | None = None
    cursor: str | None = None
    oldest_first: bool = False

    def __post_init__(self) -> None:
        """Refuse what makes no sense, naming the field."""
        _whole("limit", self.limit, 1, MAX_PAGE)
        for field, number in (("ticket", self.ticket), ("identifier", self.identifier)):
            if number is not None:
                _whole(field, number, 0, MAX_ULONG)
        if self.ticket is not None and self.identifier is not None:
            raise Invalid(
                "is given together with a ticket",
                field="identifier",
                value=self.identifier,
                remedy="give one of them: a ticket finds the trade by its identifier too",
            )
        for field, at in (("since", self.since), ("until", self.until)):
            if at is not None:
                _moment(field, at)
        if self.since is not None and self.until is not None and self.since > self.until:
            raise Invalid(
                "is after until",
                field="since",
                value=_shown(self.since),
                remedy="give the earlier time as since, the later one as until",
            )


class Asked(TypedDict, total=False):
    """The names of a question as a person asks it; `query_of` checks them."""

    limit: int
    ticket: int | None
    identifier: int | None
    since: Moment | None
    until: Moment | None
    cursor: str | None
    oldest_first: bool


def query_of(**asked: Unpack[Asked]) -> Query:
    """Return the checked question. Raises `Invalid` naming field, value and remedy.

    At most `limit` records (1 to 1,000; 100), of a `ticket` or an `identifier`,
    from `since` and before `until`: dates, times or UTC epoch seconds. A date
    alone is its whole day: `since` begins with it, `until` ends after it.
    `cursor` is the `next` of the page before. Newest first, or `oldest_first`.
    """
    since, until = asked.get("since"), asked.get("until")
    return Query(
        limit=asked.get("limit", 100),
        ticket=asked.get("ticket"),
        identifier=asked.get("identifier"),
        since=None if since is None else moment_of(since, "since"),
        until=None if until is None else moment_of(until, "until", end=True),
        cursor=asked.get("cursor"),
        oldest_first=asked.get("oldest_first", False),
    )


def moment_of(value: object, field: str, *, end: bool = False) -> float:
    """Return UTC epoch seconds; a date alone is the day's beginning, with `end` its end.

    Raises `Invalid`.
    """
    if isinstance(value, str):
        value = _parsed(value, field)
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        midnight = dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC).timestamp()
        value = midnight + 86_400.0 * end
    elif isinstance(value, dt.datetime):
        aware = value if value.tzinfo is not None else value.replace(tzinfo=dt.UTC)
        value = aware.timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _no_time(field, value)
    return _moment(field, value)


def _parsed(text: str, field: str) -> dt.date:
    trimmed = text.strip()
    try:
        if len(trimmed) > 40 or not trimmed.isascii():
            raise ValueError
        if len(trimmed) == 10:
            return dt.date.fromisoformat(trimmed)
        return dt.datetime.fromisoformat(trimmed)
    except ValueError:
        raise _no_time(field, text[:64]) from None


def _moment(field: str, at: float) -> float:
    if isinstance(at, bool) or not isinstance(at, int | float):
        raise _no_time(field, at)
    if not math.isfinite(at) or not 0 <= at <= MOMENT_MAX:
        raise Invalid(
            "is out of range", field=field, value=_shown(at), remedy="give a time from 1970 on"
        )
    return at


def _no_time(field: str, value: object) -> Invalid:
    return Invalid(
        f"is no date or time (got {value!r})",
        field=field,
        value=value,
        remedy="give a date such as 2026-11-22, or a time in UTC such as 2026-11-22T18:30:00Z",
    )


def _shown(at: float) -> object:
    """Return a time as people write it, or the number where that cannot be."""
    try:
        return dt.datetime.fromtimestamp(at, dt.UTC).isoformat()
    except (OverflowError, OSError, ValueError):
        return at


def _whole(field: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise Invalid(
            "is no whole number in range",
            field=field,
            value=value,
            remedy=f"give an integer from {least} to {most}",
        )
