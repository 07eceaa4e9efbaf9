"""Trades whose position is gone: closed as history shows, or unexplained."""

from __future__ import annotations

from dataclasses import dataclass, replace

from defence.alerts import Notice, Severity
from defence.broker import Deal, History, Known, Unknown
from defence.grid import VOLUME_NOISE
from defence.outcomes import predates, revised
from defence.plans import Finding, Look
from defence.trade import Standing, TradeRecord, TradeState

# MT5's DEAL_REASON: what made the deal.
_REASONS = {
    0: "client",
    1: "mobile",
    2: "web",
    3: "expert",
    4: "sl",
    5: "tp",
    6: "stop out",
    7: "rollover",
    8: "variation margin",
    9: "split",
}

# Known reads of the broker farther apart than this say nothing of the time between.
UNBROKEN = 60.0
# How long deals are waited for that history should have by what is, or is no more, at the broker.
LATE_DEAL = 300.0
_REVERSAL = 2  # MT5's DEAL_ENTRY_INOUT


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """How a position ended. Price volume-weighted, profit in the account's currency, net."""

    reason: str
    price: float
    profit: float
    volume: float
    deals: int  # that closed it; with several, `reason` is the last one's

    def __str__(self) -> str:
        """Return it as people read it: an average is no price at which anything was dealt."""
        if self.deals == 1:
            return f"{self.reason} at {self.price:.10g}, profit {self.profit:.2f}"
        return (
            f"last by {self.reason}, {self.deals} deals at {self.price:.10g} on average, "
            f"profit {self.profit:.2f}"
        )


def reason_of(deal: Deal) -> str:
    """Return the word for what made a deal."""
    return _REASONS.get(deal.reason, f"reason {deal.reason}")


def average_price(deals: tuple[Deal, ...]) -> float:
    """Return the volume-weighted price of deals (at least one, with volume)."""
    return sum(deal.price * deal.volume for deal in deals) / sum(deal.volume for deal in deals)


def closing_deals(history: History) -> tuple[Deal, ...]:
    """Return the deals that took volume out of the position, oldest first."""
    deals = [deal for deal in history.deals if deal.closes and deal.volume > 0]
    return tuple(sorted(deals, key=lambda deal: (deal.time, deal.ticket)))


def volume_left(history: History) -> float | None:
    """Return the volume that the deals leave open, None if they do not say.

    They do not where the opening is not among them; and a reversal closes and
    opens in one deal, which does not say how much of each.
    """
    opened = sum(deal.volume for deal in history.deals if deal.entry == 0)
    if opened <= 0 or any(deal.entry == _REVERSAL for deal in history.deals):
        return None
    return opened - sum(deal.volume for deal in closing_deals(history))


def closing_of(record: TradeRecord, history: History) -> Closing | None:
    """Return how the position ended; None if its deals leave volume open.

    Where history no longer has the opening deals, what the record knows of the
    volume stands for them. The profit counts all deals: with swap, commission
    and fee, those of the opening included.
    """
    closing = closing_deals(history)
    if not closing:
        return None
    opened = sum(deal.volume for deal in history.deals if deal.entry == 0)
    if opened <= 0:
        opened = record.volume + record.closed_volume
    closed = sum(deal.volume for deal in closing)
    if closed < opened - VOLUME_NOISE:
        return None
    return _summary(history, closing)


def _summary(history: History, closing: tuple[Deal, ...]) -> Closing:
    profit = sum(deal.profit + deal.swap + deal.commission + deal.fee for deal in history.deals)
    return Closing(
        reason=reason_of(closing[-1]),
        price=average_price(closing),
        profit=round(profit, 8),
        volume=sum(deal.volume for deal in closing),
        deals=len(closing),
    )


