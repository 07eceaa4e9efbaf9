"""The window at its boundaries: the budget against five plain lines, within and across processes.

Moments are drawn where it hurts: at the very end of an earlier charge's
period, one float before and after it, twice the same, on whole and half
seconds; and the budget goes through the ledger of a new process in between,
whose wall clock may have jumped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings
from loguru import logger
from runtime_kit import AT_ONCE, STEADY, House, MemoryLedger, child, clock_of, pass_time

from actors.clock import VirtualClock
from actors.events import Kind
from actors.simulated import SimulatedRuntime
from supervisors.budget import RestartBudget
from supervisors.slot import ChildState
from supervisors.spec import Backoff, Escalation

HOUR = 3600.0
WALL = 1_700_000_000.0
SLOW = Backoff(first=900.0, limit=900.0, jitter=0.0)
MICRO = 1e-6  # what a wall clock of today keeps of a moment, in seconds
INFINITY = math.inf


def reference(times: Sequence[float], limit: int, period: float) -> list[float]:
    """Return the failures that are granted a restart; five plain lines."""
    granted: list[float] = []
    for now in times:
        if sum(1 for at in granted if at <= now < at + period) < limit:
            granted.append(now)
    return granted


def fullest(granted: Sequence[float], period: float) -> int:
    """Return how many the fullest half-open window holds: it is one that begins at a charge."""
    return max((sum(1 for at in granted if t <= at < t + period) for t in granted), default=0)


@dataclass(frozen=True)
class Wait:
    """When the next failure comes: after the last one, or about the end of an earlier charge."""

    kind: str
    seconds: float = 0.0
    back: int = 0

    def until(self, now: float, past: Sequence[float], period: float) -> float:
        """Return the moment, never before `now`."""
        end = past[-1 - self.back % len(past)] + period if past else now
        match self.kind:
            case "after":
                then = now + self.seconds
            case "at the end":
                then = end
            case "just before":
                then = math.nextafter(end, -INFINITY)
            case "just after":
                then = math.nextafter(end, INFINITY)
            case _:
                then = now  # the same moment again
        return max(now, then)


waits = st.one_of(
    st.builds(Wait, st.just("after"), st.floats(0, 2 * HOUR)),
    st.builds(Wait, st.just("after"), st.integers(0, 7200).map(float)),
    st.builds(Wait, st.just("after"), st.integers(0, 14400).map(lambda n: n / 2)),
    st.builds(
        Wait,
        st.sampled_from(["at the end", "just before", "just after"]),
        back=st.integers(0, 5),
    ),
    st.builds(Wait, st.just("again")),
)


def moments(start: float, drawn: Sequence[Wait], period: float) -> list[float]:
    times: list[float] = []
    for wait in drawn:
        times.append(wait.until(times[-1] if times else start, times, period))
    return times


# -- in one process


@settings(STEADY, max_examples=300)
@given(
    st.one_of(st.floats(0, 1e9), st.integers(0, 10**6).map(float)),
    st.lists(waits, max_size=25),
    st.integers(0, 5),
    st.sampled_from([HOUR, 0.1, 1.0, 1 / 3, 7.7, 86_400.0]),
)
@example(0.1, [Wait("again"), *[Wait("at the end")] * 4], 1, HOUR)
@example(0.1, [*[Wait("again")] * 3, Wait("just before"), Wait("at the end")], 3, 0.1)
def test_it_grants_what_five_plain_lines_grant(
    start: float, drawn: list[Wait], limit: int, period: float
) -> None:
    """Ours: the sliding, half-open window is the reference's to the last bit."""
    budget, granted = RestartBudget(limit, period), []
    times = moments(start, drawn, period)
    for now in times:
        left = budget.left(now)
        if budget.allows(now):
            budget.charge(now)
            granted.append(now)
            assert budget.left(now) == left - 1
        else:
            assert left == 0
            frees = budget.frees_at(now)
            assert (frees is None) == (limit == 0)
            assert frees is None or frees > now
    assert granted == reference(times, limit, period)
    assert fullest(granted, period) <= limit


def test_the_reference_itself_on_the_example_of_corner_rule_1() -> None:
    """Ours: failures at 1, 3598, 3599, 3602 and 3603 s under 3 an hour; the fifth is refused."""
    failures = [1.0, 3598.0, 3599.0, 3602.0, 3603.0]
    assert reference(failures, 3, HOUR) == failures[:4]
    assert fullest(failures, HOUR) == 4  # what tumbling windows would have let through
    assert fullest(failures[:4], HOUR) == 3


# -- across processes, through the ledger


@dataclass
class Clock:
    """True time, and what two clocks of a process make of it."""

    true: float = 0.0
    offset: float = WALL  # wall = true + offset
    booted: float = 0.0
    leapt: float = 0.0  # how far the wall clock has been set forward, in all

    @property
    def wall(self) -> float:
        return self.true + self.offset

    @property
    def monotonic(self) -> float:
        return self.true - self.booted

    def jump(self, seconds: float) -> None:
        self.offset += seconds
        self.leapt += max(0.0, seconds)


