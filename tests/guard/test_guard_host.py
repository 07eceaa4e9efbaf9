"""The host is never harmed: everything of its own is as before, after whatever befell the guard."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pykka
import pytest
from guard_kit import GuardKit, kinds
from host_kit import PATIENCE, Host, children, ours
from loguru import logger

from actors.events import Kind
from actors.life import CheckHealth, RestartChild
from actors.mailbox import Lane
from actors.names import ADMIN, ALERT, CONNECTOR, MONITOR, RECOVERY, REGISTRY, ROOT, START_ORDER
from actors.points import Points
from defence.errors import AlreadyGuarded, DtmsError, FolderRefused, StartRefused, TerminalRefused
from gateway import serve
from gateway.server import Gateway
from supervisors import Guard, Settings, Trade
from terminals.sim.faults import fault_from

DEATHS: tuple[type[BaseException], ...] = (
    RuntimeError,
    SystemExit,
    KeyboardInterrupt,
    GeneratorExit,
)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    """A host, set up before the guard is made."""
    home = tmp_path / "home"
    home.mkdir()
    with Host(home) as made:
        yield made


class Unknown:
    """A message that nobody knows: it makes a child take a step."""


def poke(guard: Guard, child: str) -> None:
    """Have a child handle something."""
    guard._house._post.send(child, Unknown(), lane=Lane.REPLY)


def raising(kind: type[BaseException]) -> Callable[[], NoReturn]:
    def work() -> NoReturn:
        raise kind(3)

    return work


def lives(guard: Guard, child: str) -> int:
    return len(kinds(guard, Kind.READY, child=child))


def back(guard: Guard, child: str, ends: int) -> bool:
    """Whether a child has died so often, and is ready again."""
    state = guard.status()["children"][child]["state"]  # type: ignore[index]
    return len(kinds(guard, Kind.EXITED, child=child)) == ends and state == "ready"


def all_well(kit: GuardKit, guard: Guard) -> None:
    kit.until(lambda: guard.health().ready, 20.0)


# -- start and stop


def test_start_and_stop_and_stop_again(kit: GuardKit, host: Host) -> None:
    guard = kit.make()
    host.untouched("made, not started")
    assert ours() == []
    guard.start()
    host.untouched("started")
    assert ours() != []
    assert all(one.daemon for one in threading.enumerate() if one.name.startswith("dtms-"))
    strangers = set(threading.enumerate()) - host.threads_before
    assert all(one.name.startswith("dtms-") for one in strangers), strangers
    guard.stop()
    host.untouched("stopped")
    host.gone("stopped")
    guard.stop()
    host.untouched("stopped again")
    host.gone("stopped again")


def test_two_guards_one_after_the_other_and_two_at_once(
    kit: GuardKit, host: Host, tmp_path: Path
) -> None:
    for _ in range(2):
        guard = kit.start()
        host.untouched("started")
        guard.stop()
        host.gone("stopped")
    state = tmp_path / "other.json"
    state.write_text('{"account": {"login": 77, "server": "B"}, "positions": []}')
    first = kit.start()
    second = kit.start(data_dir=tmp_path / "two", terminal_options={"state": state})
    first.stop()
    host.untouched("one of two is stopped")
    assert second.health().ready
    second.stop()
    host.untouched("both are stopped")
    host.gone("both are stopped")


def test_a_gateway_comes_and_goes(kit: GuardKit, host: Host) -> None:
    guard = kit.start(port=0)
    with serve(guard):
        host.untouched("serving")
    guard.stop()
    host.untouched("stopped")
    host.gone("stopped")


def test_the_hosts_stop_all_does_not_reach_the_guard(kit: GuardKit, host: Host) -> None:
    guard = kit.start()
    assert {ref.actor_class.__name__ for ref in pykka.ActorRegistry.get_all()} == {"Counter"}
    assert pykka.ActorRegistry.get_by_class_name("Monitor") == []
    before = guard.counts()
    assert pykka.ActorRegistry.stop_all(timeout=PATIENCE) == [True] * 3
    assert guard.health().ready
    cycle = len(kinds(guard, Kind.CYCLE))
    kit.until(lambda: len(kinds(guard, Kind.CYCLE)) > cycle + 2)
    assert not kinds(guard, Kind.EXITED)
    assert all(one.refused == before[name].refused for name, one in guard.counts().items())


# -- refused starts


def another(kit: GuardKit) -> Guard:
    kit.start()
    return kit.make()


def bad_login(kit: GuardKit) -> Guard:
    refusal: Any = {
        "call": "initialize",
        "effect": "unknown",
        "error": [-6, "Authorization failed"],
    }
    fault = fault_from({**refusal, "count": 1000})
    return kit.make(terminal_options={"faults": [fault]})


def other_account(kit: GuardKit) -> Guard:
    return kit.make(login=4711)


def no_answer(kit: GuardKit) -> Guard:
    guard = kit.make(startup_timeout=0.5)
    kit.terminal.disconnect()
    return guard


def no_folder(kit: GuardKit) -> Guard:
    (kit.folder / "data").write_text("a file")
    return kit.make()


def a_bug(kit: GuardKit) -> Guard:
    points = Points()
    points.arm("registry.on_start", raising(SystemExit), times=9)
    return kit.make(points=points)


REFUSALS: list[tuple[Callable[[GuardKit], Guard], type[StartRefused]]] = [
    (another, AlreadyGuarded),
    (bad_login, TerminalRefused),
    (other_account, StartRefused),
    (no_answer, StartRefused),
    (no_folder, FolderRefused),
    (a_bug, StartRefused),
]


@pytest.mark.parametrize("block", [True, False], ids=["blocking", "not blocking"])
@pytest.mark.parametrize(("make", "kind"), REFUSALS, ids=[make.__name__ for make, _ in REFUSALS])
def test_a_refused_start(
    kit: GuardKit,
    host: Host,
    make: Callable[[GuardKit], Guard],
    kind: type[StartRefused],
    block: bool,
) -> None:
    guard = make(kit)
    with pytest.raises(kind):
        guard.start(block=block).wait_ready()
    host.untouched("refused")
    kit.stop_all()
    host.untouched("stopped")
    host.gone("stopped")


def test_a_port_that_is_taken(kit: GuardKit, host: Host) -> None:
    guard = kit.make(port=0)
    taken = Gateway(guard).bind()
    with pytest.raises(StartRefused):
        Gateway(guard).bind(port=taken.port)
    taken.stop()
    host.untouched("refused")
    host.gone("refused")


# -- deaths


@pytest.mark.parametrize("death", DEATHS)
def test_every_child_dies_of_everything(
    kit: GuardKit, host: Host, death: type[BaseException]
) -> None:
    points = Points()
    guard = kit.start(points=points, max_restarts=50)
    for child in START_ORDER:
        for place in ("before_reply", "on_start", "on_stop"):
            before = len(kinds(guard, Kind.EXITED, child=child))
            points.arm(f"{child}.{place}", raising(death))
            if place == "before_reply":
                poke(guard, child)
            else:
                restart = RestartChild(child)
                guard._house._post.send(ROOT, restart, lane=Lane.CONTROL)
            expected = before + (2 if place == "on_start" else 1)
            kit.until(partial(back, guard, child, expected), 20.0)
        host.untouched(f"{child} died of {death.__name__}")
    all_well(kit, guard)
    guard.stop()
    host.untouched("stopped")
    host.gone("stopped")


def test_every_child_hangs_and_is_fenced(kit: GuardKit, host: Host) -> None:
    points = Points()
    guard = kit.start(points=points, max_restarts=50, hang_after=0.3)
    for child in (ALERT, ADMIN, CONNECTOR, REGISTRY, RECOVERY, MONITOR):
        points.arm(f"{child}.before_reply", lambda: kit.runtime.hang(0.8))
        poke(guard, child)
        kit.until(lambda child=child: bool(kinds(guard, Kind.FENCED, child=child)))  # type: ignore[misc]
        host.untouched(f"{child} hangs")
        kit.until(lambda child=child: lives(guard, child) == 2, 20.0)  # type: ignore[misc]
    all_well(kit, guard)
    guard.stop()
    host.untouched("stopped")
    host.gone("stopped")


@pytest.mark.parametrize("escalation", ["retry", "stay_down"])
def test_escalation(kit: GuardKit, host: Host, escalation: str) -> None:
    guard = kit.start(max_restarts=1, restart_period=1.5, escalation=escalation)
    for _ in range(2):
        guard.admin("kill", child="monitor")
        kit.until(
            lambda: lives(guard, MONITOR) == 2 or bool(kinds(guard, Kind.ESCALATED, child=MONITOR))
        )
    kit.until(lambda: bool(kinds(guard, Kind.ESCALATED, child=MONITOR)))
    host.untouched("escalated")
    if escalation == "retry":
        all_well(kit, guard)
    else:
        assert not guard.health().ready
    guard.stop()
    host.untouched("stopped")
    host.gone("stopped")


def kill_root(guard: Guard, points: Points, kit: GuardKit) -> None:
    points.kill_at("root.before_reply")
    guard._house.tell_root(CheckHealth(by="asked"))


def crash_root(guard: Guard, points: Points, kit: GuardKit) -> None:
    points.arm("root.before_reply", raising(SystemExit), times=3)
    guard._house.tell_root(CheckHealth(by="asked"))


def stick_in_commit(guard: Guard, points: Points, kit: GuardKit) -> None:
    ticket = kit.terminal.open_position("EURUSD", "BUY", 0.1)
    points.arm("registry.in_commit", kit.runtime.hang)
    caller = threading.Thread(target=_try, args=(lambda: guard.register(Trade(ticket=ticket)),))
    caller.start()
    kit.until(lambda: guard.over, 20.0)
    caller.join(PATIENCE)


def _try(call: Callable[[], object]) -> None:
    try:
        call()
    except DtmsError:
        return


@pytest.mark.parametrize("kill", [kill_root, crash_root, stick_in_commit])
def test_the_death_of_the_guard(
    kit: GuardKit, host: Host, kill: Callable[[Guard, Points, GuardKit], None]
) -> None:
    points = Points()
    guard = kit.start(points=points, hang_after=0.4, adoption="ignore", stop_timeout=0.5)
    kill(guard, points, kit)
    assert guard.wait(timeout=20.0) is not None
    host.untouched("dead")
    guard.stop()
    host.untouched("dead and stopped")
    host.gone("dead and stopped")


# -- ways of hosts


def test_a_guard_whose_handle_is_lost_guards_on(kit: GuardKit, host: Host) -> None:
    """No finaliser stops it from whatever thread collects garbage; the account stays locked."""
    guard = kit.start()
    house = guard._house
    kit.guards.clear()
    del guard
    gc.collect()
    host.untouched("collected")
    with pytest.raises(AlreadyGuarded):
        kit.make().start()
    assert house.ready
    assert not house.over
    house.close()
    host.untouched("closed")
    host.gone("closed")


def test_a_guard_that_was_never_started_leaves_nothing(kit: GuardKit, host: Host) -> None:
    guard = kit.make()
    kit.guards.clear()
    del guard
    gc.collect()
    host.untouched("collected")
    host.gone("collected")


def test_a_sink_of_the_host_that_raises_harms_neither(kit: GuardKit, host: Host) -> None:
    """With `catch=False` a sink's error comes out of the logging call, on whatever thread."""
    points = Points()
    guard = kit.start(points=points, max_restarts=50)

    def refuse(_: object) -> None:
        raise OSError("the host's disk is full")

    sink = logger.add(refuse, level="DEBUG", catch=False)
    host.before = host.fingerprint()
    try:
        for child in START_ORDER:
            points.arm(f"{child}.before_reply", raising(RuntimeError))
            poke(guard, child)
            kit.until(lambda child=child: lives(guard, child) == 2, 20.0)  # type: ignore[misc]
        assert host.troubles == []
        guard.admin("kill", child="monitor")
        kit.until(lambda: lives(guard, MONITOR) == 3, 20.0)
        all_well(kit, guard)
        guard.stop()
        assert host.troubles == []
    finally:
        logger.remove(sink)
    host.before = host.fingerprint()
    host.gone("stopped")


