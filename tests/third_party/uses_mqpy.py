"""mqpy: an expert's frame. It asks for RETURN filling, which is for exchange execution."""

import MetaTrader5 as mt5
from mqpy.book import Book
from mqpy.rates import Rates
from mqpy.tick import Tick
from mqpy.trade import Trade

expert = Trade(
    expert_name="tried",
    version="1",
    symbol="FDXS",
    magic_number=77,
    lot=1.0,
    stop_loss=500.0,
    emergency_stop_loss=900.0,
    take_profit=500.0,
    emergency_take_profit=900.0,
    start_time="0:00",
    finishing_time="23:59",
    ending_time="23:59",
)
assert Tick("FDXS").ask > Tick("FDXS").bid
assert len(Rates("FDXS", mt5.TIMEFRAME_M1, 0, 30).close) == 30
book = Book("FDXS")
assert book.get()
assert book.release()
assert mt5.positions_get() == ()
expert.open_position(should_buy=True, should_sell=False, comment="mqpy")
held = mt5.positions_get(symbol="FDXS")
assert len(held) == 1
assert held[0].magic == 77
expert.stop_and_gain()
expert.close_position()
assert mt5.positions_get(symbol="FDXS") == ()
print("reads and trades")
