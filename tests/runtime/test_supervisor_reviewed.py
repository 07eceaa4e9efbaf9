"""Weak spots of supervision that a review found: lost reports, late restarts, slow ends."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from runtime_kit import (
    AT_ONCE,
    Call,
    House,
    MemoryLedger,
    Note,
    Script,
    Worker,
    child,
    clock_of,
    pass_time,
    raising,
    refused,
    virtual,
)

from actors.clock import VirtualClock
from actors.events import Kind
from actors.life import RestartChild, ShutDown, Stop
from actors.log import words_of
from actors.mailbox import Lane
from actors.simulated import SimulatedRuntime
from defence.errors import Stopped
from supervisors.slot import ChildState
from supervisors.spec import Backoff

Build = Callable[..., House]


class Wordless(Exception):  # noqa: N818 - it has no words
    """Raises whatever is asked of it; so the formatting of a trace runs into itself."""

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)


def test_an_exception_without_words_has_at_least_a_name() -> None:
    assert words_of(Wordless()) == "Wordless"
    assert words_of(ValueError("plain")) == "ValueError: plain"


def test_a_death_that_cannot_be_put_into_words_is_reported(build: Build) -> None:
    spec, script = child("one", backoff=AT_ONCE)
    house = build(spec).open()
    house.post.send("one", Call(raising(Wordless())))
    house.until(lambda: len(script.made) >= 2)
    assert house.exits("one")[0] == "crashed"
    assert house.of(Kind.EXITED, "one")[0].facts["error"] == "Wordless"


def test_a_factory_whose_error_has_no_words_is_a_failed_start(build: Build) -> None:
    spec, script = child("one", backoff=AT_ONCE)
    house = build(spec).open()
    script.born = die_wordless_at_the_second
    house.kill("one")
    house.ready("one", 3)
    assert house.exits("one")[1] == "failed to start"


def die_wordless_at_the_second(context: object) -> None:
    if getattr(context, "incarnation", 0) == 2:
        raise Wordless


def test_a_report_that_is_lost_is_made_up_for(build: Build) -> None:
    """Without memory even the report may fail: two looks later the end is taken as it is."""
    spec, script = child("one", backoff=AT_ONCE)
    house = build(spec).open()
    first = house.slot("one").incarnation
    assert first is not None
    first._report = lambda _report: None
    house.kill("one")
    house.until(lambda: house.slot("one").number == 2, 10.0)
    assert house.of(Kind.EXITED, "one")[0].facts["error"] == "its report was lost"
    assert house.ask("one", Note("again")) == 2
    assert len(script.made) == 2


def test_a_lost_report_does_not_hold_up_the_stop(simulate: Build) -> None:
    first, stopped = child("first")
    second, _ = child("second", stop_timeout=5.0)
    house = simulate(first, second).open()
    ended: list[str] = []
    stopped.on_stop = lambda _: ended.append("first")
    incarnation = house.slot("second").incarnation
    assert incarnation is not None
    incarnation._report = lambda _report: None
    began = house.clock.monotonic()
    house.stop()
    assert ended == ["first"]
    assert house.clock.monotonic() - began < 5.0


def test_a_restart_that_came_late_counts_in_the_next_process_too() -> None:
    """The machine sleeps through a backoff, and the process is restarted within the hour."""
    clock, ledger, starts = VirtualClock(), MemoryLedger(), list[float]()

    def process() -> House:
        script = Script(born=lambda context: context.incarnation > 1 and starts.append(now()))
        spec, _ = child(
            "one", script, max_restarts=3, period=3600.0, backoff=Backoff(first=1.0, jitter=0.0)
        )
        return House(SimulatedRuntime(1, clock), [spec], ledger, check_every=1.0).open()

    def now() -> float:
        return clock.monotonic()

    house = process()
    house.kill("one")
    pass_time(house, 0.1)
    house.kill("one")
    pass_time(house, 0.1)
    clock.advance(1000.0)  # nobody runs
    pass_time(house, 5.0)
    house.kill("one")
    pass_time(house, 10.0)
    house.close()
    clock.advance(3602.0 - now())
    house = process()
    for _ in range(4):
        house.kill("one")
        pass_time(house, 10.0)
    house.close()
    assert len(starts) >= 4
    for at in starts:
        assert len([one for one in starts if at <= one < at + 3600.0]) <= 3, starts


def test_a_stop_goes_on_when_a_release_does_not(simulate: Build) -> None:
    first, stopped = child("first")
    second, script = child("second", hang_after=2.0, release=lambda: None)
    house = simulate(first, second).open()
    ended: list[str] = []
    stopped.on_stop = lambda _: ended.append("first")
    virtual(house).aside = lambda _work, _then: None  # it is begun, and never comes back
    house.post.send("second", Call(lambda worker: worker.context.runtime.hang()))
    pass_time(house, 4.0)
    assert house.slot("second").ending is not None
    began = house.clock.monotonic()
    house.stop()
    assert ended == ["first"]
    assert house.clock.monotonic() - began < 10.0
    assert script.made


def test_a_long_stop_is_not_taken_for_a_dead_root(simulate: Build) -> None:
    """What the watchdog looks at goes on while the children take their time."""
    spec, script = child("one", stop_timeout=60.0, hang_after=100.0)
    house = simulate(spec).open()
    virtual(house).may_hang = ("one",)
    script.on_stop = lambda worker: worker.context.runtime.hang(40.0)
    house.to_root(ShutDown("ops"))
    for _ in range(3):
        pass_time(house, 10.0)
        assert house.clock.monotonic() - house.root.context.vitals.progress_at <= 1.0
    pass_time(house, 15.0)
    assert house.owner.stopped == 1


def test_who_has_ended_for_good_takes_nothing_more_until_ops_start_it(build: Build) -> None:
    spec, _ = child("one", restart="transient")
    house = build(spec).open()
    house.post.send("one", Stop(), lane=Lane.CONTROL)
    house.until(lambda: house.slot("one").state is ChildState.STOPPED)
    assert isinstance(refused(lambda: house.ask("one", Note("late"))), Stopped)
    before = house.slot("one").mailbox.counts().accepted
    for _ in range(100):
        house.post.send("one", Note("late"))
    assert house.slot("one").mailbox.counts().accepted == before
    house.ask_root(RestartChild("one"))
    house.ready("one", 2)
    assert house.ask("one", Note("back")) == 2


def test_what_waited_for_one_that_ended_is_told_so(simulate: Build) -> None:
    spec, _ = child("one", restart="temporary")
    house = simulate(spec).open()
    house.kill("one")
    answer = house.later("one", Note("waits"))
    assert isinstance(refused(lambda: house.wait(answer)), Stopped)
    assert [e.facts["why"] for e in house.of(Kind.DEAD_LETTER, "one")] == ["ended"]


def test_a_stop_closes_for_good_what_had_only_ended(simulate: Build) -> None:
    spec, _ = child("one", restart="temporary")
    house = simulate(spec).open()
    house.kill("one")
    pass_time(house, 1.0)
    house.stop()
    box = house.slot("one").mailbox
    box.open_for(9)
    with pytest.raises(Stopped):
        box.put(_letter())


def _letter() -> object:
    from actors.mailbox import Letter

    return Letter(Note("x"), id="x")


def test_one_that_only_waits_leaves_no_thread_behind(simulate: Build) -> None:
    """It sees the fence by itself: nobody is told of a leak that is none."""
    spec, script = child("one", start_timeout=2.0, max_restarts=1, backoff=AT_ONCE)
    house = simulate(spec).open()
    script.ready = False
    house.kill("one")
    pass_time(house, 10.0)
    assert "not ready in time" in house.exits("one")
    assert not house.of(Kind.LEAKED)


def never(worker: Worker) -> None:
    worker.context.runtime.hang()


def test_one_that_hangs_does(simulate: Build) -> None:
    spec, script = child("one", start_timeout=2.0, backoff=AT_ONCE)
    house = simulate(spec).open()
    script.on_start = never
    house.kill("one")
    pass_time(house, 3.0)
    assert [event.facts["threads"] for event in house.of(Kind.LEAKED)][:1] == [1]
    script.on_start = None
    assert clock_of(house).monotonic() > 2.0


def test_a_charge_is_dated_at_the_restart_even_if_the_ledger_takes_its_time(
    simulate: Build,
) -> None:
    """A slow disk: the restart comes seconds after the failure, and counts from then."""
    ledger = SlowLedger()
    spec, _ = child("one", max_restarts=1, period=100.0, backoff=AT_ONCE)
    house = simulate(spec, ledger=ledger, pause_after=1e6).open()
    ledger.write = lambda: clock_of(house).advance(5.0)
    house.kill("one")
    house.ready("one", 2)
    restarted = house.clock.monotonic()
    assert house.slot("one").budget.charges == [restarted]
    assert len(ledger.charges("one")) == 2  # the plan, and what came of it
    pass_time(house, 97.0)
    house.kill("one")
    pass_time(house, 1.0)
    assert house.slot("one").state is ChildState.ESCALATED


class SlowLedger(MemoryLedger):
    """A ledger whose disk takes its time."""

    def __init__(self) -> None:
        super().__init__()
        self.write: Callable[[], object] = lambda: None

    def add(self, child: str, at: float) -> None:
        self.write()
        super().add(child, at)
