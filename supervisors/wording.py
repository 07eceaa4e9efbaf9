"""What the root supervisor tells people."""

from __future__ import annotations

from collections.abc import Sequence

from actors.life import ExitReport
from defence.alerts import Notice, Severity
from defence.errors import DtmsError, StartRefused


def unwritten_charge(child: str, error: Exception) -> Notice:
    """Say that a restart counts in memory only."""
    return Notice(
        key="ledger",
        severity=Severity.WARNING,
        title="A restart could not be written to the ledger",
        text=f"{child}: {error}. It counts until this process ends.",
    )


def escalated(child: str, why: str, failures: Sequence[str], again: float | None) -> Notice:
    """Say that a child is down, why, and when it is tried again (seconds; None: by ops only)."""
    plan = "It waits for ops." if again is None else f"It is tried again in {again:.0f} s."
    return Notice(
        key=f"escalated:{child}",
        severity=Severity.CRITICAL,
        title=f"{child} is down: {why}",
        text=f"Failures: {'; '.join(failures) or 'as before'}. {plan} "
        f"To start it now: ctl reset-budget {child}",
    )


def refusal(report: ExitReport) -> DtmsError:
    """Return the cause with which a failed first start is refused."""
    cause = report.cause
    if isinstance(cause, StartRefused):
        return cause
    if isinstance(cause, DtmsError):  # such as a bad file of prices: its field and remedy count
        return StartRefused(
            cause.message, field=cause.field, value=cause.value, remedy=cause.remedy
        )
    return StartRefused(
        f"{report.child} {report.how}: {report.error}", remedy="see the log for the whole error"
    )
