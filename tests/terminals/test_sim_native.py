"""The adapter to the official package, against a stand-in for that package."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from defence.errors import TerminalRefused
from terminals import NativeTerminal, Terminal


class FakePackage(ModuleType):
    """Notes every call; answers with its name."""

    def __init__(self) -> None:
        super().__init__("MetaTrader5")
        self.noted: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)

        def call(*unnamed: Any, **named: Any) -> Any:
            self.noted.append((name, unnamed, named))
            return (-1, "failed") if name == "last_error" else name

        return call


@pytest.fixture
def executable(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The only terminal that is installed."""
    for name in ("APPDATA", "ProgramW6432"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ProgramFiles", str(tmp_path))
    (tmp_path / "MetaTrader 5").mkdir()
    path = tmp_path / "MetaTrader 5" / "terminal64.exe"
    path.touch()
    return str(path)


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch, executable: str) -> FakePackage:
    fake = FakePackage()
    monkeypatch.setitem(sys.modules, "MetaTrader5", fake)
    return fake


def test_without_the_package_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "MetaTrader5", None)
    with pytest.raises(TerminalRefused) as caught:
        NativeTerminal()
    assert "pip install MetaTrader5" in (caught.value.remedy or "")
    assert "--terminal simulated" in (caught.value.remedy or "")


@pytest.mark.parametrize(
    ("given", "passed"),
    [
        ({}, {"timeout": 60_000, "portable": False}),
        ({"portable": True}, {"timeout": 60_000, "portable": True}),
        (
            {"login": 5, "password": "x", "server": "S", "timeout_ms": 9},
            {"login": 5, "password": "x", "server": "S", "timeout": 9, "portable": False},
        ),
        # without a login the rest would mean nothing to the package, without a
        # password it would log in to the account, which is left as it is
        ({"password": "x", "server": "S"}, {"timeout": 60_000, "portable": False}),
        ({"login": 5, "server": "S"}, {"timeout": 60_000, "portable": False}),
    ],
)
def test_initialize(
    package: FakePackage, executable: str, given: dict[str, Any], passed: dict[str, Any]
) -> None:
    assert NativeTerminal(**given).initialize() is True
    assert package.noted[0] == ("initialize", (), {"path": executable, **passed})


def test_the_password_is_never_shown(package: FakePackage) -> None:
    shown = repr(NativeTerminal(login=5, password="secret", server="S"))
    assert "secret" not in shown
    assert "S" in shown


def test_every_function_reaches_the_package_by_its_name(package: FakePackage) -> None:
    terminal: Terminal = NativeTerminal()
    assert (terminal.name, terminal.real) == ("native", True)
    request = {"action": 1}
    terminal.account_info()
    terminal.terminal_info()
    terminal.symbol_info("EURUSD")
    terminal.symbol_info_tick("EURUSD")
    terminal.symbol_select("EURUSD", False)
    terminal.positions_get(ticket=3)
    terminal.orders_get(symbol="EURUSD")
    terminal.order_check(request)
    terminal.order_send(request)
    terminal.history_deals_get(1, 2, group="*")
    terminal.history_orders_get(position=4)
    terminal.copy_rates_from_pos("EURUSD", 1, 0, 9)
    assert terminal.last_error() == (-1, "failed")
    terminal.shutdown()
    terminal.close()
    assert package.noted == [
        ("account_info", (), {}),
        ("terminal_info", (), {}),
        ("symbol_info", ("EURUSD",), {}),
        ("symbol_info_tick", ("EURUSD",), {}),
        ("symbol_select", ("EURUSD", False), {}),
        ("positions_get", (), {"ticket": 3}),
        ("orders_get", (), {"symbol": "EURUSD"}),
        ("order_check", (request,), {}),
        ("order_send", (request,), {}),
        ("history_deals_get", (1, 2), {"group": "*"}),
        ("history_orders_get", (), {"position": 4}),
        ("copy_rates_from_pos", ("EURUSD", 1, 0, 9), {}),
        ("last_error", (), {}),
        ("shutdown", (), {}),
        ("shutdown", (), {}),
    ]


def test_the_permit_is_held_around_the_order(package: FakePackage) -> None:
    seen = []

    @contextmanager
    def permit() -> Iterator[None]:
        seen.append(len(package.noted))
        yield
        seen.append(len(package.noted))

    NativeTerminal().send_under(permit(), {"action": 1})
    assert seen == [0, 1]
