"""What `test_cases_model` puts a house through: random specs, and random events in any order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import hypothesis.strategies as st
from runtime_kit import (
    DEATHS,
)

from supervisors.spec import Backoff, Escalation, Restart

GRAIN = 1 / 64
STARTS = ("raise", "kill", "unborn", "hang", "wait", "park", "park and hang")
STOPS = ("raise", "kill", "hang")


@dataclass(frozen=True)
class Event:
    """Something happens: to child number `who`, where it is about one."""

    what: str
    who: int = 0
    how: str | float | int = ""


@dataclass(frozen=True)
class Plan:
    """A program, and what it is put through."""

    specs: tuple[dict[str, object], ...]
    first: tuple[tuple[str, ...], ...]  # how the first starts go, by child
    events: tuple[Event, ...]
    last: tuple[Event, ...] = ()  # during the stop
    max_leaked: int = 50
    seed: int = 0


# -- what is drawn

rules = st.fixed_dictionaries(
    {
        "restart": st.sampled_from([*Restart, Restart.PERMANENT, Restart.PERMANENT]),
        "max_restarts": st.sampled_from([0, 1, 2, 3, 3, 9]),
        "period": st.sampled_from([8.0, 30.0, 60.25]),
        "backoff": st.builds(
            Backoff,
            first=st.sampled_from([0.0, 0.5, 2.0]),
            factor=st.sampled_from([1.0, 2.0, 3.0]),
            limit=st.sampled_from([4.0, 30.0]),
            jitter=st.just(0.0),
            reset_after=st.sampled_from([600.0, 5.0, 12.0]),
        ),
        "escalation": st.sampled_from([*Escalation, Escalation.RETRY]),
        "start_timeout": st.sampled_from([3.0, 5.5]),
        "stop_timeout": st.sampled_from([1.0, 2.5]),
        "hang_after": st.sampled_from([2.0, 4.5]),
        "silence_after": st.sampled_from([None, None, 7.0]),
    }
)
starts = st.lists(st.sampled_from(["ok", *STARTS]), max_size=1).map(tuple)
whom = st.integers(0, 4)
blow = st.one_of(
    st.builds(Event, st.just("crash"), whom, st.integers(0, len(DEATHS) - 1)),
    st.builds(Event, st.just("poison"), whom),
    st.builds(Event, st.just("hang once"), whom),
    st.builds(Event, st.just("burst"), whom, st.integers(2, 4)),
    st.builds(Event, st.just("order"), whom, st.sampled_from(["stop", "kill"])),
    st.builds(Event, st.just("strike"), whom, st.sampled_from(["kill", "hang"])),
    st.builds(Event, st.just("next start"), whom, st.sampled_from(STARTS)),
    st.builds(Event, st.just("next stop"), whom, st.sampled_from(STOPS)),
)
time = st.one_of(
    st.builds(
        Event,
        st.just("pass"),
        how=st.sampled_from([GRAIN, 0.5, 1.0, 2.0, 2.5, 4.75, 8.0, 30.0, 60.25, 61.0]),
    ),
    st.builds(Event, st.just("until freed"), whom, st.sampled_from([-GRAIN, 0.0, GRAIN])),
    st.builds(Event, st.just("until due"), how=st.sampled_from([-GRAIN, 0.0, GRAIN])),
    st.builds(Event, st.just("sleep"), how=st.sampled_from([2.0, 25.0, 4000.0])),
    st.builds(Event, st.just("jump"), how=st.sampled_from([2.0, -2.0, 25.0, -25.0, -4000.0])),
)
ops = st.one_of(
    st.builds(Event, st.just("restart"), whom),
    st.builds(Event, st.just("reset"), whom),
    st.builds(Event, st.just("say"), whom, st.sampled_from(["ready", "progress", "park", "back"])),
    st.builds(Event, st.just("stale"), whom),
    st.builds(Event, st.sampled_from(["check", "thread ends", "break ledger", "mend ledger"])),
)
rare = st.one_of(
    st.builds(Event, st.just("new process"), whom, st.sampled_from([0.5, 20.0, -30.0])),
    st.builds(Event, st.just("shut down")),
)
anything = (
    st.integers(0, 39)
    .flatmap(lambda n: rare if n == 39 else ops if n > 30 else time if n > 17 else blow)
    .map(lambda event: (event,))
)


def scene(*steps: tuple[str, str | float]) -> st.SearchStrategy[tuple[Event, ...]]:
    """Events that mean little without each other, about one child."""
    return whom.map(lambda who: tuple(Event(what, who, how) for what, how in steps))


scenes = st.one_of(
    scene(("strike", "hang"), ("restart", ""), ("pass", 3.0)),  # the stop that was never taken
    scene(("strike", "hang"), ("pass", 8.0), ("thread ends", ""), ("strike", "hang")),
    scene(("say", "park"), ("pass", 8.0), ("say", "back"), ("pass", 8.0)),
    scene(("next start", "wait"), ("strike", "kill"), ("pass", 0.5), ("jump", 25.0), ("pass", 2.5)),
    scene(
        ("next start", "park"), ("strike", "kill"), ("pass", 8.0), ("say", "back"), ("pass", 8.0)
    ),
    scene(("pass", 4.0), ("strike", "hang"), ("pass", 4.0)),  # silent, and stuck as well
    scene(("next start", "raise"), ("next start", "unborn"), ("strike", "kill"), ("pass", 8.0)),
    scene(("poison", ""), ("pass", 1.0), ("reset", ""), ("burst", 4)),
    scene(("next start", "park and hang"), ("strike", "kill"), ("pass", 8.0)),
    scene(
        ("burst", 2),
        ("pass", 2.0),
        ("strike", "kill"),
        ("pass", 4.75),
        ("strike", "kill"),
        ("pass", 8.0),
    ),  # the third delay, and the fourth
    scene(("burst", 2), ("sleep", 25.0), ("pass", 4.75), ("burst", 4)),  # restarted late
    scene(("burst", 2), ("stale", ""), ("pass", GRAIN)),  # in the middle of a backoff
    scene(("burst", 4), ("stale", ""), ("restart", ""), ("pass", 61.0)),  # or of an escalation
)


def flat(groups: Sequence[tuple[Event, ...]]) -> tuple[Event, ...]:
    return tuple(event for group in groups for event in group)


def some(most: int, least: int = 0) -> st.SearchStrategy[tuple[Event, ...]]:
    """Between `least` and `most` events or scenes."""
    return st.lists(st.one_of(anything, anything, scenes), min_size=least, max_size=most).map(flat)


few = st.lists(rules, min_size=1, max_size=2).map(tuple)
many = st.lists(rules, min_size=2, max_size=5).map(tuple)
caps = st.sampled_from([0, 1, 3, 50])
seeds = st.integers(0, 1000)
# The life of a house: all goes well at first, and then nothing does.
RUNNING = st.builds(
    Plan,
    specs=st.one_of(few, many),
    first=st.just(()),
    events=st.one_of(some(4), some(30, 10), some(30, 10)),
    last=st.lists(st.one_of(blow, time), max_size=5).map(tuple),
    max_leaked=caps,
    seed=seeds,
)
# A start that takes its time, or fails, while the first children are in trouble already.
waiting = st.one_of(
    scene(("say", "ready")),
    scene(("say", "back")),
    scene(("strike", "kill")),
    scene(("restart", "")),
    scene(("pass", 30.0), ("jump", 25.0), ("pass", 15.0)),
    scene(("next stop", "hang"), ("until due", 0.0), ("pass", 0.5), ("pass", 0.5)),
    scene(("pass", 4.75)),
    anything,
)
STARTING = st.builds(
    Plan,
    specs=many,
    first=st.one_of(
        st.lists(starts, max_size=4).map(tuple),
        st.sampled_from([((), ("park",)), (("wait",),), ((), ("wait",)), (("park",), ("raise",))]),
    ),
    events=st.tuples(
        st.sampled_from([(), (Event("next stop", 0, "hang"), Event("until due", 0, 0.0))]),
        st.sampled_from([(), (Event("pass", 0, 0.5),)]),
        st.lists(waiting, min_size=1, max_size=12).map(flat),
    ).map(flat),
    max_leaked=caps,
    seed=seeds,
)
# A stop that is held up, while others back off, are down, hang, or end by themselves.
trouble = st.one_of(
    scene(("burst", 2)),
    scene(("burst", 4)),
    scene(("strike", "hang")),
    scene(("next start", "hang"), ("strike", "kill")),
    scene(("next stop", "hang")),
    scene(("next stop", "raise")),
)
during = st.one_of(
    scene(("order", "kill")),
    scene(("order", "stop")),
    scene(("crash", 0)),
    scene(("restart", "")),
    scene(("pass", 0.5)),
    scene(("until due", 0.0)),
)
STOPPING = st.builds(
    Plan,
    specs=many,
    first=st.just(()),
    events=st.lists(trouble, min_size=1, max_size=6).map(flat),
    last=st.lists(during, max_size=8).map(flat),
    max_leaked=caps,
    seed=seeds,
)
