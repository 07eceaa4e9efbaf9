"""The way to the package: which terminal, which arguments, and what comes back."""

from __future__ import annotations

import datetime as dt
from enum import Enum, IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from native_kit import Hosted, Install

from defence.errors import Invalid, TerminalRefused
from terminals.installed import installed, same_folder, terminal_at
from terminals.lease import Lease, Permit
from terminals.plain import plain, plain_filters
from terminals.structs import AccountInfo, SymbolInfo, TradeDeal, TradePosition, TradeRequest

BUY = {"action": 1, "symbol": "EURUSD", "volume": 0.1, "type": 0, "type_filling": 1}


# -- which terminal


def machine(folder: Path, *, started: tuple[Path, ...] = ()) -> dict[str, str]:
    """Return the environment of a user who has started some terminals."""
    for number, place in enumerate(started):
        data = folder / "Roaming" / "MetaQuotes" / "Terminal" / f"D0E8{number}"
        data.mkdir(parents=True)
        (data / "origin.txt").write_text(str(place), encoding="utf-16")
    return {"APPDATA": str(folder / "Roaming"), "ProgramFiles": str(folder / "Program Files")}


def put(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "terminal64.exe").touch()
    return folder / "terminal64.exe"


def test_the_only_terminal_is_found_once_by_whatever_place_names_it(tmp_path: Path) -> None:
    home = tmp_path / "Program Files" / "MetaTrader 5"
    executable = put(home)
    (tmp_path / "Program Files" / "Other").mkdir()
    gone = tmp_path / "uninstalled"
    environment = machine(tmp_path, started=(home, gone))
    assert installed(environment) == (executable,)
    assert terminal_at(None, environment) == str(executable)


def test_a_terminal_outside_of_the_program_folder_is_known_by_its_origin(tmp_path: Path) -> None:
    executable = put(tmp_path / "D" / "Broker MT5")
    environment = machine(tmp_path, started=(executable.parent,))
    assert terminal_at(None, environment) == str(executable)


def test_one_of_several_is_never_guessed(tmp_path: Path) -> None:
    one = put(tmp_path / "Program Files" / "MetaTrader 5")
    other = put(tmp_path / "D" / "Broker MT5")
    environment = machine(tmp_path, started=(other.parent,))
    with pytest.raises(TerminalRefused) as caught:
        terminal_at(None, environment)
    assert str(one) in str(caught.value)
    assert str(other) in str(caught.value)
    assert "--terminal-path" in (caught.value.remedy or "")
    assert terminal_at(str(other), environment) == str(other)


def test_none_is_refused_and_so_is_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(TerminalRefused, match="no MetaTrader 5 terminal is installed"):
        terminal_at(None, {})
    environment = machine(tmp_path, started=(tmp_path,))
    origin = next((tmp_path / "Roaming").rglob("origin.txt"))
    origin.write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(TerminalRefused, match="cannot be told which"):
        terminal_at(None, environment)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("nowhere/terminal64.exe", "does not exist"),
        ("folder", "is a folder"),
        ("folder/terminal.exe", "is no MetaTrader 5 terminal"),
        ("folder/metaeditor64.exe", "is no MetaTrader 5 terminal"),
    ],
)
def test_a_path_that_is_no_terminal(tmp_path: Path, name: str, problem: str) -> None:
    (tmp_path / "folder").mkdir()
    for one in ("terminal.exe", "metaeditor64.exe"):
        (tmp_path / "folder" / one).touch()
    with pytest.raises(TerminalRefused, match=problem) as caught:
        terminal_at(str(tmp_path / name), {})
    assert caught.value.field == "terminal_path"
    assert "terminal64.exe" in (caught.value.remedy or "")


def test_capitals_make_no_difference_to_a_name(tmp_path: Path) -> None:
    path = tmp_path / "Terminal64.EXE"
    path.touch()
    assert terminal_at(str(path), {}) == str(path)


def test_folders_are_the_same_by_what_they_are(tmp_path: Path) -> None:
    executable = put(tmp_path / "a")
    (tmp_path / "b").mkdir()
    assert same_folder(str(tmp_path / "a"), str(executable))
    assert same_folder(str(tmp_path / "b" / ".." / "a"), str(executable))
    assert not same_folder(str(tmp_path / "b"), str(executable))
    assert same_folder(r"Z:\gone\x", r"Z:\gone\x/terminal64.exe")
    assert not same_folder("/gone/x", "/gone/y/terminal64.exe")


