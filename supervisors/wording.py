"""What the guard tells people of its children's lives: notices made of the root's facts."""

from __future__ import annotations

from defence.alerts import Notice, Severity
from supervisors.owner import ChargeUnwritten, Escalated, Poisoned


def charge_unwritten(fact: ChargeUnwritten) -> Notice:
    """Say that a restart counts in memory only."""
    return Notice(
        key="ledger",
        severity=Severity.WARNING,
        title="A restart could not be written to the ledger",
        text=f"{fact.child}: {fact.error}. It counts until this process ends.",
    )


def escalated(fact: Escalated) -> Notice:
    """Say that a child is down, why, and when it is tried again."""
    again = fact.retry_in
    plan = "It waits for ops." if again is None else f"It is tried again in {again:.0f} s."
    return Notice(
        key=f"escalated:{fact.child}",
        severity=Severity.CRITICAL,
        title=f"{fact.child} is down: {fact.why}",
        text=f"Failures: {'; '.join(fact.failures) or 'as before'}. {plan} "
        f"To start it now: ctl reset-budget {fact.child}",
    )


def poisoned(fact: Poisoned) -> Notice:
    """Say that a message was set aside. The same kind of message is one alert."""
    poison = fact.poison
    return Notice(
        key=f"poison:{fact.child}:{poison.message}",
        severity=Severity.WARNING,
        title=f"{fact.child} ended twice over a message, which was set aside",
        text=f"{poison.shown} (id {poison.id}): {poison.error}. "
        "It was not done; what it was about is settled by reconciliation or must be sent anew. "
        "To see all: run.py poison",
    )
