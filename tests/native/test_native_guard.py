"""A guard on a native terminal that updates itself, changes its account, or forbids orders."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from native_kit import Install, Installed

from actors.events import Event, Kind
from defence.alerts import Severity
from defence.errors import AccountRefused, TerminalRefused
from defence.trade import Step
from supervisors import Guard, Settings, Trade
from terminals.worker.hosted import WorkerTerminal

ENTRY, WORSE = [1.0999, 1.1000], [1.0945, 1.0946]
NOT_MINE = (Kind.CHARGED, Kind.FENCED, Kind.ESCALATED, Kind.RESTARTING)
Start = Callable[..., Guard]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start guards on installed terminals, armed."""
    guards: list[Guard] = []

    def make(home: Installed, **options: Any) -> Guard:
        values: dict[str, Any] = {
            "terminal": "native",
            "terminal_path": home.executable,
            "mode": "armed",
            "data_dir": tmp_path / f"data of {home.folder.name}",
            "state_dir": tmp_path / "state",
            "interval": 0.05,
            "check_every": 0.05,
            "quote_stale_after": 1e9,
            "startup_timeout": 60.0,
            **options,
        }
        guards.append(Guard(Settings(**values)))
        return guards[-1].start()

    yield make
    for guard in guards:
        guard.stop()


