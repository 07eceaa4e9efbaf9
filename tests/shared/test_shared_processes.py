"""Real processes on one account: bots, a guard, the broker, and a broker that is killed."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
from shared_kit import ROOT, Program, Programs, until

from console.broker_command import shell_lines
from terminals.sim.faults import Effect, Fault

PLAIN = "dict(action=1, symbol='EURUSD', volume=0.1, type=0, type_filling=1, magic=7)"
BUY = f"dict({PLAIN}, sl=1.09)"


def trades(guard: Program, programs: Programs) -> list[Any]:
    """Return the trades that the guard watches."""
    return list(asked(guard, programs, "/dtms/trades")["trades"])


def asked(guard: Program, programs: Programs, path: str) -> dict[str, Any]:
    """Ask the guard's gateway."""
    url = next(line for line in guard.said if line.startswith("ready ")).split()[1]
    token = (programs.folder / "data" / "token").read_text(encoding="utf-8").strip()
    headers = {"Authorization": f"Bearer {token}"}
    answer = httpx2.get(url + path, headers=headers, timeout=30, trust_env=False)
    found: dict[str, Any] = answer.json()
    return found


def test_a_bot_and_a_guard_on_one_account(programs: Programs) -> None:
    """The bot opens, the guard adopts and moves the stop, the bot sees it; the broker dies."""
    broker = programs.broker()
    office = programs.office()
    office.set_price("EURUSD", 1.1000, 1.1001)
    guard, bot = programs.guard(), programs.bot()
    ticket = bot.ask(f"mt5.order_send({BUY})")["order"]
    until(lambda: [one["ticket"] for one in trades(guard, programs)] == [ticket])

    # Up by more than one R, then back by most of it: the guard tightens the stop.
    office.set_price("EURUSD", 1.1150, 1.1151)
    until(lambda: trades(guard, programs)[0]["result_r"] > 1.0)
    office.set_price("EURUSD", 1.1090, 1.1091)
    until(lambda: bot.ask(f"mt5.positions_get(ticket={ticket})")[0]["sl"] > 1.09)
    stop = bot.ask(f"mt5.positions_get(ticket={ticket})")[0]["sl"]

    # The broker is killed: the bot gets its failure values, the guard says so and waits.
    broker.kill()
    assert bot.ask("mt5.positions_get()") is None
    assert bot.ask("mt5.last_error()")[0] in (-10002, -10004)
    assert bot.ask("mt5.positions_get()") is None
    assert bot.ask("mt5.last_error()") == [-10004, "No IPC connection"]
    assert bot.ask("mt5.initialize(timeout=1000)") is False
    assert bot.ask("mt5.last_error()")[0] == -10003
    guard.until(lambda: "terminal is lost" in guard.log or "lost" in guard.log)
    assert len(trades(guard, programs)) == 1  # nothing is removed on unknown

    # It comes back with its books, another port and another token: all go on.
    programs.broker("--port", "0")
    office.initialize()
    office.set_price("EURUSD", 1.1090, 1.1091)
    until(lambda: bot.ask("mt5.initialize()"))
    position = bot.ask("mt5.positions_get()")[0]
    assert (position["ticket"], position["magic"]) == (ticket, 7)
    assert position["sl"] >= stop
    guard.until(lambda: "the terminal is back" in guard.log)
    until(lambda: asked(guard, programs, "/health")["ready"])
    assert trades(guard, programs)[0]["ticket"] == ticket
    close = f"dict(action=1, position={ticket}, symbol='EURUSD', volume=0.05, type=1)"
    left = bot.ask(f"mt5.positions_get(ticket={ticket})")[0]["volume"]
    assert bot.ask(f"mt5.order_send(dict({close}, volume={left}))")["retcode"] == 10009
    until(lambda: trades(guard, programs) == [])
    assert guard.interrupt() == 0
    assert "Traceback" not in guard.log


def test_two_bots_at_once(programs: Programs) -> None:
    programs.broker()
    first, second = programs.bot(), programs.bot()
    order = f"[mt5.order_send({PLAIN}).order for _ in range(40)]"
    for bot in (first, second):
        bot.tell(order)
    tickets = first.heard() + second.heard()
    assert len(set(tickets)) == 80
    seen = [{one["ticket"] for one in bot.ask("mt5.positions_get()")} for bot in (first, second)]
    assert seen == [set(tickets)] * 2
    # Each has its own last_error.
    assert first.ask("mt5.symbol_info('NOTHING')") is None
    assert second.ask("mt5.last_error()") == [1, "Success"]
    assert first.ask("mt5.last_error()")[0] == -4


