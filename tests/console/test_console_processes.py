"""`run.py` as users start it: real processes, real signals, real exit statuses."""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path

import pytest
from console_fakes import Process, start

from console.main import main

NEVER = [{"call": "initialize", "effect": "unknown", "count": 100_000}]
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send")


def unreachable_terminal(folder: Path) -> list[str]:
    faults = folder / "faults.json"
    faults.write_text(json.dumps(NEVER))
    return ["--sim-faults", str(faults)]


def test_a_run_from_start_to_ctrl_c(tmp_path: Path, runs: list[Process]) -> None:
    first = start(tmp_path, "--data-dir", "data", "--port", "0")
    runs.append(first)
    url = first.ready()
    assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d*", url)

    # one authority: neither this folder nor this account is guarded twice
    same_folder = start(tmp_path, "run", "--data-dir", "data", "--port", "0")
    same_account = start(tmp_path, "--data-dir", "other", "--port", "0")
    same_port = start(tmp_path, "--data-dir", "third", "--port", str(first.port))
    runs += [same_folder, same_account, same_port]
    assert same_folder.ended() == 1
    assert "dtms: start refused: --data-dir:" in same_folder.log
    assert "already guarded by process" in same_folder.log
    assert same_account.ended() == 1
    assert "the account 5001000 on 'Simulated-Demo' is already guarded" in same_account.log
    assert same_port.ended() == 1
    assert "dtms: start refused: --port:" in same_port.log
    assert str(first.port) in same_port.log
    assert len(same_port.err) == 1, "nothing else may begin before the port is taken"
    assert not (tmp_path / "third").exists()
    for refused in (same_folder, same_account, same_port):
        assert "Traceback" not in refused.log
        assert refused.out == []

    first.interrupt()
    assert first.ended() == 0
    assert first.out == [f"ready {url}"]
    assert "Traceback" not in first.log
    assert (tmp_path / "data" / "token").read_text().strip() not in first.log
    said = [line for line in first.err if re.search(r" (stopping|stopped|closed|released)", line)]
    whos = [line.split()[3].partition("#")[0] for line in said]
    children = ["monitor", "recovery", "registry", "connector", "admin", "alert"]
    assert [who for who in whos if who in children] == children
    assert first.log.index("SIG") < first.log.index("stores closed") < first.log.index("released")

    # all was let go of: the same folder can be guarded again, for another account not
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"account": {"login": 777, "server": "Other"}, "positions": []}))
    foreign = start(tmp_path, *("--data-dir", "data", "--port", "0"), "--sim-state", str(other))
    again = start(tmp_path, "--data-dir", "other2", "--port", "0", "--duration", "0.1")
    runs += [foreign, again]
    assert foreign.ended() == 1
    assert "the data folder belongs to 5001000 on Simulated-Demo" in foreign.err[-1]
    assert foreign.err[-1].startswith("dtms: start refused: --data-dir:")
    assert "Traceback" not in foreign.log
    assert again.ended() == 0
    assert "0.1 s are over" in again.log


def test_a_start_that_cannot_succeed(tmp_path: Path, runs: list[Process]) -> None:
    arguments = ["--port", "0", *unreachable_terminal(tmp_path)]
    late = start(tmp_path, *arguments, "--data-dir", "a", "--startup-timeout", "1")
    interrupted = start(tmp_path, *arguments, "--data-dir", "b")
    runs += [late, interrupted]
    late.until("stores checked")
    begun = time.monotonic()
    assert late.ended() == 1
    assert time.monotonic() - begun < 1 + 1 + 2, "time-out, cleaning up, the interpreter's end"
    assert late.err[-1].startswith("dtms: start refused: not ready ")
    assert "waiting for connector" in late.err[-1]
    assert late.out == []

    # that one has time enough for it, however busy the machine is
    said = interrupted.until("connect attempt 1 failed")
    assert re.search(r"connect attempt 1 failed: .*\(-\d+\); next in [\d.]+ s", said)
    interrupted.interrupt()
    assert interrupted.ended() == 130
    assert "before it was ready" in interrupted.log
    assert "locks released" in interrupted.log
    assert interrupted.out == []


@posix
def test_sigterm_and_ops(
    tmp_path: Path, runs: list[Process], capsys: pytest.CaptureFixture[str]
) -> None:
    """SIGTERM is a Ctrl-C; `ctl` kills with --chaos; `ctl shutdown` ends a run well."""
    ended = start(tmp_path, "--data-dir", "a", "--port", "0")
    one_life = ["--data-dir", "b", "--port", "0", "--chaos", "--max-restarts", "1"]
    shut = start(tmp_path, *one_life, DTMS_STATE_DIR=str(tmp_path / "state2"))
    runs += [ended, shut]
    place = ["--port", str(shut.port), "--data-dir", "b"]

    assert main(["ctl", "kill", "monitor", *place]) == 0
    shut.until("monitor#2    ready")
    assert "monitor#1    died: killed (killed by ops)" in shut.log
    assert "monitor#1    charged 1 of 1, restarting" in shut.log
    assert main(["ctl", "kill", "monitor", *place]) == 0
    shut.until("monitor#2    escalated: restart budget used up")
    shut.until("ALERT monitor is down")
    capsys.readouterr()
    assert main(["health", *place]) == 1
    assert "monitor escalated" in capsys.readouterr().out
    assert main(["health", "--monitoring", "--json", *place]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["state"], told["budget_left"]) == ("escalated", 0)
    assert main(["ctl", "reset-budget", "monitor", *place]) == 0
    shut.until("monitor#3    ready")
    assert main(["health", *place]) == 0
    assert main(["ctl", "shutdown", *place]) == 0
    assert shut.ended() == 0
    assert "cli (http 127.0.0.1) says: shutdown" in shut.log

    ended.ready()
    ended.terminate()
    assert ended.ended() == 0
    assert "SIGTERM: stopping" in ended.log
