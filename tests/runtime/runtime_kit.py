"""A small house of test actors: real root, real slots, both runtimes, a ledger in memory."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NoReturn

import pykka
from hypothesis import HealthCheck, Phase, settings

from actors.actor import Context, GuardActor, Vitals
from actors.clock import VirtualClock
from actors.events import Event, EventStream, Kind
from actors.incarnation import Incarnation
from actors.life import Answer, Begin, ExitReport, Kill, ShutDown, Stop
from actors.mailbox import Lane, Letter, Mailbox
from actors.names import ROOT
from actors.points import Points
from actors.post import Address, Post
from actors.runtime import Runtime
from actors.simulated import SimulatedRuntime
from actors.threads import ThreadRuntime
from defence.alerts import Notice
from defence.errors import DtmsError
from supervisors import wording
from supervisors.owner import ChargeUnwritten, Escalated, Leaked, Poisoned, RootSettings
from supervisors.owner import MemoryLedger as InMemory
from supervisors.root import RootSupervisor
from supervisors.slot import ChildSlot
from supervisors.spec import Backoff, ChildSpec
from terminals.lease import Lease

PATIENCE = 5.0  # seconds that a test waits for what must come
# The same examples in every run, however slow the machine is just now.
# Failures are made small, but not explained: that traces every line, for minutes.
STEADY = settings(
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow],
)
AT_ONCE = Backoff(first=0.0)
DEATHS: tuple[type[BaseException], ...] = (
    RuntimeError,
    SystemExit,
    KeyboardInterrupt,
    GeneratorExit,
)


@dataclass(frozen=True)
class Call:
    """Run `work` on the actor, in its handler; its value is the answer."""

    work: Callable[[Worker], object]


@dataclass(frozen=True)
class Note:
    """Write `text` down in the actor's book; the answer is the incarnation's number."""

    text: str


@dataclass(frozen=True)
class Sting:
    """Crash, while the script says so."""

    name: str = "sting"


@dataclass
class Script:
    """What a child does, and what it saw; it outlives the child's incarnations."""

    on_start: Callable[[Worker], object] | None = None
    on_stop: Callable[[Worker], object] | None = None
    born: Callable[[Context], object] | None = None  # in the factory
    ready: bool = True
    batch: int = 1
    book: list[str] = field(default_factory=list)
    made: list[Worker] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)
    stings: dict[str, int] = field(default_factory=dict)  # name -> crashes left

    @property
    def worker(self) -> Worker:
        return self.made[-1]


class Worker(GuardActor):
    """Does what its script and its messages say."""

    def __init__(self, context: Context, script: Script) -> None:
        super().__init__(context)
        self.script = script
        script.made.append(self)

    def on_start(self) -> None:
        if self.script.on_start is not None:
            self.script.on_start(self)

    def on_stop(self) -> None:
        if self.script.on_stop is not None:
            self.script.on_stop(self)

    def on_answer(self, answer: Answer) -> None:
        self.script.answers.append(answer)

    def receive(self, message: object) -> object:
        match message:
            case Call():
                return message.work(self)
            case Note():
                self.script.book.append(message.text)
                return self.context.incarnation
            case Sting():
                left = self.script.stings.get(message.name, 0)
                if left:
                    self.script.stings[message.name] = left - 1
                    raise RuntimeError(message.name)
                return f"{message.name} survived"
            case _:
                return super().receive(message)

    def receive_batch(self, letters: Sequence[Letter]) -> list[object]:
        self.script.batches.append(len(letters))
        return [self.receive(letter.message) for letter in letters]


class Late(Worker):
    """Becomes ready only when it says so."""

    ready_on_start: ClassVar[bool] = False


class Batcher(Worker):
    """Takes up to ten data letters together."""

    batch_limit: ClassVar[int] = 10


def child(name: str, script: Script | None = None, **rules: Any) -> tuple[ChildSpec, Script]:
    """Return a spec whose times suit a test on real threads, and its script."""
    script = script or Script()

    def make(context: Context) -> GuardActor:
        if script.born is not None:
            script.born(context)
        kind = Batcher if script.batch > 1 else Worker if script.ready else Late
        return kind(context, script)

    rules = {"backoff": AT_ONCE, "start_timeout": 5.0, "stop_timeout": 2.0, **rules}
    return ChildSpec(name=name, factory=make, **rules), script


