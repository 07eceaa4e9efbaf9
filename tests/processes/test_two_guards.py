"""One folder and one account have one guard: links, spellings, forks, copies."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from process_kit import LOGIN, ROOT, Process, broker_file

Launch = Callable[..., Process]


@pytest.fixture
def broker(tmp_path: Path) -> str:
    """The books of one account."""
    return str(broker_file(tmp_path / "broker.json", [1, 2]))


def running(launch: Launch, broker: str) -> Process:
    """Start a guard with one registered trade."""
    guard = launch("--port", "0", "--sim-state", broker, "--interval", "0.2").ready()
    assert guard.post("/dtms/trade/enable", {"ticket": 1})[1]["created"]
    return guard


def tickets(guard: Process) -> list[int]:
    """Return the tickets of the trades that are watched."""
    return [trade["ticket"] for trade in guard.get("/dtms/trades")[1]["trades"]]


def link(path: Path, target: Path) -> Path:
    """Make a symbolic link to a folder, where that is allowed."""
    try:
        path.symlink_to(target, target_is_directory=True)
    except OSError:
        pytest.skip("no right to make links here")
    return path


def beside(data: Path, name: str) -> Path:
    """Return another way to name the data folder."""
    if name == "a link to it":
        return link(data.with_name("link"), data)
    if name == "a link to a link":
        return link(data.with_name("link2"), link(data.with_name("link"), data))
    if name == "through a linked parent":
        return link(data.parent / "up", data.parent) / data.name
    if name == "relative":
        return Path(os.path.relpath(data, data.parent))
    return data.parent / "sub" / ".." / data.name


@pytest.mark.parametrize(
    "name", ["a link to it", "a link to a link", "through a linked parent", "relative", "dots"]
)
def test_one_folder_by_any_name_has_one_guard(
    launch: Launch, broker: str, tmp_path: Path, name: str
) -> None:
    first = running(launch, broker)
    (tmp_path / "sub").mkdir()
    way = beside(first.data, name)
    # another account, so that only the folder's lock can refuse it
    other = str(broker_file(tmp_path / "other.json", [1], login=LOGIN + 1))
    second = launch("--port", "0", "--sim-state", other, "--data-dir", str(way))
    assert second.wait() == 1, second.log
    assert "already guarded by process" in second.log
    assert str(first.popen.pid) in second.log
    assert str(first.data) in second.log
    assert "Traceback" not in second.log
    assert first.get("/health")[0] == 200
    assert first.post("/dtms/trade/enable", {"ticket": 2})[1]["created"]
    assert first.interrupt() == 0


def test_a_copied_folder_while_the_first_guard_runs(
    launch: Launch, broker: str, tmp_path: Path
) -> None:
    first = running(launch, broker)
    copy = tmp_path / "copy"
    shutil.copytree(first.data, copy)
    for leftover in copy.glob("guard.lock*"):
        leftover.unlink()
    second = launch("--port", "0", "--sim-state", broker, "--data-dir", str(copy))
    assert second.wait() == 1, second.log
    assert f"the account {LOGIN}" in second.log
    assert f"already guarded by process {first.popen.pid}" in second.log
    assert first.get("/health")[0] == 200
    assert first.interrupt() == 0


def test_a_copied_folder_while_no_guard_runs(launch: Launch, broker: str, tmp_path: Path) -> None:
    """It holds an old book: refused while the original is there, and it says what to do."""
    first = running(launch, broker)
    first.kill()
    copy = tmp_path / "copy"
    shutil.copytree(first.data, copy)
    second = launch("--port", "0", "--sim-state", broker, "--data-dir", str(copy))
    assert second.wait() == 1, second.log
    assert f"{copy} is a copy of {first.data}" in second.log
    assert "rename the original first" in second.log
    assert "Traceback" not in second.log
    # the original starts as ever, and once it is gone the copy takes its place
    again = launch("--port", "0", "--sim-state", broker).ready()
    assert tickets(again) == [1]
    assert again.interrupt() == 0
    first.data.rename(tmp_path / "old")
    third = launch("--port", "0", "--sim-state", broker, "--data-dir", str(copy))
    third.data = copy
    assert tickets(third.ready()) == [1]
    assert third.interrupt() == 0


def test_without_the_state_folder_a_copy_cannot_be_told(
    launch: Launch, broker: str, tmp_path: Path
) -> None:
    first = running(launch, broker)
    assert first.interrupt() == 0
    copy = tmp_path / "copy"
    shutil.copytree(first.data, copy)
    shutil.rmtree(tmp_path / "state")
    second = launch("--port", "0", "--sim-state", broker, "--data-dir", str(copy))
    second.data = copy
    assert tickets(second.ready()) == [1]
    assert second.interrupt() == 0


FORK = f"""
import os, subprocess, sys, time
sys.path.insert(0, {str(ROOT)!r})
from supervisors import Guard, Settings, StartRefused, Trade
sys.path.insert(0, {str(ROOT / "tests" / "guard")!r})
from guard_kit import still_terminal
from actors.threads import ThreadRuntime
folder, how = sys.argv[1:]
settings = Settings(
    data_dir=folder + "/data", state_dir=folder + "/state", adoption="ignore", interval=0.2
)
runtime = ThreadRuntime()
terminal = still_terminal(runtime)
guard = Guard(settings, runtime=runtime, terminal=terminal).start()
tickets = [terminal.open_position("EURUSD", "BUY", 0.1, sl=0.5) for _ in range(4)]
guard.register(Trade(ticket=tickets[0]))
child = os.fork()
if child == 0:
    if how == "starts its own":
        try:
            Guard(settings).start()
        except StartRefused as refused:
            named = "already guarded by process {{}}".format(os.getppid()) in str(refused)
            os._exit(7 if named else 8)
        os._exit(9)
    if how == "stops the parent's":
        began = time.monotonic()
        guard.stop()  # there is nothing to wait for: the threads are its parent's
        os._exit(7 if time.monotonic() - began < 2.0 else 6)
    if how == "ends":
        sys.exit(7)
    os._exit(7)
print("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
OTHER = '''
import sys
from supervisors import Guard, Settings, StartRefused
folder = sys.argv[1]
settings = Settings(data_dir=folder + "/data", state_dir=folder + "/state")
try:
    Guard(settings).start()
except StartRefused as refused:
    print("refused", "already guarded" in str(refused))
settings = Settings(data_dir=folder + "/elsewhere", state_dir=folder + "/state")
try:
    Guard(settings).start()
except StartRefused as refused:
    print("refused", "already guarded" in str(refused))
'''
done = subprocess.run(
    [sys.executable, "-W", "ignore", "-c", OTHER, folder],
    capture_output=True, text=True, env={{**os.environ, "PYTHONPATH": {str(ROOT)!r}}},
)
print(done.stdout.split(), done.stderr if done.returncode else "")
for ticket in tickets[1:]:
    guard.register(Trade(ticket=ticket))
print(guard.health().ready, len(guard.trades()))
guard.stop()
from storage.trades import TradeStore
from pathlib import Path
store = TradeStore.open(Path(folder) / "data" / "trades")
print(sorted(store.load()[0]) == sorted(tickets))
store.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this platform")
@pytest.mark.parametrize("how", ["starts its own", "stops the parent's", "ends", "ends at once"])
def test_a_forked_child_of_a_host(tmp_path: Path, how: str) -> None:
    """Whatever it does, its parent's guard holds both locks and writes on."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(FORK), str(tmp_path), how],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.stdout.splitlines() == [
        "child 7",
        "['refused', 'True', 'refused', 'True'] ",
        "True 4",
        "True",
    ], done.stdout + done.stderr
