"""The root as a whole against a second opinion: random houses, random blows, in virtual time.

After every event the house must agree with `model_of_supervision`: states,
incarnation numbers, how each one ended, charges in memory and in the ledger,
backoffs, escalations, pauses. Moments are multiples of 1/64 s, which floats
hold exactly, so that windows, ticks and time-outs meet to the last bit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence

import pytest
from child_of_supervision import Child, Mail
from fates_of_supervision import Fates, Fuse, Remembering
from hypothesis import given, seed, settings
from loguru import logger
from model_of_supervision import Model
from plans_of_supervision import RUNNING, STARTING, STOPPING, Event, Plan
from runtime_kit import (
    DEATHS,
    STEADY,
    Call,
    House,
    MemoryLedger,
    Note,
    Worker,
    child,
    clock_of,
    pass_time,
    refused,
)

from actors.clock import VirtualClock
from actors.events import Kind
from actors.life import (
    CheckHealth,
    ChildReady,
    ExitReport,
    Kill,
    ResetBudget,
    RestartChild,
    ShutDown,
    StartChild,
    StartTimedOut,
    Stop,
    StopTimedOut,
    StrikeChild,
)
from actors.mailbox import Lane
from defence.errors import Conflict, Stopped, StoreFull

STARTUP = 40.0
NAMES = ("one", "two", "three", "four", "five")
Facts = dict[str, dict[str, object]]


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Thousands of deaths are meant, and none of them worth a traceback."""
    for package in ("actors", "supervisors"):
        logger.disable(package)
    yield
    for package in ("actors", "supervisors"):
        logger.enable(package)


# -- the two, side by side


