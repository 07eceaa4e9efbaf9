"""The client of metatrader-mcp-server: what its AI tools call, over the module MetaTrader5."""

from metatrader_client.client import MT5Client

client = MT5Client(
    {
        "path": __file__,  # it must exist; on Windows it is the terminal
        "login": 5_001_000,
        "password": "any",
        "server": "Simulated-Demo",
        "cooldown_time": 0.0,
        "max_retries": 1,
    }
)
assert client.connect()
assert client.is_connected()
assert client.get_terminal_info()["connected"]
assert client.account.get_balance() > 0
assert client.account.get_account_type()
assert client.account.is_trade_allowed()
assert "EURUSD" in client.market.get_symbols("EUR*")
assert client.market.get_symbol_info("EURUSD")["digits"] == 5
price = client.market.get_symbol_price("EURUSD")
assert price["ask"] > price["bid"]
assert len(client.market.get_candles_latest("EURUSD", "M5", 20)) == 20

opened = client.order.place_market_order(type="BUY", symbol="EURUSD", volume=0.1)
assert not opened["error"], opened
ticket = opened["data"].order
mine = client.order.get_positions_by_id(ticket)
assert len(mine) == 1
moved = client.order.modify_position(ticket, stop_loss=round(price["bid"] - 0.02, 5))
assert not moved["error"], moved
resting = client.order.place_pending_order(
    type="BUY", symbol="EURUSD", volume=0.1, price=round(price["bid"] - 0.03, 5)
)
assert not resting["error"], resting
assert len(client.order.get_pending_orders_by_symbol("EURUSD")) == 1
changed = client.order.modify_pending_order(
    id=resting["data"].order, price=round(price["bid"] - 0.031, 5)
)
assert not changed["error"], changed
cancelled = client.order.cancel_pending_order(resting["data"].order)
assert not cancelled["error"], cancelled
closed = client.order.close_position(ticket)
assert not closed["error"], closed
assert len(client.order.get_positions_by_id(ticket)) == 0
client.disconnect()
print("reads and trades")
