"""Scripted faults, permits and threads."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from terminal_kit import START, Clock, books_balance, generated, order, playing

from defence.errors import Fenced, Invalid
from terminals import Effect, Fault, GeneratedMarket, SimulatedTerminal, load_faults
from terminals import constants as mt5

READS: list[tuple[str, tuple[Any, ...]]] = [
    ("account_info", ()),
    ("terminal_info", ()),
    ("symbol_info", ("EURUSD",)),
    ("symbol_info_tick", ("EURUSD",)),
    ("positions_get", ()),
    ("orders_get", ()),
    ("history_deals_get", (0, 4e9)),
    ("history_orders_get", (0, 4e9)),
    ("copy_rates_from_pos", ("EURUSD", 1, 0, 2)),
    ("order_check", (order(),)),
    ("order_send", (order(),)),
]


def fault(call: str, effect: str, **more: Any) -> Fault:
    return Fault(call=call, effect=Effect(effect), **more)


@pytest.mark.parametrize(("name", "arguments"), READS)
def test_unknown(name: str, arguments: tuple[Any, ...]) -> None:
    terminal = generated(faults=[fault(name, "unknown")])
    call = getattr(terminal, name)
    assert call(*arguments) is None
    assert terminal.last_error() == (-10001, "IPC send failed")
    assert call(*arguments) is not None
    assert terminal.last_error() == (1, "Success")


@pytest.mark.parametrize("name", ["initialize", "symbol_select"])
def test_unknown_is_false_where_true_is_the_answer(name: str) -> None:
    terminal = generated()
    terminal.add_fault(fault(name, "unknown", error=(-10005, "IPC timeout")))
    arguments = ("EURUSD",) if name == "symbol_select" else ()
    assert getattr(terminal, name)(*arguments) is False
    assert terminal.last_error() == (-10005, "IPC timeout")
    assert getattr(terminal, name)(*arguments) is True


def test_a_failing_first_initialize() -> None:
    terminal = SimulatedTerminal(
        market=GeneratedMarket(7), now=Clock(), faults=[fault("initialize", "unknown", count=2)]
    )
    assert [terminal.initialize() for _ in range(3)] == [False, False, True]


def test_after_and_count() -> None:
    terminal = generated(faults=[fault("positions_get", "unknown", after=2, count=3)])
    seen = [terminal.positions_get() is None for _ in range(7)]
    assert seen == [False, False, True, True, True, False, False]
    terminal.add_fault(fault("positions_get", "unknown", count=None))
    assert all(terminal.positions_get() is None for _ in range(50))
    terminal.clear_faults()
    assert terminal.positions_get() == ()


def test_empty_is_a_lie_with_success() -> None:
    terminal = generated(demo=True, faults=[fault("positions_get", "empty")])
    assert terminal.positions_get() == ()
    assert terminal.last_error() == (1, "Success")
    assert terminal.positions_get() != ()
    terminal.add_fault(fault("copy_rates_from_pos", "empty"))
    rates = terminal.copy_rates_from_pos("EURUSD", 1, 0, 5)
    assert rates is not None
    assert len(rates) == 0


def test_raise() -> None:
    terminal = generated(faults=[fault("account_info", "raise")])
    with pytest.raises(ConnectionError):
        terminal.account_info()
    assert terminal.account_info() is not None


def test_disconnect_for_a_while() -> None:
    clock = Clock()
    terminal = generated(now=clock, faults=[fault("positions_get", "disconnect", seconds=60)])
    assert terminal.positions_get() == ()

    def connected() -> bool:
        info = terminal.terminal_info()
        assert info is not None
        return info.connected

    assert not connected()
    clock.at += 59
    assert not connected()
    clock.at += 1
    assert connected()
    terminal.add_fault(fault("account_info", "disconnect"))
    terminal.account_info()
    clock.at += 1e6
    assert not connected()
    terminal.reconnect()
    assert connected()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("effect", ["unknown", "raise"])
def test_an_order_lost_before_or_after_its_effect(effect: str, when: Any) -> None:
    terminal = generated(faults=[fault("order_send", effect, when=when)])
    if effect == "raise":
        with pytest.raises(ConnectionError):
            terminal.order_send(order())
    else:
        assert terminal.order_send(order()) is None
        assert terminal.last_error()[0] == -10001
    executed = when == "after"
    assert len(terminal.positions_get() or ()) == executed
    assert len(terminal.orders_sent) == executed
    books_balance(terminal)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_scripted_retcode(when: Any) -> None:
    terminal = generated(faults=[fault("order_send", "retcode", retcode=10012, when=when)])
    done = terminal.order_send(order())
    assert done is not None
    assert done.retcode == 10012
    assert len(terminal.positions_get() or ()) == (when == "after")
    terminal.add_fault(fault("order_check", "retcode", retcode=10019))
    checked = terminal.order_check(order())
    assert checked is not None
    assert checked.retcode == 10019


def test_waits_are_the_callers_to_make() -> None:
    waited: list[float | None] = []
    terminal = generated(
        hang=waited.append,
        faults=[
            fault("positions_get", "delay", seconds=3.5),
            fault("account_info", "hang"),
            fault("account_info", "hang", seconds=9.0, when="after"),
        ],
    )
    assert terminal.positions_get() == ()
    assert terminal.account_info() is not None
    assert waited == [3.5, None, 9.0]


class Gate:
    """A permit that notes what happens in and around it."""

    def __init__(self) -> None:
        self.held = False
        self.notes: list[str] = []
        self.refuse = False

    @contextmanager
    def pass_(self) -> Iterator[None]:
        if self.refuse:
            raise Fenced("revoked")
        self.held = True
        try:
            yield
        finally:
            self.held = False


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("effect", ["hang", "delay"])
def test_waits_are_outside_of_the_permit(effect: str, when: Any) -> None:
    gate = Gate()
    seen: list[tuple[bool, int]] = []

    def hang(seconds: float | None) -> None:
        seen.append((gate.held, len(terminal.orders_sent)))

    terminal = generated(hang=hang, faults=[fault("order_send", effect, seconds=1.0, when=when)])
    done = terminal.send_under(gate.pass_(), order())
    assert done is not None
    assert done.retcode == 10009
    assert seen == [(False, 1 if when == "after" else 0)]


def test_the_effect_is_inside_of_the_permit() -> None:
    terminal = generated()
    seen = []

    @contextmanager
    def permit() -> Iterator[None]:
        seen.append(len(terminal.positions_get() or ()))
        yield
        seen.append(len(terminal.positions_get() or ()))

    done = terminal.send_under(permit(), order())
    assert done is not None
    assert seen == [0, 1]


def test_a_permit_that_refuses_stops_the_order() -> None:
    gate = Gate()
    gate.refuse = True
    terminal = generated()
    with pytest.raises(Fenced):
        terminal.send_under(gate.pass_(), order())
    assert terminal.orders_sent == []
    assert terminal.positions_get() == ()


def test_a_permit_revoked_while_the_order_hung() -> None:
    gate = Gate()

    def hang(seconds: float | None) -> None:
        gate.refuse = True

    terminal = generated(hang=hang, faults=[fault("order_send", "hang")])
    with pytest.raises(Fenced):
        terminal.send_under(gate.pass_(), order())
    assert terminal.positions_get() == ()


def test_the_permit_is_not_entered_for_what_is_never_sent() -> None:
    gate = Gate()
    gate.refuse = True  # would raise
    terminal = generated(faults=[fault("order_send", "unknown")])
    assert terminal.send_under(gate.pass_(), order(comment="x" * 32)) is None
    assert terminal.send_under(gate.pass_(), order()) is None
    terminal.shutdown()
    assert terminal.send_under(gate.pass_(), order()) is None
    assert terminal.last_error()[0] == -10004


@pytest.mark.timeout(20)
def test_close_releases_whoever_hangs_and_nothing_happens_after() -> None:
    terminal = generated(
        faults=[fault("order_send", "hang"), fault("positions_get", "hang", when="after")]
    )
    answers: list[object] = []
    threads = [
        threading.Thread(target=lambda: answers.append(terminal.order_send(order())), daemon=True),
        threading.Thread(target=lambda: answers.append(terminal.positions_get()), daemon=True),
    ]
    for one in threads:
        one.start()
    while terminal.calls["order_send"] + terminal.calls["positions_get"] < 2:
        threading.Event().wait(0.001)
    assert terminal.account_info() is not None  # others are not held up
    terminal.close()
    terminal.close()
    for one in threads:
        one.join(5)
        assert not one.is_alive()
    assert None in answers
    assert terminal.orders_sent == []
    assert terminal.account_info() is None
    assert terminal.last_error()[0] == -10004
    assert terminal.initialize() is False
    assert terminal.last_error() == (-10003, "IPC initialize failed, terminal closed")


@pytest.mark.timeout(30)
def test_many_threads() -> None:
    clock = Clock()
    terminal = generated(now=clock, market=GeneratedMarket(2, START, volatility=10.0))
    failures: list[BaseException] = []

    def work(side: int) -> None:
        try:
            for step in range(40):
                done = terminal.order_send(order(type=side, volume=0.01))
                assert done is not None
                clock.at += 1
                if step % 3 == 0 and done.retcode == 10009:
                    terminal.order_send(order(type=1 - side, volume=0.01, position=done.order))
                assert terminal.positions_get() is not None
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(index % 2,), daemon=True) for index in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert not failures
    assert len(terminal.orders_sent) == terminal.calls["order_send"]
    tickets = [one.ticket for one in terminal.history_deals_get(0, 4e9) or ()]
    assert len(tickets) == len(set(tickets))
    books_balance(terminal)


def test_script_file(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    path.write_text(
        json.dumps(
            [
                {"call": "positions_get", "effect": "unknown", "after": 3, "count": None},
                {"call": "order_send", "effect": "retcode", "retcode": 10004, "count": 2},
                {"call": "initialize", "effect": "unknown", "error": [-6, "no"], "when": "after"},
                {"call": "account_info", "effect": "delay", "seconds": 1},
            ]
        )
    )
    assert load_faults(path) == [
        fault("positions_get", "unknown", after=3, count=None),
        fault("order_send", "retcode", retcode=10004, count=2),
        fault("initialize", "unknown", error=(-6, "no"), when="after"),
        fault("account_info", "delay", seconds=1),
    ]


BAD: list[tuple[object, str]] = [
    ({"effect": "unknown"}, "entry 1: call: None is missing"),
    ({"call": "positions_get"}, "entry 1: effect"),
    ({"call": "positions", "effect": "unknown"}, "entry 1: call: 'positions' is no call"),
    ({"call": "positions_get", "effect": "boom"}, "entry 1: effect: 'boom' is no effect"),
    ({"call": ["x"], "effect": "unknown"}, "entry 1: call"),
    ({"call": "positions_get", "effect": ["x"]}, "entry 1: effect"),
    ({"call": "positions_get", "effect": "unknown", "after": -1}, "entry 1: after: -1"),
    ({"call": "positions_get", "effect": "unknown", "after": 1.5}, "entry 1: after: 1.5"),
    ({"call": "positions_get", "effect": "unknown", "count": 0}, "entry 1: count: 0"),
    ({"call": "positions_get", "effect": "unknown", "count": True}, "entry 1: count: True"),
    ({"call": "positions_get", "effect": "hang", "seconds": "5"}, "entry 1: seconds: '5'"),
    ({"call": "positions_get", "effect": "hang", "seconds": -5}, "entry 1: seconds: -5"),
    ({"call": "positions_get", "effect": "delay"}, "entry 1: seconds: None is missing"),
    ({"call": "positions_get", "effect": "retcode", "retcode": 1}, "only for orders"),
    ({"call": "order_send", "effect": "retcode"}, "entry 1: retcode: None"),
    ({"call": "order_send", "effect": "unknown", "retcode": 1}, "entry 1: retcode: 1 means"),
    ({"call": "account_info", "effect": "empty"}, "has no empty answer"),
    ({"call": "order_send", "effect": "unknown", "when": "later"}, "entry 1: when: 'later'"),
    ({"call": "order_send", "effect": "unknown", "error": "no"}, "entry 1: error: 'no'"),
    ({"call": "order_send", "effect": "unknown", "error": [1]}, "entry 1: error"),
    ({"call": "order_send", "effect": "unknown", "times": 3}, "entry 1: times"),
    ("unknown", "entry 1: fault: 'unknown' is no object"),
]


@pytest.mark.parametrize(("entry", "words"), BAD)
def test_bad_entries_name_file_entry_and_field(entry: object, words: str, tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    good = {"call": "positions_get", "effect": "unknown"}
    path.write_text(json.dumps([good, entry]))
    with pytest.raises(Invalid) as caught:
        load_faults(path)
    assert words in caught.value.message
    assert str(path) in caught.value.message
    assert caught.value.field == "sim_faults"
    assert caught.value.remedy


@pytest.mark.parametrize(("text", "words"), [("{", "is not JSON"), ("{}", "no list"), ("", "JSON")])
def test_bad_script_files(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    path.write_text(text)
    with pytest.raises(Invalid, match=words):
        load_faults(path)


def test_missing_script_file(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="cannot be read"):
        load_faults(tmp_path / "none.json")


def test_faults_are_not_used_up_by_calls_that_never_left() -> None:
    terminal = SimulatedTerminal(
        market=GeneratedMarket(7), now=Clock(), faults=[fault("positions_get", "unknown")]
    )
    assert terminal.positions_get() is None
    assert terminal.last_error()[0] == -10004
    assert terminal.initialize()
    assert terminal.positions_get() is None
    assert terminal.last_error()[0] == -10001


def test_without_time_passing_nothing_happens_twice() -> None:
    terminal, clock = playing({"EURUSD": [(0, 1.1, 1.1001), (9, 1.0, 1.0001), (99, 1.0, 1.0001)]})
    terminal.open_position("EURUSD", "BUY", 0.1, sl=1.05)
    clock.at += 20
    for _ in range(3):
        assert terminal.positions_get() == ()
    assert len(terminal.history_deals_get(0, 4e9) or ()) == 3
    assert terminal.last_error()[0] == mt5.RES_S_OK
