"""A storm on real threads: children that keep books, callers that keep theirs, and blows."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, ClassVar

from pykka import Future, Timeout
from runtime_kit import AT_ONCE, House

from actors.actor import Context, GuardActor, Promised, keep_promise
from actors.life import Answer
from actors.mailbox import Lane, Letter
from actors.replies import Reply
from actors.threads import ThreadRuntime
from defence.errors import (
    DeadlinePassed,
    DtmsError,
    Fault,
    Fenced,
    Invalid,
    MailboxFull,
    Stopped,
)
from supervisors.spec import ChildSpec

HUNG = 0.15  # seconds after which a handler is hung
WAKES = 0.5  # seconds that a hang with an end lasts
ANSWERED = 60.0  # seconds within which any answer must come, on a busy machine
Blow = Callable[["Stormer"], None]


class CountedReply(Reply):
    """A future that counts how often somebody tried to answer it."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = 0

    def set(self, value: object = None) -> None:
        self.answers += 1
        super().set(value)

    def set_exception(self, exc_info: Any = None) -> None:
        self.answers += 1
        super().set_exception(exc_info)


class CountingRuntime(ThreadRuntime):
    """The runtime of real life, whose futures count their answers."""

    def __init__(self) -> None:
        super().__init__()
        self.futures: list[CountedReply] = []

    def new_future(self) -> Future[Any]:
        made = CountedReply()
        self.futures.append(made)
        return made


@dataclass(frozen=True)
class Deed:
    """One effect, and how its asker is answered. `blow` strikes before or after the effect."""

    key: str
    way: str = "reply"  # reply, forward, promise, request, refuse
    to: str = ""
    blow: Blow | None = None
    after: bool = False
    times: int = 1  # how often the blow strikes


class Unprintable(BaseException):
    """An error whose own text raises."""

    def __str__(self) -> str:
        raise RuntimeError("it cannot be printed either")

    __repr__ = __str__


ERRORS: tuple[Callable[[], BaseException], ...] = (
    lambda: RuntimeError("broken"),
    lambda: KeyError("broken"),
    MemoryError,
    lambda: RecursionError("deep"),
    lambda: SystemExit(3),
    KeyboardInterrupt,
    GeneratorExit,
    StopIteration,
    lambda: Fault("our own mistake"),
    Unprintable,
)


