"""Scripted faults: what the simulated terminal does wrong, and when.

A fault watches one call. It lets `after` calls pass, then shows its effect
`count` times:

| effect | what the caller sees |
|---|---|
| unknown | None (False from initialize, symbol_select); `last_error()` is `error` |
| empty | an empty answer with success, although there may be something |
| hang | the call waits `seconds`, for ever without, then goes on |
| delay | the call waits `seconds`, then goes on |
| raise | ConnectionError, as a broken bridge gives |
| disconnect | the terminal loses its broker, for `seconds` or until reconnected; the call goes on |
| retcode | an order is answered with `retcode` |

`when` is `before` (the default) or `after` the call's own work. For
`order_send` that is the difference between an order that was never sent and
one that was executed while its answer was lost.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final, Literal, NoReturn

from defence.errors import Invalid
from terminals import constants as mt5
from terminals.protocol import CALLS

_EMPTY: Final = frozenset(
    {
        "positions_get",
        "orders_get",
        "history_deals_get",
        "history_orders_get",
        "copy_rates_from_pos",
    }
)
_FIELDS: Final = (
    "call",
    "effect",
    "after",
    "count",
    "seconds",
    "retcode",
    "error",
    "when",
)
LOST: Final = (mt5.RES_E_INTERNAL_FAIL_SEND, "IPC send failed")


class Effect(StrEnum):
    """What goes wrong."""

    UNKNOWN = "unknown"
    EMPTY = "empty"
    HANG = "hang"
    DELAY = "delay"
    RAISE = "raise"
    DISCONNECT = "disconnect"
    RETCODE = "retcode"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One scripted fault; `count` None is for ever. Raises Invalid for what makes no sense."""

    call: str
    effect: Effect
    after: int = 0
    count: int | None = 1
    seconds: float | None = None
    retcode: int | None = None
    error: tuple[int, str] = LOST
    when: Literal["before", "after"] = "before"

    def __post_init__(self) -> None:
        """Check every field, so that a script does what it seems to say."""
        if self.call not in CALLS:
            _bad("call", self.call, f"is no call; one of {', '.join(CALLS)}")
        if self.effect not in tuple(Effect):
            _bad("effect", self.effect, f"is no effect; one of {', '.join(Effect)}")
        # A plain string is as good as the enum's member, and compared as one from here on.
        object.__setattr__(self, "effect", Effect(self.effect))
        _whole("after", self.after, 0)
        if self.count is not None:
            _whole("count", self.count, 1)
        if self.seconds is not None and not (
            isinstance(self.seconds, int | float)
            and not isinstance(self.seconds, bool)
            and math.isfinite(self.seconds)
            and self.seconds >= 0
        ):
            _bad("seconds", self.seconds, "is no number of seconds; 0 or more")
        if self.effect is Effect.DELAY and self.seconds is None:
            _bad("seconds", None, "is missing; a delay needs it")
        if self.effect is Effect.EMPTY and self.call not in _EMPTY:
            _bad("effect", self.effect, f"cannot be for {self.call}, which has no empty answer")
        if self.effect is Effect.RETCODE:
            if self.call not in ("order_send", "order_check"):
                _bad("effect", self.effect, f"cannot be for {self.call}, only for orders")
            _whole("retcode", self.retcode, 0)
        elif self.retcode is not None:
            _bad("retcode", self.retcode, f"means nothing to the effect {self.effect}")
        if self.when not in ("before", "after"):
            _bad("when", self.when, 'is neither "before" nor "after"')


def _bad(field: str, value: object, what: str) -> NoReturn:
    raise Invalid(f"{value!r} {what}", field=field, value=value, remedy="correct the fault")


def _whole(field: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        _bad(field, value, f"is no whole number of at least {least}")


def load_faults(path: Path) -> list[Fault]:
    """Read a fault script: a JSON list. Raises Invalid naming file, entry and field."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise Invalid(
            f"{path} cannot be read: {reason}", field="sim_faults", remedy="check the path"
        ) from error
    except ValueError as error:
        raise Invalid(
            f"{path} is not JSON: {error}", field="sim_faults", remedy="correct the file"
        ) from error
    if not isinstance(entries, list):
        raise Invalid(
            f"{path} holds no list of faults",
            field="sim_faults",
            remedy='write a list, as in [{"call": "positions_get", "effect": "unknown"}]',
        )
    return [_entry(path, index, entry) for index, entry in enumerate(entries)]


def _entry(path: Path, index: int, entry: object) -> Fault:
    try:
        return fault_from(entry)
    except Invalid as error:
        raise Invalid(
            f"{path}, entry {index}: {error.field}: {error.message}",
            field="sim_faults",
            value=error.value,
            remedy=error.remedy,
        ) from error


def fault_from(entry: object) -> Fault:
    """Return a fault from its JSON object. Raises Invalid naming the field."""
    if not isinstance(entry, Mapping):
        raise Invalid(
            f"{entry!r} is no object", field="fault", value=entry, remedy="write {...} entries"
        )
    for name in entry:
        if name not in _FIELDS:
            _bad(
                str(name), entry[name], f"is for no field of a fault; they are {', '.join(_FIELDS)}"
            )
    for name in ("call", "effect"):
        if name not in entry:
            _bad(name, None, "is missing")
    given = {name: value for name, value in entry.items() if name != "error"}
    return Fault(**given, error=_error(entry.get("error")))


def _error(value: object) -> tuple[int, str]:
    if value is None:
        return LOST
    if (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and len(value) == 2
        and isinstance(value[0], int)
        and not isinstance(value[0], bool)
        and isinstance(value[1], str)
    ):
        return value[0], value[1]
    _bad("error", value, 'is no [code, text], as in [-10001, "IPC send failed"]')


class FaultScript:
    """The faults of a terminal, counted down as calls come. The owner's lock guards it."""

    def __init__(self, faults: Sequence[Fault] = ()) -> None:
        """Start with some faults; more may be added."""
        self._armed: list[_Armed] = [_Armed(one) for one in faults]

    def add(self, fault: Fault) -> None:
        """Add a fault; it counts the calls from now on."""
        self._armed.append(_Armed(fault))

    def clear(self) -> None:
        """Forget all faults."""
        self._armed.clear()

    def due(self, call: str) -> list[Fault]:
        """Count a call and return the faults that show on it, in the order they were given."""
        shown = [one.fault for one in self._armed if one.fault.call == call and one.shows()]
        self._armed = [one for one in self._armed if one.left is None or one.left > 0]
        return shown

    def watches(self, call: str) -> bool:
        """Whether some fault still waits for this call."""
        return any(one.fault.call == call for one in self._armed)

    def left(self) -> list[Fault]:
        """Return what is left of the script, for a script that goes on from here."""
        return [replace(one.fault, after=one.pass_, count=one.left) for one in self._armed]


class _Armed:
    """A fault and how far it has been counted down."""

    __slots__ = ("fault", "left", "pass_")

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.pass_ = fault.after
        self.left = fault.count

    def shows(self) -> bool:
        if self.pass_ > 0:
            self.pass_ -= 1
            return False
        if self.left is not None:
            self.left -= 1
        return True
