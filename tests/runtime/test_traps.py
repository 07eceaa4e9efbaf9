"""The traps of pykka, row by row: what DTMS does instead. The other rows: test_traps_too."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass

import pykka
import pytest
from runtime_kit import (
    PATIENCE,
    Call,
    House,
    Note,
    Script,
    Worker,
    child,
    die_once,
    dtms_threads,
    hang_in,
    raising,
    refused,
)

from actors import messages
from actors.events import Kind
from actors.life import RestartChild, ShutDown
from actors.mailbox import Lane
from defence.errors import Fault, Stopped

Build = Callable[..., House]


class HostActor(pykka.ThreadingActor):
    """An actor of the host, as its author would write it."""

    use_daemon_thread = True

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[object] = []

    def on_receive(self, message: object) -> object:
        self.heard.append(message)
        return list(self.heard)


@pytest.fixture
def host() -> Iterator[pykka.ActorRef[HostActor]]:
    ref = HostActor.start()
    yield ref
    if ref.is_alive():
        ref.stop(timeout=PATIENCE)


@pytest.mark.parametrize("where", ["message", "ask", "on_start", "on_stop", "factory"])
@pytest.mark.parametrize("death", [SystemExit, KeyboardInterrupt])
def test_row_01_the_hosts_own_actors_survive_every_death(
    thread: Build, death: type[BaseException], where: str
) -> None:
    host = HostActor.start()
    spec, script = child("one")
    house = thread(spec).open()
    if where == "message":
        house.post.send("one", Call(die_once(death(1))))
    elif where == "ask":
        house.ask("one", Call(die_once(death(1))))
    elif where == "on_stop":
        script.on_stop = raising(death(1))
        house.ask_root(RestartChild("one"))
    else:
        script.on_start = die_once(death(1)) if where == "on_start" else None
        script.born = die_once(death(1)) if where == "factory" else None
        house.kill("one")
    house.ready("one", 3 if where in ("on_start", "factory") else 2)
    assert host.is_alive()
    assert host.ask("are you there?", timeout=PATIENCE) == ["are you there?"]
    host.stop(timeout=PATIENCE)


def test_row_06_tells_and_asks_that_wait_outlive_a_crash(build: Build) -> None:
    spec, script = child("one")
    house = build(spec).open()
    house.address("one").tell(Call(die_once(RuntimeError("crash"))))
    house.address("one").tell(Note("told"))
    assert house.ask("one", Note("asked")) == 2
    assert script.book == ["told", "asked"]


def test_row_08_an_address_and_even_an_old_ref_reach_the_current_incarnation(build: Build) -> None:
    spec, script = child("one")
    house = build(spec).open()
    address, ref = house.address("one"), script.worker.actor_ref
    house.kill("one")
    house.ready("one", 2)
    assert address.ask(Note("x"), timeout=PATIENCE) == 2
    assert house.wait(ref.ask(Note("x"), block=False)) == 2


def test_row_09_stopping_behind_a_full_mailbox_does_not_block(build: Build) -> None:
    spec, _ = child("one", data_limit=1, stop_timeout=0.1)
    house = build(spec).open()
    house.address("one").tell(Call(hang_in(1)))
    house.until(lambda: house.slot("one").mailbox.counts().in_hand == 1)
    owed = house.later("one", Note("fills it"))
    house.close()
    assert "stopped before" in str(refused(lambda: owed.get(timeout=0)))


def test_row_10_every_thread_is_a_daemon_and_gone_after_the_close(thread: Build) -> None:
    before = set(threading.enumerate())
    one, _ = child("one", stop_timeout=0.05)
    two, _ = child("two")
    house = thread(one, two).open()
    house.address("one").tell(Call(lambda worker: worker.context.runtime.hang()))
    house.kill("two")
    house.ready("two", 2)
    ours = [one for one in threading.enumerate() if one not in before]
    assert {one.name for one in ours} >= {
        "dtms-timers",
        "dtms-root-1",
        "dtms-one-1",
        "dtms-two-2",
    }
    assert all(one.daemon for one in ours)
    house.close()
    assert [one for one in threading.enumerate() if one not in before] == []
    assert dtms_threads() == []


def test_row_13_stops_from_many_threads_are_all_done(thread: Build) -> None:
    one, script = child("one")
    house = thread(one).open()
    stops: list[int] = []
    script.on_stop = lambda worker: stops.append(worker.context.incarnation)
    futures = [house.later("one", Note(f"{n}")) for n in range(5)]
    stoppers = [
        threading.Thread(target=house.to_root, args=(ShutDown(f"host {n}"),)) for n in range(5)
    ]
    for stopper in stoppers:
        stopper.start()
    for stopper in stoppers:
        stopper.join(PATIENCE)
    house.close()
    assert stops == [1]
    assert house.owner.stopped == 1
    for future in futures:
        error_or_value = _outcome(future)
        # told that it stopped, whether the letter was refused or was waiting already
        assert error_or_value == 1 or isinstance(error_or_value, Stopped)


def _outcome(future: pykka.Future[object]) -> object:
    try:
        return future.get(timeout=0)
    except Exception as error:  # noqa: BLE001 - the test looks at it
        return error


def test_row_14_a_stop_does_not_wait_behind_fifty_messages(simulate: Build) -> None:
    spec, script = child("one")
    house = simulate(spec).open()

    def slow(worker: Worker) -> None:
        worker.context.runtime.hang(1.0)
        script.book.append("slow")

    for _ in range(50):
        house.address("one").tell(Call(slow))
    house.close()
    assert len(script.book) < 10
    counts = house.slot("one").mailbox.counts()
    assert counts.dead == 50 - len(script.book)


def test_row_15_what_comes_during_the_stop_is_counted(build: Build) -> None:
    spec, script = child("one")
    house = build(spec).open()
    script.on_stop = lambda worker: worker.tell("one", Note("from on_stop"))  # not closed yet
    house.close()
    dead = [event for event in house.of(Kind.DEAD_LETTER) if event.facts["message"] == "Note"]
    assert [event.facts["why"] for event in dead] == ["stopped"]
    assert house.slot("one").mailbox.counts().dead == 1


def test_row_20_system_exit_in_on_stop_runs_it_once_and_answers_everybody(build: Build) -> None:
    stops: list[int] = []

    def stop(worker: Worker) -> None:
        stops.append(worker.context.incarnation)
        raise SystemExit(1)

    spec, _ = child("one", Script(on_stop=stop))
    house = build(spec).open()
    owed = [house.later("one", Note("x")) for _ in range(3)]
    house.close()
    assert stops == [1]
    assert all(str(_outcome(one)) == "1" or "stopped" in str(_outcome(one)) for one in owed)


def test_row_21_pykkas_on_failure_hook_is_never_called(build: Build) -> None:
    spec, script = child("one")
    house = build(spec).open()
    called: list[object] = []
    setattr(script.worker, "on_failure", lambda *error: called.append(error))  # noqa: B010
    house.ask("one", Call(die_once(RuntimeError("x"))))
    assert called == []


def test_row_22_and_31_the_hosts_broadcast_and_stop_all_do_not_reach_us(
    thread: Build, host: pykka.ActorRef[HostActor]
) -> None:
    spec, script = child("one")
    house = thread(spec).open()
    assert pykka.ActorRegistry.get_all() == [host]
    pykka.ActorRegistry.broadcast("to everybody")
    assert host.ask("and you", timeout=PATIENCE) == ["to everybody", "and you"]
    assert pykka.ActorRegistry.stop_all(timeout=PATIENCE) == [True]
    assert not host.is_alive()
    assert house.ask("one", Note("untouched")) == 1
    assert script.book == ["untouched"]
    assert house.slot("one").mailbox.counts().accepted == 1
    assert not house.of(Kind.EXITED)


def test_row_23_a_second_waiter_times_out_by_its_own_time_out(thread: Build) -> None:
    spec, _ = child("one")
    house = thread(spec).open()
    gate = threading.Event()
    future = house.later("one", Call(lambda _: gate.wait(PATIENCE)))
    first = threading.Thread(target=lambda: future.get(timeout=PATIENCE))
    first.start()
    before = time.monotonic()
    assert isinstance(refused(lambda: future.get(timeout=0.05)), pykka.Timeout)
    assert time.monotonic() - before < 1.0  # pykka's converted futures took as long as the first
    gate.set()
    first.join(PATIENCE)
    assert not first.is_alive()


def test_row_27_every_message_is_frozen() -> None:
    kinds = [one for one in vars(messages).values() if isinstance(one, type) and is_dataclass(one)]
    assert len(kinds) > 25
    for kind in kinds:
        params = kind.__dataclass_params__  # type: ignore[attr-defined]
        assert params.frozen, kind
        mutable = [
            field.name
            for field in fields(kind)
            if str(field.type).startswith(("list", "dict", "set"))
        ]
        assert mutable == [], kind


def test_row_28_an_asyncio_loop_asks_through_an_executor_and_goes_on(thread: Build) -> None:
    spec, _ = child("one")
    house = thread(spec).open()
    gate = threading.Event()

    async def host_code() -> tuple[object, int]:
        loop, beats = asyncio.get_running_loop(), 0
        answer = loop.run_in_executor(None, house.ask, "one", Call(lambda _: gate.wait(PATIENCE)))
        while not answer.done():
            beats += 1
            if beats == 20:
                gate.set()
            await asyncio.sleep(0)
        return await answer, beats

    answer, beats = asyncio.run(host_code())
    assert answer is True
    assert beats >= 20


def test_row_29_work_is_done_on_the_actors_own_thread(thread: Build) -> None:
    names: list[str] = []
    script = Script()
    script.on_start = script.on_stop = lambda _: names.append(threading.current_thread().name)
    spec, _ = child("one", script)
    house = thread(spec).open()
    house.ask("one", Call(lambda _: names.append(threading.current_thread().name)))
    house.close()
    assert names == ["dtms-one-1"] * 3


# nothing above helps if an actor can be started around its supervisor
def test_no_actor_is_started_around_its_supervisor() -> None:
    assert isinstance(refused(Worker.start), Fault)
    assert Lane.CONTROL < Lane.REPLY < Lane.DATA