class World:
    """What outlives every incarnation: the book of effects, and what is to go wrong."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.number: Callable[[str], int] = lambda _: 0  # the present incarnation of a child
        self.book: dict[str, int] = {}
        self.effects: Counter[str] = Counter()
        self.struck: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.faults: list[str] = []
        self.born: dict[str, list[Blow]] = {name: [] for name in names}
        self.starts: dict[str, list[Blow]] = {name: [] for name in names}
        self.stops: dict[str, list[Blow]] = {name: [] for name in names}
        self.promised: SimpleQueue[tuple[Future[Any] | None, object] | None] = SimpleQueue()
        self._promiser = threading.Thread(target=self._keep_promises, daemon=True)
        self._promiser.start()

    def close(self) -> None:
        self.promised.put(None)
        self._promiser.join(10.0)

    def do(self, actor: Stormer, key: str) -> int:
        """Have the effect, once for a key: a handler that comes again changes nothing."""
        context = actor.context
        try:
            with context.lease.hold():
                if self.number(context.name) != context.incarnation:
                    self.faults.append(f"{key}: {context.name}#{context.incarnation} is replaced")
                if key not in self.book:
                    time.sleep(0)  # room for somebody who should not be here as well
                    self.effects[key] += 1
                    self.book[key] = self.effects.total()
        except Fenced:
            raise Fault("woke after the fence") from None
        return self.book[key]

    def strike(self, actor: Stormer, deed: Deed) -> None:
        if deed.blow is not None and self.struck[deed.key] < deed.times:
            self.struck[deed.key] += 1
            deed.blow(actor)

    def _keep_promises(self) -> None:
        while (owed := self.promised.get()) is not None:
            keep_promise(*owed)


class Stormer(GuardActor):
    """Does deeds, dies and hangs as its world says."""

    def __init__(self, context: Context, world: World) -> None:
        super().__init__(context)
        self.world = world
        self.asked: set[str] = set()
        self._next(world.born)

    def on_start(self) -> None:
        self._next(self.world.starts)

    def on_stop(self) -> None:
        self._next(self.world.stops)

    def _next(self, blows: dict[str, list[Blow]]) -> None:
        waiting = blows[self.context.name]
        if waiting:
            waiting.pop()(self)

    def receive(self, message: object) -> object:
        if not isinstance(message, Deed):
            return super().receive(message)
        world, key = self.world, message.key
        if message.way == "refuse":
            raise Invalid("not done", field="key", value=key)
        if not message.after:
            world.strike(self, message)
        entry = world.do(self, key)
        if message.after:
            world.strike(self, message)
        if message.way == "forward":
            return self.forward(message.to, Deed(f"{key}/next"), lane=Lane.DATA)
        if message.way == "promise":
            return Promised(lambda reply_to: world.promised.put((reply_to, entry)))
        if message.way == "request":
            self.asked.add(self.request(message.to, Deed(f"{key}/aside"), lane=Lane.REPLY))
        return entry

    def receive_batch(self, letters: Sequence[Letter]) -> list[object]:
        values: list[object] = []
        for letter in letters:
            try:
                values.append(self.receive(letter.message))
            except Fault:
                raise
            except DtmsError as error:
                values.append(error)
        return values

    def on_answer(self, answer: Answer) -> None:
        self.world.answers[answer.request_id] += 1
        if answer.incarnation != self.context.incarnation or answer.request_id not in self.asked:
            self.world.faults.append(f"{answer.request_id} was asked by somebody else")


class BatchStormer(Stormer):
    """Takes up to eight together."""

    batch_limit: ClassVar[int] = 8


def storm_child(name: str, world: World, *, batch: bool = False, **rules: Any) -> ChildSpec:
    """Return the spec of a child that may die as often as it likes."""
    return ChildSpec(
        **{
            "name": name,
            "factory": lambda context: (BatchStormer if batch else Stormer)(context, world),
            "max_restarts": 1_000_000,
            "backoff": AT_ONCE,
            "hang_after": HUNG,
            "start_timeout": 0.4,
            "stop_timeout": 0.4,
            **rules,
        }
    )


def raising(error: BaseException) -> Blow:
    def blow(_: Stormer) -> None:
        raise error

    return blow


def hanging(seconds: float | None) -> Blow:
    def blow(actor: Stormer) -> None:
        actor.context.runtime.hang(seconds)

    return blow


SET_ASIDE = ("crashed twice on this message", "hung on this message again")
NAMED = (DeadlinePassed, MailboxFull, Stopped, Invalid, Fault)


@dataclass
class Heard:
    """What callers sent and heard; one writer each."""

    answers: Counter[str] = field(default_factory=Counter)
    told: list[str] = field(default_factory=list)
    entries: dict[str, int] = field(default_factory=dict)
    not_done: list[str] = field(default_factory=list)
    poison: set[str] = field(default_factory=set)
    faults: list[str] = field(default_factory=list)
    refused: int = 0  # asks that were not accepted


class Load:
    """Threads that tell and ask until `end`; each keeps its own books."""

    def __init__(self, house: House, world: World, seed: int, callers: int) -> None:
        self.house, self.world = house, world
        self.heard = [Heard() for _ in range(callers)]
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._call, args=(nth, random.Random(seed * 100 + nth)))
            for nth in range(callers)
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> Heard:
        """Stop, and return the books of all."""
        self._over.set()
        whole = Heard()
        for thread in self._threads:
            thread.join(2 * ANSWERED)
            assert not thread.is_alive(), "a caller waits for ever"
        for one in self.heard:
            whole.answers.update(one.answers)
            whole.told += one.told
            whole.entries.update(one.entries)
            whole.not_done += one.not_done
            whole.poison |= one.poison
            whole.faults += one.faults
            whole.refused += one.refused
        return whole

    def _call(self, nth: int, chance: random.Random) -> None:
        heard, count = self.heard[nth], 0
        while not self._over.is_set():
            count += 1
            key = f"{nth}.{count}"
            try:
                self._once(key, chance, heard)
            except BaseException as error:  # noqa: BLE001 - a caller's thread has no other voice
                heard.faults.append(f"{key}: {type(error).__name__}")

    def _once(self, key: str, chance: random.Random, heard: Heard) -> None:
        name = chance.choice(self.world.names)
        address = self.house.address(name)
        if chance.random() < 0.4:
            for part in range(chance.randint(1, 8)):
                try:
                    address.tell(Deed(f"{key}-{part}"))
                except (MailboxFull, Stopped) as error:
                    heard.answers[type(error).__name__] += 1
                else:
                    heard.told.append(f"{key}-{part}")
        way = chance.choice(("reply", "reply", "forward", "promise", "request", "refuse"))
        other = chance.choice(self.world.names)
        deed = Deed(key, way, other)
        draw = chance.random()
        if draw < 0.02:
            deed = Deed(key, way, other, raising(chance.choice(ERRORS)()), after=draw < 0.01)
        elif draw < 0.025 and way != "refuse":
            deed = Deed(key, way, other, raising(RuntimeError("poison")), times=1_000_000)
            heard.poison.add(key)
        brief = chance.random() < 0.2
        self._ask(address, deed, chance.uniform(0.0, 0.02) if brief else ANSWERED, heard)

    def _ask(self, address: Any, deed: Deed, timeout: float, heard: Heard) -> None:
        try:
            _, future = address.send_asking(deed, timeout=timeout)
        except (MailboxFull, Stopped):
            heard.refused += 1
            return
        try:
            value = self.house.runtime.wait(future, ANSWERED)
        except Timeout:
            heard.faults.append(f"{deed.key} ({deed.way}) has no answer")
        except NAMED as error:
            heard.answers[type(error).__name__] += 1
            if isinstance(error, DeadlinePassed) and "it was not done" in str(error):
                heard.not_done.append(f"{deed.key}/next" if deed.way == "forward" else deed.key)
            if isinstance(error, Invalid) != (deed.way == "refuse") and isinstance(error, Invalid):
                heard.faults.append(f"{deed.key} was refused: {error}")
            if isinstance(error, Fault) and not any(word in str(error) for word in SET_ASIDE):
                heard.faults.append(f"{deed.key}: {error}")
        else:
            heard.answers["answered"] += 1
            heard.entries[f"{deed.key}/next" if deed.way == "forward" else deed.key] = value
            if deed.way == "refuse" or deed.key in heard.poison:
                heard.faults.append(f"{deed.key} was to be refused")
