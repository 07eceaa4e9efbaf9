"""Sending an order, and saying truthfully what became of it.

What is sure is said: DONE, PARTIAL, NOT_DONE (the broker said no), NOT_SENT
(it never left). Whatever is not sure is UNKNOWN and is left to
reconciliation; it is never sent again from here. Sending again happens only
after an answer which says that nothing was done: a price that had moved, or a
filling mode that the symbol does not know.

Every send is under the permit anew, and the last look at the position is part
of the permit: fence, account, position and order are one step.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

from defence.broker import Empty, Known, MarginMode, OrderFate, Quote, SymbolFacts, Unknown
from defence.errors import CannotAct, Fenced, Invalid
from defence.orders import Intent, IntentKind, Outcome, OutcomeKind
from defence.outcomes import CANNOT_ACT, HELD_UP
from defence.retcodes import Meaning
from terminals.answers import Answer, answer_from, without_result
from terminals.constants import (
    ORDER_FILLING_RETURN,
    TRADE_ACTION_REMOVE,
    TRADE_RETCODE_INVALID_FILL,
)
from terminals.lastlook import objection, same_price
from terminals.lease import Permit
from terminals.order_fates import fate_of, is_listed, reducing
from terminals.protocol import Terminal
from terminals.reading import (
    deals_of_order,
    last_error_of,
    order_waits,
    pending_orders,
    position_of,
    quote_of,
)
from terminals.requests import OrderRequest, filling_modes, request_for
from terminals.rows import PendingOrder, Unreadable

__all__ = ["ATTEMPTS", "PendingOrder", "delete_pending", "execute", "pending_orders", "request_for"]

ATTEMPTS = 3


class _Withheld(Exception):  # noqa: N818 - not an error: the last look decided not to send
    """Raised inside the permit, before the effect; the text says why nothing was sent."""


class _Gate:
    """A permit that remembers how it refused.

    What a refused permit raises proves that nothing was done; whatever else
    comes out of a send proves nothing. The two must not be told apart by the
    exception's type, because a terminal may raise any.
    """

    __slots__ = ("_permit", "refusal")

    def __init__(self, permit: Permit) -> None:
        self._permit = permit
        self.refusal: Exception | None = None

    def __enter__(self) -> None:
        try:
            self._permit.__enter__()
        except Exception as problem:
            self.refusal = problem
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._permit.__exit__(kind, error, trace)


def execute(
    terminal: Terminal,
    permit: Permit,
    intent: Intent,
    *,
    facts: SymbolFacts,
    quote: Quote,
    margin_mode: MarginMode,
    now: Callable[[], float],
    attempts: int = ATTEMPTS,
) -> Outcome:
    """Carry out an intent with at most `attempts` sends, and return what became of it.

    More than one send happens only after an answer by which nothing was done:
    with a fresh price after a requote, with the next filling mode (once)
    after INVALID_FILL. Nothing is sent if the position is not as the decision
    saw it (`lastlook.objection`), if another order is still at work against it
    where the two could reverse it, if any of that cannot be read, or if the
    permit is refused; the detail then says why, and is "fenced" for a revoked lease and
    begins with "cannot act" where programs may not trade.

    Raises `Invalid` for `attempts` below 1 and nothing else: errors of the
    terminal become outcomes. Interrupts pass through.
    """
    if attempts < 1:
        raise Invalid(
            "at least one send", field="attempts", value=attempts, remedy=f"usual is {ATTEMPTS}"
        )
    if intent.kind is IntentKind.DELETE_ORDER:
        return delete_pending(terminal, permit, intent.ticket, intent_id=intent.id, now=now)
    filling, spare = filling_modes(facts)[:2]
    left = attempts
    while True:
        try:
            request = request_for(intent, facts, quote, margin_mode, filling=filling)
        except Invalid as problem:
            return _not_sent(intent.id, now(), str(problem))
        look = _position_look(terminal, intent, request, quote, facts, margin_mode)
        answer = _send(terminal, permit.also(look), request, intent.id, now)
        if isinstance(answer, Outcome):
            return answer
        left -= 1
        if left and answer.meaning is Meaning.RETRY_FRESH_TICK:
            fresh = quote_of(terminal, intent.symbol)
            if fresh is not None:
                quote = fresh
                continue
        if left and answer.retcode == TRADE_RETCODE_INVALID_FILL and filling != spare:
            filling = spare
            continue
        try:
            return _judge(terminal, intent, request, facts, answer, now)
        except Exception as problem:  # noqa: BLE001 - an order that was sent has an outcome
            detail = f"the read-back raised {type(problem).__name__}: {problem}"
            return answer.outcome(intent.id, OutcomeKind.UNKNOWN, now(), detail)


def delete_pending(
    terminal: Terminal,
    permit: Permit,
    order_ticket: int,
    *,
    intent_id: str,
    now: Callable[[], float],
) -> Outcome:
    """Delete one waiting order. NOT_SENT if it waits no longer or cannot be read."""

    def look() -> None:
        found = order_waits(terminal, order_ticket)
        if isinstance(found, Unknown):
            raise _Withheld(f"the order cannot be read: {found.reason}")
        if isinstance(found, Empty):
            raise _Withheld("the order waits no longer")

    request: OrderRequest = {"action": TRADE_ACTION_REMOVE, "order": order_ticket}
    answer = _send(terminal, permit.also(look), request, intent_id, now)
    if isinstance(answer, Outcome):
        return answer
    if answer.meaning is Meaning.DONE:
        return answer.outcome(intent_id, OutcomeKind.DONE, now(), "deleted")
    if answer.meaning is Meaning.PLACED and _is_deleted(terminal, order_ticket):
        return answer.outcome(intent_id, OutcomeKind.DONE, now(), "read back: it was deleted")
    return answer.refusal(intent_id, now())


def _is_deleted(terminal: Terminal, order_ticket: int) -> bool:
    # That it waits no longer proves nothing: an order that was filled waits no longer either.
    try:
        return fate_of(terminal, order_ticket) is OrderFate.DELETED
    except Unreadable:
        return False


def _position_look(
    terminal: Terminal,
    intent: Intent,
    request: OrderRequest,
    quote: Quote,
    facts: SymbolFacts,
    margin_mode: MarginMode,
) -> Callable[[], None]:
    def look() -> None:
        found = position_of(terminal, intent.ticket)
        if isinstance(found, Unknown):
            raise _Withheld(f"the position cannot be read: {found.reason}")
        if isinstance(found, Empty):
            raise _Withheld("the position is gone")
        reason = objection(intent, request, found.value, quote, facts)
        if reason is not None:
            raise _Withheld(reason)
        # A hedging account's broker refuses what is more than the position has;
        # on the others the two orders together would open the opposite one.
        if intent.kind is not IntentKind.MOVE_STOP and margin_mode is not MarginMode.HEDGING:
            _nothing_at_work(terminal, intent)

    return look


def _nothing_at_work(terminal: Terminal, intent: Intent) -> None:
    """Raise `_Withheld` while an order that was accepted may close what this one would."""
    try:
        at_work = reducing(terminal, intent.symbol, intent.direction)
    except Unreadable as problem:
        raise _Withheld(f"the orders at work cannot be read: {problem}") from problem
    if at_work:
        tickets = ", ".join(map(str, at_work))
        raise _Withheld(
            f"{HELD_UP}: order {tickets} is still at work on {intent.symbol}: "
            "wait until it is filled, or delete it in the terminal"
        )


def _send(
    terminal: Terminal,
    permit: Permit,
    request: OrderRequest,
    intent_id: str,
    now: Callable[[], float],
) -> Answer | Outcome:
    """Send once. Returns the broker's answer, or the outcome where there is none."""
    gate, result, raised = _Gate(permit), None, ""
    try:
        result = terminal.send_under(gate, request)
    except Exception as problem:  # noqa: BLE001 - the outcome carries it to the caller
        raised = f"the send raised {type(problem).__name__}: {problem}"
    if gate.refusal is not None:
        return _not_sent(intent_id, now(), _why_refused(gate.refusal))
    if raised:
        return _unknown(intent_id, now(), raised)
    if result is None:
        code, said = last_error_of(terminal)
        return without_result(code, said, intent_id, now())
    try:
        return answer_from(result)
    except Unreadable as problem:
        return _unknown(intent_id, now(), str(problem))
    except Exception as problem:  # noqa: BLE001 - the order is out: whatever is in its answer
        said = f"the answer cannot be read: {type(problem).__name__}: {problem}"
        return _unknown(intent_id, now(), said)


