"""Reading the broker: every read is known, empty or unknown (DESIGN, Reconciliation).

The terminal's functions answer `None` for "I could not find out" and `()` for
"there is nothing", and they answer for whichever account happens to be logged
in. So every read here is framed: login, server and `connected` are read before
and after it, and only if they are the expected ones both times the answer
counts. Anything else is `Unknown` with a reason, and never an empty book.

`terminals.framing` has the frame itself, `terminals.glancing` the look at some
positions only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

from defence.broker import (
    Account,
    Deal,
    Empty,
    History,
    Known,
    Position,
    Quote,
    Read,
    Snapshot,
    SymbolFacts,
    TerminalState,
    Unknown,
)
from defence.errors import BrokerUnknown, CannotAct, Invalid
from defence.permission import why_cannot_act
from terminals.constants import DEAL_ENTRY_IN
from terminals.framing import answer_of, frame, last_error_of, read_account, read_state, rows_of
from terminals.protocol import Terminal
from terminals.rows import (
    PendingOrder,
    Unreadable,
    deal_from,
    facts_from,
    pending_from,
    position_from,
    quote_from,
    real,
    whole,
)

__all__ = [
    "REFRESH_AFTER",
    "SymbolCache",
    "account_check",
    "account_of",
    "deals_of_order",
    "last_error_of",
    "order_waits",
    "pending_orders",
    "position_of",
    "quote_of",
    "read_histories",
    "take_snapshot",
    "terminal_state_of",
]

# How long a symbol's facts are good, seconds: brokers change stop levels and
# trade modes during the day, but not from one cycle to the next.
REFRESH_AFTER = 60.0


class SymbolCache:
    """Facts of symbols, each read again when older than `refresh_after` seconds.

    A refresh that fails keeps the old facts and is tried again at the next
    use; `problems` says why, by symbol, until it works. Facts belong to one
    account's broker, so another login or server empties the cache.
    """

    def __init__(self, refresh_after: float = REFRESH_AFTER) -> None:
        if not refresh_after >= 0:
            raise Invalid(
                "is a number of seconds, 0 or more",
                field="refresh_after",
                value=refresh_after,
                remedy=f"the default is {REFRESH_AFTER:g}",
            )
        self.problems: dict[str, str] = {}
        self._refresh_after = refresh_after
        self._owner: tuple[int, str] | None = None
        self._facts: dict[str, tuple[float, SymbolFacts]] = {}

    def belong_to(self, login: int, server: str) -> None:
        """Forget everything if it was read for another account."""
        if self._owner != (login, server):
            self.forget()
            self._owner = (login, server)

    def forget(self) -> None:
        """Forget everything: whose broker it was read from is in doubt."""
        self._owner = None
        self._facts.clear()
        self.problems.clear()

    def facts(self, terminal: Terminal, symbol: str, at: float) -> SymbolFacts | None:
        """Return the facts, from the terminal if the kept ones are too old at `at`."""
        kept = self._facts.get(symbol)
        # An age below zero is a clock that was set back: not to be trusted either.
        if kept is not None and 0 <= at - kept[0] < self._refresh_after:
            return kept[1]
        try:
            row = answer_of(terminal, "symbol_info", lambda: terminal.symbol_info(symbol))
            fresh = facts_from(symbol, row)
        except Unreadable as problem:
            self.problems[symbol] = str(problem)
            return None if kept is None else kept[1]
        self.problems.pop(symbol, None)
        self._facts[symbol] = (at, fresh)
        return fresh


def account_of(terminal: Terminal) -> Account | Unknown:
    """Return the account that is logged in just now, or why it cannot be read."""
    try:
        return read_account(terminal)
    except Unreadable as problem:
        return Unknown(str(problem))


def terminal_state_of(terminal: Terminal) -> TerminalState | Unknown:
    """Return the terminal's switches, or why they cannot be read."""
    try:
        return read_state(terminal)
    except Unreadable as problem:
        return Unknown(str(problem))