def until(condition: Callable[[], object], timeout: float = 60.0) -> None:
    """Wait; fail if it does not come."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it did not come to that in time"
        time.sleep(0.01)


def seen(guard: Guard, *wanted: Kind, after: int = 0) -> list[Event]:
    return [event for event in guard.events.since(after) if event.kind in wanted]


def terminal_of(guard: Guard) -> WorkerTerminal:
    terminal = guard._house._terminal
    assert isinstance(terminal, WorkerTerminal)
    return terminal


def trade(guard: Guard) -> int:
    """Open a position with a risk of 100 pips and register it; return its ticket."""
    request = {"action": 1, "symbol": "EURUSD", "volume": 0.2, "type": 0, "sl": 1.09}
    result = terminal_of(guard).order_send({**request, "type_filling": 1})
    assert result is not None
    assert result.retcode == 10009
    guard.register(Trade(ticket=result.order), timeout=60.0)
    return int(result.order)


def cycles(guard: Guard, more: int) -> None:
    wanted = len(seen(guard, Kind.CYCLE)) + more
    until(lambda: len(seen(guard, Kind.CYCLE)) >= wanted)


def test_a_terminal_that_updates_itself_is_an_outage_and_is_looked_at_anew(
    install: Install, start: Start
) -> None:
    home = install(prices={"EURUSD": ENTRY})
    guard = start(home)
    ticket = trade(guard)
    cycles(guard, 2)
    opened = len(home.given("request"))
    worker = terminal_of(guard).pid

    home.now(up=False)
    until(lambda: seen(guard, Kind.CONNECT_FAILED))
    assert seen(guard, Kind.TERMINAL_LOST)
    assert any(event.child == "monitor" for event in seen(guard, Kind.PARKED))
    # It comes back with another build, the button off, and the market has moved.
    home.now(up=True, starting=1, build=5100, autotrading=False, prices={"EURUSD": WORSE})
    until(lambda: seen(guard, Kind.TERMINAL_BACK))
    assert any("-10005" in str(one.facts["error"]) for one in seen(guard, Kind.CONNECT_FAILED))
    (update,) = seen(guard, Kind.TERMINAL_UPDATED)
    assert (update.facts["before"], update.facts["build"]) == (5000, 5100)
    (cannot,) = seen(guard, Kind.CANNOT_ACT)
    assert "Algo Trading" in str(cannot.facts["reason"])
    # All of that was known before anything was decided.
    decided = seen(guard, Kind.CYCLE, Kind.WOULD, after=seen(guard, Kind.TERMINAL_LOST)[0].seq)
    assert all(event.seq > cannot.seq for event in decided)
    cycles(guard, 3)
    assert len(home.given("request")) == opened
    assert any(reason.startswith("cannot_act") for reason in guard.health().reasons)
    alerts = {alert.key: alert for alert in guard.alerts()}
    assert alerts["terminal_updated"].severity is Severity.INFO
    assert alerts["cannot_act"].acknowledged_at is None

    home.now(autotrading=True)
    until(lambda: guard.trade(ticket, timeout=60.0).steps == (Step.L1_STOP,))
    cycles(guard, 2)
    assert guard.health().ready
    assert len(home.given("request")) == opened + 1
    assert seen(guard, *NOT_MINE) == []
    assert terminal_of(guard).pid == worker  # nothing hung, so nothing was killed


def test_another_account_after_the_outage_is_refused(install: Install, start: Start) -> None:
    home = install(prices={"EURUSD": ENTRY})
    guard = start(home)
    ticket = trade(guard)
    account = guard.status()["account"]
    assert isinstance(account, dict)
    cycles(guard, 1)
    opened = len(home.given("request"))
    home.now(up=False)
    until(lambda: seen(guard, Kind.TERMINAL_LOST))
    home.now(up=True, login=77, server="Elsewhere", prices={"EURUSD": WORSE})
    until(lambda: any("77" in str(e.facts["error"]) for e in seen(guard, Kind.CONNECT_FAILED)))
    assert seen(guard, Kind.TERMINAL_BACK) == []
    assert len(home.given("request")) == opened
    home.now(login=account["login"], server=account["server"])
    until(lambda: seen(guard, Kind.TERMINAL_BACK))
    until(lambda: guard.trade(ticket, timeout=60.0).steps == (Step.L1_STOP,))
    assert seen(guard, *NOT_MINE) == []


def test_an_account_that_is_switched_while_connected_is_unknown(
    install: Install, start: Start
) -> None:
    home = install(prices={"EURUSD": ENTRY})
    guard = start(home)
    trade(guard)
    opened = len(home.given("request"))
    home.now(login=77, server="Elsewhere", prices={"EURUSD": WORSE})
    until(lambda: seen(guard, Kind.TERMINAL_LOST))
    (lost,) = seen(guard, Kind.TERMINAL_LOST)
    assert "77" in str(lost.facts["reason"])
    time.sleep(0.3)  # some cycles, none of which may see anything
    assert len(home.given("request")) == opened
    assert [one.ticket for one in guard.trades(timeout=60.0)]


def test_two_guards_on_two_terminals(install: Install, start: Start) -> None:
    homes = [install("one", login=1, server="A"), install("two", login=2, server="A")]
    guards = [start(home) for home in homes]
    assert [guard.status()["account"]["login"] for guard in guards] == [1, 2]  # type: ignore[index]
    assert len({terminal_of(guard).pid for guard in guards}) == 2
    with pytest.raises(Exception, match="account 1 on 'A'"):
        start(homes[0], data_dir=homes[0].folder / "another")


def test_without_credentials_the_account_is_left_and_checked(
    install: Install, start: Start
) -> None:
    home = install(login=5, server="S")
    with pytest.raises(AccountRefused, match="the terminal shows 5"):
        start(home, login=6, server="S")
    assert all("login" not in options for options in home.given("initialize"))
    assert start(home, login=5, server="S").health().ready


def test_a_package_that_does_not_fit_is_refused_at_the_start_only(
    install: Install, start: Start
) -> None:
    home = install(deviates=["incompatible"])
    with pytest.raises(TerminalRefused, match="Incompatible versions") as caught:
        start(home)
    assert "pip install --upgrade MetaTrader5" in (caught.value.remedy or "")
    home.now(deviates=[])
    guard = start(home)
    home.now(up=False)
    until(lambda: seen(guard, Kind.TERMINAL_LOST))
    home.now(up=True, deviates=["incompatible"])
    until(
        lambda: any("do not fit" in str(e.facts["error"]) for e in seen(guard, Kind.CONNECT_FAILED))
    )
    home.now(deviates=[])
    until(lambda: seen(guard, Kind.TERMINAL_BACK))
    assert seen(guard, *NOT_MINE) == []
