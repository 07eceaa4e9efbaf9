"""`doctor` sees what is wrong, says what to do, and changes nothing."""

from __future__ import annotations

import json
import os
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from console.checks import (
    Verdict,
    check_folder,
    check_packages,
    check_port,
    check_python,
    check_token,
)
from console.look_at_terminal import check_terminal
from console.main import main
from defence.errors import TerminalRefused
from storage.folder import DataFolder, open_stores
from storage.locks import FolderLock
from supervisors.settings import Settings
from terminals.structs import AccountInfo, TerminalInfo


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder as a guard of account 5 on S leaves it."""
    made = DataFolder(tmp_path / "data")
    made.token()
    stores = open_stores(made, 0.0)
    stores.trades.bind(5, "S")
    stores.close()
    return made.path


def test_all_is_well(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(str(path) for path in folder.rglob("*"))
    assert main(["doctor", "--data-dir", str(folder), "--port", "0", "--json"]) == 0
    rows = {row["check"]: row for row in json.loads(capsys.readouterr().out)["checks"]}
    assert list(rows) == [
        *("python", "packages", "settings", "data folder", "stores", "token", "port")
    ]
    assert {row["verdict"] for row in rows.values()} == {"ok"}
    assert "account 5 on S" in rows["data folder"]["text"]
    left = {path for path in map(str, folder.rglob("*")) if not path.endswith("guard.lock")}
    assert left == {path for path in before if not path.endswith("guard.lock")}


def test_a_damaged_store(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "trades" / "data.mdb").write_bytes(b"not a store" * 1000)
    (folder / "outbox" / "data.mdb").unlink()
    assert main(["doctor", "--data-dir", str(folder), "--port", "0"]) == 1
    out = capsys.readouterr().out
    assert "bad" in out
    assert "trades: " in out
    assert "outbox: data.mdb is missing" in out
    assert (folder / "trades" / "data.mdb").exists(), "the doctor sets nothing aside"


def test_a_folder_in_use(folder: Path) -> None:
    with FolderLock(folder):
        checks = check_folder(folder)
    assert [check.verdict for check in checks] == [Verdict.OK, Verdict.NOTE]
    assert str(os.getpid()) in checks[1].text


@pytest.mark.parametrize(
    ("what", "verdict", "part"),
    [
        ("new", Verdict.OK, "will be made"),
        ("orphan", Verdict.NOTE, "nor does the folder above"),
        ("empty", Verdict.OK, "is empty"),
        ("foreign", Verdict.NOTE, "'holiday.jpg'"),
        ("file", Verdict.BAD, "no"),
        ("broken marker", Verdict.NOTE, "damaged"),
    ],
)
def test_folders(what: str, verdict: Verdict, part: str, tmp_path: Path) -> None:
    path = tmp_path / "x"
    if what == "orphan":
        path = path / "y"
    elif what == "file":
        path.write_text("")
    elif what != "new":
        path.mkdir()
    if what == "foreign":
        (path / "holiday.jpg").write_text("")
    if what == "broken marker":
        (path / "dtms.json").write_text("{}")
    there = path.exists()
    (check,) = check_folder(path)
    assert check.verdict is verdict
    assert part in check.text
    assert path.exists() is there


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_a_token_that_others_can_read(folder: Path) -> None:
    assert check_token(folder).verdict is Verdict.OK
    (folder / "token").chmod(0o644)
    check = check_token(folder)
    assert check.verdict is Verdict.BAD
    assert "mode 644" in check.text
    assert (folder / "token").read_text().strip() not in check.text + check.remedy
    assert check_token(folder, posix=False).verdict is Verdict.NOTE


def test_a_port_that_something_has() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        check = check_port(Settings(port=port), 0.1)
        assert check.verdict is Verdict.BAD
        assert str(port) in check.text
        assert "--port" in check.remedy
    assert check_port(Settings(port=port), 0.1).verdict is Verdict.OK
    assert check_port(Settings(host="no.such.host.invalid"), 0.1).verdict is Verdict.BAD


def test_an_old_python_and_a_foreign_package(tmp_path: Path) -> None:
    assert check_python((3, 10, 9)).verdict is Verdict.BAD
    assert check_python((3, 11, 0)).verdict is Verdict.OK
    assert check_packages(["defence"]).verdict is Verdict.OK
    foreign = check_packages(["json"], tmp_path)
    assert foreign.verdict is Verdict.BAD
    assert "'json'" in foreign.text


def test_wrong_settings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DTMS_INTERVAL", "soon")
    assert main(["doctor", "--port", "0"]) == 1
    assert "'soon'" in capsys.readouterr().out


# -- the terminal


def account(**facts: Any) -> AccountInfo:
    usual = {"login": 5, "server": "S", "trade_allowed": True, "trade_expert": True}
    return AccountInfo(**{**usual, "margin_mode": 2, "currency": "USD", **facts})


def state(**facts: Any) -> TerminalInfo:
    usual = {"trade_allowed": True, "tradeapi_disabled": False, "connected": True}
    return TerminalInfo(**{**usual, "build": 5000, "name": "Fake", **facts})


class FakeTerminal:
    name, real = "simulated", False

    def __init__(self, **facts: Any) -> None:
        self.facts = facts
        self.deeds: list[str] = []

    def initialize(self) -> bool:
        self.deeds.append("initialize")
        return bool(self.facts.get("starts", True))

    def account_info(self) -> Any:
        return self.facts.get("account", account())

    def terminal_info(self) -> Any:
        return self.facts.get("state", state())

    def last_error(self) -> tuple[int, str]:
        return (-6, "Authorization failed")

    def shutdown(self) -> bool:
        self.deeds.append("shutdown")
        return True

    def close(self) -> None:
        self.deeds.append("close")


@pytest.mark.parametrize(
    ("settings", "facts", "verdict", "part"),
    [
        ({}, {}, Verdict.OK, "account 5 on S; orders are allowed"),
        ({"login": 6}, {}, Verdict.BAD, "not 6 on S"),
        ({"server": "T"}, {}, Verdict.BAD, "not 5 on T"),
        ({}, {"starts": False}, Verdict.BAD, "Authorization failed (-6)"),
        ({}, {"account": None}, Verdict.BAD, "shows no account"),
        ({}, {"account": account(margin_mode=9)}, Verdict.BAD, "margin_mode is 9"),
        ({}, {"state": state(trade_allowed=False)}, Verdict.NOTE, "not allowed"),
        ({}, {"state": state(tradeapi_disabled=True)}, Verdict.NOTE, "against the Python API"),
        ({}, {"account": account(trade_allowed=False)}, Verdict.NOTE, "investor password"),
        ({}, {"account": account(trade_expert=False)}, Verdict.NOTE, "let programs trade"),
        ({}, {"state": state(connected=False)}, Verdict.BAD, "not connected"),
    ],
)
def test_terminals(
    settings: dict[str, Any], facts: dict[str, Any], verdict: Verdict, part: str
) -> None:
    terminal = FakeTerminal(**facts)
    check = check_terminal(Settings(**settings), 5, lambda: terminal)  # type: ignore[arg-type, return-value]
    assert check.verdict is verdict
    assert part in check.text
    assert terminal.deeds[0] == "initialize"
    assert terminal.deeds[-1] == "close"
    assert ("shutdown" in terminal.deeds) is facts.get("starts", True)


def test_a_terminal_of_another_account_than_the_folders(folder: Path) -> None:
    terminal = FakeTerminal(account=account(login=7))
    settings = Settings(data_dir=folder)
    check = check_terminal(settings, 5, lambda: terminal)  # type: ignore[arg-type, return-value]
    assert check.verdict is Verdict.BAD
    assert "belongs to 5 on S" in check.text


def test_a_terminal_that_never_answers() -> None:
    stuck = threading.Event()

    class Stuck(FakeTerminal):
        def initialize(self) -> bool:
            return stuck.wait(10)

    check = check_terminal(Settings(), 0.05, Stuck)  # type: ignore[arg-type]
    stuck.set()
    assert check.verdict is Verdict.BAD
    assert "does not answer within 0.05 s" in check.text


class Slow(FakeTerminal):
    """Starting it takes longer than one call may."""

    def __init__(self) -> None:
        super().__init__()
        self.up = threading.Event()

    connecting = True

    def initialize(self) -> bool:
        super().initialize()
        return len(self.deeds) > 1 and self.up.wait(10)

    def last_error(self) -> tuple[int, str]:
        return (-10005, "IPC timeout, still connecting")


def test_a_terminal_that_is_still_connecting_is_waited_for() -> None:
    terminal = Slow()
    threading.Timer(0.6, terminal.up.set).start()
    check = check_terminal(Settings(), 0.4, lambda: terminal)  # type: ignore[arg-type, return-value]
    assert check.verdict is Verdict.OK
    assert terminal.deeds == ["initialize", "initialize", "shutdown", "close"]


def test_a_terminal_that_never_ends_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("console.look_at_terminal.SPARE", 0.0)
    terminal = Slow()
    settings = Settings(terminal_timeout=0.2)
    check = check_terminal(settings, 0.4, lambda: terminal)  # type: ignore[arg-type, return-value]
    terminal.up.set()
    assert check.verdict is Verdict.BAD
    assert "does not connect within 0.2 s" in check.text


def test_a_real_terminal_whose_account_nobody_told_is_asked_all_the_same(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as listener:  # nobody serves here
        listener.bind(("127.0.0.1", 0))
        where = str(listener.getsockname()[1])
    flags = ("--terminal", "bridge", "--bridge-port", where, "--port", "0", "--json")
    assert main(["doctor", *flags]) == 1
    rows = {row["check"]: row for row in json.loads(capsys.readouterr().out)["checks"]}
    assert rows["settings"]["verdict"] == "ok"
    assert rows["data folder"]["verdict"] == "note"
    assert "--login and --server" in rows["data folder"]["remedy"]
    assert "bridge does not connect" in rows["terminal"]["text"]
    monkeypatch.setenv("DTMS_BRIDGE_HOST", "192.0.2.1")
    assert main(["doctor", *flags]) == 1
    rows = {row["check"]: row for row in json.loads(capsys.readouterr().out)["checks"]}
    assert "192.0.2.1" in rows["settings"]["text"]  # what else is wrong is said


def test_a_terminal_that_cannot_be_had() -> None:
    def none() -> Any:
        raise TerminalRefused("not on this machine", field="terminal", remedy="use another")

    check = check_terminal(Settings(), 5, none)
    assert check.verdict is Verdict.BAD
    assert "not on this machine" in check.text


def test_the_simulated_terminal_for_real(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["doctor", "--terminal", "simulated", "--port", "0"]) == 0
    assert "account 5001000 on Simulated-Demo; orders are allowed" in capsys.readouterr().out
