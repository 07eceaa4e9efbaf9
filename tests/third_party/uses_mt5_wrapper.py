"""mt5-wrapper: the same functions again, with types; it hands arguments on as it gets them."""

import datetime as dt

import mt5_wrapper as mt5

assert mt5.initialize()
account = mt5.account_info()
assert account is not None
assert account.leverage > 0
tick = mt5.symbol_info_tick("EURUSD")
assert tick is not None
now = dt.datetime.fromtimestamp(tick.time, dt.UTC)
rates = mt5.copy_rates_range("EURUSD", mt5.TIMEFRAME_M1, now - dt.timedelta(hours=1), now)
assert rates is not None
assert rates.dtype.names is not None
assert rates.dtype.names[0] == "time"
assert mt5.symbols_total() >= 4
assert mt5.positions_total() == len(mt5.positions_get())
assert mt5.order_calc_profit(mt5.ORDER_TYPE_BUY, "EURUSD", 1.0, 1.1, 1.2) == 10_000.0
done = mt5.order_send(
    {
        "action": mt5.TRADE_ACTION_DEAL,
        "symbol": "EURUSD",
        "volume": 0.1,
        "type": mt5.ORDER_TYPE_SELL,
        "price": tick.bid,
        "type_filling": mt5.ORDER_FILLING_IOC,
    }
)
assert done is not None
assert done.retcode == mt5.TRADE_RETCODE_DONE
held = mt5.positions_get(ticket=done.order)
assert held is not None
assert held[0].type == mt5.POSITION_TYPE_SELL
assert mt5.history_deals_get(now - dt.timedelta(days=1), now + dt.timedelta(days=1))
mt5.shutdown()
print("reads and trades")
