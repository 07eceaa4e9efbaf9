"""pdmt5: data frames of everything, and an order, over the module called MetaTrader5."""

import datetime as dt

import MetaTrader5 as mt5
from pdmt5 import Mt5Config, Mt5DataClient

client = Mt5DataClient(config=Mt5Config())
client.initialize_and_login_mt5()
assert client.version_as_dict()["build"] > 0
account = client.account_info_as_df()
assert float(account.loc[0, "balance"]) > 0
assert client.terminal_info_as_df().loc[0, "connected"]
assert client.symbols_total() == len(client.symbols_get_as_df()) >= 4
assert client.symbol_info_as_dict(symbol="EURUSD")["digits"] == 5
tick = client.symbol_info_tick_as_dict(symbol="EURUSD")
assert tick["ask"] > tick["bid"] > 0

bars = client.copy_rates_from_pos_as_df(
    symbol="EURUSD", timeframe=mt5.TIMEFRAME_M5, start_pos=0, count=50
)
assert len(bars) == 50
assert (bars["high"] >= bars["low"]).all()
now = dt.datetime.fromtimestamp(client.symbol_info_tick("EURUSD").time, dt.UTC)
ranged = client.copy_rates_range_as_df(
    symbol="EURUSD",
    timeframe=mt5.TIMEFRAME_M1,
    date_from=now - dt.timedelta(hours=1),
    date_to=now,
)
assert 55 <= len(ranged) <= 62
ticks = client.copy_ticks_from_as_df(
    symbol="EURUSD", date_from=now - dt.timedelta(minutes=5), count=100, flags=mt5.COPY_TICKS_ALL
)
assert len(ticks) == 100
client.market_book_add("EURUSD")
assert len(client.market_book_get_as_df(symbol="EURUSD")) > 1
client.market_book_release("EURUSD")

before = client.positions_total()
request = {
    "action": mt5.TRADE_ACTION_DEAL,
    "symbol": "EURUSD",
    "volume": 0.1,
    "type": mt5.ORDER_TYPE_BUY,
    "price": tick["ask"],
    "type_filling": mt5.ORDER_FILLING_FOK,
    "comment": "pdmt5",
}
checked = client.order_check_as_dict(request=request)
assert checked["retcode"] == 0, checked
margin = client.order_calc_margin(mt5.ORDER_TYPE_BUY, "EURUSD", 0.1, tick["ask"])
assert margin > 0
done = client.order_send_as_dict(request=request)
assert done["retcode"] == mt5.TRADE_RETCODE_DONE, done
mine = client.positions_get_as_df(symbol="EURUSD")
mine = mine[mine["comment"] == "pdmt5"]
assert len(mine) == 1
assert client.positions_total() == before + 1
ticket = int(mine["ticket"].iloc[0])
closed = client.order_send_as_dict(
    request={
        **request,
        "type": mt5.ORDER_TYPE_SELL,
        "position": ticket,
        "price": client.symbol_info_tick("EURUSD").bid,
    }
)
assert closed["retcode"] == mt5.TRADE_RETCODE_DONE, closed
deals = client.history_deals_get_as_df(position=ticket)
assert list(deals["entry"]) == [mt5.DEAL_ENTRY_IN, mt5.DEAL_ENTRY_OUT]
orders = client.history_orders_get_as_df(position=ticket)
assert len(orders) == 2
client.shutdown()
print("reads and trades")
