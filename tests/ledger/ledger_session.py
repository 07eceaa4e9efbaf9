"""A session: the same ticks and operations for the simulated terminal and for the reference.

The simulated terminal is driven through the module's functions; only the
account's terms and payments go in by its back office, as at a real broker.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from ledger_broker import REQUOTE, Answer, Ledger
from ledger_compare import Tickets, compare_money, compare_rows, deal_row, order_row, position_row
from ledger_market import Tape
from ledger_requests import Request, request_of
from ledger_rules import completed
from ledger_scenes import Op, Scene
from ledger_terminal import terminal_of
from ledger_terms import BUY, CENT, CLOSE_BY, DEAL, INSTANT, Symbol, cents, exact

from terminals.structs import OrderSendResult

ALL = 2_000_000_000  # seconds: after every session
HISTORY_EVERY = 25  # operations: history is read at least as often, and whenever it should grow


class Differs(AssertionError):  # noqa: N818 - named by what it says
    """The two accounts differ; carries which operation showed it."""

    def __init__(self, index: int, text: str) -> None:
        super().__init__(text)
        self.index = index


class Session:
    """One run of one scene."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.tape = Tape(scene.symbols, scene.ticks, scene.terms)
        account = copy.copy(scene.account)
        self.ledger = Ledger(account, self.tape, Decimal(10_000))
        self.ledger.slip = self._slip
        self._at = 0.0
        self.terminal = terminal_of(scene, lambda: self._at)
        if scene.deposit:
            self.terminal.deposit(float(scene.deposit))
            self.ledger.pay(scene.deposit, "correction")
        self.tickets = Tickets()
        self.now = self.tape.begin
        self.codes: dict[int, int] = {}
        self._deals: list[Any] = []  # the terminal's, all that were read
        self._known: set[int] = set()  # their tickets
        self._learnt = 0  # how many of them have shown their positions
        self._seen = (0, 0)  # the reference's deals and past orders that were compared
        self._past: dict[int, Any] = {}
        self._notes: list[str] = []  # what differed before the operation's end
        self._first_deal = 0  # the number of the first deal that the newest request could make

    # -- time and slippage -------------------------------------------------

    def _move_to(self, moment: int) -> None:
        """Let market time be that millisecond, exactly."""
        self.now = moment
        self._at = (moment - self.tape.begin + 0.25) / 1000.0

    def _slip(self, number: int, symbol: Symbol, side: int, quote: Decimal) -> Decimal:
        """Return the price that the terminal filled at, if it is within what is allowed."""
        most = self.scene.terms.slippage
        if not most or number >= len(self._deals):
            return quote
        price = exact(self._deals[number].price)
        worse = (price - quote) / symbol.point * (1 if side == BUY else -1)
        if worse != int(worse) or not 0 <= worse <= most:
            self._notes.append(f"deal {number}: filled at {price}, quote {quote}, {worse} points")
            return quote
        return price

    # -- playing -----------------------------------------------------------

    def play(self, ops: Sequence[Op]) -> None:
        """Do the operations; raise Differs at the first that shows a difference."""
        for index, op in enumerate(ops):
            request, answer, said = self.step(op)
            found = self._differences(
                answer, said, index == len(ops) - 1 or index % HISTORY_EVERY == 0
            )
            if found:
                raise Differs(index, self._report(index, op, request, found))

    def step(self, op: Op) -> tuple[Request | None, Answer | None, Any]:
        """Do one operation on both; return the request and what each answered."""
        self._move_to(min(self.now + op.wait, self.tape.end + 60_000))
        if self.scene.terms.slippage:
            self.terminal.account_info()  # plays the market on
            self._read_deals()
        self.ledger.advance(self.now)
        request = request_of(op, self.ledger)
        if op.kind == "pay":
            self._pay(op)
        if op.kind == "ask":
            return self._ask(op)
        if request is None:
            return None, None, None
        self._learn()
        self._first_deal = len(self.ledger.deals)
        said = self.terminal.order_send(self.tickets.translated(request))
        if self.scene.terms.slippage:
            self._read_deals()
        code = self.ledger.check(request)
        if (
            code == 0
            and self._may_requote(request)
            and said is not None
            and said.retcode == REQUOTE
        ):
            answer = Answer(REQUOTE)
        else:
            answer = self.ledger.send(request)
        self.codes[answer.code] = self.codes.get(answer.code, 0) + 1
        return request, answer, said

    def _may_requote(self, request: Request) -> bool:
        named = completed(self.ledger, request).get("symbol", "")
        symbol = self.tape.symbols.get(named)
        return bool(self.scene.terms.requotes and symbol and symbol.execution == INSTANT)

    def _pay(self, op: Op) -> None:
        whole = 10_000 + self.scene.deposit
        amount = cents(whole * (op.number % 300 - 50) / 1000) or CENT
        if self.ledger.money().equity < whole / 5:
            amount = whole
        self.terminal.deposit(float(amount))
        self.ledger.pay(amount, "correction")

    def _ask(self, op: Op) -> tuple[Request | None, Answer | None, Any]:
        """Compare what would be: profit, margin, and whether an order would be accepted."""
        maybe = request_of(op._replace(kind="open"), self.ledger)
        assert maybe is not None
        self._learn()
        symbol, side = self.tape.symbols[maybe["symbol"]], maybe["type"]
        quote = self.ledger.opening_price(symbol.name, side)
        later = quote + symbol.point * (op.number % 999 - 500)
        volume = exact(maybe["volume"])
        deal = side, symbol.name, maybe["volume"], float(quote)
        got = (
            self.terminal.order_calc_margin(*deal),
            self.terminal.order_calc_profit(*deal, float(later)),
        )
        expected = (
            float(cents(self.ledger.lot_margin(symbol, quote) * volume)),
            float(self.ledger.gain(symbol, side, volume, quote, later)),
        )
        if got != expected:
            self._notes.append(f"margin and profit of {deal}: {got}, expected {expected}")
        checked = self.terminal.order_check(maybe)
        if checked is not None and checked.retcode == 0 and not self.scene.terms.slippage:
            after = self.ledger.twin()
            after.send(maybe)
            self._notes += compare_money(after.money_to_be(self.ledger), checked)
        return maybe, Answer(self.ledger.check(maybe)), checked

    # -- comparing ---------------------------------------------------------

    def _learn(self) -> None:
        """Learn which of the terminal's tickets are which of the reference's."""
        if self.tickets.missing(self.ledger):
            self._read_history()

    def _read_deals(self) -> None:
        """Read the deals that are new since the last look."""
        # Wall time goes back by an hour in autumn, so newer deals may carry an older time.
        since = self._deals[-1].time - 3600 if self._deals else 0
        deals = self.terminal.history_deals_get(since, ALL)
        assert deals is not None, self.terminal.last_error()
        new = [one for one in deals if one.ticket not in self._known]
        self._deals += new
        self._known |= {one.ticket for one in new}

    def _read_history(self) -> None:
        newest = next(reversed(self._past.values())).time_done - 3600 if self._past else 0
        past = self.terminal.history_orders_get(newest, ALL)
        orders = self.terminal.orders_get()
        assert past is not None
        assert orders is not None
        self._past.update((one.ticket, one) for one in past)
        self._read_deals()
        born = {one.position_id for one in self._deals[self._learnt :] if one.position_id}
        self._learnt = len(self._deals)
        born |= {one.ticket for one in (*past, *orders)}
        self.tickets.learn(self.ledger, born)

    def _differences(self, answer: Answer | None, said: Any, history: bool) -> list[str]:
        info = self.terminal.account_info()
        rows = self.terminal.positions_get()
        waiting = self.terminal.orders_get()
        assert info is not None
        assert rows is not None
        assert waiting is not None
        book = self.ledger
        grown = (len(book.deals), len(book.past)) != self._seen
        if history or grown or self.tickets.missing(book):
            self._read_history()
            self._read_deals()
        found = list(self._notes)
        found += self._answers(answer, said)
        found += compare_money(book.money(), info)
        named = self.tickets.named
        wall = self.tape.wall
        expected = {
            named(p.ticket): position_row(p, book, named, wall) for p in book.positions.values()
        }
        found += compare_rows("position", expected, {one.ticket: one for one in rows})
        working = {named(o.ticket): order_row(o, book, named, wall) for o in book.working.values()}
        found += compare_rows("order", working, {one.ticket: one for one in waiting})
        if history or grown:
            found += self._compare_history()
        return found

    def _answers(self, answer: Answer | None, said: Any) -> list[str]:
        if answer is None:
            return []
        if said is None:
            return [f"no answer, last_error {self.terminal.last_error()}; expected {answer}"]
        found = []
        if said.retcode != answer.code:
            found.append(f"answer: {said.retcode}, expected {answer.code}")
        elif answer.volume and abs(said.volume - float(answer.volume)) > 1e-9:
            found.append(f"answer: volume {said.volume}, expected {answer.volume}")
        elif isinstance(said, OrderSendResult):
            found += self._dealt(answer, said)
        return found

    def _dealt(self, answer: Answer, said: OrderSendResult) -> list[str]:
        """Return what differs in the tickets and the price of an answer."""
        done: Any = None
        if said.request.action in (DEAL, CLOSE_BY):
            done = next(iter(self._deals[self._first_deal :]), None)
        expected = (
            self.tickets.named(answer.order),
            0 if done is None else done.ticket,
            0.0 if done is None else done.price,
        )
        got = said.order, said.deal, said.price
        return [] if got == expected else [f"answer: {got}, expected {expected}"]

    def _compare_history(self) -> list[str]:
        book, named, wall = self.ledger, self.tickets.named, self.tape.wall
        deals, past = self._seen
        self._seen = len(book.deals), len(book.past)
        found = []
        if len(self._deals) != len(book.deals):
            found.append(f"{len(self._deals)} deals, expected {len(book.deals)}")
        new = dict(enumerate(self._deals[deals:], deals))
        expected = {
            number: deal_row(one, named, wall)
            for number, one in enumerate(book.deals[deals:], deals)
        }
        found += compare_rows("deal", expected, new)
        done = {named(one.ticket): order_row(one, book, named, wall) for one in book.past[past:]}
        found += compare_rows("past order", done, {t: self._past.get(t) for t in done})
        if len(self._past) != len(book.past):
            found.append(f"{len(self._past)} past orders, expected {len(book.past)}")
        return found

    def audit(self) -> list[str]:
        """Return what does not add up in the terminal's own books, from its first deal on."""
        self._read_history()
        deals = self.terminal.history_deals_get(0, ALL)
        info = self.terminal.account_info()
        positions = self.terminal.positions_get()
        assert deals is not None
        assert info is not None
        assert positions is not None
        found = []
        booked = sum(
            exact(d.profit) + exact(d.commission) + exact(d.swap) + exact(d.fee) for d in deals
        )
        if abs(booked - exact(info.balance)) > Decimal("0.004"):
            found.append(f"the deals come to {booked}, the balance is {info.balance}")
        open_lots = {one.identifier: exact(one.volume) for one in positions}
        signed: dict[int, Decimal] = {}
        for one in deals:
            if one.type in (0, 1):
                part = exact(one.volume) * (1 if one.type == 0 else -1)
                signed[one.position_id] = signed.get(one.position_id, Decimal(0)) + part
        for identifier, lots in signed.items():
            left = open_lots.pop(identifier, Decimal(0))
            if abs(abs(lots) - left) > Decimal("1e-9"):
                found.append(f"position {identifier}: deals leave {lots} lots, open are {left}")
        found += [f"position {identifier} has no deals" for identifier in open_lots]
        filled: dict[int, Decimal] = {}
        for one in deals:
            filled[one.order] = filled.get(one.order, Decimal(0)) + exact(one.volume)
        for order in self._past.values():
            got = filled.get(order.ticket, Decimal(0))
            wanted = exact(order.volume_initial) - exact(order.volume_current)
            if order.type == 8:
                wanted *= 2
            if abs(got - wanted) > Decimal("1e-9"):
                found.append(f"order {order.ticket}: deals for {got} lots, it says {wanted}")
        return found

    # -- telling -----------------------------------------------------------

    def _report(self, index: int, op: Op, request: Request | None, found: list[str]) -> str:
        book = self.ledger
        sent = None if request is None else self.tickets.translated(request)
        lines = [
            f"session {self.scene.name!r}, operation {index}: {op}",
            f"at {self.now} (wall {self.tape.wall(self.now)}), request {sent}",
            *(f"  differs: {one}" for one in found[:12]),
            f"account {book.account}",
            f"  reference: {book.money()}",
            f"  terminal:  {self.terminal.account_info()}",
        ]
        lines += [f"  reference: {one}" for one in book.positions.values()]
        lines += [f"  terminal:  {one}" for one in self.terminal.positions_get() or ()]
        lines += [f"  reference: {one}" for one in book.working.values()]
        lines += [f"  terminal:  {one}" for one in self.terminal.orders_get() or ()]
        return "\n".join(lines)


def shortest(
    begin: Callable[[], Session], ops: Sequence[Op], tries: int = 150
) -> tuple[list[Op], Differs]:
    """Return as few operations as are found to show a difference, and the difference."""

    def fails(some: Sequence[Op]) -> Differs | None:
        try:
            begin().play(some)
        except Differs as error:
            return error
        return None

    error = fails(ops)
    assert error is not None
    kept = list(ops[: error.index + 1])
    size = len(kept) // 2
    while size and tries:
        start = 0
        while start < len(kept) and tries:
            tries -= 1
            gone = kept[start : start + size]
            rest = kept[:start] + kept[start + size :]
            # Whoever takes operations out keeps the time at which the others come.
            if start < len(rest):
                waited = sum(one.wait for one in gone)
                rest[start] = rest[start]._replace(wait=rest[start].wait + waited)
            shorter = fails(rest) if rest else None
            if shorter is None:
                start += size
            else:
                kept, error = rest[: shorter.index + 1], shorter
        size //= 2
    return kept, error
