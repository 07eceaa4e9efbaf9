"""Flatten: close every position and delete every waiting order, because ops say so.

The Connector reads the account and tells the Registry what it is about to
send. Once that is durable it sends. But an emergency does not wait for a
disk: when the Registry refuses, or has not answered in `JOURNAL_WAIT`, the
orders go out all the same, and the journal is told afterwards.

What a flatten is to do travels in one letter together with whoever asked for
it: from the command to a timer, from there through one letter an order to the
answer. So there is one carrier at any time, each order is attempted by one
letter alone, and what dies in between is taken up by the next incarnation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pykka import Future

from actors.actor import Forwarded, GuardActor
from actors.life import Answer
from actors.mailbox import Lane, Letter, ReturnAddress
from actors.messages import (
    Flatten,
    FlattenJournalled,
    FlattenLate,
    FlattenOn,
    FlattenPlan,
    Raise,
    RecordFlattened,
)
from actors.names import ALERT, REGISTRY
from actors.runtime import Timer
from defence.alerts import Notice, Severity
from defence.broker import Direction, Known, MarginMode, Position, Snapshot, Unknown
from defence.errors import Fault, Fenced, TerminalRefused
from defence.orders import Intent, IntentKind, Outcome, OutcomeKind
from terminals.constants import ORDER_TYPE_BUY_LIMIT
from terminals.ordering import PendingOrder, pending_orders
from terminals.protocol import Terminal

LATEST_FLATTEN: Final = 60.0  # seconds between two orders of one; then ops must ask again
JOURNAL_WAIT: Final = 2.0  # seconds that an emergency waits for the journal

_AGAIN: Final = "give it again"  # how the detail ends of an order that came too late

BEFORE, AFTERWARDS, NOT = "before", "afterwards", "not"


@dataclass(frozen=True, slots=True)
class _Asker:
    """Who is owed the answer."""

    future: Future[object] | None
    address: ReturnAddress | None


class _Parked:
    """A flatten that waits for the journal. Whoever takes the asker goes on; nobody else does.

    The timer may fire on another thread while the Connector has the Registry's
    answer in hand; a list's `pop` decides between them.
    """

    __slots__ = ("_asker", "plan", "timer")

    def __init__(self, plan: FlattenPlan, asker: _Asker) -> None:
        self.plan = plan
        self.timer: Timer | None = None
        self._asker = [asker]

    def take(self) -> _Asker | None:
        """Return the asker to the first one who asks, None to any other."""
        try:
            return self._asker.pop()
        except IndexError:
            return None


class Flattening:
    """The Connector's part in it. `send` carries out one intent under the Connector's lease."""

    def __init__(
        self,
        owner: GuardActor,
        *,
        look: Callable[[], Snapshot | Unknown],
        send: Callable[[Intent], Outcome],
    ) -> None:
        self._owner = owner
        self._look = look
        self._send = send
        self._parked: dict[str, _Parked] = {}  # by the plan's id
        self._asked: dict[str, str] = {}  # the plan's id by that of the request

    # -- from the command to the first order

    def begin(self, message: Flatten, terminal: Terminal) -> object:
        """Read the account, and ask for the journal. Raises `TerminalRefused` if it is unread."""
        letter = self._letter()
        if letter.attempted:
            return None  # a forerunner has handed plan and asker over, then died
        read = self._look()
        if isinstance(read, Unknown):
            raise TerminalRefused(f"cannot flatten: {read.reason}", remedy="close in the terminal")
        account = read.account
        orders = pending_orders(
            terminal, expected_login=account.login, expected_server=account.server
        )
        waiting = orders.value if isinstance(orders, Known) else ()
        intents = (
            *(self._closing(one, message, account.margin_mode) for one in read.open_positions()),
            *(self._deleting(one, message) for one in waiting),
        )
        plan = FlattenPlan(
            id=self._owner.context.runtime.new_id(),
            intents=intents,
            hedging=account.margin_mode is MarginMode.HEDGING,
            orders_unknown=isinstance(orders, Unknown),
        )
        if not intents:
            return _summary(FlattenOn(plan=plan, journalled=BEFORE))
        self._ask_the_journal(plan, letter)
        return None

    def late(self, message: FlattenLate) -> object:
        """Go on without the journal; or ask it again if the one who had asked is dead."""
        plan = message.plan
        if message.asked_by == self._owner.context.incarnation:
            self._parked.pop(plan.id, None)
            return self._forward(FlattenOn(plan=plan, journalled=AFTERWARDS))
        letter = self._letter()
        # What the Registry answered went to the dead one; it is asked again
        # about the same plan, and answers the same.
        if not letter.attempted:
            self._ask_the_journal(plan, letter)
        return None

    def _ask_the_journal(self, plan: FlattenPlan, letter: Letter) -> None:
        """Ask, and let a timer that outlives this incarnation carry the plan meanwhile."""
        owner = self._owner
        context = owner.context
        request = RecordFlattened(
            plan.id, tuple((intent, None) for intent in plan.intents), plan.hedging, plan.journey
        )
        # Nobody replaces this incarnation between the check and the handing
        # over: a fence takes the letter back first, then waits for the lease.
        with context.lease.hold():
            if not context.mailbox.holds(letter, context.incarnation):
                raise Fenced("the connector was replaced while it read the account")
            self._asked[owner.request(REGISTRY, request)] = plan.id
            parked = _Parked(plan, _Asker(letter.reply_to, letter.answer_to))
            late = FlattenLate(plan, context.incarnation)
            parked.timer = context.runtime.call_later(
                JOURNAL_WAIT, lambda: self._go_on(parked, late)
            )
            self._parked[plan.id] = parked
            # This letter ends without an answer: its asker goes another way.
            letter.attempted, letter.reply_to, letter.answer_to = True, None, None

    def journalled(self, message: FlattenJournalled) -> None:
        """Send: the journal has it."""
        parked = self._parked.pop(message.id, None)
        if parked is None:
            return  # too late, it was done without; or asked by a dead incarnation
        held = {one.intent.id for one in message.held}
        free = tuple(intent for intent in parked.plan.intents if intent.id not in held)
        plan = replace(parked.plan, intents=free)
        self._go_on(parked, FlattenOn(plan=plan, journalled=BEFORE, held=message.held))

    def answered(self, answer: Answer) -> bool:
        """Take the Registry's refusal; False if the answer is to no question of ours."""
        plan_id = self._asked.pop(answer.request_id, None)
        if plan_id is None:
            return False
        parked = None if answer.error is None else self._parked.pop(plan_id, None)
        if parked is not None:
            self._go_on(parked, FlattenOn(plan=parked.plan, journalled=NOT))
        return True

    def stop(self) -> None:
        """Put what waits for the journal into the mailbox: a successor, or the end, answers it."""
        for parked in self._parked.values():
            self._go_on(parked, FlattenLate(parked.plan, self._owner.context.incarnation))

    def _go_on(self, parked: _Parked, message: FlattenLate | FlattenOn) -> None:
        """Send plan and asker on together; called by the timer's thread too."""
        asker = parked.take()
        if asker is None:
            return
        if parked.timer is not None:
            parked.timer.cancel()
        context = self._owner.context
        # No deadline: a flatten that has begun goes to its end, whoever still waits
        # for it. What comes too late is then not sent, and its outcome says so.
        context.post.send(
            context.name,
            message,
            lane=Lane.CONTROL,
            reply_to=asker.future,
            answer_to=asker.address,
        )

    # -- one order a letter

    def step(self, message: FlattenOn) -> object:
        """Send the next order and hand on; after the last one, return the answer."""
        done = len(message.results)
        if done == len(message.plan.intents):
            self._tell_if_incomplete(message)
            return _summary(message)
        intent = message.plan.intents[done]
        outcome = self._attempt(intent, message.results)
        pair = (intent, outcome)
        self._owner.tell(REGISTRY, RecordFlattened(message.plan.id, (pair,), message.plan.hedging))
        return self._forward(replace(message, results=(*message.results, pair)))

    def _attempt(self, intent: Intent, before: Sequence[tuple[Intent, Outcome]]) -> Outcome:
        letter, context = self._letter(), self._owner.context
        if letter.attempted:
            return Outcome(
                intent_id=intent.id,
                kind=OutcomeKind.UNKNOWN,
                at=self._owner.clock.wall(),
                detail="died while sending",
            )
        now = self._owner.clock.wall()
        if _too_late(intent, before, now):
            # The Connector was away. What ops wanted then need not be what they
            # want now, and its volumes and tickets are those of another market.
            return Outcome(
                intent_id=intent.id,
                kind=OutcomeKind.NOT_SENT,
                at=now,
                detail=f"asked {abs(now - intent.decided_at):.0f} s ago; {_AGAIN}",
            )
        context.points.reach("connector.before_send")
        letter.attempted = True
        outcome = self._send(intent)
        context.points.reach("connector.after_send")
        return outcome

    def _tell_if_incomplete(self, message: FlattenOn) -> None:
        """Tell people: whoever asked has long given up waiting for the answer."""
        late = [intent for intent, outcome in message.results if _not_sent_late(outcome)]
        if not late:
            return
        notice = Notice(
            key="flatten_incomplete",
            severity=Severity.CRITICAL,
            title="The flatten is incomplete",
            text=f"{len(late)} of {len(message.results)} orders were not sent: the connector came "
            f"to them more than {LATEST_FLATTEN:.0f} s after the one before. Tickets: "
            f"{', '.join(str(intent.ticket) for intent in late)}. Give the command again, or close "
            "in the terminal.",
        )
        self._owner.tell(ALERT, Raise(notice))

    def _forward(self, message: FlattenOn) -> Forwarded:
        return self._owner.forward(self._owner.context.name, message)

    def _letter(self) -> Letter:
        letter = self._owner.letter
        if letter is None:
            raise Fault("a flatten is handled without its letter")
        return letter

    # -- what is sent

    def _closing(self, position: Position, message: Flatten, mode: MarginMode) -> Intent:
        now = self._owner.clock.wall()
        return Intent(
            id=f"{message.id}-{position.ticket}",
            identifier=position.identifier,
            ticket=position.ticket,
            symbol=position.symbol,
            direction=position.direction,
            kind=IntentKind.CLOSE,
            step=None,
            volume=position.volume,
            volume_before=position.volume,
            stop_loss=position.stop_loss,
            take_profit=position.take_profit,
            stop_before=position.stop_loss,
            price_seen=position.price_current,
            reason=f"flatten by {message.by} ({mode.value} account)",
            magic=position.magic,
            decided_at=now,
            snapshot_at=now,
            decided_by=self._owner.context.incarnation,
        )

    def _deleting(self, order: PendingOrder, message: Flatten) -> Intent:
        """Return the intent for a waiting order.

        It has no position yet; should it be filled, the position's identifier
        is the order's ticket (MT5.md), so that ticket stands for both.
        """
        now = self._owner.clock.wall()
        buys = (order.type - ORDER_TYPE_BUY_LIMIT) % 2 == 0  # the types alternate
        return Intent(
            id=f"{message.id}-order-{order.ticket}",
            identifier=order.ticket,
            ticket=order.ticket,
            symbol=order.symbol,
            direction=Direction.BUY if buys else Direction.SELL,
            kind=IntentKind.DELETE_ORDER,
            step=None,
            volume=0.0,
            volume_before=order.volume,
            stop_loss=None,
            take_profit=None,
            stop_before=None,
            price_seen=order.price,
            reason=f"flatten by {message.by}",
            magic=order.magic,
            decided_at=now,
            snapshot_at=now,
            decided_by=self._owner.context.incarnation,
        )


