"""What the audit keeps: the entries, and the control state with who, when and why."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final

from storage.reading import flag, inner, number, number_or_none, text, text_or_none
from storage.records import Fields

HIDDEN: Final = "[hidden]"
_SECRET_NAMES: Final = ("token", "password", "passwd", "secret", "authorization", "api_key")
_DEEPEST: Final = 8
_INT64: Final = 2**63


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One control command: when (UTC epoch seconds), what, by whom, and what came of it."""

    at: float
    command: str
    by: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    result: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlState:
    """The stored mode (`observe`, `armed`, None for never set) and pause."""

    mode: str | None = None
    paused: bool = False
    by: str | None = None
    why: str | None = None
    at: float | None = None  # UTC epoch seconds


def hide(value: object, secrets: Collection[str] = (), depth: int = 0) -> object:
    """Return plain data without secrets: by the name of a field, and by the secret itself.

    What msgpack does not know becomes its text, so that an audit is never
    refused for the shape of an argument.
    """
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, int):
        return value if -_INT64 <= value < _INT64 else str(value)
    if isinstance(value, str):
        shown = str(value)  # an enum's own text, not its type
        for secret in secrets:
            if secret:
                shown = shown.replace(secret, HIDDEN)
        return shown
    if depth < _DEEPEST:
        if isinstance(value, Mapping):
            return {
                str(hide(str(name), secrets)): HIDDEN
                if any(word in str(name).lower() for word in _SECRET_NAMES)
                else hide(inside, secrets, depth + 1)
                for name, inside in value.items()
            }
        if isinstance(value, (list, tuple, set, frozenset)):
            return [hide(inside, secrets, depth + 1) for inside in value]
    return hide(str(value), secrets)


def entry_fields(entry: AuditEntry, secrets: Collection[str] = ()) -> Fields:
    """Return what is stored of an entry; no argument or text keeps a secret."""
    return {
        "at": entry.at,
        "command": hide(entry.command, secrets),
        "by": hide(entry.by, secrets),
        "arguments": hide(entry.arguments, secrets),
        "result": hide(entry.result, secrets),
    }


def entry_from(fields: Fields) -> AuditEntry:
    """Return the entry that was stored."""
    return AuditEntry(
        at=number(fields, "at"),
        command=text(fields, "command"),
        by=text(fields, "by"),
        arguments=inner(fields, "arguments") or {},
        result=text(fields, "result", ""),
    )


def control_fields(control: ControlState) -> Fields:
    """Return what is stored of the control state."""
    return {
        "mode": control.mode,
        "paused": control.paused,
        "by": control.by,
        "why": control.why,
        "at": control.at,
    }


def control_from(fields: Fields) -> ControlState:
    """Return the control state that was stored."""
    return ControlState(
        mode=text_or_none(fields, "mode"),
        paused=flag(fields, "paused", default=False),
        by=text_or_none(fields, "by"),
        why=text_or_none(fields, "why"),
        at=number_or_none(fields, "at"),
    )
