"""A whole guard on the bridge: it parks during an outage, resumes, and sends nothing twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bridge_kit import LONG, Bridges, Server, until

from actors.events import Event, Kind
from defence.errors import StartRefused
from supervisors import Guard, Settings, Trade

Make = Callable[..., Guard]


@pytest.fixture(scope="module")
def server(shared: Bridges) -> Server:
    """A server whose broker outlives it."""
    return shared.server(state=shared.folder / "broker.json")


@pytest.fixture
def make(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Make guards of that server's account."""
    monkeypatch.chdir(tmp_path)  # no dtms.toml of the developer's may be read
    guards: list[Guard] = []

    def build(**options: Any) -> Guard:
        settings: dict[str, Any] = {
            "terminal": "bridge",
            "bridge_port": server.port,
            "mode": "armed",
            "data_dir": tmp_path / "data",
            "state_dir": tmp_path / "state",
            "interval": 0.05,
            "check_every": 0.05,
            "backoff_first": 0.01,
            "quote_stale_after": 1e9,
            "adoption": "ignore",
            **options,
        }
        guards.append(Guard(Settings(**settings)))
        return guards[-1]

    yield build
    for guard in guards:
        guard.stop()


def seen(guard: Guard, *wanted: Kind) -> list[Event]:
    return [event for event in guard.events.since() if event.kind in wanted]


def test_it_parks_while_the_server_is_away_and_resumes(make: Make, server: Server) -> None:
    guard = make().start()
    connected = seen(guard, Kind.CONNECTED)[0].facts
    assert (connected["terminal"], connected["real"]) == ("bridge", True)
    ticket = server.package.terminal.open_position("EURUSD", "BUY", 0.1, sl=0.5)
    guard.register(Trade(ticket=ticket), timeout=LONG)
    server.kill()
    until(lambda: seen(guard, Kind.TERMINAL_LOST))
    until(lambda: len(seen(guard, Kind.CONNECT_FAILED)) >= 2)
    server.start()
    until(lambda: seen(guard, Kind.TERMINAL_BACK) and guard.health().ready)
    assert [one.ticket for one in guard.trades(timeout=LONG)] == [ticket]
    cycles = len(seen(guard, Kind.CYCLE))
    until(lambda: len(seen(guard, Kind.CYCLE)) > cycles + 2)
    assert seen(guard, Kind.CHARGED, Kind.FENCED, Kind.LEAKED) == []


@pytest.mark.parametrize("what", ["die", "hang"])
def test_an_order_whose_answer_is_lost_is_resolved_and_not_sent_again(
    make: Make, server: Server, what: str
) -> None:
    guard = make(call_timeout=0.5 if what == "hang" else 9.0).start()
    broker = server.package.terminal
    sent = len(broker.orders_sent)
    broker.set_price("EURUSD", 1.0999, 1.1000)
    ticket = broker.open_position("EURUSD", "BUY", 0.2, sl=1.09)
    guard.register(Trade(ticket=ticket), timeout=LONG)
    server.spoil("order_send", "after", what)
    broker.set_price("EURUSD", 1.0945, 1.0946)
    until(lambda: seen(guard, Kind.OUTCOME))
    assert seen(guard, Kind.OUTCOME)[0].facts["outcome"] == "unknown"
    if what == "die":
        server.kill()
        server.start()
        # Another process begins with the market's own price; the decision was made at this one.
        server.package.terminal.set_price("EURUSD", 1.0945, 1.0946)
    else:
        until(
            lambda: any(
                "still under way" in str(e.facts["error"]) for e in seen(guard, Kind.CONNECT_FAILED)
            )
        )
        assert len(seen(guard, Kind.OUTCOME)) == 1, "nothing is decided while it may still happen"
        server.package.released.set()
    until(lambda: any(e.facts["outcome"] == "done" for e in seen(guard, Kind.OUTCOME)))
    until(lambda: guard.health().ready)
    assert guard.trade(ticket, timeout=LONG).stop_loss > 1.09  # type: ignore[operator]
    assert len(seen(guard, Kind.INTENT)) == 1
    assert len(server.package.terminal.orders_sent) == (0 if what == "die" else sent + 1)


def test_it_observes_unless_it_is_armed(make: Make, server: Server) -> None:
    guard = make(mode=None).start()
    assert guard.status()["mode"] == "observe"


def test_a_server_without_the_package_refuses_the_start(bridges: Bridges, make: Make) -> None:
    bare = bridges.server(package="raise ModuleNotFoundError('No module named MetaTrader5')")
    with pytest.raises(StartRefused, match="cannot import MetaTrader5") as caught:
        make(bridge_port=bare.port).start()
    assert "wine python -m pip install MetaTrader5" in str(caught.value)
