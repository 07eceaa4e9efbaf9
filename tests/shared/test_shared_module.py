"""What a program gets that imports MetaTrader5 from the folder terminals/as_module."""

from __future__ import annotations

import datetime as dt
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shared_kit import AS_MODULE, LONG, ROOT, START, Here, InCall, buy, in_fork, until

from terminals import GeneratedMarket, SimulatedTerminal, structs
from terminals.functions import FUNCTIONS
from terminals.module import CONSTANTS, VERSION, module_functions
from terminals.shared.alone import alone
from terminals.shared.line import CONNECT_WAIT
from terminals.shared.module import PackageTerminal
from terminals.sim.faults import Effect, Fault
from terminals.worker import child
from terminals.worker.frames import MAX_FRAME, frame


def run(text: str, folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a program that has the folder on its path, and nothing else of ours."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("DTMS_")}
    return subprocess.run(
        [sys.executable, "-W", "error", "-X", "dev", "-c", textwrap.dedent(text)],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(AS_MODULE), **environ},
        capture_output=True,
        text=True,
        timeout=100,
    )


# -- the same as in process


def plain(value: Any) -> Any:
    """Return a value that can be compared: arrays do not say whether they are equal."""
    return (value.dtype, value.tolist()) if isinstance(value, np.ndarray) else value


def test_every_function_answers_as_it_does_in_process(here: Here) -> None:
    alone = SimulatedTerminal(
        market=GeneratedMarket(1, START), now=lambda: START, speed=0.0, step=0.001
    )
    functions = module_functions(alone)
    functions["initialize"]()
    bot = here.bot()
    for order in (buy(sl=1.0), buy(0.2, "GBPUSD"), buy(0.1, action=5, type=2, price=1.0)):
        assert bot.order_send(order) == functions["order_send"](order)
    since, till = dt.datetime(2023, 1, 1, tzinfo=dt.UTC), dt.datetime(2030, 1, 1, tzinfo=dt.UTC)
    calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
        ("version", (), {}),
        ("terminal_info", (), {}),
        ("account_info", (), {}),
        ("symbols_total", (), {}),
        ("symbols_get", (), {}),
        ("symbols_get", ("*USD*,!EUR*",), {}),
        ("symbols_get", (1, 2), {}),
        ("symbol_info", ("EURUSD",), {}),
        ("symbol_info", ("NOTHING",), {}),
        ("symbol_info_tick", ("EURUSD",), {}),
        ("symbol_select", ("EURUSD", True), {}),
        ("symbol_select", ("NOTHING",), {}),
        ("market_book_get", ("EURUSD",), {}),
        ("market_book_add", ("EURUSD",), {}),
        ("market_book_get", ("EURUSD",), {}),
        ("market_book_release", ("EURUSD",), {}),
        ("copy_rates_from", ("EURUSD", 1, START, 4), {}),
        ("copy_rates_from_pos", ("EURUSD", 1, 0, 4), {}),
        ("copy_rates_range", ("EURUSD", 16385, START - 7200, START), {}),
        ("copy_rates_from_pos", ("NOTHING", 1, 0, 4), {}),
        ("copy_ticks_from", ("EURUSD", START - 60, 5, -1), {}),
        ("copy_ticks_range", ("EURUSD", START - 60, START, -1), {}),
        ("positions_total", (), {}),
        ("positions_get", (), {}),
        ("positions_get", ("EURUSD",), {}),
        ("positions_get", (), {"symbol": "EURUSD"}),
        ("positions_get", (), {"ticket": 1}),
        ("positions_get", (), {"group": "*USD"}),
        ("orders_total", (), {}),
        ("orders_get", (), {}),
        ("history_deals_total", (since, till), {}),
        ("history_orders_total", (since, till), {}),
        ("history_deals_get", (since, till), {}),
        ("history_deals_get", (0, 4e9), {"group": "*"}),
        ("history_orders_get", (), {"ticket": 5}),
        ("history_orders_get", (since,), {}),
        ("order_check", (buy(),), {}),
        ("order_check", (), buy()),
        ("order_check", ({"volume": np.float32(1)},), {}),
        ("order_send", (buy(comment="x" * 40),), {}),
        ("order_send", (buy(volume=1e9),), {}),
        ("order_calc_margin", (0, "EURUSD", 0.1, 1.1), {}),
        ("order_calc_profit", (0, "EURUSD", 0.1, 1.1, 1.2), {}),
        ("order_calc_profit", (0, "NOTHING", 0.1, 1.1, 1.2), {}),
        ("login", (5,), {}),
        ("login", (), {}),
        ("positions_total", (), {}),
    ]
    assert {name for name, *_ in calls} | {"initialize", "shutdown", "last_error"} == set(FUNCTIONS)
    for name, args, named in calls:
        mine = plain(getattr(bot, name)(*args, **named))
        assert mine == plain(functions[name](*args, **named)), (name, args, named)
        assert type(mine) is type(plain(functions[name](*args, **named)))
        assert bot.last_error() == functions["last_error"](), (name, args, named)
    for name, args, named in (
        ("account_info", (1,), {}),
        ("symbol_info", (), {"symbol": "EURUSD"}),
    ):
        for function in (getattr(bot, name), functions[name]):
            with pytest.raises(TypeError):
                function(*args, **named)


