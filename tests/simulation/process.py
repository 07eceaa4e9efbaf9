"""One process of the world: a guard on the simulated runtime, and what strikes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from actors.clock import VirtualClock
from actors.incarnation import Incarnation
from actors.life import ChildReady, ExitReport
from actors.names import ROOT
from actors.points import Points
from actors.post import current_child
from actors.simulated import SimulatedRuntime
from supervisors import Guard, Settings
from supervisors.slot import ChildSlot
from supervisors.watchdog import Watchdog
from terminals.sim.terminal import SimulatedTerminal
from tests.simulation.disk import Disk
from tests.simulation.door import Door, OrderWitness
from tests.simulation.premises import on_disk
from tests.simulation.strikes import Strikes

LOOK_EVERY = 30.0  # seconds between two looks of the watchdog


class ProcessDied(BaseException):
    """Raised at whoever drives the scheduler: the process is no more."""


class WorldRuntime(SimulatedRuntime):
    """Tells the process what it runs, and where letters are sent from."""

    def __init__(self, seed: int, clock: VirtualClock, process: Process) -> None:
        super().__init__(seed, clock)
        self._process = process

    def run(self, incarnation: Incarnation) -> None:
        if incarnation.name == ROOT:
            self._process.meet_root(incarnation)
        self._process.lives[incarnation.name, incarnation.number] = incarnation
        super().run(incarnation)


class Process:
    """A guard from its start to its end. `number` counts the processes of a world."""

    def __init__(
        self,
        number: int,
        seed: int,
        clock: VirtualClock,
        disk: Disk,
        terminal: SimulatedTerminal,
        settings: Settings,
        witness: OrderWitness,
        note: Callable[[str], None],
    ) -> None:
        self.number = number
        self.alive = True
        self.root: Incarnation | None = None
        self.slots: dict[str, ChildSlot] = {}
        self.lives: dict[tuple[str | None, int | None], Incarnation] = {}
        self.runtime = WorldRuntime(seed * 1009 + number, clock, self)
        self.strikes = Strikes(clock.monotonic, self.runtime.hang, self._die, note)
        self.points = Points()
        self.guard = Guard(
            settings,
            runtime=self.runtime,
            terminal=Door(terminal, self.strikes, witness),
            points=self.points,
            premises=on_disk(disk),
        )
        disk.struck = lambda store, when: self.strikes.effect(f"commit {store}", when)

    def meet_root(self, root: Incarnation) -> None:
        """Have every letter that an actor sends be an effect; watch the root from outside."""
        self.root = root
        actor: Any = root.actor
        self.slots = actor.roster.slots
        post, strikes = root.context.post, self.strikes
        send = post.send

        def struck(to: str, message: object, **options: Any) -> None:
            if strikes.dead:
                return  # nobody is left to whom it could come
            # A report is the runtime's own; what the root tells its owner is a host's code,
            # which it does not let harm it: a strike there would be another fault.
            ours = isinstance(message, ExitReport | ChildReady) or current_child() == ROOT
            if strikes.armed and not ours:
                name = f"send {type(message).__name__}"
                strikes.effect(name, "before")
                send(to, message, **options)
                strikes.effect(name, "after")
            else:
                send(to, message, **options)

        post.send = struck  # type: ignore[method-assign]
        watchdog = Watchdog(
            root,
            self.runtime.clock,
            actor.roster.owner.cannot_go_on,
            every=LOOK_EVERY,
            stuck_after=2 * LOOK_EVERY,
        )
        self._watch(watchdog, actor.roster.owner.cannot_go_on)

    def _watch(self, watchdog: Watchdog, declare: Callable[[str], None]) -> None:
        cause = None if self.guard.over else watchdog.check()
        if cause is not None:
            declare(cause)
        if not self.guard.over:
            self.runtime.call_later(LOOK_EVERY, lambda: self._watch(watchdog, declare))

    def end(self) -> None:
        """Take the process away, as a kill does: nothing is stopped, nothing is told."""
        self.alive = False
        self.strikes.dead = True
        self.runtime.watch = None
        self.runtime.close()

    def _die(self) -> None:
        self.alive = False