def test_a_listener_that_raises_even_system_exit_harms_neither(kit: GuardKit, host: Host) -> None:
    guard = kit.make(max_restarts=50)

    def leave(event: Any) -> None:
        if event.kind is Kind.CYCLE:
            raise SystemExit(5)

    forget = guard.events.listen(leave)
    guard.start(block=False)
    kit.until(lambda: bool(kinds(guard, Kind.CYCLE)))
    host.untouched("a listener leaves")
    forget()
    all_well(kit, guard)
    guard.stop()
    host.untouched("stopped")
    host.gone("stopped")


def test_stop_inside_of_stop_on_one_thread(kit: GuardKit, host: Host) -> None:
    """As a signal handler of the host does that stops the guard while it is being stopped."""
    guard = kit.start()
    inner = threading.Event()

    def again(event: Any) -> None:
        stage = event.kind is Kind.STAGE and event.facts.get("stage") == "stores"
        if stage and event.facts["what"] == "closed" and not inner.is_set():
            inner.set()
            guard.stop()  # this is the stopping thread itself

    guard.events.listen(again)
    stopper = threading.Thread(target=guard.stop, daemon=True)
    stopper.start()
    stopper.join(30.0)
    assert not stopper.is_alive(), "it waits for itself"
    assert inner.is_set()
    assert guard.over
    host.untouched("stopped")


