"""Kills and hangs of all kinds on real threads, under load: nothing is lost, nothing twice."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from loguru import logger
from runtime_kit import House, dtms_threads
from storm_blows import Killer, strike_all
from storm_kit import CountingRuntime, Heard, Load, World, storm_child

from actors.events import Kind

Rounds = Callable[..., int]
ROOT_AND_TIMERS = 2
NAMES = ("alpha", "bravo", "charlie", "delta", "echo")


@pytest.fixture
def _quiet() -> Iterator[None]:
    """A thousand deaths make a million lines of tracebacks."""
    logger.disable("actors")
    logger.disable("supervisors")
    yield
    logger.enable("actors")
    logger.enable("supervisors")


def storm(seed: int, kills: int, hangs: int, callers: int = 12) -> tuple[House, World, Heard]:
    before = threading.active_count()
    world = World(NAMES)
    runtime = CountingRuntime()
    house = House(
        runtime,
        [
            storm_child("alpha", world),
            storm_child("bravo", world, batch=True),
            storm_child("charlie", world, data_limit=20),
            storm_child("delta", world, batch=True, data_limit=50),
            storm_child("echo", world),
        ],
        check_every=0.02,
        max_leaked=100_000,
    )
    world.number = lambda name: house.slot(name).number
    house.open()
    load = Load(house, world, seed, callers)
    try:
        killers = strike_all(house, world, seed, kills, hangs)
        heard = load.end()
        house.until(lambda: all_empty(house), 60.0)
        judge(house, world, heard, killers, kills, hangs)
        # and once more, with the end in the middle of it
        load = Load(house, world, seed + 1000, callers)
        house.until(lambda: sum(one.answers.total() for one in load.heard) > 50, 60.0)
    finally:
        house.stop()
        last = load.end()
        house.close()
        world.close()
    assert last.faults == []
    assert runtime.alive() == []
    assert dtms_threads() == []
    assert threading.active_count() == before
    answers = Counter(future.answers for future in runtime.futures)
    assert answers[0] == heard.refused + last.refused, "an asker whose letter was accepted waits"
    assert set(answers) <= {0, 1}, "an asker got two answers"
    return house, world, heard


def all_empty(house: House) -> bool:
    counts = [slot.mailbox.counts() for slot in house.slots]
    return all(one.waiting == one.in_hand == 0 for one in counts)


def judge(
    house: House, world: World, heard: Heard, killers: list[Killer], kills: int, hangs: int
) -> None:
    assert [fault for killer in killers for fault in killer.faults] == []
    assert heard.faults == []
    assert world.faults == []
    assert {key for key, times in world.effects.items() if times != 1} == set()
    struck = sum((killer.done for killer in killers), Counter[str]())
    assert (struck["kill"], struck["hang"]) == (kills, hangs)
    assert len(struck) == 2 + len(killers[0].kills()) + len(killers[0].hangs()), "every way"
    # Accepted means done: what was told, and what the blows themselves brought.
    told = {*heard.told, *(key for killer in killers for key in killer.keys)}
    poisoned = {str(event.facts["id"]) for event in house.of(Kind.POISONED)}
    missing = told - set(world.book)
    assert len(missing) <= len(poisoned), f"{len(missing)} told effects are lost"
    assert {key: world.book.get(key) for key in heard.entries} == heard.entries
    assert set(heard.not_done) & set(world.book) == set(), "said not to be done, and done"
    assert heard.poison & set(world.book) == set()
    assert all(times == 1 for times in world.answers.values())
    exits = house.of(Kind.EXITED)
    assert len(exits) >= kills + hangs
    assert len(house.ledger.kept) <= len(NAMES)
    by_hand = struck["restarted"] + struck["in on_stop"] + struck["hangs in on_stop"]
    charged = sum(len(charges) for charges in house.ledger.kept.values())
    assert charged == len(house.of(Kind.CHARGED))
    assert charged == len(exits) - by_hand, "a charge for each end that nobody asked for"
    leaks = sum(killer.leaks for killer in killers)
    # Those that hang with an end wake and go; the root counts the others.
    house.until(lambda: len(dtms_threads()) == len(NAMES) + ROOT_AND_TIMERS + leaks)
    assert house.actor.ends.count_leaked() == leaks


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("_quiet")
def test_a_storm_of_kills_and_hangs(rounds: Rounds) -> None:
    kills, hangs = rounds(ci=500, long=1000), rounds(ci=50, long=100)
    for seed in range(1, 1 + rounds(ci=1, long=10)):
        house, world, heard = storm(seed, kills, hangs)
        ends = len(house.of(Kind.EXITED))
        print(f"seed {seed}: {ends} ends, {len(world.book)} effects, {dict(heard.answers)}")
        assert heard.answers["answered"] > kills, "there was no load"
