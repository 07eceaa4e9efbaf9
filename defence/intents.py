"""How the orders for one position stand to each other: which must wait, which come too late."""

from __future__ import annotations

from defence.grid import same_volume
from defence.orders import Intent, IntentKind, Outcome, OutcomeKind

_CLOSES = (IntentKind.CLOSE, IntentKind.CLOSE_PART)


def blocks(doubtful: Intent, wanted: Intent, *, hedging: bool) -> bool:
    """Whether an order in doubt holds back an order that a person asks for now (flatten).

    An order that the guard decides waits for any doubt about its ticket. A
    person who closes everything in an emergency waits only where sending
    could do harm:

    - A stop change in doubt does none. It neither opens nor closes; should it
      still be executed, the position has a new stop, or is gone and it is refused.
    - On a hedging account a close names its position by ticket, and the broker
      refuses more than the position has (INVALID_CLOSE_VOLUME, or
      POSITION_CLOSED): of two closes at most one position's worth is done.
    - On a netting or exchange account the position is the symbol's net. It may
      have been closed and reopened under the same ticket by the time a late
      order arrives, and an opposite deal too many reverses it. So a close in
      doubt holds back another one there.
    - Two deletions of one waiting order: the second is refused.
    """
    if hedging or wanted.kind not in _CLOSES or doubtful.id == wanted.id:
        return False
    return doubtful.identifier == wanted.identifier and doubtful.kind in _CLOSES


def overtaken_by(doubtful: Intent, closed: Intent, outcome: Outcome) -> Outcome | None:
    """Return the outcome of a close in doubt, if another one has closed the whole position.

    The other one found as much volume as the doubtful one had seen, and closed
    all of it: so the doubtful one had done nothing, and nothing is left for it
    to do. From the deals this could not be told any more where the broker
    replaces comments, for one deal would fit both orders.
    """
    if doubtful.kind not in _CLOSES or closed.kind is not IntentKind.CLOSE:
        return None
    if doubtful.id == closed.id or doubtful.identifier != closed.identifier:
        return None
    done = closed.volume if outcome.volume is None else outcome.volume
    whole = outcome.kind is OutcomeKind.DONE and same_volume(done, closed.volume_before)
    if not whole or not same_volume(doubtful.volume_before, closed.volume_before):
        return None
    return Outcome(
        intent_id=doubtful.id,
        kind=OutcomeKind.NOT_DONE,
        at=outcome.at,
        detail=f"{closed.id} closed the whole position before this did anything",
        resolved_by="reconciliation",
    )
