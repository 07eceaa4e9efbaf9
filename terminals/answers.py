"""The broker's answer to an order as plain data, and the outcomes that follow from it alone."""

from __future__ import annotations

from dataclasses import dataclass

from defence.orders import Outcome, OutcomeKind
from defence.outcomes import CANNOT_ACT
from defence.retcodes import Meaning, classify, name_of
from terminals.constants import (
    RES_E_AUTO_TRADING_DISABLED,
    RES_E_INTERNAL_FAIL_CONNECT,
    RES_E_INVALID_PARAMS,
)
from terminals.rows import Unreadable, real, text, whole

# Refused before anything went through the pipe to the terminal (MT5.md: first
# the request is parsed, then the pipe's handle is looked at).
_NOT_SENT_ERRORS = frozenset({RES_E_INVALID_PARAMS, RES_E_INTERNAL_FAIL_CONNECT})

_SWITCHED_OFF = "trading by programs is switched off: a person must switch it on"

# The meanings by which it is sure that nothing was done.
_REFUSALS = {
    Meaning.RETRY_FRESH_TICK: "no price was to be had at which the broker would do it",
    Meaning.WAIT: "the broker cannot do it now",
    Meaning.CANNOT_ACT: _SWITCHED_OFF,
    Meaning.CHANGE_REQUEST: "the broker refuses the request in this form",
    Meaning.ALREADY_GONE: "already closed",
    Meaning.NEVER: "the broker refuses it",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """An order's result. What the broker left at 0, or unreadable, is None."""

    retcode: int
    comment: str
    volume: float | None
    price: float | None
    order: int | None
    deal: int | None

    @property
    def meaning(self) -> Meaning:
        """What the retcode asks of a guard."""
        return classify(self.retcode)

    def outcome(
        self,
        intent_id: str,
        kind: OutcomeKind,
        at: float,
        detail: str,
        *,
        volume: float | None = None,
        price: float | None = None,
    ) -> Outcome:
        """Return an outcome of this answer; `volume` and `price` replace the answer's own."""
        said = f" ({self.comment})" if self.comment else ""
        return Outcome(
            intent_id=intent_id,
            kind=kind,
            at=at,
            retcode=self.retcode,
            detail=f"{self.retcode} {name_of(self.retcode)}{said}: {detail}",
            price=self.price if price is None else price,
            volume=self.volume if volume is None else volume,
            order=self.order,
            deal=self.deal,
        )

    def refusal(self, intent_id: str, at: float) -> Outcome:
        """Return NOT_DONE if the code says that nothing was done, else UNKNOWN."""
        detail = _REFUSALS.get(self.meaning)
        if detail is not None:
            return self.outcome(intent_id, OutcomeKind.NOT_DONE, at, detail)
        return self.outcome(
            intent_id, OutcomeKind.UNKNOWN, at, "the broker does not say whether it was done"
        )


def answer_from(result: object) -> Answer:
    """Return the answer in an OrderSendResult. Raises `Unreadable` if it has no retcode.

    Only the retcode is asked for strictly: an order that was done stays done
    when its price is nonsense.
    """
    what = "order result"
    return Answer(
        retcode=whole(result, "retcode", what),
        comment=_text_or_nothing(result),
        volume=_number_or_none(result, "volume"),
        price=_number_or_none(result, "price"),
        order=_ticket_or_none(result, "order"),
        deal=_ticket_or_none(result, "deal"),
    )


def without_result(code: int | None, said: str, intent_id: str, at: float) -> Outcome:
    """Return the outcome of a send that answered None, by `last_error`'s code and text."""
    kind, detail = OutcomeKind.UNKNOWN, f"no result, {said}"
    if code in _NOT_SENT_ERRORS:
        kind = OutcomeKind.NOT_SENT
    elif code == RES_E_AUTO_TRADING_DISABLED:
        # The terminal got it and takes no orders from programs: none went on to the broker.
        kind = OutcomeKind.NOT_DONE
        detail = f"{CANNOT_ACT}: {detail}: {_SWITCHED_OFF}"
    return Outcome(intent_id=intent_id, kind=kind, at=at, detail=detail)


def _number_or_none(result: object, name: str) -> float | None:
    try:
        value = real(result, name, "order result")
    except Unreadable:
        return None
    return value if value > 0 else None


def _ticket_or_none(result: object, name: str) -> int | None:
    try:
        value = whole(result, name, "order result")
    except Unreadable:
        return None
    return value if value > 0 else None


def _text_or_nothing(result: object) -> str:
    try:
        return text(result, "comment", "order result")
    except Unreadable:
        return ""
