"""The faults of a terminal, counted down as calls come and as market time passes.

The owner's lock guards it. The owner says when time begins (`begin`) and how
far it has come (`reach`, `due_by`), asks at each call (`due`), and says when a spell
began at a call (`lasts`). Everything else is here: what is armed, what is
planned, which spells are on, and what is left for a script that goes on
elsewhere.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Protocol

from terminals.sim.effects import Effect, Sort
from terminals.sim.faults import Fault

DAY_MS: Final = 86_400_000
# What may begin and end while the terminal has lost its broker; all else waits until it is back.
_OF_THE_TERMINAL: Final = (Effect.RESTART, Effect.DISCONNECT)


class Wall(Protocol):
    """The broker's wall clock (`terminals.sim.zone.BrokerZone`)."""

    def to_wall_msc(self, utc_msc: int) -> int:
        """Return what the wall shows at a moment."""

    def to_utc_msc(self, wall_msc: int) -> int:
        """Return the moment at which the wall shows this."""


class Turn(NamedTuple):
    """An event that happens, or a spell that begins (`on`) or ends, at a market time."""

    at_msc: int
    fault: Fault
    on: bool
    until_msc: int | None = None  # the end of a spell that begins; None: until it is cleared


@dataclass(slots=True)
class _Armed:
    """A fault that watches calls, and how far it has been counted down."""

    fault: Fault
    pass_: int
    left: int | None

    def shows(self) -> bool:
        if self.pass_ > 0:
            self.pass_ -= 1
            return False
        if self.left is not None:
            self.left -= 1
        return True


@dataclass(slots=True)
class _Planned:
    """A fault whose time has not come; `base` is its time without jitter, in ms since `since`."""

    fault: Fault
    since_msc: int
    base: int
    times: int | None
    due_msc: int

    def comes_by(self, upto_msc: int, *, connected: bool) -> bool:
        possible = connected or self.fault.effect in _OF_THE_TERMINAL
        return possible and self.due_msc <= upto_msc


@dataclass(slots=True)
class Spell:
    """A fault that lasts; until it is cleared, or to the end of its time."""

    fault: Fault
    since_msc: int
    until_msc: int | None

    def ends_by(self, upto_msc: int) -> bool:
        """Whether it is over by a market time."""
        return self.until_msc is not None and self.until_msc <= upto_msc


