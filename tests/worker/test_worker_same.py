"""Hosted or not, the same seed gives the same answers, of the same types, with the same errors."""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Callable
from typing import Any

import pytest
from worker_kit import START, InCall, Workers, connect, twin

from defence.errors import Invalid, NotFound
from terminals import SimulatedTerminal
from terminals import constants as mt5
from terminals.protocol import CALLS
from terminals.sim.effects import OF_ANY_CALL, SHAPES
from terminals.sim.faults import Effect, Fault
from terminals.worker.office import SimulatedWorker

Call = tuple[str, tuple[Any, ...], dict[str, Any]]


def shape(value: Any) -> Any:
    """Return a value with all its types, so that 1 is not 1.0 and not True."""
    if value is None or isinstance(value, str | int | float):
        return type(value).__name__, value
    if hasattr(value, "dtype"):
        return "array", value.dtype, value.tolist(), value.flags.writeable
    if hasattr(value, "_asdict"):
        return type(value).__name__, [(k, shape(v)) for k, v in value._asdict().items()]
    if isinstance(value, tuple | list):
        return type(value).__name__, [shape(one) for one in value]
    raise AssertionError(f"no answer: {value!r}")


def done(terminal: Any, call: Call) -> Any:
    name, args, named = call
    try:
        answer = shape(getattr(terminal, name)(*args, **named))
    except Exception as error:  # noqa: BLE001 - the same on both sides is what is asked
        return type(error).__name__, str(error)
    return answer, terminal.last_error()


