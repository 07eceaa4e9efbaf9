"""Embedded means polite: the host is not touched by start, crash, escalation or stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pykka
import pytest
from guard_kit import GuardKit, kinds
from loguru import logger

from actors.events import Event, Kind
from actors.points import Points
from defence.errors import AskedInside
from supervisors import Guard, Settings
from supervisors.siblings import check_siblings

ROOT = Path(__file__).resolve().parents[2]


class HostActor(pykka.ThreadingActor):
    """An actor of the host's own."""

    def on_receive(self, message: object) -> object:
        return message


def test_the_host_is_not_touched(kit: GuardKit) -> None:
    host = HostActor.start()
    lines: list[str] = []
    sink = logger.add(lines.append, level="DEBUG")
    handlers = list(logging.getLogger().handlers)
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    hook, thread_hook = sys.excepthook, threading.excepthook
    points = Points()
    guard = kit.start(points=points, max_restarts=1)

    def leave() -> None:
        raise SystemExit(3)

    points.arm("monitor.before_reply", leave)
    kit.until(lambda: len(kinds(guard, Kind.EXITED)) == 1)
    points.arm("registry.before_reply", lambda: (_ for _ in ()).throw(KeyboardInterrupt()))
    kit.until(lambda: len(kinds(guard, Kind.EXITED)) == 2)
    kit.until(lambda: guard.health().ready)
    guard.admin("kill", child="monitor")
    kit.until(lambda: bool(kinds(guard, Kind.ESCALATED)))
    # The host's own tools neither see nor reach the guard's actors.
    assert [ref.actor_class for ref in pykka.ActorRegistry.get_all()] == [HostActor]
    pykka.ActorRegistry.broadcast("hello")
    assert host.ask("still there?", timeout=5) == "still there?"
    pykka.ActorRegistry.stop_all(timeout=5)
    guard.admin("reset-budget", child="monitor")
    kit.until(lambda: guard.health().ready)
    guard.stop()
    assert {number: signal.getsignal(number) for number in signals} == signals
    assert (sys.excepthook, threading.excepthook) == (hook, thread_hook)
    assert logging.getLogger().handlers == handlers
    logger.remove(sink)  # raises if somebody had removed it
    assert not [t for t in threading.enumerate() if t.name.startswith("dtms")]


def test_no_thread_of_the_guard_keeps_a_host_alive(tmp_path: Path) -> None:
    """A host that forgets to stop its guard still ends."""
    script = f"""
        import sys
        sys.path.insert(0, {str(ROOT)!r})
        from supervisors import Guard, Settings
        Guard(Settings(data_dir={str(tmp_path / "d")!r}, state_dir={str(tmp_path / "s")!r})).start()
        print("done")
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"


def test_a_listener_that_raises_harms_nobody(kit: GuardKit) -> None:
    guard = kit.make()

    def bad(event: Event) -> None:
        raise RuntimeError("the host's bug")

    guard.events.listen(bad)
    logger.remove()
    try:
        guard.start()
        assert guard.health().ready
    finally:
        logger.add(sys.stderr)


def test_asking_from_an_actor_is_refused(kit: GuardKit) -> None:
    """A listener runs on an actor's thread: there it may look, not ask."""
    guard = kit.make()
    caught: list[BaseException] = []

    def ask(event: Event) -> None:
        if event.kind is Kind.CYCLE and not caught:
            try:
                guard.trades()
            except AskedInside as error:
                caught.append(error)
            guard.health()

    guard.events.listen(ask)
    guard.start()
    kit.until(lambda: bool(caught))


def test_it_lives_beside_an_event_loop(kit: GuardKit) -> None:
    async def host() -> bool:
        loop = asyncio.get_running_loop()
        guard = kit.make()
        await loop.run_in_executor(None, guard.start)
        ready = guard.health().ready
        await loop.run_in_executor(None, guard.stop)
        return ready

    assert asyncio.run(host())


def test_two_guards_of_two_accounts_in_one_process(kit: GuardKit, tmp_path: Path) -> None:
    first = kit.start()
    state = tmp_path / "other.json"
    state.write_text('{"account": {"login": 77, "server": "B"}, "positions": []}')
    second = kit.start(data_dir=tmp_path / "two", terminal_options={"state": state})
    first.admin("kill", child="monitor")
    kit.until(lambda: len(kinds(first, Kind.CHARGED)) == 1)
    assert not kinds(second, Kind.CHARGED)
    first.stop()
    assert second.health().ready


def test_a_wrong_sibling_is_named(tmp_path: Path) -> None:
    stranger = tmp_path / "actors"
    stranger.mkdir()
    (stranger / "__init__.py").write_text("")
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}, {str(ROOT)!r}]; import supervisors"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert str(stranger) in done.stderr
    assert "ImportError" in done.stderr
    check_siblings()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
def test_a_forked_child_is_not_a_second_guard(tmp_path: Path) -> None:
    script = f"""
        import os, sys
        sys.path.insert(0, {str(ROOT)!r})
        from supervisors import Guard, Settings, StartRefused
        settings = Settings(data_dir={str(tmp_path / "d")!r}, state_dir={str(tmp_path / "s")!r})
        guard = Guard(settings).start()
        child = os.fork()
        if child == 0:
            try:
                Guard(settings).start()
            except StartRefused:
                os._exit(7)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), guard.health().ready)
        guard.stop()
    """
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "7 True\n", done.stderr


def test_settings_are_frozen_and_hide_secrets(tmp_path: Path) -> None:
    settings = Settings(token="tt-secret", password="pw-secret", data_dir=tmp_path)
    assert "secret" not in repr(settings)
    assert "secret" not in str(settings)
    assert "secret" not in repr(Guard(settings))
