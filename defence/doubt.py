"""Intents in doubt: what became of an order whose answer never came.

A stop change is told from the position's own stop; a close from its deals, or
from the volume that is left. "Not executed" is said only after two known reads
`in_doubt_wait` apart, or where the position's end proves that nothing is left
to be executed. Nothing is sent again before that. Neither that nor "in part" is
said while an order is at work on the position, nor while its volume and the
deals are of two moments: an order that was filled between the two reads is no
longer at work, and not yet in the volume.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from defence.alerts import Notice, Severity
from defence.broker import Deal, History, Known, OrderFate, Position, Unknown
from defence.compare import manual_change
from defence.gone import (
    LATE_DEAL,
    average_price,
    closing_deals,
    closing_of,
    reason_of,
    volume_left,
)
from defence.grid import clean_volume, same_price, same_volume
from defence.orders import (
    MARK,
    Intent,
    IntentKind,
    Outcome,
    OutcomeKind,
    PendingIntent,
    action_of,
)
from defence.outcomes import after_outcome
from defence.plans import Finding, HistoryRead, Look
from defence.trade import TradeRecord

_BY_THE_BROKER = (4, 5, 6)  # stop loss, take profit, stop out: never an order of ours
_STOP_LOSS = 4
_BY_HAND = (0, 1, 2)  # at the desktop, on a phone, in the browser
_PROGRAM = 3

_TELLING = 8  # characters by which an id is known; what a broker leaves of it may be less


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What the evidence says. `kind` None: nothing yet."""

    kind: OutcomeKind | None = None
    detail: str = ""
    volume: float | None = None
    deals: tuple[Deal, ...] = ()
    needs_history: bool = False


def resolve(
    doubt: PendingIntent,
    record: TradeRecord | None,
    position: Position | None,
    look: Look,
    *,
    unbroken: bool,
) -> Finding:
    """Return the outcome of an intent in doubt, and its trade after it; or that it must wait.

    `record` is None for a position that is not stored; `unbroken` as in `missing`.
    """
    intent = doubt.intent
    if look.asked_at < intent.decided_at <= look.now:
        return Finding(waiting=True)  # a look from before the order says nothing of it
    since = doubt.first_read_at
    # A first read in the future is a clock that was set back: count anew.
    first = look.asked_at if since is None or since > look.asked_at else since
    second = look.asked_at > first and look.asked_at - first >= look.rules.in_doubt_wait
    # Deals that never fit the volume (some are lost, or late) must not freeze a trade for
    # ever. The first look after an outage may be of the very moment of a fill.
    old = unbroken and look.asked_at - first >= LATE_DEAL
    judged = _judge(intent, record, position, look, second=second, old=old)
    if judged.kind is None:
        return _still_in_doubt(replace(doubt, first_read_at=first), doubt, judged, second=second)
    return _resolved(intent, record, position, look, judged, judged.kind)


def _judge(
    intent: Intent,
    record: TradeRecord | None,
    position: Position | None,
    look: Look,
    *,
    second: bool,
    old: bool,
) -> Judgement:
    if intent.kind is IntentKind.DELETE_ORDER:
        return _judge_delete(position, look.history(intent.identifier), second=second)
    if position is not None and (
        position.direction is not intent.direction or position.symbol != intent.symbol
    ):
        position = None  # another trade under the same identifier: ours is gone
    read = look.history(intent.identifier)
    if position is None:
        return _judge_gone(intent, record, read, second=second)
    if intent.kind is IntentKind.MOVE_STOP:
        return _judge_stop(intent, position, look, second=second)
    return _judge_volume(intent, position, read, second=second, old=old)


def _judge_delete(
    position: Position | None, read: HistoryRead | None, *, second: bool
) -> Judgement:
    """Tell a deletion from the order's own fate; positions and deals tell only that it was filled.

    Where neither shows anything (no history of orders), a person must resolve it.
    """
    if position is not None:
        return Judgement(kind=OutcomeKind.NOT_DONE, detail="the order had been filled")
    if read is None or isinstance(read, Unknown):
        return Judgement(needs_history=True)
    if not isinstance(read, Known):
        return Judgement()
    if read.value.deals:
        return Judgement(kind=OutcomeKind.NOT_DONE, detail="the order had been filled")
    match read.value.order:
        case OrderFate.DELETED:
            return Judgement(kind=OutcomeKind.DONE, detail="the order was deleted")
        case OrderFate.ENDED:
            detail = "the order had ended otherwise; nothing was left to delete"
            return Judgement(kind=OutcomeKind.NOT_DONE, detail=detail)
        case OrderFate.WAITING if second:
            return Judgement(kind=OutcomeKind.NOT_DONE, detail="the order still waits")
        case _:
            return Judgement()