def test_inside_the_hosts_running_loop(kit: GuardKit, host: Host) -> None:
    """All of a guard's life beside a loop that runs on the main thread."""

    async def life() -> bool:
        loop = asyncio.get_running_loop()
        troubles: list[object] = []
        loop.set_exception_handler(lambda _, context: troubles.append(context))
        guard = kit.make(max_restarts=5)
        await loop.run_in_executor(None, guard.start)
        await loop.run_in_executor(None, lambda: guard.admin("kill", child="monitor"))
        await loop.run_in_executor(None, lambda: kit.until(lambda: lives(guard, MONITOR) == 2))
        await loop.run_in_executor(None, guard.stop)
        assert asyncio.get_running_loop() is loop
        return troubles == []

    assert asyncio.run(life())
    host.gone("stopped")


@pytest.mark.skipif(os.name == "nt", reason="there is no umask to speak of")
@pytest.mark.parametrize("mask", [0o000, 0o077, 0o777])
def test_the_token_is_its_owners_alone_whatever_the_hosts_umask(
    kit: GuardKit, host: Host, mask: int
) -> None:
    (kit.folder / "data").mkdir()
    (kit.folder / "state").mkdir()
    before = os.umask(mask)
    try:
        try:
            guard = kit.start()
        except StartRefused:
            assert mask == 0o777  # it could not even read its own files
            return
        assert (guard.data_dir / "token").stat().st_mode & 0o077 == 0
        guard.stop()
    finally:
        os.umask(before)
    host.untouched("stopped")


