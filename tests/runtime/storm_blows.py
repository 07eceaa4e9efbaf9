"""Who kills and hangs: a thread a child, one blow after the other, each on another life."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable

from runtime_kit import House
from storm_kit import (
    ANSWERED,
    ERRORS,
    HUNG,
    WAKES,
    Blow,
    Deed,
    Stormer,
    World,
    hanging,
    raising,
)

from actors.life import Hang, Kill, RestartChild, StrikeChild
from actors.mailbox import Lane
from supervisors.slot import ChildState

BETWEEN = 12  # at most so many letters are waited for between two blows


class Killer:
    """Kills and hangs one child until it has done its share."""

    def __init__(self, house: House, world: World, name: str, seed: int) -> None:
        self.house, self.world, self.name = house, world, name
        self.chance = random.Random(f"{seed}/{name}")
        self.done: Counter[str] = Counter()
        self.leaks = 0  # threads that hang until the end
        self.faults: list[str] = []
        self.keys: list[str] = []

    def run(self, kills: int, hangs: int) -> None:
        blows = ["kill"] * kills + ["hang"] * hangs
        self.chance.shuffle(blows)
        for blow in blows:
            try:
                number = self._ready()
                ways = self.kills() if blow == "kill" else self.hangs()
                way, strike = self.chance.choice(ways)
                strike()
                self.done[blow] += 1
                self.done[way] += 1
                self._gone(number)
            except BaseException as error:  # noqa: BLE001 - a thread has no other voice
                self.faults.append(f"{self.name}, {blow}: {error!r}")
                return

    def _ready(self) -> int:
        """Wait until it is ready and has done something; return its incarnation."""
        slot, end = self.house.slot(self.name), time.monotonic() + ANSWERED
        enough = slot.mailbox.counts().handled + self.chance.randint(0, BETWEEN)
        while slot.state is not ChildState.READY or slot.mailbox.counts().handled < enough:
            assert time.monotonic() < end, f"{self.name} is {slot.state.value}"
            time.sleep(0.0005)
        return slot.number

    def _gone(self, number: int) -> None:
        slot, end = self.house.slot(self.name), time.monotonic() + ANSWERED
        while slot.number == number:
            assert time.monotonic() < end, f"{self.name}#{number} lives on"
            time.sleep(0.0005)

    # -- the ways to die

    def kills(self) -> list[tuple[str, Callable[[], None]]]:
        return [
            ("Kill", lambda: self._tell(Kill("by the storm"), lane=Lane.CONTROL)),
            ("struck", lambda: self._ask_root(StrikeChild(self.name, "kill"))),
            ("in a handler", lambda: self._deed(raising(self._error()))),
            ("after the effect", lambda: self._deed(raising(self._error()), after=True)),
            ("at a point", self._at_a_point),
            ("in on_start", self._in_on_start),
            ("in the factory", self._in_the_factory),
            ("in on_stop", self._in_on_stop),
            ("restarted", lambda: self._ask_root(RestartChild(self.name))),
        ]

    def hangs(self) -> list[tuple[str, Callable[[], None]]]:
        return [
            ("Hang", self._for_ever),
            ("Hang that ends", lambda: self._tell(Hang(WAKES), lane=Lane.CONTROL)),
            ("hangs before the effect", lambda: self._deed(hanging(WAKES))),
            ("hangs after the effect", lambda: self._deed(hanging(WAKES), after=True)),
            ("hangs before the reply", self._before_the_reply),
            ("wakes while its successor has the letter", self._both_at_it),
            ("hangs in on_start", self._hangs_in_on_start),
            ("hangs in on_stop", self._hangs_in_on_stop),
        ]

    def _error(self) -> BaseException:
        return self.chance.choice(ERRORS)()

    def _tell(self, message: object, lane: Lane = Lane.CONTROL) -> None:
        self.house.address(self.name).tell(message, lane=lane)

    def _ask_root(self, message: object) -> None:
        self.house.ask_root(message, timeout=ANSWERED)

    def _deed(self, blow: Blow, *, after: bool = False, times: int = 1) -> None:
        """Have a told effect go wrong: it is done all the same, by the successor."""
        key = f"{self.name}/{len(self.keys)}"
        self.keys.append(key)
        self._tell(Deed(key, blow=blow, after=after, times=times), lane=Lane.REPLY)

    def _at_a_point(self) -> None:
        point = f"{self.name}.before_reply"
        if self.chance.random() < 0.5:
            self.house.points.kill_at(point)
        else:
            self.house.points.arm(point, lambda: raising(self._error())(None))  # type: ignore[arg-type]  # whoever is there
        self._some_mail()

    def _some_mail(self) -> None:
        """See that somebody gets to the point, whatever the callers do."""
        key = f"{self.name}/{len(self.keys)}"
        self.keys.append(key)
        self._tell(Deed(key), lane=Lane.REPLY)

    def _in_on_start(self) -> None:
        self.world.starts[self.name] += [raising(self._error()) for _ in range(2)]
        self._tell(Kill("to start badly"))

    def _in_the_factory(self) -> None:
        self.world.born[self.name].append(raising(self._error()))
        self._tell(Kill("to be made badly"))

    def _in_on_stop(self) -> None:
        self.world.stops[self.name].append(raising(self._error()))
        self._ask_root(RestartChild(self.name))

    def _for_ever(self) -> None:
        self.leaks += 1
        self._tell(Hang())

    def _before_the_reply(self) -> None:
        runtime = self.house.runtime
        self.house.points.arm(f"{self.name}.before_reply", lambda: runtime.hang(WAKES))
        self._some_mail()

    def _both_at_it(self) -> None:
        """Have the fenced one answer while its successor handles the same letter."""
        stays = [HUNG * 2 / 3, HUNG * 1.5]  # the last one first

        def stay(actor: Stormer) -> None:
            actor.context.runtime.hang(stays.pop())

        self._deed(stay, after=True, times=2)

    def _hangs_in_on_start(self) -> None:
        self.world.starts[self.name].append(hanging(WAKES))
        self._tell(Kill("to start slowly"))

    def _hangs_in_on_stop(self) -> None:
        self.world.stops[self.name].append(hanging(WAKES))
        self._ask_root(RestartChild(self.name))


def strike_all(house: House, world: World, seed: int, kills: int, hangs: int) -> list[Killer]:
    """Kill and hang every child, all at once, `kills` and `hangs` times in all; return who did."""
    killers = [Killer(house, world, name, seed) for name in world.names]
    threads = []
    for nth, killer in enumerate(killers):
        shares = (share(kills, nth, len(killers)), share(hangs, nth, len(killers)))
        threads.append(threading.Thread(target=killer.run, args=shares))
        threads[-1].start()
    for thread in threads:
        thread.join()
    return killers


def share(whole: int, nth: int, parts: int) -> int:
    """Return the share of the `nth` of `parts`."""
    return whole // parts + (nth < whole % parts)
