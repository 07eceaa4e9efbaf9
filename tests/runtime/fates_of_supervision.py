"""What becomes of the children of `test_cases_model`: messages, starts and stops that fail."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from runtime_kit import (
    Script,
    Worker,
)

from actors.actor import Context
from actors.clock import VirtualClock
from actors.incarnation import Incarnation
from actors.points import Killed
from actors.simulated import SimulatedRuntime


class Fuse:
    """A message that dies, or hangs, the first `times` times it is handled."""

    def __init__(self, times: int, death: type[BaseException] | None) -> None:
        self.times = times
        self.death = death

    def __call__(self, worker: Worker) -> None:
        if self.times:
            self.times -= 1
            if self.death is None:
                worker.context.runtime.hang()
            else:
                raise self.death("as planned")


@dataclass
class Fates:
    """How the next starts and stops of a child go."""

    starts: deque[str] = field(default_factory=deque)
    stops: deque[str] = field(default_factory=deque)

    def script(self) -> Script:
        return Script(on_start=self.on_start, on_stop=self.on_stop, born=self.born, ready=False)

    def born(self, _: Context) -> None:
        if self.starts and self.starts[0] == "unborn":
            self.starts.popleft()
            raise MemoryError("as planned")

    def on_start(self, worker: Worker) -> None:
        outcome = self.starts.popleft() if self.starts else "ok"
        if "park" in outcome:
            worker.park("as planned")
        suffer(worker, outcome)
        if outcome == "ok":
            worker.ready()

    def on_stop(self, worker: Worker) -> None:
        suffer(worker, self.stops.popleft() if self.stops else "ok")


def suffer(worker: Worker, outcome: str) -> None:
    if "hang" in outcome:
        worker.context.runtime.hang()
    if outcome == "raise":
        raise SystemExit("as planned")
    if outcome == "kill":
        raise Killed("as planned")


class Remembering(SimulatedRuntime):
    """Knows every incarnation that it was given, so that a stuck one can end at last."""

    def __init__(self, seed: int, clock: VirtualClock) -> None:
        super().__init__(seed, clock)
        self.lives: dict[tuple[str, int], Incarnation] = {}

    def run(self, incarnation: Incarnation) -> None:
        self.lives[(incarnation.name, incarnation.number)] = incarnation
        super().run(incarnation)
