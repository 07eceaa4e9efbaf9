"""Scripted faults: what goes wrong at the simulated broker, and when (docs/faults.md).

A fault has an effect (`terminals.sim.effects`) and a trigger. By calls: it lets
`after` calls of `call` pass, then shows `count` times. By market time: `at`
seconds after the script's start, `every` so many seconds from then on (each
later by up to `jitter` seconds, drawn from `seed`), or `daily` at a time of the
broker's day; `times` bounds how often. With both, the time comes first and the
calls are counted from then on. With neither it is due at once.

`when` is `before` (the default) or `after` the call's own work. For
`order_send` that is the difference between an order that was never sent and
one that was executed while its answer was lost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, NoReturn

from defence.errors import Invalid
from terminals import constants as mt5
from terminals.functions import FUNCTIONS
from terminals.sim.effects import SHAPES, Effect, Shape, Sort

__all__ = ["LOST", "Effect", "Fault", "entries_from", "fault_from", "load_faults", "plain_fault"]

LOST: Final = (mt5.RES_E_INTERNAL_FAIL_SEND, "IPC send failed")
WHO: Final = ("server", "client", "account")  # who lets nobody trade: 10026, 10027, 10017
LARGEST: Final = 1e10  # seconds are some 300 years, and milliseconds still a whole number
_DAILY: Final = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
_TRIGGER: Final = (
    "effect", "call", "after", "count", "at", "every", "jitter", "seed", "daily", "times", "since",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One scripted fault. Raises Invalid for what makes no sense.

    `count` None is for ever, `times` None as often as the time comes.
    `seconds` are of the caller's clock where they are waited (`hang`, `delay`,
    `slow`) and for `disconnect`; all others are of market time. `since` is the
    market time (epoch seconds) from which `at` counts; without it, when the
    script begins or the fault is added.
    """

    effect: Effect
    call: str | None = None
    after: int = 0
    count: int | None = 1
    at: float | None = None
    every: float | None = None
    jitter: float = 0.0
    seed: int = 0
    daily: str | None = None
    times: int | None = None
    since: float | None = None
    seconds: float | None = None
    retcode: int | None = None
    error: tuple[int, str] = LOST
    when: Literal["before", "after"] = "before"
    ticket: int | None = None
    symbol: str | None = None
    volume: float | None = None  # lots
    sl: float | None = None
    tp: float | None = None
    login: int | None = None
    server: str | None = None
    who: str | None = None
    text: str | None = None
    length: int | None = None  # characters that are left of a comment
    then: Literal["filled", "rejected"] = "filled"
    factor: float | None = None  # of the spread
    offset: float | None = None  # seconds by which the server's clock is wrong
    lag: float | None = None  # seconds

    def __post_init__(self) -> None:
        """Check every field, so that a script does what it seems to say."""
        if self.effect not in tuple(Effect):
            _bad("effect", self.effect, f"is no effect; one of {', '.join(Effect)}")
        # A plain string is as good as the enum's member, and compared as one from here on.
        object.__setattr__(self, "effect", Effect(self.effect))
        shape = SHAPES[self.effect]
        self._check_call(shape)
        for name, check in _CHECKS.items():
            value = getattr(self, name)
            if value is not None:
                check(name, value)
        self._check_trigger()
        allowed = (*_TRIGGER, *shape.needs, *shape.takes)
        for one in fields(Fault):
            if one.name not in allowed and getattr(self, one.name) != one.default:
                _bad(one.name, getattr(self, one.name), f"means nothing to {self.effect}")
        for name in shape.needs:
            if getattr(self, name) is None:
                _bad(name, None, f"is missing; {self.effect} needs it")
        if self.effect is Effect.COMMENT and (self.text is None) == (self.length is None):
            _bad("text", self.text, "and length: a comment is replaced, or cut, one of the two")

    @property
    def sort(self) -> Sort:
        """How the effect relates to time."""
        return SHAPES[self.effect].sort

    @property
    def timed(self) -> bool:
        """Whether a time has to come first."""
        by_time = self.at is not None or self.every is not None or self.daily is not None
        return by_time or (self.call is None and not SHAPES[self.effect].any_call)

    def _check_call(self, shape: Shape) -> None:
        call = self.call
        if call is None and shape.sort is Sort.ANSWER:
            if len(shape.calls) == 1:
                object.__setattr__(self, "call", shape.calls[0])
            elif not shape.any_call:
                _bad("call", None, f"is missing; {self.effect} spoils a call")
        elif call is not None and call not in tuple(FUNCTIONS):
            _bad("call", call, f"is no call; one of {', '.join(FUNCTIONS)}")
        elif call is not None and shape.calls and call not in shape.calls:
            why = {
                Effect.EMPTY: "which has no empty answer",
                Effect.RETCODE: "only for orders",
            }.get(self.effect, f"only for {', '.join(shape.calls)}")
            _bad("effect", self.effect, f"cannot be for {call}, {why}")

    def _check_trigger(self) -> None:
        if self.daily is not None and (self.at is not None or self.every is not None):
            _bad("daily", self.daily, "stands beside at or every; give one of them")
        if self.jitter and self.every is None and self.daily is None:
            _bad("jitter", self.jitter, "means nothing without every or daily")
        if self.times is not None and self.every is None and self.daily is None:
            _bad("times", self.times, "means nothing without every or daily")
        counted = self.call is not None or SHAPES[self.effect].any_call
        if not counted and (self.after != 0 or self.count != 1):
            name = "after" if self.after != 0 else "count"
            _bad(name, getattr(self, name), "counts calls; name the call, or use times")


