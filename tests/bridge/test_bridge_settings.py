"""Where the bridge may lead, what it warns of, and that RPyC is loaded only for it."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bridge_kit import ROOT, Bridges
from loguru import logger

from actors.simulated import SimulatedRuntime
from actors.threads import ThreadRuntime
from defence.errors import Invalid, TerminalRefused
from supervisors import Settings
from supervisors.terminal_choice import make_terminal
from terminals.bridge.place import HOST, PORT, Place
from terminals.bridge.terminal import BridgeTerminal
from terminals.protocol import Abortable


@pytest.fixture(autouse=True)
def empty_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No dtms.toml of the developer's may be read."""
    monkeypatch.chdir(tmp_path)


def settings(**options: Any) -> Settings:
    return Settings(terminal="bridge", **options)


def test_it_is_real_observes_and_has_a_folder_by_account() -> None:
    plain = settings()
    assert (plain.simulated, plain.wanted_mode, plain.isolated) == (False, "observe", False)
    assert (plain.bridge_host, plain.bridge_port) == (HOST, PORT) == ("127.0.0.1", 18812)
    with pytest.raises(Invalid, match="data folder by account"):
        _ = plain.folder
    assert "5" in settings(login=5, server="S").folder.name


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost", "::ffff:127.0.0.1"])
def test_this_machine(host: str) -> None:
    assert settings(bridge_host=host).bridge.near


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "10.0.0.5", "broker.example", "::", "fe80::1%lo", "", "128.0.0.1"],  # noqa: S104
)
def test_another_machine_needs_the_switch(host: str) -> None:
    with pytest.raises(Invalid) as caught:
        settings(bridge_host=host)
    assert caught.value.field == "bridge_host"
    assert "ssh -N -L 18812:127.0.0.1:18812" in str(caught.value)
    assert "--bridge-remote" in str(caught.value)
    assert settings(bridge_host=host, bridge_remote=True).bridge == Place(host, PORT, remote=True)
    Settings(bridge_host=host)  # which is of no matter where there is no bridge


def test_a_name_that_leads_elsewhere_is_found_out_when_connected(
    bridges: Bridges, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name says nothing: what counts is who is at the other end."""
    here, there = socket.socketpair()
    with here, there:
        monkeypatch.setattr(socket, "create_connection", lambda *_: Elsewhere())
        terminal = bridges.terminal(Place("localhost"))
        assert not terminal.initialize()
        assert "localhost is 10.9.8.7, which is not this machine" in terminal.last_error()[1]


class Elsewhere:
    """A socket whose other end is on another machine."""

    def getpeername(self) -> tuple[str, int]:
        return "10.9.8.7", 18812

    def getsockname(self) -> tuple[str, int]:
        return "10.9.8.6", 40000

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize("port", [0, -1, 65_536])
def test_a_port_that_is_none(port: int) -> None:
    with pytest.raises(Invalid) as caught:
        Place(port=port)
    assert caught.value.field == "bridge_port"
    with pytest.raises(Invalid):
        settings(bridge_port=port)


def test_it_lives_in_no_worker() -> None:
    with pytest.raises(Invalid) as caught:
        settings(isolate=True)
    assert caught.value.field == "isolate"
    assert settings(isolate=False).worker_timeout == 9.0


def test_calls_are_given_up_before_their_connector_is_judged() -> None:
    assert settings(call_timeout=5.0).worker_timeout == 5.0
    with pytest.raises(Invalid) as caught:
        settings(call_timeout=10.0)
    assert caught.value.field == "call_timeout"


def chosen(options: Settings) -> BridgeTerminal:
    runtime = ThreadRuntime()
    try:
        made = make_terminal(options, runtime)
    finally:
        runtime.close()
    assert isinstance(made, BridgeTerminal)
    made.close()
    return made


def test_the_settings_reach_it() -> None:
    terminal = chosen(
        settings(
            bridge_port=2,
            login=5,
            password="pass-word-1",
            server="S",
            terminal_path=Path("C:/t/terminal64.exe"),
            portable=True,
            terminal_timeout=7.0,
            call_timeout=3.0,
        )
    )
    assert terminal._place == Place(port=2)
    assert dict(terminal._plan.options) == {
        "path": str(Path("C:/t/terminal64.exe")),
        "login": 5,
        "password": "pass-word-1",
        "server": "S",
        "portable": True,
        "timeout_ms": 7_000,
    }
    assert terminal._host.call_timeout == 3.0
    assert (terminal.name, terminal.real) == ("bridge", True)
    assert "pass-word-1" not in repr(terminal)
    assert isinstance(terminal, Abortable)


@pytest.mark.parametrize("remote", [False, True])
def test_it_warns_of_the_protocol_where_it_leaves_the_machine(remote: bool) -> None:
    said: list[str] = []
    sink = logger.add(said.append, level="WARNING")
    try:
        host = "10.0.0.5" if remote else "127.0.0.1"
        chosen(settings(bridge_host=host, bridge_remote=True))
    finally:
        logger.remove(sink)
    assert len(said) == remote
    assert all("runs any program there" in one and "ssh -N -L" in one for one in said)


def test_virtual_time_has_no_bridge() -> None:
    with pytest.raises(Invalid) as caught:
        make_terminal(settings(), SimulatedRuntime(0))
    assert caught.value.field == "terminal"


def test_the_extra_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [one for one in sys.modules if one.split(".")[0] == "rpyc"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "rpyc", None)
    with pytest.raises(TerminalRefused) as caught:
        chosen(settings())
    assert "pip install 'dtms[bridge]'" in str(caught.value)


def test_rpyc_is_loaded_for_the_bridge_alone() -> None:
    program = """
import sys
from actors.threads import ThreadRuntime
from supervisors import Guard, Settings
from supervisors.terminal_choice import choose_terminal
import console.main, terminals.bridge.place

def loaded():
    return {name.split(".")[0] for name in sys.modules} & {"rpyc", "plumbum", "mt5linux"}

runtime = ThreadRuntime()
choose_terminal(Settings(), runtime).close()
assert not loaded(), loaded()
choose_terminal(Settings(terminal="bridge"), runtime).close()
assert loaded() == {"rpyc"}, loaded()
runtime.close()
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