def test_rows_are_those_of_the_package(here: Here) -> None:
    bot = here.bot()
    result = bot.order_send(buy())
    assert type(result) is structs.OrderSendResult
    assert type(result.request) is structs.TradeRequest
    assert list(result._asdict())[-1] == "request"
    assert not hasattr(result, "_fields")
    position = bot.positions_get()[0]
    assert position[0] == position.ticket == result.order
    assert bot.positions_get(ticket=result.order) == (position,)
    assert bot.orders_get() == ()
    assert bot.last_error() == (1, "Success")
    rates = bot.copy_rates_from_pos("EURUSD", 1, 0, 3)
    rates["close"][0] = 5.0  # it is the caller's own
    assert rates.dtype.names[0] == "time"


# -- connecting, and losing the connection


def test_before_initialize_and_after_shutdown(here: Here) -> None:
    bot = here.bot(connected=False)
    assert bot.last_error() == (1, "Success")
    for call in (bot.account_info, bot.positions_get, bot.version):
        assert call() is None
        assert bot.last_error() == (-10004, "No IPC connection")
    assert bot.symbol_select("EURUSD", True) is False
    assert bot.order_send(buy()) is None
    assert bot.last_error()[0] == -10004
    assert bot.initialize() is True
    assert bot.account_info() is not None
    assert bot.shutdown() is True
    assert bot.last_error() == (1, "Success")
    assert bot.account_info() is None


def test_initialize_takes_what_programs_give(here: Here) -> None:
    bot = here.bot(connected=False)
    account = here.terminal._broker.book.account
    path = r"C:\Program Files\MetaTrader 5\terminal64.exe"
    given = {"login": account.login, "password": "p", "server": account.server}
    assert bot.initialize(path, timeout=10_000, portable=False, **given) is True
    assert bot.initialize(path=path) is True  # anew
    until(lambda: here.server.clients == 1)
    assert bot.initialize(login=1) is False
    assert bot.last_error()[0] == -6
    assert bot.account_info() is None
    assert bot.initialize(login="text") is False
    assert bot.last_error() == (-2, 'Invalid "login" argument')


def test_a_lost_broker(here: Here) -> None:
    bot = here.bot()
    here.terminal.add_fault(Fault(call="order_send", effect=Effect.HANG))
    sending = InCall(lambda: (bot.order_send(buy()), bot.last_error()))
    until(lambda: here.terminal.calls["order_send"] == 1)
    here.server.close()
    assert sending.result() == (None, (-10002, "IPC recv failed"))
    assert bot.positions_get() is None
    assert bot.last_error() == (-10004, "No IPC connection")
    assert bot.initialize() is False
    code, text = bot.last_error()
    assert code == -10003
    assert "run.py broker" in text
    here.serve()
    assert bot.initialize() is True
    assert bot.positions_get() == ()


def test_a_broker_that_was_lost_between_two_calls(here: Here) -> None:
    bot = here.bot()
    here.server.close()
    assert bot.order_send(buy()) is None
    assert bot.last_error() == (-10004, "No IPC connection")


def test_the_environment_is_read_at_each_initialize(here: Here) -> None:
    bot = here.bot(connected=False)
    there, here.environ["DTMS_BROKER"] = here.environ["DTMS_BROKER"], "in-process"
    assert bot.initialize() is True
    assert bot.order_send(buy()).retcode == 10009
    here.environ["DTMS_BROKER"] = there
    assert bot.initialize() is True
    assert bot.positions_get() == ()
    here.server.close()
    assert bot.positions_get() is None  # never the private one in its place
    assert bot.last_error()[0] == -10004