@dataclass(frozen=True)
class Step:
    """A failure, a new process, or a jump of the wall clock, after a wait."""

    what: str
    wait: Wait
    jump: float = 0.0


jumps = st.sampled_from([-2 * HOUR, -HOUR, -1.0, -0.5, 0.5, 1.0, HOUR / 2, HOUR, 3 * HOUR])
fails = st.builds(Step, st.just("fails"), waits)
restarts = st.builds(Step, st.just("new process"), waits)
leaps = st.builds(Step, st.just("jumps"), waits, jumps)
GRID = 64  # moments in 64ths of a second, so that every sum is exact


def on_grid(wait: Wait) -> Wait:
    return Wait(wait.kind, round(wait.seconds * GRID) / GRID, wait.back)


def play(
    steps: Sequence[Step], limit: int, *, exact: bool, boot: float = 0.0
) -> tuple[list[float], list[float], list[float]]:
    """Return all failures, those granted, and the granted ones in stretched time.

    Stretched time is true time, longer by what the wall clock was set
    forward: nobody who reads a ledger can tell the two apart.
    """
    clock, ledger = Clock(booted=-boot), MemoryLedger()
    budget = RestartBudget(limit, HOUR)
    times: list[float] = []
    granted: list[float] = []
    stretched: list[float] = []
    for step in steps:
        wait = on_grid(step.wait) if exact else step.wait
        clock.true = wait.until(clock.true, times, HOUR)
        if exact:  # one grain beside the end, instead of one float
            clock.true = math.ceil(clock.true * GRID) / GRID
        if step.what == "jumps":
            clock.jump(step.jump)
        elif step.what == "new process":
            clock.booted = clock.true - boot
            budget = RestartBudget(limit, HOUR)
            budget.restore(ledger.charges("one"), wall=clock.wall, now=clock.monotonic)
        else:
            times.append(clock.true)
            if budget.allows(clock.monotonic):
                budget.charge(clock.monotonic)
                ledger.add("one", clock.wall)
                granted.append(clock.true)
                stretched.append(clock.true + clock.leapt)
    return times, granted, stretched


@settings(STEADY, max_examples=200)
@given(
    st.lists(st.one_of(fails, fails, restarts), max_size=30),
    st.integers(0, 4),
    st.sampled_from([0.0, 5.0, 1e6]),
)
def test_a_new_process_grants_what_the_old_one_would_have(
    steps: list[Step], limit: int, boot: float
) -> None:
    """Ours: with an honest clock it makes no difference how often the process is restarted."""
    times, granted, _ = play(steps, limit, exact=True, boot=boot)
    assert granted == reference(times, limit, HOUR)
    assert fullest(granted, HOUR) <= limit


@settings(STEADY, max_examples=200)
@given(st.lists(st.one_of(fails, fails, restarts), max_size=30), st.integers(1, 4))
def test_rounding_in_the_ledger_is_less_than_a_microsecond(steps: list[Step], limit: int) -> None:
    """Ours: at any moment a float can name; a wall time has fewer digits than a monotonic one."""
    _, granted, _ = play(steps, limit, exact=False)
    assert fullest(granted, HOUR - MICRO) <= limit


@settings(STEADY, max_examples=300)
@given(
    st.lists(st.one_of(fails, fails, restarts, leaps), max_size=40),
    st.integers(0, 4),
    st.sampled_from([0.0, 5.0, 1e6]),
)
def test_a_clock_that_jumps_grants_no_more_than_it_leaps_forward(
    steps: list[Step], limit: int, boot: float
) -> None:
    """Ours: set back, a clock grants nothing; set forward over a restart, that much time has
    passed.

    Within one process the wall clock is not asked at all.
    """
    _, granted, stretched = play(steps, limit, exact=True, boot=boot)
    assert fullest(stretched, HOUR) <= limit
    if all(step.jump <= 0 for step in steps):
        assert fullest(granted, HOUR) <= limit


@settings(STEADY, max_examples=100)
@given(st.lists(st.one_of(fails, restarts, leaps), max_size=30), st.integers(1, 4))
def test_an_hour_without_a_failure_gives_everything_back(steps: list[Step], limit: int) -> None:
    """Ours: whatever the ledger says, and in whatever future: it counts as now at the latest."""
    clock, ledger = Clock(), MemoryLedger()
    budget = RestartBudget(limit, HOUR)
    for step in steps:
        clock.true += on_grid(step.wait).seconds
        if step.what == "jumps":
            clock.jump(step.jump)
        elif step.what == "fails" and budget.allows(clock.monotonic):
            budget.charge(clock.monotonic)
            ledger.add("one", clock.wall)
        elif step.what == "new process":
            clock.booted = clock.true
            budget = RestartBudget(limit, HOUR)
            budget.restore(ledger.charges("one"), wall=clock.wall, now=clock.monotonic)
    assert budget.left(clock.monotonic + HOUR) == limit


