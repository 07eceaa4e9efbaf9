"""What only real processes show: exit statuses, ports, kills, several programs at once."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from process_kit import LOGIN, ROOT, Process, accepts, broker_file, free_port

Launch = Callable[..., Process]
REFUSES = {
    "call": "initialize",
    "effect": "unknown",
    "count": None,
    "error": [-10003, "IPC initialize failed, MetaTrader 5 x64 not found"],
}


def fault_file(folder: Path, *faults: dict[str, object]) -> str:
    """Write a file of faults."""
    path = folder / "faults.json"
    path.write_text(json.dumps(faults), encoding="utf-8")
    return str(path)


def test_a_terminal_that_refuses_ends_the_process(launch: Launch, tmp_path: Path) -> None:
    port = free_port()
    guard = launch(
        "--port", str(port), "--startup-timeout", "3", "--sim-faults", fault_file(tmp_path, REFUSES)
    )
    connected = []
    while guard.popen.poll() is None:
        connected.append(accepts(port))
        time.sleep(0.02)
    assert guard.wait() == 1, guard.log
    assert not any(connected)
    attempts = re.findall(r"attempt (\d+) failed.*?(\d+\.\d+) s", guard.log)
    assert len(attempts) >= 3, guard.log
    delays = [float(delay) for _, delay in attempts]
    assert all(later > earlier for earlier, later in itertools.pairwise(delays))
    assert "MetaTrader 5 x64 not found" in guard.log
    # The clock of the time-out begins with the guard, after Python has loaded.
    said = [at for at in map(seconds, guard.lines) if at]
    assert said[-1] - said[0] <= 3.0 + 1.0, guard.log
    # No lock is left: the next one may have the folder.
    again = launch("--port", "0").ready()
    assert again.interrupt() == 0


def seconds(line: str) -> float:
    """Return the time of day of a log line in seconds; lines without one are now."""
    found = re.search(r"(\d\d):(\d\d):(\d\d\.\d+)", line)
    if not found:
        return 0.0
    hours, minutes, rest = found.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


def test_wrong_credentials_are_refused_at_once(launch: Launch, tmp_path: Path) -> None:
    fault = {**REFUSES, "error": [-6, "Terminal: Authorization failed"]}
    guard = launch("--port", "0", "--sim-faults", fault_file(tmp_path, fault))
    assert guard.wait(15) == 1
    assert "Authorization failed" in guard.log
    assert "attempt 2" not in guard.log
    assert "Traceback" not in guard.log


def test_ctrl_c_stops_in_order_and_leaves_nothing(launch: Launch) -> None:
    guard = launch("--port", "0", "--interval", "0.2").ready()
    port = int(guard.url.rsplit(":", 1)[1])
    assert guard.get("/health")[0] == 200
    children = guard.children()
    assert guard.interrupt() == 0, guard.log
    assert not accepts(port)
    assert [pid for pid in children if Path(f"/proc/{pid}").exists()] == []
    stopped = re.findall(r"(\w+)#\d+ +stopped", guard.log)
    assert stopped == ["monitor", "recovery", "registry", "connector", "admin", "alert"]
    assert "Traceback" not in guard.log


def register_from_processes(
    guard: Process, tickets: list[int], count: int = 8
) -> list[tuple[int, int, bool, dict[str, object]]]:
    """Let several processes register overlapping tickets at once; return all answers."""
    workers = []
    for n in range(count):
        mine = [tickets[(n * 3 + k) % len(tickets)] for k in range(len(tickets))]
        workers.append(
            subprocess.Popen(
                [
                    sys.executable,
                    str(ROOT / "tests" / "processes" / "registrar.py"),
                    guard.url,
                    str(guard.data / "token"),
                    f"p{n}",
                    ",".join(map(str, mine)),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    answers: list[tuple[int, int, bool, dict[str, object]]] = []
    for worker in workers:
        out, _ = worker.communicate(timeout=90)
        assert worker.returncode == 0
        answers.extend(tuple(row) for row in json.loads(out))
    return answers


def check_answers(
    guard: Process,
    tickets: list[int],
    answers: list[tuple[int, int, bool, dict[str, object]]],
    count: int = 8,
) -> None:
    """Each ticket stored once, each caller answered, one `created` a ticket, one record."""
    assert len(answers) == count * len(tickets)
    assert {status for _, status, _, _ in answers} == {200}
    assert Counter(t for t, _, created, _ in answers if created) == dict.fromkeys(tickets, 1)
    for ticket in tickets:
        stamps = {trade["registered_at"] for t, _, _, trade in answers if t == ticket}
        assert len(stamps) == 1
    stored = [trade["ticket"] for trade in guard.get("/dtms/trades")[1]["trades"]]
    assert sorted(stored) == tickets


def test_8_processes_register_overlapping_tickets(launch: Launch, tmp_path: Path) -> None:
    tickets = list(range(1001, 1021))
    state = broker_file(tmp_path / "broker.json", tickets)
    guard = launch(
        "--port", "0", "--sim-state", str(state), "--interval", "0.5", DTMS_RATE_LIMIT="0"
    ).ready()
    answers = register_from_processes(guard, tickets)
    check_answers(guard, tickets, answers)
    metrics = guard.client.get("/metrics").text
    assert "1001" not in metrics
    assert guard.interrupt() == 0


def test_over_http_while_the_registry_is_killed(launch: Launch, tmp_path: Path) -> None:
    tickets = list(range(2001, 2011))
    state = broker_file(tmp_path / "broker.json", tickets)
    guard = launch(
        "--port", "0", "--sim-state", str(state), "--chaos", "--interval", "0.5",
        DTMS_RATE_LIMIT="0", DTMS_BACKOFF_FIRST="0.05",
    ).ready()  # fmt: skip
    enough = threading.Event()

    def strike() -> None:
        for _ in range(5):
            guard.post("/dtms/admin/kill", {"child": "registry"})
            if enough.wait(0.3):
                return

    killer = threading.Thread(target=strike)
    killer.start()
    answers = register_from_processes(guard, tickets)
    enough.set()
    killer.join(30)
    check_answers(guard, tickets, answers)
    assert guard.child("registry")["incarnation"] >= 2
    assert guard.interrupt() == 0


def test_kill_9_loses_nothing_and_does_not_refill_the_budget(
    launch: Launch, tmp_path: Path
) -> None:
    tickets = [3001, 3002]
    state = broker_file(tmp_path / "broker.json", tickets)
    flags = ("--port", "0", "--sim-state", str(state), "--chaos", "--interval", "0.3")
    guard = launch(*flags, DTMS_BACKOFF_FIRST="0.05").ready()
    assert guard.post("/dtms/trade/enable", {"ticket": 3001})[1]["created"] is True
    for number in (2, 3, 4):
        assert guard.post("/dtms/admin/kill", {"child": "monitor"})[0] == 200
        guard.until(lambda n=number: is_ready(guard, n))  # type: ignore[misc]
        assert guard.get("/health")[0] == 200
    guard.kill()

    again = launch(*flags, DTMS_BACKOFF_FIRST="0.05").ready()
    assert [t["ticket"] for t in again.get("/dtms/trades")[1]["trades"]] == [3001]
    assert again.post("/dtms/trade/enable", {"ticket": 3001})[1]["created"] is False
    assert again.child("monitor")["restarts_in_window"] == 3
    again.post("/dtms/admin/kill", {"child": "monitor"})
    again.until(lambda: again.child("monitor")["state"] == "escalated")
    status, body = again.get("/health")
    assert status == 503
    assert any("monitor escalated" in reason for reason in body["reasons"])
    assert again.get("/dtms/monitoring/health")[0] == 503
    assert again.post("/dtms/trade/enable", {"ticket": 3002})[0] == 503
    again.until(
        lambda: any(a["key"] == "escalated:monitor" for a in again.get("/dtms/alerts")[1]["alerts"])
    )
    assert again.post("/dtms/admin/reset-budget", {"child": "monitor"})[0] == 200
    again.until(lambda: again.get("/health")[0] == 200)
    assert again.post("/dtms/trade/enable", {"ticket": 3002})[1]["created"] is True
    assert again.interrupt() == 0


def is_ready(guard: Process, incarnation: int) -> bool:
    """Whether the Monitor is ready in that life."""
    line = guard.child("monitor")
    return bool(line["incarnation"] == incarnation and line["state"] == "ready")


@pytest.mark.parametrize("seconds_to_hang", [None])
def test_a_hung_monitor_is_found_through_the_gateway(
    launch: Launch, seconds_to_hang: float | None
) -> None:
    guard = launch(
        "--port", "0", "--chaos", "--interval", "0.2", DTMS_HANG_AFTER="1", DTMS_CHECK_EVERY="0.1"
    ).ready()
    assert guard.post("/dtms/admin/hang", {"child": "monitor"})[0] == 200
    guard.until(lambda: is_ready(guard, 2))
    assert "hung" in guard.child("monitor")["last_exit"]
    assert guard.interrupt() == 0


def test_a_second_guard_and_another_account_are_refused(launch: Launch, tmp_path: Path) -> None:
    state = broker_file(tmp_path / "broker.json", [4001])
    guard = launch("--port", "0", "--sim-state", str(state)).ready()
    second = launch("--port", "0", "--sim-state", str(state))
    assert second.wait(20) == 1
    assert "already guarded" in second.log
    assert guard.get("/health")[0] == 200
    assert guard.interrupt() == 0
    other = broker_file(tmp_path / "other.json", [1], login=LOGIN + 1)
    third = launch("--port", "0", "--sim-state", str(other))
    assert third.wait(20) == 1
    assert str(LOGIN) in third.log
    fourth = launch("--port", "0", "--sim-state", str(state)).ready()
    assert fourth.interrupt() == 0