def _bad(field: str, value: object, what: str) -> NoReturn:
    raise Invalid(f"{value!r} {what}", field=field, value=value, remedy="correct the fault")


def _whole(least: int) -> Callable[[str, object], None]:
    def check(field: str, value: object) -> None:
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            _bad(field, value, f"is no whole number of at least {least}")

    return check


def _number(least: float, *, above: bool = False) -> Callable[[str, object], None]:
    def check(field: str, value: object) -> None:
        good = (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and -LARGEST <= value <= LARGEST  # and neither infinite nor not a number
            and (value > least if above else value >= least)
        )
        if not good:
            bound = f"{'above' if above else 'at least'} {least:g} and at most {LARGEST:g}"
            _bad(field, value, f"is no number; {bound}")

    return check


def _words(field: str, value: object) -> None:
    if not isinstance(value, str) or not value.isprintable() or len(value) > 64:
        _bad(field, value, "is no text of at most 64 printable characters")


def _one_of(*words: str) -> Callable[[str, object], None]:
    def check(field: str, value: object) -> None:
        if value not in words:
            _bad(field, value, f"is none of {', '.join(words)}")

    return check


def _time_of_day(field: str, value: object) -> None:
    if not isinstance(value, str) or not _DAILY.fullmatch(value):
        _bad(field, value, 'is no time of day, as in "23:58"')


def _code_and_text(field: str, value: object) -> None:
    good = (
        isinstance(value, tuple)
        and len(value) == 2
        and isinstance(value[0], int)
        and not isinstance(value[0], bool)
        and isinstance(value[1], str)
    )
    if not good:
        _bad(field, value, 'is no [code, text], as in [-10001, "IPC send failed"]')


_CHECKS: Final[Mapping[str, Callable[[str, object], None]]] = {
    "after": _whole(0),
    "count": _whole(1),
    "at": _number(0.0),
    "every": _number(1.0),
    "jitter": _number(0.0),
    "seed": _whole(0),
    "daily": _time_of_day,
    "times": _whole(1),
    "since": _number(0.0),
    "seconds": _number(0.0),
    "retcode": _whole(0),
    "error": _code_and_text,
    "when": _one_of("before", "after"),
    "ticket": _whole(1),
    "symbol": _words,
    "volume": _number(0.0, above=True),
    "sl": _number(0.0),
    "tp": _number(0.0),
    "login": _whole(1),
    "server": _words,
    "who": _one_of(*WHO),
    "text": _words,
    "length": _whole(0),
    "then": _one_of("filled", "rejected"),
    "factor": _number(0.0, above=True),
    "offset": _number(-LARGEST),
    "lag": _number(0.0),
}


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
    return entries_from(entries, str(path))


def entries_from(entries: object, source: str) -> list[Fault]:
    """Return the faults of a list of JSON objects. Raises Invalid naming entry and field."""
    if not isinstance(entries, list):
        raise Invalid(
            f"{source} holds no list of faults",
            field="sim_faults",
            remedy='write a list, as in [{"call": "positions_get", "effect": "unknown"}]',
        )
    return [_entry(source, index, entry) for index, entry in enumerate(entries)]


def _entry(source: str, index: int, entry: object) -> Fault:
    try:
        return fault_from(entry)
    except Invalid as error:
        raise Invalid(
            f"{source}, entry {index}: {error.field}: {error.message}",
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
    known = [one.name for one in fields(Fault)]
    for name in entry:
        if name not in known:
            _bad(str(name), entry[name], f"is for no field of a fault; they are {', '.join(known)}")
    if "effect" not in entry:
        _bad("effect", None, "is missing")
    given = dict(entry)
    error = given.get("error")
    if error is None:
        given.pop("error", None)
    elif isinstance(error, Sequence) and not isinstance(error, str):
        given["error"] = tuple(error)
    return Fault(**given)


def plain_fault(fault: Fault) -> dict[str, Any]:
    """Return a fault as `fault_from` reads it: what differs from the defaults."""
    found = {one.name: getattr(fault, one.name) for one in fields(Fault)}
    kept = {
        one.name: found[one.name]
        for one in fields(Fault)
        if one.name == "effect" or found[one.name] != one.default
    }
    return {**kept, "effect": str(fault.effect)}