def test_initialize_does_not_wait_longer_than_it_may(here: Here) -> None:
    bot = here.bot(connected=False)
    here.terminal.add_fault(Fault(call="initialize", effect=Effect.HANG))
    assert bot.initialize(timeout=200) is False
    assert bot.last_error() == (-10005, "IPC timeout")
    assert bot.account_info() is None
    assert bot.initialize() is True


def test_a_greeting_that_does_not_come_is_over_with_the_time_out(here: Here) -> None:
    bot = here.bot(connected=False)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        here.environ["DTMS_BROKER"] = f"127.0.0.1:{listener.getsockname()[1]}"
        began = time.monotonic()
        assert bot.initialize(timeout=100) is False
        assert time.monotonic() - began < CONNECT_WAIT / 2
    assert bot.last_error() == (-10005, "IPC timeout")
    assert bot.initialize(timeout=1000) is False  # nobody is there, and that is known at once
    assert bot.last_error()[0] == -10003


def test_after_an_answer_that_is_too_large_the_next_is_read(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    bot = here.bot()
    monkeypatch.setattr(child, "frame", lambda said: frame(said, 10 if said[1] else MAX_FRAME))
    assert bot.symbol_info("EURUSD") is None
    assert bot.last_error()[0] == -10000
    monkeypatch.undo()
    assert bot.symbol_info("EURUSD").name == "EURUSD"


def test_what_breaks_there_is_no_exception_here(here: Here) -> None:
    bot = here.bot()
    here.terminal.add_fault(Fault(call="account_info", effect=Effect.RAISE))
    assert bot.account_info() is None
    assert bot.last_error()[0] == -10000
    assert bot.account_info() is not None


def test_threads_take_turns(here: Here) -> None:
    bot, found = here.bot(), []

    def work(symbol: str) -> None:
        names = [bot.symbol_info(symbol).name for _ in range(50)]
        found.append(set(names) == {symbol})

    symbols = ("EURUSD", "GBPUSD", "USDJPY", "XAUUSD")
    threads = [threading.Thread(target=work, args=(name,), daemon=True) for name in symbols]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert found == [True] * 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork there")
def test_a_forks_child_has_no_connection_until_it_makes_its_own(here: Here) -> None:
    bot = here.bot()
    turn = bot.account_info.__self__._turn if hasattr(bot.account_info, "__self__") else None
    assert turn is None  # the functions show nothing of what is behind them
    assert in_fork(
        lambda: (
            bot.account_info() is None
            and bot.last_error()[0] == -10004
            and bot.initialize() is True
            and bot.account_info() is not None
            and bot.shutdown() is True
        )
    )
    assert bot.account_info() is not None
    assert bot.last_error() == (1, "Success")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork there")
def test_a_fork_while_another_thread_is_in_a_call(here: Here) -> None:
    bot = here.bot()
    here.terminal.add_fault(Fault(call="account_info", effect=Effect.HANG))
    hanging = InCall(bot.account_info)
    until(lambda: here.terminal.calls["account_info"] == 1)
    assert in_fork(lambda: bot.initialize() and bot.symbol_info_tick("EURUSD") is not None)
    assert not hanging.over
    here.terminal.close()
    hanging.result()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork there")
def test_a_forks_child_has_no_private_broker_until_it_makes_its_own() -> None:
    bot = PackageTerminal({"DTMS_BROKER": "in-process"})
    assert bot.initialize()
    assert bot.ask("order_send", (buy(),), {}).retcode == 10009
    assert in_fork(
        lambda: (
            bot.ask("positions_get", (), {}) is None
            and bot.last_error()[0] == -10004
            and bot.initialize() is True
            and bot.ask("positions_get", (), {}) == ()
        )
    )
    assert len(bot.ask("positions_get", (), {})) == 1
    bot.shutdown()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork there")
def test_a_fork_while_another_thread_is_inside_the_private_broker() -> None:
    bot = PackageTerminal({"DTMS_BROKER": "in-process"})
    assert bot.initialize()
    inside, over = threading.Event(), threading.Event()

    def stay() -> None:
        with bot._turn, bot._here._lock:  # type: ignore[union-attr]  # it is there
            inside.set()
            over.wait(LONG)

    staying = InCall(stay)
    assert inside.wait(LONG)

    def exits() -> bool:
        bot._leave()
        return True

    assert in_fork(lambda: bot.initialize(timeout=500))
    assert in_fork(exits)
    over.set()
    staying.result()
    bot.shutdown()


def test_shutdown_disconnects_from_the_private_broker(here: Here) -> None:
    bot = here.bot(connected=False)
    here.environ["DTMS_BROKER"] = "in-process"
    assert bot.initialize()
    assert bot.market_book_add("EURUSD")
    assert bot.order_send(buy()).retcode == 10009
    assert bot.shutdown() is True
    for call in (bot.account_info, bot.positions_get):
        assert call() is None
        assert bot.last_error() == (-10004, "No IPC connection")
    assert bot.initialize()
    assert len(bot.positions_get()) == 1  # the same broker, as long as the program lasts
    assert bot.market_book_get("EURUSD") is None


def test_a_broker_that_does_not_answer_is_not_replaced_by_the_private_one(here: Here) -> None:
    bot = here.bot(connected=False)
    there, here.environ["DTMS_BROKER"] = here.environ["DTMS_BROKER"], "in-process"
    assert bot.initialize()
    assert bot.order_send(buy()).retcode == 10009
    here.server.close()
    here.environ["DTMS_BROKER"] = there
    assert bot.initialize() is False
    assert bot.positions_get() is None
    assert bot.last_error() == (-10004, "No IPC connection")
    here.environ["DTMS_BROKER"] = "in-process"
    assert bot.initialize()
    assert bot.positions_get() == ()  # another one: the last was given up for the broker


# -- the folder on the path


def test_the_module_in_a_program_of_somebody_elses(tmp_path: Path) -> None:
    (tmp_path / "storage.py").write_text("mine = True\n")
    done = run(
        """
        import logging, signal, sys, threading, warnings
        before = (list(sys.path), logging.root.handlers[:], signal.getsignal(signal.SIGINT))
        import MetaTrader5 as mt5
        import storage
        assert storage.mine
        assert (list(sys.path), logging.root.handlers[:], signal.getsignal(signal.SIGINT)) == before
        assert "console" not in sys.modules and "loguru" not in sys.modules
        assert mt5.initialize(), mt5.last_error()
        assert threading.active_count() == 1
        assert mt5.__author__ == "MetaQuotes Ltd."
        assert mt5.TIMEFRAME_H1 == 16385 and mt5.TRADE_RETCODE_DONE == 10009
        assert isinstance(mt5.account_info(), mt5.AccountInfo)
        result = mt5.Buy("EURUSD", 0.1)
        assert result.retcode == mt5.TRADE_RETCODE_DONE, result
        assert mt5.Close("EURUSD") is True
        import copy
        class Client:
            send = mt5.order_send
        assert Client().send is mt5.order_send
        assert copy.copy(mt5.order_send) is mt5.order_send
        namespace = {}
        exec("from MetaTrader5 import *", namespace)
        assert "order_send" in namespace and "_sys" not in namespace
        public = {name for name in vars(mt5) if not name.startswith("_")}
        assert public == namespace.keys() - {"__builtins__"}
        print(mt5.__version__)
        """,
        tmp_path,
        DTMS_BROKER="in-process",
        DTMS_SEED="7",
    )
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == (f"{VERSION}\n", "")


def test_the_seed_is_that_of_the_private_broker(tmp_path: Path) -> None:
    text = """
        import MetaTrader5 as mt5
        assert mt5.initialize(), mt5.last_error()
        print(mt5.copy_rates_from_pos("EURUSD", 1, 1, 50)["close"].std().hex())
        """
    first, second = (run(text, tmp_path, DTMS_BROKER="in-process", DTMS_SEED=s) for s in "12")
    assert first.returncode == second.returncode == 0, first.stderr
    assert first.stdout != second.stdout
    wrong = run(
        "import MetaTrader5 as m; print(m.initialize(), m.last_error())",
        tmp_path,
        DTMS_BROKER="in-process",
        DTMS_SEED="five",
    )
    assert "False (-10003" in wrong.stdout
    assert "DTMS_SEED" in wrong.stdout


def test_a_private_broker_has_the_conditions_and_the_pace_that_are_asked_for() -> None:
    asked = {"DTMS_SIM_CONDITIONS": "typical", "DTMS_SPEED": "0", "DTMS_SEED": "3"}
    one = alone(asked)
    assert one.initialize()
    assert len(one.symbols_get()) == 13
    before = one.market_time
    one.positions_get()
    assert one.market_time == before + 30.0
    usual = alone({"DTMS_SEED": "", "DTMS_SIM_STATE": ""})
    assert usual.initialize()
    assert len(usual.symbols_get()) == 4


def test_a_private_broker_plays_recorded_prices_and_faults(tmp_path: Path) -> None:
    lines = ["Timestamp,Bid,Ask", *(f"2024-01-03 10:00:0{n}.000,1.1,1.1001" for n in range(9))]
    prices, faults = tmp_path / "EURUSD.csv", tmp_path / "faults.json"
    prices.write_text("\n".join(lines), encoding="utf-8")
    faults.write_text('[{"effect": "unknown", "call": "positions_get"}]', encoding="utf-8")
    one = alone({"DTMS_PRICES": str(prices), "DTMS_SIM_FAULTS": str(faults), "DTMS_SPEED": "0"})
    assert one.initialize()
    assert one.positions_get() is None
    assert one.positions_get() == ()
    tick = one.symbol_info_tick("EURUSD")
    assert tick is not None
    assert (tick.bid, tick.ask) == (1.1, 1.1001)


@pytest.mark.parametrize("call", ["initialize", "account_info"])
def test_a_private_broker_raises_nothing_into_the_program(call: str, tmp_path: Path) -> None:
    faults = tmp_path / "faults.json"
    faults.write_text(f'[{{"effect": "raise", "call": "{call}"}}]', encoding="utf-8")
    bot = PackageTerminal({"DTMS_BROKER": "in-process", "DTMS_SIM_FAULTS": str(faults)})
    assert bot.initialize() is (call != "initialize")
    assert not bot.ask(call, (), {}) or call == "initialize"
    bot.initialize()
    assert bot.ask("account_info", (), {}).login == 5001000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DTMS_SEED", "1.5"),
        ("DTMS_SPEED", "fast"),
        ("DTMS_SPEED", "-1"),
        ("DTMS_SPEED", "inf"),
        ("DTMS_SIM_CONDITIONS", "rough"),
        ("DTMS_SIM_FAULTS", "nowhere.json"),
        ("DTMS_SIM_STATE", "account.json"),
    ],
)
def test_what_a_private_broker_cannot_do_is_refused_by_name(name: str, value: str) -> None:
    bot = PackageTerminal({"DTMS_BROKER": "in-process", name: value})
    assert bot.initialize() is False
    code, text = bot.last_error()
    assert code == -10003
    assert name.removeprefix("DTMS_").lower() in text.lower()
    assert value in text