def test_settings_are_read_and_the_environment_is_not_written(
    kit: GuardKit, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DTMS_TOKEN", "the-hosts-secret-token")
    host.before = host.fingerprint()
    guard = kit.start()
    assert guard.token() == "the-hosts-secret-token"
    host.untouched("started")
    guard.stop()
    assert Settings().token is not None
    host.untouched("stopped")


def test_a_worker_process_comes_and_goes(kit: GuardKit, host: Host) -> None:
    """The terminal in a process of its own: neither its life nor its death is the host's."""
    settings: dict[str, Any] = {
        "data_dir": kit.folder / "data",
        "state_dir": kit.folder / "state",
        "interval": 0.05,
        "check_every": 0.05,
        "backoff_first": 0.01,
        "isolate": True,
        "chaos": True,
    }
    guard = Guard(Settings(**settings))
    kit.guards.append(guard)
    guard.start()
    host.untouched("started")
    workers = children()
    assert workers
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    seq = guard.events.newest
    stirred = threading.Event()
    for _ in range(2000):
        back = [e for e in guard.events.since(seq) if e.kind is Kind.CONNECTED]
        if back and guard.health().ready:
            break
        stirred.wait(0.01)
    assert guard.health().ready
    host.untouched("the worker was killed")
    guard.stop()
    host.untouched("stopped")
    host.gone("stopped")