def _judge_stop(intent: Intent, position: Position, look: Look, *, second: bool) -> Judgement:
    tick = look.tick(position.symbol)
    if same_price(position.stop_loss, intent.stop_loss, tick):
        return Judgement(kind=OutcomeKind.DONE, detail="the position has the intended stop")
    if not second:
        return Judgement()
    if same_price(position.stop_loss, intent.stop_before, tick):
        return Judgement(kind=OutcomeKind.NOT_DONE, detail="the stop is as it was before")
    detail = f"the stop is {position.stop_loss}, neither the intended one nor the one before"
    return Judgement(kind=OutcomeKind.NOT_DONE, detail=detail)


def _judge_volume(
    intent: Intent, position: Position, read: HistoryRead | None, *, second: bool, old: bool
) -> Judgement:
    target = _target(intent)
    dropped = intent.volume_before - position.volume
    found = _own_deals(intent, read, open_now=position.volume)
    whole = bool(found) and same_volume(_volume(found or ()), target)
    fell = same_volume(dropped, target)
    if isinstance(read, Known) and not whole:
        if read.value.at_work:
            return Judgement()  # accepted, and still worked on: more of it may be filled yet
        left = volume_left(read.value)
        if not (old or fell or left is None or same_volume(left, position.volume)):
            return Judgement()  # the deals were read at another moment: the next look decides
    if found:
        return _by_deals(found, target)
    if fell:
        return Judgement(kind=OutcomeKind.DONE, detail="the volume fell by as much", volume=target)
    if same_volume(dropped, 0.0):
        if not second:
            return Judgement()
        if read is None or isinstance(read, Unknown):
            return Judgement(needs_history=True)
        return Judgement(kind=OutcomeKind.NOT_DONE, detail="the volume is as it was before")
    if read is None or isinstance(read, Unknown):
        return Judgement(needs_history=True)
    if not second:
        return Judgement()
    if found is None and dropped > 0:
        # History does not reach back to the order, or lags: the volume speaks.
        volume = clean_volume(min(dropped, target))
        kind = OutcomeKind.DONE if dropped > target else OutcomeKind.PARTIAL
        return Judgement(kind=kind, detail="told from the volume that is left", volume=volume)
    detail = f"the volume is {position.volume:.10g}, but no deal is of this order"
    return Judgement(kind=OutcomeKind.NOT_DONE, detail=detail)


def _judge_gone(
    intent: Intent, record: TradeRecord | None, read: HistoryRead | None, *, second: bool
) -> Judgement:
    if read is None or isinstance(read, Unknown):
        return Judgement(needs_history=True)
    if intent.kind is not IntentKind.MOVE_STOP:
        found = _own_deals(intent, read, open_now=0.0)
        # Nothing can be done twice to a position that is gone, so the reason
        # alone is believed here: what a person closed, our order did not.
        if found and found[0].reason not in _BY_HAND:
            return _by_deals(found, _target(intent))
    elif _our_stop_closed_it(intent, read):
        return Judgement(kind=OutcomeKind.DONE, detail="the intended stop has closed the position")
    ending = _ending(intent, record, read)
    if ending is not None:
        detail = f"the position was closed otherwise ({ending}); nothing is left to be done"
        return Judgement(kind=OutcomeKind.NOT_DONE, detail=detail)
    if not second or (isinstance(read, Known) and read.value.at_work):
        return Judgement()
    if intent.kind is IntentKind.CLOSE:
        detail = "the position is gone, though no deal shows how"
        return Judgement(kind=OutcomeKind.DONE, detail=detail, volume=_target(intent))
    detail = "the position is gone, and nothing shows that this was done before"
    return Judgement(kind=OutcomeKind.NOT_DONE, detail=detail)


def _our_stop_closed_it(intent: Intent, read: HistoryRead) -> bool:
    """Whether the position was stopped out where its stop from before could not have done it.

    A fill is seldom better than its stop, and then by little: a quarter of the
    way to the intended stop is more than that.
    """
    deals = closing_deals(read.value) if isinstance(read, Known) else ()
    if not deals or deals[-1].reason != _STOP_LOSS or intent.stop_loss is None:
        return False
    if intent.stop_before is None:
        return True
    quarter = abs(intent.stop_loss - intent.stop_before) / 4
    return intent.direction.sign * (deals[-1].price - intent.stop_before) > quarter


def _ending(intent: Intent, record: TradeRecord | None, read: HistoryRead) -> str | None:
    if not isinstance(read, Known):
        return None
    if record is not None:
        closing = closing_of(record, read.value)
        return None if closing is None else closing.reason
    later = _deals_after(intent, read.value, open_now=0.0) or ()
    closing_now = [deal for deal in later if deal.closes]
    return reason_of(closing_now[-1]) if closing_now else None


def _target(intent: Intent) -> float:
    return intent.volume if intent.volume > 0 else intent.volume_before


def _by_deals(deals: tuple[Deal, ...], target: float) -> Judgement:
    volume = clean_volume(sum(deal.volume for deal in deals))
    kind = OutcomeKind.DONE if same_volume(volume, target) else OutcomeKind.PARTIAL
    return Judgement(kind=kind, detail="its deals are in history", volume=volume, deals=deals)