def _too_late(intent: Intent, before: Sequence[tuple[Intent, Outcome]], now: float) -> bool:
    """Whether an order of a flatten must not go out any more: the Connector was away.

    Counted from the order before it, so that a flatten of many positions goes
    on for as long as it needs; once one was too late, those behind it are. A
    clock that was set back by more than that counts too: the age is unknown
    then. By less it does not: an emergency must not fail for an adjusted clock.
    """
    last = intent.decided_at
    for _, outcome in before:
        if outcome.at - last > LATEST_FLATTEN:
            return True
        last = max(last, outcome.at)
    return now - last > LATEST_FLATTEN or intent.decided_at - now > LATEST_FLATTEN


def _not_sent_late(outcome: Outcome) -> bool:
    return outcome.kind is OutcomeKind.NOT_SENT and outcome.detail.endswith(_AGAIN)


def _summary(message: FlattenOn) -> dict[str, object]:
    """Return the answer to who asked: counts, what failed and why, and what the journal has."""
    closes = [pair for pair in message.results if pair[0].kind is IntentKind.CLOSE]
    deletes = [pair for pair in message.results if pair[0].kind is IntentKind.DELETE_ORDER]
    deleted = sum(outcome.kind is OutcomeKind.DONE for _, outcome in deletes)
    failed = [
        {"ticket": intent.ticket, "outcome": outcome.kind.value, "detail": outcome.detail}
        for intent, outcome in closes
        if outcome.kind is not OutcomeKind.DONE
    ]
    closed = len(closes) - len(failed)
    orders_held = 0
    for one in message.held:
        if one.intent.kind is IntentKind.DELETE_ORDER:
            orders_held += 1
        else:
            word = "in_doubt" if one.outcome is None else one.outcome.kind.value
            failed.append({"ticket": one.intent.ticket, "outcome": word, "detail": one.why})
    return {
        "closed": closed,
        "orders_deleted": deleted,
        "orders_not_deleted": len(deletes) - deleted + orders_held,
        "orders_unknown": message.plan.orders_unknown,
        "failed": failed,
        "journalled": message.journalled,
    }
