"""simplemt5: a small wrapper that opens and closes with its own defaults."""

from simplemt5 import SimpleMT5

client = SimpleMT5()
account = client.get_account_info()
assert account is not None
assert account["balance"] > 0
bars = client.get_data("EURUSD", "H1", 10)
assert list(bars.columns) == ["time", "open", "high", "low", "close"]
assert len(bars) == 10
assert client.get_data("NOPE", "H1", 10) is None
before = len(client.get_positions_simple("EURUSD"))
opened = client.buy("EURUSD", 0.1, tp_points=900, sl_points=900)
assert opened is not None
assert client.sell_simple("EURUSD", 0.1, tp_points=900, sl_points=900) is not None
assert len(client.get_positions_simple("EURUSD")) == before + 2
assert client.close_positions("EURUSD")
assert client.get_positions("EURUSD") == []
print("reads and trades")