class FaultScript:
    """The faults of a terminal."""

    def __init__(self, faults: Sequence[Fault] = ()) -> None:
        """Start with some faults; time begins with `begin`."""
        self._early: list[Fault] = []  # given before time began
        self._armed: list[_Armed] = []
        self._planned: list[_Planned] = []
        self._spells: list[Spell] = []
        self._wall: Wall | None = None
        self._at_msc: int | None = None
        for one in faults:
            self._put(one)

    # -- what the owner says

    def begin(self, at_msc: int, wall: Wall) -> None:
        """Let time begin, at a market time in UTC; `wall` is the broker's clock for `daily`."""
        self._wall, self._at_msc = wall, at_msc
        early, self._early = self._early, []
        for one in early:
            self._put(one)

    def reach(self, at_msc: int) -> None:
        """Note how far market time has come: new entries count from there."""
        self._at_msc = at_msc

    def add(self, fault: Fault) -> None:
        """Add a fault; it counts the calls, and the seconds, from now on."""
        self._put(fault)
        self.changed()

    def clear(self) -> list[Turn]:
        """Forget all faults; return the spells that this ends."""
        ends = [Turn(self._at_msc or 0, one.fault, on=False) for one in self._spells]
        self._early.clear()
        self._armed.clear()
        self._planned.clear()
        self._spells.clear()
        self.changed()
        return ends

    def due(self, call: str) -> list[Fault]:
        """Count a call and return the faults that show on it, in the order they were given."""
        if not self._armed:
            return []
        watching = [one for one in self._armed if one.fault.call in (None, call)]
        shown = [one.fault for one in watching if one.shows()]
        if watching:
            self._armed = [one for one in self._armed if one.left is None or one.left > 0]
            self.changed()
        return shown

    @property
    def timed(self) -> bool:
        """Whether the passing of time may change something."""
        return bool(self._planned or self._spells)

    def due_by(self, upto_msc: int, *, connected: bool = True) -> Turn | None:
        """Return the next thing that happens up to a market time, None if nothing does.

        Faults of calls are armed on the way. While the terminal is not
        `connected`, what it could not see waits.
        """
        while True:
            ending = min(
                (one for one in self._spells if one.ends_by(upto_msc)),
                key=lambda one: one.until_msc or 0,
                default=None,
            )
            coming = min(
                (one for one in self._planned if one.comes_by(upto_msc, connected=connected)),
                key=lambda one: one.due_msc,
                default=None,
            )
            if ending is not None and (coming is None or ending.ends_by(coming.due_msc)):
                return self._end(ending)
            if coming is None:
                return None
            turn = self._come(coming)
            if turn is not None:
                return turn

    def lasts(self, fault: Fault, at_msc: int) -> Turn:
        """Note that a spell has begun at a call."""
        turn = self._start(fault, at_msc)
        self.changed()
        return turn

    def spells(self, effects: Collection[Effect]) -> list[Spell]:
        """Return the spells that are on, of some effects, in the order they began."""
        return [one for one in self._spells if one.fault.effect in effects]

    # -- what a successor needs

    def changed(self) -> None:
        """Do nothing: whoever must be told of every change overrides this."""

    def left(self) -> list[Fault]:
        """Return what is left of the script, for a script that goes on from here.

        Times count from a market time that each entry names (`since`), so that
        it does not matter when, or where, the script goes on.
        """
        ended = {"at": None, "every": None, "daily": None, "times": None, "jitter": 0.0}
        armed = [
            replace(one.fault, after=one.pass_, count=one.left, since=None, **ended)  # type: ignore[arg-type]  # each is of its field's type
            for one in self._armed
        ]
        spells = [
            replace(
                one.fault,
                **{**ended, "at": 0.0},  # type: ignore[arg-type]  # each is of its field's type
                call=None,
                after=0,
                count=1,
                when="before",
                since=one.since_msc / 1000.0,
            )
            for one in self._spells
        ]
        return [*spells, *armed, *map(_rest, self._planned), *self._early]

    # -- inside

    def _put(self, fault: Fault) -> None:
        if not fault.timed:
            self._armed.append(_Armed(fault, fault.after, fault.count))
        elif self._at_msc is None:
            self._early.append(fault)
        else:
            since = self._at_msc if fault.since is None else round(fault.since * 1000.0)
            base = 0 if fault.daily is not None else round((fault.at or 0.0) * 1000.0)
            if fault.every is not None and fault.at is None:
                base = round(fault.every * 1000.0)
            self._plan(fault, since, base, fault.times)

    def _plan(self, fault: Fault, since_msc: int, base: int, times: int | None) -> None:
        key = base
        if fault.daily is not None:
            key = self._next_time_of_day(fault.daily, since_msc + base)
            base = key - since_msc
        late = 0
        if fault.jitter:
            draw = random.Random(f"{fault.seed}:{key}")
            late = round(draw.uniform(0.0, fault.jitter) * 1000.0)
        self._planned.append(_Planned(fault, since_msc, base, times, since_msc + base + late))

    def _next_time_of_day(self, daily: str, after_msc: int) -> int:
        """Return the next moment after a moment at which the broker's wall shows that time."""
        wall = self._wall
        assert wall is not None  # noqa: S101 - nothing is planned before `begin`
        hours, minutes = daily.split(":")
        within = (int(hours) * 60 + int(minutes)) * 60_000
        day = wall.to_wall_msc(after_msc) // DAY_MS
        while (found := wall.to_utc_msc(day * DAY_MS + within)) <= after_msc:
            day += 1
        return found

    def _come(self, one: _Planned) -> Turn | None:
        """Let the time of a planned fault have come; return what happens, None for an armed one."""
        self._planned.remove(one)
        fault, times = one.fault, None if one.times is None else one.times - 1
        if times != 0 and fault.every is not None:
            self._plan(fault, one.since_msc, one.base + round(fault.every * 1000.0), times)
        elif times != 0 and fault.daily is not None:
            self._plan(fault, one.since_msc, one.base, times)
        turn: Turn | None = None
        if fault.call is not None or fault.sort is Sort.ANSWER:
            self._armed.append(_Armed(fault, fault.after, fault.count))
        elif fault.sort is Sort.SPELL:
            turn = self._start(fault, one.due_msc)
        else:
            turn = Turn(one.due_msc, fault, on=True)
        self.changed()
        return turn

    def _start(self, fault: Fault, at_msc: int) -> Turn:
        until = None if fault.seconds is None else at_msc + round(fault.seconds * 1000.0)
        self._spells.append(Spell(fault, at_msc, until))
        return Turn(at_msc, fault, on=True, until_msc=until)

    def _end(self, one: Spell) -> Turn:
        self._spells.remove(one)
        self.changed()
        return Turn(one.until_msc or 0, one.fault, on=False)


def _rest(one: _Planned) -> Fault:
    """Return a planned fault as it is from here on."""
    if one.fault.daily is not None:
        # One millisecond before the next time, so that this one is the first to come.
        since_msc = one.since_msc + one.base - 1
        return replace(one.fault, since=since_msc / 1000.0, times=one.times)
    return replace(one.fault, since=one.since_msc / 1000.0, at=one.base / 1000.0, times=one.times)
