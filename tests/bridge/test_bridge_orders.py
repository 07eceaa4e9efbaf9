"""An order's permit, and whose account it is for."""

from __future__ import annotations

from types import TracebackType
from typing import Any

import pytest
from bridge_kit import Bridges, InCall, Server, until

from defence.errors import Fenced
from terminals.bridge.terminal import BridgeTerminal
from terminals.lease import Lease, Permit

BUY = {"action": 1, "symbol": "EURUSD", "volume": 0.1, "type": 0, "type_filling": 0}


@pytest.fixture(scope="module")
def server(shared: Bridges) -> Server:
    return shared.server()


@pytest.fixture
def terminal(bridges: Bridges, server: Server) -> BridgeTerminal:
    return bridges.connected(server)


def buys(server: Server) -> int:
    return len(server.package.terminal.orders_sent)


class Watched:
    """A permit that does something at its entry and tells when it was left."""

    def __init__(self, at_entry: Any) -> None:
        self.at_entry, self.left = at_entry, False

    def __enter__(self) -> None:
        self.at_entry()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.left = True


def test_a_permit_that_refuses_sends_nothing(terminal: BridgeTerminal, server: Server) -> None:
    lease = Lease("connector", 1)
    lease.revoke(0)
    before = buys(server)
    with pytest.raises(Fenced):
        terminal.send_under(Permit(lease), BUY)
    assert buys(server) == before
    assert terminal.account_info() is not None, "and the connection goes on"


def test_the_permit_is_held_until_the_answer_is_there(
    terminal: BridgeTerminal, server: Server
) -> None:
    permit = Watched(lambda: None)
    server.spoil("order_send", "after", "hang")
    before = buys(server)
    sent = InCall(lambda: terminal.send_under(permit, BUY))
    until(lambda: buys(server) > before)
    assert not permit.left
    server.package.released.set()
    assert sent.result().retcode == 10009
    assert permit.left
    server.package.released.clear()


@pytest.mark.parametrize("why", ["deadline", "abort"])
def test_the_permit_is_left_when_the_order_is_given_up(
    bridges: Bridges, server: Server, why: str
) -> None:
    terminal = bridges.connected(server, call_timeout=0.3 if why == "deadline" else 60.0)
    permit = Watched(lambda: None)
    server.spoil("order_send", "after", "hang")
    before = buys(server)
    sent = InCall(lambda: (terminal.send_under(permit, BUY), terminal.last_error()[0]))
    if why == "abort":
        until(lambda: buys(server) > before)
        assert not permit.left
        terminal.abort()
    assert sent.result() == (None, -10005 if why == "deadline" else -10002)
    assert permit.left
    assert terminal.pid is None, "nothing more can leave from here"
    server.package.released.set()
    until(terminal.initialize)
    server.package.released.clear()


def test_the_account_that_the_permit_saw_must_be_the_one_of_the_order(
    terminal: BridgeTerminal, server: Server
) -> None:
    before = buys(server)

    def looked_and_somebody_switched() -> None:
        assert terminal.account_info() is not None
        server.package.terminal.switch_account(77, "Elsewhere")

    account = terminal.account_info()
    assert account is not None
    permit = Watched(looked_and_somebody_switched)
    assert terminal.send_under(permit, BUY) is None
    code, text = terminal.last_error()
    assert code == -10004
    assert f"not sent: login is 77, expected {account.login}" in text
    assert buys(server) == before
    server.package.terminal.switch_account(account.login, account.server)
    permit = Watched(terminal.account_info)
    assert terminal.send_under(permit, BUY) is not None


def test_the_account_of_the_settings_must_be_the_one_of_the_order(
    bridges: Bridges, server: Server, terminal: BridgeTerminal
) -> None:
    account = terminal.account_info()
    assert account is not None
    other = bridges.terminal(server.place, server="Another-Broker")
    assert other.initialize()
    before = buys(server)
    assert other.send_under(Watched(lambda: None), BUY) is None
    assert "server is" in other.last_error()[1]
    assert other.order_send(BUY) is not None, "without a permit nobody is expected"
    assert buys(server) == before + 1


def test_login_and_password_reach_the_package_as_arguments(
    bridges: Bridges, server: Server
) -> None:
    given = {"login": 5, "password": "pass-word-1", "server": "S", "path": "C:\\t\\terminal64.exe"}
    bridges.terminal(server.place, portable=True, timeout_ms=7_000, **given).initialize()
    name, unnamed, named = server.package.seen[-1]
    assert (name, tuple(unnamed)) == ("initialize", ())
    assert {key: named[key] for key in named} == {**given, "timeout": 7_000, "portable": True}
    for half in ({"password": "p"}, {"login": 5}):  # a login alone logs in by a kept password
        bridges.terminal(server.place, server="S", **half).initialize()
        _, _, named = server.package.seen[-1]
        assert {key: named[key] for key in named} == {"timeout": 60_000, "portable": False}