def quote_of(terminal: Terminal, symbol: str) -> Quote | None:
    """Return the newest usable quote, or None (see `rows.quote_from`)."""
    try:
        row = answer_of(terminal, "symbol_info_tick", lambda: terminal.symbol_info_tick(symbol))
    except Unreadable:
        return None
    return quote_from(symbol, row)


def account_check(
    terminal: Terminal, *, expected_login: int | None, expected_server: str | None
) -> Callable[[], None]:
    """Return a check for a `Permit`: the account is ours, and programs may trade on it.

    It runs in the same breath as the order, because a person may log in to
    another account, or switch trading off, between a snapshot and the order
    that it led to. It raises `BrokerUnknown` for the one, `CannotAct` for the
    other.
    """

    def check() -> None:
        try:
            found = frame(terminal, expected_login, expected_server, "at the order")
        except Unreadable as problem:
            raise BrokerUnknown(
                str(problem), field="account", remedy="log in to the guarded account"
            ) from problem
        why = why_cannot_act(found.account, found.terminal)
        if why is not None:
            raise CannotAct(why, remedy="switch trading on")

    return check


def take_snapshot(
    terminal: Terminal,
    *,
    snapshot_id: str,
    expected_login: int | None,
    expected_server: str | None,
    now: Callable[[], float],
    symbols: SymbolCache,
) -> Snapshot | Unknown:
    """Return one consistent look at the broker, or why there is none.

    None for `expected_login` or `expected_server` accepts any, but still the
    same before and after. The number of calls grows with the number of
    distinct symbols, never with the number of positions. A symbol without a
    usable quote is missing in `quotes`, one whose facts were never read in
    `symbols`; neither spoils the snapshot. A position that makes no sense
    does, because leaving it out would say that it is gone.

    An `Exception` out of the terminal is `Unknown`; interrupts pass through.
    """
    asked_at = now()
    try:
        before = frame(terminal, expected_login, expected_server, "before the read")
        login, server = before.account.login, before.account.server
        positions = _positions(terminal)
        names = sorted({position.symbol for position in positions})
        symbols.belong_to(login, server)
        found = ((name, quote_of(terminal, name)) for name in names)
        quotes = {name: quote for name, quote in found if quote is not None}
        looked = ((name, symbols.facts(terminal, name, asked_at)) for name in names)
        facts = {name: each for name, each in looked if each is not None}
        after = frame(terminal, login, server, "after the read")
    except Unreadable as problem:
        symbols.forget()  # what was read before the frame failed may be another broker's
        return Unknown(str(problem))
    return Snapshot(
        id=snapshot_id,
        asked_at=asked_at,
        taken_at=now(),
        account=after.account,
        terminal=after.terminal,
        positions=Known(positions) if positions else Empty(),
        quotes=MappingProxyType(quotes),
        symbols=MappingProxyType(facts),
    )


def read_histories(
    terminal: Terminal,
    identifiers: Iterable[int],
    *,
    expected_login: int | None,
    expected_server: str | None,
) -> Mapping[int, Read[History]]:
    """Return the deals of each position, and the stop of the order that opened it.

    Two calls a position: meant for the few that are missing or in doubt.
    `Empty` is the broker's word that the position has no deals. If the
    account is not the expected one before and after, all are `Unknown`.
    """
    wanted = tuple(dict.fromkeys(identifiers))
    if not wanted:
        return {}
    try:
        before = frame(terminal, expected_login, expected_server, "before the read")
        read = {identifier: _history(terminal, identifier) for identifier in wanted}
        frame(terminal, before.account.login, before.account.server, "after the read")
    except Unreadable as problem:
        return dict.fromkeys(wanted, Unknown(str(problem)))
    return read


