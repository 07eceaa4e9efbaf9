"""A bot as people have it, plain MetaTrader5 code: nothing in it knows of DTMS (docs/bots.md)."""

import time

import MetaTrader5 as mt5  # noqa: N813 - as all programs write it

SYMBOL, MAGIC, SECONDS = "EURUSD", 77, 10

if not mt5.initialize():
    raise SystemExit(f"no terminal: {mt5.last_error()}")
account = mt5.account_info()
if account is None or account.trade_mode != mt5.ACCOUNT_TRADE_MODE_DEMO:
    raise SystemExit("not a demo account: PYTHONPATH does not name terminals/as_module")
tick, point = mt5.symbol_info_tick(SYMBOL), mt5.symbol_info(SYMBOL).point
order = {
    "action": mt5.TRADE_ACTION_DEAL,
    "symbol": SYMBOL,
    "volume": 0.1,
    "type": mt5.ORDER_TYPE_BUY,
    "price": tick.ask,
    "sl": tick.ask - 500 * point,
    "deviation": 20,
    "magic": MAGIC,
    "type_filling": mt5.ORDER_FILLING_IOC,
}
opened = mt5.order_send(order)
if opened is None or opened.retcode != mt5.TRADE_RETCODE_DONE:
    raise SystemExit(f"not opened: {mt5.last_error() if opened is None else opened.comment}")
print(f"bought {opened.volume} {SYMBOL} at {opened.price}: position {opened.order}")

for _ in range(SECONDS):
    time.sleep(1)
    positions = mt5.positions_get(ticket=opened.order)
    if positions is None:
        raise SystemExit(f"the terminal does not answer: {mt5.last_error()}")
    if positions:  # what others do to it is seen: a stop that moves, a part that is closed
        print(f"volume {positions[0].volume}, stop {positions[0].sl}, profit {positions[0].profit}")

print("closed" if mt5.Close(SYMBOL, ticket=opened.order) else f"not closed: {mt5.last_error()}")
mt5.shutdown()