class Script:
    """Draws calls: mostly good ones, some of which change the book, and some that are wrong."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def symbol(self) -> Any:
        return self.random.choice(["EURUSD", "GBPUSD", "USDJPY", "XAUUSD", "NOSUCH", "", 5, None])

    def ticket(self) -> int:
        return 50_000_000 + self.random.randrange(40)

    def moment(self) -> Any:
        at = START + self.random.uniform(-90_000, 90_000)
        utc = dt.datetime.fromtimestamp(at, dt.UTC)
        return self.random.choice([at, int(at), utc, utc.replace(tzinfo=None), "yesterday"])

    def filters(self) -> dict[str, Any]:
        drawn = {"symbol": self.symbol(), "ticket": self.ticket(), "group": "*USD*", "odd": 1}
        return {k: drawn[k] for k in self.random.sample(sorted(drawn), self.random.randrange(3))}

    def request(self) -> dict[str, Any]:
        random_ = self.random
        request = {
            "action": random_.choice([1, 1, 1, 5, 6, 8, 99]),
            "symbol": random_.choice(["EURUSD", "XAUUSD", "NOSUCH"]),
            "volume": random_.choice([0.1, 0.01, 1.0, 0.013, 1e9, True, "a"]),
            "type": random_.choice([0, 1, 2, 5, 77]),
            "type_filling": random_.choice([0, 1, 2]),
            "price": random_.choice([1.0, 1.2, 0, 2000.0]),
            "sl": random_.choice([0.0, 0.5, 3000.0]),
            "position": self.ticket(),
            "comment": random_.choice(["", "guard", "x" * 40, "half \ud800 a character"]),
            "deviation": None,
            "magic": 2**63,
        }
        names = random_.sample(sorted(request), random_.randrange(3, len(request)))
        return {name: request[name] for name in names}

    def draw(self) -> Call:
        random_ = self.random
        name = random_.choice([*CALLS, "order_send", "order_send", "positions_get"])
        if name in ("initialize", "shutdown"):
            name = random_.choice(["initialize"] * 9 + ["shutdown"])
            return name, (), {}
        if name in ("account_info", "terminal_info"):
            return name, (), {}
        if name in ("symbol_info", "symbol_info_tick"):
            return name, (self.symbol(),), {}
        if name == "symbol_select":
            return name, (self.symbol(), random_.random() < 0.5), {}
        if name in ("positions_get", "orders_get"):
            return name, ("unnamed",) if random_.random() < 0.05 else (), self.filters()
        if name in ("order_check", "order_send"):
            return name, (self.request(),), {}
        if name == "copy_rates_from_pos":
            args = (self.symbol(), random_.choice([1, 5, 16385, 3]), random_.randrange(-1, 5))
            return name, (*args, random_.choice([0, 1, 50])), {}
        if random_.random() < 0.5:
            return name, (self.moment(), self.moment()), {}
        return name, (), random_.choice([{"ticket": self.ticket()}, {"position": self.ticket()}])


def both(workers: Workers, **options: Any) -> tuple[SimulatedTerminal, SimulatedWorker]:
    return twin(step=30.0, **options), workers.connected(step=30.0, **options)


def test_the_same_answers(workers: Workers, rounds: Callable[..., int]) -> None:
    for seed in range(rounds(ci=2, long=60)):
        here, there = both(workers, demo=True)
        script = Script(seed)
        for _ in range(400):
            call = script.draw()
            assert done(there, call) == done(here, call), call
        # By name, and not by type: an unknown request must be one as well.
        assert shape(there.positions_get()) == shape(here.positions_get())
        assert there.orders_sent == here.orders_sent
        there.close()


@pytest.fixture(scope="module")
def hosted(shared: Workers) -> SimulatedWorker:
    return shared.connected()


@pytest.mark.parametrize("effect", [one for one in Effect if SHAPES[one].takes == OF_ANY_CALL])
@pytest.mark.parametrize("when", ["before", "after"])
def test_the_same_faults(hosted: SimulatedWorker, effect: Effect, when: Any) -> None:
    here = twin()
    ticket = hosted.open_position("EURUSD", "BUY", 0.1, sl=0.5)
    mine = here.open_position("EURUSD", "BUY", 0.1, sl=0.5)
    call, kwargs = "positions_get", {}
    if effect is Effect.RETCODE:
        call, kwargs = "order_send", {"retcode": mt5.TRADE_RETCODE_REQUOTE}
    if effect in (Effect.HANG, Effect.DELAY, Effect.DISCONNECT):
        kwargs["seconds"] = 0.01
    for terminal in (here, hosted):
        terminal.add_fault(Fault(call=call, effect=effect, after=1, when=when, **kwargs))
    request = {"action": 6, "symbol": "EURUSD", "sl": 0.6, "tp": 0.0}

    def ask(terminal: Any, number: int) -> Any:
        if call == "order_send":
            name, args = call, ({**request, "position": number},)
        else:
            name, args = call, ()
        answer, error = done(terminal, (name, args, {}))
        return str(answer).replace(str(number), "TICKET"), error

    def without_history(found: Any) -> Any:
        answer, error = found
        return (answer.count("TICKET") > 0, answer.startswith("('NoneType'"), error)

    for _ in range(3):
        assert without_history(ask(hosted, ticket)) == without_history(ask(here, mine))
    for terminal in (here, hosted):
        terminal.clear_faults()
        terminal.reconnect()
    hosted.close_position(ticket)


def test_the_back_office_answers_and_refuses_as_at_home(hosted: SimulatedWorker) -> None:
    assert (hosted.name, hosted.real) == ("simulated", False)
    ticket = hosted.open_position("GBPUSD", "SELL", 0.3, sl=3.0, magic=7, comment="mine")
    row = (hosted.positions_get(ticket=ticket) or ())[0]
    assert (row.symbol, row.type, row.volume, row.sl, row.magic) == ("GBPUSD", 1, 0.3, 3.0, 7)
    hosted.modify(ticket, tp=0.2)
    hosted.close_position(ticket, 0.1)
    hosted.change_ticket(row.identifier, ticket + 1000)
    row = (hosted.positions_get(ticket=ticket + 1000) or ())[0]
    assert (row.sl, row.tp, round(row.volume, 2)) == (3.0, 0.2, 0.2)
    hosted.set_price("GBPUSD", 1.0, 1.5)
    tick = hosted.symbol_info_tick("GBPUSD")
    assert tick is not None
    assert (tick.bid, tick.ask) == (1.0, 1.5)
    hosted.release_price("GBPUSD")
    before = hosted.market_time
    hosted.advance(100.0)
    assert 99.0 < hosted.market_time - before < 101.0
    assert not hosted.over
    hosted.vanish(ticket + 1000)
    assert hosted.positions_get(ticket=ticket + 1000) == ()
    with pytest.raises(NotFound) as missing:
        hosted.vanish(1)
    assert missing.value.field == "ticket"
    with pytest.raises(Invalid) as wrong:
        hosted.open_position("NOSUCH", "BUY", 1.0)
    assert wrong.value.field == "symbol"
    assert "EURUSD" in (wrong.value.remedy or "")
    account = hosted.account_info()
    hosted.deposit(-5.0)
    poorer = hosted.account_info()
    assert account is not None
    assert poorer is not None
    assert round(account.balance - poorer.balance, 2) == 5.0
    hosted.switch_account(77, "Elsewhere")
    assert hosted.account_info().login == 77  # type: ignore[union-attr]
    hosted.switch_account(account.login, account.server)
    hosted.set_autotrading(False)
    assert hosted.terminal_info().trade_allowed is False  # type: ignore[union-attr]
    hosted.set_autotrading(True)
    hosted.set_trading(expert=False)
    assert hosted.account_info().trade_expert is False  # type: ignore[union-attr]
    hosted.set_trading()
    hosted.disconnect()
    assert hosted.terminal_info().connected is False  # type: ignore[union-attr]
    hosted.reconnect()
    assert hosted.calls["terminal_info"] >= 2


def test_the_back_office_leaves_the_last_error_alone(hosted: SimulatedWorker) -> None:
    assert hosted.symbol_info("NOSUCH") is None
    failed = hosted.last_error()
    assert failed[0] == mt5.RES_E_NOT_FOUND
    hosted.deposit(1.0)
    assert hosted.last_error() == failed


def test_only_what_is_named_can_be_called(hosted: SimulatedWorker) -> None:
    for name in ("__class__", "_broker", "close_all", "_save", "send_under"):
        with pytest.raises(Invalid) as caught:
            hosted._host.exchange(name)
        assert caught.value.field == "call"
    with pytest.raises(Invalid):
        hosted._host.exchange("fact", ("_broker",))
    assert hosted.account_info() is not None


def test_each_thread_has_its_own_last_error(hosted: SimulatedWorker) -> None:
    assert hosted.symbol_info("NOSUCH") is None
    there = InCall(lambda: (hosted.positions_get(), hosted.last_error()))
    assert there.result()[1] == (1, "Success")
    assert hosted.last_error()[0] == mt5.RES_E_NOT_FOUND
    assert InCall(hosted.last_error).result() == (1, "Success")  # the newest of any thread


def test_threads_take_turns_and_get_their_own_answers(hosted: SimulatedWorker) -> None:
    symbols = ["EURUSD", "GBPUSD", "USDJPY", "XAUUSD", "NOSUCH"]

    def ask(symbol: str) -> list[Any]:
        found = []
        for _ in range(100):
            info = hosted.symbol_info(symbol)
            found.append((None if info is None else info.name, hosted.last_error()[0]))
        return found

    calls = {symbol: InCall(lambda symbol=symbol: ask(symbol)) for symbol in symbols}
    for symbol, call in calls.items():
        expected = (None, mt5.RES_E_NOT_FOUND) if symbol == "NOSUCH" else (symbol, 1)
        assert set(call.result()) == {expected}


def test_many_positions_and_all_their_history(workers: Workers) -> None:
    here, there = both(workers, demo=True)
    for terminal in (here, there):
        terminal.deposit(1e9)
    symbols = ["EURUSD", "GBPUSD", "USDJPY", "XAUUSD"]
    for nth in range(60):
        for terminal in (here, there):
            terminal.open_position(symbols[nth % 4], "BUY", 0.1, comment=f"number {nth} \u00e4")
    assert shape(there.positions_get()) == shape(here.positions_get())
    assert shape(there.history_deals_get(0, 4e9)) == shape(here.history_deals_get(0, 4e9))


def test_the_script_of_faults_and_the_start_are_passed_on(workers: Workers) -> None:
    there = workers.make(
        faults=[Fault(call="account_info", effect=Effect.UNKNOWN, error=(-10_002, "so"))],
        login=5_001_000,
        server="Simulated-Demo",
        demo=True,
        start=START + 86_400,
    )
    connect(there)
    assert there.account_info() is None
    assert there.last_error() == (-10_002, "so")
    assert there.account_info() is not None
    assert len(there.positions_get() or ()) == 5
    assert abs(there.market_time - START - 86_400) < 60
