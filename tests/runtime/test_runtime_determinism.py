"""The simulated runtime: a seed is a story; and the small tools it stands on."""

from __future__ import annotations

from collections.abc import Callable

import hypothesis.strategies as st
import pykka
import pytest
from hypothesis import given, settings
from runtime_kit import (
    STEADY,
    Call,
    House,
    Note,
    Script,
    Sting,
    Worker,
    child,
    hang_in,
    pass_time,
    raising,
    refused,
    virtual,
)

from actors.clock import SystemClock, VirtualClock
from actors.events import Event, EventStream, Kind
from actors.points import Killed, Points, Skipped
from actors.simulated import SimulatedRuntime, is_set
from actors.threads import ThreadRuntime
from supervisors.spec import Backoff

Build = Callable[..., House]


def story(seed: int) -> tuple[list[str], list[str], House]:
    """Run an eventful minute: chatter, crashes, kills, a hang, backoff with jitter."""
    backoff = Backoff(first=0.5)
    one, first = child("one", Script(batch=5), backoff=backoff, max_restarts=9)
    two, second = child("two", hang_after=2.0, backoff=backoff, max_restarts=9)
    three, third = child("three", silence_after=9.0, backoff=backoff, max_restarts=9)
    house = House(SimulatedRuntime(seed), [one, two, three], check_every=1.0)
    house.open()
    first.stings["a"], second.stings["b"] = 3, 1

    def chatter(worker: Worker) -> None:
        for other in ("one", "two", "three"):
            worker.request(other, Note("hello"))
        worker.later(1.5, Sting("b"))

    for name in ("one", "two", "three"):
        house.post.send(name, Call(chatter))
        for n in range(4):
            house.address(name).tell(Sting("a") if n == 2 else Note(f"{n}"))
    pass_time(house, 5.0)
    house.kill("one")
    house.post.send("two", Call(hang_in(house.slot("two").number)))
    pass_time(house, 55.0)
    house.close()
    assert third.answers
    return virtual(house).trace, [f"{e.at:.6f} {e.line()}" for e in house.events.since()], house


@given(st.integers(0, 2**32))
@settings(STEADY, max_examples=10)
def test_the_same_seed_is_the_same_story_byte_for_byte(seed: int) -> None:
    trace, lines, _ = story(seed)
    again, lines_again, _ = story(seed)
    assert "\n".join(trace).encode() == "\n".join(again).encode()
    assert "\n".join(lines).encode() == "\n".join(lines_again).encode()
    assert len(lines) > 30


def test_different_seeds_are_different_stories() -> None:
    traces = ["\n".join(story(seed)[0]) for seed in range(6)]
    assert len(set(traces)) == 6


def test_the_story_has_something_to_tell() -> None:
    _, lines, house = story(3)
    kinds = {event.kind for event in house.events.since()}
    assert kinds >= {Kind.CHARGED, Kind.FENCED, Kind.RESTARTING, Kind.EXITED}
    ends = {event.facts["how"] for event in house.of(Kind.EXITED)}
    assert ends >= {"killed", "crashed", "hung", "silent", "stopped"}
    assert not any(" at 0x" in line for line in lines)  # an address would differ every time


def test_timers_come_in_order_and_at_their_time() -> None:
    runtime = SimulatedRuntime(1)
    rung: list[tuple[str, float]] = []

    def ring(name: str) -> Callable[[], None]:
        return lambda: rung.append((name, runtime.clock.monotonic()))

    runtime.call_later(3.0, ring("third"))
    runtime.call_later(1.0, ring("first"))
    runtime.call_later(1.0, ring("second"))  # equal: in the order in which they were set
    runtime.call_later(2.0, ring("never")).cancel()
    runtime.call_later(-5.0, ring("now"))
    runtime.run_for(2.5)
    assert rung == [("now", 0.0), ("first", 1.0), ("second", 1.0)]
    assert runtime.clock.monotonic() == 2.5
    runtime.run_for(0.5)
    assert rung[-1] == ("third", 3.0)