def _judge(
    terminal: Terminal,
    intent: Intent,
    request: OrderRequest,
    facts: SymbolFacts,
    answer: Answer,
    now: Callable[[], float],
) -> Outcome:
    """Return the outcome of an answer after which nothing is sent any more."""
    meaning = answer.meaning
    if meaning is Meaning.NO_CHANGES:
        return answer.outcome(intent.id, OutcomeKind.DONE, now(), "it is so already")
    if meaning not in (Meaning.DONE, Meaning.PARTIAL, Meaning.PLACED):
        return answer.refusal(intent.id, now())
    if intent.kind is IntentKind.MOVE_STOP:
        kind, detail = _read_stop(terminal, intent, float(request["sl"]), facts, meaning)
        return answer.outcome(intent.id, kind, now(), detail)
    return _judge_close(terminal, intent, request, facts, answer, now)


def _read_stop(
    terminal: Terminal, intent: Intent, stop: float, facts: SymbolFacts, meaning: Meaning
) -> tuple[OutcomeKind, str]:
    """Read the stop back. An accepted order is only done if the position shows it."""
    word = OutcomeKind.UNKNOWN if meaning is Meaning.PLACED else OutcomeKind.DONE
    found = position_of(terminal, intent.ticket)
    if isinstance(found, Unknown):
        return word, f"the broker's word, not read back: {found.reason}"
    if isinstance(found, Empty):
        return word, "the broker's word; the position has closed since"
    present = found.value.stop_loss
    if same_price(present, stop, facts):
        return OutcomeKind.DONE, f"read back: stop {stop:g}"
    return OutcomeKind.UNKNOWN, f"read back: the stop is {present}, not {stop:g}"


