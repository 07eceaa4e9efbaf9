"""A look at the positions that somebody wants to register, and at nothing else.

A registration that read the whole account would cost the more the more
positions are open, for answers nobody asked for. What is read here is framed
as every read is, and three-valued for each ticket. Whoever wants to know what
is no longer there takes a snapshot: `Glance` cannot say it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from defence.broker import Empty, Glance, Known, Position, Unknown
from terminals.framing import frame, rows_of
from terminals.protocol import Terminal
from terminals.reading import SymbolCache, position_of, quote_of
from terminals.rows import Unreadable, position_from, whole

_ROWS_FOR_A_CALL: Final = 16.0  # rows of the whole list that cost as much as one call, unmeasured
_NEW_SHARE: Final = 0.25  # weight of the newest measurement


@dataclass(slots=True)
class Pace:
    """What calls of this terminal cost, measured: one ticket, or a row of the whole list.

    Terminals differ a hundredfold: a pipe to another process makes the call
    dear and the row cheap. Seconds of the clock that `glance` is given; where
    they cannot be measured (a clock that stands still) a constant serves.
    """

    open: int = 0  # positions, when they were last counted
    _call: float = field(default=0.0, init=False)
    _row: float = field(default=0.0, init=False)

    def prefers_all(self, tickets: int) -> bool:
        """Whether one look through all positions is cheaper than a call for each ticket."""
        if tickets <= 1:
            return False
        measured = self._call > 0 and self._row > 0
        worth = self._call / self._row if measured else _ROWS_FOR_A_CALL
        return tickets * worth >= self.open

    def note_calls(self, count: int, seconds: float) -> None:
        """Take the time of `count` calls for one ticket each into account."""
        if count and seconds > 0:
            self._call = _blended(self._call, seconds / count)

    def note_all(self, count: int, seconds: float) -> None:
        """Take a look through all `count` positions into account."""
        self.open = count
        if count and seconds > 0:
            self._row = _blended(self._row, seconds / count)


def _blended(kept: float, new: float) -> float:
    return new if kept <= 0 else kept + _NEW_SHARE * (new - kept)


def glance(
    terminal: Terminal,
    wanted: Collection[tuple[int, int | None]],
    *,
    expected_login: int | None,
    expected_server: str | None,
    now: Callable[[], float],
    monotonic: Callable[[], float],
    symbols: SymbolCache,
    pace: Pace,
) -> Glance | Unknown:
    """Return one look at the positions that are `wanted`, or why there is none.

    `wanted` are pairs of ticket and identifier (None if it was not given). A
    ticket that no position has is looked for among the identifiers too, which
    takes the whole list: the terminal cannot be asked for an identifier. A
    position that makes no sense is `Unknown` by itself and spoils no other.

    An `Exception` out of the terminal is `Unknown`; interrupts pass through.
    """
    asked_at = now()
    try:
        before = frame(terminal, expected_login, expected_server, "before the read")
        login, server = before.account.login, before.account.server
        by_ticket, by_identifier = _find(terminal, wanted, monotonic, pace)
        found = (*_known(by_ticket.values()), *by_identifier.values())
        names = sorted({position.symbol for position in found})
        symbols.belong_to(login, server)
        quoted = ((name, quote_of(terminal, name)) for name in names)
        quotes = {name: quote for name, quote in quoted if quote is not None}
        looked = ((name, symbols.facts(terminal, name, asked_at)) for name in names)
        facts = {name: each for name, each in looked if each is not None}
        after = frame(terminal, login, server, "after the read", like=before)
    except Unreadable as problem:
        symbols.forget()  # what was read before the frame failed may be another broker's
        return Unknown(str(problem))
    return Glance(
        asked_at=asked_at,
        taken_at=now(),
        account=after.account,
        terminal=after.terminal,
        by_ticket=by_ticket,
        by_identifier=by_identifier,
        quotes=quotes,
        symbols=facts,
    )


_Reads = dict[int, Known[Position] | Empty | Unknown]


def _known(reads: Iterable[Known[Position] | Empty | Unknown]) -> Iterable[Position]:
    return (read.value for read in reads if isinstance(read, Known))


def _find(
    terminal: Terminal,
    wanted: Collection[tuple[int, int | None]],
    monotonic: Callable[[], float],
    pace: Pace,
) -> tuple[_Reads, Mapping[int, Position]]:
    tickets = dict.fromkeys(ticket for ticket, _ in wanted)
    if pace.prefers_all(len(tickets)):
        return _among_all(terminal, wanted, monotonic, pace)
    began = monotonic()
    reads: _Reads = {ticket: position_of(terminal, ticket) for ticket in tickets}
    pace.note_calls(len(tickets), monotonic() - began)
    missing = [pair for pair in wanted if isinstance(reads[pair[0]], Empty)]
    if not missing:
        return reads, {}
    late, by_identifier = _among_all(terminal, missing, monotonic, pace)
    return reads | late, by_identifier


def _among_all(
    terminal: Terminal,
    wanted: Collection[tuple[int, int | None]],
    monotonic: Callable[[], float],
    pace: Pace,
) -> tuple[_Reads, Mapping[int, Position]]:
    """Look through the whole list; only the rows that are wanted are made sense of."""
    began = monotonic()
    rows = rows_of(terminal, "positions_get", terminal.positions_get)
    reads: _Reads = {ticket: Empty() for ticket, _ in wanted}
    numbers = {identifier for _, identifier in wanted if identifier is not None} | reads.keys()
    by_identifier: dict[int, Position] = {}
    for row in rows:
        ticket, identifier = getattr(row, "ticket", None), getattr(row, "identifier", None)
        if type(ticket) is not int or type(identifier) is not int:
            ticket, identifier = _numbers(row)
        if ticket not in reads and identifier not in numbers:
            continue
        read = _read(row)
        if ticket in reads:
            twice = not isinstance(reads[ticket], Empty)
            reads[ticket] = Unknown(f"two positions have the ticket {ticket}") if twice else read
        if identifier in numbers and isinstance(read, Known):
            if identifier in by_identifier:
                raise Unreadable(f"two positions have the identifier {identifier}")
            by_identifier[identifier] = read.value
    pace.note_all(len(rows), monotonic() - began)
    return reads, by_identifier


def _numbers(row: object) -> tuple[int, int]:
    """Return ticket and identifier of a row whose numbers are not plain, or none at all."""
    return whole(row, "ticket", "position"), whole(row, "identifier", "position")


def _read(row: object) -> Known[Position] | Unknown:
    try:
        return Known(position_from(row))
    except Unreadable as problem:
        return Unknown(str(problem))
