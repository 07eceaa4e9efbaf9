"""Behind a server or here, the same seed gives the same answers, types and errors.

The calls are those with which the worker is compared; what is compared with is
the package's functions over the same simulated terminal in this process.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from bridge_kit import ROOT, Bridges, InCall, Server, twin

from terminals.bridge.terminal import BridgeTerminal
from terminals.module import module_functions

sys.path.append(str(ROOT / "tests" / "worker"))
from test_worker_same import Script, done, shape

BUY = {"action": 1, "symbol": "EURUSD", "volume": 0.1, "type": 0, "type_filling": 0}


def here(**options: Any) -> Any:
    return SimpleNamespace(**module_functions(twin(**options)))


def test_the_same_answers(bridges: Bridges, rounds: Callable[..., int]) -> None:
    for seed in range(rounds(ci=1, long=30)):
        server = bridges.server()
        there, mine = bridges.connected(server), here(demo=True)
        script = Script(seed)
        for _ in range(500):
            call = script.draw()
            if call[0] == "shutdown":  # without a connection nobody looks at arguments
                continue
            assert done(there, call) == done(mine, call), call
        assert shape(there.positions_get()) == shape(mine.positions_get())
        assert shape(there.history_deals_get(0, 4e9)) == shape(mine.history_deals_get(0, 4e9))
        _many_rows_and_strange_texts(there, mine)
        server.kill()


def _many_rows_and_strange_texts(there: Any, mine: Any) -> None:
    for nth in range(80):
        symbol = ("EURUSD", "GBPUSD", "USDJPY", "XAUUSD")[nth % 4]
        request = {**BUY, "symbol": symbol, "volume": 0.01, "comment": f"ä \ud800 {nth}"}
        assert shape(there.order_send(request)) == shape(mine.order_send(request))
    assert len(there.positions_get() or ()) > 50
    assert shape(there.positions_get()) == shape(mine.positions_get())
    assert shape(there.history_orders_get(0, 4e9)) == shape(mine.history_orders_get(0, 4e9))


@pytest.fixture(scope="module")
def terminal(shared: Bridges, server: Server) -> BridgeTerminal:
    return shared.connected(server)


def test_arguments_arrive_as_plain_python(terminal: BridgeTerminal, server: Server) -> None:
    request = {**BUY, "volume": np.float64(0.2), "type": np.int64(0), "magic": np.uint32(7)}
    answer = terminal.order_send(request)
    assert answer is not None
    assert (answer.retcode, answer.volume) == (10009, 0.2)
    _, unnamed, _ = server.package.seen[-1]
    types = {name: str(type(unnamed[0][name])) for name in request}
    assert types["volume"] == "<class 'float'>"
    assert types["type"] == types["magic"] == "<class 'int'>"
    position = (terminal.positions_get(ticket=np.int64(answer.order)) or ())[0]
    assert (position.magic, position.volume) == (7, 0.2)


def test_what_cannot_be_an_argument_is_not_sent(terminal: BridgeTerminal, server: Server) -> None:
    before = len(server.package.seen)
    for request in ({**BUY, "comment": object()}, {**BUY, "comment": "x" * 70_000}, {(1, 2): 3}):
        assert terminal.order_send(request) is None  # type: ignore[arg-type]
        assert terminal.last_error()[0] == -2
    assert terminal.positions_get(ticket={1, 2}) is None
    assert terminal.last_error()[0] == -2
    assert len(server.package.seen) == before
    assert terminal.account_info() is not None


def test_an_exception_of_the_package_comes_back_as_one(
    terminal: BridgeTerminal, server: Server
) -> None:
    server.spoil("account_info", "after", "raise")
    with pytest.raises(RuntimeError, match="the terminal raised RuntimeError: it broke"):
        terminal.account_info()
    assert terminal.account_info() is not None, "the connection goes on"
    assert "Traceback" not in server.log.read_text()


def test_two_connections_do_not_wait_for_each_other(
    shared: Bridges, terminal: BridgeTerminal, server: Server
) -> None:
    other = shared.connected(server)
    server.spoil("positions_get", "before", "hang")
    slow = InCall(terminal.positions_get)
    assert other.symbol_info_tick("EURUSD") is not None
    assert other.account_info() is not None
    server.package.released.set()
    assert slow.result() is not None
    server.package.released.clear()
    assert terminal.last_error() == (1, "Success")