class MemoryLedger(InMemory):
    """Charges in memory; `broken` makes every write fail."""

    def __init__(self) -> None:
        super().__init__()
        self.broken: Exception | None = None

    def add(self, child: str, at: float) -> None:
        if self.broken is not None:
            raise self.broken
        super().add(child, at)

    def clear(self, child: str) -> None:
        if self.broken is not None:
            raise self.broken
        super().clear(child)


class RecordingOwner:
    """Writes down what the root says."""

    def __init__(self) -> None:
        self.ready = 0
        self.refusals: list[DtmsError] = []
        self.stopped = 0
        self.causes: list[str] = []
        self.pauses: list[float] = []
        self.notices: list[Notice] = []  # of what the guard would tell people
        self.escalations: list[Escalated] = []
        self.unwritten: list[ChargeUnwritten] = []
        self.poison: list[Poisoned] = []
        self.leaks: list[Leaked] = []

    def all_ready(self) -> None:
        self.ready += 1

    def start_refused(self, cause: DtmsError) -> None:
        self.refusals.append(cause)

    def all_stopped(self) -> None:
        self.stopped += 1

    def cannot_go_on(self, cause: str) -> None:
        self.causes.append(cause)

    def host_paused(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def escalated(self, fact: Escalated) -> None:
        self.escalations.append(fact)
        self.notices.append(wording.escalated(fact))

    def charge_unwritten(self, fact: ChargeUnwritten) -> None:
        self.unwritten.append(fact)
        self.notices.append(wording.charge_unwritten(fact))

    def poisoned(self, fact: Poisoned) -> None:
        self.poison.append(fact)

    def leaked(self, fact: Leaked) -> None:
        self.leaks.append(fact)


class House:
    """What a guard's house is, without stores and terminal."""

    def __init__(
        self,
        runtime: ThreadRuntime | SimulatedRuntime,
        specs: Sequence[ChildSpec],
        ledger: MemoryLedger | None = None,
        **settings: Any,
    ) -> None:
        self.runtime = runtime
        self.clock = runtime.clock
        self.events = EventStream(runtime.clock)
        self.post = Post(runtime, self.events)
        self.points = Points()
        self.owner = RecordingOwner()
        self.ledger = ledger or MemoryLedger()
        self.slots: list[ChildSlot] = []
        self.root_reports: list[ExitReport] = []
        self.stale_reports_expected = False
        for spec in specs:
            box = Mailbox(spec.name, now=self.clock.monotonic, data_limit=spec.data_limit)
            self.post.add(box)
            self.slots.append(ChildSlot(spec, box))
        self.root_box = Mailbox(ROOT, now=self.clock.monotonic)
        self.post.add(self.root_box)
        context = make_context(
            ROOT, 1, self.root_box, self.post, runtime, self.events, points=self.points
        )
        times = RootSettings(**{"check_every": 0.05, "startup_timeout": 30.0, **settings})
        self.actor = RootSupervisor(context, self.slots, self.ledger, self.owner, times)
        self.root = Incarnation(self.actor, self.root_reports.append)
        self.closed = False

    # -- driving

    def open(self) -> House:
        """Start, and wait until every child is ready."""
        self.begin()
        self.until(lambda: self.owner.ready or self.owner.refusals)
        assert self.owner.ready, self.owner.refusals
        return self

    def begin(self) -> House:
        """Start without waiting."""
        self.root_box.open_for(1)
        self.runtime.run(self.root)
        self.to_root(Begin())
        return self

    def to_root(self, message: object) -> None:
        self.post.send(ROOT, message, lane=Lane.CONTROL)

    def ask_root(self, message: object, timeout: float = PATIENCE) -> Any:
        return self.post.address(ROOT).ask(message, timeout=timeout, lane=Lane.CONTROL)

    def until(self, condition: Callable[[], object], timeout: float = PATIENCE) -> None:
        assert self.runtime.wait_until(lambda: bool(condition()), timeout), self.story()

    def wait(self, future: pykka.Future[Any], timeout: float = PATIENCE) -> Any:
        return self.runtime.wait(future, timeout)

    def address(self, name: str) -> Address:
        return self.post.address(name)

    def ask(self, name: str, message: object, timeout: float = PATIENCE) -> Any:
        return self.address(name).ask(message, timeout=timeout)

    def later(self, name: str, message: object, timeout: float = PATIENCE) -> pykka.Future[Any]:
        return self.address(name).ask_later(message, timeout=timeout)

    def kill(self, name: str) -> None:
        self.address(name).tell(Kill("by the test"), lane=Lane.CONTROL)

    def slot(self, name: str) -> ChildSlot:
        return next(slot for slot in self.slots if slot.name == name)

    def ready(self, name: str, number: int) -> None:
        """Wait until incarnation `number` is ready."""
        self.until(lambda: (name, number) in self.lives(Kind.READY))

    def stop(self) -> None:
        """Stop the children, then the root; the order is DESIGN's."""
        if not self.root.done:
            self.to_root(ShutDown())
            self.until(lambda: self.owner.stopped or self.owner.causes, 20.0)
            self.post.send(ROOT, Stop(), lane=Lane.CONTROL)
            self.until(lambda: self.root.done)

    def close(self) -> None:
        """Stop, then audit what must hold whatever the test did."""
        if self.closed:
            return
        self.closed = True
        try:
            self.stop()
        finally:
            self.runtime.close()
            self.root_box.close()
        self.audit()

    def audit(self) -> None:
        for box in [*(slot.mailbox for slot in self.slots), self.root_box]:
            counts = box.counts()
            assert counts.balanced, counts
            assert (counts.waiting, counts.in_hand) == (0, 0) or self.owner.causes, counts
        started, exited = Counter(self.lives(Kind.STARTED)), Counter(self.lives(Kind.EXITED))
        assert all(n == 1 for n in started.values()), started
        if not self.owner.causes:
            assert exited == started, self.story()  # one exit for every life, no more, no less
        if not self.stale_reports_expected:
            assert not self.of(Kind.STALE_REPORT), self.story()
        assert [report.normal for report in self.root_reports] == [True], self.root_reports
        assert self.runtime.alive() == []
        assert pykka.ActorRegistry.get_all() == []

    # -- looking

    def of(self, kind: Kind, name: str | None = None) -> list[Event]:
        return [
            event
            for event in self.events.since()
            if event.kind is kind and name in (None, event.child)
        ]

    def lives(self, kind: Kind) -> list[tuple[str | None, int | None]]:
        return [(event.child, event.incarnation) for event in self.of(kind)]

    def exits(self, name: str) -> list[str]:
        return [str(event.facts["how"]) for event in self.of(Kind.EXITED, name)]

    def story(self) -> str:
        return "\n".join(event.line() for event in self.events.since())


def make_context(
    name: str,
    number: int,
    box: Mailbox,
    post: Post,
    runtime: Runtime,
    events: EventStream,
    *,
    points: Points | None = None,
    announce: Callable[[object], None] = lambda _: None,
) -> Context:
    return Context(
        name=name,
        incarnation=number,
        mailbox=box,
        post=post,
        runtime=runtime,
        events=events,
        lease=Lease(name, number),
        points=points or Points(),
        vitals=Vitals(runtime.clock.monotonic()),
        announce=announce,
        lease_of=lambda _child, _number: None,
    )


def virtual(house: House) -> SimulatedRuntime:
    """Return the house's runtime, which is the simulated one."""
    assert isinstance(house.runtime, SimulatedRuntime)
    return house.runtime


def pass_time(house: House, seconds: float) -> None:
    """Let virtual time pass with all that happens in it."""
    virtual(house).run_for(seconds)


def clock_of(house: House) -> VirtualClock:
    return virtual(house).clock


def stall(worker: Worker, condition: Callable[[], bool]) -> None:
    """Stay in this handler until `condition` holds, while the others go on."""
    assert worker.context.runtime.wait_until(condition, PATIENCE)


def hang_in(number: int) -> Callable[[Worker], None]:
    """Hang in the handler of incarnation `number` alone."""

    def work(worker: Worker) -> None:
        if worker.context.incarnation == number:
            worker.context.runtime.hang()

    return work


def raising(error: BaseException) -> Callable[[object], NoReturn]:
    def work(_: object) -> NoReturn:
        raise error

    return work


def die_once(error: BaseException) -> Callable[[object], object]:
    """Raise `error` at the first call only."""
    left = [error]

    def work(_: object) -> object:
        if left:
            raise left.pop()
        return "alive"

    return work


def refused(call: Callable[[], object]) -> BaseException:
    """Return what `call` raises; fail if it raises nothing."""
    try:
        value = call()
    except BaseException as error:  # noqa: BLE001 - the tests look at SystemExit too
        return error
    raise AssertionError(f"{value!r} came instead of an error")


def dtms_threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.startswith("dtms-")]
