"""A supervision tree for measuring: a real root on real threads, and children that do little."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from actors.actor import Context, GuardActor
from actors.events import Kind
from actors.post import Address
from actors.threads import ThreadRuntime
from supervisors import Backoff, ChildSpec, RememberingOwner, RootSettings, Supervisor

WITHIN = 60.0  # seconds for anything that must come


@dataclass(frozen=True, slots=True)
class Echo:
    """Answered with `value`."""

    value: int = 0


@dataclass(frozen=True, slots=True)
class Wait:
    """Keeps the handler until `gate` opens."""

    gate: threading.Event = field(compare=False)


class Echoing(GuardActor):
    """Answers; notes when its incarnation handled its first message."""

    first_at: float | None = None

    def receive(self, message: object) -> object:
        """Take an `Echo` or a `Wait`."""
        if self.first_at is None:
            self.first_at = time.perf_counter()
        if isinstance(message, Echo):
            return message.value
        if isinstance(message, Wait):
            message.gate.wait(WITHIN)
            return None
        return super().receive(message)


class PromptOwner(RememberingOwner):
    """Says at once that all is ready, where a tree's own `start` looks every millisecond."""

    def __init__(self) -> None:
        super().__init__()
        self.there = threading.Event()

    def all_ready(self) -> None:
        """Every child is ready."""
        self.there.set()


class SmallHouse:
    """Children under a root; `start` returns when all are ready."""

    def __init__(
        self, names: Sequence[str], *, check_every: float = 1.0, hang_after: float = 30.0
    ) -> None:
        self.runtime = ThreadRuntime()
        self.made: dict[str, list[Echoing]] = {name: [] for name in names}
        specs = [
            ChildSpec(
                name=name,
                factory=self._factory(name),
                max_restarts=1_000_000,
                backoff=Backoff(first=0.0),
                hang_after=hang_after,
                data_limit=1_000_000,
            )
            for name in names
        ]
        self._owner = PromptOwner()
        settings = RootSettings(check_every=check_every, max_leaked=1_000_000)
        self.tree = Supervisor(specs, runtime=self.runtime, owner=self._owner, settings=settings)

    def _factory(self, name: str) -> Callable[[Context], GuardActor]:
        def make(context: Context) -> GuardActor:
            actor = Echoing(context)
            self.made[name].append(actor)
            return actor

        return make

    def start(self) -> SmallHouse:
        """Start; return when every child is ready."""
        self.tree.start(block=False)
        if not self._owner.there.wait(WITHIN):
            raise RuntimeError(f"the children are not ready: {self.tree.cause}")
        return self

    def stop(self) -> None:
        """Stop; raises if the tree has died meanwhile: what was measured is no figure then."""
        self.tree.stop()
        self.runtime.close()
        if self.tree.died is not None:
            raise RuntimeError(f"the measured tree failed: {self.tree.died}")

    def address(self, name: str) -> Address:
        """Return a child's address."""
        return self.tree.address(name)

    def ends(self, name: str) -> int:
        """Return how many lives of a child have ended."""
        events = self.tree.events.since()
        return sum(event.kind is Kind.EXITED and event.child == name for event in events)


@contextmanager
def house(names: Sequence[str] = ("child",), **times: float) -> Iterator[SmallHouse]:
    """Give a house whose children are ready."""
    made = SmallHouse(names, **times).start()
    try:
        yield made
    finally:
        made.stop()