def test_without_a_path_the_only_one_is_given_to_the_package(
    install: Install, hosted: Hosted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = install("Program Files/MetaTrader 5")
    monkeypatch.setenv("ProgramFiles", str(tmp_path / "Program Files"))
    terminal = hosted(None)
    assert terminal.initialize()
    assert home.given("initialize") == [
        {
            "path": ["str", str(home.executable)],
            "timeout": ["int", 60_000],
            "portable": ["bool", False],
        }
    ]


def test_two_terminals_by_their_paths(install: Install, hosted: Hosted) -> None:
    homes = [install("one"), install("two", build=6000)]
    terminals = [hosted(home) for home in homes]
    assert all(terminal.initialize() for terminal in terminals)
    builds = [info.build for one in terminals if (info := one.terminal_info()) is not None]
    assert builds == [5000, 6000]
    assert terminals[0].symbol_select("EURUSD")
    assert terminals[0].order_send(BUY) is not None
    assert [len(one.positions_get() or ()) for one in terminals] == [1, 0]


def test_another_terminal_that_answers_is_not_taken(install: Install, hosted: Hosted) -> None:
    home, other = install("mine"), install("other")
    home.now(path=str(other.folder))
    terminal = hosted(home)
    assert terminal.initialize() is False
    code, text = terminal.last_error()
    assert code == -10_003
    assert "other answers, not" in text
    assert terminal.account_info() is None  # it was let go
    home.now(path="")  # one that does not say is not refused
    assert terminal.initialize() is True


def test_a_terminal_that_cannot_be_asked_which_it_is_is_not_taken(
    install: Install, hosted: Hosted
) -> None:
    home = install(silent=True)
    terminal = hosted(home)
    assert terminal.initialize() is False
    code, text = terminal.last_error()
    assert code == -10_005
    assert "which terminal answers cannot be told" in text
    assert terminal.account_info() is None  # it was let go
    home.now(silent=False)
    assert terminal.initialize() is True


def test_an_executable_that_is_being_replaced_is_an_outage(
    install: Install, hosted: Hosted
) -> None:
    home = install()
    terminal = hosted(home)
    assert terminal.initialize()
    home.executable.rename(home.folder / "old.exe")
    before = home.count("initialize")
    assert terminal.initialize() is False
    assert terminal.last_error()[0] == -10_003
    assert home.count("initialize") == before  # the package may not look for another one
    (home.folder / "old.exe").rename(home.executable)
    assert terminal.initialize()
    # What was open is let go first; the first time there is nothing to let go.
    names = [name for name, _ in home.calls if name in ("initialize", "shutdown")]
    assert names == ["initialize", "shutdown", "initialize"]


@pytest.mark.parametrize(
    ("options", "credentials"),
    [
        ({"login": 5, "server": "S"}, {}),
        ({"login": 5, "password": "x"}, {"login": ["int", 5], "password": ["str", "x"]}),
    ],
)
def test_the_account_is_changed_only_with_credentials(
    install: Install, hosted: Hosted, options: dict[str, Any], credentials: dict[str, Any]
) -> None:
    home = install()
    hosted(home, **options, portable=True, timeout_ms=5).initialize()
    (found,) = home.given("initialize")
    assert found == {
        "path": ["str", str(home.executable)],
        "timeout": ["int", 5],
        "portable": ["bool", True],
        **credentials,
    }


# -- arguments


class Number(IntEnum):
    SEVEN = 7


class Word(str, Enum):  # noqa: UP042 - its text is not its value
    EURO = "EURUSD"


class Other(Enum):
    HALF = 0.5


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (np.int64(3), 3),
        (np.float64(1.5), 1.5),
        (np.float32(0.5), 0.5),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        (np.array([4]), 4),
        (np.array(2.5), 2.5),
        (Number.SEVEN, 7),
        (Word.EURO, "EURUSD"),
        (Other.HALF, 0.5),
        (Path("a"), "a"),
        (dt.datetime(2024, 1, 1, tzinfo=dt.UTC), 1_704_067_200.0),
        (True, True),
    ],
)
def test_values_become_plain(value: object, wanted: object) -> None:
    found = plain("name", value)
    assert found == wanted
    assert type(found) is type(wanted)


