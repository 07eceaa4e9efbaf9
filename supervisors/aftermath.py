"""What people are told of a store that gave way to another, and what it means for the mode."""

from __future__ import annotations

from pathlib import Path

from defence.alerts import Alert, Severity
from defence.trade import iso
from storage.swap import Swap, Why

_DECIDES = ("trades", "audit")  # what is guarded and how far; mode, pause and who said so


def needs_person(swap: Swap) -> bool:
    """Whether the mode must be observe until a person confirms (DESIGN, Mode)."""
    return swap.name in _DECIDES and swap.why is not Why.MIGRATED


def alert_of(swap: Swap, note: Path, now: float) -> Alert | None:
    """Return the alert; None for a migration, of which nothing is missing.

    Its id comes from the note, so that telling again after a cut changes nothing.
    """
    if swap.why is Why.MIGRATED:
        return None
    return Alert(
        id=note.name,
        key=f"set_aside:{swap.name}",
        severity=Severity.WARNING if swap.why is Why.RESTORED else Severity.CRITICAL,
        title=_title(swap),
        text=f"{_kept(swap)} {_came(swap)} {_missing(swap)}{_then(swap)}".strip(),
        raised_at=now,
        last_at=now,
    )


def _title(swap: Swap) -> str:
    store = "The folder's marker" if swap.name == "marker" else f"The store {swap.name!r}"
    if swap.why is Why.RESTORED:
        return f"{store} was restored by hand"
    if swap.why is Why.ROLLED_BACK:
        return f"{store} had fallen back and was set aside"
    return f"{store} was damaged and set aside"


def _kept(swap: Swap) -> str:
    where = "There was nothing to keep" if swap.aside is None else f"It is kept as {swap.aside}"
    return f"{swap.reason}. {where}."


def _came(swap: Swap) -> str:
    if swap.name == "marker":
        return "A new one was written."
    if swap.source is None:
        filled = " and is filled from the broker" if swap.name == "trades" else ""
        return f"There was no good backup: a new one was made{filled}."
    if swap.source == swap.name:
        return "What was sound of it goes on in its place."
    return f"The backup {swap.source} of {iso(swap.source_at)} came in its place."


def _missing(swap: Swap) -> str:
    """Say what is known to be missing; the trades themselves are compared with the broker."""
    if swap.name == "marker":
        return ""
    held = {
        "trades": "registrations, releases, results and actions",
        "ledger": "charges (a budget may be fuller than it should be)",
        "outbox": "alerts and acknowledgements",
        "audit": "audit entries, mode and pause",
    }.get(swap.name, "records")
    if swap.source is None:
        return f"Missing: all {held} that only it held{_count(swap)}."
    if swap.missing == 0:
        return "Nothing is known to be missing."
    since = "" if swap.source_at is None else f" after {iso(swap.source_at)}"
    return f"Missing: {held}{since}{_count(swap)}."


def _count(swap: Swap) -> str:
    if swap.missing is None:
        return ""
    return f" ({swap.missing} commit{'s' * (swap.missing != 1)}, up to number {swap.reached})"


def _then(swap: Swap) -> str:
    if not needs_person(swap):
        return ""
    return " Look at the trades, then arm it again: ctl set-mode --mode armed."