@settings(STEADY, max_examples=200)
@given(st.lists(st.one_of(fails, restarts, leaps), max_size=30), st.integers(1, 4))
def test_the_moment_that_is_promised_is_the_first_that_allows(
    steps: list[Step], limit: int
) -> None:
    """Ours: `frees_at` allows, the float before it does not; also of charges from the ledger."""
    clock, ledger = Clock(), MemoryLedger()
    budget = RestartBudget(limit, HOUR)
    for step in steps:
        clock.true = step.wait.until(clock.true, [], HOUR)
        now = clock.monotonic
        frees = budget.frees_at(now)
        assert frees is not None
        assert RestartBudget(limit, HOUR, list(budget.charges)).allows(frees)
        if frees > now:
            before = math.nextafter(frees, -INFINITY)
            assert not RestartBudget(limit, HOUR, list(budget.charges)).allows(before)
        if step.what == "jumps":
            clock.jump(step.jump)
        elif step.what == "fails" and budget.allows(now):
            budget.charge(now)
            ledger.add("one", clock.wall)
        elif step.what == "new process":
            clock.booted = clock.true
            budget = RestartBudget(max(1, limit - 1), HOUR)  # also one that was made smaller
            budget.restore(ledger.charges("one"), wall=clock.wall, now=clock.monotonic)
            limit = budget.max_restarts


# -- the root itself, over processes


@pytest.fixture
def quiet() -> Iterator[None]:
    """Deaths are meant here, and none of them worth a traceback."""
    logger.disable("actors")
    yield
    logger.enable("actors")


@pytest.mark.parametrize("escalation", Escalation)
def test_no_hour_holds_more_than_three_automatic_restarts(
    rounds: Callable[..., int], quiet: None, escalation: Escalation
) -> None:
    """Ours: kills at the boundaries, processes that come and go: never a fourth in an hour.

    What counts is the moment at which a child is started again, however long after
    its failure that is: at once, after a backoff, or after an escalation.
    """

    @settings(STEADY, max_examples=rounds(ci=40, long=2000))
    @given(
        st.lists(st.one_of(fails, fails, fails, restarts), max_size=16),
        st.sampled_from([AT_ONCE, SLOW]),
    )
    @example([*[Step("fails", Wait("again"))] * 4, Step("fails", Wait("at the end"))], AT_ONCE)
    @example(  # started again at 0, 900 and 1800 s, and not at 3600 and 4300 s as well
        [Step("fails", Wait("after", wait)) for wait in (0.0, 0.0, 900.0, 2700.0, 700.0)], SLOW
    )
    def check(steps: list[Step], backoff: Backoff) -> None:
        ledger = MemoryLedger()
        past: list[float] = []
        true = 0.0

        def begin() -> House:
            spec, _ = child("one", escalation=escalation, backoff=backoff)
            runtime = SimulatedRuntime(1, VirtualClock(WALL + true))
            house = House(runtime, [spec], ledger, check_every=HOUR, pause_after=10 * HOUR)
            return house.open()

        house = begin()
        for step in steps:
            then = on_grid(step.wait).until(true, [*past, *restarted(house)], HOUR)
            then = math.ceil(then * GRID) / GRID
            pass_time(house, then - true)
            true = then
            if step.what == "new process":
                past.extend(restarted(house))
                house.close()
                house = begin()
            elif house.slot("one").live:
                house.kill("one")
            pass_time(house, 0.0)
        past.extend(restarted(house))
        house.close()
        assert fullest(past, HOUR) <= 3, past
        kept = ledger.kept.get("one", [])
        assert all(WALL + at in kept for at in past if WALL + at > true + WALL - HOUR)

    check()


def restarted(house: House) -> list[float]:
    """Return when this process started the child again, in true time; its first start is none."""
    return [event.at - WALL for event in house.of(Kind.STARTED) if event.incarnation != 1]


def test_a_restart_that_came_late_counts_from_when_it_came(simulate: Callable[..., House]) -> None:
    """Ours: the host slept through a backoff, and longer than a period."""
    spec, _ = child("one", backoff=Backoff(first=2.5, jitter=0.0), escalation="stay_down")
    house = simulate(spec).open()
    house.kill("one")
    house.ready("one", 2)
    house.kill("one")
    pass_time(house, 1.0)
    clock_of(house).advance(2 * HOUR)  # nothing runs
    house.ready("one", 3)
    for number in (4, 5):
        house.kill("one")
        house.ready("one", number)
    house.kill("one")  # the restart after the sleep, and two more: that is the hour's
    pass_time(house, 60.0)
    assert house.slot("one").state is ChildState.ESCALATED
    assert fullest(restarted(house), HOUR) == 3