def _own_deals(
    intent: Intent, read: HistoryRead | None, *, open_now: float
) -> tuple[Deal, ...] | None:
    """Return the deals of the intent's order; () if there are none, None if it cannot be told."""
    if not isinstance(read, Known):
        return None
    later = _deals_after(intent, read.value, open_now=open_now)
    if later is None:
        return None
    orders: dict[int, list[Deal]] = {}
    for deal in later:
        opposite = deal.direction is not None and deal.direction is not intent.direction
        ours = deal.symbol == intent.symbol and deal.reason not in _BY_THE_BROKER
        if deal.closes and opposite and ours and not _of_another(intent, deal):
            orders.setdefault(deal.order, []).append(deal)
    target = _target(intent)
    groups = [tuple(deals) for deals in orders.values()]
    exact = [group for group in groups if same_volume(_volume(group), target)]
    if exact:
        return max(exact, key=lambda group: _likeness(intent, group))
    partial = [group for group in groups if group[0].reason == _PROGRAM and _volume(group) < target]
    return max(partial, key=lambda group: (_likeness(intent, group), _volume(group)), default=())


def _volume(group: tuple[Deal, ...]) -> float:
    return sum(deal.volume for deal in group)


def _likeness(intent: Intent, group: tuple[Deal, ...]) -> tuple[bool, bool]:
    # The comment comes last: brokers cut and replace comments.
    first = group[0]
    return (first.reason == _PROGRAM, intent.id[:_TELLING] in first.comment)


def _of_another(intent: Intent, deal: Deal) -> bool:
    """Whether the comment names another order of the guard.

    Brokers cut comments and put their own in their place, but none of that
    makes our mark and the beginning of a strange id out of ours.
    """
    named = deal.comment.removeprefix(MARK)
    if named == deal.comment or len(named) < _TELLING:
        return False
    return not named.startswith(intent.id[:_TELLING])


def _deals_after(intent: Intent, history: History, *, open_now: float) -> tuple[Deal, ...] | None:
    """Return the deals since the position had the volume that the intent saw.

    Walks back from the volume that is open now; deal times are the broker's
    wall time, which is never compared with ours. None if the deals do not lead
    back to that volume.
    """
    deals = sorted(
        (deal for deal in history.deals if deal.volume > 0 and deal.direction is not None),
        key=lambda deal: (deal.time, deal.ticket),
    )
    running = open_now
    for count in range(len(deals) + 1):
        if same_volume(running, intent.volume_before):
            return tuple(deals[len(deals) - count :])
        if count == len(deals):
            break
        deal = deals[-1 - count]
        running += deal.volume if deal.closes else -deal.volume
    return None


def _still_in_doubt(
    after: PendingIntent, before: PendingIntent, judged: Judgement, *, second: bool
) -> Finding:
    intent = before.intent
    notices: tuple[Notice, ...] = ()
    if second and not before.told:
        after = replace(after, told=True)
        notices = (
            Notice(
                key=f"in-doubt:{intent.id}",
                severity=Severity.CRITICAL,
                title=f"An order for {intent.symbol} {intent.ticket} is still in doubt",
                text=f"What became of {intent.kind.value} {intent.id} cannot be told from the "
                "broker yet, and nothing is sent for this trade meanwhile. Look at the terminal, "
                "then resolve the intent as done or not done.",
            ),
        )
    changed = () if after == before else (after,)
    return Finding(
        pending=changed, notices=notices, needs_history=judged.needs_history, waiting=True
    )


def _resolved(
    intent: Intent,
    record: TradeRecord | None,
    position: Position | None,
    look: Look,
    judged: Judgement,
    kind: OutcomeKind,
) -> Finding:
    last = judged.deals[-1] if judged.deals else None
    outcome = Outcome(
        intent_id=intent.id,
        kind=kind,
        at=look.now,
        detail=judged.detail,
        price=average_price(judged.deals) if judged.deals else None,
        volume=judged.volume,
        order=None if last is None else last.order,
        deal=None if last is None else last.ticket,
        resolved_by="reconciliation",
    )
    action = action_of(intent, outcome, at=look.now, detail=judged.detail)
    if record is None:
        return Finding(outcomes=(outcome,), actions=(action,))
    trade = after_outcome(record, intent, outcome, look.now, look.rules.policy)
    finding = Finding(trade=trade, outcomes=(outcome,), actions=(action,))
    if intent.kind is IntentKind.MOVE_STOP and position is not None:
        return _with_stop(finding, trade, intent, position, look)
    return finding


def _with_stop(
    finding: Finding, trade: TradeRecord, intent: Intent, position: Position, look: Look
) -> Finding:
    """Add what the position's stop says beside the outcome."""
    tick = look.tick(position.symbol)
    if same_price(position.stop_loss, intent.stop_loss, tick):
        # The broker's own rounding of our stop must not look like a manual change.
        return replace(finding, trade=replace(trade, stop_loss=position.stop_loss))
    if same_price(position.stop_loss, intent.stop_before, tick) or not trade.active:
        return finding
    changed = manual_change(trade, position, look)
    return replace(
        finding,
        trade=changed.trade,
        actions=(*finding.actions, *changed.actions),
        notices=changed.notices,
    )