@pytest.mark.parametrize(
    "value",
    [None, object(), [1], (1,), {}, b"x", 1j, float("nan"), np.float64("inf"), np.arange(2)],
)
def test_what_is_not_plain_is_named(value: object) -> None:
    with pytest.raises(Invalid) as caught:
        plain("volume", value)
    assert caught.value.field == "volume"
    assert caught.value.remedy


@given(
    st.dictionaries(
        st.text(max_size=5),
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    )
)
def test_nothing_but_the_four_types_and_never_none(given_: dict[str, Any]) -> None:
    finite = {k: v for k, v in given_.items() if v not in (float("inf"), float("-inf"))}
    found = plain_filters(finite)
    assert found == {k: v for k, v in finite.items() if v is not None}
    assert {type(value) for value in found.values()} <= {bool, int, float, str}


def test_a_request_reaches_the_package_as_plain_values(install: Install, hosted: Hosted) -> None:
    home = install()
    terminal = hosted(home)
    assert terminal.initialize()
    request = {**BUY, "magic": Number.SEVEN, "symbol": Word.EURO, "sl": None, "volume": 0.1}
    result = terminal.order_send(request)
    assert result is not None
    assert result.retcode == 10009
    (sent,) = home.given("request")
    assert sent["magic"] == ["int", 7]
    assert sent["symbol"] == ["str", "EURUSD"]
    assert "sl" not in sent
    position = (terminal.positions_get(ticket=result.order, symbol=None) or ())[0]
    assert (position.magic, position.symbol) == (7, "EURUSD")


def test_a_request_that_cannot_be_made_plain_is_known_not_to_be_sent(
    install: Install, hosted: Hosted
) -> None:
    home = install()
    terminal = hosted(home)
    assert terminal.initialize()
    for call in (terminal.order_send, terminal.order_check):
        assert call({**BUY, "volume": float("nan")}) is None
        code, text = terminal.last_error()
        assert code == -2
        assert '"volume"' in text
    assert home.given("request") == []
    assert terminal.account_info() is not None
    assert terminal.last_error()[0] == 1  # the refusal is the newest call's only


# -- results


def test_every_kind_of_row_crosses_as_plain_data(install: Install, hosted: Hosted) -> None:
    """The stand-in's types are made in C, as the package's are: they do not pickle."""
    terminal = hosted(install())
    assert terminal.initialize()
    assert type(terminal.account_info()) is AccountInfo
    assert type(terminal.symbol_info("EURUSD")) is SymbolInfo
    assert terminal.order_check(BUY) is not None
    result = terminal.send_under(Permit(Lease("c", 1)), BUY)
    assert result is not None
    assert type(result.request) is TradeRequest
    assert result.request.symbol == "EURUSD"
    (position,) = terminal.positions_get() or ()
    (deal,) = terminal.history_deals_get(position=position.identifier) or ()
    (order,) = terminal.history_orders_get(ticket=deal.order) or ()
    assert (type(position), type(deal)) == (TradePosition, TradeDeal)
    for row in (position, deal, order):
        assert {type(value) for value in row} <= {int, float, str, bool}
    bars = terminal.copy_rates_from_pos("EURUSD", 1, 0, 5)
    assert bars is not None
    assert bars.dtype["tick_volume"] == np.uint64
    assert bars.flags.writeable
    now = 1_700_000_000
    assert terminal.history_deals_get(now - 86_400, dt.datetime.fromtimestamp(now + 86_400, dt.UTC))


def test_the_account_is_looked_at_in_the_call_of_the_order(
    install: Install, hosted: Hosted
) -> None:
    home = install()
    terminal = hosted(home)
    assert terminal.initialize()
    account = terminal.account_info()
    assert account is not None

    def look() -> None:
        assert terminal.account_info() is not None
        home.now(login=77, server="Elsewhere")  # a person logs in elsewhere right now

    assert terminal.send_under(Permit(Lease("c", 1), check=look), BUY) is None
    code, text = terminal.last_error()
    assert code == -10_004
    assert "login is 77" in text
    assert home.given("request") == []
    home.now(login=account.login, server=account.server)

    def gone() -> None:
        assert terminal.account_info() is not None
        home.now(up=False)  # nobody can say who is logged in

    assert terminal.send_under(Permit(Lease("c", 1), check=gone), BUY) is None
    code, text = terminal.last_error()
    assert code == -10_004
    assert "cannot be read at the order" in text
    assert home.given("request") == []