def archived(record: TradeRecord, closing: Closing, now: float) -> TradeRecord:
    """Return the record as closed. `closed_at` is when the guard learned of it."""
    changes = replace(
        record,
        standing=Standing.CLOSED,
        state=TradeState.CLOSED,
        closed_at=now,
        close_reason=closing.reason,
        close_price=closing.price,
        close_profit=closing.profit,
        closed_volume=max(record.closed_volume, closing.volume),
        missing_since=None,
    )
    return revised(record, now, changes)


def closed(record: TradeRecord, look: Look) -> Finding | None:
    """Return the finding for a position whose history shows its end, else None."""
    read = look.history(record.identifier)
    closing = closing_of(record, read.value) if isinstance(read, Known) else None
    if closing is None:
        return None
    action = look.action(record, "closed", str(closing))
    return Finding(archived=archived(record, closing, look.now), actions=(action,))


def missing(record: TradeRecord, look: Look, *, unbroken: bool) -> Finding:
    """Return what becomes of a stored trade that the known snapshot does not have.

    Nothing is removed without its history having been read: a closing deal
    archives at once, none archives only at a known read `missing_wait` after
    the first, later still where history says that the position is open. If the
    reads are not `unbroken` (the known one before this is more than `UNBROKEN`
    ago), this one is the first again: a terminal that has just come back may
    show nothing for a moment, and two such moments are no absence.
    """
    if predates(record, look.asked_at, look.now):
        return Finding(waiting=True)
    ended = closed(record, look)
    if ended is not None:
        return ended
    read = look.history(record.identifier)
    unread = read is None or isinstance(read, Unknown)
    since = record.missing_since
    if since is None or since > look.asked_at or (since < look.asked_at and not unbroken):
        seen = revised(record, look.now, replace(record, missing_since=look.asked_at))
        action = look.action(record, "missing", "not among the positions; no closing deal is known")
        return Finding(
            trade=seen,
            actions=(action,) if since is None else (),
            needs_history=unread,
            waiting=True,
        )
    waited = look.asked_at - since
    wait = look.rules.missing_wait
    if isinstance(read, Known) and _left_open(read.value):
        wait = max(wait, LATE_DEAL)
    if unread or waited <= 0 or waited < wait:
        return Finding(needs_history=unread, waiting=True)
    return _unexplained(record, look)


def _left_open(history: History) -> bool:
    """Whether history has the opening and less closed: its closing deal is late, or there is none.

    Where history has lost the opening it says nothing of what is open.
    """
    return (volume_left(history) or 0.0) > VOLUME_NOISE


def _unexplained(record: TradeRecord, look: Look) -> Finding:
    detail = "gone from the broker without a closing deal"
    gone = lost(record, look.now, detail)
    action = look.action(record, "unexplained", detail)
    if record.standing is Standing.RELEASED:
        return Finding(archived=gone, actions=(action,))
    notice = Notice(
        key=f"unexplained:{record.identifier}",
        severity=Severity.CRITICAL if record.standing is Standing.GUARDED else Severity.WARNING,
        title=f"{record.symbol} {record.ticket} is gone without a closing deal",
        text=f"Position {record.identifier} ({record.direction.value} {record.volume:.10g} lots) "
        "is no longer at the broker, and its history has no deal that closed it. "
        "The trade is archived as unexplained: look at the account's history.",
    )
    return Finding(archived=gone, actions=(action,), notices=(notice,))


def lost(record: TradeRecord, now: float, reason: str) -> TradeRecord:
    """Return the record as unexplained; nothing is invented about price and profit."""
    changes = replace(
        record,
        standing=Standing.UNEXPLAINED,
        state=TradeState.CLOSED,
        closed_at=now,
        close_reason=reason,
    )
    return revised(record, now, changes)


def replaced(record: TradeRecord, look: Look) -> TradeRecord:
    """Return the old record of an identifier under which the broker now shows another trade."""
    read = look.history(record.identifier)
    deals = closing_deals(read.value) if isinstance(read, Known) else ()
    if isinstance(read, Known) and deals:
        closing = replace(_summary(read.value, deals), reason="reversed")
        return archived(record, closing, look.now)
    return lost(record, look.now, "reversed")