def _judge_close(
    terminal: Terminal,
    intent: Intent,
    request: OrderRequest,
    facts: SymbolFacts,
    answer: Answer,
    now: Callable[[], float],
) -> Outcome:
    """Return DONE or PARTIAL by the volume that was closed, UNKNOWN while that is not known."""
    meaning, noise = answer.meaning, facts.volume_step / 2
    asked = float(request["volume"])
    closed, price, how = answer.volume, answer.price, "the broker's word"
    if meaning is Meaning.DONE and closed is None:
        closed = asked  # at market execution some brokers leave the volume out
    elif meaning is Meaning.PLACED or closed is None:
        # Accepted is not filled: only the order's own deals say what was.
        closed, price = _filled(terminal, answer.order)
        how = "read back from its deals"
        if closed is None or (meaning is Meaning.PLACED and closed < asked - noise):
            # What is not filled yet may still be.
            return answer.outcome(intent.id, OutcomeKind.UNKNOWN, now(), "not known to be filled")
    if closed < asked - noise:
        still = _rest_at_work(terminal, request, answer.order)
        if still is not None:
            said = f"closed {closed:g} of {intent.volume:g} lots so far; {still}"
            return answer.outcome(intent.id, OutcomeKind.UNKNOWN, now(), said, volume=closed)
    whole = closed >= intent.volume - noise
    kind = OutcomeKind.DONE if whole else OutcomeKind.PARTIAL
    detail = f"closed {closed:g} of {intent.volume:g} lots, {how}"
    return answer.outcome(intent.id, kind, now(), detail, volume=closed, price=price)


def _rest_at_work(terminal: Terminal, request: OrderRequest, order: int | None) -> str | None:
    """Return why what is not filled yet may still be; None if the order is at its end.

    Filled in part with RETURN, the rest stays as a working order, whether the
    terminal lists it in the same moment or not. It is no pending order:
    `pending_orders` has it not.
    """
    if request["type_filling"] == ORDER_FILLING_RETURN:
        return "the rest stays at work"
    if order is None:
        return None
    try:
        listed = is_listed(terminal, order)
    except Unreadable as problem:
        return f"whether the rest is at work cannot be read: {problem}"
    return f"order {order} is still at work for the rest" if listed else None


def _filled(terminal: Terminal, order: int | None) -> tuple[float | None, float | None]:
    """Return volume and mean price of an order's deals, None where there are none known."""
    if order is None:
        return None, None
    found = deals_of_order(terminal, order)
    if not isinstance(found, Known):
        return None, None
    volume = sum(deal.volume for deal in found.value)
    if volume <= 0:
        return None, None
    return volume, sum(deal.price * deal.volume for deal in found.value) / volume


def _why_refused(refusal: Exception) -> str:
    if isinstance(refusal, Fenced):
        return "fenced"
    if isinstance(refusal, CannotAct):
        return f"{CANNOT_ACT}: {refusal.message}"
    if isinstance(refusal, _Withheld):
        return str(refusal)
    return f"{type(refusal).__name__}: {refusal}"


def _not_sent(intent_id: str, at: float, detail: str) -> Outcome:
    return Outcome(intent_id=intent_id, kind=OutcomeKind.NOT_SENT, at=at, detail=detail)


def _unknown(intent_id: str, at: float, detail: str) -> Outcome:
    return Outcome(intent_id=intent_id, kind=OutcomeKind.UNKNOWN, at=at, detail=detail)