def test_no_broker_says_what_to_start(tmp_path: Path) -> None:
    done = run(
        "import MetaTrader5 as mt5; print(mt5.initialize(), mt5.last_error())",
        tmp_path,
        XDG_STATE_HOME=str(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("False (-10003, 'IPC initialize failed, ")
    assert "python run.py broker" in done.stdout


@pytest.mark.parametrize("name", ["terminals", "defence"])
def test_a_package_in_the_way_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text("")
    done = run("import MetaTrader5", tmp_path)
    assert done.returncode == 1
    assert f"its own package '{name}' from {ROOT}" in done.stderr
    assert str(tmp_path / f"{name}.py") in done.stderr


def test_all_names_of_the_package_are_there(tmp_path: Path) -> None:
    done = run("import MetaTrader5 as m; print(*vars(m))", tmp_path)
    names = set(done.stdout.split())
    assert names >= {*CONSTANTS, *FUNCTIONS, "Buy", "Sell", "Close", "Tick", "TradePosition"}


def test_ctrl_c_ends_a_call_that_hangs(here: Here, tmp_path: Path) -> None:
    here.terminal.add_fault(Fault(call="account_info", effect=Effect.HANG))
    text = """
        import signal
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's "&" has it ignored
        import MetaTrader5 as mt5
        assert mt5.initialize(), mt5.last_error()
        print("asking", flush=True)
        try:
            mt5.account_info()
        except KeyboardInterrupt:
            assert mt5.account_info() is None
            assert mt5.last_error() == (-10004, "No IPC connection"), mt5.last_error()
            assert mt5.initialize() and mt5.account_info() is not None
            print("went on")
        """
    environ = {"PYTHONPATH": str(AS_MODULE), **here.environ}
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(text)],
        cwd=tmp_path,
        env={**os.environ, **environ},
        stdout=subprocess.PIPE,
        text=True,
    ) as bot:
        until(lambda: here.terminal.calls["account_info"] == 1)
        bot.send_signal(signal.SIGINT)
        assert bot.stdout is not None
        assert bot.stdout.read() == "asking\nwent on\n"
    assert bot.returncode == 0