class Pair:
    """A house and a model that are put through the same."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.specs = list(plan.specs)
        self.ledger = MemoryLedger()
        self.kept: dict[str, list[float]] = {}
        self.fates = [Fates() for _ in plan.specs]
        self.log: list[str] = []
        first = [list(outcomes) for outcomes in plan.first]
        self.build(1_700_000_000.0, [*first, *([[]] * len(self.fates))][: len(self.fates)])

    def build(self, wall: float, first: list[list[str]]) -> None:
        for fate, outcomes in zip(self.fates, first, strict=True):
            fate.starts, fate.stops = deque(outcomes), deque()
        specs = [
            child(name, fate.script(), **spec)[0]
            for name, fate, spec in zip(NAMES, self.fates, self.specs, strict=False)
        ]
        self.model = Model(
            specs,
            self.kept,
            wall=wall,
            max_leaked=self.plan.max_leaked,
            startup_timeout=STARTUP,
        )
        for one, outcomes in zip(self.model.children, first, strict=True):
            one.starts.extend(outcomes)
        self.runtime = Remembering(self.plan.seed, VirtualClock(wall))
        self.house = House(
            self.runtime,
            specs,
            self.ledger,
            check_every=1.0,
            max_leaked=self.plan.max_leaked,
            startup_timeout=STARTUP,
        )
        self.house.begin()
        self.house.stale_reports_expected = True
        self.model.begin()
        self.pass_time(0.0)

    def run(self) -> None:
        self.compare()
        self.go_through(self.plan.events)
        self.go_through([Event("shut down"), *self.plan.last])
        self.end()

    def go_through(self, events: Sequence[Event]) -> None:
        for event in events:
            self.log.append(f"{self.model.now:.6f} {event}")
            self.do(event)
            self.pass_time(0.0)
            self.compare()

    def end(self) -> None:
        """Stop both, and see that all is over and adds up."""
        self.log.append("the end")
        self.house.to_root(ShutDown())
        self.model.shut_down()
        self.pass_time(len(NAMES) * 3.0)
        assert self.model.stopped == 1
        self.compare()
        self.house.close()

    # -- one event

    def do(self, event: Event) -> None:
        number = event.who % len(self.model.children)
        one = self.model.children[number]
        match event.what:
            case "crash" | "poison" | "hang once" | "order":
                if not one.closed and one.state != "pending":
                    self.send(one, event)
            case "burst":
                for _ in range(int(event.how)):
                    self.ask(one, Event("strike", number, "kill"))
                    self.pass_time(0.0)
            case "next start":
                self.fates[number].starts.append(str(event.how))
                one.starts.append(str(event.how))
            case "next stop":
                self.fates[number].stops.append(str(event.how))
                one.stops.append(str(event.how))
            case "say":
                if one.responsive and not one.closed:
                    self.say(one, str(event.how))
            case "strike" | "restart" | "reset":
                self.ask(one, event)
            case "stale":
                self.stale(one)
            case "new process":
                self.new_process(float(event.how), fewer=event.who)
            case "shut down":
                self.house.to_root(ShutDown())
                self.model.shut_down()
            case _:
                self.of_all(event, one)

    def of_all(self, event: Event, one: Child) -> None:
        match event.what:
            case "pass":
                self.pass_time(float(event.how))
            case "until freed":
                wait = self.model.until_freed(one)
                self.pass_time(max(0.0, (wait or 0.0) + float(event.how)))
            case "until due":
                due = self.model.next_due()
                if due is not None:
                    self.pass_time(max(0.0, due - self.model.now + float(event.how)))
            case "sleep":
                clock_of(self.house).advance(float(event.how))
                self.model.now += float(event.how)
                self.pass_time(0.0)
            case "jump":
                clock_of(self.house).jump_wall(float(event.how))
                self.model.offset += float(event.how)
                self.of_all(Event("check"), one)  # or a void time-out might be the first to see it
            case "check":
                self.house.to_root(CheckHealth("gateway"))
                self.model.judge()
            case "thread ends":
                whose = self.model.thread_ends()
                if whose is not None:
                    self.runtime.lives[whose].done = True
            case "break ledger" | "mend ledger":
                self.model.ledger_works = event.what == "mend ledger"
                self.ledger.broken = None if self.model.ledger_works else StoreFull("no room")
            case _:
                raise AssertionError(event)

    def send(self, one: Child, event: Event) -> None:
        address = self.house.address(one.spec.name)
        if one.state == "stopped":  # it has ended for good, or until ops start it
            with pytest.raises(Stopped):
                address.tell(Kill(), lane=Lane.CONTROL)
            return
        match event.what:
            case "crash":
                address.tell(Call(Fuse(1, DEATHS[int(event.how)])))
                one.data.append(Mail("crash", 1))
            case "poison":
                address.tell(Call(Fuse(9, RuntimeError)))
                one.data.append(Mail("crash", 9))
            case "hang once":
                address.tell(Call(Fuse(1, None)))
                one.data.append(Mail("hang", 1))
            case _:
                order = Kill() if event.how == "kill" else Stop()
                address.tell(order, lane=Lane.CONTROL)
                one.control.append((str(event.how), None))

    def say(self, one: Child, what: str) -> None:
        def work(worker: Worker) -> None:
            if what == "ready":
                worker.ready()
            elif what == "progress":
                worker.progress()
            else:
                worker.park("as planned" if what == "park" else None)

        self.house.ask(one.spec.name, Call(work))
        if what == "ready":
            if one.number not in one.readies:
                self.model.became_ready(one)
        elif what == "progress" or one.parked != (what == "park"):
            one.parked = one.parked if what == "progress" else what == "park"
            one.progress_at = self.model.now

    def ask(self, one: Child, event: Event) -> None:
        """Have ops do it to both: both do it, or both refuse."""
        name = one.spec.name
        message: object
        if event.what == "strike":
            done = self.model.strike(one, str(event.how))
            message = StrikeChild(name, str(event.how))
        elif event.what == "restart":
            done, message = self.model.restart(one), RestartChild(name)
        else:
            done, message = self.model.reset_budget(one), ResetBudget(name)
        if done:
            self.house.ask_root(message)
        else:
            error = refused(lambda: self.house.ask_root(message))
            assert isinstance(error, Conflict | StoreFull), error

    def stale(self, one: Child) -> None:
        """Say what is true of a former life only: nothing may come of it."""
        name, former = one.spec.name, one.number - 1
        epoch = self.house.slot(name).epoch - 1
        for message in (
            ExitReport(name, former, "crashed", "once more"),
            ChildReady(name, former),
            StopTimedOut(name, former),
            StartChild(name, epoch),
            StartTimedOut(name, former),
        ):
            self.house.to_root(message)
        self.model.look()  # whatever is timed begins with a look at the clocks

    def pass_time(self, seconds: float) -> None:
        pass_time(self.house, seconds)
        self.model.let_pass(seconds)

    def new_process(self, gap: float, fewer: int) -> None:
        """Stop the process, and begin another one that has the ledger and nothing else.

        Its budgets may be smaller than before, by `fewer` restarts.
        """
        self.end()
        self.ledger.broken = None
        self.specs = [
            {**spec, "max_restarts": max(0, int(str(spec["max_restarts"])) - fewer)}
            for spec in self.specs
        ]
        self.build(self.model.wall + gap, [[] for _ in self.fates])

    # -- do they agree?

    def compare(self) -> None:
        house, model = self.house, self.model
        seen, meant = self.seen(), self.meant()
        differing = {
            name: {
                key: (seen[name][key], meant[name][key])
                for key in meant[name]
                if seen[name][key] != meant[name][key]
            }
            for name in meant
        }
        assert not any(differing.values()), f"(seen, meant): {differing}\n{self.story()}"
        assert house.ledger.kept == {
            k: v for k, v in self.kept.items() if v or k in house.ledger.kept
        }
        whole = (house.owner.ready, len(house.owner.refusals), house.owner.stopped)
        assert whole == (model.ready, model.refused, model.stopped), self.story()
        assert model.stopping or len(house.owner.pauses) == model.pauses, self.story()
        assert house.owner.causes == [], self.story()
        for one in model.children:
            if one.responsive and not one.closed:
                assert house.ask(one.spec.name, Note("there")) == one.number, self.story()

    def seen(self) -> Facts:
        house, now = self.house, self.model.now
        seen: Facts = {}
        assert house.clock.monotonic() == now, self.story()
        for slot in house.slots:
            name = slot.name
            seen[name] = {
                "state": slot.state.value,
                "number": slot.number,
                "live": slot.live,
                "left": slot.budget.left(now),
                "exits": [
                    (event.incarnation, event.facts["how"]) for event in house.of(Kind.EXITED, name)
                ],
                "ready": [event.incarnation for event in house.of(Kind.READY, name)],
                "delays": [
                    (event.facts["delay"], event.facts["nth"])
                    for event in house.of(Kind.RESTARTING, name)
                ],
                "escalations": [
                    (kinds_of(event.facts["failures"]), event.facts["retry_in"])
                    for event in house.of(Kind.ESCALATED, name)
                ],
                "charged": len(house.of(Kind.CHARGED, name)),
                "poisoned": len(house.of(Kind.POISONED, name)),
                "leaks": sum(not event.facts["ended"] for event in house.of(Kind.LEAKED, name)),
            }
        return seen

    def meant(self) -> Facts:
        now = self.model.now
        return {
            one.spec.name: {
                "state": one.state,
                "number": one.number,
                "live": one.live,
                "left": max(0, one.spec.max_restarts - len(one.counted(now))),
                "exits": one.exits,
                "ready": one.readies,
                "delays": one.delays,
                "escalations": one.escalations,
                "charged": one.charged,
                "poisoned": one.poisoned,
                "leaks": one.leaks,
            }
            for one in self.model.children
        }

    def story(self) -> str:
        return "\n".join([*self.log, "--", self.house.story()])


def kinds_of(failures: object) -> tuple[str, ...]:
    """Return how they ended, without the words of the error."""
    assert isinstance(failures, list)
    return tuple(str(text).split(":")[0] for text in failures)


LIVES = {"running": RUNNING, "running on": RUNNING, "starting": STARTING, "stopping": STOPPING}


@pytest.mark.parametrize("life", LIVES)
def test_a_house_does_what_the_model_of_the_rules_says(
    rounds: Callable[..., int], life: str
) -> None:
    """Ours: every rule of supervision at once, in any order, against a second opinion."""

    @seed(list(LIVES).index(life))  # two of them are drawn from the same plans
    @settings(STEADY, max_examples=rounds(ci=40 if life.startswith("running") else 100, long=4000))
    @given(LIVES[life])
    def check(plan: Plan) -> None:
        Pair(plan).run()

    check()
