"""aiomql: an asynchronous framework that keeps the module's functions on a class."""

import asyncio

from aiomql import Account, MetaTrader, Order, OrderType, Positions, Symbol, TimeFrame
from aiomql.core.constants import OrderFilling, TradeAction


async def main() -> None:
    mt5 = MetaTrader()
    assert await mt5.initialize()
    assert await mt5.login(login=5_001_000, password="any", server="Simulated-Demo")
    account = Account()
    await account.refresh()
    assert account.balance > 0
    assert account.connected or account.login
    symbol = Symbol(name="EURUSD")
    assert await symbol.initialize()
    tick = await symbol.info_tick()
    assert tick.ask > tick.bid
    candles = await symbol.copy_rates_from_pos(timeframe=TimeFrame.M15, count=30)
    assert len(candles) == 30
    before = await Positions().get_total_positions()
    order = Order(
        symbol="EURUSD",
        volume=0.1,
        type=OrderType.BUY,
        price=tick.ask,
        action=TradeAction.DEAL,
        type_filling=OrderFilling.FOK,
    )
    assert (await order.check()).retcode == 0
    assert (await order.calc_margin() or 0.0) > 0.0
    sent = await order.send()
    assert sent.retcode == 10_009, sent
    positions = Positions()
    assert await positions.get_total_positions() == before + 1
    held = await positions.get_position_by_ticket(ticket=sent.order)
    assert held is not None
    assert held.symbol == "EURUSD"
    closed = await positions.close_position_by_ticket(ticket=sent.order)
    assert closed is not None
    assert closed.retcode == 10_009
    await mt5.shutdown()


asyncio.run(main())
print("reads and trades")
