"""mt5linux's own client, unchanged, reads and trades through the server that the bridge uses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mt5linux
import pytest
from bridge_kit import LONG, Bridges, Server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Any]:
    found = mt5linux.MetaTrader5(host="127.0.0.1", port=server.port, timeout=LONG)
    assert found.initialize()
    yield found
    found._MetaTrader5__conn.close()  # it has no way to end


def test_it_reads(client: Any, shared: Bridges, server: Server) -> None:
    mine = shared.connected(server)
    account, theirs = mine.account_info(), client.account_info()
    assert account is not None
    assert (theirs.login, theirs.server) == (account.login, account.server)
    assert [one.ticket for one in client.positions_get()] == [
        one.ticket for one in mine.positions_get() or ()
    ]
    bars = client.copy_rates_from_pos("EURUSD", client.TIMEFRAME_M1, 0, 5)
    ours = mine.copy_rates_from_pos("EURUSD", client.TIMEFRAME_M1, 0, 5)
    assert ours is not None
    assert (bars == ours).all()
    assert client.symbol_info("NOSUCH") is None
    assert client.last_error()[0] == -4


def test_it_trades_and_the_bridge_sees_it(client: Any, shared: Bridges, server: Server) -> None:
    mine = shared.connected(server)
    tick = client.symbol_info_tick("EURUSD")
    request = {
        "action": client.TRADE_ACTION_DEAL,
        "symbol": "EURUSD",
        "volume": 0.1,
        "type": client.ORDER_TYPE_BUY,
        "price": tick.ask,
        "type_filling": client.ORDER_FILLING_FOK,
        "comment": "theirs",
    }
    sent = client.order_send(request)
    assert sent.retcode == client.TRADE_RETCODE_DONE
    (position,) = mine.positions_get(ticket=sent.order) or ()
    assert (position.comment, position.volume) == ("theirs", 0.1)
    close = {**request, "type": client.ORDER_TYPE_SELL, "position": sent.order, "price": tick.bid}
    closed = mine.order_send(close)
    assert closed is not None
    assert closed.retcode == client.TRADE_RETCODE_DONE
    assert client.positions_get(ticket=sent.order) == ()
    deals = client.history_deals_get(position=sent.order)
    assert [deal.entry for deal in deals] == [client.DEAL_ENTRY_IN, client.DEAL_ENTRY_OUT]


def test_a_bridge_that_goes_leaves_the_other_client_connected(
    client: Any, shared: Bridges, server: Server
) -> None:
    mine = shared.connected(server)
    assert mine.shutdown()
    assert mine.account_info() is None
    assert mine.last_error()[0] == -10004
    mine.close()
    assert client.account_info() is not None, "shutdown is not the package's own"
    assert client.last_error() == (1, "Success")