def test_thread_timers_come_in_order_and_survive_a_bad_one() -> None:
    runtime = ThreadRuntime()
    rung: list[str] = []
    runtime.call_later(0.04, lambda: rung.append("last"))
    runtime.call_later(0.02, lambda: rung.append("second"))
    runtime.call_later(0.01, raising_timer)
    runtime.call_later(0.0, lambda: rung.append("first"))
    runtime.call_later(0.03, lambda: rung.append("never")).cancel()
    assert runtime.wait_until(lambda: "last" in rung, 5.0)
    runtime.close()
    assert rung == ["first", "second", "last"]
    assert runtime.alive() == []
    runtime.close()


def raising_timer() -> None:
    raise RuntimeError("a bad timer")


def test_a_virtual_time_out_takes_exactly_its_time() -> None:
    runtime = SimulatedRuntime(1)
    future = runtime.new_future()
    assert isinstance(refused(lambda: runtime.wait(future, 7.0)), pykka.Timeout)
    assert runtime.clock.monotonic() == 7.0
    runtime.call_later(2.0, lambda: future.set("answer"))
    assert runtime.wait(future, 100.0) == "answer"
    assert runtime.clock.monotonic() == 9.0
    assert not runtime.wait_until(lambda: False, 1.0)
    assert runtime.clock.monotonic() == 10.0


def test_a_hang_for_a_time_passes_and_one_for_ever_does_not(simulate: Build) -> None:
    spec, _ = child("one")
    house = simulate(spec).open()
    before = house.clock.monotonic()
    house.ask("one", Call(lambda worker: worker.context.runtime.hang(3.0)))
    assert house.clock.monotonic() == before + 3.0
    future = house.later("one", Call(lambda worker: worker.context.runtime.hang()))
    pass_time(house, 10.0)
    assert not is_set(future)


def test_is_set_knows_values_and_errors() -> None:
    empty, value, error = (pykka.ThreadingFuture[int]() for _ in range(3))
    value.set(1)
    error.set_exception((ValueError, ValueError("x"), None))
    assert [is_set(one) for one in (empty, value, error)] == [False, True, True]


def test_clocks() -> None:
    virtual_clock = VirtualClock(wall=100.0)
    virtual_clock.advance(5.0)
    virtual_clock.jump_wall(-50.0)
    assert (virtual_clock.wall(), virtual_clock.monotonic()) == (55.0, 5.0)
    assert isinstance(refused(lambda: virtual_clock.advance(-1.0)), ValueError)
    real = SystemClock()
    assert real.monotonic() <= real.monotonic()
    assert real.wall() > 1.6e9


class Counter:
    def __init__(self) -> None:
        self.seen: list[int] = []

    def apply(self, event: Event) -> None:
        self.seen.append(event.seq)


def test_the_stream_numbers_folds_keeps_and_hands_on() -> None:
    stream = EventStream(VirtualClock(), keep=3)
    fold, heard = Counter(), []
    stream.add_fold(fold)
    stream.listen(raising(RuntimeError("a bad listener")))
    forget = stream.listen(lambda event: heard.append(event.seq))
    for n in range(4):
        stream.publish(Kind.READY, "one", n, child="a fact may have any name")
    forget()
    stream.publish(Kind.EXITED, "one", 4)
    assert fold.seen == [1, 2, 3, 4, 5]
    assert heard == [1, 2, 3, 4]
    assert [event.seq for event in stream.since()] == [3, 4, 5]
    assert [event.seq for event in stream.since(4)] == [5]
    assert stream.newest == 5


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (Event(1, 0.0, Kind.STOPPED), "guard stopped"),
        (Event(2, 0.0, Kind.READY, "one", 3), "one#3 ready"),
        (Event(3, 0.0, Kind.EXITED, "one", 3, {"how": "hung"}), "one#3 exited how=hung"),
    ],
)
def test_an_event_is_one_line(event: Event, line: str) -> None:
    assert event.line() == line


def test_points_strike_so_many_times_and_only_there() -> None:
    points = Points()
    points.kill_at("here", times=2)
    points.reach("elsewhere")
    for _ in range(2):
        assert isinstance(refused(lambda: points.reach("here")), Killed)
    points.reach("here")
    assert points.reached == {"here": 2}
    points.arm("there", raising_skipped)
    assert not points.passes("there")
    assert points.passes("there")
    points.kill_at("here")
    points.disarm("here")
    points.reach("here")


def raising_skipped() -> None:
    raise Skipped