def pending_orders(
    terminal: Terminal, *, expected_login: int | None = None, expected_server: str | None = None
) -> Read[tuple[PendingOrder, ...]]:
    """Return the orders that wait for their price (for `flatten`), framed like a snapshot."""
    try:
        before = frame(terminal, expected_login, expected_server, "before the read")
        rows = rows_of(terminal, "orders_get", terminal.orders_get)
        orders = tuple(order for order in map(pending_from, rows) if order is not None)
        frame(terminal, before.account.login, before.account.server, "after the read")
    except Unreadable as problem:
        return Unknown(str(problem))
    return Known(orders) if orders else Empty()


def position_of(terminal: Terminal, ticket: int) -> Read[Position]:
    """Return the position that has this ticket just now. Not framed: for use inside a permit."""
    try:
        rows = rows_of(terminal, "positions_get", lambda: terminal.positions_get(ticket=ticket))
        found = tuple(map(position_from, rows))
        if len(found) > 1 or any(position.ticket != ticket for position in found):
            # A wrapper that drops the filter answers with the whole book.
            tickets = ", ".join(str(position.ticket) for position in found)
            raise Unreadable(f"asked for position {ticket}, the terminal answered with {tickets}")
    except Unreadable as problem:
        return Unknown(str(problem))
    return Known(found[0]) if found else Empty()


def order_waits(terminal: Terminal, ticket: int) -> Read[PendingOrder]:
    """Return the waiting order that has this ticket. Not framed: for use inside a permit."""
    try:
        rows = rows_of(terminal, "orders_get", lambda: terminal.orders_get(ticket=ticket))
        for order in map(pending_from, rows):
            if order is not None and order.ticket == ticket:
                return Known(order)
    except Unreadable as problem:
        return Unknown(str(problem))
    return Empty()


def deals_of_order(terminal: Terminal, order: int) -> Read[tuple[Deal, ...]]:
    """Return the deals that one order made (the API's `ticket=` is the ORDER's ticket)."""
    try:
        rows = rows_of(
            terminal, "history_deals_get", lambda: terminal.history_deals_get(ticket=order)
        )
        deals = tuple(deal for deal in map(deal_from, rows) if deal.order == order)
    except Unreadable as problem:
        return Unknown(str(problem))
    return Known(deals) if deals else Empty()


def _positions(terminal: Terminal) -> tuple[Position, ...]:
    found = tuple(map(position_from, rows_of(terminal, "positions_get", terminal.positions_get)))
    for field in ("identifier", "ticket"):
        seen: set[int] = set()
        for position in found:
            number: int = getattr(position, field)
            if number in seen:
                raise Unreadable(f"two positions have the {field} {number}")
            seen.add(number)
    return found


def _history(terminal: Terminal, identifier: int) -> Known[History] | Empty | Unknown:
    try:
        rows = rows_of(
            terminal, "history_deals_get", lambda: terminal.history_deals_get(position=identifier)
        )
        deals = tuple(map(deal_from, rows))
        for deal in deals:
            if deal.position_id != identifier:
                raise Unreadable(
                    f"asked for deals of position {identifier}, "
                    f"deal {deal.ticket} belongs to {deal.position_id}"
                )
        if not deals:
            return Empty()
        opened_by = [deal.order for deal in deals if deal.entry == DEAL_ENTRY_IN]
        # A position's identifier is the ticket of the order that opened it.
        opening = opened_by[0] if opened_by else identifier
        stop = _opening_stop(terminal, identifier, opening)
    except Unreadable as problem:
        return Unknown(str(problem))
    return Known(History(identifier=identifier, deals=deals, opening_stop=stop))


def _opening_stop(terminal: Terminal, identifier: int, opening: int) -> float | None:
    rows = rows_of(
        terminal, "history_orders_get", lambda: terminal.history_orders_get(position=identifier)
    )
    for row in rows:
        what = f"order {getattr(row, 'ticket', None)!r}"
        if whole(row, "ticket", what) == opening:
            stop = real(row, "sl", what)
            return stop if stop > 0 else None
    return None