def test_a_guards_order_in_flight_when_the_broker_dies(programs: Programs) -> None:
    """Executed, but the answer never came: in doubt, resolved from the position, not sent twice."""
    broker = programs.broker()
    office = programs.office()
    office.set_price("EURUSD", 1.1000, 1.1001)
    guard, bot = programs.guard(), programs.bot()
    bot.ask(f"mt5.order_send({BUY})")
    until(lambda: len(trades(guard, programs)) == 1)
    office.set_price("EURUSD", 1.1150, 1.1151)
    until(lambda: trades(guard, programs)[0]["result_r"] > 1.0)
    office.add_fault(Fault(call="order_send", effect=Effect.HANG, when="after"))
    office.set_price("EURUSD", 1.1090, 1.1091)
    until(lambda: bot.ask("mt5.positions_get()")[0]["sl"] > 1.09)
    stop = bot.ask("mt5.positions_get()")[0]["sl"]
    assert len(office.orders_sent) == 2  # the bot's, and the guard's that has no answer yet
    broker.kill()
    guard.until(lambda: "in doubt" in guard.log)

    programs.broker("--port", "0")
    office.initialize()
    office.set_price("EURUSD", 1.1090, 1.1091)
    guard.until(lambda: "the terminal is back" in guard.log)
    until(lambda: trades(guard, programs)[0]["stop_loss"] == stop)
    until(lambda: asked(guard, programs, "/health")["ready"])
    kept = json.loads(programs.state.read_text(encoding="utf-8"))
    assert [one["sl"] for one in kept["positions"]] == [stop]
    assert [one for one in office.orders_sent if one.get("sl") == stop] == []


def test_ctrl_c_ends_the_broker_and_its_books_stay(programs: Programs) -> None:
    broker = programs.broker()
    assert f"export DTMS_BROKER={programs.file}" in broker.said
    assert broker.said[0].startswith("broker ready at 127.0.0.1:")
    assert broker.said[0].endswith(": account 5001000 on Simulated-Demo, any password")
    if sys.platform != "win32":
        assert programs.file.stat().st_mode & 0o777 == 0o600
    second = programs.broker(wait=False)
    assert second.ended() == 1
    assert f"a broker runs there already: {programs.file}" in second.log
    bot = programs.bot()
    ticket = bot.ask(f"mt5.order_send({PLAIN})")["order"]
    written = programs.state.stat().st_mtime_ns
    assert broker.interrupt() == 0
    assert programs.state.stat().st_mtime_ns > written  # how far the market has come
    assert "Traceback" not in broker.log
    assert not programs.file.exists()
    assert bot.ask("mt5.positions_get()") is None
    programs.broker("--duration", "60")
    assert bot.ask("mt5.initialize()") is True
    assert [one["ticket"] for one in bot.ask("mt5.positions_get()")] == [ticket]


@pytest.mark.parametrize(
    ("words", "environ", "status", "text"),
    [
        (("--broker", "127.0.0.1:5000"), {}, 2, "no file that can be written"),
        ((), {"DTMS_BROKER": "in-process"}, 2, "no file that can be written"),
        (("--port", "-1"), {}, 2, "--port"),
        (("--sim-faults", "missing.json"), {}, 1, "--sim-faults: missing.json"),
        (("--broker", "b.json", "--port", "TAKEN"), {}, 1, "port"),
    ],
)
def test_wrong_usage_is_one_line(
    programs: Programs,
    words: tuple[str, ...],
    environ: dict[str, str],
    status: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from console.main import main

    monkeypatch.chdir(programs.folder)
    for name in ("DTMS_BROKER", *environ):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DTMS_STATE_DIR", str(programs.folder))
    monkeypatch.setenv("DTMS_DURATION", "0.1")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert main(["broker", *(port if word == "TAKEN" else word for word in words)]) == status
    said = capsys.readouterr().err.strip().splitlines()
    assert len([line for line in said if line.startswith("dtms: ")]) == 1, said
    assert text in said[-1]


def test_the_lines_for_a_shell() -> None:
    values = {"PYTHONPATH": r"C:\it's here", "DTMS_BROKER": r"C:\b.json"}
    assert shell_lines(values, windows=True) == [
        "PowerShell:",
        r"  $env:PYTHONPATH = 'C:\it''s here'",
        r"  $env:DTMS_BROKER = 'C:\b.json'",
        "cmd:",
        r"  set PYTHONPATH=C:\it's here",
        r"  set DTMS_BROKER=C:\b.json",
    ]
    assert shell_lines({"A": "b c"}, windows=False) == ["export A='b c'"]


@pytest.mark.parametrize("account", ["None", "SimpleNamespace(trade_mode=2)"])
def test_the_example_trades_no_account_that_is_real(tmp_path: Path, account: str) -> None:
    """As it would be where PYTHONPATH is not set, and the official package is imported."""
    (tmp_path / "MetaTrader5.py").write_text(
        "from types import SimpleNamespace\n"
        "ACCOUNT_TRADE_MODE_DEMO = 0\n"
        "def initialize(): return True\n"
        f"def account_info(): return {account}\n"
        "def order_send(order): print('sent')\n"
        "def symbol_info_tick(name): return SimpleNamespace(ask=1.1)\n"
        "def symbol_info(name): return SimpleNamespace(point=0.1)\n"
        "def __getattr__(name): return 1\n"
        "def last_error(): return (1, 'Success')\n",
        encoding="utf-8",
    )
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "bot.py")],
        env={"PYTHONPATH": str(tmp_path)} if sys.platform != "win32" else None,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 1
    assert "not a demo account" in done.stderr
    assert done.stdout == ""
